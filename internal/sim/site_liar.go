package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
)

// LiarSite is a site on which nothing is wrong but its liars, drawn from a seed.
// It is played twice: with the liars silent, and with them; what the second run
// takes longer and costs more is bounded.
type LiarSite struct {
	Seed uint64
	// Devices that are honest, and what they fetch.
	Devices                int
	Size                   int64
	Signed, Keyed, Unsized bool
	// WAN in bits per second, LAN of each port.
	WAN, LAN float64
	RTT      time.Duration
	Spread   time.Duration
	Classic  bool
	NoRange  bool
	NoLength bool
	Liars    []liar.Program
}

// The bounds of a site with one liar: how much later its last device may be done
// than where the liar is silent, at least, how many chunk times of the WAN if that
// is longer, and by how much the classic profile is slower to judge.
const (
	liarDelay    = 15 * time.Second
	liarChunks   = 3
	classicTimes = 6
)

// NewLiarSite draws a site. Its WAN is drawn log-uniformly from 12 kbit/s to 200
// Mbit/s, its file so that it takes the WAN a few minutes at most.
func NewLiarSite(seed uint64) *LiarSite {
	r := rand.New(rand.NewPCG(seed, 0x6c696172))
	c := &LiarSite{
		Seed: seed, Devices: []int{2, 4, 4, 4, 8, 16}[r.IntN(6)], LAN: 100e6, Signed: true, Keyed: true,
		WAN: anyWAN(r), RTT: time.Duration(1+r.IntN(200)) * time.Millisecond,
		NoRange: r.IntN(6) == 0, NoLength: r.IntN(6) == 0, Classic: r.IntN(12) == 0,
	}
	// From a tenth of a second to two minutes of the WAN, 8 MB at most.
	c.Size = int64(c.WAN / 8 * 0.1 * math.Pow(1200, r.Float64()))
	c.Size = min(max(c.Size, 1+r.Int64N(200_000)), 8_000_000)
	switch r.IntN(6) {
	case 0:
		c.Signed = false
	case 1:
		c.Signed, c.Unsized = false, true
	case 2:
		c.Signed, c.Keyed, c.Unsized = false, false, true
	}
	if r.IntN(2) == 0 {
		c.Spread = time.Duration(r.Int64N(int64(3 * time.Second)))
	}
	n := 1
	if r.IntN(8) == 0 {
		c.Devices = 1 + r.IntN(4)
		n = c.Devices + 1 + r.IntN(2)
	}
	for range n {
		c.Liars = append(c.Liars, liar.New(r))
	}
	return c
}

// LiarSiteOf is a site with one liar, drawn from a seed, whose devices fetch a file that
// is known by its digest alone: a site of real devices, as the simulator sees it.
func LiarSiteOf(seed uint64, devices int, size int64, wan, lan float64) *LiarSite {
	return &LiarSite{Seed: seed, Devices: devices, Size: size, Keyed: true, Unsized: true, WAN: wan, LAN: lan,
		RTT: time.Millisecond, Liars: []liar.Program{liar.New(rand.New(rand.NewPCG(seed, 0x6c696172)))}}
}

// Majority reports whether there are more liars than honest devices.
func (c *LiarSite) Majority() bool {
	n := 0
	for _, p := range c.Liars {
		n += p.Faces
	}
	return n > c.Devices
}

// String tells the site and its liars.
func (c *LiarSite) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d devices over %v, %d bytes, WAN %.0f bit/s, round trip %v",
		c.Devices, c.Spread, c.Size, c.WAN, c.RTT)
	fmt.Fprintf(&b, ", signed %v keyed %v unsized %v, classic %v, server without ranges %v, without lengths %v",
		c.Signed, c.Keyed, c.Unsized, c.Classic, c.NoRange, c.NoLength)
	for _, p := range c.Liars {
		fmt.Fprintf(&b, "\n%s", p)
	}
	return b.String()
}

// Run is what came of one run.
type Run struct {
	Last   time.Duration // when the last honest device was complete, from the start
	Copies float64       // of the file that crossed the WAN
	Bad    []string
}

// run plays the site with the given liars.
func (c *LiarSite) run(liars []liar.Program, limit time.Duration, trace Tracer) Run {
	cfg := Config{Seed: c.Seed, Overhead: overhead, Trace: trace, AllowBudgetOverlap: true}
	if c.Classic {
		cfg.Profile = pdp.Classic()
	}
	s := New(cfg)
	sub := s.Subnet(SubnetConfig{
		LAN: c.LAN, WAN: c.WAN, RTT: c.RTT, Latency: 200 * time.Microsecond, Jitter: time.Millisecond,
	})
	sub.Server.NoRange, sub.Server.NoLength = c.NoRange, c.NoLength
	f := NewFile("f", c.Size)
	f.Signed, f.Keyed, f.Unsized = c.Signed, c.Keyed, c.Unsized
	honest := make([]*Device, c.Devices)
	for i := range honest {
		honest[i] = sub.Device(f)
		s.At(time.Duration(s.rnd.Int64N(int64(c.Spread)+1)), honest[i].Start)
	}
	for _, p := range liars {
		playLiar(p, sub, []*File{f})
	}
	s.Run(c.Spread) // a device that has not started does not count as one that has not ended
	var h Run
	if !s.RunToEnd(limit) {
		h.Bad = append(h.Bad, fmt.Sprintf("not all ended within %v", limit))
	}
	for _, d := range honest {
		t := d.Task(f)
		h.Last = max(h.Last, t.Done)
		if t.failed != 0 {
			h.Bad = append(h.Bad, fmt.Sprintf("%s failed: %s", d, t.failed))
		}
	}
	h.Copies = float64(sub.Server.Bytes) / float64(max(c.Size, 1))
	h.Bad = append(h.Bad, s.faults...)
	return h
}

