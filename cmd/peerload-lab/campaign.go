package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/sim"
)

// maxRuns bounds the sites of a campaign.
const maxRuns = 100_000_000

// traceRecords is how much of a trace is shown.
const traceRecords = 25

// campaignResult is the result of a campaign of random sites.
type campaignResult struct {
	Event string  `json:"event"` // "campaign"
	Seed  uint64  `json:"seed"`  // of the first
	Runs  int     `json:"runs"`  // played
	WallS float64 `json:"wall_s"`
	// Failed is the seed that broke something, the first if several did, with its site
	// and what it broke.
	Failed *uint64 `json:"failed_seed,omitempty"`
	// Broken is how many sites did, and Seeds the first of them.
	Broken     int      `json:"broken"`
	Seeds      []uint64 `json:"broken_seeds,omitempty"`
	Site       string   `json:"site,omitempty"`
	Violations []string `json:"violations,omitempty"`
	// Digest, if it was asked for and all sites were played: see digestOf.
	Digest string `json:"digest,omitempty"`
	traces [][sha256.Size]byte
}

// mostNamed bounds the seeds of broken sites that are named.
const mostNamed = 20

// campaign plays random sites until one is wrong, or all.
func (f *simFlags) campaign(ctx context.Context, out io.Writer) error {
	if f.runs < 1 || f.runs > maxRuns {
		return fmt.Errorf("--runs is 1 to %d, not %d", maxRuns, f.runs)
	}
	if f.trace && f.runs > 1 {
		return fmt.Errorf("--trace with --runs %d: it writes one site only; give --runs 1 and --seed", f.runs)
	}
	type run struct {
		seed   uint64
		bad    []string
		digest [sha256.Size]byte
	}
	bar := newProgress(out, f.runs, "sites", !f.json)
	r := campaignResult{Event: "campaign", Seed: f.seed}
	if f.digest {
		r.traces = make([][sha256.Size]byte, f.runs)
	}
	err := shard(ctx, f.runs, func(i int) (run, error) {
		x := run{seed: f.seed + uint64(i)}
		traces, digest := f.traces()
		x.bad = sim.NewRandomSite(x.seed, traces).Play()
		if digest != nil {
			digest.Sum(x.digest[:0])
		}
		return x, nil
	}, func(i int, x run) bool {
		bar.step()
		r.Runs++
		if f.digest {
			r.traces[i] = x.digest
		}
		if len(x.bad) > 0 {
			r.Broken++
			r.Seeds = append(r.Seeds, x.seed)
			slices.Sort(r.Seeds)
			r.Seeds = r.Seeds[:min(len(r.Seeds), mostNamed)]
		}
		if len(x.bad) > 0 && (r.Failed == nil || x.seed < *r.Failed) {
			r.Failed, r.Violations = &x.seed, x.bad
		}
		return r.Failed == nil || f.keepGoing
	})
	bar.end()
	if err != nil {
		return err
	}
	r.WallS = time.Since(bar.began).Seconds()
	if f.digest && r.Failed == nil {
		r.Digest = digestOf(r.traces)
	}
	if err := f.report(out, &r); err != nil || r.Failed == nil {
		return err
	}
	return &statusError{status: exitIncomplete}
}

// told is a trace with the words by which a device tells what it does.
type told struct{ io.Writer }

// Words implements sim.Tracer.
func (told) Words(n sim.Noted) string {
	return wording.Note(false, wording.File{Hierarchy: n.Hierarchy, Name: n.Name, Model: n.Model, Scheme: "tftp"}, n.What,
		n.Reason)
}

// traces returns where a site's trace goes, nil for nowhere, and what takes its
// digest, nil if nobody asked.
func (f *simFlags) traces() (sim.Tracer, hash.Hash) {
	var all []io.Writer
	if f.trace {
		all = append(all, os.Stderr)
	}
	if !f.digest {
		if len(all) == 0 {
			return nil, nil
		}
		return told{all[0]}, nil
	}
	h := sha256.New()
	return told{io.MultiWriter(append(all, h)...)}, h
}

