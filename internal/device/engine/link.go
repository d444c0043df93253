package engine

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// activeEvery is how often a link that carries a chunk says so.
const activeEvery = 200 * time.Millisecond

// lastFramesTimeout is how long a dropped link may take to send its last frames.
const lastFramesTimeout = time.Second

// readBuffer is the read-ahead of a link, in bytes.
const readBuffer = 4 << 10

// linkQueue bounds what waits to be sent over a link: a window of chunks and
// the keep-alives of a child that does not read, until it is dropped.
const linkQueue = 64

// link is one connection to a parent or a child.
type link struct {
	id   pdp.Link
	job  *job
	conn net.Conn
	peer string // the other device's address, for reports
	out  chan outgoing
	// wants is what a child wants of the file.
	wants transfer.Set
	// dropped is closed when the machine has closed the link.
	dropped chan struct{}
	// buf holds a chunk read from disk; the writer's own.
	buf []byte
	// gen is the generation of the content that the parent's chunks belong to.
	// Chunks that are still read after the machine has left the parent and
	// begun another content are dropped.
	gen atomic.Uint64
}

// outgoing is a frame, or without one a chunk of a generation of the content.
type outgoing struct {
	frame wire.Frame
	chunk int
	gen   uint64
}

// dial opens a link to a parent.
func (j *job) dial(a pdp.Dial) {
	l := &link{id: a.Link, job: j, peer: a.Addr.String(), out: make(chan outgoing, linkQueue),
		dropped: make(chan struct{})}
	j.links[a.Link] = l
	go func() {
		ctx, cancel := context.WithTimeout(j.ctx, j.dev.cfg.Protocol.Tree.Dial)
		defer cancel()
		c, err := j.dev.cfg.Net.Dial(ctx, a.Addr)
		if err != nil {
			j.post(pdp.Closed{Link: a.Link, Reason: wire.ReasonUnreachable})
			return
		}
		j.dev.post(func(now time.Duration) {
			if j.links[a.Link] != l {
				c.Close()
				return
			}
			l.conn = c
			_, gen := j.content()
			l.gen.Store(gen)
			l.run()
			j.step(now, pdp.Opened{Link: a.Link})
		})
	}()
}

// acceptLink takes a child's link.
func (j *job) acceptLink(now time.Duration, c net.Conn, from netip.AddrPort, h *wire.Hello) {
	j.nextLink++
	l := &link{id: j.nextLink, job: j, conn: c, peer: from.String(), out: make(chan outgoing, linkQueue),
		dropped: make(chan struct{})}
	l.wants = transfer.SetOf(h.Stripe, h.Trees)
	j.links[l.id] = l
	l.run()
	j.step(now, pdp.Accepted{Link: l.id, From: from, Hello: h})
}

func (l *link) run() {
	go l.read()
	go l.write()
}

// send queues something; a link whose queue is full is broken.
func (l *link) send(o outgoing) {
	select {
	case l.out <- o:
	default:
		if l.conn != nil {
			l.conn.Close()
		}
	}
}

// read takes frames until the link ends.
func (l *link) read() {
	j := l.job
	src := &activeReader{link: l, r: l.conn, low: newLowWater(l.conn)}
	r := bufio.NewReaderSize(src, readBuffer)
	var buf []byte
	var table theirTable
	for {
		f, err := wire.ReadFrame(r, func(n int) []byte {
			if l.id > 0 || n > j.chunkSize() {
				return nil // children send no chunks, nobody sends larger ones
			}
			if cap(buf) < n {
				buf = make([]byte, n)
			}
			src.begin(n - r.Buffered())
			return buf[:n]
		})
		if err != nil {
			l.gone(err)
			return
		}
		switch f := f.(type) {
		case nil:
		case *wire.Chunk:
			src.end(len(f.Bytes))
			l.chunk(f)
		case *wire.TablePart:
			if l.id < 0 && table.add(f) {
				j.compare(l.id, table.digests)
			}
		case *wire.End, *wire.Welcome:
			// The size must be known before the next chunk is stored.
			j.call(pdp.Framed{Link: l.id, Frame: f})
		default:
			j.post(pdp.Framed{Link: l.id, Frame: f})
		}
	}
}

