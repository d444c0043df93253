package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/lab/units"
)

// TestTrees runs the product with one tree and with two on one site: by the
// bench's own ways, which must differ in that and be named for it.
func TestTrees(t *testing.T) {
	product := inside.RunProduct(t)
	if product == "" {
		return
	}
	cfg := BenchConfig{Kind: KindNamespace, Product: product, Base: t.TempDir(), Methods: []string{"tree"}}
	site := Scenario{WAN: 50 * units.Mbit, LAN: 20 * units.Mbit, Size: 1_500_000}
	ways := cfg.ways(func(what, why string) { t.Log(what, why) })
	if len(ways) != 2 {
		t.Fatalf("ways: %+v", ways)
	}
	for _, how := range ways {
		m := cfg.measureConfig(site, 7, how)
		m.Logs = t.TempDir()
		m.Args = append(m.Args, "-v")
		r, err := Measure(context.Background(), m)
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() || !how.ours {
			t.Errorf("%s: %+v", how.name, r.Failures)
		}
		log := ""
		names, _ := filepath.Glob(filepath.Join(m.Logs, "*"))
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			log += string(b)
		}
		if two := strings.Contains(log, "two trees, even and odd chunks"); two != (how.name == "Peerload, two trees") {
			t.Errorf("%s: two trees %v", how.name, two)
		}
	}
}

// TestMulticast sends to a group from the server's side and listens on a device,
// with and without multicast routes, over a plain and over a long WAN.
func TestMulticast(t *testing.T) {
	if !inside.Run(t) {
		return
	}
	for _, c := range []struct {
		name  string
		rtt   time.Duration
		route bool
	}{{"routes", 0, true}, {"long", 20 * time.Millisecond, true}, {"none", 0, false}} {
		t.Run(c.name, func(t *testing.T) {
			site, err := NewNamespaceSite(NamespaceConfig{Devices: 3, Subnets: 2, WAN: 20 * units.Mbit, LAN: 20 * units.Mbit, RTT: c.rtt, Multicast: c.route})
			if errors.Is(err, ErrNoTUN) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := site.Close(); err != nil {
					t.Error(err)
				}
			}()
			for _, group := range []netip.Addr{announceGroup, dataGroup} {
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
func hears(t *testing.T, site *NamespaceSite, i int, group netip.Addr, tries int) bool {
	t.Helper()
	const port = 7777
	to := &net.UDPAddr{IP: group.AsSlice(), Port: port}
	var ear *net.UDPConn
	err := site.Host(i).Run(func() error {
		link, err := net.InterfaceByName(interfaceName)
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

// TestSenderEnds lets a sender beside the server end with nothing sent: the
// devices are not waited for until the end of the time.
func TestSenderEnds(t *testing.T) {
	if !inside.Run(t) {
		return
	}
	client := &Client{
		Name:   "played",
		Sender: func(*Fetch) []string { return []string{"/bin/false"} },
		Device: func(*Fetch, int) []string { return []string{"/bin/sleep", "50"} },
		Done:   func([]byte) bool { return false },
	}
	start := time.Now()
	r, err := Measure(context.Background(), MeasureConfig{
		Devices: 2, WAN: 10 * units.Mbit, LAN: 10 * units.Mbit, Size: 1000, Kind: KindNamespace, Client: client, Base: t.TempDir(), Timeout: 40 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.OK() || len(r.Failures) != 2 || time.Since(start) > 20*time.Second {
		t.Errorf("after %v: %+v", time.Since(start), r.Failures)
	}
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
