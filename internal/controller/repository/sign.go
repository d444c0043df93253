package repository

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
)

// keepVersions is how many versions of targets and snapshot stay for devices
// that are reading while a publisher writes.
const keepVersions = 10

// Refresh signs a new timestamp, and signs again what has less than half of its
// life left; the root only if its key is there, since it may be kept offline.
func (r *Repository) Refresh() error {
	c, unlock, err := r.begin()
	if err != nil {
		return err
	}
	defer unlock()
	if r.stale(c.root.Signed.Expires, r.expiry.Root) {
		if _, err := r.keys.find(c.root, metadata.ROOT); err == nil {
			if err := r.renewRoot(c); err != nil {
				return err
			}
		}
	}
	if c.targets != nil && r.stale(c.targets.Signed.Expires, r.expiry.Targets) {
		if err := r.signTargets(c); err != nil {
			return err
		}
	}
	return r.publish(c)
}

// stale reports whether less than half of a life is left.
func (r *Repository) stale(expires time.Time, life time.Duration) bool {
	return expires.Sub(r.now()) < life/2
}

// renewRoot publishes the same root with the next version and a new expiry.
func (r *Repository) renewRoot(c *catalog) error {
	k, err := r.keys.find(c.root, metadata.ROOT)
	if err != nil {
		return err
	}
	r.nextRoot(c)
	return r.writeRoot(c.root, k)
}

func (r *Repository) nextRoot(c *catalog) {
	c.root.Signed.Version++
	c.root.Signed.Expires = r.expires(r.expiry.Root)
}

// RotateKeys gives a role ("root", "targets", "snapshot" or "timestamp") a new
// key and retires the old one, as a precaution or after a theft. The role's
// file is first signed by both keys, and then the new root revokes the old key,
// so that a device that reads in between can verify the file with either root.
func (r *Repository) RotateKeys(role string) error {
	if err := choice.Check("role", role, roles); err != nil {
		return err
	}
	c, unlock, err := r.begin()
	if err != nil {
		return err
	}
	defer unlock()
	rootKey, err := r.keys.find(c.root, metadata.ROOT)
	if err != nil {
		return err
	}
	if _, err := r.keys.find(c.root, role); err != nil && !errors.As(err, new(absentError)) {
		return err
	}
	old := slices.Clone(c.root.Signed.Roles[role].KeyIDs)
	newKey, err := r.keys.create(role)
	if err != nil {
		return err
	}
	if role != metadata.ROOT {
		c.incoming = map[string]*key{role: newKey}
		if role == metadata.TARGETS {
			err = r.signTargets(c)
		}
		if err == nil {
			err = r.publish(c)
		}
		if err != nil {
			return err
		}
	}
	if err := c.root.Signed.AddKey(newKey.public, role); err != nil {
		return err
	}
	for _, id := range old {
		if err := c.root.Signed.RevokeKey(id, role); err != nil {
			return err
		}
	}
	r.nextRoot(c)
	signers := []*key{rootKey}
	if role == metadata.ROOT {
		signers = append(signers, newKey)
	}
	if err := r.writeRoot(c.root, signers...); err != nil {
		return err
	}
	return r.keys.retire(c.root, role)
}

// writeRoot signs the root and writes it under its version, then under the
// name that people look for. Without signers the root's own key signs.
func (r *Repository) writeRoot(root *metadata.Metadata[metadata.RootType], signers ...*key) error {
	if len(signers) == 0 {
		k, err := r.keys.find(root, metadata.ROOT)
		if err != nil {
			return err
		}
		signers = []*key{k}
	}
	raw, err := sign(root, signers)
	if err != nil {
		return err
	}
	for _, version := range []int64{root.Signed.Version, 0} {
		if err := r.write(tuf.MetadataPath(metadata.ROOT, version), raw, tuf.MaxRootSize); err != nil {
			return err
		}
	}
	return nil
}

// signTargets signs and writes the next version of the targets. They are
// published by the snapshot that follows.
func (r *Repository) signTargets(c *catalog) error {
	c.targets.Signed.Version++
	c.targets.Signed.Expires = r.expires(r.expiry.Targets)
	raw, err := r.signRole(c, metadata.TARGETS, c.targets.Signed.Version, tuf.MaxTargetsSize)
	if err != nil {
		return err
	}
	c.newTargets = metaFile(c.targets.Signed.Version, raw)
	return nil
}

