package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/load"
)

// TestPlan: the rows stand in order, and what must be slower is slower.
func TestPlan(t *testing.T) {
	var out bytes.Buffer
	f := planFlags{siteShape: siteShape{devices: 50, wan: 2 * units.Mbit, lan: 100 * units.Mbit, size: 2e6,
		rtt: 250 * time.Millisecond, connections: 1}, seed: 1, json: true}
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
	if ours.LastS < r.BoundS || ours.LastS > 1.5*r.BoundS || ours.WANRatio > 1.02 || ours.Missing != 0 ||
		len(ours.Wrong) != 0 {
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

// TestLoadSizes reads what an administrator has: a repository with one load or
// several, a controller's data directory, a manifest, plain files.
func TestLoadSizes(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	manifest := func(name string, sizes ...int) []byte {
		m := &load.Manifest{Name: name, Version: "1", Models: []string{"CP-7941G"}, Created: "2026-01-01T00:00:00Z"}
		for i, n := range sizes {
			c, err := load.Describe(fmt.Sprintf("f%d", i), bytes.NewReader(make([]byte, n)), int64(n))
			if err != nil {
				t.Fatal(err)
			}
			m.Components = append(m.Components, c)
		}
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one := manifest("one", 3, 200_000, 1)
	path := write("repo/one.load", one)
	write("repo/components/x", make([]byte, 999))
	for name, n := range map[string]int{"timestamp.json": 100, "9.snapshot.json": 1, "10.snapshot.json": 20,
		"2.targets.json": 7, "x.targets.json": 900} {
		write("repo/metadata/"+name, make([]byte, n))
	}
	write("data/controller.db", make([]byte, 5000))
	write("data/repository/one.load", one)
	write("plain/a", make([]byte, 10))
	write("plain/b", nil)
	write("plain/.hidden", make([]byte, 9))
	write("plain/c", make([]byte, 7))
	signed, with := []int64{3, 200_000, 1}, int64(len(one))
	for at, want := range map[string]struct {
		sizes    []int64
		metadata int64
	}{
		path: {signed, with + 127}, filepath.Join(dir, "repo"): {signed, with + 127},
		filepath.Join(dir, "data"): {signed, with}, filepath.Join(dir, "plain"): {[]int64{10, 0, 7}, 0},
	} {
		sizes, metadata, err := loadSizes(at)
		if err != nil || !slices.Equal(sizes, want.sizes) || metadata != want.metadata {
			t.Errorf("%s: %v, %d bytes of metadata, %v", at, sizes, metadata, err)
		}
	}
	write("two/one.load", one)
	write("two/two.load", manifest("two", 5))
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		"two": "name one", "empty": "no files", "plain/a": "no manifest", "none": "no such file",
		filepath.Base(filepath.Dir(write("nonsense/x.load", []byte("nonsense")))): "no manifest",
	} {
		if sizes, _, err := loadSizes(filepath.Join(dir, at)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", at, sizes, err)
		}
	}
}

// TestPlanRefuses: what cannot be predicted is refused.
func TestPlanRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"--devices", "0"}, {"--devices", "10001"}, {"--wan", "0"}, {"--lan", "-1mbit"}, {"--rtt", "11s"}, {"--size", "x"},
		{"--spread", "-1s"},
		{"--load", "/nonexistent"}, {"--load", ".", "--size", "1MB"}, {"--check", "--check-runs", "0"}, {"extra"},
	} {
		c := planCommand()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetArgs(args)
		if err := c.ExecuteContext(t.Context()); err == nil || err.Error() == "" {
			t.Errorf("%q: %v", args, err)
		}
	}
}
