package pdp

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/chunks"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// File is the file that a machine is for.
type File struct {
	Hierarchy wire.Hierarchy
	// Name and Model are for people.
	Name, Model string
	// Size in bytes, or load.UnknownSize; then the root or the origin tells it.
	Size int64
	// Signed: each chunk is checked against a signed table.
	Signed bool
	// Keyed: the hierarchy's key is the content's digest, so that all peers
	// mean the same bytes whatever their epoch.
	Keyed bool
}

// Self is the device.
type Self struct {
	Peer wire.Peer
	// Addr is where it takes datagrams, for people; TCPPort where it takes
	// children.
	Addr netip.AddrPort
}

// phase is the phase of a run.
type phase uint8

const (
	waiting phase = iota // for Start
	running
	ended
)

// Machine is one hierarchy seen from one device. Use New.
//
// It passes each event to the parts that it concerns. Each part owns its state:
// only the part itself writes its fields, others call its methods.
type Machine struct {
	cfg  Config
	self Self
	file File
	rnd  *rand.Rand

	el        *candidate
	following *following
	root      *rootSide
	children  *children
	held      *held
	repair    *repair
	origin    *originSide
	fallback  *fallback
	concerns  [7]concern // of them, those with something to do at times
	conflicts conflicts
	yields    bool          // serves others only where nobody else can
	yielded   time.Duration // since when

	phase phase
	clock clock
	now   time.Duration // own time
	out   []Action
}

// clock is a machine's own time: that of the driver without its leaps. A device that
// slept, or whose clock was set, was told nothing in that time; it must not hold that
// against its peers.
type clock struct {
	due     timer         // when the next step is, as of the last one
	late    time.Duration // a deadline that is missed by more was slept through
	at      time.Duration // own time of the last step
	skipped time.Duration // the driver's time less the own
}

// newClock returns the clock of a machine that is late if it misses a deadline by more than
// the given time.
func newClock(late time.Duration) clock { return clock{late: late} }

// read returns the own time. It never goes back, and goes on after a deadline that was
// slept through as if it had been missed by c.late.
func (c *clock) read(now time.Duration) time.Duration {
	own := now - c.skipped
	if c.due.set && own-c.due.at > c.late {
		own = c.due.at + c.late
	}
	if own > c.at {
		c.at = own
	}
	c.skipped = now - c.at
	return c.at
}

// concern is what a part has to do without an event: every deadline has its
// action.
type concern interface {
	// settle does what is due and what has become possible.
	settle()
	// deadline returns when settle is due; ok is false if only an event can
	// change anything.
	deadline() (at time.Duration, ok bool)
}

// New returns the machine of a file. The configuration must be valid.
func New(cfg Config, self Self, file File, rnd *rand.Rand) *Machine {
	m := &Machine{cfg: cfg, self: self, file: file, rnd: rnd, conflicts: conflicts{},
		clock: newClock(cfg.Transfer.Silence)}
	m.el, m.following, m.root, m.children = newCandidate(m), newFollowing(m), newRootSide(m), newChildren(m)
	m.held, m.repair, m.origin, m.fallback = newHeld(m), newRepair(m), newOriginSide(m), newFallback(m)
	m.concerns = [...]concern{m.el, m.following, m.root, m.fallback, m.children, m.held, m.repair}
	return m
}

// Step takes an event, or nil when a deadline came, and appends the actions
// that follow to out. A time that leaps, forward past a deadline or back, is taken as
// that of a device that slept.
func (m *Machine) Step(now time.Duration, in Event, out []Action) []Action {
	m.now, m.out = m.clock.read(now), out
	if e, ok := in.(Yield); ok && m.phase == waiting {
		m.yield(e)
	}
	if _, start := in.(Start); m.phase == running || m.phase == waiting && start {
		if in != nil {
			m.take(in)
		}
		m.settle()
		// What was settled may make more due at once: leaving a parent makes
		// the ask for another due. This ends after a few rounds.
		for range 8 {
			if !m.clock.due.due(m.now) {
				break
			}
			m.settle()
		}
	}
	out, m.out = m.out, nil
	return out
}

