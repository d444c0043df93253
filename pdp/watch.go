package pdp

import (
	"maps"
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// slowness says whether this device considers itself slow.
type slowness struct {
	parent wire.Peer // the first that was too slow, nobody if none was
	move   timer     // as a leaf: when it may try another parent
	wait   time.Duration
}

// leaf reports whether this device considers itself slow, and takes no
// children.
func (s *slowness) leaf() bool { return s.move.set }

// begin makes this device a leaf that tries another parent after a wait.
func (s *slowness) begin(now, wait time.Duration) {
	s.wait = wait
	s.move.start(now + wait)
}

// moves reports whether a leaf should try another parent now; the next wait is
// twice as long.
func (s *slowness) moves(now time.Duration) bool {
	if !s.move.due(now) {
		return false
	}
	s.wait *= 2
	s.move.start(now + s.wait)
	return true
}

// first reports whether no other parent than this one was too slow.
func (s *slowness) first(parent wire.Peer) bool {
	if s.parent.IsZero() {
		s.parent = parent
	}
	return s.parent == parent
}

// watched is a root that was followed, until left.
type watched struct {
	root  wire.Peer
	watch *follower.RootWatch
	left  time.Duration
}

// rootRecord is this device's judgement of the roots that it follows.
type rootRecord struct {
	cfg      transfer.Config
	watch    *follower.RootWatch // of the root that was followed last, nil if this device was root since
	watched  []*watched          // the roots followed lately
	failing  wire.Peer           // a root that answered no asks, or accepted no link
	failures int                 // so many times in a row
	addr     netip.Addr          // of the root that was followed last
	whole    bool                // which said that it has the whole file
	served   time.Duration       // when a peer sent a chunk last
	lies     int                 // that the root told on its own links since then
	odd      timer               // when it first told another content there than in its last claim
	// barren are the roots that served nothing, and until when that counts.
	barren map[netip.Addr]time.Duration
}

func newRootRecord(cfg transfer.Config) *rootRecord {
	return &rootRecord{cfg: cfg, barren: map[netip.Addr]time.Duration{}}
}

// follow begins to watch a root, and reports whether that is new. If two roots
// alternate, the watch of the one that was left a moment ago continues:
// otherwise none would ever be found to stall.
func (o *rootRecord) follow(now time.Duration, r *election.Candidate) (fresh bool) {
	o.addr, o.whole = r.Addr.Addr(), r.Claim.Complete
	for _, w := range o.watched {
		if w.watch == o.watch {
			w.left = now
		}
	}
	kept := o.watched[:0]
	var found *watched
	for _, w := range o.watched {
		if now-w.left < o.cfg.Progress/2 && len(kept) < 8 {
			kept = append(kept, w)
			if w.root == r.Peer {
				found = w
			}
		}
	}
	o.watched = kept
	if found == nil {
		found = &watched{root: r.Peer, watch: follower.NewRootWatch(o.cfg, now), left: now}
		o.watched = append(o.watched, found)
		fresh, o.lies = true, 0
		o.odd.stop()
	}
	o.watch = found.watch
	return fresh
}

// mostBarren bounds the roots that are remembered.
const mostBarren = 64

// judge judges the root that was followed until now: for so long it is barren if it
// said for more than least that it had more than the chunks held here, and no peer
// has sent one since.
func (o *rootRecord) judge(now, least, long time.Duration, held int) {
	w := o.watch
	if w == nil || !o.addr.IsValid() || w.Prefix() <= held || now-max(w.Began(), o.served) <= least {
		return
	}
	maps.DeleteFunc(o.barren, func(_ netip.Addr, until time.Duration) bool { return until <= now })
	if len(o.barren) < mostBarren || o.barren[o.addr] > 0 {
		o.barren[o.addr] = now + long
	}
}

// gave records that a peer sent a chunk.
func (o *rootRecord) gave(now time.Duration) {
	o.served, o.lies = now, 0
	o.odd.stop()
	delete(o.barren, o.addr)
}

// lied counts what the root said on its own link and cannot be; after the given number it
// starts again and reports true.
func (o *rootRecord) lied(most int) bool {
	if o.lies++; o.lies < most {
		return false
	}
	o.lies = 0
	return true
}

// contradicts takes that the root tells another content on its own link than it claimed
// last, and reports whether it did so before that claim, too. One that starts over says so in
// its next claim.
func (o *rootRecord) contradicts(now, claimed time.Duration) bool {
	before := o.odd.set && o.odd.at < claimed
	if !o.odd.set || before {
		o.odd.start(now)
	}
	return before
}

// isBarren reports whether the root at an address served nothing lately.
func (o *rootRecord) isBarren(now time.Duration, a netip.Addr) bool { return now < o.barren[a] }

// drop ends the watch: this device is root itself.
func (o *rootRecord) drop() { o.watch = nil }

// gain records that a chunk came from anywhere.
func (o *rootRecord) gain(now time.Duration) {
	for _, w := range o.watched {
		w.watch.Gain(now)
	}
}

// welcomed clears the count of failures of a root: a parent welcomed this device.
func (o *rootRecord) welcomed() { o.failures = 0 }

// failed counts a failure of a root; after the given number it starts again and
// reports true.
func (o *rootRecord) failed(root wire.Peer, most int) bool {
	if o.failing != root {
		o.failing, o.failures = root, 0
	}
	if o.failures++; o.failures < most {
		return false
	}
	o.failures = 0
	return true
}

// follow follows the root that the election found.
func (f *following) follow(why wire.Reason) {
	m := f.m
	r := m.el.Root()
	f.judge()
	fresh := f.roots.follow(m.now, r)
	if fresh {
		m.fallback.another(r.Addr.Addr())
	}
	if fresh && !m.fallback.starving && m.fallback.review.givesWay() {
		slow := m.fallback.review.state == comparing
		m.fallback.withdraw() // the root is to serve now
		if slow && r.Claim.Complete {
			f.failAll(wire.ReasonNoProgress) // they would go on slowly
		}
	}
	f.roots.watch.Root(m.now, r.Claim.Prefix, r.Claim.Bytes)
	m.note(report.KindRole, why, r.Addr, note.Follows{
		Root: r.Addr.Addr(), Strength: r.Claim.Rank.Strength, Prefix: r.Claim.Rank.Prefix})
	if m.held.complete() {
		return
	}
	f.askRoot(time.Duration(r.Claim.Spread) * time.Millisecond)
}

// judge judges the root that is left. Where files are passed on whole, nothing comes
// for long.
func (f *following) judge() {
	if c := f.m.cfg; !c.Transfer.WholeFiles || f.roots.whole {
		f.roots.judge(f.m.now, 2*c.Tree.AskAgain, c.Election.Distrust, f.m.held.Prefix())
	}
}

// barren reports whether a claimant is no reason to leave the present root: it was
// followed before and served nothing, and the present one is not known to be so.
func (f *following) barren(c election.Candidate) bool {
	m, r := f.m, f.m.el.Root()
	return f.roots.isBarren(m.now, c.Addr.Addr()) && (m.root.active() ||
		r != nil && r.Peer != c.Peer && r.Addr.Addr() != c.Addr.Addr() && !f.roots.isBarren(m.now, r.Addr.Addr()))
}

// watching reports whether the root should be judged by its results. While this
// device downloads by itself, no results are expected.
func (f *following) watching() bool {
	return f.roots.watch != nil && f.m.el.Root() != nil && !f.m.fallback.budget.Active()
}

// heardClaim takes a claim, of the root that is followed or of another.
func (f *following) heardClaim(c election.Candidate) {
	m := f.m
	if m.el.Returns(m.now, c) {
		f.distrust(c.Addr, wire.ReasonRootResigned) // its links, too
	}
	if r := m.el.Root(); f.contradicts(&c.Claim) && (r == nil || r.Peer != c.Peer) || f.barren(c) {
		m.el.elect(func(o *election.Output) { m.el.Refuse(m.now, c, o) })
		return
	}
	m.el.elect(func(o *election.Output) { m.el.Claim(m.now, c, o) })
	m.root.tryRival(c)
	m.fallback.try(c)
	m.repair.turnTo(c)
	r := m.el.Root()
	if r == nil || r.Peer != c.Peer || r.Addr.Addr() != c.Addr.Addr() || f.roots.watch == nil {
		return // or somebody who says that it is the root
	}
	if f.roots.watch.Root(m.now, c.Claim.Prefix, c.Claim.Bytes) {
		m.origin.Well()
	}
	if f.outdated(c.Claim) && m.held.EpochSure() {
		f.distrustRoot(wire.ReasonWrongEpoch)
		return
	}
	if f.outdated(c.Claim) {
		m.note(report.KindSource, wire.ReasonWrongEpoch, c.Addr, note.OtherContent{})
		f.failAll(wire.ReasonWrongEpoch)
		m.held.forget(c.Claim.Epoch, c.Claim.Size)
	}
	if f.roots.watch.Credible() {
		for _, s := range f.sides() {
			s.rootHas(c.Peer, c.Claim.Prefix)
		}
	}
	if c.Claim.Waiting {
		f.roots.watch.Wait(m.now)
	}
	if m.held.complete() {
		return // and asks for nothing more
	}
	f.askRoot(0)
}

// leaveFor leaves parents that trickle for places of the root, which says that it has
// the whole file.
func (f *following) leaveFor(r *election.Candidate) {
	root, left := r.Addr.Addr(), false
	for _, s := range f.sides() {
		_, a, _ := s.follower.Parent()
		if s.follower.State() == follower.Attached && a.Addr() != root && s.trickles(root) {
			s.fail(wire.ReasonNoProgress)
			left = true
		}
	}
	if left {
		f.m.fallback.left(root)
	}
}

// leaveOthers leaves parents that are neither the root nor named by it, and reports
// whether there was one: that they have sent nothing is no fault of this root.
func (f *following) leaveOthers(root netip.Addr) (left bool) {
	if !f.m.fallback.mayLeave(root) {
		return false
	}
	for _, s := range f.sides() {
		_, a, _ := s.follower.Parent()
		if s.follower.State() == follower.Attached && a.Addr() != root && s.follower.Placer() != root {
			s.fail(wire.ReasonNoProgress)
			left = true
		}
	}
	if left {
		f.m.fallback.left(root)
	}
	return left
}

// outdated reports whether what is held is from another content than the
// root's. A root without content yet does not count.
func (f *following) outdated(c wire.Claim) bool {
	h := f.m.held
	return !f.m.file.Keyed && !h.complete() && h.Count() > 0 && c.Epoch != 0 && c.Epoch != h.Epoch()
}

// contradicted reports whether the root contradicts what this device knows for
// certain.
func (f *following) contradicted() bool {
	r := f.m.el.Root()
	return r != nil && f.contradicts(&r.Claim)
}

// contradicts reports whether a claim tells another size than this device knows for
// certain, of bytes that are the same by their key, or another content than the
// origin itself named.
func (f *following) contradicts(c *wire.Claim) bool {
	h := f.m.held
	if !f.m.file.Keyed {
		return h.EpochSure() && f.outdated(*c)
	}
	return h.Sure() && (c.Size >= 0 && c.Size != h.Size() ||
		c.Prefix > h.Chunks() || c.Complete && c.Prefix < h.Chunks())
}

// speaks reports whether a datagram is of a root and came from its address.
func speaks(root *election.Candidate, e Datagram) bool {
	return root != nil && root.Peer == e.Env.From && root.Addr.Addr() == e.From.Addr()
}

// heardResign takes the resignation of the root that is followed or expected;
// those of others are ignored, also in its name.
func (f *following) heardResign(e Datagram, r *wire.Resign) {
	m := f.m
	if !speaks(m.el.Expected(), e) {
		return
	}
	if r.Reason.Origin() {
		m.origin.Heard(m.now, time.Duration(r.Backoff)*time.Millisecond, r.Reason)
	}
	m.note(report.KindElection, r.Reason, e.From, note.SteppedDown{Root: e.From.Addr()})
	if r.Reason == wire.ReasonParentSlow {
		m.root.heardHandover()
	}
	// If the origin failed it, another device has to try, with or without a
	// parent.
	needed := !m.held.complete() && (r.Reason.Origin() || !f.attached())
	m.el.elect(func(o *election.Output) { m.el.Resign(m.now, e.Env.From, r, needed, o) })
	m.repair.rootResigned(r.Reason)
}

// rootGone: the root answers no ask. One that was heard meanwhile is alive, but
// is not trusted forever. One that was not counts as lost; if it was only hard
// to hear, it answers during the election that begins.
func (f *following) rootGone(s *side) {
	if s != f.all[0] && f.all[0].follower.State() == follower.Asking {
		return // it is counted once if both get no answer
	}
	m := f.m
	r := m.el.Root()
	switch {
	case r == nil:
	case f.roots.failed(r.Peer, m.cfg.Tree.Rounds):
		f.distrustRoot(wire.ReasonRootSilent)
	case r.Heard < s.follower.AskedSince():
		m.el.elect(func(o *election.Output) { m.el.RootLost(m.now, wire.ReasonRootLost, o) })
	}
}

// unwelcome counts a root that accepts no link, or accepts it and never
// welcomes: it is not trusted forever either.
func (f *following) unwelcome(p wire.Peer) {
	r := f.m.el.Root()
	if r != nil && r.Peer == p && f.roots.failed(p, f.m.cfg.Transfer.FailedPeers) {
		f.distrustRoot(wire.ReasonUnreachable)
	}
}

// distrustRoot leaves a root that does not do what it says.
func (f *following) distrustRoot(why wire.Reason) {
	if r := f.m.el.Root(); r != nil {
		f.distrust(r.Addr, why)
	}
}

// distrust distrusts a device that was root, whether it is followed at this
// moment or an election is under way.
func (f *following) distrust(a netip.AddrPort, why wire.Reason) {
	m := f.m
	addr := a.Addr()
	m.note(report.KindFallback, why, a, note.Distrusts{Root: addr, For: m.el.IgnoreFor(addr, why)})
	for _, s := range f.sides() {
		if p, a, _ := s.follower.Parent(); !p.IsZero() && a.Addr() == addr {
			s.fail(why)
		}
	}
	m.el.elect(func(o *election.Output) { m.el.Distrust(m.now, addr, why, o) })
}
