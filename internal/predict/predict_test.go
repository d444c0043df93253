package predict

import (
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/sim"
)

// TestWays: through the peers about one copy crosses the WAN, alone one for each
// device, and that takes as much longer.
func TestWays(t *testing.T) {
	c := sim.Site{Seed: 1, Devices: 12, Sizes: []int64{2e6}, WAN: 2e6, LAN: 100e6, RTT: 100 * time.Millisecond}
	w, err := Shared("the site", c)
	if err != nil {
		t.Fatal(err)
	}
	if w.Name != "the site" || w.How != Simulated || w.Missing != 0 || len(w.Violations) > 0 || w.Copies < 1 ||
		w.Copies > 1.05 || w.Last < c.Bound() || w.Last > 3*c.Bound()/2 {
		t.Errorf("%+v", w)
	}
	alone := Alone(c)
	if len(alone) != 3 {
		t.Fatalf("%+v", alone)
	}
	for _, a := range alone {
		if a.How != Computed || a.WANBytes != 12*2e6 || a.Copies != 12 || a.Last < 12*c.Bound() {
			t.Errorf("%+v", a)
		}
	}
	c.Devices = 0
	if _, err := Shared("nobody", c); err == nil {
		t.Error("a site without devices was predicted")
	}
}

// TestDrawn: what is larger than the simulation is drawn out, and says so.
func TestDrawn(t *testing.T) {
	c := sim.Site{Seed: 1, Devices: 4, Sizes: []int64{60e6}, WAN: 20e6, LAN: 100e6}
	whole, drawn, err := c.PredictWithin(4 * 1000)
	if err != nil || drawn {
		t.Fatal(drawn, err)
	}
	part, drawn, err := c.PredictWithin(4 * 300)
	if err != nil || !drawn || len(slices.Concat(whole.Violations, part.Violations)) > 0 {
		t.Fatal(drawn, err)
	}
	if off := part.Last.Seconds()/whole.Last.Seconds() - 1; off < -0.02 || off > 0.02 || part.Size != 60e6 {
		t.Errorf("drawn out it takes %v, simulated %v", part.Last, whole.Last)
	}
}
