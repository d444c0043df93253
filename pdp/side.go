package pdp

import (
	"math"
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// side is this device as a follower in one tree: its parent there and its
// judgement of it. A file that takes one tree has one side in use, and its
// parent sends all chunks; with two trees each side has a parent that sends
// every other chunk.
type side struct {
	m        *Machine
	stripe   uint8
	follower *follower.Follower
	watch    *follower.ParentWatch // while a parent is attached
	epoch    uint64                // of the parent's content, 0 while it has none
	reportAt time.Duration         // to the parent
	joined   bool                  // the parent in the other tree was asked for this one's chunks
	lags     timer                 // this parent would take long: when to do so
}

func newSide(m *Machine, stripe uint8, links *follower.Links) *side {
	return &side{m: m, stripe: stripe, follower: follower.New(m.cfg.Tree, m.self.Peer, stripe, links, m.rnd)}
}

// set returns what the parent of this side sends.
func (s *side) set() transfer.Set { return transfer.SetOf(s.stripe, s.m.following.trees) }

// drive gives the follower an input and carries out its output.
func (s *side) drive(f func(*follower.Output)) {
	m := s.m
	var o follower.Output
	f(&o)
	if o.Close != 0 {
		if o.CloseReason != wire.ReasonNone {
			m.act(SendFrame{o.Close, &wire.Bye{Reason: o.CloseReason}})
		}
		m.act(Close{o.Close, o.CloseReason})
	}
	if o.Detached {
		s.detached(o.From, o.Reason)
	}
	if o.Ask != nil {
		o.Ask.Yields = m.yields
		m.act(Send{o.AskTo, o.Ask})
	}
	if o.Dial.IsValid() {
		m.act(Dial{o.Link, o.Dial})
	}
	if o.RootGone {
		m.following.rootGone(s)
	}
}

// detached takes the loss of the parent.
func (s *side) detached(from wire.Peer, why wire.Reason) {
	m := s.m
	s.watch = nil
	kind := report.KindParent
	if why != wire.ReasonDone && why != wire.ReasonRootOfFile && why != wire.ReasonStopped {
		kind = report.KindFallback
	}
	m.note(kind, why, netip.AddrPort{}, note.LeftParent{Parent: from})
	m.children.pathChanged(s.set())
	if m.el.State() == election.Orphan && !m.held.complete() {
		// The root left while this device needed none; now it does.
		m.el.elect(func(o *election.Output) { m.el.RootLost(m.now, wire.ReasonRootResigned, o) })
	}
	if why == wire.ReasonUnreachable {
		m.following.unwelcome(from)
	}
}

// self is what an ask about this tree says about this device.
func (s *side) self() follower.Self {
	m, set := s.m, s.set()
	free := m.children.feed.Free(set)
	if m.following.slow.leaf() {
		free = 0
	}
	return follower.Self{
		Prefix: m.held.Prefix(), Epoch: m.held.Epoch(),
		Free: free, Children: min(m.children.feed.Taken(set), wire.MaxChildren),
		Done: m.held.complete(), Trees: m.following.trees,
		Speed: uint32(min(m.children.speed()/1000, math.MaxUint32)), AtRoot: m.repair.suspects(),
	}
}

// tick does what is due with the root.
func (s *side) tick() {
	if at, ok := s.askDeadline(); ok && at <= s.m.now {
		s.drive(func(o *follower.Output) { s.follower.Tick(s.m.now, s.self(), o) })
	}
}

func (s *side) askDeadline() (time.Duration, bool) {
	at, ok := s.follower.Deadline()
	return at, ok && !s.waits()
}

// waits reports whether this side asks for no parent at present: a device that
// considers itself slow and lost the second parent looks for another only when
// the first has sent its stripe, since two at once would fill its port.
func (s *side) waits() bool {
	f, h := s.m.following, s.m.held
	return s.follower.State() == follower.Asking && (s.idle() ||
		f.slow.leaf() && f.trees == 2 && s != f.all[0] && h.PrefixOf(f.all[0].set()) < h.Chunks())
}

// idle reports whether this side is to have no parent: peers sent wrong bytes, and this
// device downloads without them, or it has its stripe again and needs nothing.
func (s *side) idle() bool { return s.m.repair.alone() || s.spare() }

// spare reports whether this side has its stripe again after a repair, and the other one
// has not: then the root's slot is for others, who may hold what the other one needs.
func (s *side) spare() bool {
	h, other := s.m.held, s.m.following.other(s)
	return s.m.repair.mends() && other != nil && h.PrefixOf(s.set()) >= h.Chunks() &&
		h.PrefixOf(other.set()) < h.Chunks()
}

// fail leaves the parent, by its fault or not as the reason says, and asks for another.
func (s *side) fail(why wire.Reason) {
	s.drive(func(o *follower.Output) { s.follower.Fail(s.m.now, why, o) })
}

// leave closes the link to the parent, and asks for no other.
func (s *side) leave(why wire.Reason) {
	s.drive(func(o *follower.Output) { s.follower.Leave(why, o) })
}

// done sends the last report to the root.
func (s *side) done() {
	s.drive(func(o *follower.Output) { s.follower.Done(s.self(), o) })
}

// placed takes the parent that the root names.
func (s *side) placed(from wire.Peer, p *wire.Place) {
	s.drive(func(o *follower.Output) { s.follower.Place(s.m.now, from, p, o) })
}

// dialTo opens a link to a parent of this device's own choice.
func (s *side) dialTo(p wire.Peer, link netip.AddrPort) {
	s.drive(func(o *follower.Output) { s.follower.DialTo(s.m.now, p, link, o) })
}

// closed takes the end of the link to the parent.
func (s *side) closed(l Link, why wire.Reason) {
	s.drive(func(o *follower.Output) { s.follower.Closed(s.m.now, l, why, o) })
}

// fromRoot reports whether the parent is the root itself: it has the root's address, too.
func (s *side) fromRoot() bool {
	p, addr, _ := s.follower.Parent()
	r := s.m.el.Root()
	return r != nil && r.Peer == p && r.Addr.Addr() == addr.Addr()
}

// active records that bytes came from the parent.
func (s *side) active() {
	if s.watch != nil {
		s.watch.Active(s.m.now)
	}
}

// rootHas notes how far the root says it is, where it is not the parent.
func (s *side) rootHas(root wire.Peer, prefix int) {
	if p, _, _ := s.follower.Parent(); s.watch != nil && p != root {
		s.watch.Root(prefix)
	}
}

// mine records what this device holds after a chunk came.
func (s *side) mine() {
	if s.watch != nil {
		s.watch.Mine(s.m.now, s.m.held.PrefixOf(s.set()))
	}
}

// hello sends Hello to a parent.
func (s *side) hello(l Link) {
	m := s.m
	m.act(SendFrame{l, &wire.Hello{
		Hierarchy: m.file.Hierarchy, From: m.self.Peer, TCPPort: m.self.Addr.Port(), Epoch: m.held.Epoch(),
		Stripe: s.stripe, Trees: m.following.trees, Prefix: m.held.PrefixOf(s.set()),
	}})
}

// framed takes a control frame of the parent.
func (s *side) framed(e Framed) {
	s.active()
	switch f := e.Frame.(type) {
	case *wire.Welcome:
		s.welcomed(e.Link, f)
	case *wire.Refuse:
		if _, a, _ := s.follower.Parent(); f.Reason == wire.ReasonFull {
			s.m.fallback.wasFull(a.Addr())
		}
		s.fail(f.Reason)
	case *wire.Bye:
		s.dismissed(f.Reason)
	case *wire.Path:
		if !s.follower.SetPath(f.Peers) {
			s.untrue(wire.ReasonLoop)
			return
		}
		s.m.children.pathChanged(s.set())
	case *wire.Progress:
		s.progress(f)
	case *wire.End:
		if m := s.m; m.held.Known() && m.held.Size() == f.Size {
			m.held.bearOut()
		} else {
			s.sizeSaid(f.Size)
		}
	}
}

// dismissed leaves a parent that sends this device away. If the parent dropped
// what it held of bytes that are the same by their key, the size was false that
// this device has from it: the size goes, with what came under it, unless the
// root still claims it.
func (s *side) dismissed(why wire.Reason) {
	m, r, root := s.m, s.m.el.Root(), s.fromRoot()
	s.fail(why)
	if why != wire.ReasonWrongEpoch || !m.file.Keyed || !m.held.Known() || m.held.Sure() || m.held.complete() ||
		r == nil || !root && r.Claim.Size == m.held.Size() {
		return
	}
	m.note(report.KindFallback, why, r.Addr, note.FalseSize{Told: m.held.Size(), Size: load.UnknownSize})
	m.repair.end()
	m.following.failAll(why)
	m.held.forget(m.held.Epoch(), load.UnknownSize)
}

// welcomed takes the parent's welcome, or news of its epoch.
func (s *side) welcomed(l Link, f *wire.Welcome) {
	m := s.m
	fresh := s.follower.Welcome(m.now, l, f.From)
	if !fresh && (s.watch == nil || m.file.Keyed) {
		return // only news of the epoch come twice
	}
	s.epoch = f.Epoch
	if !s.epochSaid(f.Epoch) {
		return
	}
	if !s.sizeSaid(f.Size) || !fresh {
		return
	}
	if s.follower.State() != follower.Attached {
		return // the parent is left because of what it said
	}
	m.following.roots.welcomed()
	s.watch = follower.NewParentWatch(m.cfg.Transfer, m.now, m.held.PrefixOf(s.set()))
	s.reportAt = m.now
	_, addr, _ := s.follower.Parent()
	m.note(report.KindParent, wire.ReasonRootPlaced, addr, note.HasParent{Parent: addr.Addr()})
	if m.repair.wantsTable() && !s.fromRoot() {
		// This parent was asked for before the device knew that it needs the
		// root.
		s.fail(wire.ReasonDigestMismatch)
		return
	}
	m.repair.askTable(s, l)
	m.children.pathChanged(s.set())
}

// epochSaid takes the epoch that the parent tells, and drops what is held of
// another. If the root has a third one, or the origin itself named the one that
// is held, it leaves the parent and reports false.
func (s *side) epochSaid(epoch uint64) bool {
	m := s.m
	if epoch == m.held.Epoch() || m.file.Keyed || epoch == 0 && m.following.trees == 2 {
		return true
	}
	r := m.el.Root()
	another := r != nil && r.Claim.Epoch != 0 && r.Claim.Epoch != epoch
	switch {
	case another && s.fromRoot() && m.following.roots.contradicts(m.now, r.Heard):
		s.untrue(wire.ReasonWrongEpoch)
		return false
	case another || m.held.EpochSure():
		s.fail(wire.ReasonWrongEpoch)
		return false
	}
	if m.held.Count() > 0 || m.held.Known() && !m.held.Sure() && m.held.Epoch() != 0 {
		m.held.forget(epoch, load.UnknownSize) // a size that was told is that of the other content
	} else {
		m.held.reset(epoch)
		m.held.adopt(epoch)
	}
	return true
}

// sizeSaid takes the size that a parent tells, and reports whether it agrees with
// what is known; if not the parent is left. A device that has its size from
// another peer takes the root's; otherwise it could find no parent any more after
// a lie.
func (s *side) sizeSaid(size int64) bool {
	m := s.m
	p, addr, _ := s.follower.Parent()
	r := m.el.Root()
	third := r == nil || r.Peer != p && r.Claim.Size != size            // neither the root's nor told by it
	untrue := s.fromRoot() && r.Claim.Size >= 0 && r.Claim.Size != size // it claims another one
	switch {
	case size < 0 || m.held.Known() && size == m.held.Size():
		return true
	case m.held.refutes(size):
		s.untrue(wire.ReasonWrongEpoch)
		return false
	case !m.held.Known() && untrue:
		s.untrue(wire.ReasonWrongEpoch)
		return false
	case !m.held.Known() && (r == nil || r.Claim.Size < 0 || !third):
		m.held.setSize(size)
		return true
	case m.held.Sure() && m.file.Keyed && r != nil && r.Addr.Addr() == addr.Addr():
		m.following.distrust(addr, wire.ReasonWrongEpoch) // as for a claim that says so
		return false
	case m.held.Sure() || third:
		s.fail(wire.ReasonWrongEpoch)
		return false
	case m.held.Count() > len(m.held.Foreign()):
		// What the origin sent is not dropped for what a peer says: it will show how
		// long the file is.
		m.following.distrust(addr, wire.ReasonWrongEpoch)
		return false
	case untrue:
		s.untrue(wire.ReasonWrongEpoch)
		return false
	}
	m.note(report.KindFallback, wire.ReasonWrongEpoch, addr, note.OtherSize{Told: size, Held: m.held.Size()})
	m.repair.end()
	m.following.failAll(wire.ReasonWrongEpoch) // it would continue from the prefix that this device reported
	m.held.forget(m.held.Epoch(), size)
	return false
}

// untrue leaves a parent for what it says. The root itself stands below nobody, and has the
// size that it claims: if it says something else again and again, and no chunk comes,
// it is distrusted.
func (s *side) untrue(why wire.Reason) {
	f := s.m.following
	if s.fromRoot() && f.roots.lied(s.m.cfg.Transfer.FailedPeers) {
		f.distrustRoot(why)
	} else {
		s.fail(why)
	}
}

// progress takes the parent's keep-alive.
func (s *side) progress(f *wire.Progress) {
	if s.watch == nil {
		return
	}
	root := f.Prefix
	if w := s.m.following.roots.watch; w != nil && w.Credible() {
		root = f.RootPrefix
	}
	s.watch.Parent(s.m.now, f.Prefix, root)
	if w := s.m.following.roots.watch; w != nil {
		p, _, _ := s.follower.Parent()
		w.Relay(s.m.now, p, f.RootPrefix, f.RootBytes)
	}
}

// settle judges the parent, and sends it keep-alives.
func (s *side) settle() {
	m := s.m
	if s.watch == nil {
		return
	}
	if !m.file.Keyed && s.epoch != 0 && s.epoch != m.held.Epoch() {
		// The parent in the other tree, or the server, has another content.
		s.fail(wire.ReasonWrongEpoch)
		return
	}
	if s.spare() && s.m.following.other(s).follower.State() == follower.Asking {
		s.fail(wire.ReasonDone)
		return
	}
	_, _, l := s.follower.Parent()
	if why := s.watch.Check(m.now, s.follower.Depth()); why != wire.ReasonNone {
		m.following.blame(s, why)
	} else if m.now >= s.reportAt {
		m.act(SendFrame{l, &wire.Report{Prefix: m.held.PrefixOf(s.set())}})
		s.reportAt = m.now + 4*m.cfg.Transfer.KeepAlive
	}
	s.join()
}

// join takes the rest of the file from the parent in the other tree, once, if that has sent
// all of its stripe and this one would take long: what it did counts more than what the
// root or any parent says. Of a subtree the topmost devices do so first.
func (s *side) join() {
	const deepest = 3 // a path may be a lie
	m, other := s.m, s.m.following.other(s)
	if s.joined || s.watch == nil || other == nil || other.follower.State() != follower.Attached ||
		m.held.PrefixOf(other.set()) < m.held.Chunks() || s.watch.Takes(m.held.Chunks()) <= m.cfg.Transfer.Stall {
		s.lags.stop()
		return
	}
	if !s.lags.set {
		s.lags.start(m.now + time.Duration(min(s.follower.Depth(), deepest)-1)*m.cfg.Transfer.SlowWindow)
	}
	p, _, _ := s.follower.Parent()
	better, link, _ := other.follower.Parent()
	if p == better || !s.lags.due(m.now) {
		return
	}
	s.joined = true
	s.fail(wire.ReasonNoProgress)
	s.dialTo(better, link)
}

// trickles reports whether the parent sends so little that the file will take long, and
// another root than the given one named it: the same would name such a parent again.
func (s *side) trickles(root netip.Addr) bool {
	return s.watch != nil && s.follower.Placer() != root &&
		s.watch.Trickles(s.m.held.Chunks(), s.m.cfg.Transfer.Stall)
}

func (s *side) deadline() (time.Duration, bool) {
	if s.watch == nil {
		return 0, false
	}
	return min(s.watch.Deadline(), s.reportAt), true
}

// stay starts the watch of the parent again.
func (s *side) stay() {
	if s.watch != nil {
		s.watch.Stay(s.m.now)
	}
}
