package transfer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

const ms = time.Millisecond

func peer(i int) wire.Peer { return wire.Peer{ID: uint64(i) + 1} }

func TestFeedKeepsAWindowForEachChild(t *testing.T) {
	cfg := LAN()
	f := NewFeed(cfg)
	f.Add(0, 1, peer(1), netip.AddrPort{}, All, 0)
	f.Add(0, 2, peer(2), netip.AddrPort{}, All, 4)
	sent := map[Link][]int{}
	next := func(now time.Duration, prefix int) {
		f.Next(now, func(Set) int { return prefix }, nil, func(l Link, i int) { sent[l] = append(sent[l], i) })
	}
	next(0, 6)
	if len(sent[1]) != cfg.Window || len(sent[2]) != 2 || sent[2][0] != 4 {
		t.Fatalf("sent %v", sent)
	}
	f.Sent(ms, 1)
	next(ms, 6)
	if got := sent[1]; got[len(got)-1] != 3 {
		t.Errorf("after one has left comes %v", got)
	}
	if f.Free(All) != 0 || f.Free(1) != 0 {
		t.Error("two children, and a slot is free")
	}
	f.Report(ms, 2, 6, true)
	next(2*ms, 100)
	if len(sent[2]) != 2 {
		t.Error("a complete child is sent more")
	}
	if f.Remove(1) == nil || f.Remove(1) != nil || f.Busy() {
		t.Error("a child that left is still there, or a complete one is waited for")
	}
}

func TestFeedReclaimsSlots(t *testing.T) {
	cfg := LAN()
	f := NewFeed(cfg)
	f.Add(0, 1, peer(1), netip.AddrPort{}, All, 0)
	f.Next(0, func(Set) int { return 1 }, nil, func(Link, int) {})
	if at, ok := f.Deadline(); !ok || at <= 0 || f.Lagging(at-1) != nil || f.Lagging(at) == nil {
		t.Errorf("a child that takes no bytes: deadline %v, lagging then %v", at, f.Lagging(at))
	}
	if at, _ := f.Deadline(); at > 10*time.Second {
		t.Errorf("its slot is kept for %v", at)
	}
	f.Sent(ms, 1)
	for now := time.Duration(0); now < time.Minute; now += time.Second {
		f.Report(now, 1, 1, false)
		if f.Lagging(now) != nil {
			t.Fatal("a child that has all there is and says so is put out")
		}
	}
}

// TestFeedIdle: a child that takes no bytes is idle, in its trees; one that has all that its
// parent has is not, unless that is the whole file.
func TestFeedIdle(t *testing.T) {
	cfg := LAN()
	f := NewFeed(cfg)
	f.Add(0, 1, peer(1), netip.AddrPort{}, SetOf(0, 2), 2)
	f.Add(0, 2, peer(2), netip.AddrPort{}, SetOf(1, 2), 1)
	f.Next(0, func(Set) int { return 1 }, nil, func(Link, int) {})
	late := cfg.Silence + 1
	for _, c := range []struct {
		now  time.Duration
		set  Set
		all  bool
		link Link
	}{
		{cfg.Silence, All, true, 0}, {late, SetOf(0, 2), false, 0}, {late, SetOf(1, 2), false, 0},
		{late, SetOf(0, 2), true, 1}, {late, All, true, 1},
	} {
		if got := f.Idle(c.now, c.set, c.all); (got == nil) != (c.link == 0) || got != nil && got.Link != c.link {
			t.Errorf("at %v of set %v, all %v: idle is %+v, want %d", c.now, c.set, c.all, got, c.link)
		}
	}
	f.Next(0, func(Set) int { return 4 }, nil, func(Link, int) {})
	if got := f.Idle(late, SetOf(1, 2), false); got == nil || got.Link != 2 {
		t.Errorf("a child that takes no bytes: idle is %+v", got)
	}
}

func TestFeedSendsEachChildItsStripe(t *testing.T) {
	f := NewFeed(LAN())
	even, odd := SetOf(0, 2), SetOf(1, 2)
	f.Add(0, 1, peer(1), netip.AddrPort{}, even, 0)
	f.Add(0, 2, peer(2), netip.AddrPort{}, odd, 0)
	f.Add(0, 3, peer(3), netip.AddrPort{}, All, 2)
	sent := map[Link][]int{}
	f.Next(0, func(s Set) int { return map[Set]int{even: 6, odd: 3, All: 3}[s] }, nil,
		func(l Link, i int) { sent[l] = append(sent[l], i) })
	if got := fmt.Sprint(sent); got != "map[1:[0 2] 2:[1] 3:[2]]" {
		t.Errorf("sent %v", got)
	}
	if f.Free(even) != 0 || f.Free(odd) != 0 || f.Free(All) != 0 || f.Taken(All) != 2 {
		t.Error("a child that takes all chunks has a slot in each tree")
	}
	if f.FindPeer(peer(1), odd) != nil || f.FindPeer(peer(1), All) == nil || f.FindPeer(peer(3), odd) == nil {
		t.Error("a child is found in the wrong tree")
	}
	f.Remove(3)
	if f.Free(even) != 1 || f.Free(odd) != 1 || f.Taken(All) != 1 {
		t.Error("one child in each tree, and not one slot free")
	}
}

// TestAhead: what a parent holds behind its prefix leaves, too, once all before it has;
// each chunk once, and the lowest first.
func TestAhead(t *testing.T) {
	const chunks = 60
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		f, set := NewFeed(LAN()), Set(1+rnd.IntN(3))
		f.Add(0, 1, peer(1), netip.AddrPort{}, set, 0)
		var have, sent [chunks]bool
		find := func(set Set, i int, what func(int) bool) (int, bool) {
			for i = set.from(i); i < chunks && !what(i); i = set.from(i + 1) {
			}
			return min(i, chunks), i < chunks
		}
		held := func(i int) bool { return have[i] }
		prefix := func(set Set) int { i, _ := find(set, 0, func(i int) bool { return !have[i] }); return i }
		asked := 0
		ahead := func(set Set, i int, sent Marks) (int, bool) {
			asked++
			return find(set, i, func(i int) bool { return held(i) && !sent.has(i) })
		}
		next := func() {
			asked = 0
			f.Next(0, prefix, ahead, func(_ Link, i int) {
				if lowest, _ := find(set, 0, func(i int) bool { return have[i] && !sent[i] }); lowest != i {
					t.Fatalf("seed %d: chunk %d of set %d leaves before %d", seed, i, set, lowest)
				}
				sent[i] = true
			})
			if asked > LAN().Window {
				t.Fatalf("seed %d: asks %d times what is held", seed, asked)
			}
			f.Sent(0, 1)
		}
		for _, i := range rnd.Perm(chunks) {
			have[i] = true
			if rnd.IntN(2) == 0 {
				next()
			}
		}
		for range chunks {
			next()
		}
		if i, ok := find(set, 0, func(i int) bool { return !sent[i] }); ok {
			t.Errorf("seed %d: chunk %d of set %d never leaves", seed, i, set)
		}
	}
}
