package election

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/limits"
	"github.com/peerload/peerload/pdp/wire"
)

var update = flag.Bool("update", false, "write the traces anew")

// TestTraces holds every decision of an election to a file: some histories in
// full, of many more a digest. What changes there changes what devices do on a
// subnet with others, and has to be meant.
func TestTraces(t *testing.T) {
	golden.Traces{
		Head:  fmt.Sprintf("LAN %+v", LAN()),
		Kinds: []golden.Kind{{Name: "history", Trace: trace, Full: 6, Steps: 40}},
		More:  1500, Steps: 60,
	}.Check(t, *update)
}

// trace is what a device does in a history that a seed makes.
func trace(seed uint64, steps int) string {
	r := rand.New(rand.NewPCG(seed, 9))
	e := New(LAN(), peer(0), rand.New(rand.NewPCG(seed, 10)))
	var b strings.Builder
	var now time.Duration
	var out Output
	e.Hold(r.IntN(3), r.IntN(5) == 0, 0)
	e.Start(now, wire.ReasonNone, &out)
	b.WriteString(seen(e, now, "start", out))
	for range steps {
		out = Output{}
		at, ok := e.Deadline()
		if ok && r.IntN(2) == 0 {
			now = max(now, at)
			if r.IntN(8) == 0 {
				now += time.Duration(r.IntN(20)) * time.Millisecond // held up
			}
			e.Tick(now, &out)
			b.WriteString(seen(e, now, "tick", out))
			continue
		}
		now += []time.Duration{0, time.Millisecond, 7 * time.Millisecond, 40 * time.Millisecond, 210 * time.Millisecond,
			time.Second, 6 * time.Second}[r.IntN(7)]
		b.WriteString(seen(e, now, happen(e, now, r, &out), out))
	}
	return b.String()
}

// happen lets something happen to the device and says what.
func happen(e *Election, now time.Duration, r *rand.Rand, out *Output) string {
	i := r.IntN(4) // 0: the device itself
	switch n := r.IntN(20); n {
	case 0:
		e.RootLost(now, wire.ReasonRootLost, out)
		return "root lost"
	case 1:
		why := []wire.Reason{wire.ReasonRootSilent, wire.ReasonUnreachable, wire.ReasonBadChunk}[r.IntN(3)]
		e.Distrust(now, addr(i).Addr(), why, out)
		return fmt.Sprintf("distrust %d: %s", i, why)
	case 2:
		successor, needed := r.IntN(4), r.IntN(2) == 0
		m := &wire.Resign{Successor: peer(successor)}
		if successor == 3 {
			m.Successor = wire.Peer{}
		}
		e.Resign(now, peer(i), m, needed, out)
		return fmt.Sprintf("%d resigns for %d, needed %v", i, successor, needed)
	case 3, 4:
		prefix, whole, served := r.IntN(4), r.IntN(6) == 0, int64(r.IntN(3))*(200<<10)
		e.Hold(prefix, whole, served)
		return fmt.Sprintf("holds %d, complete %v, served %d", prefix, whole, served)
	case 5:
		e.Quiet(out)
		return "quiet"
	case 6:
		e.Serve(now, out)
		return "serve"
	case 7:
		e.Claimable(now, out)
		return "claimable"
	case 8:
		if e.State() == Root {
			e.StepDown(now, wire.Resign{Reason: wire.ReasonOriginStalled}, 300*time.Millisecond, out)
			return "steps down"
		}
		fallthrough
	default:
		c := claim(i, wire.Rank{Prefix: r.IntN(4), Complete: r.IntN(6) == 0, Strength: uint32(r.IntN(3)) << 30 >> 1})
		if r.IntN(2) == 0 {
			c.Claim.Rank = c.Claim.Rank.Confirm()
		}
		c.Claim.Complete = c.Claim.Complete || r.IntN(8) == 0
		c.Claim.Bytes = int64(r.IntN(4)) * (300 << 10)
		e.Claim(now, c, out)
		return fmt.Sprintf("claim of %d: %+v complete %v bytes %d", i, c.Claim.Rank, c.Claim.Complete, c.Claim.Bytes)
	}
}

// seen is a line about what follows from an event.
func seen(e *Election, now time.Duration, event string, out Output) string {
	rank, why := e.Rank()
	at, ok := e.Deadline()
	root := "none"
	if c := e.Root(); c != nil {
		root = fmt.Sprintf("%d rank %+v heard %v", c.Peer.ID, c.Claim.Rank, c.Heard.Round(time.Millisecond))
	}
	var expected uint64
	if c := e.Expected(); c != nil {
		expected = c.Peer.ID
	}
	// Floating-point numbers may differ in their last bits between processors.
	const exact = 10 * time.Microsecond
	s := fmt.Sprintf("%v %s → %v, root %s, expects %d, own %+v %s, due %v %v, out {%v %v %v %s", now.Round(exact), event,
		e.State(), root, expected, rank, why, at.Round(exact), ok, out.Broadcast, out.Answer, out.Changed, out.Reason)
	if out.Resign != nil {
		s += fmt.Sprintf(" resign %+v", *out.Resign)
	}
	return s + "}\n"
}

// TestValidate: each time must be positive, and holders must answer in time.
func TestValidate(t *testing.T) {
	good, one := LAN(), limits.AtLeast(1)
	claims := int64(good.Claims) * int64(good.ClaimEvery)
	limits.Test(t, good, Config.Validate, map[string]limits.Range{
		"Listen": one, "Announce": one, "Answer": one, "Challenge": one, "Ignore": one, "HeadStart": one, "Distrust": one,
		"ClaimEvery": limits.AtLeast(int64(good.Holder)/int64(good.Claims) + 1),
		"Claims":     limits.AtLeast(int64(good.Holder/good.ClaimEvery) + 1),
		"Holder":     limits.Between(1, claims-1),
	})
	// Without Claims there is no time in which a holder could answer: the
	// message names what is missing.
	c := good
	if c.Claims = 0; c.Validate() == nil || !strings.Contains(c.Validate().Error(), "at least one claim") {
		t.Errorf("without claims: %v", c.Validate())
	}
	if c.Claims, c.Holder = 1, c.ClaimEvery-1; c.Validate() != nil {
		t.Errorf("one claim: %v", c.Validate())
	}
}
