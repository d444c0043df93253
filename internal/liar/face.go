package liar

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// Face plays a program at one address. It is no device: what it is told and what it
// does are a machine's events and actions all the same. Use Mind.Face.
type Face struct {
	*Mind
	number int
	stage  Stage
	rnd    *rand.Rand
	began  time.Duration
	now    time.Duration
	ran    []time.Duration // when each rule was followed last, from began; 0: never
	said   int
	sent   map[pdp.Link]int // the next chunk of a link
	open   map[pdp.Link]bool
	dialed pdp.Link
	sender pdp.Datagram // the datagram at hand, if there is one
	link   pdp.Link     // the link at hand, 0 if there is none
	out    []pdp.Action
}

func (f *Face) self() wire.Peer {
	p, _ := f.stage.Self()
	return p
}

func (f *Face) addr() netip.Addr {
	_, a := f.stage.Self()
	return a
}

// age is how long the program has run.
func (f *Face) age() time.Duration { return f.now - f.began }

// mine reports whether it is this face's turn.
func (f *Face) mine() bool {
	p := f.program
	return p.Turns == 0 || int(f.age()/p.Turns)%p.Faces == f.number
}

// Deadline returns when the next rule is due by time.
func (f *Face) Deadline() (at time.Duration, ok bool) {
	if f.said >= mostSaid {
		return 0, false
	}
	for i, r := range f.program.Rules {
		if r.On != OnTime || r.Until > 0 && f.age() >= r.Until {
			continue
		}
		due := f.began + max(f.ran[i]+r.Every, r.Since+1)
		if !ok || due < at {
			at, ok = due, true
		}
	}
	return at, ok
}

// Step hears what comes and follows the rules that wait for it.
func (f *Face) Step(now time.Duration, in pdp.Event, out []pdp.Action) []pdp.Action {
	f.now, f.out, f.link, f.sender = now, out, 0, pdp.Datagram{}
	on := f.take(in)
	for i, r := range f.program.Rules {
		if r.On == OnTime || r.On != on {
			continue
		}
		f.follow(i, r)
	}
	f.link, f.sender = 0, pdp.Datagram{}
	for i, r := range f.program.Rules {
		if r.On == OnTime {
			f.follow(i, r)
		}
	}
	out, f.out = f.out, nil
	return out
}

// take notes what happened and returns which rules wait for it.
func (f *Face) take(in pdp.Event) Trigger {
	switch e := in.(type) {
	case pdp.Datagram:
		f.hear(e)
		f.sender = e
		switch e.Msg.(type) {
		case *wire.Claim:
			return OnClaim
		case *wire.Ask:
			return OnAsk
		case *wire.Place:
			return OnPlace
		case *wire.Resign:
			return OnResign
		case *wire.Direct:
			return OnDirect
		}
	case pdp.Accepted:
		f.link, f.open[e.Link] = e.Link, true
		return OnAccepted
	case pdp.Opened:
		f.link, f.open[e.Link] = e.Link, true
		f.frame(&wire.Hello{
			Hierarchy: f.stage.File().Hierarchy, From: f.self(), TCPPort: wire.Port, Prefix: f.rnd.IntN(f.chunks() + 1),
		})
		return OnOpened
	case pdp.Framed:
		f.link = e.Link
		if _, ok := e.Frame.(*wire.TableAsk); ok {
			return OnTableAsk
		}
		return OnFrame
	case pdp.Sent:
		f.link = e.Link
		return OnSent
	case pdp.Closed:
		delete(f.open, e.Link)
		return OnClosed
	}
	return triggers
}

