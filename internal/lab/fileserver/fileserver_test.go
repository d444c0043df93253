package fileserver

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/labtest"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}

// onLoopback returns a loopback site that the test's end closes.
func onLoopback(t testing.TB, wan units.Rate) *site.Loopback {
	t.Helper()
	s, err := site.NewLoopback(wan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fetch gets url from a host and returns the body.
func fetch(t testing.TB, host site.Host, url string, header ...string) []byte {
	t.Helper()
	client := &http.Client{
		Timeout: 2 * time.Minute,
		Transport: &http.Transport{DialContext: func(_ context.Context, network, addr string) (c net.Conn, err error) {
			err = host.Run(func() error {
				d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(host.Addr, 0))}
				c, err = d.Dial(network, addr)
				return err
			})
			return c, err
		}},
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// serveFile serves a file f at the server's address of a site.
func serveFile(t testing.TB, s site.Site, content []byte) *Server {
	t.Helper()
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return serveAt(t, ln, s.Shaper(), content)
}

// serveAt serves a file f until the end of the test.
func serveAt(t testing.TB, ln net.Listener, shaper *site.Shaper, content []byte) *Server {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := Serve(ln, dir, shaper)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

// content is n bytes of text.
func content(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), (n+15)/16)[:n] }

// fetchTwice has two devices of a site fetch the file at once.
func fetchTwice(t testing.TB, s site.Site, srv *Server, want []byte) {
	t.Helper()
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() {
			if b := fetch(t, s.Host(i), srv.URL("f")); !bytes.Equal(b, want) {
				t.Errorf("device %d got %d wrong bytes", i, len(b))
			}
		})
	}
	both.Wait()
}

// checkWAN has two devices of the site fetch a file at once, and checks what
// arrives and what was counted.
func checkWAN(t *testing.T, s site.Site) {
	t.Helper()
	want := content(1_000_000)
	srv := serveFile(t, s, want)
	before, counted := s.Wire()
	fetchTwice(t, s, srv, want)
	for i := range 2 {
		if n := srv.Tally.Bytes(s.Host(i).Addr); n != int64(len(want)) {
			t.Errorf("device %d: %d payload bytes counted, want %d", i, n, len(want))
		}
	}
	if _, to, ok := srv.Tally.First(time.Time{}, nil); !ok || to != s.Host(0).Addr && to != s.Host(1).Addr {
		t.Errorf("the first byte went to %v", to)
	}
	if counted {
		after, _ := s.Wire()
		checkWire(t, "the link", after.Down-before.Down, 2*len(want))
	}
}

// checkWire checks what a link carried for a payload: frame headers are 4.6 %,
// a little less while packets are whole, and a busy machine sends some of it
// twice.
func checkWire(t *testing.T, link string, carried uint64, payload int) {
	t.Helper()
	f := float64(carried) / float64(payload)
	t.Logf("%s carried %.4f of the payload", link, f)
	if f < 1 || f > 1.3 {
		t.Errorf("%s carried %.3f of the payload", link, f)
	}
}

func TestLoopbackWAN(t *testing.T) {
	tiers.Long(t, "it waits for a slow line")
	checkWAN(t, onLoopback(t, 16*units.Mbit))
}

func TestNamespaceWAN(t *testing.T) {
	tiers.Long(t, "it starts processes, and sends at the rate of a WAN")
	if !inside.Run(t) {
		return
	}
	s, err := site.NewNamespaces(site.NamespaceConfig{Devices: 2, WAN: 16 * units.Mbit, LAN: 100 * units.Mbit})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("congestion control %s", s.Congestion())
	checkWAN(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Attrs().Name != "lo" {
			t.Errorf("link %s was left", l.Attrs().Name)
		}
	}
}

// TestNamespaceLAN checks a device's port each way: what one device sends
// another passes two shaped links, and is counted at both.
func TestNamespaceLAN(t *testing.T) {
	tiers.Long(t, "it waits for a slow link")
	if !inside.Run(t) {
		return
	}
	s, err := site.NewNamespaces(site.NamespaceConfig{Devices: 2, WAN: units.Mbit, LAN: 40 * units.Mbit})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := content(2_000_000)
	if b := fetch(t, s.Host(1), serveAt(t, listenOn(t, s.Host(0)), nil, want).URL("f")); !bytes.Equal(b, want) {
		t.Errorf("%d wrong bytes", len(b))
	}
	ports, err := s.Ports()
	if err != nil {
		t.Fatal(err)
	}
	checkWire(t, "the port of the sender", ports[0].Up, len(want))
	checkWire(t, "the port of the receiver", ports[1].Down, len(want))
}

// listenOn opens a port of a device.
func listenOn(t testing.TB, host site.Host) (ln net.Listener) {
	t.Helper()
	err := host.Run(func() (err error) {
		ln, err = net.Listen("tcp4", netip.AddrPortFrom(host.Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestFileServer(t *testing.T) {
	s := onLoopback(t, units.Gbit)
	srv := serveFile(t, s, content(10))
	host := s.Host(0)
	if b := fetch(t, host, srv.URL("f"), "Range", "bytes=4-"); string(b) != "456789" {
		t.Errorf("range: %q", b)
	}
	for _, name := range []string{"../fileserver_test.go", "%2e%2e/fileserver_test.go", "/etc/passwd", "", "."} {
		if b := fetch(t, host, srv.URL(name)); string(b) != "404 page not found\n" {
			t.Errorf("%q: %q", name, b)
		}
	}
	if n := srv.Tally.Total(); n != 6 {
		t.Errorf("%d payload bytes counted, want 6", n)
	}
	if n := srv.Tally.Requests(); n != 1 {
		t.Errorf("%d requests counted, want 1", n)
	}
}

// TestTallyCutShort checks that bytes which a dead device never took are not
// counted as sent.
func TestTallyCutShort(t *testing.T) {
	s := onLoopback(t, units.Gbit)
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := Serve(ln, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	c, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /f HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	const take = 1 << 20
	if _, err := io.ReadFull(c, make([]byte, take)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
	deadline := time.Now().Add(time.Minute)
	for len(openConns(srv.Tally)) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the server kept the dead connection")
		}
		<-time.After(5 * time.Millisecond)
	}
	if n := srv.Tally.Total(); n < take-4096 || n > take+(1<<20) {
		t.Errorf("%d payload bytes counted; %d were read and at most 1 MiB was on its way", n, take)
	}
}

func openConns(t *Tally) map[*countedConn]struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[*countedConn]struct{}{}
	for c := range t.open {
		out[c] = struct{}{}
	}
	return out
}

// TestLongLinkTCP checks what a long link carries of TCP.
func TestLongLinkTCP(t *testing.T) {
	tiers.Long(t, "it waits for a slow link")
	if !inside.Run(t) {
		return
	}
	s, err := site.NewNamespaces(site.NamespaceConfig{
		Devices: 2, WAN: 16 * units.Mbit, LAN: 100 * units.Mbit, RTT: 10 * time.Millisecond,
	})
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	checkWAN(t, s)
}
