package bulk

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
)

// verdicts says of each row what becomes of it in the state that the batch sees, and
// returns what is to be written, with the row of each. A plan, the check before a
// job begins, and each step of a job ask here. Rows that were refused before stay
// so.
func verdicts(ctx context.Context, batch *domain.Batch, rows []domain.JobRow, o domain.JobOptions) (all []domain.Judged,
	of []int, err error) {
	return judged(ctx, batch, batch.Judge, rows, o)
}

// judge says of a device what becomes of it: Batch.Judge, or Batch.Allow where nobody asks
// for the changes.
type judge func(ctx context.Context, name string, before *domain.Device, change domain.DeviceChange) (domain.Judged,
	error)

// judged is verdicts by a judge.
func judged(ctx context.Context, batch *domain.Batch, by judge, rows []domain.JobRow, o domain.JobOptions) (
	all []domain.Judged, of []int, err error) {
	known, _, err := knownOf(ctx, batch, rows)
	if err != nil {
		return nil, nil, err
	}
	return judgedOf(ctx, batch, by, known, rows, o)
}

// knownOf are the devices of rows that are not refused yet, those that are there, and the
// names of all.
func knownOf(ctx context.Context, batch *domain.Batch, rows []domain.JobRow) (known map[string]domain.Device,
	names []string, err error) {
	names = make([]string, 0, len(rows))
	for _, r := range rows {
		if r.Outcome != domain.RowRefused {
			names = append(names, r.Device)
		}
	}
	known, err = batch.Tx().Devices().GetAll(ctx, names)
	return known, names, err
}

// judgedOf is judged, where these are the devices.
func judgedOf(ctx context.Context, batch *domain.Batch, by judge, known map[string]domain.Device, rows []domain.JobRow,
	o domain.JobOptions) (all []domain.Judged, of []int, err error) {
	var sites []string
	for _, r := range rows {
		if r.Outcome != domain.RowRefused && r.Change.Site != nil {
			sites = append(sites, *r.Change.Site)
		}
	}
	if err := batch.ReadSites(ctx, sites); err != nil {
		return nil, nil, err
	}
	for i := range rows {
		if rows[i].Outcome == domain.RowRefused {
			continue
		}
		var before *domain.Device
		if d, ok := known[rows[i].Device]; ok {
			before = &d
		}
		j, err := verdict(ctx, batch, by, rows[i], before, o)
		switch {
		case err != nil && !own(err):
			return nil, nil, err // of the database, not of the row
		case err != nil:
			rows[i].Refuse(problem(err))
			continue
		case len(j.Changes) == 0:
			rows[i].Outcome = domain.RowUnchanged
			continue
		case j.Created:
			rows[i].Outcome = domain.RowCreated
		default:
			rows[i].Outcome = domain.RowChanged
		}
		rows[i].Changes = j.Changes
		all, of = append(all, j), append(of, i)
	}
	return all, of, nil
}

// verdict judges one row.
func verdict(ctx context.Context, batch *domain.Batch, by judge, r domain.JobRow, before *domain.Device,
	o domain.JobOptions) (domain.Judged, error) {
	if before == nil && !o.Create {
		return domain.Judged{}, fmt.Errorf("%w: device %q; create devices that are not known, or mend the name",
			domain.ErrNotFound, r.Device)
	}
	if m := r.Change.Model; m != nil && !o.AnyModel && (before == nil || before.Model != *m) {
		if err := batch.CheckModel(*m); err != nil {
			return domain.Judged{}, err
		}
	}
	return by(ctx, r.Device, before, r.Change)
}

// own reports whether an error is a verdict on a row.
func own(err error) bool {
	for _, kind := range []error{domain.ErrInvalid, domain.ErrNotFound, domain.ErrRefused, domain.ErrConflict,
		domain.ErrExists, domain.ErrForbidden, domain.ErrUnauthenticated} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// problem is an error as a row says it.
func problem(err error) string {
	text := err.Error()
	for _, kind := range []error{domain.ErrInvalid, domain.ErrRefused, domain.ErrConflict} {
		text = strings.TrimPrefix(text, kind.Error()+": ")
	}
	return clean(text)
}
