package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/internal/origin"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// fallback decides when a device that is not root goes to the origin: if peers
// failed it, within the subnet's budget; or if peers say that the origin fails,
// to check.
type fallback struct {
	m        *Machine
	budget   *origin.Budget
	review   *review
	gained   time.Duration        // when a chunk last came from anywhere, or the wait began again
	wait     time.Duration        // how long one may take
	starving bool                 // entitled to the origin because no peer served
	announce time.Duration        // when the download under way is announced again, a probe too
	probe    timer                // when to check whether the origin answers
	waited   bool                 // with that, for another device that did so
	contest  origin.Contest       // of the direct download with the peers
	grace    grace                // that roots were given
	others   time.Duration        // when another device said last that it gets bytes directly, 0 never
	fed      time.Duration        // when a chunk last came from anywhere
	looking  bool                 // the direct download has not shown yet how slow the line is
	yielded  bool                 // a slow line was left to the peers once since a chunk came
	tries    tries                // of other peers
	leftFor  map[netip.Addr]again // when parents may be left for a root again
}

func newFallback(m *Machine) *fallback {
	return &fallback{m: m, budget: origin.NewBudget(m.cfg.Transfer, m.rnd), review: newReview(m),
		wait:  m.cfg.Transfer.Fallback,
		grace: newGrace(),
		tries: tries{made: map[netip.Addr]bool{}, slow: map[netip.Addr]again{}}, leftFor: map[netip.Addr]again{}}
}

// start begins the wait for chunks.
func (f *fallback) start() {
	f.gained, f.fed = f.m.now, f.m.now
	f.review.start()
}

// gain records that a chunk came from anywhere. On a slow line the next one may
// take as long, and a little more.
func (f *fallback) gain() {
	const longest = 10 * time.Minute
	took := f.m.now - f.gained
	f.wait = max(f.m.cfg.Transfer.Fallback, min(2*took, longest))
	if c := f.chunkTime(); c > 0 {
		n := 1
		if f.budget.Taken(f.m.now) {
			n++
		}
		f.wait = max(f.m.cfg.Transfer.Fallback, time.Duration(n)*3*c/2)
		if f.thin() {
			f.budget.Renew(f.m.now)
		}
	}
	f.gained, f.fed = f.m.now, f.m.now
	f.looking, f.yielded = false, false
	clear(f.tries.made)
}

// chunkTime is how long the line takes for what comes at once, if it does nothing
// else, as far as this device has seen it; 0 if it has not. That is a chunk, with all
// before it where the server begins each body with the first, or, where files are
// passed on whole, the file.
func (f *fallback) chunkTime() time.Duration {
	n := int64(f.m.held.ChunkSize())
	if f.m.origin.skips {
		n *= int64(1 + f.m.held.Prefix())
	}
	if f.m.cfg.Transfer.WholeFiles && f.m.held.Known() {
		n = max(n, f.m.held.Size())
	}
	return f.m.origin.line.Takes(n)
}

// thin reports whether this device has seen that a chunk takes the line long.
func (f *fallback) thin() bool { return f.chunkTime() > f.m.cfg.Transfer.Look }

// crowded takes that this device got nothing more at the origin, and reports whether that
// may be since others download, longer than they are believed: it got something, and has
// heard of theirs. On a slow line they are believed anew.
func (f *fallback) crowded() bool {
	if f.thin() {
		f.budget.Renew(f.m.now)
	}
	return f.m.origin.bytes > 0 && f.others > 0 && f.m.now-f.others <= f.m.cfg.Transfer.Lapse
}

// look ends a direct download that has shown that a chunk takes the line so long
// that none could have come by peers yet: it is left to them for that time, once.
func (f *fallback) look() {
	m := f.m
	if !f.looking || !f.budget.Active() || !m.origin.line.Timed() {
		return
	}
	c := f.chunkTime()
	f.looking = false
	need, since := 3*c/2, f.fed
	if w := m.following.roots.watch; w != nil {
		since = max(since, w.Began()) // a root that is new had no time yet
	}
	waited := m.now - since
	f.budget.Slow(2 * need)
	if !f.thin() || f.yielded || waited >= need || m.el.Root() == nil || m.repair.doubts {
		return
	}
	f.yielded, f.starving = true, false
	f.gained, f.wait = m.now, max(need-waited, m.cfg.Transfer.FallbackJitter)
	f.release()
}

