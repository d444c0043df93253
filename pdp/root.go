package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// rootSide is this device as root: it downloads, and places followers.
type rootSide struct {
	m          *Machine
	placer     *tree.Placer  // nil while another device is root
	since      timer         // no longer root, if it was
	fetchAt    time.Duration // no download before
	quietAt    time.Duration // complete: announces itself until then at least
	asksUntil  time.Duration // followers that heard it begin have asked by then
	stayUntil  time.Duration // not idle before: others may need the file
	wasDoubted bool          // a child found wrong what it had of the file
	rival      rival
	complaints []netip.Addr // of children that find this root too slow
	gauge      gauge
	handovers  int // to a faster port, that were made or heard of
}

// rival is another root that this one has distrusted, since it did not serve, and dials to
// see whether it does.
type rival struct {
	at    netip.Addr // invalid without one
	has   int        // chunks, as it said when it was dialed
	since time.Duration
	leave timer // when it must have sent them
}

// dial records that a rival is dialed, which is to serve for so long.
func (v *rival) dial(now time.Duration, c *election.Candidate, long time.Duration) {
	v.at, v.has, v.since = c.Addr.Addr(), c.Claim.Prefix, now
	v.leave.start(now + long)
}

// drop forgets it.
func (v *rival) drop() { *v = rival{} }

func newRootSide(m *Machine) *rootSide { return &rootSide{m: m} }

// active reports whether this device is root.
func (r *rootSide) active() bool { return r.placer != nil }

// members returns how many followers this root knows of.
func (r *rootSide) members() int {
	if r.placer == nil {
		return 0
	}
	return r.placer.Members()
}

// waiting returns how many of them are not done.
func (r *rootSide) waiting() int {
	if r.placer == nil {
		return 0
	}
	return r.placer.Waiting(r.m.now)
}

// spread is the time over which followers spread their first ask, in
// milliseconds: the more followers, the longer.
func (r *rootSide) spread() uint16 { return uint16(min(max(10, r.members()/4), 2000)) }

// begin makes this device root. Those that ask one that was root a moment ago do not
// all come together: by turns with a claim that outranks it, the wait for a place in
// the second tree would else begin anew each time.
func (r *rootSide) begin(why wire.Reason) {
	m := r.m
	cfg := m.cfg.Tree
	if at, before := r.since.deadline(); before && m.now-at <= cfg.Forget {
		cfg.Gather = 0
	}
	r.placer = tree.NewPlacer(cfg, m.self.Peer)
	m.following.rootHere()
	r.complaints = nil
	r.gauge.reset()
	if !m.origin.busy() {
		m.origin.renew()
	}
	r.announce()
	r.asksUntil = m.now + 2*m.cfg.Tree.AskFirst // a first ask, and the one that repeats it
	r.fetchAt = max(m.now+m.cfg.Transfer.RootWait, m.origin.NotBefore())
	m.fallback.adopt()
	m.note(report.KindElection, why, m.self.Addr, note.Confirmed{})
	m.note(report.KindRole, why, m.self.Addr, note.IsRoot{Addr: m.self.Addr.Addr()})
	m.children.pathChanged(transfer.All)
}

// end stops being root; children stay. A device that holds the file and knows
// of others that need it stays for a while: the new root may not serve them.
func (r *rootSide) end() {
	if r.m.held.complete() && r.waiting() > 0 {
		r.stay()
	}
	r.placer = nil
	r.rival.drop()
	r.since.start(r.m.now)
	r.m.fallback.keep()
}

// announce keeps a root that is complete from falling silent for a while.
func (r *rootSide) announce() { r.quietAt = r.m.now + 2*r.m.cfg.Election.Announce }

// fetchNow ends the delay of the next download.
func (r *rootSide) fetchNow() { r.fetchAt = r.m.now }

// stay keeps this device for a while though nobody is known to need it.
func (r *rootSide) stay() { r.stayUntil = r.m.now + r.m.cfg.Tree.Forget }

// doubted keeps this device for a child that found wrong what it had of the file, and will
// need it again, though it may follow another root: once, since any child can say so.
func (r *rootSide) doubted() {
	if !r.wasDoubted {
		r.wasDoubted = true
		r.stay()
	}
}

// stays reports whether this device ceased to be root a while ago, when others
// needed it, or a child found wrong what it had of the file.
func (r *rootSide) stays() bool { return r.m.now < r.stayUntil }

// expects reports whether this device became root just now: those that follow it
// may not have asked yet. A small file is down before they do.
func (r *rootSide) expects() bool { return r.active() && r.m.now < r.asksUntil }

// childGone takes a child that left.
func (r *rootSide) childGone(c *transfer.Child) {
	if r.placer == nil {
		return
	}
	for s := range uint8(wire.MaxStripes) {
		if c.Set.Has(s) {
			r.placer.Left(c.Peer, s)
		}
	}
}

// heardAsk answers an ask for a place, or takes a report.
func (r *rootSide) heardAsk(e Datagram, a *wire.Ask) {
	m := r.m
	if m.held.complete() && !a.Done && !a.Attached && r.placer == nil {
		// A follower takes this holder for the root, which is silent or gave way to
		// one that does not serve: so it becomes root again.
		m.el.elect(func(o *election.Output) { m.el.Serve(m.now, o) })
	}
	if r.placer == nil {
		return
	}
	r.tellTrees()
	set := transfer.SetOf(a.Stripe, a.Trees)
	if a.Attached && a.Parent == m.self.Peer && m.children.feed.FindPeer(e.Env.From, set) == nil {
		// The follower has not noticed yet that its link here is closed.
		gone := *a
		gone.Parent, a = wire.Peer{}, &gone
	}
	if other, ok := r.placer.SameID(m.now, e.From, e.Env.From); ok && m.conflicts.add(e.Env.From) {
		m.note(report.KindConflict, wire.ReasonDuplicateID, e.From,
			note.TwoShareID{A: other, B: e.From, ID: e.Env.From.ID})
	}
	if !a.Attached && !a.Done {
		m.children.reclaim(set)
	}
	r.tellChildren()
	p := r.placer.Ask(m.now, e.From, e.Env, a)
	if a.Failed == m.self.Peer && r.left(e.From.Addr(), e.Env.From, set, a) {
		return
	}
	if p != nil {
		m.act(Send{e.From, p})
	}
}

