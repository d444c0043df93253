package store

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/controller/domain"
)

// column is one by which rows are found.
type column[T any] struct {
	name  string
	value func(T) any
}

// condition is a part of a WHERE; one without arguments stands by itself.
type condition struct {
	sql  string
	args []any
	// text is what an index of texts may be asked for first, "" for none.
	text string
	// often is a condition that finds the same, and is better where many devices match;
	// column is that of the tallies which tells how many. Its argument is the same.
	often, column string
	// among is the column that has one of the arguments, which are texts, "" for none.
	among string
}

// schema says how things of one kind are rows. The migrations make its tables;
// TestSchemaMatchesMigrations compares them.
type schema[T, F any] struct {
	name    string
	columns []column[T]
	where   func(F) []condition
	// total counts what matches by counts that are kept, if it is ok. nil: it never is.
	total func(ctx context.Context, t *tx, f F) (n int, ok bool, err error)
	// also are the columns of table.also.
	also []string
}

func nothing(domain.None) []condition { return nil }

// equal is a condition if the value is one, and none for "".
func equal(conds []condition, column, value string) []condition {
	return given(conds, column+" = ?", value)
}

// given is a condition on a text, none for "".
func given(conds []condition, sql, text string) []condition {
	if text == "" {
		return conds
	}
	if !storable(text) {
		return append(conds, never)
	}
	return append(conds, condition{sql: sql, args: []any{text}})
}

// oneOf is the condition that a column has one of some texts.
func oneOf(column string, texts []string) condition {
	in, args := among(texts)
	if len(args) == 0 {
		return never
	}
	return condition{sql: column + " IN " + in, args: args, among: column}
}

// among is a list of texts for IN. Those that no column holds are left out; an empty
// list holds nothing.
func among(texts []string) (sql string, args []any) {
	for _, s := range texts {
		if storable(s) {
			args = append(args, s)
		}
	}
	if len(args) == 0 {
		return "(NULL)", nil
	}
	return "(?" + strings.Repeat(", ?", len(args)-1) + ")", args
}

// never is the condition of what no row can match.
var never = condition{sql: "1 = 0"}

// storable reports whether a column can hold a text: PostgreSQL's take neither
// NUL nor what is no UTF-8, which somebody may ask for all the same.
func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// within is a condition on a time, none for the zero time.
func within(conds []condition, sql string, t time.Time) []condition {
	if t.IsZero() {
		return conds
	}
	return append(conds, condition{sql: sql, args: []any{t.UnixMicro()}})
}

// unordered is how far the order of a log's keys may be from that of its times: the
// clocks of two controllers that share a database differ by less.
const unordered = time.Hour

// between is a condition on the times of a log's entries. A list goes by their keys,
// so it begins and ends at those that stand at these times.
func between(conds []condition, log string, since, before time.Time) []condition {
	if !since.IsZero() {
		conds = within(conds, "at >= ?", since)
		conds = within(conds, "id >= (SELECT id FROM "+log+" WHERE at >= ? ORDER BY at, id LIMIT 1)", since.Add(-unordered))
	}
	if !before.IsZero() {
		conds = within(conds, "at < ?", before)
		conds = within(conds, "id <= (SELECT id FROM "+log+" WHERE at < ? ORDER BY at DESC, id DESC LIMIT 1)",
			before.Add(unordered))
	}
	return conds
}

// maxSearch bounds what to search for, in bytes: nothing that is searched has
// so much text, and SQLite takes no pattern of more than 50,000.
const maxSearch = 1000

// contains finds a part of the search column, which is in lower case.
func contains(conds []condition, text string) []condition {
	if text == "" {
		return conds
	}
	if !storable(text) || len(text) > maxSearch {
		return append(conds, never)
	}
	plain := strings.ToLower(text)
	text = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(text))
	return append(conds, condition{sql: `search LIKE ? ESCAPE '\'`, args: []any{"%" + text + "%"}, text: plain})
}

func search(texts ...string) string { return strings.ToLower(strings.Join(texts, "\n")) }

// nullable is NULL for "": a reference to nothing.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// micros is 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func textFilter(f domain.TextFilter) []condition { return contains(nil, f.Text) }

