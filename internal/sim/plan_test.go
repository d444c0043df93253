package sim

import (
	"testing"
	"time"
)

// TestPredictDraws: what is drawn out comes near to what is played in full.
func TestPredictDraws(t *testing.T) {
	for _, c := range []Site{
		{Devices: 600, Sizes: []int64{26e6}, WAN: 20e6, LAN: 100e6, RTT: 100 * time.Millisecond},
		{Devices: 120, Sizes: []int64{40e6, 100, 30e6, 30e6}, Metadata: 9000, WAN: 20e6, LAN: 100e6, RTT: 100 * time.Millisecond},
	} {
		full, err := c.Play()
		if err != nil {
			t.Fatal(err)
		}
		o, drawn, err := c.Predict()
		if err != nil || !drawn {
			t.Fatalf("%v, drawn %v", err, drawn)
		}
		if q := o.Last.Seconds() / full.Last.Seconds(); q < 0.97 || q > 1.03 {
			t.Errorf("%d files: drawn out %v, played %v", len(c.Sizes), o.Last, full.Last)
		}
		if q := float64(o.WANBytes) / float64(full.WANBytes); q < 0.97 || q > 1.03 || o.Size != full.Size {
			t.Errorf("%d files: drawn out %d of %d bytes, played %d", len(c.Sizes), o.WANBytes, o.Size, full.WANBytes)
		}
	}
	many := Site{Devices: MaxSiteDevices, Sizes: []int64{1}}
	if b := many.shrink(1); b.Devices != mostPlanned {
		t.Errorf("%d devices are played", b.Devices)
	}
}

// TestMetadataCosts: signed metadata costs its five round trips.
func TestMetadataCosts(t *testing.T) {
	c := Site{Seed: 1, Devices: 4, Sizes: []int64{1e6}, WAN: 20e6, LAN: 100e6, RTT: 200 * time.Millisecond}
	plain, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata = 9000
	signed, err := c.Play()
	if err != nil || len(signed.Violations) > 0 || signed.Complete != 4 {
		t.Fatalf("%v %v", signed, err)
	}
	if more := signed.Last - plain.Last; more < time.Second || more > 1600*time.Millisecond {
		t.Errorf("metadata costs %v over a round trip of 200 ms", more)
	}
}
