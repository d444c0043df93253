package bulk

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
)

// Query finds devices; what is "" finds all.
type Query struct {
	Text    string `json:"text,omitempty"`
	Model   string `json:"model,omitempty"`
	Profile string `json:"profile,omitempty"`
	Site    string `json:"site,omitempty"`
}

// String writes a query for people.
func (q Query) String() string {
	var all []string
	for _, f := range []struct{ name, value string }{{"model", q.Model}, {"profile", q.Profile}, {"site", q.Site},
		{"text", q.Text}} {
		if f.value != "" {
			all = append(all, f.name+" "+f.value)
		}
	}
	if len(all) == 0 {
		return "all devices"
	}
	return "devices of " + strings.Join(all, ", ")
}

// Request orders what a job is to do: Table or Query says with which devices.
type Request struct {
	// Name says for people what the table is, such as the name of its file.
	Name  string `json:"name,omitempty"`
	Table []byte `json:"table,omitempty"`
	Query *Query `json:"query,omitempty"`
	// Set is what each device gets, unless its row says something else. It goes
	// before what Template, the name of one, says.
	Set      domain.DeviceChange `json:"set,omitzero"`
	Template string              `json:"template,omitempty"`
	domain.JobOptions
	// At is when the job begins; zero for at once.
	At time.Time `json:"at,omitzero"`
	// Shown is what a plan of it has returned: if the job would say something else to
	// devices by now, or to others, it is refused. "" looks at nothing.
	Shown string `json:"shown,omitempty" maxLength:"64"`
}

// shownOf stands for the devices of rows, and for what is said to each.
func shownOf(rows []domain.JobRow) string {
	sum := sha256.New()
	out := json.NewEncoder(sum)
	for _, r := range rows {
		_ = out.Encode(r.Device) // a hash takes everything, and the rows are data
		_ = out.Encode(r.Change)
	}
	return fmt.Sprintf("%d-%x", len(rows), sum.Sum(nil)[:16])
}

// asShown is an error if rows are not those that were shown.
func (r Request) asShown(rows []domain.JobRow) error {
	if r.Shown == "" || r.Shown == shownOf(rows) {
		return nil
	}
	was, _, _ := strings.Cut(r.Shown, "-")
	return fmt.Errorf("%w: the job is about other devices now, %d and not the %.10s that were shown, or says something "+
		"else to them: look at its plan again", domain.ErrConflict, len(rows), was)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", domain.ErrInvalid, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", domain.ErrRefused, fmt.Errorf(format, args...))
}

// name is what the job is called.
func (r Request) name() string {
	switch {
	case r.Name != "":
		return clean(r.Name)
	case r.Query != nil:
		return clean(r.Query.String())
	}
	return "table"
}

// clean bounds a text for people.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "")
	}
	return text
}

// rows are what a request orders, in a state of the database. Those that cannot be
// read are refused already.
func (r Request) rows(ctx context.Context, batch *domain.Batch) ([]domain.JobRow, error) {
	base, err := r.base(ctx, batch.Tx())
	if err != nil {
		return nil, err
	}
	switch {
	case (r.Table != nil) == (r.Query != nil):
		return nil, invalid("a job has a table, or a query")
	case r.Query != nil:
		return r.Query.rows(ctx, batch, base)
	}
	t, err := table.Read(r.Table)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", domain.ErrInvalid, err)
	}
	return tableRows(t, base), nil
}

// base is what each row gets that says nothing else.
func (r Request) base(ctx context.Context, tx domain.Tx) (domain.DeviceChange, error) {
	if r.Set.Load != nil && r.Set.Release != nil {
		return r.Set, invalid("a load and a release are both to be assigned: name one of them")
	}
	if r.Template == "" {
		return r.Set, nil
	}
	t, err := tx.Templates().Get(ctx, r.Template)
	if errors.Is(err, domain.ErrNotFound) {
		return r.Set, fmt.Errorf("%w: template %q", domain.ErrNotFound, clean(r.Template))
	}
	return over(t.Change, r.Set), err
}