// chunk is how long the WAN takes for a chunk, or for the file if that is less.
func (c *LiarSite) chunk() time.Duration {
	n := min(c.Size, int64(load.Geometry{Size: c.Size}.ChunkSize()))
	return span(int(float64(n)*(1+overhead)), c.WAN)
}

// Bound returns how long a run may take that took so long with the liars silent,
// and how many copies may cross the WAN.
func (c *LiarSite) Bound(silent time.Duration) (last time.Duration, copies float64) {
	delay := liarDelay
	if c.Classic {
		delay *= classicTimes
	}
	last, copies = silent+max(delay, liarChunks*c.chunk()), 2
	if !c.Signed {
		// What is wrong shows when the whole has come, which then comes again.
		last, copies = last+silent, copies+1
	}
	if c.Majority() {
		// Each device may fetch all by itself, and follow a liar meanwhile: then the
		// chunk under way is cut off, and comes again.
		last, copies = 2*last, float64(c.Devices)+c.looks()
	}
	return last, copies + c.looks()
}

// looks is what it costs, in copies, that each honest device looks at the server
// once: a chunk.
func (c *LiarSite) looks() float64 {
	n := min(float64(load.Geometry{Size: c.Size}.ChunkSize()), float64(c.Size))
	return float64(c.Devices) * n / float64(max(c.Size, 1))
}

// Result is what came of both runs.
type Result struct {
	// Silent is the run in which the liars were silent, Lying the other.
	Silent, Lying Run
	// Delay is how much later the last device was done where they lied, Factor how
	// much of the bound that is: above 1 is wrong.
	Delay  time.Duration
	Factor float64
	Bad    []string
}

// Play plays both runs. Trace, if not nil, gets a line for each event of the
// second.
func (c *LiarSite) Play(trace Tracer) Result { return c.play(c.Liars, trace) }

func (c *LiarSite) play(liars []liar.Program, trace Tracer) Result {
	r := Result{Silent: c.run(nil, time.Hour, nil)}
	if len(r.Silent.Bad) > 0 {
		r.Bad = append(r.Bad, "liars silent: "+strings.Join(r.Silent.Bad, "; "))
		return r
	}
	last, copies := c.Bound(r.Silent.Last)
	r.Lying = c.run(liars, 3*last, trace)
	r.Delay = r.Lying.Last - r.Silent.Last
	r.Factor = max(float64(r.Delay)/float64(last-r.Silent.Last), r.Lying.Copies/copies)
	r.Bad = slices.Clone(r.Lying.Bad)
	if r.Lying.Last > last {
		r.Bad = append(r.Bad,
			fmt.Sprintf("done after %v, with the liars silent %v: at most %v", r.Lying.Last, r.Silent.Last, last))
	}
	if r.Lying.Copies > copies {
		r.Bad = append(r.Bad, fmt.Sprintf("%.2f copies over the WAN, with the liars silent %.2f: at most %.2f",
			r.Lying.Copies, r.Silent.Copies, copies))
	}
	return r
}

// Shrink leaves out of the liars what the failure does not need.
func (c *LiarSite) Shrink() *LiarSite {
	fails := func(liars []liar.Program) bool { return len(c.play(liars, nil).Bad) > 0 }
	best := slices.Clone(c.Liars)
	for i := 0; len(best) > 1 && i < len(best); {
		if less := slices.Delete(slices.Clone(best), i, i+1); fails(less) {
			best = less
		} else {
			i++
		}
	}
	for i := range best {
		for _, change := range shorter(best[i]) {
			p := best[i]
			p.Rules = slices.Clone(p.Rules)
			if !change(&p) {
				continue
			}
			try := slices.Clone(best)
			if try[i] = p; fails(try) {
				best = try
			}
		}
	}
	d := *c
	d.Liars = best
	return &d
}

// shorter returns changes that make a program simpler, to be tried in order.
// Each reports whether it changed anything.
func shorter(p liar.Program) (changes []func(*liar.Program) bool) {
	changes = append(changes,
		func(p *liar.Program) bool { was := p.Turns; p.Turns = 0; return was != 0 },
		func(p *liar.Program) bool { was := p.Faces; p.Faces = 1; return was != 1 },
		func(p *liar.Program) bool { was := p.Up; p.Up = 0; return was != 0 },
		func(p *liar.Program) bool { was := p.From; p.From = 0; return was != 0 })
	for i := len(p.Rules) - 1; i >= 0; i-- {
		changes = append(changes, func(p *liar.Program) bool {
			if i >= len(p.Rules) {
				return false
			}
			p.Rules = slices.Delete(p.Rules, i, i+1)
			return true
		})
	}
	for i := range p.Rules {
		changes = append(changes,
			func(p *liar.Program) bool {
				if i >= len(p.Rules) || p.Rules[i].Chance == 1 {
					return false
				}
				p.Rules[i].Chance = 1
				return true
			},
			func(p *liar.Program) bool {
				if i >= len(p.Rules) || p.Rules[i].Since == 0 && p.Rules[i].Until == 0 {
					return false
				}
				p.Rules[i].Since, p.Rules[i].Until = 0, 0
				return true
			})
		for k := range p.Rules[i].Lies {
			changes = append(changes, func(p *liar.Program) bool {
				if i >= len(p.Rules) || p.Rules[i].Lies[k] == (liar.Lie{}) {
					return false
				}
				p.Rules[i].Lies[k] = liar.Lie{}
				return true
			})
		}
	}
	return changes
}
