package tree

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/limits"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/pdp/wire"
)

var update = flag.Bool("update", false, "write the traces anew")

// TestTraces holds every place that a root gives to a file: some histories in
// full, of many more a digest.
func TestTraces(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	golden.Traces{
		Head:  fmt.Sprintf("LAN %+v", LAN()),
		Kinds: []golden.Kind{{Name: "history", Trace: trace, Full: 4, Steps: 50}},
		More:  1000, Steps: 120,
	}.Check(t, *update)
}

// trace is what a root answers in a history that a seed makes.
func trace(seed uint64, steps int) string {
	r := rand.New(rand.NewPCG(seed, 9))
	self := wire.Peer{ID: 1, Nonce: 1}
	p := NewPlacer(LAN(), self)
	members := 3 + r.IntN(12)
	who := func() wire.Peer {
		switch n := r.IntN(members + 2); n {
		case members:
			return wire.Peer{}
		case members + 1:
			return self
		default:
			return wire.Peer{ID: uint64(10 + n), Nonce: 1}
		}
	}
	var b strings.Builder
	var now time.Duration
	for n := range steps {
		if n == 2 {
			p.Trees(uint8(1 + r.IntN(2)))
		}
		now += []time.Duration{0, time.Millisecond, 30 * time.Millisecond, 60 * time.Millisecond, 300 * time.Millisecond,
			2 * time.Second, 9 * time.Second, 21 * time.Second}[min(r.IntN(8), r.IntN(8))]
		from := who()
		if from == self || from.IsZero() {
			from = wire.Peer{ID: uint64(10 + r.IntN(members)), Nonce: uint32(1 + r.IntN(2))}
		}
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(from.ID) + byte(from.Nonce)}), 4051)
		if r.IntN(6) == 0 {
			stripe := uint8(r.IntN(2))
			p.Left(from, stripe)
			fmt.Fprintf(&b, "%v %d left tree %d\n", now, from.ID, stripe)
			continue
		}
		m := someAsk(r, who)
		place := p.Ask(now, addr, wire.Envelope{From: from, TCPPort: uint16(r.IntN(8))}, m)
		fmt.Fprintf(&b, "%v %d.%d %+v\n", now, from.ID, from.Nonce, *m)
		if place != nil {
			fmt.Fprintf(&b, "  → %+v\n", *place)
		}
		other, is := p.SameID(now, addr, from)
		fastest, speed := p.Fastest()
		fmt.Fprintf(&b, "  %d members, %d wait, other %v %v, fastest %d %d\n", p.Members(), p.Waiting(now), other, is,
			fastest.ID, speed)
	}
	return b.String()
}

func someAsk(r *rand.Rand, who func() wire.Peer) *wire.Ask {
	m := &wire.Ask{
		Stripe: uint8(r.IntN(2)), Free: uint8(r.IntN(3)), Children: uint8(r.IntN(3)), Trees: uint8(r.IntN(3)),
		Speed: uint32(r.IntN(4)) * 100,
	}
	switch r.IntN(8) {
	case 0:
		m.Done = true
	case 1, 2:
		m.Attached, m.Parent = true, who()
	}
	if r.IntN(3) == 0 {
		m.Failed, m.Move = who(), r.IntN(2) == 0
		m.Reason = []wire.Reason{wire.ReasonParentLost, wire.ReasonUnreachable, wire.ReasonParentSilent, wire.ReasonFull,
			wire.ReasonParentSlow, wire.ReasonDigestMismatch}[r.IntN(6)]
	}
	return m
}

// TestValidate: each time must be positive, and each count at least one.
func TestValidate(t *testing.T) {
	one := limits.AtLeast(1)
	limits.Test(t, LAN(), Config.Validate, map[string]limits.Range{
		"AskFirst": one, "AskAgain": one, "Asks": one, "Rounds": one, "Dial": one, "Lease": one, "Report": one,
		"Forget": one, "Avoid": one, "Gather": one,
	})
}
