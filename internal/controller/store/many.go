package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
)

// maxTuples bounds the rows of one statement: ten columns of so many are far from
// the 32,766 arguments that SQLite takes.
const maxTuples = 500

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
	}
	return all, nil
}

// among reads columns of the rows that have one of the keys.
func (t *table[T, F, P]) among(ctx context.Context, columns string, keys []string, scan func(*sql.Rows) error) error {
	in, args := among(keys)
	if len(args) == 0 {
		return nil
	}
	return t.rows(ctx, "read "+t.name, "SELECT "+columns+" FROM "+t.name+" WHERE id IN "+in, args, scan)
}

// PutAll implements domain.Table. There is one writer at a time, so the versions
// that it reads first hold while it writes.
func (t *table[T, F, P]) PutAll(ctx context.Context, all []T) error {
	if err := t.checkVersions(ctx, all); err != nil {
		return err
	}
	for part := range slices.Chunk(all, maxTuples) {
		err := t.insertRows(ctx, "write "+t.name, t.name, len(part), func(i int) (key string, names []string, values []any,
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
		P(&all[i]).Stamp().Version++
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
	for part := range slices.Chunk(keys, maxTuples) {
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
		err := l.insertRows(ctx, "append to "+l.name, l.name, len(part), func(i int) (key string, names []string,
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

// insertRows adds rows to a table in one statement; replace writes those over that
// are there.
func (t *tx) insertRows(ctx context.Context, what, table string, n int,
	row func(i int) (key string, names []string, values []any, err error), replace bool) error {
	var query strings.Builder
	var args []any
	for i := range n {
		key, names, values, err := row(i)
		if err != nil {
			return err
		}
		tuple := "(?" + strings.Repeat(", ?", len(names)) + ")"
		if i == 0 {
			args = make([]any, 0, n*(1+len(names)))
			query.WriteString("INSERT INTO " + table + " (id, " + strings.Join(names, ", ") + ") VALUES " + tuple)
			query.WriteString(strings.Repeat(", "+tuple, n-1))
			for j, name := range names {
				switch {
				case !replace:
				case j == 0:
					query.WriteString(" ON CONFLICT (id) DO UPDATE SET " + name + " = excluded." + name)
				default:
					query.WriteString(", " + name + " = excluded." + name)
				}
			}
		}
		args = append(append(args, key), values...)
	}
	_, err := t.exec(ctx, what, query.String(), args...)
	return err
}
