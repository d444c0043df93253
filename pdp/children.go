package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// children is this device as a parent: its children, and how fast it sends.
type children struct {
	m         *Machine
	feed      *transfer.Feed
	port      portRate
	keepAlive time.Duration                // when to send the next
	tableFor  []Link                       // they wait for this device's table
	banned    map[netip.Addr]time.Duration // they took no bytes, until when
	fed       map[netip.Addr]bool          // a chunk was sent there
}

func newChildren(m *Machine) *children {
	return &children{m: m, feed: transfer.NewFeed(m.cfg.Transfer), banned: map[netip.Addr]time.Duration{},
		fed: map[netip.Addr]bool{}}
}

// each calls f for every child there is now; f may send children away.
func (c *children) each(f func(*transfer.Child)) {
	for _, child := range slices.Clone(c.feed.Children()) {
		f(child)
	}
}

// send sends every child a frame.
func (c *children) send(f wire.Frame) {
	for _, child := range c.feed.Children() {
		c.m.act(SendFrame{child.Link, f})
	}
}

// pathChanged sends the children in the trees of a set their path.
func (c *children) pathChanged(set transfer.Set) {
	c.each(func(child *transfer.Child) {
		if child.Set&set == 0 {
			return
		}
		if p := c.m.following.path(child.Set); len(p) > wire.MaxPath {
			c.dismiss(child.Link, wire.ReasonLoop)
		} else {
			c.m.act(SendFrame{child.Link, &wire.Path{Peers: p}})
		}
	})
}

// accepted takes or refuses a child.
func (c *children) accepted(e Accepted) {
	m := c.m
	c.reclaim(transfer.SetOf(e.Hello.Stripe, e.Hello.Trees))
	if why := c.refuses(e); why != wire.ReasonNone {
		m.act(SendFrame{e.Link, &wire.Refuse{Reason: why}})
		m.act(Close{e.Link, why})
		return
	}
	set := transfer.SetOf(e.Hello.Stripe, e.Hello.Trees)
	for old := c.feed.FindPeer(e.Hello.From, set); old != nil; old = c.feed.FindPeer(e.Hello.From, set) {
		// The child lost its link before this device noticed.
		c.dismiss(old.Link, wire.ReasonParentLost)
	}
	prefix := e.Hello.Prefix
	if e.Hello.Epoch != m.held.Epoch() && !m.file.Keyed {
		prefix = 0
	}
	c.feed.Add(m.now, e.Link, e.Hello.From, netip.AddrPortFrom(e.From.Addr(), e.Hello.TCPPort), set, prefix)
	m.act(SendFrame{e.Link, &wire.Welcome{From: m.self.Peer, Epoch: m.held.Epoch(), Size: m.held.Size()}})
	if p := m.following.path(set); len(p) <= wire.MaxPath {
		m.act(SendFrame{e.Link, &wire.Path{Peers: p}})
	}
	c.sendProgress(e.Link, set)
	if m.held.ends && !m.held.certain() {
		m.act(SendFrame{e.Link, &wire.End{Size: m.held.Size()}})
	}
	m.following.reportSoon()
	c.note(wire.ReasonNone)
}

// refuses says why a child is not taken, ReasonNone if it is.
func (c *children) refuses(e Accepted) wire.Reason {
	p, set := e.Hello.From, transfer.SetOf(e.Hello.Stripe, e.Hello.Trees)
	switch {
	case c.m.following.slow.leaf() && !c.m.root.active() || c.feed.FullBut(set, p):
		return wire.ReasonFull
	case c.m.onItsWay() && !c.m.root.active():
		return wire.ReasonYields
	case c.banned[e.From.Addr()] > c.m.now:
		return wire.ReasonChildSlow
	case slices.Contains(c.m.following.path(set), p):
		return wire.ReasonLoop
	}
	return wire.ReasonNone
}

// reclaim frees the slots of children that take nothing, if none is free in a tree of the
// set and another device asks for one: whoever opens links to a new root first would
// otherwise keep all others from it.
func (c *children) reclaim(set transfer.Set) {
	for c.feed.Free(set) == 0 {
		idle := c.feed.Idle(c.m.now, set, c.m.held.complete())
		if idle == nil {
			return
		}
		c.dismiss(idle.Link, wire.ReasonChildSlow)
	}
}

// note reports the children, in the form of the slots of Cisco's original.
func (c *children) note(why wire.Reason) {
	slots := make([]int, max(wire.MaxChildren, len(c.feed.Children())))
	for i := range slots {
		slots[i] = -1
		if i < len(c.feed.Children()) {
			slots[i] = int(c.feed.Children()[i].Link)
		}
	}
	_, addr, l := c.m.following.all[0].follower.Parent()
	if l == 0 {
		l = -1
	}
	c.m.note(report.KindChild, why, addr, note.Children{
		Parent: int(l), Slots: slots, Full: c.feed.Free(transfer.All) == 0})
}

// framed takes a control frame of a child.
func (c *children) framed(e Framed) {
	switch f := e.Frame.(type) {
	case *wire.Report:
		c.feed.Report(c.m.now, e.Link, f.Prefix, f.Complete)
	case *wire.TableAsk:
		c.tableAsked(e.Link)
	case *wire.Bye:
		if f.Reason == wire.ReasonDigestMismatch {
			c.m.root.doubted()
		}
		c.gone(e.Link, f.Reason)
		c.m.act(Close{e.Link, wire.ReasonNone})
	}
}

