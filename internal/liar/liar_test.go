package liar

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// stage is a face's, of which the test looks at what is said.
type stage struct {
	t      *testing.T
	links  []pdp.Link
	busy   bool
	wrong  map[int]bool
	spoken int
}

func (s *stage) Self() (wire.Peer, netip.Addr) {
	return wire.Peer{ID: 9, Nonce: 1}, netip.MustParseAddr("10.0.0.9")
}

func (s *stage) File() File {
	return File{Hierarchy: wire.HierarchyOf("", []byte("f")), Size: 3 << 16, Chunks: 3, Epoch: 1, Trees: 1}
}

func (s *stage) Tell(e wire.Envelope, _ netip.AddrPort, m wire.Message) {
	s.spoken++
	b := wire.Marshal(e, m)
	if len(b) > wire.MaxDatagram {
		s.t.Errorf("a datagram of %d bytes", len(b))
	}
	if _, _, err := wire.Unmarshal(b); err != nil {
		s.t.Errorf("%T %+v: %v", m, m, err)
	}
}

func (s *stage) Links() []pdp.Link        { return s.links }
func (s *stage) Busy(pdp.Link) bool       { return s.busy }
func (s *stage) Hold(i int, isWrong bool) { s.wrong[i] = isWrong }

// TestDrawnAgain: one seed draws one program, and another seed another.
func TestDrawnAgain(t *testing.T) {
	draw := func(seed uint64) Program { return New(rand.New(rand.NewPCG(seed, 1))) }
	a, b, c := draw(1), draw(1), draw(2)
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) || a.String() != b.String() {
		t.Errorf("%s\n%s\n%s", a, b, c)
	}
}

// TestSpeaksTheProtocol: whatever a program says can be read: lies are not noise. And a
// face is no flood.
func TestSpeaksTheProtocol(t *testing.T) {
	spoken, frames := 0, 0
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		s := &stage{t: t, links: []pdp.Link{1, -1}, wrong: map[int]bool{}}
		p := New(rnd)
		f := NewMind(p).Face(0, s, rnd, p.From)
		now := p.From
		for range 200 {
			now += time.Duration(rnd.Int64N(int64(200 * time.Millisecond)))
			for _, a := range f.Step(now, happens(rnd), nil) {
				switch a := a.(type) {
				case pdp.SendFrame:
					frames++
					if _, err := wire.ReadFrame(bytes.NewReader(wire.AppendFrame(nil, a.Frame)), nil); err != nil {
						t.Errorf("seed %d: %T %+v: %v", seed, a.Frame, a.Frame, err)
					}
				case pdp.SendChunk:
					if a.Index < 0 || a.Index >= s.File().Chunks {
						t.Errorf("seed %d: chunk %d", seed, a.Index)
					}
				}
			}
		}
		spoken += s.spoken
		if s.spoken > mostSaid {
			t.Errorf("seed %d: says %d things", seed, s.spoken)
		}
	}
	if spoken < 1000 || frames < 1000 {
		t.Errorf("%d datagrams and %d frames: the test shows little", spoken, frames)
	}
}

// happens draws an event, nil for time that passes.
func happens(rnd *rand.Rand) pdp.Event {
	from := netip.MustParseAddrPort("10.0.0.1:4051")
	env := wire.Envelope{Hierarchy: wire.HierarchyOf("", []byte("f")), From: wire.Peer{ID: 1, Nonce: 1},
		TCPPort: wire.Port}
	switch rnd.IntN(9) {
	case 0:
		return pdp.Datagram{From: from, Env: env, Msg: &wire.Claim{Size: 3 << 16, Prefix: 1}}
	case 1:
		return pdp.Datagram{From: from, Env: env, Msg: &wire.Ask{Free: 2, Trees: 2, Stripe: 1}}
	case 2:
		return pdp.Datagram{From: from, Env: env, Msg: &wire.Direct{Prefix: 2, Bytes: 1 << 17}}
	case 3:
		return pdp.Accepted{Link: 1, From: from, Hello: &wire.Hello{From: env.From}}
	case 4:
		return pdp.Opened{Link: -1}
	case 5:
		return pdp.Framed{Link: 1, Frame: &wire.TableAsk{}}
	case 6:
		return pdp.Sent{Link: 1}
	}
	return nil
}

// TestRules: a rule waits for what it says, no sooner than it may be followed again, within
// its time, and where there is room.
func TestRules(t *testing.T) {
	rule := Rule{On: OnFrame, Every: time.Second, Chance: 1, Since: 2 * time.Second, Until: 5 * time.Second, Do: DoChunk}
	s := &stage{t: t, links: []pdp.Link{1}, wrong: map[int]bool{}}
	f := NewMind(Program{Faces: 1, Rules: []Rule{rule}}).Face(0, s, rand.New(rand.NewPCG(1, 1)), 0)
	f.Step(0, pdp.Accepted{Link: 1, Hello: &wire.Hello{}}, nil)
	sent := []int{}
	at := func(seconds float64, busy bool) {
		s.busy = busy
		now := time.Duration(seconds * float64(time.Second))
		for _, a := range f.Step(now, pdp.Framed{Link: 1, Frame: &wire.Report{}}, nil) {
			sent = append(sent, a.(pdp.SendChunk).Index)
		}
	}
	for _, x := range []float64{1, 2, 2.5, 3, 5} {
		at(x, false)
	}
	at(4, true)
	if len(sent) != 2 || sent[0] != 0 || sent[1] != 1 || s.wrong[0] {
		t.Errorf("sends %v, wrong %v", sent, s.wrong)
	}
}
