package sim

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// window is how many bytes a link has in flight before the receiver has taken
// them: what socket buffers hold. A chunk may exceed it.
const window = 256 << 10

// trickle is how often a driver reports that bytes of a chunk are arriving.
const trickle = 250 * time.Millisecond

// end is one side of a link: an ordered, reliable pipe towards the other.
type end struct {
	dev    *Device
	task   *Task // nil on the accepting side until the hello is read
	id     pdp.Link
	peer   *end
	queue  []packet
	flying int // bytes sent and not taken by the other side
	// open until this side closes or learns that the other did; closing while
	// what was sent before is in flight.
	open, closing bool
	silent        bool          // the power is gone
	gone          bool          // given up: a peer that still sends here is told so
	moved         time.Duration // last byte acknowledged, or first queued
	lastArrival   time.Duration
	readFree      time.Duration // when the reader has done what came before
	welcomed      bool          // accepted as a child, or by a parent
	set           transfer.Set  // the chunks that it carries
}

// packet is one frame, encoded.
type packet struct {
	b     []byte
	size  int // bytes that it stands for
	chunk bool
	fin   bool // nothing more comes
}

// dial opens a link; Opened or Closed follows, or nothing.
func (t *Task) dial(id pdp.Link, to netip.AddrPort) {
	s, d := t.dev.sub.s, t.dev
	target := s.byAddr[to.Addr()]
	a := &end{dev: d, task: t, id: id, open: true}
	t.links[id] = a
	d.ends = append(d.ends, a)
	way := func() time.Duration { return s.between(d.sub.cfg.Latency, d.sub.cfg.Jitter) }
	s.After(way(), func() {
		if target == nil || target.sub != d.sub || d.sub.cut(d, target) || target.powerless() || !a.open {
			return
		}
		if !target.on || to.Port() != wire.Port {
			s.After(way(), func() { a.broken(wire.ReasonUnreachable) })
			return
		}
		b := &end{dev: target, peer: a, open: true}
		target.ends = append(target.ends, b)
		s.After(way(), func() {
			a.peer = b
			if !a.open || a.silent {
				b.broken(wire.ReasonParentLost)
				return
			}
			if !b.open {
				a.broken(wire.ReasonParentLost)
				return
			}
			d.wakes(input, func() {
				if a.open && t.links[id] == a {
					t.step(pdp.Opened{Link: id})
				}
			})
		})
	})
}

// send queues a frame.
func (e *end) send(p packet) {
	if !e.open || e.closing || e.peer == nil {
		return
	}
	if len(e.queue) == 0 && e.flying == 0 {
		e.moved = e.dev.sub.s.now
	}
	e.queue = append(e.queue, p)
	e.dev.kick()
}

// close ends this side once the queue is out.
func (e *end) close() {
	if !e.open {
		return
	}
	e.closing = true
	delete(e.links(), e.id)
	if e.peer == nil {
		e.open = false
		e.dev.dropEnd(e)
		return
	}
	e.queue = append(e.queue, packet{size: 66, fin: true})
	e.dev.kick()
}

func (e *end) links() map[pdp.Link]*end {
	if e.task == nil {
		return nil
	}
	return e.task.links
}

// broken tells this side that the link broke.
func (e *end) broken(why wire.Reason) {
	if !e.open || e.silent {
		return
	}
	if e.dev.asleep {
		e.dev.wakes(input, func() { e.broken(why) })
		return
	}
	e.open, e.queue = false, nil
	e.dev.dropEnd(e)
	if e.task != nil && e.task.links[e.id] == e {
		delete(e.task.links, e.id)
		e.task.step(pdp.Closed{Link: e.id, Reason: why})
	}
}

// reset is what the other side of a link sees when a process ends.
func (e *end) reset() {
	e.open, e.queue = false, nil
	if p := e.peer; p != nil {
		e.dev.sub.s.After(e.dev.sub.cfg.Latency, func() { p.broken(wire.ReasonParentLost) })
	}
}

// silence is what the other side sees after a power failure: nothing.
func (e *end) silence() {
	e.open, e.silent, e.queue = false, true, nil
}

// blocked reports whether bytes do not get through at present.
func (e *end) blocked() bool {
	return e.dev.sub.cut(e.dev, e.peer.dev) || e.dev.sub.cut(e.peer.dev, e.dev)
}

// kick starts the device's port if something may leave. The links take turns.
func (d *Device) kick() {
	if d.upBusy {
		return
	}
	for i := range d.ends {
		k := (d.turn + 1 + i) % len(d.ends)
		e := d.ends[k]
		if len(e.queue) == 0 || !e.open || e.peer == nil || e.flying >= window {
			continue
		}
		if e.blocked() {
			e.watch()
			continue
		}
		d.turn = k
		e.transmit()
		return
	}
}

// watch breaks the link if nothing moves for the user timeout.
func (e *end) watch() {
	s, moved := e.dev.sub.s, e.moved
	s.At(max(moved+s.cfg.UserTimeout, s.now+1), func() {
		if e.open && e.moved == moved && (len(e.queue) > 0 || e.flying > 0) {
			e.gone = true
			e.broken(wire.ReasonParentLost)
		}
	})
}

// transmit sends the first packet of the queue over the port.
func (e *end) transmit() {
	s, d, p := e.dev.sub.s, e.dev, e.queue[0]
	e.queue = e.queue[1:]
	n := int(float64(p.size) * (1 + s.cfg.Overhead))
	start, dur := s.now, span(n, d.Up)
	d.upBusy = true
	e.flying += p.size
	e.peer.trickle(start+trickle, start+dur)
	s.After(dur, func() {
		d.upBusy = false
		if e.open {
			e.arrive(p, n, start)
			if p.chunk {
				rate := int64(float64(n) / dur.Seconds())
				d.wakes(input, func() { e.sent(rate) })
			}
			if p.fin {
				e.open = false
				d.dropEnd(e)
			}
		}
		if d.on {
			d.kick()
		}
	})
}

