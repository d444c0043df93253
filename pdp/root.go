package pdp

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// elect gives the election an input and carries out what follows.
func (m *Machine) elect(f func(*election.Output)) {
	var o election.Output
	f(&o)
	if o.Changed {
		m.electionChanged(o.Reason)
	}
	if o.Broadcast {
		m.claim(o.Answer)
	}
	if o.Resign != nil {
		m.act(Broadcast{o.Resign})
	}
}

// claim broadcasts a claim with what is held now.
func (m *Machine) claim(answer bool) {
	rank, why := m.el.Rank()
	c := &wire.Claim{
		Rank: rank, Epoch: m.held.Epoch(), Size: m.held.Size(), Prefix: m.servable(transfer.All), Complete: m.held.complete(),
		Bytes: m.origin.bytes, Map: m.bitmap(), Reason: why, Spread: m.spread(),
	}
	if m.placer != nil {
		c.Members = uint16(min(m.placer.Members(), 65535))
		c.Waiting = m.origin.shut && !m.held.complete()
	}
	m.act(Broadcast{c})
	state := "ClaimRoot(tent)"
	if rank.Confirmed {
		state = "ClaimRoot"
	}
	what := "TxBdcst"
	if answer {
		what = "TxBdcst answer"
	}
	m.note(report.KindLog, why, netip.AddrPort{}, "XID%s %s %s: map=%08x strength=%08x",
		m.file.Hierarchy, what, state, c.Map, rank.Strength)
}

// spread is over which time followers spread their first ask, in
// milliseconds: the more a root knows of, the longer.
func (m *Machine) spread() uint16 {
	n := 10
	if m.placer != nil {
		n = max(n, m.placer.Members()/4)
	}
	return uint16(min(n, 2000))
}

// bitmap has a bit for each 1/32 of the file that is held.
func (m *Machine) bitmap() uint32 {
	n := m.held.Chunks()
	if m.held.complete() {
		return ^uint32(0)
	}
	if !m.held.Known() || n == 0 {
		return 0
	}
	var b uint32
	for i := range 32 {
		if m.held.Prefix() >= (i+1)*n/32 && m.held.Prefix() > 0 {
			b |= 1 << i
		}
	}
	return b
}

// electionChanged carries a new state of the election into tree and transfer.
func (m *Machine) electionChanged(why wire.Reason) {
	s := m.el.State()
	if s != election.Root && m.placer != nil {
		m.unroot()
	}
	switch s {
	case election.Root:
		m.becomeRoot(why)
	case election.Following:
		m.followRoot(why)
	case election.Tentative:
		m.note(report.KindElection, why, netip.AddrPort{}, "XID%s hier=%s: nobody heard, claiming", m.file.Hierarchy, s)
		if !m.prepared {
			m.prepared = true
			m.act(Prepare{})
		}
		m.noRoot()
	default:
		m.noRoot()
		if s == election.Holding || s == election.Orphan {
			break
		}
		m.note(report.KindElection, why, netip.AddrPort{}, "XID%s hier=%s: %s", m.file.Hierarchy, s, why)
	}
}

func (m *Machine) becomeRoot(why wire.Reason) {
	m.placer = tree.NewPlacer(m.cfg.Tree, m.self.Peer)
	m.leaveAll(wire.ReasonRootOfFile)
	m.rootWatch = nil
	m.complaints = nil
	m.origin.renew()
	m.gauge = gauge{}
	m.quietAt = m.now + 2*m.cfg.Election.Announce
	m.originAt = max(m.now+m.cfg.Transfer.RootWait, m.origin.NotBefore())
	m.fallback.withdraw()
	m.note(report.KindElection, why, m.self.Addr, "UT:Confirmed root bumping strength")
	m.note(report.KindRole, why, m.self.Addr, "@@@HROOT:XID%s H=%s m=%s ROOT=%s %s",
		m.file.Hierarchy, m.file.Hierarchy, m.file.Model, m.self.Addr.Addr(), m.file.Name)
	m.pathChanged(transfer.All)
}

// unroot stops being root; children stay. Who holds the file and knows of
// others that need it stays for a while: the new root may not serve them.
func (m *Machine) unroot() {
	if m.held.complete() && m.placer.Waiting(m.now) > 0 {
		m.stayUntil = m.now + m.cfg.Tree.Forget
	}
	m.placer = nil
	m.origin.stop()
}

