package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/lab/bench"
	"github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// compareRows builds the programs, runs a comparison and returns its rows.
func compareRows(t *testing.T, args ...string) (rows []bench.Row) {
	t.Helper()
	dir := programs.Build(t, []string{"peerload", "peerload-lab"})
	cmd := exec.Command(filepath.Join(dir, "peerload-lab"), append([]string{"bench", "compare", "--json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		var row bench.Row
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if row.Event == "row" {
			rows = append(rows, row)
		}
	}
	return rows
}

// TestBenchCompare brings a small file to two devices on loopback addresses,
// each by itself, and finds the same in the report.
func TestBenchCompare(t *testing.T) {
	tiers.Long(t, "it builds programs and runs devices")
	page := filepath.Join(t.TempDir(), "bench.html")
	rows := compareRows(t, "--short", "--kind", "loopback", "--scenario", "wan20", "--devices", "2", "--method", "http",
		"--html", page)
	if len(rows) != 1 || rows[0].Devices != 2 || rows[0].WANRatio != 2 || rows[0].Failed != "" {
		t.Fatalf("%+v", rows)
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP per device", "--kind loopback --scenario wan20", "measured in"} {
		if !bytes.Contains(html, []byte(want)) {
			t.Errorf("the report has no %q", want)
		}
	}
}

// TestBenchCompareShort runs the short comparison with the product itself, at the site
// that is behind a slow line. It takes minutes, so it must be asked for by
// PEERLOAD_BENCH=1; `peerload-lab bench compare --short` has the other sites, too.
func TestBenchCompareShort(t *testing.T) {
	if os.Getenv("PEERLOAD_BENCH") != "1" {
		t.Skip("it takes two minutes: set PEERLOAD_BENCH=1")
	}
	copies := map[string]float64{} // over the WAN
	for _, row := range compareRows(t, "--short", "--scenario", "wan20") {
		t.Logf("%s, %s: %.2f s, %.2f of the bound, %.2f copies over the WAN", row.Scenario, row.Method, row.LastS, row.Ratio,
			row.WANRatio)
		copies[row.Method] = row.WANRatio
	}
	ours, plain := copies["Peerload, two trees"], copies["HTTP per device"]
	if ours < 0.99 || ours > 2 || plain < 16 || plain > 17 {
		t.Errorf("16 devices took %.2f copies through the peers and %.2f without", ours, plain)
	}
}
