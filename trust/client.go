package trust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
)

// PinName is the file of the trust directory that holds the pinned root.
const PinName = "root.json"

// Config configures a Client. Set one of Dir and Pin.
type Config struct {
	// Dir is the trust directory. root.json is put there when the device is
	// provisioned, and the client never changes it; the client keeps what it
	// has accepted beside it. Empty: there is no directory, and Pin is needed.
	Dir string
	// Pin is the text of the pinned root.json, for a client without a
	// directory: it begins like a new device, and does not store what it has
	// accepted. nil: Dir has it.
	Pin []byte
	// Now returns the reference time for expiry. nil means time.Now, the only
	// right one for devices; tests and checks of a past state pass their own.
	Now func() time.Time
}

// Validate asks for one of Dir and Pin.
func (c Config) Validate() error {
	switch {
	case c.Dir == "" && c.Pin == nil:
		return errors.New("trust: give Dir, the trust directory, or Pin, the text of the pinned root.json")
	case c.Dir != "" && c.Pin != nil:
		return errors.New("trust: give Dir or Pin, not both")
	}
	return nil
}

// Client verifies loads for a device. It may be used by several goroutines,
// and several processes may share its directory.
type Client struct {
	dir  string
	now  func() time.Time
	disk durable.Writer

	mu      sync.Mutex
	current *walk    // nil until a refresh has succeeded
	kept    accepted // what dir would hold, if there is none
}

// New opens a trust directory, or begins from Config.Pin. An error matches
// ErrNoRoot if there is no usable root, or ErrStore if the directory cannot be
// read; the error for a Config with neither or both of Dir and Pin matches none
// of them.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Client{dir: cfg.Dir, now: cfg.Now, kept: accepted{pin: cfg.Pin}}
	if c.now == nil {
		c.now = time.Now
	}
	before, err := c.load()
	if err != nil {
		return nil, err
	}
	if _, err := newWalk(before, nil, c.now()); err != nil {
		return nil, err
	}
	return c, nil
}

// Refresh runs the TUF client workflow over f and keeps what it accepts. f is
// the origin or a Bundle; a Bundle older than what this device has accepted
// gives ErrRolledBack, one that has expired ErrExpired, and the caller then
// turns to the origin. After an error, what was trusted before is unchanged,
// except that verified parts are kept so that older ones can be refused.
func (c *Client) Refresh(ctx context.Context, f Fetcher) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refresh(ctx, f)
}

func (c *Client) refresh(ctx context.Context, f Fetcher) error {
	const tries = 3
	for range tries {
		before, err := c.load()
		if err != nil {
			return err
		}
		w, err := newWalk(before, f, c.now())
		if err != nil {
			return err
		}
		refused := w.run(ctx)
		committed, err := c.commit(before, w.got)
		if err != nil {
			return errors.Join(refused, err)
		}
		if !committed {
			continue
		}
		if refused == nil {
			c.current = w
		}
		return refused
	}
	return fmt.Errorf("%w %s: other processes changed it during each of %d tries", ErrStore, c.dir, tries)
}

// Manifest returns the verified manifest of load NAME and its text. name is
// NAME or NAME.load. It relies on the last Refresh, and refreshes over f first
// if there was none in this process or if it has expired since. The caller must
// check, with Manifest.Models, whether the load is for this device's model.
func (c *Client) Manifest(ctx context.Context, f Fetcher, name string) (*load.Manifest, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ensure(ctx, f); err != nil {
		return nil, nil, err
	}
	m, raw, _, err := c.current.manifest(ctx, f, name)
	return m, raw, err
}

// ensure refreshes unless the last refresh is still valid.
func (c *Client) ensure(ctx context.Context, f Fetcher) error {
	if c.current != nil && c.current.current(c.now()) == nil {
		return nil
	}
	return c.refresh(ctx, f)
}

// Loads returns the names of the loads that the last Refresh found, sorted.
func (c *Client) Loads() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return nil
	}
	return c.current.loads()
}

