package follower

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
)

func peer(i int) wire.Peer { return wire.Peer{ID: uint64(i) + 1, Nonce: 1} }

var rootAddr = netip.MustParseAddrPort("10.0.0.1:4051")

func following(t *testing.T) (*Follower, wire.Peer) {
	t.Helper()
	m := New(tree.LAN(), peer(1), 0, new(Links), rand.New(rand.NewPCG(1, 2)))
	root := peer(0)
	m.Root(0, root, rootAddr, rootAddr, 0)
	return m, root
}

func tick(m *Follower, now time.Duration) Output {
	var o Output
	m.Tick(now, Self{Free: 2}, &o)
	return o
}

func TestAsksUntilTheRootIsGone(t *testing.T) {
	m, _ := following(t)
	asks := 0
	for range 10 {
		at, ok := m.Deadline()
		if !ok {
			t.Fatal("no deadline while asking")
		}
		o := tick(m, at)
		if o.RootGone {
			if asks != tree.LAN().Asks {
				t.Errorf("gone after %d asks, want %d", asks, tree.LAN().Asks)
			}
			if at > time.Second/2 {
				t.Errorf("a root that is gone is noticed after %v only", at)
			}
			return
		}
		if o.Ask == nil || o.AskTo != rootAddr {
			t.Fatalf("at %v: %+v", at, o)
		}
		asks++
	}
	t.Fatal("asks for ever")
}

func TestWaitingAsksLessAndLessOften(t *testing.T) {
	m, root := following(t)
	var now, last time.Duration
	for i := range 8 {
		now, _ = m.Deadline()
		if o := tick(m, now); o.Ask == nil {
			t.Fatalf("ask %d is missing", i)
		}
		var o Output
		m.Place(now, root, &wire.Place{Wait: 100}, &o)
		next, _ := m.Deadline()
		if d := next - now; i > 0 && d < last && last < tree.LAN().AskAgain {
			t.Errorf("waits %v after %v", d, last)
		} else {
			last = d
		}
	}
	if most := tree.LAN().AskAgain + tree.LAN().AskFirst; last > most {
		t.Errorf("waits %v, at most %v", last, most)
	}
}

func TestDialSurvivesAChangeOfRoot(t *testing.T) {
	m, root := following(t)
	now, _ := m.Deadline()
	tick(m, now)
	var o Output
	m.Place(now, root, &wire.Place{Parent: root, Depth: 1}, &o)
	if o.Dial != rootAddr || o.Link >= 0 {
		t.Fatalf("dials %v as link %d", o.Dial, o.Link)
	}
	m.Root(now, peer(9), rootAddr, rootAddr, 0)
	if out := tick(m, now+time.Millisecond); out.Detached {
		t.Error("a new root broke the dial")
	}
	if !m.Welcome(now+2*time.Millisecond, o.Link, root) || m.State() != Attached {
		t.Errorf("welcomed, but %v", m.State())
	}
	if m.SetPath([]wire.Peer{peer(9), peer(1)}) {
		t.Error("stands in its own path and does not mind")
	}
}

func TestUnansweredDialFails(t *testing.T) {
	m, root := following(t)
	now, _ := m.Deadline()
	tick(m, now)
	var o Output
	m.Place(now, root, &wire.Place{Parent: root}, &o)
	out := tick(m, now+tree.LAN().Dial)
	if out.Close != o.Link || out.Reason != wire.ReasonUnreachable || m.Failures() != 1 || m.State() != Asking {
		t.Errorf("%+v, %d failures, %v", out, m.Failures(), m.State())
	}
	if a := tick(m, now+tree.LAN().Dial); a.Ask == nil || a.Ask.Failed != root {
		t.Errorf("does not say which parent failed: %+v", a.Ask)
	}
}

// TestNoFailures: a parent without a free slot has not failed, nor one that sent the whole
// file, whichever of its bytes are wrong.
func TestNoFailures(t *testing.T) {
	for _, why := range []wire.Reason{wire.ReasonFull, wire.ReasonDigestMismatch} {
		m, root := following(t)
		now, _ := m.Deadline()
		tick(m, now)
		var o, f Output
		m.Place(now, root, &wire.Place{Parent: root}, &o)
		m.Fail(now, why, &f)
		if m.Failures() != 0 {
			t.Errorf("%v counts as a failure", why)
		}
	}
}

