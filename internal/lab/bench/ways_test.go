package bench

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestTrees runs the product with one tree and with two on one site: by the
// bench's own ways, which must differ in that and be named for it.
func TestTrees(t *testing.T) {
	product := inside.RunProduct(t)
	if product == "" {
		return
	}
	cfg := Config{Kind: site.KindNamespace, Product: product, Base: t.TempDir(), Methods: []string{"tree"}}
	scenario := Scenario{WAN: 50 * units.Mbit, LAN: 20 * units.Mbit, Size: 1_500_000}
	ways := cfg.ways(func(what, why string) { t.Log(what, why) })
	if len(ways) != 2 {
		t.Fatalf("ways: %+v", ways)
	}
	for _, how := range ways {
		m := cfg.measureConfig(scenario, 7, how)
		m.Logs = t.TempDir()
		m.Args = append(m.Args, "-v")
		r, err := measure.Run(context.Background(), m)
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() || !how.ours {
			t.Errorf("%s: %+v", how.name, r.Failures)
		}
		log := ""
		names, _ := filepath.Glob(filepath.Join(m.Logs, "*"))
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			log += string(b)
		}
		if two := strings.Contains(log, "two trees, even and odd chunks"); two != (how.name == "Peerload, two trees") {
			t.Errorf("%s: two trees %v", how.name, two)
		}
	}
}

// TestForeignServer has three devices share what nginx serves with the congestion
// control of the scenario, and runs each of the product's ways over a line.
func TestForeignServer(t *testing.T) {
	tiers.Long(t, "it runs four sites")
	if _, err := lookSystem("nginx"); err != nil {
		foreign.Missing(t, err)
	}
	product := inside.RunProduct(t)
	if product == "" {
		return
	}
	cfg := Config{Kind: site.KindNamespace, Runs: 1, Product: product, Base: t.TempDir(), Methods: []string{"peerload"}}
	scenario := Scenario{Name: "line", WAN: 16 * units.Mbit, LAN: 100 * units.Mbit, RTT: 20 * time.Millisecond,
		Size: 1e6, Devices: []int{3}, Congestion: "cubic", Line: true}
	rows, err := Compare(context.Background(), cfg, []Scenario{scenario})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{twoTrees: "cubic at", "Peerload from nginx": "cubic at",
		"Peerload, bbr at the server": " at", "Peerload over TFTP": "UDP from"}
	for _, r := range rows {
		sends := want[r.Method]
		if r.Failed != "" || sends == "" || !strings.Contains(r.Congestion, sends+" the server") ||
			r.WANHeaders != (r.Method == "Peerload from nginx") {
			t.Errorf("%+v", r)
		}
		if r.WANRatio < 0.99 || r.WANRatio > 1.15 {
			t.Errorf("%s: %.3f of the file over the WAN", r.Method, r.WANRatio)
		}
		var text strings.Builder
		if r.Text(&text); !strings.Contains(text.String(), r.Congestion) {
			t.Errorf("%q does not tell %q", text.String(), r.Congestion)
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d ways, not %d", len(rows), len(want))
	}
}
