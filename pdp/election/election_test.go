package election

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/pdp/wire"
)

func peer(i int) wire.Peer { return wire.Peer{ID: uint64(i) + 1, Nonce: 1} }

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 4051)
}

// claim is what device i says.
func claim(i int, r wire.Rank) Candidate {
	return Candidate{Peer: peer(i), Addr: addr(i), Links: addr(i),
		Claim: wire.Claim{Rank: r, Prefix: r.Prefix, Complete: r.Complete}}
}

func started(cfg Config, prefix int, complete bool) *Election {
	e := New(cfg, peer(0), rand.New(rand.NewPCG(3, 4)))
	e.Hold(prefix, complete, 0)
	var o Output
	e.Start(0, wire.ReasonNone, &o)
	return e
}

// until ticks to a state and returns when it is reached and how many claims
// were broadcast on the way.
func until(t *testing.T, e *Election, s State) (now time.Duration, claims int) {
	t.Helper()
	for range 50 {
		if e.State() == s {
			return now, claims
		}
		at, ok := e.Deadline()
		if !ok {
			break
		}
		now = at
		var o Output
		e.Tick(now, &o)
		if o.Broadcast {
			claims++
		}
	}
	t.Fatalf("stays %v, want %v", e.State(), s)
	return
}

func TestAloneBecomesRoot(t *testing.T) {
	slow := LAN()
	slow.Listen, slow.ClaimEvery, slow.Claims = 500*time.Millisecond, 250*time.Millisecond, 5
	for _, cfg := range []Config{LAN(), slow} {
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		e := started(cfg, 0, false)
		at, claims := until(t, e, Root)
		least := time.Duration(cfg.Claims) * cfg.ClaimEvery
		if at < least || at > least+cfg.Listen {
			t.Errorf("root after %v, want %v to %v", at, least, least+cfg.Listen)
		}
		if claims != cfg.Claims+1 {
			t.Errorf("%d claims, want %d and the confirmed one", claims, cfg.Claims)
		}
		if r, _ := e.Rank(); !r.Confirmed || r.Strength>>31 != 1 {
			t.Errorf("the strength was not bumped: %+v", r)
		}
	}
}

// TestMeets says what a device does that hears a claim: whom it follows, and
// whether it answers.
func TestMeets(t *testing.T) {
	weak, strong := wire.Rank{Strength: 1}, wire.Rank{Strength: 1<<31 - 1}
	for _, x := range []struct {
		name   string
		state  State
		prefix int
		heard  wire.Rank
		want   State
		answer bool
	}{
		{"listening hears a claim", Listening, 0, weak, Deferring, false},
		{"listening holds more than the claimant", Listening, 5, weak, Listening, false},
		{"listening hears a root", Listening, 0, weak.Confirm(), Following, false},
		{"claiming hears a stronger claim", Tentative, 0, strong, Deferring, false},
		{"claiming hears a weaker claim", Tentative, 0, wire.Rank{}, Tentative, false},
		{"claiming hears one that holds more", Tentative, 0, wire.Rank{Prefix: 1}, Deferring, false},
		{"claiming hears a root", Tentative, 0, wire.Rank{}.Confirm(), Following, false},
		{"root hears a claim that holds more", Root, 0, wire.Rank{Prefix: 9, Strength: 1}, Root, true},
		{"root hears a root that holds more", Root, 0, wire.Rank{Prefix: 9}.Confirm(), Following, false},
		{"root hears a root that holds less", Root, 3, wire.Rank{Prefix: 2, Strength: 1<<31 - 1}.Confirm(), Root, true},
		{"root hears a complete holder", Root, 3, wire.Rank{Complete: true}.Confirm(), Following, false},
	} {
		e := started(LAN(), x.prefix, false)
		now, _ := until(t, e, x.state)
		now += 100 * time.Millisecond // past the distance between answers
		var o Output
		e.Claim(now, claim(1, x.heard), &o)
		if e.State() != x.want || o.Answer != x.answer {
			t.Errorf("%s: %v, answers %v; want %v, %v", x.name, e.State(), o.Answer, x.want, x.answer)
		}
	}
}

