package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/controller/domain"
)

// many is how many rows are better found by going through a table in the order of its
// keys: a page is full before long. Fewer are found by an index first.
const many = 2000

// choose writes conditions as they are best for how much matches, where the database does
// not find that out by itself.
func (t *tx) choose(ctx context.Context, table string, conds []condition) ([]condition, error) {
	conds = slices.Clone(conds)
	for i, c := range conds {
		if c.among != "" {
			conds[i].sql, conds[i].args = t.oneOfArgs(c.among, c.args)
		}
	}
	if t.dialect.Counts {
		return conds, nil
	}
	for i, c := range conds {
		switch {
		case c.often != "":
			n := 0
			query := "SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM tallies WHERE scope = 0 AND " + c.column + " = ?"
			err := t.rows(ctx, "count devices", query, c.args, func(r *sql.Rows) error { return r.Scan(&n) })
			if err != nil {
				return nil, err
			}
			if n > many {
				conds[i] = condition{sql: c.often, args: c.args}
			}
		case c.text != "" && t.dialect.Texts[table] != "":
			by, ok, err := t.byText(ctx, t.dialect.Texts[table], c.text)
			if err != nil {
				return nil, err
			}
			if ok {
				conds = append(conds, by)
			}
		}
	}
	return conds, nil
}

// few is how many keys are read and sorted here for what has a text.
const few = 1500

// near is how many rows a list goes through in the order of its keys for a page of what
// has a text, before it has the index find all that have it.
const near = 20_000

// listByText reads a page of what has a text, where the database's index of texts gives
// what it finds in no order: in a large fleet it takes longest to sort thousands of devices
// for a page of a hundred. So it asks for their keys first. If they are few, they are sorted
// and counted here; else the page is looked for in the order of the keys. ok is false where
// neither gave the page, and total is what was counted by then, 0 for nothing.
func (t *tx) listByText(ctx context.Context, table string, conds []condition, w way, p domain.Page,
	read func(query string, args []any) (n int, err error)) (total int, ok bool, err error) {
	with := func(c condition) bool { return c.text != "" && utf8.RuneCountInString(c.text) >= 3 }
	if !t.dialect.Counts || t.dialect.Texts[table] == "" || !slices.ContainsFunc(conds, with) {
		return 0, false, nil
	}
	where, args := clause(conds)
	var keys []string
	query := fmt.Sprintf("SELECT id FROM %s%s LIMIT %d", table, where, few+1)
	err = t.rows(ctx, "find by "+t.dialect.Texts[table], query, args, func(r *sql.Rows) error {
		var key string
		err := r.Scan(&key)
		keys = append(keys, key)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	total = min(len(keys), domain.MaxFound)
	if len(keys) <= few {
		slices.Sort(keys)
		at, same := slices.BinarySearch(keys, p.After)
		if same {
			at++
		}
		in, args := t.oneOf("id", keys[at:min(at+p.Size()+1, len(keys))])
		_, err = read("SELECT "+w.columns+" FROM "+table+" WHERE "+in+" ORDER BY id", args)
		return total, true, err
	}
	from, rest := "", []any(nil)
	if p.After != "" {
		if !storable(p.After) {
			return 0, false, nil
		}
		from, rest = " WHERE "+w.after, []any{p.After}
	}
	n, err := read(fmt.Sprintf("SELECT %s FROM (SELECT * FROM %s%s ORDER BY %s LIMIT %d) AS near%s ORDER BY %s LIMIT %d",
		w.columns, table, from, w.order, near, where, w.order, p.Size()+1), append(rest, args...))
	return total, n > p.Size(), err
}

// byText is the condition that finds what an index of texts has, if that is little.
func (t *tx) byText(ctx context.Context, index, text string) (by condition, ok bool, err error) {
	if utf8.RuneCountInString(text) < 3 {
		return by, false, nil // it has the parts of three letters
	}
	phrase := `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
	query := fmt.Sprintf("SELECT rowid FROM %s WHERE %s MATCH ? LIMIT %d", index, index, many+1)
	list, n := []byte{'['}, 0
	err = t.rows(ctx, "find by "+index, query, []any{phrase}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		if n++; n > 1 {
			list = append(list, ',')
		}
		list = strconv.AppendInt(list, id, 10)
		return err
	})
	// One text whatever it holds: the statement is kept.
	by = condition{sql: "rowid IN (SELECT value FROM json_each(?))", args: []any{string(append(list, ']'))}}
	return by, n <= many, err
}
