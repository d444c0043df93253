package carrier

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
)

// Machine is one device. Use New, then Step with a Tick to begin.
type Machine struct {
	cfg  Config
	self wire.Peer
	rnd  *rand.Rand
	elec *election.Election

	now     time.Duration
	out     []Action
	begun   bool
	up      uplink
	carried carrying
	own     connection
	reports reporting
	// serves says that somebody serves this device, served when that was last so.
	serves bool
	served time.Duration
	// losses counts links to the carrier at lossOf that broke, since lossesAt.
	losses   int
	lossOf   netip.Addr
	lossesAt time.Duration
	nextDial Link
}

// New returns the machine of the device self.
func New(cfg Config, self wire.Peer, rnd *rand.Rand) *Machine {
	return &Machine{cfg: cfg, self: self, rnd: rnd, elec: election.New(cfg.Election, self, rnd),
		carried: carrying{followers: map[Link]*follower{}}, own: connection{wait: cfg.Retry}}
}

// Carries reports whether this device is the carrier, or alone.
func (m *Machine) Carries() bool { return m.elec.State() == election.Root }

// Served returns the link to the carrier that serves this device, and the controller's
// feed that it passes on; 0 if none does.
func (m *Machine) Served() (l Link, feed string) {
	if m.up.covered(m.cfg, m.now) {
		return m.up.link, m.up.feed
	}
	return 0, ""
}

// Connected reports whether the controller's orders come, by whatever way.
func (m *Machine) Connected() bool { return m.own.up || m.up.covered(m.cfg, m.now) }

// Step takes an event at a time since the start and returns what follows, in order.
func (m *Machine) Step(now time.Duration, in Event) []Action {
	m.now, m.out = now, nil
	if !m.begun {
		m.begun, m.served = true, now
		m.elect(func(o *election.Output) { m.elec.Start(now, wire.ReasonNone, o) })
	}
	switch in := in.(type) {
	case Datagram:
		m.datagram(in)
	case Accepted:
		m.accepted(in)
	case Mandated:
		m.mandated(in)
	case Opened:
		m.opened(in)
	case Closed:
		m.closed(in)
	case Asked:
		m.asked(in)
	case Covered:
		m.up.cover(m.cfg, now, in)
	case Beat:
		m.up.beat(m.cfg, now, in)
	case Numbered:
		m.up.number(in)
	case Linked:
		m.own.linked(now, m.cfg)
	case Unlinked:
		m.unlinked(in)
	case Line:
		m.line(in)
	case Reporting:
		m.reportSelf()
	case Answered:
		m.answered(in)
	case Handed:
		m.handed(in)
	case HandedOver:
		m.handedOver(in)
	}
	m.settle()
	return m.out
}

func (m *Machine) act(a Action) { m.out = append(m.out, a) }

// settle does what is due. What it does may make something else due at once.
func (m *Machine) settle() {
	if at, ok := m.elec.Deadline(); ok && at <= m.now {
		m.elect(func(o *election.Output) { m.elec.Tick(m.now, o) })
	}
	m.watchCarrier()
	m.carry()
	m.connect()
	m.report()
}

// Deadline is when a Tick is due.
func (m *Machine) Deadline() (time.Duration, bool) {
	at, ok := m.elec.Deadline()
	for _, d := range []due{m.up.due(m.cfg, m.now, m.elec.Root()), m.carried.due(), m.connectDue(), m.blameDue(),
		m.reports.due()} {
		if d.ok && (!ok || d.at < at) {
			at, ok = d.at, true
		}
	}
	return at, ok
}

// due is when something is to be done, if ok.
type due struct {
	at time.Duration
	ok bool
}

// elect gives the election an input and carries out its output.
func (m *Machine) elect(f func(*election.Output)) {
	var o election.Output
	was := m.elec.State()
	f(&o)
	if o.Changed {
		m.changed(was)
	}
	if o.Broadcast {
		rank, why := m.elec.Rank()
		m.act(Broadcast{&wire.Claim{Rank: rank, Reason: why, Members: uint16(len(m.carried.followers))}})
	}
}

// changed carries out a new state of the election.
func (m *Machine) changed(was election.State) {
	is := m.elec.State()
	if was == election.Root && is != election.Root {
		m.endCarrying(wire.ReasonOutranked)
	}
	if r := m.elec.Root(); r == nil || r.Peer != m.up.peer || r.Links != m.up.addr {
		m.leave(wire.ReasonRootLost)
	}
	if is == election.Root && was != election.Root {
		m.carried.begin(m.now, m.cfg)
	}
	if r := m.elec.Root(); r != nil && m.up.peer.IsZero() {
		m.follow(r)
	}
}

func (m *Machine) datagram(in Datagram) {
	switch msg := in.Msg.(type) {
	case *wire.Claim:
		c := election.Candidate{Peer: in.Env.From, Addr: in.From, Claim: *msg,
			Links: netip.AddrPortFrom(in.From.Addr(), in.Env.TCPPort)}
		// It belongs to no file: there is nothing of which one could have more.
		c.Claim.Rank.Complete, c.Claim.Rank.Prefix = false, 0
		c.Claim.Complete, c.Claim.Prefix, c.Claim.Bytes = false, 0, 0
		m.elect(func(o *election.Output) { m.elec.Claim(m.now, c, o) })
	case *wire.Resign:
		m.elect(func(o *election.Output) { m.elec.Resign(m.now, in.Env.From, msg, true, o) })
	}
}

// Stop tells the others that this device leaves.
func (m *Machine) Stop(now time.Duration) []Action {
	m.now, m.out = now, nil
	if m.Carries() {
		m.act(Broadcast{&wire.Resign{Reason: wire.ReasonStopped}})
		m.endCarrying(wire.ReasonStopped)
	}
	m.leave(wire.ReasonStopped)
	return m.out
}

// random draws a time below most.
func (m *Machine) random(most time.Duration) time.Duration {
	return time.Duration(m.rnd.Int64N(int64(most)))
}
