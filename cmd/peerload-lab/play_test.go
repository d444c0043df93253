package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestLiars plays the worst of a few liars among two real devices: all of them have the file
// in the end.
func TestLiars(t *testing.T) {
	tiers.Long(t, "it builds programs and runs devices")
	dir := programs.Build(t, []string{"peerload", "peerload-lab"})
	cmd := exec.Command(filepath.Join(dir, "peerload-lab"), "liars", "--json", "--devices", "2", "--size", "1MB", "--runs",
		"20", "--worst", "1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var ended *exec.ExitError // beyond the bound, perhaps
	if err != nil && !errors.As(err, &ended) || len(out) == 0 {
		if strings.Contains(errs.String(), "namespace") && os.Geteuid() != 0 {
			t.Skip(errs.String())
		}
		t.Fatalf("%v\n%s", err, errs.Bytes())
	}
	var p played
	if err := json.Unmarshal(bytes.TrimSpace(out), &p); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if p.Event != "liar" || p.LastS <= 0 || p.BoundS <= 15 || p.Copies <= 0 || !strings.Contains(p.Program, "liar from") {
		t.Errorf("%+v", p)
	}
}

// TestWorse: what is beyond its bound comes first, then what took most of it.
func TestWorse(t *testing.T) {
	all := []liarFinding{{Seed: 1, Factor: 0.5}, {Seed: 2, Factor: 0.9}, {Seed: 3, Factor: 0.7, Wrong: []string{"failed"}},
		{Seed: 4, Factor: 0.9}}
	slices.SortFunc(all, worse)
	var seeds []uint64
	for _, x := range all {
		seeds = append(seeds, x.Seed)
	}
	if !slices.Equal(seeds, []uint64{3, 2, 4, 1}) {
		t.Errorf("in the order %v", seeds)
	}
}
