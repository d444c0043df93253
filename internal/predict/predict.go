// Package predict says how long an upgrade of a site takes and what it costs on
// the WAN, before anyone starts it.
//
// What lives here: which runs of the simulator answer that, the ways without
// peers, which are computed, and the sum of what the devices of a site fetch.
// What must not: the simulator, which is package sim, and which devices and files
// there are, which its callers know. Read Site first, then Way.
package predict

import (
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/sim"
)

// How a figure came about.
const (
	Simulated = "simulated"
	// Drawn: a smaller simulation was extrapolated.
	Drawn    = "drawn out"
	Computed = "computed"
)

// Way is one way to upgrade a site, and what it takes.
type Way struct {
	Name string
	// How is one of the words above.
	How string
	// Last is when the last device is complete, from the first start.
	Last     time.Duration
	WANBytes int64
	// Copies is WANBytes over the size of what is fetched.
	Copies float64
	// Violations of the protocol's invariants; empty is right.
	Violations []string
	// Missing devices did not end complete.
	Missing int
}

// Shared is the way through the peers. An error says what of c cannot be played.
func Shared(name string, c sim.Site) (Way, error) {
	o, drawn, err := c.Predict()
	return wayOf(name, o, drawn), err
}

// Within is Shared that simulates about so many chunks of all devices together at
// most.
func Within(name string, c sim.Site, chunks int) (Way, error) {
	o, drawn, err := c.PredictWithin(chunks)
	return wayOf(name, o, drawn), err
}

func wayOf(name string, o sim.Outcome, drawn bool) Way {
	w := Way{
		Name: name, How: Simulated, Last: o.Last, WANBytes: o.WANBytes,
		Copies: float64(o.WANBytes) / float64(max(1, o.Size)), Violations: o.Violations, Missing: o.Expected - o.Complete,
	}
	if drawn {
		w.How = Drawn
	}
	return w
}

// Alone are the ways on which every device downloads by itself.
func Alone(c sim.Site) []Way {
	way := func(name string, d time.Duration) Way {
		return Way{Name: name, How: Computed, Last: d, WANBytes: int64(c.Devices) * c.Size(), Copies: float64(c.Devices)}
	}
	return []Way{
		way("every device by HTTP", c.CopiesOverWAN()),
		way(fmt.Sprintf("every device by TFTP, %d B", sim.LargeBlock), c.LockStep(sim.LargeBlock)),
		way(fmt.Sprintf("every device by TFTP, %d B", sim.ClassicBlock), c.LockStep(sim.ClassicBlock)),
	}
}
