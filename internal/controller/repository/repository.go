package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// Errors of the publisher's side, for errors.Is.
var (
	// ErrNoRepository says that a directory holds no repository yet.
	ErrNoRepository = errors.New("no repository")
	// ErrChanged says that a file is not what its manifest says it is.
	ErrChanged = errors.New("the file is not what its manifest says")
)

// Expiry says how long signatures are valid, from the moment of signing. A
// field that is 0 takes the default.
type Expiry struct {
	// Root: default a year. The key may be kept offline.
	Root time.Duration
	// Targets: default a year. A load does not age; the timestamp limits how
	// old the offered state may be.
	Targets time.Duration
	// Snapshot: default 90 days.
	Snapshot time.Duration
	// Timestamp: default 30 days. It bounds how long an attacker on the path
	// can keep devices at an old state. A shorter time is safer if refreshing
	// is automatic; a plain file server that a person refreshes needs this
	// long.
	Timestamp time.Duration
}

const day = 24 * time.Hour

// withDefaults fills in what is 0.
func (e Expiry) withDefaults() Expiry {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&e.Root, 365 * day}, {&e.Targets, 365 * day}, {&e.Snapshot, 90 * day}, {&e.Timestamp, 30 * day}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return e
}

// Config says where a repository is and how it signs.
type Config struct {
	// Dir is BASE, the directory that file servers offer. Required. It is made
	// if missing.
	Dir string
	// Tree has the files in the place of Dir, which then names it in errors. nil: they
	// are in Dir.
	Tree objects.Tree
	// Keys is the directory of the private keys, outside Dir. Empty: the
	// repository is only read. It is made if missing, readable by the owner
	// only.
	Keys string
	// Shared keeps the keys of several replicas the same. nil: there are none.
	Shared Shared
	// Now returns the time of signing. nil means time.Now.
	Now func() time.Time
	// Expiry of what is signed. The zero value has the default of each role.
	Expiry Expiry
}

// Shared are the keys of several replicas of one repository.
type Shared interface {
	// Lock keeps all other replicas from signing until unlock, and brings the directory
	// of keys up to date.
	Lock() (unlock func(), err error)
	// Held is an error if the lock was lost meanwhile.
	Held() error
	// Keep gives a change of that directory to all others.
	Keep() error
}

// Validate refuses keys that a file server would offer.
func (c Config) Validate() error {
	if c.Dir == "" {
		return errors.New("no directory given for the repository")
	}
	if c.Keys == "" {
		return nil
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	keys, err := filepath.Abs(c.Keys)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(dir, keys); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%w: %s is inside %s, which is offered to everyone", ErrKeys, c.Keys, c.Dir)
	}
	return nil
}

// Repository signs loads and lays them out. It reads its state from its
// directories each time, so that several processes may use them; a lock in Keys
// serializes them. Every publication writes components, then the manifest,
// targets, snapshot, and the timestamp last, each by temporary file, fsync and
// rename: a reader never sees a timestamp that names missing files.
type Repository struct {
	tree   objects.Tree
	where  string // for errors
	keys   keyring
	now    func() time.Time
	expiry Expiry
}

// Open returns the repository in cfg.Dir, which need not exist yet.
func Open(cfg Config) (*Repository, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Repository{tree: cfg.Tree, where: cfg.Dir, keys: keyring{dir: cfg.Keys, shared: cfg.Shared}, now: cfg.Now,
		expiry: cfg.Expiry.withDefaults()}
	if r.now == nil {
		r.now = time.Now
	}
	if r.tree == nil {
		r.tree = directory(cfg.Dir, durable.Writer{})
	}
	return r, nil
}

// directory is a tree in a directory.
func directory(dir string, disk durable.Writer) objects.Dir {
	return objects.Dir{Path: dir, Folders: []string{tuf.MetadataDir, tuf.ComponentsDir}, Disk: disk}
}

// roles are the four roles of a repository.
var roles = []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP}

// catalog is the signed state of the repository, parsed. Targets, snapshot and
// timestamp are nil where an interrupted Init has not made them yet.
type catalog struct {
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]

	// newTargets is set once targets were signed that no snapshot names yet.
	newTargets *metadata.MetaFiles
	// incoming keys sign beside the role's key while it is rotated.
	incoming map[string]*key
}

// begin takes the lock and reads the state.
func (r *Repository) begin() (c *catalog, unlock func(), err error) {
	if r.keys.dir == "" {
		return nil, nil, fmt.Errorf("%w: no directory of keys given", ErrKeys)
	}
	if err := r.keys.open(); err != nil {
		return nil, nil, err
	}
	unlock, err = r.keys.lock()
	if err != nil {
		return nil, nil, err
	}
	if c, err = r.read(); err != nil {
		unlock()
		return nil, nil, err
	}
	r.tree.Tidy()
	return c, unlock, nil
}

