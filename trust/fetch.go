package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/tuf"
)

// Fetcher brings one file of a repository.
type Fetcher interface {
	// Fetch returns the file at a path relative to the repository's base, for
	// example "metadata/2.root.json". An error matches ErrNotFound if the file
	// does not exist, and ErrTooLarge if it is longer than max bytes; it never
	// reads more than that.
	Fetch(ctx context.Context, path string, max int64) ([]byte, error)
}

// ComponentPath returns the path of a component in a published tree, relative
// to its base: components/SHA256.NAME.
func ComponentPath(digest, name string) string {
	return tuf.ComponentPath(digest, name)
}

// fetch fetches a file, and checks the bound itself.
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
	return durable.ReadAll(f, p, max)
}
