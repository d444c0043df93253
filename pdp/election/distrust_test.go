package election

import (
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

func TestChallengeOfARootThatDoesNotAnswer(t *testing.T) {
	cfg := LAN()
	e := started(cfg, 0, false)
	var o Output
	strong := claim(1, wire.Rank{Prefix: 9}.Confirm())
	e.Claim(0, strong, &o)
	e.Claim(2*cfg.Answer, claim(2, wire.Rank{}.Confirm()), &o)
	if e.Root().Peer != peer(1) {
		t.Fatal("left a stronger root at once")
	}
	e.Tick(2*cfg.Answer+cfg.Challenge, &o)
	if e.Root() == nil || e.Root().Peer != peer(2) {
		t.Fatal("stays with a root that does not answer a weaker one")
	}
	e.Claim(3*cfg.Answer+cfg.Challenge, strong, &o)
	if e.Root().Peer != peer(2) {
		t.Error("went back to that root at once")
	}
	back := 3*cfg.Answer + cfg.Challenge + cfg.Ignore
	e.Claim(back, strong, &o)
	if e.Root().Peer != peer(1) {
		t.Error("never goes back to the stronger root")
	}
	e.Claim(back+2*cfg.Answer, claim(2, wire.Rank{}.Confirm()), &o)
	e.Tick(back+2*cfg.Answer+cfg.Challenge, &o)
	e.Claim(back+3*cfg.Answer+cfg.Challenge+cfg.Ignore, strong, &o)
	if e.Root().Peer != peer(2) {
		t.Error("went back as soon to a root that was silent twice")
	}
}

func TestDistrustIsBounded(t *testing.T) {
	e := started(LAN(), 0, false)
	var o Output
	for i := range 1000 {
		e.Distrust(time.Duration(i), addr(i).Addr(), wire.ReasonRootStalled, &o)
	}
	if n := len(e.distrust); n > 64 {
		t.Errorf("%d distrusted addresses are kept", n)
	}
	if !e.Distrusted(1000, addr(999).Addr()) {
		t.Error("the last one is believed")
	}
	e.Claim(1000, claim(999, wire.Rank{}.Confirm()), &o)
	if e.State() == Following {
		t.Error("follows a distrusted root")
	}
	if e.Distrusted(LAN().Distrust+time.Second, addr(999).Addr()) {
		t.Error("distrusted for ever")
	}
}

// TestIgnoreFor: silence is forgiven soon the first time; what fails again is
// remembered for longer each time.
func TestIgnoreFor(t *testing.T) {
	cfg := LAN()
	e := started(cfg, 0, false)
	a, now := addr(1).Addr(), time.Duration(1)
	for i, x := range []struct {
		why  wire.Reason
		want time.Duration
	}{
		{wire.ReasonRootSilent, cfg.Ignore}, {wire.ReasonUnreachable, 2 * cfg.Distrust},
		{wire.ReasonDigestMismatch, 4 * cfg.Distrust},
		{wire.ReasonBadChunk, 8 * cfg.Distrust},
	} {
		if d := e.IgnoreFor(a, x.why); d != x.want {
			t.Errorf("time %d: %v, want %v", i+1, d, x.want)
		}
		var o Output
		e.Distrust(now, a, x.why, &o)
		if !e.Distrusted(now+x.want-1, a) || e.Distrusted(now+x.want, a) {
			t.Errorf("time %d: not distrusted for %v", i+1, x.want)
		}
		now += x.want
	}
	for i := range 1000 {
		var o Output
		e.Distrust(now, addr(i).Addr(), wire.ReasonBadChunk, &o)
	}
	if len(e.distrusts) > mostAddresses || e.IgnoreFor(a, wire.ReasonBadChunk) > 64*cfg.Distrust {
		t.Errorf("remembers %d addresses, %v", len(e.distrusts), e.IgnoreFor(a, wire.ReasonBadChunk))
	}
}

// TestTheOtherRoot: who finds that its root lies follows the root that the
// others never left, if it was heard a moment ago.
func TestTheOtherRoot(t *testing.T) {
	weak, strong := claim(1, wire.Rank{Strength: 1}.Confirm()), claim(2, wire.Rank{Strength: 2}.Confirm())
	for _, x := range []struct {
		later time.Duration
		want  State
	}{{time.Second, Following}, {2 * time.Second, Listening}} {
		e := started(LAN(), 0, false)
		var o Output
		e.Claim(1, strong, &o)
		e.Claim(2, weak, &o)
		e.Claim(3, strong, &o) // it lives
		e.Distrust(x.later, strong.Addr.Addr(), wire.ReasonDigestMismatch, &o)
		if e.State() != x.want {
			t.Errorf("%v later: %v, want %v", x.later, e.State(), x.want)
		}
		if r := e.Root(); r != nil && r.Peer != weak.Peer {
			t.Errorf("follows %v", r.Peer)
		}
	}
	// Of two that are found to lie, neither is followed again.
	e := started(LAN(), 0, false)
	var o Output
	e.Claim(1, strong, &o)
	e.Claim(2, weak, &o)
	e.Distrust(3, weak.Addr.Addr(), wire.ReasonDigestMismatch, &o)
	e.Distrust(4, strong.Addr.Addr(), wire.ReasonDigestMismatch, &o)
	if e.State() != Listening {
		t.Errorf("%v, want a new election", e.State())
	}
}

// TestNeverConfirms: whoever claims again and again and does not become root is given
// way to a few times, and then ignored; a root that comes about wipes that out.
func TestNeverConfirms(t *testing.T) {
	e := started(LAN(), 0, false)
	liar := claim(1, wire.Rank{Prefix: 5})
	var o Output
	times := 0
	for now := time.Duration(0); !e.Distrusted(now, liar.Addr.Addr()); times++ {
		if times > 5 {
			t.Fatal("gives way without end")
		}
		e.Claim(now, liar, &o)
		if e.State() != Deferring {
			t.Fatalf("%v though the claim is higher", e.State())
		}
		for e.State() == Deferring {
			now, _ = e.Deadline()
			e.Tick(now, &o)
		}
	}
	if times < 2 {
		t.Error("once may be an accident")
	}
	if until(t, e, Root); !e.frozen.Confirmed {
		t.Error("does not become root then")
	}

	e = started(LAN(), 0, false)
	now := time.Duration(0)
	for range 10 {
		e.Claim(now, liar, &o)
		for e.State() == Deferring {
			now, _ = e.Deadline()
			e.Tick(now, &o)
		}
		root := claim(2, wire.Rank{Prefix: 5}.Confirm())
		e.Claim(now, root, &o)
		now += time.Millisecond
		root.Claim.Rank.Confirmed = false // it starts over
		e.Claim(now, root, &o)
	}
	if e.Distrusted(now, liar.Addr.Addr()) {
		t.Error("ignores a claimant though another became root each time")
	}
}

// TestClaimsOnAndOn: whoever claims on and on, in one name or by turns in ever stronger ones,
// is given way to no longer than two announcements take, and distrusted in the end.
func TestClaimsOnAndOn(t *testing.T) {
	for _, names := range []int{1, 3} {
		e := started(LAN(), 0, false)
		var o Output
		since, n := time.Duration(0), 0
		for now := time.Duration(0); e.State() != Root; now += time.Millisecond {
			if now > time.Minute {
				t.Fatalf("%d names: no root in a minute", names)
			}
			if at, ok := e.Deadline(); ok && at <= now {
				e.Tick(now, &o)
			}
			if e.State() != Deferring {
				since = now
			} else if now-since > 2*LAN().Announce+time.Millisecond {
				t.Fatalf("%d names: gives way for %v", names, now-since)
			}
			if now%(10*time.Millisecond) == 0 {
				n++
				e.Claim(now, claim(1+n%names, wire.Rank{Prefix: 5, Strength: uint32(n)}), &o)
			}
		}
	}
}

// TestTry: a root that does not serve is left for another one of lower rank, and is
// not heard for a while; nobody who is distrusted is tried.
func TestTry(t *testing.T) {
	e := started(LAN(), 3, false)
	high := claim(1, wire.Rank{Complete: true, Prefix: 9}.Confirm())
	low := claim(2, wire.Rank{Prefix: 5}.Confirm())
	var o Output
	e.Claim(0, high, &o)
	if e.Try(0, low, &o); e.Root().Peer != low.Peer {
		t.Fatal("stays with the root")
	}
	if e.Claim(time.Second, high, &o); e.Root().Peer != low.Peer {
		t.Error("goes back at once")
	}
	now := e.cfg.Ignore + time.Second
	if e.Claim(now, high, &o); e.Root().Peer != high.Peer {
		t.Error("never hears it again")
	}
	e.Distrust(now, low.Addr.Addr(), wire.ReasonBadChunk, &o)
	if e.Try(now, low, &o); e.Root().Peer != high.Peer {
		t.Error("tries one that is distrusted")
	}
}

// TestReturns: a root that has stepped down returns if it claims within a second, but for
// claims that were under way; another one does not, nor one that only would be root.
func TestReturns(t *testing.T) {
	holder := wire.Rank{Complete: true, Prefix: 9}.Confirm()
	for _, c := range []struct {
		who   int
		rank  wire.Rank
		after time.Duration
		want  bool
	}{{1, holder, 500 * time.Millisecond, true}, {1, holder, 1100 * time.Millisecond, false},
		{1, holder, LAN().HeadStart / 2, false}, {1, wire.Rank{}, 500 * time.Millisecond, false},
		{2, holder, 500 * time.Millisecond, false}} {
		e, o := started(LAN(), 0, false), Output{}
		now := time.Millisecond
		e.Claim(now, claim(1, holder), &o)
		e.Resign(now, peer(1), &wire.Resign{Reason: wire.ReasonOriginWrong}, true, &o)
		if got := e.Returns(now+c.after, claim(c.who, c.rank)); got != c.want {
			t.Errorf("device %d claims %+v %v after the root stepped down: returns %v", c.who, c.rank, c.after, got)
		}
	}
}

// TestHolderServesWhomItDistrusts: a device that holds the whole file becomes root for a
// distrusted one that does not, and not for one that does or has not confirmed its claim.
func TestHolderServesWhomItDistrusts(t *testing.T) {
	for _, c := range []struct {
		rank wire.Rank
		want State
	}{
		{wire.Rank{Prefix: 3}.Confirm(), Root}, {wire.Rank{Prefix: 3}, Holding},
		{wire.Rank{Complete: true}.Confirm(), Holding},
	} {
		e := started(LAN(), 9, true)
		var o Output
		e.Distrust(0, addr(1).Addr(), wire.ReasonRootStalled, &o)
		e.Claim(1, claim(1, c.rank), &o)
		if at, ok := e.Deadline(); ok {
			e.Tick(at, &o)
		}
		if e.State() != c.want {
			t.Errorf("%v: %v, want %v", c.rank, e.State(), c.want)
		}
	}
}