// publish makes the targets visible: a new snapshot where one is needed, and
// then a new timestamp.
func (r *Repository) publish(c *catalog) error {
	if c.targets == nil {
		c.targets = metadata.Targets()
		c.targets.Signed.Version = 0
		if err := r.signTargets(c); err != nil {
			return err
		}
	}
	if c.snapshot == nil {
		c.snapshot = metadata.Snapshot()
		c.snapshot.Signed.Version = 0
		c.timestamp = metadata.Timestamp()
		c.timestamp.Signed.Version = 0
	}
	if c.newTargets != nil || c.incoming[metadata.SNAPSHOT] != nil ||
		r.stale(c.snapshot.Signed.Expires, r.expiry.Snapshot) {
		if c.newTargets != nil {
			c.snapshot.Signed.Meta["targets.json"] = c.newTargets
		}
		c.snapshot.Signed.Version++
		c.snapshot.Signed.Expires = r.expires(r.expiry.Snapshot)
		raw, err := r.signRole(c, metadata.SNAPSHOT, c.snapshot.Signed.Version, tuf.MaxSnapshotSize)
		if err != nil {
			return err
		}
		c.timestamp.Signed.Meta["snapshot.json"] = metaFile(c.snapshot.Signed.Version, raw)
	}
	c.timestamp.Signed.Version++
	c.timestamp.Signed.Expires = r.expires(r.expiry.Timestamp)
	if _, err := r.signRole(c, metadata.TIMESTAMP, 0, tuf.MaxTimestampSize); err != nil {
		return err
	}
	return r.prune()
}

// metaFile describes a metadata file for the file that names it.
func metaFile(version int64, raw []byte) *metadata.MetaFiles {
	m := metadata.MetaFile(version)
	m.Length = int64(len(raw))
	digest := load.DigestOf(raw)
	m.Hashes = metadata.Hashes{"sha256": digest[:]}
	return m
}

// signRole signs a role's file with the role's key, and with the one that is
// to follow it if a rotation is under way, and writes it. A key that is lost does
// not keep the one that follows from signing.
func (r *Repository) signRole(c *catalog, role string, version, max int64) ([]byte, error) {
	var signers []*key
	k, err := r.keys.find(c.root, role)
	next := c.incoming[role]
	switch {
	case err == nil:
		signers = append(signers, k)
	case next == nil || !errors.As(err, new(absentError)):
		return nil, err
	}
	if next != nil {
		signers = append(signers, next)
	}
	var raw []byte
	switch role {
	case metadata.TARGETS:
		raw, err = sign(c.targets, signers)
	case metadata.SNAPSHOT:
		raw, err = sign(c.snapshot, signers)
	case metadata.TIMESTAMP:
		raw, err = sign(c.timestamp, signers)
	}
	if err != nil {
		return nil, err
	}
	return raw, r.write(tuf.MetadataPath(role, version), raw, max)
}

// sign replaces the signatures of m.
func sign[T metadata.Roles](m *metadata.Metadata[T], signers []*key) ([]byte, error) {
	m.Signatures = nil
	for _, k := range signers {
		s, err := k.signer()
		if err != nil {
			return nil, err
		}
		if _, err := m.Sign(s); err != nil {
			return nil, err
		}
	}
	return m.ToBytes(false)
}

// write writes a metadata file that devices will accept for its size. Copying
// components takes long: if the lock of the replicas was lost meanwhile, another one may
// have published under the same versions.
func (r *Repository) write(path string, raw []byte, max int64) error {
	if int64(len(raw)) > max {
		return fmt.Errorf("%s would have %d bytes, and devices accept %d: the repository has too many loads", path, len(raw),
			max)
	}
	if err := r.keys.held(); err != nil {
		return err
	}
	return r.tree.Write(path, raw)
}

// prune removes old versions of what the timestamp no longer reaches.
func (r *Repository) prune() error {
	for _, role := range []string{metadata.TARGETS, metadata.SNAPSHOT} {
		versions, err := r.versions(role)
		if err != nil {
			return err
		}
		for _, v := range versions[:max(0, len(versions)-keepVersions)] {
			if err := r.tree.Remove(tuf.MetadataPath(role, v)); err != nil {
				return err
			}
		}
	}
	return nil
}
