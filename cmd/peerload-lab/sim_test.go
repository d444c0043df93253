package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/sim"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestSimSubnets: the result does not hang on the order in which subnets end.
func TestSimSubnets(t *testing.T) {
	play := func() (r simResult) {
		var out bytes.Buffer
		f := simFlags{siteShape: siteShape{devices: 61, wan: 20 * units.Mbit, lan: 100 * units.Mbit, size: 1e6,
			connections: 1}, subnets: 6,
			seed: 5, json: true, faults: []string{"crash-root@50"}}
		if err := f.play(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := play(), play()
	if a.Hash != b.Hash || a.Complete != 55 || a.Expected != 55 || a.Elections != 12 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestSimCampaign(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	var out bytes.Buffer
	f := simFlags{seed: 1, runs: 20}
	if err := f.campaign(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if !bytes.Contains(out.Bytes(), []byte("20 of 20 sites")) {
		t.Errorf("%s", out.Bytes())
	}
}

// TestSimDigest: the digest does not hang on the order in which sites end, and
// another site gives another one.
func TestSimDigest(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	digest := func(seed uint64, runs int) string {
		var out bytes.Buffer
		f := simFlags{seed: seed, runs: runs, digest: true, json: true}
		if err := f.campaign(t.Context(), &out); err != nil {
			t.Fatalf("%v\n%s", err, out.Bytes())
		}
		var r campaignResult
		if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Digest) != 64 {
			t.Fatalf("%v\n%s", err, out.Bytes())
		}
		return r.Digest
	}
	first := digest(1, 12)
	if again := digest(1, 12); again != first {
		t.Errorf("the same sites gave %s and %s", first, again)
	}
	if other := digest(2, 12); other == first {
		t.Error("other sites gave the same digest")
	}
	if fewer := digest(1, 11); fewer == first {
		t.Error("fewer sites gave the same digest")
	}
}

func TestShard(t *testing.T) {
	sum := 0
	if err := shard(t.Context(), 100, func(i int) (int, error) { return i, nil },
		func(_, v int) bool { sum += v; return true }); err != nil || sum != 4950 {
		t.Errorf("%d, %v", sum, err)
	}
	bad := errors.New("bad")
	if err := shard(t.Context(), 100, func(i int) (int, error) { return 0, bad },
		func(int, int) bool { return true }); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
	taken := 0
	if err := shard(t.Context(), 100, func(i int) (int, error) { return 0, nil },
		func(int, int) bool { taken++; return false }); err != nil || taken > 16 {
		t.Errorf("%v after %d", err, taken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := shard(ctx, 3, func(i int) (int, error) { return 0, nil },
		func(int, int) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestSimRefuses: what has no meaning is refused, not left aside.
func TestSimRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"--runs", "0"}, {"--runs", "-3"}, {"--runs", "x"}, {"--runs", "5", "--devices", "3"},
		{"--runs", "5", "--fault", "slow"},
		{"--runs", "5", "--trace"}, {"--digest"}, {"--devices", "0"}, {"--devices", "3", "--subnets", "4"},
		{"--subnets", "0"}, {"--fault", "rain"},
		{"--fault", "slow@200"}, {"--wan", "0"}, {"--wan", "fast"}, {"--rtt", "-1s"}, {"--loss", "90%"}, {"--size", "-1"},
		{"extra"},
	} {
		c := simCommand()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetArgs(args)
		if err := c.ExecuteContext(t.Context()); err == nil || err.Error() == "" {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func smallSite() siteShape {
	return siteShape{devices: 12, wan: 20 * units.Mbit, lan: 100 * units.Mbit, size: 3e6, connections: 1}
}

// TestSimEnds: a device whose disk is full is told apart from one that should
// have ended complete.
func TestSimEnds(t *testing.T) {
	var out bytes.Buffer
	f := simFlags{siteShape: smallSite(), subnets: 1,
		noTable: true, faults: []string{"disk-full-root@50"}}
	if err := f.play(t.Context(), &out); err != nil ||
		!strings.Contains(out.String(), "complete      11 of 11\n  failed        1,") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestSimCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	f := simFlags{siteShape: smallSite(), subnets: 1}
	if err := f.play(ctx, &out); !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out.String())
	}
	s := f.site(1)
	s.Cancelled = func() bool { return true }
	if _, err := s.Play(); !errors.Is(err, sim.ErrCancelled) {
		t.Errorf("%v", err)
	}
}

// TestCampaignReport shows a failure as a person sees it.
func TestCampaignReport(t *testing.T) {
	seed := uint64(3)
	r := &campaignResult{Event: "campaign", Seed: 1, Runs: 3, Failed: &seed, Violations: []string{"1s: something"}}
	var out bytes.Buffer
	if err := (&simFlags{runs: 3}).report(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"seed 3: ", "  WRONG  1s: something\n", "repetitions left out:\n  ... ",
		"replay it: peerload-lab sim --runs 1 --seed 3 --trace\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "\n"); n > 200 {
		t.Errorf("%d lines", n)
	}
	out.Reset()
	r.Broken, r.Seeds = 2, []uint64{3, 5}
	const broken = "3 random sites, seeds 1 to 3: 2 broke an invariant; 0.0 s\nthe first of them: 3 5\n"
	if err := (&simFlags{runs: 3, seed: 1, keepGoing: true}).report(&out, r); err != nil ||
		!strings.HasPrefix(out.String(), broken) {
		t.Errorf("%v: %s", err, out.String())
	}
	out.Reset()
	var got campaignResult
	if err := (&simFlags{runs: 3, json: true}).report(&out, r); err != nil || json.Unmarshal(out.Bytes(), &got) != nil ||
		*got.Failed != 3 {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestTraceTail(t *testing.T) {
	w := new(traceTail)
	for i := range 100 {
		fmt.Fprintf(w, "%10.4f d%d deadline\n", float64(i), i%5)
		fmt.Fprintf(w, "           => broadcast number %d\n", i)
		if i%50 == 10 {
			fmt.Fprintf(w, "%10.4f d2 new %s\n", float64(i), strings.Repeat("x", i))
		}
		if i == 70 {
			fmt.Fprintf(w, "%10.4f WRONG all of it\n", float64(i))
		}
	}
	var out bytes.Buffer
	w.dump(&out)
	want := "  ... 97 events left out\n" +
		"    0.0000 d0 deadline\n           => broadcast number 0\n" +
		"    1.0000 d1 deadline\n           => broadcast number 1\n" +
		"    2.0000 d2 deadline\n           => broadcast number 2\n" +
		"   10.0000 d2 new xxxxxxxxxx\n" +
		"   60.0000 d2 new " + strings.Repeat("x", 60) + "\n" +
		"   70.0000 WRONG all of it\n"
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
	for i := range 1000 {
		fmt.Fprintf(w, "d new %s\n", strings.Repeat("y", i))
	}
	w = new(traceTail)
	for i := range 1000 {
		fmt.Fprintf(w, "d new %s\n", strings.Repeat("y", i))
	}
	out.Reset()
	if w.dump(&out); !strings.HasPrefix(out.String(), "  ... 975 events left out\n") || len(w.kept) > 2*traceRecords {
		t.Errorf("%.60s, %d kept", out.String(), len(w.kept))
	}
}

func TestProgressLine(t *testing.T) {
	p := &progress{what: "sites", n: 25, of: 100}
	for room, want := range map[int]string{
		100: "[##########..............................] 25 of 100 sites, 10 s, 30 s left",
		50:  "[###............] 25 of 100 sites, 10 s, 30 s left",
		40:  "25 of 100 sites, 10 s, 30 s left",
		10:  "25 of 100 ",
		0:   "",
		-1:  "",
	} {
		if got := p.line(10*time.Second, room); got != want {
			t.Errorf("%d columns: %q", room, got)
		}
	}
	if p.n = 100; p.line(10*time.Second, 80) != "["+strings.Repeat("#", 40)+"] 100 of 100 sites, 10 s" {
		t.Errorf("%q", p.line(10*time.Second, 80))
	}
}
