package follower

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
)

// Links numbers the links that a device dials: -1, -2, … The zero value is
// ready.
type Links struct{ dialled transfer.Link }

func (l *Links) next() transfer.Link {
	l.dialled--
	return l.dialled
}

// State is the state of a follower and its parent.
type State uint8

// The states of a follower.
const (
	Inactive State = iota // asks nobody
	Asking                // waits for a place
	Dialing               // waits for a parent's welcome
	Attached              // has a parent
)

var stateNames = [...]string{"alone", "asking", "dialing", "attached"}

// String returns the state's name.
func (s State) String() string { return stateNames[s] }

// Output collects the results of one input.
type Output struct {
	// Ask is sent to AskTo.
	Ask   *wire.Ask
	AskTo netip.AddrPort
	// Dial is the address to open Link to.
	Dial netip.AddrPort
	Link transfer.Link
	// Close is a link to be closed, for CloseReason.
	Close       transfer.Link
	CloseReason wire.Reason
	// RootGone: the root answers no ask.
	RootGone bool
	// Detached: the follower has left the parent From, for Reason.
	Detached bool
	Reason   wire.Reason
	From     wire.Peer
}

// Self is what an ask says about the follower.
type Self struct {
	Prefix         int
	Epoch          uint64
	Free, Children int
	Done           bool
	// Trees is how many trees the device takes the file through, 0 if not known
	// yet.
	Trees uint8
	// Speed is how fast its port sends, in kilobytes per second; 0 if unknown.
	Speed uint32
	// AtRoot: it holds altered chunks and wants the root itself as parent.
	AtRoot bool
}

// root is the root that a follower asks, nobody if there is none.
type root struct {
	peer   wire.Peer
	addr   netip.AddrPort // its datagrams
	link   netip.AddrPort // its children's connections
	period time.Duration  // between reports to it
}

// Follower is one tree's follower: it asks the root for a parent, dials it, and
// asks again when it fails. Use New.
type Follower struct {
	cfg    tree.Config
	self   wire.Peer
	stripe uint8
	rnd    *rand.Rand
	links  *Links

	state State
	root  root

	parent     wire.Peer
	parentAddr netip.AddrPort
	link       transfer.Link
	placer     netip.Addr  // the root that named the parent
	path       []wire.Peer // root … parent
	failed     wire.Peer
	reason     wire.Reason
	move       bool
	unanswered int
	waits      int           // answers in a row that there is no place yet
	asked      time.Duration // first of the unanswered asks
	due        time.Duration
	trouble    trouble
}

// trouble counts what has failed with parents lately.
type trouble struct {
	// failures counts parents that failed since bytes last came.
	failures int
	// fruitless counts links in a row that ended without a byte, whatever the
	// cause.
	fruitless int
	// mute counts addresses in a row, each another than the one before, that took a
	// link and welcomed nobody in time, below whatever root; muteAt is the last.
	mute   int
	muteAt netip.Addr
}

// New returns the follower's side of the tree of a stripe for the device
// self. Links is the device's own for all its trees.
func New(cfg tree.Config, self wire.Peer, stripe uint8, links *Links, rnd *rand.Rand) *Follower {
	return &Follower{cfg: cfg, self: self, stripe: stripe, links: links, rnd: rnd}
}

// State returns the follower's state.
func (t *Follower) State() State { return t.state }

// Parent returns the parent, its address and the link to it.
func (t *Follower) Parent() (wire.Peer, netip.AddrPort, transfer.Link) {
	return t.parent, t.parentAddr, t.link
}

// Placer returns the address of the root that named the parent, an invalid one if the
// device chose it itself.
func (t *Follower) Placer() netip.Addr { return t.placer }

// Failures returns how many parents failed since bytes last came.
func (t *Follower) Failures() int { return t.trouble.failures }

// AskedSince returns when the first ask was sent that has had no answer.
func (t *Follower) AskedSince() time.Duration { return t.asked }

// Forgive clears which parent failed and why: it does not matter for what is
// wanted now.
func (t *Follower) Forgive() { t.failed, t.reason, t.move = wire.Peer{}, wire.ReasonNone, false }

// Served tells that a parent sent a chunk.
func (t *Follower) Served() { t.trouble.failures, t.trouble.fruitless = 0, 0 }

// Path returns the peers from the root to this device's parent.
func (t *Follower) Path() []wire.Peer { return t.path }

// Depth returns the device's depth below the root; 0 if unknown.
func (t *Follower) Depth() int { return len(t.path) }

