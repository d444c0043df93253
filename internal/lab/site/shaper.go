package site

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
)

// piece is the most that one connection may send in one turn, in bytes: small
// enough that a turn on a slow WAN stays short and shares fairly.
const piece = 8 << 10

// Shaper is the WAN of a loopback site: one token bucket that all connections
// to all devices share. Turns are given in the order of asking, and each
// connection asks for one piece at a time, so connections share evenly.
type Shaper struct {
	rate  units.Rate
	burst time.Duration

	mu   sync.Mutex
	next time.Time // when the link is free of all that was admitted
}

// newShaper returns a shaper of the given rate. Its bucket holds 16 KiB: what
// may leave at once after a pause, and what a late timer may catch up.
func newShaper(rate units.Rate) *Shaper {
	return &Shaper{rate: rate, burst: rate.Time(2 * piece)}
}

// Rate returns the shaper's rate.
func (s *Shaper) Rate() units.Rate { return s.rate }

// wait blocks until n bytes may leave, or until ctx ends, whose error it then
// returns. The turn is used up either way.
func (s *Shaper) wait(ctx context.Context, n int) error {
	s.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-s.burst); s.next.Before(earliest) {
		s.next = earliest
	}
	s.next = s.next.Add(s.rate.Time(int64(n)))
	wait := s.next.Sub(now)
	s.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Listener shapes what is written on every connection that ln accepts.
func (s *Shaper) Listener(ln net.Listener) net.Listener {
	return &shapedListener{Listener: ln, shaper: s}
}

type shapedListener struct {
	net.Listener
	shaper *Shaper
}

func (l *shapedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &shapedConn{Conn: c, shaper: l.shaper, ctx: ctx, cancel: cancel}, nil
}

// shapedConn hides the connection's ReadFrom, which would pass the kernel a
// whole file past the bucket.
type shapedConn struct {
	net.Conn
	shaper *Shaper
	ctx    context.Context
	cancel context.CancelFunc
}

func (c *shapedConn) Write(b []byte) (int, error) {
	sent := 0
	for len(b) > 0 {
		p := b[:min(len(b), piece)]
		if err := c.shaper.wait(c.ctx, len(p)); err != nil {
			return sent, net.ErrClosed
		}
		n, err := c.Conn.Write(p)
		sent += n
		if err != nil {
			return sent, err
		}
		b = b[n:]
	}
	return sent, nil
}

func (c *shapedConn) Close() error {
	c.cancel()
	return c.Conn.Close()
}

// NetConn returns the connection underneath.
func (c *shapedConn) NetConn() net.Conn { return c.Conn }
