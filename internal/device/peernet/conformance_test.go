package peernet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// world is a subnet on which a test puts devices.
type world struct {
	// join adds a process on host i of the subnet, closed by the test's end.
	join func(t *testing.T, i int) Net
	// kill ends a process as the kernel would: links are reset.
	kill func(n Net, links ...net.Conn)
}

// heard is what one device got.
type heard struct {
	Net
	datagrams chan got
	links     chan net.Conn
	served    chan error
	stop      context.CancelFunc
}

type got struct {
	from netip.AddrPort
	text string
}

// serve runs a device's Serve until the test ends.
func serve(t *testing.T, n Net) *heard {
	ctx, cancel := context.WithCancel(context.Background())
	h := &heard{Net: n, datagrams: make(chan got, 1000), links: make(chan net.Conn, 10), served: make(chan error, 1), stop: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.served <- n.Serve(ctx, Handler{
			Datagram: func(from netip.AddrPort, b []byte) { h.datagrams <- got{from, string(b)} },
			Accept:   func(c net.Conn) { h.links <- c },
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s did not come in %v", what, patience)
		panic("unreachable")
	}
}

func (h *heard) expect(t *testing.T, from netip.AddrPort, text string) {
	t.Helper()
	if g := receive(t, fmt.Sprintf("%q at %v", text, h.Addr()), h.datagrams); g != (got{from, text}) {
		t.Fatalf("%v heard %q from %v, want %q from %v", h.Addr(), g.text, g.from, text, from)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestConformance runs one suite over the sockets and over the twin.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"broadcast reaches all others", testBroadcast},
		{"unicast", testUnicast},
		{"datagram bounds", testBounds},
		{"link", testLink},
		{"link in bulk", testBulk},
		{"close is seen", testCloseSeen},
		{"reset is seen", testResetSeen},
		{"deadline", testDeadline},
		{"dial nobody", testDialNobody},
		{"off-link is refused", testOffLinkRefused},
		{"two processes on one address", testSameAddress},
		{"close ends Serve", testClose},
		{"context ends Serve", testContext},
	} {
		t.Run("sockets/"+c.name, func(t *testing.T) { c.test(t, socketWorld(t)) })
		t.Run("fabric/"+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := NewFabric(FabricConfig{Latency: time.Millisecond})
				c.test(t, fabricWorld(f))
			})
		})
	}
}

func fabricWorld(f *Fabric) *world {
	return &world{
		join: func(t *testing.T, i int) Net {
			n := f.Join(netip.AddrFrom4([4]byte{10, 77, 0, byte(i)}))
			t.Cleanup(func() { _ = n.Close() })
			return n
		},
		kill: func(n Net, _ ...net.Conn) { f.Kill(n.(*Node)) },
	}
}

// socketWorld is a part of 127/8 and a port that no other test run is likely
// to use.
func socketWorld(t *testing.T) *world {
	a, b := byte(1+rand.IntN(254)), byte(rand.IntN(256))
	port := uint16(20000 + rand.IntN(10000))
	t.Logf("on 127.%d.%d.0, port %d", a, b, port)
	return &world{
		join: func(t *testing.T, i int) Net {
			s, err := Listen(Config{
				Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, a, b, byte(i)}), 8),
				Port:    port,
			})
			must(t, err)
			if w := s.Warnings(); len(w) > 0 {
				t.Errorf("warnings: %q", w)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		kill: func(n Net, links ...net.Conn) {
			_ = n.Close()
			for _, c := range links {
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
		},
	}
}

func testBroadcast(t *testing.T, w *world) {
	var all []*heard
	for i := range 4 {
		all = append(all, serve(t, w.join(t, 1+i)))
	}
	for _, from := range all {
		must(t, from.Broadcast([]byte("from "+from.Addr().String())))
		// Everybody but the sender: it would find its own before the next.
		for _, to := range all {
			if to != from {
				to.expect(t, from.Addr(), "from "+from.Addr().String())
			}
		}
	}
}

func testUnicast(t *testing.T, w *world) {
	a, b, c := serve(t, w.join(t, 1)), serve(t, w.join(t, 2)), serve(t, w.join(t, 3))
	must(t, a.Send(b.Addr(), []byte("one")))
	b.expect(t, a.Addr(), "one")
	must(t, b.Send(a.Addr(), []byte("two")))
	a.expect(t, b.Addr(), "two")
	must(t, c.Send(b.Addr(), nil))
	b.expect(t, c.Addr(), "")
	must(t, a.Send(c.Addr(), []byte("three")))
	c.expect(t, a.Addr(), "three")
}

func testBounds(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	full := bytes.Repeat([]byte{'x'}, wire.MaxDatagram)
	must(t, a.Broadcast(full))
	b.expect(t, a.Addr(), string(full))
	for _, err := range []error{a.Broadcast(append(full, 'y')), a.Send(b.Addr(), append(full, 'y'))} {
		if !errors.Is(err, ErrTooLong) {
			t.Errorf("a datagram of %d bytes: %v", wire.MaxDatagram+1, err)
		}
	}
}

// connect opens a link from a to b and returns both ends.
func connect(t *testing.T, a, b *heard) (net.Conn, net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := a.Dial(ctx, netip.AddrPortFrom(b.Addr().Addr(), b.TCPPort()))
	must(t, err)
	d := receive(t, "the link", b.links)
	t.Cleanup(func() { _ = c.Close(); _ = d.Close() })
	for _, e := range []net.Conn{c, d} {
		must(t, e.SetDeadline(time.Now().Add(patience)))
	}
	return c, d
}

func hostOf(a net.Addr) netip.Addr { return a.(*net.TCPAddr).AddrPort().Addr().Unmap() }

