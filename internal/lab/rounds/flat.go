package rounds

import (
	"fmt"
	"slices"
)

// Use is what a process uses: memory in bytes, descriptors, goroutines.
type Use struct {
	Memory      int64 `json:"memory_bytes"`
	Descriptors int64 `json:"descriptors"`
	Goroutines  int64 `json:"goroutines"`
}

// Growth compares what a process used in the first and in the last rounds.
type Growth struct {
	Process string `json:"process"`
	First   Use    `json:"first"`
	Last    Use    `json:"last"`
	// Flat is false if one of the three has grown beyond what chance explains.
	Flat bool `json:"flat"`
}

// warmUp is how many rounds a process may take to reach what it uses, and
// compared how many rounds at least each end of the comparison has.
const (
	warmUp   = 5
	compared = 3
)

// growth compares the medians of the first and of the last third of the samples
// after the warm-up; false if there are too few to compare.
func growth(process string, samples []Use) (g Growth, ok bool) {
	if len(samples) < warmUp+2*compared {
		return g, false
	}
	samples = samples[warmUp:]
	third := max(compared, len(samples)/3)
	g = Growth{Process: process, First: median(samples[:third]), Last: median(samples[len(samples)-third:])}
	grown := func(first, last, slack int64) bool { return last > first+first/4+slack }
	g.Flat = !grown(g.First.Memory, g.Last.Memory, 4<<20) && !grown(g.First.Descriptors, g.Last.Descriptors, 4) &&
		!grown(g.First.Goroutines, g.Last.Goroutines, 4)
	return g, true
}

func median(samples []Use) Use {
	of := func(field func(Use) int64) int64 {
		var all []int64
		for _, s := range samples {
			all = append(all, field(s))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return Use{of(func(u Use) int64 { return u.Memory }), of(func(u Use) int64 { return u.Descriptors }),
		of(func(u Use) int64 { return u.Goroutines })}
}

// String is the growth as a row of a table in Markdown.
func (g Growth) String() string {
	flat := "flat"
	if !g.Flat {
		flat = "**grows**"
	}
	return fmt.Sprintf("| %s | %.1f → %.1f | %d → %d | %d → %d | %s |", g.Process, float64(g.First.Memory)/(1<<20),
		float64(g.Last.Memory)/(1<<20), g.First.Descriptors, g.Last.Descriptors, g.First.Goroutines, g.Last.Goroutines, flat)
}
