package tftp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// serveDir starts a server for dir on a free port and returns its address.
func serveDir(t testing.TB, dir string, s *Server) string {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Files = Dir(root)
	return serve(t, s)
}

// tally sums what a server has sent. It is complete once the server has ended.
type tally struct {
	mu           sync.Mutex
	sent, resent int64
}

// add is a Server's OnTransfer.
func (y *tally) add(x Transfer) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.sent += x.Sent
	y.resent += x.Resent
}

// serve starts s on a free port; it ends with the test.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, pc) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return pc.LocalAddr().String()
}

// BenchmarkGet measures a transfer over loopback with blocks of 1428 bytes.
func BenchmarkGet(b *testing.B) {
	const size = 32 << 20
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, size), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, window := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			server := serveDir(b, dir, &Server{})
			c := Client{WindowSize: window}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Get(context.Background(), server, "f", 0)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := r.WriteTo(io.Discard); n != size || err != nil {
					b.Fatal(n, err)
				}
				r.Close()
			}
		})
	}
}

// longLink is a relay before a server: every packet takes delay, and those to
// the client go through a link of rate bytes in a second. It serves one
// transfer at a time and returns its address.
func longLink(b *testing.B, server string, delay time.Duration, rate float64) string {
	b.Helper()
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		conn.SetReadBuffer(readBuffer)
		b.Cleanup(func() { conn.Close() })
		return conn
	}
	front, back := listen(), listen()
	client, tid := make(chan netip.AddrPort, 1), make(chan netip.AddrPort, 1)
	main := netip.MustParseAddrPort(server)
	go carry(front, back, delay, 0, func(p []byte, from netip.AddrPort) netip.AddrPort {
		if p[1] == byte(opRead) {
			replace(client, from)
			return main
		}
		peer := <-tid
		replace(tid, peer)
		return peer
	})
	go carry(back, front, delay, rate, func(p []byte, from netip.AddrPort) netip.AddrPort {
		replace(tid, from)
		peer := <-client
		replace(client, peer)
		return peer
	})
	return front.LocalAddr().String()
}

// replace puts a value in a channel of one place.
func replace(c chan netip.AddrPort, a netip.AddrPort) {
	select {
	case <-c:
	default:
	}
	c <- a
}

// carry moves packets from in to out, each after its delay, in order.
func carry(in, out *net.UDPConn, delay time.Duration, rate float64, to func([]byte, netip.AddrPort) netip.AddrPort) {
	type late struct {
		at time.Time
		p  []byte
		to netip.AddrPort
	}
	way := make(chan late, 4096)
	defer close(way)
	go func() {
		for l := range way {
			<-time.After(time.Until(l.at))
			out.WriteToUDPAddrPort(l.p, l.to)
		}
	}()
	free := time.Now()
	for {
		p := make([]byte, 2048)
		n, from, err := in.ReadFromUDPAddrPort(p)
		if err != nil {
			return
		}
		if now := time.Now(); free.Before(now) {
			free = now
		}
		if rate > 0 {
			free = free.Add(time.Duration(float64(n+28+14) / rate * float64(time.Second)))
		}
		way <- late{free.Add(delay), p[:n], to(p[:n], from)}
	}
}

// BenchmarkLongRoundTrip measures a link of 10 Mbit/s at 200 ms over real
// sockets; the simulation in internal/slide, TestFillsALongLine, says what to expect.
func BenchmarkLongRoundTrip(b *testing.B) {
	for _, c := range []Client{{WindowSize: 1}, {Slide: -1}, {}} {
		size := 12_000_000
		if c.WindowSize == 1 || c.Slide < 0 {
			size = 40 * 1428 * max(1, 16*-c.Slide)
		}
		d := c.withDefaults()
		b.Run(fmt.Sprintf("window=%d/slide=%d", d.WindowSize, max(0, d.Slide)), func(b *testing.B) {
			server := longLink(b, serveDir(b, dirWith(b, make([]byte, size)), &Server{}), 100*time.Millisecond, 10e6/8)
			b.SetBytes(int64(size))
			for b.Loop() {
				r, err := c.Get(context.Background(), server, "f", 0)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); n != int64(size) || err != nil {
					b.Fatal(n, err)
				}
				r.Close()
			}
			b.ReportMetric(float64(size)*8*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mbit/s")
		})
	}
}
