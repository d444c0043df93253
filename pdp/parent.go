package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// path returns the peers from the root down to this device.
func (m *Machine) path() []wire.Peer {
	p := append([]wire.Peer(nil), m.member.Path()...)
	return append(p, m.self.Peer)
}

// pathChanged tells the children where they stand.
func (m *Machine) pathChanged() {
	if len(m.feed.Children()) == 0 {
		return
	}
	p := m.path()
	if len(p) > wire.MaxPath {
		for _, c := range append([]*transfer.Child(nil), m.feed.Children()...) {
			m.dismiss(c.Link, wire.ReasonLoop)
		}
		return
	}
	for _, c := range m.feed.Children() {
		m.act(SendFrame{c.Link, &wire.Path{Peers: p}})
	}
}

// accepted takes or refuses a child.
func (m *Machine) accepted(e Accepted) {
	if why := m.refuses(e); why != wire.ReasonNone {
		m.act(SendFrame{e.Link, &wire.Refuse{Reason: why}})
		m.act(Close{e.Link, why})
		return
	}
	if old := m.feed.FindPeer(e.Hello.From, e.Hello.Stripe); old != nil {
		// It lost the link before this device noticed.
		m.dismiss(old.Link, wire.ReasonParentLost)
	}
	prefix := e.Hello.Prefix
	if e.Hello.Epoch != m.epoch && !m.file.Keyed {
		prefix = 0
	}
	m.feed.Add(m.now, e.Link, e.Hello.From, e.From.Addr(), e.Hello.Stripe, prefix)
	m.act(SendFrame{e.Link, &wire.Welcome{From: m.self.Peer, Epoch: m.epoch, Size: m.geo.Size}})
	if p := m.path(); len(p) <= wire.MaxPath {
		m.act(SendFrame{e.Link, &wire.Path{Peers: p}})
	}
	m.sendProgress(e.Link)
	m.member.ReportSoon(m.now)
	m.noteChildren(wire.ReasonNone)
}

// refuses says why a child is not taken, ReasonNone if it is.
func (m *Machine) refuses(e Accepted) wire.Reason {
	p := e.Hello.From
	if m.leaf || m.feed.FindPeer(p, e.Hello.Stripe) == nil && m.feed.Full(e.Hello.Stripe) {
		return wire.ReasonFull
	}
	if m.banned[e.From.Addr()] > m.now {
		return wire.ReasonChildSlow
	}
	for _, q := range m.path() {
		if q == p {
			return wire.ReasonLoop
		}
	}
	if e.Hello.Stripe != 0 {
		return wire.ReasonProtocol
	}
	return wire.ReasonNone
}

// noteChildren tells who the children are, as the original's slots.
func (m *Machine) noteChildren(why wire.Reason) {
	fd := [wire.MaxChildren]Link{-1, -1}
	for i, c := range m.feed.Children() {
		if i < len(fd) {
			fd[i] = c.Link
		}
	}
	full := 0
	if m.feed.Full(0) {
		full = 1
	}
	_, addr, l := m.member.Parent()
	if l == 0 {
		l = -1
	}
	m.note(report.KindChild, why, addr, "|parent=%d><fd[0]==%d fd[1]==%d FULL=%d", l, fd[0], fd[1], full)
}

// fromChild takes a control frame of a child.
func (m *Machine) fromChild(e Framed) {
	switch f := e.Frame.(type) {
	case *wire.Report:
		m.feed.Report(m.now, e.Link, f.Prefix, f.Complete)
	case *wire.TableAsk:
		m.tableAsked(e.Link)
	case *wire.Bye:
		m.childGone(e.Link, f.Reason)
		m.act(Close{e.Link, wire.ReasonNone})
	}
}

// childGone frees the slot of a child that left or broke.
func (m *Machine) childGone(l Link, why wire.Reason) {
	c := m.feed.Remove(l)
	if c == nil {
		return
	}
	m.tableFor = slices.DeleteFunc(m.tableFor, func(x Link) bool { return x == l })
	if m.placer != nil {
		m.placer.Left(c.Peer)
	}
	m.member.ReportSoon(m.now)
	m.noteChildren(why)
}

// dismiss closes a child's link.
func (m *Machine) dismiss(l Link, why wire.Reason) {
	m.act(SendFrame{l, &wire.Bye{Reason: why}})
	m.act(Close{l, why})
	m.childGone(l, why)
}

// servable is how many chunks children may have.
func (m *Machine) servable() int {
	if m.cfg.Transfer.WholeFiles && !m.complete {
		return 0
	}
	return m.prefix
}

// settleParent feeds the children, keeps them informed, and reclaims slots.
func (m *Machine) settleParent() {
	for c := m.feed.Lagging(m.now); c != nil; c = m.feed.Lagging(m.now) {
		m.ban(c.From)
		m.dismiss(c.Link, wire.ReasonChildSlow)
	}
	if len(m.feed.Children()) == 0 {
		return
	}
	m.feed.Next(m.now, m.servable(), func(l tree.Link, i int) { m.act(SendChunk{l, i}) })
	if m.now >= m.keepAlive {
		for _, c := range m.feed.Children() {
			m.sendProgress(c.Link)
		}
		m.keepAlive = m.now + m.cfg.Transfer.KeepAlive
	}
}

// ban keeps the slots from an address whose device took no bytes.
func (m *Machine) ban(a netip.Addr) {
	const most = 64 // more are not remembered
	for k, until := range m.banned {
		if until <= m.now {
			delete(m.banned, k)
		}
	}
	if len(m.banned) < most {
		m.banned[a] = m.now + m.cfg.Tree.Avoid
	}
}

func (m *Machine) sendProgress(l Link) {
	p := &wire.Progress{Prefix: m.servable()}
	switch {
	case m.el.State() == election.Root:
		p.RootPrefix, p.RootBytes = m.servable(), m.originBytes
	case m.rootWat != nil:
		p.RootPrefix, p.RootBytes = m.rootWat.Prefix(), m.rootWat.Bytes()
		p.Detached = m.member.State() != tree.Attached && !m.complete
	}
	m.act(SendFrame{l, p})
}

func (m *Machine) parentDeadline() (time.Duration, bool) {
	at, ok := m.feed.Deadline()
	if ok {
		at = min(at, m.keepAlive)
	}
	return at, ok
}
