package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/peerload/peerload/internal/controller/domain"
)

// ErrDiffers says that what was carried is not what it was carried from.
var ErrDiffers = errors.New("the copy is not what it was made from")

// Carried is how far Carry is.
type Carried struct {
	// Table that is worked on, and how many of its rows are done.
	Table string `json:"table"`
	Rows  int    `json:"rows"`
	// Verified says that these rows were compared, not copied.
	Verified bool `json:"verified"`
}

// stored is a row as a database has it.
type stored struct {
	id      string
	version int64
	doc     []byte
}

// Carry copies all rows of a database into another one, some at a time, and then
// compares each. What is there already must be from a copy of the same database that
// was interrupted: Carry goes on behind it. The counts that follow from the rows are
// made anew. told hears how far it is; an error of it ends the copy. An error matches
// ErrDiffers if a row is there that is not in from, or is another one.
//
// from is read in one transaction, so that others may write there meanwhile; what
// they write is not carried.
func Carry(ctx context.Context, from, to *DB, told func(Carried) error) error {
	return from.View(ctx, func(v domain.Tx) error {
		src := v.(*tx)
		for _, d := range dumpers() {
			if err := carryTable(ctx, d, src, to, told); err != nil {
				return fmt.Errorf("copying %s: %w", d.title(), err)
			}
		}
		err := to.Update(ctx, func(v domain.Tx) error {
			_, err := v.Tallies().Recount(ctx)
			return err
		})
		if err != nil {
			return err
		}
		return compare(ctx, src, to, told)
	})
}

// Compare compares each row of two databases. An error matches ErrDiffers if they are
// not equal.
func Compare(ctx context.Context, from, to *DB, told func(Carried) error) error {
	return from.View(ctx, func(v domain.Tx) error { return compare(ctx, v.(*tx), to, told) })
}

func compare(ctx context.Context, src *tx, to *DB, told func(Carried) error) error {
	return to.View(ctx, func(v domain.Tx) error {
		for _, d := range dumpers() {
			if err := compareTables(ctx, d, src, v.(*tx), told); err != nil {
				return err
			}
		}
		return nil
	})
}

// Clear removes all rows of all tables, in one transaction.
func Clear(ctx context.Context, d *DB) error {
	return d.Update(ctx, func(v domain.Tx) error {
		t := v.(*tx)
		for _, d := range slices.Backward(dumpers()) {
			if _, err := t.exec(ctx, "clear "+d.title(), "DELETE FROM "+d.title()); err != nil {
				return err
			}
		}
		_, err := t.Tallies().Recount(ctx)
		return err
	})
}

// Empty reports whether a database has no rows at all.
func Empty(ctx context.Context, d *DB) (empty bool, err error) {
	err = d.View(ctx, func(v domain.Tx) error {
		empty = true
		for _, d := range dumpers() {
			n, err := d.count(ctx, v.(*tx))
			if err != nil {
				return err
			}
			empty = empty && n == 0
		}
		return nil
	})
	return empty, err
}

func carryTable(ctx context.Context, d dumper, src *tx, to *DB, told func(Carried) error) error {
	after, done := "", 0
	err := to.View(ctx, func(v domain.Tx) error {
		t := v.(*tx)
		err := t.rows(ctx, "read "+d.title(), "SELECT coalesce(max(id), '') FROM "+d.title(), nil,
			func(r *sql.Rows) error { return r.Scan(&after) })
		if err == nil {
			done, err = d.count(ctx, t)
		}
		return err
	})
	if err != nil {
		return err
	}
	for {
		rows, err := rowsAfter(ctx, src, d, after)
		if err != nil || len(rows) == 0 {
			return err
		}
		err = to.Update(ctx, func(v domain.Tx) error { return d.addAll(ctx, v.(*tx), rows) })
		if err != nil {
			return err
		}
		after, done = rows[len(rows)-1].id, done+len(rows)
		if err := told(Carried{Table: d.title(), Rows: done}); err != nil {
			return err
		}
	}
}

// rowsAfter reads the next rows of a table, in the order of their keys, which is that
// of their bytes in both databases.
func rowsAfter(ctx context.Context, t *tx, d dumper, after string) (all []stored, err error) {
	query := fmt.Sprintf("SELECT id, version, doc FROM %s WHERE id > ? ORDER BY id LIMIT %d", d.title(), maxTuples)
	err = t.rows(ctx, "read "+d.title(), query, []any{after}, func(r *sql.Rows) error {
		var s stored
		err := r.Scan(&s.id, &s.version, &s.doc)
		s.doc = slices.Clone(s.doc)
		all = append(all, s)
		return err
	})
	return all, err
}

// compareTables compares each row of one table.
func compareTables(ctx context.Context, d dumper, src, dst *tx, told func(Carried) error) error {
	after, done := "", 0
	for {
		have, err := rowsAfter(ctx, dst, d, after)
		if err != nil {
			return err
		}
		want, err := rowsAfter(ctx, src, d, after)
		if err != nil {
			return err
		}
		for i := range max(len(want), len(have)) {
			switch {
			case i >= len(have), i < len(want) && want[i].id < have[i].id:
				return fmt.Errorf("%w: %s lacks %q", ErrDiffers, d.title(), want[i].id)
			case i >= len(want), want[i].id > have[i].id:
				return fmt.Errorf("%w: %s has %q, which is not in the original", ErrDiffers, d.title(), have[i].id)
			}
			text, err := d.again(want[i].doc)
			if err != nil {
				return fmt.Errorf("%s %q: %w", d.title(), want[i].id, err)
			}
			if want[i].version != have[i].version || !bytes.Equal(text, have[i].doc) {
				return fmt.Errorf("%w: %s %q is another one", ErrDiffers, d.title(), want[i].id)
			}
		}
		if len(want) == 0 {
			return nil
		}
		after, done = want[len(want)-1].id, done+len(want)
		if err := told(Carried{Table: d.title(), Rows: done, Verified: true}); err != nil {
			return err
		}
	}
}

// reread is a document as this program reads and writes it. One with a field that it
// does not know is an error: it would be lost.
func reread[T any](doc []byte) (v T, text []byte, err error) {
	if err = strict(doc, &v); err == nil {
		text, err = json.Marshal(v)
	}
	return v, text, err
}

func (s schema[T, F]) again(doc []byte) ([]byte, error) {
	_, text, err := reread[T](doc)
	return text, err
}

func (s schema[T, F]) addAll(ctx context.Context, t *tx, rows []stored) error {
	return t.insertRows(ctx, "add to "+s.name, s.name, len(rows), func(i int) (key string, names []string, values []any,
		err error) {
		v, _, err := reread[T](rows[i].doc)
		if err == nil {
			names, values, err = s.cells(&v, rows[i].version)
		}
		return rows[i].id, names, values, err
	}, false)
}
