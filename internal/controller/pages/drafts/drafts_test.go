package drafts

import (
	"reflect"
	"testing"

	"github.com/peerload/peerload/client"
)

// Waves are written as they are read, and what is none is named.
func TestWaves(t *testing.T) {
	usual := client.RolloutWave{Opener: "success", Success: 95, Soak: "1h"}
	for text, want := range map[string]string{"5 25 100": "5 25 100", "5%, 25 %": "5 25 100", "": "100",
		"5; soak=2h\n 25\n\n100":                        "5\n25; soak=1h\n100",
		"sites: Kyoto ,Nara; by=person success=100\n50": "sites: Kyoto, Nara\n50; success=95 by=success\n100",
		"devices: SEP000000000001\nsites:Kyoto":         "devices: SEP000000000001\nsites: Kyoto\n100"} {
		waves, bad := wavesOf(text, usual)
		if bad != "" {
			t.Errorf("%q: %q is refused", text, bad)
		}
		is := wavesText(waves)
		again, bad := wavesOf(is, usualWave(waves))
		if bad != "" || !reflect.DeepEqual(again, waves) {
			t.Errorf("%q: written as %q, %+v has become %+v %s", text, is, waves, again, bad)
		}
		if want != "" && is != want {
			t.Errorf("%q is written as %q", text, is)
		}
	}
	for text, want := range map[string]string{"5 many": "5 many", "5\n0": "0", "101": "101", "5; soon": "5; soon",
		"5; success=none": "5; success=none", "racks: a": "racks: a", "sites: a,,b": "sites: a,,b"} {
		if waves, bad := wavesOf(text, usual); bad != want || waves != nil {
			t.Errorf("%q: %+v, %q", text, waves, bad)
		}
	}
}
