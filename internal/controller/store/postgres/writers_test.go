package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
)

// TestConnectionsStay: while many ask, no connection ends for having nothing to do at
// this moment: the server would start a process for each of the next ones.
func TestConnectionsStay(t *testing.T) {
	s := openAt(t, shared.Migrated(t))
	defer s.Close()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 20 {
				if err := s.View(t.Context(), func(tx domain.Tx) error {
					_, err := tx.Devices().List(t.Context(), domain.DeviceFilter{}, domain.Page{Limit: 1})
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if stats := s.Reads.Stats(); stats.MaxIdleClosed > 0 || stats.OpenConnections < 2 {
		t.Errorf("%+v", stats)
	}
}

// with adds a setting of the server to the URL of a database.
func with(t *testing.T, database, name, value string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// TestOpenWhileWritten: a replica or command opens the database while another one
// writes devices for long. Where the index of texts is missing, a later start makes it.
func TestOpenWhileWritten(t *testing.T) {
	at := shared.Migrated(t)
	s := openAt(t, at)
	defer s.Close()
	for _, indexed := range []bool{true, false} {
		if !indexed {
			if _, err := s.Writes.ExecContext(t.Context(), "DROP INDEX IF EXISTS devices_text"); err != nil {
				t.Fatal(err)
			}
		}
		writer, err := s.Writes.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writer.ExecContext(t.Context(), "UPDATE devices SET search = search"); err != nil {
			t.Fatal(err)
		}
		other, err := Open(t.Context(), Config{URL: with(t, at, "lock_timeout", "50")})
		if err != nil {
			t.Errorf("with the index %v: %v", indexed, err)
		} else {
			other.Close()
		}
		if err := writer.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMigratesBesideAWriter: a controller brings the tables up to date while another one
// writes, and each waits for what the other has locked. If the server ends the migration it is
// made again; a writer that it ends can ask again.
func TestMigratesBesideAWriter(t *testing.T) {
	ctx := t.Context()
	for _, endsWriter := range []bool{false, true} {
		at := shared.NewDatabase(t)
		db, err := connect(at)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := store.Migrate(ctx, "postgres", db, 15); err != nil {
			t.Fatal(err)
		}
		writer, err := db.BeginTx(ctx, nil)
		if err == nil && !endsWriter {
			_, err = writer.ExecContext(ctx, "SET LOCAL deadlock_timeout = 60000")
		}
		if err == nil {
			_, err = writer.ExecContext(ctx, "UPDATE states SET failed = failed")
		}
		if err != nil {
			t.Fatal(err)
		}
		patient := map[bool]string{false: "1000", true: "60000"}[endsWriter]
		migrating := Config{URL: with(t, with(t, at, "deadlock_timeout", patient), "lock_timeout", "60000")}
		opened := make(chan error, 1)
		go func() {
			s, err := Open(ctx, migrating)
			if err == nil {
				err = s.Close()
			}
			opened <- err
		}()
		for waiting := 0; waiting == 0; { // the migration has tallies, and wants states
			const waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'states'::regclass"
			if err := db.QueryRowContext(ctx, waits).Scan(&waiting); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-opened:
				t.Fatalf("the migration does not wait: %v", err)
			default:
			}
		}
		_, err = writer.ExecContext(ctx, "UPDATE tallies SET state = state")
		if endsWriter != away(err) || !endsWriter && err != nil {
			t.Errorf("the writer: %v", err)
		}
		if err := errors.Join(writer.Rollback(), <-opened); err != nil {
			t.Errorf("the migration, if the writer ends %v: %v", endsWriter, err)
		}
		version := 0
		err = db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version").Scan(&version)
		if err != nil || version < 16 {
			t.Errorf("version %d, %v", version, err)
		}
	}
}

// TestAlive: the server is told to look whether a controller that holds locks is there
// still, unless the URL says otherwise.
func TestAlive(t *testing.T) {
	at := shared.Migrated(t)
	for database, want := range map[string]string{at: "15", with(t, at, "tcp_keepalives_idle", "77"): "77"} {
		s := openAt(t, database)
		var got string // reset_val, as a socket of the host has none in use
		err := s.Reads.QueryRowContext(t.Context(), "SELECT reset_val FROM pg_settings WHERE name = 'tcp_keepalives_idle'").
			Scan(&got)
		s.Close()
		if err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// entries are new entries of the audit log.
func entries(ids ...string) (all []domain.AuditEntry) {
	for _, id := range ids {
		all = append(all, domain.AuditEntry{ID: id, Action: "test", Target: "device x"})
	}
	return all
}

// logged are the ids of all entries of the audit log.
func logged(t *testing.T, s *Store) (ids []string) {
	t.Helper()
	err := s.View(t.Context(), func(tx domain.Tx) error {
		l, err := tx.Audit().List(t.Context(), domain.AuditFilter{}, domain.Page{})
		for _, e := range l.Items {
			ids = append(ids, e.ID)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestManyBeside: who writes many rows goes on while the server writes them. What it asks
// then waits for them, and so does the end of the transaction.
func TestManyBeside(t *testing.T) {
	ctx := t.Context()
	s := openAt(t, shared.Migrated(t))
	defer s.Close()
	other, err := s.Writes.BeginTx(ctx, nil)
	if err == nil {
		_, err = other.ExecContext(ctx, "LOCK TABLE audit IN EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(ctx, func(tx domain.Tx) error {
		for _, id := range []string{"1", "2", "3"} {
			if err := tx.Audit().AppendAll(ctx, entries(id)); err != nil {
				return err
			}
		}
		// A server that was waited for would still wait for this.
		if err := other.Rollback(); err != nil {
			return err
		}
		l, err := tx.Audit().List(ctx, domain.AuditFilter{}, domain.Page{})
		if len(l.Items) != 3 {
			t.Errorf("%d entries of 3 are seen by who wrote them", len(l.Items))
		}
		return errors.Join(err, tx.Audit().AppendAll(ctx, entries("4")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if ids := logged(t, s); len(ids) != 4 {
		t.Errorf("%q were written", ids)
	}
}

// TestManyFails: rows that cannot be written fail their transaction, whatever comes after
// them, and it says so.
func TestManyFails(t *testing.T) {
	ctx := t.Context()
	s := openAt(t, shared.Migrated(t))
	defer s.Close()
	add := func(tx domain.Tx, ids ...string) error { return tx.Audit().AppendAll(ctx, entries(ids...)) }
	if err := s.Update(ctx, func(tx domain.Tx) error { return add(tx, "1") }); err != nil {
		t.Fatal(err)
	}
	for name, then := range map[string]func(tx domain.Tx) error{
		"nothing": func(domain.Tx) error { return nil },
		"more": func(tx domain.Tx) error {
			for i := range 20 {
				if err := add(tx, fmt.Sprint("more ", i)); err != nil {
					return err
				}
			}
			return nil
		},
		"a question": func(tx domain.Tx) error {
			_, err := tx.Audit().List(ctx, domain.AuditFilter{}, domain.Page{})
			if err == nil {
				t.Error("a question after rows that failed was answered")
			}
			return nil // who does not look has not written either
		},
		"a statement of others": func(tx domain.Tx) error {
			own, _ := store.SQL(tx)
			_, err := own.ExecContext(ctx, "SELECT 1")
			return err
		},
		"something else": func(domain.Tx) error { return errors.New("something else") },
	} {
		err := s.Update(ctx, func(tx domain.Tx) error {
			return errors.Join(add(tx, "new "+name), add(tx, "1"), then(tx))
		})
		if err == nil || !strings.Contains(err.Error(), "append to audit") || !strings.Contains(err.Error(), "23505") {
			t.Errorf("then %s: %v", name, err)
		}
		if ids := logged(t, s); len(ids) != 1 {
			t.Errorf("then %s: %q are there", name, ids)
		}
	}
}
