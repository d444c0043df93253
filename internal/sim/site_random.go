package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// RandomSite is a site of up to twenty devices with up to three faults, drawn
// from a seed.
type RandomSite struct {
	s     *Sim
	sub   *Subnet
	files []*File
	rnd   *rand.Rand
	told  []string
	// What the faults allow: the server failed for a while, peers lied, a
	// network that loses or splits.
	badServer, liars, badNet, crashes, leaves, slow, jumps bool
}

// NewRandomSite draws a site and its faults. Trace, if not nil, gets a line for
// each event.
func NewRandomSite(seed uint64, trace Tracer) *RandomSite { return newRandomSite(seed, trace, anyWAN) }

// newRandomSite draws a site with a WAN that is drawn as is said.
func newRandomSite(seed uint64, trace Tracer, wan func(*rand.Rand) float64) *RandomSite {
	r := &RandomSite{rnd: rand.New(rand.NewPCG(seed, 0x73697465))}
	cfg := Config{Seed: seed, Overhead: overhead, Trace: trace}
	if r.rnd.IntN(12) == 0 {
		cfg.Profile = pdp.Classic()
		r.tell("classic")
	} else if seed%2 == 0 {
		cfg.Profile = pdp.LAN()
		cfg.Profile.Transfer.Stripes = 2
		r.tell("two trees")
	}
	r.s = New(cfg)
	r.sub = r.s.Subnet(SubnetConfig{
		LAN: 100e6, WAN: wan(r.rnd), RTT: r.ms(200),
		Latency: 100*time.Microsecond + r.ms(2), Jitter: r.ms(3),
	})
	if r.rnd.IntN(3) == 0 {
		r.sub.cfg.Loss = r.rnd.Float64() * 0.15
		r.sub.cfg.Duplicate = r.rnd.Float64() * 0.1
		r.badNet = true
		r.tell("loss %.2f", r.sub.cfg.Loss)
	}
	r.sub.Server.NoRange = r.rnd.IntN(6) == 0
	r.sub.Server.NoLength = r.rnd.IntN(6) == 0
	r.tell("server without ranges %v, without lengths %v", r.sub.Server.NoRange, r.sub.Server.NoLength)
	r.files = append(r.files, r.file(0))
	if r.rnd.IntN(4) == 0 {
		r.files = append(r.files, r.file(1))
	}
	r.devices(1 + r.rnd.IntN(20))
	for range r.rnd.IntN(4) {
		r.fault()
	}
	return r
}

// anyWAN draws the rate of a WAN log-uniformly from 12 kbit/s to 200 Mbit/s.
func anyWAN(rnd *rand.Rand) float64 {
	const least, most = 12e3, 200e6
	return least * math.Pow(most/least, rnd.Float64())
}

// thin reports whether the WAN takes long for what comes at once: a chunk, or the
// file where the server has no ranges or files are passed on whole. Then a device does
// not wait for the end of another's direct download.
func (r *RandomSite) thin() bool {
	n := 0.0
	for _, f := range r.files {
		one := float64(min(f.Size, int64(f.geo.ChunkSize())))
		if r.sub.Server.NoRange || r.s.cfg.Profile.Transfer.WholeFiles {
			one = float64(f.Size)
		}
		n = max(n, one)
	}
	return n*8/r.sub.cfg.WAN > pdp.LAN().Transfer.Look.Seconds()
}

func (r *RandomSite) ms(most int) time.Duration {
	return time.Duration(r.rnd.Int64N(int64(most)*int64(time.Millisecond))) + 1
}

