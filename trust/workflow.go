package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/peerload/peerload/internal/tuf"
)

// accepted is metadata as bytes: what a client has accepted, as its directory
// holds it. A missing file is nil.
type accepted struct {
	// pin is the pinned root, from which all trust comes.
	pin []byte
	// roots are the roots after the pin, by version.
	roots                        map[int64][]byte
	timestamp, snapshot, targets []byte
}

// walk is one run of the client workflow (TUF specification, section 5). It
// uses trustedmetadata, the part of go-tuf that verifies, and not its updater,
// which writes without fsync, ties the device to net/http, and does not
// distinguish errors that an operator must tell apart.
type walk struct {
	fetcher Fetcher
	now     time.Time
	set     *trustedmetadata.TrustedMetadata
	// got starts as what was accepted before, and after each step is what is
	// accepted now; after a failed step it is correct up to that step.
	got accepted
}

// newWalk starts from what was accepted before.
func newWalk(before accepted, f Fetcher, now time.Time) (*walk, error) {
	w := &walk{fetcher: f, now: now, got: before}
	w.got.roots = maps.Clone(before.roots)
	if w.got.roots == nil {
		w.got.roots = make(map[int64][]byte)
	}
	err := tuf.Guard(func() (err error) {
		w.set, err = trustedmetadata.New(before.pin)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: root.json is no self-signed root: %w", ErrNoRoot, err)
	}
	w.set.RefTime = now
	return w, nil
}

// run does all steps.
func (w *walk) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{w.roots, w.timestamp, w.snapshot, w.targets} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// roots follows the stored roots from the pin, then those that it fetches.
func (w *walk) roots(ctx context.Context) error {
	pinned := w.set.Root.Signed.Version
	w.got.roots[pinned] = w.got.pin
	for n := 0; n < tuf.MaxRootRotations; n++ {
		v := w.set.Root.Signed.Version + 1
		if raw := w.got.roots[v]; raw != nil {
			if w.updateRoot(raw) == nil {
				continue
			}
			// Stored under another pin: it does not count, nor do later ones.
			maps.DeleteFunc(w.got.roots, func(k int64, _ []byte) bool { return k >= v })
		}
		raw, err := fetch(ctx, w.fetcher, tuf.MetadataPath(metadata.ROOT, v), tuf.MaxRootSize)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if err := w.updateRoot(raw); err != nil {
			return classify(fmt.Sprintf("root version %d", v), raw, w.now, err)
		}
		w.got.roots[v] = raw
	}
	if w.set.Root.Signed.IsExpired(w.now) {
		return expired("root", w.got.roots[w.set.Root.Signed.Version], w.now)
	}
	return nil
}

func (w *walk) updateRoot(raw []byte) error {
	return tuf.Guard(func() error {
		_, err := w.set.UpdateRoot(raw)
		return err
	})
}

func (w *walk) updateTimestamp(raw []byte) error {
	return tuf.Guard(func() error {
		m, err := metadata.Timestamp().FromBytes(raw)
		if err != nil {
			return err
		}
		if m.Signed.Meta["snapshot.json"] == nil {
			return errors.New("it does not name a snapshot")
		}
		_, err = w.set.UpdateTimestamp(raw)
		return err
	})
}

// timestamp loads the stored one, so that older ones are refused, then fetches.
func (w *walk) timestamp(ctx context.Context) error {
	kept := w.got.timestamp
	w.got.timestamp = nil
	if kept != nil {
		// A stored one that is signed by keys which the root no longer names is
		// dropped: that is how a repository recovers from a stolen key whose
		// thief raised the version numbers. An expired one still shows what is
		// older.
		if err := w.updateTimestamp(kept); err == nil || w.set.Timestamp != nil {
			w.got.timestamp = kept
		}
	}
	raw, err := fetch(ctx, w.fetcher, tuf.MetadataPath(metadata.TIMESTAMP, 0), tuf.MaxTimestampSize)
	if err != nil {
		return err
	}
	err = w.updateTimestamp(raw)
	if errors.Is(err, &metadata.ErrEqualVersionNumber{}) {
		raw = w.got.timestamp
		if w.set.Timestamp.Signed.IsExpired(w.now) {
			return expired("timestamp", raw, w.now)
		}
		return nil
	}
	if err != nil {
		return classify("timestamp", raw, w.now, err)
	}
	w.got.timestamp = raw
	return nil
}

// snapshot uses the stored one if it is the one that the timestamp names.
func (w *walk) snapshot(ctx context.Context) error {
	meta := w.set.Timestamp.Signed.Meta["snapshot.json"]
	update := func(raw []byte, trusted bool) error {
		return tuf.Guard(func() error {
			_, err := w.set.UpdateSnapshot(raw, trusted)
			return err
		})
	}
	kept := w.got.snapshot
	w.got.snapshot = nil
	if kept != nil {
		err := update(kept, true)
		if w.set.Snapshot != nil {
			w.got.snapshot = kept
		}
		if err == nil && meta.VerifyLengthHashes(kept) == nil {
			return nil
		}
	}
	raw, err := w.fetchNamed(ctx, metadata.SNAPSHOT, meta, tuf.MaxSnapshotSize)
	if err != nil {
		return err
	}
	before := w.set.Snapshot
	if err := update(raw, false); err != nil {
		if errors.Is(err, &metadata.ErrBadVersionNumber{}) && w.set.Snapshot != before {
			// Accepted, but not the version that the timestamp names.
			return fmt.Errorf("%w: snapshot: %w", ErrMixed, err)
		}
		return w.classifyNamed(metadata.SNAPSHOT, raw, err)
	}
	w.got.snapshot = raw
	return nil
}

// targets uses the stored ones if they are those that the snapshot names.
func (w *walk) targets(ctx context.Context) error {
	update := func(raw []byte) error {
		return tuf.Guard(func() error {
			_, err := w.set.UpdateTargets(raw)
			return err
		})
	}
	if w.got.targets != nil && update(w.got.targets) == nil {
		return nil
	}
	meta := w.set.Snapshot.Signed.Meta["targets.json"]
	if meta == nil {
		return fmt.Errorf("%w: the snapshot does not name targets", ErrMalformed)
	}
	raw, err := w.fetchNamed(ctx, metadata.TARGETS, meta, tuf.MaxTargetsSize)
	if err != nil {
		return err
	}
	if err := update(raw); err != nil {
		if errors.Is(err, &metadata.ErrBadVersionNumber{}) {
			return fmt.Errorf("%w: targets: %w", ErrMixed, err)
		}
		return w.classifyNamed(metadata.TARGETS, raw, err)
	}
	w.got.targets = raw
	return nil
}

// fetchNamed fetches the file that another file names, at most its stated
// length.
func (w *walk) fetchNamed(ctx context.Context, role string, meta *metadata.MetaFiles, max int64) ([]byte, error) {
	var version int64
	if w.set.Root.Signed.ConsistentSnapshot {
		version = meta.Version
	}
	if meta.Length < 0 || meta.Length > max {
		return nil, fmt.Errorf("%w: the %s is said to have %d bytes; %d are allowed", ErrTooLarge, role, meta.Length, max)
	}
	if meta.Length > 0 {
		max = meta.Length
	}
	return fetch(ctx, w.fetcher, tuf.MetadataPath(role, version), max)
}

// classifyNamed distinguishes a file of another state from an altered one: both
// have the wrong digest, but the first is properly signed.
func (w *walk) classifyNamed(role string, raw []byte, err error) error {
	if errors.Is(err, &metadata.ErrLengthOrHashMismatch{}) {
		sig := tuf.Guard(func() error {
			if role == metadata.SNAPSHOT {
				m, err := metadata.Snapshot().FromBytes(raw)
				if err != nil {
					return err
				}
				return w.set.Root.VerifyDelegate(role, m)
			}
			m, err := metadata.Targets().FromBytes(raw)
			if err != nil {
				return err
			}
			return w.set.Root.VerifyDelegate(role, m)
		})
		if sig != nil {
			err = sig
		}
	}
	return classify(role, raw, w.now, err)
}

// current reports whether everything accepted is still unexpired at now.
func (w *walk) current(now time.Time) error {
	s := w.set
	switch {
	case s.Root.Signed.IsExpired(now):
		return expired("root", w.got.roots[s.Root.Signed.Version], now)
	case s.Timestamp.Signed.IsExpired(now):
		return expired("timestamp", w.got.timestamp, now)
	case s.Snapshot.Signed.IsExpired(now):
		return expired("snapshot", w.got.snapshot, now)
	case s.Targets[metadata.TARGETS].Signed.IsExpired(now):
		return expired("targets", w.got.targets, now)
	}
	return nil
}

// same reports whether two sets of files are equal.
func (a accepted) same(b accepted) bool {
	return bytes.Equal(a.pin, b.pin) && maps.EqualFunc(a.roots, b.roots, bytes.Equal) &&
		bytes.Equal(a.timestamp, b.timestamp) && bytes.Equal(a.snapshot, b.snapshot) && bytes.Equal(a.targets, b.targets)
}
