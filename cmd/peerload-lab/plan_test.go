package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/lab"
)

// TestPlan: the rows stand in order, and what must be slower is slower.
func TestPlan(t *testing.T) {
	var out bytes.Buffer
	f := planFlags{siteShape: siteShape{devices: 50, wan: 2 * lab.Mbit, lan: 100 * lab.Mbit, size: 2e6, rtt: 250 * time.Millisecond}, seed: 1, json: true}
	if err := f.plan(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	var r planResult
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Cases) != 7 {
		t.Fatalf("%d rows: %s", len(r.Cases), out.Bytes())
	}
	ours := r.Cases[0]
	if ours.LastS < r.BoundS || ours.LastS > 1.5*r.BoundS || ours.WANRatio > 1.02 || ours.Missing != 0 || len(ours.Wrong) != 0 {
		t.Errorf("%+v", ours)
	}
	for _, c := range r.Cases[1:4] {
		// 50 copies of 8 s are 400 s; 512 bytes each 250 ms are 980 s.
		if c.LastS < 400 || c.WANRatio != 50 {
			t.Errorf("%+v", c)
		}
	}
	if tftp := r.Cases[3].LastS; tftp < 3907*0.25 || tftp > 3907*0.26 {
		t.Errorf("3907 blocks in lock step over 250 ms take %.1f s", tftp)
	}
	if half := r.Cases[4].LastS; half < 1.8*ours.LastS || half > 2.1*ours.LastS {
		t.Errorf("half the WAN takes %.2f s, the whole %.2f s", half, ours.LastS)
	}
	if dead := r.Cases[5]; dead.LastS <= ours.LastS || dead.Missing != 0 {
		t.Errorf("a dead root: %+v", dead)
	}
}

func TestLoadSizes(t *testing.T) {
	dir := t.TempDir()
	if _, err := loadSizes(dir); err == nil {
		t.Error("an empty directory has sizes")
	}
	for name, n := range map[string]int{"a": 10, "b": 0, "c": 7} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := loadSizes(dir); err != nil || !slices.Equal(got, []int64{10, 0, 7}) {
		t.Errorf("%v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.load"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := loadSizes(dir); err == nil {
		t.Errorf("nonsense as manifest: %v", got)
	}
}
