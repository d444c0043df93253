package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxSteps bounds the steps of one device: more never lead to the goal.
const maxSteps = 16

// maxBad bounds the loads that a row keeps as bad.
const maxBad = 64

// Heard takes a device's check-in, and returns what it may do until the next.
func (m *Machine) Heard(now time.Time, row *Row, said Report, at Place) Outcome {
	if row.Wave >= len(m.rec.Waves) {
		return Outcome{Hold: HoldState} // the row of a rollout that is a draft again
	}
	before := *row
	m.begin(now)
	judged := m.believe(row, said)
	m.age(row, m.now)
	m.settle() // a failure that pauses keeps back this very grant
	out := m.hand(row, said, at)
	m.due(row, m.now, row.Standing != before.Standing)
	m.settle()
	out.Judged, out.Changed, out.Actions = judged, !row.equal(&before), m.end()
	return out
}

// Look takes that nothing was heard of a device since that time; zero: never.
func (m *Machine) Look(now time.Time, row *Row, heard time.Time) Outcome {
	before := *row
	m.begin(now)
	m.age(row, heard)
	m.due(row, heard, true)
	m.settle()
	return Outcome{Changed: !row.equal(&before), Actions: m.end()}
}

// Judge takes that a load was found not to work on a device, or is to go from it,
// by somebody else than the device in this rollout. It is not handed again.
func (m *Machine) Judge(row *Row, load string) Outcome {
	known := row.bad(load) || load == ""
	if !known {
		row.Bad = append(slices.Clip(row.Bad), load)
	}
	return Outcome{Changed: !known}
}

// Retry is an order: a device that failed, or was left out on the way, gets
// another chance, with all tries of the policy.
func (m *Machine) Retry(now time.Time, row *Row) (Outcome, error) {
	before := *row
	m.begin(now)
	var err error
	switch goal := m.resolve(row.Load); {
	case m.rec.State != Running && m.rec.State != Paused:
		err = m.wrong("try a device again", Running, Paused)
	case !row.Standing.explained() && row.Standing != Silent:
		err = fmt.Errorf("%w: device %s is %s, and only one that failed, was skipped or is silent is tried again", ErrRefused,
			row.Device, row.Standing)
	case row.bad(goal):
		err = fmt.Errorf("%w: %s does not work on device %s: replace it by one that does", ErrRefused, goal, row.Device)
	default:
		row.Failures, row.Steps, row.Counted = 0, 0, row.Try
		row.First, row.After = time.Time{}, m.now // its silence begins anew
		m.move(row, Waiting, ReasonByHand)
		m.due(row, m.now, true)
	}
	m.settle()
	return Outcome{Changed: !row.equal(&before), Actions: m.end()}, err
}

// Skip is an order: the rollout no longer waits for a device. why is ReasonByHand
// or ReasonRemoved.
func (m *Machine) Skip(now time.Time, row *Row, why string) (Outcome, error) {
	before := *row
	m.begin(now)
	var err error
	switch {
	case !m.rec.State.Active():
		err = m.wrong("skip a device", Scheduled, Running, Paused)
	case !row.Standing.open():
		err = fmt.Errorf("%w: device %s is %s already", ErrRefused, row.Device, row.Standing)
	default:
		m.move(row, Skipped, why)
		m.due(row, m.now, true)
	}
	m.settle()
	return Outcome{Changed: !row.equal(&before), Actions: m.end()}, err
}

// move gives a device another standing and counts it. One that is settled holds no
// grant.
func (m *Machine) move(row *Row, to Standing, why string) {
	w := &m.rec.Waves[row.Wave]
	*w.of(row.Standing)--
	if row.Standing.explained() {
		if m.rec.Reasons[row.Reason]--; m.rec.Reasons[row.Reason] == 0 {
			delete(m.rec.Reasons, row.Reason)
		}
	}
	if row.Standing == Failed && row.Era < m.rec.Era {
		w.Acknowledged--
	}
	if row.Standing != to {
		row.Since, row.Era = m.now, m.rec.Era
	}
	row.Standing, row.Reason = to, why
	if to.explained() {
		row.Reason = m.kept(why)
		m.rec.Reasons[row.Reason]++
	}
	if to == Failed && row.Era < m.rec.Era { // it failed before, for another reason
		w.Acknowledged++
	}
	*w.of(to)++
	if !to.open() {
		row.withdraw()
	}
}

