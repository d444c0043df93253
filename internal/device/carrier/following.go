package carrier

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
)

// uplink is what this device knows of the carrier that it follows.
type uplink struct {
	peer wire.Peer // zero if it follows none
	addr netip.AddrPort
	link Link // 0 before it is dialled
	open bool
	dial time.Duration // when to dial, or since when it is dialled
	// since is when this device began to follow.
	since time.Duration

	// nonce is that of the last mandate, drawn at mandated; 0 for none.
	nonce    uint32
	mandated time.Duration

	// feed is the controller's that covers this device, "" for none. asked is when its
	// mandate was drawn, by the time of this device, and first the controller's time
	// of the cover, which is not before asked.
	feed  string
	asked time.Duration
	first time.Time
	// last is the controller's time of the last beat, and heard when it came; seen is
	// the number of the last order, and gap says that one was lacking.
	last  time.Time
	heard time.Duration
	seen  uint64
	gap   bool
	// next is the feed of which orders came that does not cover this device yet, and
	// came how many, without a gap from the first on.
	next string
	came uint64
}

// covered reports whether the carrier serves this device.
func (u *uplink) covered(cfg Config, now time.Duration) bool {
	return u.feed != "" && !u.gap && now < u.heard+cfg.Late
}

// delay bounds how long what the controller has signed at a time was on its way.
func (u *uplink) delay(now time.Duration, at time.Time) time.Duration {
	return now - u.asked - at.Sub(u.first)
}

// cover takes a cover. One that is not for the last mandate, or came late, may be an
// old one that was kept back. All orders must have come that the feed has had before:
// else a carrier could begin a new feed again and again, and keep orders back.
func (u *uplink) cover(cfg Config, now time.Duration, in Covered) {
	if in.Link != u.link || u.nonce == 0 || in.Nonce != u.nonce || now-u.mandated > cfg.Late || in.Feed == "" {
		return
	}
	if in.Feed != u.next {
		u.next, u.came = in.Feed, 0
	}
	if u.came != in.Last {
		u.gap = true
		return
	}
	u.feed, u.asked, u.first = in.Feed, u.mandated, in.Time
	u.last, u.heard, u.seen, u.gap = in.Time, now-max(0, now-u.mandated-slack), in.Last, false
	u.nonce = 0
}

// beat takes a sign of life. It counts if it is newer than the last one, not old, and
// if all orders came that it tells of.
func (u *uplink) beat(cfg Config, now time.Duration, in Beat) {
	if in.Link != u.link || in.Feed != u.feed || !in.Time.After(u.last) || u.delay(now, in.Time) > cfg.Late {
		return
	}
	if u.last = in.Time; in.Last > u.seen {
		u.gap = true
	}
	// It is as good as if it had come when it was made.
	u.heard = max(u.heard, now-max(0, u.delay(now, in.Time)-slack))
}

// slack is by how much a delay may be overrated: controllers tell whole seconds, and
// a cover takes its time.
const slack = 5 * time.Second

// number takes the number of an order: they come one after the other.
func (u *uplink) number(in Numbered) {
	switch {
	case in.Link != u.link:
	case in.Feed != u.feed:
		if in.Feed != u.next {
			u.next, u.came = in.Feed, 0
		}
		if in.Number == u.came+1 {
			u.came++
		}
	case in.Number == u.seen+1:
		u.seen++
	case in.Number > u.seen:
		u.gap = true
	}
}

// due is when to dial, to give a dial up, or when the carrier is silent or late.
func (u *uplink) due(cfg Config, now time.Duration, root *election.Candidate) due {
	if u.peer.IsZero() || root == nil {
		return due{}
	}
	at := root.Heard + cfg.Silent
	switch {
	case u.link == 0:
		at = min(at, u.dial)
	case !u.open:
		at = min(at, u.dial+cfg.Dial)
	case u.covered(cfg, now):
		at = min(at, u.heard+cfg.Late)
	}
	return due{at, true}
}

