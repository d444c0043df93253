package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// The scopes of tallies.
const (
	scopeAll    = 0 // all devices, without their sites
	scopeSites  = 1 // the devices at each site, "" for those at none
	scopeTotals = 2 // the sum of those at each site
)

// tallyKey is what the devices of a tally have in common.
type tallyKey struct {
	scope                                                    int
	site, model, profile, load, release, state, active, role string
}

func (k tallyKey) values() []any {
	return []any{k.scope, k.site, k.model, k.profile, k.load, k.release, k.state, k.active, k.role}
}

// keyColumns and tallyColumns are the columns of the table, in order.
var (
	keyColumns = []string{"scope", "site", "model", "profile", "assigned", "assigned_release", "state", "active",
		"role"}
	sumColumns = []string{"n", "from_origin_hi", "from_origin_lo", "from_peers_hi", "from_peers_lo", "from_cache_hi",
		"from_cache_lo", "to_peers_hi", "to_peers_lo"}
	tallyColumns = slices.Concat(keyColumns, sumColumns)
)

// sums are a count, and numbers of bytes in halves of 32 bits: of as many devices as
// there may be, no sum overflows.
type sums [9]int64

// add adds a device, or with -1 takes it away.
func (s *sums) add(t domain.Traffic, sign int64) {
	s[0] += sign
	for i, n := range []int64{t.FromOrigin, t.FromPeers, t.FromCache, t.ToPeers} {
		s[1+2*i] += sign * (n >> 32)
		s[2+2*i] += sign * (n & math.MaxUint32)
	}
}

// traffic is the sum of the bytes; what no number holds is the largest.
func (s *sums) traffic() domain.Traffic {
	whole := func(i int) int64 {
		hi, lo := s[i]+s[i+1]>>32, s[i+1]&math.MaxUint32
		if hi > math.MaxInt64>>32 {
			return math.MaxInt64
		}
		return hi<<32 | lo
	}
	return domain.Traffic{FromOrigin: whole(1), FromPeers: whole(3), FromCache: whole(5), ToPeers: whole(7)}
}

// counted is what the tallies know of a device.
type counted struct {
	tallyKey
	// own is the site of the device's row, located that of its state.
	own, located string
	traffic      domain.Traffic
	// known says that there is such a device, heard that it has a state.
	known, heard bool
}

func (c counted) at() string { return cmp.Or(c.own, c.located) }

// device writes what a device says.
func (c *counted) device(d domain.Device) {
	c.known, c.own = true, d.Site
	c.model, c.profile, c.load, c.release = d.Model, d.Profile, d.Load.Load, d.Load.Release
}

// told writes what a state says.
func (c *counted) told(s domain.DeviceState) {
	c.heard, c.located, c.traffic = true, s.Site, s.Traffic
	c.state, c.active, c.role = s.Last.State, s.Last.Active, s.Last.Role
}

// silence takes away what a state says.
func (c *counted) silence() { c.told(domain.DeviceState{}); c.heard = false }

