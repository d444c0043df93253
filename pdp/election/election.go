// Package election decides who is root of one file on one subnet, from one
// device's view: listen, claim tentatively, repeat, confirm, bump the strength
// (docs/ORIGINAL.md, "The election on a console"), with suppression so that a
// thousand devices woken together send a handful of claims.
//
// Import it to choose one of many equal devices by broadcasts, where a device
// that has more of something should come first. Its caller gives each input to
// an Election: Claim and Resign what it heard, Hold what the device has, Tick
// when the Deadline has come. Each fills an Output: whether to broadcast a
// claim now, which carries Rank, and whether State has changed.
//
// What lives here: the states of a claim, the comparison of claims, who is
// distrusted. What must not: messages of the tree or the transfer, sockets,
// clocks, goroutines. Time is an argument: the monotonic time since the driver
// started. Read Election first, then claim.go.
package election

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// Config holds the times of an election. Validate refuses the zero value of
// every field: take a preset and change it.
type Config struct {
	// Listen is the longest wait before the first claim. The wait is drawn
	// from an exponential that is dense at its end, so that the first of many
	// devices comes early and few follow it before they hear it. 32 ms leaves
	// a few milliseconds, the time of a broadcast, between the first ones of a
	// thousand.
	Listen time.Duration
	// ClaimEvery is the time between tentative claims, and from the last one
	// to the confirmation. 12 ms is enough to hear an objection on a wired
	// subnet.
	ClaimEvery time.Duration
	// Claims is the number of tentative claims: with 3 of them two lost
	// broadcasts in a row do not make two roots.
	Claims int
	// Announce is the time between a confirmed root's claims, and between
	// announcements of a direct download. 600 ms tells a device that wakes
	// late soon, and costs two datagrams a second.
	Announce time.Duration
	// Answer is the least time between a root's answers to weaker claims. At
	// 20 ms many that claim together are answered by few broadcasts.
	Answer time.Duration
	// Challenge is how long a root may leave a weaker confirmed claim
	// unanswered before its followers change over. 200 ms is ten times Answer:
	// a live root has answered by then.
	Challenge time.Duration
	// Ignore is how long a root that was left for a challenger, or was silent,
	// is ignored. 5 s, so that followers do not go back and forth, and a root
	// that was only delayed is soon heard again.
	Ignore time.Duration
	// Holder is the longest wait before a complete holder answers a claim. It
	// must be less than Claims × ClaimEvery: a holder then answers before the
	// claim is confirmed. 24 ms of the 36.
	Holder time.Duration
	// HeadStart is how long the others leave the claim to the successor that a
	// root named. 150 ms is more than a whole election takes.
	HeadStart time.Duration
	// Distrust is how long claims from the address of a root that failed are
	// ignored, the first time. A minute: long enough for a site to continue
	// without it, short enough for an honest root that failed once.
	Distrust time.Duration
}

// LAN is the preset for wired subnets, where a broadcast reaches everybody
// within a few milliseconds.
func LAN() Config {
	return Config{
		Listen: 32 * time.Millisecond, ClaimEvery: 12 * time.Millisecond, Claims: 3,
		Announce: 600 * time.Millisecond, Answer: 20 * time.Millisecond,
		Challenge: 200 * time.Millisecond, Ignore: 5 * time.Second, Holder: 24 * time.Millisecond,
		HeadStart: 150 * time.Millisecond, Distrust: time.Minute,
	}
}

// Validate refuses times that cannot work.
func (c Config) Validate() error {
	for _, d := range []time.Duration{c.Listen, c.ClaimEvery, c.Announce, c.Answer, c.Challenge, c.Ignore, c.Holder,
		c.HeadStart, c.Distrust} {
		if d <= 0 {
			return errors.New("election: every time must be positive")
		}
	}
	if c.Claims < 1 {
		return errors.New("election: at least one claim is needed")
	}
	if c.Holder >= time.Duration(c.Claims)*c.ClaimEvery {
		return errors.New("election: holders must be able to answer before a claim is confirmed")
	}
	return nil
}

// State of a device in the election of one file.
type State uint8

// The states. A device that holds the complete file and is not needed is in
// Holding; one whose root left and which needs none is in Orphan.
const (
	Idle      State = iota // not started
	Listening              // waiting before the first claim
	Deferring              // heard a tentative claim that is not weaker
	Tentative              // claiming
	Root                   // confirmed
	Following              // another device is root
	Holding                // complete, silent until somebody claims
	Resting                // stepped down, does not claim for a while
	Orphan                 // the root left; nothing is needed from one now
)

var stateNames = [...]string{"idle", "listening", "deferring", "ClaimRoot(tent)", "root", "following", "holding",
	"resting", "orphan"}

// String returns the state's name; for a claim that of Cisco's original.
func (s State) String() string { return stateNames[s] }

// Candidate is a peer that claims to be root.
type Candidate struct {
	Peer wire.Peer
	// Addr is the source of its datagrams, Links where it takes children.
	Addr, Links netip.AddrPort
	// Claim is the last one heard, at Heard.
	Claim wire.Claim
	Heard time.Duration
}