// served records that a parent sent a chunk: the origin is not needed, unless it
// brings more than the peers do, or there is still no server in the other tree.
func (f *fallback) served() {
	f.grace.served()
	if f.review.holds() || f.m.repair.doubts {
		return
	}
	if f.budget.Active() && !f.contest.Peer() {
		return
	}
	if f.m.following.failures() >= f.m.cfg.Transfer.FailedPeers && f.budget.Active() {
		return
	}
	f.starving = false
	f.withdraw()
}

// prefer goes on with the direct download: the peers bring less.
func (f *fallback) prefer() { f.starving = true }

// withdraw ends the wait for the origin, or the direct download. A comparison that was
// under way is made again later.
func (f *fallback) withdraw() {
	f.review.drop()
	f.release()
	f.budget.Cancel()
}

// release gives the budget back.
func (f *fallback) release() {
	if f.budget.Active() {
		f.m.origin.stop()
		f.done()
	}
}

// keep goes on with the download of a root that follows another now, until that one
// serves: what this device fetched would else come again, and any root can be
// outranked by a liar.
func (f *fallback) keep() {
	m := f.m
	if !m.origin.answered() || m.held.complete() || m.el.State() != election.Following {
		m.origin.stop()
		return
	}
	if f.spare(m.el.Root()) {
		return
	}
	f.budget.Take()
	f.starving, f.announce = true, m.now
	f.contest.Begin(m.now, true, false)
}

// adopt leaves the direct download to this device as root.
func (f *fallback) adopt() {
	f.review.drop()
	f.budget.Cancel()
	if f.budget.Active() {
		f.done()
	}
}

// done gives the budget back, and tells the others.
func (f *fallback) done() {
	f.budget.Done()
	f.tell(wire.ReasonNone, true)
}

// tell tells the others how far the download under way is, or that it is done.
func (f *fallback) tell(why wire.Reason, done bool) {
	m := f.m
	m.act(Broadcast{&wire.Direct{Reason: why, Done: done, Prefix: m.held.Prefix(), Bytes: m.origin.bytes}})
}

// fetched takes a chunk of the origin. Where a few have come and none from peers, a
// root that seems to be on its way, and is behind this device, is given time once to
// catch up. Another root does not do what it says: this device takes the root back
// if it was root before. One that was root does not wait for that: a root at its own
// pace has nothing to bring, and both would fetch the whole file.
func (f *fallback) fetched() {
	m, r := f.m, f.m.el.Root()
	f.contest.Origin()
	if !f.budget.Active() || r == nil || m.cfg.Transfer.WholeFiles {
		return
	}
	switch {
	case !f.contest.Unmatched(m.now):
		if f.contest.WasRoot() {
			f.spare(r)
		}
	case f.spare(r):
	case m.following.leaveOthers(r.Addr.Addr()):
		f.contest.Another(m.now) // they have sent nothing, which is no fault of this root
	default:
		m.following.distrustRoot(wire.ReasonRootStalled)
	}
}

// grace is the time to serve that roots are given.
type grace struct {
	met   map[netip.Addr]bool // roots that were followed, by addresses
	given map[netip.Addr]bool // those of them that were given time
	owed  bool                // one was, and no peer has sent a chunk since
}

func newGrace() grace {
	return grace{met: map[netip.Addr]bool{}, given: map[netip.Addr]bool{}}
}

// mostMet bounds the roots that are remembered; later ones are given no time.
const mostMet = 64

// meet records that the root at an address is followed, and reports whether it is another
// one than all before.
func (g *grace) meet(a netip.Addr) bool {
	if g.met[a] || len(g.met) >= mostMet {
		return false
	}
	g.met[a] = true
	return true
}

// lend gives the root at an address time, and reports whether it may: each once, and none
// after another that has not served: many by turns get no more of it than one.
func (g *grace) lend(a netip.Addr) bool {
	if g.owed || g.given[a] || len(g.given) >= mostMet {
		return false
	}
	g.given[a], g.owed = true, true
	return true
}

// served records that a peer sent a chunk.
func (g *grace) served() { g.owed = false }

// another counts anew of a root that this device follows from now on: what came before
// says nothing of it. A device that waits for its turn at the origin waits longer.
func (f *fallback) another(a netip.Addr) {
	m := f.m
	if !f.grace.meet(a) {
		return
	}
	f.contest.Another(m.now)
	if f.budget.Waiting() && f.review.state == satisfied && !m.held.complete() && !m.repair.doubts && f.grace.lend(a) {
		f.budget.Cancel()
		f.gained, f.wait = m.now, m.cfg.Transfer.CatchUp
	}
}