// countedOf reads what the tallies know of devices; those that are not there are left
// out.
func (t *tx) countedOf(ctx context.Context, keys []string) (map[string]counted, error) {
	all := make(map[string]counted, len(keys))
	for part := range slices.Chunk(keys, maxTuples) {
		in, args := t.oneOf("d.id", part)
		query := "SELECT d.id, d.site, d.model, coalesce(d.profile, ''), d.assigned, d.assigned_release, " +
			"coalesce(s.id, ''), coalesce(s.site, ''), coalesce(s.state, ''), coalesce(s.active, ''), coalesce(s.role, ''), " +
			"coalesce(s.from_origin, 0), coalesce(s.from_peers, 0), coalesce(s.from_cache, 0), coalesce(s.to_peers, 0) " +
			"FROM devices d LEFT JOIN states s ON s.id = d.id WHERE " + in
		err := t.rows(ctx, "read what is counted", query, args, func(rows *sql.Rows) error {
			var id, state string
			c := counted{known: true}
			err := rows.Scan(&id, &c.own, &c.model, &c.profile, &c.load, &c.release, &state, &c.located, &c.state, &c.active,
				&c.role, &c.traffic.FromOrigin, &c.traffic.FromPeers, &c.traffic.FromCache, &c.traffic.ToPeers)
			c.heard = state != ""
			all[id] = c
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// deltas are changes of tallies.
type deltas map[tallyKey]sums

func (d deltas) add(c counted, sign int64) {
	if !c.known {
		return
	}
	k := c.tallyKey
	k.scope, k.site = scopeSites, c.at()
	total := tallyKey{scope: scopeTotals, site: k.site}
	whole := k
	whole.scope, whole.site = scopeAll, ""
	for _, k := range []tallyKey{k, whole, total} {
		if k == (tallyKey{scope: scopeTotals}) {
			continue
		}
		s := d[k]
		s.add(c.traffic, sign)
		d[k] = s
	}
}

// adjust changes the tallies, and the sites that devices belong to, as devices have
// changed.
func (t *tx) adjust(ctx context.Context, before, after map[string]counted) error {
	d := deltas{}
	moved := map[string]map[string][]string{"devices": {}, "states": {}}
	for key, is := range after {
		was := before[key]
		if was == is {
			continue
		}
		d.add(was, -1)
		d.add(is, 1)
		switch {
		case !is.known || was.at() == is.at():
		case was.own != is.own && is.heard: // the row of the device has it already
			moved["states"][is.at()] = append(moved["states"][is.at()], key)
		case was.own == is.own && was.known: // likewise that of the state
			moved["devices"][is.at()] = append(moved["devices"][is.at()], key)
		}
	}
	for table, at := range moved {
		for site, keys := range at {
			for part := range slices.Chunk(keys, maxTuples) {
				in, args := t.oneOf("id", part)
				_, err := t.exec(ctx, "change the site of "+table, "UPDATE "+table+" SET at_site = ? WHERE "+in,
					append([]any{site}, args...)...)
				if err != nil {
					return err
				}
			}
		}
	}
	return t.apply(ctx, d)
}

// apply writes changes of tallies.
func (t *tx) apply(ctx context.Context, d deltas) error {
	maps.DeleteFunc(d, func(_ tallyKey, s sums) bool { return s == sums{} })
	set := make([]string, len(sumColumns))
	for i, c := range sumColumns {
		set[i] = c + " = tallies." + c + " + excluded." + c
	}
	end := " ON CONFLICT (" + strings.Join(keyColumns, ", ") + ") DO UPDATE SET " + strings.Join(set, ", ")
	keys := slices.SortedFunc(maps.Keys(d), func(a, b tallyKey) int {
		return cmp.Or(cmp.Compare(a.scope, b.scope), cmp.Compare(a.site, b.site), cmp.Compare(a.model, b.model))
	})
	var fewer [][]any
	for part := range slices.Chunk(keys, maxTuples) {
		rows := make([][]any, len(part))
		for i, k := range part {
			row := k.values()
			for _, n := range d[k] {
				row = append(row, n)
			}
			if rows[i] = row; d[k][0] < 0 {
				fewer = append(fewer, k.values())
			}
		}
		if err := t.insert(ctx, "count devices", "tallies", tallyColumns, rows, end); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(fewer, maxTuples) {
		if err := t.emptied(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// emptied removes those of some tallies that count no device any more: by their keys,
// since an index of what changes would have each change write to all indices.
func (t *tx) emptied(ctx context.Context, keys [][]any) error {
	const what = "count devices"
	if !t.dialect.Arrays {
		query := "DELETE FROM tallies WHERE n = 0 AND " + strings.Join(keyColumns, " = ? AND ") + " = ?"
		for _, key := range keys {
			if _, err := t.exec(ctx, what, query, key...); err != nil {
				return err
			}
		}
		return nil
	}
	lists, same, args := make([]string, len(keyColumns)), make([]string, len(keyColumns)), make([]any, len(keyColumns))
	for j, name := range keyColumns {
		values, of, err := array(keys, j)
		if err != nil {
			return fmt.Errorf("%s: %s: column %s: %w", t.dialect.Name, what, name, err)
		}
		args[j], lists[j], same[j] = values, "?::"+of, "t."+name+" = r."+name
	}
	return t.later(ctx, what, "DELETE FROM tallies t USING unnest("+strings.Join(lists, ", ")+") AS r ("+
		strings.Join(keyColumns, ", ")+") WHERE t.n = 0 AND "+strings.Join(same, " AND "), args)
}

// countedTable is a table whose rows count.
type countedTable[T, F any] struct {
	domain.Table[T, F]
	t *tx
	// key of a thing.
	key func(T) string
	// change says of what is counted that a thing is written, drop that it is removed.
	change func(*counted, T)
	drop   func(*counted)
	// sited is the table, which writes the site of each thing.
	sited func(at func(T) string) domain.Table[T, F]
}

// Put implements domain.Table.
func (c countedTable[T, F]) Put(ctx context.Context, v *T) error {
	return c.write(ctx, []T{*v}, func(to domain.Table[T, F]) error { return to.Put(ctx, v) })
}

// PutAll implements domain.Table.
func (c countedTable[T, F]) PutAll(ctx context.Context, all []T) error {
	return c.write(ctx, all, func(to domain.Table[T, F]) error { return to.PutAll(ctx, all) })
}

// write writes things, and counts them.
func (c countedTable[T, F]) write(ctx context.Context, all []T, put func(domain.Table[T, F]) error) error {
	keys := make([]string, 0, len(all))
	for _, v := range all {
		keys = append(keys, c.key(v))
	}
	before, err := c.t.countedOf(ctx, keys)
	if err != nil {
		return err
	}
	after := make(map[string]counted, len(all))
	for _, v := range all {
		is := before[c.key(v)]
		c.change(&is, v)
		after[c.key(v)] = is
	}
	if err := put(c.sited(func(v T) string { return after[c.key(v)].at() })); err != nil {
		return err
	}
	return c.t.adjust(ctx, before, after)
}

// Delete implements domain.Table.
func (c countedTable[T, F]) Delete(ctx context.Context, key string, version int64) error {
	if !storable(key) {
		return c.Table.Delete(ctx, key, version)
	}
	before, err := c.t.countedOf(ctx, []string{key})
	if err != nil {
		return err
	}
	if err := c.Table.Delete(ctx, key, version); err != nil {
		return err
	}
	after := before[key]
	c.drop(&after)
	return c.t.adjust(ctx, before, map[string]counted{key: after})
}

// sited is a table that writes the site that each thing is at.
func sited[T, F any, P interface {
	*T
	thing
}](t *tx, of schema[T, F]) func(func(T) string) domain.Table[T, F] {
	return func(at func(T) string) domain.Table[T, F] {
		return &table[T, F, P]{t, of, func(v T) ([]string, []any) { return of.also, []any{at(v)} }}
	}
}

func (t *tx) Devices() domain.Table[domain.Device, domain.DeviceFilter] {
	return countedTable[domain.Device, domain.DeviceFilter]{in(t, devices), t, domain.Device.Key,
		(*counted).device, func(c *counted) { *c = counted{} }, sited(t, devices)}
}

func (t *tx) States() domain.Table[domain.DeviceState, domain.StateFilter] {
	return countedTable[domain.DeviceState, domain.StateFilter]{in(t, states), t, domain.DeviceState.Key,
		(*counted).told, (*counted).silence, sited(t, states)}
}

// tallies implements domain.Tallies.
type tallies struct{ *tx }

func (t *tx) Tallies() domain.Tallies { return tallies{t} }

// Of implements domain.Tallies.
func (t tallies) Of(ctx context.Context, sites []string) (all []domain.Tally, err error) {
	where, args := "scope = ?", []any{scopeAll}
	if sites != nil {
		in, of := among(sites)
		where, args = "scope = ? AND site IN "+in, append([]any{scopeSites}, of...)
	}
	query := "SELECT " + strings.Join(tallyColumns[1:], ", ") + " FROM tallies WHERE " + where
	err = t.rows(ctx, "read the tallies", query, args, func(rows *sql.Rows) error {
		var y domain.Tally
		var s sums
		err := rows.Scan(&y.Site, &y.Model, &y.Profile, &y.Load, &y.Release, &y.State, &y.Active, &y.Role, &s[0], &s[1],
			&s[2], &s[3], &s[4], &s[5], &s[6], &s[7], &s[8])
		y.Devices, y.Traffic = int(s[0]), s.traffic()
		all = append(all, y)
		return err
	})
	return all, err
}

// BySite implements domain.Tallies.
func (t tallies) BySite(ctx context.Context) (map[string]int, error) {
	by := map[string]int{}
	return by, t.rows(ctx, "read the tallies", "SELECT site, n FROM tallies WHERE scope = ?", []any{scopeTotals}, into(by))
}

// into reads rows of a text and a number.
func into(by map[string]int) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var of string
		var n int
		err := rows.Scan(&of, &n)
		by[of] = n
		return err
	}
}

// Heard implements domain.Tallies.
func (t tallies) Heard(ctx context.Context, sites []string, since time.Time) (map[string]int, error) {
	by := map[string]int{}
	from := max(upMicros(since), 1) // 0 is never
	if sites == nil {
		// Most devices were heard of of late: those that were not are counted, and the others
		// are in the tallies, or have said nothing of themselves.
		const query = "SELECT '', (SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM tallies WHERE scope = ? AND " +
			"state <> '') + (SELECT count(*) FROM states WHERE state = '') - (SELECT count(*) FROM states WHERE last_seen < ?)"
		return by, t.rows(ctx, "count who was heard of", query, []any{scopeAll, from}, into(by))
	}
	in, args := among(sites)
	return by, t.rows(ctx, "count who was heard of", "SELECT at_site, count(*) FROM states WHERE at_site IN "+in+
		" AND last_seen >= ? GROUP BY at_site", append(args, from), into(by))
}

// countDevices counts devices by the tallies; ok is false for what these do not tell.
func countDevices(ctx context.Context, t *tx, f domain.DeviceFilter) (n int, ok bool, err error) {
	rest := f
	rest.Model, rest.Profile, rest.Site, rest.NoProfile, rest.Load, rest.Release = "", "", "", false, "", ""
	rest.State, rest.Active, rest.Realm = "", "", domain.Realm{}
	if !reflect.DeepEqual(rest, domain.DeviceFilter{}) {
		return 0, false, nil
	}
	c := equal(nil, "model", f.Model)
	c = equal(c, "profile", f.Profile)
	c = equal(c, "assigned", f.Load)
	c = equal(c, "assigned_release", f.Release)
	c = equal(c, "active", f.Active)
	if f.NoProfile {
		c = append(c, condition{sql: "profile = ''"})
	}
	if f.State == domain.StateUnknown {
		c = append(c, condition{sql: "state IN ('', ?)", args: []any{f.State}})
	} else {
		c = equal(c, "state", f.State)
	}
	scope := scopeAll
	if f.Site != "" || f.Realm.Limited() {
		scope = scopeSites
		c = equal(c, "site", f.Site)
		if f.Realm.Limited() {
			c = append(c, oneOf("site", f.Realm.Sites()))
		}
	}
	where, args := clause(append([]condition{{sql: "scope = ?", args: []any{scope}}}, c...))
	err = t.rows(ctx, "count devices", "SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM tallies"+where, args,
		func(r *sql.Rows) error { return r.Scan(&n) })
	return n, true, err
}

// Recount implements domain.Tallies. It reads every device.
func (t tallies) Recount(ctx context.Context) (mended int, err error) {
	kept, err := t.kept(ctx)
	if err != nil {
		return 0, err
	}
	if err := t.locate(ctx); err != nil {
		return 0, err
	}
	d := deltas{}
	query := "SELECT d.at_site, d.model, coalesce(d.profile, ''), d.assigned, d.assigned_release, " +
		"coalesce(s.state, ''), coalesce(s.active, ''), coalesce(s.role, ''), coalesce(s.from_origin, 0), " +
		"coalesce(s.from_peers, 0), coalesce(s.from_cache, 0), coalesce(s.to_peers, 0) " +
		"FROM devices d LEFT JOIN states s ON s.id = d.id"
	err = t.rows(ctx, "count all devices", query, nil, func(rows *sql.Rows) error {
		c := counted{known: true}
		err := rows.Scan(&c.own, &c.model, &c.profile, &c.load, &c.release, &c.state, &c.active, &c.role,
			&c.traffic.FromOrigin, &c.traffic.FromPeers, &c.traffic.FromCache, &c.traffic.ToPeers)
		d.add(c, 1)
		return err
	})
	if err != nil {
		return 0, err
	}
	for k, is := range kept {
		was := d[k]
		for i := range was {
			was[i] -= is[i]
		}
		d[k] = was
		if d[k] == (sums{}) {
			delete(d, k)
		}
	}
	return len(d), t.apply(ctx, d)
}

// kept are the tallies as they are.
func (t tallies) kept(ctx context.Context) (map[tallyKey]sums, error) {
	all := map[tallyKey]sums{}
	query := "SELECT " + strings.Join(tallyColumns, ", ") + " FROM tallies"
	return all, t.rows(ctx, "read the tallies", query, nil, func(rows *sql.Rows) error {
		var k tallyKey
		var s sums
		err := rows.Scan(&k.scope, &k.site, &k.model, &k.profile, &k.load, &k.release, &k.state, &k.active, &k.role,
			&s[0], &s[1], &s[2], &s[3], &s[4], &s[5], &s[6], &s[7], &s[8])
		all[k] = s
		return err
	})
}

// locate writes the sites that all devices belong to.
func (t tallies) locate(ctx context.Context) error {
	const of = "coalesce((SELECT CASE WHEN d.site <> '' THEN d.site ELSE coalesce(s.site, '') END " +
		"FROM devices d LEFT JOIN states s ON s.id = d.id WHERE d.id = %s.id), '')"
	for _, table := range []string{"devices", "states"} {
		is := fmt.Sprintf(of, table)
		_, err := t.exec(ctx, "find the sites of "+table, "UPDATE "+table+" SET at_site = "+is+" WHERE at_site <> "+is)
		if err != nil {
			return err
		}
	}
	return nil
}
