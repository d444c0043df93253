package postgres

import (
	"fmt"
	"slices"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestGrows: a connection that has read devices by their keys while there were none does
// not go through the whole table for each such read when there are many. PostgreSQL keeps
// the plan of a prepared statement until it has analyzed the table, a minute later at best.
func TestGrows(t *testing.T) {
	s, err := Open(t.Context(), Config{URL: shared.Migrated(t), Connections: 2})
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

// TestPagesByText: whether few or many devices have a text, early or late in the order of
// their names, its pages have each of them once.
func TestPagesByText(t *testing.T) {
	tiers.Long(t, "it makes 25,000 devices")
	s := openAt(t, shared.Migrated(t))
	defer s.Close()
	texts := []struct {
		text     string
		from, to int // numbers of devices that have it
	}{{"late", 22_000, 25_000}, {"early", 0, 2500}, {"few", 24_000, 24_450}, {"some", 23_000, 24_500}, {"most", 100, 102}}
	var all []domain.Device
	for n := range 25_000 {
		d := domain.Device{Name: fmt.Sprintf("SEP%012X", n), Model: []string{"CP-7961G", "CP-7941G"}[n%2]}
		for _, is := range texts {
			if is.from <= n && n < is.to {
				d.Description += is.text + " "
			}
		}
		all = append(all, d)
	}
	err := s.Update(t.Context(), func(tx domain.Tx) error { return tx.Devices().PutAll(t.Context(), all) })
	if err != nil {
		t.Fatal(err)
	}
	for _, is := range texts {
		for _, model := range []string{"", "CP-7941G"} {
			var got, want []string
			for _, d := range all[is.from:is.to] {
				if model == "" || d.Model == model {
					want = append(want, d.Name)
				}
			}
			for p := (domain.Page{Limit: 500}); ; {
				var l domain.List[domain.Device]
				err := s.View(t.Context(), func(tx domain.Tx) (err error) {
					l, err = tx.Devices().List(t.Context(), domain.DeviceFilter{Text: is.text, Model: model}, p)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				if l.Total != min(len(want), domain.MaxFound) {
					t.Errorf("%s of %q after %q: %d are counted of %d", is.text, model, p.After, l.Total, len(want))
				}
				for _, d := range l.Items {
					got = append(got, d.Name)
				}
				if p.After = l.Next; p.After == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s of %q: %d devices, want %d", is.text, model, len(got), len(want))
			}
		}
	}
}
