package sim

import (
	"slices"
	"time"

	"github.com/peerload/peerload/internal/pieces"
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
	streams   []*stream // of them, over which bytes come
	vain      int       // bytes that it sends and that nobody wants
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

	from  int // chunk that was asked for
	moved time.Duration
	live  bool
	gen   int // of the content that it is for
	// fetch decides of a download in pieces, nil of any other; idle are the windows
	// of its connections that have no ask.
	fetch *pieces.Fetch
	idle  []int
	// waiting are connections that were made ahead, and made is when they were; early are
	// asked for over them before the first answer.
	waiting int
	made    time.Duration
	early   []*stream
	epoch   uint64        // of the server's content, when it began
	look    time.Duration // when fetch is asked next
}

// stream is what comes over one connection.
type stream struct {
	*Download
	id    int // of the ask, with fetch
	index int // chunk being sent
	end   int // chunk before which it ends
	off   int // bytes of it sent
	// flying is what waits on the device's port and disk.
	flying int
	// unacked is what the WAN carries and cwnd what it may, with SlowStart.
	unacked, cwnd int
	body          bool // the answer has come
	over          bool // nothing more is wanted of it
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
	// far is the round trip from which connections are made ahead, as in package origin.
	far = 50 * time.Millisecond
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
	dl := &Download{Task: t, At: s.now, Answered: -1, Ends: -1, from: from, live: true, moved: s.now, epoch: v.epoch}
	t.dl = dl
	t.Asked++
	if t.OriginAsked < 0 {
		t.OriginAsked = s.now
	}
	v.sub.Opened = append(v.sub.Opened, dl)
	v.downloads = append(v.downloads, dl)
	st := &stream{Download: dl, index: from, end: t.file.Chunks(), cwnd: initialWindow}
	if run, ok := dl.inPieces(); ok {
		st.end = from + min(run, pieces.FirstPiece)
	}
	v.streams = append(v.streams, st)
	t.checkBudget(dl)
	ready := s.now + t.dev.sub.cfg.RTT
	if t.prepared {
		dl.connects(t.ready - t.dev.sub.cfg.RTT)
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
		s.At(ready+t.dev.sub.cfg.RTT, func() { t.dev.wakes(input, st.answered) })
	}
}

// inPieces reports whether a driver asks for pieces, and gets them: the server sends
// pieces of a size that it tells the truth of; and how many chunks are lacking at once.
func (dl *Download) inPieces() (run int, ok bool) {
	v := &dl.Task.dev.sub.Server
	if v.NoRange || v.NoLength || v.Told != 0 {
		return 0, false
	}
	return dl.asksPieces()
}

// asksPieces reports whether a driver asks for pieces: there are enough chunks, or some
// of them are held; and how many are lacking at once.
func (dl *Download) asksPieces() (run int, ok bool) {
	t := dl.Task
	if t.m == nil || t.dev.sub.cfg.Connections < 2 || t.oneStream {
		return 0, false
	}
	run = pieces.Run(dl.from, t.file.Chunks(), t.store.holds)
	end := dl.from + run
	return run, end < t.file.Chunks() || run >= 2*pieces.FirstPiece
}

// connects makes connections for the pieces behind the first to a server that is far, beside
// one whose handshake began before, and asks over them what they show the line to need.
func (dl *Download) connects(began time.Duration) {
	t := dl.Task
	s, v, cfg := t.dev.sub.s, &t.dev.sub.Server, &t.dev.sub.cfg
	run, ok := dl.asksPieces()
	if !ok || t.dev.narrow || cfg.RTT < far || v.Down || v.Dark || t.file.Requests > 1 {
		return
	}
	dl.waiting = cfg.Connections - 1
	first := max(s.now, began+far) + cfg.RTT + span(pieces.HandshakeBytes, cfg.WAN)
	dl.made = first + time.Duration(dl.waiting-1)*span(pieces.HandshakeBytes, cfg.WAN)
	h := pieces.Handshakes{Trip: cfg.RTT, Made: dl.waiting, Spread: dl.made - first}
	s.At(dl.made, func() {
		t.dev.wakes(timer, func() {
			if dl.live && dl.Answered < 0 {
				dl.asksEarly(dl.from+min(run, pieces.FirstPiece), h)
			}
		})
	})
}