var devices = schema[domain.Device, domain.DeviceFilter]{
	name: "devices", also: []string{"at_site"}, total: countDevices,
	columns: []column[domain.Device]{
		{"model", func(d domain.Device) any { return d.Model }},
		{"profile", func(d domain.Device) any { return nullable(d.Profile) }},
		{"site", func(d domain.Device) any { return d.Site }},
		{"origin", func(d domain.Device) any { return d.Registration }},
		{"assigned", func(d domain.Device) any { return d.Load.Load }},
		{"assigned_release", func(d domain.Device) any { return d.Load.Release }},
		{"search", func(d domain.Device) any { return search(d.Name, d.Description) }},
	},
	where: func(f domain.DeviceFilter) []condition {
		c := contains(nil, f.Text)
		c = equal(c, "model", f.Model)
		c = equal(c, "profile", f.Profile)
		c = atSite(c, "", f.Site)
		c = equal(c, "origin", f.Registration)
		c = equal(c, "assigned", f.Load)
		c = equal(c, "assigned_release", f.Release)
		if f.NoProfile {
			c = append(c, condition{sql: "profile IS NULL"})
		}
		if f.State == domain.StateUnknown { // also those without any row
			c = append(c, condition{args: []any{f.State},
				sql: "NOT EXISTS (SELECT 1 FROM states s WHERE s.id = devices.id AND s.state NOT IN ('', ?))"})
		} else {
			c = inStates(c, "state", f.State)
		}
		c = inStates(c, "active", f.Active)
		if f.Failed {
			c = append(c, condition{sql: "id IN (SELECT id FROM states WHERE failed = 1)"})
		}
		c = ofLoad(c, f.About)
		c = within(c, "id IN (SELECT id FROM states WHERE last_seen < ?) OR "+
			"NOT EXISTS (SELECT 1 FROM states s WHERE s.id = devices.id)", f.Silent)
		return inRealm(c, "", f.Realm)
	},
}

// inStates is equal, of a device's state.
func inStates(conds []condition, column, value string) []condition {
	inner := equal(nil, column, value)
	switch {
	case len(inner) == 0:
		return conds
	case len(inner[0].args) == 0:
		return append(conds, never)
	}
	return append(conds, condition{sql: "id IN (SELECT id FROM states WHERE " + inner[0].sql + ")", args: inner[0].args,
		often:  "EXISTS (SELECT 1 FROM states s WHERE s.id = devices.id AND s." + inner[0].sql + ")",
		column: column})
}

// ofLoad finds the devices that run a load, or are to.
func ofLoad(conds []condition, load string) []condition {
	if load == "" {
		return conds
	}
	if !storable(load) {
		return append(conds, never)
	}
	return append(conds, condition{sql: "id IN (SELECT id FROM states WHERE active = ? UNION SELECT id FROM states " +
		"WHERE wanted = ?)", args: []any{load, load}})
}

// atSite finds what is of devices that belong to a site. column has their names;
// "" where the rows are devices.
func atSite(conds []condition, column, value string) []condition {
	if value == "" {
		return conds
	}
	return append(conds, belongs(column, []string{value}))
}

// belongs is the condition of atSite, of any of some sites.
func belongs(column string, sites []string) condition {
	devices := oneOf("at_site", sites)
	if column == "" || len(devices.args) == 0 {
		return devices
	}
	return condition{sql: column + " IN (SELECT id FROM devices WHERE " + devices.sql + ")", args: devices.args}
}

// ofRealm is what a realm has, of rows with devices by that column; ok is false
// for one that has everything.
func ofRealm(column string, r domain.Realm) (c condition, ok bool) {
	if !r.Limited() {
		return c, false
	}
	return belongs(column, r.Sites()), true
}

// sitesOf are those of a limited realm that a column can hold.
func sitesOf(r domain.Realm) []string {
	return slices.DeleteFunc(r.Sites(), func(s string) bool { return !storable(s) })
}

// inRealm finds what is of devices of a realm, as atSite those of a site.
func inRealm(conds []condition, column string, r domain.Realm) []condition {
	if c, ok := ofRealm(column, r); ok {
		return append(conds, c)
	}
	return conds
}

var releases = schema[domain.Release, domain.TextFilter]{
	name:    "releases",
	columns: []column[domain.Release]{{"search", func(r domain.Release) any { return search(r.Name, r.Note) }}},
	where:   textFilter,
}

