package sim

import (
	"flag"
	"io"
	"os"
	"strings"
	"testing"
)

var (
	simRuns = flag.Int("sim.runs", 300, "random sites to play")
	simSeed = flag.Uint64("sim.seed", 0, "play this site only, with a trace on stderr")
)

func TestRandomSites(t *testing.T) {
	from, to := uint64(1), uint64(*simRuns)
	if underRace {
		to = min(to, 30)
	}
	if *simSeed != 0 {
		from, to = *simSeed, *simSeed
	}
	failed := 0
	for seed := from; seed <= to; seed++ {
		var trace io.Writer
		if *simSeed != 0 {
			trace = os.Stderr
		}
		r := NewRandomSite(seed, trace)
		if bad := r.Play(); len(bad) > 0 {
			t.Errorf("seed %d: %s\n\t%s", seed, r, strings.Join(bad, "\n\t"))
			if failed++; failed > 20 {
				t.FailNow()
			}
		}
	}
}
