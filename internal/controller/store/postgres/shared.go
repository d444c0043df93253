package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
)

// SharedFile is a file that all controllers of a database have, as one of them has
// written it.
type SharedFile struct {
	// Path is its name, Version counts what was written under it.
	Path    string
	Version int64
	// Sealed is its content, which the database cannot read; nil says that the file was
	// removed.
	Sealed []byte
}

// sharedTable holds the shared files. It is no part of a backup, as files beside a
// database of SQLite are none.
const sharedTable = `CREATE TABLE IF NOT EXISTS peerload_shared (
	path TEXT COLLATE "C" PRIMARY KEY, version BIGINT NOT NULL, sealed BYTEA)`

// SharedFiles lists all shared files in the order of their paths, and those that were
// removed.
func (s *Store) SharedFiles(ctx context.Context) (all []SharedFile, err error) {
	rows, err := s.Reads.QueryContext(ctx, "SELECT path, version, sealed FROM peerload_shared ORDER BY path")
	if err != nil {
		return nil, s.failed(err)
	}
	defer rows.Close()
	for rows.Next() {
		var f SharedFile
		if err := rows.Scan(&f.Path, &f.Version, &f.Sealed); err != nil {
			return nil, s.failed(err)
		}
		all = append(all, f)
	}
	return all, s.failed(rows.Err())
}

// PutShared writes a shared file if it is still at f.Version, 0 for one that nobody
// has written yet, and returns its new version. written is false if somebody else was
// faster.
func (s *Store) PutShared(ctx context.Context, f SharedFile) (version int64, written bool, err error) {
	const put = "INSERT INTO peerload_shared (path, version, sealed) SELECT $1::text, $2::bigint + 1, $3::bytea " +
		"WHERE $2 = 0 OR EXISTS (SELECT 1 FROM peerload_shared WHERE path = $1) " +
		"ON CONFLICT (path) DO UPDATE SET version = excluded.version, sealed = excluded.sealed " +
		"WHERE peerload_shared.version = $2 RETURNING version"
	err = s.Writes.QueryRowContext(ctx, put, f.Path, f.Version, f.Sealed).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return version, err == nil, s.failed(err)
}

// holdTimeout is how long Hold waits: longer than a publication takes.
const holdTimeout = "60s"

// Hold waits until no other controller of the database holds what is named so, and
// holds it until release is called, or this process or its connection ends. held is an
// error once it has ended.
func (s *Store) Hold(ctx context.Context, name string) (held func() error, release func(), err error) {
	conn, err := s.Writes.Conn(ctx)
	if err != nil {
		return nil, nil, s.failed(err)
	}
	// The connection ends with the lock, so that no later use has its setting.
	release = func() {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	}
	_, err = conn.ExecContext(ctx, "SET lock_timeout = '"+holdTimeout+"'")
	if err == nil {
		_, err = conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", numberOf(name))
	}
	if err != nil {
		release()
		return nil, nil, s.failed(err)
	}
	held = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), connTimeout)
		defer cancel()
		if conn.PingContext(ctx) != nil {
			return s.failed(fmt.Errorf("what was held is lost: %w", driver.ErrBadConn))
		}
		return nil
	}
	return held, release, nil
}

// numberOf is the number of a lock by its name.
func numberOf(name string) int64 {
	h := fnv.New64a()
	h.Write([]byte("peerload " + name))
	return int64(h.Sum64())
}

// failed says which database an error comes from.
func (s *Store) failed(err error) error {
	if err == nil {
		return nil
	}
	return s.Wrap(fmt.Errorf("postgres: %w", err))
}