var sites = schema[domain.Site, domain.TextFilter]{
	name:    "sites",
	columns: []column[domain.Site]{{"search", func(s domain.Site) any { return search(s.Name, s.Note) }}},
	where:   textFilter,
}

var profiles = schema[domain.Profile, domain.TextFilter]{
	name:    "profiles",
	columns: []column[domain.Profile]{{"search", func(p domain.Profile) any { return search(p.Name, p.Description) }}},
	where:   textFilter,
}

var enterprises = schema[domain.Enterprise, domain.None]{name: "enterprises", where: nothing}

var models = schema[domain.ModelEntry, domain.None]{name: "models", where: nothing}

var loads = schema[domain.Load, domain.LoadFilter]{
	name: "loads",
	columns: []column[domain.Load]{
		{"retired", func(l domain.Load) any { return flag(l.Retired) }},
		{"search", func(l domain.Load) any { return search(l.Name) }},
	},
	where: func(f domain.LoadFilter) []condition {
		c := contains(nil, f.Text)
		if !f.Retired {
			c = append(c, condition{sql: "retired = 0"})
		}
		return c
	},
}

var fileSets = schema[domain.FileSet, domain.LoadFilter]{
	name: "file_sets",
	columns: []column[domain.FileSet]{
		{"retired", func(s domain.FileSet) any { return flag(s.Retired) }},
		{"search", func(s domain.FileSet) any { return search(s.Name, s.Directory) }},
	},
	where: loads.where,
}

var states = schema[domain.DeviceState, domain.StateFilter]{
	name: "states", also: []string{"at_site"},
	columns: []column[domain.DeviceState]{
		{"state", func(s domain.DeviceState) any { return s.Last.State }},
		{"active", func(s domain.DeviceState) any { return s.Last.Active }},
		{"role", func(s domain.DeviceState) any { return s.Last.Role }},
		{"site", func(s domain.DeviceState) any { return s.Site }},
		{"last_seen", func(s domain.DeviceState) any { return micros(s.LastSeen) }},
		{"wanted", func(s domain.DeviceState) any { return s.Last.Wanted }},
		{"failed", func(s domain.DeviceState) any { return flag(s.Failed()) }},
		{"from_origin", func(s domain.DeviceState) any { return s.Traffic.FromOrigin }},
		{"from_peers", func(s domain.DeviceState) any { return s.Traffic.FromPeers }},
		{"from_cache", func(s domain.DeviceState) any { return s.Traffic.FromCache }},
		{"to_peers", func(s domain.DeviceState) any { return s.Traffic.ToPeers }},
	},
	where: func(f domain.StateFilter) []condition {
		c := equal(nil, "state", f.State)
		c = equal(c, "active", f.Active)
		c = equal(c, "role", f.Role)
		c = inRealm(c, "id", f.Realm)
		return within(c, "id IN (SELECT id FROM states WHERE last_seen < ?)", f.SeenBefore)
	},
}

var savings = schema[domain.Saving, domain.SavingFilter]{
	name: "savings",
	columns: []column[domain.Saving]{
		{"month", func(s domain.Saving) any { return s.Month }},
		{"site", func(s domain.Saving) any { return s.Site }},
		{"load", func(s domain.Saving) any { return s.Load }},
	},
	where: func(f domain.SavingFilter) []condition {
		c := equal(nil, "site", f.Site)
		c = equal(c, "load", f.Load)
		c = given(c, "month >= ?", f.Since)
		c = given(c, "month <= ?", f.Until)
		if f.Realm.Limited() {
			c = append(c, oneOf("site", f.Realm.Sites()))
		}
		return c
	},
}

var accounts = schema[domain.Account, domain.TextFilter]{
	name:    "accounts",
	columns: []column[domain.Account]{{"search", func(a domain.Account) any { return search(a.Name, a.FullName) }}},
	where:   textFilter,
}