// sent notes that a chunk has left.
func (c *children) sent(e Sent) {
	c.feed.Sent(c.m.now, e.Link)
	c.noteFed(e.Link)
	c.port.seen(c.m.now, e.Rate)
}

// noteFed records that a chunk was sent to the address of a child.
func (c *children) noteFed(l Link) {
	const most = 1024 // more are not remembered
	for _, child := range c.feed.Children() {
		if child.Link == l && len(c.fed) < most {
			c.fed[child.From] = true
		}
	}
}

// speed returns how fast this device's port sends, in bytes per second; 0 if
// unknown.
func (c *children) speed() int64 { return c.port.rate(c.m.now) }

// gone frees the slot of a child that left or broke.
func (c *children) gone(l Link, why wire.Reason) {
	child := c.feed.Remove(l)
	if child == nil {
		return
	}
	c.tableFor = slices.DeleteFunc(c.tableFor, func(x Link) bool { return x == l })
	c.m.root.childGone(child)
	c.m.following.reportSoon()
	c.note(why)
}

// dismiss closes a child's link.
func (c *children) dismiss(l Link, why wire.Reason) {
	c.m.act(SendFrame{l, &wire.Bye{Reason: why}})
	c.m.act(Close{l, why})
	c.gone(l, why)
}

// dismissAll closes the links of all children.
func (c *children) dismissAll(why wire.Reason) {
	c.each(func(child *transfer.Child) { c.dismiss(child.Link, why) })
}

// servable is up to which chunk of a set children may have all.
func (c *children) servable(set transfer.Set) int {
	if c.m.cfg.Transfer.WholeFiles && !c.m.held.complete() {
		return 0
	}
	return c.m.held.PrefixOf(set)
}

// ahead returns the first chunk of a set behind the prefix that children may have, that
// is not before i, and not marked.
func (c *children) ahead(set transfer.Set, i int, sent transfer.Marks) (int, bool) {
	if c.m.cfg.Transfer.WholeFiles {
		return 0, false
	}
	return c.m.held.Next(set, i, sent)
}

// settle sends chunks and keep-alives to the children, and reclaims slots.
func (c *children) settle() {
	m := c.m
	for l := c.feed.Lagging(m.now); l != nil; l = c.feed.Lagging(m.now) {
		c.ban(l.From)
		c.dismiss(l.Link, wire.ReasonChildSlow)
	}
	if len(c.feed.Children()) == 0 {
		return
	}
	c.feed.Next(m.now, c.servable, c.ahead, func(l transfer.Link, i int) { m.act(SendChunk{l, i}) })
	if m.now >= c.keepAlive {
		for _, child := range c.feed.Children() {
			c.sendProgress(child.Link, child.Set)
		}
		c.keepAlive = m.now + m.cfg.Transfer.KeepAlive
	}
	c.sendTables()
}

func (c *children) deadline() (time.Duration, bool) {
	at, ok := c.feed.Deadline()
	if ok {
		at = min(at, c.keepAlive)
	}
	return at, ok
}

// ban refuses slots to an address whose device took no bytes.
func (c *children) ban(a netip.Addr) {
	const most = 64 // more are not remembered
	for k, until := range c.banned {
		if until <= c.m.now {
			delete(c.banned, k)
		}
	}
	if len(c.banned) < most {
		c.banned[a] = c.m.now + c.m.cfg.Tree.Avoid
	}
}

func (c *children) sendProgress(l Link, set transfer.Set) {
	m := c.m
	p := &wire.Progress{Prefix: c.servable(set)}
	switch watch := m.following.roots.watch; {
	case m.IsRoot():
		p.RootPrefix, p.RootBytes = c.servable(transfer.All), m.origin.bytes
	case watch != nil:
		p.RootPrefix, p.RootBytes = watch.Prefix(), watch.Bytes()
		p.Detached = !m.following.attached() && !m.held.complete()
	}
	m.act(SendFrame{l, p})
}

// tableAsked answers a child that wants this device's table, once it is sure
// of its own bytes.
func (c *children) tableAsked(l Link) {
	if !slices.ContainsFunc(c.feed.Children(), func(child *transfer.Child) bool { return child.Link == l }) {
		return
	}
	if c.m.held.complete() {
		c.m.act(SendTable{Link: l})
	} else if !slices.Contains(c.tableFor, l) && len(c.tableFor) < wire.MaxChildren {
		c.tableFor = append(c.tableFor, l)
	}
}

// sendTables answers the children that wait for the table.
func (c *children) sendTables() {
	if c.m.held.complete() {
		for _, l := range c.tableFor {
			c.tableAsked(l)
		}
		c.tableFor = nil
	}
}

// successor returns the incomplete child that holds most of the file; nobody if
// there is none.
func (c *children) successor() (next wire.Peer) {
	best := -1
	for _, child := range c.feed.Children() {
		if !child.Complete && child.Prefix > best {
			next, best = child.Peer, child.Prefix
		}
	}
	return next
}
