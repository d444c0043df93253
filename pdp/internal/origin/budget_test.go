package origin

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

func peer(i int) wire.Peer { return wire.Peer{ID: uint64(i) + 1} }

func TestBudget(t *testing.T) {
	cfg := transfer.LAN()
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
	if b.Heard(at, peer(5), peer(6), link, &wire.Direct{}, 0) ||
		!b.Heard(at, peer(5), peer(4), link, &wire.Direct{}, 0) || b.Active() {
		t.Error("the wrong one stops")
	}
	// Unless one of the two has clearly more already.
	for _, x := range []struct {
		mine, other int64
		lower, stop bool
	}{{1000, 100, true, false}, {1000, 100, false, false}, {100, 1000, false, true}, {1001, 800, true, false},
		{1000, 800, true, true}} {
		d := newBudget()
		d.Take()
		p := peer(6)
		if x.lower {
			p = peer(4)
		}
		if d.Heard(at, peer(5), p, link, &wire.Direct{Bytes: x.other}, x.mine) != x.stop || d.Active() == x.stop {
			t.Errorf("%+v: active %v", x, d.Active())
		}
	}
	// Another's download lapses when its bytes stand still.
	c := newBudget()
	c.Entitle(0)
	for now := time.Duration(0); now <= 5*time.Second; now += time.Second {
		c.Heard(now, peer(5), peer(4), link, &wire.Direct{Bytes: int64(now)}, 0)
		if c.Ready(now, 0) {
			t.Fatalf("two downloads at %v", now)
		}
	}
	if at, _ := c.Deadline(0); c.Ready(5*time.Second+cfg.Lapse, 0) || !c.Ready(at, 0) ||
		at > 5*time.Second+cfg.Lapse+cfg.FallbackJitter+1 {
		t.Errorf("a download that stands still is respected until %v", at)
	}
	// One that goes on and on is waited for once, whatever it calls itself.
	e := newBudget()
	e.Entitle(0)
	now := time.Duration(0)
	for ; now <= cfg.Share; now += time.Second {
		e.Heard(now, peer(5), peer(int(now/time.Second)%3), link, &wire.Direct{Bytes: int64(now)}, 0)
		if e.Ready(now, 0) {
			t.Fatalf("two downloads at %v", now)
		}
	}
	now += cfg.FallbackJitter
	if !e.Ready(now, 0) || e.Heard(now, peer(5), peer(0), link, &wire.Direct{Bytes: int64(now)}, 0) {
		t.Error("one address keeps the budget for good")
	}
	// On a slow line it is longer, and anew when something has come.
	f := newBudget()
	f.Entitle(0)
	f.Slow(time.Minute)
	for now := time.Duration(0); now <= 100*time.Second; now += time.Second {
		if f.Heard(now, peer(5), peer(4), link, &wire.Direct{Bytes: int64(now)}, 0); f.Ready(now, 0) {
			t.Fatalf("two downloads at %v", now)
		}
		if now == 50*time.Second {
			f.Renew(now)
		}
	}
	if f.Slow(time.Second); f.share != cfg.Share {
		t.Errorf("a fast line makes it %v", f.share)
	}
}

// TestBudgetIsUsedUp: what an address has used of the budget counts, and no more.
func TestBudgetIsUsedUp(t *testing.T) {
	cfg := transfer.LAN()
	newBudget := func() *Budget { return NewBudget(cfg, rand.New(rand.NewPCG(1, 1))) }
	link := netip.AddrPort{}
	// One that was done is waited for again, for as long as is left; who is done again
	// and again uses that up, too.
	for used, waits := range map[time.Duration]bool{2 * time.Second: true, cfg.Share: false} {
		g := newBudget()
		g.Heard(0, peer(5), peer(4), link, &wire.Direct{}, 0)
		g.Heard(used, peer(5), peer(4), link, &wire.Direct{Done: true}, 0)
		now := time.Hour
		if g.Heard(now, peer(5), peer(4), link, &wire.Direct{}, 0); g.Taken(now) != waits {
			t.Errorf("after %v: waits for it %v", used, !waits)
		}
	}
	// One that fell silent, as after a crash, has used no more than the wait for it.
	left := cfg.Share - cfg.Lapse
	for used, waits := range map[time.Duration]bool{left: true, left + time.Second: false} {
		h := newBudget()
		for now := time.Duration(0); now <= used; now += time.Second {
			h.Heard(now, peer(5), peer(4), link, &wire.Direct{Bytes: int64(now)}, 0)
		}
		now := time.Hour
		if h.Heard(now, peer(5), peer(4), link, &wire.Direct{}, 0); h.Taken(now) != waits {
			t.Errorf("silent after %v: waits for it %v", used, !waits)
		}
	}
	g := newBudget()
	g.Entitle(0)
	now := time.Duration(0)
	for ; !g.Ready(now, 0); now += cfg.FallbackJitter / 4 {
		g.Heard(now, peer(5), peer(4), link, &wire.Direct{}, 0)
		g.Heard(now, peer(5), peer(4), link, &wire.Direct{Done: true}, 0)
		if now > 2*cfg.Share {
			t.Fatal("waits for ever for one that is done again and again")
		}
	}
	// When the budget comes free not all begin at once.
	starts := map[time.Duration]bool{}
	for seed := range uint64(20) {
		d := NewBudget(cfg, rand.New(rand.NewPCG(seed, 1)))
		d.Entitle(0)
		d.Heard(time.Second, peer(5), peer(4), link, &wire.Direct{Bytes: 1}, 0)
		d.Heard(5*time.Second, peer(5), peer(4), link, &wire.Direct{Done: true}, 0)
		at, _ := d.Deadline(0)
		starts[at] = true
	}
	if len(starts) < 15 {
		t.Errorf("20 devices begin at %d instants", len(starts))
	}
}