// tableRows are the rows of a table. It is pure.
func tableRows(t *table.Table, base domain.DeviceChange) []domain.JobRow {
	rows := make([]domain.JobRow, len(t.Rows))
	first := map[string]int{}
	for i, r := range t.Rows {
		row := &rows[i]
		row.Line, row.Device = r.Line, r.Device
		if r.Problem != "" {
			row.Refuse(r.Problem)
			continue
		}
		name, err := domain.DeviceName(r.Device)
		if err != nil {
			row.Refuse(problem(err))
			continue
		}
		row.Device, row.Change = name, over(base, changeOf(r.Cells))
		if j, twice := first[name]; twice {
			// Which of them is meant, nobody knows.
			row.Refuse(fmt.Sprintf("line %d is of the same device", rows[j].Line))
			if rows[j].Outcome == "" {
				rows[j].Refuse(fmt.Sprintf("line %d is of the same device", row.Line))
			}
			continue
		}
		first[name] = i
	}
	return rows
}

// changeOf is what the cells of a row say.
func changeOf(cells []table.Cell) (c domain.DeviceChange) {
	for _, cell := range cells {
		value := cell.Value
		switch cell.Column {
		case table.Model:
			c.Model = &value
		case table.Profile:
			c.Profile = &value
		case table.Site:
			c.Site = &value
		case table.Description:
			c.Description = &value
		case table.Load:
			c.Load = &value
		case table.Release:
			c.Release = &value
		default:
			if cell.Unset {
				c.Settings.Unset = append(c.Settings.Unset, cell.Column)
				continue
			}
			if c.Settings.Set == nil {
				c.Settings.Set = policy.Values{}
			}
			c.Settings.Set[cell.Column] = value
		}
	}
	// To assign a load takes a release away, and the other way round.
	switch {
	case c.Load == nil || c.Release == nil:
	case *c.Release == "":
		c.Release = nil
	case *c.Load == "":
		c.Load = nil
	}
	return c
}

// over is base, but for what says something else.
func over(base, says domain.DeviceChange) domain.DeviceChange {
	c := base
	for _, f := range []struct{ to, from **string }{{&c.Description, &says.Description}, {&c.Model, &says.Model},
		{&c.Profile, &says.Profile}, {&c.Site, &says.Site}} {
		if *f.from != nil {
			*f.to = *f.from
		}
	}
	if says.Load != nil || says.Release != nil {
		c.Load, c.Release = says.Load, says.Release
	}
	c.Settings = domain.SettingsChange{}
	for _, part := range []domain.SettingsChange{base.Settings, says.Settings} {
		for _, name := range part.Unset {
			delete(c.Settings.Set, name)
			if !slices.Contains(c.Settings.Unset, name) {
				c.Settings.Unset = append(c.Settings.Unset, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(part.Set)) {
			if c.Settings.Set == nil {
				c.Settings.Set = policy.Values{}
			}
			c.Settings.Set[name] = part.Set[name]
			c.Settings.Unset = slices.DeleteFunc(slices.Clone(c.Settings.Unset), func(n string) bool { return n == name })
		}
	}
	if len(c.Settings.Unset) == 0 {
		c.Settings.Unset = nil
	}
	return c
}

// says reports whether a change changes anything at all.
func says(c domain.DeviceChange) bool {
	return c.Description != nil || c.Model != nil || c.Profile != nil || c.Site != nil || c.Load != nil ||
		c.Release != nil || len(c.Settings.Set) > 0 || len(c.Settings.Unset) > 0
}

// rows are those of the devices that a query finds now.
func (q Query) rows(ctx context.Context, batch *domain.Batch, change domain.DeviceChange) ([]domain.JobRow, error) {
	if !says(change) {
		return nil, invalid("a query needs something to set: choose some of %s",
			strings.Join(table.Columns()[1:], ", "))
	}
	var rows []domain.JobRow
	err := q.each(ctx, batch, func(d domain.Device) error {
		if len(rows) == table.MaxRows {
			return invalid("the query finds more than %d devices: narrow it", table.MaxRows)
		}
		rows = append(rows, domain.JobRow{Line: len(rows) + 1, Device: d.Name, Change: change})
		return nil
	})
	if err == nil && len(rows) == 0 {
		err = refused("no device is found by %q: nothing would be changed", q)
	}
	return rows, err
}

// each calls fn for the devices of a query, by name.
func (q Query) each(ctx context.Context, batch *domain.Batch, fn func(domain.Device) error) error {
	f, err := batch.Filter(ctx, domain.DeviceFilter{Text: q.Text, Model: q.Model, Profile: q.Profile, Site: q.Site})
	if err != nil {
		return err
	}
	for d, err := range domain.Each(ctx, batch.Tx().Devices(), f) {
		if err != nil {
			return err
		}
		if err := fn(d); err != nil {
			return err
		}
	}
	return nil
}
