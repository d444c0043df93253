package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// migrations are forwards only: what goes back is a backup. A migration that
// was released is never changed.
//
//go:embed migrations
var migrations embed.FS

// ErrNewer says that the database was written by a newer program.
var ErrNewer = errors.New("the database is of a newer version than this program")

// migrator returns goose over the migrations of one dialect: "sqlite" or
// "postgres".
func migrator(name string, db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+name)
	if err != nil {
		return nil, err
	}
	dialect := goose.DialectSQLite3
	if name == "postgres" {
		dialect = goose.DialectPostgres
	}
	return goose.NewProvider(dialect, db, dir, goose.WithLogger(goose.NopLogger()))
}

// Migrate brings a database to the newest version, or to version target if
// that is not 0. Errors match ErrNewer if it is beyond what this program knows.
func Migrate(ctx context.Context, name string, db *sql.DB, target int64) error {
	p, err := migrator(name, db)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", name, err)
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	at, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("version of the %s database: %w", name, err)
	}
	if at > newest {
		return fmt.Errorf("%w: it is at %d, this program knows %d", ErrNewer, at, newest)
	}
	if target == 0 {
		target = newest
	}
	if at == target {
		return nil // and no lock is taken
	}
	if _, err := p.UpTo(ctx, target); err != nil {
		// Another process may have been at it at the same time.
		if now, again := p.GetDBVersion(ctx); again == nil && now >= target {
			return nil
		}
		return fmt.Errorf("bringing the %s database from version %d to %d: %w", name, at, target, err)
	}
	return nil
}
