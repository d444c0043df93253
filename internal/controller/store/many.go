package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
)

// maxTuples bounds the rows of one statement: ten columns of so many are far from
// the 32,766 arguments that SQLite takes.
const maxTuples = 500

// maxTexts is how many bytes of texts a statement of many rows has before it ends: driver
// and server have them several times in memory.
const maxTexts = 256 << 10

// GetAll implements domain.Table.
func (t *table[T, F, P]) GetAll(ctx context.Context, keys []string) (map[string]T, error) {
	all := make(map[string]T, len(keys))
	for part := range slices.Chunk(keys, maxTuples) {
		var found []T
		if err := t.among(ctx, "version, doc", part, t.scan(&found)); err != nil {
			return nil, err
		}
		for i := range found {
			all[P(&found[i]).Key()] = found[i]
		}
		for _, key := range part {
			v := all[key]
			t.tx.sees(t.name, key, P(&v).Stamp().Version)
		}
	}
	return all, nil
}

// among reads columns of the rows that have one of the keys.
func (t *table[T, F, P]) among(ctx context.Context, columns string, keys []string, scan func(*sql.Rows) error) error {
	in, args := t.tx.oneOf("id", keys)
	if len(args) == 0 {
		return nil
	}
	return t.tx.rows(ctx, "read "+t.name, "SELECT "+columns+" FROM "+t.name+" WHERE "+in, args, scan)
}

// oneOf is the condition that a column has one of some texts, in few forms: a statement
// that was seen before is not parsed again.
func (t *tx) oneOf(column string, texts []string) (sql string, args []any) {
	_, args = among(texts)
	return t.oneOfArgs(column, args)
}

func (t *tx) oneOfArgs(column string, args []any) (string, []any) {
	if len(args) == 0 {
		return never.sql, nil
	}
	if t.dialect.Arrays {
		list := make([]string, len(args))
		for i, a := range args {
			list[i] = a.(string)
		}
		return column + " = ANY (?)", []any{list}
	}
	want := 1
	for want < len(args) {
		want *= 2
	}
	for len(args) < want {
		args = append(args, args[0]) // once more changes nothing
	}
	return column + " IN (?" + strings.Repeat(", ?", want-1) + ")", args
}

// PutAll implements domain.Table. There is one writer at a time, so the versions
// that it reads first hold while it writes.
func (t *table[T, F, P]) PutAll(ctx context.Context, all []T) error {
	if err := t.checkVersions(ctx, all); err != nil {
		return err
	}
	for part := range slices.Chunk(all, maxTuples) {
		err := t.tx.insertRows(ctx, "write "+t.name, t.name, len(part), func(i int) (key string, names []string, values []any,
			err error) {
			v := P(&part[i])
			m := v.Stamp()
			m.Version++ // the document has the new version too
			names, values, err = t.columnsOf(&part[i], m.Version)
			m.Version--
			return v.Key(), names, values, err
		}, true)
		if err != nil {
			return err
		}
	}
	for i := range all {
		m := P(&all[i]).Stamp()
		m.Version++
		t.tx.sees(t.name, P(&all[i]).Key(), m.Version)
	}
	return nil
}

