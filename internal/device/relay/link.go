package relay

import (
	"bufio"
	"context"
	"net"
	"time"

	"github.com/peerload/peerload/internal/device/carrier"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/pdp/wire"
)

const (
	// linkQueue bounds the frames that wait to be sent: a follower that reads none is
	// let go.
	linkQueue = 64
	// writeTime bounds the sending of one.
	writeTime = 10 * time.Second
	// lastFrames is how long a link that is dropped may take to send what is left.
	lastFrames = time.Second
)

// link is a connection to the carrier or to a follower.
type link struct {
	conn net.Conn // nil while it is dialled
	peer string
	out  chan wire.Frame
	end  chan struct{} // closed when it is dropped
}

// begin begins a link over a connection.
func (r *Relay) begin(id carrier.Link, c net.Conn) {
	l := &link{conn: c, peer: c.RemoteAddr().String(), out: make(chan wire.Frame, linkQueue), end: make(chan struct{})}
	r.links[id] = l
	go r.read(id, l)
	go l.write()
}

// dial opens a link to the carrier, and says Hello.
func (r *Relay) dial(a carrier.Dial) {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Times.Dial)
	pending := &link{peer: a.Addr.String(), out: make(chan wire.Frame, linkQueue), end: make(chan struct{})}
	r.links[a.Link] = pending
	go func() {
		defer cancel()
		c, err := r.cfg.Net.Dial(ctx, a.Addr)
		ok := r.post(func() {
			switch {
			case r.links[a.Link] != pending: // it was dropped meanwhile
				if err == nil {
					c.Close()
				}
			case err != nil:
				r.gone(a.Link, pending, wire.ReasonUnreachable)
			default:
				r.begin(a.Link, c)
				r.frame(a.Link, &wire.Hello{Hierarchy: r.hier, From: r.self, TCPPort: r.cfg.Net.TCPPort()})
			}
		})
		if !ok && err == nil {
			c.Close()
		}
	}()
}

// drop ends a link, and says why.
func (r *Relay) drop(a carrier.Drop) {
	l := r.links[a.Link]
	if l == nil {
		return
	}
	if a.Link > 0 {
		l.send(&wire.Refuse{Reason: a.Reason})
	} else {
		l.send(&wire.Bye{Reason: a.Reason})
	}
	close(l.end)
	delete(r.links, a.Link)
}

// gone tells the machine that a link has ended.
func (r *Relay) gone(id carrier.Link, l *link, why wire.Reason) {
	if r.links[id] != l {
		return
	}
	close(l.end)
	delete(r.links, id)
	r.step(carrier.Closed{Link: id, Reason: why})
}

// tell sends a message over a link. One that is too long, which none is that a genuine
// controller makes, is not sent.
func (r *Relay) tell(id carrier.Link, c order.Carried) {
	text, err := c.Marshal()
	if err != nil {
		r.cfg.Log.Warn("not passed on", "error", err)
		return
	}
	r.frame(id, &wire.Carry{Text: text})
}

func (r *Relay) frame(id carrier.Link, f wire.Frame) {
	if l := r.links[id]; l != nil {
		l.send(f)
	}
}

// send queues a frame; a link whose queue is full is broken.
func (l *link) send(f wire.Frame) {
	select {
	case l.out <- f:
	default:
		if l.conn != nil {
			l.conn.Close()
		}
	}
}

// write sends what is queued, in order, until the link is dropped; what was queued
// before that still leaves.
func (l *link) write() {
	defer l.conn.Close()
	var buf []byte
	send := func(f wire.Frame, most time.Duration) error {
		_ = l.conn.SetWriteDeadline(time.Now().Add(most))
		buf = wire.AppendFrame(buf[:0], f)
		_, err := l.conn.Write(buf)
		return err
	}
	for {
		select {
		case f := <-l.out:
			if send(f, writeTime) != nil {
				return // closing the connection makes the reader tell
			}
		case <-l.end:
			for {
				select {
				case f := <-l.out:
					if send(f, lastFrames) != nil {
						return
					}
				default:
					return
				}
			}
		}
	}
}

// read takes frames until the link ends.
func (r *Relay) read(id carrier.Link, l *link) {
	why := wire.ReasonParentLost
	defer func() { r.post(func() { r.gone(id, l, why) }) }()
	in := bufio.NewReader(l.conn)
	for {
		f, err := wire.ReadFrame(in, func(int) []byte { return nil })
		if err != nil {
			return
		}
		var do func()
		switch f := f.(type) {
		case *wire.Welcome:
			do = func() { r.step(carrier.Opened{Link: id}) }
		case *wire.Refuse:
			why = f.Reason
			return
		case *wire.Bye:
			why = f.Reason
			return
		case *wire.Carry:
			c, err := order.ParseCarried(f.Text)
			if err != nil {
				why = wire.ReasonProtocol
				return
			}
			do = func() { r.carried(id, c) }
		default:
			continue
		}
		r.post(func() {
			if r.links[id] == l {
				do()
			}
		})
	}
}

// carried takes a message of the other side.
func (r *Relay) carried(id carrier.Link, c order.Carried) {
	if id > 0 {
		if c.Mandate != nil && len(c.Mandate) == order.MandateSize {
			r.step(carrier.Mandated{Link: id, Mandate: c.Mandate})
		}
		r.collect(id, c.Results)
		if c.Report != nil {
			r.step(carrier.Handed{Link: id, Report: *c.Report})
		}
		if len(c.Live) > 0 && r.cfg.Teller != nil && r.m.Carries() {
			r.cfg.Teller.Put(c.Live)
		}
		return
	}
	if c.Carrier != "" {
		r.step(carrier.Asked{Link: id, Carrier: c.Carrier})
	}
	if c.Line != nil {
		r.passed(id, c)
	}
	if len(c.Acks) > 0 {
		r.acked(id, c.Acks)
	}
	if c.Took != nil {
		r.step(carrier.Answered{Link: id, Genuine: r.said.answer != nil && r.feed.Reported(r.said.sealed, c.Took.Code)})
	}
}
