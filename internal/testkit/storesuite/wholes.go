package storesuite

import "testing"

// wholes are the statements that may read a table in whole, and why.
var wholes = []Reason{
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

// Planned holds the plans of the statements of a store against the reasons: none reads a
// table in whole without one. SQLite needs each of them, and others may find a better way.
func Planned(t *testing.T, seen *Statements, plan Plan, all bool) {
	t.Helper()
	used := seen.Check(t, plan, wholes)
	for _, r := range wholes {
		if all && !used[r] {
			t.Errorf("no statement needs the reason %+v", r)
		}
	}
}
