package rounds

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is what happens to a device in a round.
type Kind string

// The kinds of faults.
const (
	Kill   Kind = "kill"   // SIGKILL; it starts again when the fault ends
	Stop   Kind = "stop"   // SIGSTOP, and SIGCONT when the fault ends
	Cut    Kind = "cut"    // its port reaches no other port that is cut
	Full   Kind = "full"   // its disk is full
	Damage Kind = "damage" // SIGKILL; a file of its state is changed before it starts again
	Liar   Kind = "liar"   // in its place stands a peer that lies, for the whole round
)

// Fault is what happens to one device in a round.
type Fault struct {
	Device int // from 0
	Kind   Kind
	// At is when it begins, For how long it lasts, from the start of the round.
	// For is 0 for a liar, which is there from the start to the end.
	At, For time.Duration
	// Draw decides which file is damaged, and how.
	Draw uint64
}

// Plan is what happens in a round.
type Plan struct {
	Seed  uint64
	Round int // from 1
	// Size of the load in bytes.
	Size   int
	Faults []Fault
	// CutWAN is when the WAN is cut; a For of 0 means never.
	CutWAN Fault
}

// Bounds of what is drawn.
const (
	minSize, maxSize = 1, 300_000
	lastBegin        = 3 * time.Second
	longest          = 4 * time.Second
	mostLiars        = 3
)

// steadyPart is the part of the devices that are never killed, filled, damaged or
// replaced: what they use is compared over the rounds.
const steadyPart = 10

// Steady reports whether what device i of n uses is compared over the rounds.
func Steady(i, n int) bool { return i < max(1, n/steadyPart) }

// Draw draws what happens to n devices in a round. The same seed, round and n
// give the same plan, whatever the rounds before.
func Draw(seed uint64, round, n int) Plan {
	r := rand.New(rand.NewPCG(seed, uint64(round)))
	p := Plan{Seed: seed, Round: round, Size: minSize + r.IntN(maxSize)}
	span := func(most time.Duration) time.Duration {
		return time.Duration(r.Int64N(int64(most/time.Millisecond))) * time.Millisecond
	}
	if r.IntN(4) == 0 {
		p.CutWAN = Fault{At: span(lastBegin), For: 200*time.Millisecond + span(longest)}
	}
	// From hardly any device to a third of all.
	part := r.Float64() / 3
	liars := 0
	for i := range n {
		if r.Float64() >= part {
			continue
		}
		f := Fault{Device: i, At: span(lastBegin), For: 200*time.Millisecond + span(longest), Draw: r.Uint64()}
		kinds := []Kind{Stop, Cut, Kill, Kill, Full, Damage, Liar}
		if Steady(i, n) {
			kinds = kinds[:2]
		}
		if f.Kind = kinds[r.IntN(len(kinds))]; f.Kind == Liar {
			if liars++; liars > min(mostLiars, n/4) {
				f.Kind = Kill
			} else {
				f.At, f.For = 0, 0
			}
		}
		p.Faults = append(p.Faults, f)
	}
	return p
}

// Lies reports whether a liar stands in the place of a device.
func (p Plan) Lies(device int) bool {
	return slices.ContainsFunc(p.Faults, func(f Fault) bool { return f.Device == device && f.Kind == Liar })
}

// Count returns how many faults of a kind there are.
func (p Plan) Count(k Kind) (n int) {
	for _, f := range p.Faults {
		if f.Kind == k {
			n++
		}
	}
	return n
}

// String says in one line what happens.
func (p Plan) String() string {
	var words []string
	for _, k := range []Kind{Kill, Stop, Cut, Full, Damage, Liar} {
		if n := p.Count(k); n > 0 {
			words = append(words, fmt.Sprintf("%s %d", k, n))
		}
	}
	if p.CutWAN.For > 0 {
		words = append(words, "the WAN cut")
	}
	if len(words) == 0 {
		words = []string{"nothing"}
	}
	return strings.Join(words, ", ")
}
