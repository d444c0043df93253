package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/peerload/peerload/internal/controller/domain"
)

// The form of an export: a header, a line for each thing, and a line that
// counts them, so that a part of an export is not taken for the whole. In schema
// 1 sites were labels of devices and enrolment tokens.
const (
	exportFormat = "peerload-store"
	exportSchema = 2
	// maxLine bounds a line of an export, in bytes.
	maxLine = 16 << 20
)

// ErrExport says that a text is no complete export.
var ErrExport = errors.New("not a complete export of a store")

// line is one line of an export.
type line struct {
	Format string          `json:"format,omitempty"`
	Schema int             `json:"schema,omitempty"`
	Table  string          `json:"table,omitempty"`
	Row    json.RawMessage `json:"row,omitempty"`
	End    *int            `json:"end,omitempty"`
}

// dumper exports and imports one table.
type dumper interface {
	title() string
	count(ctx context.Context, t *tx) (int, error)
	dump(ctx context.Context, t *tx, emit func(row []byte) error) error
	add(ctx context.Context, t *tx, row []byte) error
	// addAll adds rows as another database has them; again is a document as it is
	// written then.
	addAll(ctx context.Context, t *tx, rows []stored) error
	again(doc []byte) ([]byte, error)
}

// dumpers are all tables, those that others refer to first.
func dumpers() []dumper {
	return []dumper{
		dumpTable[domain.Enterprise, domain.None, *domain.Enterprise]{enterprises},
		dumpTable[domain.ModelEntry, domain.None, *domain.ModelEntry]{models},
		dumpTable[domain.Load, domain.LoadFilter, *domain.Load]{loads},
		dumpTable[domain.FileSet, domain.LoadFilter, *domain.FileSet]{fileSets},
		dumpTable[domain.Release, domain.TextFilter, *domain.Release]{releases},
		dumpTable[domain.Site, domain.TextFilter, *domain.Site]{sites},
		dumpTable[domain.Profile, domain.TextFilter, *domain.Profile]{profiles},
		dumpTable[domain.Device, domain.DeviceFilter, *domain.Device]{devices},
		dumpTable[domain.DeviceState, domain.StateFilter, *domain.DeviceState]{states},
		dumpTable[domain.Saving, domain.SavingFilter, *domain.Saving]{savings},
		dumpTable[domain.Account, domain.TextFilter, *domain.Account]{accounts},
		dumpTable[domain.Credential, domain.CredentialFilter, *domain.Credential]{credentials},
		dumpTable[domain.Throttle, domain.None, *domain.Throttle]{throttles},
		dumpTable[domain.Rollout, domain.RolloutFilter, *domain.Rollout]{rollouts},
		dumpTable[domain.RolloutDevice, domain.RolloutDeviceFilter, *domain.RolloutDevice]{rolloutDevices},
		dumpTable[domain.Verdict, domain.VerdictFilter, *domain.Verdict]{verdicts},
		dumpTable[domain.SentOrder, domain.SentOrderFilter, *domain.SentOrder]{sentOrders},
		dumpTable[domain.OrderDevice, domain.OrderDeviceFilter, *domain.OrderDevice]{orderDevices},
		dumpTable[domain.Template, domain.TextFilter, *domain.Template]{templates},
		dumpTable[domain.Job, domain.JobFilter, *domain.Job]{jobs},
		dumpTable[domain.Webhook, domain.None, *domain.Webhook]{hooks},
		dumpTable[domain.Delivery, domain.DeliveryFilter, *domain.Delivery]{deliveries},
		dumpTable[domain.JobStep, domain.JobStepFilter, *domain.JobStep]{jobSteps},
		dumpLog[domain.HistoryEntry, domain.HistoryFilter]{history},
		dumpLog[domain.AuditEntry, domain.AuditFilter]{audit},
	}
}

func (s schema[T, F]) title() string { return s.name }

func (s schema[T, F]) count(ctx context.Context, t *tx) (n int, err error) {
	err = t.QueryRowContext(ctx, "SELECT count(*) FROM "+s.name).Scan(&n)
	return n, err
}

func (s schema[T, F]) dump(ctx context.Context, t *tx, emit func([]byte) error) error {
	rows, err := t.QueryContext(ctx, "SELECT doc FROM "+s.name+" ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		if err := emit(doc); err != nil {
			return err
		}
	}
	return rows.Err()
}

type dumpTable[T, F any, P interface {
	*T
	thing
}] struct{ schema[T, F] }

func (d dumpTable[T, F, P]) add(ctx context.Context, t *tx, row []byte) error {
	var v T
	if err := strict(row, &v); err != nil {
		return err
	}
	if P(&v).Key() == "" || P(&v).Stamp().Version < 1 {
		return errors.New("a row without a key or version")
	}
	n, err := (&table[T, F, P]{t, d.schema, nil}).add(ctx, &v)
	if err == nil && n == 0 {
		err = fmt.Errorf("%q stands twice", P(&v).Key())
	}
	return err
}