// sent tells that a chunk has left, and how fast.
func (e *end) sent(rate int64) {
	if e.task != nil && e.task.links[e.id] == e {
		e.task.step(pdp.Sent{Link: e.id, Rate: rate})
	}
}

// trickle tells now and then that bytes of a chunk are coming, from a time
// until another.
func (e *end) trickle(at, until time.Duration) {
	if at >= until {
		return
	}
	e.dev.sub.s.At(at, func() {
		if !e.open {
			return
		}
		if e.task != nil && e.task.links[e.id] == e && !e.dev.asleep {
			e.task.step(pdp.Active{Link: e.id})
		}
		e.trickle(at+trickle, until)
	})
}

// arrive carries a packet that has left over the other side's port.
func (e *end) arrive(p packet, n int, start time.Duration) {
	s, to := e.dev.sub.s, e.peer
	lat := s.between(e.dev.sub.cfg.Latency, e.dev.sub.cfg.Jitter)
	at := max(s.now+lat, max(start+lat, to.dev.downFree)+span(n, to.dev.Down), e.lastArrival)
	to.trickle(s.now+trickle, at)
	to.dev.downFree, e.lastArrival = at, at
	s.At(at, func() {
		switch {
		case to.silent:
			e.watch()
		case to.gone:
			s.After(e.dev.sub.cfg.Latency, func() { e.broken(wire.ReasonParentLost) })
		case !to.open:
		default:
			to.receive(e, p)
		}
	})
}

// receive reads a frame in order; the link's next one waits until it is done.
func (e *end) receive(from *end, p packet) {
	s := e.dev.sub.s
	done := max(s.now, e.readFree)
	if p.chunk {
		done = max(done, e.dev.diskFree) + e.dev.disk(p.size)
		e.dev.diskFree = done
	}
	e.readFree = done
	s.At(done, func() { e.dev.wakes(input, func() { e.take(from, p) }) })
}

// take hands over a frame that was read, and makes room for the next.
func (e *end) take(from *end, p packet) {
	from.flying -= p.size
	from.moved = e.dev.sub.s.now
	switch {
	case !e.open:
	case p.fin:
		e.broken(wire.ReasonParentLost)
	default:
		e.read(p)
	}
	if from.open {
		from.dev.kick()
	}
}

// read decodes a frame and hands it over.
func (e *end) read(p packet) {
	s := e.dev.sub.s
	f, err := wire.ReadFrame(bytes.NewReader(p.b), func(n int) []byte { return make([]byte, n) })
	if err != nil || f == nil {
		s.violate("%s: a frame that cannot be read: %v", e.dev, err)
		return
	}
	if e.task == nil {
		e.hello(f)
		return
	}
	if e.closing || e.task.links[e.id] != e {
		return
	}
	switch f := f.(type) {
	case *wire.Chunk:
		if e.id > 0 {
			e.foul()
			return
		}
		e.task.chunk(e.id, f.Index, p.size-5-wire.ChunkHeader, token(binary.BigEndian.Uint64(f.Bytes)))
	case *wire.TablePart:
		if e.id < 0 {
			e.task.tablePart(e.id, f)
		}
	default:
		if _, ok := f.(*wire.Welcome); ok {
			e.welcomed = true
		}
		e.task.step(pdp.Framed{Link: e.id, Frame: f})
	}
}

// foul ends a link over which a child sent what only parents send.
func (e *end) foul() {
	t, id := e.task, e.id
	e.close()
	t.step(pdp.Closed{Link: id, Reason: wire.ReasonProtocol})
}

// hello is the accepting driver's part: which file a link is for.
func (e *end) hello(f wire.Frame) {
	h, ok := f.(*wire.Hello)
	if !ok {
		e.close()
		return
	}
	t := e.dev.tasks[h.Hierarchy]
	if t == nil || t.actor == nil {
		e.send(control(&wire.Refuse{Reason: wire.ReasonUnknownFile}))
		e.close()
		return
	}
	t.nextLink++
	e.task, e.id = t, t.nextLink
	t.links[e.id] = e
	e.set = transfer.SetOf(h.Stripe, h.Trees)
	from := netip.AddrPortFrom(e.peer.dev.Addr, 32768)
	t.step(pdp.Accepted{Link: e.id, From: from, Hello: h})
}

// control encodes a control frame.
func control(f wire.Frame) packet {
	b := wire.AppendFrame(nil, f)
	return packet{b: b, size: len(b) + 66}
}

// chunkPacket encodes a chunk: its token in place of its bytes.
func chunkPacket(index, size int, provisional bool, v token) packet {
	b := wire.ChunkFrameHeader(index, 8, provisional)
	b = binary.BigEndian.AppendUint64(b, uint64(v))
	return packet{b: b, size: size + 5 + wire.ChunkHeader, chunk: true}
}

// window bounds that of a connection: the socket's buffers, and on a line that loses
// packets what CUBIC keeps on the average, by its response function or, where that is
// more, by Reno's (RFC 9438 sections 5.1 and 4.3).
func (v *Server) window() int {
	p, rtt := v.sub.cfg.WANLoss, v.sub.cfg.RTT.Seconds()
	if p <= 0 {
		return maxWindow
	}
	cubic := 1.054 * math.Pow(rtt, 0.75) / math.Pow(p, 0.75)
	reno := math.Sqrt(1.5 / p)
	return min(maxWindow, max(segment, int(max(cubic, reno)*segment)))
}