// checkVersions refuses things whose version is not the stored one.
func (t *table[T, F, P]) checkVersions(ctx context.Context, all []T) error {
	keys := make([]string, 0, len(all))
	want := make(map[string]int64, len(all))
	for i := range all {
		key := P(&all[i]).Key()
		if _, twice := want[key]; twice {
			return fmt.Errorf("%w: %s %q stands twice", domain.ErrConflict, t.name, key)
		}
		keys, want[key] = append(keys, key), P(&all[i]).Stamp().Version
	}
	have := make(map[string]int64, len(all))
	var unseen []string
	for _, key := range keys {
		if version, seen := t.tx.seen[t.name][key]; seen && version > 0 {
			have[key] = version
		} else if !seen {
			unseen = append(unseen, key)
		}
	}
	for part := range slices.Chunk(unseen, maxTuples) {
		err := t.among(ctx, "id, version", part, func(rows *sql.Rows) error {
			var id string
			var version int64
			if err := rows.Scan(&id, &version); err != nil {
				return err
			}
			have[id] = version
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, key := range keys {
		version, there := have[key]
		switch {
		case want[key] == 0 && there:
			return fmt.Errorf("%w: %s %q", domain.ErrExists, t.name, key)
		case version != want[key]:
			return fmt.Errorf("%w: %s %q", domain.ErrConflict, t.name, key)
		}
	}
	return nil
}

// AppendAll implements domain.Log.
func (l *log[T, F]) AppendAll(ctx context.Context, all []T) error {
	for part := range slices.Chunk(all, maxTuples) {
		err := l.tx.insertRows(ctx, "append to "+l.name, l.name, len(part), func(i int) (key string, names []string,
			values []any, err error) {
			names, values, err = l.cells(&part[i], 1)
			return part[i].Key(), names, values, err
		}, false)
		if err != nil {
			return err
		}
	}
	return nil
}

// insertRows adds rows to a table; replace writes those over that are there.
func (t *tx) insertRows(ctx context.Context, what, table string, n int,
	row func(i int) (key string, names []string, values []any, err error), replace bool) error {
	var rows [][]any
	size := 0
	for i := range n {
		key, names, values, err := row(i)
		if err != nil {
			return err
		}
		rows = append(rows, append([]any{key}, values...))
		if size += textsOf(values); size < maxTexts && i < n-1 {
			continue
		}
		err = t.insert(ctx, what, table, append([]string{"id"}, names...), rows, over(names, replace))
		if err != nil {
			return err
		}
		rows, size = rows[:0], 0
	}
	return nil
}

// textsOf is how many bytes the texts of a row have.
func textsOf(values []any) (n int) {
	for _, v := range values {
		if text, ok := v.(string); ok {
			n += len(text)
		}
	}
	return n
}

// over is what a statement does with rows that are there.
func over(columns []string, replace bool) string {
	if !replace {
		return ""
	}
	set := make([]string, len(columns))
	for i, name := range columns {
		set[i] = name + " = excluded." + name
	}
	return " ON CONFLICT (id) DO UPDATE SET " + strings.Join(set, ", ")
}

// insert adds rows to a table: one statement for all with arrays, else one for each.
func (t *tx) insert(ctx context.Context, what, table string, columns []string, rows [][]any, end string) error {
	if len(rows) == 0 {
		return nil
	}
	into := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") "
	if !t.dialect.Arrays {
		query := into + "VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")" + end
		for _, row := range rows {
			if _, err := t.exec(ctx, what, query, row...); err != nil {
				return err
			}
		}
		return nil
	}
	args, cells, lists := make([]any, len(columns)), make([]string, len(columns)), make([]string, len(columns))
	for j, name := range columns {
		var of string
		var err error
		if args[j], of, err = array(rows, j); err != nil {
			return fmt.Errorf("%s: %s: column %s: %w", t.dialect.Name, what, name, err)
		}
		lists[j], cells[j] = "?::"+of, fmt.Sprintf("c%d", j)
		if name == "doc" {
			cells[j] += "::json"
		}
	}
	names := make([]string, len(columns))
	for j := range names {
		names[j] = fmt.Sprintf("c%d", j)
	}
	return t.later(ctx, what, into+"SELECT "+strings.Join(cells, ", ")+" FROM unnest("+strings.Join(lists, ", ")+
		") AS r ("+strings.Join(names, ", ")+")"+end, args)
}

// mostLate is how many statements of many rows a transaction has at a time, of maxTexts
// each.
const mostLate = 4

// lateStatement is a statement that the database carries out while who made it goes on.
type lateStatement struct {
	done chan struct{}
	err  error // once done is closed
}

// later has the database carry out a statement, and those before it first: meanwhile the
// next one is made here. Whether it failed, the next statement that says something of its
// rows tells, and the end of the transaction: PostgreSQL refuses all that comes after one
// that failed.
func (t *tx) later(ctx context.Context, what, query string, args []any) error {
	if len(t.late) == mostLate {
		if t.wait(t.late[0]); t.failed != nil {
			return t.settle()
		}
		t.late = slices.Delete(t.late, 0, 1)
	}
	var before *lateStatement
	if n := len(t.late); n > 0 {
		before = t.late[n-1]
	}
	now := &lateStatement{done: make(chan struct{})}
	t.late = append(t.late, now)
	query, args = t.statement(query, args), t.planned(args)
	go func() {
		defer close(now.done)
		if before != nil {
			if <-before.done; before.err != nil {
				now.err = before.err
				return
			}
		}
		if _, err := t.ExecContext(ctx, query, args...); err != nil {
			now.err = &sqlError{t.dialect.Name + ": " + what, err}
		}
	}()
	return nil
}

// wait waits for a statement.
func (t *tx) wait(of *lateStatement) {
	<-of.done
	t.failed = cmp.Or(t.failed, of.err)
}

// settle waits for all statements that were left to the database, and returns what has
// failed of the transaction's.
func (t *tx) settle() error {
	for _, l := range t.late {
		t.wait(l)
	}
	t.late = nil
	return t.failed
}

// array is a column of rows as one argument, and its type.
func array(rows [][]any, column int) (values any, of string, err error) {
	var texts []*string
	var numbers []int64
	for _, row := range rows {
		switch v := row[column].(type) {
		case nil:
			texts = append(texts, nil)
		case string:
			texts = append(texts, &v)
		case int:
			numbers = append(numbers, int64(v))
		case int64:
			numbers = append(numbers, v)
		default:
			return nil, "", fmt.Errorf("no array holds a %T", v)
		}
	}
	switch {
	case len(numbers) == 0:
		return texts, "text[]", nil
	case len(texts) == 0:
		return numbers, "bigint[]", nil
	}
	return nil, "", errors.New("texts and numbers")
}
