// Package freshdb opens databases of SQLite for tests that need a new one each: the
// migrations run once in a process, and every database begins as a copy of what they
// made. Under the race detector they would be most of what such a test takes.
//
// What lives here: the copy. What must not: tests of migrations, which begin with
// nothing. Read first: Open.
package freshdb

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/peerload/peerload/internal/controller/store/sqlite"
)

// migrated is the file of a database with no rows.
var migrated = sync.OnceValues(func() ([]byte, error) {
	return made(func(context.Context, *sqlite.Store) error { return nil })
})

// made is the file of a database after more has made its tables, too.
func made(more func(context.Context, *sqlite.Store) error) ([]byte, error) {
	dir, err := os.MkdirTemp("", "peerload-freshdb-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a.db")
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		return nil, err
	}
	// All is in the file once it is closed.
	if err := errors.Join(more(context.Background(), s), s.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// Open opens the database at path, which is made if it is missing.
func Open(ctx context.Context, path string) (*sqlite.Store, error) {
	return open(ctx, path, migrated)
}

// With returns an Open of databases in which more has made tables, too, once.
func With(more func(context.Context, *sqlite.Store) error) func(context.Context, string) (*sqlite.Store, error) {
	file := sync.OnceValues(func() ([]byte, error) { return made(more) })
	return func(ctx context.Context, path string) (*sqlite.Store, error) { return open(ctx, path, file) }
}

func open(ctx context.Context, path string, file func() ([]byte, error)) (*sqlite.Store, error) {
	b, err := file()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return sqlite.Open(ctx, sqlite.Config{Path: path})
}
