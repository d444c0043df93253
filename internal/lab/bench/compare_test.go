package bench

import (
	"bytes"
	"context"
	"crypto/sha1"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/labtest"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// benchConfig is a bench whose devices this test program plays.
func benchConfig(t *testing.T, how string) Config {
	t.Helper()
	self := labtest.Play(t, how)
	return Config{Kind: site.KindLoopback, Runs: 1, Product: self, Base: t.TempDir()}
}

func TestFigureSettles(t *testing.T) {
	for _, c := range []struct {
		f             Figure
		median, worst float64
		reached       bool
	}{
		{Figure{Values: []float64{3, 1, 2}, Reach: 2}, 2, 3, true},
		{Figure{Values: []float64{3, 1, 2}, Reach: 1.9}, 2, 3, false},
		{Figure{Values: []float64{0.8, 0.95, 0.9}, Reach: 0.9, AtLeast: true}, 0.9, 0.8, true},
		{Figure{Values: []float64{0.8}, Reach: 0.9, AtLeast: true}, 0.8, 0.8, false},
		{Figure{Values: []float64{1}, Reach: 2, Failed: "a device failed"}, 1, 1, false},
		{Figure{Reach: 2}, 0, 0, false},
	} {
		c.f.settle()
		if c.f.Median != c.median || c.f.Worst != c.worst || c.f.Reached != c.reached {
			t.Errorf("%+v", c.f)
		}
		var text strings.Builder
		c.f.Text(&text)
		for word, want := range map[string]bool{
			"FALLS SHORT": !c.reached && c.f.Failed == "", "FAILED": c.f.Failed != "",
		} {
			if strings.Contains(text.String(), word) != want {
				t.Errorf("%q in %q", word, text.String())
			}
		}
	}
}

// TestCompareLoopback compares what goes without a subnet, with devices that
// are played: large sites are computed, and failures are told.
func TestCompareLoopback(t *testing.T) {
	tiers.Long(t, "it measures sites for some seconds")
	scenario := Scenario{Name: "tiny", WAN: 16 * units.Mbit, LAN: 100 * units.Mbit, Size: 50_000, Devices: []int{2, 20}}
	var skipped, rows []string
	cfg := benchConfig(t, "good")
	cfg.Methods = []string{"http", "one tree", "nginx"}
	cfg.OnSkip = func(what, _ string) { skipped = append(skipped, what) }
	cfg.OnRow = func(r Row) { rows = append(rows, r.Method) }
	fast := scenario
	fast.Name, fast.WAN = "fast", units.Gbit
	all, err := Compare(context.Background(), cfg, []Scenario{scenario, fast})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 || len(rows) != 4 || !slices.Contains(skipped, "site fast") {
		t.Fatalf("%d rows, told %v, skipped %v", len(all), rows, skipped)
	}
	for i, r := range all {
		if r.Failed != "" || r.WANRatio != float64(r.Devices) || r.Size != 50_000 || r.LastS < r.MedianS {
			t.Errorf("row %d: %+v", i, r)
		}
	}
	if r := all[2]; !r.Computed || r.MeasuredDevices != eachUpTo || r.Devices != 20 {
		t.Errorf("a large site: %+v", r)
	}
	if all[0].Computed || all[3].Computed {
		t.Error("what was measured is marked as computed")
	}
}

func TestCompareTellsFailures(t *testing.T) {
	tiers.Long(t, "it starts many processes")
	cfg := benchConfig(t, "wrong")
	cfg.Methods = []string{"http"}
	all, err := Compare(context.Background(), cfg,
		[]Scenario{{Name: "x", WAN: units.Gbit, LAN: units.Gbit, Size: 1000, Devices: []int{1}}})
	if err != nil || len(all) != 1 || !strings.Contains(all[0].Failed, "0 of 1") {
		t.Fatalf("%v %+v", err, all)
	}
}

func TestRowGrows(t *testing.T) {
	s := Scenario{WAN: 8 * units.Mbit, LAN: 80 * units.Mbit, Size: 1e6}
	base := Row{Devices: 16, Size: 1e6, LastS: 17, MedianS: 16, P99S: 17, WANRatio: 16, CPUS: 2, BoundS: 1, Ratio: 17,
		BusiestRatio: 15}
	if r := base.grown(16, s, sharedWAN); r != base {
		t.Errorf("the same site: %+v", r)
	}
	// 32 s of the WAN more, and 3.6 % for headers.
	near := func(got, want float64) bool { return math.Abs(got-want) < 0.01 }
	r := base.grown(48, s, sharedWAN)
	if !near(r.LastS, 17+33.15) || !near(r.MedianS, 16+33.15) || r.WANRatio != 48 || r.CPUS != 6 ||
		!near(r.Ratio, 50.15) || !r.Computed {
		t.Errorf("three times the devices: %+v", r)
	}
	// Measured with half of the file, behind a full WAN: both count.
	half := base
	half.Size, half.LastS = 5e5, 8.5
	if r := half.grown(16, s, sharedWAN); !near(r.LastS, 8.5+8.29) || r.CPUS != 4 || !r.Computed || r.BoundS != 1 {
		t.Errorf("twice the file: %+v", r)
	}
	if r := half.grown(32, s, sharedWAN); !near(r.LastS, 8.5+24.86) {
		t.Errorf("twice the file, twice the devices: %+v", r)
	}
	// Lock step over a long link, measured with a tenth of the file: its time
	// grows with the file, and with the devices only where the WAN is full.
	slow := base
	slow.Size, slow.LastS, slow.WANRatio = 1e5, 10, 16
	if r := slow.grown(16, s, sharedWAN); r.LastS != 100 || r.WANRatio != 16 || !near(r.Ratio, 100) || r.Size != 1e6 {
		t.Errorf("ten times the file: %+v", r)
	}
	if r := slow.grown(160, s, sharedWAN); !near(r.LastS, 165.75) {
		t.Errorf("with a full WAN: %+v", r)
	}
	// A cache: one copy over the WAN, and 0.1 s for each device after the 16th.
	cache := base
	cache.WANRatio, cache.LastS = 1, 2.5
	if r := cache.grown(46, s, sharedPort); !near(r.LastS, 2.5+3.11) || r.WANRatio != 1 || r.BusiestRatio != 45 ||
		r.CPUS != 5.75 {
		t.Errorf("a cache of 46 devices: %+v", r)
	}
	// Half a second more of the WAN, and 15 times 0.05 s more of the port.
	cache.Size = 5e5
	if r := cache.grown(16, s, sharedPort); !near(r.LastS, 2.5+1.295) || r.BusiestRatio != 15 || r.CPUS != 4 {
		t.Errorf("a cache and twice the file: %+v", r)
	}
}

// TestScenarios holds what the issue of the bench asks for: the sites, and that
// the lock step of a long link is measured with a part of the file.
func TestScenarios(t *testing.T) {
	all := Scenarios()
	short := ShortScenarios()
	for _, s := range all {
		devices, longest := []int{16, 48, 100}, 8.0
		if s.Line {
			devices, longest = []int{16}, 16
		}
		if s.Beside.Any() { // that is looked at for half a minute, from 5 s on
			devices, longest = []int{2}, 36
		}
		if !slices.Equal(s.Devices, devices) {
			t.Errorf("%+v", s)
		}
		i := slices.IndexFunc(short, func(o Scenario) bool { return o.Name == s.Name })
		if i >= 0 && (short[i].Size*2 != s.Size || !slices.Equal(short[i].Devices, []int{16})) {
			t.Errorf("%+v, short %+v", s, short[i])
		}
		if bound := max(s.WAN.Time(int64(s.Size)), s.LAN.Time(int64(s.Size))).Seconds(); bound < 2 || bound > longest {
			t.Errorf("%s: a bound of %v s is too short to measure or too long to wait for", s.Name, bound)
		}
		classic := way{grow: sharedWAN, lockStep: true, change: func(*measure.Config) {}}
		size := Config{}.measureConfig(s, 16, classic).Size
		if most := (14 * time.Second).Seconds(); s.RTT > 0 && float64(size)/1428*s.RTT.Seconds() > most+0.1 || size > s.Size {
			t.Errorf("%s: lock step is measured with %s", s.Name, size)
		}
	}
	if len(short) != 3 {
		t.Errorf("the short ones: %+v", short)
	}
	names := []string{"wan20", "wan2", "lan", "far20", "far2", "lossy", "long", "long.1", "long1", "orbit", "call2",
		"call20", "share2", "share20"}
	if !slices.EqualFunc(all, names, func(s Scenario, name string) bool { return s.Name == name }) {
		t.Errorf("%+v", all)
	}
}

// TestTakesPart: a line is compared with what downloads alone and with the product from
// several servers, a site with what brings the file to all devices, a call with what one
// device downloads by, and with the product.
func TestTakesPart(t *testing.T) {
	site, line, call := Scenario{}, Scenario{Line: true}, Scenario{Beside: measure.Beside{Call: true}}
	for _, c := range []struct {
		way              way
		site, line, call bool
	}{
		{way{on: both}, true, true, false}, {way{on: both, ours: true}, true, true, true},
		{way{on: sites, ours: true}, true, false, false}, {way{on: lines}, false, true, false},
		{way{on: lines, alone: true}, false, true, true}, {way{on: calls}, false, false, true},
	} {
		got := [3]bool{c.way.takesPart(site), c.way.takesPart(line), c.way.takesPart(call)}
		if got != [3]bool{c.site, c.line, c.call} {
			t.Errorf("%+v: on a site, a line, beside a call: %v", c.way, got)
		}
	}
}

func TestSelectScenarios(t *testing.T) {
	all := Scenarios()
	if got, err := SelectScenarios(all, nil, nil); err != nil || len(got) != len(all) {
		t.Errorf("all: %d, %v", len(got), err)
	}
	got, err := SelectScenarios(all, []string{"lan"}, []int{3})
	if err != nil || len(got) != 1 || got[0].Name != "lan" || !slices.Equal(got[0].Devices, []int{3}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := SelectScenarios(all, []string{"moon"}, nil); err == nil {
		t.Error("a scenario of the moon was not refused")
	}
	if _, err := SelectScenarios(all, nil, []int{0}); err == nil {
		t.Error("a site of no device was not refused")
	}
}

func TestMetainfo(t *testing.T) {
	content := bytes.Repeat([]byte("x"), torrentPiece+1)
	meta, err := metainfo(bytes.NewReader(content), int64(len(content)), "http://h/f")
	if err != nil {
		t.Fatal(err)
	}
	a, b := sha1.Sum(content[:torrentPiece]), sha1.Sum(content[torrentPiece:])
	want := "d4:infod6:lengthi65537e4:name8:file.bin12:piece lengthi65536e6:pieces40:" +
		string(a[:]) + string(b[:]) + "e8:url-list10:http://h/fe"
	if string(meta) != want {
		t.Errorf("%q", meta)
	}
	if _, err := metainfo(bytes.NewReader(content), int64(len(content)+1), "u"); err == nil {
		t.Error("a file that is too short was not noticed")
	}
}

// TestForeignClients runs each neighbour that is installed on a site of three
// devices in namespaces.
func TestForeignClients(t *testing.T) {
	tiers.Long(t, "it runs four programs of others on a site each")
	if !inside.Run(t) {
		return
	}
	for name, find := range map[string]func() (*measure.Client, error){"curl": curl, "nginx": cache, "aria2": aria2,
		"uftp": uftp} {
		t.Run(name, func(t *testing.T) {
			c, err := find()
			if err != nil {
				foreign.Missing(t, err)
			}
			r, err := measure.Run(context.Background(), measure.Config{
				Devices: 3, WAN: 16 * units.Mbit, LAN: 100 * units.Mbit, Size: 1e6, Kind: site.KindNamespace, Client: c,
				Base: t.TempDir(), Timeout: 2 * time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			if !r.OK() || r.Complete != 3 || r.TimedOut || r.Mode != c.Name {
				t.Errorf("complete %d, timed out %v, failures %+v", r.Complete, r.TimedOut, r.Failures)
			}
			most := map[string]float64{"curl": 3, "nginx": 1, "aria2": 3.1, "uftp": 3}[name]
			if r.WANRatio > most || r.WANRatio < 0.99 {
				t.Errorf("WAN payload %.3f of the file, want at most %v", r.WANRatio, most)
			}
			if r.LastS < 0.5 || r.MedianS > r.LastS || r.BusiestSent == 0 || r.WANHeaders != (name == "uftp") {
				t.Errorf("last %v, median %v, busiest %d", r.LastS, r.MedianS, r.BusiestSent)
			}
		})
	}
}
