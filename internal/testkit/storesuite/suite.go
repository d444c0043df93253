// Package storesuite is the suite that every domain.Store passes: what package
// domain relies on, said once for all databases; and a PostgreSQL server for
// the tests that need a real one.
//
// What must not be here: claims about what only one database does.
package storesuite

import (
	"context"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
)

// Open returns a new, empty store, which the test closes; Reopen opens the
// same one again.
type Open func(t *testing.T) (s domain.Store, reopen func(t *testing.T) domain.Store)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"Versions", versions}, {"RollBack", rollBack}, {"Devices", devices}, {"Pages", pages}, {"Text", text},
		{"OddKeys", oddKeys},
		{"Loads", loads}, {"Sites", sites}, {"States", states}, {"Credentials", credentials}, {"Logs", logs},
		{"Rollouts", rolloutTables}, {"Orders", orderTables}, {"Savings", savingTable},
		{"Many", many}, {"Known", known}, {"ManyLogs", manyLogs}, {"Jobs", jobTables},
		{"Ways", ways}, {"Tallies", tallies},
		{"Everything", everything},
		{"OneWriter", oneWriter}, {"Snapshot", snapshot}, {"ReadOnly", readOnly}, {"Reopen", reopens},
		{"Export", export}, {"ImportLabels", importLabels}, {"ImportRefuses", importRefuses}, {"Cancelled",
			cancelled}, {"Model", model},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// fresh opens a store for the time of the test.
func fresh(t *testing.T, open Open) domain.Store {
	t.Helper()
	s, _ := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// update fails the test if the transaction does.
func update(t *testing.T, s domain.Store, fn func(ctx context.Context, tx domain.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx domain.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// view likewise.
func view(t *testing.T, s domain.Store, fn func(ctx context.Context, tx domain.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), func(tx domain.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}
