package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// following is this device as a follower: its place in each tree, its judgement
// of the root, and whether it is slow itself.
type following struct {
	m     *Machine
	all   [wire.MaxStripes]*side // of the trees, by stripe
	trees uint8                  // that the file takes; 0: not known yet
	roots *rootRecord
	slow  slowness
}

func newFollowing(m *Machine) *following {
	f := &following{m: m, roots: newRootRecord(m.cfg.Transfer)}
	links := new(follower.Links)
	for s := range uint8(wire.MaxStripes) {
		f.all[s] = newSide(m, s, links)
	}
	return f
}

// sides returns those that are in use.
func (f *following) sides() []*side {
	if f.trees == 2 {
		return f.all[:]
	}
	return f.all[:1]
}

// in returns the side in the tree of a stripe.
func (f *following) in(stripe uint8) *side {
	if f.trees == 2 {
		return f.all[stripe]
	}
	return f.all[0]
}

// other returns the side in the other tree, nil if the file takes one.
func (f *following) other(s *side) *side {
	if f.trees != 2 {
		return nil
	}
	return f.all[1-s.stripe]
}

// of returns the side whose parent a link goes to, nil if there is none.
func (f *following) of(l Link) *side {
	for _, s := range f.sides() {
		if _, _, mine := s.follower.Parent(); l != 0 && l == mine {
			return s
		}
	}
	return nil
}

// attached reports whether every side in use has a parent.
func (f *following) attached() bool {
	for _, s := range f.sides() {
		if s.follower.State() != follower.Attached && !s.waits() {
			return false
		}
	}
	return true
}

// failures returns how many parents failed in a row, in the tree where most
// did.
func (f *following) failures() (n int) {
	for _, s := range f.sides() {
		if !s.waits() {
			n = max(n, s.follower.Failures())
		}
	}
	return n
}

// path returns the peers from the root down to this device in the trees of a
// set: where that is more than one, the peers of all.
func (f *following) path(set transfer.Set) []wire.Peer {
	var p []wire.Peer
	for _, s := range f.sides() {
		if s.set()&set == 0 {
			continue
		}
		for _, q := range s.follower.Path() {
			if !slices.Contains(p, q) {
				p = append(p, q)
			}
		}
	}
	return append(p, f.m.self.Peer)
}

// failAll leaves every parent because it failed.
func (f *following) failAll(why wire.Reason) {
	for _, s := range f.sides() {
		s.fail(why)
	}
}

// leaveAll closes the links to all parents.
func (f *following) leaveAll(why wire.Reason) {
	for _, s := range f.all {
		s.leave(why)
	}
}

// forgive forgets which parents failed.
func (f *following) forgive() {
	for _, s := range f.sides() {
		s.follower.Forgive()
	}
}

// reportSoon brings the next reports to the root forward.
func (f *following) reportSoon() {
	for _, s := range f.sides() {
		s.follower.ReportSoon(f.m.now)
	}
}

// noRoot tells every side that there is no root to ask.
func (f *following) noRoot() {
	for _, s := range f.all {
		s.follower.NoRoot()
	}
}

// rootHere ends the following: this device is root.
func (f *following) rootHere() {
	f.judge()
	f.leaveAll(wire.ReasonRootOfFile)
	f.roots.drop()
}

// askRoot tells every side in use which root to ask, and over which time to
// spread the first ask.
func (f *following) askRoot(spread time.Duration) {
	r := f.m.el.Root()
	for _, s := range f.sides() {
		s.follower.Spread(int(r.Claim.Members) * len(f.sides()))
		s.follower.Root(f.m.now, r.Peer, r.Addr, r.Links, spread)
	}
}

// placed takes the root's answer to an ask, and with it how many trees the
// file takes.
func (f *following) placed(e Datagram, p *wire.Place) {
	m := f.m
	if !speaks(m.el.Root(), e) || m.held.complete() || m.root.active() {
		return
	}
	switch first := f.all[0].follower; {
	case p.Trees == 2 && f.trees != 2 && first.State() == follower.Asking:
		f.trees = 2
		m.note(report.KindLog, wire.ReasonRootPlaced, netip.AddrPort{}, note.TwoTrees{})
		f.askRoot(0)
	case p.Trees == 1 && f.trees == 2:
		// This root knows of one tree only.
		f.leaveAll(wire.ReasonRootPlaced)
		f.trees = 1
		f.askRoot(0)
		return
	case f.trees == 0 && (p.Trees == 1 || !p.Parent.IsZero()):
		f.trees = 1
	}
	if s := f.in(p.Stripe); s.stripe == p.Stripe && !s.idle() {
		s.placed(e.Env.From, p)
	}
}

