package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// original is a database of SQLite with one of each thing, and more devices than are
// copied at once.
func original(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	storesuite.Fill(t, s)
	describe(t, s, 700, "of Kyoto 京都 \u2028")
	return s
}

// describe writes some devices.
func describe(t *testing.T, s domain.Store, n int, text string) {
	t.Helper()
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		all := make([]domain.Device, n)
		for i := range all {
			name := fmt.Sprintf("SEP%012X", i)
			if old, err := tx.Devices().Get(t.Context(), name); err == nil {
				all[i] = old
			}
			all[i].Name, all[i].Description, all[i].Site = name, text, "oslo"
		}
		return tx.Devices().PutAll(t.Context(), all)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func exported(t *testing.T, s domain.Store) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// equal compares all of two databases, and the counts that are kept.
func equal(t *testing.T, from domain.Store, url string) {
	t.Helper()
	s := openAt(t, url)
	defer s.Close()
	if exported(t, from) != exported(t, s) {
		t.Error("the copy exports something else")
	}
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		mended, err := tx.Tallies().Recount(t.Context())
		if mended != 0 {
			t.Errorf("%d counts are wrong", mended)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

var errCut = errors.New("cut off")

// cutAt ends a copy at its nth piece.
func cutAt(n int) func(store.Carried) error {
	return func(store.Carried) error {
		if n--; n == 0 {
			return errCut
		}
		return nil
	}
}

// TestFill: a copy is equal, also one that was cut off, wherever. Until it is whole,
// nothing else opens it.
func TestFill(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	from := original(t)
	pieces := 0
	url := shared.NewDatabase(t)
	err := Fill(t.Context(), Config{URL: url}, from.DB, func(store.Carried) error { pieces++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	equal(t, from, url)
	for _, n := range []int{10, pieces} {
		url := shared.NewDatabase(t)
		if err := Fill(t.Context(), Config{URL: url}, from.DB, cutAt(n)); !errors.Is(err, errCut) {
			t.Fatal(n, err)
		}
		if s, err := Open(t.Context(), Config{URL: url}); !errors.Is(err, ErrHalf) {
			t.Fatalf("a part of %d pieces is opened: %v, %v", n, s, err)
		}
		again := 0
		err := Fill(t.Context(), Config{URL: url}, from.DB, func(store.Carried) error { again++; return nil })
		if err != nil {
			t.Fatal(n, err)
		}
		if again > pieces-min(n, pieces/2)+1 {
			t.Errorf("cut off at %d of %d pieces, then %d more", n, pieces, again)
		}
		equal(t, from, url)
	}
}

// TestFillAnew: what has changed since a copy was cut off is not mixed with it.
func TestFillAnew(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	from := original(t)
	url := shared.NewDatabase(t)
	if err := Fill(t.Context(), Config{URL: url}, from.DB, cutAt(20)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	describe(t, from, 300, "changed")
	if err := Fill(t.Context(), Config{URL: url}, from.DB, cutAt(-1)); err != nil {
		t.Fatal(err)
	}
	equal(t, from, url)
}

// TestFillRefuses: a database that holds something is left alone, and two processes
// do not fill one.
func TestFillRefuses(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	from := original(t)
	url := shared.NewDatabase(t)
	s := openAt(t, url)
	defer s.Close()
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		return tx.Profiles().Put(t.Context(), &domain.Profile{Name: "p"})
	})
	if err != nil {
		t.Fatal(err)
	}
	before := exported(t, s)
	if err := Fill(t.Context(), Config{URL: url}, from.DB, cutAt(-1)); !errors.Is(err, domain.ErrRefused) {
		t.Error(err)
	}
	if exported(t, s) != before {
		t.Error("a refused copy has changed something")
	}
	other := shared.NewDatabase(t)
	err = Fill(t.Context(), Config{URL: other}, from.DB, func(store.Carried) error {
		if err := Fill(t.Context(), Config{URL: other}, from.DB, cutAt(-1)); !errors.Is(err, domain.ErrRefused) {
			t.Errorf("a second copy at the same time: %v", err)
		}
		return errCut
	})
	if !errors.Is(err, errCut) {
		t.Error(err)
	}
}

// TestFillAlone: a copy that has lost its lock removes nothing, as another process may
// have completed it, and a controller may work on it.
func TestFillAlone(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	from, url := original(t), shared.NewDatabase(t)
	if err := Fill(t.Context(), Config{URL: url}, from.DB, cutAt(20)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	const lose = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' " +
		"AND pid <> pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
	db, err := connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	once := false
	err = Fill(t.Context(), Config{URL: url}, from.DB, func(store.Carried) error {
		if once {
			return nil
		}
		once = true
		if _, err := db.ExecContext(t.Context(), lose); err != nil {
			return err
		}
		if err := Fill(t.Context(), Config{URL: url}, from.DB, cutAt(-1)); err != nil {
			return err
		}
		s := openAt(t, url)
		defer s.Close()
		return s.Update(t.Context(), func(tx domain.Tx) error {
			return tx.Profiles().Put(t.Context(), &domain.Profile{Name: "written since"})
		})
	})
	if err == nil {
		t.Error("two processes have completed one copy")
	}
	s := openAt(t, url)
	defer s.Close()
	err = s.View(t.Context(), func(tx domain.Tx) error {
		_, err := tx.Profiles().Get(t.Context(), "written since")
		return err
	})
	if err != nil {
		t.Errorf("what a controller has written since: %v", err)
	}
}

// TestFillCompares: a row of the copy that is missing, another one, of another version
// or too many is found.
func TestFillCompares(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	from := original(t)
	for _, c := range []string{
		"DELETE FROM devices WHERE id = 'SEP00000000012C'",
		"UPDATE devices SET version = version + 1 WHERE id = 'SEP00000000012C'",
		"UPDATE devices SET doc = replace(doc::text, 'Kyoto', 'Nara')::json WHERE id = 'SEP00000000012C'",
		"INSERT INTO audit SELECT '9' || id, version, doc, at, subject, action, target, part_of FROM audit",
	} {
		url := shared.NewDatabase(t)
		if err := Fill(t.Context(), Config{URL: url}, from.DB, cutAt(-1)); err != nil {
			t.Fatal(err)
		}
		s := openAt(t, url)
		if n, err := s.Writes.ExecContext(t.Context(), c); err != nil {
			t.Fatal(n, err)
		}
		if err := store.Compare(t.Context(), from.DB, s.DB, cutAt(-1)); !errors.Is(err, store.ErrDiffers) {
			t.Errorf("%s: %v", c, err)
		}
		s.Close()
	}
}
