package tree

import (
	"math/bits"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/pdp/wire"
)

func peer(i int) wire.Peer { return wire.Peer{ID: uint64(i) + 1, Nonce: 7} }

// said lets device i send an ask or a report to the root.
func said(p *Placer, now time.Duration, i int, m *wire.Ask) *wire.Place {
	a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	return p.Ask(now, netip.AddrPortFrom(a, 4051), wire.Envelope{From: peer(i), TCPPort: 4051}, m)
}

// onePlacer is a placer of a file that takes one tree.
func onePlacer(cfg Config, root wire.Peer) *Placer {
	p := NewPlacer(cfg, root)
	p.Trees(1)
	return p
}

// place asks for device i and returns where it was placed.
func place(t interface{ Fatalf(string, ...any) }, p *Placer, now time.Duration, i int) *wire.Place {
	got := said(p, now, i, &wire.Ask{Free: 2})
	if got == nil || got.Parent.IsZero() {
		t.Fatalf("device %d is not placed: %v", i, got)
	}
	return got
}

func TestPlacesBalanced(t *testing.T) {
	root := wire.Peer{ID: 1 << 40}
	p := onePlacer(LAN(), root)
	const n = 1000
	children := map[wire.Peer]int{}
	for i := range n {
		got := place(t, p, time.Duration(i)*time.Microsecond, i)
		children[got.Parent]++
		if most := bits.Len(uint(i + 2)); int(got.Depth) > most {
			t.Fatalf("device %d stands at depth %d, at most %d", i, got.Depth, most)
		}
	}
	for q, c := range children {
		if c > wire.MaxChildren {
			t.Errorf("%v has %d children", q, c)
		}
	}
	if p.Members() != n {
		t.Errorf("%d members, want %d", p.Members(), n)
	}
}

func TestPlaceKeepsAPlaceJustGiven(t *testing.T) {
	p := onePlacer(LAN(), wire.Peer{ID: 1 << 40})
	first := place(t, p, 0, 0)
	again := place(t, p, 10*time.Millisecond, 0)
	if first.Parent != again.Parent {
		t.Errorf("a repeated ask moved the asker from %v to %v", first.Parent, again.Parent)
	}
	place(t, p, 11*time.Millisecond, 1)
	if third := place(t, p, 12*time.Millisecond, 2); third.Depth != 2 {
		t.Errorf("the third stands at depth %d: the repeated ask took a slot", third.Depth)
	}
}

func TestPlaceAvoidsAParentThatFailed(t *testing.T) {
	cfg := LAN()
	root := wire.Peer{ID: 1 << 40}
	p := onePlacer(cfg, root)
	for i := range 3 {
		place(t, p, 0, i)
		said(p, time.Millisecond, i, &wire.Ask{Attached: true, Parent: p.members[peer(i)].nodes[0].parent, Free: 2})
	}
	now := 2 * time.Millisecond
	got := said(p, now, 2, &wire.Ask{Free: 2, Failed: peer(0), Reason: wire.ReasonBadChunk})
	if got.Parent != peer(1) {
		t.Errorf("placed below %v after device 0 failed it", got.Parent)
	}
	// A bad word of the only parent there is holds for a while only.
	alone := onePlacer(cfg, root)
	place(t, alone, 0, 0)
	ask := &wire.Ask{Free: 2, Failed: root, Reason: wire.ReasonUnreachable}
	if got := said(alone, now, 0, ask); !got.Parent.IsZero() {
		t.Error("offered the root at once again")
	}
	if got := said(alone, now+cfg.Lease+1, 0, ask); got.Parent != root {
		t.Error("the root is not offered again though there is nobody else")
	}
}

func TestPlaceAltered(t *testing.T) {
	root := wire.Peer{ID: 1 << 40}
	p := onePlacer(LAN(), root)
	for i := range 2 {
		place(t, p, 0, i)
	}
	ask := &wire.Ask{Free: 2, Failed: peer(0), Reason: wire.ReasonDigestMismatch}
	if got := said(p, 1, 2, ask); !got.Parent.IsZero() {
		t.Errorf("who was sent altered chunks is placed below %v, not at the root", got.Parent)
	}
	p.Left(peer(0), 0)
	if got := said(p, 2, 2, ask); got.Parent != root {
		t.Errorf("placed below %v though the root has a free slot", got.Parent)
	}
}