func TestRankIsFrozen(t *testing.T) {
	e := started(LAN(), 3, false)
	now, _ := until(t, e, Root)
	e.Hold(100, false, 0)
	if r, _ := e.Rank(); r.Prefix != 3 {
		t.Errorf("the rank grew to %d after confirmation", r.Prefix)
	}
	f := started(LAN(), 0, false)
	var o Output
	f.Claim(now, claim(1, wire.Rank{Prefix: 3}.Confirm()), &o)
	f.Claim(now, claim(1, wire.Rank{Prefix: 99}.Confirm()), &o)
	if got := f.Root().Claim.Rank.Prefix; got != 3 {
		t.Errorf("a root raised its rank to %d", got)
	}
}

func TestHolderAnswersLateAndOnce(t *testing.T) {
	e := started(LAN(), 9, true)
	if e.State() != Holding {
		t.Fatalf("a complete device is %v", e.State())
	}
	if _, ok := e.Deadline(); ok {
		t.Error("a silent holder has a deadline")
	}
	var o Output
	e.Claim(0, claim(1, wire.Rank{}), &o)
	at, ok := e.Deadline()
	if o.Broadcast || !ok || at > LAN().Holder {
		t.Fatalf("broadcast %v, deadline %v %v", o.Broadcast, at, ok)
	}
	// Another holder is quicker.
	e.Claim(at/2, claim(2, wire.Rank{Complete: true}.Confirm()), &o)
	if at, ok := e.Deadline(); ok {
		t.Errorf("answers at %v though another did", at)
	}
	e.Claim(at, claim(1, wire.Rank{}), &o)
	at, _ = e.Deadline()
	e.Tick(at, &o)
	if e.State() != Root || !o.Broadcast {
		t.Errorf("did not answer: %v", e.State())
	}
}

func TestStormOfClaimsGetsNoStormOfAnswers(t *testing.T) {
	cfg := LAN()
	e := started(cfg, 5, false)
	now, _ := until(t, e, Root)
	answers := 0
	const storm = time.Second
	for i := range 10000 {
		var o Output
		at := now + time.Duration(i)*storm/10000
		e.Claim(at, claim(1+i%500, wire.Rank{Strength: 1}.Confirm()), &o)
		if o.Broadcast {
			answers++
		}
	}
	if most := int(storm/cfg.Answer) + 1; answers > most {
		t.Errorf("%d answers in a second, at most %d", answers, most)
	}
}

// TestAnswersForItsFollowers: a root that does not believe a device answers its
// confirmed claims all the same, or the followers, which do, would leave the root.
func TestAnswersForItsFollowers(t *testing.T) {
	e := started(LAN(), 5, false)
	now, _ := until(t, e, Root)
	var o Output
	e.Distrust(now, addr(7).Addr(), wire.ReasonDigestMismatch, &o)
	if !e.WasDistrusted(addr(7).Addr()) || e.WasDistrusted(addr(8).Addr()) {
		t.Error("does not remember who failed")
	}
	now += time.Second
	high := wire.Rank{Prefix: 9, Strength: ^uint32(0)}
	o = Output{}
	if e.Claim(now, claim(7, high), &o); o.Broadcast {
		t.Error("answers a tentative claim")
	}
	o = Output{}
	if e.Claim(now, claim(7, high.Confirm()), &o); !o.Broadcast || o.Changed || e.State() != Root {
		t.Errorf("answers: %v, is %v", o.Broadcast, e.State())
	}
}

// TestRankWithoutTheFile: a rank for the whole file counts for no more than the
// claimant has now.
func TestRankWithoutTheFile(t *testing.T) {
	for has, follows := range map[int]bool{4: false, 6: true} {
		e := started(LAN(), 5, false)
		now, _ := until(t, e, Root)
		c := claim(7, wire.Rank{Complete: true, Prefix: 100}.Confirm())
		c.Claim.Complete, c.Claim.Prefix = false, has
		var o Output
		if e.Claim(now+time.Second, c, &o); (e.State() == Following) != follows {
			t.Errorf("of a device with %d chunks: %v", has, e.State())
		}
	}
}