// TestNewRootThatFailed: a parent that failed this device and becomes root is asked as any
// other root: the ask does not say that it failed.
func TestNewRootThatFailed(t *testing.T) {
	for next, failed := range map[int]wire.Peer{5: {}, 6: peer(5)} {
		m, root := following(t)
		now, _ := m.Deadline()
		tick(m, now)
		var o Output
		m.Place(now, root, &wire.Place{Parent: peer(5), Addr: rootAddr}, &o)
		m.Fail(now, wire.ReasonFull, &o)
		m.Root(now, peer(next), rootAddr, rootAddr, 0)
		at, _ := m.Deadline()
		if a := tick(m, at); a.Ask == nil || a.Ask.Failed != failed {
			t.Errorf("new root %d: asks with %+v", next, a.Ask)
		}
	}
}

// TestOnlyASuspectAsksForTheRoot: who left a parent for its wrong bytes and has
// begun anew takes any place.
func TestOnlyASuspectAsksForTheRoot(t *testing.T) {
	for _, suspect := range []bool{false, true} {
		m, root := following(t)
		now, _ := m.Deadline()
		tick(m, now)
		var o Output
		m.Place(now, root, &wire.Place{Parent: peer(5), Addr: rootAddr}, &o)
		m.Fail(now, wire.ReasonDigestMismatch, &o)
		var out Output
		m.Tick(now, Self{Free: 2, AtRoot: suspect}, &out)
		if out.Ask == nil || out.Ask.Failed != peer(5) || (out.Ask.Reason == wire.ReasonDigestMismatch) != suspect {
			t.Errorf("suspect %v: %+v", suspect, out.Ask)
		}
	}
}

// TestRefusedForEver: a follower that every parent refuses asks less and less
// often, and at once again after a chunk has come.
func TestRefusedForEver(t *testing.T) {
	m, root := following(t)
	asks := 0
	for {
		now, _ := m.Deadline()
		if now > 10*time.Second {
			break
		}
		asks++
		tick(m, now)
		var o Output
		m.Place(now, root, &wire.Place{Parent: root}, &o)
		m.Fail(now, wire.ReasonWrongEpoch, &o)
	}
	if asks < 10 || asks > 20 {
		t.Errorf("%d asks in 10 s", asks)
	}
	m.Served()
	var o Output
	now, _ := m.Deadline()
	tick(m, now)
	m.Place(now, root, &wire.Place{Parent: root}, &o)
	m.Fail(now, wire.ReasonWrongEpoch, &o)
	if at, _ := m.Deadline(); at != now {
		t.Errorf("asks again after %v though a chunk had come", at-now)
	}
}

// TestBusyPort: whose links to one address after another are not welcomed in time waits
// longer for the next, though every root is another one: its own port may be busy, and
// chunks of the links that it gave up would fill it as well. One address that welcomes
// nobody costs no more than before, and a welcome ends it.
func TestBusyPort(t *testing.T) {
	dial := tree.LAN().Dial
	for name, x := range map[string]struct {
		address func(i int) int
		last    time.Duration
	}{
		"ever other addresses": {func(i int) int { return i }, 4 * dial},
		"one address":          {func(int) int { return 1 }, dial},
	} {
		m, _ := following(t)
		waits := func(i int) time.Duration {
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(x.address(i))}), wire.Port)
			m.NoRoot()
			now, _ := m.Deadline()
			m.Root(now, peer(10+i), a, a, 0)
			tick(m, now)
			var o Output
			m.Place(now, peer(10+i), &wire.Place{Parent: peer(10 + i)}, &o)
			at, _ := m.Deadline()
			if m.State() != Dialing {
				t.Fatalf("%s: %v", name, m.State())
			}
			return at - now
		}
		var last time.Duration
		for i := range 6 {
			last = waits(i)
			at, _ := m.Deadline()
			tick(m, at)
		}
		if last != x.last {
			t.Errorf("%s: waits %v for the sixth, want %v", name, last, x.last)
		}
		waits(6)
		_, _, l := m.Parent()
		m.Welcome(0, l, peer(16))
		m.Leave(wire.ReasonStopped, new(Output))
		if d := waits(7); d != dial {
			t.Errorf("%s: waits %v after a welcome", name, d)
		}
	}
}