// tellChildren tells the placer of this root's children, of which some may follow another
// root: with all slots taken by those it would know nobody to place the others below. Whoever
// only holds a slot, and takes nothing, would do so to those as well.
func (r *rootSide) tellChildren() {
	for _, c := range r.m.children.feed.Children() {
		for s := range uint8(wire.MaxStripes) {
			if c.Takes && c.Set.Has(s) {
				r.placer.Child(r.m.now, c.Peer, c.Links, s)
			}
		}
	}
}

// tryRival dials another root that this one has distrusted, and that says it downloads and has
// more: if it serves that after all, this root gives way, since both would else download the
// whole file, each for its own followers. A liar that does not download has no chunk that
// this root lacks. Only with a signed table is it known at once whether a chunk is right. Each
// rival is tried again after twice as long.
func (r *rootSide) tryRival(c election.Candidate) {
	m, f, a := r.m, r.m.fallback, c.Addr.Addr()
	if !r.active() || !m.file.Signed || m.cfg.Transfer.WholeFiles || m.held.complete() || !m.el.Distrusted(m.now, a) ||
		!c.Claim.Rank.Confirmed || c.Claim.Bytes == 0 {
		return
	}
	if r.rival.at == a && m.held.Prefix() >= r.rival.has && m.following.roots.served > r.rival.since {
		m.el.elect(func(o *election.Output) { m.el.GiveWay(m.now, c, o) })
		return
	}
	if c.Claim.Prefix <= m.held.Prefix() || !f.mayTry(a, true, false) {
		return
	}
	f.noteTry(a)
	r.rival.dial(m.now, &c, m.cfg.Transfer.CatchUp)
	for _, s := range m.following.sides() {
		if s.follower.State() == follower.Inactive {
			s.dialTo(c.Peer, c.Links)
		}
	}
}

// left takes a follower that left this root's own link; it reports whether this
// device is no longer root. Who has all that this root has found it slow by what a
// liar says that there is.
func (r *rootSide) left(at netip.Addr, from wire.Peer, set transfer.Set, a *wire.Ask) bool {
	if c := r.m.children.feed.FindPeer(from, set); c != nil && c.From == at && a.Reason != wire.ReasonFull {
		r.m.children.dismiss(c.Link, wire.ReasonParentLost) // the slot is free whatever TCP thinks
	}
	return a.Reason == wire.ReasonParentSlow && a.Prefix < r.m.held.Prefix() && r.tooSlow(at)
}

// tellTrees decides how many trees the file takes, as soon as it can be known:
// before the origin has told the size it cannot.
func (r *rootSide) tellTrees() {
	m := r.m
	if m.held.Known() || m.origin.answered() || m.cfg.Transfer.Stripes == 1 {
		n := 0
		if m.held.Known() {
			n = m.held.Chunks()
		}
		r.placer.Trees(m.cfg.trees(n))
	}
}

// tooSlow takes a complaint from an address that this root passes too little on. When
// children at as many addresses say so as it has slots, it leaves the root to the
// others and becomes a leaf: if the server sends some bytes again, that costs
// less than a site that waits. Where no chunk was sent to, nothing is counted: a child
// that got nothing may not be reading, and anybody can complain in any name.
func (r *rootSide) tooSlow(from netip.Addr) bool {
	if slices.Contains(r.complaints, from) || !r.m.children.fed[from] {
		return false
	}
	r.complaints = append(r.complaints, from)
	if len(r.complaints) < min(wire.MaxChildren, r.members()) {
		return false
	}
	r.m.note(report.KindElection, wire.ReasonSelfSlow, netip.AddrPort{}, note.HandsOverSlow{})
	r.stepAside(wire.Peer{}) // the best of them is the one that claims first
	return true
}

// settle starts the download when it is time, and falls silent when nobody needs
// this root.
func (r *rootSide) settle() {
	m := r.m
	if r.placer == nil {
		return
	}
	if r.rival.leave.due(m.now) {
		r.rival.drop()
		m.following.failAll(wire.ReasonNoProgress)
	}
	if m.held.complete() {
		if m.Idle() && m.now >= r.quietAt {
			m.el.elect(func(o *election.Output) { m.el.Quiet(o) })
		}
		return
	}
	r.settleHandover()
	r.settleYield()
	if r.placer != nil {
		m.origin.open(r.mayFetch())
	}
}

// mayFetch returns when the download may begin.
func (r *rootSide) mayFetch() time.Duration { return max(r.fetchAt, r.m.origin.NotBefore()) }

func (r *rootSide) deadline() (at time.Duration, ok bool) {
	switch {
	case r.placer == nil:
	case r.m.held.complete():
		at, ok = max(r.quietAt, r.asksUntil), r.m.served()
	default:
		at, ok = r.mayFetch(), !r.m.origin.blocked()
	}
	at, ok = sooner(at, ok, r.stayUntil, r.stays())
	leave, set := r.rival.leave.deadline()
	return sooner(at, ok, leave, set)
}