// kept is the reason under which devices are counted: what a device says is
// bounded, and so is how many reasons there are.
func (m *Machine) kept(why string) string {
	_, known := m.rec.Reasons[why]
	switch {
	case why == "":
		return ReasonUnknown
	case len(why) > maxReason || strings.Trim(why, "abcdefghijklmnopqrstuvwxyz0123456789-") != "",
		!known && len(m.rec.Reasons) >= MaxReasons:
		return ReasonOther
	}
	return why
}

// believe takes what a device says of itself. Facts count in every state of the
// rollout, for they are what happened.
func (m *Machine) believe(row *Row, said Report) (judged *Verdict) {
	goal := m.resolve(row.Load)
	if row.Try == 0 && said.Runs != "" && said.Runs != goal {
		row.Ran = said.Runs
	}
	judged = m.judge(row, said, goal)
	mine := said.Rollout == "" || said.Rollout == m.rec.ID
	ours := mine && row.Try > 0 && said.Load == row.Step && said.Load != ""
	// What runs on trial, or was found not to work, is not there yet.
	proven := said.Runs != said.Load || said.Activity != Installing && said.Activity != Rejecting
	switch {
	case judged != nil && (ours || said.Load == goal && (row.Standing == Done || row.Standing == Had)):
		row.Counted = row.Try
		m.move(row, Failed, said.Reason)
	case said.Runs == goal && proven:
		m.arrived(row)
	case said.Activity == Giving && ours && m.fresh(row, said):
		m.failed(row, said.Reason)
	case m.rec.State.Ended():
	case row.Standing == Had && said.Runs != "" && said.Runs != goal: // it was listed as one that has it
		m.move(row, Waiting, "")
	case row.Try > 0 && said.Runs == row.Step && row.Step != "" && proven:
		m.stepped(row)
	case (said.Activity == Fetching || said.Activity == Installing) && ours && m.fresh(row, said):
		if row.Standing != Began && (row.Standing.open() || returns(row)) {
			m.move(row, Began, "")
		}
	case returns(row):
		m.move(row, Waiting, "")
	}
	return judged
}

// judge takes that a load was found not to work, nil if that is known. Of many
// loads that a device rejects the row keeps those that matter to it.
func (m *Machine) judge(row *Row, said Report, goal string) *Verdict {
	if said.Activity != Rejecting || said.Load == "" || row.bad(said.Load) {
		return nil
	}
	if len(row.Bad) < maxBad || said.Load == goal || said.Load == row.Step {
		row.Bad = append(slices.Clip(row.Bad), said.Load)
	}
	return &Verdict{Device: row.Device, Load: said.Load, Reason: said.Reason}
}

// returns reports whether a device is accounted for because it was not heard of,
// and for nothing else.
func returns(row *Row) bool {
	return row.Standing == Silent || row.Standing == Failed && (row.Reason == ReasonSilent || row.Reason == ReasonLost)
}

// fresh reports whether a device speaks of its last grant, of which no failure was
// counted yet. Of a device that does not tell, the last one that it can mean is
// the one that it holds, or has begun on.
func (m *Machine) fresh(row *Row, said Report) bool {
	if row.Counted == row.Try {
		return false
	}
	return said.Try == row.Try || said.Try == 0 && (row.Standing == Granted || row.Standing == Began || returns(row))
}

// failed takes a try that failed without the load having run.
func (m *Machine) failed(row *Row, why string) {
	if !row.Standing.open() && !returns(row) {
		return
	}
	r := m.rec.Plan.Retry
	row.Counted = row.Try
	row.Failures++
	if row.Failures > r.Times || !slices.Contains(r.Reasons, why) || m.rec.State.Ended() {
		m.move(row, Failed, why)
		return
	}
	row.withdraw()
	row.After = m.now.Add(backOff(r, row.Failures, Share(m.rec.ID, row.Device)))
	m.move(row, Waiting, why)
}

