package site

import (
	"net"
	"sync"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/ratelimit"
)

// piece is the most that one connection may send in one turn, in bytes: small
// enough that a turn on a slow WAN stays short and shares fairly.
const piece = 8 << 10

// Shaper is the WAN of a loopback site: one limiter that all connections to all
// devices share. Turns are given in the order of asking, and each connection
// asks for one piece at a time, so connections share evenly.
type Shaper struct {
	rate  units.Rate
	limit *ratelimit.Limiter
}

// newShaper returns a shaper of the given rate. After a pause two pieces may
// leave at once, one of them as the burst: that much a late timer may catch up.
func newShaper(rate units.Rate) *Shaper {
	return &Shaper{rate: rate, limit: ratelimit.New(float64(rate)/8, rate.Time(piece))}
}

// Rate returns the shaper's rate.
func (s *Shaper) Rate() units.Rate { return s.rate }

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
	closed := make(chan struct{})
	return &shapedConn{Conn: c, shaper: l.shaper, closed: closed, end: sync.OnceFunc(func() { close(closed) })}, nil
}

// shapedConn hides the connection's ReadFrom, which would hand the kernel a
// whole file and bypass the bucket.
type shapedConn struct {
	net.Conn
	shaper *Shaper
	closed chan struct{}
	end    func() // closes closed, once
}

func (c *shapedConn) Write(b []byte) (int, error) {
	sent := 0
	for len(b) > 0 {
		p := b[:min(len(b), piece)]
		if !c.shaper.limit.Wait(c.closed, len(p)) {
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
	c.end()
	return c.Conn.Close()
}

// NetConn returns the connection underneath.
func (c *shapedConn) NetConn() net.Conn { return c.Conn }
