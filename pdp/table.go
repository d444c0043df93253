package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// wholeFileWrong: every chunk is there and the whole is not what was asked
// for. With a signed table this cannot happen but by a wrong table; without
// one somebody altered a chunk, or the origin is wrong.
//
// Bytes of the origin alone are dropped and fetched once more. Bytes that came
// through peers are kept, and the root, which has the file from the origin, is
// asked for its chunk table: what differs was altered on its way and is fetched
// again from the root itself.
func (m *Machine) wholeFileWrong() {
	m.note(report.KindFallback, wire.ReasonDigestMismatch, netip.AddrPort{}, "%s: the whole file has the wrong digest", m.file.Name)
	m.mismatches++
	if m.held.Pure() || m.file.Signed {
		allFromOrigin := m.held.Pure()
		m.startOver()
		if n := m.origin.countWrong(); n >= 2 || allFromOrigin && (m.wrongRoots > 0 || m.file.Signed) {
			m.giveUp(wire.ReasonOriginWrong)
		} else if m.placer != nil {
			m.originAt = m.now
			m.claim(true) // the others' bytes are wrong too
		}
		return
	}
	if m.placer != nil || m.suspect {
		// A root has nobody to ask. Who has asked already was told wrong.
		m.keepFromOrigin()
		m.originAt = m.now
		if m.placer == nil {
			m.distrustRoot(wire.ReasonDigestMismatch)
		}
		return
	}
	m.suspect, m.mended = true, false
	m.suspectAt = m.now + m.cfg.Tree.Forget
	m.failAll(wire.ReasonDigestMismatch)
}

// startOver drops what is held of the content.
func (m *Machine) startOver() {
	size := m.held.Size()
	if !m.file.Signed {
		size = load.UnknownSize
	}
	m.suspect = false
	m.failAll(wire.ReasonDigestMismatch) // they have sent it all
	m.forgive()
	m.held.forget(m.held.Epoch(), size)
}

// askTable asks a new parent for its table if it is the root, as the ask for a
// place wanted it.
func (m *Machine) askTable(s *side, l Link) {
	if m.suspect && !m.mended && m.fromRoot(s) {
		m.act(SendFrame{l, &wire.TableAsk{}})
	}
}

// fromRoot reports whether the parent in a tree is the root itself.
func (m *Machine) fromRoot(s *side) bool {
	p, _, _ := s.follower.Parent()
	r := m.el.Root()
	return r != nil && r.Peer == p
}

// settleTable gives up waiting for the table after a while, or when the root
// has found that its own file is wrong: then all start over.
func (m *Machine) settleTable() {
	if !m.suspect || m.held.complete() {
		return
	}
	r := m.el.Root()
	over := r != nil && !r.Claim.Complete && r.Claim.Prefix < m.held.Chunks() && r.Heard > m.suspectAt-m.cfg.Tree.Forget
	switch {
	case m.placer != nil:
		m.keepFromOrigin()
		m.originAt = m.now
	case over:
		m.startOver()
	case m.now >= m.suspectUntil():
		m.startOver()
		m.fallback.budget.Entitle(m.now)
	}
}

// forgive forgets which parents failed.
func (m *Machine) forgive() {
	for _, s := range m.sides() {
		s.follower.Forgive()
	}
}

// suspectUntil is when it is no use any more to wait for the table or for what
// it said was altered.
func (m *Machine) suspectUntil() time.Duration {
	if m.mended {
		return max(m.suspectAt, m.fallback.gained+m.cfg.Tree.Forget)
	}
	return m.suspectAt
}

// compared takes the verdict on the root's table: which chunks differ.
func (m *Machine) compared(e Compared) {
	s := m.of(e.Link)
	if !m.suspect || m.mended || s == nil {
		return
	}
	_, addr, _ := s.follower.Parent()
	switch {
	case slices.ContainsFunc(e.Differ, m.held.FromOrigin):
		m.note(report.KindFallback, wire.ReasonDigestMismatch, addr, "root %s has other bytes than the server sent to this device", addr.Addr())
	case len(e.Differ) == 0:
		m.note(report.KindFallback, wire.ReasonDigestMismatch, addr, "root %s has the same bytes, and they are wrong", addr.Addr())
	default:
		m.mend(addr, e.Differ)
		return
	}
	m.keepFromOrigin()
	m.distrust(addr, wire.ReasonDigestMismatch)
}

// keepFromOrigin drops what peers sent and keeps what this device had from the
// origin: if that were wrong, nobody else's would be right. A device that had
// nothing from there, or its size from a peer, starts over, size and all.
func (m *Machine) keepFromOrigin() {
	foreign := m.held.Foreign()
	if !m.held.Sure() || m.held.Count() == len(foreign) || len(foreign) == 0 {
		m.startOver()
		return
	}
	m.suspect = false
	m.held.drop(foreign)
	m.failAll(wire.ReasonDigestMismatch)
}

// mend drops the chunks that the root has otherwise, and has them sent again.
func (m *Machine) mend(addr netip.AddrPort, differ []int) {
	m.note(report.KindFallback, wire.ReasonBadChunk, addr, "%d chunks were altered on their way, the first is %d", len(differ), differ[0])
	m.mended = true
	m.suspectAt = m.now + m.cfg.Tree.Forget
	m.held.drop(differ)
	m.failAll(wire.ReasonDigestMismatch) // and back to it, from the first of them on
}

// tableAsked answers a child that wants this device's table, once it is sure
// of its own bytes.
func (m *Machine) tableAsked(l Link) {
	if !slices.ContainsFunc(m.feed.Children(), func(c *transfer.Child) bool { return c.Link == l }) {
		return
	}
	if !m.held.complete() {
		if !slices.Contains(m.tableFor, l) && len(m.tableFor) < wire.MaxChildren {
			m.tableFor = append(m.tableFor, l)
		}
		return
	}
	m.act(SendTable{Link: l})
}

// settleTables answers those who waited.
func (m *Machine) settleTables() {
	if m.held.complete() {
		for _, l := range m.tableFor {
			m.tableAsked(l)
		}
		m.tableFor = nil
	}
}