// Init makes the repository if there is none: keys, root, and an empty list of
// loads. If there is one already, Init changes nothing; it completes one that
// an interruption left unfinished.
func (r *Repository) Init() error {
	if r.keys.dir == "" {
		return fmt.Errorf("%w: no directory of keys given", ErrKeys)
	}
	if err := r.tree.Prepare(); err != nil {
		return err
	}
	if err := r.keys.open(); err != nil {
		return err
	}
	unlock, err := r.keys.lock()
	if err != nil {
		return err
	}
	defer unlock()
	c, err := r.read()
	if errors.Is(err, ErrNoRepository) {
		c, err = r.firstRoot()
	}
	if err != nil || c.timestamp != nil {
		return err
	}
	return r.publish(c)
}

// firstRoot makes the first root with a key for each role.
func (r *Repository) firstRoot() (*catalog, error) {
	root := metadata.Root(r.expires(r.expiry.Root))
	for _, role := range roles {
		k, err := r.firstKey(role)
		if err != nil {
			return nil, err
		}
		if err := root.Signed.AddKey(k.public, role); err != nil {
			return nil, err
		}
	}
	return &catalog{root: root}, r.writeRoot(root)
}

// firstKey takes the key that an interrupted Init left, or makes one.
func (r *Repository) firstKey(role string) (*key, error) {
	keys, err := r.keys.list(role)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		return keys[0], nil
	}
	return r.keys.create(role)
}

func (r *Repository) expires(d time.Duration) time.Time {
	return r.now().Add(d).UTC().Truncate(time.Second)
}

// read reads the newest signed state. It does not verify: Verify does.
func (r *Repository) read() (*catalog, error) {
	c := &catalog{}
	version, err := r.newest(metadata.ROOT)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoRepository, r.where)
	}
	if err := readRole(r, &c.root, tuf.MetadataPath(metadata.ROOT, version), tuf.MaxRootSize); err != nil {
		return nil, err
	}
	// The timestamp says what is published; files it does not reach were left
	// by an interrupted publication and are written anew.
	if err := readRole(r, &c.timestamp, tuf.MetadataPath(metadata.TIMESTAMP, 0), tuf.MaxTimestampSize); err != nil ||
		c.timestamp == nil {
		return c, err
	}
	meta := c.timestamp.Signed.Meta["snapshot.json"]
	if meta == nil {
		return nil, fmt.Errorf("%w: timestamp.json names no snapshot", trust.ErrMalformed)
	}
	if err := readRole(r, &c.snapshot, tuf.MetadataPath(metadata.SNAPSHOT, meta.Version),
		tuf.MaxSnapshotSize); err != nil {
		return nil, err
	}
	if c.snapshot == nil || c.snapshot.Signed.Meta["targets.json"] == nil {
		return nil, fmt.Errorf("%w: there is no snapshot version %d", trust.ErrMalformed, meta.Version)
	}
	version = c.snapshot.Signed.Meta["targets.json"].Version
	if err := readRole(r, &c.targets, tuf.MetadataPath(metadata.TARGETS, version), tuf.MaxTargetsSize); err != nil {
		return nil, err
	}
	if c.targets == nil {
		return nil, fmt.Errorf("%w: there are no targets version %d", trust.ErrMalformed, version)
	}
	return c, nil
}

// readRole reads one metadata file; a missing one leaves nil.
func readRole[T metadata.Roles](r *Repository, into **metadata.Metadata[T], path string, max int64) error {
	raw, err := r.tree.Read(path, max)
	if err != nil || raw == nil {
		return err
	}
	return parseRole(into, path, raw)
}