// chunk verifies and stores a chunk from the parent, then tells the machine.
func (l *link) chunk(f *wire.Chunk) {
	j := l.job
	part, gen := j.content()
	j.peerBytes(len(f.Bytes))
	if part == nil || gen != l.gen.Load() {
		return
	}
	if part.Has(f.Index) {
		// The machine may not know of it, where the size was not known at the
		// start.
		j.postAt(gen, pdp.Stored{Link: l.id, Index: f.Index})
		return
	}
	err := part.WriteChunk(f.Index, f.Bytes)
	switch {
	case err == nil:
		j.keep(gen, f.Index, f.Bytes)
		j.postAt(gen, pdp.Stored{Link: l.id, Index: f.Index})
	case errors.Is(err, slot.ErrBadChunk), errors.Is(err, slot.ErrSize):
		j.postAt(gen, pdp.Bad{Link: l.id, Index: f.Index})
	default:
		j.diskFailed(gen, err)
	}
}

// gone tells the machine that the link ended.
func (l *link) gone(err error) {
	why := wire.ReasonParentLost
	if errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrForeign) {
		why = wire.ReasonProtocol
	}
	l.conn.Close()
	l.job.dev.post(func(now time.Duration) {
		if l.job.links[l.id] == l {
			l.job.dropLink(l)
			l.job.step(now, pdp.Closed{Link: l.id, Reason: why})
		}
	})
}

// write sends what is queued, in order, until the link is dropped; what was
// queued before that still leaves, for as long as lastFramesTimeout.
func (l *link) write() {
	defer l.conn.Close()
	var buf []byte
	rate := sendRate(l.conn)
	send := func(o outgoing) error {
		if o.frame == nil {
			return l.writeChunk(o, rate)
		}
		buf = wire.AppendFrame(buf[:0], o.frame)
		_, err := l.conn.Write(buf)
		return err
	}
	for {
		select {
		case o := <-l.out:
			if send(o) != nil {
				return // closing the connection makes the reader tell
			}
		case <-l.dropped:
			_ = l.conn.SetWriteDeadline(time.Now().Add(lastFramesTimeout))
			for {
				select {
				case o := <-l.out:
					if send(o) != nil {
						return
					}
				default:
					return
				}
			}
		}
	}
}

// writeChunk sends a chunk from memory if it came a moment ago, else from
// disk.
func (l *link) writeChunk(o outgoing, rate func() int64) error {
	j := l.job
	b, release, err := l.chunkBytes(o)
	if err != nil {
		return err
	}
	l.job.dev.limit.Wait(l.dropped, len(b))
	head := wire.ChunkFrameHeader(o.chunk, len(b), !j.spec.signed())
	bufs := net.Buffers{head, b}
	_, err = bufs.WriteTo(l.conn)
	release()
	if err != nil {
		return err
	}
	j.servedBytes(l.peer, len(b))
	j.post(pdp.Sent{Link: l.id, Rate: rate()})
	return nil
}

// activeReader reports now and then that bytes arrive.
type activeReader struct {
	link *link
	r    io.Reader
	told time.Time
	low  *lowWater
	// left of the chunk that is coming, and since when.
	left  int
	since time.Time
}

// begin announces that the next n bytes are those of a chunk.
func (a *activeReader) begin(n int) { a.left, a.since = n, time.Now() }

// end announces that a chunk of n bytes has arrived.
func (a *activeReader) end(n int) {
	a.low.pace(n, time.Since(a.since))
	a.left = 0
}

func (a *activeReader) Read(b []byte) (int, error) {
	a.low.want(max(0, a.left))
	n, err := a.r.Read(b)
	a.left -= n
	if n > 0 && a.link.id < 0 {
		if now := time.Now(); now.Sub(a.told) >= activeEvery {
			a.told = now
			a.link.job.post(pdp.Active{Link: a.link.id})
		}
	}
	return n, err
}
