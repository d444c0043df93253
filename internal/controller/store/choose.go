package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
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
