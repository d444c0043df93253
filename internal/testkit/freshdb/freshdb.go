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
	if err := s.Close(); err != nil { // all is in the file then
		return nil, err
	}
	return os.ReadFile(path)
})

// Open opens the database at path, which is made if it is missing.
func Open(ctx context.Context, path string) (*sqlite.Store, error) {
	b, err := migrated()
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
