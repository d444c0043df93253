package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
)

// ErrHalf says that a database has a part only of what is being copied into it.
var ErrHalf = errors.New("the copy into this database was not completed: run \"peerload-server migrate\" to its end")

// marker is the table that is there while a database is filled. No migration knows it.
const marker = "peerload_filling"

// fillLock is the number of the lock of who fills a database, ours alone by being
// random.
const fillLock = "4418073155096137"

// half reports whether the database is one that Fill has not done with.
func (s *Store) half(ctx context.Context) (yes bool, err error) {
	err = s.Reads.QueryRowContext(ctx, "SELECT to_regclass('"+marker+"') IS NOT NULL").Scan(&yes)
	if err != nil {
		err = fmt.Errorf("postgres: %w", err)
	}
	return yes, err
}

// Fill copies another database into an empty one, and compares each row, as
// store.Carry does. Until that is done nothing else opens the database: errors of
// Open match ErrHalf. Called again after an interruption it goes on; if from has
// changed since, it begins anew.
//
// An error matches domain.ErrRefused if the database holds something else, or is
// being filled by another process.
func Fill(ctx context.Context, cfg Config, from *store.DB, told func(store.Carried) error) (err error) {
	cfg.filling = true
	s, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	conn, err := s.Writes.Conn(ctx)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer conn.Close()
	alone := false // until this connection ends
	if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock("+fillLock+")").Scan(&alone); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if !alone {
		return fmt.Errorf("%w: another process copies into this database", domain.ErrRefused)
	}
	resumed, err := s.half(ctx)
	if err != nil {
		return err
	}
	if !resumed {
		if empty, err := store.Empty(ctx, s.DB); err != nil {
			return err
		} else if !empty {
			return fmt.Errorf("%w: the database is not empty, and what it holds is no interrupted copy", domain.ErrRefused)
		}
		if _, err := conn.ExecContext(ctx, "CREATE TABLE "+marker+" ()"); err != nil {
			return fmt.Errorf("postgres: %w", err)
		}
	}
	err = store.Carry(ctx, from, s.DB, told)
	if resumed && errors.Is(err, store.ErrDiffers) {
		// Without the lock another process may have completed the copy, and a controller
		// may be at work on it by now.
		if e := conn.PingContext(ctx); e != nil {
			return errors.Join(fmt.Errorf("postgres: the lock of this copy was lost: %w", e), err)
		}
		if err = store.Clear(ctx, s.DB); err == nil {
			err = store.Carry(ctx, from, s.DB, told)
		}
	}
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "DROP TABLE "+marker); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}
