package site

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/labtest"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: Isolated, Isolate: Isolate}

// loopback returns a loopback site that the test's end closes.
func loopback(t *testing.T, wan units.Rate) *Loopback {
	t.Helper()
	site, err := NewLoopback(wan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { site.Close() })
	return site
}

// TestNamespaceBroadcasts checks that a broadcast reaches another device and is
// counted, and that other ports are not.
func TestNamespaceBroadcasts(t *testing.T) {
	tiers.Long(t, "it starts processes, and sends at the rate of a WAN")
	if !inside.Run(t) {
		return
	}
	site, err := NewNamespaces(NamespaceConfig{Devices: 2, WAN: units.Mbit, LAN: 10 * units.Mbit})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	all := netip.MustParseAddr("10.77.255.255")
	var conns [2]net.PacketConn
	for i, local := range []netip.Addr{site.Host(0).Addr, all} {
		err := site.Host(i).Run(func() error {
			conns[i], err = net.ListenPacket("udp4", netip.AddrPortFrom(local, PeerPort).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	for _, port := range []uint16{9, PeerPort, PeerPort} {
		if _, err := conns[0].WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(all, port))); err != nil {
			t.Fatal(err)
		}
	}
	if err := conns[1].SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, from, err := conns[1].ReadFrom(b); err != nil || string(b[:n]) != "hello" {
		t.Fatalf("%q from %v: %v", b[:n], from, err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(site.Broadcasts()) < 2 && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	if n := len(site.Broadcasts()); n != 2 {
		t.Errorf("%d broadcasts heard, want 2", n)
	}
}

// TestLoopbackPorts checks that two runs, and a run and a device that is there
// already, do not meet.
func TestLoopbackPorts(t *testing.T) {
	a, b := loopback(t, units.Mbit), loopback(t, units.Mbit)
	if a.Port() == b.Port() {
		t.Errorf("two sites meet on port %d", a.Port())
	}
	port := b.Port()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp4", fmt.Sprintf("127.255.255.255:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if c := loopback(t, units.Mbit); c.Port() == port {
		t.Errorf("a site took port %d of a device", port)
	}
}
