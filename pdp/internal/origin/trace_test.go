package origin

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

var update = flag.Bool("update", false, "write the traces anew")

// TestTraces holds when a device may ask the origin, and when it gives up, to a
// file: some histories in full, of many more a digest.
func TestTraces(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	golden.Traces{
		Kinds: []golden.Kind{{Name: "history", Trace: trace, Full: 6, Steps: 50}},
		More:  2000, Steps: 80,
	}.Check(t, *update)
}

var reasons = []wire.Reason{wire.ReasonOriginUnreachable, wire.ReasonOriginStalled, wire.ReasonOriginNotFound,
	wire.ReasonOriginForbidden, wire.ReasonOriginOther}

// trace is what a budget and a health say in a history that a seed makes.
func trace(seed uint64, steps int) string {
	r := rand.New(rand.NewPCG(seed, 9))
	budget, health := NewBudget(transfer.LAN(), rand.New(rand.NewPCG(seed, 10))), NewHealth(transfer.LAN())
	self := wire.Peer{ID: 3, Nonce: 1}
	var b strings.Builder
	var now time.Duration
	for range steps {
		now += []time.Duration{0, 100 * time.Millisecond, 900 * time.Millisecond, 4 * time.Second, 20 * time.Second}[min(
			r.IntN(5), r.IntN(5))]
		if at, ok := budget.Deadline(health.NotBefore()); ok && r.IntN(3) == 0 {
			now = max(now, at)
		}
		why := reasons[min(r.IntN(len(reasons)), r.IntN(len(reasons)))]
		what := ""
		switch r.IntN(12) {
		case 0, 1:
			budget.Entitle(now)
			what = "entitled"
		case 2:
			budget.Cancel()
			what = "cancelled"
		case 3, 4:
			what = fmt.Sprint("ready: ", budget.Ready(now, health.NotBefore()))
		case 5:
			budget.Done()
			what = "done"
		case 6, 7:
			p := wire.Peer{ID: uint64(1 + r.IntN(5)), Nonce: 1}
			d := &wire.Direct{Done: r.IntN(4) == 0, Bytes: int64(r.IntN(3)), Prefix: r.IntN(5)}
			link := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(p.ID)}), 4051)
			mine := int64(r.IntN(5))
			what = fmt.Sprintf("%d says %+v, here %d: stop %v", p.ID, *d, mine, budget.Heard(now, self, p, link, d, mine))
		case 8:
			health.Progress(now)
			what = "bytes came"
		case 9:
			if r.IntN(2) == 0 {
				health.Served(now)
				what = "a peer served"
			} else {
				health.Well()
				what = "it serves others"
			}
		case 10:
			what = fmt.Sprintf("failed, %s: leave it for %v", why, health.Failed(now, why, false))
		case 11:
			backoff := time.Duration(r.IntN(4)) * 30 * time.Second
			health.Heard(now, backoff, why)
			what = fmt.Sprintf("a peer failed, %s, and leaves it for %v", why, backoff)
		}
		at, ok := budget.Deadline(health.NotBefore())
		fmt.Fprintf(&b, "%v %s → active %v, waiting %v, due %v %v, other %d %v; before %v, probe %v, outage %v to %v, "+
			"spent %v, failing %v, doubtful %v, tried %v, last %s\n", now, what, budget.Active(), budget.Waiting(), at, ok,
			budget.other.ID, budget.otherAddr, health.NotBefore(), health.ProbeNotBefore(), health.Outage(now),
			health.InterruptionEnds(now), health.Spent(now), health.Failing(),
			health.Doubtful(now), health.Tried(), health.Last())
	}
	return b.String()
}
