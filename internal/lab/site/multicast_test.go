package site

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestMulticast sends to a group from the server's side and listens on a device,
// with and without multicast routes, over a plain and over a long WAN.
func TestMulticast(t *testing.T) {
	tiers.Long(t, "it waits for a long link")
	if !inside.Run(t) {
		return
	}
	for _, c := range []struct {
		name  string
		rtt   time.Duration
		route bool
	}{{"routes", 0, true}, {"long", 20 * time.Millisecond, true}, {"none", 0, false}} {
		t.Run(c.name, func(t *testing.T) {
			site, err := NewNamespaces(NamespaceConfig{Devices: 3, Subnets: 2, WAN: 20 * units.Mbit, LAN: 20 * units.Mbit,
				RTT: c.rtt, Multicast: c.route})
			if errors.Is(err, errNoTUN) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := site.Close(); err != nil {
					t.Error(err)
				}
			}()
			for _, group := range []netip.Addr{AnnounceGroup, DataGroup} {
				for i := range 3 {
					// What should come is waited for, on a busy machine too.
					tries := 4
					if c.route {
						tries = 100
					}
					if got := hears(t, site, i, group, tries); got != c.route {
						t.Errorf("device %d hears %s: %v", i+1, group, got)
					}
				}
			}
		})
	}
}

// hears reports whether device i gets what the server's side sends to a group, so
// many times.
func hears(t *testing.T, site *Namespaces, i int, group netip.Addr, tries int) bool {
	t.Helper()
	const port = 7777
	to := &net.UDPAddr{IP: group.AsSlice(), Port: port}
	var ear *net.UDPConn
	err := site.Host(i).Run(func() error {
		link, err := net.InterfaceByName(InterfaceName)
		if err == nil {
			ear, err = net.ListenMulticastUDP("udp4", link, to)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	mouth, err := net.Dial("udp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer mouth.Close()
	if err := multicastTTL(mouth, 8); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	for range tries {
		if _, err := mouth.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := ear.SetReadDeadline(time.Now().Add(60 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, from, err := ear.ReadFromUDPAddrPort(b); err == nil {
			return string(b[:n]) == "hello" && from.Addr() == serverAddr.Addr()
		}
	}
	return false
}

// multicastTTL lets what a socket sends to groups pass so many routers.
func multicastTTL(c net.Conn, hops int) error {
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, hops)
	})
	return errors.Join(err, set)
}
