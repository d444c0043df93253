// Package tree decides who is whose parent in the hierarchy of one file: the
// root's side, which places followers in a balanced binary tree, and the
// follower's side, which asks, dials, attaches, and repairs.
//
// What lives here: members, slots, paths, and when to ask again. What must
// not: who is root, which chunk goes where, sockets, clocks, goroutines.
package tree

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// MaxMembers bounds what a root remembers. Devices beyond it are told to wait.
const MaxMembers = 8192

// Placer is the root's side: it knows the members of its tree from their asks
// and reports, and places those who have no parent. Use NewPlacer.
type Placer struct {
	cfg     Config
	self    wire.Peer
	members map[wire.Peer]*member
	// order is the members by arrival: the tree must not depend on how a map
	// is walked.
	order []*member
	root  *member
}

// member is a device of the tree as the root knows it.
type member struct {
	peer   wire.Peer
	addr   netip.AddrPort // source of its datagrams
	link   netip.AddrPort // where it takes children
	parent wire.Peer
	// since is when the parent was last said: by the root (a reservation) or
	// by the member itself (attached).
	since    time.Duration
	attached bool
	heard    time.Duration
	free     int // slots that it says are free
	prefix   int
	depth    int
	children int
	done     bool
	atRoot   bool // is placed directly below the root or not at all
	// avoid holds the last parents that failed this member.
	avoid      [4]wire.Peer
	avoidSince time.Duration // of the first of them
	avoidUntil time.Duration
	avoidNext  int
	shut       time.Duration // takes no new children until then
}

// NewPlacer returns the placer of a tree whose root is self.
func NewPlacer(cfg Config, self wire.Peer) *Placer {
	root := &member{peer: self, free: wire.MaxChildren, attached: true}
	return &Placer{cfg: cfg, self: self, root: root, members: map[wire.Peer]*member{}}
}

// Members returns how many followers are known.
func (t *Placer) Members() int { return len(t.order) }

