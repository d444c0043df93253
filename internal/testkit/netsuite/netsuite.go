// Package netsuite is the one suite that all kinds of peernet.Net pass, and
// what else their tests share: devices that record what they receive.
//
// What lives here: what sockets and the virtual subnet have in common. What
// must not: the options of sockets, and the faults of a virtual subnet, which
// are tested beside them.
package netsuite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/pdp/wire"
)

// Limit bounds every wait of these tests.
const Limit = 10 * time.Second

// Subnet is where a test puts devices.
type Subnet struct {
	// Join adds a process on host i of the subnet, closed by the test's end.
	Join func(t *testing.T, i int) peernet.Net
	// Kill ends a process as the kernel would: links are reset.
	Kill func(n peernet.Net, links ...net.Conn)
}

// Run runs the suite. on calls each test of it with a new subnet.
func Run(t *testing.T, on func(t *testing.T, test func(*testing.T, *Subnet))) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *Subnet)
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
		t.Run(c.name, func(t *testing.T) { on(t, c.test) })
	}
}

// Device is a Net that is served, and records what it gets.
type Device struct {
	peernet.Net
	Datagrams chan Datagram
	Links     chan net.Conn
	// Served takes what Serve returned.
	Served chan error
	// Stop ends Serve.
	Stop context.CancelFunc
}

// Datagram is one that a device got.
type Datagram struct {
	From netip.AddrPort
	Text string
}

// Serve runs a Net's Serve until the test ends.
func Serve(t *testing.T, n peernet.Net) *Device {
	ctx, cancel := context.WithCancel(context.Background())
	d := &Device{
		Net: n, Datagrams: make(chan Datagram, 1000), Links: make(chan net.Conn, 10),
		Served: make(chan error, 1), Stop: cancel,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Served <- n.Serve(ctx, peernet.Handler{
			Datagram: func(from netip.AddrPort, b []byte) { d.Datagrams <- Datagram{from, string(b)} },
			Accept:   func(c net.Conn) { d.Links <- c },
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return d
}

// Receive takes one value from c; the test fails if none comes.
func Receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(Limit)
	defer timer.Stop()
	var v T
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatalf("%s did not come in %v", what, Limit)
	}
	return v
}

// Expect takes the next datagram, which must be this one.
func (d *Device) Expect(t *testing.T, from netip.AddrPort, text string) {
	t.Helper()
	if g := Receive(t, fmt.Sprintf("%q at %v", text, d.Addr()), d.Datagrams); g != (Datagram{from, text}) {
		t.Fatalf("%v heard %q from %v, want %q from %v", d.Addr(), g.Text, g.From, text, from)
	}
}

// Connect opens a link from a to b and returns both ends, each with a deadline.
func Connect(t *testing.T, a, b *Device) (net.Conn, net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	c, err := a.Dial(ctx, netip.AddrPortFrom(b.Addr().Addr(), b.TCPPort()))
	must(t, err)
	d := Receive(t, "the link", b.Links)
	t.Cleanup(func() { _ = c.Close(); _ = d.Close() })
	for _, e := range []net.Conn{c, d} {
		must(t, e.SetDeadline(time.Now().Add(Limit)))
	}
	return c, d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testBroadcast(t *testing.T, s *Subnet) {
	var all []*Device
	for i := range 4 {
		all = append(all, Serve(t, s.Join(t, 1+i)))
	}
	for _, from := range all {
		must(t, from.Broadcast([]byte("from "+from.Addr().String())))
		// Everybody but the sender: it would find its own before the next.
		for _, to := range all {
			if to != from {
				to.Expect(t, from.Addr(), "from "+from.Addr().String())
			}
		}
	}
}

func testUnicast(t *testing.T, s *Subnet) {
	a, b, c := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2)), Serve(t, s.Join(t, 3))
	must(t, a.Send(b.Addr(), []byte("one")))
	b.Expect(t, a.Addr(), "one")
	must(t, b.Send(a.Addr(), []byte("two")))
	a.Expect(t, b.Addr(), "two")
	must(t, c.Send(b.Addr(), nil))
	b.Expect(t, c.Addr(), "")
	must(t, a.Send(c.Addr(), []byte("three")))
	c.Expect(t, a.Addr(), "three")
}