// asksEarly asks for pieces behind the first before the answer to that.
func (dl *Download) asksEarly(behind int, h pieces.Handshakes) {
	t := dl.Task
	s, v, cfg := t.dev.sub.s, &t.dev.sub.Server, &t.dev.sub.cfg
	geo := t.store.geo // as far as the device knows
	asks := pieces.Early(pieces.Config{Connections: cfg.Connections, Chunk: geo.ChunkSize(), Chunks: geo.Chunks()}, h,
		behind, t.store.holds)
	dl.waiting -= len(asks)
	_, pieces := dl.inPieces()
	for _, a := range asks {
		if !pieces { // each answer is the file from its start on
			t.dev.narrow = true
			s.After(cfg.RTT, func() { v.vain += initialWindow; v.kick() })
			continue
		}
		if a.First >= t.file.Chunks() {
			continue // there is no such piece, and the server says so
		}
		st := &stream{Download: dl, index: a.First, end: min(a.End, t.file.Chunks()), cwnd: initialWindow}
		dl.early, v.streams = append(dl.early, st), append(v.streams, st)
		s.After(cfg.RTT, func() { st.begins() })
	}
}

// begins is the head of the answer to a piece.
func (st *stream) begins() {
	dl := st.Download
	if dl.live && !st.over && dl.fetch != nil {
		st.body = true
		dl.fetch.Bytes(dl.Task.dev.sub.s.now, st.id, 0)
		dl.Task.dev.sub.Server.kick()
	}
}

// answered is the head of the answer: a body follows.
func (st *stream) answered() {
	dl := st.Download
	if !dl.live {
		return
	}
	t := dl.Task
	s, v := t.dev.sub.s, &t.dev.sub.Server
	st.body, dl.moved, dl.Answered = true, s.now, s.now
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
	t.step(pdp.OriginOpened{Size: size, Epoch: v.epoch, From: dl.from, Whole: v.NoRange})
	dl.gen = t.gen // the machine may have begun another content for it
	dl.watch()
	if dl.live && dl.from >= t.file.Chunks() {
		dl.tellLength(dl.from)
		dl.end(wire.ReasonNone)
	}
	if dl.live && st.end < t.file.Chunks() {
		dl.fetch = pieces.New(pieces.Config{Connections: t.dev.sub.cfg.Connections, Chunk: t.file.geo.ChunkSize(),
			Chunks: t.file.Chunks()})
		st.id = dl.fetch.Begin(s.now, st.index, st.end, s.now-dl.At).ID
		for _, early := range dl.early {
			early.id = dl.fetch.Early(s.now, early.index, early.end, s.now-dl.made).ID
		}
	}
	v.kick()
}

// next begins and ends asks of a download in pieces, as package spread does.
func (dl *Download) next() {
	t := dl.Task
	s, v := t.dev.sub.s, &t.dev.sub.Server
	if !dl.live {
		return
	}
	missing := t.m.Missing(nil)
	if len(missing) == 0 || dl.gen != t.gen {
		return // chunks of peers were the last, or the machine ends it
	}
	if !t.file.Keyed && v.epoch != dl.epoch {
		t.oneStream = true // it has another validator: one stream tells of the change
		dl.remove()
		t.openOrigin(missing[0])
		return
	}
	asks, stop := dl.fetch.Next(s.now, missing)
	for _, st := range slices.Clone(v.streams) {
		if st.Download == dl && slices.Contains(stop, st.id) {
			v.dropStream(st)
		}
	}
	for _, a := range asks {
		wait, cwnd := dl.connection()
		st := &stream{Download: dl, id: a.ID, index: a.First, end: a.End, cwnd: cwnd}
		v.streams = append(v.streams, st)
		s.After(wait, func() { st.begins() })
	}
	if at, ok := dl.fetch.Deadline(s.now); ok && (dl.look <= s.now || at < dl.look) {
		dl.look = at
		s.At(at, func() {
			if dl.live && dl.look == at {
				t.dev.wakes(timer, dl.next)
			}
		})
	}
}

// connection takes one for an ask, and returns how long the answer takes over it and its
// window. One that was used is taken first; a new one takes a round trip more.
func (dl *Download) connection() (wait time.Duration, cwnd int) {
	sub := dl.Task.dev.sub
	if n := len(dl.idle); n > 0 {
		cwnd = dl.idle[n-1]
		dl.idle = dl.idle[:n-1]
		return sub.cfg.RTT, cwnd
	}
	if dl.waiting > 0 {
		dl.waiting--
		return max(0, dl.made-sub.s.now) + sub.cfg.RTT, initialWindow
	}
	return 2 * sub.cfg.RTT, initialWindow
}

// ends ends a stream whose ask has all, and asks for more.
func (st *stream) ends() {
	dl := st.Download
	v := &dl.Task.dev.sub.Server
	dl.fetch.Ended(v.sub.s.now, st.id, true)
	dl.idle = append(dl.idle, st.cwnd)
	v.dropStream(st)
	dl.next()
}

