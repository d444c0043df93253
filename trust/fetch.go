package trust

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
)

// Fetcher brings one file of a repository.
type Fetcher interface {
	// Fetch returns the file at a path relative to the repository's base,
	// for example "metadata/2.root.json". An error matches ErrNotFound if the
	// file does not exist, and ErrTooLarge if it is longer than max bytes,
	// more than which is never read.
	Fetch(ctx context.Context, path string, max int64) ([]byte, error)
}

// Limits of what is fetched, in bytes: endless data stops here at the latest,
// and at the signed length where there is one.
const (
	MaxRootSize      = 512_000
	MaxTimestampSize = 16 << 10
	MaxSnapshotSize  = 256 << 10
	MaxTargetsSize   = 1 << 20
	// MaxRootRotations bounds how many roots one refresh walks.
	MaxRootRotations = 256
)

// Where files are in a repository, relative to its base.
const (
	metadataDir   = "metadata"
	componentsDir = "components"
)

// metadataPath is the path of a role's file; version 0 means a name without one.
func metadataPath(role string, version int64) string {
	name := role + ".json"
	if version > 0 {
		name = strconv.FormatInt(version, 10) + "." + name
	}
	return path.Join(metadataDir, name)
}

// ComponentPath is where a published tree has a component, relative to its
// base: components/SHA256.NAME.
func ComponentPath(digest, name string) string {
	return path.Join(componentsDir, digest+"."+name)
}

// fetch fetches and does not trust the Fetcher with the bound.
func fetch(ctx context.Context, f Fetcher, p string, max int64) ([]byte, error) {
	b, err := f.Fetch(ctx, p, max)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", p, err)
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("fetch %s: %w: more than %d bytes", p, ErrTooLarge, max)
	}
	return b, nil
}

// DirFetcher is a published tree in a directory. Nothing outside it is read,
// symbolic links included.
type DirFetcher string

// Fetch implements Fetcher.
func (d DirFetcher) Fetch(ctx context.Context, p string, max int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.OpenInRoot(string(d), p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", p, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, p, max)
}

// readBounded reads to the end, or fails with ErrTooLarge behind max bytes.
func readBounded(r io.Reader, name string, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrTooLarge, max)
	}
	return b, nil
}