// followRoot turns to the root that the election found.
func (m *Machine) followRoot(why wire.Reason) {
	r := m.el.Root()
	if m.watchRoot(r.Peer) && !m.fallback.starving {
		m.fallback.withdraw() // the root is to serve now
	}
	m.rootWatch.Root(m.now, r.Claim.Prefix, r.Claim.Bytes)
	m.note(report.KindRole, why, r.Addr, "XID%s following root %s (%s, strength=%08x, prefix %d)",
		m.file.Hierarchy, r.Addr.Addr(), why, r.Claim.Rank.Strength, r.Claim.Rank.Prefix)
	if m.held.complete() {
		return
	}
	m.askRoot(time.Duration(r.Claim.Spread) * time.Millisecond)
}

// watched is a root that was followed, until left.
type watched struct {
	root  wire.Peer
	watch *follower.RootWatch
	left  time.Duration
}

// watchRoot begins to watch a root, and reports whether that is new. Where two
// contradict each other the one that was left a moment ago goes on to be
// watched as before: else none would ever be found to stall.
func (m *Machine) watchRoot(p wire.Peer) (fresh bool) {
	for _, w := range m.watched {
		if w.watch == m.rootWatch {
			w.left = m.now
		}
	}
	kept := m.watched[:0]
	var found *watched
	for _, w := range m.watched {
		if m.now-w.left < m.cfg.Transfer.Progress/2 && len(kept) < 8 {
			kept = append(kept, w)
			if w.root == p {
				found = w
			}
		}
	}
	m.watched = kept
	if found == nil {
		found = &watched{root: p, watch: follower.NewRootWatch(m.cfg.Transfer, m.now), left: m.now}
		m.watched = append(m.watched, found)
		fresh = true
	}
	m.rootWatch = found.watch
	return fresh
}

func (m *Machine) heardClaim(c election.Candidate) {
	m.elect(func(o *election.Output) { m.el.Claim(m.now, c, o) })
	r := m.el.Root()
	if r == nil || r.Peer != c.Peer || m.rootWatch == nil {
		return
	}
	if m.rootWatch.Root(m.now, c.Claim.Prefix, c.Claim.Bytes) {
		m.origin.Well(m.now)
	}
	if m.outdated(c.Claim) {
		m.note(report.KindSource, wire.ReasonWrongEpoch, c.Addr, "%s: the root has another content: starting over", m.file.Name)
		m.failAll(wire.ReasonWrongEpoch)
		m.held.forget(c.Claim.Epoch, c.Claim.Size)
	}
	for _, s := range m.sides() {
		if p, _, _ := s.follower.Parent(); s.watch != nil && p != c.Peer {
			s.watch.Root(c.Claim.Prefix)
		}
	}
	if c.Claim.Waiting {
		m.rootWatch.Wait(m.now)
	}
	if m.held.complete() {
		return // and asks for nothing more
	}
	m.askRoot(0)
}

// outdated reports whether what is held is of another content than the root's.
// A root that has no content yet says nothing of it.
func (m *Machine) outdated(c wire.Claim) bool {
	return !m.file.Keyed && !m.held.complete() && m.held.Count() > 0 && c.Epoch != 0 && c.Epoch != m.held.Epoch()
}