type dumpLog[T interface{ Key() string }, F any] struct{ schema[T, F] }

func (d dumpLog[T, F]) add(ctx context.Context, t *tx, row []byte) error {
	var v T
	if err := strict(row, &v); err != nil {
		return err
	}
	return (&log[T, F]{t, d.schema}).Append(ctx, v)
}

// strict refuses fields that this program does not know: it would lose them.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Export implements domain.Store.
func (d *DB) Export(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(out)
	err := d.View(ctx, func(v domain.Tx) error {
		if err := enc.Encode(line{Format: exportFormat, Schema: exportSchema}); err != nil {
			return err
		}
		n := 0
		for _, s := range dumpers() {
			err := s.dump(ctx, v.(*tx), func(row []byte) error {
				n++
				return enc.Encode(line{Table: s.title(), Row: row})
			})
			if err != nil {
				return fmt.Errorf("export of %s: %w", s.title(), err)
			}
		}
		return enc.Encode(line{End: &n})
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// Import implements domain.Store. Errors match ErrExport if the text is not
// what Export writes.
func (d *DB) Import(ctx context.Context, r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	by := map[string]dumper{}
	for _, s := range dumpers() {
		by[s.title()] = s
	}
	return d.Update(ctx, func(v domain.Tx) error {
		t := v.(*tx)
		for _, s := range dumpers() {
			if n, err := s.count(ctx, t); err != nil {
				return err
			} else if n > 0 {
				return fmt.Errorf("%w: table %s is not empty: an import needs an empty database", domain.ErrRefused, s.title())
			}
		}
		if err := importLines(ctx, t, in, by); err != nil {
			return err
		}
		_, err := t.Tallies().Recount(ctx)
		return err
	})
}

func importLines(ctx context.Context, t *tx, in *bufio.Scanner, by map[string]dumper) error {
	bad := func(n int, err error) error { return fmt.Errorf("%w: line %d: %w", ErrExport, n, err) }
	rows, schema := 0, 0
	for n := 1; in.Scan(); n++ {
		var l line
		if err := strict(in.Bytes(), &l); err != nil {
			return bad(n, err)
		}
		switch {
		case n == 1:
			if l.Format != exportFormat || l.Schema < 1 || l.Schema > exportSchema {
				return bad(n, fmt.Errorf("format %q of schema %d, this program knows %q up to %d", l.Format, l.Schema, exportFormat,
					exportSchema))
			}
			schema = l.Schema
		case l.End != nil:
			if *l.End != rows {
				return bad(n, fmt.Errorf("%d rows, not %d", rows, *l.End))
			}
			if in.Scan() {
				return bad(n+1, errors.New("text behind the end"))
			}
			if err := in.Err(); err != nil || schema > 1 {
				return err
			}
			return adoptLabels(ctx, t)
		case by[l.Table] == nil:
			return bad(n, fmt.Errorf("there is no table %q", l.Table))
		default:
			if err := by[l.Table].add(ctx, t, l.Row); err != nil {
				return bad(n, err)
			}
			rows++
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrExport, err)
	}
	return fmt.Errorf("%w: it ends too early", ErrExport)
}

// adoptLabels makes a site of each label that devices and enrolment tokens have,
// as migration 4 does. It is as old as the first thing that has the label.
func adoptLabels(ctx context.Context, t *tx) error {
	labels := map[string]domain.Meta{}
	note := func(label string, m domain.Meta) {
		old, ok := labels[label]
		if label != "" && (!ok || m.Created.Before(old.Created)) {
			labels[label] = domain.Meta{Created: m.Created, Changed: m.Created}
		}
	}
	err := each(ctx, t.Devices(), domain.DeviceFilter{}, func(d domain.Device) { note(d.Site, d.Meta) })
	if err != nil {
		return err
	}
	for _, kind := range []domain.CredentialKind{domain.CredentialEnrolment, domain.CredentialSiteKey} {
		err := each(ctx, t.Credentials(), domain.CredentialFilter{Kind: kind},
			func(c domain.Credential) { note(c.Site, c.Meta) })
		if err != nil {
			return err
		}
	}
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if err := t.Sites().Put(ctx, &domain.Site{Meta: labels[label], Name: label, Networks: []string{}}); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn for everything that matches, page after page.
func each[T, F any](ctx context.Context, of domain.Table[T, F], f F, fn func(T)) error {
	for p := (domain.Page{Limit: domain.MaxPage, Uncounted: true}); ; {
		l, err := of.List(ctx, f, p)
		if err != nil {
			return err
		}
		for _, v := range l.Items {
			fn(v)
		}
		if p.After = l.Next; p.After == "" {
			return nil
		}
	}
}
