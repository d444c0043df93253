package rollouts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
)

// Verb is an order.
type Verb string

// The orders.
const (
	ToStart    Verb = "start"
	ToApprove  Verb = "approve"
	ToNext     Verb = "next"
	ToPause    Verb = "pause"
	ToResume   Verb = "resume"
	ToAbort    Verb = "abort"
	ToRollBack Verb = "roll-back"
	ToReplace  Verb = "replace"
	ToRetry    Verb = "retry"
	ToSkip     Verb = "skip"
)

// Verbs lists the orders.
func Verbs() []Verb {
	return []Verb{ToStart, ToApprove, ToNext, ToPause, ToResume, ToAbort, ToRollBack, ToReplace, ToRetry, ToSkip}
}

// Instruction is what some verbs need to know beside their rollout.
type Instruction struct {
	// Why of Pause and Abort.
	Why string `json:"why,omitempty" maxLength:"300" doc:"of pause and abort: why"`
	// ID and Plan are those of the rollout that RollBack makes.
	ID   string `json:"id,omitempty" maxLength:"64" doc:"of roll-back: the id of the rollout that takes this one back; if left out, the id with -back behind it"`
	Plan *Plan  `json:"plan,omitempty" doc:"of roll-back: the plan of that rollout"`
	// From and To are the loads of Replace.
	From string `json:"from,omitempty" maxLength:"255" doc:"of replace: the load to replace"`
	To   string `json:"to,omitempty" maxLength:"255" doc:"of replace: the load that takes its place"`
	// Devices and Reason are those of Retry and Skip.
	Devices []string `json:"devices,omitempty" maxItems:"1000" doc:"of retry and skip: these devices; of retry, if left out, all that failed"`
	Reason  string   `json:"reason,omitempty" maxLength:"40" doc:"of retry: only devices that failed for this reason"`
}

// check refuses what an order has that is another one's.
func (o Instruction) check(v Verb) error {
	for _, f := range []struct {
		name  string
		given bool
		of    []Verb
	}{{"why", o.Why != "", []Verb{ToPause, ToAbort}}, {"id", o.ID != "", []Verb{ToRollBack}},
		{"plan", o.Plan != nil, []Verb{ToRollBack}}, {"from", o.From != "", []Verb{ToReplace}},
		{"to", o.To != "", []Verb{ToReplace}}, {"devices", len(o.Devices) > 0, []Verb{ToRetry, ToSkip}},
		{"reason", o.Reason != "", []Verb{ToRetry}}} {
		if f.given && !slices.Contains(f.of, v) {
			return invalid("%s belongs to another order than %s", f.name, v)
		}
	}
	if v == ToSkip && len(o.Devices) == 0 {
		return invalid("name the devices to skip")
	}
	return nil
}

// Done says what an order did, or would do.
type Done struct {
	// DryRun says that nothing was changed.
	DryRun bool `json:"dry_run"`
	// Reach counts the devices that the order is about.
	Reach domain.Reach `json:"reach"`
	// LeftOut counts those that cannot take part in what starts.
	LeftOut map[string]int `json:"left_out"`
	Rollout View           `json:"rollout"`
	// Other is the rollout that a roll-back has made.
	Other *View `json:"other,omitempty"`
}

// errDry ends the transaction of a dry run.
var errDry = errors.New("a dry run")

