package postgres

import (
	"fmt"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
)

// TestGrows: a connection that has read devices by their keys while there were none does
// not go through the whole table for each such read when there are many. PostgreSQL keeps
// the plan of a prepared statement until it has analyzed the table, a minute later at best.
func TestGrows(t *testing.T) {
	s, err := Open(t.Context(), Config{URL: shared.NewDatabase(t), Connections: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Reads.SetMaxOpenConns(1) // so that all is done on the connection that has the plan
	if _, err := s.Writes.ExecContext(t.Context(), "ALTER TABLE devices SET (autovacuum_enabled = off)"); err != nil {
		t.Fatal(err)
	}
	const step, steps, asked = 500, 16, 20
	of := func(n, many int) (all []domain.Device, keys []string) {
		for i := range many {
			all = append(all, domain.Device{Name: fmt.Sprintf("SEP%012X", n*step+i), Model: "CP-7961G"})
			keys = append(keys, all[i].Name)
		}
		return all, keys
	}
	read := func(n int) (scanned int) {
		err := s.View(t.Context(), func(tx domain.Tx) error {
			own, _ := store.SQL(tx)
			count := func() (so int, err error) {
				err = own.QueryRowContext(t.Context(), "SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_xact_user_tables "+
					"WHERE relname = 'devices'").Scan(&so)
				return so, err
			}
			before, err := count()
			if err != nil {
				return err
			}
			_, keys := of(n, asked)
			all, err := tx.Devices().GetAll(t.Context(), keys)
			if err != nil {
				return err
			}
			if n > 0 && len(all) != asked {
				t.Errorf("%d devices of %d", len(all), asked)
			}
			after, err := count()
			scanned = after - before
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return scanned
	}
	for range 10 { // after five times the server may keep a plan
		read(0)
	}
	for n := range steps {
		err := s.Update(t.Context(), func(tx domain.Tx) error {
			all, _ := of(n, step)
			return tx.Devices().PutAll(t.Context(), all)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if scanned := read(steps - 1); scanned > 0 {
		t.Errorf("%d rows were gone through for %d keys", scanned, asked)
	}
}
