package sim

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// startAll switches all devices on.
func startAll(sub *Subnet) {
	for _, d := range sub.devices {
		d.Start()
	}
}

// atRoot does something to whoever is root at a time.
func (c *story) atRoot(at time.Duration, f func(*Device)) {
	c.s.At(at, func() {
		if r := c.sub.root(c.f); r != nil {
			f(r)
		}
	})
}

// story is a site of n devices, WAN 20 and LAN 100 Mbit/s, that want 20 MB:
// 8.39 s with headers. What happens to it, and what must come of it.
type story struct {
	name string
	n    int
	do   func(c *story)
	// last is when every device must have ended, wan the most WAN bytes per
	// byte of the file; fail the reason with which all must end instead.
	last time.Duration
	wan  float64
	fail wire.Reason

	s   *Sim
	sub *Subnet
	f   *File
}

func sec(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

var stories = []story{
	{name: "nothing happens", n: 12, do: func(*story) {}, last: sec(8.6), wan: 1.001},
	{name: "root crashes", n: 16, last: sec(9.3), wan: 1.02, do: func(c *story) { c.atRoot(sec(3), (*Device).Crash) }},
	{name: "root loses power", n: 16, last: sec(11), wan: 1.02,
		do: func(c *story) { c.atRoot(sec(3), (*Device).PowerOff) }},
	{name: "three roots crash", n: 16, last: sec(10.6), wan: 1.05, do: func(c *story) {
		for i := range 3 {
			c.atRoot(sec(2+2*float64(i)), (*Device).Crash)
		}
	}},
	{name: "three roots lose power", n: 16, last: sec(15), wan: 1.05, do: func(c *story) {
		for i := range 3 {
			c.atRoot(sec(2+3*float64(i)), (*Device).PowerOff)
		}
	}},
	{name: "root quits half way", n: 16, last: sec(9), wan: 1.02, do: func(c *story) { c.atRoot(sec(3), (*Device).Quit) }},
	{name: "no ranges, root crashes", n: 16, last: sec(12.3), wan: 1.36, do: func(c *story) {
		c.sub.Server.NoRange = true
		c.atRoot(sec(3), (*Device).Crash)
	}},
	{name: "interior parent crashes", n: 16, last: sec(8.8), wan: 1.001, do: func(c *story) {
		c.s.At(sec(3), func() { c.sub.belowRoot(c.f).Crash() })
	}},
	{name: "interior parent loses power", n: 16, last: sec(8.8), wan: 1.001, do: func(c *story) {
		c.s.At(sec(3), func() { c.sub.belowRoot(c.f).PowerOff() })
	}},
	{name: "all restart with their disks", n: 8, last: sec(11), wan: 1.02, do: func(c *story) {
		c.s.At(sec(3), func() {
			for _, d := range c.sub.devices {
				d.PowerOff()
			}
		})
		c.s.At(sec(5), func() {
			for _, d := range c.sub.devices {
				d.Restart(true)
			}
		})
	}},
	{name: "late device", n: 8, last: sec(21.9), wan: 1.0001,
		do: func(c *story) { c.s.At(sec(20), c.sub.Device(c.f).Start) }},
	{name: "device joins half way", n: 8, last: sec(8.6), wan: 1.001,
		do: func(c *story) { c.s.At(sec(4), c.sub.Device(c.f).Start) }},
	{name: "newcomers while the root is dead", n: 16, last: sec(11.5), wan: 1.05, do: func(c *story) {
		c.atRoot(sec(3), (*Device).PowerOff)
		for i := range 12 {
			c.s.At(sec(3.02+float64(i)/6), c.sub.Device(c.f).Start)
		}
	}},
	{name: "newcomers while the root crashes", n: 16, last: sec(9.4), wan: 1.05, do: func(c *story) {
		c.atRoot(sec(3), (*Device).Crash)
		for i := range 20 {
			c.s.At(sec(2.9+float64(i)/40), c.sub.Device(c.f).Start)
		}
	}},
	{name: "two halves meet", n: 8, last: sec(10.5), wan: 1.2,
		do: func(c *story) { c.s.At(sec(3), c.sub.Partition(Side(2))) }},
	{name: "split half way", n: 8, last: sec(12), wan: 1.45, do: func(c *story) {
		c.s.At(sec(2), func() { c.s.At(sec(6), c.sub.Partition(Side(2))) })
	}},
	{name: "parents send wrong chunks", n: 8, last: sec(9.5), wan: 1.1, do: func(c *story) {
		for i := range 3 {
			c.sub.devices[i].Lies = func(i int) bool { return i > 20 }
		}
	}},
	{name: "rogue root", n: 8, last: sec(17), wan: 1.02, do: func(c *story) { c.rogue(false) }},
	{name: "rogue root that claims to advance", n: 8, last: sec(16), wan: 1.02, do: func(c *story) { c.rogue(true) }},
	{name: "rogue root with another content", n: 8, last: sec(20), wan: 1.2, do: func(c *story) {
		c.f.Signed, c.f.Keyed, c.f.Unsized = false, false, true
		d := c.sub.Device(c.f)
		d.Liar = func(t *Task, _ *rand.Rand) Actor { return &RogueRoot{t: t, Epoch: 9} }
		c.s.At(sec(3), d.Start)
	}},
	{name: "claims are replayed", n: 8, last: sec(11.5), wan: 1.1, do: func(c *story) {
		c.sub.Replay(sec(2))
		c.atRoot(sec(3), (*Device).Crash)
	}},
	{name: "one id twice", n: 8, last: sec(8.6), wan: 1.001,
		do: func(c *story) { c.sub.devices[3].Peer.ID = c.sub.devices[4].Peer.ID }},
	{name: "a fifth of all datagrams lost", n: 32, last: sec(9.2), wan: 1.05, do: func(c *story) { c.sub.cfg.Loss = 0.2 }},
	{name: "slow device", n: 16, last: sec(36), wan: 1.001,
		do: func(c *story) { c.sub.devices[5].Up, c.sub.devices[5].Down = 5e6, 5e6 }},
	{name: "slow uplinks", n: 16, last: sec(15), wan: 1.6, do: func(c *story) {
		for _, i := range []int{3, 5, 7} {
			c.sub.devices[i].Up = 1e6
		}
	}},
	{name: "slow readers in both slots of the root", n: 8, last: sec(15), wan: 1.02, do: func(c *story) {
		c.s.At(sec(0.5), func() {
			r := c.sub.root(c.f)
			for _, d := range c.sub.devices {
				if x := d.Task(c.f); x.parent(0) == r.Task(c.f) || x.parent(1) == r.Task(c.f) {
					d.Down = 1
					c.s.At(sec(14.9), d.PowerOff)
				}
			}
		})
	}},
	{name: "nobody hears another", n: 8, last: sec(68), wan: 8.01, do: func(c *story) {
		c.sub.AddFilter(Filter{Cut: func(a, b *Device) bool { return true }})
	}},
	{name: "links do not work", n: 8, last: sec(90), wan: 8.1, do: func(c *story) {
		for _, d := range c.sub.devices {
			d.Up = 1
		}
	}},
	{name: "server absent", n: 100, last: sec(15), fail: wire.ReasonOriginUnreachable,
		do: func(c *story) { c.sub.Server.Down = true }},
	// Each device waits for the answer itself, three times.
	{name: "server silent", n: 100, last: sec(40), fail: wire.ReasonOriginUnreachable,
		do: func(c *story) { c.sub.Server.Dark = true }},
	{name: "no such file", n: 100, last: sec(15), fail: wire.ReasonOriginNotFound,
		do: func(c *story) { c.sub.Server.Missing = true }},
	{name: "server's file is wrong", n: 8, last: sec(15), wan: 0.4, fail: wire.ReasonOriginWrong, do: func(c *story) {
		c.sub.Server.Altered = func(i int) bool { return i == 50 }
	}},
	{name: "server truncates", n: 8, last: sec(15), wan: 0.4, fail: wire.ReasonOriginTruncated,
		do: func(c *story) { c.sub.Server.TruncateAt = 100 }},
	{name: "server stalls for 3 s", n: 8, last: sec(12), wan: 1.001, do: func(c *story) { c.stall(3) }},
	{name: "server stalls for 12 s", n: 8, last: sec(22), wan: 1.05, do: func(c *story) { c.stall(12) }},
	{name: "unsigned, size unknown", n: 16, last: sec(8.6), wan: 1.001,
		do: func(c *story) { c.f.Signed, c.f.Unsized = false, true }},
	{name: "unsigned, parents alter", n: 16, last: sec(9.2), wan: 1.001, do: func(c *story) {
		c.f.Signed = false
		c.sub.devices[4].Lies = func(i int) bool { return i == 50 }
		c.sub.devices[5].Lies = func(i int) bool { return i == 50 }
	}},
	// Each device has to find that out itself: no word of a peer makes it give up.
	{name: "unsigned, server's file is wrong", n: 12, last: sec(120), wan: 13.03, fail: wire.ReasonOriginWrong,
		do: func(c *story) {
			c.f.Signed = false
			c.sub.Server.Altered = func(i int) bool { return i == 50 }
		}},
	{name: "another content under the name", n: 24, last: sec(12.4), wan: 1.36, do: func(c *story) {
		c.f.Signed, c.f.Keyed, c.f.Unsized = false, false, true
		c.s.At(sec(3), func() { c.sub.Server.Replace(); c.sub.root(c.f).Crash() })
	}},
	{name: "root's disk is full", n: 16, last: sec(9), wan: 1.02, do: func(c *story) { c.atRoot(sec(3), fill) }},
	{name: "an inner device's disk is full", n: 16, last: sec(8.8), wan: 1.001, do: func(c *story) {
		c.s.At(sec(3), func() { fill(c.sub.belowRoot(c.f)) })
	}},
	{name: "all disks are full", n: 8, last: sec(6), wan: 0.4, fail: wire.ReasonDisk, do: func(c *story) {
		c.s.At(sec(3), func() {
			for _, d := range c.sub.devices {
				d.Full = true
			}
		})
	}},
	{name: "a full disk has room again", n: 8, last: sec(14), wan: 1.02, do: func(c *story) {
		d := c.sub.devices[5]
		c.s.At(sec(3), func() { d.Full = true })
		c.s.At(sec(12), func() {
			if !d.Task(c.f).full || d.Task(c.f).store.n == 0 {
				c.s.violate("%s ran on, or lost what it held", d)
			}
			d.Full = false
			d.Restart(true)
		})
	}},
	{name: "no room from the start", n: 8, last: sec(8.8), wan: 1.001,
		do: func(c *story) { c.sub.devices[2].Full = true }},
	{name: "a medium that loses chunks", n: 8, last: sec(11), wan: 1.02, do: func(c *story) {
		c.s.At(sec(3), func() { c.sub.belowRoot(c.f).Rots = func(i int) bool { return i%50 == 7 } })
	}},
	{name: "the root's medium loses chunks", n: 8, last: sec(18), wan: 2, do: func(c *story) {
		c.atRoot(sec(3), func(d *Device) { d.Rots = func(i int) bool { return i%50 == 7 } })
	}},
	{name: "root is stopped for 20 s", n: 16, last: sec(26), wan: 1.3, do: func(c *story) {
		c.atRoot(sec(3), func(d *Device) { d.Stop(20 * time.Second) })
	}},
	{name: "all are stopped for an hour", n: 8, last: sec(3620), wan: 1.7, do: func(c *story) {
		// In one of three runs two devices fetch the rest: the old failures of the
		// others are known, and each checks the origin itself.
		c.s.At(sec(3), func() {
			for _, d := range c.sub.devices {
				d.Stop(time.Hour)
			}
		})
	}},
	{name: "half are suspended for an hour", n: 8, last: sec(3620), wan: 1.1, do: func(c *story) {
		c.s.At(sec(3), func() {
			for _, d := range c.sub.devices[:4] {
				d.Suspend(time.Hour)
			}
		})
	}},
	{name: "clocks leap by an hour", n: 16, last: sec(12), wan: 1.1, do: func(c *story) {
		c.s.At(sec(3), func() {
			for _, d := range c.sub.devices[:8] {
				d.Jump(time.Hour)
			}
		})
	}},
	{name: "clocks go back", n: 16, last: sec(14), wan: 1.3, do: func(c *story) {
		c.s.At(sec(3), func() {
			for _, d := range c.sub.devices[:8] {
				d.Jump(-2 * time.Second)
			}
		})
	}},
	{name: "no table, a liar claims to hold all", n: 8, last: sec(28), wan: 1.02, do: func(c *story) {
		c.f.Signed, c.f.Unsized = false, true
		c.falseHolder(0, 0, 50)
	}},
	{name: "no table, a liar claims all and a smaller size", n: 3, last: sec(14), wan: 1.02, do: func(c *story) {
		c.f.Signed, c.f.Unsized = false, true
		c.falseHolder(0, c.f.Size/2, -1)
	}},
	{name: "no table, a liar claims all and a larger size", n: 3, last: sec(18), wan: 1.02, do: func(c *story) {
		c.f.Signed, c.f.Unsized = false, true
		c.falseHolder(0, c.f.Size*3/2, -1)
	}},
	{name: "no table, a liar comes later", n: 3, last: sec(20), wan: 1.4, do: func(c *story) {
		c.f.Signed, c.f.Unsized = false, true
		c.falseHolder(sec(3), c.f.Size*3/2, -1)
	}},
	{name: "no table, a liar claims that the file is empty", n: 8, last: sec(9), wan: 1.02, do: func(c *story) {
		c.f.Signed, c.f.Unsized = false, true
		d := c.sub.Device(c.f)
		d.Liar = func(t *Task, _ *rand.Rand) Actor {
			f := *t.file
			f.Size, f.geo = 0, load.Geometry{}
			t.file = &f
			return &RogueRoot{t: t}
		}
		d.Start()
	}},
	{name: "no table, a liar sends garbage and says the server's file is wrong", n: 8, last: sec(30), wan: 2.2,
		do: func(c *story) {
			c.f.Signed, c.f.Unsized = false, true
			c.resigner(NewFalseHolder(0, func(int) bool { return true }), wire.ReasonOriginWrong, 0, 3*time.Second)
		}},
	{name: "no table, a liar sends garbage and steps down before it is asked for one", n: 8, last: sec(30), wan: 2.2,
		do: func(c *story) {
			c.f.Signed, c.f.Unsized = false, true
			c.resigner(NewFalseHolder(0, func(int) bool { return true }), wire.ReasonOriginWrong, 0, 250*time.Millisecond)
		}},
	{name: "a liar asks for the longest back-off again and again", n: 8, last: sec(30), wan: 2.2,
		do: func(c *story) {
			c.resigner(NewRogueRoot(false), wire.ReasonOriginOther, time.Hour, 500*time.Millisecond)
		}},
	{name: "a liar says again and again that the server is gone", n: 8, last: sec(30), wan: 2.2,
		do: func(c *story) {
			c.resigner(NewRogueRoot(false), wire.ReasonOriginUnreachable, time.Hour, 500*time.Millisecond)
		}},
	{name: "the server fails for a moment, a liar says that the file is missing", n: 8, last: sec(30), wan: 2.2,
		do: func(c *story) {
			c.sub.Server.Down = true
			c.s.At(sec(1.5), func() { c.sub.Server.Down = false })
			c.resigner(NewRogueRoot(false), wire.ReasonOriginNotFound, 0, 500*time.Millisecond)
		}},
	{name: "a liar forges refusals of members that yield", n: 8, last: sec(10), wan: 1.02, do: func(c *story) {
		forged := liar.Rule{On: liar.OnTime, Every: 50 * time.Millisecond, Chance: 1, Do: liar.DoAsk, As: liar.AsNew,
			To: liar.ToRoot}
		forged.Lies[8], forged.Lies[9] = liar.Lie{Mode: liar.Random}, liar.Lie{Mode: liar.Fixed, N: int64(wire.ReasonYields)}
		c.liar(forged)
	}},
	{name: "a liar complains of the root", n: 8, last: sec(10), wan: 1.02, do: func(c *story) {
		forged := liar.Rule{On: liar.OnTime, Every: 50 * time.Millisecond, Chance: 1, Do: liar.DoAsk, As: liar.AsNew,
			To: liar.ToRoot}
		forged.Lies[8] = liar.Lie{Mode: liar.Most}
		forged.Lies[9] = liar.Lie{Mode: liar.Fixed, N: int64(wire.ReasonParentSlow)}
		c.liar(forged)
	}},
	{name: "a liar resigns in the root's name", n: 8, last: sec(10), wan: 1.02, do: func(c *story) {
		c.liar(liar.Rule{On: liar.OnTime, Every: 100 * time.Millisecond, Chance: 1, Do: liar.DoResign, As: liar.AsRoot})
	}},
	{name: "a liar serves a chunk a second", n: 8, last: sec(30), wan: 1.1, do: func(c *story) {
		c.liar(asHolder(liar.Rule{On: liar.OnTime, Every: time.Second, Chance: 1, Do: liar.DoChunk})...)
	}},
	{name: "a liar serves a chunk a second, and devices leave once they are done", n: 4, last: sec(30), wan: 2.2,
		do: func(c *story) {
			for _, d := range c.sub.devices {
				d.Leaves = true
			}
			c.liar(asHolder(liar.Rule{On: liar.OnTime, Every: time.Second, Chance: 1, Do: liar.DoChunk})...)
		}},
	{name: "a liar claims to hold all and the budget", n: 8, last: sec(16), wan: 1.02, do: func(c *story) {
		direct := liar.Rule{On: liar.OnTime, Every: 300 * time.Millisecond, Chance: 1, Do: liar.DoDirect}
		direct.Lies[2] = liar.Lie{Mode: liar.Grows, N: 100_000}
		c.liar(asHolder(direct)...)
	}},
	{name: "a liar tells another size on its links", n: 8, last: sec(10), wan: 1.02, do: func(c *story) {
		c.f.Signed, c.f.Unsized = false, true
		rules := asHolder()
		rules[2].Lies[1] = liar.Lie{Mode: liar.Fixed, N: 2 << 20}
		c.liar(rules...)
	}},
	{name: "a liar says that its children stand above it", n: 8, last: sec(10), wan: 1.02, do: func(c *story) {
		path := liar.Rule{On: liar.OnAccepted, Every: 10 * time.Millisecond, Chance: 1, Do: liar.DoPath}
		path.Lies[0] = liar.Lie{Mode: liar.Most}
		c.liar(asHolder(path)...)
	}},
	{name: "a liar dials the root again and again", n: 8, last: sec(10), wan: 1.02, do: func(c *story) {
		dial := liar.Rule{On: liar.OnTime, Every: 500 * time.Millisecond, Chance: 1, Do: liar.DoDial}
		dial.Lies[0] = liar.Lie{Mode: liar.Most}
		c.liar(dial)
	}},
	{name: "signed, a liar claims all and another size", n: 8, last: sec(9.5), wan: 1.1, do: func(c *story) {
		c.falseHolder(sec(3), c.f.Size/2, -1)
	}},
	{name: "no table, the server tells no length", n: 16, last: sec(8.8), wan: 1.001, do: func(c *story) {
		c.f.Signed, c.f.Unsized = false, true
		c.sub.Server.NoLength = true
	}},
	{name: "no table, the server tells a size that is too large", n: 16, last: sec(16), wan: 1.001, do: func(c *story) {
		c.toldSize(c.f.Size + 5<<20)
	}},
	{name: "no table, the server tells a size that is too small", n: 16, last: sec(16), wan: 1.51, do: func(c *story) {
		c.toldSize(c.f.Size / 2)
	}},
	{name: "no table, too large a size, and the root crashes", n: 16, last: sec(18), wan: 1.6, do: func(c *story) {
		c.toldSize(c.f.Size + 5<<20)
		c.atRoot(sec(4), (*Device).Crash)
	}},
	{name: "no table, too small a size, and the root crashes", n: 16, last: sec(20), wan: 2.1, do: func(c *story) {
		c.toldSize(c.f.Size / 2)
		c.atRoot(sec(3), (*Device).Crash)
	}},
	{name: "no table, too small a size, and the root crashes after it", n: 16, last: sec(22), wan: 2.1,
		do: func(c *story) {
			c.toldSize(c.f.Size / 2)
			c.atRoot(sec(6), (*Device).Crash)
		}},
	{name: "datagrams are altered", n: 8, last: sec(20), wan: 1.5, do: func(c *story) {
		c.sub.cfg.Corrupt = 0.05
		c.s.At(sec(6), func() { c.sub.cfg.Corrupt = 0 })
	}},
	{name: "all leave when idle", n: 16, last: sec(8.7), wan: 1.001, do: func(c *story) {
		for _, d := range c.sub.devices {
			d.Leaves, d.Linger = true, time.Minute
		}
	}},
	{name: "classic profile", n: 12, last: sec(33), wan: 1.001, do: func(c *story) { c.s.cfg.Profile = pdp.Classic() }},
}

func (c *story) rogue(advancing bool) {
	d := c.sub.Device(c.f)
	d.Liar = NewRogueRoot(advancing)
	d.Start()
}

// falseHolder starts a liar that claims to hold everything; altered is its wrong
// chunk, all of them if negative.
func (c *story) falseHolder(at time.Duration, size int64, altered int) {
	d := c.sub.Device(c.f)
	d.Liar = NewFalseHolder(size, func(i int) bool { return altered < 0 || i == altered })
	c.s.At(at, d.Start)
}

// liar starts a liar with rules.
func (c *story) liar(rules ...liar.Rule) {
	for _, d := range playLiar(liar.Program{Faces: 1, Rules: rules}, c.sub, []*File{c.f}) {
		d.Start()
	}
}

// asHolder is a liar that claims to hold the whole file, places who asks below itself and
// welcomes them, and does more.
func asHolder(more ...liar.Rule) []liar.Rule {
	claim := liar.Rule{On: liar.OnTime, Every: 100 * time.Millisecond, Chance: 1, Do: liar.DoClaim}
	for _, i := range []int{0, 1, 2, 3, 5, 6, 7} {
		claim.Lies[i] = liar.Lie{Mode: liar.Most}
	}
	place := liar.Rule{On: liar.OnAsk, Every: 10 * time.Millisecond, Chance: 1, Do: liar.DoPlace, To: liar.ToSender}
	welcome := liar.Rule{On: liar.OnAccepted, Every: 10 * time.Millisecond, Chance: 1, Do: liar.DoWelcome}
	alive := liar.Rule{On: liar.OnTime, Every: 200 * time.Millisecond, Chance: 1, Do: liar.DoProgress}
	alive.Lies[0], alive.Lies[1] = liar.Lie{Mode: liar.Most}, liar.Lie{Mode: liar.Most}
	return append([]liar.Rule{claim, place, welcome, alive}, more...)
}

// resigner starts a liar that also resigns each so often.
func (c *story) resigner(liar func(*Task, *rand.Rand) Actor, why wire.Reason, backoff, every time.Duration) {
	d := c.sub.Device(c.f)
	d.Liar = NewResigner(liar, why, backoff, every)
	d.Start()
}

// toldSize has the server tell a size that the file does not have.
func (c *story) toldSize(n int64) {
	c.f.Signed, c.f.Unsized = false, true
	c.sub.Server.Told = n
}

func (c *story) stall(seconds float64) {
	c.s.At(sec(3), func() { c.sub.Server.Stalled = true })
	c.s.At(sec(3+seconds), func() { c.sub.Server.Stalled = false; c.sub.Server.Wake() })
}

func TestStories(t *testing.T) {
	for i, st := range stories {
		t.Run(st.name, func(t *testing.T) {
			if i%2 != 0 {
				tiers.Long(t, "a short run has every other story")
			}
			seeds := uint64(3)
			if underRace || testing.Short() {
				seeds = 1
			}
			for seed := range seeds {
				c := st
				c.s, c.sub, c.f = site(seed, c.n)
				c.s.cfg.AllowBudgetOverlap = true // two that begin at once are told in the random sites
				c.play(t, seed)
			}
		})
	}
}

func (c *story) play(t *testing.T, seed uint64) {
	first := c.sub.devices[:c.n]
	c.do(c)
	for _, d := range first {
		d.Start()
	}
	c.s.Run(c.last)
	if !c.s.RunToEnd(c.last) {
		t.Errorf("seed %d: not all have ended after %v", seed, c.last)
		for _, d := range c.sub.devices {
			if x := d.Task(c.f); d.on && !x.complete && !x.ended {
				t.Logf("%s: %s", d, x)
			}
		}
	}
	c.s.Run(c.last + 5*time.Second)
	for _, v := range c.s.CheckEnd() {
		t.Errorf("seed %d: %s", seed, v)
	}
	ratio, last := float64(c.sub.Server.Bytes)/float64(c.f.Size), time.Duration(0)
	if ratio > max(c.wan, 0.001) {
		t.Errorf("seed %d: %.3f of the file over the WAN, bound %.3f", seed, ratio, c.wan)
	}
	defer func() { t.Logf("seed %d: the last device after %.1f s, %.2f copies", seed, last.Seconds(), ratio) }()
	for _, d := range c.sub.devices {
		if d.on && d.Liar == nil {
			last = max(last, d.Task(c.f).Done)
		}
		if x := d.Task(c.f); d.on && d.Liar == nil && x.failed != c.fail && !(x.full && x.failed == wire.ReasonDisk) {
			t.Errorf("seed %d: %s ends with %s, not %s", seed, d, x.failed, c.fail)
		}
	}
}

// TestYield: a device in which somebody speaks is no root and has no children while
// others can be and have; where all yield they serve as ever, and one copy is enough.
func TestYield(t *testing.T) {
	for _, c := range []struct {
		name string
		at   time.Duration
		who  func(sub *Subnet, f *File) []*Device
		free bool // others have room, and are connected to the root when they are asked
		wan  float64
	}{
		{"the root", sec(3), func(sub *Subnet, f *File) []*Device { return []*Device{sub.root(f)} }, true, 1.02},
		{"a parent", sec(3), func(sub *Subnet, f *File) []*Device { return []*Device{sub.belowRoot(f)} }, true, 1.001},
		{"a third", sec(3), func(sub *Subnet, _ *File) []*Device { return sub.devices[:5] }, true, 1.02},
		{"a third, at the start", sec(0.2), func(sub *Subnet, _ *File) []*Device { return sub.devices[:5] }, false, 1.02},
		{"all but one", sec(3), func(sub *Subnet, _ *File) []*Device { return sub.devices[1:] }, false, 1.02},
		{"all", sec(3), func(sub *Subnet, _ *File) []*Device { return sub.devices }, false, 1.02},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, sub, f := site(5, 16)
			startAll(sub)
			var yield []*Device
			s.At(c.at, func() {
				yield = c.who(sub, f)
				for _, d := range yield {
					d.Yield(true)
				}
			})
			for now := c.at + sec(2); now < sec(7) && c.free; now += sec(0.5) {
				s.At(now, func() {
					for _, d := range yield {
						if n := d.Task(f).m.Status().Children; n > 0 || d == sub.root(f) {
							t.Errorf("at %v %s has %d children, root %v", now, d, n, d == sub.root(f))
						}
					}
				})
			}
			if !s.RunToEnd(sec(12)) || len(s.CheckEnd()) > 0 {
				t.Errorf("not all end, or not well: %v", s.CheckEnd())
			}
			if copies := float64(sub.Server.Bytes) / float64(f.Size); copies > c.wan {
				t.Errorf("%.3f copies", copies)
			}
		})
	}
}