// backOff is the time before the next try.
func backOff(r Retry, failures, share int) time.Duration {
	most := max(r.MaxBackOff, r.BackOff)
	d := r.BackOff
	for range failures - 1 {
		d = min(2*d, most)
	}
	return d + d/4*time.Duration(share)/10000
}

// arrived takes that a device runs the goal.
func (m *Machine) arrived(row *Row) {
	switch {
	case row.Standing == Done || row.Standing == Had:
	case row.Try > 0:
		m.move(row, Done, "")
	default:
		m.move(row, Had, "")
	}
}

// stepped takes that a device runs a stepping stone.
func (m *Machine) stepped(row *Row) {
	if !row.Standing.open() && !returns(row) {
		return
	}
	row.Steps++
	row.Failures, row.Counted, row.Step = 0, row.Try, ""
	row.withdraw()
	m.move(row, Waiting, "")
}

// age takes what time has brought to a device that was heard of last at that time.
func (m *Machine) age(row *Row, heard time.Time) {
	if m.rec.State.Ended() {
		return // how its devices stood when it ended is what it says
	}
	m.notLater(row)
	if row.Standing == Granted && !row.holds(m.now) {
		m.move(row, Waiting, row.Reason)
		row.withdraw()
	}
	for _, t := range m.terms(row, heard) {
		if !m.now.Before(t.at) {
			m.move(row, t.to, t.why)
			return
		}
	}
}

// notLater brings what was noted before the clock was set back to the present, so
// that nothing waits until the clock has shown it again.
func (m *Machine) notLater(row *Row) {
	r := m.rec.Plan.Retry
	longest := m.now.Add(backOff(r, MaxTries, 10000))
	row.Since, row.First, row.After = sooner(row.Since, m.now), sooner(row.First, m.now), sooner(row.After, longest)
}

func sooner(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}

// term is what becomes of a device at a time.
type term struct {
	at  time.Time
	to  Standing
	why string
}

// terms lists what time will bring to a device, unless something is heard of it.
// Whichever comes first in the list wins.
func (m *Machine) terms(row *Row, heard time.Time) (all []term) {
	p := &m.rec.Plan
	if !row.Standing.open() {
		return nil
	}
	if !p.Deadline.IsZero() {
		switch row.Standing {
		case Waiting:
			all = append(all, term{p.Deadline, Skipped, ReasonDeadline})
		case Began: // heard of or not: it has had a while to tell how it ended
			all = append(all, term{p.Deadline.Add(p.Lost), Failed, ReasonDeadline})
		}
	}
	if p.Longest > 0 && !row.First.IsZero() {
		all = append(all, term{row.First.Add(p.Longest), Failed, ReasonTooLong})
	}
	if row.Standing == Began {
		return append(all, term{m.after(later(heard, row.Since), p.Lost), Failed, ReasonLost})
	}
	// The grant of a device that was granted something ends first.
	if row.Standing == Waiting && p.Silence.Rule != SilenceWaits && row.Wave < m.rec.Open {
		since := later(later(heard, m.rec.Waves[row.Wave].Opened), row.After)
		t := term{m.after(since, p.Silence.After), Silent, ""}
		if p.Silence.Rule == SilenceFails {
			t.to, t.why = Failed, ReasonSilent
		}
		all = append(all, t)
	}
	return all
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// due sets when Look is due. Without renew a later time than the one that stands
// is left for Look to find, so that a check-in that changes nothing needs no
// write.
func (m *Machine) due(row *Row, heard time.Time, renew bool) {
	var at time.Time
	first := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if m.rec.State.Ended() {
		row.Due = at
		return
	}
	for _, t := range m.terms(row, heard) {
		first(t.at)
	}
	p := &m.rec.Plan
	switch {
	case row.Standing == Granted:
		first(row.expires())
	case row.Standing == Waiting && p.Silence.Rule != SilenceWaits && row.Wave >= m.rec.Open:
		first(m.now.Add(p.Silence.After)) // nobody looks at each row when a wave opens
	}
	if renew || row.Due.IsZero() || at.IsZero() || at.Before(row.Due) {
		row.Due = at
	}
}