// follow does what a rule says, if it is its time.
func (f *Face) follow(i int, r Rule) {
	age := f.age()
	switch {
	case !f.mine() || age < r.Since || r.Until > 0 && age >= r.Until || f.ran[i] > 0 && age < f.ran[i]+r.Every:
		if r.On == OnTime && age >= f.ran[i]+r.Every {
			f.ran[i] = age // another face's turn
		}
		return
	case f.said >= mostSaid:
		return
	}
	f.ran[i] = max(age, 1)
	if f.rnd.Float64() > r.Chance {
		return
	}
	f.said++
	if r.Do <= DoReplay {
		f.datagram(r)
		return
	}
	if r.Do == DoDial {
		f.dial(r)
		return
	}
	links := []pdp.Link{f.link}
	if f.link == 0 {
		links = f.stage.Links()
	}
	for _, l := range links {
		if f.open[l] {
			f.link = l
			f.onLink(r)
		}
	}
}

func (f *Face) chunks() int { return f.stage.File().Chunks }

// value makes a field: truth is what was heard, most the largest value.
func (f *Face) value(l Lie, truth, most int64) int64 {
	v := truth
	switch l.Mode {
	case Zero:
		v = 0
	case Most:
		v = most
	case Grows:
		v = int64(float64(l.N) * f.age().Seconds())
	case Random:
		v = f.rnd.Int64N(max(most, 0) + 1)
	case Fixed:
		v = l.N
	case Ahead:
		v = truth + min(l.N, most)
	}
	return max(0, min(v, most))
}

func (f *Face) flag(l Lie, truth bool) bool {
	n := int64(0)
	if truth {
		n = 1
	}
	return f.value(l, n, 1) == 1
}

// size makes a file's size: unknown, the right one, or another.
func (f *Face) size(l Lie) int64 {
	if l.Mode == Fixed && l.N%2 == 1 {
		return load.UnknownSize
	}
	return f.value(l, f.stage.File().Size, 4*f.stage.File().Size+1)
}

func (f *Face) reason(l Lie, truth wire.Reason) wire.Reason {
	return wire.Reason(f.value(l, int64(truth), 60))
}

// who picks a device: itself, nobody, the root, who sent what is at hand, anyone.
func (f *Face) who(l Lie) (wire.Peer, netip.AddrPort) {
	me := netip.AddrPortFrom(f.addr(), wire.Port)
	switch l.Mode {
	case Zero:
		return wire.Peer{}, netip.AddrPort{}
	case Most:
		if f.root.ok {
			return f.root.from, f.root.addr
		}
	case Grows, Ahead:
		if f.sender.Msg != nil {
			return f.sender.Env.From, f.sender.From
		}
	case Random:
		if n := len(f.peers); n > 0 {
			k := f.peers[f.rnd.IntN(n)]
			return k.peer, k.addr
		}
	case Fixed: // who does not exist
		return wire.Peer{ID: uint64(l.N) + 1}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 9, byte(l.N)}), wire.Port)
	}
	return f.self(), me
}

// datagram says something.
func (f *Face) datagram(r Rule) {
	env := wire.Envelope{Hierarchy: f.stage.File().Hierarchy, From: f.self(), TCPPort: wire.Port}
	switch r.As {
	case AsOther:
		env.From.ID++
	case AsNew:
		env.From = wire.Peer{ID: f.rnd.Uint64() | 1, Nonce: f.rnd.Uint32()}
	case AsRoot:
		if f.root.ok {
			env.From = f.root.from
		}
	case AsSender:
		if f.sender.Msg != nil {
			env.From = f.sender.Env.From
		}
	}
	var to netip.AddrPort
	switch r.To {
	case ToSender:
		if to = f.sender.From; !to.IsValid() {
			return
		}
	case ToRoot:
		if to = f.root.addr; !to.IsValid() {
			return
		}
	case ToAny:
		if n := len(f.peers); n > 0 {
			to = f.peers[f.rnd.IntN(n)].addr
		}
	}
	msg := f.message(r)
	if r.Do == DoReplay {
		n := len(f.Mind.said)
		if n == 0 {
			return
		}
		x := f.Mind.said[f.rnd.IntN(n)]
		env, msg = x.env, x.msg
	}
	f.stage.Tell(env, to, msg)
}

