package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// thing is what a table holds.
type thing interface {
	Key() string
	Stamp() *domain.Meta
}

// table implements domain.Table.
type table[T, F any, P interface {
	*T
	thing
}] struct {
	// tx is not embedded: its methods, and those of sql.Tx, would be compiled anew for each
	// kind of thing.
	tx *tx
	schema[T, F]
	// also are further columns of a thing, nil for none: those that do not follow from
	// it alone.
	also func(T) (names []string, values []any)
}

// Get implements domain.Table.
func (t *table[T, F, P]) Get(ctx context.Context, key string) (T, error) {
	var found []T
	var err error
	if storable(key) {
		err = t.tx.rows(ctx, "read "+t.name, "SELECT version, doc FROM "+t.name+" WHERE id = ?", []any{key}, t.scan(&found))
	}
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: %s %q", domain.ErrNotFound, t.name, key)
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return found[0], nil
}

// scan appends each row to a slice.
func (t *table[T, F, P]) scan(to *[]T) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var version int64
		var doc []byte
		if err := rows.Scan(&version, &doc); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal(doc, &v); err != nil {
			return err
		}
		P(&v).Stamp().Version = version
		*to = append(*to, v)
		return nil
	}
}

// Put implements domain.Table.
func (t *table[T, F, P]) Put(ctx context.Context, v *T) error {
	m := P(v).Stamp()
	old := m.Version
	m.Version++
	n, err := int64(0), error(nil)
	if old == 0 {
		n, err = t.add(ctx, v)
	} else {
		n, err = t.update(ctx, v, old)
	}
	if err == nil && n == 0 {
		err = domain.ErrConflict
		if old == 0 {
			err = domain.ErrExists
		}
		err = fmt.Errorf("%w: %s %q", err, t.name, P(v).Key())
	}
	if err != nil {
		m.Version = old
		t.tx.unsees()
		return err
	}
	t.tx.sees(t.name, P(v).Key(), m.Version)
	return nil
}

// cells are the names and values of all columns but the key.
func (s schema[T, F]) cells(v *T, version int64) (names []string, values []any, err error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.name, err)
	}
	names, values = []string{"version", "doc"}, []any{version, string(doc)}
	for _, c := range s.columns {
		names, values = append(names, c.name), append(values, c.value(*v))
	}
	return names, values, nil
}

// columnsOf are the cells of a thing, and what it has also.
func (t *table[T, F, P]) columnsOf(v *T, version int64) (names []string, values []any, err error) {
	names, values, err = t.cells(v, version)
	if err == nil && t.also != nil {
		moreNames, moreValues := t.also(*v)
		names, values = append(names, moreNames...), append(values, moreValues...)
	}
	return names, values, err
}

func (t *table[T, F, P]) add(ctx context.Context, v *T) (int64, error) {
	names, values, err := t.columnsOf(v, P(v).Stamp().Version)
	if err != nil {
		return 0, err
	}
	query := "INSERT INTO " + t.name + " (id, " + strings.Join(names, ", ") + ") VALUES (?" +
		strings.Repeat(", ?", len(names)) + ") ON CONFLICT (id) DO NOTHING"
	return t.tx.exec(ctx, "add to "+t.name, query, append([]any{P(v).Key()}, values...)...)
}

func (t *table[T, F, P]) update(ctx context.Context, v *T, old int64) (int64, error) {
	names, values, err := t.columnsOf(v, P(v).Stamp().Version)
	if err != nil {
		return 0, err
	}
	query := "UPDATE " + t.name + " SET " + strings.Join(names, " = ?, ") + " = ? WHERE id = ? AND version = ?"
	return t.tx.exec(ctx, "change "+t.name, query, append(values, P(v).Key(), old)...)
}

// Delete implements domain.Table.
func (t *table[T, F, P]) Delete(ctx context.Context, key string, version int64) error {
	if !storable(key) {
		return fmt.Errorf("%w: %s %q", domain.ErrNotFound, t.name, key)
	}
	query, args := "DELETE FROM "+t.name+" WHERE id = ?", []any{key}
	if version != 0 {
		query, args = query+" AND version = ?", append(args, version)
	}
	n, err := t.tx.exec(ctx, "delete from "+t.name, query, args...)
	if err != nil || n > 0 {
		return err
	}
	if _, err := t.Get(ctx, key); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s %q", domain.ErrConflict, t.name, key)
}

// List implements domain.Table.
func (t *table[T, F, P]) List(ctx context.Context, f F, p domain.Page) (domain.List[T], error) {
	var l domain.List[T]
	var err error
	l.Items, l.Total, err = list(ctx, t.tx, t.schema, way{"version, doc", "id > ?", "id", 0}, f, p, t.scan)
	if len(l.Items) > p.Size() {
		l.Items = l.Items[:p.Size()]
		l.Next = P(&l.Items[len(l.Items)-1]).Key()
	}
	return l, err
}

