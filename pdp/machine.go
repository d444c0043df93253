package pdp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// File is the file that a machine is for.
type File struct {
	Hierarchy wire.Hierarchy
	// Name and Model are for people.
	Name, Model string
	// Size in bytes, or load.UnknownSize; then the root or the origin tells.
	Size int64
	// Signed: each chunk is checked against a signed table.
	Signed bool
	// Keyed: the hierarchy's key is the content's digest, so that all peers
	// speak of the same bytes whatever their epoch.
	Keyed bool
}

// Self is the device.
type Self struct {
	Peer wire.Peer
	// Addr is where it takes datagrams, for people; TCPPort where it takes
	// children.
	Addr netip.AddrPort
}

// Machine is one hierarchy seen from one device. Use New.
type Machine struct {
	cfg  Config
	self Self
	file File
	rnd  *rand.Rand

	el         *election.Election
	all        [wire.MaxStripes]*side // of the trees, by stripe
	trees      uint8                  // that the file takes; 0: nobody has told it yet
	placer     *tree.Placer           // while root
	feed       *transfer.Feed
	rootWatch  *follower.RootWatch
	watched    []*watched // the roots followed lately
	held       *held
	origin     *originSide
	fallback   *fallback
	prepared   bool
	originAt   time.Duration // as root: no download before
	mismatches int           // wrong whole files that this device saw
	wrongRoots int           // roots that resigned for that meanwhile

	// Without a signed table: the whole was wrong, and the root is asked.
	suspect   bool
	mended    bool          // its table told what was wrong
	suspectAt time.Duration // not longer than this
	tableFor  []Link        // children that wait for this device's table

	quietAt    time.Duration
	keepAlive  time.Duration
	stayUntil  time.Duration // not idle before
	doubted    wire.Peer     // a root that answered no asks, or took no link
	doubts     int           // so many times in a row
	slowParent wire.Peer     // the first that was too slow
	leaf       bool          // this device is slow itself: no children
	moveAt     time.Duration // as a leaf: when it may try another parent
	moveWait   time.Duration
	complaints []wire.Peer // children that find this root too slow
	port       speedometer // of what this device sends
	gauge      gauge       // of what it receives as root
	tries      int         // handovers to a faster port that were made or heard of
	conflicts  map[wire.Peer]bool
	banned     map[netip.Addr]time.Duration // children that took no bytes

	started, ended bool
	now            time.Duration
	out            []Action
}

// New returns the machine of a file. The configuration must be valid.
func New(cfg Config, self Self, file File, rnd *rand.Rand) *Machine {
	m := &Machine{
		cfg: cfg, self: self, file: file, rnd: rnd,
		el:        election.New(cfg.Election, self.Peer, rnd),
		feed:      transfer.NewFeed(cfg.Transfer),
		conflicts: map[wire.Peer]bool{}, banned: map[netip.Addr]time.Duration{},
	}
	links := new(follower.Links)
	for s := range m.all {
		m.all[s] = &side{stripe: uint8(s), follower: follower.New(cfg.Tree, self.Peer, uint8(s), links, rnd)}
	}
	m.held, m.origin, m.fallback = newHeld(m), newOriginSide(m), newFallback(m)
	return m
}

// Step takes an event, or nil when a deadline came, and appends the actions
// that follow to out.
func (m *Machine) Step(now time.Duration, in Event, out []Action) []Action {
	m.now, m.out = now, out
	if !m.ended && (m.started || isStart(in)) {
		if in != nil {
			m.take(in)
		}
		m.settle()
		// What was settled may make more due at once: leaving a parent makes
		// the ask for another due. It ends after a few rounds.
		for range 8 {
			if at, ok := m.Deadline(); !ok || at > now {
				break
			}
			m.settle()
		}
	}
	out, m.out = m.out, nil
	return out
}

func isStart(in Event) bool { _, ok := in.(Start); return ok }

// take dispatches an event.
func (m *Machine) take(in Event) {
	switch e := in.(type) {
	case Start:
		m.start(e)
	case Datagram:
		m.datagram(e)
	case Accepted:
		m.accepted(e)
	case Opened:
		m.openedLink(e.Link)
	case Framed:
		m.framed(e)
	case Active:
		if s := m.of(e.Link); s != nil && s.watch != nil {
			s.watch.Active(m.now)
		}
	case Stored:
		m.stored(e)
	case Bad:
		m.bad(e)
	case Sent:
		m.feed.Sent(m.now, e.Link)
		m.port.seen(m.now, e.Rate)
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
		m.compared(e)
	case DiskFailed:
		m.giveUp(wire.ReasonDisk)
	case Gate:
		m.origin.gate(e)
	case Stop:
		m.stop()
	}
}

