package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/lab"
)

// TestBenchCompareShort runs the short comparison with the product itself. It
// takes minutes, so it must be asked for by PEERLOAD_BENCH=1.
func TestBenchCompareShort(t *testing.T) {
	if os.Getenv("PEERLOAD_BENCH") != "1" {
		t.Skip("it takes three minutes: set PEERLOAD_BENCH=1")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "github.com/peerload/peerload/cmd/peerload", "github.com/peerload/peerload/cmd/peerload-lab")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(dir, "peerload-lab"), "bench", "compare", "--short", "--json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	last := map[string]float64{} // of the site behind a slow WAN
	for _, line := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		var row lab.Row
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if row.Event != "row" {
			continue
		}
		t.Logf("%s, %s: %.2f s, %.2f of the bound, %.2f copies over the WAN", row.Scenario, row.Method, row.LastS, row.Ratio, row.WANRatio)
		if row.Scenario == "wan20" {
			last[row.Method] = row.LastS
		}
	}
	if ours, plain := last["Peerload, two trees"], last["HTTP per device"]; ours == 0 || ours > plain/4 {
		t.Errorf("16 devices took %.2f s through the peers and %.2f s without", ours, plain)
	}
}