func (r *RandomSite) tell(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

// file draws a file that takes the WAN a minute at most: signed, or keyed by its
// digest alone, of known size or not, or known by its name only.
func (r *RandomSite) file(i int) *File {
	most := min(int64(r.sub.cfg.WAN/8*60), 8_000_000)
	f := NewFile(fmt.Sprintf("f%d", i), r.rnd.Int64N(most))
	switch r.rnd.IntN(6) {
	case 0:
		f.Signed = false
	case 1:
		f.Signed, f.Unsized = false, true
	case 2:
		f.Signed, f.Keyed, f.Unsized = false, false, true
	}
	r.tell("%s %d bytes signed %v keyed %v unsized %v", f.Name, f.Size, f.Signed, f.Keyed, f.Unsized)
	return f
}

func (r *RandomSite) devices(n int) {
	r.sub.Fill(n, r.files...)
	spread := r.ms(1)
	if r.rnd.IntN(2) == 0 {
		spread = r.ms(4000)
	}
	r.leaves = r.rnd.IntN(3) == 0
	for _, d := range r.sub.devices {
		d.Serial = len(r.files) > 1
		d.Leaves, d.Linger = r.leaves, 20*time.Second
		r.s.At(time.Duration(r.rnd.Int64N(int64(spread))), d.Start)
	}
	r.tell("%d devices over %v, leaves %v, %v", n, spread, r.leaves, r.sub.cfg)
}

func (r *RandomSite) any() *Device { return r.sub.devices[r.rnd.IntN(len(r.sub.devices))] }

func (r *RandomSite) fault() {
	at, d := r.ms(6000), r.any()
	r.drawFault(r.rnd.IntN(20), at, d)
}

func (r *RandomSite) drawFault(kind int, at time.Duration, d *Device) {
	switch kind {
	case 0:
		r.tell("%v crash %s", at, d)
		r.crashes = true
		r.s.At(at, d.Crash)
	case 1:
		r.tell("%v power off %s", at, d)
		r.crashes = true
		r.s.At(at, d.PowerOff)
	case 2:
		r.restart(at, d)
	case 3:
		long, mod := r.ms(8000), 2+r.rnd.IntN(3)
		r.tell("%v partition by %d for %v", at, mod, long)
		r.badNet = true
		r.s.At(at, func() { r.s.At(at+long, r.sub.Partition(Side(mod))) })
	case 4:
		long := r.ms(8000)
		r.tell("%v server fails for %v", at, long)
		r.badServer = true
		r.serverFault(at, long)
	case 5:
		r.tell("%s lies", d)
		r.liars = true
		d.Lies = func(i int) bool { return i%7 == 3 }
	case 6:
		adv := r.rnd.IntN(2) == 0
		r.tell("%v rogue root, advancing %v", at, adv)
		r.liar(at, NewRogueRoot(adv))
	case 7:
		r.falseHolder(at)
	case 8:
		d.Up, d.Down, r.slow = 3e6, 3e6, true
		r.tell("%s is slow", d)
	case 9, 10:
		long := r.ms(8000)
		r.badNet = true
		impair, what := r.sub.Deafen, "deaf"
		if kind == 10 {
			impair, what = r.sub.Mute, "mute"
		}
		r.tell("%v %s is %s for %v", at, d, what, long)
		r.s.At(at, func() { r.s.At(at+long, impair(d, 0.9)) })
	case 11:
		after := r.ms(5000)
		r.tell("everything is replayed after %v", after)
		r.liars = true
		r.sub.Replay(after)
	case 12:
		e := r.any()
		e.Peer.ID = d.Peer.ID
		r.tell("%s and %s carry one id", d, e)
	case 13, 14:
		r.fill(at, d)
	case 15, 16:
		long := r.ms(60_000)
		r.badNet = true // it hears nobody meanwhile
		if kind == 15 {
			r.tell("%v %s is stopped for %v", at, d, long)
			r.s.At(at, func() { d.Stop(long) })
			break
		}
		r.tell("%v %s is suspended for %v", at, d, long)
		r.s.At(at, func() { d.Suspend(long) })
	case 17:
		by := r.ms(7_200_000)
		if r.rnd.IntN(2) == 0 {
			by = -r.ms(5000)
		}
		r.tell("%v the clock of %s jumps by %v", at, d, by)
		r.jumps = true
		r.s.At(at, func() { d.Jump(by) })
	case 18:
		first := r.rnd.IntN(20)
		r.tell("the medium of %s loses chunks from %d on", d, first)
		r.crashes = true // and they come again
		d.Rots = func(i int) bool { return i%20 == first }
	case 19:
		long, p := r.ms(8000), 0.02+r.rnd.Float64()*0.1
		r.tell("%v for %v %.2f of all datagrams are altered", at, long, p)
		r.s.At(at, func() { r.sub.cfg.Corrupt = p })
		r.s.At(at+long, func() { r.sub.cfg.Corrupt = 0 })
		r.liars, r.badNet = true, true
	}
}

func (r *RandomSite) restart(at time.Duration, d *Device) {
	keep, power := r.rnd.IntN(2) == 0, r.rnd.IntN(2) == 0
	r.tell("%v restart %s, disk kept %v, power %v", at, d, keep, power)
	r.crashes = true
	r.s.At(at, func() {
		if power {
			d.PowerOff()
		} else {
			d.Crash()
		}
	})
	r.s.At(at+r.ms(3000), func() { d.Restart(keep) })
}

// fill fills a disk; it may have room again later, and the device then runs
// again.
func (r *RandomSite) fill(at time.Duration, d *Device) {
	again := r.rnd.IntN(2) == 0
	r.tell("%v disk of %s is full, again room %v", at, d, again)
	r.crashes = true
	r.s.At(at, func() { d.Full = true })
	if again {
		r.s.At(at+r.ms(20_000), func() {
			d.Full = false
			if d.ranFull() {
				d.Restart(true)
			}
		})
	}
}

func (r *RandomSite) falseHolder(at time.Duration) {
	f, all := r.files[0], r.rnd.IntN(2) == 0
	size := int64(0)
	if r.rnd.IntN(3) == 0 {
		size = 1 + r.rnd.Int64N(2*f.Size+2)
	}
	r.tell("%v liar that claims to hold all, its size %d, all wrong %v", at, size, all)
	r.liar(at, NewFalseHolder(size, func(i int) bool { return all || i%7 == 3 }))
}

func (r *RandomSite) liar(at time.Duration, is func(*Task, *rand.Rand) Actor) {
	r.liars = true
	x := r.sub.Device(r.files...)
	x.Liar = is
	r.s.At(at, x.Start)
}

func (r *RandomSite) serverFault(at, long time.Duration) {
	v := &r.sub.Server
	set := func(on bool) {}
	switch r.rnd.IntN(4) {
	case 0:
		set = func(on bool) { v.Down = on }
	case 1:
		set = func(on bool) { v.Dark = on }
	case 2:
		set = func(on bool) { v.Stalled = on }
	case 3:
		set = func(on bool) {
			v.TruncateAt = 0
			if on {
				v.TruncateAt = 5
			}
		}
	}
	r.s.At(at, func() { set(true) })
	r.s.At(at+long, func() { set(false); v.Wake() })
}

// String tells the site and its faults.
func (r *RandomSite) String() string { return strings.Join(r.told, "; ") }

// Play runs the site to its end and returns what is wrong; nothing is right.
func (r *RandomSite) Play() []string {
	r.s.cfg.AllowBudgetOverlap = r.badNet || r.liars || r.thin()
	r.s.Run(30 * time.Second) // whatever is to happen has happened
	var bad []string
	if !r.s.RunToEnd(15 * time.Minute) {
		bad = append(bad, "not all ended")
	}
	r.s.Run(r.s.now + 20*time.Second)
	bad = append(bad, r.s.CheckEnd()...)
	for _, d := range r.sub.devices {
		for _, t := range d.order {
			if d.On() && d.Liar == nil && t.failed != 0 && !r.badServer && !(t.full && t.failed == wire.ReasonDisk) {
				bad = append(bad, fmt.Sprintf("%s failed %s: %s", d, t.file.Name, t.failed))
			}
		}
	}
	if !r.badNet && !r.badServer && !r.liars && !r.crashes && !r.leaves && !r.slow && !r.jumps && !r.sub.Server.NoRange {
		var size int64
		for _, f := range r.files {
			size += f.Size
		}
		most := size + size/50 + 256<<10
		if r.thin() {
			// Each device may have looked at the line for a while, before it left that to
			// the peers.
			const look = 2 // seconds
			most += int64(r.sub.cfg.WAN/8*look) * int64(len(r.sub.devices)*len(r.files))
		}
		if r.sub.Server.Bytes > most {
			bad = append(bad, fmt.Sprintf("%d bytes over the WAN for %d", r.sub.Server.Bytes, size))
		}
	}
	return bad
}