// way is how a list is read: its columns, what comes after a key, the order, and how
// far it is counted, 0 for to its end.
type way struct {
	columns, after, order string
	most                  int
}

// list reads one more than a page of rows, and counts all that match.
func list[T, F any](ctx context.Context, t *tx, of schema[T, F], w way, f F, p domain.Page,
	scan func(*[]T) func(*sql.Rows) error) (items []T, total int, err error) {
	conds := of.where(f)
	if conds, err = t.choose(ctx, of.name, conds); err != nil {
		return nil, 0, err
	}
	where, args := clause(conds)
	if p.After != "" {
		from := never // no list ends at what no column holds
		if storable(p.After) {
			from = condition{sql: w.after, args: []any{p.After}}
		}
		where, args = clause(append(slices.Clip(conds), from))
	}
	read := func(query string, args []any) (int, error) {
		items = []T{}
		err := t.rows(ctx, "list "+of.name, query, args, scan(&items))
		return len(items), err
	}
	total, ok, err := t.listByText(ctx, of.name, conds, w, p, read)
	if ok || err != nil {
		return items, total, err
	}
	query := fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d", w.columns, of.name, where, w.order, p.Size()+1)
	if _, err = read(query, args); err != nil || p.Uncounted || total > 0 {
		return items, total, err
	}
	if p.After == "" && len(items) <= p.Size() {
		return items, len(items), nil
	}
	total, err = count(ctx, t, of, w, f, conds)
	return items, total, err
}

// count counts all that match.
func count[T, F any](ctx context.Context, t *tx, of schema[T, F], w way, f F,
	conds []condition) (total int, err error) {
	if of.total != nil {
		if total, ok, err := of.total(ctx, t, f); ok || err != nil {
			return total, err
		}
	}
	where, args := clause(conds)
	query, most := "SELECT count(*) FROM "+of.name+where, w.most
	if slices.ContainsFunc(conds, func(c condition) bool { return c.text != "" }) {
		most = domain.MaxFound
	}
	if most > 0 {
		query = fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s%s LIMIT %d) AS counted", of.name, where, most)
	}
	err = t.rows(ctx, "count "+of.name, query, args, func(r *sql.Rows) error { return r.Scan(&total) })
	return total, err
}

// clause joins conditions.
func clause(conds []condition) (where string, args []any) {
	for i, c := range conds {
		if i == 0 {
			where = " WHERE "
		} else {
			where += " AND "
		}
		where += "(" + c.sql + ")"
		args = append(args, c.args...)
	}
	return where, args
}

// log implements domain.Log.
type log[T interface{ Key() string }, F any] struct {
	tx *tx
	schema[T, F]
}

// Append implements domain.Log.
func (l *log[T, F]) Append(ctx context.Context, v T) error {
	names, values, err := l.cells(&v, 1)
	if err != nil {
		return err
	}
	query := "INSERT INTO " + l.name + " (id, " + strings.Join(names, ", ") + ") VALUES (?" +
		strings.Repeat(", ?", len(names)) + ")"
	_, err = l.tx.exec(ctx, "append to "+l.name, query, append([]any{v.Key()}, values...)...)
	return err
}

// List implements domain.Log.
func (l *log[T, F]) List(ctx context.Context, f F, p domain.Page) (out domain.List[T], err error) {
	latest := way{"doc", "id < ?", "id DESC", domain.MaxTotal}
	out.Items, out.Total, err = list(ctx, l.tx, l.schema, latest, f, p, scanDoc[T])
	if len(out.Items) > p.Size() {
		out.Items = out.Items[:p.Size()]
		out.Next = out.Items[len(out.Items)-1].Key()
	}
	return out, err
}

func scanDoc[T any](to *[]T) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal(doc, &v); err != nil {
			return err
		}
		*to = append(*to, v)
		return nil
	}
}

// Trim implements domain.Log.
func (l *log[T, F]) Trim(ctx context.Context, before time.Time) (int64, error) {
	return l.tx.exec(ctx, "trim "+l.name, "DELETE FROM "+l.name+" WHERE at < ?", before.UnixMicro())
}

// TrimOf implements domain.Log.
func (l *log[T, F]) TrimOf(ctx context.Context, subject string, keep int) (int64, error) {
	if keep == 0 {
		return l.tx.exec(ctx, "trim "+l.name, "DELETE FROM "+l.name+" WHERE subject = ?", subject)
	}
	// The oldest that stays is found by the index; all before it go.
	return l.tx.exec(ctx, "trim "+l.name, "DELETE FROM "+l.name+
		" WHERE subject = ? AND id < (SELECT min(id) FROM (SELECT id FROM "+
		l.name+" WHERE subject = ? ORDER BY id DESC LIMIT ?) AS kept)", subject, subject, keep)
}
