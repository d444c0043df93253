package follower

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
	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
)

var update = flag.Bool("update", false, "write the traces anew")

// TestTraces holds what a follower does, and how it judges parents and roots, to
// a file: some histories in full, of many more a digest.
func TestTraces(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	golden.Traces{
		Kinds: []golden.Kind{
			{Name: "follower", Trace: trace, Full: 4, Steps: 60},
			{Name: "watches", Trace: watchTrace, Full: 4, Steps: 40},
		},
		More: 1500, Steps: 80,
	}.Check(t, *update)
}

func addrOf(i int) netip.AddrPort {
	if i == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), uint16(i-1)*1000) // of 1 without a port
}

// trace is what a follower does in a history that a seed makes.
func trace(seed uint64, steps int) string {
	r := rand.New(rand.NewPCG(seed, 9))
	f := New(tree.LAN(), peer(1), uint8(seed%2), new(Links), rand.New(rand.NewPCG(seed, 10)))
	var b strings.Builder
	var now time.Duration
	for range steps {
		var out Output
		what := ""
		if at, ok := f.Deadline(); ok && r.IntN(2) == 0 {
			now = max(now, at)
			me := Self{Prefix: r.IntN(9), Epoch: 3, Free: r.IntN(3), Children: r.IntN(3), Done: r.IntN(9) == 0,
				Trees: uint8(r.IntN(3)), Speed: uint32(r.IntN(3)), AtRoot: r.IntN(6) == 0}
			what = fmt.Sprintf("tick as %+v", me)
			f.Tick(now, me, &out)
		} else {
			now += []time.Duration{0, time.Millisecond, 60 * time.Millisecond, 400 * time.Millisecond}[r.IntN(4)]
			what = happen(f, now, r, &out)
		}
		at, ok := f.Deadline()
		p, addr, link := f.Parent()
		fmt.Fprintf(&b, "%v %s → %v, parent %v %v %d, %d failures, asked %v, path %v, due %v %v", now, what, f.State(), p,
			addr, link, f.Failures(), f.AskedSince(), f.Path(), at, ok)
		if out.Ask != nil {
			fmt.Fprintf(&b, ", asks %v %+v", out.AskTo, *out.Ask)
			out.Ask = nil
		}
		if out != (Output{}) {
			fmt.Fprintf(&b, ", out %+v", out)
		}
		b.WriteString("\n")
	}
	return b.String()
}

var reasons = []wire.Reason{wire.ReasonParentSlow, wire.ReasonNoProgress, wire.ReasonWrongEpoch, wire.ReasonFull,
	wire.ReasonLoop, wire.ReasonNotYet, wire.ReasonDone, wire.ReasonStopped, wire.ReasonRootOfFile,
	wire.ReasonDigestMismatch, wire.ReasonUnreachable}

// happen lets something happen to a follower and says what.
func happen(f *Follower, now time.Duration, r *rand.Rand, out *Output) string {
	i, why := r.IntN(5), reasons[r.IntN(len(reasons))]
	_, _, link := f.Parent()
	if r.IntN(5) == 0 {
		link--
	}
	switch r.IntN(16) {
	case 0, 1:
		p := peer(2 + i%2)
		spread := time.Duration(r.IntN(2)) * 50 * time.Millisecond
		f.Root(now, p, addrOf(3+i), addrOf(4+i), spread)
		return fmt.Sprintf("root %v at %v, spread %v", p, addrOf(3+i), spread)
	case 2:
		f.NoRoot()
		return "no root"
	case 3:
		f.Leave(why, out)
		return fmt.Sprintf("leave: %s", why)
	case 4:
		f.Fail(now, why, out)
		return fmt.Sprintf("fail: %s", why)
	case 5:
		f.Closed(now, link, why, out)
		return fmt.Sprintf("closed %d: %s", link, why)
	case 6, 7, 8:
		m := &wire.Place{Parent: []wire.Peer{{}, peer(1), peer(2), peer(3), peer(7)}[r.IntN(5)], Addr: addrOf(i),
			Wait: uint16(r.IntN(3) * 50)}
		f.Place(now, peer(2+r.IntN(2)), m, out)
		return fmt.Sprintf("place %+v", *m)
	case 9, 10:
		return fmt.Sprintf("welcome over %d: %v", link, f.Welcome(now, link, peer(6)))
	case 11:
		path := []wire.Peer{peer(2), peer(3 - 2*(i/4))}
		return fmt.Sprintf("path %v: %v", path, f.SetPath(path))
	case 12:
		f.ReportSoon(now)
		return "report soon"
	case 13:
		f.Spread(i * 200)
		return fmt.Sprintf("%d members", i*200)
	case 14:
		f.Served()
		return "served"
	}
	if i == 0 {
		f.Forgive()
		return "forgive"
	}
	f.Done(Self{Prefix: 9, Done: true}, out)
	return "done"
}

// watchTrace is how a parent and a root are judged in a history that a seed
// makes.
func watchTrace(seed uint64, steps int) string {
	r := rand.New(rand.NewPCG(seed, 11))
	p, root := NewParentWatch(transfer.LAN(), 0, r.IntN(3)), NewRootWatch(transfer.LAN(), 0)
	var b strings.Builder
	var now time.Duration
	parent, far, mine := 0, 0, 0
	var bytes int64
	speeds := []int{r.IntN(30), r.IntN(30), r.IntN(30)}
	for range steps {
		now += []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, time.Second,
			1600 * time.Millisecond}[min(r.IntN(4), r.IntN(4))]
		what := ""
		switch r.IntN(9) {
		case 0:
			p.Active(now)
			what = "active"
		case 1, 2:
			parent += r.IntN(speeds[0] + 1)
			far = max(far, parent)
			p.Parent(now, parent, far)
			what = fmt.Sprintf("parent has %d, root %d", parent, far)
		case 3:
			far += r.IntN(speeds[1] + 1)
			p.Root(far)
			what = fmt.Sprintf("root has %d", far)
		case 4, 5:
			mine += r.IntN(speeds[2] + 1)
			p.Mine(now, mine)
			root.Gain(now)
			what = fmt.Sprintf("gained: %d", mine)
		case 6:
			bytes += int64(r.IntN(3)) * 600
			what = fmt.Sprintf("root received %d: moved %v", bytes, root.Root(now, far, bytes))
		case 7:
			p.Stay(now)
			what = "stay"
		case 8:
			root.Wait(now)
			what = "root waits"
		}
		depth := r.IntN(3)
		fmt.Fprintf(&b, "%v %s → at depth %d %v, due %v; root %d chunks %d bytes, stalled %v, due %v\n", now, what, depth,
			p.Check(now, depth), p.Deadline(), root.Prefix(), root.Bytes(), root.Stalled(now), root.Deadline())
	}
	return b.String()
}
