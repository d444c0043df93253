package rollout_test

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
)

// naive decides about one rollout plainly and slowly: it keeps what it knows of
// each device, and walks over all of them for each question. It has no counts, no
// times at which something is due, and is never restarted.
type naive struct {
	id       string
	plan     rollout.Plan
	next     rollout.NextStep
	authors  []string
	state    rollout.State
	listed   bool
	opened   []time.Time
	passed   time.Time
	asked    time.Time
	asks     int
	leftOut  int
	replaced []rollout.Replacement
	outages  []window.Span
	devices  map[string]*known
	now      time.Time
}

// known is a device as the naive model knows it.
type known struct {
	name, site, load       string
	standing               rollout.Standing
	reason                 string
	since                  time.Time
	seen                   bool // its failure, by a person who resumed
	bad                    []string
	step                   string
	try, counted, failures int
	steps                  int
	first, after, until    time.Time
}

func (k *known) open() bool {
	return slices.Contains([]rollout.Standing{rollout.Waiting, rollout.Granted, rollout.Began}, k.standing)
}

func (k *known) gone() bool {
	return k.standing == rollout.Silent ||
		k.standing == rollout.Failed && (k.reason == rollout.ReasonSilent || k.reason == rollout.ReasonLost)
}

func newNaive(id string, p rollout.Plan, next rollout.NextStep) *naive {
	return &naive{id: id, plan: p, next: next, authors: []string{"ann"}, state: rollout.Draft,
		devices: map[string]*known{}}
}

func (n *naive) ended() bool {
	return slices.Contains([]rollout.State{rollout.Finished, rollout.Aborted, rollout.RolledBack}, n.state)
}

// all are the devices in order, those of one wave if it is not -1.
func (n *naive) all(wave int) (all []*known) {
	for _, name := range slices.Sorted(maps.Keys(n.devices)) {
		if wave < 0 || n.wave(n.devices[name]) == wave {
			all = append(all, n.devices[name])
		}
	}
	return all
}

func (n *naive) wave(k *known) int {
	for i, w := range n.plan.Waves {
		for _, d := range w.Devices {
			if d == k.name {
				return i
			}
		}
		for _, s := range w.Sites {
			if s == k.site {
				return i
			}
		}
		if rollout.Share(n.id, k.name) < w.Percent*100 {
			return i
		}
	}
	return -1
}

func (n *naive) goal(k *known) string {
	load := k.load
	for _, r := range n.replaced {
		if load == r.From {
			load = r.To
		}
	}
	return load
}

func count(all []*known, standings ...rollout.Standing) (n int) {
	for _, k := range all {
		if slices.Contains(standings, k.standing) {
			n++
		}
	}
	return n
}

// order takes an order and reports whether it is taken.
func (n *naive) order(now time.Time, in rollout.Event) bool {
	n.at(now)
	ok := n.take(in)
	n.settle()
	return ok
}

func (n *naive) take(in rollout.Event) bool {
	at := func(states ...rollout.State) bool { return slices.Contains(states, n.state) }
	switch e := in.(type) {
	case rollout.Start:
		late := !n.plan.Deadline.IsZero() && !n.now.Before(n.plan.Deadline)
		if !at(rollout.Draft) || late {
			return false
		}
		n.state, n.leftOut = rollout.Scheduled, 0
		if n.plan.Approval {
			n.state = rollout.Awaiting
		}
	case rollout.Approve:
		if !at(rollout.Awaiting) || slices.Contains(n.authors, e.By) {
			return false
		}
		n.state = rollout.Scheduled
	case rollout.Listed:
		return n.isListed()
	case rollout.Next:
		if !at(rollout.Running) || len(n.opened) == len(n.plan.Waves) {
			return false
		}
		n.openNext()
	case rollout.Pause:
		if !at(rollout.Running, rollout.Scheduled) {
			return false
		}
		n.state = rollout.Paused
	case rollout.Resume:
		if !at(rollout.Paused) {
			return false
		}
		for _, k := range n.devices {
			k.seen = k.standing == rollout.Failed
		}
		n.state = rollout.Running
		if len(n.opened) == 0 {
			n.state = rollout.Scheduled
		}
	case rollout.Abort:
		if n.ended() {
			return false
		}
		n.state = rollout.Aborted
	case rollout.RollBack:
		if !at(rollout.Running, rollout.Paused, rollout.Finished, rollout.Aborted) || len(n.opened) == 0 {
			return false
		}
		n.state = rollout.RolledBack
	case rollout.Answer:
		n.answer(e)
	case rollout.Outage:
		n.outages = append(n.outages, e.During)
	}
	return true
}