// Root sets the root to ask, and the time over which to spread the first ask.
// An attached follower keeps its parent and reports to the new root.
func (t *Follower) Root(now time.Duration, p wire.Peer, addr, link netip.AddrPort, spread time.Duration) {
	if t.root.peer == p {
		t.root.addr, t.root.link = addr, link
		return
	}
	t.root.peer, t.root.addr, t.root.link = p, addr, link
	t.unanswered, t.trouble.failures, t.trouble.fruitless = 0, 0, 0
	if t.failed == p {
		t.Forgive() // it was full then; where it has no children it would name nobody else
	}
	if t.state == Dialing {
		return // the parent may still answer
	}
	t.due = now + t.jitter(spread)
	if t.state == Inactive {
		t.state = Asking
	}
}

// Spread stretches the distance between reports to what the root advertises.
func (t *Follower) Spread(members int) {
	t.root.period = tree.ReportPeriod(t.cfg, members)
}

// NoRoot says that there is no root to ask at present; a parent is kept.
func (t *Follower) NoRoot() {
	t.root.peer, t.trouble.failures = wire.Peer{}, 0 // they were those of the root's places
	if t.state == Asking || t.state == Dialing && t.parent.IsZero() {
		t.state = Inactive
	}
}

// Leave closes the link to the parent, and asks for no other: the device is
// root, or done.
func (t *Follower) Leave(why wire.Reason, out *Output) {
	if t.link != 0 {
		out.Close, out.CloseReason = t.link, why
		out.Detached, out.Reason, out.From = true, why, t.parent
	}
	t.clearParent()
	t.state, t.root.peer, t.trouble.failures = Inactive, wire.Peer{}, 0
}

func (t *Follower) clearParent() {
	t.parent, t.parentAddr, t.link, t.path = wire.Peer{}, netip.AddrPort{}, 0, nil
}

// Fail leaves the parent, by its fault or not as the reason says, and asks for another.
func (t *Follower) Fail(now time.Duration, why wire.Reason, out *Output) {
	if t.state != Attached && t.state != Dialing {
		return
	}
	out.Close, out.CloseReason = t.link, why
	t.lost(now, why, out)
}

// lost is Fail for a link that is closed already.
func (t *Follower) lost(now time.Duration, why wire.Reason, out *Output) {
	t.failed, t.reason, t.move = t.parent, why, why == wire.ReasonParentSlow || why == wire.ReasonNoProgress
	out.Detached, out.Reason, out.From = true, why, t.parent
	switch why {
	case wire.ReasonWrongEpoch:
		t.failed = wire.Peer{}
	case wire.ReasonFull, wire.ReasonYields, wire.ReasonLoop, wire.ReasonNotYet, wire.ReasonDone, wire.ReasonStopped,
		wire.ReasonRootOfFile, wire.ReasonDigestMismatch:
	default:
		t.trouble.failures++ // the others are no fault of the parent
	}
	t.clearParent()
	t.state, t.unanswered, t.due = Inactive, 0, now+t.pause()
	if !t.root.peer.IsZero() {
		t.state = Asking
	}
}

// pause is the wait before the next ask after a link was lost: none, unless
// link after link ends without a byte. A device that is always refused must not
// ask a thousand times a second.
func (t *Follower) pause() time.Duration {
	const atOnce = 4
	t.trouble.fruitless++
	if t.trouble.fruitless <= atOnce {
		return 0
	}
	return min(t.cfg.AskFirst<<min(t.trouble.fruitless-atOnce-1, 8), t.cfg.AskAgain)
}

// Closed tells that a link broke.
func (t *Follower) Closed(now time.Duration, l transfer.Link, why wire.Reason, out *Output) {
	if l != t.link || l == 0 {
		return
	}
	t.lost(now, why, out)
}

// Place takes the root's answer.
func (t *Follower) Place(now time.Duration, from wire.Peer, p *wire.Place, out *Output) {
	if from != t.root.peer || t.state != Asking {
		return
	}
	t.unanswered = 0
	if p.Parent.IsZero() {
		wait := max(time.Duration(p.Wait)*time.Millisecond, t.cfg.AskFirst/4) << min(t.waits, 8)
		t.waits++
		t.due = now + min(wait, t.cfg.AskAgain) + t.jitter(t.cfg.AskFirst/4)
		return
	}
	t.waits = 0
	addr := p.Addr
	if p.Parent == t.root.peer {
		addr = t.root.link
	}
	if p.Parent == t.self || !addr.IsValid() || addr.Port() == 0 {
		t.due = now + t.cfg.AskAgain
		return
	}
	t.DialTo(now, p.Parent, addr, out)
	t.placer = t.root.addr.Addr()
}

