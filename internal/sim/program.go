package sim

import (
	"math/rand/v2"
	"net/netip"

	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// playLiar lets a liar of a subnet follow its program: its faces, of which each is a
// device.
func playLiar(p liar.Program, sub *Subnet, files []*File) (faces []*Device) {
	mind := liar.NewMind(p)
	for i := range p.Faces {
		d := sub.Device(files...)
		if p.Up > 0 {
			d.Up = p.Up
		}
		d.Liar = func(t *Task, rnd *rand.Rand) Actor {
			t.store.clear()
			t.store.geo = t.file.geo
			for k := range t.file.Chunks() {
				t.store.put(k, t.rightToken())
			}
			return mind.Face(i, stage{t}, rnd, sub.s.now)
		}
		faces = append(faces, d)
		sub.s.At(p.From, d.Start)
	}
	return faces
}

// stage is where a face plays: a device of the simulation.
type stage struct{ t *Task }

// Self returns the name of the device, and its address.
func (s stage) Self() (wire.Peer, netip.Addr) { return s.t.dev.Peer, s.t.dev.Addr }

// File returns what the device knows of the file.
func (s stage) File() liar.File {
	f, v := s.t.file, s.t.dev.sub
	x := liar.File{Hierarchy: f.hier, Size: f.Size, Chunks: f.Chunks(), Epoch: v.Server.epoch, Trees: wire.MaxStripes}
	if f.Keyed {
		x.Epoch = 0
	}
	if c := v.s.cfg.Profile.Transfer; c.Stripes == 1 || c.Stripes == 0 && f.Chunks() < c.StripeChunks {
		x.Trees = 1
	}
	return x
}

// Tell sends a datagram from the device's address.
func (s stage) Tell(e wire.Envelope, to netip.AddrPort, m wire.Message) {
	s.t.dev.sub.forge(s.t.dev, e, to, m)
}

// Links returns the links of the device.
func (s stage) Links() []pdp.Link { return s.t.linksInOrder() }

// Busy reports whether two chunks wait on a link.
func (s stage) Busy(l pdp.Link) bool {
	e := s.t.links[l]
	return e == nil || len(e.queue) >= 2
}

// Hold stores a chunk.
func (s stage) Hold(index int, isWrong bool) {
	v := s.t.rightToken()
	if isWrong {
		v |= wrong
	}
	s.t.store.put(index, v)
}
