package services_test

import (
	"maps"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// wholes are the statements that may read a table in whole, and why.
var wholes = []storesuite.Reason{
	{Table: "accounts", Why: people}, {Table: "enterprises", Why: people}, {Table: "file_sets", Why: people},
	{Table: "jobs", Why: people}, {Table: "loads", Why: people}, {Table: "models", Why: people},
	{Table: "profiles", Why: people}, {Table: "releases", Why: people}, {Table: "rollouts", Why: people},
	{Table: "sent_orders", Why: people}, {Table: "sites", Why: people}, {Table: "templates", Why: people},
	{Table: "webhooks", Why: people}, {Table: "deliveries", Why: "there are as many as were given up, which are bounded"},
	{Table: "savings", Why: "there are some of each month and site"},
	{Table: "throttles", Why: "there are as many as the configuration allows"},
	{Table: "devices", Query: "search LIKE", Why: "any part of a name or description may be searched for"},
	{Table: "devices", Query: "NOT EXISTS", Why: "devices that were never heard of have nothing to be found by"},
	{Query: "^SELECT d.at_site.*FROM devices d LEFT JOIN states s ON s.id = d.id$", Why: recount},
	{Query: "^UPDATE (devices|states) SET at_site = coalesce", Why: recount},
	{Table: "tallies", Query: "to_peers_lo FROM tallies$", Why: recount},
	{Query: `^SELECT count\(\*\) FROM (credentials|deliveries|job_steps|order_devices|rollout_devices|states|verdicts)$`,
		Why: "no use case lists all of these"},
	{Table: "states", Query: `WHERE \(role = \?\)`, Why: "no use case lists all of a role"},
	{Table: "rollout_devices", Query: `WHERE \((site|standing) = \?\)`, Why: "use cases ask within a rollout"},
	{Table: "order_devices", Query: `WHERE \(site = \?\)`, Why: "use cases ask within an order"},
	{Query: `^SELECT count\(\*\) FROM \(SELECT 1 FROM (audit|history) LIMIT`, Why: "it ends at the limit"},
}

const (
	people  = "people make these one by one: there are some hundreds"
	recount = "to count anew is to read all"
)

// TestPlans reads the plans of both databases for every statement of its store, which are
// not the same: none reads a table in whole without a reason. Exports read all.
func TestPlans(t *testing.T) {
	if testing.Short() {
		t.Skip("plans every statement of two databases")
	}
	var seen storesuite.Statements
	open := func(t *testing.T, path string) *sqlite.Store {
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		s.Trace = seen.Add
		return s
	}
	storesuite.Run(t, func(t *testing.T) (domain.Store, func(*testing.T) domain.Store) {
		path := filepath.Join(t.TempDir(), "a.db")
		return open(t, path), func(t *testing.T) domain.Store { return open(t, path) }
	})
	lite := open(t, filepath.Join(t.TempDir(), "a.db"))
	defer lite.Close()
	storesuite.List(t, lite)
	lite.Trace = nil
	used := seen.Check(t, storesuite.SQLitePlan(lite.Writes), wholes)
	t.Run("postgres", func(t *testing.T) {
		server := storesuite.PostgresFor(t, foreign.Missing)
		var own storesuite.Statements
		open := func(t *testing.T, at string) *postgres.Store {
			s, err := postgres.Open(t.Context(), postgres.Config{URL: at, Connections: 10})
			if err != nil {
				t.Fatal(err)
			}
			s.Trace = own.Add
			return s
		}
		database := func(t *testing.T) string {
			at, _, err := server.NewDatabase()
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		storesuite.Run(t, func(t *testing.T) (domain.Store, func(*testing.T) domain.Store) {
			at := database(t)
			return open(t, at), func(t *testing.T) domain.Store { return open(t, at) }
		})
		s := open(t, database(t))
		defer s.Close()
		storesuite.List(t, s)
		s.Trace = nil
		maps.Copy(used, own.Check(t, storesuite.PostgresPlan(s.Writes), wholes))
		if n := own.Arrays(); n < 20 {
			t.Errorf("only %d statements are PostgreSQL's own", n)
		}
		for _, r := range wholes {
			if !used[r] {
				t.Errorf("no statement needs the reason %q", r.Why)
			}
		}
	})
}
