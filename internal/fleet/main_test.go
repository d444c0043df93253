package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// TestOptions: a command line that cannot be meant so is refused, and says what to do.
func TestOptions(t *testing.T) {
	for line, says := range map[string]string{
		"-devices 1500":                        "whole thousands",
		"-devices 0":                           "whole thousands",
		"-devices 20000000":                    "whole thousands",
		"-rate 0":                              "-rate",
		"-clients 0":                           "-clients",
		"-for 0s":                              "-for",
		"-calls 0":                             "-calls",
		"-phases reads":                        "-database",
		"-phases import,sites":                 "import needs sites",
		"-phases sites,import,reads":           "reads needs heard",
		"-phases sites,import,reports":         "reports needs heard",
		"-database postgres:///x -phases read": "none of sites, import",
		"-database postgres:///x -fsync":       "-fsync",
		"reads":                                "flags only",
		"-devices 1000 -phases sites,import,heart": `"heart"`,
	} {
		_, err := parse(strings.Fields(line), io.Discard)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, line := range []string{"", "-devices 20000 -for 10s -calls 20", "-database postgres:///x -phases reads",
		"-phases sites,import", "-phases sites,import,heard,reads", "-phases sites,import,rollout"} {
		if _, err := parse(strings.Fields(line), io.Discard); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestSeed: a fleet follows from its seed, and another one from another seed.
func TestSeed(t *testing.T) {
	of := func(seed uint64) (all [500]device) {
		f := &fleet{o: options{devices: 10_000, seed: seed}}
		for i := range all {
			all[i] = f.device(i)
		}
		return all
	}
	one, again, two := of(1), of(1), of(2)
	if one != again || one == two {
		t.Error("the seed does not make the fleet")
	}
	for _, d := range of(3) {
		if d.site >= 50 || address(d.site) == "" {
			t.Fatalf("%+v", d)
		}
	}
}

// TestRows: a figure says whether its bound is met.
func TestRows(t *testing.T) {
	var out bytes.Buffer
	f := &fleet{out: &out}
	f.atMost("a page", 49.96, 50, "ms")
	f.atMost("a page", 51, 50, "ms")
	f.atLeast("reports", 2000, 3000, "/s")
	f.told("memory", 7, "MB")
	const want = "| a page | 50 ms | ≤ 50 ms | yes |\n| a page | 51 ms | ≤ 50 ms | **no** |\n" +
		"| reports | 2000 /s | ≥ 3000 /s | **no** |\n| memory | 7 MB | | |\n"
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}
