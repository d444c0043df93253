package transfer

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
	"github.com/peerload/peerload/pdp/wire"
)

var update = flag.Bool("update", false, "write the traces anew")

// TestTraces holds what a parent sends to whom, and whom it finds too slow, to
// a file.
func TestTraces(t *testing.T) {
	golden.Traces{
		Head:  fmt.Sprintf("LAN %+v", LAN()),
		Kinds: []golden.Kind{{Name: "history", Trace: trace, Full: 12, Steps: 40}},
	}.Check(t, *update)
}

// trace is what a parent does in a history that a seed makes.
func trace(seed uint64, steps int) string {
	r := rand.New(rand.NewPCG(seed, 9))
	f := NewFeed(LAN())
	var b strings.Builder
	var now time.Duration
	link, held := Link(0), 0
	for range steps {
		now += []time.Duration{0, 10 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second}[r.IntN(5)]
		set := SetOf(uint8(r.IntN(2)), uint8(r.IntN(3)))
		p := wire.Peer{ID: uint64(1 + r.IntN(4)), Nonce: 1}
		some := Link(r.IntN(int(link) + 1))
		switch r.IntN(9) {
		case 0, 1:
			prefix := r.IntN(held + 1)
			if link++; !f.FullBut(set, p) {
				f.Add(now, link, p, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(p.ID)}), 4051), set, prefix)
				fmt.Fprintf(&b, "%v peer %d takes %02b from %d by link %d\n", now, p.ID, set, prefix, link)
			}
		case 2:
			if c := f.Remove(some); c != nil {
				fmt.Fprintf(&b, "%v link %d of peer %d goes\n", now, some, c.Peer.ID)
			}
		case 3, 4:
			f.Sent(now, some)
			fmt.Fprintf(&b, "%v sent to %d\n", now, some)
		case 5:
			whole := r.IntN(4) == 0
			f.Report(now, some, r.IntN(held+1), whole)
			fmt.Fprintf(&b, "%v report of %d, complete %v\n", now, some, whole)
		default:
			held += r.IntN(5)
		}
		f.Next(now, func(s Set) int { return held - held%int(1+s)/2 }, nil, func(l Link, i int) {
			fmt.Fprintf(&b, "  chunk %d to %d\n", i, l)
		})
		at, ok := f.Deadline()
		fmt.Fprintf(&b, "  %v: free %d %d %d, taken %d %d %d, due %v %v, busy %v", now, f.Free(1), f.Free(2), f.Free(All),
			f.Taken(1), f.Taken(2), f.Taken(All), at, ok, f.Busy())
		if c := f.Lagging(now); c != nil {
			fmt.Fprintf(&b, ", %d lags", c.Link)
		}
		if c := f.FindPeer(p, set); c != nil {
			fmt.Fprintf(&b, ", peer %d has %d of %+v", p.ID, c.Link, *c)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestValidate: no time and no count that cannot work.
func TestValidate(t *testing.T) {
	good, one, zero := LAN(), limits.AtLeast(1), limits.AtLeast(0)
	limits.Test(t, good, Config.Validate, map[string]limits.Range{
		"Window": one, "Stall": one, "SlowWindow": one, "SlowLag": one, "Progress": one, "Turn": one,
		"Look": one, "CatchUpChunks": one, "FallbackJitter": one, "Lapse": one, "Share": one, "FailedPeers": one,
		"Attempts": one,
		"Outage":   zero, "RootWait": zero, "RootBytes": zero, "StripeChunks": zero,
		"CatchUp":    limits.Between(1, int64(good.Fallback)),
		"Fallback":   limits.AtLeast(int64(good.CatchUp)),
		"KeepAlive":  limits.Between(1, int64(good.Silence/2)),
		"Silence":    limits.AtLeast(2 * int64(good.KeepAlive)),
		"Backoff":    limits.Between(1, int64(good.BackoffMax)),
		"BackoffMax": limits.AtLeast(int64(good.Backoff)),
		"Stripes":    limits.Between(0, wire.MaxStripes),
		"WholeFiles": limits.Any("both ways work"),
	})
}