// Order gives an order to a rollout. version is that which the caller has read, 0
// for any. A dry run refuses what the order would refuse, and changes nothing.
func (s *Service) Order(ctx context.Context, a domain.Actor, id string, v Verb, o Instruction, version int64,
	dry bool) (out Done, err error) {
	if err := s.may(a, domain.ScopeDevices); err != nil {
		return out, err
	}
	out.LeftOut = map[string]int{}
	if v == ToStart {
		if err := s.wouldStart(ctx, a, id, version, o, &out); err != nil {
			return out, err
		}
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		r, err := find(ctx, tx, id, version)
		if err != nil {
			return err
		}
		if err := o.check(v); err != nil {
			return err
		}
		out.DryRun, out.Other = dry, nil
		if v != ToStart {
			if out.Reach, err = s.touched(ctx, tx, r, v, o); err != nil {
				return err
			}
		}
		if r.Undoes == "" {
			if err := s.mayTarget(ctx, tx, a, r.Ask.Target); err != nil {
				return err
			}
		}
		if err := s.mayReach(a, out.Reach.Sites); err != nil {
			return err
		}
		if err := s.carryOut(ctx, tx, a, r, v, o, note, &out); err != nil {
			return said(err)
		}
		if dry {
			return errDry
		}
		return nil
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return out, err
}

// wouldStart refuses a start whose target will not do, with the counts, before it
// is listed.
func (s *Service) wouldStart(ctx context.Context, a domain.Actor, id string, version int64, o Instruction,
	out *Done) error {
	return s.ctl.View(ctx, a, func(tx domain.Tx) error {
		r, err := find(ctx, tx, id, version)
		if err != nil {
			return err
		}
		if err := o.check(ToStart); err != nil {
			return err
		}
		if r.Record.State != rollout.Draft {
			return refused("rollout %s is %s, and only a draft is started", id, r.Record.State)
		}
		p, err := s.preview(ctx, tx, r, nil)
		if err != nil {
			return err
		}
		if p.Refused != "" {
			return refused("%s", p.Refused)
		}
		out.Reach, out.LeftOut = p.Reach, p.LeftOut
		return s.mayReach(a, p.Reach.Sites)
	})
}

// carryOut does what an order says, in a transaction.
func (s *Service) carryOut(ctx context.Context, tx domain.Tx, a domain.Actor, r domain.Rollout, v Verb, o Instruction,
	note domain.Note, out *Done) error {
	id, by := r.Record.ID, person(a)
	before := ordered(r)
	var err error
	var also any // what the audit log has of it besides
	switch v {
	case ToRetry, ToSkip:
		also, err = s.byHand(ctx, tx, r, v, o)
	case ToRollBack:
		err = s.rollBack(ctx, tx, a, r, o, note, out)
	case ToReplace:
		if err = s.replaces(ctx, tx, o); err == nil {
			err = s.keeper(tx).Order(ctx, s.ctl.Time(), id, rollout.Replace{By: by, From: o.From, To: o.To})
		}
	default:
		err = s.keeper(tx).Order(ctx, s.ctl.Time(), id, event(v, a, o.Why))
	}
	if err != nil {
		return err
	}
	if r, err = tx.Rollouts().Get(ctx, id); err != nil {
		return err
	}
	r.Orders++
	if err := tx.Rollouts().Put(ctx, &r); err != nil {
		return err
	}
	after := ordered(r)
	after.Order, after.Also = r.Orders, also
	note("rollout."+string(v), target(id), before, after)
	out.Rollout = viewOf(r)
	return nil
}

// event is an order as the machine takes it.
func event(v Verb, a domain.Actor, why string) rollout.Event {
	by := person(a)
	switch v {
	case ToStart:
		return rollout.Start{By: by}
	case ToApprove:
		return rollout.Approve{By: by, ID: a.Account}
	case ToNext:
		return rollout.Next{By: by}
	case ToPause:
		return rollout.Pause{By: by, Why: why}
	case ToResume:
		return rollout.Resume{By: by}
	}
	return rollout.Abort{By: by, Why: why}
}

// noted is what the audit log has of a rollout that got an order.
type noted struct {
	State    rollout.State         `json:"state"`
	Why      string                `json:"why"`
	Open     int                   `json:"open"`
	Replaced []rollout.Replacement `json:"replaced,omitempty"`
	Order    int64                 `json:"order,omitempty"`
	Also     any                   `json:"also,omitempty"`
}

func ordered(r domain.Rollout) noted {
	return noted{State: r.Record.State, Why: r.Record.Why, Open: r.Record.Open, Replaced: r.Record.Replaced}
}

// touched counts the devices that an order is about.
func (s *Service) touched(ctx context.Context, tx domain.Tx, r domain.Rollout, v Verb,
	o Instruction) (domain.Reach, error) {
	out := domain.NoReach()
	is, err := about(r.Record, v, o)
	if err != nil {
		return out, err
	}
	var rows []rollout.Row
	for d, err := range domain.Each(ctx, tx.RolloutDevices(), domain.RolloutDeviceFilter{Rollout: r.Record.ID}) {
		if err != nil {
			return out, err
		}
		if !is(d.Row) {
			continue
		}
		if rows = append(rows, d.Row); len(rows) == part {
			if err := addRows(ctx, tx, &out, rows); err != nil {
				return out, err
			}
			rows = rows[:0]
		}
	}
	return out, addRows(ctx, tx, &out, rows)
}

// addRows adds the devices of rows, which it reads together.
func addRows(ctx context.Context, tx domain.Tx, out *domain.Reach, rows []rollout.Row) error {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.Device
	}
	known, err := tx.Devices().GetAll(ctx, names)
	if err != nil {
		return err
	}
	for _, row := range rows {
		out.Add(row.Device, known[row.Device].Model, row.Site)
	}
	return nil
}

