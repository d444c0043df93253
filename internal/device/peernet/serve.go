package peernet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// datagram is lent by a reader to Serve until done.
type datagram struct {
	from netip.AddrPort
	b    []byte
	done chan<- struct{}
}

// Serve implements Net. One goroutine reads each socket; datagrams are handed
// to this one, so that the handler is called from a single place.
func (s *Sockets) Serve(ctx context.Context, h Handler) error {
	s.setDeadline(time.Time{})
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.setDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	in := make(chan datagram)
	var wg sync.WaitGroup
	wg.Go(func() { s.read(ctx, s.unicast, in) })
	if s.broadcast != nil {
		wg.Go(func() { s.read(ctx, s.broadcast, in) })
	}
	wg.Go(func() { s.accept(ctx, h.Accept) })
	go func() { wg.Wait(); close(in) }()

	for d := range in {
		if ctx.Err() == nil {
			h.Datagram(d.from, d.b)
		}
		d.done <- struct{}{}
	}
	if !stop() {
		<-interrupted
	}
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
		return nil
	}
}

// setDeadline sets a deadline for all that Serve waits for. It fails only on
// closed sockets, and those need none.
func (s *Sockets) setDeadline(t time.Time) {
	_ = s.unicast.SetReadDeadline(t)
	if s.broadcast != nil {
		_ = s.broadcast.SetReadDeadline(t)
	}
	_ = s.listener.SetDeadline(t)
}

// read lends what comes in on c until ctx ends or c is closed.
func (s *Sockets) read(ctx context.Context, c *net.UDPConn, in chan<- datagram) {
	// One byte more than is allowed shows that a datagram was longer.
	buf := make([]byte, wire.MaxDatagram+1)
	done := make(chan struct{})
	for ctx.Err() == nil {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			if !s.again(ctx, err, &s.counters.ReadErrors) {
				return
			}
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if s.counters.Admit(s.subnet.prefix, s.addr, from, n) {
			in <- datagram{from: from, b: buf[:n], done: done}
			<-done
		}
	}
}

// accept hands links to take until ctx ends or the listener is closed.
func (s *Sockets) accept(ctx context.Context, take func(net.Conn)) {
	for ctx.Err() == nil {
		c, err := s.listener.AcceptTCP()
		if err != nil {
			if !s.again(ctx, err, &s.counters.AcceptErrors) {
				return
			}
			continue
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		if !s.subnet.onLink(from.Addr()) {
			s.counters.OffLink.Add(1)
			_ = c.Close()
			continue
		}
		// A link is accepted with the listener's options on Linux, but that is
		// not promised.
		raw, err := c.SyscallConn()
		if err == nil {
			err = apply(raw, tcpOptions(s.cfg.DSCP, s.cfg.UserTimeout)...)
		}
		if err != nil || ctx.Err() != nil {
			_ = c.Close()
			continue
		}
		s.counters.Accepted.Add(1)
		take(c)
	}
}

// again reports whether to continue after err: not if ctx ended or the socket
// was closed; otherwise after a short wait, since the cause may last.
func (s *Sockets) again(ctx context.Context, err error, count interface{ Add(uint64) uint64 }) bool {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	count.Add(1)
	t := time.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-s.closed:
	}
	return false
}