// TestChildrenThatAskNobody: with the root's slots taken by devices that follow another
// root, others are placed below those, until they leave.
func TestChildrenThatAskNobody(t *testing.T) {
	root := wire.Peer{ID: 1 << 40}
	p := onePlacer(LAN(), root)
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 4051)
	}
	for i := range wire.MaxChildren {
		p.Child(0, peer(i), at(i), 0)
	}
	got := place(t, p, time.Millisecond, 7)
	if got.Parent != peer(0) || got.Addr != at(0) || got.Depth != 2 {
		t.Errorf("placed %v, want below the root's first child", got)
	}
	said(p, 2*time.Millisecond, 0, &wire.Ask{Attached: true, Parent: peer(7), Free: 1})
	if p.members[peer(0)].nodes[0].parent != peer(7) {
		t.Error("its own report does not count")
	}
	p.Child(3*time.Millisecond, peer(0), at(0), 0)
	if p.members[peer(0)].nodes[0].parent != peer(7) {
		t.Error("what the root sees counts more than its own report")
	}
	if n := p.Waiting(4 * time.Millisecond); n != 3 {
		t.Errorf("%d are waited for, want 3", n)
	}
	p.Left(peer(1), 0)
	if n := p.Waiting(4 * time.Millisecond); n != 2 {
		t.Errorf("%d are waited for, want 2: one that never asked has left", n)
	}
	if got := place(t, p, 5*time.Millisecond, 8); got.Parent == peer(1) {
		t.Error("places a device below one that has left")
	}
}

func TestDoneMembersFreeTheirSlotAndServe(t *testing.T) {
	root := wire.Peer{ID: 1 << 40}
	p := onePlacer(LAN(), root)
	for i := range 2 {
		place(t, p, 0, i)
		said(p, 1, i, &wire.Ask{Attached: true, Parent: root, Free: 2})
	}
	said(p, 2, 0, &wire.Ask{Attached: true, Parent: root, Free: 2, Done: true})
	if got := place(t, p, 3, 2); got.Parent != root {
		t.Errorf("placed below %v, the slot at the root is free", got.Parent)
	}
	if p.Waiting(3) != 2 {
		t.Errorf("%d wait, want 2", p.Waiting(3))
	}
	if got := place(t, p, 4, 3); got.Depth != 2 {
		t.Errorf("depth %d below a member that is done, want 2", got.Depth)
	}
}

// TestPlacerProperties: whatever members say, nobody is placed below itself
// or without end deep, and every ask has an answer.
func TestPlacerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root := wire.Peer{ID: 1 << 40}
		p := onePlacer(LAN(), root)
		parent := map[wire.Peer]wire.Peer{} // as the members hold it
		var now time.Duration
		n := rapid.IntRange(1, 40).Draw(t, "n")
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond
			i := rapid.IntRange(0, n-1).Draw(t, "i")
			me := peer(i)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0: // reports
				if q, ok := parent[me]; ok {
					said(p, now, i, &wire.Ask{Attached: true, Parent: q, Free: 2})
				}
			case 1: // done
				said(p, now, i, &wire.Ask{Done: true, Free: 2})
				delete(parent, me)
			case 2: // complains
				failed := parent[me]
				delete(parent, me)
				ask(t, p, parent, now, i, &wire.Ask{Free: 2, Failed: failed,
					Reason: wire.Reason(rapid.IntRange(0, 40).Draw(t, "why"))})
			case 3: // lies
				ask(t, p, parent, now, i, &wire.Ask{Free: 2, Failed: peer(rapid.IntRange(0, n-1).Draw(t, "victim")),
					Reason: wire.ReasonParentLost})
			default:
				ask(t, p, parent, now, i, &wire.Ask{Free: 2})
			}
			p.measure(now, 0)
			for _, m := range p.order {
				if m.nodes[0].depth > wire.MaxPath {
					t.Fatalf("%v stands at depth %d", m.peer, m.nodes[0].depth)
				}
			}
		}
		if p.Members() > n {
			t.Fatalf("%d members of %d", p.Members(), n)
		}
	})
}

// ask asks and checks the answer.
func ask(t *rapid.T, p *Placer, parent map[wire.Peer]wire.Peer, now time.Duration, i int, a *wire.Ask) {
	got := said(p, now, i, a)
	if got == nil {
		t.Fatalf("no answer to an ask")
	}
	if got.Parent.IsZero() {
		return
	}
	for q, steps := got.Parent, 0; !q.IsZero() && steps < 100; steps++ {
		if q == peer(i) {
			t.Fatalf("%v is placed below itself", q)
		}
		m := p.members[q]
		if m == nil {
			break
		}
		q = m.nodes[0].parent
	}
	parent[peer(i)] = got.Parent
}

