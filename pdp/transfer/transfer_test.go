package transfer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
)

const ms = time.Millisecond

func peer(i int) wire.Peer { return wire.Peer{ID: uint64(i) + 1} }

func TestFeedKeepsAWindowForEachChild(t *testing.T) {
	cfg := LAN()
	f := NewFeed(cfg)
	f.Add(0, 1, peer(1), netip.Addr{}, All, 0)
	f.Add(0, 2, peer(2), netip.Addr{}, All, 4)
	sent := map[tree.Link][]int{}
	next := func(now time.Duration, prefix int) {
		f.Next(now, func(Set) int { return prefix }, func(l tree.Link, i int) { sent[l] = append(sent[l], i) })
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
	if !f.Full(All) || f.Free(1) != 0 {
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
	f.Add(0, 1, peer(1), netip.Addr{}, All, 0)
	f.Next(0, func(Set) int { return 1 }, func(tree.Link, int) {})
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

func TestWatch(t *testing.T) {
	cfg := LAN()
	// feed plays a parent and a root that gain chunks per second, and a child
	// that gets some of them.
	play := func(parent, root, child float64, depth int, quiet bool) (wire.Reason, time.Duration) {
		w := NewWatch(cfg, 0, 0)
		for now := 250 * ms; now < time.Minute; now += 250 * ms {
			s := now.Seconds()
			if !quiet {
				w.Parent(now, int(parent*s), int(root*s))
				w.Mine(now, int(child*s))
			}
			if why := w.Check(now, depth); why != wire.ReasonNone {
				return why, now
			}
		}
		return wire.ReasonNone, 0
	}
	for _, x := range []struct {
		name                string
		parent, root, child float64
		depth               int
		quiet               bool
		want                wire.Reason
		before              time.Duration
	}{
		{"keeps up", 40, 40, 40, 1, false, wire.ReasonNone, 0},
		{"passes on half", 40, 40, 20, 1, false, wire.ReasonNone, 0},
		{"passes on a tenth", 40, 40, 4, 1, false, wire.ReasonParentSlow, 5 * time.Second},
		{"keeps all", 40, 40, 0, 1, false, wire.ReasonParentStalled, 6 * time.Second},
		{"has nothing, as the root", 0, 0, 0, 1, false, wire.ReasonNone, 0},
		{"falls behind the root", 2, 40, 2, 1, false, wire.ReasonParentSlow, 10 * time.Second},
		{"falls behind the root, deeper down", 2, 40, 2, 3, false, wire.ReasonParentSlow, 14 * time.Second},
		{"has nothing though the root has", 0, 3, 0, 1, false, wire.ReasonParentSlow, 10 * time.Second},
		{"is silent", 0, 0, 0, 1, true, wire.ReasonParentSilent, 2 * time.Second},
	} {
		why, at := play(x.parent, x.root, x.child, x.depth, x.quiet)
		if why != x.want || at > x.before {
			t.Errorf("a parent that %s: %v after %v, want %v within %v", x.name, why, at, x.want, x.before)
		}
	}
	deep, at := play(2, 40, 2, 3, false)
	if _, shallow := play(2, 40, 2, 1, false); deep != wire.ReasonParentSlow || at <= shallow {
		t.Errorf("the deeper device leaves after %v, the upper one after %v: all of a subtree move", at, shallow)
	}
}

func TestRootWatch(t *testing.T) {
	cfg := LAN()
	w := NewRootWatch(cfg, 0)
	if w.Stalled(cfg.Progress) || !w.Stalled(cfg.Progress+1) || w.Deadline() != cfg.Progress+1 {
		t.Error("a root that does nothing is not found out in time")
	}
	w.Root(0, 0, 0)
	if !w.Root(cfg.Progress, 0, cfg.RootBytes) || w.Stalled(cfg.Progress+1) {
		t.Error("bytes that a root receives do not count")
	}
	w.Wait(3 * cfg.Progress)
	if w.Stalled(3*cfg.Progress + 1) {
		t.Error("a root may wait for its turn")
	}
	w.Wait(cfg.Turn + 1)
	if !w.Stalled(cfg.Turn + 1) {
		t.Error("it may not wait for ever")
	}
}

func TestPatience(t *testing.T) {
	cfg := LAN()
	p := NewPatience(cfg)
	var last time.Duration
	for i := range cfg.Attempts {
		if p.Spent(0) {
			t.Fatalf("gives up after %d attempts", i)
		}
		if d := p.Failed(0, wire.ReasonOriginUnreachable); d <= last {
			t.Errorf("back-off %v after %v", d, last)
		} else {
			last = d
		}
	}
	if !p.Spent(0) {
		t.Error("never gives up")
	}
	for range 40 {
		if d := p.Failed(0, wire.ReasonOriginOther); d > cfg.BackoffMax {
			t.Fatalf("back-off %v", d)
		}
	}
	q := NewPatience(cfg)
	for range 10 {
		q.Heard(0, time.Hour, wire.ReasonOriginStalled)
	}
	if q.Spent(0) {
		t.Error("gives up on peers' word alone")
	}
	if !q.Doubtful(0) || q.NotBefore() > cfg.BackoffMax {
		t.Errorf("doubtful %v, not before %v", q.Doubtful(0), q.NotBefore())
	}
	q.Progress(0)
	if q.Doubtful(0) || q.Failing() {
		t.Error("bytes do not restore the trust")
	}
	n := NewPatience(cfg)
	n.Heard(0, 0, wire.ReasonOriginNotFound)
	if !n.Doubtful(0) || n.Spent(0) {
		t.Error("a missing file is not looked for once")
	}
	n.Failed(0, wire.ReasonOriginNotFound)
	if !n.Spent(0) {
		t.Error("a missing file is asked for again")
	}
}

// TestOutage: an origin that served a while ago and is gone is waited for, and
// tried more often than one that never was there.
func TestOutage(t *testing.T) {
	cfg := LAN()
	served := func() *Patience {
		p := NewPatience(cfg)
		p.Progress(time.Second)
		return p
	}
	p := served()
	for range 20 {
		if d := p.Failed(2*time.Second, wire.ReasonOriginStalled); d > 2*cfg.Backoff {
			t.Fatalf("left alone for %v", d)
		}
		p.Heard(2*time.Second, time.Second, wire.ReasonOriginUnreachable)
		if p.Spent(2*time.Second) || p.Doubtful(2*time.Second) {
			t.Fatal("gives up a second after the last byte")
		}
	}
	end := p.OutageEnds(2 * time.Second)
	if end <= cfg.Outage || p.Spent(end-1) || !p.Spent(end) || p.OutageEnds(end) != 0 {
		t.Errorf("the outage ends at %v: before %v, then %v", end, p.Spent(end-1), p.Spent(end))
	}
	for _, why := range []wire.Reason{wire.ReasonOriginNotFound, wire.ReasonOriginForbidden, wire.ReasonOriginTruncated, wire.ReasonOriginOther} {
		p := served()
		for range cfg.Attempts {
			p.Failed(2*time.Second, why)
		}
		if !p.Spent(2 * time.Second) {
			t.Errorf("%v is waited for", why)
		}
	}
}

func TestBudget(t *testing.T) {
	cfg := LAN()
	newBudget := func() *Budget { return NewBudget(cfg, rand.New(rand.NewPCG(1, 1))) }
	link := netip.AddrPort{}
	b := newBudget()
	if b.Ready(time.Hour, 0) {
		t.Error("ready without being entitled")
	}
	b.Entitle(0)
	at, ok := b.Deadline(0)
	if !ok || at > cfg.FallbackJitter || !b.Ready(at, 0) || !b.Active() {
		t.Errorf("deadline %v %v, active %v", at, ok, b.Active())
	}
	// Two begin at once: the lower id goes on.
	if b.Heard(at, peer(5), peer(6), link, &wire.Direct{}) || !b.Heard(at, peer(5), peer(4), link, &wire.Direct{}) || b.Active() {
		t.Error("the wrong one stops")
	}
	// Another's download lapses when its bytes stand still.
	c := newBudget()
	c.Entitle(0)
	for now := time.Duration(0); now < 30*time.Second; now += time.Second {
		c.Heard(now, peer(5), peer(4), link, &wire.Direct{Bytes: int64(now)})
		if c.Ready(now, 0) {
			t.Fatalf("two downloads at %v", now)
		}
	}
	if at, _ := c.Deadline(0); c.Ready(29*time.Second+cfg.Lapse, 0) || !c.Ready(at, 0) || at > 29*time.Second+cfg.Lapse+cfg.FallbackJitter+1 {
		t.Errorf("a download that stands still is respected until %v", at)
	}
	// When the budget comes free not all begin at once.
	starts := map[time.Duration]bool{}
	for seed := range uint64(20) {
		d := NewBudget(cfg, rand.New(rand.NewPCG(seed, 1)))
		d.Entitle(0)
		d.Heard(time.Second, peer(5), peer(4), link, &wire.Direct{Bytes: 1})
		d.Heard(5*time.Second, peer(5), peer(4), link, &wire.Direct{Done: true})
		at, _ := d.Deadline(0)
		starts[at] = true
	}
	if len(starts) < 15 {
		t.Errorf("20 devices begin at %d instants", len(starts))
	}
}

func TestPresets(t *testing.T) {
	for _, c := range []Config{LAN(), Classic()} {
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
	bad := LAN()
	bad.Silence = bad.KeepAlive
	if bad.Validate() == nil {
		t.Error("a silence shorter than two keep-alives is accepted")
	}
}

func TestFeedSendsEachChildItsStripe(t *testing.T) {
	f := NewFeed(LAN())
	even, odd := SetOf(0, 2), SetOf(1, 2)
	f.Add(0, 1, peer(1), netip.Addr{}, even, 0)
	f.Add(0, 2, peer(2), netip.Addr{}, odd, 0)
	f.Add(0, 3, peer(3), netip.Addr{}, All, 2)
	sent := map[tree.Link][]int{}
	f.Next(0, func(s Set) int { return map[Set]int{even: 6, odd: 3, All: 3}[s] }, func(l tree.Link, i int) { sent[l] = append(sent[l], i) })
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

func TestTrees(t *testing.T) {
	for _, c := range []struct {
		stripes, chunks int
		want            uint8
	}{{0, 63, 1}, {0, 64, 2}, {1, 1000, 1}, {2, 1, 2}} {
		cfg := LAN()
		cfg.Stripes = c.stripes
		if got := cfg.Trees(c.chunks); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if Classic().Trees(1000) != 1 {
		t.Error("the classic profile takes two trees")
	}
}
