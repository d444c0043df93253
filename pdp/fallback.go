package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// heardDirect takes another's claim on the subnet's budget.
func (m *Machine) heardDirect(c election.Candidate, d *wire.Direct) {
	if m.el.Distrusted(m.now, c.Addr.Addr()) {
		return
	}
	if d.Bytes > 0 {
		m.origin.Well(m.now)
	}
	if m.budget.Heard(m.now, m.self.Peer, c.Peer, c.Links, d) {
		m.stopOrigin()
		m.budget.Entitle(m.now)
	}
	// Who waits for its turn can have what the other has already.
	for _, s := range m.sides() {
		if !m.budget.Waiting() || m.held.complete() || m.waits(s) || s.follower.State() == follower.Attached || s.follower.State() == follower.Dialing {
			continue
		}
		if p, link, has := m.budget.Other(); has > m.held.PrefixOf(m.set(s)) && s.follower.Failures() <= m.cfg.Transfer.FailedPeers+1 {
			m.tree(s, func(o *follower.Output) { s.follower.DialTo(m.now, p, link, o) })
		}
	}
}

// settleFallback entitles this device to the server where peers failed it, and
// goes there when it is its turn.
func (m *Machine) settleFallback() {
	if m.held.complete() || m.held.verifying() || m.placer != nil || m.el.State() == election.Idle {
		return
	}
	m.settleProbe()
	t := m.cfg.Transfer
	if m.gate && !m.open && !m.budget.Waiting() && !m.origin.Failing() && !m.suspect &&
		(m.failures() >= t.FailedPeers && !m.served() || m.starved()) {
		m.budget.Entitle(m.now)
		m.gained, m.starving = m.now, true
	}
	if m.gate && !m.open && m.budget.Ready(m.now, m.origin.NotBefore()) {
		why := wire.ReasonNoProgress
		if m.failures() >= t.FailedPeers {
			why = wire.ReasonPeersFailed
		}
		m.note(report.KindFallback, why, netip.AddrPort{}, "%s: to the server, within the subnet's budget: %s", m.file.Name, why)
		m.act(Broadcast{&wire.Direct{Reason: why, Prefix: m.held.Prefix()}})
		m.directAt = m.now + m.cfg.Election.Announce
		m.openOrigin(m.now)
	}
	if m.budget.Active() && m.now >= m.directAt {
		m.act(Broadcast{&wire.Direct{Reason: wire.ReasonPeersFailed, Prefix: m.held.Prefix(), Bytes: m.originBytes}})
		m.directAt = m.now + m.cfg.Election.Announce
	}
}

// starved reports whether bytes that are to be had have not come for long.
func (m *Machine) starved() bool {
	return m.now-m.gained > m.cfg.Transfer.Fallback && m.hungry()
}

// served reports whether a parent in one of the trees has sent something
// lately: then the other tree can be waited for.
func (m *Machine) served() bool {
	if m.now-m.gained > m.cfg.Transfer.Stall {
		return false
	}
	return slices.ContainsFunc(m.sides(), func(s *side) bool {
		return s.follower.State() == follower.Attached && s.follower.Failures() == 0
	})
}

// settleProbe sees for itself whether the origin answers, once peers have told
// of failures for long enough. All devices of the subnet do so at about the
// same time and end with their own word for it, not one after another; if one
// finds the origin well, it is as if nobody had told anything.
func (m *Machine) settleProbe() {
	doubt := m.origin.Doubtful(m.now) || m.origin.Failing() && m.now-m.gained > m.cfg.Transfer.Fallback && !m.origin.Outage(m.now)
	if m.open || !m.gate || !doubt {
		m.probeAt = 0
		return
	}
	if m.probeAt == 0 {
		m.probeAt = m.now + 1 + time.Duration(m.rnd.Int64N(int64(m.cfg.Transfer.FallbackJitter)))
	}
	if m.now < m.probeAt {
		return
	}
	m.probeAt, m.probing = 0, true
	m.open, m.opened, m.originBytes = true, false, 0
	who := "peers say that"
	if m.origin.Tried() {
		who = "so far"
	}
	m.note(report.KindFallback, m.origin.Last(), netip.AddrPort{}, "%s: %s the server failed: %s; asking it once", m.file.Name, who, m.origin.Last())
	m.act(OpenOrigin{From: m.held.Prefix()})
}

// probed: a chunk came to a device that only asked whether the origin gives one.
// If it is the origin's and there is no root this device claims, holding more
// than the others; if there is one it takes its turn.
func (m *Machine) probed(origin bool) {
	if !m.probing {
		return
	}
	m.probing = false
	m.origin.Progress(m.now)
	if m.placer != nil {
		return // and has become root meanwhile: it goes on
	}
	m.stopOrigin()
	switch {
	case !origin:
	case m.el.Root() == nil:
		m.elect(func(o *election.Output) { m.el.Claimable(m.now, o) })
	default:
		m.budget.Entitle(m.now)
	}
}

// hungry reports whether bytes are to be had that do not come: the root has
// them, or there is no root.
func (m *Machine) hungry() bool {
	return m.rootWatch == nil || m.el.Root() == nil || m.rootWatch.Prefix() > m.held.Prefix()
}

// budgetDone gives the budget back.
func (m *Machine) budgetDone() {
	if m.budget.Active() {
		m.budget.Done()
		m.stopOrigin()
		m.act(Broadcast{&wire.Direct{Done: true, Prefix: m.held.Prefix(), Bytes: m.originBytes}})
	}
}

func (m *Machine) fallbackDeadline() (at time.Duration, ok bool) {
	if m.held.complete() || m.held.verifying() || m.placer != nil {
		return 0, false
	}
	if m.budget.Active() {
		return m.directAt, true
	}
	if m.probeAt != 0 {
		return m.probeAt, true
	}
	if m.open || !m.gate {
		return 0, false
	}
	if d, waiting := m.budget.Deadline(m.origin.NotBefore()); waiting {
		return d, true
	}
	at = max(m.gained+m.cfg.Transfer.Fallback+1, m.origin.OutageEnds(m.now))
	return at, !m.suspect && m.hungry() || m.origin.Failing()
}
