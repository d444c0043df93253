package follower

import (
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

const ms = time.Millisecond

func TestParentWatch(t *testing.T) {
	cfg := transfer.LAN()
	// play plays a parent and a root that gain chunks per second, and a child
	// that gets some of them.
	play := func(parent, root, child float64, depth int, quiet bool) (wire.Reason, time.Duration) {
		w := NewParentWatch(cfg, 0, 0)
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
	cfg := transfer.LAN()
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

// TestRootWatchRelays: a parent that tells of an earlier root, whose download came
// further, does not hide that the present one advances; nor does it pass for one
// that does.
func TestRootWatchRelays(t *testing.T) {
	cfg := transfer.LAN()
	const far = 5_000_000
	for _, growth := range []int64{0, cfg.RootBytes} {
		w := NewRootWatch(cfg, 0)
		stalled := false
		for now := time.Duration(0); now < 4*cfg.Progress; now += time.Second {
			w.Root(now, 0, growth*int64(now/time.Second))
			w.Relay(now, wire.Peer{ID: 1}, 0, far)
			w.Relay(now, wire.Peer{ID: 2}, 0, far+1)
			stalled = stalled || w.Stalled(now)
		}
		if stalled != (growth == 0) {
			t.Errorf("a root that receives %d bytes a second stalls: %v", growth, stalled)
		}
		if most := growth * int64(4*cfg.Progress/time.Second); w.Bytes() > most {
			t.Errorf("passes on %d bytes of a root that received %d", w.Bytes(), most)
		}
	}
	w := NewRootWatch(cfg, 0)
	for i := range 1000 {
		w.Relay(0, wire.Peer{ID: uint64(i) + 1}, 0, 1)
	}
	if len(w.relayed) > mostRelays {
		t.Errorf("remembers %d parents", len(w.relayed))
	}
	w.Root(0, 0, far)
	if w.Root(cfg.Progress, 0, 10); w.Stalled(cfg.Progress) || !w.Stalled(cfg.Progress+1) {
		t.Error("less than before counts as an advance")
	}
	if w.Root(cfg.Progress, 0, 10+cfg.RootBytes); w.Stalled(2 * cfg.Progress) {
		t.Error("a download that began again does not count")
	}
}

// TestCredible: what a root says counts against a parent once this device has come
// to hold what the root said first.
func TestCredible(t *testing.T) {
	w := NewRootWatch(transfer.LAN(), 0)
	w.Root(0, 0, 1000)
	w.Mine(3)
	if w.Credible() {
		t.Error("credible without having said anything")
	}
	w.Root(0, 8, 2000)
	w.Mine(7)
	if w.Credible() {
		t.Error("credible before it came true")
	}
	w.Mine(8)
	if w.Root(0, 30, 3000); !w.Credible() {
		t.Error("not credible though it came true")
	}
	one := NewRootWatch(transfer.LAN(), 0)
	one.Root(0, 1, 1000)
	if one.Mine(1); !one.Credible() {
		t.Error("a single chunk that came true is not credible")
	}
}