// about says which devices an order is about.
func about(r rollout.Record, v Verb, o Instruction) (func(rollout.Row) bool, error) {
	underWay := func(row rollout.Row) bool { return row.Standing == rollout.Granted || row.Standing == rollout.Began }
	switch v {
	case ToNext:
		return func(row rollout.Row) bool { return row.Wave == r.Open && row.Standing == rollout.Waiting }, nil
	case ToResume:
		return func(row rollout.Row) bool {
			return underWay(row) || row.Standing == rollout.Waiting && row.Wave < r.Open
		}, nil
	case ToRollBack:
		return func(row rollout.Row) bool { return row.Try > 0 }, nil
	case ToReplace:
		return func(row rollout.Row) bool {
			return row.Load == o.From && row.Standing != rollout.Done && row.Standing != rollout.Had
		}, nil
	case ToRetry, ToSkip:
		return chosen(v, o)
	}
	return underWay, nil
}

// chosen are the devices of Retry and Skip.
func chosen(v Verb, o Instruction) (func(rollout.Row) bool, error) {
	names := map[string]bool{}
	for _, d := range o.Devices {
		name, err := domain.DeviceName(d)
		if err != nil {
			return nil, err
		}
		names[name] = true
	}
	return func(row rollout.Row) bool {
		if v == ToRetry && o.Reason != "" && row.Reason != o.Reason {
			return false
		}
		if len(names) > 0 {
			return names[row.Device]
		}
		return row.Standing == rollout.Failed
	}, nil
}

// byHand tries devices again, or skips them, and returns their names for the
// audit log. Of many that failed those are passed over to which a load was found
// not to work; one that is named is refused.
func (s *Service) byHand(ctx context.Context, tx domain.Tx, r domain.Rollout, v Verb, o Instruction) (any, error) {
	is, err := chosen(v, o)
	if err != nil {
		return nil, err
	}
	var names []string
	for d, err := range domain.Each(ctx, tx.RolloutDevices(), domain.RolloutDeviceFilter{Rollout: r.Record.ID}) {
		if err != nil {
			return nil, err
		}
		if is(d.Row) {
			names = append(names, d.Row.Device)
		}
	}
	if len(names) < len(o.Devices) {
		return nil, refused("of the devices that were named, %d of %d are in the rollout and stand so that this "+
			"can be done: name those alone", len(names), len(o.Devices))
	}
	k, done := s.keeper(tx), 0
	var first error
	for _, name := range names {
		err := k.ByHand(ctx, s.ctl.Time(), r.Record.ID, name, v == ToRetry, rollout.ReasonByHand)
		switch {
		case errors.Is(err, rollout.ErrRefused) && len(o.Devices) == 0:
			first = errors.Join(first, err)
		case err != nil:
			return nil, err
		default:
			done++
		}
	}
	switch {
	case done == 0 && first != nil:
		return nil, fmt.Errorf("%w: no device can be tried again, of %d: %w", domain.ErrRefused, len(names),
			firstOf(first))
	case done == 0:
		return nil, refused("no device has failed so that it can be tried again: name those that are skipped or silent")
	}
	return struct {
		Devices string `json:"devices"`
		Count   int    `json:"count"`
	}{strings.Join(names[:min(len(names), maxSome)], ", "), done}, nil
}

