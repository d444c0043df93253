package rounds

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
)

// liar is a peer that claims to be the root of every file that somebody speaks
// of, to hold all of it, and sends wrong bytes, or none.
type liar struct {
	host  site.Host
	self  wire.Peer
	draw  uint64
	udp   *net.UDPConn // receives, and sends
	heard *net.UDPConn // receives broadcasts
	tcp   net.Listener
	ctx   context.Context //nolint:containedctx // of its life
	end   context.CancelFunc
	wg    sync.WaitGroup

	mu    sync.Mutex
	links int                      // that honest devices have made to it
	sizes map[wire.Hierarchy]int64 // what it claims
}

// newLiar starts a liar on a host. close ends it.
func newLiar(ctx context.Context, h site.Host, draw uint64) (*liar, error) {
	l := &liar{host: h, draw: draw, self: wire.Peer{ID: draw | 1<<63, Nonce: uint32(draw) | 1},
		sizes: map[wire.Hierarchy]int64{}}
	// A socket belongs to the host on whose thread it is made.
	err := h.Run(func() (err error) {
		if l.udp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: h.Addr.AsSlice(), Port: site.PeerPort}); err != nil {
			return err
		}
		if l.heard, err = net.ListenUDP("udp4", &net.UDPAddr{IP: site.BroadcastOf(h.Addr).AsSlice(),
			Port: site.PeerPort}); err != nil {
			return err
		}
		l.tcp, err = net.Listen("tcp4", netip.AddrPortFrom(h.Addr, site.PeerPort).String())
		return err
	})
	l.ctx, l.end = context.WithCancel(ctx)
	if err != nil {
		l.close()
		return nil, fmt.Errorf("a liar at %s: %w", h.Addr, err)
	}
	l.wg.Go(func() { l.listen(l.udp) })
	l.wg.Go(func() { l.listen(l.heard) })
	l.wg.Go(l.accept)
	l.wg.Go(l.claim)
	return l, nil
}

// close ends the liar and its links.
func (l *liar) close() {
	l.end()
	for _, c := range []*net.UDPConn{l.udp, l.heard} {
		if c != nil {
			c.Close()
		}
	}
	if l.tcp != nil {
		l.tcp.Close()
	}
	l.wg.Wait()
}

func (l *liar) envelope(h wire.Hierarchy) wire.Envelope {
	return wire.Envelope{Hierarchy: h, From: l.self, TCPPort: site.PeerPort}
}

// listen answers what it hears.
func (l *liar) listen(c *net.UDPConn) {
	b := make([]byte, wire.MaxDatagram+1)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		e, m, err := wire.Unmarshal(b[:n])
		if err != nil || e.From == l.self {
			continue
		}
		l.learn(e.Hierarchy, m)
		if _, ok := m.(*wire.Ask); ok {
			place := &wire.Place{Depth: 1, Parent: l.self, Addr: netip.AddrPortFrom(l.host.Addr, site.PeerPort)}
			_, _ = l.udp.WriteToUDPAddrPort(wire.Marshal(l.envelope(e.Hierarchy), place), from)
		}
	}
}

// learn notes the hierarchy and, if a claim tells it, the size.
func (l *liar) learn(h wire.Hierarchy, m wire.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.sizes[h]; !known {
		l.sizes[h] = int64(1 + l.draw%maxSize)
	}
	if c, ok := m.(*wire.Claim); ok && c.Size > 0 && l.draw%2 == 0 {
		l.sizes[h] = c.Size // half of the liars know the right one
	}
}

// claim claims all files, as often as a root does.
func (l *liar) claim() {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		for h, size := range l.sizes {
			n := (load.Geometry{Size: size}).Chunks()
			_, _ = l.udp.WriteToUDPAddrPort(wire.Marshal(l.envelope(h), &wire.Claim{
				Rank: wire.Rank{Confirmed: true, Complete: true, Prefix: n, Strength: 1<<32 - 1},
				Size: size, Prefix: n, Bytes: size, Complete: true, Map: 1<<32 - 1, Spread: 10,
			}), netip.AddrPortFrom(site.BroadcastOf(l.host.Addr), site.PeerPort))
		}
		l.mu.Unlock()
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *liar) accept() {
	for {
		c, err := l.tcp.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.serve(c) })
	}
}

// serve plays the parent: a third of the liars welcome and stay silent.
func (l *liar) serve(c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(l.ctx, func() { c.Close() })
	defer stop()
	r := bufio.NewReader(c)
	none := func(int) []byte { return nil }
	f, err := wire.ReadFrame(r, none)
	hello, ok := f.(*wire.Hello)
	if err != nil || !ok {
		return
	}
	l.learn(hello.Hierarchy, nil)
	l.mu.Lock()
	l.links++
	size := l.sizes[hello.Hierarchy]
	l.mu.Unlock()
	g := load.Geometry{Size: size}
	b := wire.AppendFrame(nil, &wire.Welcome{From: l.self, Size: size})
	b = wire.AppendFrame(b, &wire.Path{Peers: []wire.Peer{l.self}})
	b = wire.AppendFrame(b, &wire.Progress{Prefix: g.Chunks(), RootPrefix: g.Chunks(), RootBytes: size})
	if _, err := c.Write(b); err != nil {
		return
	}
	for i := 0; i < g.Chunks() && l.draw%3 != 0; i++ {
		_, n := g.Span(i)
		wrong := make([]byte, n)
		for k := range wrong {
			wrong[k] = byte(l.draw) + byte(k)
		}
		if _, err := c.Write(append(wire.ChunkFrameHeader(i, len(wrong), false), wrong...)); err != nil {
			return
		}
	}
	for {
		if _, err := wire.ReadFrame(r, none); err != nil {
			return
		}
	}
}