// follow begins to follow a carrier.
func (m *Machine) follow(r *election.Candidate) {
	m.up = uplink{peer: r.Peer, addr: r.Links, since: m.now, dial: m.now + m.random(m.cfg.Spread)}
}

// leave leaves the carrier, if there is one.
func (m *Machine) leave(why wire.Reason) {
	if m.up.link != 0 {
		m.act(Drop{m.up.link, why})
	}
	m.up = uplink{}
}

// watchCarrier does what is due with the carrier.
func (m *Machine) watchCarrier() {
	root := m.elec.Root()
	if root == nil || m.up.peer.IsZero() {
		return
	}
	switch u := &m.up; {
	case m.now >= root.Heard+m.cfg.Silent:
		m.elect(func(o *election.Output) { m.elec.RootLost(m.now, wire.ReasonRootSilent, o) })
	case u.link == 0 && m.now >= u.dial:
		m.nextDial--
		u.link, u.dial = m.nextDial, m.now
		m.act(Dial{u.link, u.addr})
	case u.link != 0 && !u.open && m.now >= u.dial+m.cfg.Dial:
		m.distrust(wire.ReasonUnreachable)
	case u.gap:
		m.distrust(wire.ReasonProtocol)
	case m.atFault():
		m.distrust(wire.ReasonRootStalled)
	}
}

// atFault reports whether the carrier does not serve though the controller can be
// reached.
func (m *Machine) atFault() bool {
	d := m.blameDue()
	return d.ok && m.now >= d.at
}

// blameDue is when a carrier is at fault if it does not serve until then.
func (m *Machine) blameDue() due {
	if m.up.peer.IsZero() || !m.own.up || m.up.covered(m.cfg, m.now) {
		return due{}
	}
	return due{max(m.own.since, m.up.since) + m.cfg.Prove, true}
}

// distrust leaves a carrier that has failed, and does not hear it for a while.
func (m *Machine) distrust(why wire.Reason) {
	addr := m.up.addr.Addr()
	m.leave(why)
	m.elect(func(o *election.Output) { m.elec.Distrust(m.now, addr, why, o) })
}

func (m *Machine) opened(in Opened) {
	if in.Link == m.up.link {
		m.up.open = true
	}
}

const (
	// mostLosses is how many links to one carrier may break within lossTime for it to
	// be an accident.
	mostLosses = 6
	lossTime   = time.Minute
)

// closed takes the end of a link. If it is that to the carrier, that has died, as a
// rule.
func (m *Machine) closed(in Closed) {
	if in.Link > 0 {
		delete(m.carried.followers, in.Link)
		return
	}
	if in.Link != m.up.link || in.Link == 0 {
		return
	}
	was, addr := m.up, m.up.addr.Addr()
	m.up.link = 0 // it is gone
	if m.lossOf != addr || m.now-m.lossesAt > lossTime {
		m.losses, m.lossOf, m.lossesAt = 0, addr, m.now
	}
	m.losses++
	switch {
	case m.losses >= mostLosses, !was.open && in.Reason != wire.ReasonParentLost && !steppedDown(in.Reason):
		m.distrust(in.Reason)
		return
	case !was.open && in.Reason == wire.ReasonParentLost: // too many come at once, or it has just died
		m.up.dial = m.now + m.random(m.cfg.Again)
		return
	}
	m.leave(in.Reason)
	m.elect(func(o *election.Output) { m.elec.RootLost(m.now, wire.ReasonRootLost, o) })
}

// steppedDown reports whether a carrier has said that it is none any more: nothing is
// wrong with it.
func steppedDown(why wire.Reason) bool {
	return why == wire.ReasonRootResigned || why == wire.ReasonOutranked || why == wire.ReasonStopped
}

// asked gives the carrier a mandate.
func (m *Machine) asked(in Asked) {
	if in.Link != m.up.link || !m.up.open {
		return
	}
	m.up.nonce, m.up.mandated = m.rnd.Uint32()|1, m.now
	m.act(Mandate{in.Link, in.Carrier, m.up.nonce})
}