func TestSuccessorClaimsFirst(t *testing.T) {
	follow := func() *Election {
		e := started(LAN(), 0, false)
		var o Output
		e.Claim(0, claim(1, wire.Rank{}.Confirm()), &o)
		return e
	}
	var o Output
	named := follow()
	named.Resign(time.Second, peer(1), &wire.Resign{Successor: peer(0)}, true, &o)
	if named.State() != Tentative && !o.Broadcast {
		if at, ok := named.Deadline(); !ok || at > time.Second {
			t.Errorf("the successor waits: %v", named.State())
		}
	}
	other := follow()
	other.Resign(time.Second, peer(1), &wire.Resign{Successor: peer(5)}, true, &o)
	if at, _ := other.Deadline(); at < time.Second+LAN().HeadStart {
		t.Errorf("another claims %v after the resignation", at-time.Second)
	}
	stranger := follow()
	stranger.Resign(time.Second, peer(7), &wire.Resign{}, true, &o)
	if stranger.State() != Following {
		t.Error("a stranger's resignation counts")
	}
}

// TestElectionProperties: after any events a tick at the deadline moves the
// deadline on, and a follower's root is never itself.
func TestElectionProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := New(LAN(), peer(0), rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
		var now time.Duration
		var o Output
		e.Start(0, wire.ReasonNone, &o)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond
			i := rapid.IntRange(1, 5).Draw(t, "i")
			r := wire.Rank{Prefix: rapid.IntRange(0, 3).Draw(t, "prefix"), Strength: rapid.Uint32().Draw(t, "strength"),
				Complete: rapid.IntRange(0, 9).Draw(t, "complete") == 0, Confirmed: rapid.Bool().Draw(t, "confirmed")}
			o = Output{}
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				e.Resign(now, peer(i), &wire.Resign{Successor: peer(rapid.IntRange(0, 3).Draw(t, "next"))},
					rapid.Bool().Draw(t, "needed"), &o)
			case 1:
				e.RootLost(now, wire.ReasonRootLost, &o)
			case 2:
				e.Distrust(now, addr(i).Addr(), wire.ReasonRootStalled, &o)
			case 3:
				e.Hold(rapid.IntRange(0, 3).Draw(t, "held"), rapid.IntRange(0, 5).Draw(t, "whole") == 0, 0)
			default:
				e.Claim(now, claim(i, r), &o)
			}
			for range 10 {
				at, ok := e.Deadline()
				if !ok || at > now {
					break
				}
				e.Tick(now, &o)
			}
			if at, ok := e.Deadline(); ok && at <= now {
				t.Fatalf("%v: the deadline %v stays in the past at %v", e.State(), at, now)
			}
			if r := e.Root(); r != nil && r.Peer == peer(0) {
				t.Fatal("follows itself")
			}
		}
	})
}

// TestBegun: a device that holds more than a confirmed root claims all the same if that has
// received nothing yet, and follows one that has, or holds as much.
func TestBegun(t *testing.T) {
	for _, c := range []struct {
		name           string
		prefix, theirs int
		bytes          int64
		listens        bool
		follows        bool
	}{
		{"has nothing", 2, 0, 0, false, false}, {"has nothing, before the first claim", 2, 0, 0, true, false},
		{"has received something", 2, 0, 1, false, true}, {"holds as much", 2, 2, 0, false, true},
		{"both hold nothing", 0, 0, 0, false, true},
	} {
		e := started(LAN(), c.prefix, false)
		now := time.Duration(0)
		if !c.listens {
			now, _ = until(t, e, Tentative)
		}
		root := claim(1, wire.Rank{Prefix: c.theirs, Strength: 1}.Confirm())
		root.Claim.Bytes = c.bytes
		var o Output
		if e.Claim(now, root, &o); (e.State() == Following) != c.follows {
			t.Errorf("a root that %s: %v", c.name, e.State())
		}
		if !c.follows {
			until(t, e, Root)
		}
	}
}