// message makes a datagram's message.
func (f *Face) message(r Rule) wire.Message {
	l, n := r.Lies, int64(f.chunks())
	switch r.Do {
	case DoAsk:
		return f.ask(l, n)
	case DoPlace:
		p := &wire.Place{
			Depth: uint8(f.value(l[1], 1, 255)), Wait: uint16(f.value(l[2], 0, 65535)),
			Trees: uint8(f.value(l[3], int64(f.trees()), wire.MaxStripes)),
		}
		p.Parent, p.Addr = f.who(l[0])
		if l[4].Mode == Fixed {
			_, p.Addr = f.who(Lie{Mode: Random})
		}
		p.Stripe = f.stripe()
		return p
	case DoResign:
		s := &wire.Resign{
			Reason:  f.reason(l[0], wire.ReasonOriginUnreachable),
			Backoff: uint32(f.value(l[2], 0, math.MaxUint32)),
		}
		if l[0].Mode == Random {
			s.Reason = wire.ReasonOriginUnreachable + wire.Reason(f.rnd.IntN(9))
		}
		s.Successor, _ = f.who(l[1])
		return s
	case DoDirect:
		d := &wire.Direct{Reason: f.reason(l[0], wire.ReasonPeersFailed)}
		prefix, bytes := int64(0), int64(0)
		if f.direct.ok {
			prefix, bytes, d.Done = int64(f.direct.msg.Prefix), f.direct.msg.Bytes, f.direct.msg.Done
		}
		d.Prefix, d.Bytes = int(f.value(l[1], prefix, n)), f.value(l[2], bytes, f.stage.File().Size)
		d.Done = f.flag(l[3], d.Done)
		return d
	}
	return f.claim(l, n)
}

func (f *Face) claim(l [10]Lie, n int64) *wire.Claim {
	var c wire.Claim
	if f.root.ok {
		c = *f.root.msg
	}
	size := f.stage.File().Size
	return &wire.Claim{
		Rank: wire.Rank{
			Confirmed: f.flag(l[0], c.Rank.Confirmed), Complete: f.flag(l[1], c.Rank.Complete),
			Prefix:   int(f.value(l[2], int64(c.Rank.Prefix), n)),
			Strength: uint32(f.value(l[3], int64(c.Rank.Strength), math.MaxUint32)),
		},
		Epoch: uint64(f.value(l[9], int64(c.Epoch), 3)), Size: f.size(l[4]),
		Prefix: int(f.value(l[5], int64(c.Prefix), n)), Bytes: f.value(l[6], c.Bytes, size),
		Complete: f.flag(l[7], c.Complete), Waiting: f.flag(l[8], c.Waiting),
		Map: c.Map, Spread: uint16(f.value(l[8], 10, 65535)), Members: uint16(f.value(l[9], 1, 65535)),
		Reason: f.reason(l[9], c.Reason),
	}
}

func (f *Face) ask(l [10]Lie, n int64) *wire.Ask {
	var a wire.Ask
	if f.Mind.ask.ok {
		a = *f.Mind.ask.msg
	}
	x := &wire.Ask{
		Attached: f.flag(l[0], a.Attached), Move: f.flag(l[1], a.Move), Done: f.flag(l[2], a.Done), Stripe: a.Stripe,
		Free: uint8(f.value(l[3], 2, wire.MaxChildren)), Children: uint8(f.value(l[4], int64(a.Children), wire.MaxChildren)),
		Depth: uint8(f.value(l[5], int64(a.Depth), 255)), Prefix: int(f.value(l[6], int64(a.Prefix), n)), Epoch: a.Epoch,
		Reason: f.reason(l[9], a.Reason), Trees: a.Trees, Speed: uint32(f.value(l[5], int64(a.Speed), math.MaxUint32)),
	}
	x.Parent, _ = f.who(l[7])
	x.Failed, _ = f.who(l[8])
	return x
}