// spare ends the download of this device for a root that seems to be on its way, and
// gives that time to catch up, once: for as long as the origin takes for what it
// lacks and cfg.CatchUpChunks more. Without a signed table none is given where the line takes
// longer for those than cfg.CatchUp: a body that began would only begin again, and nobody
// knows yet whether what the root has is right. Nor is any given to a root that had it, nor
// where the server would send again all that has come, which is more than those chunks.
func (f *fallback) spare(r *election.Candidate) bool {
	m, a, cfg := f.m, r.Addr.Addr(), f.m.cfg.Transfer
	lost := m.origin.skips && m.origin.bytes > int64(cfg.CatchUpChunks)*int64(m.held.ChunkSize())
	advances := r.Claim.Prefix > r.Claim.Rank.Prefix || r.Claim.Prefix == r.Claim.Rank.Prefix && r.Claim.Bytes > 0
	late := time.Duration(cfg.CatchUpChunks)*f.chunkTime() > cfg.CatchUp
	if lost || f.had() || f.thin() || late && !m.file.Signed || !advances || m.el.WasDistrusted(a) ||
		r.Claim.Prefix > m.held.Prefix() || !f.grace.lend(a) {
		return false
	}
	takes := m.origin.takes(m.held.Prefix() - r.Claim.Prefix + cfg.CatchUpChunks)
	f.gained, f.wait = m.now, max(cfg.CatchUp, min(takes, cfg.Fallback))
	if f.budget.Active() {
		f.release()
	} else {
		m.origin.stop()
	}
	return true
}

// had reports whether the root was followed for as long as such a root is given, and no
// peer has sent a chunk.
func (f *fallback) had() bool {
	o := f.m.following.roots
	return o.watch != nil && f.m.now-max(o.watch.Began(), o.served) > f.m.cfg.Transfer.CatchUp
}

// heardDirect takes another's claim on the subnet's budget.
func (f *fallback) heardDirect(c election.Candidate, d *wire.Direct) {
	m := f.m
	if m.el.Distrusted(m.now, c.Addr.Addr()) {
		return
	}
	if d.Bytes > 0 {
		m.origin.Well()
		if !d.Done {
			f.others = m.now
		}
		if !d.Done && m.origin.bytes == 0 && m.origin.probes() {
			m.origin.stop() // the other's is enough
			m.origin.endProbe()
		}
	} else if d.Done && f.probe.set {
		f.probes(m.now)
	}
	if m.held.complete() && !d.Done {
		m.el.elect(func(o *election.Output) { m.el.Needed(m.now, o) })
	}
	has := d.Done && f.budget.TakenBy(m.now, c.Peer) &&
		(m.held.Known() && int(d.Prefix) >= m.held.Chunks() || f.review.outdone(d.Bytes))
	if f.budget.Heard(m.now, m.self.Peer, c.Peer, c.Links, d, m.origin.bytes) {
		m.origin.stop()
		if r := m.el.Root(); r == nil || !f.contest.WasRoot() || !f.spare(r) {
			f.budget.Entitle(m.now)
		}
	}
	f.tap(c, d)
	if has {
		f.review.resume()
	} else if !d.Done && f.budget.TakenBy(m.now, c.Peer) {
		f.review.postpone()
	}
}

// leaves reports whether parents that serve slowly are to be left for the root, which
// says that it has the whole file, though the line is not known to be thin, nor this
// device to be slow itself, nor the root to serve nothing.
func (f *fallback) leaves(r *election.Candidate) bool {
	m, a := f.m, r.Addr.Addr()
	return r.Claim.Complete && r.Claim.Prefix > m.held.Prefix() && !m.cfg.Transfer.WholeFiles && !f.thin() &&
		!m.following.slow.leaf() && !m.following.roots.isBarren(m.now, a) && !m.el.WasDistrusted(a) &&
		!m.repair.suspects() && f.mayLeave(a)
}

// mayLeave reports whether parents may be left for the root at an address: each time after
// twice as long. Whether it was tried as another peer before does not count, since it may
// have been full then.
func (f *fallback) mayLeave(a netip.Addr) bool {
	return f.m.now >= f.leftFor[a].next && (len(f.leftFor) < mostTried || f.leftFor[a].wait > 0)
}

// left records that parents were left for the root at an address.
func (f *fallback) left(a netip.Addr) {
	w := max(f.m.cfg.Transfer.Fallback, 2*f.leftFor[a].wait)
	f.leftFor[a] = again{f.m.now + w, w}
}

// again is when something is tried again, and after which wait.
type again struct{ next, wait time.Duration }