// Output collects the results of one input.
type Output struct {
	// Broadcast is set when a claim is to be broadcast now.
	Broadcast bool
	// Answer says that the broadcast answers a claim.
	Answer bool
	// Resign is broadcast when the device stops being root.
	Resign *wire.Resign
	// Changed is set when State or Root changed, and Reason says why.
	Changed bool
	Reason  wire.Reason
}

// Election is the state of one device. Use New.
type Election struct {
	cfg  Config
	self wire.Peer
	rnd  *rand.Rand

	state    State
	holding  wire.Rank // Complete and Prefix as they are now
	served   int64     // bytes that came to this device from the origin
	strength uint32
	yields   bool
	frozen   wire.Rank // of this device's confirmed claim
	reason   wire.Reason

	root      Candidate // valid in Following; in Deferring the candidate deferred to
	challenge Candidate // a weaker confirmed root that the root has not answered
	other     Candidate // the last weaker confirmed root heard of while following
	sent      int       // tentative claims sent
	late      int       // how often the confirmation was put off
	wake      time.Duration
	awake     bool
	lastClaim time.Duration
	claimed   bool
	answer    time.Duration // when a holder's answer is due
	answering bool
	needed    bool          // the answer is to a device that the root does not serve
	object    time.Duration // when a follower that holds more than a claimant
	objecting bool          // claims too, unless the root lives
	distrust  map[netip.Addr]time.Duration
	distrusts map[netip.Addr]uint          // how often a root there was distrusted
	resigned  map[netip.Addr]time.Duration // when a root there stepped down last
	silent    map[netip.Addr]uint          // how often a root there was left for a challenger
	claims    map[netip.Addr]uint          // how often one there claimed and did not become root, since one did
}

// New returns the election of one file for the device self.
func New(cfg Config, self wire.Peer, rnd *rand.Rand) *Election {
	return &Election{cfg: cfg, self: self, rnd: rnd, distrust: map[netip.Addr]time.Duration{},
		distrusts: map[netip.Addr]uint{}, resigned: map[netip.Addr]time.Duration{},
		silent: map[netip.Addr]uint{}, claims: map[netip.Addr]uint{}}
}

// State returns the device's state.
func (e *Election) State() State { return e.state }

// Root returns the root that the device follows, nil if it follows none.
func (e *Election) Root() *Candidate {
	if e.state != Following {
		return nil
	}
	return &e.root
}

// Expected returns the root that the device follows or gives way to, nil if there
// is none.
func (e *Election) Expected() *Candidate {
	if e.state != Following && e.state != Deferring {
		return nil
	}
	return &e.root
}

// Hold tells what the device holds now, which its claims carry until one is
// confirmed, and how many bytes of the file came to it from the origin in its
// present download.
func (e *Election) Hold(prefix int, complete bool, served int64) {
	e.holding.Prefix, e.holding.Complete, e.served = prefix, complete, served
	if e.state == Root && complete && !e.frozen.Complete {
		// Only this raises a frozen rank: no device that holds less may
		// displace a root that holds all.
		e.frozen.Prefix, e.frozen.Complete = prefix, true
	}
}

// Rank returns the rank that a claim sent now carries, and why it is made.
func (e *Election) Rank() (wire.Rank, wire.Reason) {
	if e.state == Root {
		return e.frozen, e.reason
	}
	r := e.holding
	r.Strength = e.strength
	return r, e.reason
}

// Deadline returns when Tick is due.
func (e *Election) Deadline() (time.Duration, bool) {
	at, ok := e.wake, e.awake
	if e.answering && (!ok || e.answer < at) {
		at, ok = e.answer, true
	}
	if e.objecting && (!ok || e.object < at) {
		at, ok = e.object, true
	}
	return at, ok
}

// Start begins the election, or a new one, for the given reason. A complete
// holder only waits until it is needed.
func (e *Election) Start(now time.Duration, why wire.Reason, out *Output) {
	if e.holding.Complete {
		e.enter(Holding, why, out)
		e.awake = false
		return
	}
	e.listen(now, e.cfg.Listen, why, out)
}

// Claimable makes a device that follows nobody claim soon: it has found what a
// root needs.
func (e *Election) Claimable(now time.Duration, out *Output) {
	if e.state == Orphan || e.state == Resting {
		e.listen(now, e.cfg.Listen/4, wire.ReasonLongestPrefix, out)
	}
}

// rest leaves the election to others until the given time; any claimant is
// followed.
func (e *Election) rest(until time.Duration, why wire.Reason, out *Output) {
	e.enter(Resting, why, out)
	e.wake, e.awake = until, true
}

// StepDown resigns as root and rests. A named successor claims first.
func (e *Election) StepDown(now time.Duration, r wire.Resign, rest time.Duration, out *Output) {
	out.Resign = &r
	e.rest(now+rest, r.Reason, out)
}

