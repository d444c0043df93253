package e2e

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// TestRootThatLies: a confirmed root of the highest rank claims to hold the
// whole file, and sends wrong bytes or none.
func TestRootThatLies(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(12, 2*mib+777)
	digest := load.DigestOf(body)
	for _, c := range []struct {
		name  string
		liar  *liar
		bound float64
	}{
		{"one wrong byte", &liar{chunk: flipped(body, 17)}, 1.2},
		{"all wrong", &liar{chunk: flipped(body, -1)}, 1.2},
		{"never stops", &liar{endless: true, chunk: flipped(body, -1)}, 1.2},
		// Beside a liar a site of four takes two copies at most: on a busy machine a second
		// device asks the server before it hears of the first.
		{"no bytes", &liar{}, 2.1},
		{"no welcome", &liar{mute: true}, 2.1},
		{"wrong size", &liar{size: 3 * mib, chunk: flipped(content(99, 3*mib), -1)}, 1.2},
		{"right bytes", &liar{chunk: flipped(body, 1<<30)}, 0.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, body)
			srv.set(func(s *server) { s.rate = 4 * mib })
			s := newSite(t)
			if c.liar.size == 0 {
				c.liar.size = int64(len(body))
			}
			newLiar(t, s, "127.6.6.6", digest, "", c.liar)
			ds := s.start(4, srv.url(), "--sha256", digest.String())
			var last time.Duration
			for _, d := range ds {
				d.wait(0)
				d.holds(body)
				last = max(last, d.took)
			}
			if c.liar.children.Load() == 0 {
				t.Error("nobody believed the liar: the test shows nothing")
			}
			t.Logf("4 devices done after %v; %d links to the liar, %d chunks from it", last, c.liar.children.Load(),
				c.liar.chunks.Load())
			srv.once(c.bound)
		})
	}
}

// TestChildrenThatHoldSlots: connections that send Hello, or nothing, and then
// read nothing must not take the places of devices.
func TestChildrenThatHoldSlots(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(13, 4*mib)
	digest := load.DigestOf(body)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	ds := s.start(1, srv.url(), "--sha256", digest.String())
	root := s.rootOf(ds)
	e, _ := root.until("listening", func(e report.Event) bool { return e.Event == report.KindListening })
	h := wire.HierarchyOf("", digest[:])
	for i := range 8 {
		c, err := net.Dial("tcp4", e.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			hello := wire.Hello{Hierarchy: h, From: wire.Peer{ID: uint64(100 + i), Nonce: 1}, TCPPort: 1}
			if _, err := c.Write(wire.AppendFrame(nil, &hello)); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				// The answer tells that it has a slot; then it reads no more.
				f, err := wire.ReadFrame(bufio.NewReaderSize(c, 16), func(n int) []byte { return make([]byte, n) })
				if _, ok := f.(*wire.Welcome); err != nil || !ok {
					t.Fatalf("the first child got %T, %v", f, err)
				}
			}
		}
	}
	for i := 1; i < 5; i++ {
		ds = append(ds, s.get(addrOf(i), srv.url(), "--sha256", digest.String()))
	}
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
	}
	for _, d := range ds {
		t.Logf("%s: %.2f s, process %v", d.addr, d.final().ElapsedS, d.took)
	}
	srv.once(1.60)
}

// TestGarbage: noise, torn and lying messages at both ports change nothing.
func TestGarbage(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(105, 4*mib)
	digest := load.DigestOf(body)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	ds := s.start(4, srv.url(), "--sha256", digest.String())
	e, _ := ds[0].until("listening", func(e report.Event) bool { return e.Event == report.KindListening })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	n, err := peernet.Listen(peernet.Config{Address: netip.MustParsePrefix("127.6.6.7/8"), Port: s.port})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- n.Serve(ctx, peernet.Handler{Datagram: func(netip.AddrPort, []byte) {},
			Accept: func(c net.Conn) { c.Close() }})
	}()
	h := wire.HierarchyOf("", digest[:])
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range 400 {
		from := wire.Envelope{Hierarchy: h, From: wire.Peer{ID: rnd.Uint64() | 1, Nonce: 1}, TCPPort: uint16(rnd.Uint32())}
		messages := []wire.Message{
			&wire.Ask{Prefix: rnd.IntN(64), Free: 2}, &wire.Ask{Done: true},
			&wire.Place{Depth: 1, Parent: from.From, Addr: netip.MustParseAddrPort("127.6.6.7:9")},
			&wire.Direct{Prefix: 1, Bytes: 1}, &wire.Direct{Done: true},
		}
		b := wire.Marshal(from, messages[i%len(messages)])
		switch i % 4 {
		case 1:
			b[rnd.IntN(len(b))] ^= byte(1 + rnd.IntN(255))
		case 2:
			b = b[:rnd.IntN(len(b))]
		case 3:
			for j := range b {
				b[j] = byte(rnd.Uint32())
			}
		}
		_ = n.Broadcast(b)
		if i%20 == 0 {
			if c, err := net.Dial("tcp4", e.Address); err == nil {
				hello := wire.AppendFrame(nil, &wire.Hello{Hierarchy: h, From: from.From, TCPPort: 9})
				junk := make([]byte, 200)
				for j := range junk {
					junk[j] = byte(rnd.Uint32())
				}
				_, _ = c.Write(append(hello[:rnd.IntN(len(hello)+1)], junk...))
				c.Close()
			}
		}
		<-tick.C
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	n.Close()
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
	}
	// A forged Direct or Place may cost a second copy, never more.
	srv.once(2.0)
}
