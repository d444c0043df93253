package transfer

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
)

// Child is one child as its parent knows it.
type Child struct {
	Link   tree.Link
	Peer   wire.Peer
	From   netip.Addr // where its link comes from
	Stripe uint8
	// Prefix is what the child said it holds; Complete that it is done.
	Prefix   int
	Complete bool

	next     int
	inFlight int
	moved    time.Duration // when a chunk last left for it
	heard    time.Duration // when it last said something
}

// Feed is the parent's side: at most wire.MaxChildren children per stripe, a
// window of chunks on the way to each, each at its own pace. Use NewFeed.
type Feed struct {
	cfg      Config
	children []*Child
}

// NewFeed returns a feed without children.
func NewFeed(cfg Config) *Feed { return &Feed{cfg: cfg} }

// Children returns the children in the order in which they came.
func (f *Feed) Children() []*Child { return f.children }

// Full reports whether no slot of a stripe is free.
func (f *Feed) Full(stripe uint8) bool { return f.count(stripe) >= wire.MaxChildren }

// Free returns the number of free slots of a stripe.
func (f *Feed) Free(stripe uint8) int { return max(0, wire.MaxChildren-f.count(stripe)) }

func (f *Feed) count(stripe uint8) int {
	n := 0
	for _, c := range f.children {
		if c.Stripe == stripe {
			n++
		}
	}
	return n
}

// Find returns the child of a link, or nil.
func (f *Feed) Find(l tree.Link) *Child {
	for _, c := range f.children {
		if c.Link == l {
			return c
		}
	}
	return nil
}

// FindPeer returns the link of a peer that is a child already, or nil.
func (f *Feed) FindPeer(p wire.Peer, stripe uint8) *Child {
	for _, c := range f.children {
		if c.Peer == p && c.Stripe == stripe {
			return c
		}
	}
	return nil
}

// Add takes a child that holds prefix chunks.
func (f *Feed) Add(now time.Duration, l tree.Link, p wire.Peer, from netip.Addr, stripe uint8, prefix int) {
	f.children = append(f.children, &Child{Link: l, Peer: p, From: from, Stripe: stripe, Prefix: prefix, next: prefix, moved: now, heard: now})
}

// Remove drops the child of a link and returns it, nil if it is none.
func (f *Feed) Remove(l tree.Link) *Child {
	for i, c := range f.children {
		if c.Link == l {
			f.children = append(f.children[:i], f.children[i+1:]...)
			return c
		}
	}
	return nil
}

// Sent tells that a chunk has left for the child.
func (f *Feed) Sent(now time.Duration, l tree.Link) {
	if c := f.Find(l); c != nil && c.inFlight > 0 {
		c.inFlight--
		c.moved = now
	}
}

// Report takes a child's keep-alive.
func (f *Feed) Report(now time.Duration, l tree.Link, prefix int, complete bool) {
	if c := f.Find(l); c != nil {
		c.Prefix, c.Complete, c.heard = prefix, c.Complete || complete, now
	}
}

// Rewind makes every child be sent again from the start: the content changed.
func (f *Feed) Rewind() {
	for _, c := range f.children {
		c.next, c.Prefix, c.Complete = 0, 0, false
	}
}

// Next calls send for each chunk that may leave now, given the prefix that may
// be served.
func (f *Feed) Next(now time.Duration, prefix int, send func(tree.Link, int)) {
	for _, c := range f.children {
		for c.next < prefix && c.inFlight < f.cfg.Window && !c.Complete {
			if c.inFlight == 0 {
				c.moved = now
			}
			send(c.Link, c.next)
			c.next++
			c.inFlight++
		}
	}
}

// Lagging returns the first child that takes no bytes or says nothing, and
// whose slot is to be reclaimed; nil if there is none.
func (f *Feed) Lagging(now time.Duration) *Child {
	for _, c := range f.children {
		if c.inFlight > 0 && now-c.moved > f.cfg.Stall || now-c.heard > 2*f.cfg.Stall {
			return c
		}
	}
	return nil
}

// Deadline returns when Lagging may find somebody.
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
