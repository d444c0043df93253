package rollout_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/site"
	"github.com/peerload/peerload/internal/controller/window"
)

// happen lets one thing happen.
func (w *world) happen() {
	switch w.number("what", 0, 31) {
	case 0:
		w.wait(time.Duration(oneOf(w, "minutes", 1, 15, 60, 300, 900, 2000)) * time.Minute)
	case 1:
		for _, name := range w.names {
			w.work(w.devices[name], false)
			w.report(w.devices[name])
		}
	case 2, 10, 11:
		w.people()
	case 3:
		if len(w.order) < 4 {
			w.newRollout()
		}
	case 4:
		w.byHand()
	case 5:
		w.reached["restart"] = true
		w.log("the controller is restarted")
		w.restart()
	case 6:
		w.outage()
	case 7:
		w.reached["clock set back"] = true
		w.now = w.now.Add(-w.hours("back", 0, 3))
		w.log("the clock is set back")
		w.looks(true)
	case 8:
		for _, id := range w.order {
			w.give(id, rollout.Answer{Asked: max(0, w.held[id].m.Status().Asks-w.number("late", 0, 1)), Go: w.chance(50)})
		}
	case 9:
		d := w.any()
		d.dead = !d.dead && w.chance(50)
	default:
		d := w.any()
		for range w.number("works", 1, 3) {
			w.report(d)
			w.work(d, false)
		}
		if w.chance(30) {
			w.wait(time.Duration(w.number("minutes", 1, 90)) * time.Minute)
		}
	}
}

func (w *world) any() *device { return w.devices[oneOf(w, "device", w.names...)] }

// newRollout makes one for a part of the fleet, and mostly starts it.
func (w *world) newRollout() {
	var target []rollout.Candidate
	for _, name := range w.names {
		if d := w.devices[name]; w.chance(93) {
			load := oneOf(w, "load", "new", "new", "new", "new", "new", "new", "new", "new", "new", "new", "new", "mid", "")
			target = append(target, rollout.Candidate{Device: name, Site: d.site, Load: load, Runs: d.runs})
		}
	}
	w.add(w.plan(), target)
}

func (w *world) add(p rollout.Plan, target []rollout.Candidate) {
	id := fmt.Sprint("r", len(w.order))
	w.create(id, p, target...)
	w.models[id] = newNaive(id, p, w.next)
	w.give(id, rollout.Start{By: "ann"})
	if p.Approval && w.chance(80) {
		w.give(id, rollout.Approve{By: "ann"})
		w.give(id, rollout.Approve{By: "eve"})
	}
	active := 0
	for _, h := range w.held {
		if h.m.Status().State.Active() {
			active++
		}
	}
	w.reached["two active"] = w.reached["two active"] || active > 1
}

// give gives an order to the machine and to the model: both take it, or none.
func (w *world) give(id string, e rollout.Event) { _ = w.try(id, e) }

// people give an order.
func (w *world) people() {
	if len(w.order) == 0 {
		return
	}
	id := oneOf(w, "rollout", w.order...)
	switch w.number("order", 0, 11) {
	case 0, 1, 2:
		w.give(id, rollout.Pause{By: "ann"})
	case 3, 4:
		w.give(id, rollout.Resume{By: "ann"})
	case 5, 6:
		w.give(id, rollout.Next{By: "ann"})
	case 7:
		w.give(id, rollout.Start{By: "ann"})
	case 8:
		w.reached["aborted"] = true
		w.give(id, rollout.Abort{By: "ann"})
	case 9:
		w.rollBack(id)
	default:
		w.give(id, rollout.Resume{By: "ann"})
	}
}

func (w *world) rollBack(id string) {
	w.give(id, rollout.RollBack{By: "ann"})
	if w.held[id].m.Status().State != rollout.RolledBack || len(w.order) >= 6 {
		return
	}
	w.reached["rolled-back"] = true
	var target []rollout.Candidate
	for _, name := range w.names {
		row := w.held[id].rows[name]
		if row == nil {
			continue
		}
		c, judged, ok, err := w.held[id].m.Undo(row)
		if err != nil {
			w.Fatalf("%v", err)
		}
		if ok {
			target = append(target, c)
			w.judge(name, judged.Load)
		}
	}
	p := w.plan()
	p.LeaveOut = true
	w.add(p, target)
}

