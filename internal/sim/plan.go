package sim

import (
	"slices"
	"time"

	"github.com/peerload/peerload/load"
)

// TFTP block sizes: RFC 1350, and the usual negotiated one that fits an
// Ethernet frame (RFC 2348).
const (
	ClassicBlock = 512
	LargeBlock   = 1428
)

// blockHeaders are the bytes around a block of TFTP on Ethernet: 14 + 20 + 8 + 4.
const blockHeaders = 46

// CopiesOverWAN returns how long it takes when every device downloads by
// itself and the WAN is always full: N copies with their headers.
func (c Site) CopiesOverWAN() time.Duration {
	return seconds(float64(c.Devices) * float64(c.Size()) * 8 * (1 + overhead) / c.WAN)
}

// LockStep returns how long TFTP takes when every device downloads by itself:
// one block for each round trip, or what the WAN carries if that is less.
func (c Site) LockStep(block int) time.Duration {
	blocks := 0.0
	for _, n := range c.Sizes {
		blocks += float64(n/int64(block) + 1) // the last one is short
	}
	one := float64(block+blockHeaders) * 8
	alone := blocks * (c.RTT.Seconds() + one/min(c.WAN, c.LAN))
	return seconds(max(alone, float64(c.Devices)*blocks*one/c.WAN))
}

// planChunks is how many chunks of all devices together are simulated; larger
// plans are extrapolated.
const planChunks = 160_000

// How much of a large file is simulated: at least drawnChunks, half of them the
// second time. That is enough for the trees to form, and for there to be two.
const drawnChunks = 200

// Predict simulates the site and returns the outcome. If there are very many
// devices, it simulates some of them; files too large to be simulated in
// seconds are simulated at two smaller sizes, because time grows with the bytes
// once the trees have formed. Drawn reports whether it did so; then Last,
// Median and WANBytes are extrapolated, and the rest is from the last
// simulation.
func (c Site) Predict() (o Outcome, drawn bool, err error) { return c.PredictWithin(planChunks) }

// PredictWithin is Predict that simulates about so many chunks of all devices
// together at most.
func (c Site) PredictWithin(chunks int) (o Outcome, drawn bool, err error) {
	b := c.shrink(chunks)
	if b.Size() == c.Size() {
		o, err = b.Play()
		return o, b.Devices < c.Devices, err
	}
	a := b
	a.Sizes = nil
	for i, n := range b.Sizes {
		if n < c.Sizes[i] {
			n /= 2
		}
		a.Sizes = append(a.Sizes, n)
	}
	x, err := a.Play()
	if err != nil {
		return x, true, err
	}
	if o, err = b.Play(); err != nil {
		return o, true, err
	}
	k := float64(c.Size()-b.Size()) / float64(b.Size()-a.Size())
	more := func(p, q time.Duration) time.Duration { return q + time.Duration(k*float64(q-p)) }
	o.Last, o.Median = more(x.Last, o.Last), more(x.Median, o.Median)
	o.WANBytes += int64(k * float64(o.WANBytes-x.WANBytes))
	o.Size, o.Bound = c.Size(), c.Bound()
	o.Violations = append(x.Violations, o.Violations...)
	return o, true, nil
}

// fewest devices represent more if many large files are simulated: each further
// level of the trees takes as long as one chunk.
const fewest = 100

// mostPlanned is how many devices of a subnet are simulated at most, since
// every one of them hears every broadcast.
const mostPlanned = 2000

// shrink returns the site with its large files reduced in proportion, so that
// all devices together have budget chunks; if that is impossible, it also reduces
// the devices.
func (c Site) shrink(budget int) Site {
	b, most := c, budget/max(1, c.Devices)
	b.Devices = min(c.Devices, mostPlanned)
	chunks, large := 0, 0
	for _, n := range c.Sizes {
		k := load.Geometry{Size: n}.Chunks()
		if chunks += k; k > drawnChunks {
			large += k
		}
	}
	if chunks <= most || large == 0 {
		return b
	}
	part := max(0, float64(most-(chunks-large))/float64(large))
	b.Sizes = slices.Clone(c.Sizes)
	left := 0
	for i, n := range c.Sizes {
		k := load.Geometry{Size: n}.Chunks()
		if k > drawnChunks {
			b.Sizes[i] = min(int64(max(drawnChunks, part*float64(k)))*load.MinChunkSize, n)
			k = load.Geometry{Size: b.Sizes[i]}.Chunks()
		}
		left += k
	}
	if fit := budget / left; fit < c.Devices {
		b.Devices = min(b.Devices, max(fit, fewest))
	}
	return b
}

func seconds(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