func (n *naive) isListed() bool {
	refused := len(n.devices) == 0 || n.leftOut > 0 && !n.plan.LeaveOut
	for i, w := range n.plan.Waves {
		refused = refused || w.Percent == 0 && len(n.all(i)) == 0
	}
	n.listed = !refused
	if refused {
		n.state, n.devices = rollout.Draft, map[string]*known{}
	}
	return !refused
}

func (n *naive) answer(e rollout.Answer) {
	i := len(n.opened) - 1
	if e.Go && e.Asked == n.asks && n.state == rollout.Running && !n.asked.IsZero() && i < len(n.plan.Waves)-1 {
		n.openNext()
	}
}

func (n *naive) openNext() {
	n.opened = append(n.opened, n.now)
	n.passed, n.asked = time.Time{}, time.Time{}
}

// list takes a device of the target.
func (n *naive) list(now time.Time, c rollout.Candidate, opens bool) bool {
	k := &known{name: c.Device, site: c.Site, load: c.Load, standing: rollout.Waiting, since: now,
		bad: slices.Clone(c.Bad)}
	step, way := n.next(c.Runs, c.Load)
	way = way && !slices.Contains(c.Bad, step) || c.Runs == c.Load || c.Runs == ""
	if c.Claimed != "" || !opens || c.Load == "" || slices.Contains(c.Bad, c.Load) || !way {
		n.leftOut++
		return false
	}
	if c.Runs == c.Load {
		k.standing = rollout.Had
	}
	n.devices[k.name] = k
	return true
}

// at is what time it is. What was noted before the clock was set back is now.
func (n *naive) at(now time.Time) {
	n.now = now
	for i, t := range n.opened {
		if t.After(now) {
			n.opened[i] = now
		}
	}
	n.settle()
}

// settle does what follows from all devices and the time.
func (n *naive) settle() {
	if n.state == rollout.Scheduled && n.listed && !n.now.Before(n.plan.Start) {
		n.state = rollout.Running
		n.openNext()
	}
	for n.state == rollout.Running {
		failed := 0
		for i := range n.opened {
			all := n.all(i)
			new := 0
			for _, k := range all {
				if k.standing == rollout.Failed && !k.seen {
					new++
				}
			}
			failed += new
			share := n.plan.MaxFailedShare
			if share > 0 && new > 0 && 100*new >= share*n.changing(all) {
				n.state = rollout.Paused
				return
			}
		}
		if n.plan.MaxFailed > 0 && failed >= n.plan.MaxFailed {
			n.state = rollout.Paused
			return
		}
		if count(n.all(-1), rollout.Waiting, rollout.Granted, rollout.Began) == 0 {
			n.state = rollout.Finished
			return
		}
		if len(n.opened) == len(n.plan.Waves) || !n.gate() {
			return
		}
		n.openNext()
	}
}

// changing counts the devices that are to change.
func (n *naive) changing(all []*known) int {
	return len(all) - count(all, rollout.Had, rollout.Skipped, rollout.Silent)
}

func (n *naive) gate() bool {
	i := len(n.opened) - 1
	all, gate := n.all(i), n.plan.Waves[i].Gate
	if len(all) == 0 {
		return true
	}
	done, of := count(all, rollout.Done), n.changing(all)
	good := done > 0 && 100*done >= gate.Success*of || of == 0 && count(all, rollout.Had) > 0
	if !good {
		n.passed, n.asked = time.Time{}, time.Time{}
		return false
	}
	if n.passed.IsZero() || n.passed.After(n.now) {
		n.passed = n.now
	}
	soaked := n.now.Sub(n.passed) >= gate.Soak
	if gate.Opener == rollout.ByExternal && soaked {
		if n.asked.IsZero() || n.asked.After(n.now) || n.now.Sub(n.asked) >= n.plan.AskEvery {
			n.asks++
			n.asked = n.now
		}
	}
	return gate.Opener == rollout.BySuccess && soaked
}

// moment is when time passes and nothing is heard.
func (n *naive) moment(now time.Time, heard map[string]time.Time) {
	n.at(now)
	for _, k := range n.all(-1) {
		n.age(k, heard[k.name])
		n.settle()
	}
}

func (n *naive) set(k *known, s rollout.Standing, why string) {
	if k.standing != s {
		k.since, k.seen = n.now, false
	}
	k.standing, k.reason = s, why
	if !k.open() {
		k.until = time.Time{}
	}
}

