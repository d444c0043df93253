package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestOutageIsSurvived: the WAN is cut in mid-transfer and comes back. Nobody
// gives up, no byte is fetched twice, and what the cut costs beyond its own
// length is bounded.
func TestOutageIsSurvived(t *testing.T) {
	tiers.Long(t, "it plays many sites or large ones")
	for _, cut := range []time.Duration{3 * time.Second, 10 * time.Second, 20 * time.Second, 45 * time.Second} {
		for _, n := range []int{1, 16, 100} {
			t.Run(fmt.Sprintf("%v, %d devices", cut, n), func(t *testing.T) {
				c := &story{n: n, do: func(c *story) {
					c.s.At(sec(3), func() {
						c.sub.Server.Dark = true
						c.s.After(cut, func() { c.sub.Server.Dark = false; c.sub.Server.Wake() })
					})
				}, last: sec(8.6) + cut + sec(8), wan: 1.03}
				c.s, c.sub, c.f = site(uint64(n), n)
				c.play(t, uint64(n))
			})
		}
	}
}

// TestSlowPortOfTheRoot: the root's own port is slow, from the start or all of
// a sudden. The others must not wait for it: somebody else becomes root, and
// only the slow device is late.
func TestSlowPortOfTheRoot(t *testing.T) {
	for name, at := range map[string]time.Duration{"from the start": 0, "in the middle": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				s, sub, f := site(seed, 24)
				first := sub.devices[0]
				slow := func(d *Device) { d.Up, d.Down = 1e6, 1e6 }
				if at == 0 {
					slow(first)
				} else {
					c := &story{s: s, sub: sub, f: f}
					c.atRoot(at, slow)
				}
				first.Start()
				for _, d := range sub.devices[1:] {
					s.At(300*time.Millisecond, d.Start)
				}
				s.Run(200 * time.Second)
				if !s.RunToEnd(200 * time.Second) {
					t.Errorf("seed %d: not all have ended", seed)
				}
				for _, v := range s.CheckEnd() {
					t.Errorf("seed %d: %s", seed, v)
				}
				var done []time.Duration
				for _, d := range sub.devices {
					done = append(done, d.Task(f).Done)
				}
				slices.Sort(done)
				last := done[len(done)-2]
				t.Logf("seed %d: all but one after %v, that one after %v; %.3f of the file over the WAN",
					seed, last, done[len(done)-1], float64(sub.Server.Bytes)/float64(f.Size))
				if last > 20*time.Second {
					t.Errorf("seed %d: the others wait for the slow root: %v, and %v without one", seed, last, sec(8.6))
				}
				if ratio := float64(sub.Server.Bytes) / float64(f.Size); ratio > 1.1 {
					t.Errorf("seed %d: %.3f of the file over the WAN", seed, ratio)
				}
			}
		})
	}
}

// TestNoHandoverWhereAllPortsAreAlike: a root whose port is the bottleneck
// because all ports are stays root.
func TestNoHandoverWhereAllPortsAreAlike(t *testing.T) {
	for _, wan := range []float64{45e6, 200e6} {
		o, err := Site{Seed: 1, Devices: 16, Sizes: []int64{200e6}, WAN: wan, LAN: 50e6, RTT: 20 * time.Millisecond}.Play()
		if err != nil {
			t.Fatal(err)
		}
		if o.Elections != 1 || o.Complete != 16 {
			t.Errorf("WAN %.0f Mbit/s: %d elections, %d complete", wan/1e6, o.Elections, o.Complete)
		}
	}
}
