package sim

import (
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

// planChunks is how many chunks of all devices together are played; what is
// larger is played at two smaller sizes and drawn out.
const planChunks = 400_000

// Predict plays the site, and returns what came of it. A file too large to be
// played in seconds is played at two smaller sizes: once the trees stand, time
// grows with the bytes. Drawn reports whether that was so; then Last, Median
// and WANBytes are drawn out, and the rest is of the larger of the two.
func (c Site) Predict() (o Outcome, drawn bool, err error) {
	chunks := 0
	for _, n := range c.Sizes {
		chunks += load.Geometry{Size: n}.Chunks()
	}
	most := planChunks / max(1, c.Devices)
	if chunks <= max(most, 200) || len(c.Sizes) != 1 {
		o, err = c.Play()
		return o, false, err
	}
	// Two sizes that are cut as the whole is: the same bytes for each chunk
	// matter less than that the trees have time to stand.
	a, b := c, c
	b.Sizes = []int64{int64(max(most, 200)) * load.MinChunkSize}
	a.Sizes = []int64{b.Sizes[0] / 2}
	x, err := a.Play()
	if err != nil {
		return x, true, err
	}
	if o, err = b.Play(); err != nil {
		return o, true, err
	}
	k := float64(c.Size()-b.Sizes[0]) / float64(b.Sizes[0]-a.Sizes[0])
	more := func(p, q time.Duration) time.Duration { return q + time.Duration(k*float64(q-p)) }
	o.Last, o.Median = more(x.Last, o.Last), more(x.Median, o.Median)
	o.WANBytes += int64(k * float64(o.WANBytes-x.WANBytes))
	o.Size, o.Bound = c.Size(), c.Bound()
	o.Violations = append(x.Violations, o.Violations...)
	return o, true, nil
}

func seconds(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