func (w *world) judge(name, load string) {
	if !slices.Contains(w.judged[name], load) {
		w.judged[name] = append(w.judged[name], load)
	}
	w.devices[name].rejected[load] = true
	if id := w.active(name); id != "" {
		w.held[id].m.Judge(w.held[id].rows[name], load)
		k := w.models[id].devices[name]
		k.bad = append(k.bad, load)
	}
}

// byHand tries a device again, or leaves it out.
func (w *world) byHand() {
	if len(w.order) == 0 {
		return
	}
	id := oneOf(w, "rollout", w.order...)
	h := w.held[id]
	row := h.rows[oneOf(w, "device", w.names...)]
	if row == nil {
		return
	}
	var out rollout.Outcome
	var err error
	var ok bool
	if w.chance(70) {
		out, err = h.m.Retry(w.now, row)
		ok = w.models[id].again(w.now, row.Device)
	} else {
		out, err = h.m.Skip(w.now, row, rollout.ReasonRemoved)
		ok = w.models[id].leave(w.now, row.Device, rollout.ReasonRemoved)
	}
	if ok != (err == nil) {
		w.Fatalf("%s by hand: %v\n%s", row.Device, err, w.trace.String())
	}
	w.log("%s: %s by hand: %s %v", id, row.Device, row.Standing, err)
	w.carryOut(id, out.Actions)
}

// outage: the controller is away, and comes back.
func (w *world) outage() {
	w.reached["outage"] = true
	from := w.now
	w.now = w.now.Add(time.Duration(w.number("outage", 10, 1500)) * time.Minute)
	w.log("the controller is back, after %v", w.now.Sub(from))
	w.restart()
	for _, id := range w.order {
		w.give(id, rollout.Outage{During: window.Span{From: from, Until: w.now}})
	}
	w.looks(false)
}

// work is what a device does between two reports. One that is good fails at
// nothing.
func (w *world) work(d *device, good bool) {
	g := d.grant
	switch {
	case d.activity == rollout.Installing:
		switch {
		case good || w.chance(60):
			d.runs, d.activity, d.load = d.load, rollout.Resting, ""
		case w.chance(50):
			d.activity, d.reason = rollout.Rejecting, "not-confirmed"
			d.rejected[d.load], d.tried[d.load] = true, true
			d.runs = d.old
		}
	case g == nil || d.runs == g.Load:
		if d.activity == rollout.Fetching {
			d.activity = rollout.Resting // it may not go on
		}
	case d.activity == rollout.Fetching && d.load == g.Load:
		switch {
		case !good && w.chance(30):
			d.activity, d.reason = rollout.Giving, oneOf(w, "why", "origin-stalled", "origin-stalled", "disk", "")
		case !good && w.chance(10):
			d.activity = rollout.Resting // it was restarted
		case g.Activate.Contains(w.now):
			w.activates(d, g)
		}
	case g.Download.Contains(w.now) && w.wants(d, g):
		d.activity, d.load, d.by, d.try = rollout.Fetching, g.Load, g.Rollout, g.Try
	}
}

// wants reports whether a device begins to fetch: it is at nothing, or at something
// else. It does not try again by itself what it has rejected.
func (w *world) wants(d *device, g *rollout.Grant) bool {
	if d.tried[g.Load] {
		return false
	}
	return d.activity == rollout.Resting || d.load != g.Load || d.by != g.Rollout || d.try != g.Try
}

// activates begins to install.
func (w *world) activates(d *device, g *rollout.Grant) {
	if !w.isOpen(g.Rollout, d.site, w.now) {
		w.Fatalf("%s installs outside the windows\n%s", d.name, w.trace.String())
	}
	d.activity, d.old = rollout.Installing, d.runs
	if w.chance(50) {
		d.runs = g.Load // it has restarted, and tries it
	}
}

// report is a check-in, if the device can.
func (w *world) report(d *device) {
	if d.dead {
		return
	}
	said := rollout.Report{Runs: d.runs, Activity: d.activity, Load: d.load, Reason: d.reason}
	if d.activity == rollout.Resting {
		said.Load, said.Reason = "", ""
	}
	if d.tells {
		said.Rollout, said.Try = d.by, d.try
	}
	id := w.owner(d.name)
	var before rollout.State
	if id != "" {
		before = w.held[id].m.Status().State
	}
	out := w.checkIn(d.name, said)
	if id != "" {
		w.check(id, d, said, out, before)
	}
	d.grant = out.Grant
	if !d.tells && (d.activity == rollout.Giving || d.activity == rollout.Rejecting) {
		d.activity = rollout.Resting // each failure is told once
	}
}

