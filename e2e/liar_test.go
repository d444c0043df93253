package e2e

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
)

// liar is a peer that claims to be the root of a file and to hold all of it.
type liar struct {
	net  peernet.Net
	self wire.Peer
	h    wire.Hierarchy
	size int64
	// chunk returns what it sends; without it the liar welcomes and is silent.
	chunk func(i int) []byte
	// mute: it does not even welcome.
	mute bool
	// endless: it sends the chunks again and again, wanted or not.
	endless bool
	// children counts links to the liar, chunks the chunks that it sent.
	children, chunks atomic.Int64
}

// newLiar joins the subnet of a site. It claims at once, and again as often as
// a root does.
func newLiar(t *testing.T, s *site, addr string, digest load.Digest, group string, l *liar) *liar {
	t.Helper()
	n, err := peernet.Listen(peernet.Config{Address: netip.MustParsePrefix(addr + "/8"), Port: s.port})
	if err != nil {
		t.Fatal(err)
	}
	l.net, l.self, l.h = n, wire.Peer{ID: 0xffff_ffff_ffff_ffff, Nonce: 0xffff_ffff}, wire.HierarchyOf(group, digest[:])
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() {
		_ = n.Serve(ctx, peernet.Handler{Datagram: l.hear, Accept: func(c net.Conn) { go l.serve(ctx, c) }})
		done <- struct{}{}
	}()
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			l.claim()
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		done <- struct{}{}
	}()
	t.Cleanup(func() {
		cancel()
		n.Close()
		<-done
		<-done
	})
	return l
}

func (l *liar) envelope() wire.Envelope {
	return wire.Envelope{Hierarchy: l.h, From: l.self, TCPPort: l.net.TCPPort()}
}

func (l *liar) chunks32() int { return (load.Geometry{Size: l.size}).Chunks() }

func (l *liar) claim() {
	n := l.chunks32()
	_ = l.net.Broadcast(wire.Marshal(l.envelope(), &wire.Claim{
		Rank: wire.Rank{Confirmed: true, Complete: true, Prefix: n, Strength: 1<<32 - 1},
		Size: l.size, Prefix: n, Bytes: l.size, Complete: true, Map: 1<<32 - 1, Spread: 10,
	}))
}

func (l *liar) hear(from netip.AddrPort, b []byte) {
	e, m, err := wire.Unmarshal(b)
	if err != nil || e.Hierarchy != l.h || e.From == l.self {
		return
	}
	switch m.(type) {
	case *wire.Claim:
		l.claim()
	case *wire.Ask:
		_ = l.net.Send(from, wire.Marshal(l.envelope(), &wire.Place{Depth: 1, Parent: l.self,
			Addr: netip.AddrPortFrom(l.net.Addr().Addr(), l.net.TCPPort())}))
	}
}

// serve plays the parent.
func (l *liar) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	r := bufio.NewReader(c)
	if f, err := wire.ReadFrame(r, func(int) []byte { return nil }); err != nil {
		return
	} else if h, ok := f.(*wire.Hello); !ok || h.Hierarchy != l.h {
		return
	}
	l.children.Add(1)
	if l.mute {
		_, _ = wire.ReadFrame(r, func(int) []byte { return nil })
		<-ctx.Done()
		return
	}
	n := l.chunks32()
	b := wire.AppendFrame(nil, &wire.Welcome{From: l.self, Size: l.size})
	b = wire.AppendFrame(b, &wire.Path{Peers: []wire.Peer{l.self}})
	progress := wire.AppendFrame(nil, &wire.Progress{Prefix: n, RootPrefix: n, RootBytes: l.size})
	if _, err := c.Write(append(b, progress...)); err != nil {
		return
	}
	go func() {
		for {
			f, err := wire.ReadFrame(r, func(int) []byte { return nil })
			if err != nil {
				c.Close()
				return
			}
			if _, ok := f.(*wire.TableAsk); ok && l.chunk != nil {
				l.table(c)
			}
		}
	}()
	for again := l.chunk != nil; again; again = l.endless {
		for i := range n {
			b := l.chunk(i)
			if _, err := c.Write(append(wire.ChunkFrameHeader(i, len(b), false), b...)); err != nil {
				return
			}
			l.chunks.Add(1)
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := c.Write(progress); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// table sends the digests of the wrong bytes: the liar is consistent.
func (l *liar) table(c net.Conn) {
	n := l.chunks32()
	for first := 0; first < n; first += wire.MaxTablePart {
		p := &wire.TablePart{First: first, Total: n}
		for i := first; i < min(n, first+wire.MaxTablePart); i++ {
			p.Digests = append(p.Digests, load.DigestOf(l.chunk(i)))
		}
		if _, err := c.Write(wire.AppendFrame(nil, p)); err != nil {
			return
		}
	}
}

// flipped returns the chunks of a body with one byte of chunk bad changed, all
// of them if bad is negative.
func flipped(body []byte, bad int) func(int) []byte {
	g := load.Geometry{Size: int64(len(body))}
	return func(i int) []byte {
		off, n := g.Span(i)
		b := append([]byte(nil), body[off:off+int64(n)]...)
		if i == bad || bad < 0 {
			b[n/2] ^= 0x10
		}
		return b
	}
}
