package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// RogueRoot is a device that claims the highest rank, takes children and serves
// nothing. If advancing, it also claims to make progress. Epoch is that of the
// content that it claims to have.
type RogueRoot struct {
	t         *Task
	Advancing bool
	Epoch     uint64
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
			pdp.SendFrame{Link: e.Link, Frame: &wire.Welcome{From: me, Epoch: r.Epoch, Size: r.t.file.Size}},
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
		out = append(out, pdp.SendFrame{Link: l, Frame: &wire.Progress{Prefix: r.prefix, RootPrefix: r.prefix,
			RootBytes: r.bytes}})
	}
	r.next = now + 250*time.Millisecond
	return append(out, pdp.Broadcast{Msg: &wire.Claim{
		Rank:  wire.Rank{Confirmed: true, Complete: true, Prefix: r.t.file.Chunks(), Strength: ^uint32(0)},
		Epoch: r.Epoch, Size: r.t.file.Size, Prefix: r.prefix, Bytes: r.bytes, Members: 1,
	}})
}

// FalseHolder is a device that claims the highest rank and the whole file,
// places everybody below itself, and sends what it holds: possibly wrong
// chunks, of a file that may have another size, with a table that matches them.
type FalseHolder struct {
	t    *Task
	next time.Duration // claim
	said time.Duration // the last one
	sent map[pdp.Link]int
}

const (
	falseClaims  = 100 * time.Millisecond // between claims
	falseAnswers = 10 * time.Millisecond  // between claims that answer others
)

// NewFalseHolder is for Device.Liar: size is what it claims, 0 for the file's
// own; altered says which of its chunks are wrong.
func NewFalseHolder(size int64, altered func(index int) bool) func(*Task, *rand.Rand) Actor {
	return func(t *Task, _ *rand.Rand) Actor {
		if size > 0 {
			f := *t.file
			f.Size, f.geo = size, load.Geometry{Size: size}
			t.file = &f
		}
		t.store.clear()
		t.store.geo = t.file.geo
		for i := range t.file.Chunks() {
			v := t.rightToken()
			if altered(i) {
				v |= wrong
			}
			t.store.put(i, v)
		}
		return &FalseHolder{t: t, sent: map[pdp.Link]int{}}
	}
}

// Deadline returns the next claim.
func (r *FalseHolder) Deadline() (time.Duration, bool) { return r.next, true }

func (r *FalseHolder) claim() pdp.Action {
	n, size := r.t.file.Chunks(), r.t.file.Size
	return pdp.Broadcast{Msg: &wire.Claim{
		Rank: wire.Rank{Confirmed: true, Complete: true, Prefix: n, Strength: ^uint32(0)},
		Size: size, Prefix: n, Bytes: size, Complete: true, Map: ^uint32(0), Spread: 10,
	}}
}

// Step claims, also whenever another does, places whoever asks below itself,
// and serves every child.
func (r *FalseHolder) Step(now time.Duration, in pdp.Event, out []pdp.Action) []pdp.Action {
	me, n := r.t.dev.Peer, r.t.file.Chunks()
	progress := &wire.Progress{Prefix: n, RootPrefix: n, RootBytes: r.t.file.Size}
	switch e := in.(type) {
	case pdp.Datagram:
		switch e.Msg.(type) {
		case *wire.Ask:
			out = append(out, pdp.Send{To: e.From,
				Msg: &wire.Place{Depth: 1, Parent: me, Addr: netip.AddrPortFrom(r.t.dev.Addr, wire.Port)}})
		case *wire.Claim:
			if now-r.said >= falseAnswers {
				r.said = now
				out = append(out, r.claim())
			}
		}
	case pdp.Accepted:
		out = append(out,
			pdp.SendFrame{Link: e.Link, Frame: &wire.Welcome{From: me, Size: r.t.file.Size}},
			pdp.SendFrame{Link: e.Link, Frame: &wire.Path{Peers: []wire.Peer{me}}},
			pdp.SendFrame{Link: e.Link, Frame: progress})
		r.sent[e.Link] = 0
		out = r.serve(e.Link, out)
	case pdp.Sent:
		out = r.serve(e.Link, out)
	case pdp.Closed:
		delete(r.sent, e.Link)
	case pdp.Framed:
		if _, ok := e.Frame.(*wire.TableAsk); ok {
			out = append(out, pdp.SendTable{Link: e.Link})
		}
	}
	if now < r.next {
		return out
	}
	for _, l := range r.t.linksInOrder() {
		out = append(out, pdp.SendFrame{Link: l, Frame: progress})
	}
	r.next, r.said = now+falseClaims, now
	return append(out, r.claim())
}

func (r *FalseHolder) serve(l pdp.Link, out []pdp.Action) []pdp.Action {
	if i, ok := r.sent[l]; ok && i < r.t.file.Chunks() {
		r.sent[l]++
		out = append(out, pdp.SendChunk{Link: l, Index: i})
	}
	return out
}

// Resigner is a liar that says once and again that the origin failed it.
type Resigner struct {
	Actor   // what it does otherwise
	Reason  wire.Reason
	Backoff time.Duration // that it asks for
	Every   time.Duration // from one resignation to the next
	at      time.Duration // of the next one
}

// NewResigner is for Device.Liar: it makes another liar resign with a reason and
// a back-off each so often.
func NewResigner(liar func(*Task, *rand.Rand) Actor, why wire.Reason, backoff, every time.Duration) func(*Task,
	*rand.Rand) Actor {
	return func(t *Task, rnd *rand.Rand) Actor {
		return &Resigner{Actor: liar(t, rnd), Reason: why, Backoff: backoff, Every: every}
	}
}

// Deadline returns when the other liar is due, or the next resignation.
func (r *Resigner) Deadline() (time.Duration, bool) {
	if at, ok := r.Actor.Deadline(); ok {
		return min(at, r.at), true
	}
	return r.at, true
}

// Step does what the other liar does, and resigns.
func (r *Resigner) Step(now time.Duration, in pdp.Event, out []pdp.Action) []pdp.Action {
	out = r.Actor.Step(now, in, out)
	if now >= r.at {
		r.at = now + r.Every
		out = append(out, pdp.Broadcast{Msg: &wire.Resign{Reason: r.Reason, Backoff: uint32(r.Backoff / time.Millisecond)}})
	}
	return out
}
