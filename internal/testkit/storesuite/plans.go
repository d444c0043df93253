package storesuite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
)

// Statements collects the statements that a store runs, each once.
type Statements struct {
	mu sync.Mutex
	by map[string]statement
}

type statement struct {
	query string
	args  []any
}

// tuples are repeated arguments: that there are more makes no other plan.
var tuples = regexp.MustCompile(`\?(, \?)+|\(\?\)(, \(\?\))+`)

// Add is a Trace of a store.DB.
func (s *Statements) Add(query string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]statement{}
	}
	key := tuples.ReplaceAllString(tuples.ReplaceAllString(query, "?"), "?")
	if old, ok := s.by[key]; !ok || len(args) < len(old.args) {
		s.by[key] = statement{query, slices.Clone(args)}
	}
}

// Arrays counts the statements that take an array, as PostgreSQL's do.
func (s *Statements) Arrays() (n int) {
	for _, of := range s.by {
		if slices.ContainsFunc(of.args, func(arg any) bool { return reflect.ValueOf(arg).Kind() == reflect.Slice }) {
			n++
		}
	}
	return n
}

// Read is how a plan reads a table: not by a key or an index.
type Read struct{ Table, How string }

// Plan returns what a statement reads in whole.
type Plan func(ctx context.Context, query string, args []any) ([]Read, error)

// Reason says why a statement may read a table in whole.
type Reason struct {
	// Table, and Query as a regular expression; "" is any.
	Table, Query string
	Why          string
}

// Check holds the plans of all statements: none reads a table in whole without a
// reason. It returns the reasons that were used.
func (s *Statements) Check(t *testing.T, plan Plan, reasons []Reason) (used map[Reason]bool) {
	t.Helper()
	used = map[Reason]bool{}
	for _, key := range slices.Sorted(maps.Keys(s.by)) {
		of := s.by[key]
		if strings.Contains(key, "VALUES") || strings.Contains(key, "(1 = 0)") {
			continue // it reads nothing
		}
		reads, err := plan(t.Context(), of.query, of.args)
		if err != nil {
			t.Errorf("%s: %v", of.query, err)
			continue
		}
		for _, r := range reads {
			i := slices.IndexFunc(reasons, func(why Reason) bool {
				return (why.Table == "" || why.Table == r.Table) && regexp.MustCompile(why.Query).MatchString(of.query)
			})
			if i < 0 {
				t.Errorf("%s reads %s in whole: %s", of.query, r.Table, r.How)
				continue
			}
			used[reasons[i]] = true
		}
	}
	return used
}

// List runs every list with every field of its filter, by itself and within sites,
// the first page and a later one.
func List(t *testing.T, s domain.Store) {
	t.Helper()
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		v := reflect.ValueOf(&tx).Elem()
		lists := 0
		for i := range v.NumMethod() {
			list := v.Method(i).Call(nil)[0].MethodByName("List")
			if !list.IsValid() {
				continue
			}
			lists++
			for _, f := range filters(list.Type().In(1)) {
				for _, p := range []domain.Page{{}, {After: "k", Limit: 1}} {
					out := list.Call([]reflect.Value{reflect.ValueOf(ctx), f, reflect.ValueOf(p)})
					if err, _ := out[1].Interface().(error); err != nil {
						return fmt.Errorf("%s: %+v: %w", v.Type().Method(i).Name, f, err)
					}
				}
			}
		}
		if lists < 20 {
			t.Errorf("only %d lists", lists)
		}
		return nil
	})
}

// filters are filters of a type: none, each field by itself, and each within sites.
func filters(of reflect.Type) []reflect.Value {
	all := []reflect.Value{reflect.Zero(of)}
	realm := -1
	if f, ok := of.FieldByName("Realm"); ok {
		realm = f.Index[0]
	}
	values := []any{"x", true, at, domain.RealmOf([]string{"x", "y"})}
	for i := range of.NumField() {
		for _, value := range values {
			v := reflect.ValueOf(value)
			if !v.CanConvert(of.Field(i).Type) || v.Kind() != of.Field(i).Type.Kind() {
				continue
			}
			one := reflect.New(of).Elem()
			one.Field(i).Set(v.Convert(of.Field(i).Type))
			all = append(all, one)
			if realm >= 0 && i != realm {
				both := reflect.New(of).Elem()
				both.Set(one)
				both.Field(realm).Set(reflect.ValueOf(values[3]))
				all = append(all, both)
			}
		}
	}
	return all
}

