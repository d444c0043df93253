package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/testkit/keepersuite"
	"github.com/peerload/peerload/internal/testkit/limits"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConformance runs the suite of all stores, and reads the plan of every statement
// of it.
func TestConformance(t *testing.T) {
	var seen storesuite.Statements
	open := func(t *testing.T, path string) *Store {
		s := openAt(t, path)
		s.Trace = seen.Add
		return s
	}
	storesuite.Run(t, func(t *testing.T) (domain.Store, func(*testing.T) domain.Store) {
		path := filepath.Join(t.TempDir(), "peerload?100%.db") // names that a URL would misread
		return open(t, path), func(t *testing.T) domain.Store { return open(t, path) }
	})
	s := open(t, filepath.Join(t.TempDir(), "a.db"))
	defer s.Close()
	storesuite.List(t, s)
	s.Trace = nil
	storesuite.Planned(t, &seen, storesuite.SQLitePlan(s.Writes), true)
}

// TestKeepers: rollouts run on the store.
func TestKeepers(t *testing.T) {
	tiers.Long(t, "it works through whole rollouts")
	keepersuite.Run(t, func(t *testing.T) keepersuite.Kept {
		return storesuite.Keep(t, openAt(t, filepath.Join(t.TempDir(), "a.db")))
	})
}

// TestReadsBesideAWriter: who only reads does not wait for another process that writes,
// neither at the start nor at the end.
func TestReadsBesideAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	s := openAt(t, path)
	defer s.Close()
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		if err := tx.Profiles().Put(t.Context(), &domain.Profile{Name: "lobby"}); err != nil {
			return err
		}
		other, err := Open(t.Context(), Config{Path: path, Busy: time.Millisecond})
		if err != nil {
			return err
		}
		return errors.Join(other.View(t.Context(), func(tx domain.Tx) error {
			_, err := tx.Devices().List(t.Context(), domain.DeviceFilter{}, domain.Page{Limit: 1})
			return err
		}), other.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFileIsPrivate: the database and the files beside it are their owner's.
func TestFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "a.db"))
	defer s.Close()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

// put writes one profile.
func put(t *testing.T, s domain.Store, name string) {
	t.Helper()
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		return tx.Profiles().Put(t.Context(),
			&domain.Profile{Name: name})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// total counts profiles.
func total(t *testing.T, s domain.Store) (n int) {
	t.Helper()
	err := s.View(t.Context(), func(tx domain.Tx) error {
		l, err := tx.Profiles().List(t.Context(), domain.TextFilter{}, domain.Page{Limit: 1})
		n = l.Total
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNewerDatabase: a program does not touch what a newer one has written.
func TestNewerDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	s := openAt(t, path)
	if _, err := s.Writes.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), Config{Path: path}); !errors.Is(err, store.ErrNewer) {
		if err == nil {
			s.Close()
		}
		t.Errorf("a newer database: %v", err)
	}
}

func TestConfig(t *testing.T) {
	limits.Test(t, Config{Path: "x"}, Config.Validate, map[string]limits.Range{
		"Path": limits.Any("below"), "Busy": limits.AtLeast(0), "Readers": limits.AtLeast(0),
	})
	for _, c := range []Config{{}, {Path: "x", Busy: -1}, {Path: "x", Readers: -1}, {Path: "/nowhere/at/all.db"}} {
		if s, err := Open(t.Context(), c); err == nil {
			s.Close()
			t.Errorf("%+v was opened", c)
		} else if c.Path != "/nowhere/at/all.db" && c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

func TestMigrations(t *testing.T) {
	tiers.Long(t, "it makes many databases")
	empty := func(t *testing.T) *sql.DB {
		path := filepath.Join(t.TempDir(), "a.db")
		db, err := connect(Config{Path: path}, "immediate", "foreign_keys(1)")
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	storesuite.Migrations(t, "sqlite", empty, func(db *sql.DB) domain.Store {
		return &store.DB{Writes: db, Reads: db, Dialect: store.Dialect{Name: "sqlite"}}
	})
}

// TestTwoProcesses: a second connection, as the command line has beside the
// server, waits for its turn instead of failing, and loses nothing.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	a, b := openAt(t, path), openAt(t, path)
	defer a.Close()
	defer b.Close()
	put(t, a, "p")
	const each = 25
	var wg sync.WaitGroup
	for _, s := range []*Store{a, b} {
		wg.Go(func() {
			for range each {
				err := s.Update(t.Context(), func(tx domain.Tx) error {
					p, err := tx.Profiles().Get(t.Context(), "p")
					if err != nil {
						return err
					}
					return tx.Profiles().Put(t.Context(), &p)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	err := a.View(t.Context(), func(tx domain.Tx) error {
		p, err := tx.Profiles().Get(t.Context(), "p")
		if p.Version != 1+2*each {
			t.Errorf("version %d after %d changes", p.Version, 2*each)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFullDisk: a write that finds no room is told apart, changes nothing, and
// the store goes on once there is room.
func TestFullDisk(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "a.db"))
	defer s.Close()
	pages := func(statement string) {
		t.Helper()
		if _, err := s.Writes.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	pages("PRAGMA max_page_count=1") // which SQLite raises to what is in use
	long := strings.Repeat("x", 500)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = s.Update(t.Context(), func(tx domain.Tx) error {
			return tx.Profiles().Put(t.Context(), &domain.Profile{Name: fmt.Sprint(i), Description: long})
		})
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the error is %v", err)
	}
	n := total(t, s)
	pages("PRAGMA max_page_count=100000")
	put(t, s, "afterwards")
	if got := total(t, s); got != n+1 {
		t.Errorf("%d profiles, then %d", n, got)
	}
}

// TestLocked: a database that another process has locked is read all the same,
// and a write is told to come again, soon and however many wait.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	holder := openAt(t, path)
	defer holder.Close()
	put(t, holder, "before")
	s, err := Open(t.Context(), Config{Path: path, Busy: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func() error {
		return s.Update(t.Context(), func(tx domain.Tx) error {
			return tx.Profiles().Put(t.Context(), &domain.Profile{Name: "late"})
		})
	}
	err = holder.Update(t.Context(), func(domain.Tx) error {
		errs := make(chan error, 5)
		for range cap(errs) {
			go func() { errs <- write() }()
		}
		for range cap(errs) {
			if err := <-errs; !errors.Is(err, domain.ErrAway) || !errors.Is(err, domain.ErrUnavailable) {
				t.Errorf("a write: %v", err)
			}
		}
		if n := total(t, s); n != 1 {
			t.Errorf("%d profiles are read", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestFilesStay: the next start needs no room for them.
func TestFilesStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	s := openAt(t, path)
	put(t, s, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); err != nil {
			t.Error(err)
		}
	}
}
