package pdp

import (
	"math"
	"net/netip"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/chunks"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// tree gives the follower's side of a tree an input and carries out what
// follows.
func (m *Machine) tree(s *side, f func(*follower.Output)) {
	var o follower.Output
	f(&o)
	if o.Close != 0 {
		if o.CloseReason != wire.ReasonNone {
			m.act(SendFrame{o.Close, &wire.Bye{Reason: o.CloseReason}})
		}
		m.act(Close{o.Close, o.CloseReason})
	}
	if o.Detached {
		s.watch = nil
		kind := report.KindParent
		if o.Reason != wire.ReasonDone && o.Reason != wire.ReasonRootOfFile && o.Reason != wire.ReasonStopped {
			kind = report.KindFallback
		}
		m.note(kind, o.Reason, netip.AddrPort{}, "parent=-1: left %s: %s", o.From, o.Reason)
		m.pathChanged(m.set(s))
		if m.el.State() == election.Orphan && !m.held.complete() {
			// The root left while this device needed none; now it does.
			m.elect(func(o *election.Output) { m.el.RootLost(m.now, wire.ReasonRootResigned, o) })
		}
		if o.Reason == wire.ReasonUnreachable {
			m.unwelcome(o.From)
		}
	}
	if o.Ask != nil {
		m.act(Send{o.AskTo, o.Ask})
	}
	if o.Dial.IsValid() {
		m.act(Dial{o.Link, o.Dial})
	}
	if o.RootGone && (s == m.all[0] || m.all[0].follower.State() != follower.Asking) {
		m.rootGone(s) // it is counted once if both ask in vain
	}
}

// me is what an ask about a tree tells of this device.
func (m *Machine) me(s *side) follower.Self {
	set := m.set(s)
	free := m.feed.Free(set)
	if m.leaf {
		free = 0
	}
	return follower.Self{
		Prefix: m.held.Prefix(), Epoch: m.held.Epoch(), Free: free, Children: min(m.feed.Taken(set), wire.MaxChildren),
		Done: m.held.complete(), Trees: m.trees, Speed: uint32(min(m.port.rate(m.now)/1000, math.MaxUint32)), AtRoot: m.suspect,
	}
}

// rootGone: the root answers no ask. One that was heard meanwhile lives, but
// is not believed for ever. One that was not is mourned; if it was only hard
// to hear it says so during the election that begins.
func (m *Machine) rootGone(s *side) {
	r := m.el.Root()
	if r == nil {
		return
	}
	if m.doubted != r.Peer {
		m.doubted, m.doubts = r.Peer, 0
	}
	m.doubts++
	switch {
	case m.doubts >= m.cfg.Tree.Rounds:
		m.doubts = 0
		m.distrustRoot(wire.ReasonRootSilent)
	case r.Heard < s.follower.AskedSince():
		m.elect(func(o *election.Output) { m.el.RootLost(m.now, wire.ReasonRootLost, o) })
	}
}

// unwelcome counts a root that takes no link, or takes it and never welcomes:
// it is not believed for ever either.
func (m *Machine) unwelcome(p wire.Peer) {
	r := m.el.Root()
	if r == nil || r.Peer != p {
		return
	}
	if m.doubted != p {
		m.doubted, m.doubts = p, 0
	}
	if m.doubts++; m.doubts >= m.cfg.Transfer.FailedPeers {
		m.doubts = 0
		m.distrustRoot(wire.ReasonUnreachable)
	}
}

// distrustRoot turns from a root that does not do what it says.
func (m *Machine) distrustRoot(why wire.Reason) {
	if r := m.el.Root(); r != nil {
		m.distrust(r.Addr, why)
	}
}

// distrust turns from a device that was root, whether it is followed at this
// moment or an election is under way.
func (m *Machine) distrust(a netip.AddrPort, why wire.Reason) {
	addr := a.Addr()
	m.note(report.KindFallback, why, a, "XID%s root %s is not believed for %v: %s",
		m.file.Hierarchy, addr, m.el.Grudge(addr, why), why)
	for _, s := range m.sides() {
		if p, a, _ := s.follower.Parent(); !p.IsZero() && a.Addr() == addr {
			m.failParent(s, why)
		}
	}
	m.elect(func(o *election.Output) { m.el.Distrust(m.now, addr, why, o) })
}

// openedLink: the link to the parent is up.
func (m *Machine) openedLink(l Link) {
	s := m.of(l)
	if s == nil {
		m.act(Close{l, wire.ReasonNone})
		return
	}
	m.act(SendFrame{l, &wire.Hello{
		Hierarchy: m.file.Hierarchy, From: m.self.Peer, TCPPort: m.self.Addr.Port(), Epoch: m.held.Epoch(),
		Stripe: s.stripe, Trees: m.trees, Prefix: m.held.PrefixOf(m.set(s)),
	}})
}

// framed takes a control frame from the parent or from a child.
func (m *Machine) framed(e Framed) {
	if e.Link > 0 {
		m.fromChild(e)
		return
	}
	s := m.of(e.Link)
	if s == nil {
		return
	}
	if s.watch != nil {
		s.watch.Active(m.now)
	}
	switch f := e.Frame.(type) {
	case *wire.Welcome:
		m.welcomed(s, e.Link, f)
	case *wire.Refuse:
		m.failParent(s, f.Reason)
	case *wire.Bye:
		m.failParent(s, f.Reason)
	case *wire.Path:
		if !s.follower.SetPath(f.Peers) {
			m.failParent(s, wire.ReasonLoop)
			return
		}
		m.pathChanged(m.set(s))
	case *wire.Progress:
		m.parentProgress(s, f)
	case *wire.End:
		m.sizeSaid(s, f.Size)
	}
}

// sizeSaid takes the size that a parent tells, and reports whether the two
// agree; if not the parent is left. A device that has its own size from another
// peer goes with the root's, or it could have no parent any more after one that
// lied.
func (m *Machine) sizeSaid(s *side, size int64) bool {
	if size < 0 || !m.held.Known() || size == m.held.Size() {
		m.held.setSize(size)
		return true
	}
	p, addr, _ := s.follower.Parent()
	r := m.el.Root()
	if m.held.Sure() || r == nil || r.Peer != p && r.Claim.Size != size {
		m.failParent(s, wire.ReasonWrongEpoch)
		return false
	}
	m.note(report.KindFallback, wire.ReasonWrongEpoch, addr, "%s: %d bytes, says the root, not %d: starting over", m.file.Name, size, m.held.Size())
	m.suspect = false
	m.failAll(wire.ReasonWrongEpoch) // it would go on where this device said it stood
	m.held.forget(m.held.Epoch(), size)
	return false
}

// contradicted reports whether the root claims another size than this device
// knows for certain, of bytes that are the same by their key.
func (m *Machine) contradicted() bool {
	r := m.el.Root()
	return r != nil && m.held.Sure() && m.file.Keyed && r.Claim.Size >= 0 && r.Claim.Size != m.held.Size()
}

func (m *Machine) failParent(s *side, why wire.Reason) {
	m.tree(s, func(o *follower.Output) { s.follower.Fail(m.now, why, o) })
}

// leaveParent turns from a parent that does not serve. What a root claims is
// not believed any more if it sends wrong bytes, or keeps them twice.
func (m *Machine) leaveParent(s *side, why wire.Reason) {
	p, _, _ := s.follower.Parent()
	isRoot := m.fromRoot(s)
	twice := p == m.slowParent
	switch why {
	case wire.ReasonParentSlow, wire.ReasonParentStalled:
		if m.slow(s, p) {
			if s.watch != nil {
				s.watch.Stay(m.now)
			}
			return
		}
	}
	if isRoot && (why == wire.ReasonBadChunk || why == wire.ReasonParentStalled && twice) {
		m.distrustRoot(why)
		return
	}
	m.failParent(s, why)
}

// slow judges a parent that sends little or nothing; it reports whether to stay
// with it. Where two of them do it is more likely this device that is slow: it
// becomes a leaf, blames nobody, and tries others less and less often.
func (m *Machine) slow(s *side, parent wire.Peer) (stay bool) {
	switch {
	case m.leaf && m.now < m.moveAt:
		return true
	case m.leaf:
		m.moveWait *= 2
		m.moveAt = m.now + m.moveWait
		m.failParent(s, wire.ReasonNoProgress)
		return true
	case m.slowParent.IsZero() || m.slowParent == parent:
		m.slowParent = parent
		return false
	}
	m.becomeLeaf(wire.ReasonParentSlow)
	return true
}

// becomeLeaf sends the children away: others serve them better.
func (m *Machine) becomeLeaf(why wire.Reason) {
	m.leaf = true
	m.moveWait = 2 * m.cfg.Transfer.SlowWindow
	m.moveAt = m.now + m.moveWait
	m.note(report.KindChild, why, netip.AddrPort{}, "this device is slow: it takes no children")
	for _, c := range append([]*transfer.Child(nil), m.feed.Children()...) {
		m.dismiss(c.Link, wire.ReasonParentSlow)
	}
	m.reportSoon()
}

// reportSoon brings the next reports to the root forward.
func (m *Machine) reportSoon() {
	for _, s := range m.sides() {
		s.follower.ReportSoon(m.now)
	}
}

func (m *Machine) welcomed(s *side, l Link, f *wire.Welcome) {
	fresh := s.follower.Welcome(m.now, l, f.From)
	if !fresh && (s.watch == nil || m.file.Keyed) {
		return // only news of the epoch come twice
	}
	s.epoch = f.Epoch
	if f.Epoch != m.held.Epoch() && !m.file.Keyed && (f.Epoch != 0 || m.trees != 2) {
		if r := m.el.Root(); r != nil && r.Claim.Epoch != 0 && r.Claim.Epoch != f.Epoch {
			m.failParent(s, wire.ReasonWrongEpoch)
			return
		}
		if m.held.Count() > 0 {
			m.held.forget(f.Epoch, load.UnknownSize)
		} else {
			m.held.reset(f.Epoch)
			m.held.adopt(f.Epoch)
		}
	}
	if !fresh {
		m.held.setSize(f.Size)
		return
	}
	if !m.sizeSaid(s, f.Size) {
		return
	}
	m.doubts = 0
	s.watch = follower.NewParentWatch(m.cfg.Transfer, m.now, m.held.PrefixOf(m.set(s)))
	s.reportAt = m.now
	_, addr, _ := s.follower.Parent()
	m.note(report.KindParent, wire.ReasonRootPlaced, addr, "parent=%s", addr.Addr())
	if m.suspect && !m.mended && !m.fromRoot(s) {
		// It was asked for before this device knew that it needs the root.
		m.failParent(s, wire.ReasonDigestMismatch)
		return
	}
	m.askTable(s, l)
	m.pathChanged(m.set(s))
}

func (m *Machine) parentProgress(s *side, f *wire.Progress) {
	if s.watch == nil {
		return
	}
	s.watch.Parent(m.now, f.Prefix, f.RootPrefix)
	if m.rootWatch != nil {
		m.rootWatch.Root(m.now, f.RootPrefix, f.RootBytes)
	}
}

// stored takes a chunk that is on disk.
func (m *Machine) stored(e Stored) {
	from := chunks.Peer
	if e.Link == 0 {
		from = chunks.Origin
	}
	if !m.held.Add(e.Index, from) {
		return // nothing new: a server that begins again and again gets no further
	}
	m.fallback.probed(e.Link == 0)
	m.fallback.gain()
	for _, w := range m.watched {
		w.watch.Gain(m.now)
	}
	if e.Link == 0 {
		m.origin.Progress(m.now)
	} else {
		m.origin.Served(m.now)
	}
	for _, s := range m.sides() {
		if s.watch != nil {
			s.watch.Mine(m.now, m.held.PrefixOf(m.set(s)))
		}
	}
	if s := m.of(e.Link); s != nil {
		s.follower.Served()
	}
	if e.Link == 0 {
		return
	}
	if m.failures() >= m.cfg.Transfer.FailedPeers && m.fallback.budget.Active() {
		return // in the other tree nobody serves still
	}
	m.fallback.served()
}

// bad takes a chunk that failed its digest.
func (m *Machine) bad(e Bad) {
	if e.Link == 0 {
		m.origin.failed(wire.ReasonOriginWrong)
		return
	}
	s := m.of(e.Link)
	if s == nil {
		return
	}
	_, addr, _ := s.follower.Parent()
	m.note(report.KindFallback, wire.ReasonBadChunk, addr, "parent %s sent a wrong chunk %d: dropped", addr.Addr(), e.Index)
	m.leaveParent(s, wire.ReasonBadChunk)
}

// closed takes the end of a link.
func (m *Machine) closed(e Closed) {
	if e.Link > 0 {
		m.childGone(e.Link, e.Reason)
		return
	}
	if s := m.of(e.Link); s != nil {
		m.tree(s, func(o *follower.Output) { s.follower.Closed(m.now, e.Link, e.Reason, o) })
	}
}

// settleChild judges parents and root, and keeps the parents informed.
func (m *Machine) settleChild() {
	if m.held.complete() {
		return
	}
	if m.contradicted() {
		m.distrustRoot(wire.ReasonWrongEpoch)
	}
	for _, s := range m.sides() {
		if s.watch == nil {
			continue
		}
		if !m.file.Keyed && s.epoch != 0 && s.epoch != m.held.Epoch() {
			// The parent in the other tree, or the server, has another content.
			m.failParent(s, wire.ReasonWrongEpoch)
			continue
		}
		_, _, l := s.follower.Parent()
		if why := s.watch.Check(m.now, s.follower.Depth()); why != wire.ReasonNone {
			m.leaveParent(s, why)
		} else if m.now >= s.reportAt {
			m.act(SendFrame{l, &wire.Report{Prefix: m.held.PrefixOf(m.set(s))}})
			s.reportAt = m.now + 4*m.cfg.Transfer.KeepAlive
		}
	}
	if m.rootWatch != nil && m.el.Root() != nil && !m.fallback.budget.Active() && m.rootWatch.Stalled(m.now) {
		m.distrustRoot(wire.ReasonRootStalled)
	}
}

func (m *Machine) childDeadline() (at time.Duration, ok bool) {
	if m.held.complete() {
		return 0, false
	}
	for _, s := range m.sides() {
		if s.watch == nil {
			continue
		}
		if d := min(s.watch.Deadline(), s.reportAt); !ok || d < at {
			at, ok = d, true
		}
	}
	if m.rootWatch != nil && m.el.Root() != nil && !m.fallback.budget.Active() {
		if d := m.rootWatch.Deadline(); !ok || d < at {
			at, ok = d, true
		}
	}
	return at, ok
}
