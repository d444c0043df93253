package carrier

import (
	"fmt"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// latest is when the last honest node that lives has got an order, after it was sent;
// false if one has not.
func latest(s *site, o *sent) (d time.Duration, all bool) {
	for _, x := range s.nodes {
		if x.dead || x.liar != nil || x.cut {
			continue
		}
		at, ok := o.got[x]
		if !ok {
			return 0, false
		}
		d = max(d, at-o.at)
	}
	return d, true
}

// want fails unless all have got an order within a time.
func want(t *testing.T, s *site, o *sent, most time.Duration) {
	t.Helper()
	if d, all := latest(s, o); !all || d > most {
		t.Errorf("the last one got the order after %v (all %v), at most %v", d, all, most)
	}
}

// idle fails unless one node alone is connected, for all others too.
func idle(t *testing.T, s *site) {
	t.Helper()
	living := 0
	for _, x := range s.nodes {
		if !x.dead {
			living++
		}
	}
	if c := s.carriers(); len(c) != 1 || len(s.feeds) != 1 || c[0].feed == nil || len(c[0].feed.members) != living {
		t.Errorf("%d carriers, %d connections, %d devices", len(c), len(s.feeds), living)
	}
}

// A subnet has one connection, and an order that comes by it reaches all.
func TestOneConnection(t *testing.T) {
	tiers.Long(t, "it waits for connections to end")
	for _, n := range []int{1, 2, 10, 100, 1000} {
		s := newSite(t, uint64(n), n)
		s.run(15 * time.Second)
		idle(t, s)
		if s.opened > 8 {
			t.Errorf("%d devices have asked for %d connections", n, s.opened)
		}
		o := s.order()
		s.run(10 * time.Second)
		want(t, s, o, time.Second)
		if n > 100 {
			continue // an hour of a thousand takes its time
		}
		before := s.opened
		s.run(time.Hour)
		idle(t, s)
		if s.opened != before {
			t.Errorf("an idle hour of %d devices: %d connections more", n, s.opened-before)
		}
	}
}

// The death of the carrier costs at most 5 s, whether its program dies or its power.
func TestCarrierDies(t *testing.T) {
	tiers.Long(t, "it plays hours of many devices")
	for seed := range uint64(40) {
		s := newSite(t, seed, 50)
		s.run(20 * time.Second)
		o := s.order()
		s.run(s.upTo(60 * time.Millisecond)) // the order is under way
		s.carriers()[0].die(seed%2 == 0)
		s.run(time.Minute)
		want(t, s, o, 5*time.Second)
		idle(t, s)
	}
}

// While the controller is away nothing is lost, and what was lost is made good soon
// after.
func TestControllerAway(t *testing.T) {
	tiers.Long(t, "it plays hours of many devices")
	for seed := range uint64(20) {
		s := newSite(t, seed, 50)
		s.run(20*time.Second + s.upTo(time.Minute))
		o := s.order()
		s.run(s.upTo(60 * time.Millisecond))
		s.away(true)
		before := s.opened
		s.run(time.Minute)
		asked := s.opened - before
		s.away(false)
		back := s.now
		s.run(time.Minute)
		want(t, s, o, back-o.at+25*time.Second)
		if asked > 50*8 {
			t.Errorf("50 devices have asked for %d connections within a minute", asked)
		}
		s.run(2 * time.Minute)
		idle(t, s)
	}
}

// A device alone in having no way to the controller does not become what the others
// hang on, for long.
func TestCarrierCutOff(t *testing.T) {
	tiers.Long(t, "it plays hours of many devices")
	for seed := range uint64(10) {
		s := newSite(t, seed, 20)
		s.run(20 * time.Second)
		c := s.carriers()[0]
		c.cut = true
		c.hangUp()
		c.step(Unlinked{})
		o := s.order()
		s.run(3 * time.Minute)
		want(t, s, o, bound)
	}
}

// bound is the longest that a liar can keep an order from a device that can reach the
// controller: until it is late, until it has connected by itself.
var bound = Default().Late + Default().Patience + Default().Jitter + 10*time.Second

// A liar is bounded, whatever it does as a carrier, and though it outranks all others.
func TestLiars(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	for name, l := range map[string]liar{
		"keeps orders back":  {strong: true, orders: true},
		"passes nothing on":  {strong: true, beats: true},
		"a minute late":      {strong: true, late: time.Minute},
		"an hour late":       {strong: true, late: time.Hour},
		"asks nobody":        {strong: true, mute: true},
		"says the old again": {strong: true, old: true, orders: true},
		"begins again":       {strong: true, again: true, orders: true},
		"is elected":         {orders: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				s := newSite(t, seed, 12)
				for i := range int(seed) {
					s.nodes[i].liar = &l
				}
				s.run(s.upTo(4 * time.Minute))
				for range 6 {
					o := s.order()
					s.run(bound + s.upTo(time.Minute))
					want(t, s, o, bound)
				}
			}
		})
	}
}

// Whatever happens, within bounds, a device gets its orders in time, and when nothing
// happens any more the subnet has one connection again.
func TestRandomFaults(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newSite(t, seed, 2+int(seed%23))
			s.lost = float64(seed%4) / 10
			s.run(20 * time.Second)
			for range 12 {
				x := s.nodes[s.rnd.IntN(len(s.nodes))]
				switch s.rnd.IntN(5) {
				case 0, 1:
					if c := s.carriers(); s.rnd.IntN(2) == 0 && len(c) > 0 {
						x = c[0]
					}
					if !x.dead {
						x.die(s.rnd.IntN(2) == 0)
					}
				case 2:
					if x.dead {
						x.boot()
					}
				case 3:
					s.away(!s.down)
				}
				s.order()
				s.run(s.upTo(40 * time.Second))
			}
			s.lost = 0
			s.away(false)
			for _, x := range s.nodes {
				if x.dead {
					x.boot()
				}
			}
			back := s.now
			s.run(10 * time.Minute) // a device that has seen much has learned to be slow
			o := s.order()
			s.run(time.Minute)
			want(t, s, o, time.Second)
			idle(t, s)
			for _, o := range s.orders {
				want(t, s, o, max(0, back-o.at)+bound)
			}
		})
	}
}

// TestValidate: the zero value and what cannot work are refused.
func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"nothing":        func(c *Config) { *c = Config{} },
		"no patience":    func(c *Config) { c.Patience = 0 },
		"pace":           func(c *Config) { c.MaxPace = c.Pace - 1 },
		"retry":          func(c *Config) { c.MaxRetry = c.CarrierRetry - 1 },
		"carrier retry":  func(c *Config) { c.CarrierRetry = c.Retry - 1 },
		"silent at once": func(c *Config) { c.Silent = 2 * c.Election.Announce },
		"hasty blame":    func(c *Config) { c.Prove = c.MaxPace },
		"the election":   func(c *Config) { c.Election.Claims = 0 },
	} {
		c := Default()
		if change(&c); c.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