// opened sends Hello over the link to a parent that is up.
func (f *following) opened(l Link) {
	if s := f.of(l); s != nil {
		s.hello(l)
	} else {
		f.m.act(Close{l, wire.ReasonNone})
	}
}

// bad takes a chunk of a parent that failed its digest.
func (f *following) bad(e Bad) {
	s := f.of(e.Link)
	if s == nil {
		return
	}
	_, addr, _ := s.follower.Parent()
	f.m.note(report.KindFallback, wire.ReasonBadChunk, addr, note.WrongChunk{
		Parent: addr.Addr(), Index: e.Index})
	f.blame(s, wire.ReasonBadChunk)
}

// gain takes a chunk that came over a link, or from the origin (link 0).
func (f *following) gain(l Link) {
	f.roots.gain(f.m.now)
	if l != 0 {
		f.roots.gave(f.m.now)
	}
	if w := f.roots.watch; w != nil {
		w.Mine(f.m.held.Prefix())
	}
	for _, s := range f.sides() {
		s.mine()
	}
	if s := f.of(l); s != nil {
		s.follower.Served()
	}
}

// blame leaves a parent that does not serve. A root is distrusted if it sends
// wrong bytes, or withholds them twice.
func (f *following) blame(s *side, why wire.Reason) {
	p, _, _ := s.follower.Parent()
	isRoot, twice := s.fromRoot(), p == f.slow.parent
	if f.m.root.active() {
		s.fail(why) // it was only tried
		return
	}
	switch why {
	case wire.ReasonParentSlow, wire.ReasonParentStalled:
		if f.tooSlow(s, p) {
			s.stay()
			return
		}
	}
	if isRoot && (why == wire.ReasonBadChunk || why == wire.ReasonParentStalled && twice) {
		f.distrustRoot(why)
		return
	}
	s.fail(why)
}

// tooSlow judges a parent that sends little or nothing; it reports whether to
// stay with it. If two of them do, it is more likely that this device is slow:
// it becomes a leaf, blames nobody, and tries others less and less often.
func (f *following) tooSlow(s *side, parent wire.Peer) (stay bool) {
	switch {
	case f.slow.leaf():
		if f.slow.moves(f.m.now) {
			s.fail(wire.ReasonNoProgress)
		}
	case f.slow.first(parent):
		return false
	default:
		f.becomeLeaf(wire.ReasonSelfSlow)
	}
	return true
}

// becomeLeaf sends the children away: others serve them better.
func (f *following) becomeLeaf(why wire.Reason) {
	m := f.m
	f.slow.begin(m.now, 2*m.cfg.Transfer.SlowWindow)
	m.note(report.KindChild, why, netip.AddrPort{}, note.NoChildren{})
	m.children.dismissAll(wire.ReasonParentSlow)
	f.reportSoon()
}

// settle asks the root when it is time, judges parents and root, and sends
// keep-alives to the parents.
func (f *following) settle() {
	m := f.m
	for _, s := range f.sides() {
		s.tick()
	}
	if m.held.complete() {
		return
	}
	if f.contradicted() {
		f.distrustRoot(wire.ReasonWrongEpoch)
	}
	for _, s := range f.sides() {
		s.settle()
	}
	if r := m.el.Root(); r != nil && m.fallback.leaves(r) {
		f.leaveFor(r)
	}
	if f.watching() && f.roots.watch.Stalled(m.now) {
		f.distrustRoot(wire.ReasonRootStalled)
	}
}

func (f *following) deadline() (at time.Duration, ok bool) {
	for _, s := range f.sides() {
		d, due := s.askDeadline()
		at, ok = sooner(at, ok, d, due)
	}
	if f.m.held.complete() {
		return at, ok
	}
	for _, s := range f.sides() {
		d, due := s.deadline()
		at, ok = sooner(at, ok, d, due)
	}
	if f.watching() {
		return sooner(at, ok, f.roots.watch.Deadline(), true)
	}
	return at, ok
}