func (w *walk) loads() []string {
	var names []string
	for target := range w.set.Targets[metadata.TARGETS].Signed.Targets {
		if name, ok := strings.CutSuffix(target, load.ManifestSuffix); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// manifest fetches and verifies NAME.load; at is its path.
func (w *walk) manifest(ctx context.Context, f Fetcher, name string) (m *load.Manifest, raw []byte, at string,
	err error) {
	name = strings.TrimSuffix(name, load.ManifestSuffix)
	if err := load.CheckName(name); err != nil {
		return nil, nil, "", fmt.Errorf("the load's name: %w", err)
	}
	file := name + load.ManifestSuffix
	target := w.set.Targets[metadata.TARGETS].Signed.Targets[file]
	if target == nil {
		return nil, nil, "", fmt.Errorf("%w: %q; it has %s", ErrUnknownTarget, name, some(w.loads()))
	}
	digest, ok := target.Hashes["sha256"]
	if !ok || len(digest) != sha256.Size {
		return nil, nil, "", fmt.Errorf("%w: %s has no SHA-256", ErrMalformed, file)
	}
	if target.Length < 1 || target.Length > load.MaxManifestSize {
		return nil, nil, "", fmt.Errorf("%w: %s is said to have %d bytes", ErrWrongLength, file, target.Length)
	}
	// The copy under its digest never changes. A tree that another tool has
	// made without consistent snapshots has only NAME.load.
	at = ComponentPath(load.Digest(digest).String(), file)
	raw, err = fetch(ctx, f, at, target.Length)
	if errors.Is(err, ErrNotFound) {
		at = file
		raw, err = fetch(ctx, f, at, target.Length)
	}
	if errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrWrongLength, err)
	}
	if err != nil {
		return nil, nil, "", err
	}
	if int64(len(raw)) != target.Length {
		return nil, nil, "", fmt.Errorf("%w: %s has %d bytes, %d are signed", ErrWrongLength, file, len(raw), target.Length)
	}
	if err := tuf.Guard(func() error { return target.VerifyLengthHashes(raw) }); err != nil {
		return nil, nil, "", fmt.Errorf("%w: %s", ErrWrongHash, file)
	}
	m, err = load.ParseManifest(raw)
	if err != nil {
		return nil, nil, "", fmt.Errorf("%w: %s: %w", ErrMalformed, file, err)
	}
	if m.Name != name {
		return nil, nil, "", fmt.Errorf("%w: %s describes load %q", ErrMalformed, file, m.Name)
	}
	return m, raw, at, nil
}

// some returns a few of the names for an error message.
func some(names []string) string {
	const few = 5
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > few:
		return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
	}
	return strings.Join(names, ", ")
}

// load reads the trust directory.
func (c *Client) load() (accepted, error) {
	if c.dir == "" {
		return c.kept, nil
	}
	a := accepted{roots: make(map[int64][]byte)}
	var err error
	if a.pin, err = durable.Read(filepath.Join(c.dir, PinName), tuf.MaxRootSize); err != nil {
		return accepted{}, fmt.Errorf("%w: %w", ErrStore, err)
	}
	if a.pin == nil {
		return accepted{}, fmt.Errorf("%w: %s is missing; put the root.json there that the publisher gives out "+
			"(peerload-server trust export)", ErrNoRoot, filepath.Join(c.dir, PinName))
	}
	versions, err := c.rootVersions()
	// A damaged copy of what was accepted is accepted anew. An error that may
	// pass is none of that: without its copy a device takes older metadata.
	read := func(name string, max int64) (b []byte) {
		if err == nil {
			b, err = durable.Read(filepath.Join(c.dir, name), max)
		}
		if errors.Is(err, ErrTooLarge) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ELOOP) {
			err = nil
		}
		return b
	}
	for _, v := range versions {
		a.roots[v] = read(strconv.FormatInt(v, 10)+".root.json", tuf.MaxRootSize)
	}
	a.timestamp = read("timestamp.json", tuf.MaxTimestampSize)
	a.snapshot = read("snapshot.json", tuf.MaxSnapshotSize)
	a.targets = read("targets.json", tuf.MaxTargetsSize)
	if err != nil {
		return accepted{}, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return a, nil
}

// rootVersions lists the roots kept beside the pin, the newest at most.
func (c *Client) rootVersions() ([]int64, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var versions []int64
	for _, e := range entries {
		s, ok := strings.CutSuffix(e.Name(), ".root.json")
		v, err := strconv.ParseInt(s, 10, 64)
		if ok && err == nil && v > 0 && strconv.FormatInt(v, 10) == s {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	if n := len(versions) - tuf.MaxRootRotations; n > 0 {
		versions = versions[n:]
	}
	return versions, nil
}

// commit writes what is new. It returns false, and writes nothing, if another
// process has changed the directory since `before` was read: then what was
// verified may be older than what is there now. Each file is replaced
// atomically; after a power cut between two files the next refresh completes
// the set.
func (c *Client) commit(before, after accepted) (bool, error) {
	if c.dir == "" {
		c.kept = after
		return true, nil
	}
	type change struct {
		name string
		data []byte
	}
	var changes []change
	add := func(name string, was, is []byte) {
		if is != nil && !bytes.Equal(was, is) {
			changes = append(changes, change{name, is})
		}
	}
	for _, v := range slices.Sorted(maps.Keys(after.roots)) {
		if !bytes.Equal(after.roots[v], after.pin) {
			add(strconv.FormatInt(v, 10)+".root.json", before.roots[v], after.roots[v])
		}
	}
	add("timestamp.json", before.timestamp, after.timestamp)
	add("snapshot.json", before.snapshot, after.snapshot)
	add("targets.json", before.targets, after.targets)
	if len(changes) == 0 {
		return true, nil // so a directory that cannot be written is good enough
	}
	unlock, err := durable.Lock(c.dir)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrStore, err)
	}
	defer unlock()
	now, err := c.load()
	if err != nil {
		return false, err
	}
	if !now.same(before) {
		return false, nil
	}
	for _, ch := range changes {
		if err := c.disk.Replace(filepath.Join(c.dir, ch.name), ch.data, 0o644); err != nil {
			return false, fmt.Errorf("%w: %w", ErrStore, err)
		}
	}
	return true, nil
}
