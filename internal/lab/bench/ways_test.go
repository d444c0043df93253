package bench

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
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
