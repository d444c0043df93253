// Package sqlite is the domain.Store of one file: SQLite through
// modernc.org/sqlite, which needs no C compiler.
//
// What lives here: opening, settings of the database, backup and restore. What
// must not: statements, which are in package store for both databases.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	driver "modernc.org/sqlite" // the driver "sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/peerload/peerload/internal/controller/store"
)

// Config configures a Store.
type Config struct {
	// Path of the database's file. Required. It is made if missing, readable by
	// its owner only, in a directory that exists.
	Path string
	// Busy is how long to wait for another process that writes. 0 means 10 s.
	Busy time.Duration
	// Readers are how many may read at a time. 0 means 8.
	Readers int
}

// Validate says what is missing or out of range.
func (c Config) Validate() error {
	if c.Path == "" {
		return errors.New("sqlite: no path")
	}
	if c.Busy < 0 || c.Readers < 0 {
		return errors.New("sqlite: a time or number is negative")
	}
	return nil
}

// Store is a domain.Store in one file.
type Store struct {
	*store.DB
	path string
}

// Open opens the database and brings it to the newest version. Errors match
// store.ErrNewer if a newer program has written it.
//
// It is in WAL mode with full synchronization: what was committed survives a
// killed process and a power cut, and readers do not wait for the writer.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Busy == 0 {
		cfg.Busy = 10 * time.Second
	}
	if cfg.Readers == 0 {
		cfg.Readers = 8
	}
	if err := create(cfg.Path); err != nil {
		return nil, err
	}
	writes, err := connect(cfg, "immediate", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)")
	if err != nil {
		return nil, err
	}
	writes.SetMaxOpenConns(1)
	if err := store.Migrate(ctx, "sqlite", writes, 0); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	reads, err := connect(cfg, "deferred", "query_only(1)")
	if err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	reads.SetMaxOpenConns(cfg.Readers)
	reads.SetMaxIdleConns(cfg.Readers)
	return &Store{&store.DB{Writes: writes, Reads: reads, Dialect: store.Dialect{Name: "sqlite", Full: full}}, cfg.Path}, nil
}

// full reports whether SQLite found no room for what was to be written.
func full(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_FULL
}

// create makes an empty file for its owner alone; SQLite gives the files beside
// it the same rights.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return f.Close()
}

func connect(cfg Config, lock string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_txlock": {lock}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", cfg.Busy.Milliseconds())}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return sql.Open("sqlite", u.String())
}

// Backup writes the database as it is at one moment into a new file, while it
// is in use. A file that is there is not overwritten. The copy is whole or not
// there at all.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sqlite: backup: %s is there already: %w", path, fs.ErrExist)
	}
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("sqlite: backup: %w", err)
	}
	defer os.Remove(part) // there no more after a success
	defer f.Close()
	if _, err := s.Writes.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
		return fmt.Errorf("sqlite: backup: %w", err)
	}
	return settle(f, part, path)
}

// settle gives a complete file its name, for good.
func settle(f *os.File, part, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Check runs SQLite's own check of the file.
func (s *Store) Check(ctx context.Context) error {
	var word string
	if err := s.Reads.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&word); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if word != "ok" {
		return fmt.Errorf("sqlite: the database is damaged: %s", word)
	}
	return nil
}

// Restore makes a database of a backup. No database must be at the path: who
// wants to replace one moves it away first. The backup is checked before the
// path appears, and is not changed.
func Restore(ctx context.Context, backup, path string) (err error) {
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sqlite: restore: %s is there already; move it away first: %w", p, fs.ErrExist)
		}
	}
	from, err := os.Open(backup)
	if err != nil {
		return fmt.Errorf("sqlite: restore: %w", err)
	}
	defer from.Close()
	part := path + ".part"
	to, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("sqlite: restore: %w", err)
	}
	defer func() {
		to.Close()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(part + suffix) // there no more after a success
		}
	}()
	if _, err := io.Copy(to, from); err != nil {
		return fmt.Errorf("sqlite: restore: %w", err)
	}
	s, err := Open(ctx, Config{Path: part})
	if err != nil {
		return fmt.Errorf("sqlite: restore: %s is no backup that can be used: %w", backup, err)
	}
	// Closing the last connection writes the log back into the file.
	if err := errors.Join(s.Check(ctx), s.Close()); err != nil {
		return err
	}
	return settle(to, part, path)
}
