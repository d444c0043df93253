package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/sim"
)

// mostWorst is how many of the worst sites are named.
const mostWorst = 10

// liarFinding is a site whose liars cost more than others.
type liarFinding struct {
	Seed uint64 `json:"seed"`
	// Factor is how much of its bound the site took, of time or of copies, whichever
	// is more: above 1 is wrong.
	Factor  float64  `json:"factor"`
	SilentS float64  `json:"silent_s"`
	LastS   float64  `json:"last_s"` // 0 if a device did not end
	Copies  float64  `json:"copies"`
	Wrong   []string `json:"wrong,omitempty"`
	Liars   int      `json:"liars"`
	Devices int      `json:"devices"`
}

// liarsResult is what sites with random liars came to.
type liarsResult struct {
	Event  string        `json:"event"` // "liars"
	Seed   uint64        `json:"seed"`  // of the first
	Runs   int           `json:"runs"`
	Beyond int           `json:"beyond"` // sites beyond their bound
	WallS  float64       `json:"wall_s"`
	Worst  []liarFinding `json:"worst"`
}

// liars plays random sites with random liars, and compares each with the same
// site on which they are silent.
func (f *simFlags) liars(ctx context.Context, out io.Writer) error {
	if f.runs < 1 || f.runs > maxRuns {
		return fmt.Errorf("--runs %d: 1 to %d", f.runs, maxRuns)
	}
	bar := newProgress(out, f.runs, "sites", !f.json)
	r := liarsResult{Event: "liars", Seed: f.seed}
	err := shard(ctx, f.runs, func(i int) (liarFinding, error) {
		return playLiars(sim.NewLiarSite(f.seed + uint64(i))), nil
	}, func(_ int, x liarFinding) bool {
		bar.step()
		r.Runs++
		if len(x.Wrong) > 0 {
			r.Beyond++
		}
		r.Worst = worst(append(r.Worst, x))
		return f.keepGoing || r.Beyond == 0
	})
	bar.end()
	if err != nil {
		return err
	}
	r.WallS = time.Since(bar.began).Seconds()
	if f.json {
		err = json.NewEncoder(out).Encode(&r)
	} else {
		r.text(out)
	}
	if err == nil && r.Beyond > 0 {
		err = &statusError{status: exitIncomplete}
	}
	return err
}

func playLiars(c *sim.LiarSite) liarFinding {
	r := c.Play(nil)
	return liarFinding{
		Seed: c.Seed, Factor: r.Factor, SilentS: r.Silent.Last.Seconds(), LastS: r.Lying.Last.Seconds(),
		Copies: r.Lying.Copies, Wrong: r.Bad, Liars: len(c.Liars), Devices: c.Devices,
	}
}

// worst keeps the worst findings, those beyond their bound first.
func worst(all []liarFinding) []liarFinding {
	slices.SortFunc(all, worse)
	return all[:min(len(all), mostWorst)]
}

// worse compares findings: those beyond their bound come first, then by how much of it
// they took.
func worse(a, b liarFinding) int {
	beyond := func(x liarFinding) int { return min(len(x.Wrong), 1) }
	return cmp.Or(cmp.Compare(beyond(b), beyond(a)), cmp.Compare(b.Factor, a.Factor), cmp.Compare(a.Seed, b.Seed))
}

func (r *liarsResult) text(out io.Writer) {
	fmt.Fprintf(out, "%s with liars, seeds %d to %d: %d beyond their bound; %.1f s\n",
		count(r.Runs, "random site"), r.Seed, r.Seed+uint64(r.Runs)-1, r.Beyond, r.WallS)
	fmt.Fprintf(out, "the worst, as a factor of the bound:\n")
	for _, x := range r.Worst {
		fmt.Fprintf(out, "  %6.2f  seed %d: %s, liars silent %.1f s, lying %.1f s, %.2f copies\n",
			x.Factor, x.Seed, count(x.Devices, "device"), x.SilentS, x.LastS, x.Copies)
		for _, w := range x.Wrong {
			fmt.Fprintf(out, "          WRONG %s\n", w)
		}
	}
	if len(r.Worst) > 0 && r.Beyond > 0 && r.Runs == 1 {
		c := sim.NewLiarSite(r.Worst[0].Seed).Shrink()
		fmt.Fprintf(out, "made as short as it stays wrong: %s\n", strings.ReplaceAll(c.String(), "\n", "\n  "))
	}
	if r.Beyond > 0 && r.Runs > 1 {
		fmt.Fprintf(out, "make one short: peerload-lab sim --liars --runs 1 --seed %d\n", r.Worst[0].Seed)
	}
}
