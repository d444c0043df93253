package pdp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// path returns the peers from the root down to this device in the trees of a
// set: where that is more than one, the peers of all.
func (m *Machine) path(set transfer.Set) []wire.Peer {
	var p []wire.Peer
	for _, s := range m.sides() {
		if m.set(s)&set == 0 {
			continue
		}
		for _, q := range s.follower.Path() {
			if !slices.Contains(p, q) {
				p = append(p, q)
			}
		}
	}
	return append(p, m.self.Peer)
}

// pathChanged tells the children in the trees of a set where they stand.
func (m *Machine) pathChanged(set transfer.Set) {
	for _, c := range append([]*transfer.Child(nil), m.feed.Children()...) {
		if c.Set&set == 0 {
			continue
		}
		if p := m.path(c.Set); len(p) > wire.MaxPath {
			m.dismiss(c.Link, wire.ReasonLoop)
		} else {
			m.act(SendFrame{c.Link, &wire.Path{Peers: p}})
		}
	}
}

// accepted takes or refuses a child.
func (m *Machine) accepted(e Accepted) {
	if why := m.refuses(e); why != wire.ReasonNone {
		m.act(SendFrame{e.Link, &wire.Refuse{Reason: why}})
		m.act(Close{e.Link, why})
		return
	}
	set := transfer.SetOf(e.Hello.Stripe, e.Hello.Trees)
	for old := m.feed.FindPeer(e.Hello.From, set); old != nil; old = m.feed.FindPeer(e.Hello.From, set) {
		// It lost the link before this device noticed.
		m.dismiss(old.Link, wire.ReasonParentLost)
	}
	prefix := e.Hello.Prefix
	if e.Hello.Epoch != m.held.Epoch() && !m.file.Keyed {
		prefix = 0
	}
	m.feed.Add(m.now, e.Link, e.Hello.From, e.From.Addr(), set, prefix)
	m.act(SendFrame{e.Link, &wire.Welcome{From: m.self.Peer, Epoch: m.held.Epoch(), Size: m.held.Size()}})
	if p := m.path(set); len(p) <= wire.MaxPath {
		m.act(SendFrame{e.Link, &wire.Path{Peers: p}})
	}
	m.sendProgress(e.Link, set)
	m.reportSoon()
	m.noteChildren(wire.ReasonNone)
}

// refuses says why a child is not taken, ReasonNone if it is.
func (m *Machine) refuses(e Accepted) wire.Reason {
	p, set := e.Hello.From, transfer.SetOf(e.Hello.Stripe, e.Hello.Trees)
	if m.leaf || m.feed.FullBut(set, p) {
		return wire.ReasonFull
	}
	if m.banned[e.From.Addr()] > m.now {
		return wire.ReasonChildSlow
	}
	for _, q := range m.path(set) {
		if q == p {
			return wire.ReasonLoop
		}
	}
	return wire.ReasonNone
}

// noteChildren tells who the children are, as the original's slots.
func (m *Machine) noteChildren(why wire.Reason) {
	var slots strings.Builder
	for i := range max(wire.MaxChildren, len(m.feed.Children())) {
		l := Link(-1)
		if i < len(m.feed.Children()) {
			l = m.feed.Children()[i].Link
		}
		fmt.Fprintf(&slots, "fd[%d]==%d ", i, l)
	}
	full := 0
	if m.feed.Free(transfer.All) == 0 {
		full = 1
	}
	_, addr, l := m.all[0].follower.Parent()
	if l == 0 {
		l = -1
	}
	m.note(report.KindChild, why, addr, "|parent=%d><%sFULL=%d", l, slots.String(), full)
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
		for s := range uint8(wire.MaxStripes) {
			if c.Set.Has(s) {
				m.placer.Left(c.Peer, s)
			}
		}
	}
	m.reportSoon()
	m.noteChildren(why)
}

// dismiss closes a child's link.
func (m *Machine) dismiss(l Link, why wire.Reason) {
	m.act(SendFrame{l, &wire.Bye{Reason: why}})
	m.act(Close{l, why})
	m.childGone(l, why)
}

// servable is up to which chunk of a set children may have all.
func (m *Machine) servable(set transfer.Set) int {
	if m.cfg.Transfer.WholeFiles && !m.held.complete() {
		return 0
	}
	return m.held.PrefixOf(set)
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
	m.feed.Next(m.now, m.servable, func(l transfer.Link, i int) { m.act(SendChunk{l, i}) })
	if m.now >= m.keepAlive {
		for _, c := range m.feed.Children() {
			m.sendProgress(c.Link, c.Set)
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

func (m *Machine) sendProgress(l Link, set transfer.Set) {
	p := &wire.Progress{Prefix: m.servable(set)}
	switch {
	case m.el.State() == election.Root:
		p.RootPrefix, p.RootBytes = m.servable(transfer.All), m.origin.bytes
	case m.rootWatch != nil:
		p.RootPrefix, p.RootBytes = m.rootWatch.Prefix(), m.rootWatch.Bytes()
		p.Detached = !m.attached() && !m.held.complete()
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