// tap dials a device that downloads directly and has more of the file, where no
// peer has served this device for long: each address once, until a chunk comes. A root
// does not: below another device it would be above itself.
func (f *fallback) tap(c election.Candidate, d *wire.Direct) {
	m, a := f.m, c.Addr.Addr()
	slow := f.review.slow()
	if m.held.complete() || m.root.active() || !f.mayTry(a, slow, false) {
		return
	}
	for _, s := range m.following.sides() {
		state := s.follower.State()
		if s.waits() || d.Prefix <= m.held.PrefixOf(s.set()) || state == follower.Dialing ||
			!slow && m.now-f.fed <= m.cfg.Transfer.Fallback && state == follower.Attached {
			continue
		}
		if p, _, _ := s.follower.Parent(); state == follower.Attached && p != c.Peer {
			s.fail(wire.ReasonNoProgress)
		} else if state == follower.Attached {
			continue
		}
		f.noteTry(a)
		s.dialTo(c.Peer, c.Links)
	}
}

// try follows another root that says it has more, where no peer has served this
// device for long: each address once, until a chunk comes.
func (f *fallback) try(c election.Candidate) {
	m, a, r, w := f.m, c.Addr.Addr(), f.m.el.Root(), f.m.following.roots.watch
	if m.held.complete() || r == nil || r.Addr.Addr() == a ||
		w == nil || m.now-w.Began() < m.cfg.Tree.AskAgain || // the present one has had no time
		!c.Claim.Rank.Confirmed || c.Claim.Prefix <= m.held.Prefix() || !f.mayTry(a, f.review.slow(), true) {
		return
	}
	f.noteTry(a)
	m.el.elect(func(o *election.Output) { m.el.Try(m.now, c, o) })
}

// settle entitles this device to the origin if peers failed it, and goes there
// when it is its turn.
func (f *fallback) settle() {
	m := f.m
	if m.held.complete() || m.held.verifying() || m.held.ready() || m.root.active() || m.el.State() == election.Idle {
		return
	}
	if f.budget.Active() && !m.origin.busy() {
		f.done() // all had come, and some was lost again
	}
	f.settleProbe()
	f.look()
	f.review.settle()
	if f.entitled() {
		f.budget.Entitle(m.now)
		refused := f.refused()
		f.gained, f.starving = m.now, true
		if r := m.el.Root(); refused && (r == nil || !m.following.leaveOthers(r.Addr.Addr())) {
			m.following.distrustRoot(wire.ReasonNoProgress)
		}
	}
	if f.ready() {
		why := wire.ReasonNoProgress
		if m.following.failures() >= m.cfg.Transfer.FailedPeers {
			why = wire.ReasonPeersFailed
		}
		m.note(report.KindFallback, why, netip.AddrPort{}, note.ToOrigin{})
		m.act(Broadcast{&wire.Direct{Reason: why, Prefix: m.held.Prefix()}})
		f.announce = m.now + m.cfg.Election.Announce
		r := m.el.Root()
		f.contest.Begin(m.now, r != nil && f.grace.given[r.Addr.Addr()], f.review.state == queued)
		f.review.begin()
		f.looking = true
		m.origin.open(m.now)
	}
	if (f.budget.Active() || m.origin.probes() && m.origin.bytes > 0) && m.now >= f.announce {
		f.tell(wire.ReasonPeersFailed, false)
		f.announce = m.now + m.cfg.Election.Announce
	}
}

// ready reports whether it is this device's turn at the origin, which it then has.
func (f *fallback) ready() bool {
	m := f.m
	at, ok := f.budget.Deadline(m.origin.NotBefore())
	if m.origin.shut || m.origin.busy() || !ok || m.now < at {
		return false
	}
	m.repair.clear()
	return f.budget.Ready(m.now, m.origin.NotBefore())
}

// entitled reports whether peers failed this device so that it may go to the
// origin when its turn comes.
func (f *fallback) entitled() bool {
	m := f.m
	if m.origin.shut || m.origin.busy() || f.budget.Waiting() || m.origin.Failing() || m.repair.suspects() {
		return false
	}
	return m.following.failures() >= m.cfg.Transfer.FailedPeers && !f.servedLately() || f.starved() || m.repair.doubts
}

// refused reports whether nothing has come under the present root for long, though
// it says that it has more and had the time.
func (f *fallback) refused() bool {
	w := f.m.following.roots.watch
	return f.starved() && f.lacks() && w != nil && w.Began() >= f.fed && f.m.now-w.Began() > f.m.cfg.Tree.AskAgain
}