// dropStream takes a stream off the WAN.
func (v *Server) dropStream(st *stream) {
	st.over = true
	if i := slices.Index(v.streams, st); i >= 0 {
		v.streams = slices.Delete(v.streams, i, i+1)
	}
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
	v.downloads = slices.DeleteFunc(v.downloads, func(x *Download) bool { return x == dl })
	v.streams = slices.DeleteFunc(v.streams, func(x *stream) bool { return x.Download == dl })
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
	if n := min(v.vain, v.quantum()); n > 0 {
		v.vain -= n
		v.busy = true
		s.After(span(int(float64(n)*(1+s.cfg.Overhead)), v.sub.cfg.WAN), func() {
			v.busy = false
			v.Bytes += int64(n)
			v.kick()
		})
		return
	}
	for i := range v.streams {
		k := (v.turn + 1 + i) % len(v.streams)
		st := v.streams[k]
		if !st.body || st.flying >= wanWindow || st.index >= st.end {
			continue
		}
		if v.sub.cfg.SlowStart && st.unacked > 0 && st.unacked+v.quantum() > st.cwnd {
			continue
		}
		if v.TruncateAt > 0 && st.index >= v.TruncateAt {
			if st.flying == 0 {
				s.After(0, func() { st.Download.end(wire.ReasonOriginTruncated) })
			}
			continue
		}
		v.turn = k
		v.send(st)
		return
	}
}

// quantum is how much of a body leaves at once.
func (v *Server) quantum() int {
	n := quantum
	if w := v.sub.cfg.WAN; w > 0 {
		n = min(n, max(segment, int(w/8*slowTurn.Seconds())))
	}
	if v.sub.cfg.WANLoss > 0 {
		n = min(n, max(segment, v.window()/4))
	}
	return n
}

// send carries a piece of a body over the WAN, the device's port and its disk.
func (v *Server) send(st *stream) {
	s, t := v.sub.s, st.Task
	_, size := t.file.geo.Span(st.index)
	n := min(v.quantum(), size-st.off)
	index, last := st.index, st.off+n == size
	st.off += n
	if last {
		st.index, st.off = st.index+1, 0
	}
	st.flying += n
	st.unacked += n
	v.busy = true
	wireBytes := int(float64(n) * (1 + s.cfg.Overhead))
	s.After(span(wireBytes, v.sub.cfg.WAN), func() {
		v.busy = false
		v.Bytes += int64(n)
		if v.sub.cfg.SlowStart {
			s.After(v.sub.cfg.RTT, func() { v.acked(st, n) })
		}
		if st.live {
			v.arrive(st, index, n, size, last)
		}
		v.kick()
	})
}

// acked opens the window by what was acknowledged, as slow start does (RFC 5681
// section 3.1).
func (v *Server) acked(st *stream, n int) {
	st.unacked -= n
	st.cwnd = min(st.cwnd+n, v.window())
	if st.live {
		v.kick()
	}
}

func (v *Server) arrive(st *stream, index, n, size int, last bool) {
	s, dl, t := v.sub.s, st.Download, st.Task
	d := t.dev
	d.downFree = max(s.now, d.downFree+span(n, d.Down))
	s.At(d.downFree, func() {
		d.wakes(input, func() {
			if !dl.live || st.over {
				return
			}
			dl.Bytes += int64(n)
			dl.moved = s.now
			if dl.fetch != nil {
				// Its packets came one after the other.
				first := min(n, segment)
				dl.fetch.Bytes(s.now-span(n-first, v.sub.cfg.WAN), st.id, first)
				dl.fetch.Bytes(s.now, st.id, n-first)
			}
			t.step(pdp.OriginBytes{Bytes: dl.Bytes})
			if dl.live && dl.fetch != nil && dl.fetch.Wants() {
				dl.next()
			}
			at := s.now
			if last {
				d.diskFree = max(s.now, d.diskFree) + d.disk(size)
				at = d.diskFree
			}
			s.At(at, func() { d.wakes(input, func() { v.stored(st, index, n, size, last) }) })
		})
	})
}

// stored ends a piece's way: it is on disk.
func (v *Server) stored(st *stream, index, n, size int, last bool) {
	if !st.live || st.over {
		return
	}
	st.flying -= n
	if last {
		v.whole(st, index, size)
	}
	v.kick()
}

// whole hands over a chunk of a body.
func (v *Server) whole(st *stream, index, size int) {
	dl, t := st.Download, st.Task
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
	if dl.fetch != nil {
		st.went(index)
		return
	}
	if end && !short {
		dl.tellLength(index + 1)
	}
	if end {
		dl.end(wire.ReasonNone)
	}
}

// went is whole for a download in pieces.
func (st *stream) went(index int) {
	dl := st.Download
	if !dl.live {
		return
	}
	goesOn := dl.fetch.Chunk(st.id, index)
	switch {
	case len(dl.Task.m.Missing(nil)) == 0:
		dl.end(wire.ReasonNone)
	case !goesOn:
		st.ends()
	}
}