// parseRole reads the text of the metadata file at path.
func parseRole[T metadata.Roles](into **metadata.Metadata[T], path string, raw []byte) error {
	err := tuf.Guard(func() error {
		m, err := new(metadata.Metadata[T]).FromBytes(raw)
		if err == nil && lacksEntry(&m.Signed) {
			err = errors.New("null stands in the place of an entry")
		}
		if err == nil {
			*into = m
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", trust.ErrMalformed, path, err)
	}
	return nil
}

// lacksEntry reports whether the signed part of metadata lacks what its users
// rely on: the library takes null in the place of a role, a file or all files.
func lacksEntry(signed any) bool {
	switch s := signed.(type) {
	case *metadata.RootType:
		for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
			if s.Roles[role] == nil {
				return true
			}
		}
		return anyNil(s.Keys)
	case *metadata.TimestampType:
		return anyNil(s.Meta)
	case *metadata.SnapshotType:
		return anyNil(s.Meta)
	case *metadata.TargetsType:
		return s.Targets == nil || anyNil(s.Targets)
	}
	return false
}

func anyNil[V any](m map[string]*V) bool {
	for _, v := range m {
		if v == nil {
			return true
		}
	}
	return false
}

// newest returns the highest version of a role's files, 0 if there is none.
func (r *Repository) newest(role string) (int64, error) {
	versions, err := r.versions(role)
	if err != nil || len(versions) == 0 {
		return 0, err
	}
	return versions[len(versions)-1], nil
}

// versions lists the versions of a role's files in ascending order.
func (r *Repository) versions(role string) ([]int64, error) {
	names, err := r.tree.Names(tuf.MetadataDir)
	if err != nil {
		return nil, err
	}
	var versions []int64
	for _, name := range names {
		s, ok := strings.CutSuffix(name, "."+role+".json")
		if v, err := strconv.ParseInt(s, 10, 64); ok && err == nil && v > 0 {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// RootLife returns how long the newest root is still valid. Refresh renews it
// in the second half of its life, but only if its key is there: if the key is
// kept offline, somebody has to bring it.
func (r *Repository) RootLife() (time.Duration, error) {
	c, err := r.read()
	if err != nil {
		return 0, err
	}
	if c.root == nil {
		return 0, fmt.Errorf("%w: its root is missing", ErrNoRepository)
	}
	return c.root.Signed.Expires.Sub(r.now()), nil
}

// Loads returns the manifests of all loads, sorted by name. It reads without
// verifying; Verify verifies. A load whose name, or a component's, is none any
// more is left out, since no device takes it: it must not keep others from being
// published.
func (r *Repository) Loads() ([]*load.Manifest, error) {
	c, err := r.read()
	if err != nil {
		return nil, err
	}
	if c.targets == nil {
		return nil, nil
	}
	var all []*load.Manifest
	for _, file := range slices.Sorted(maps.Keys(c.targets.Signed.Targets)) {
		raw, err := fetcher{r.tree}.Fetch(context.Background(),
			tuf.ComponentPath(fmt.Sprintf("%x", []byte(c.targets.Signed.Targets[file].Hashes["sha256"])), file),
			load.MaxManifestSize)
		if err != nil {
			return nil, err
		}
		m, err := load.ParseManifest(raw)
		if errors.Is(err, load.ErrName) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// Add publishes a load and replaces one of the same name. open returns a
// component's bytes; they are compared with the manifest while they are copied,
// so that a file that has changed since it was described gives ErrChanged and
// publishes nothing.
func (r *Repository) Add(m *load.Manifest, open func(name string) (io.ReadCloser, error)) error {
	text, err := m.Marshal()
	if err != nil {
		return err
	}
	c, unlock, err := r.begin()
	if err != nil {
		return err
	}
	defer unlock()
	for i := range m.Components {
		if err := r.addComponent(&m.Components[i], open); err != nil {
			return err
		}
	}
	copyOf := tuf.ComponentPath(load.DigestOf(text).String(), m.FileName())
	for _, p := range []string{copyOf, m.FileName()} {
		if err := r.tree.Write(p, text); err != nil {
			return err
		}
	}
	target, err := metadata.TargetFile().FromBytes(m.FileName(), text, "sha256")
	if err != nil {
		return err
	}
	if c.targets == nil {
		return fmt.Errorf("%w in %s: it was not completed", ErrNoRepository, r.where)
	}
	c.targets.Signed.Targets[m.FileName()] = target
	if err := r.signTargets(c); err != nil {
		return err
	}
	return r.publish(c)
}

// addComponent copies one component into the tree and checks it on the way.
func (r *Repository) addComponent(c *load.Component, open func(string) (io.ReadCloser, error)) error {
	src, err := open(c.Name)
	if err != nil {
		return err
	}
	defer src.Close()
	return r.tree.WriteFrom(tuf.ComponentPath(c.Digest.String(), c.Name), func(w io.Writer) error {
		got, err := load.Describe(c.Name, io.TeeReader(src, w), c.Size)
		if errors.Is(err, load.ErrShort) || errors.Is(err, load.ErrLong) {
			return fmt.Errorf("%w: %w", ErrChanged, err)
		}
		if err != nil {
			return err
		}
		if !equalComponent(got, *c) {
			return fmt.Errorf("%w: %s has the digest %s, the manifest says %s", ErrChanged, c.Name, got.Digest, c.Digest)
		}
		return nil
	})
}

func equalComponent(a, b load.Component) bool {
	return a.Name == b.Name && a.Size == b.Size && a.Digest == b.Digest && slices.Equal(a.Table, b.Table)
}

// ExportRoot returns the newest root, which devices get as their pin, and its
// version.
func (r *Repository) ExportRoot() ([]byte, int64, error) {
	version, err := r.newest(metadata.ROOT)
	if err != nil {
		return nil, 0, err
	}
	if version == 0 {
		return nil, 0, fmt.Errorf("%w in %s", ErrNoRepository, r.where)
	}
	raw, err := r.tree.Read(tuf.MetadataPath(metadata.ROOT, version), tuf.MaxRootSize)
	return bytes.Clone(raw), version, err
}
