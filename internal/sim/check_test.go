package sim

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// bent is a machine with something wrong: it does not hear some events, is late,
// or does what it should not.
type bent struct {
	Actor
	misses func(pdp.Event) bool // does not take these
	extra  func(pdp.Event, []pdp.Action) []pdp.Action
	never  bool // has no deadlines
	stuck  bool // has one that never passes
}

func (b *bent) Step(now time.Duration, in pdp.Event, out []pdp.Action) []pdp.Action {
	if b.misses != nil && b.misses(in) {
		return out
	}
	out = b.Actor.Step(now, in, out)
	if b.extra != nil {
		out = b.extra(in, out)
	}
	return out
}

func (b *bent) Deadline() (time.Duration, bool) {
	if b.stuck {
		return 0, true
	}
	at, ok := b.Actor.Deadline()
	return at, ok && !b.never
}

// bendAll bends the machines of all devices alike.
func bendAll(sub *Subnet, b bent) {
	for _, d := range sub.devices {
		d.bend = func(_ *Task, a Actor) Actor { x := b; x.Actor = a; return &x }
	}
}

func isDatagram(in pdp.Event) bool { _, ok := in.(pdp.Datagram); return ok }

// TestDroppedIsNotHeld: a chunk that was dropped counts for nothing, though the medium
// still has its bytes behind the end of the file.
func TestDroppedIsNotHeld(t *testing.T) {
	s, sub, f := site(1, 2)
	for _, d := range sub.devices {
		d.Start()
	}
	s.At(sec(1), func() {
		st := &sub.devices[1].Task(f).store
		st.put(f.Chunks(), wrong)
		st.drop(f.Chunks())
	})
	if !s.RunToEnd(time.Minute) {
		t.Error("not all have ended")
	}
	for _, v := range s.CheckEnd() {
		t.Error(v)
	}
}

// TestStartedTwice: a device that runs already is not started a second time.
func TestStartedTwice(t *testing.T) {
	s, sub, f := site(1, 1)
	d := sub.devices[0]
	d.Restart(false)
	s.At(sec(1), d.Start)
	if !s.RunToEnd(time.Minute) {
		t.Error("not all have ended")
	}
	if d.Task(f).Asked != 1 || len(sub.Opened) != 1 {
		t.Errorf("asks the server %d times", len(sub.Opened))
	}
}