// stripe and trees answer what was asked.
func (f *Face) stripe() uint8 {
	if a, ok := f.sender.Msg.(*wire.Ask); ok {
		return a.Stripe
	}
	return uint8(f.rnd.IntN(wire.MaxStripes))
}

func (f *Face) trees() uint8 {
	if a, ok := f.sender.Msg.(*wire.Ask); ok && a.Trees > 0 {
		return a.Trees
	}
	return f.stage.File().Trees
}

func (f *Face) dial(r Rule) {
	_, addr := f.who(r.Lies[0])
	if len(f.open) >= 8 || !addr.IsValid() || addr.Addr() == f.addr() {
		return
	}
	f.dialed--
	f.out = append(f.out, pdp.Dial{Link: f.dialed, Addr: addr})
}

func (f *Face) frame(m wire.Frame) { f.out = append(f.out, pdp.SendFrame{Link: f.link, Frame: m}) }

// onLink does something on the link at hand.
func (f *Face) onLink(r Rule) {
	l, n := r.Lies, int64(f.chunks())
	switch r.Do {
	case DoWelcome:
		w := &wire.Welcome{From: f.self(), Epoch: uint64(f.value(l[0], int64(f.epoch()), 3)), Size: f.size(l[1])}
		if l[2].Mode == Random {
			if p, _ := f.who(l[2]); !p.IsZero() {
				w.From = p
			}
		}
		f.frame(w)
	case DoRefuse:
		f.frame(&wire.Refuse{Reason: f.reason(l[0], wire.ReasonFull)})
		f.close()
	case DoBye:
		f.frame(&wire.Bye{Reason: f.reason(l[0], wire.ReasonStopped)})
		f.close()
	case DoClose:
		f.close()
	case DoProgress:
		f.progress(l, n)
	case DoPath:
		f.path(l)
	case DoEnd:
		f.frame(&wire.End{Size: max(f.size(l[0]), 0)})
	case DoReport:
		f.frame(&wire.Report{Prefix: int(f.value(l[0], 0, n)), Complete: f.flag(l[1], false)})
	case DoTableAsk:
		f.frame(&wire.TableAsk{})
	case DoTable:
		f.out = append(f.out, pdp.SendTable{Link: f.link})
	case DoChunk, DoAnyChunk:
		f.chunk(r)
	}
}

func (f *Face) close() {
	delete(f.open, f.link)
	f.out = append(f.out, pdp.Close{Link: f.link})
}

func (f *Face) epoch() uint64 { return f.stage.File().Epoch }

func (f *Face) progress(l [10]Lie, n int64) {
	prefix, bytes := int64(f.sent[f.link]), int64(0)
	if f.root.ok {
		prefix, bytes = max(prefix, int64(f.root.msg.Prefix)), f.root.msg.Bytes
	}
	f.frame(&wire.Progress{
		Prefix: int(f.value(l[0], prefix, n)), RootPrefix: int(f.value(l[1], prefix, n)),
		RootBytes: f.value(l[2], bytes, f.stage.File().Size), Detached: f.flag(l[3], false),
	})
}

func (f *Face) path(l [10]Lie) {
	var peers []wire.Peer
	for range f.value(l[0], 0, wire.MaxPath-1) {
		if p, _ := f.who(Lie{Mode: Random}); !p.IsZero() {
			peers = append(peers, p)
		}
	}
	f.frame(&wire.Path{Peers: append(peers, f.self())})
}

// chunk sends the next chunk of the link, or any; which of them are wrong is the
// lie.
func (f *Face) chunk(r Rule) {
	n := f.chunks()
	if n == 0 {
		return
	}
	if f.stage.Busy(f.link) {
		return // its port is slower than its rules
	}
	i := f.sent[f.link]
	if r.Do == DoAnyChunk {
		i = f.rnd.IntN(n)
	} else if f.sent[f.link]++; i >= n {
		return
	}
	f.stage.Hold(i, f.value(r.Lies[0], 0, 3) > 0)
	f.out = append(f.out, pdp.SendChunk{Link: f.link, Index: i})
}
