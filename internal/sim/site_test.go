package sim

import (
	"testing"
	"time"
)

// TestSiteFaults plays a site with each fault: it ends as it should, and twice
// the same.
func TestSiteFaults(t *testing.T) {
	base := Site{Seed: 3, Devices: 24, Sizes: []int64{6 << 20}, WAN: 20e6, LAN: 100e6, RTT: 50 * time.Millisecond, Spread: 80 * time.Millisecond}
	for _, name := range append(FaultNames(), "") {
		c := base
		if name != "" {
			f, err := ParseFault(name + "@40")
			if err != nil {
				t.Fatal(err)
			}
			c.Faults = []Fault{f}
		}
		o, err := c.Play()
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Violations) > 0 || o.Complete != o.Expected || o.Complete < 23 {
			t.Errorf("%q: %d of %d complete; %v", name, o.Complete, o.Expected, o.Violations)
		}
		if o.WANBytes < o.Size || o.WANBytes > 3*o.Size || o.Last < o.Bound || o.Elections < 1 {
			t.Errorf("%q: %+v", name, o)
		}
		if again, _ := c.Play(); again.Hash != o.Hash || again.Last != o.Last {
			t.Errorf("%q: one seed, two runs", name)
		}
		t.Logf("%-14s last %6.2f s, bound %.2f s, WAN %.3f x size, elections %d, requests %d", name, o.Last.Seconds(), o.Bound.Seconds(),
			float64(o.WANBytes)/float64(o.Size), o.Elections, o.Requests)
	}
}

// TestSiteSlowStart: a long round trip costs the first seconds, and no more.
func TestSiteSlowStart(t *testing.T) {
	c := Site{Seed: 1, Devices: 4, Sizes: []int64{8e6}, WAN: 20e6, LAN: 100e6}
	near, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	c.RTT = 200 * time.Millisecond
	far, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	if more := far.Last - near.Last; more < 700*time.Millisecond || more > 2*time.Second {
		t.Errorf("a round trip of 200 ms costs %v: %v and %v", more, near.Last, far.Last)
	}
}

// TestSiteFiles fetches several files one after the other.
func TestSiteFiles(t *testing.T) {
	c := Site{Seed: 1, Devices: 12, Sizes: []int64{3e6, 0, 100, 2e6}, WAN: 20e6, LAN: 100e6, RTT: 20 * time.Millisecond}
	o, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	if o.Complete != 12 || len(o.Violations) > 0 || float64(o.WANBytes) > 1.02*5_000_100 {
		t.Errorf("%+v", o)
	}
}

func TestSiteRefuses(t *testing.T) {
	good := Site{Devices: 2, Sizes: []int64{1}, WAN: 1e6, LAN: 1e6}
	for what, spoil := range map[string]func(*Site){
		"no devices": func(c *Site) { c.Devices = 0 },
		"too many":   func(c *Site) { c.Devices = MaxSiteDevices + 1 },
		"no file":    func(c *Site) { c.Sizes = nil },
		"no rate":    func(c *Site) { c.WAN = 0 },
		"size":       func(c *Site) { c.Sizes = []int64{-1} },
		"loss":       func(c *Site) { c.Loss = 1 },
		"fault":      func(c *Site) { c.Faults = []Fault{{Name: "rain"}} },
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for _, s := range []string{"", "rain", "slow@", "slow@-1", "slow@100", "slow@NaN"} {
		if _, err := ParseFault(s); err == nil {
			t.Errorf("fault %q: no error", s)
		}
	}
}