// TestClearlyMoreBytesStay: of two roots that held the same when they were
// confirmed the one that has received clearly more stays, and both see it so
// though each knows of the other what it said a while ago.
func TestClearlyMoreBytesStay(t *testing.T) {
	const kib = 1 << 10
	for _, x := range []struct {
		mine, theirs int64
		stays        bool // whose rank is lower
	}{
		{0, 0, false}, {1, 0, true}, {0, 1, false}, {64 * kib, 1, false}, {300 * kib, 1, true},
		{4096 * kib, 64 * kib, true}, {4096 * kib, 2048 * kib, false}, {64 * kib, 4096 * kib, false},
	} {
		e := started(LAN(), 0, false)
		now, _ := until(t, e, Root)
		e.Hold(0, false, x.mine)
		r := claim(1, wire.Rank{Strength: 1<<31 - 1}.Confirm())
		r.Claim.Bytes = x.theirs
		var o Output
		e.Claim(now+time.Second, r, &o)
		if stays := e.State() == Root; stays != x.stays {
			t.Errorf("%d bytes against %d of a higher rank: stays %v", x.mine, x.theirs, stays)
		}
		// A follower of the one hears the other.
		f := started(LAN(), 0, false)
		mine := claim(2, wire.Rank{Strength: 1}.Confirm())
		mine.Claim.Bytes = x.mine
		f.Claim(1, mine, &o)
		f.Claim(2, r, &o)
		if stays := f.Root().Peer == mine.Peer; stays != x.stays {
			t.Errorf("%d bytes against %d of a higher rank: a follower stays %v", x.mine, x.theirs, stays)
		}
	}
}

// TestTheFurtherRootStays: a root that has come to hold clearly more than one that
// was confirmed with a longer prefix stays, and all see it so. What a claim tells
// does not count where it is less than its rank, as where files are passed on whole.
func TestTheFurtherRootStays(t *testing.T) {
	for _, x := range []struct {
		mine, theirs int
		stays        bool // who was confirmed with nothing, against 3 chunks
	}{
		{0, 3, false}, {7, 3, false}, {8, 3, true}, {80, 60, true}, {79, 60, false}, {3, 80, false}, {80, 0, false},
	} {
		e := started(LAN(), 0, false)
		now, _ := until(t, e, Root)
		e.Hold(x.mine, false, 1)
		r := claim(1, wire.Rank{Prefix: 3}.Confirm())
		r.Claim.Prefix, r.Claim.Bytes = x.theirs, 1
		var o Output
		e.Claim(now+time.Second, r, &o)
		if stays := e.State() == Root; stays != x.stays {
			t.Errorf("%d chunks against %d: stays %v", x.mine, x.theirs, stays)
		}
		f := started(LAN(), 0, false)
		mine := claim(2, wire.Rank{}.Confirm())
		mine.Claim.Prefix, mine.Claim.Bytes = x.mine, 1
		f.Claim(1, mine, &o)
		f.Claim(2, r, &o)
		if stays := f.Root().Peer == mine.Peer; stays != x.stays {
			t.Errorf("%d chunks against %d: a follower stays %v", x.mine, x.theirs, stays)
		}
		// The other root hears it the same way.
		g := started(LAN(), 3, false)
		now, _ = until(t, g, Root)
		g.Hold(x.theirs, false, 1)
		g.Claim(now+time.Second, mine, &o)
		if gives := g.State() == Following; gives != x.stays && x.theirs > 0 {
			t.Errorf("%d chunks against %d: the other gives way %v", x.mine, x.theirs, gives)
		}
	}
}

// TestNeeded: a device that holds everything answers one that goes to the origin
// though its own root says that it is complete too, and is root again for whoever
// asks it.
func TestNeeded(t *testing.T) {
	e := started(LAN(), 9, true)
	liar := claim(1, wire.Rank{Complete: true, Prefix: 9, Strength: ^uint32(0)}.Confirm())
	var o Output
	e.state = Listening
	e.Claim(0, liar, &o)
	if e.State() != Following {
		t.Fatal(e.State())
	}
	e.Needed(0, &o)
	e.Claim(time.Millisecond, liar, &o)
	if until(t, e, Root); e.reason != wire.ReasonHolder {
		t.Errorf("becomes root: %v", e.reason)
	}
	e.Claim(time.Second, liar, &o)
	if e.State() != Following {
		t.Fatalf("%v though outranked", e.State())
	}
	if e.Serve(time.Second, &o); e.State() != Root {
		t.Error("serves nobody who asks it")
	}
	f := started(LAN(), 3, false)
	f.Claim(0, liar, &o)
	if f.Serve(0, &o); f.State() != Following {
		t.Error("takes the place of the root without holding the file")
	}
}
