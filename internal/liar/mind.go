package liar

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// File is what a liar knows of the file that it lies about.
type File struct {
	Hierarchy wire.Hierarchy
	// Size in bytes, and how many chunks that are.
	Size   int64
	Chunks int
	// Epoch of the content, 0 where the hierarchy says what it is.
	Epoch uint64
	// Trees that it takes, where nobody has asked: 1 or 2.
	Trees uint8
}

// Stage is where a face plays: its address, its links, and how it speaks.
type Stage interface {
	// Self returns the name of the face, and the address that it has.
	Self() (wire.Peer, netip.Addr)
	File() File
	// Tell sends a datagram, to all if the address is not valid.
	Tell(e wire.Envelope, to netip.AddrPort, m wire.Message)
	// Links returns the links in their order.
	Links() []pdp.Link
	// Busy reports whether a link takes no chunk at the moment.
	Busy(l pdp.Link) bool
	// Hold puts a chunk where SendChunk takes it from, with the right bytes or wrong ones.
	Hold(index int, wrong bool)
}

// Mind is what the faces of a liar know in common: what was said last. Use NewMind.
type Mind struct {
	program Program
	root    heard[*wire.Claim]
	ask     heard[*wire.Ask]
	direct  heard[*wire.Direct]
	peers   []known
	said    []recorded
}

type heard[M any] struct {
	msg  M
	from wire.Peer
	addr netip.AddrPort
	ok   bool
}

type known struct {
	peer wire.Peer
	addr netip.AddrPort
}

type recorded struct {
	env wire.Envelope
	msg wire.Message
}

const mostKnown = 64

func (m *Mind) hear(e pdp.Datagram) {
	k := known{e.Env.From, e.From}
	found := false
	for _, x := range m.peers {
		found = found || x == k
	}
	if !found && len(m.peers) < mostKnown {
		m.peers = append(m.peers, k)
	}
	if len(m.said) < mostKnown {
		m.said = append(m.said, recorded{e.Env, e.Msg})
	}
	switch x := e.Msg.(type) {
	case *wire.Claim:
		m.root = heard[*wire.Claim]{x, e.Env.From, e.From, true}
	case *wire.Ask:
		m.ask = heard[*wire.Ask]{x, e.Env.From, e.From, true}
	case *wire.Direct:
		m.direct = heard[*wire.Direct]{x, e.Env.From, e.From, true}
	}
}

// NewMind returns what the faces of a liar share.
func NewMind(p Program) *Mind { return &Mind{program: p} }

// Face returns a face that begins at a time: number counts from 0.
func (m *Mind) Face(number int, s Stage, rnd *rand.Rand, began time.Duration) *Face {
	return &Face{Mind: m, number: number, stage: s, rnd: rnd, began: began,
		ran: make([]time.Duration, len(m.program.Rules)), sent: map[pdp.Link]int{}, open: map[pdp.Link]bool{}}
}