// take dispatches an event.
func (m *Machine) take(in Event) {
	switch e := in.(type) {
	case Start:
		m.start(e)
	case Datagram:
		m.datagram(e)
	case Accepted:
		m.children.accepted(e)
	case Opened:
		m.following.opened(e.Link)
	case Framed:
		m.framed(e)
	case Active:
		if s := m.following.of(e.Link); s != nil {
			s.active()
		}
	case Stored:
		m.stored(e)
	case Bad:
		m.bad(e)
	case Sent:
		m.children.sent(e)
	case Closed:
		m.closed(e)
	case OriginOpened:
		m.origin.opened(e)
	case OriginBytes:
		m.origin.received(e)
	case OriginEnded:
		m.origin.ended(e)
	case Verified:
		m.held.verified(e)
	case Compared:
		m.repair.compared(e)
	case DiskFailed:
		m.giveUp(wire.ReasonDisk)
	case Gate:
		m.origin.gate(e)
	case Yield:
		m.yield(e)
	case Stop:
		m.stop()
	}
}

func (m *Machine) start(e Start) {
	m.phase = running
	if m.yields {
		m.noteYield()
	}
	m.fallback.start()
	m.held.start(e)
	m.el.hold()
	m.el.start(wire.ReasonNone)
}

// settle does what is due and what has become possible, and finds when to do so
// again.
func (m *Machine) settle() {
	for _, c := range m.concerns {
		if m.phase == running {
			c.settle()
		}
	}
	m.clock.due.stop()
	if m.phase != running {
		return
	}
	for _, c := range m.concerns {
		if at, ok := c.deadline(); ok && (!m.clock.due.set || at < m.clock.due.at) {
			m.clock.due.start(at)
		}
	}
}

// Deadline returns when Step(at, nil) is due; ok is false if only an event
// can change anything.
func (m *Machine) Deadline() (at time.Duration, ok bool) {
	if at, ok = m.clock.due.deadline(); ok {
		at += m.clock.skipped
	}
	return at, ok
}

// conflicts are the peers that this device has reported for an id that is
// another's too.
type conflicts map[wire.Peer]bool

// add reports whether a peer is to be reported: it has not been yet.
func (c conflicts) add(p wire.Peer) bool {
	const most = 16
	if c[p] || len(c) >= most {
		return false
	}
	c[p] = true
	return true
}

// datagram takes a message of this hierarchy.
func (m *Machine) datagram(e Datagram) {
	from := e.Env.From
	if from == m.self.Peer {
		return
	}
	if from.ID == m.self.Peer.ID && m.conflicts.add(from) {
		m.note(report.KindConflict, wire.ReasonDuplicateID, e.From,
			note.SharesID{ID: from.ID})
	}
	c := election.Candidate{Peer: from, Addr: e.From, Links: netip.AddrPortFrom(e.From.Addr(), e.Env.TCPPort)}
	switch msg := e.Msg.(type) {
	case *wire.Claim:
		c.Claim = *msg
		m.following.heardClaim(c)
	case *wire.Ask:
		m.root.heardAsk(e, msg)
	case *wire.Place:
		m.following.placed(e, msg)
	case *wire.Resign:
		m.following.heardResign(e, msg)
	case *wire.Direct:
		m.fallback.heardDirect(c, msg)
	}
}

// framed takes a control frame from a parent or from a child.
func (m *Machine) framed(e Framed) {
	if e.Link > 0 {
		m.children.framed(e)
	} else if s := m.following.of(e.Link); s != nil {
		s.framed(e)
	}
}

// closed takes the end of a link.
func (m *Machine) closed(e Closed) {
	if e.Link > 0 {
		m.children.gone(e.Link, e.Reason)
	} else if s := m.following.of(e.Link); s != nil {
		s.closed(e.Link, e.Reason)
	}
}