func (n *naive) age(k *known, heard time.Time) {
	if n.ended() {
		return
	}
	pause := max(n.plan.Retry.BackOff, n.plan.Retry.MaxBackOff)
	for at, most := range map[*time.Time]time.Duration{&k.since: 0, &k.first: 0, &k.after: pause + pause/4} {
		if at.Sub(n.now) > most {
			*at = n.now.Add(most)
		}
	}
	if k.standing == rollout.Granted && !n.now.Before(k.until) {
		n.set(k, rollout.Waiting, k.reason)
		k.until = time.Time{}
	}
	if !k.open() {
		return
	}
	p := n.plan
	over := func(t time.Time) bool { return !n.now.Before(t) }
	began := k.standing == rollout.Began
	wave := n.wave(k)
	switch {
	case !p.Deadline.IsZero() && k.standing == rollout.Waiting && over(p.Deadline):
		n.set(k, rollout.Skipped, rollout.ReasonDeadline)
	case !p.Deadline.IsZero() && began && over(p.Deadline.Add(p.Lost)):
		n.set(k, rollout.Failed, rollout.ReasonDeadline)
	case p.Longest > 0 && !k.first.IsZero() && over(k.first.Add(p.Longest)):
		n.set(k, rollout.Failed, rollout.ReasonTooLong)
	case began && n.listened(heard, k.since) >= p.Lost:
		n.set(k, rollout.Failed, rollout.ReasonLost)
	case k.standing == rollout.Waiting && p.Silence.Rule != rollout.SilenceWaits && wave < len(n.opened) &&
		n.listened(heard, n.opened[wave], k.after) >= p.Silence.After:
		if p.Silence.Rule == rollout.SilenceFails {
			n.set(k, rollout.Failed, rollout.ReasonSilent)
		} else {
			n.set(k, rollout.Silent, "")
		}
	}
}

// listened is how long it could have been heard of a device since the latest of
// some times.
func (n *naive) listened(times ...time.Time) time.Duration {
	from := slices.MaxFunc(times, time.Time.Compare)
	var edges []time.Time
	for _, o := range n.outages {
		edges = append(edges, o.From, o.Until)
	}
	edges = append(edges, from, n.now)
	slices.SortFunc(edges, time.Time.Compare)
	sum := time.Duration(0)
	for i, e := range edges[1:] {
		piece := window.Span{From: edges[i], Until: e}
		deaf := slices.ContainsFunc(n.outages, func(o window.Span) bool { return o.Covers(piece) })
		if !deaf && !piece.From.Before(from) && !piece.Until.After(n.now) {
			sum += piece.Until.Sub(piece.From)
		}
	}
	return sum
}

// heard takes a report, and returns what the device is to get: a load and the
// number of the try, or "" for nothing.
func (n *naive) heard(now time.Time, name string, said rollout.Report, isOpen bool) (load string, try int) {
	n.at(now)
	k := n.devices[name]
	n.believe(k, said)
	n.age(k, now)
	n.settle()
	load, try = n.hand(k, said, isOpen)
	n.settle()
	return load, try
}

func (n *naive) believe(k *known, said rollout.Report) {
	goal := n.goal(k)
	mine := said.Rollout == n.id || said.Rollout == ""
	handed := mine && k.try > 0 && k.step != "" && k.step == said.Load
	fresh := k.counted != k.try && (said.Try == k.try || said.Try == 0 && k.standing != rollout.Waiting &&
		(k.open() || k.gone()))
	works := said.Activity == rollout.Fetching || said.Activity == rollout.Installing
	proven := said.Load != said.Runs || said.Activity == rollout.Resting || said.Activity == rollout.Giving ||
		said.Activity == rollout.Fetching
	if said.Activity == rollout.Rejecting && !slices.Contains(k.bad, said.Load) {
		k.bad = append(k.bad, said.Load)
		arrived := k.standing == rollout.Done || k.standing == rollout.Had
		if handed || said.Load == goal && arrived {
			k.counted = k.try
			n.set(k, rollout.Failed, cmp.Or(said.Reason, rollout.ReasonUnknown))
			return
		}
	}
	if said.Runs == goal && proven {
		if k.standing != rollout.Done && k.standing != rollout.Had {
			n.set(k, map[bool]rollout.Standing{true: rollout.Done, false: rollout.Had}[k.try > 0], "")
		}
		return
	}
	if said.Activity == rollout.Giving && handed && fresh {
		n.gaveUp(k, said.Reason)
		return
	}
	if n.ended() {
		return
	}
	switch {
	case k.standing == rollout.Had && said.Runs != goal && said.Runs != "":
		n.set(k, rollout.Waiting, "")
	case k.try > 0 && k.step != "" && said.Runs == k.step && proven:
		if k.open() || k.gone() {
			k.steps++
			k.failures, k.counted, k.step, k.until = 0, k.try, "", time.Time{}
			n.set(k, rollout.Waiting, "")
		}
	case works && handed && fresh:
		if k.standing != rollout.Began && (k.open() || k.gone()) {
			n.set(k, rollout.Began, "")
		}
	case k.gone():
		n.set(k, rollout.Waiting, "")
	}
}