// forgetAfter is the silence after which a member no longer counts; where
// there are many they report less often.
func (t *Placer) forgetAfter() time.Duration {
	return max(t.cfg.Forget, 4*ReportPeriod(t.cfg, len(t.order)))
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

// Asker is who sent an ask.
type Asker struct {
	Peer    wire.Peer
	Addr    netip.AddrPort // source of the datagram
	TCPPort uint16
}

// Ask takes an ask or a report. It returns the place to answer with, or nil
// where none was asked for.
func (t *Placer) Ask(now time.Duration, a Asker, m *wire.Ask) *wire.Place {
	x := t.members[a.Peer]
	if x == nil {
		if len(t.order) >= MaxMembers {
			t.forget(now)
		}
		if len(t.order) >= MaxMembers {
			return &wire.Place{Stripe: m.Stripe, Wait: t.waitMillis()}
		}
		x = &member{peer: a.Peer}
		t.members[a.Peer] = x
		t.order = append(t.order, x)
	}
	x.addr, x.link = a.Addr, netip.AddrPortFrom(a.Addr.Addr(), a.TCPPort)
	x.heard, x.free, x.prefix, x.done = now, int(m.Free), m.Prefix, m.Done
	if !m.Failed.IsZero() {
		t.complain(now, x, m)
	}
	if m.Done {
		x.parent, x.attached = wire.Peer{}, true // it has left its parent
		return nil
	}
	if m.Attached {
		x.parent, x.attached, x.since = m.Parent, true, now
		return nil
	}
	x.attached = false
	if m.Move || x.parent.IsZero() || now-x.since > t.cfg.AskFirst/2 || x.avoids(now, x.parent) {
		x.parent = wire.Peer{}
	}
	// Who was sent altered chunks wants them from the root itself.
	x.atRoot = m.Reason == wire.ReasonDigestMismatch
	return t.place(now, x, m.Stripe)
}

// complain takes what a member says of a parent that failed it.
func (t *Placer) complain(now time.Duration, x *member, m *wire.Ask) {
	if m.Failed == t.self && m.Reason == wire.ReasonDigestMismatch {
		return // it comes back for what was altered on its way
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
		// If it still lives, its next report opens it again.
		bad.shut = now + t.cfg.Report
		if m.Reason != wire.ReasonUnreachable {
			bad.attached = false
		}
	case wire.ReasonFull:
		bad.shut = now + t.cfg.Lease
	case wire.ReasonParentSlow:
		bad.shut = now + t.cfg.Forget
	}
}

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

// Twin returns the address of another member that carries the asker's id, if
// it was heard lately: not the same device before its restart.
func (t *Placer) Twin(now time.Duration, a Asker) (netip.AddrPort, bool) {
	for _, x := range t.order {
		if x.peer.ID == a.Peer.ID && x.peer != a.Peer && x.addr.Addr() != a.Addr.Addr() && now-x.heard < t.forgetAfter() {
			return x.addr, true
		}
	}
	return netip.AddrPort{}, false
}

// Left tells that a child of the root left its link: its slot is free, and
// nobody is placed below it before it says where it stands.
func (t *Placer) Left(p wire.Peer) {
	if x := t.members[p]; x != nil && x.parent == t.self {
		x.parent, x.attached = wire.Peer{}, false
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
	t.measure(now)
	if p := t.members[x.parent]; !x.parent.IsZero() && !(x.atRoot && p != nil) && (p != nil || x.parent == t.self) {
		// Placed a moment ago; the answer was lost or the ask sent twice.
		if p == nil {
			p = t.root
		}
		x.since = now
		return t.answer(x, p, stripe)
	}
	best := t.shallowest(now, x)
	if best == nil && now-x.avoidSince > t.cfg.Lease {
		// Nobody else: one that failed it may have been unlucky.
		x.avoidUntil = now
		best = t.shallowest(now, x)
	}
	if best == nil {
		return &wire.Place{Stripe: stripe, Wait: t.waitMillis()}
	}
	x.parent, x.since = best.peer, now
	return t.answer(x, best, stripe)
}

// shallowest returns the member of least depth that may take x, nil if none
// may; of one depth the one that came first.
func (t *Placer) shallowest(now time.Duration, x *member) *member {
	if t.open(now, t.root, x) {
		return t.root
	}
	if x.atRoot {
		return nil
	}
	var best *member
	for _, y := range t.order {
		if (best == nil || y.depth < best.depth) && t.open(now, y, x) {
			best = y
		}
	}
	return best
}

func (t *Placer) answer(x, parent *member, stripe uint8) *wire.Place {
	p := &wire.Place{Stripe: stripe, Depth: uint8(min(parent.depth+1, 255)), Parent: parent.peer}
	if parent != t.root {
		p.Addr = parent.link
	}
	return p
}

func (t *Placer) waitMillis() uint16 { return uint16(t.cfg.AskFirst / time.Millisecond) }

// open reports whether y may take x, which hangs on nobody, as a child: what is
// below x hangs on nobody either, and has no depth. A member that is about to take
// its own place takes children already: a tree stands after one round of asks.
func (t *Placer) open(now time.Duration, y, x *member) bool {
	return y != x && y.depth > -1 && y.depth < wire.MaxPath-1 && y.children < wire.MaxChildren &&
		(y == t.root || y.free > 0 && y.shut <= now && y.link.Port() != 0 && now-y.heard < t.forgetAfter()) &&
		!x.avoids(now, y.peer)
}

// measure counts the children of each member and its depth; -1 for members
// that neither hang on the root nor are done. Reservations that nobody took up are freed.
func (t *Placer) measure(now time.Duration) {
	t.root.children, t.root.depth = 0, 0
	for _, y := range t.order {
		y.children, y.depth = 0, -2
		if !y.parent.IsZero() && !y.attached && now-y.since > t.cfg.Lease {
			y.parent = wire.Peer{}
		}
	}
	for _, y := range t.order {
		if p := t.at(y.parent); p != nil && now-y.heard < t.forgetAfter() {
			p.children++
		}
	}
	for _, y := range t.order {
		t.depthOf(y, 0)
	}
}

func (t *Placer) at(p wire.Peer) *member {
	if p == t.self {
		return t.root
	}
	return t.members[p]
}

// depthOf sets and returns the depth of y: 1 below the root, -1 detached.
func (t *Placer) depthOf(y *member, steps int) int {
	if y.depth != -2 {
		return y.depth
	}
	if y.done {
		y.depth = 1 // it holds the whole file and needs no parent
		return y.depth
	}
	p := t.at(y.parent)
	if p == nil || steps > wire.MaxPath {
		y.depth = -1
		return -1
	}
	d := t.depthOf(p, steps+1)
	if d >= 0 {
		d++
	}
	y.depth = d
	return d
}