// stored takes a chunk that is on disk.
func (m *Machine) stored(e Stored) {
	fromOrigin := e.Link == 0
	from := chunks.Peer
	if fromOrigin {
		from = chunks.Origin
	}
	m.fallback.review.stored(fromOrigin)
	if fromOrigin {
		m.held.Replaced(e.Index)
	}
	if !m.held.Add(e.Index, from) {
		return // nothing new: a server that starts again and again makes no progress
	}
	m.fallback.probed(fromOrigin)
	m.fallback.gain()
	if fromOrigin {
		m.origin.Progress(m.now)
		m.fallback.fetched()
	} else {
		m.origin.Served(m.now)
	}
	m.following.gain(e.Link)
	if !fromOrigin {
		m.fallback.served()
	}
}

// bad takes a chunk that failed its digest.
func (m *Machine) bad(e Bad) {
	if e.Link == 0 {
		m.origin.failed(wire.ReasonOriginWrong)
	} else {
		m.following.bad(e)
	}
}

// giveUp ends the run: the file cannot be had.
func (m *Machine) giveUp(why wire.Reason) { m.fail(why, 0) }

// fail is giveUp with a back-off that a root asks the subnet for.
func (m *Machine) fail(why wire.Reason, backoff time.Duration) {
	m.goodbye(why, wire.Peer{}, backoff)
	m.act(Fail{Reason: why})
	m.phase = ended
}

// stop ends the run on request.
func (m *Machine) stop() {
	next := m.children.successor()
	if m.held.complete() {
		next = wire.Peer{}
	}
	m.goodbye(wire.ReasonStopped, next, 0)
	m.phase = ended
}

// goodbye leaves the hierarchy: the root resigns, links are closed.
func (m *Machine) goodbye(why wire.Reason, next wire.Peer, backoff time.Duration) {
	m.origin.stop()
	m.fallback.release()
	if m.el.State() == election.Root {
		m.act(Broadcast{&wire.Resign{Reason: why, Successor: next, Backoff: uint32(backoff / time.Millisecond)}})
	}
	m.children.dismissAll(why)
	m.following.leaveAll(why)
}

// Idle reports whether no peer needs this device: it is complete, its children
// are, and as root it knows of no follower that waits, nor did it when it
// ceased to be root a while ago. A root that began just now is not idle.
func (m *Machine) Idle() bool { return m.served() && !m.root.expects() }

// served is Idle whether this root began just now or not.
func (m *Machine) served() bool {
	return m.held.complete() && !m.children.feed.Busy() && !m.root.stays() && m.root.waiting() == 0
}

// Missing appends the chunks that are not held to out, those that are needed most
// first: children are fed in order. While the size is unknown these are all that a
// file may have. A download may bring them in any order.
func (m *Machine) Missing(out []int) []int { return m.held.Missing(out) }

func (m *Machine) act(a Action) { m.out = append(m.out, a) }

func (m *Machine) note(kind string, why wire.Reason, peer netip.AddrPort, what note.Note) {
	m.act(Note{Kind: kind, Reason: why, Peer: peer, What: what})
}

// timer is an instant at which something is due, or none.
type timer struct {
	at  time.Duration
	set bool
}

// start makes something due at an instant.
func (t *timer) start(at time.Duration) { t.at, t.set = at, true }

// stop makes nothing due any more.
func (t *timer) stop() { t.at, t.set = 0, false }

// due reports whether the instant has come.
func (t *timer) due(now time.Duration) bool { return t.set && now >= t.at }

// deadline returns the instant; ok is false if there is none.
func (t *timer) deadline() (at time.Duration, ok bool) { return t.at, t.set }

// sooner is for deadlines: it returns the earlier of two, of which either may be
// none.
func sooner(a time.Duration, aOK bool, b time.Duration, bOK bool) (at time.Duration, ok bool) {
	if aOK && (!bOK || a <= b) {
		return a, true
	}
	return b, bOK
}