// TestInvariantsCanFail breaks each invariant on purpose: it is found.
func TestInvariantsCanFail(t *testing.T) {
	for _, c := range []struct {
		name, want string
		do         func(s *Sim, sub *Subnet, f *File)
	}{
		{"relayed though not held", "that it does not hold", func(_ *Sim, sub *Subnet, _ *File) {
			bendAll(sub, bent{extra: func(in pdp.Event, out []pdp.Action) []pdp.Action {
				if a, ok := in.(pdp.Accepted); ok {
					out = append(out, pdp.SendChunk{Link: a.Link, Index: 300})
				}
				return out
			}})
		}},
		{"wrong and relayed", "that is wrong", func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(3), func() {
				for _, d := range sub.devices {
					d.Task(f).store.tokens[5] |= wrong
				}
				sub.Device(f).Start()
			})
		}},
		{"complete though not whole", "is complete with", func(_ *Sim, sub *Subnet, _ *File) {
			bendAll(sub, bent{extra: func(in pdp.Event, out []pdp.Action) []pdp.Action {
				if _, ok := in.(pdp.OriginOpened); ok {
					out = append(out, pdp.Complete{})
				}
				return out
			}})
		}},
		{"complete though wrong", "with a wrong chunk 7", func(s *Sim, sub *Subnet, f *File) {
			bendAll(sub, bent{extra: func(in pdp.Event, out []pdp.Action) []pdp.Action {
				if v, ok := in.(pdp.Verified); ok && !v.OK {
					out = append([]pdp.Action{pdp.Complete{}}, out...)
				}
				return out
			}})
			s.At(sec(4), func() { sub.root(f).Task(f).store.tokens[7] |= wrong })
		}},
		{"counted though not held", "counts", func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(1), func() { sub.root(f).Task(f).store.drop(2) })
		}},
		{"three children", "children in tree", func(_ *Sim, sub *Subnet, f *File) {
			bendAll(sub, bent{extra: func(in pdp.Event, out []pdp.Action) []pdp.Action {
				if a, ok := in.(pdp.Accepted); ok {
					out = []pdp.Action{pdp.SendFrame{Link: a.Link, Frame: &wire.Welcome{
						From: sub.devices[0].Peer, Size: f.Size}}}
				}
				return out
			}})
		}},
		{"two roots", "roots of fw for", func(s *Sim, sub *Subnet, f *File) {
			sub.cfg.WAN = 1e6
			for _, d := range sub.devices[:2] {
				d.bend = func(_ *Task, a Actor) Actor { return &bent{Actor: a, misses: isDatagram} }
			}
		}},
		{"no root", "no root of fw for", func(_ *Sim, sub *Subnet, _ *File) { bendAll(sub, bent{never: true}) }},
		{"a loop", "stands in a loop", func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(1), func() {
				x, y := sub.devices[1].Task(f), sub.devices[2].Task(f)
				one := &end{dev: x.dev, task: x, open: true, welcomed: true, set: transfer.All}
				two := &end{dev: y.dev, task: y, open: true, welcomed: true, set: transfer.All}
				one.peer, two.peer = two, one
				x.links, y.links = map[pdp.Link]*end{-9: one}, map[pdp.Link]*end{-9: two}
			})
		}},
		{"two direct downloads", "direct downloads at once", func(_ *Sim, sub *Subnet, _ *File) {
			bendAll(sub, bent{misses: func(in pdp.Event) bool {
				d, ok := in.(pdp.Datagram)
				if !ok {
					return false
				}
				_, ok = d.Msg.(*wire.Direct)
				return ok
			}})
			sub.cfg.WAN = 2e6 // each takes long enough to meet another
			for _, d := range sub.devices {
				d.Up = 1
			}
		}},
		{"an end without a reason", "neither complete nor failed", func(_ *Sim, sub *Subnet, _ *File) {
			sub.devices[3].bend = func(_ *Task, a Actor) Actor {
				return &bent{Actor: a, misses: func(in pdp.Event) bool { _, ok := in.(pdp.Verified); return ok }}
			}
		}},
		{"a deadline that never passes", "stays in the past",
			func(_ *Sim, sub *Subnet, _ *File) { bendAll(sub, bent{stuck: true}) }},
		{"a step while asleep", "steps in its sleep", func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(1), func() {
				sub.devices[1].Stop(time.Second)
				sub.devices[1].Task(f).step(nil)
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, sub, f := site(1, 6)
			c.do(s, sub, f)
			startAll(sub)
			s.Run(2 * time.Minute)
			found := s.CheckEnd()
			for _, v := range found {
				if strings.Contains(v, c.want) {
					return
				}
			}
			t.Errorf("nothing found like %q: %q", c.want, found)
		})
	}
}

// TestReplayToTheByte: a random site with its faults writes the same trace
// twice.
func TestReplayToTheByte(t *testing.T) {
	tiers.Long(t, "it plays many sites or large ones")
	to := uint64(60)
	if underRace {
		to = 10
	}
	for seed := uint64(1); seed <= to; seed++ {
		var a, b bytes.Buffer
		x, y := NewRandomSite(seed, told{&a}), NewRandomSite(seed, told{&b})
		badX, badY := x.Play(), y.Play()
		if x.String() != y.String() || strings.Join(badX, "\n") != strings.Join(badY, "\n") {
			t.Fatalf("seed %d: two sites or two verdicts:\n%s %q\n%s %q", seed, x, badX, y, badY)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) || a.Len() == 0 {
			t.Fatalf("seed %d: two traces, of %d and %d bytes", seed, a.Len(), b.Len())
		}
		if x.s.Hash() != y.s.Hash() || x.s.Events() != y.s.Events() {
			t.Fatalf("seed %d: two runs", seed)
		}
	}
}

// TestRandomSitesDraw: what the sites are to be played with does occur in them.
func TestRandomSitesDraw(t *testing.T) {
	seen := map[string]int{}
	words := []string{
		"crash d", "power off", "restart", "partition", "deaf", "mute", "server fails", "lies", "rogue root",
		"claims to hold all", "is slow", "replayed", "carry one id", "disk of", "is stopped", "is suspended", "jumps by -",
		"medium", "are altered", "without lengths true",
	}
	for seed := uint64(1); seed <= 300; seed++ {
		r := NewRandomSite(seed, nil)
		for _, f := range r.files {
			if f.Chunks() >= pdp.LAN().Transfer.StripeChunks && r.s.cfg.Profile.Profile == "lan" {
				seen["two trees by size"]++
			}
			if f.Keyed && !f.Signed && f.Unsized {
				seen["digest alone"]++
			}
			if !f.Keyed {
				seen["name alone"]++
			}
		}
		for _, word := range words {
			if strings.Contains(r.String(), word) {
				seen[word]++
			}
		}
	}
	for _, word := range append(words, "two trees by size", "digest alone", "name alone") {
		if seen[word] < 3 {
			t.Errorf("%q occurs in %d of 300 sites", word, seen[word])
		}
	}
}