var (
	names    = regexp.MustCompile(`(?i)(?:FROM|JOIN|UPDATE|INTO) (\w+)(?: (?:AS )?(\w+))?`)
	scanned  = regexp.MustCompile(`^SCAN (\w+)(.*)`)
	firstRow = regexp.MustCompile(`^SELECT [a-z, ]+ FROM \w+ ORDER BY id( DESC)? LIMIT \d+$`)
)

// tableOf is the table that a plan means by a name.
func tableOf(query, name string) string {
	for _, m := range names.FindAllStringSubmatch(query, -1) {
		if m[2] == name {
			return m[1]
		}
	}
	return name
}

// SQLitePlan asks SQLite. A page of a whole list is read in the order of an index, to
// its end and no further.
func SQLitePlan(db *sql.DB) Plan {
	return func(ctx context.Context, query string, args []any) (reads []Read, err error) {
		rows, err := db.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				return nil, err
			}
			m := scanned.FindStringSubmatch(detail)
			switch {
			case m == nil || strings.HasPrefix(detail, "SCAN CONSTANT"):
			case firstRow.MatchString(query) && strings.Contains(m[2], "USING INDEX"):
			case strings.Contains(m[2], "VIRTUAL TABLE INDEX 0:M"): // an index of texts, by MATCH
			case m[1] == "json_each": // a list that is an argument
			case m[1] == "counted", m[1] == "its": // what another step has found
			default:
				reads = append(reads, Read{tableOf(query, m[1]), detail})
			}
		}
		return reads, rows.Err()
	}
}

// node is a part of a plan of PostgreSQL.
type node struct {
	Type   string `json:"Node Type"`
	Table  string `json:"Relation Name"`
	Index  string `json:"Index Name"`
	Cond   string `json:"Index Cond"`
	Filter string `json:"Filter"`
	Plans  []node `json:"Plans"`
}

// PostgresPlan asks PostgreSQL for a plan that reads no table in whole, if there is
// one: the tables of a test are so small that it would always be right to.
func PostgresPlan(db *sql.DB) Plan {
	return func(ctx context.Context, query string, args []any) (reads []Read, err error) {
		t, err := db.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		defer t.Rollback()
		for _, way := range []string{"seqscan", "hashjoin", "mergejoin"} {
			if _, err := t.ExecContext(ctx, "SET LOCAL enable_"+way+" = off"); err != nil {
				return nil, err
			}
		}
		n := 0
		dollars := regexp.MustCompile(`\?`).ReplaceAllStringFunc(query, func(string) string {
			n++
			return fmt.Sprintf("$%d", n)
		})
		var text []byte
		if err := t.QueryRowContext(ctx, "EXPLAIN (FORMAT JSON) "+dollars, args...).Scan(&text); err != nil {
			return nil, err
		}
		var plans []struct{ Plan node }
		if err := json.Unmarshal(text, &plans); err != nil {
			return nil, err
		}
		for _, p := range plans {
			reads = append(reads, p.Plan.reads(firstRow.MatchString(query))...)
		}
		return reads, nil
	}
}

// partial is an index of few rows of a table, which may be read in whole.
const partial = "states_failing"

// reads are the tables that a part of a plan reads in whole.
func (n node) reads(page bool) (all []Read) {
	whole := n.Type == "Seq Scan" || strings.HasPrefix(n.Type, "Index") && n.Cond == "" && !page && n.Index != partial
	if whole && n.Table != "" {
		all = append(all, Read{n.Table, fmt.Sprintf("%s %s, filter %q", n.Type, n.Index, n.Filter)})
	}
	for _, p := range n.Plans {
		all = append(all, p.reads(page)...)
	}
	return all
}
