package transfer

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// Link names a connection. The driver numbers those that it accepts, the
// machine those that it dials; 0 is none.
type Link int32

// Child is one child as its parent sees it.
type Child struct {
	Link  Link
	Peer  wire.Peer
	From  netip.Addr     // where its link comes from
	Links netip.AddrPort // where it takes children itself, as it says
	Set   Set            // the chunks that it wants
	// Prefix is what the child reported to hold; Complete says that it is done.
	Prefix   int
	Complete bool
	Takes    bool // it has reported more than before: it stores what it is sent

	next     int   // all of its chunks before it have been sent
	ahead    Marks // sent, though chunks before them are lacking here
	inFlight int
	moved    time.Duration // when a chunk last left for it
	heard    time.Duration // when it last sent something
}

// Feed is the parent's side: at most wire.MaxChildren children per tree, a
// window of chunks in flight to each, each at its own pace. Use NewFeed.
type Feed struct {
	cfg      Config
	children []*Child
}

// NewFeed returns a feed without children.
func NewFeed(cfg Config) *Feed { return &Feed{cfg: cfg} }

// Children returns the children in the order in which they came.
func (f *Feed) Children() []*Child { return f.children }

// FullBut reports whether no slot is free in a tree of the set even without the
// links of a peer that overlap the set: the peer comes again, perhaps for other
// chunks than before.
func (f *Feed) FullBut(set Set, p wire.Peer) bool {
	return f.taken(set, func(c *Child) bool { return c.Peer != p || c.Set&set == 0 }) >= wire.MaxChildren
}

// Free returns the number of slots that are free in every tree of the set.
func (f *Feed) Free(set Set) int { return max(0, wire.MaxChildren-f.Taken(set)) }

// Taken returns the largest number of children of a tree of the set. A child
// that takes all chunks counts in every tree.
func (f *Feed) Taken(set Set) int { return f.taken(set, func(*Child) bool { return true }) }

func (f *Feed) taken(set Set, counts func(*Child) bool) int {
	most := 0
	for s := range uint8(wire.MaxStripes) {
		n := 0
		for _, c := range f.children {
			if set.Has(s) && c.Set.Has(s) && counts(c) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// find returns the child of a link, or nil.
func (f *Feed) find(l Link) *Child {
	for _, c := range f.children {
		if c.Link == l {
			return c
		}
	}
	return nil
}

// FindPeer returns a link of a peer that is a child in a tree of the set
// already, or nil.
func (f *Feed) FindPeer(p wire.Peer, set Set) *Child {
	for _, c := range f.children {
		if c.Peer == p && c.Set&set != 0 {
			return c
		}
	}
	return nil
}

// Add takes a child that wants the chunks of a set from prefix on.
func (f *Feed) Add(now time.Duration, l Link, p wire.Peer, links netip.AddrPort, set Set, prefix int) {
	f.children = append(f.children, &Child{Link: l, Peer: p, From: links.Addr(), Links: links, Set: set, Prefix: prefix,
		next: set.from(prefix), moved: now, heard: now})
}

// Remove drops the child of a link and returns it, nil if it is none.
func (f *Feed) Remove(l Link) *Child {
	for i, c := range f.children {
		if c.Link == l {
			f.children = append(f.children[:i], f.children[i+1:]...)
			return c
		}
	}
	return nil
}

// Sent tells that a chunk has left for the child.
func (f *Feed) Sent(now time.Duration, l Link) {
	if c := f.find(l); c != nil && c.inFlight > 0 {
		c.inFlight--
		c.moved = now
	}
}

// Report takes a child's keep-alive.
func (f *Feed) Report(now time.Duration, l Link, prefix int, complete bool) {
	if c := f.find(l); c != nil {
		c.Takes = c.Takes || prefix > c.Prefix
		c.Prefix, c.Complete, c.heard = prefix, c.Complete || complete, now
	}
}

// Next calls send for each chunk that may leave now, given the prefix of each set
// that may be served, and what is held behind it: without, nothing. Held returns the
// first chunk of a set that is held, not before another one, and not marked.
func (f *Feed) Next(now time.Duration, prefix func(Set) int, held func(Set, int, Marks) (int, bool),
	send func(Link, int)) {
	for _, c := range f.children {
		window := f.cfg.Window
		if c.Set != All {
			window = (window + 1) / wire.MaxStripes // the child has another parent
		}
		for c.inFlight < window && !c.Complete {
			i, ok := choose(c, prefix(c.Set), held)
			if !ok {
				break
			}
			if c.inFlight == 0 {
				c.moved = now
			}
			send(c.Link, i)
			c.inFlight++
		}
	}
}

// choose returns the next chunk for the child: in order up to the prefix, then what is
// held behind it, so that it is not lost with this device.
func choose(c *Child, prefix int, held func(Set, int, Marks) (int, bool)) (i int, ok bool) {
	for c.next < prefix {
		i = c.next
		c.next = c.Set.from(c.next + 1)
		if !c.ahead.has(i) {
			return i, true
		}
	}
	if held == nil {
		return 0, false
	}
	if i, ok = held(c.Set, max(c.next, prefix), c.ahead); ok {
		c.ahead.add(i)
	}
	return i, ok
}

// Lagging returns the first child that takes no bytes or sends nothing, and
// whose slot should be reclaimed; nil if there is none.
func (f *Feed) Lagging(now time.Duration) *Child {
	for _, c := range f.children {
		if c.inFlight > 0 && now-c.moved > f.cfg.Stall || now-c.heard > 2*f.cfg.Stall {
			return c
		}
	}
	return nil
}

// Idle returns the first child of a tree of the set that has taken no bytes for long
// enough to give its slot to another that asks for one; nil if there is none. Where the
// parent has all, a child that takes nothing more counts, too.
func (f *Feed) Idle(now time.Duration, set Set, all bool) *Child {
	for _, c := range f.children {
		if c.Set&set != 0 && (all || c.inFlight > 0) && now-c.moved > f.cfg.Silence {
			return c
		}
	}
	return nil
}

// Deadline returns when Lagging may find a child.
func (f *Feed) Deadline() (at time.Duration, ok bool) {
	for _, c := range f.children {
		due := c.heard + 2*f.cfg.Stall
		if c.inFlight > 0 {
			due = min(due, c.moved+f.cfg.Stall)
		}
		if !ok || due < at {
			at, ok = due, true
		}
	}
	return at + 1, ok
}

// Busy reports whether a child is not complete.
func (f *Feed) Busy() bool {
	for _, c := range f.children {
		if !c.Complete {
			return true
		}
	}
	return false
}
