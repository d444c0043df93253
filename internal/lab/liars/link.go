package liars

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// link is a connection of a face.
type link struct {
	id     pdp.Link
	face   *face
	conn   net.Conn
	out    chan outgoing
	chunks atomic.Int32 // that wait
	once   sync.Once
	ended  chan struct{}
}

// outgoing is what waits on a link; no bytes end it.
type outgoing struct {
	bytes []byte
	chunk bool
}

// mostOutgoing bounds what waits on a link: a peer that reads nothing gets no more.
const mostOutgoing = 64

func newLink(f *face, id pdp.Link, c net.Conn) *link {
	return &link{id: id, face: f, conn: c, out: make(chan outgoing, mostOutgoing), ended: make(chan struct{})}
}

// send queues a frame, if the link is there and takes it.
func (l *link) send(b []byte, chunk bool) {
	if l == nil || len(b) == 0 {
		return
	}
	if chunk {
		l.chunks.Add(1)
	}
	select {
	case l.out <- outgoing{b, chunk}:
	default:
		if chunk {
			l.chunks.Add(-1)
		}
	}
}

// endSoon closes the link once what waits has been sent.
func (l *link) endSoon() {
	select {
	case l.out <- outgoing{}:
	default:
		l.close()
	}
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.ended)
		l.conn.Close()
	})
}

// accept takes the links of others, each from its Hello on.
func (f *face) accept() {
	var id atomic.Int64
	for {
		c, err := f.tcp.Accept()
		if err != nil {
			return
		}
		f.liar.wg.Go(func() {
			l := newLink(f, pdp.Link(id.Add(1)), c)
			defer l.close()
			stop := f.liar.closes(c)
			defer stop()
			r := bufio.NewReader(c)
			first, err := wire.ReadFrame(r, buffer())
			hello, ok := first.(*wire.Hello)
			if err != nil || !ok || hello.Hierarchy != f.liar.cfg.File.Hierarchy {
				return
			}
			f.liar.wg.Go(l.write)
			var from netip.AddrPort
			if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
				from = a.AddrPort()
			}
			f.liar.tell(happening{face: f, link: l, event: pdp.Accepted{Link: l.id, From: from, Hello: hello}})
			l.read(r)
		})
	}
}

// dial opens a link of the face.
func (f *face) dial(d pdp.Dial) {
	f.liar.wg.Go(func() {
		var c net.Conn
		err := f.host.Run(func() (err error) {
			c, err = (&net.Dialer{Timeout: 3 * time.Second}).DialContext(f.liar.ctx, "tcp4", d.Addr.String())
			return err
		})
		if err != nil {
			f.liar.tell(happening{face: f, event: pdp.Closed{Link: d.Link, Reason: wire.ReasonUnreachable}})
			return
		}
		l := newLink(f, d.Link, c)
		defer l.close()
		stop := f.liar.closes(c)
		defer stop()
		f.liar.wg.Go(l.write)
		f.liar.tell(happening{face: f, link: l, event: pdp.Opened{Link: l.id}})
		l.read(bufio.NewReader(c))
	})
}

// closes closes a connection with the liar.
func (l *Liar) closes(c net.Conn) (stop func() bool) {
	return context.AfterFunc(l.ctx, func() { c.Close() })
}

// buffer returns a place for the bytes of chunks, which nobody looks at.
func buffer() func(int) []byte {
	var b []byte
	return func(n int) []byte {
		if len(b) < n {
			b = make([]byte, min(n, load.MaxChunkSize))
		}
		return b
	}
}

// read passes on what comes, to the end of the link.
func (l *link) read(r *bufio.Reader) {
	buf := buffer()
	for {
		m, err := wire.ReadFrame(r, buf)
		if err != nil {
			l.face.liar.tell(happening{face: l.face, event: pdp.Closed{Link: l.id, Reason: wire.ReasonParentLost}})
			return
		}
		if _, chunk := m.(*wire.Chunk); m != nil && !chunk {
			l.face.liar.tell(happening{face: l.face, event: pdp.Framed{Link: l.id, Frame: m}})
		}
	}
}

// write sends what waits, at the rate of the face's port if the program has one.
func (l *link) write() {
	rate := l.face.liar.cfg.Program.Up
	for {
		select {
		case <-l.ended:
			return
		case o := <-l.out:
			if len(o.bytes) == 0 {
				l.close()
				return
			}
			if rate > 0 {
				select {
				case <-time.After(time.Duration(float64(8*len(o.bytes)) / rate * float64(time.Second))):
				case <-l.ended:
					return
				}
			}
			if _, err := l.conn.Write(o.bytes); err != nil {
				return
			}
			if o.chunk {
				l.chunks.Add(-1)
				l.face.liar.tell(happening{face: l.face, event: pdp.Sent{Link: l.id}})
			}
		}
	}
}
