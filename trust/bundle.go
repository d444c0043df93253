package trust

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
)

// Limits of a bundle.
const (
	// MaxBundleSize bounds a bundle, in bytes (4 MiB).
	MaxBundleSize = tuf.MaxBundleSize
	// maxBundleEntries bounds the files in a bundle.
	maxBundleEntries = 64
	// maxBundlePath bounds the path of a file, in bytes: it has one byte of length.
	maxBundlePath = 255
)

// bundleMagic opens a bundle; its last byte is the version of the format.
const bundleMagic = "PLTRUST\x01"

// Bundle is a set of files of one repository, carried from device to device:
// metadata and one manifest cross the WAN once per subnet. It proves nothing:
// each device runs its own Client over it. As bytes it is
//
//	magic "PLTRUST", version 1 (u8), number of files (u8),
//	per file, in ascending order of paths:
//	path length (u8), path, length (u32 big-endian), bytes
//
// so that the same files always give the same bytes.
type Bundle struct {
	files map[string][]byte
}

// newBundle makes a bundle of files by their paths.
func newBundle(files map[string][]byte) (*Bundle, error) {
	if n := len(files); n > maxBundleEntries {
		return nil, fmt.Errorf("%w: %d files are more than %d", errBundle, n, maxBundleEntries)
	}
	size := len(bundleMagic) + 1
	for p, b := range files {
		if err := checkBundlePath(p); err != nil {
			return nil, err
		}
		size += entrySize(p, b)
	}
	if size > MaxBundleSize {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", errBundle, size, MaxBundleSize)
	}
	return &Bundle{files: maps.Clone(files)}, nil
}

func entrySize(p string, b []byte) int { return 1 + len(p) + 4 + len(b) }

// checkBundlePath allows clean relative paths only.
func checkBundlePath(p string) error {
	if p == "" || len(p) > maxBundlePath || !utf8.ValidString(p) || strings.ContainsAny(p, "\\\x00") ||
		path.Clean("/"+p) != "/"+p {
		return fmt.Errorf("%w: %q is no path of a repository", errBundle, p)
	}
	return nil
}

// paths returns the paths of the files in ascending order.
func (b *Bundle) paths() []string { return slices.Sorted(maps.Keys(b.files)) }

// Fetch implements Fetcher.
func (b *Bundle) Fetch(ctx context.Context, p string, max int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	raw, ok := b.files[p]
	if !ok {
		return nil, fmt.Errorf("the bundle has no %s: %w", p, ErrNotFound)
	}
	if int64(len(raw)) > max {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", p, ErrTooLarge, max)
	}
	return raw, nil
}

// PackBundle returns the bundle as bytes.
func PackBundle(b *Bundle) []byte {
	out := append([]byte(bundleMagic), byte(len(b.files)))
	for _, p := range b.paths() {
		out = append(out, byte(len(p)))
		out = append(out, p...)
		out = binary.BigEndian.AppendUint32(out, uint32(len(b.files[p])))
		out = append(out, b.files[p]...)
	}
	return out
}

// ParseBundle reads what PackBundle wrote. The bundle refers to the bytes.
func ParseBundle(raw []byte) (*Bundle, error) {
	if len(raw) > MaxBundleSize {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", errBundle, len(raw), MaxBundleSize)
	}
	rest, ok := bytes.CutPrefix(raw, []byte(bundleMagic))
	if !ok || len(rest) == 0 {
		return nil, fmt.Errorf("%w: it does not begin as a bundle of version %d does", errBundle,
			bundleMagic[len(bundleMagic)-1])
	}
	n := int(rest[0])
	rest = rest[1:]
	if n > maxBundleEntries {
		return nil, fmt.Errorf("%w: %d files are more than %d", errBundle, n, maxBundleEntries)
	}
	b := &Bundle{files: make(map[string][]byte, n)}
	last := ""
	for range n {
		p, data, tail, err := bundleEntry(rest)
		if err != nil {
			return nil, err
		}
		if p <= last {
			return nil, fmt.Errorf("%w: %q stands behind %q", errBundle, p, last)
		}
		b.files[p], last, rest = data, p, tail
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes follow the last file", errBundle, len(rest))
	}
	return b, nil
}

// bundleEntry splits off one file.
func bundleEntry(raw []byte) (p string, data, rest []byte, err error) {
	cutOff := fmt.Errorf("%w: it is cut off", errBundle)
	if len(raw) < 1 || len(raw) < 1+int(raw[0])+4 {
		return "", nil, nil, cutOff
	}
	pathLen := int(raw[0])
	p, raw = string(raw[1:1+pathLen]), raw[1+pathLen:]
	if err := checkBundlePath(p); err != nil {
		return "", nil, nil, err
	}
	n := int64(binary.BigEndian.Uint32(raw))
	if raw = raw[4:]; n > int64(len(raw)) {
		return "", nil, nil, cutOff
	}
	return p, raw[:n:n], raw[n:], nil
}

// BuildBundle refreshes over f, verifies the manifest of load NAME and packs
// all that another device needs to do the same without f: the roots known here
// after version 1, so that a device with an older pin can follow, the
// timestamp, the snapshot, the targets and the manifest. If there are more
// roots than fit, the newest are packed.
func (c *Client) BuildBundle(ctx context.Context, f Fetcher, name string) (*Bundle, *load.Manifest, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(ctx, f); err != nil {
		return nil, nil, err
	}
	w := c.current
	m, raw, at, err := w.manifest(ctx, f, name)
	if err != nil {
		return nil, nil, err
	}
	var snapshotVersion, targetsVersion int64
	if w.set.Root.Signed.ConsistentSnapshot {
		snapshotVersion = w.set.Snapshot.Signed.Version
		targetsVersion = w.set.Targets[metadata.TARGETS].Signed.Version
	}
	files := map[string][]byte{
		tuf.MetadataPath(metadata.TIMESTAMP, 0):              w.got.timestamp,
		tuf.MetadataPath(metadata.SNAPSHOT, snapshotVersion): w.got.snapshot,
		tuf.MetadataPath(metadata.TARGETS, targetsVersion):   w.got.targets,
		at: raw,
	}
	size := len(bundleMagic) + 1
	for p, b := range files {
		size += entrySize(p, b)
	}
	for v := w.set.Root.Signed.Version; v > 1 && w.got.roots[v] != nil; v-- {
		p := tuf.MetadataPath(metadata.ROOT, v)
		size += entrySize(p, w.got.roots[v])
		if len(files) == maxBundleEntries || size > MaxBundleSize {
			break
		}
		files[p] = w.got.roots[v]
	}
	b, err := newBundle(files)
	if err != nil {
		return nil, nil, errors.Join(err, fmt.Errorf("load %q cannot be shared as a bundle", m.Name))
	}
	return b, m, nil
}
