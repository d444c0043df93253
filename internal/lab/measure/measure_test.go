package measure

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/internal/testkit/labtest"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}

// testMeasure measures a loopback site of three devices that play as told.
func testMeasure(t *testing.T, how string, change func(*Config)) *Result {
	t.Helper()
	self := labtest.Play(t, how)
	cfg := Config{
		Devices: 3, WAN: 16 * units.Mbit, LAN: 100 * units.Mbit, Size: 500_000, Kind: site.KindLoopback,
		Product: self, Base: t.TempDir(), Logs: t.TempDir(), Timeout: 2 * time.Minute,
	}
	if change != nil {
		change(&cfg)
	}
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	r.Text(&text)
	t.Log(text.String())
	if left, _ := filepath.Glob(filepath.Join(cfg.Base, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return r
}

func TestMeasureGood(t *testing.T) {
	r := testMeasure(t, "good", nil)
	if !r.OK() || r.Complete != 3 || len(r.Failures) != 0 || r.TimedOut {
		t.Errorf("complete %d, failures %v", r.Complete, r.Failures)
	}
	if r.WANBytes != 1_500_000 || r.WANRatio != 3 || r.Requests != 3 {
		t.Errorf("payload %d, ratio %v, %d requests", r.WANBytes, r.WANRatio, r.Requests)
	}
	// Three copies through a WAN that carries one in 0.25 s.
	if r.BoundS != 0.25 || r.Ratio < 2.8 {
		t.Errorf("bound %v, ratio %v", r.BoundS, r.Ratio)
	}
	if r.PeakRSS < 1<<20 || r.CPUS <= 0 || r.Elections != 0 || r.WakeS <= 0 || r.FirstOriginS < r.WakeS {
		t.Errorf("memory %d, processor %v, elections %d, wake %v of %v", r.PeakRSS, r.CPUS, r.Elections, r.WakeS,
			r.FirstOriginS)
	}
}

func TestMeasureSeesWrongFile(t *testing.T) {
	tiers.Long(t, "it starts many processes")
	r := testMeasure(t, "wrong", nil)
	if r.OK() || r.Complete != 0 || len(r.Failures) != 3 {
		t.Errorf("complete %d, failures %v", r.Complete, r.Failures)
	}
}

func TestMeasureSeesFailure(t *testing.T) {
	r := testMeasure(t, "absent", nil)
	if r.OK() || r.Complete != 0 || len(r.Failures) != 3 || r.WANBytes != 0 || r.Ratio != 0 {
		t.Fatalf("%+v", r)
	}
	if f := r.Failures[0]; f.Exit != "exit status 4" || !strings.Contains(f.Log, "no server at") {
		t.Errorf("failure %+v", f)
	}
}

func TestMeasureTimesOut(t *testing.T) {
	r := testMeasure(t, "good", func(c *Config) { c.Timeout = 200 * time.Millisecond })
	if r.OK() || !r.TimedOut || r.Complete != 0 {
		t.Errorf("complete %d, timed out %v", r.Complete, r.TimedOut)
	}
}

func TestMeasureKillsRoot(t *testing.T) {
	tiers.Long(t, "it runs a site for some seconds")
	for _, restart := range []bool{false, true} {
		r := testMeasure(t, "root", func(c *Config) {
			c.Peers, c.KillRoot, c.Restart = true, []int{30}, restart
		})
		want := 2
		if restart {
			want = 3
		}
		if !r.OK() || r.Complete != want || r.Expected != want {
			t.Errorf("restart %v: complete %d of %d, failures %v", restart, r.Complete, r.Expected, r.Failures)
		}
		if r.Elections != 3+len(r.Kills)*(want-2) {
			t.Errorf("restart %v: %d elections", restart, r.Elections)
		}
		if len(r.Kills) != 1 || r.Kills[0].Percent < 30 || r.Kills[0].NewRoot == r.Kills[0].Device {
			t.Errorf("restart %v: kills %+v", restart, r.Kills)
		}
	}
}

// TestMeasureNamespaces runs the same in namespaces, in a user namespace when
// the test is not root.
func TestMeasureNamespaces(t *testing.T) {
	tiers.Long(t, "it starts processes, and sends at the rate of a WAN")
	if !inside.Run(t) {
		return
	}
	r := testMeasure(t, "good", func(c *Config) { c.Kind = site.KindNamespace })
	if !r.OK() || r.Complete != 3 || r.WANBytes != 1_500_000 {
		t.Errorf("complete %d, payload %d, failures %v", r.Complete, r.WANBytes, r.Failures)
	}
	if f := float64(r.WireDown) / float64(r.WANBytes); f < 1 || f > 1.3 {
		t.Errorf("%d bytes on the wire, %.3f of the payload", r.WireDown, f)
	}
}

func TestMeasureConfigValidate(t *testing.T) {
	good := Config{Devices: 1, WAN: units.Mbit, LAN: units.Mbit, Size: 1, Kind: site.KindLoopback, Peers: true}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no device":       func(c *Config) { c.Devices = 0 },
		"too many":        func(c *Config) { c.Devices = site.MaxDevices + 1 },
		"kind":            func(c *Config) { c.Kind = "moon" },
		"no rate":         func(c *Config) { c.WAN = 0 },
		"kill classic":    func(c *Config) { c.Peers, c.KillRoot = false, []int{3} },
		"kill at 100":     func(c *Config) { c.KillRoot = []int{100} },
		"kill falls back": func(c *Config) { c.KillRoot = []int{50, 50} },
		"liar alone":      func(c *Config) { c.Liar = &liar.Program{Faces: 1} },
		"nobody to lie to": func(c *Config) {
			c.Kind, c.Peers, c.Liar = site.KindNamespace, false, &liar.Program{Faces: 1}
		},
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestDepth(t *testing.T) {
	tree := func(parents ...string) int {
		views := map[netip.Addr]process.FileView{}
		for i, parent := range parents {
			v := process.FileView{Parent: parent}
			if parent == "root" {
				v.Parent, v.RootSince = "", time.Now()
			}
			views[netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})] = v
		}
		return depthOf(views)
	}
	for _, c := range []struct {
		want    int
		parents []string
	}{
		{0, []string{"root"}},
		{2, []string{"root", "10.0.0.0:4051", "10.0.0.0", "10.0.0.2:4051"}},
		{-1, []string{"root", ""}},
		{-1, []string{"root", "10.0.0.2", "10.0.0.1"}},
	} {
		if got := tree(c.parents...); got != c.want {
			t.Errorf("%v: depth %d, want %d", c.parents, got, c.want)
		}
	}
}

// TestSenderEnds lets a sender beside the server end with nothing sent: the
// devices are not waited for until the end of the time.
func TestSenderEnds(t *testing.T) {
	tiers.Long(t, "it runs a site for some seconds")
	if !inside.Run(t) {
		return
	}
	client := &Client{
		Name:   "played",
		Sender: func(*Fetch) []string { return []string{"/bin/false"} },
		Device: func(*Fetch, int) []string { return []string{"/bin/sleep", "600"} },
		Done:   func([]byte) bool { return false },
	}
	r, err := Run(context.Background(), Config{
		Devices: 2, WAN: 10 * units.Mbit, LAN: 10 * units.Mbit, Size: 1000, Kind: site.KindNamespace, Client: client,
		Base: t.TempDir(), Timeout: 10 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.OK() || len(r.Failures) != 2 || r.TimedOut {
		t.Errorf("timed out %v: %+v", r.TimedOut, r.Failures)
	}
}

// TestMeasureLate starts a device when the others are done; being played, it
// costs the WAN a copy, which must be seen.
func TestMeasureLate(t *testing.T) {
	tiers.Long(t, "it runs a site for some seconds")
	r := testMeasure(t, "good", func(c *Config) { c.Late = 1 })
	if !r.OK() || r.Complete != 4 || r.Expected != 4 || r.Late == nil {
		t.Fatalf("complete %d of %d, late %+v", r.Complete, r.Expected, r.Late)
	}
	if r.Late.WANBytes != 500_000 || r.Late.TookS < 0.2 || r.LastS > r.EndS-r.Late.TookS+0.1 {
		t.Errorf("late %+v; last %v, end %v", r.Late, r.LastS, r.EndS)
	}
}
