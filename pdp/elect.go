package pdp

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// candidate is this device in the election.
type candidate struct {
	m *Machine
	*election.Election
	prepared bool // the driver was told to connect to the origin
}

func newCandidate(m *Machine) *candidate {
	return &candidate{m: m, Election: election.New(m.cfg.Election, m.self.Peer, m.rnd)}
}

// elect gives the election an input and carries out its output.
func (c *candidate) elect(f func(*election.Output)) {
	var o election.Output
	f(&o)
	if o.Changed {
		c.changed(o.Reason)
	}
	if o.Broadcast {
		c.claim(o.Answer)
	}
	if o.Resign != nil {
		c.m.act(Broadcast{o.Resign})
	}
}

// start begins the election, or a new one.
func (c *candidate) start(why wire.Reason) {
	c.elect(func(o *election.Output) { c.Start(c.m.now, why, o) })
}

// hold tells the election what is held; bytes that may be wrong do not count.
func (c *candidate) hold() {
	m := c.m
	if m.repair.suspects() {
		c.Hold(0, false, m.origin.bytes)
	} else {
		c.Hold(m.held.Prefix(), m.held.complete(), m.origin.bytes)
	}
}

func (c *candidate) settle() {
	c.hold()
	if at, ok := c.Deadline(); ok && at <= c.m.now {
		c.elect(func(o *election.Output) { c.Tick(c.m.now, o) })
	}
}

func (c *candidate) deadline() (time.Duration, bool) { return c.Deadline() }

// changed carries a new state of the election to the follower and the root.
func (c *candidate) changed(why wire.Reason) {
	m, s := c.m, c.State()
	if s != election.Root && m.root.active() {
		m.root.end()
	}
	switch s {
	case election.Root:
		m.root.begin(why)
	case election.Following:
		m.following.follow(why)
	case election.Tentative:
		m.note(report.KindElection, why, netip.AddrPort{}, note.Claims{})
		if !c.prepared {
			c.prepared = true
			m.act(Prepare{})
		}
		m.following.noRoot()
	default:
		m.following.noRoot()
		if s == election.Holding || s == election.Orphan {
			break
		}
		m.note(report.KindElection, why, netip.AddrPort{}, note.State{State: s})
	}
}

// claim broadcasts a claim with what is held now.
func (c *candidate) claim(answer bool) {
	m := c.m
	rank, why := c.Rank()
	msg := &wire.Claim{
		Rank: rank, Epoch: m.held.Epoch(), Size: m.held.Size(),
		Prefix: m.children.servable(transfer.All), Complete: m.held.complete(),
		Bytes: m.origin.bytes, Map: c.bitmap(), Reason: why, Spread: m.root.spread(),
	}
	if m.root.active() {
		msg.Members = uint16(min(m.root.members(), 65535))
		msg.Waiting = m.origin.shut && !m.held.complete()
	}
	m.act(Broadcast{msg})
	m.note(report.KindLog, why, netip.AddrPort{}, note.SentClaim{
		Answer: answer, Confirmed: rank.Confirmed, Map: msg.Map, Strength: rank.Strength})
}

// bitmap has a bit for each 1/32 of the file that is held.
func (c *candidate) bitmap() uint32 {
	h := c.m.held
	n, prefix := h.Chunks(), h.Prefix()
	if h.complete() {
		return ^uint32(0)
	}
	if !h.Known() || n == 0 {
		return 0
	}
	var b uint32
	for i := range 32 {
		if prefix >= (i+1)*n/32 && prefix > 0 {
			b |= 1 << i
		}
	}
	return b
}