// digestOf is the SHA-256 over the SHA-256 of each trace, in the order of the
// seeds: sites end in any order, and their traces are too large to keep.
func digestOf(traces [][sha256.Size]byte) string {
	h := sha256.New()
	for _, t := range traces {
		h.Write(t[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (f *simFlags) report(out io.Writer, r *campaignResult) error {
	var tail traceTail
	if r.Failed != nil {
		site := sim.NewRandomSite(*r.Failed, told{&tail})
		r.Site = site.String()
		if !f.json {
			site.Play()
		}
	}
	switch {
	case f.json:
		return json.NewEncoder(out).Encode(r)
	case r.Failed == nil:
		fmt.Fprintf(out, "%s, seeds %d to %d: all invariants hold; %.1f s\n",
			count(f.runs, "random site"), f.seed, f.seed+uint64(f.runs)-1, r.WallS)
		if r.Digest != "" {
			fmt.Fprintf(out, "digest of the traces: %s\n", r.Digest)
		}
		return nil
	}
	if f.keepGoing {
		fmt.Fprintf(out, "%s, seeds %d to %d: %d broke an invariant; %.1f s\n", count(r.Runs, "random site"), f.seed,
			f.seed+uint64(f.runs)-1, r.Broken, r.WallS)
		fmt.Fprintf(out, "the first of them: %s\n", strings.Trim(fmt.Sprint(r.Seeds), "[]"))
	}
	fmt.Fprintf(out, "seed %d: %s\n", *r.Failed, r.Site)
	for _, b := range r.Violations {
		fmt.Fprintf(out, "  WRONG  %s\n", b)
	}
	fmt.Fprintf(out, "what was new last, repetitions left out:\n")
	tail.dump(out)
	fmt.Fprintf(out, "replay it: peerload-lab sim --runs 1 --seed %d --trace\n", *r.Failed)
	return nil
}

// traceTail keeps the last records of a trace. A record is an event with the
// actions below it. A record that has come a few times, apart from its numbers,
// is left out: a site that does not end repeats the same for minutes.
// Everything after the first violation of an invariant is left out as well.
type traceTail struct {
	now   []byte // the record that is being written
	kept  [][]byte
	cut   int
	wrong bool // an invariant is broken
	seen  map[string]int
}

const (
	traceRepeats = 3     // of a record are shown
	traceKinds   = 10000 // of records are told apart
)

// Write takes a line.
func (t *traceTail) Write(line []byte) (int, error) {
	if !bytes.HasPrefix(line, []byte("           =>")) {
		t.record()
	}
	t.now = append(t.now, line...)
	return len(line), nil
}

// record ends a record.
func (t *traceTail) record() {
	if len(t.now) == 0 {
		return
	}
	if t.seen == nil {
		t.seen = map[string]int{}
	}
	kind := string(bytes.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == ' ' {
			return -1
		}
		return r
	}, t.now))
	if len(t.seen) < traceKinds || t.seen[kind] > 0 {
		t.seen[kind]++
	}
	if t.wrong || t.seen[kind] > traceRepeats {
		t.cut++
	} else {
		t.kept = append(t.kept, bytes.Clone(t.now))
	}
	if len(t.kept) > 2*traceRecords {
		t.cut += traceRecords
		t.kept = append(t.kept[:0], t.kept[traceRecords:]...)
	}
	t.wrong = t.wrong || bytes.Contains(t.now, []byte(" WRONG "))
	t.now = t.now[:0]
}

func (t *traceTail) dump(w io.Writer) {
	t.record()
	b := bufio.NewWriter(w)
	from := max(0, len(t.kept)-traceRecords)
	if n := t.cut + from; n > 0 {
		fmt.Fprintf(b, "  ... %s left out\n", count(n, "event"))
	}
	for _, l := range t.kept[from:] {
		_, _ = b.Write(l) // Flush tells of its error
	}
	_ = b.Flush() // nobody reads any more
}
