// Package postgres is the domain.Store in a PostgreSQL database, for sites
// that have one and back it up. Several controllers may share it. A backup while
// it is in use is pg_dump's matter, or Export's, which SQLite can import.
//
// What lives here: opening, and what PostgreSQL does in its own way. What must
// not: statements, which are in package store for both databases.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/peerload/peerload/internal/controller/store"
)

// Config configures a Store.
type Config struct {
	// URL of the database as libpq takes it: postgres://user@host/name, or
	// "host=/run/postgresql dbname=peerload". Required. The password is better
	// in ~/.pgpass or PGPASSWORD than here.
	URL string
	// Connections are the most at a time, at least 2: one waits for the lock of
	// migrations while another migrates. 0 means 16, a sixth of what a server
	// allows by default, so that a few controllers fit.
	Connections int
	// filling opens a database that Fill has not done with.
	filling bool
}

// Validate says what is missing or out of range.
func (c Config) Validate() error {
	if c.URL == "" {
		return errors.New("postgres: no URL")
	}
	if c.Connections < 0 || c.Connections == 1 {
		return errors.New("postgres: fewer than 2 connections")
	}
	return nil
}

// migrateLock is the number of the lock for migrations. The numbers of both
// locks are ours alone by being random.
const migrateLock = "2745193350186642"

// updateLock makes one update at a time of all controllers of the database:
// then none can fail because of another, which it could as a serializable
// transaction. Readers do not wait.
const updateLock = "SELECT pg_advisory_xact_lock(7018141438172451)"

// connTimeout is how long to wait for a connection, and again for a lock that
// somebody else holds: a device that asks still listens after both.
const connTimeout = 5 * time.Second

// idleTimeout is how long a connection stays that nobody uses: others may need the
// server's processes, too.
const idleTimeout = time.Minute

// alive has the server notice within half a minute that a controller's host or network
// is gone. What such a connection has locked, all writers for example, is held until
// then: by default for more than two hours.
var alive = map[string]string{"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
	"tcp_user_timeout": "30000"}

// Store is a domain.Store in a PostgreSQL database.
type Store struct {
	*store.DB
	url string
}

// Listener returns a pool of connections for who listens to notifications: it has
// one at most, and makes it when it is asked for.
func (s *Store) Listener(ctx context.Context) (*pgxpool.Pool, error) {
	to, err := pgxpool.ParseConfig(s.url)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	to.MinConns, to.MaxConns = 0, 1
	return pgxpool.NewWithConfig(ctx, to)
}

// Locked runs fn while no other controller of the database migrates.
func (s *Store) Locked(ctx context.Context, fn func() error) error { return locked(ctx, s.Writes, fn) }

// Open connects to the database, which must exist, and brings it to the newest
// version. Errors match store.ErrNewer if a newer program has written it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Connections == 0 {
		cfg.Connections = 16
	}
	to, err := pgx.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if _, set := to.RuntimeParams["lock_timeout"]; !set {
		to.RuntimeParams["lock_timeout"] = strconv.FormatInt(connTimeout.Milliseconds(), 10)
	}
	for name, value := range alive {
		if _, set := to.RuntimeParams[name]; !set {
			to.RuntimeParams[name] = value
		}
	}
	db := stdlib.OpenDB(*to)
	db.SetMaxOpenConns(cfg.Connections)
	// All of them stay while they are used: to make one, the server starts a process.
	db.SetMaxIdleConns(cfg.Connections)
	db.SetConnMaxIdleTime(idleTimeout)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s := &Store{&store.DB{Writes: db, Reads: db, Dialect: dialect(), ConnTimeout: connTimeout}, cfg.URL}
	if half, err := s.half(ctx); err != nil || half && !cfg.filling {
		return nil, errors.Join(cmp.Or(err, ErrHalf), db.Close())
	}
	return s, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	return locked(ctx, db, func() error {
		if err := migrateTables(ctx, db); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, sharedTable); err != nil {
			return fmt.Errorf("postgres: %w", err)
		}
		if err := errors.Join(tell(ctx, db), revise(ctx, db)); err != nil {
			return err
		}
		return indexTexts(ctx, db)
	})
}

// migrateTries is how often a migration is begun that the server ends because it and a
// controller at work wait for each other. Each try takes the server's deadlock_timeout, by
// default a second.
const migrateTries = 20

// migrateTables brings the tables up to date, also while other controllers write to them.
func migrateTables(ctx context.Context, db *sql.DB) (err error) {
	for range migrateTries {
		if err = store.Migrate(ctx, "postgres", db, 0); !deadlocked(err) {
			break
		}
	}
	return err
}

// Codes of errors.
const (
	lockTimeout      = "55P03"
	undefinedObject  = "42704"
	deadlockDetected = "40P01"
)

// deadlocked reports whether the server ended a transaction because it and others waited
// for each other: nothing of it was done, and it can be done again.
func deadlocked(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == deadlockDetected
}

// indexTexts makes the index that finds devices by any part of their texts, where the
// server has pg_trgm and lets us: without it such lists are right, and take longer.
func indexTexts(ctx context.Context, db *sql.DB) error {
	there := false // to make it once more would wait for all writers, only to find it there
	err := db.QueryRowContext(ctx, "SELECT to_regclass('devices_text') IS NOT NULL").Scan(&there)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if there {
		return nil
	}
	if _, err := db.ExecContext(ctx, "CREATE EXTENSION IF NOT EXISTS pg_trgm"); err != nil {
		var e *pgconn.PgError
		if errors.As(err, &e) { // it is not installed, or not ours to make
			return nil
		}
		return fmt.Errorf("postgres: %w", err)
	}
	_, err = db.ExecContext(ctx, "CREATE INDEX IF NOT EXISTS devices_text ON devices USING gin (search gin_trgm_ops)")
	var e *pgconn.PgError
	if errors.As(err, &e) && (e.Code == lockTimeout || e.Code == undefinedObject) {
		return nil // somebody writes for long, so the next start makes it; or pg_trgm is in a schema out of sight
	}
	if err != nil {
		return fmt.Errorf("postgres: the index of texts: %w", err)
	}
	return nil
}

// locked lets one controller migrate and the others wait: the lock is that of its
// connection, and ends with it.
func locked(ctx context.Context, db *sql.DB, fn func() error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer conn.Close()
	// A migration may take as long as it does, and is waited for.
	if _, err := conn.ExecContext(ctx, "SET lock_timeout = 0"); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	// The connection ends here, so that no later use of it has this setting.
	defer func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock("+migrateLock+")"); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	err = fn()
	if _, e := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock("+migrateLock+")"); e != nil {
		err = errors.Join(err, fmt.Errorf("postgres: %w", e))
	}
	return err
}

func dialect() store.Dialect {
	return store.Dialect{Name: "postgres", Dollar: true, Lock: updateLock, Counts: true,
		ReadOnly: &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, Full: full, Away: away, Stale: true,
		Revisions: true, Arrays: true, Anew: pgx.QueryExecModeCacheDescribe,
		Texts: map[string]string{"devices": "devices_text"}}
}

// away reports whether the server is not there, or not for us: it restarts or
// shuts down (57P), has no connection left (53300), its connection broke (08), somebody
// holds a lock (55P03), or a migration of another controller went before (40P01).
func away(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08") || e.Code == "53300" ||
			e.Code == lockTimeout || e.Code == deadlockDetected
	}
	var network net.Error
	return errors.As(err, new(*pgconn.ConnectError)) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// full reports whether the server found no room for what was to be written:
// disk_full of class 53, insufficient resources.
func full(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "53100"
}