// check holds what a device was handed against what it may be.
func (w *world) check(id string, d *device, said rollout.Report, out rollout.Outcome, before rollout.State) {
	h := w.held[id]
	r, row, g := h.m.Status(), h.rows[d.name], out.Grant
	bad := func(format string, args ...any) {
		w.Fatalf("%s: %s\n%s", d.name, fmt.Sprintf(format, args...), w.trace.String())
	}
	if out.Judged != nil {
		w.devices[d.name].rejected[out.Judged.Load] = true
	}
	w.reached["window closed"] = w.reached["window closed"] || out.Hold == rollout.HoldWindow
	if g == nil {
		return
	}
	installs := said.Activity == rollout.Installing && said.Load == g.Load
	fresh := *g != w.handed[d.name]
	w.handed[d.name] = *g
	span := window.Span{From: g.Download.From, Until: g.Download.Until}
	if g.Activate.Until.After(span.Until) {
		span.Until = g.Activate.Until
	}
	latest := w.now.Add(r.Plan.Valid)
	switch {
	case g.Rollout != id || g.Device != d.name || g.Load != row.Step || g.Try != row.Try:
		bad("the grant %+v is not that of its row %+v", g, row)
	case d.rejected[g.Load]:
		bad("it is handed %s, which does not work on it", g.Load)
	case row.Wave >= r.Open:
		bad("it is handed something before its wave %d is open", row.Wave+1)
	case fresh && r.State != rollout.Running && before != rollout.Running:
		bad("it is handed something new by one that is %s", r.State)
	case !w.now.Before(span.Until):
		bad("the grant is over")
	case fresh && !r.Plan.Deadline.IsZero() && span.Until.After(r.Plan.Deadline):
		bad("the grant goes beyond the deadline")
	case fresh && span.Until.After(latest):
		bad("the grant holds too long")
	}
	if !fresh && before != rollout.Running {
		if !installs {
			bad("it keeps its grant in a rollout that is %s", before)
		}
		w.reached["kept while it installs"] = true
	}
	for t := g.Activate.From; t.Before(g.Activate.Until); t = t.Add(15 * time.Minute) {
		if !w.isOpen(id, d.site, t) {
			bad("it may activate at %v, outside the windows", t)
		}
	}
	for t := g.Download.From; !r.Plan.DownloadAnytime && t.Before(g.Download.Until); t = t.Add(15 * time.Minute) {
		if !w.isOpen(id, d.site, t) {
			bad("it may download at %v, outside the windows", t)
		}
	}
}

// hold holds what must be so at every moment.
func (w *world) hold() {
	for _, name := range w.names {
		w.active(name) // in at most one
	}
	for _, id := range w.order {
		h := w.held[id]
		r := h.m.Status()
		w.reached[string(r.State)] = true
		if len(h.rows) == 0 {
			continue
		}
		w.sums(id)
		granted, allowed := 0, 0
		for _, row := range h.rows {
			if row.Try > 0 {
				granted++
			}
			if row.Wave < r.Open {
				allowed++
			}
		}
		sum := r.Totals()
		for _, s := range rollout.Standings() {
			w.reached[string(s)] = w.reached[string(s)] || sum.Of(s) > 0
		}
		for _, reasons := range []map[string]int{r.Reasons, r.LeftOut} {
			for why := range reasons {
				w.reached[why] = true
			}
		}
		if granted > allowed || r.State == rollout.Finished && sum.Open() > 0 {
			w.Fatalf("%s: %d devices were handed something, %d may\n%s", w.summary(id), granted, allowed, w.trace.String())
		}
	}
}

