package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/testkit/keepersuite"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

func connect(url string) (*sql.DB, error) { return sql.Open("pgx", url) }

func openAt(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Connections: 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConformance runs the suite of all stores, and reads the plan of every statement
// of it, which are not those of SQLite.
func TestConformance(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	var seen storesuite.Statements
	open := func(t *testing.T, url string) *Store {
		s := openAt(t, url)
		s.Trace = seen.Add
		return s
	}
	storesuite.Run(t, func(t *testing.T) (domain.Store, func(*testing.T) domain.Store) {
		url := shared.Migrated(t)
		return open(t, url), func(t *testing.T) domain.Store { return open(t, url) }
	})
	s := open(t, shared.Migrated(t))
	defer s.Close()
	storesuite.List(t, s)
	s.Trace = nil
	storesuite.Planned(t, &seen, storesuite.PostgresPlan(s.Writes), false)
	if n := seen.Arrays(); n < 20 {
		t.Errorf("only %d statements are PostgreSQL's own", n)
	}
}

// TestKeepers: rollouts run on the store.
func TestKeepers(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	keepersuite.Run(t, func(t *testing.T) keepersuite.Kept { return storesuite.Keep(t, openAt(t, shared.Migrated(t))) })
}

func TestMigrations(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	empty := func(t *testing.T) *sql.DB {
		db, err := connect(shared.NewDatabase(t))
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	storesuite.Migrations(t, "postgres", empty,
		func(db *sql.DB) domain.Store { return &Store{DB: &store.DB{Writes: db, Reads: db, Dialect: dialect()}} })
}

// TestControllersStartTogether: of several controllers that start on an empty
// database one migrates and the others wait; then they write in turns.
func TestControllersStartTogether(t *testing.T) {
	url := shared.NewDatabase(t)
	const controllers = 4
	var wg sync.WaitGroup
	for i := range controllers {
		wg.Go(func() {
			s, err := Open(t.Context(), Config{URL: url, Connections: 2})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for n := range 10 {
				err := s.Update(t.Context(), func(tx domain.Tx) error {
					return tx.Profiles().Put(t.Context(), &domain.Profile{Name: fmt.Sprintf("%d-%d", i, n)})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s := openAt(t, url)
	defer s.Close()
	err := s.View(t.Context(), func(tx domain.Tx) error {
		l, err := tx.Profiles().List(t.Context(), domain.TextFilter{}, domain.Page{})
		if l.Total != controllers*10 {
			t.Errorf("%d profiles", l.Total)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestConnectionLost: an update whose connection ends is an error and leaves
// nothing, and the next one connects anew.
func TestConnectionLost(t *testing.T) {
	s := openAt(t, shared.Migrated(t))
	defer s.Close()
	var name string
	if err := s.Reads.QueryRow("SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	put := func(interrupt func() error) error {
		return s.Update(t.Context(), func(tx domain.Tx) error {
			if err := tx.Loads().Put(t.Context(), &domain.Load{Name: "l"}); err != nil {
				return err
			}
			return interrupt()
		})
	}
	if err := put(func() error { return shared.Server(t).Kill(name) }); !errors.Is(err, domain.ErrAway) {
		t.Errorf("an update without a connection: %v", err)
	}
	if err := put(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestMoveBetweenDatabases: an export of one kind of store is an import of the
// other, and comes back as it was.
func TestMoveBetweenDatabases(t *testing.T) {
	pg := openAt(t, shared.Migrated(t))
	defer pg.Close()
	lite, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	err = lite.Update(t.Context(), func(tx domain.Tx) error {
		ctx := t.Context()
		return errors.Join(tx.Profiles().Put(ctx, &domain.Profile{Name: "Büro \x01"}),
			tx.Devices().Put(ctx, &domain.Device{Name: "SEP1", Profile: "Büro \x01"}),
			tx.Audit().Append(ctx, domain.AuditEntry{ID: "1", Changes: []domain.FieldChange{{Field: "a\x00b"}}}))
	})
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	move := func(from, to domain.Store, text *bytes.Buffer) error {
		if err := from.Export(context.Background(), text); err != nil {
			return err
		}
		return to.Import(context.Background(), bytes.NewReader(text.Bytes()))
	}
	if err := move(lite, pg, &first); err != nil {
		t.Fatal(err)
	}
	if err := pg.Export(t.Context(), &second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("went as\n%s\ncame as\n%s", &first, &second)
	}
}

func TestNewerDatabase(t *testing.T) {
	url := shared.NewDatabase(t)
	s := openAt(t, url)
	_, err := s.Writes.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)")
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), Config{URL: url}); !errors.Is(err, store.ErrNewer) {
		if err == nil {
			s.Close()
		}
		t.Errorf("a newer database: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for connections, valid := range map[int]bool{-1: false, 0: true, 1: false, 2: true} {
		if err := (Config{URL: "x", Connections: connections}).Validate(); (err == nil) != valid {
			t.Errorf("%d connections: %v", connections, err)
		}
		if (Config{Connections: connections}).Validate() == nil {
			t.Errorf("no URL, %d connections: valid", connections)
		}
	}
	for _, c := range []Config{{}, {URL: "x", Connections: 1}, {URL: "host=/nowhere/at/all dbname=x"}} {
		if s, err := Open(t.Context(), c); err == nil {
			s.Close()
			t.Errorf("%+v was opened", c)
		}
	}
}
