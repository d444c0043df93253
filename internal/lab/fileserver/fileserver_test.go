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
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/labtest"
)

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}

// onLoopback returns a loopback site that the test's end closes.
func onLoopback(t *testing.T, wan units.Rate) *site.Loopback {
	t.Helper()
	s, err := site.NewLoopback(wan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fetch gets url from a host and returns the body and the time it took.
func fetch(t *testing.T, host site.Host, url string, header ...string) ([]byte, time.Duration) {
	t.Helper()
	client := &http.Client{
		Timeout: 30 * time.Second,
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
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b, time.Since(start)
}

// checkWAN has two devices of the site fetch a file at once, and checks what
// arrives, the rate of both together and what was counted. A machine that does
// other work loses time now and then: the best of five tries counts.
func checkWAN(t *testing.T, s site.Site, wan units.Rate, lowest float64) {
	t.Helper()
	dir := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcdef"), 1_000_000/16)
	if err := os.WriteFile(filepath.Join(dir, "f"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	best := 0.0
	for try := 0; try < 5 && best < lowest; try++ {
		f := float64(tryWAN(t, s, dir, want)) / float64(wan)
		t.Logf("payload rate %.3f of %v", f, wan)
		if f > 1.03 {
			t.Errorf("payload rate %.3f of %v is too high", f, wan)
		}
		best = max(best, f)
	}
	if best < lowest {
		t.Errorf("payload rate is at best %.3f of %v, want %.3f", best, wan, lowest)
	}
}

func tryWAN(t *testing.T, s site.Site, dir string, want []byte) units.Rate {
	t.Helper()
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	srv, err := Serve(ln, dir, s.Shaper())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	before, counted := s.Wire()
	start := time.Now()
	took := make(chan time.Duration, 2)
	for i := range 2 {
		go func() {
			b, d := fetch(t, s.Host(i), srv.URL("f"))
			if !bytes.Equal(b, want) {
				t.Errorf("device %d got %d wrong bytes", i, len(b))
			}
			took <- d
		}()
	}
	d1, d2 := <-took, <-took
	total := time.Since(start)
	// The two share: neither waits for the other to end.
	if r := float64(min(d1, d2)) / float64(max(d1, d2)); r < 0.55 {
		t.Errorf("unfair: %v and %v", d1, d2)
	}
	for i := range 2 {
		if n := srv.Tally.Bytes(s.Host(i).Addr); n != int64(len(want)) {
			t.Errorf("device %d: %d payload bytes counted, want %d", i, n, len(want))
		}
	}
	if at, to, ok := srv.Tally.First(start, nil); !ok || at.After(start.Add(total/2)) {
		t.Errorf("first byte at %v to %v", at.Sub(start), to)
	}
	if counted {
		after, _ := s.Wire()
		f := float64(after.Down-before.Down) / float64(2*len(want))
		t.Logf("on the wire %.4f of the payload", f)
		if f < 1.04 || f > 1.07 {
			t.Errorf("the link carried %.3f of the payload; frame headers are 4.6 %%", f)
		}
	}
	return units.Rate(float64(8*2*len(want)) / total.Seconds())
}

func TestLoopbackWAN(t *testing.T) {
	const wan = 16 * units.Mbit
	s := onLoopback(t, wan)
	checkWAN(t, s, wan, 0.9)
}

func TestNamespaceWAN(t *testing.T) {
	if !inside.Run(t) {
		return
	}
	const wan = 16 * units.Mbit
	s, err := site.NewNamespaces(site.NamespaceConfig{Devices: 2, WAN: wan, LAN: 100 * units.Mbit})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("congestion control %s", s.Congestion())
	// 1448 payload bytes in frames of 1514.
	checkWAN(t, s, wan, 0.956*0.97)
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
// another passes two shaped links and reaches their rate.
func TestNamespaceLAN(t *testing.T) {
	if !inside.Run(t) {
		return
	}
	const lan = 40 * units.Mbit
	s, err := site.NewNamespaces(site.NamespaceConfig{Devices: 2, WAN: units.Mbit, LAN: lan})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	want := make([]byte, 2_000_000)
	if err := os.WriteFile(filepath.Join(dir, "f"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	err = s.Host(0).Run(func() error {
		ln, err = net.Listen("tcp4", netip.AddrPortFrom(s.Host(0).Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := Serve(ln, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	// Other work on the machine makes a try slower, never faster, and twice the
	// rate to spend makes it half as fast: the bound leaves room for the former.
	const lowest = 0.75
	best, tries := 0.0, 0
	for ; tries < 10 && best < lowest; tries++ {
		_, d := fetch(t, s.Host(1), srv.URL("f"))
		got := float64(8*len(want)) / d.Seconds() / float64(lan)
		t.Logf("payload rate %.3f of %v", got, lan)
		if got > 1.02 {
			t.Errorf("payload rate %.3f of %v is too high", got, lan)
		}
		best = max(best, got)
	}
	if best < lowest {
		t.Errorf("payload rate is at best %.3f of %v, want %.3f", best, lan, lowest)
	}
	ports, err := s.Ports()
	if err != nil {
		t.Fatal(err)
	}
	for port, carried := range map[string]uint64{"sender": ports[0].Up, "receiver": ports[1].Down} {
		f := float64(carried) / float64(tries*len(want))
		t.Logf("the port of the %s carried %.4f of the payload", port, f)
		if f < 1 || f > 1.1 { // headers are 4.6 %, fewer while packets are whole
			t.Errorf("the port of the %s carried %.3f of the payload", port, f)
		}
	}
}

func TestFileServer(t *testing.T) {
	s := onLoopback(t, units.Gbit)
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := Serve(ln, dir, s.Shaper())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	host := s.Host(0)
	if b, _ := fetch(t, host, srv.URL("f"), "Range", "bytes=4-"); string(b) != "456789" {
		t.Errorf("range: %q", b)
	}
	for _, name := range []string{"../fileserver_test.go", "%2e%2e/fileserver_test.go", "/etc/passwd", "", "."} {
		if b, _ := fetch(t, host, srv.URL(name)); string(b) != "404 page not found\n" {
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
	deadline := time.Now().Add(5 * time.Second)
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

// TestLongLinkTCP checks that the link has its rate for TCP.
func TestLongLinkTCP(t *testing.T) {
	if !inside.Run(t) {
		return
	}
	const wan = 16 * units.Mbit
	s, err := site.NewNamespaces(site.NamespaceConfig{Devices: 2, WAN: wan, LAN: 100 * units.Mbit,
		RTT: 10 * time.Millisecond})
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	checkWAN(t, s, wan, 0.956*0.9)
}
