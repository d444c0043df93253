// Package summary has the use cases of knowing: which devices failed and why, and
// what sharing has saved.
//
// What lives here: how that is read from what devices have reported. What must not:
// what is kept of reports, which package domain writes; what counts as saved, which
// package saving says; SQL; HTTP; words for people.
//
// Read Service.Failures, then Service.Savings.
package summary

import (
	"context"
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/saving"
	"github.com/peerload/peerload/report"
)

// Service has the use cases.
type Service struct{ ctl *domain.Controller }

// New returns the use cases on a controller.
func New(c *domain.Controller) *Service { return &Service{c} }

// FailureQuery finds failures. Fields that are "" mean all.
type FailureQuery struct {
	// Site that the devices belong to, Load that they run or are to run.
	Site, Load string
}

// Failure is something that a device still tells of: its last upgrade, or a file
// set, did not succeed.
type Failure struct {
	Device      string `json:"device"`
	Description string `json:"description,omitempty"`
	Model       string `json:"model"`
	// Site that the device belongs to, "" for none.
	Site string `json:"site,omitempty"`
	// Load is the load or file set, Directory that of a file set.
	Load      string `json:"load,omitempty"`
	Directory string `json:"directory,omitempty"`
	// Rollout that brought the load, "" for none.
	Rollout string `json:"rollout,omitempty"`
	// State is failed or rolled-back.
	State string `json:"state"`
	// Phase is what the device was at, "" if it does not tell.
	Phase string `json:"phase,omitempty"`
	// Reason is a stable code, Message the device's text.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Output has the last lines of the hook or command that failed.
	Output string `json:"output,omitempty"`
	// Since when the state holds; of a file set when it was last tried.
	Since time.Time `json:"since,omitzero"`
	// Seen is when the device last reported.
	Seen time.Time `json:"seen,omitzero"`
}

// Failures lists what devices still tell of, by device. Total counts devices.
func (s *Service) Failures(ctx context.Context, a domain.Actor, q FailureQuery,
	p domain.Page) (l domain.List[Failure], err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if err := domain.CheckSite(ctx, tx, q.Site); err != nil {
			return err
		}
		devices, err := tx.Devices().List(ctx, domain.DeviceFilter{Site: q.Site, About: q.Load, Failed: true}, p)
		if err != nil {
			return err
		}
		names := make([]string, 0, len(devices.Items))
		for _, d := range devices.Items {
			names = append(names, d.Name)
		}
		states, err := tx.States().GetAll(ctx, names)
		if err != nil {
			return err
		}
		l = domain.List[Failure]{Items: []Failure{}, Next: devices.Next, Total: devices.Total}
		for _, d := range devices.Items {
			l.Items = append(l.Items, Of(d, states[d.Name])...)
		}
		return nil
	})
	return l, err
}

// Of is what a device tells of in its state.
func Of(d domain.Device, s domain.DeviceState) (all []Failure) {
	f := Failure{Device: d.Name, Description: d.Description, Model: d.Model, Site: d.Site, Seen: s.Reported}
	if f.Site == "" {
		f.Site = s.Site
	}
	if last := s.Last; last.State == report.StateFailed || last.State == report.StateRolledBack {
		f := f
		f.Load, f.State, f.Since = last.Wanted, last.State, s.Since
		if u := last.Upgrade; u != nil {
			f.Load, f.Rollout = u.Load, u.Rollout
		}
		f.Reason, f.Message = last.Reason, last.Message
		f.detail(s.Failures)
		all = append(all, f)
	}
	for _, set := range s.Last.FileSets {
		if set.State != report.StateFailed {
			continue
		}
		f := f
		f.Load, f.Directory, f.State, f.Reason, f.Message = set.Wanted, set.Directory, set.State, set.Reason, set.Message
		if f.Load == "" {
			f.Load = set.Name // it is to be removed
		}
		f.Since = f.detail(s.Failures)
		all = append(all, f)
	}
	return all
}

// detail adds what the device has said of a failure when it happened, and returns
// when the controller heard of it; the zero time if it is not known any more.
func (f *Failure) detail(said []domain.FailureAt) time.Time {
	for _, a := range said { // the latest first
		if a.Load == f.Load && a.Reason == f.Reason {
			f.Phase, f.Output = a.Phase, a.Output
			return a.At
		}
	}
	return time.Time{}
}

// SavingQuery says which savings are put together, and by what. Fields that are ""
// mean all.
type SavingQuery struct {
	Site, Load, Release string
	// Since and Until are months, such as 2026-11; both are in it.
	Since, Until string
	// By are some of saving.Ways.
	By []string
}

// Savings are what was saved.
type Savings struct {
	// Rows are put together as was asked. A load that is in several releases counts in
	// the row of each.
	Rows []SavingRow `json:"rows"`
	// Total is over all that was asked for; nothing counts in it twice.
	Total SavingRow `json:"total"`
}

// SavingRow is one row.
type SavingRow struct {
	saving.Record
	// Saved are the bytes that did not come from servers, SavedPercent how much of the
	// classic way that is, nil if nothing was fetched.
	Saved        int64 `json:"saved"`
	SavedPercent *int  `json:"saved_percent"`
}

func rowOf(r saving.Record) SavingRow {
	row := SavingRow{Record: r, Saved: r.Saved()}
	if percent, ok := r.Percent(); ok {
		row.SavedPercent = &percent
	}
	return row
}

// check refuses what is no month, and no way to put savings together.
func (q SavingQuery) check() error {
	for _, month := range []string{q.Since, q.Until} {
		if _, err := time.Parse(saving.MonthLayout, month); month != "" && err != nil {
			return fmt.Errorf("%w: %.20q is no month: write it like 2026-11", domain.ErrInvalid, month)
		}
	}
	for _, by := range q.By {
		if err := choice.Check("way to sum up", by, saving.Ways()); err != nil {
			return fmt.Errorf("%w: %w", domain.ErrInvalid, err)
		}
	}
	return nil
}

// Savings sums up what was saved.
func (s *Service) Savings(ctx context.Context, a domain.Actor, q SavingQuery) (out Savings, err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return out, err
	}
	if err := q.check(); err != nil {
		return out, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if err := domain.CheckSite(ctx, tx, q.Site); err != nil {
			return err
		}
		releases := map[string][]string{}
		for r, err := range domain.Each(ctx, tx.Releases(), domain.TextFilter{}) {
			if err != nil {
				return err
			}
			for _, load := range r.Loads {
				if q.Release == "" || q.Release == r.Name {
					releases[load] = append(releases[load], r.Name)
				}
			}
		}
		if q.Release != "" && len(releases) == 0 {
			if _, err := tx.Releases().Get(ctx, q.Release); err != nil {
				return fmt.Errorf("%w: release %.60q", domain.ErrNotFound, q.Release)
			}
		}
		var records []saving.Record
		f := domain.SavingFilter{Site: q.Site, Load: q.Load, Since: q.Since, Until: q.Until}
		for v, err := range domain.Each(ctx, tx.Savings(), f) {
			if err != nil {
				return err
			}
			if q.Release == "" || len(releases[v.Load]) > 0 {
				records = append(records, v.Record)
			}
		}
		out = Savings{Rows: []SavingRow{}}
		for _, r := range saving.Sum(records, q.By, releases) {
			out.Rows = append(out.Rows, rowOf(r))
		}
		total := saving.Record{}
		for _, r := range records {
			total.Join(r.Counts)
		}
		out.Total = rowOf(total)
		return nil
	})
	return out, err
}
