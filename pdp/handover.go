package pdp

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// gaugeWindow is over which time rates are measured.
const gaugeWindow = 4 * time.Second

// portRate keeps how fast this device's port was seen to send: the most of
// any link in the last gaugeWindow or two, in bytes per second.
type portRate struct {
	since       time.Duration
	most, older int64
}

func (s *portRate) seen(now time.Duration, rate int64) {
	s.roll(now)
	s.most = max(s.most, rate)
}

func (s *portRate) rate(now time.Duration) int64 {
	s.roll(now)
	return max(s.most, s.older)
}

func (s *portRate) roll(now time.Duration) {
	switch d := now - s.since; {
	case d >= 2*gaugeWindow:
		s.since, s.most, s.older = now, 0, 0
	case d >= gaugeWindow:
		s.since, s.most, s.older = now, 0, s.most
	}
}

// gauge measures how fast the file comes to a root.
type gauge struct {
	begun bool
	since time.Duration
	bytes int64 // from the origin then
}

// reset starts again with the next measurement.
func (g *gauge) reset() { *g = gauge{} }

// measure takes how many bytes came in the download under way. At the end of a
// gaugeWindow it returns how many came in a second of it, and begins the next.
func (g *gauge) measure(now time.Duration, bytes int64) (rate float64, ok bool) {
	if !g.begun {
		*g = gauge{begun: true, since: now, bytes: bytes}
	}
	took := now - g.since
	if took < gaugeWindow {
		return 0, false
	}
	rate = float64(bytes-g.bytes) / took.Seconds()
	*g = gauge{begun: true, since: now, bytes: bytes}
	return rate, true
}

// When a root hands over because its own port slows the site down: the file
// arrives about as fast as the port sends, another's port sends much faster,
// and the change would save enough time. A subnet does so at most mostTries
// times for a file, whatever rates the members claim.
const (
	portBound     = 1.5 // times the file's rate, and less
	muchFaster    = 3   // times the own port
	worthHandover = 10 * time.Second
	mostTries     = 3
)

// settleHandover hands over if this root's own port slows the site down. It is
// called whenever bytes arrive, so it needs no deadline.
func (r *rootSide) settleHandover() {
	m := r.m
	if !m.origin.answered() || m.held.complete() || !m.held.Known() || r.handovers >= mostTries {
		r.gauge.reset()
		return
	}
	rate, ok := r.gauge.measure(m.now, m.origin.bytes)
	if !ok {
		return
	}
	port := float64(m.children.speed())
	left := float64(m.held.Chunks()-m.held.Count()) * float64(m.held.ChunkSize())
	if rate <= 0 || port <= 0 || port > portBound*rate || left/rate < worthHandover.Seconds() {
		return
	}
	next, speed := r.placer.Fastest()
	if float64(speed)*1000 < muchFaster*port {
		return
	}
	r.heardHandover()
	m.note(report.KindElection, wire.ReasonHandsOver, netip.AddrPort{},
		note.HandsOverFaster{Own: port / 1000, Other: float64(speed)})
	r.stepAside(next)
}

// heardHandover counts a handover, an own one or another's.
func (r *rootSide) heardHandover() { r.handovers++ }

// stepAside leaves the root to the named successor, or to the first that
// claims, and becomes a leaf: this device is slow.
func (r *rootSide) stepAside(next wire.Peer) {
	m := r.m
	m.el.elect(func(o *election.Output) {
		resign := wire.Resign{Reason: wire.ReasonParentSlow, Successor: next}
		m.el.StepDown(m.now, resign, m.cfg.Election.Distrust, o)
	})
	m.following.becomeLeaf(wire.ReasonHandsOver)
}

// yield takes whether this device yields. One that begins to sends its children away:
// they find other parents, or come back to it if there are none.
func (m *Machine) yield(e Yield) {
	if m.yields == e.On {
		return
	}
	m.yields, m.yielded = e.On, m.now
	m.el.Yield(e.On)
	if m.phase != running {
		return // it has not begun
	}
	m.noteYield()
	m.following.reportSoon()
	if e.On && !m.root.active() {
		m.children.dismissAll(wire.ReasonYields)
	}
}

func (m *Machine) noteYield() {
	m.note(report.KindRole, wire.ReasonYields, netip.AddrPort{}, note.Yields{On: m.yields})
}

// onItsWay reports whether a child that comes now may have been sent here before this
// device began to yield.
func (m *Machine) onItsWay() bool { return m.yields && m.now < m.yielded+m.cfg.Tree.Dial }

// settleYield hands over if this root yields and another member does not. A root that
// holds the file stays: another one would fetch what it lacks from the origin.
func (r *rootSide) settleYield() {
	m := r.m
	if !m.yields || r.placer == nil || m.held.complete() {
		return
	}
	next, ok := r.placer.Successor(m.now)
	if !ok {
		return
	}
	m.note(report.KindElection, wire.ReasonYields, netip.AddrPort{}, note.HandsOverYielding{})
	m.el.elect(func(o *election.Output) {
		m.el.StepDown(m.now, wire.Resign{Reason: wire.ReasonYields, Successor: next}, m.cfg.Election.Distrust, o)
	})
	m.children.dismissAll(wire.ReasonYields)
}
