// Package sqlite is the domain.Store of one file: SQLite through
// modernc.org/sqlite, which needs no C compiler.
//
// What lives here: opening, and settings of the database. What must not:
// statements, which are in package store for both databases.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/peerload/peerload/internal/controller/store"
)

// Config configures a Store.
type Config struct {
	// Path of the database's file. Required. It is made if missing, readable by
	// its owner only, in a directory that exists.
	Path string
	// Busy is how long to wait for another process that writes, and how long for
	// those of this one that come before. 0 means 5 s, many times what the longest
	// update takes; who waits for twice that still listens.
	Busy time.Duration
	// Readers are how many may read at a time. 0 means 8: reads are short, and
	// more of them only wait for the same processors.
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
type Store struct{ *store.DB }

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
		cfg.Busy = 5 * time.Second
	}
	if cfg.Readers == 0 {
		cfg.Readers = 8
	}
	if err := create(cfg.Path); err != nil {
		return nil, err
	}
	writes, err := connect(cfg, "immediate", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"cache_size(-"+writerCache+")", "wal_autocheckpoint("+checkpointAt+")")
	if err != nil {
		return nil, err
	}
	writes.SetMaxOpenConns(1)
	if err := keepFiles(ctx, writes); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	if err := store.Migrate(ctx, "sqlite", writes, 0); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	if err := indexTexts(ctx, writes); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	reads, err := connect(cfg, "deferred", "query_only(1)", "cache_size(-"+readerCache+")")
	if err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	reads.SetMaxOpenConns(cfg.Readers)
	reads.SetMaxIdleConns(cfg.Readers)
	return &Store{&store.DB{Writes: writes, Reads: reads, ConnTimeout: cfg.Busy,
		Dialect: store.Dialect{Name: "sqlite", Full: full, Away: locked,
			Texts: map[string]string{"devices": "devices_text"}}}}, nil
}

const (
	// writerCache and readerCache are how much of the database a connection keeps in
	// memory, in KiB: the upper pages of the indices that it walks, and what a
	// transaction writes. SQLite's own 2 MB are too little for 100,000 devices.
	writerCache, readerCache = "32768", "8192"
	// checkpointAt is how many pages the log gets before they are copied into the file:
	// of a page that was written twice meanwhile, only the last is. They are 32 MB.
	checkpointAt = "8192"
)

// textIndex finds devices by any part of their texts. It is no table of the schema: it
// follows from devices, and only this database has it.
var textIndex = []string{
	`CREATE VIRTUAL TABLE devices_text USING fts5(search, content='devices', tokenize='trigram', detail='full')`,
	`CREATE TRIGGER devices_text_added AFTER INSERT ON devices BEGIN
		INSERT INTO devices_text (rowid, search) VALUES (new.rowid, new.search); END`,
	`CREATE TRIGGER devices_text_removed AFTER DELETE ON devices BEGIN
		INSERT INTO devices_text (devices_text, rowid, search) VALUES ('delete', old.rowid, old.search); END`,
	`CREATE TRIGGER devices_text_changed AFTER UPDATE OF search ON devices WHEN old.search <> new.search BEGIN
		INSERT INTO devices_text (devices_text, rowid, search) VALUES ('delete', old.rowid, old.search);
		INSERT INTO devices_text (rowid, search) VALUES (new.rowid, new.search); END`,
}

// indexTexts makes the index, if it is not there, and fills it anew after a change of the
// schema or a VACUUM: that may give rows other numbers, by which the index knows them.
func indexTexts(ctx context.Context, db *sql.DB) error {
	// Nearly always there is nothing to do, and whoever only reads does not wait for
	// who writes.
	if _, filled, err := textsFilled(ctx, db); filled || err != nil {
		return err
	}
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	defer t.Rollback() // does nothing after a commit
	there, filled, err := textsFilled(ctx, t)
	if filled || err != nil {
		return err
	}
	var statements []string
	if !there {
		statements = textIndex
	}
	statements = append(slices.Clone(statements), `INSERT INTO devices_text (devices_text) VALUES ('rebuild')`)
	for _, statement := range statements {
		if _, err := t.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("sqlite: the index of texts: %w", err)
		}
	}
	var schema int
	if err := t.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&schema); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if _, err := t.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schema)); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return t.Commit()
}

// textsFilled tells whether the index of texts is there, and filled since the last
// change of the schema.
func textsFilled(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (there, filled bool, err error) {
	var tables, schema, at int
	for query, to := range map[string]*int{
		"SELECT count(*) FROM sqlite_master WHERE name = 'devices_text'": &tables,
		"PRAGMA schema_version": &schema, "PRAGMA user_version": &at,
	} {
		if err := db.QueryRowContext(ctx, query).Scan(to); err != nil {
			return false, false, fmt.Errorf("sqlite: %w", err)
		}
	}
	return tables > 0, tables > 0 && schema == at, nil
}

// Close implements domain.Store. The write-ahead log stays; after the last process it
// is empty: all is in the database.
func (s *Store) Close() error {
	// If it cannot be emptied, because another process is at it, it is read at the
	// next start.
	ctx := context.Background()
	if conn, err := s.Writes.Conn(ctx); err == nil {
		for _, pragma := range []string{"busy_timeout = 0", "wal_checkpoint(TRUNCATE)"} {
			_, _ = conn.ExecContext(ctx, "PRAGMA "+pragma)
		}
		_ = conn.Close()
	}
	return s.DB.Close()
}

// keepFiles lets the write-ahead log and its index stay when the last connection
// ends: there may be no room to make them again at the next start.
func keepFiles(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		control, ok := c.(driver.FileControl)
		if !ok {
			return errors.New("sqlite: the driver has no file control")
		}
		_, err := control.FileControlPersistWAL("main", 1)
		return err
	})
}

// full reports whether SQLite found no room for what was to be written.
func full(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_FULL
}

// locked reports whether another process kept SQLite from the file.
func locked(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && (e.Code()&0xff == lib.SQLITE_BUSY || e.Code()&0xff == lib.SQLITE_LOCKED)
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
	to, err := driver.NewConnector(u.String())
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	return sql.OpenDB(connector{to}), nil
}
