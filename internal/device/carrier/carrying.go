package carrier

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// follower is one that this device carries for.
type follower struct {
	from netip.Addr
	// mandate is the last one, which was not used yet; nil for none.
	mandate []byte
}

// carrying is what a carrier knows of its followers.
type carrying struct {
	followers map[Link]*follower
	// round is when to ask all followers for mandates, and close when the answers are
	// enough; each only if not 0.
	round, close time.Duration
	// opened is when the last round has ended, and pace what must pass until the next
	// one for new followers.
	opened, pace time.Duration
	// order are the links of the mandates of the connection that there is.
	order []Link
}

// due is when to begin or end a round.
func (c *carrying) due() due {
	if c.close != 0 {
		return due{c.close, true}
	}
	return due{c.round, c.round != 0}
}

// begin begins to carry.
func (c *carrying) begin(now time.Duration, cfg Config) {
	c.round, c.close, c.pace = now+cfg.Gather, 0, 0
}

// soon has a round begin for new followers.
func (c *carrying) soon(now time.Duration, cfg Config) {
	if c.round == 0 && c.close == 0 {
		c.round = max(now+cfg.Gather, c.opened+c.pace)
	}
}

// accepted takes a follower.
func (m *Machine) accepted(in Accepted) {
	same := 0
	for _, f := range m.carried.followers {
		if f.from == in.From.Addr() {
			same++
		}
	}
	switch {
	case !m.Carries():
		m.act(Drop{in.Link, wire.ReasonRootResigned})
	case len(m.carried.followers) >= MaxFollowers || same >= MaxOfAddress:
		m.act(Drop{in.Link, wire.ReasonFull})
	default:
		m.carried.followers[in.Link] = &follower{from: in.From.Addr()}
		m.act(Welcome{in.Link})
		m.carried.soon(m.now, m.cfg)
	}
}

// mandated takes a mandate.
func (m *Machine) mandated(in Mandated) {
	if f := m.carried.followers[in.Link]; f != nil {
		f.mandate = in.Mandate
	}
}

// links are those of all followers, in order.
func (c *carrying) links() []Link {
	all := make([]Link, 0, len(c.followers))
	for l := range c.followers {
		all = append(all, l)
	}
	slices.Sort(all)
	return all
}

// carry begins and ends rounds.
func (m *Machine) carry() {
	c := &m.carried
	if c.round != 0 && m.now >= c.round {
		c.round, c.close = 0, m.now+m.cfg.Gather
		for _, l := range c.links() {
			c.followers[l].mandate = nil
			m.act(Ask{l})
		}
	}
	if c.close == 0 {
		return
	}
	all := true
	for _, f := range c.followers {
		all = all && f.mandate != nil
	}
	if !all && m.now < c.close {
		return
	}
	if m.now-c.opened > 10*m.cfg.MaxPace {
		c.pace = m.cfg.Pace
	} else {
		c.pace = min(max(2*c.pace, m.cfg.Pace), m.cfg.MaxPace)
	}
	c.close, c.opened = 0, m.now
	var mandates [][]byte
	c.order = nil
	for _, l := range c.links() {
		if f := c.followers[l]; f.mandate != nil {
			mandates, c.order = append(mandates, f.mandate), append(c.order, l)
			f.mandate = nil
		} else {
			c.soon(m.now, m.cfg) // it was slow
		}
	}
	m.own.open()
	m.act(Connect{mandates})
}

// endCarrying lets go of the followers.
func (m *Machine) endCarrying(why wire.Reason) {
	for _, l := range m.carried.links() {
		m.act(Drop{l, why})
	}
	m.carried = carrying{followers: map[Link]*follower{}}
	m.reports.dropReports()
}

// line passes a line on to all, and to each its cover.
func (m *Machine) line(in Line) {
	if !m.Carries() {
		return
	}
	covers := map[Link][]byte{}
	for i, code := range in.Covers {
		if i < len(m.carried.order) {
			covers[m.carried.order[i]] = code
		}
	}
	for _, l := range m.carried.links() {
		m.act(Pass{l, in.Text, covers[l]})
	}
}

// connection is the own one to the controller.
type connection struct {
	// wanted says that it is open, or being opened.
	wanted bool
	// up says that it works, since when.
	up    bool
	since time.Duration
	// retry is when to try again, if not 0, and wait the next wait.
	retry, wait time.Duration
	// at is when to connect because nobody serves, if not 0.
	at time.Duration
}

func (c *connection) open() { c.wanted, c.up, c.retry, c.at = true, false, 0, 0 }

func (c *connection) linked(now time.Duration, cfg Config) {
	if c.wanted && !c.up {
		c.up, c.since = true, now
	}
	c.wait = cfg.Retry
}

// seldom is the wait where only people can help.
const seldom = time.Hour

// unlinked has the connection tried again.
func (m *Machine) unlinked(in Unlinked) {
	c := &m.own
	if !c.wanted {
		return
	}
	wait, most := c.wait, m.cfg.MaxRetry
	if m.Carries() && len(m.carried.followers) > 0 {
		most = m.cfg.CarrierRetry
	}
	wait = min(wait, most)
	c.wait = min(2*wait, most)
	if in.Seldom {
		wait = seldom
	}
	c.up = false
	c.retry = m.now + wait/2 + m.random(wait)
}

// connect opens and closes the own connection as it is needed.
func (m *Machine) connect() {
	c := &m.own
	serves := m.up.covered(m.cfg, m.now) || c.up
	if serves || m.serves {
		m.served, c.at = m.now, 0
	}
	m.serves = serves
	switch {
	case m.Carries():
		c.at = 0
		if c.wanted && c.retry != 0 && m.now >= c.retry {
			c.retry = 0
			m.carried.begin(m.now-m.cfg.Gather, m.cfg) // it needs new mandates
			m.carry()
		}
	case m.up.covered(m.cfg, m.now):
		if c.wanted {
			*c = connection{wait: m.cfg.Retry}
			m.act(Disconnect{})
		}
	case c.wanted:
		if c.retry != 0 && m.now >= c.retry {
			c.open()
			m.act(Connect{})
		}
	case c.at == 0:
		c.at = m.served + m.cfg.Patience + m.random(m.cfg.Jitter)
	case m.now >= c.at:
		c.open()
		m.act(Connect{})
	}
}

// connectDue is when to connect.
func (m *Machine) connectDue() due {
	if m.own.retry != 0 {
		return due{m.own.retry, true}
	}
	return due{m.own.at, m.own.at != 0}
}
