package sim

import (
	"math/rand/v2"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// RogueRoot is a device that claims the highest rank, takes children and
// serves nothing. Advancing, it also says that it moves on.
type RogueRoot struct {
	t         *Task
	Advancing bool
	next      time.Duration
	bytes     int64
	prefix    int
}

// NewRogueRoot is for Device.Liar.
func NewRogueRoot(advancing bool) func(*Task, *rand.Rand) Actor {
	return func(t *Task, _ *rand.Rand) Actor { return &RogueRoot{t: t, Advancing: advancing} }
}

// Deadline returns the next claim.
func (r *RogueRoot) Deadline() (time.Duration, bool) { return r.next, true }

// Step claims, places whoever asks below itself, and welcomes every child.
func (r *RogueRoot) Step(now time.Duration, in pdp.Event, out []pdp.Action) []pdp.Action {
	me := r.t.dev.Peer
	switch e := in.(type) {
	case pdp.Datagram:
		if _, ok := e.Msg.(*wire.Ask); ok {
			out = append(out, pdp.Send{To: e.From, Msg: &wire.Place{Depth: 1, Parent: me}})
		}
	case pdp.Accepted:
		out = append(out,
			pdp.SendFrame{Link: e.Link, Frame: &wire.Welcome{From: me, Size: r.t.file.Size}},
			pdp.SendFrame{Link: e.Link, Frame: &wire.Path{Peers: []wire.Peer{me}}})
	}
	if now < r.next {
		return out
	}
	if r.Advancing {
		r.bytes += 64 << 10
		r.prefix = min(r.prefix+1, r.t.file.Chunks())
	}
	for _, l := range r.t.linksInOrder() {
		out = append(out, pdp.SendFrame{Link: l, Frame: &wire.Progress{Prefix: r.prefix, RootPrefix: r.prefix, RootBytes: r.bytes}})
	}
	r.next = now + 250*time.Millisecond
	return append(out, pdp.Broadcast{Msg: &wire.Claim{
		Rank: wire.Rank{Confirmed: true, Complete: true, Prefix: r.t.file.Chunks(), Strength: ^uint32(0)},
		Size: r.t.file.Size, Prefix: r.prefix, Bytes: r.bytes, Members: 1,
	}})
}
