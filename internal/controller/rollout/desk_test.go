package rollout_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
)

// desk drives rollouts in memory, as a driver's duties say.
type desk struct {
	t      fataler
	now    time.Time
	next   rollout.NextStep
	places map[string]rollout.Place
	held   map[string]*held
	order  []string             // ids, as they were created
	heard  map[string]time.Time // by device
	judged map[string][]string  // by device, for good
	asks   []rollout.Ask
	trace  strings.Builder

	// shadow is told of all that a rollout is told: a candidate, an order, what a
	// device said, a moment.
	shadow func(id string, what any)
	// Of tests that break an invariant: what bends a row that is stored, and what
	// a device is handed; the model does not see windows, nobody looks for claims,
	// people do nothing.
	stores              func(r *rollout.Row)
	hands               func(device string, out *rollout.Outcome)
	blind, greedy, lazy bool
}

type (
	ordered struct {
		event rollout.Event
		taken bool
	}
	said struct {
		device string
		report rollout.Report
		out    rollout.Outcome
	}
	moment struct{}
)

// tell tells the shadow.
func (d *desk) tell(id string, what any) {
	if d.shadow != nil {
		d.shadow(id, what)
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// held is one rollout and its rows.
type held struct {
	m      *rollout.Machine
	rows   map[string]*rollout.Row
	target []rollout.Candidate
}

func newDesk(t fataler, now time.Time) *desk {
	return &desk{t: t, now: now, next: rollout.Straight, places: map[string]rollout.Place{"": {Zone: time.UTC}},
		held: map[string]*held{}, heard: map[string]time.Time{}, judged: map[string][]string{}}
}

func zone(t fataler, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return z
}

func schedule(t fataler, texts ...string) window.Schedule {
	t.Helper()
	all, err := window.Parse(texts...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return all
}

func (d *desk) log(format string, args ...any) {
	fmt.Fprintf(&d.trace, d.now.UTC().Format("02 Jan 15:04:05 ")+format+"\n", args...)
}

// create makes a draft for a target.
func (d *desk) create(id string, p rollout.Plan, target ...rollout.Candidate) *held {
	d.t.Helper()
	r, err := rollout.NewRecord(d.now, id, "ann", p)
	if err != nil {
		d.t.Fatalf("%v", err)
	}
	h := &held{m: rollout.New(r, d.next), rows: map[string]*rollout.Row{}, target: target}
	d.held[id] = h
	d.order = append(d.order, id)
	return h
}

// try gives an order, and must gives one that succeeds.
func (d *desk) try(id string, e rollout.Event) error {
	actions, err := d.held[id].m.Step(d.now, e)
	if err != nil {
		d.log("%s: %v", id, err)
	}
	if _, listed := e.(rollout.Listed); listed && err != nil { // dropped
		d.carryOut(id, actions)
	}
	d.tell(id, ordered{e, err == nil})
	d.carryOut(id, actions)
	return err
}

func (d *desk) must(id string, events ...rollout.Event) {
	d.t.Helper()
	for _, e := range events {
		if err := d.try(id, e); err != nil {
			d.t.Fatalf("%v", err)
		}
	}
}

func (d *desk) carryOut(id string, actions []rollout.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case rollout.List:
			d.list(id)
		case rollout.Drop:
			d.held[id].rows = map[string]*rollout.Row{}
		case rollout.Ask:
			d.asks = append(d.asks, a)
			d.log("%s: asks whether the wave after %d may open", id, a.Wave+1)
		case rollout.StateChanged:
			d.log("%s: %s → %s by %q: %s", id, a.From, a.To, a.By, a.Why)
		case rollout.WaveOpened:
			d.log("%s: wave %d opens by %q", id, a.Wave+1, a.By)
		}
	}
}

// list lists the target, with what the desk knows of claims and verdicts.
func (d *desk) list(id string) {
	h := d.held[id]
	for _, c := range h.target {
		if !d.greedy {
			c.Claimed = d.active(c.Device)
		}
		c.Bad = append(c.Bad, d.judged[c.Device]...)
		c.Heard = d.heard[c.Device]
		c.Place = d.places[c.Site]
		d.tell(id, c)
		row, ok, err := h.m.List(d.now, c)
		if err != nil {
			d.t.Fatalf("%v", err)
		}
		if ok {
			h.rows[c.Device] = &row
		}
	}
	_ = d.try(id, rollout.Listed{})
}

// active is the active rollout that has a device, "" for none.
func (d *desk) active(device string) (id string) {
	for _, o := range d.order {
		if h := d.held[o]; h.rows[device] != nil && h.m.Status().State.Active() {
			if id != "" {
				d.t.Fatalf("%s is in %s and in %s\n%s", device, id, o, d.trace.String())
			}
			id = o
		}
	}
	return id
}

// owner is the rollout that gets a device's report, "" for none.
func (d *desk) owner(device string) string {
	if id := d.active(device); id != "" {
		return id
	}
	for _, id := range slices.Backward(d.order) {
		if row := d.held[id].rows[device]; row != nil && row.Try > 0 {
			return id
		}
	}
	return ""
}

// checkIn takes a report.
func (d *desk) checkIn(device string, report rollout.Report) rollout.Outcome {
	d.heard[device] = d.now
	id := d.owner(device)
	if id == "" {
		return rollout.Outcome{}
	}
	row := d.held[id].rows[device]
	before := row.Standing
	out := d.held[id].m.Heard(d.now, row, report, d.places[row.Site])
	if d.stores != nil {
		d.stores(row)
	}
	if d.hands != nil {
		d.hands(device, &out)
	}
	d.log("%s: %s %s: %s → %s%s: %s%s", id, device, spoken(report), before, row.Standing, or(" ", row.Reason, ""),
		out.Grant, or(" (", string(out.Hold), ")"))
	if out.Judged != nil {
		d.judged[device] = append(d.judged[device], out.Judged.Load)
	}
	d.carryOut(id, out.Actions)
	d.tell(id, said{device, report, out})
	return out
}

// spoken is a report for the trace.
func spoken(r rollout.Report) string {
	names := []string{"rests", "fetches", "installs", "gives up", "rejects"}
	return fmt.Sprintf("runs %q, %s%s%s", r.Runs, names[r.Activity], or(" ", r.Load, ""), or(" for ", r.Rollout, ""))
}

func or(before, text, after string) string {
	if text == "" {
		return ""
	}
	return before + text + after
}

// looks does what is due now, or looks at all rows.
func (d *desk) looks(all bool) {
	for _, id := range d.order {
		h := d.held[id]
		if actions, err := h.m.Step(d.now, rollout.Tick{}); err == nil {
			d.carryOut(id, actions)
		}
		for _, device := range slices.Sorted(maps.Keys(h.rows)) {
			row := h.rows[device]
			if !all && (row.Due.IsZero() || row.Due.After(d.now)) {
				continue
			}
			before := row.Standing
			out := h.m.Look(d.now, row, d.heard[device])
			if row.Standing != before {
				d.log("%s: %s %s → %s %s", id, device, before, row.Standing, row.Reason)
			}
			if !row.Due.IsZero() && !row.Due.After(d.now) {
				d.t.Fatalf("%s is due at %v again", device, row.Due)
			}
			d.carryOut(id, out.Actions)
		}
		d.tell(id, moment{})
	}
}

// due is the next time at which something is, at most that one.
func (d *desk) due(most time.Time) time.Time {
	for _, h := range d.held {
		if at, ok := h.m.Deadline(); ok && at.Before(most) && at.After(d.now) {
			most = at
		}
		for _, row := range h.rows {
			if !row.Due.IsZero() && row.Due.Before(most) && row.Due.After(d.now) {
				most = row.Due
			}
		}
	}
	return most
}

// wait lets time pass, with what is due in it.
func (d *desk) wait(by time.Duration) {
	for end := d.now.Add(by); d.now.Before(end); {
		d.now = d.due(end)
		d.looks(false)
	}
}

// restart is one of the controller: of all rollouts there is what was stored.
func (d *desk) restart() {
	for _, h := range d.held {
		var r rollout.Record
		copied(d.t, h.m.Record(), &r)
		h.m = rollout.New(r, d.next)
		for device, row := range h.rows {
			var c rollout.Row
			copied(d.t, row, &c)
			h.rows[device] = &c
		}
	}
}

func copied(t fataler, from, to any) {
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// sums checks that the counts are those of the rows.
func (d *desk) sums(id string) {
	d.t.Helper()
	h := d.held[id]
	r := h.m.Record()
	waves, reasons := make([]rollout.Counts, len(r.Waves)), map[string]int{}
	for _, row := range h.rows {
		addOne(&waves[row.Wave], row.Standing)
		if row.Standing == rollout.Failed || row.Standing == rollout.Skipped {
			reasons[row.Reason]++
		}
	}
	for i, w := range r.Waves {
		if w.Counts != waves[i] {
			d.t.Fatalf("%s, wave %d: counted %+v, and there are %+v\n%s", id, i+1, w.Counts, waves[i], d.trace.String())
		}
	}
	if sum := r.Totals(); sum.Total() != len(h.rows) || !maps.Equal(r.Reasons, reasons) {
		d.t.Fatalf("%s: %d devices, reasons %v; there are %d, %v\n%s", id, sum.Total(), r.Reasons, len(h.rows), reasons,
			d.trace.String())
	}
}

func addOne(c *rollout.Counts, s rollout.Standing) {
	switch s {
	case rollout.Waiting:
		c.Waiting++
	case rollout.Granted:
		c.Granted++
	case rollout.Began:
		c.Began++
	case rollout.Done:
		c.Done++
	case rollout.Had:
		c.Had++
	case rollout.Failed:
		c.Failed++
	case rollout.Skipped:
		c.Skipped++
	case rollout.Silent:
		c.Silent++
	}
}

// summary is a rollout in one line.
func (d *desk) summary(id string) string {
	r := d.held[id].m.Record()
	sum := r.Totals()
	text := fmt.Sprintf("%s is %s, %d of %d waves open:", id, r.State, r.Open, len(r.Waves))
	for _, s := range rollout.Standings() {
		if n := sum.Of(s); n > 0 {
			text += fmt.Sprintf(" %d %s", n, s)
		}
	}
	for _, of := range []map[string]int{r.Reasons, r.LeftOut} {
		for _, why := range slices.Sorted(maps.Keys(of)) {
			text += fmt.Sprintf(", %d %s", of[why], why)
		}
	}
	return text
}

// fleet makes candidates of one site that run "old" and are to run "new".
func fleet(n int, site string) (all []rollout.Candidate) {
	for i := range n {
		all = append(all, rollout.Candidate{Device: fmt.Sprintf("%sd%02d", site, i), Site: site, Load: "new", Runs: "old"})
	}
	return all
}

// The reports of a device.
func rests(runs string) rollout.Report { return rollout.Report{Runs: runs} }

func says(a rollout.Activity, runs, load string, try int) rollout.Report {
	return rollout.Report{Runs: runs, Activity: a, Load: load, Try: try, Reason: "disk"}
}

// upgrade takes a device through a whole upgrade.
func (d *desk) upgrade(t testing.TB, device, from, to string) {
	t.Helper()
	out := d.checkIn(device, rests(from))
	if out.Grant == nil || out.Grant.Load != to {
		t.Fatalf("%s was handed %v (%s), want %s\n%s", device, out.Grant, out.Hold, to, d.trace.String())
	}
	d.checkIn(device, says(rollout.Fetching, from, to, out.Grant.Try))
	d.checkIn(device, says(rollout.Installing, to, to, out.Grant.Try))
	d.checkIn(device, rests(to))
}
