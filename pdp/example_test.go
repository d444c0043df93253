package pdp_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// device is a driver that keeps its store in memory.
type device struct {
	name    string
	self    pdp.Self
	machine *pdp.Machine
	store   []byte // the chunks that it holds, each at its place
	done    bool
}

// site is two devices beside a server that has content, in virtual time.
type site struct {
	now     time.Duration
	content []byte
	geo     load.Geometry
	table   load.Table // signed beforehand: the digest of each chunk
	file    pdp.File
	devices []*device
	queue   []func() // what happens next, at the same moment
}

// post lets something happen to a device after what happens now.
func (s *site) post(d *device, e pdp.Event) {
	s.queue = append(s.queue, func() {
		for _, a := range d.machine.Step(s.now, e, nil) {
			s.do(d, a)
		}
	})
}

// other returns the other device.
func (s *site) other(d *device) *device {
	if d == s.devices[0] {
		return s.devices[1]
	}
	return s.devices[0]
}

// do carries out one action of a device. The parent gives a link the number of
// its child with the sign changed.
func (s *site) do(d *device, a pdp.Action) {
	peer := s.other(d)
	switch a := a.(type) {
	case pdp.Broadcast:
		s.datagram(d, a.Msg)
	case pdp.Send:
		s.datagram(d, a.Msg)
	case pdp.Dial:
		s.post(d, pdp.Opened{Link: a.Link})
	case pdp.SendFrame:
		if h, ok := a.Frame.(*wire.Hello); ok {
			s.post(peer, pdp.Accepted{Link: -a.Link, From: d.self.Addr, Hello: h})
		} else {
			s.post(peer, pdp.Framed{Link: -a.Link, Frame: a.Frame})
		}
	case pdp.SendChunk:
		off, n := s.geo.Span(a.Index)
		s.chunk(peer, -a.Link, a.Index, d.store[off:off+int64(n)])
		s.post(d, pdp.Sent{Link: a.Link})
	case pdp.Close:
		s.post(peer, pdp.Closed{Link: -a.Link, Reason: a.Reason})
	case pdp.OpenOrigin:
		fmt.Printf("%s asks the server for chunk %d and all after it\n", d.name, a.From)
		s.post(d, pdp.OriginOpened{Size: s.geo.Size, From: a.From})
		for i := a.From; i < s.geo.Chunks(); i++ {
			off, n := s.geo.Span(i)
			s.chunk(d, 0, i, s.content[off:off+int64(n)])
		}
		s.post(d, pdp.OriginEnded{Size: s.geo.Size})
	case pdp.Verify:
		s.post(d, pdp.Verified{OK: bytes.Equal(d.store, s.content)})
	case pdp.Complete:
		d.done = true
		fmt.Printf("%s has the file\n", d.name)
	}
}

// datagram brings a message to the other device.
func (s *site) datagram(d *device, m wire.Message) {
	env := wire.Envelope{Hierarchy: s.file.Hierarchy, From: d.self.Peer, TCPPort: wire.Port}
	s.post(s.other(d), pdp.Datagram{From: d.self.Addr, Env: env, Msg: m})
}

// chunk stores a chunk that came over a link, or from the server, if it is
// right.
func (s *site) chunk(d *device, l pdp.Link, i int, b []byte) {
	if !s.table.Check(i, b) {
		s.post(d, pdp.Bad{Link: l, Index: i})
		return
	}
	off, _ := s.geo.Span(i)
	copy(d.store[off:], b)
	if l != 0 {
		fmt.Printf("%s has chunk %d from %s\n", d.name, i, s.other(d).name)
	}
	s.post(d, pdp.Stored{Link: l, Index: i})
}

// run lets everything happen that happens at once, then lets time pass until
// the next deadline, until both devices have the file or a minute is over.
func (s *site) run() {
	for !(s.devices[0].done && s.devices[1].done) && s.now < time.Minute {
		if len(s.queue) > 0 {
			next := s.queue[0]
			s.queue = s.queue[1:]
			next()
			continue
		}
		d := s.devices[0]
		at, _ := d.machine.Deadline()
		if t, ok := s.devices[1].machine.Deadline(); ok && t < at {
			d, at = s.devices[1], t
		}
		s.now = at
		s.post(d, nil)
	}
}

// Two devices want one file. One of them becomes root and downloads it; the
// other has it from there. Every chunk is signed and nothing fails here: a whole
// driver carries out the other actions, too, and obeys Reset.
func Example() {
	s := &site{content: bytes.Repeat([]byte("peerload"), 25_000)}
	s.geo = load.Geometry{Size: int64(len(s.content))}
	for i := range s.geo.Chunks() {
		off, n := s.geo.Span(i)
		s.table = append(s.table, load.DigestOf(s.content[off:off+int64(n)]))
	}
	digest := load.DigestOf(s.content)
	s.file = pdp.File{Hierarchy: wire.HierarchyOf("any", digest[:]), Name: "firmware",
		Size: s.geo.Size, Signed: true, Keyed: true}
	for i, name := range []string{"A", "B"} {
		d := &device{name: name, store: make([]byte, len(s.content))}
		d.self = pdp.Self{
			Peer: wire.Peer{ID: uint64(i) + 1, Nonce: 1},
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i) + 1}), wire.Port),
		}
		d.machine = pdp.New(pdp.LAN(), d.self, s.file, rand.New(rand.NewPCG(uint64(i), 1)))
		s.devices = append(s.devices, d)
		s.post(d, pdp.Start{})
	}
	s.run()
	// Output:
	// A asks the server for chunk 0 and all after it
	// A has the file
	// B has chunk 0 from A
	// B has chunk 1 from A
	// B has chunk 2 from A
	// B has chunk 3 from A
	// B has the file
}
