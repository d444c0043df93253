package pdp

import "testing"

func TestPresets(t *testing.T) {
	for _, c := range []Config{LAN(), Classic(), NoPeers()} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", c.Profile, err)
		}
		if got, err := Preset(c.Profile); (err == nil) != (c.Profile != "alone") || err == nil && got != c {
			t.Errorf("%s by its name: %+v, %v", c.Profile, got, err)
		}
	}
}

func TestTrees(t *testing.T) {
	for _, c := range []struct {
		stripes, chunks int
		want            uint8
	}{{0, 63, 1}, {0, 64, 2}, {1, 1000, 1}, {2, 1, 2}} {
		cfg := LAN()
		cfg.Transfer.Stripes = c.stripes
		if got := cfg.trees(c.chunks); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if Classic().trees(1000) != 1 {
		t.Error("the classic profile takes two trees")
	}
}