// Quiet ends the announcements of a root that holds the complete file and that
// nobody needs any more.
func (e *Election) Quiet(out *Output) {
	if e.state == Root && e.holding.Complete {
		e.enter(Holding, wire.ReasonDone, out)
		e.awake = false
	}
}

// RootLost tells that the root does not answer, or needs replacing.
func (e *Election) RootLost(now time.Duration, why wire.Reason, out *Output) {
	if e.state != Following && e.state != Orphan {
		return
	}
	if e.holding.Complete {
		e.Start(now, why, out)
		return
	}
	// The devices that notice hold the longest prefixes, so a short wait is
	// enough.
	e.listen(now, e.cfg.Listen/4, why, out)
}

// mostAddresses bounds the addresses that are remembered.
const mostAddresses = 64

// count counts once more for an address, if there is room, and returns how often it did before.
func count(m map[netip.Addr]uint, a netip.Addr) uint {
	n := m[a]
	if n > 0 || len(m) < mostAddresses {
		m[a] = n + 1
	}
	return n
}

// IgnoreFor returns how long the root at an address will be ignored if it fails
// now: twice as long each time, because otherwise a site with a liar would
// start over every minute. Being silent once may be an accident, and so may a claim after
// a resignation.
func (e *Election) IgnoreFor(a netip.Addr, why wire.Reason) time.Duration {
	n := e.distrusts[a]
	if n == 0 && (why == wire.ReasonRootSilent || why == wire.ReasonUnreachable || why == wire.ReasonRootResigned) {
		return e.cfg.Ignore
	}
	return e.cfg.Distrust << min(n, 6)
}

// WasDistrusted reports whether a root at an address has failed before.
func (e *Election) WasDistrusted(a netip.Addr) bool { return e.distrusts[a] > 0 }

// Distrust stops listening to claims from an address for a while: its root
// failed. If it is the root, another root that was heard a moment ago is
// followed, since others may still follow that one; otherwise the election
// starts again.
func (e *Election) Distrust(now time.Duration, a netip.Addr, why wire.Reason, out *Output) {
	e.ignore(now, a, e.IgnoreFor(a, why))
	count(e.distrusts, a)
	if (e.state != Following && e.state != Deferring) || e.root.Addr.Addr() != a {
		return
	}
	e.state = Following
	if o := e.other; !o.Peer.IsZero() && now-o.Heard <= 2*e.cfg.Announce && !e.Distrusted(now, o.Addr.Addr()) {
		e.other = Candidate{}
		e.follow(o, why, out)
		return
	}
	e.RootLost(now, why, out)
}

// GiveWay follows another root that has shown that it serves, whatever was thought of it.
func (e *Election) GiveWay(now time.Duration, c Candidate, out *Output) {
	if e.state != Root {
		return
	}
	a := c.Addr.Addr()
	delete(e.distrust, a)
	delete(e.distrusts, a)
	c.Heard = now
	e.follow(c, wire.ReasonOutranked, out)
}

// ignore ignores claims from an address for some time. A subnet full of liars
// must not fill the memory: if there are too many addresses, the one that
// expires first is dropped.
func (e *Election) ignore(now time.Duration, a netip.Addr, d time.Duration) {
	var oldest netip.Addr
	for k, until := range e.distrust {
		if until <= now {
			delete(e.distrust, k)
		} else if o := e.distrust[oldest]; o == 0 || until < o || until == o && k.Less(oldest) {
			oldest = k
		}
	}
	if len(e.distrust) >= mostAddresses {
		delete(e.distrust, oldest)
	}
	e.distrust[a] = max(e.distrust[a], now+d)
}

// Distrusted reports whether claims from an address are ignored now.
func (e *Election) Distrusted(now time.Duration, a netip.Addr) bool {
	return e.distrust[a] > now
}

// listen waits a random part of most before claiming.
func (e *Election) listen(now, most time.Duration, why wire.Reason, out *Output) {
	e.enter(Listening, why, out)
	e.strength = e.rnd.Uint32() >> 1
	e.wake, e.awake = now+e.early(most), true
	if e.yields {
		e.strength, e.wake = 0, e.wake+e.cfg.HeadStart
	}
}

// Yield says whether the device leaves being root to others: it claims after them, and
// with the least strength. A root remains one.
func (e *Election) Yield(on bool) { e.yields = on }

// early draws from an exponential truncated at most and dense at its end: of
// n devices that draw, the first comes at about most·(1 − ln(n)/8) and the
// next ones follow it far enough apart to hear it (Nonnenmacher and Biersack
// 1999, with a density for up to some thousand devices).
func (e *Election) early(most time.Duration) time.Duration {
	const density = 8
	u := e.rnd.Float64()
	return time.Duration(float64(most) / density * math.Log1p(u*math.Expm1(density)))
}

// enter changes the state.
func (e *Election) enter(s State, why wire.Reason, out *Output) {
	if s == e.state && s != Following {
		return
	}
	e.state = s
	e.answering, e.objecting = false, false
	e.challenge = Candidate{}
	out.Changed, out.Reason = true, why
}
