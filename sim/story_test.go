package sim

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func (sub *Subnet) root(f *File) *Device {
	for _, d := range sub.devices {
		if x := d.Task(f); d.on && x.m != nil && x.actor != nil && x.m.IsRoot() {
			return d
		}
	}
	return nil
}

func TestStories(t *testing.T) {
	type ctx struct {
		s   *Sim
		sub *Subnet
		f   *File
	}
	stories := []struct {
		name string
		n    int
		do   func(c *ctx)
	}{
		{"plain", 12, func(c *ctx) {}},
		{"root crash", 16, func(c *ctx) { c.s.At(3*time.Second, func() { c.sub.root(c.f).Crash() }) }},
		{"root power", 16, func(c *ctx) { c.s.At(3*time.Second, func() { c.sub.root(c.f).PowerOff() }) }},
		{"root crash x3", 16, func(c *ctx) {
			for i := range 3 {
				c.s.At(time.Duration(2+2*i)*time.Second, func() {
					if r := c.sub.root(c.f); r != nil {
						r.Crash()
					}
				})
			}
		}},
		{"root power x3", 16, func(c *ctx) {
			for i := range 3 {
				c.s.At(time.Duration(2+3*i)*time.Second, func() {
					if r := c.sub.root(c.f); r != nil {
						r.PowerOff()
					}
				})
			}
		}},
		{"late", 8, func(c *ctx) {
			d := c.sub.Device(c.f)
			c.s.At(20*time.Second, d.Start)
		}},
		{"late mid", 8, func(c *ctx) {
			d := c.sub.Device(c.f)
			c.s.At(4*time.Second, d.Start)
		}},
		{"partition", 8, func(c *ctx) {
			heal := c.sub.Partition(func(d *Device) bool { return d.number%2 == 0 })
			c.s.At(3*time.Second, heal)
		}},
		{"partition mid", 8, func(c *ctx) {
			c.s.At(2*time.Second, func() {
				heal := c.sub.Partition(func(d *Device) bool { return d.number%2 == 0 })
				c.s.At(6*time.Second, heal)
			})
		}},
		{"liar parent", 8, func(c *ctx) {
			for i := range 3 {
				c.sub.devices[i].Lies = func(i int) bool { return i > 20 }
			}
		}},
		{"rogue root", 8, func(c *ctx) { c.sub.Device(c.f).Liar = NewRogueRoot(false) }},
		{"rogue root adv", 8, func(c *ctx) { c.sub.Device(c.f).Liar = NewRogueRoot(true) }},
		{"origin down", 8, func(c *ctx) { c.sub.Server.Down = true }},
		{"origin dark", 8, func(c *ctx) { c.sub.Server.Dark = true }},
		{"origin missing", 8, func(c *ctx) { c.sub.Server.Missing = true }},
		{"origin down 100", 100, func(c *ctx) { c.sub.Server.Down = true }},
		{"origin dark 100", 100, func(c *ctx) { c.sub.Server.Dark = true }},
		{"origin missing 100", 100, func(c *ctx) { c.sub.Server.Missing = true }},
		{"origin altered", 8, func(c *ctx) { c.sub.Server.Altered = func(i int) bool { return i == 50 } }},
		{"origin truncates", 8, func(c *ctx) { c.sub.Server.TruncateAt = 100 }},
		{"origin stalls 3s", 8, func(c *ctx) {
			c.s.At(3*time.Second, func() { c.sub.Server.Stalled = true })
			c.s.At(6*time.Second, func() { c.sub.Server.Stalled = false; c.sub.Server.Wake() })
		}},
		{"origin stalls 12s", 8, func(c *ctx) {
			c.s.At(3*time.Second, func() { c.sub.Server.Stalled = true })
			c.s.At(15*time.Second, func() { c.sub.Server.Stalled = false; c.sub.Server.Wake() })
		}},
		{"dup ids", 8, func(c *ctx) { c.sub.devices[3].Peer.ID = c.sub.devices[4].Peer.ID }},
		{"interior crash", 16, func(c *ctx) {
			c.s.At(3*time.Second, func() {
				r := c.sub.root(c.f)
				for _, d := range c.sub.devices {
					if d.Task(c.f).parent() == r.Task(c.f) {
						d.Crash()
						return
					}
				}
			})
		}},
		{"interior power", 16, func(c *ctx) {
			c.s.At(3*time.Second, func() {
				r := c.sub.root(c.f)
				for _, d := range c.sub.devices {
					if d.Task(c.f).parent() == r.Task(c.f) {
						d.PowerOff()
						return
					}
				}
			})
		}},
		{"loss 20%", 32, func(c *ctx) { c.sub.cfg.Loss = 0.2 }},
		{"slow device", 16, func(c *ctx) { c.sub.devices[5].Up, c.sub.devices[5].Down = 5e6, 5e6 }},
		{"slow uplink", 16, func(c *ctx) {
			for _, i := range []int{3, 5, 7} {
				c.sub.devices[i].Up = 1e6
			}
		}},
		{"slow disk", 16, func(c *ctx) { c.sub.devices[5].Slow = 400 }},
		{"no range kill", 16, func(c *ctx) {
			c.sub.Server.NoRange = true
			c.s.At(3*time.Second, func() { c.sub.root(c.f).Crash() })
		}},
		{"isolated", 8, func(c *ctx) {
			c.s.cfg.AllowBudgetOverlap = true
			c.sub.AddFilter(Filter{Cut: func(a, b *Device) bool { return true }})
		}},
		{"udp only", 8, func(c *ctx) {
			for _, d := range c.sub.devices {
				d.Up = 1 // no bytes get through a link
			}
		}},
		{"lan bound", 16, func(c *ctx) {
			c.sub.cfg.WAN = 200e6
			for _, d := range c.sub.devices {
				d.Up, d.Down = 50e6, 50e6
			}
		}},
		{"unsigned", 16, func(c *ctx) { c.f.Signed = false; c.f.Unsized = true }},
		{"unsigned liar", 16, func(c *ctx) {
			c.f.Signed = false
			c.sub.devices[4].Lies = func(i int) bool { return i == 50 }
			c.sub.devices[5].Lies = func(i int) bool { return i == 50 }
		}},
		{"unsigned altered", 4, func(c *ctx) {
			c.f.Signed = false
			c.sub.Server.Altered = func(i int) bool { return i == 50 }
		}},
		{"unkeyed replaced", 8, func(c *ctx) {
			c.f.Signed, c.f.Keyed, c.f.Unsized = false, false, true
			c.s.At(3*time.Second, func() { c.sub.Server.Replace(); c.sub.root(c.f).Crash() })
		}},
		{"restart all", 8, func(c *ctx) {
			c.s.At(3*time.Second, func() {
				for _, d := range c.sub.devices {
					d.Crash()
				}
			})
			c.s.At(5*time.Second, func() {
				for _, d := range c.sub.devices {
					d.Restart(true)
				}
			})
		}},
		{"leaves", 16, func(c *ctx) {
			for _, d := range c.sub.devices {
				d.Leaves, d.Linger = true, 60*time.Second
			}
		}},
	}
	for _, st := range stories {
		for seed := range uint64(2) {
			s, sub, f := site(seed, st.n)
			if os.Getenv("TRACE") == fmt.Sprint(st.name, seed) {
				s.cfg.Trace = os.Stderr
			}
			c := &ctx{s, sub, f}
			st.do(c)
			for _, d := range sub.devices[:st.n] {
				d.Start()
			}
			for _, d := range sub.devices[st.n:] {
				if d.Liar != nil {
					d.Start()
				}
			}
			if st.name[0] == 'l' && st.name[1] == 'a' {
				s.Run(21 * time.Second)
			}
			s.Run(7 * time.Second)
			ok := s.RunToEnd(300 * time.Second)
			end := s.now
			s.Run(s.now + 5*time.Second)
			var last, lastFail time.Duration
			direct, fails := 0, 0
			for _, d := range sub.devices {
				x := d.Task(f)
				if x.failed != 0 {
					fails++
				}
				last = max(last, x.Done)
			}
			_ = lastFail
			for _, o := range sub.Opened {
				if o.Direct {
					direct++
				}
			}
			fmt.Printf("%-18s ok=%v end=%.2f last=%.3f fails=%d wan=%.3f bc=%d uni=%d opens=%d direct=%d %v\n", st.name, ok, end.Seconds(), last.Seconds(), fails,
				float64(sub.Server.Bytes)/20e6, len(sub.Broadcasts), sub.Unicasts, len(sub.Opened), direct, s.CheckEnd())
		}
	}
}