func testLink(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	c, d := connect(t, a, b)
	if hostOf(d.RemoteAddr()) != a.Addr().Addr() || hostOf(c.RemoteAddr()) != b.Addr().Addr() {
		t.Errorf("ends at %v and %v, want %v and %v", d.RemoteAddr(), c.RemoteAddr(), a.Addr(), b.Addr())
	}
	for _, x := range []struct{ from, to net.Conn }{{c, d}, {d, c}} {
		_, err := x.from.Write([]byte("hello"))
		must(t, err)
		buf := make([]byte, 5)
		_, err = io.ReadFull(x.to, buf)
		must(t, err)
		if string(buf) != "hello" {
			t.Errorf("read %q", buf)
		}
	}
}

func testBulk(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	c, d := connect(t, a, b)
	want := make([]byte, 3<<20)
	for i := range want {
		want[i] = byte(i * 7 / 3)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		wrote <- errors.Join(err, c.Close())
	}()
	have, err := io.ReadAll(d)
	must(t, err)
	must(t, receive(t, "the end of writing", wrote))
	if !bytes.Equal(have, want) {
		t.Errorf("%d bytes came, %d were sent, or they differ", len(have), len(want))
	}
}

func testCloseSeen(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	c, d := connect(t, a, b)
	_, err := c.Write([]byte("last words"))
	must(t, err)
	must(t, c.Close())
	have, err := io.ReadAll(d)
	if string(have) != "last words" || err != nil {
		t.Errorf("read %q, %v", have, err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of a closed link: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write to a closed link: %v", err)
	}
}

func testResetSeen(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	c, d := connect(t, a, b)
	w.kill(a.Net, c)
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after the other's death: %v", err)
	}
	if _, err := d.Write(make([]byte, 100)); err == nil {
		t.Error("a write after a reset went well")
	}
	// Its place is free again.
	again := serve(t, w.join(t, 1))
	if again.Addr() != a.Addr() || again.TCPPort() != a.TCPPort() {
		t.Errorf("started again at %v, TCP %d; was %v, %d", again.Addr(), again.TCPPort(), a.Addr(), a.TCPPort())
	}
}

func testDeadline(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	c, d := connect(t, a, b)
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read past its deadline: %v", err)
	}
	must(t, c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	// More than any buffer holds.
	if n, err := c.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == 64<<20 {
		t.Errorf("write past its deadline: %d, %v", n, err)
	}
	// A deadline that is moved frees a reader that waits.
	failed := make(chan error, 1)
	must(t, d.SetReadDeadline(time.Time{}))
	go func() {
		_, err := io.Copy(io.Discard, d)
		failed <- err
	}()
	must(t, d.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	if err := receive(t, "the deadline", failed); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read past its moved deadline: %v", err)
	}
}

func testDialNobody(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	_, err := a.Dial(context.Background(), netip.AddrPortFrom(b.Addr().Addr(), 1))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial to a shut port: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Dial(ctx, netip.AddrPortFrom(b.Addr().Addr(), b.TCPPort())); err == nil {
		t.Error("a dial went on past its context")
	}
}

func testOffLinkRefused(t *testing.T, w *world) {
	a := w.join(t, 1)
	off := netip.MustParseAddrPort("192.0.2.1:4051")
	if err := a.Send(off, []byte("x")); !errors.Is(err, ErrOffLink) {
		t.Errorf("send off the subnet: %v", err)
	}
	if _, err := a.Dial(context.Background(), off); !errors.Is(err, ErrOffLink) {
		t.Errorf("dial off the subnet: %v", err)
	}
}

func testSameAddress(t *testing.T, w *world) {
	a1, a2, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	if a1.Addr().Addr() != a2.Addr().Addr() || a1.Addr() == a2.Addr() || a1.TCPPort() == a2.TCPPort() {
		t.Fatalf("two processes at %v, TCP %d and %v, TCP %d", a1.Addr(), a1.TCPPort(), a2.Addr(), a2.TCPPort())
	}
	must(t, b.Broadcast([]byte("all")))
	a1.expect(t, b.Addr(), "all")
	a2.expect(t, b.Addr(), "all")
	must(t, a2.Broadcast([]byte("from the second")))
	a1.expect(t, a2.Addr(), "from the second")
	b.expect(t, a2.Addr(), "from the second")
	must(t, b.Send(a1.Addr(), []byte("to the first")))
	must(t, b.Send(a2.Addr(), []byte("to the second")))
	a1.expect(t, b.Addr(), "to the first")
	a2.expect(t, b.Addr(), "to the second")
	connect(t, b, a2)
	connect(t, a2, a1)
}

func testClose(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	c, d := connect(t, a, b)
	must(t, a.Close())
	if err := receive(t, "the end of Serve", a.served); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve ended with %v", err)
	}
	must(t, a.Close())
	if err := a.Broadcast([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("broadcast from a closed device: %v", err)
	}
	if _, err := a.Dial(context.Background(), netip.AddrPortFrom(b.Addr().Addr(), b.TCPPort())); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial from a closed device: %v", err)
	}
	// Its links live on.
	_, err := c.Write([]byte("x"))
	must(t, err)
	_, err = d.Read(make([]byte, 1))
	must(t, err)
}

func testContext(t *testing.T, w *world) {
	a, b := serve(t, w.join(t, 1)), serve(t, w.join(t, 2))
	a.stop()
	must(t, receive(t, "the end of Serve", a.served))
	// It can be served anew, and what came in between is still there.
	must(t, b.Send(a.Addr(), []byte("meanwhile")))
	serve(t, a.Net).expect(t, b.Addr(), "meanwhile")
}