func TestMembersAreBounded(t *testing.T) {
	p := onePlacer(LAN(), wire.Peer{ID: 1 << 40})
	for i := range MaxMembers + 100 {
		said(p, 0, i, &wire.Ask{Attached: true, Parent: peer(i + 1), Free: 2})
	}
	if p.Members() > MaxMembers {
		t.Errorf("%d members, at most %d", p.Members(), MaxMembers)
	}
	if got := said(p, 1, MaxMembers+200, &wire.Ask{Free: 2}); got == nil || !got.Parent.IsZero() || got.Wait == 0 {
		t.Errorf("a full root answers %v", got)
	}
	// A member that is silent for long makes room.
	late := p.forgetAfter() + time.Second
	if got := said(p, late, MaxMembers+200, &wire.Ask{Free: 2}); got.Parent.IsZero() || p.Members() != 1 {
		t.Errorf("after a long silence: %v, %d members", got, p.Members())
	}
}

// gather plays n followers of a file of two trees that ask again when they are
// told to wait, as Member does, and returns the placer.
func gather(t *testing.T, n int, spread time.Duration) *Placer {
	t.Helper()
	p := NewPlacer(LAN(), wire.Peer{ID: 1 << 40})
	p.Trees(2)
	type due struct {
		at     time.Duration
		i      int
		stripe uint8
	}
	var queue []due
	for i := range n {
		at := time.Duration(i) * spread / time.Duration(n)
		queue = append(queue, due{at, i, 0}, due{at + time.Millisecond, i, 1})
	}
	for steps := 0; len(queue) > 0; steps++ {
		if steps > 100*n {
			t.Fatal("asks without end")
		}
		k := 0
		for j := range queue {
			if queue[j].at < queue[k].at {
				k = j
			}
		}
		q := queue[k]
		queue = append(queue[:k], queue[k+1:]...)
		got := said(p, q.at, q.i, &wire.Ask{Free: 2, Stripe: q.stripe, Trees: 2})
		if got.Trees != 2 || got.Stripe != q.stripe {
			t.Fatalf("device %d asks for tree %d and is told %+v", q.i, q.stripe, got)
		}
		if got.Parent.IsZero() {
			queue = append(queue, due{q.at + time.Duration(got.Wait)*time.Millisecond, q.i, q.stripe})
			continue
		}
		said(p, q.at, q.i, &wire.Ask{Attached: true, Parent: got.Parent, Free: 2, Stripe: q.stripe, Trees: 2})
	}
	for s := range uint8(2) {
		p.measure(4*time.Second, s)
		for _, m := range p.order {
			most := bits.Len(uint(n + 1))
			if spread > 0 {
				most += 3
			}
			if m.nodes[s].depth < 1 || m.nodes[s].depth > most {
				t.Errorf("%d devices: %v stands at depth %d of tree %d, at most %d", n, m.peer, m.nodes[s].depth, s, most)
			}
		}
	}
	return p
}

// TestTwoTreesShareNoInnerNode: of followers that come together none has
// children in both trees. Where they come one by one this cannot be, but
// neither is there a chain.
func TestTwoTreesShareNoInnerNode(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 8, 15, 16, 31, 32, 99, 100, 999} {
		for _, spread := range []time.Duration{0, 3 * time.Second} {
			p := gather(t, n, spread)
			for _, m := range p.order {
				a, b := m.nodes[0].children, m.nodes[1].children
				if spread == 0 && (a+b > wire.MaxChildren || a > 0 && b > 0) {
					t.Errorf("%d devices over %v: %v has %d and %d children", n, spread, m.peer, a, b)
				}
			}
			if r := p.root; spread == 0 && (r.nodes[0].children != 1 || r.nodes[1].children != 1) {
				t.Errorf("%d devices over %v: the root has %d and %d children", n, spread, r.nodes[0].children, r.nodes[1].children)
			}
		}
	}
}

func TestNobodyIsPlacedBeforeTheNumberOfTreesIsKnown(t *testing.T) {
	p := NewPlacer(LAN(), wire.Peer{ID: 1 << 40})
	if got := said(p, 0, 0, &wire.Ask{Free: 2}); !got.Parent.IsZero() || got.Trees != 0 || got.Wait == 0 {
		t.Errorf("told %+v", got)
	}
	p.Trees(1)
	p.Trees(2) // it stays
	if got := said(p, 1, 0, &wire.Ask{Free: 2}); got.Parent.IsZero() || got.Trees != 1 {
		t.Errorf("told %+v", got)
	}
	if got := said(p, 2, 0, &wire.Ask{Free: 2, Stripe: 1, Trees: 2}); !got.Parent.IsZero() || got.Trees != 1 {
		t.Errorf("who takes the file for one of two trees is told %+v", got)
	}
}

