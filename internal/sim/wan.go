package sim

import (
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// Server is the server behind a subnet's WAN, and what is wrong with it.
type Server struct {
	// Down refuses connections; Dark does not answer at all.
	Down, Dark bool
	// Missing answers that there is no such file.
	Missing bool
	// Stalled sends no more bytes.
	Stalled bool
	// TruncateAt, if positive, ends bodies after so many chunks of the file.
	TruncateAt int
	// NoRange starts every body at chunk 0.
	NoRange bool
	// NoLength tells a body's length only at its end.
	NoLength bool
	// Told, if positive, is the size that it tells, of which its bodies know
	// nothing. A device that has found it false looks at the bodies alone.
	Told int64
	// Altered serves wrong bytes.
	Altered func(index int) bool
	// Bytes counts what crossed the WAN, payload only.
	Bytes int64

	sub       *Subnet
	epoch     uint64
	right     uint64
	busy      bool
	turn      int
	downloads []*Download
}

func (v *Server) init(sub *Subnet) { v.sub, v.epoch, v.right = sub, 1, 1 }

// Replace puts another content under the file's name.
func (v *Server) Replace() {
	v.epoch++
	v.right = v.epoch
}

// well reports whether nothing is wrong with the server.
func (v *Server) well() bool {
	return !v.Down && !v.Dark && !v.Missing && !v.Stalled && v.TruncateAt == 0 && v.Altered == nil
}

// Wake goes on after Stalled was taken back.
func (v *Server) Wake() { v.kick() }

// Download is one body from the server.
type Download struct {
	Task *Task
	// At is when it was asked for, Answered and Ends when the answer came and
	// when it was over: -1 before that.
	At, Answered, Ends time.Duration
	Bytes              int64

	index  int // chunk being sent
	off    int // bytes of it sent
	flying int
	// unacked is what the WAN carries and cwnd what it may, with SlowStart.
	unacked, cwnd int
	moved         time.Duration
	live          bool
	body          bool // the answer has come
	gen           int  // of the content that it is for
}

const (
	// quantum is what the WAN sends of one download before the next one's turn,
	// on a slow one no more than it sends in slowTurn, but a packet.
	quantum  = 16 << 10
	slowTurn = 250 * time.Millisecond
	segment  = 1460
	// wanWindow is how many bytes may wait on a device's port and disk.
	wanWindow = 128 << 10
	// initialWindow is how many bytes TCP sends before the first
	// acknowledgement: ten segments (RFC 6928).
	initialWindow = 14600
	// maxWindow bounds the window of a WAN's connection: usual socket buffers.
	maxWindow = 4 << 20
)

// openOrigin asks the server for the body from a chunk on.
func (t *Task) openOrigin(from int) {
	s, v := t.dev.sub.s, &t.dev.sub.Server
	if t.dl != nil {
		s.violate("%s opens the origin twice", t.dev)
		return
	}
	if v.NoRange || !t.file.Keyed && t.store.n > 0 && t.store.epoch != v.epoch {
		from = 0 // If-Range sees another content
	}
	dl := &Download{Task: t, At: s.now, Answered: -1, Ends: -1, index: from, live: true, moved: s.now, cwnd: initialWindow}
	t.dl = dl
	t.Asked++
	if t.OriginAsked < 0 {
		t.OriginAsked = s.now
	}
	v.sub.Opened = append(v.sub.Opened, dl)
	v.downloads = append(v.downloads, dl)
	t.checkBudget(dl)
	ready := s.now + t.dev.sub.cfg.RTT
	if t.prepared {
		ready = max(s.now, t.ready)
	}
	t.prepared = false
	ready += time.Duration(max(t.file.Requests, 1)-1) * t.dev.sub.cfg.RTT
	switch {
	case v.Dark:
		s.At(s.now+s.cfg.OriginStall, func() { dl.end(wire.ReasonOriginUnreachable) })
	case v.Down:
		s.At(ready, func() { dl.end(wire.ReasonOriginUnreachable) })
	case v.Missing:
		s.At(ready+t.dev.sub.cfg.RTT, func() { dl.end(wire.ReasonOriginNotFound) })
	default:
		s.At(ready+t.dev.sub.cfg.RTT, func() { t.dev.wakes(input, dl.answered) })
	}
}

// answered is the head of the answer: a body follows.
func (dl *Download) answered() {
	if !dl.live {
		return
	}
	t := dl.Task
	s, v := t.dev.sub.s, &t.dev.sub.Server
	dl.body, dl.moved, dl.Answered = true, s.now, s.now
	if t.store.n == 0 {
		t.store.epoch = v.epoch
	}
	size := t.file.Size
	switch {
	case v.NoLength, t.blind:
		size = load.UnknownSize
	case v.Told > 0:
		size = v.Told
	}
	t.step(pdp.OriginOpened{Size: size, Epoch: v.epoch, From: dl.index})
	dl.gen = t.gen // the machine may have begun another content for it
	dl.watch()
	if dl.live && dl.index >= t.file.Chunks() {
		dl.tellLength(dl.index)
		dl.end(wire.ReasonNone)
	}
	v.kick()
}

// tellLength tells the length of a body that has come to its end, if it is not
// known yet, or another.
func (dl *Download) tellLength(from int) {
	v := &dl.Task.dev.sub.Server
	if dl.live && (v.NoLength || dl.Task.store.geo.Size != dl.Task.file.Size && v.Told != 0) {
		dl.Task.step(pdp.OriginOpened{Size: dl.Task.file.Size, Epoch: v.epoch, From: from})
	}
}

// exceeds tells that the body goes on after chunk index, the last of the size
// that was told.
func (dl *Download) exceeds(index int) {
	t := dl.Task
	if g := t.store.geo; g.Known() && g.Size < t.file.Size && index == g.Chunks()-1 {
		t.blind = true
		t.step(pdp.OriginOpened{Size: load.UnknownSize, Epoch: t.dev.sub.Server.epoch})
	}
}

func (t *Task) stopOrigin() {
	if t.dl != nil {
		t.dl.remove()
	}
}

// remove takes the download off the WAN.
func (dl *Download) remove() {
	v := &dl.Task.dev.sub.Server
	dl.live = false
	dl.Ends = v.sub.s.now
	if dl.Task.dl == dl {
		dl.Task.dl = nil
	}
	for i, x := range v.downloads {
		if x == dl {
			v.downloads = append(v.downloads[:i], v.downloads[i+1:]...)
			break
		}
	}
}

// end ends a download, if it has not ended yet; without a reason it has
// brought everything.
func (dl *Download) end(why wire.Reason) {
	t := dl.Task
	t.dev.wakes(input, func() {
		if dl.live {
			dl.remove()
			t.step(pdp.OriginEnded{Reason: why, Size: t.file.Size})
		}
	})
}

// watch is the driver's patience with the server.
func (dl *Download) watch() {
	s := dl.Task.dev.sub.s
	s.At(dl.moved+s.cfg.OriginStall, func() {
		dl.Task.dev.wakes(timer, func() {
			switch {
			case !dl.live:
			case s.now-dl.moved >= s.cfg.OriginStall:
				dl.end(wire.ReasonOriginStalled)
			default:
				dl.watch()
			}
		})
	})
}

// kick sends the next piece over the WAN; the downloads take turns.
func (v *Server) kick() {
	if v.busy || v.Stalled || v.Dark || v.Down {
		return
	}
	s := v.sub.s
	for i := range v.downloads {
		k := (v.turn + 1 + i) % len(v.downloads)
		dl := v.downloads[k]
		if !dl.body || dl.flying >= wanWindow || dl.index >= dl.Task.file.Chunks() {
			continue
		}
		if v.sub.cfg.SlowStart && dl.unacked > 0 && dl.unacked+v.quantum() > dl.cwnd {
			continue
		}
		if v.TruncateAt > 0 && dl.index >= v.TruncateAt {
			if dl.flying == 0 {
				s.After(0, func() { dl.end(wire.ReasonOriginTruncated) })
			}
			continue
		}
		v.turn = k
		v.send(dl)
		return
	}
}

// quantum is how much of a body leaves at once.
func (v *Server) quantum() int {
	if w := v.sub.cfg.WAN; w > 0 {
		return min(quantum, max(segment, int(w/8*slowTurn.Seconds())))
	}
	return quantum
}

// send carries a piece of a body over the WAN, the device's port and its disk.
func (v *Server) send(dl *Download) {
	s, t := v.sub.s, dl.Task
	_, size := t.file.geo.Span(dl.index)
	n := min(v.quantum(), size-dl.off)
	index, last := dl.index, dl.off+n == size
	dl.off += n
	if last {
		dl.index, dl.off = dl.index+1, 0
	}
	dl.flying += n
	dl.unacked += n
	v.busy = true
	wireBytes := int(float64(n) * (1 + s.cfg.Overhead))
	s.After(span(wireBytes, v.sub.cfg.WAN), func() {
		v.busy = false
		v.Bytes += int64(n)
		if v.sub.cfg.SlowStart {
			s.After(v.sub.cfg.RTT, func() { v.acked(dl, n) })
		}
		if dl.live {
			v.arrive(dl, index, n, size, last)
		}
		v.kick()
	})
}

// acked opens the window by what was acknowledged, as slow start does (RFC 5681
// section 3.1).
func (v *Server) acked(dl *Download, n int) {
	dl.unacked -= n
	dl.cwnd = min(dl.cwnd+n, maxWindow)
	if dl.live {
		v.kick()
	}
}

func (v *Server) arrive(dl *Download, index, n, size int, last bool) {
	s, t := v.sub.s, dl.Task
	d := t.dev
	d.downFree = max(s.now, d.downFree+span(n, d.Down))
	s.At(d.downFree, func() {
		d.wakes(input, func() {
			if !dl.live {
				return
			}
			dl.Bytes += int64(n)
			dl.moved = s.now
			t.step(pdp.OriginBytes{Bytes: dl.Bytes})
			at := s.now
			if last {
				d.diskFree = max(s.now, d.diskFree) + d.disk(size)
				at = d.diskFree
			}
			s.At(at, func() { d.wakes(input, func() { v.stored(dl, index, n, size, last) }) })
		})
	})
}

// stored ends a piece's way: it is on disk.
func (v *Server) stored(dl *Download, index, n, size int, last bool) {
	if !dl.live {
		return
	}
	dl.flying -= n
	if last {
		v.whole(dl, index, size)
	}
	v.kick()
}

// whole hands over a chunk of a body.
func (v *Server) whole(dl *Download, index, size int) {
	t := dl.Task
	tok := token(v.epoch)
	if v.Altered != nil && v.Altered(index) {
		tok |= wrong
	}
	end := index == t.file.Chunks()-1
	short := size < t.file.geo.ChunkSize()
	if end && short {
		dl.tellLength(index)
	}
	if v.Told > 0 {
		dl.exceeds(index)
	}
	switch {
	case !dl.live:
	case dl.gen != t.gen:
		dl.remove() // the driver cannot write, and says nothing
	case t.chunk(0, index, size, tok):
	case t.full:
		dl.remove()
	default:
		dl.end(wire.ReasonOriginWrong)
	}
	if end && !short {
		dl.tellLength(index + 1)
	}
	if end {
		dl.end(wire.ReasonNone)
	}
}