func (m *Machine) start(e Start) {
	m.started = true
	m.fallback.start()
	m.held.start(e)
	m.el.Hold(m.held.Prefix(), m.held.complete(), m.origin.bytes)
	m.elect(func(o *election.Output) { m.el.Start(m.now, wire.ReasonNone, o) })
}

// settle does what is due and what has become possible.
func (m *Machine) settle() {
	if m.ended {
		return
	}
	if m.suspect {
		m.el.Hold(0, false, m.origin.bytes) // what may be wrong is no claim to anything
	} else {
		m.el.Hold(m.held.Prefix(), m.held.complete(), m.origin.bytes)
	}
	if at, ok := m.el.Deadline(); ok && at <= m.now {
		m.elect(func(o *election.Output) { m.el.Tick(m.now, o) })
	}
	for _, s := range m.sides() {
		if at, ok := s.follower.Deadline(); ok && at <= m.now && !m.waits(s) {
			m.tree(s, func(o *follower.Output) { s.follower.Tick(m.now, m.me(s), o) })
		}
	}
	m.settleChild()
	m.settleRoot()
	m.fallback.settle()
	m.settleParent()
	m.held.settle()
	m.settleTable()
	m.settleTables()
}

// Deadline returns when Step(at, nil) is due; ok is false if only an event
// can change anything.
func (m *Machine) Deadline() (at time.Duration, ok bool) {
	if !m.started || m.ended {
		return 0, false
	}
	earliest := func(t time.Duration, due bool) {
		if due && (!ok || t < at) {
			at, ok = t, true
		}
	}
	earliest(m.el.Deadline())
	for _, s := range m.sides() {
		if at, ok := s.follower.Deadline(); !m.waits(s) {
			earliest(at, ok)
		}
	}
	earliest(m.childDeadline())
	earliest(m.rootDeadline())
	earliest(m.fallback.deadline())
	earliest(m.parentDeadline())
	earliest(m.suspectUntil(), m.suspect && !m.held.complete())
	earliest(m.stayUntil, m.stayUntil > m.now)
	return at, ok
}

// datagram takes a message of this hierarchy.
func (m *Machine) datagram(e Datagram) {
	from := e.Env.From
	if from == m.self.Peer {
		return
	}
	if from.ID == m.self.Peer.ID && !m.conflicts[from] && len(m.conflicts) < 16 {
		m.conflicts[from] = true
		m.note(report.KindConflict, wire.ReasonDuplicateID, e.From,
			"another device carries the id %016x: give one of them its own", from.ID)
	}
	c := election.Candidate{Peer: from, Addr: e.From, Links: netip.AddrPortFrom(e.From.Addr(), e.Env.TCPPort)}
	switch msg := e.Msg.(type) {
	case *wire.Claim:
		c.Claim = *msg
		m.heardClaim(c)
	case *wire.Ask:
		m.heardAsk(e, msg)
	case *wire.Place:
		m.placed(from, msg)
	case *wire.Resign:
		m.heardResign(e, msg)
	case *wire.Direct:
		m.fallback.heardDirect(c, msg)
	}
}

// giveUp ends the run: the file is not coming.
func (m *Machine) giveUp(why wire.Reason) {
	m.goodbye(why, wire.Peer{}, 0)
	m.act(Fail{Reason: why})
	m.ended = true
}

// stop ends the run on request.
func (m *Machine) stop() {
	next := m.heir()
	if m.held.complete() {
		next = wire.Peer{}
	}
	m.goodbye(wire.ReasonStopped, next, 0)
	m.ended = true
}

// goodbye leaves the hierarchy: the root resigns, links are closed.
func (m *Machine) goodbye(why wire.Reason, next wire.Peer, backoff time.Duration) {
	m.origin.stop()
	m.fallback.release()
	if m.el.State() == election.Root {
		m.act(Broadcast{&wire.Resign{Reason: why, Successor: next, Backoff: uint32(backoff / time.Millisecond)}})
	}
	for _, c := range append([]*transfer.Child(nil), m.feed.Children()...) {
		m.dismiss(c.Link, why)
	}
	m.leaveAll(why)
}

// Idle reports whether nobody needs this device: it is complete, its children
// are, and as root it knows of nobody who waits, nor did when it ceased to be
// root a while ago.
func (m *Machine) Idle() bool {
	if !m.held.complete() || m.feed.Busy() || m.now < m.stayUntil {
		return false
	}
	return m.placer == nil || m.placer.Waiting(m.now) == 0
}

func (m *Machine) act(a Action) { m.out = append(m.out, a) }

func (m *Machine) note(kind string, why wire.Reason, peer netip.AddrPort, format string, args ...any) {
	m.act(Note{Kind: kind, Reason: why, Peer: peer, Text: fmt.Sprintf(format, args...)})
}
