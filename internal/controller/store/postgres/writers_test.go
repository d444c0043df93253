package postgres

import (
	"net/url"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
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
