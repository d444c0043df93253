package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/window"
)

// Errors of orders. Their texts say what to do.
var (
	// ErrState: the rollout is in no state for the order.
	ErrState = errors.New("not in this state")
	// ErrRefused: the order cannot be carried out.
	ErrRefused = errors.New("refused")
)

const (
	maxReplaced = 16
	maxOutages  = 32
	// maxText bounds what is kept of a why, and of a reason.
	maxText   = 300
	maxReason = 40
)

// NextStep says which load leads from the one that a device runs ("" if unknown) to
// the goal: the goal itself, or a stepping stone. ok is false if none does.
type NextStep func(runs, goal string) (load string, ok bool)

// Straight takes every goal in one step.
func Straight(_, goal string) (string, bool) { return goal, true }

// Machine decides about one rollout. Use New. It is not safe for concurrent use.
type Machine struct {
	rec  Record
	next NextStep

	// Of the call under way.
	now  time.Time
	told []Action
}

// NewRecord is a draft.
func NewRecord(now time.Time, id, creator string, p Plan) (Record, error) {
	if id == "" || creator == "" {
		return Record{}, fmt.Errorf("%w: a rollout needs an id and a creator", ErrRefused)
	}
	if err := p.Validate(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	now = plainTime(now)
	return Record{ID: id, Authors: []string{creator}, Created: now, Plan: p, State: Draft, Since: now, By: creator}, nil
}

// plainTime is a time as it comes back from a store.
func plainTime(t time.Time) time.Time { return t.UTC().Round(0) }

// New returns the machine of a rollout as it was stored last.
func New(r Record, next NextStep) *Machine {
	m := &Machine{rec: r.clone(), next: next}
	for _, counts := range []*map[string]int{&m.rec.LeftOut, &m.rec.Reasons} {
		if *counts == nil {
			*counts = map[string]int{}
		}
	}
	return m
}

// clone copies what later calls change.
func (r *Record) clone() Record {
	c := *r
	c.Authors, c.AuthorIDs = slices.Clone(r.Authors), slices.Clone(r.AuthorIDs)
	c.Waves, c.Replaced = slices.Clone(r.Waves), slices.Clone(r.Replaced)
	c.LeftOut, c.Reasons, c.Outages = maps.Clone(r.LeftOut), maps.Clone(r.Reasons), slices.Clone(r.Outages)
	return c
}

// Record returns what holds now, for the store.
func (m *Machine) Record() Record { return m.rec.clone() }

// Status is Record for a look: it is not to be changed, and holds until the next
// call.
func (m *Machine) Status() *Record { return &m.rec }

// Step takes an event and returns what follows from it. After an error nothing
// has changed but by time.
func (m *Machine) Step(now time.Time, in Event) ([]Action, error) {
	m.begin(now)
	err := m.take(in)
	if err != nil {
		err = fmt.Errorf("rollout %s: %w", m.rec.ID, err)
	}
	m.settle()
	return m.end(), err
}

// begin begins a call: what time has brought about comes first.
func (m *Machine) begin(now time.Time) {
	m.now = plainTime(now)
	for i := range m.rec.Waves { // or the clock was set back
		w := &m.rec.Waves[i]
		w.Opened = sooner(w.Opened, m.now)
	}
	m.settle()
}

// end ends a call.
func (m *Machine) end() []Action {
	told := m.told
	m.told = nil
	return told
}

func (m *Machine) tell(a Action) { m.told = append(m.told, a) }

// take takes one event.
func (m *Machine) take(in Event) error {
	switch e := in.(type) {
	case Edit:
		return m.edit(e)
	case Start:
		return m.start(e)
	case Approve:
		return m.approve(e)
	case Relist:
		if err := m.lists(); err != nil {
			return err
		}
		m.clearList()
		m.tell(Drop{})
	case Listed:
		return m.listed()
	case Next:
		return m.openByHand(e)
	case Pause:
		if m.rec.State != Running && m.rec.State != Scheduled {
			return m.wrong("pause", Scheduled, Running)
		}
		m.change(Paused, e.By, e.Why)
	case Resume:
		return m.resume(e)
	case Abort:
		if m.rec.State.Ended() {
			return m.wrong("abort", Draft, Awaiting, Scheduled, Running, Paused)
		}
		m.change(Aborted, e.By, e.Why)
	case RollBack:
		return m.rollBack(e)
	case Replace:
		return m.replace(e)
	case Answer:
		m.answer(e)
	case Outage:
		m.outage(e.During)
	}
	return nil
}

// wrong is the error of an order that comes in another state.
func (m *Machine) wrong(order string, in ...State) error {
	text := string(in[0])
	for i, s := range in[1:] {
		if i == len(in)-2 {
			text += " or " + string(s)
			continue
		}
		text += ", " + string(s)
	}
	return fmt.Errorf("%w: it is %s, and only one that is %s can be told to %s", ErrState, m.rec.State, text, order)
}

// change changes the state.
func (m *Machine) change(to State, by, why string) {
	why = strings.ToValidUTF8(why[:min(len(why), maxText)], "")
	m.tell(StateChanged{From: m.rec.State, To: to, By: by, Why: why})
	m.rec.State, m.rec.Since, m.rec.By, m.rec.Why = to, m.now, by, why
}

func (m *Machine) edit(e Edit) error {
	if m.rec.State != Draft {
		return m.wrong("take another plan", Draft)
	}
	if err := e.Plan.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	m.rec.Plan = e.Plan
	m.rec.Wrote(e.By, e.ID)
	return nil
}

// Wrote makes somebody an author of the plan; id is "" for who has none.
func (r *Record) Wrote(by, id string) {
	if !slices.Contains(r.Authors, by) {
		r.Authors = append(r.Authors, by)
	}
	if id != "" && !slices.Contains(r.AuthorIDs, id) {
		r.AuthorIDs = append(r.AuthorIDs, id)
	}
}

func (m *Machine) start(e Start) error {
	switch {
	case m.rec.State != Draft:
		return m.wrong("start", Draft)
	case m.past():
		return fmt.Errorf("%w: its deadline is over: give it a later one", ErrRefused)
	case m.rec.Plan.Approval:
		m.change(Awaiting, e.By, "")
	default:
		m.schedule(e.By)
	}
	return nil
}

// approve takes the consent of a second person: whoever wrote the plan, or a part
// of it, is the first.
func (m *Machine) approve(e Approve) error {
	switch {
	case m.rec.State != Awaiting:
		return m.wrong("take an approval", Awaiting)
	case e.By == "" || slices.Contains(m.rec.Authors, e.By) || slices.Contains(m.rec.AuthorIDs, e.ID):
		return fmt.Errorf("%w: %s wrote its plan: a second person approves it", ErrRefused, e.By)
	}
	m.schedule(e.By)
	return nil
}

// schedule has the target listed.
func (m *Machine) schedule(by string) {
	m.change(Scheduled, by, "")
	m.clearList()
	m.tell(List{})
}

// resume goes on where the rollout was: before its start or after it.
func (m *Machine) resume(e Resume) error {
	if m.rec.State != Paused {
		return m.wrong("resume", Paused)
	}
	to := Running
	if m.rec.Open == 0 {
		to = Scheduled
	}
	m.rec.Era++
	for i := range m.rec.Waves {
		m.rec.Waves[i].Acknowledged = m.rec.Waves[i].Failed
	}
	m.change(to, e.By, "")
	return nil
}

// rollBack ends a rollout that has begun. What it did is undone by another one.
func (m *Machine) rollBack(e RollBack) error {
	switch s := m.rec.State; {
	case s == RolledBack:
		return fmt.Errorf("%w: it was rolled back before", ErrRefused)
	case s != Running && s != Paused && s != Finished && s != Aborted:
		return m.wrong("roll back", Running, Paused, Finished, Aborted)
	case m.rec.Open == 0:
		return fmt.Errorf("%w: no wave was open, so there is nothing to take back", ErrRefused)
	}
	m.change(RolledBack, e.By, "")
	return nil
}

func (m *Machine) replace(e Replace) error {
	switch {
	case m.rec.State != Paused:
		return m.wrong("replace a load", Paused)
	case e.From == "" || e.To == "" || e.From == e.To:
		return fmt.Errorf("%w: name the load to replace and another one", ErrRefused)
	case len(m.rec.Replaced) == maxReplaced:
		return fmt.Errorf("%w: %d loads were replaced: abort it and make another rollout", ErrRefused, maxReplaced)
	case m.resolve(e.From) != e.From || m.resolve(e.To) != e.To:
		return fmt.Errorf("%w: of %s and %s one was replaced before: name loads in force", ErrRefused, e.From, e.To)
	}
	m.rec.Replaced = append(m.rec.Replaced, Replacement{e.From, e.To})
	return nil
}

// resolve is the load that took the place of one, or itself. Each replacement was
// of what was in force then, so one pass in their order finds the last.
func (m *Machine) resolve(load string) string {
	for _, r := range m.rec.Replaced {
		if r.From == load {
			load = r.To
		}
	}
	return load
}

// past reports whether the deadline is over.
func (m *Machine) past() bool {
	d := m.rec.Plan.Deadline
	return !d.IsZero() && !m.now.Before(d)
}

// outage notes a time in which nobody was heard. Of too many the oldest become
// one, so that silence is found later rather than wrongly.
func (m *Machine) outage(s window.Span) {
	if s.Empty() {
		return
	}
	all := append(m.rec.Outages, window.Span{From: s.From.UTC(), Until: s.Until.UTC()})
	slices.SortFunc(all, func(a, b window.Span) int { return a.From.Compare(b.From) })
	var merged []window.Span
	for _, o := range all {
		if n := len(merged); n > 0 && !o.From.After(merged[n-1].Until) {
			if o.Until.After(merged[n-1].Until) {
				merged[n-1].Until = o.Until
			}
			continue
		}
		merged = append(merged, o)
	}
	if len(merged) > maxOutages {
		merged[1].From = merged[0].From
		merged = merged[1:]
	}
	m.rec.Outages = merged
}

// after is when somebody has been listened to for that long.
func (m *Machine) after(from time.Time, d time.Duration) time.Time {
	at := from.Add(d)
	for _, o := range m.rec.Outages {
		if !o.Until.After(from) {
			continue
		}
		if o.From.After(from) {
			from = o.From
		}
		if !from.Before(at) {
			break
		}
		at = at.Add(o.Until.Sub(from))
		from = o.Until
	}
	return at
}