func (m *Machine) heardAsk(e Datagram, a *wire.Ask) {
	if m.held.complete() && !a.Done && m.el.State() == election.Holding {
		// Somebody takes this silent holder for the root still: so it is.
		m.elect(func(o *election.Output) { m.el.Serve(m.now, o) })
	}
	if m.placer == nil {
		return
	}
	m.tellTrees()
	if a.Attached && a.Parent == m.self.Peer && m.feed.FindPeer(e.Env.From, transfer.SetOf(a.Stripe, a.Trees)) == nil {
		// It has not noticed yet that its link here is closed.
		gone := *a
		gone.Parent, a = wire.Peer{}, &gone
	}
	if twin, ok := m.placer.Twin(m.now, e.From, e.Env.From); ok && !m.conflicts[e.Env.From] && len(m.conflicts) < 16 {
		m.conflicts[e.Env.From] = true
		m.note(report.KindConflict, wire.ReasonDuplicateID, e.From,
			"the devices at %s and %s carry one id, %016x: give one of them its own", twin, e.From, e.Env.From.ID)
	}
	p := m.placer.Ask(m.now, e.From, e.Env, a)
	if a.Failed == m.self.Peer && a.Reason != wire.ReasonFull {
		// It left this root's own link; the slot is free whatever TCP thinks.
		if c := m.feed.FindPeer(e.Env.From, transfer.SetOf(a.Stripe, a.Trees)); c != nil {
			m.dismiss(c.Link, wire.ReasonParentLost)
		}
	}
	if a.Failed == m.self.Peer && a.Reason == wire.ReasonParentSlow && m.tooSlow(e.Env.From) {
		return
	}
	if p != nil {
		m.act(Send{e.From, p})
	}
}

// tellTrees decides how many trees the file takes, as soon as it can be known:
// before the origin has told the size it cannot.
func (m *Machine) tellTrees() {
	if m.held.Known() || m.origin.answered() || m.cfg.Transfer.Stripes == 1 {
		n := 0
		if m.held.Known() {
			n = m.held.Chunks()
		}
		m.placer.Trees(m.cfg.trees(n))
	}
}

// tooSlow takes a child's complaint that this root passes too little on. When
// as many say so as it has slots, and not one of them alone, it leaves the root
// to the others and becomes a leaf: that the server sends some bytes again
// costs less than a site that waits. Who got nothing at all is not counted: it
// may not be reading.
func (m *Machine) tooSlow(from wire.Peer) bool {
	for _, p := range m.complaints {
		if p == from {
			return false
		}
	}
	m.complaints = append(m.complaints, from)
	if len(m.complaints) < min(wire.MaxChildren, m.placer.Members()) {
		return false
	}
	m.note(report.KindElection, wire.ReasonChildSlow, netip.AddrPort{}, "XID%s hands over: too slow for the others", m.file.Hierarchy)
	m.stepAside(wire.Peer{}) // the best of them is the one that claims first
	return true
}

// heardResign takes the resignation of the root that is followed or expected;
// anybody else has nothing to say about the origin.
func (m *Machine) heardResign(e Datagram, r *wire.Resign) {
	if m.el.Expected() != e.Env.From {
		return
	}
	if r.Reason.Origin() {
		m.origin.Heard(m.now, time.Duration(r.Backoff)*time.Millisecond, r.Reason)
	}
	m.note(report.KindElection, r.Reason, e.From, "XID%s root %s stepped down: %s", m.file.Hierarchy, e.From.Addr(), r.Reason)
	if r.Reason == wire.ReasonParentSlow {
		m.tries++
	}
	// If the origin failed it, somebody else is to try, parent or not.
	needed := !m.held.complete() && (r.Reason.Origin() || !m.attached())
	m.elect(func(o *election.Output) { m.el.Resign(m.now, e.Env.From, r, needed, o) })
	if r.Reason == wire.ReasonOriginWrong && m.mismatches > 0 {
		m.wrongRoots++
	}
	if !m.held.complete() && (m.origin.Spent(m.now) || m.wrongRoots >= 2) {
		m.giveUp(r.Reason)
	}
}

// settleRoot starts the download when it is time.
func (m *Machine) settleRoot() {
	if m.placer == nil {
		return
	}
	if m.held.complete() {
		if m.Idle() && m.now >= m.quietAt {
			m.elect(func(o *election.Output) { m.el.Quiet(o) })
		}
		return
	}
	m.settleHandover()
	if m.placer != nil {
		m.origin.open(max(m.originAt, m.origin.NotBefore()))
	}
}

// refetch makes sure that chunks which the medium lost come again.
func (m *Machine) refetch() {
	if m.placer == nil {
		m.failAll(wire.ReasonDisk)
	}
}

func (m *Machine) rootDeadline() (time.Duration, bool) {
	if m.placer == nil {
		return 0, false
	}
	if m.held.complete() {
		return m.quietAt, m.Idle()
	}
	if m.origin.blocked() {
		return 0, false
	}
	return max(m.originAt, m.origin.NotBefore()), true
}
