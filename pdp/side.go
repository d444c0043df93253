package pdp

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// side is this device as a follower in one tree: its parent there and how it
// judges it. A file that takes one tree has one side in use, and its parent
// sends all chunks; with two trees each side has a parent that sends every
// other chunk.
type side struct {
	stripe   uint8
	follower *follower.Follower
	watch    *follower.ParentWatch // while a parent is attached
	epoch    uint64                // of the parent's content, 0 while it has none
	reportAt time.Duration
}

// sides returns those that are in use.
func (m *Machine) sides() []*side {
	if m.trees == 2 {
		return m.all[:]
	}
	return m.all[:1]
}

// set returns what the parent of a side sends.
func (m *Machine) set(s *side) transfer.Set { return transfer.SetOf(s.stripe, m.trees) }

// in returns the side that stands in the tree of a stripe.
func (m *Machine) in(stripe uint8) *side {
	if m.trees == 2 {
		return m.all[stripe]
	}
	return m.all[0]
}

// of returns the side whose parent a link goes to, nil if there is none.
func (m *Machine) of(l Link) *side {
	for _, s := range m.sides() {
		if _, _, mine := s.follower.Parent(); l != 0 && l == mine {
			return s
		}
	}
	return nil
}

// waits reports whether a side asks for no parent at present: a device that
// takes itself for slow and lost the second parent looks for another only when
// the first has sent its stripe, since two at once would fill its port.
func (m *Machine) waits(s *side) bool {
	return m.leaf && m.trees == 2 && s != m.all[0] && s.follower.State() == follower.Asking &&
		m.held.PrefixOf(m.set(m.all[0])) < m.held.Chunks()
}

// attached reports whether every side in use has a parent.
func (m *Machine) attached() bool {
	for _, s := range m.sides() {
		if s.follower.State() != follower.Attached && !m.waits(s) {
			return false
		}
	}
	return true
}

// failures returns how many parents failed in a row, in the tree that fares
// worst.
func (m *Machine) failures() (n int) {
	for _, s := range m.sides() {
		if !m.waits(s) {
			n = max(n, s.follower.Failures())
		}
	}
	return n
}

// failAll leaves every parent.
func (m *Machine) failAll(why wire.Reason) {
	for _, s := range m.sides() {
		m.failParent(s, why)
	}
}

// leaveAll closes the links to all parents for good.
func (m *Machine) leaveAll(why wire.Reason) {
	for _, s := range m.all {
		m.tree(s, func(o *follower.Output) { s.follower.Leave(why, o) })
	}
}

// noRoot tells every side that there is nobody to ask.
func (m *Machine) noRoot() {
	for _, s := range m.all {
		s.follower.NoRoot()
	}
}

// askRoot tells every side in use whom to ask, and over which time to spread
// the first ask.
func (m *Machine) askRoot(spread time.Duration) {
	r := m.el.Root()
	for _, s := range m.sides() {
		s.follower.Spread(int(r.Claim.Members) * len(m.sides()))
		s.follower.Root(m.now, r.Peer, r.Addr, r.Links, spread)
	}
}

// placed takes the root's answer to an ask, and with it how many trees the
// file takes.
func (m *Machine) placed(from wire.Peer, p *wire.Place) {
	r := m.el.Root()
	if r == nil || r.Peer != from || m.held.complete() || m.placer != nil {
		return
	}
	switch first := m.all[0].follower; {
	case p.Trees == 2 && m.trees != 2 && first.State() == follower.Asking:
		m.trees = 2
		m.note(report.KindLog, wire.ReasonRootPlaced, netip.AddrPort{}, "%s: two trees, even and odd chunks", m.file.Name)
		m.askRoot(0)
	case p.Trees == 1 && m.trees == 2:
		// This root knows of one tree only.
		m.leaveAll(wire.ReasonRootPlaced)
		m.trees = 1
		m.askRoot(0)
		return
	case m.trees == 0 && (p.Trees == 1 || !p.Parent.IsZero()):
		m.trees = 1
	}
	if s := m.in(p.Stripe); s.stripe == p.Stripe {
		m.tree(s, func(o *follower.Output) { s.follower.Place(m.now, from, p, o) })
	}
}