func (n *naive) gaveUp(k *known, why string) {
	if !k.open() && !k.gone() {
		return
	}
	k.counted = k.try
	k.failures++
	r := n.plan.Retry
	if k.failures > r.Times || !slices.Contains(r.Reasons, why) || n.ended() {
		n.set(k, rollout.Failed, cmp.Or(why, rollout.ReasonUnknown))
		return
	}
	pause := r.BackOff
	for i := 1; i < k.failures; i++ {
		pause = min(2*pause, max(r.BackOff, r.MaxBackOff))
	}
	k.until = time.Time{}
	k.after = n.now.Add(pause + time.Duration(rollout.Share(n.id, k.name))*(pause/4)/10000)
	n.set(k, rollout.Waiting, why)
}

func (n *naive) hand(k *known, said rollout.Report, isOpen bool) (string, int) {
	past := !n.plan.Deadline.IsZero() && !n.now.Before(n.plan.Deadline)
	reached := n.state == rollout.Running && !past && n.wave(k) < len(n.opened) &&
		!(k.standing == rollout.Waiting && n.now.Before(k.after))
	installs := k.standing == rollout.Began && said.Activity == rollout.Installing && said.Load == k.step &&
		!slices.Contains(k.bad, k.step)
	goal := n.goal(k)
	trial := said.Runs == goal && !slices.Contains(k.bad, goal)
	step := k.step
	if !installs && reached && k.open() && !trial {
		to, ok := n.next(said.Runs, goal)
		step = to
		switch {
		case slices.Contains(k.bad, goal):
			n.set(k, rollout.Skipped, rollout.ReasonJudged)
		case !ok || to == said.Runs:
			n.set(k, rollout.Skipped, rollout.ReasonNoWay)
		case slices.Contains(k.bad, to):
			n.set(k, rollout.Skipped, rollout.ReasonJudged)
		case k.steps >= 16:
			n.set(k, rollout.Failed, rollout.ReasonSteps)
		}
	}
	if !k.open() || !reached || !isOpen && !n.plan.DownloadAnytime || trial && !installs {
		at := k.standing == rollout.Began && said.Activity == rollout.Installing
		if at && n.now.Before(k.until) && n.state != rollout.RolledBack && !slices.Contains(k.bad, k.step) {
			return k.step, k.try // what it has
		}
		k.until = time.Time{}
		if k.standing == rollout.Granted {
			n.set(k, rollout.Waiting, k.reason)
		}
		return "", 0
	}
	if k.standing == rollout.Waiting || k.step != step {
		k.step, k.after = step, time.Time{}
		k.try++
		if k.first.IsZero() {
			k.first = n.now
		}
		n.set(k, rollout.Granted, k.reason)
	}
	return k.step, k.try
}

// again is a try by hand, and leave a device that is skipped; they report whether
// they are taken.
func (n *naive) again(now time.Time, name string) bool {
	n.at(now)
	k := n.devices[name]
	stuck := slices.Contains([]rollout.Standing{rollout.Failed, rollout.Skipped, rollout.Silent}, k.standing)
	ok := (n.state == rollout.Running || n.state == rollout.Paused) && stuck && !slices.Contains(k.bad, n.goal(k))
	if ok {
		k.failures, k.steps, k.counted, k.first, k.after = 0, 0, k.try, time.Time{}, now
		n.set(k, rollout.Waiting, rollout.ReasonByHand)
	}
	n.settle()
	return ok
}

func (n *naive) leave(now time.Time, name, why string) bool {
	n.at(now)
	k := n.devices[name]
	ok := slices.Contains([]rollout.State{rollout.Scheduled, rollout.Running, rollout.Paused}, n.state) && k.open()
	if ok {
		n.set(k, rollout.Skipped, why)
	}
	n.settle()
	return ok
}
