package rollout

import (
	"fmt"
	"time"
)

// settle does what time and counts have brought about.
func (m *Machine) settle() {
	r := &m.rec
	if r.State == Scheduled && r.Listed && !m.now.Before(r.Plan.Start) {
		m.change(Running, "", "")
		m.open("")
	}
	for r.State == Running {
		switch {
		case m.tooMany():
		case m.allAccounted():
			m.change(Finished, "", "")
		case r.Open < len(r.Waves) && m.mayOpen():
			m.open("")
			continue
		}
		return
	}
}

// open opens the next wave.
func (m *Machine) open(by string) {
	r := &m.rec
	r.Waves[r.Open].Opened = m.now
	m.tell(WaveOpened{Wave: r.Open, By: by})
	r.Open++
	m.unpass()
}

// tooMany pauses the rollout if too many devices failed that nobody has seen yet.
func (m *Machine) tooMany() bool {
	p := &m.rec.Plan
	all := 0
	for i, w := range m.rec.Waves[:m.rec.Open] {
		failed := w.Failed - w.Acknowledged
		all += failed
		if p.MaxFailedShare > 0 && failed > 0 && failed*100 >= p.MaxFailedShare*w.wanted() {
			m.change(Paused, "", fmt.Sprintf("wave %d: %d of %d failed: the limit is %d %%", i+1, failed, w.wanted(),
				p.MaxFailedShare))
			return true
		}
	}
	if p.MaxFailed > 0 && all >= p.MaxFailed {
		m.change(Paused, "", fmt.Sprintf("failed devices: %d; the limit is %d", all, p.MaxFailed))
		return true
	}
	return false
}

// allAccounted reports whether the rollout waits for no device any more.
func (m *Machine) allAccounted() bool {
	sum := m.rec.Totals()
	return sum.Open() == 0
}

// mayOpen reports whether the gate of the last open wave lets the next one open
// by itself.
func (m *Machine) mayOpen() bool {
	r := &m.rec
	w, gate := &r.Waves[r.Open-1], r.Plan.Waves[r.Open-1].Gate
	if w.Total() == 0 {
		return true // a percentage of few devices may be nobody
	}
	if !success(w, gate.Success) {
		m.unpass()
		return false
	}
	if r.Passed.IsZero() || r.Passed.After(m.now) { // or the clock was set back
		r.Passed = m.now
	}
	if gate.Opener == ByPerson || m.now.Before(r.Passed.Add(gate.Soak)) {
		return false
	}
	if gate.Opener == ByExternal {
		m.ask()
		return false
	}
	return true
}

// success reports whether a wave shows what its gate wants. One in which nobody
// was to change shows it by those that run the load; one in which nobody could
// show anything does not.
func success(w *WaveRecord, share int) bool {
	if w.wanted() == 0 {
		return w.Had > 0
	}
	return w.Done > 0 && w.Done*100 >= share*w.wanted()
}

// ask asks the external check, again and again until it says go.
func (m *Machine) ask() {
	r := &m.rec
	if !m.now.Before(r.Asked.Add(r.Plan.AskEvery)) || r.Asked.After(m.now) { // or the clock was set back
		r.Asks++
		r.Asked = m.now
		m.tell(Ask{Wave: r.Open - 1, Number: r.Asks})
	}
}

// answer takes what the external check said. A go opens the next wave if it
// answers the last question and what was asked still holds.
func (m *Machine) answer(e Answer) {
	r := &m.rec
	if !e.Go || e.Asked != r.Asks || r.State != Running || r.Open == len(r.Waves) {
		return
	}
	if !r.Asked.IsZero() {
		m.open("the external check")
	}
}

// unpass forgets that the last open wave had its success, and what was asked
// about it.
func (m *Machine) unpass() { m.rec.Passed, m.rec.Asked = time.Time{}, time.Time{} }

// openByHand opens the next wave because a person says so.
func (m *Machine) openByHand(e Next) error {
	r := &m.rec
	switch {
	case r.State != Running:
		return m.wrong("open the next wave", Running)
	case r.Open == len(r.Waves):
		return fmt.Errorf("%w: all %d waves are open", ErrRefused, len(r.Waves))
	}
	m.open(e.By)
	return nil
}

// Deadline returns when Tick is due; ok is false if nothing waits for a time.
func (m *Machine) Deadline() (at time.Time, ok bool) {
	r := &m.rec
	switch {
	case r.State == Scheduled && r.Listed:
		return r.Plan.Start, true
	case r.State != Running || r.Open == len(r.Waves) || r.Passed.IsZero():
		return at, false
	}
	gate := r.Plan.Waves[r.Open-1].Gate
	at = r.Passed.Add(gate.Soak)
	switch {
	case gate.Opener == ByPerson:
		return at, false
	case !r.Asked.IsZero():
		return r.Asked.Add(r.Plan.AskEvery), true
	}
	return at, true
}