// maxSome bounds the names of devices that an entry of the audit log has.
const maxSome = 5

// firstOf is the first of joined errors: many say the same.
func firstOf(err error) error {
	var all interface{ Unwrap() []error }
	for errors.As(err, &all) && len(all.Unwrap()) > 0 {
		next := all.Unwrap()[0]
		if next == err {
			break
		}
		if _, joined := next.(interface{ Unwrap() []error }); !joined {
			return next
		}
		if errors.Is(next, rollout.ErrRefused) && !strings.Contains(next.Error(), "\n") {
			return next
		}
		err = next
	}
	return err
}

// replaces refuses a load that does not do for all models of the one that it
// replaces.
func (s *Service) replaces(ctx context.Context, tx domain.Tx, o Instruction) error {
	if o.From == "" || o.To == "" {
		return invalid("name the load to replace, and the one that takes its place")
	}
	if err := s.ctl.Assignable(ctx, tx, o.To, ""); err != nil {
		return err
	}
	from, err := tx.Loads().Get(ctx, o.From)
	if errors.Is(err, domain.ErrNotFound) {
		return fmt.Errorf("%w: load %.255q", domain.ErrNotFound, o.From)
	}
	if err != nil {
		return err
	}
	to, err := tx.Loads().Get(ctx, o.To)
	if err != nil {
		return err
	}
	for _, model := range from.Models {
		if !slices.Contains(to.Models, model) {
			return fmt.Errorf("%w: %s is for %s, which %s is not for", domain.ErrUnfit, o.From, model, o.To)
		}
	}
	return nil
}

// rollBack ends a rollout and makes and starts the one that takes it back.
func (s *Service) rollBack(ctx context.Context, tx domain.Tx, a domain.Actor, r domain.Rollout, o Instruction,
	note domain.Note, out *Done) error {
	id, by, now := r.Record.ID, person(a), s.ctl.Time()
	other := o.ID
	if other == "" {
		other = id + "-back"
	}
	if err := checkID(other); err != nil {
		return err
	}
	plan := rollout.Default()
	plan.LeaveOut = true // who has nothing to go back to is counted
	if o.Plan != nil {
		var err error
		if plan, err = o.Plan.machine(); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(plan.Waves, func(w rollout.Wave) bool { return w.Gate.Opener == rollout.ByExternal }) {
		return invalid("a rollout that takes back another one waits for no external check")
	}
	k := s.keeper(tx)
	if err := k.Order(ctx, now, id, rollout.RollBack{By: by}); err != nil {
		return err
	}
	record, err := rollout.NewRecord(now, other, by, plan)
	if err != nil {
		return err
	}
	record.Wrote(by, a.Account)
	back := domain.Rollout{Record: record, Orders: 1, Undoes: id}
	if err := tx.Rollouts().Put(ctx, &back); errors.Is(err, domain.ErrExists) {
		return fmt.Errorf("%w: rollout %q: give the one that takes this one back another id", domain.ErrExists, other)
	} else if err != nil {
		return err
	}
	if err := k.Order(ctx, now, other, rollout.Start{By: by}); err != nil {
		return err
	}
	if back, err = tx.Rollouts().Get(ctx, other); err != nil {
		return err
	}
	note("rollout.create", target(other), nil, drafted(back))
	v := viewOf(back)
	out.Other = &v
	if r, err = tx.Rollouts().Get(ctx, id); err != nil {
		return err
	}
	r.UndoneBy = other
	return tx.Rollouts().Put(ctx, &r)
}
