// Package tree decides who is whose parent in the hierarchy of one file. It is
// the root's side: a Placer takes asks and reports, and places followers in one
// balanced binary tree, or in two with different inner nodes.
//
// Import it if one device tells the others from whom to take something, and
// nobody serves more than two: its caller gives an Ask to the Placer and sends
// the returned Place back to the asker.
//
// What lives here: the members as the root knows them, their slots and depths.
// What must not: who is root, which chunk goes where, how a follower asks and
// dials, sockets, clocks, goroutines. Read Placer first.
package tree

import (
	"math/bits"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// MaxMembers bounds what a root remembers. Devices beyond it are told to wait.
const MaxMembers = 8192

// Placer is the root's side: it knows the members of its trees from their asks
// and reports, and places those without a parent. Use NewPlacer.
type Placer struct {
	cfg     Config
	self    wire.Peer
	trees   uint8 // 0: not known yet
	members map[wire.Peer]*member
	// order is the members by arrival: the tree must not depend on the order of
	// a map.
	order []*member
	root  *member
}

// member is a device of the tree as the root knows it.
type member struct {
	peer   wire.Peer
	addr   netip.AddrPort // source of its datagrams
	link   netip.AddrPort // where it takes children
	joined time.Duration
	heard  time.Duration
	asked  bool // it has said itself where it stands; else the root has it as a child
	done   bool
	prefix int
	yields bool // is offered only where nobody else can take the asker: it says so
	// yieldsUntil: it counts as one that yields so long, since it refused a child.
	yieldsUntil time.Duration
	speed       uint32 // kilobytes per second that its port sends, as it reports
	atRoot      bool   // is placed directly below the root or not at all
	// home is the tree in which it takes children; noHome until it needs one.
	home  uint8
	nodes [wire.MaxStripes]node
	// avoid holds the last parents that failed this member.
	avoid      [4]wire.Peer
	avoidSince time.Duration // of the first of them
	avoidUntil time.Duration
	avoidNext  int
	shut       time.Duration // takes no new children until then
}

// noHome is the home of a member that may take children in any tree.
const noHome = wire.MaxStripes

// node is a member as a node of one tree.
type node struct {
	parent wire.Peer
	// since is when the parent was last set: by the root (a reservation) or by
	// the member itself (attached).
	since    time.Duration
	attached bool
	seeks    bool // has asked in vain, since sought
	sought   time.Duration
	free     int // slots that it says are free
	children int // that the root counts
	depth    int
}

// NewPlacer returns the placer of trees whose root is self.
func NewPlacer(cfg Config, self wire.Peer) *Placer {
	return &Placer{cfg: cfg, self: self, root: &member{peer: self, home: noHome}, members: map[wire.Peer]*member{}}
}

// Trees sets how many trees the file takes. Until then nobody is placed; once
// set it does not change.
func (t *Placer) Trees(n uint8) {
	if t.trees == 0 {
		t.trees = n
	}
}

// Members returns how many followers are known.
func (t *Placer) Members() int { return len(t.order) }

// forgetAfter is the silence after which a member no longer counts; where
// there are many they report less often.
func (t *Placer) forgetAfter() time.Duration {
	return max(t.cfg.Forget, 4*ReportPeriod(t.cfg, len(t.order)*int(max(t.trees, 1))))
}

// Waiting returns how many known followers are not known to be done.
func (t *Placer) Waiting(now time.Duration) int {
	n := 0
	for _, m := range t.order {
		if !m.done && now-m.heard < t.forgetAfter() {
			n++
		}
	}
	return n
}

// member returns a member, a new one where it was not known; nil if there are too many.
func (t *Placer) member(now time.Duration, p wire.Peer) *member {
	x := t.members[p]
	if x != nil {
		return x
	}
	if len(t.order) >= MaxMembers {
		t.forget(now)
	}
	if len(t.order) >= MaxMembers {
		return nil
	}
	x = &member{peer: p, joined: now, home: noHome}
	t.members[p] = x
	t.order = append(t.order, x)
	return x
}

// Child tells of a child that the root has in a tree, and where that takes children. One
// that asks another root is known by this alone: others can be placed below it.
func (t *Placer) Child(now time.Duration, p wire.Peer, link netip.AddrPort, stripe uint8) {
	x := t.member(now, p)
	if x == nil || x.asked {
		return
	}
	x.addr, x.link, x.heard, x.done = link, link, now, false
	n := &x.nodes[stripe]
	n.parent, n.attached, n.since, n.free = t.self, true, now, wire.MaxChildren
}

// Ask takes an ask or a report, which came from an address in a datagram of the
// given envelope. It returns the place to answer with, or nil where none was
// asked for.
func (t *Placer) Ask(now time.Duration, from netip.AddrPort, e wire.Envelope, m *wire.Ask) *wire.Place {
	x := t.member(now, e.From)
	if x == nil {
		return t.wait(m.Stripe, t.cfg.AskFirst)
	}
	x.asked = true
	x.addr, x.link = from, netip.AddrPortFrom(from.Addr(), e.TCPPort)
	x.heard, x.done, x.speed, x.prefix, x.yields = now, m.Done, m.Speed, m.Prefix, m.Yields
	if !m.Failed.IsZero() {
		t.complain(now, x, m)
	}
	for _, s := range concerned(m) {
		y := &x.nodes[s]
		y.free = int(m.Free)
		switch {
		case m.Done:
			y.parent, y.attached = wire.Peer{}, true // it has left its parent
		case m.Attached:
			y.parent, y.attached, y.since = m.Parent, true, now
			if m.Trees == 2 && m.Children > 0 && x.home == noHome {
				x.home = s // an earlier root made it so
			}
		default:
			y.attached = false
			if m.Move || now-y.since > t.cfg.AskFirst/2 || x.avoids(now, y.parent) {
				y.parent = wire.Peer{}
			}
		}
	}
	if m.Done || m.Attached {
		return nil
	}
	// A device that was sent altered chunks wants them from the root itself.
	x.atRoot = m.Reason == wire.ReasonDigestMismatch
	return t.place(now, x, m.Stripe)
}

// concerned lists the trees that an ask is about: with a single parent, all.
func concerned(m *wire.Ask) []uint8 {
	if m.Trees == 2 {
		return []uint8{m.Stripe}
	}
	return []uint8{0, 1}
}

// complain takes a member's complaint about a parent that failed it.
func (t *Placer) complain(now time.Duration, x *member, m *wire.Ask) {
	if m.Failed == t.self && m.Reason == wire.ReasonDigestMismatch {
		return // it comes back for what was altered on its way
	}
	if m.Reason == wire.ReasonYields && !t.refused(now, x, m) {
		return
	}
	if now >= x.avoidUntil {
		x.avoid, x.avoidSince = [4]wire.Peer{}, now
	}
	if !x.avoids(now, m.Failed) {
		x.avoid[x.avoidNext%len(x.avoid)] = m.Failed
		x.avoidNext++
	}
	x.avoidUntil = now + t.cfg.Avoid
	bad := t.members[m.Failed]
	if bad == nil {
		return
	}
	switch m.Reason {
	case wire.ReasonParentLost, wire.ReasonUnreachable, wire.ReasonParentSilent:
		// If it is still alive, its next report opens it again.
		bad.shut = now + t.cfg.Report
		if m.Reason != wire.ReasonUnreachable {
			for _, s := range concerned(m) {
				bad.nodes[s].attached = false
			}
		}
	case wire.ReasonFull:
		bad.shut = now + t.cfg.Lease
	case wire.ReasonParentSlow:
		bad.shut = now + t.cfg.Forget
	}
}

// refused takes that a parent sent a member away because it yields. It then counts as one
// that does for a while, whatever it says itself: a liar could take that back in each of
// its asks, and be offered again to everybody. One that was offered although it yielded,
// and refuses still, has failed: refused reports that.
func (t *Placer) refused(now time.Duration, x *member, m *wire.Ask) (failed bool) {
	y, was := t.members[m.Failed], false
	if y != nil {
		was = y.yieldsBy(now)
	}
	for _, s := range concerned(m) {
		n := &x.nodes[s]
		if n.parent != m.Failed {
			continue // it cannot know
		}
		if n.parent, n.seeks = (wire.Peer{}), false; y != nil {
			y.yieldsUntil, failed = now+t.cfg.Forget, was
		}
	}
	return failed
}

// yieldsBy reports whether a member yields, by its own word or by what it did.
func (x *member) yieldsBy(now time.Duration) bool { return x.yields || now < x.yieldsUntil }

func (x *member) avoids(now time.Duration, p wire.Peer) bool {
	if now >= x.avoidUntil || p.IsZero() {
		return false
	}
	for _, a := range x.avoid {
		if a == p {
			return true
		}
	}
	return false
}

// SameID returns the address of another member with the id of the peer at an
// address, if it was heard lately and is not the same device before its
// restart.
func (t *Placer) SameID(now time.Duration, from netip.AddrPort, p wire.Peer) (netip.AddrPort, bool) {
	for _, x := range t.order {
		if x.peer.ID == p.ID && x.peer != p && x.addr.Addr() != from.Addr() && now-x.heard < t.forgetAfter() {
			return x.addr, true
		}
	}
	return netip.AddrPort{}, false
}

// Fastest returns the member that still needs the file and reports the fastest
// port, in kilobytes per second; nobody if none reported.
func (t *Placer) Fastest() (p wire.Peer, speed uint32) {
	for _, x := range t.order {
		if !x.done && x.speed > speed {
			p, speed = x.peer, x.speed
		}
	}
	return p, speed
}

// Successor returns the member that holds most of those that may become root in the
// place of one that yields: they are heard, still need the file, and yield to nothing.
func (t *Placer) Successor(now time.Duration) (p wire.Peer, ok bool) {
	most := -1
	for _, x := range t.order {
		if !x.done && !x.yieldsBy(now) && x.prefix > most && now-x.heard < t.forgetAfter() {
			p, most = x.peer, x.prefix
		}
	}
	return p, most >= 0
}

// Left records that a child of the root in a tree left its link: its slot is
// free, and nobody is placed below it before it reports again. One that never has is not
// waited for.
func (t *Placer) Left(p wire.Peer, stripe uint8) {
	x := t.members[p]
	if x == nil || x.nodes[stripe].parent != t.self {
		return
	}
	x.nodes[stripe].parent, x.nodes[stripe].attached = wire.Peer{}, false
	if !x.asked {
		x.done, x.link = true, netip.AddrPort{}
	}
}

// forget drops members that have been silent for long.
func (t *Placer) forget(now time.Duration) {
	kept := t.order[:0]
	for _, x := range t.order {
		if now-x.heard < t.forgetAfter() {
			kept = append(kept, x)
		} else {
			delete(t.members, x.peer)
		}
	}
	clear(t.order[len(kept):])
	t.order = kept
}

// place finds the shallowest free slot that is not below x itself.
func (t *Placer) place(now time.Duration, x *member, stripe uint8) *wire.Place {
	switch {
	case t.trees == 0:
		return t.wait(stripe, t.cfg.AskFirst/4)
	case stripe >= t.trees:
		return t.wait(stripe, t.cfg.AskFirst) // there is no such tree: it says so
	case t.trees == 2:
		t.settle(x)
		if stripe != x.home && now < x.joined+t.cfg.Gather && !x.atRoot {
			return t.wait(stripe, t.cfg.Gather)
		}
	}
	t.measure(now, stripe)
	n := &x.nodes[stripe]
	if p := t.members[n.parent]; !n.parent.IsZero() && !(x.atRoot && p != nil) && (p != nil || n.parent == t.self) {
		// Placed a moment ago; the answer was lost or the ask sent twice.
		if p == nil {
			p = t.root
		}
		n.since = now
		return t.answer(p, stripe)
	}
	if !n.seeks {
		n.seeks, n.sought = true, now
	}
	best := t.best(now, x, stripe)
	if best == nil && now-x.avoidSince > t.cfg.Lease {
		// No other parent: one that failed it may have failed by accident.
		x.avoidUntil = now
		best = t.best(now, x, stripe)
	}
	if best == nil {
		return t.wait(stripe, t.cfg.AskFirst)
	}
	n.parent, n.since, n.seeks = best.peer, now, false
	return t.answer(best, stripe)
}

// settle gives a member a home: the tree that fewer have.
func (t *Placer) settle(x *member) {
	if x.home != noHome {
		return
	}
	var n [noHome + 1]int
	for _, y := range t.order {
		if !y.done {
			n[y.home]++
		}
	}
	x.home = 0
	if n[1] < n[0] {
		x.home = 1
	}
}

// demand is what a parent must still have free to be offered.
type demand uint8

// The demands, the strictest first.
const (
	atHome demand = iota // a slot in its home tree, and its uplink carries the file at most once
	spare                // an uplink that carries the file less than once
	busy                 // one that carries it less than one and a half times, and is not the root's
	slot                 // a slot
	last                 // a slot, though the parent yields
)

// best returns the parent to offer to x, nil if there is none. With two trees
// it is one whose uplink need not carry the file more than once, if there is
// one, and preferably one that is an inner node of its home tree only.
func (t *Placer) best(now time.Duration, x *member, stripe uint8) *member {
	first := atHome
	if t.trees < 2 || x.atRoot {
		first = slot
	}
	most := slot
	if now-x.nodes[stripe].sought >= t.cfg.Dial {
		most = last // others that can may only not have asked yet
	}
	for d := first; d <= most; d++ {
		if y := t.shallowest(now, x, stripe, d); y != nil {
			return y
		}
	}
	return nil
}

// shallowest returns the member of least depth that may take x, nil if none
// may; of one depth the one that came first.
func (t *Placer) shallowest(now time.Duration, x *member, stripe uint8, d demand) *member {
	if t.open(now, t.root, x, stripe, d) {
		return t.root
	}
	if x.atRoot {
		return nil
	}
	var best *member
	for _, y := range t.order {
		if (best == nil || y.nodes[stripe].depth < best.nodes[stripe].depth) && t.open(now, y, x, stripe, d) {
			best = y
		}
	}
	return best
}

func (t *Placer) answer(parent *member, stripe uint8) *wire.Place {
	p := &wire.Place{Stripe: stripe, Trees: t.trees, Depth: uint8(min(parent.nodes[stripe].depth+1, 255)),
		Parent: parent.peer}
	if parent != t.root {
		p.Addr = parent.link
	}
	return p
}

func (t *Placer) wait(stripe uint8, d time.Duration) *wire.Place {
	return &wire.Place{Stripe: stripe, Trees: t.trees, Wait: uint16(d / time.Millisecond)}
}

// open reports whether y may take x, which has no parent, as a child: what is
// below x is not connected to the root either, and has no depth. A member that
// is about to take its own place may already take children: a tree is complete
// after one round of asks.
func (t *Placer) open(now time.Duration, y, x *member, stripe uint8, d demand) bool {
	s := &y.nodes[stripe]
	return y != x && s.depth > -1 && s.depth < wire.MaxPath-1 && s.children < wire.MaxChildren &&
		t.meets(now, y, stripe, d) &&
		(y == t.root || s.free > 0 && y.shut <= now && y.link.Port() != 0 && now-y.heard < t.forgetAfter()) &&
		!x.avoids(now, y.peer)
}

// meets reports whether y has what is demanded. The root and complete holders
// have no home: their uplink carries the file once if they have one child in
// each tree.
func (t *Placer) meets(now time.Duration, y *member, stripe uint8, d demand) bool {
	if y.yieldsBy(now) && d < last {
		return false
	}
	holder := y == t.root || y.done
	load := 0
	for s := range y.nodes {
		load += y.nodes[s].children
	}
	// Devices that come late would form a chain: only the last has an uplink to
	// spare.
	if d < slot && y.nodes[stripe].depth > bits.Len(uint(len(t.order)))+1 {
		return false
	}
	switch d {
	case atHome:
		return holder && y.nodes[stripe].children == 0 || !holder && y.home == stripe && load < wire.MaxChildren
	case spare:
		return !holder && load < wire.MaxChildren
	case busy:
		return y != t.root && load <= wire.MaxChildren
	}
	return true
}

// measure counts the children of each member in each tree, and its depth in one
// of them; -1 for members that are neither connected to the root nor done.
// Unused reservations are freed.
func (t *Placer) measure(now time.Duration, stripe uint8) {
	t.root.nodes = [wire.MaxStripes]node{}
	for _, y := range t.order {
		for s := range y.nodes {
			x := &y.nodes[s]
			x.children, x.depth = 0, -2
			if !x.parent.IsZero() && !x.attached && now-x.since > t.cfg.Lease {
				x.parent = wire.Peer{}
			}
		}
	}
	for _, y := range t.order {
		if now-y.heard >= t.forgetAfter() {
			continue
		}
		for s := range y.nodes {
			if p := t.at(y.nodes[s].parent); p != nil {
				p.nodes[s].children++
			}
		}
	}
	for _, y := range t.order {
		t.depthOf(y, stripe, 0)
	}
}

func (t *Placer) at(p wire.Peer) *member {
	if p == t.self {
		return t.root
	}
	return t.members[p]
}

// depthOf sets and returns the depth of y in a tree: 1 below the root, -1
// detached.
func (t *Placer) depthOf(y *member, stripe uint8, steps int) int {
	x := &y.nodes[stripe]
	if y == t.root || x.depth != -2 {
		return x.depth
	}
	if y.done {
		x.depth = 1 // it holds the whole file and needs no parent
		return x.depth
	}
	p := t.at(x.parent)
	if p == nil || steps > wire.MaxPath {
		x.depth = -1
		return -1
	}
	d := t.depthOf(p, stripe, steps+1)
	if d >= 0 {
		d++
	}
	x.depth = d
	return d
}