// model is called after each thing that a desk does, and compares.
func (w *world) model(id string, what any) {
	n := w.models[id]
	switch what := what.(type) {
	case rollout.Candidate:
		opens := false
		for i := range 14 * 24 * 4 {
			opens = opens || w.isOpen(id, what.Site, w.now.Add(time.Duration(i)*15*time.Minute))
		}
		n.list(w.now, what, opens)
		return
	case ordered:
		if n.order(w.now, what.event) != what.taken {
			w.Fatalf("%s: %T%+v is taken: %v\n%s", id, what.event, what.event, what.taken, w.trace.String())
		}
		if _, lists := what.event.(rollout.Start); lists || isApproval(what.event) {
			return // it is being listed
		}
	case said:
		w.heardBoth(n, id, what)
	case moment:
		n.moment(w.now, w.heard)
	}
	w.compare(id, n)
}

func isApproval(e rollout.Event) bool {
	_, is := e.(rollout.Approve)
	return is
}

func (w *world) heardBoth(n *naive, id string, what said) {
	site := w.devices[what.device].site
	load, try := n.heard(w.now, what.device, what.report, w.isOpen(id, site, w.now))
	g := what.out.Grant
	switch {
	case g == nil && load != "", g != nil && (g.Load != load || g.Try != try):
		w.Fatalf("%s: %s is handed %v (%s); by the model %q, try %d\n%s", id, what.device, g, what.out.Hold, load, try,
			w.trace.String())
	case g != nil:
		k := n.devices[what.device]
		if k.until = g.Download.Until; g.Activate.Until.After(k.until) {
			k.until = g.Activate.Until
		}
	}
}

// compare holds a machine against its model.
func (w *world) compare(id string, n *naive) {
	h := w.held[id]
	r := h.m.Status()
	same := r.State == n.state && r.Open == len(n.opened) && r.Passed.Equal(n.passed) && r.Asked.Equal(n.asked) &&
		r.Asks == n.asks && len(h.rows) == len(n.devices)
	if !same {
		w.Fatalf("%s is %s, %d open, passed %v, asked %v; by the model %s, %d open, passed %v, asked %v\n%s", id, r.State,
			r.Open, r.Passed, r.Asked, n.state, len(n.opened), n.passed, n.asked, w.trace.String())
	}
	for _, name := range slices.Sorted(maps.Keys(h.rows)) {
		row, k := h.rows[name], n.devices[name]
		if row.Standing != k.standing || row.Reason != k.reason || row.Wave != n.wave(k) || row.Try != k.try {
			w.Fatalf("%s: %s is %s %q, wave %d, try %d; by the model %s %q, wave %d, try %d\n%s", id, name, row.Standing,
				row.Reason, row.Wave, row.Try, k.standing, k.reason, n.wave(k), k.try, w.trace.String())
		}
	}
}

// isOpen watches the clocks of a site: whether its windows and those of a rollout
// are open.
func (w *world) isOpen(id, site string, t time.Time) bool {
	if w.blind {
		return true
	}
	place := w.places[site]
	for _, s := range []window.Schedule{place.Windows, w.held[id].m.Status().Plan.Windows} {
		if len(s) > 0 && !watched(s[0], place.Zone).at(t) {
			return false
		}
	}
	return true
}

// watch is a clock that was watched through all that the worlds last, by the
// quarter of an hour: open[i] is whether the window was open then.
type watch struct {
	first time.Time
	open  []bool
}

var watches = map[string]*watch{}

func (c *watch) at(t time.Time) bool { return c.open[int(t.Sub(c.first)/(15*time.Minute))] }

// watched watches a clock once.
func watched(w site.Window, z *time.Location) *watch {
	name := w.String() + z.String()
	if watches[name] != nil {
		return watches[name]
	}
	const day = 24 * 60
	c := &watch{first: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	to := w.End
	if to <= w.Start {
		to += day
	}
	opened, closed := map[int]bool{}, map[int]bool{} // by the day, counted from 1970
	for t := c.first; t.Year() < 2028; t = t.Add(15 * time.Minute) {
		_, offset := t.In(z).Zone()
		shown, open := int(t.Unix()+int64(offset))/60, false
		for d := shown/day - 2; d <= shown/day; d++ {
			opened[d] = opened[d] || shown >= d*day+w.Start
			closed[d] = closed[d] || shown >= d*day+to
			weekday := time.Weekday((d + int(time.Thursday)) % 7)
			open = open || opened[d] && !closed[d] && w.Days[weekday]
		}
		c.open = append(c.open, open)
	}
	watches[name] = c
	return c
}