// DialTo opens a link to a parent of the follower's own choice.
func (t *Follower) DialTo(now time.Duration, p wire.Peer, addr netip.AddrPort, out *Output) {
	t.parent, t.parentAddr, t.link, t.placer = p, addr, t.links.next(), netip.Addr{}
	// If one parent after another cannot be reached, this device's own port may
	// be the one that is busy. Each new root has other parents, and what they send too
	// late fills the port as well.
	t.state, t.due = Dialing, now+t.cfg.Dial<<min(max(t.trouble.failures, t.trouble.mute-1), 2)
	out.Dial, out.Link = addr, t.link
}

// Welcome tells that the parent accepted. The parent may be another running
// device at the same address than the root knew.
func (t *Follower) Welcome(now time.Duration, l transfer.Link, from wire.Peer) bool {
	if l != t.link || t.state != Dialing {
		return false
	}
	t.state, t.parent, t.due = Attached, from, now
	t.trouble.mute, t.trouble.muteAt = 0, netip.Addr{}
	t.Forgive()
	return true
}

// SetPath takes the path that the parent announces; false if this device
// stands in it: a loop.
func (t *Follower) SetPath(path []wire.Peer) bool {
	for _, p := range path {
		if p == t.self {
			return false
		}
	}
	t.path = path
	return true
}

// ReportSoon brings the next report to the root forward.
func (t *Follower) ReportSoon(now time.Duration) {
	if t.state == Attached && t.due > now+t.cfg.AskFirst {
		t.due = now + t.cfg.AskFirst
	}
}

// Deadline returns when Tick is due.
func (t *Follower) Deadline() (time.Duration, bool) {
	switch t.state {
	case Asking, Dialing:
		return t.due, true
	case Attached:
		return t.due, !t.root.peer.IsZero()
	}
	return 0, false
}

// Tick does what is due.
func (t *Follower) Tick(now time.Duration, me Self, out *Output) {
	if at, ok := t.Deadline(); !ok || at > now {
		return
	}
	switch t.state {
	case Dialing:
		if a := t.parentAddr.Addr(); a != t.trouble.muteAt {
			t.trouble.mute, t.trouble.muteAt = t.trouble.mute+1, a
		}
		t.Fail(now, wire.ReasonUnreachable, out)
	case Asking:
		if t.unanswered >= t.cfg.Asks {
			t.unanswered = 0
			t.due = now + t.cfg.AskFirst
			out.RootGone = true
			return
		}
		if t.unanswered == 0 {
			t.asked = now
		}
		t.ask(me, out)
		t.unanswered++
		t.due = now + t.backoff()
	case Attached:
		t.ask(me, out)
		t.due = now + max(t.root.period, t.cfg.Report) + t.jitter(t.cfg.Report/4)
	}
}

// backoff is the wait for an answer to the ask just sent.
func (t *Follower) backoff() time.Duration {
	d := t.cfg.AskFirst
	for range t.unanswered - 1 {
		d += d / 2
	}
	return min(d, t.cfg.AskAgain)
}

func (t *Follower) ask(me Self, out *Output) {
	a := &wire.Ask{
		Stripe: t.stripe, Trees: me.Trees, Speed: me.Speed,
		Attached: t.state == Attached, Free: uint8(me.Free), Children: uint8(me.Children),
		Prefix: me.Prefix, Epoch: me.Epoch, Depth: uint8(min(len(t.path), 255)),
		Failed: t.failed, Reason: t.reason, Move: t.move, Done: me.Done,
	}
	if t.state == Attached {
		a.Parent = t.parent
	}
	switch {
	case me.AtRoot:
		a.Reason = wire.ReasonDigestMismatch
	case a.Reason == wire.ReasonDigestMismatch:
		a.Reason = wire.ReasonBadChunk // it asks for the root, which is not meant
	}
	out.Ask, out.AskTo = a, t.root.addr
}

// Done returns the last report to the root: this device is complete.
func (t *Follower) Done(me Self, out *Output) {
	if !t.root.peer.IsZero() {
		t.ask(me, out)
	}
}

func (t *Follower) jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(t.rnd.Int64N(int64(most)))
}
