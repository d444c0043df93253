package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

// TestRead: counts are summed up, and what failed is told.
func TestRead(t *testing.T) {
	c, out := read([]byte("=== RUN   TestPowerCut\n" +
		"    power_test.go:76: crash states: 144, after each of 36 operations\n" +
		"    power_test.go:80: it is a mixture\n    --- PASS: TestPowerCut/op=1 (0.00s)\n" +
		"    b_test.go:1: crash states: 6, after each of 9 operations\n"))
	if c != (count{2, 45, 150}) || string(out) != "    power_test.go:80: it is a mixture\n" {
		t.Errorf("%+v, %q", c, out)
	}
}

// enumerates is how a test of another package begins to cut the power.
var enumerates = regexp.MustCompile(`faultdisk\.(Every|EveryNth|Recorded)\(`)

// TestNames: the variable and the line are those of package faultdisk, and no
// package with such tests is left out.
func TestNames(t *testing.T) {
	if variable != faultdisk.CutsVariable || !strings.HasPrefix(countLine.String(), faultdisk.CutsLine) {
		t.Errorf("%s and %q are spelt otherwise", variable, countLine)
	}
	root := filepath.Join("..", "..")
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		b, err := os.ReadFile(p)
		if enumerates.Match(b) {
			rel, _ := filepath.Rel(root, filepath.Dir(p))
			found["./"+rel] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if !found[p] {
			t.Errorf("%s has no such test", p)
		}
		delete(found, p)
	}
	if len(found) > 0 {
		t.Errorf("left out: %v", found)
	}
}

// TestCommandLine: what cannot be is refused.
func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{"-most", "0"}, {"x"}, {"-most", "x"}} {
		var out bytes.Buffer
		if err := run(context.Background(), args, &out, &out); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
