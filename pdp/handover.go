package pdp

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// gaugeWindow is over which time rates are measured.
const gaugeWindow = 4 * time.Second

// speedometer keeps how fast this device's port was seen to send: the most of
// any link in the last gaugeWindow or two, in bytes per second.
type speedometer struct {
	since       time.Duration
	most, older int64
}

func (s *speedometer) seen(now time.Duration, rate int64) {
	s.roll(now)
	s.most = max(s.most, rate)
}

func (s *speedometer) rate(now time.Duration) int64 {
	s.roll(now)
	return max(s.most, s.older)
}

func (s *speedometer) roll(now time.Duration) {
	switch d := now - s.since; {
	case d >= 2*gaugeWindow:
		s.since, s.most, s.older = now, 0, 0
	case d >= gaugeWindow:
		s.since, s.most, s.older = now, 0, s.most
	}
}

// gauge measures how fast the file comes to a root.
type gauge struct {
	since time.Duration // 0: not begun
	bytes int64         // from the origin then
}

// When a root hands the file over because its own port holds the site up: the
// file comes about as fast as the port sends, another's port sends much faster,
// and the change can save a while. A subnet does so at most mostTries times for
// a file, whatever ports the members claim to have.
const (
	portBound     = 1.5 // times the file's rate, and less
	muchFaster    = 3   // times the own port
	worthHandover = 10 * time.Second
	mostTries     = 3
)

// settleHandover hands the file over where this root's own port holds the site
// up. Bytes that come call it often enough: it needs no deadline.
func (m *Machine) settleHandover() {
	g := &m.gauge
	if !m.origin.answered() || m.held.complete() || !m.held.Known() || m.tries >= mostTries {
		*g = gauge{}
		return
	}
	if g.since == 0 {
		*g = gauge{since: m.now, bytes: m.origin.bytes}
	}
	took := m.now - g.since
	if took < gaugeWindow {
		return
	}
	rate := float64(m.origin.bytes-g.bytes) / took.Seconds()
	port := float64(m.port.rate(m.now))
	*g = gauge{since: m.now, bytes: m.origin.bytes}
	left := float64(m.held.Chunks()-m.held.Count()) * float64(m.held.ChunkSize())
	if rate <= 0 || port <= 0 || port > portBound*rate || left/rate < worthHandover.Seconds() {
		return
	}
	heir, speed := m.placer.Fastest()
	if float64(speed)*1000 < muchFaster*port {
		return
	}
	m.tries++
	m.note(report.KindElection, wire.ReasonHandover, netip.AddrPort{},
		"XID%s hands over: its port sends %.0f kB/s, another's %d", m.file.Hierarchy, port/1000, speed)
	m.stepAside(heir)
}

// stepAside leaves the root to another device, whoever claims first where none
// is named, and becomes a leaf: this one is slow.
func (m *Machine) stepAside(heir wire.Peer) {
	m.elect(func(o *election.Output) {
		m.el.StepDown(m.now, wire.Resign{Reason: wire.ReasonParentSlow, Successor: heir}, m.cfg.Election.Distrust, o)
	})
	m.becomeLeaf(wire.ReasonHandover)
}

// heir returns the child that holds most of the file of those that need the
// rest; nobody if none does.
func (m *Machine) heir() (next wire.Peer) {
	best := -1
	for _, c := range m.feed.Children() {
		if !c.Complete && c.Prefix > best {
			next, best = c.Peer, c.Prefix
		}
	}
	return next
}