func testBounds(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	full := bytes.Repeat([]byte{'x'}, wire.MaxDatagram)
	must(t, a.Broadcast(full))
	b.Expect(t, a.Addr(), string(full))
	for _, err := range []error{a.Broadcast(append(full, 'y')), a.Send(b.Addr(), append(full, 'y'))} {
		if !errors.Is(err, peernet.ErrTooLong) {
			t.Errorf("a datagram of %d bytes: %v", wire.MaxDatagram+1, err)
		}
	}
}

func hostOf(a net.Addr) netip.Addr { return a.(*net.TCPAddr).AddrPort().Addr().Unmap() }

func testLink(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	c, d := Connect(t, a, b)
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

func testBulk(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	c, d := Connect(t, a, b)
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
	must(t, Receive(t, "the end of writing", wrote))
	if !bytes.Equal(have, want) {
		t.Errorf("%d bytes came, %d were sent, or they differ", len(have), len(want))
	}
}

func testCloseSeen(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	c, d := Connect(t, a, b)
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

func testResetSeen(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	c, d := Connect(t, a, b)
	s.Kill(a.Net, c)
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after the other's death: %v", err)
	}
	if _, err := d.Write(make([]byte, 100)); err == nil {
		t.Error("a write after a reset went well")
	}
	// Its place is free again.
	again := Serve(t, s.Join(t, 1))
	if again.Addr() != a.Addr() || again.TCPPort() != a.TCPPort() {
		t.Errorf("started again at %v, TCP %d; was %v, %d", again.Addr(), again.TCPPort(), a.Addr(), a.TCPPort())
	}
}

func testDeadline(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	c, d := Connect(t, a, b)
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
	if err := Receive(t, "the deadline", failed); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read past its moved deadline: %v", err)
	}
}

func testDialNobody(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
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

func testOffLinkRefused(t *testing.T, s *Subnet) {
	a := s.Join(t, 1)
	off := netip.MustParseAddrPort("192.0.2.1:4051")
	if err := a.Send(off, []byte("x")); !errors.Is(err, peernet.ErrOffLink) {
		t.Errorf("send off the subnet: %v", err)
	}
	if _, err := a.Dial(context.Background(), off); !errors.Is(err, peernet.ErrOffLink) {
		t.Errorf("dial off the subnet: %v", err)
	}
}

func testSameAddress(t *testing.T, s *Subnet) {
	a1, a2, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	if a1.Addr().Addr() != a2.Addr().Addr() || a1.Addr() == a2.Addr() || a1.TCPPort() == a2.TCPPort() {
		t.Fatalf("two processes at %v, TCP %d and %v, TCP %d", a1.Addr(), a1.TCPPort(), a2.Addr(), a2.TCPPort())
	}
	must(t, b.Broadcast([]byte("all")))
	a1.Expect(t, b.Addr(), "all")
	a2.Expect(t, b.Addr(), "all")
	must(t, a2.Broadcast([]byte("from the second")))
	a1.Expect(t, a2.Addr(), "from the second")
	b.Expect(t, a2.Addr(), "from the second")
	must(t, b.Send(a1.Addr(), []byte("to the first")))
	must(t, b.Send(a2.Addr(), []byte("to the second")))
	a1.Expect(t, b.Addr(), "to the first")
	a2.Expect(t, b.Addr(), "to the second")
	Connect(t, b, a2)
	Connect(t, a2, a1)
}

func testClose(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	c, d := Connect(t, a, b)
	must(t, a.Close())
	if err := Receive(t, "the end of Serve", a.Served); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve ended with %v", err)
	}
	must(t, a.Close())
	if err := a.Broadcast([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("broadcast from a closed device: %v", err)
	}
	if _, err := a.Dial(context.Background(), netip.AddrPortFrom(b.Addr().Addr(), b.TCPPort())); !errors.Is(err,
		net.ErrClosed) {
		t.Errorf("dial from a closed device: %v", err)
	}
	// Its links live on.
	_, err := c.Write([]byte("x"))
	must(t, err)
	_, err = d.Read(make([]byte, 1))
	must(t, err)
}

func testContext(t *testing.T, s *Subnet) {
	a, b := Serve(t, s.Join(t, 1)), Serve(t, s.Join(t, 2))
	a.Stop()
	must(t, Receive(t, "the end of Serve", a.Served))
	// It can be served anew, and what came in between is still there.
	must(t, b.Send(a.Addr(), []byte("meanwhile")))
	Serve(t, a.Net).Expect(t, b.Addr(), "meanwhile")
}