// starved reports whether no chunk has come for long. What the root says does not
// count: it may claim without end that it is about to have one.
func (f *fallback) starved() bool { return f.m.now-f.gained > f.wait }

// servedLately reports whether a parent in one of the trees has sent something
// lately: then the other tree can be waited for.
func (f *fallback) servedLately() bool {
	if f.m.now-f.gained > f.m.cfg.Transfer.Stall {
		return false
	}
	return slices.ContainsFunc(f.m.following.sides(), func(s *side) bool {
		return s.follower.State() == follower.Attached && s.follower.Failures() == 0
	})
}

// settleProbe checks whether the origin answers, once peers have reported
// failures for long enough. One device does so, and says what comes of it; the others do
// when it has failed or said nothing for long, at about the same time, and each ends with
// a result of its own. If one finds that the origin works, the reports are forgotten.
func (f *fallback) settleProbe() {
	m := f.m
	doubtful := m.origin.Doubtful(m.now) ||
		m.origin.Failing() && m.now-f.gained > m.cfg.Transfer.Fallback && !m.origin.Interrupted(m.now)
	if m.origin.busy() || m.origin.shut || !doubtful {
		f.probe.stop()
		f.waited = f.waited && doubtful
		return
	}
	if m.origin.Last() == wire.ReasonOriginStalled {
		// Many at once may be what is too much for the line.
		f.probe.stop()
		f.starving = true
		f.budget.Entitle(m.now)
		return
	}
	if !f.probe.set {
		f.probes(f.m.now)
	}
	if !f.probe.due(m.now) {
		return
	}
	f.probe.stop()
	if f.budget.Taken(m.now) && !f.waited { // another asks, and says what comes of it
		f.waited = true
		f.probes(f.budget.Until())
		return
	}
	m.note(report.KindFallback, m.origin.Last(), netip.AddrPort{}, note.AsksOnce{Tried: m.origin.Tried()})
	f.announce = m.now
	m.origin.probe()
	f.tell(m.origin.Last(), false)
}

// probes has this device ask the origin at a time, or when its own pause is over, but not
// together with others, nor later than it would.
func (f *fallback) probes(at time.Duration) {
	jitter := time.Duration(f.m.rnd.Int64N(int64(f.m.cfg.Transfer.FallbackJitter)))
	if at = max(at, f.m.origin.ProbeNotBefore()) + 1 + jitter; !f.probe.set || at < f.probe.at {
		f.probe.start(at)
	}
}

// probed takes the first chunk of a probe. If it is from the origin and there
// is no root, this device claims, since it holds more than the others; if there
// is a root, it waits for its turn.
func (f *fallback) probed(fromOrigin bool) {
	m := f.m
	if !m.origin.endProbe() {
		return
	}
	m.origin.Progress(m.now)
	if m.root.active() {
		return // and has become root meanwhile: it goes on
	}
	m.origin.stop()
	switch {
	case !fromOrigin:
	case m.el.Root() == nil:
		m.el.elect(func(o *election.Output) { m.el.Claimable(m.now, o) })
	default:
		f.budget.Entitle(m.now)
	}
}

// lacks reports whether the device lacks bytes that it could have: the root
// has them, or there is no root.
func (f *fallback) lacks() bool {
	m := f.m
	watch := m.following.roots.watch
	return watch == nil || m.el.Root() == nil || watch.Prefix() > m.held.Prefix()
}

func (f *fallback) deadline() (at time.Duration, ok bool) {
	m := f.m
	if m.held.complete() || m.held.verifying() || m.held.ready() || m.root.active() {
		return 0, false
	}
	if f.budget.Active() {
		at, ok := f.review.overdue()
		return sooner(f.announce, true, at, ok)
	}
	if m.origin.probes() && m.origin.bytes > 0 {
		return f.announce, true
	}
	if f.probe.set {
		return f.probe.deadline()
	}
	if m.origin.busy() || m.origin.shut {
		return 0, false
	}
	if d, waiting := f.budget.Deadline(m.origin.NotBefore()); waiting {
		return d, true
	}
	if m.origin.Failing() {
		return max(f.gained+m.cfg.Transfer.Fallback+1, m.origin.InterruptionEnds(m.now)), true
	}
	if m.repair.doubts && m.el.State() != election.Idle && !m.repair.suspects() {
		return m.now, true
	}
	at, _ = f.review.deadline()
	if m.repair.suspects() || f.review.state != satisfied {
		return f.gained + f.wait + 1, !m.repair.suspects()
	}
	return min(at, f.gained+f.wait+1), true
}