// TestYields: a member that yields gets children once nobody else has a slot for a while,
// and is no successor.
func TestYields(t *testing.T) {
	p := onePlacer(LAN(), wire.Peer{ID: 1 << 40})
	const ms = time.Millisecond
	place(t, p, 0, 0)
	place(t, p, ms, 1)
	for i, yields := range []bool{true, false} {
		said(p, 2*ms, i, &wire.Ask{Attached: true, Parent: wire.Peer{ID: 1 << 40}, Free: 2, Yields: yields, Prefix: 9 - i})
	}
	for i := 2; i < 4; i++ {
		if got := place(t, p, 3*ms, i); got.Parent != peer(1) {
			t.Errorf("device %d is placed below %v", i, got.Parent)
		}
	}
	for i := 2; i < 4; i++ {
		said(p, 4*ms, i, &wire.Ask{Attached: true, Parent: peer(1)})
	}
	if got := said(p, 5*ms, 4, &wire.Ask{}); !got.Parent.IsZero() {
		t.Errorf("below %v at once", got.Parent)
	}
	if got := said(p, time.Second+5*ms, 4, &wire.Ask{}); got.Parent != peer(0) {
		t.Errorf("below %v though only one that yields has a slot", got.Parent)
	}
	if got, ok := p.Successor(time.Second); !ok || got != peer(1) {
		t.Errorf("successor %v, %v", got, ok)
	}
	// Nobody says so of a device that is not his parent.
	said(p, time.Second, 5, &wire.Ask{Failed: peer(1), Reason: wire.ReasonYields})
	if got, ok := p.Successor(time.Second); !ok || got != peer(1) {
		t.Errorf("successor %v, %v, after a stranger's word", got, ok)
	}
	// A parent that sent a child away for this reason yields before its own word comes.
	said(p, time.Second, 2, &wire.Ask{Failed: peer(1), Reason: wire.ReasonYields})
	if got, ok := p.Successor(time.Second); !ok || got == peer(1) || got == peer(0) {
		t.Errorf("successor %v, %v", got, ok)
	}
}

// TestRefusesByYielding: a member that sends children away since it yields, and says in
// its own asks that it does not, costs each child one ask, and all of them no more.
func TestRefusesByYielding(t *testing.T) {
	const ms = time.Millisecond
	root := wire.Peer{ID: 1 << 40}
	p := onePlacer(LAN(), root)
	for i := range 2 {
		place(t, p, 0, i)
		said(p, ms, i, &wire.Ask{Attached: true, Parent: root, Free: 2})
	}
	refusals, now := 0, 2*ms
	for i := 2; i < 4; i++ {
		ask := &wire.Ask{}
		for {
			said(p, now, 0, &wire.Ask{Attached: true, Parent: root, Free: 2}) // it does not yield
			got := said(p, now, i, ask)
			if now += ms; got.Parent == peer(1) {
				said(p, now, i, &wire.Ask{Attached: true, Parent: peer(1)})
				break
			}
			if refusals++; refusals > 1 {
				t.Fatalf("device %d is placed below %v, which refuses", i, got.Parent)
			}
			ask = &wire.Ask{Failed: got.Parent, Reason: wire.ReasonYields}
		}
	}
	if refusals != 1 {
		t.Errorf("refused %d times", refusals)
	}
	// It is offered where nobody else has a slot; whoever it then refuses avoids it.
	got := said(p, now, 4, &wire.Ask{})
	for ; got.Parent.IsZero() && now < 2*time.Second; now += 100 * ms {
		said(p, now, 0, &wire.Ask{Attached: true, Parent: root, Free: 2})
		got = said(p, now, 4, &wire.Ask{})
	}
	if got.Parent != peer(0) {
		t.Fatalf("below %v though only one has a slot", got.Parent)
	}
	said(p, now, 2, &wire.Ask{Attached: true, Parent: peer(1), Free: 2})
	if got = said(p, now, 4, &wire.Ask{Failed: peer(0), Reason: wire.ReasonYields}); got.Parent != peer(2) {
		t.Errorf("below %v", got.Parent)
	}
	if x := p.members[peer(4)]; !x.avoids(now, peer(0)) {
		t.Error("does not avoid the one that refused it a second time")
	}
}