var credentials = schema[domain.Credential, domain.CredentialFilter]{
	name: "credentials",
	columns: []column[domain.Credential]{
		{"kind", func(c domain.Credential) any { return string(c.Kind) }},
		{"subject", func(c domain.Credential) any { return c.Subject }},
		{"hash", func(c domain.Credential) any { return c.Hash }},
		{"ends", func(c domain.Credential) any { return ends(c) }},
	},
	where: func(f domain.CredentialFilter) []condition {
		c := equal(nil, "kind", string(f.Kind))
		c = equal(c, "subject", f.Subject)
		if f.Hashes != nil {
			c = append(c, oneOf("hash", f.Hashes))
		}
		return within(c, "ends > 0 AND ends <= ?", f.ExpiredBy)
	},
}

// ends is when a credential expires, by age or by idleness; 0 is never.
func ends(c domain.Credential) int64 {
	at, idle := micros(c.Expires), micros(c.Idle)
	if at == 0 || idle != 0 && idle < at {
		return idle
	}
	return at
}

var throttles = schema[domain.Throttle, domain.None]{name: "throttles", where: nothing}

// A log has the columns at and subject, by which it is trimmed.

var history = schema[domain.HistoryEntry, domain.HistoryFilter]{
	name: "history",
	columns: []column[domain.HistoryEntry]{
		{"at", func(h domain.HistoryEntry) any { return micros(h.At) }},
		{"subject", func(h domain.HistoryEntry) any { return h.Device }},
		{"kind", func(h domain.HistoryEntry) any { return h.Kind }},
	},
	where: func(f domain.HistoryFilter) []condition {
		c := equal(nil, "subject", f.Device)
		c = equal(c, "kind", f.Kind)
		c = atSite(c, "subject", f.Site)
		c = inRealm(c, "subject", f.Realm)
		return between(c, "history", f.Since, f.Before)
	},
}

var audit = schema[domain.AuditEntry, domain.AuditFilter]{
	name: "audit",
	columns: []column[domain.AuditEntry]{
		{"at", func(a domain.AuditEntry) any { return micros(a.At) }},
		{"subject", func(a domain.AuditEntry) any { return a.Actor }},
		{"action", func(a domain.AuditEntry) any { return a.Action }},
		{"target", func(a domain.AuditEntry) any { return a.Target }},
		{"part_of", func(a domain.AuditEntry) any { return a.PartOf }},
	},
	where: func(f domain.AuditFilter) []condition {
		c := equal(nil, "subject", f.Actor)
		c = equal(c, "action", f.Action)
		c = equal(c, "id", f.ID)
		c = equal(c, "part_of", f.PartOf)
		c = equal(c, "target", f.Target)
		c = aboutSite(c, f.Site)
		c = aboutRealm(c, f.Realm)
		return between(c, "audit", f.Since, f.Before)
	},
}

// aboutSite finds entries about a site and about the devices that belong to it.
func aboutSite(conds []condition, value string) []condition {
	devices := atSite(nil, "", value)
	if len(devices) == 0 || len(devices[0].args) == 0 {
		return append(conds, devices...)
	}
	return append(conds, about(devices[0], []string{value}))
}

// about is the condition of aboutSite, of any of some sites and these devices.
func about(devices condition, sites []string) condition {
	its := entries("id", devices, sites)
	return condition{sql: "id IN (" + its.sql + ")", args: its.args}
}

// entries is a statement that reads a column of the entries about some sites and
// these devices, by what they are about.
func entries(column string, devices condition, sites []string) condition {
	args := slices.Clone(devices.args)
	for _, s := range sites {
		args = append(args, "site "+s)
	}
	targets := "SELECT 'device ' || id AS target FROM devices WHERE " + devices.sql +
		strings.Repeat(" UNION ALL SELECT CAST(? AS TEXT)", len(sites))
	return condition{sql: "SELECT a." + column + " FROM (" + targets + ") AS its JOIN audit a ON a.target = its.target",
		args: args}
}

// aboutRealm finds entries about the sites of a realm and their devices, and
// those that have such parts.
func aboutRealm(conds []condition, r domain.Realm) []condition {
	devices, ok := ofRealm("", r)
	if !ok || len(devices.args) == 0 {
		return inRealm(conds, "", r)
	}
	own, wholes := entries("id", devices, sitesOf(r)), entries("part_of", devices, sitesOf(r))
	return append(conds, condition{sql: "id IN (" + own.sql + " UNION ALL " + wholes.sql + ")",
		args: slices.Concat(own.args, wholes.args)})
}
