package peernet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

// host makes an address of a host from "iface ADDR/BITS flags", where the
// flags are any of u(p), l(oopback) and c(arrier).
func host(t *testing.T, lines ...string) []hostAddr {
	var all []hostAddr
	for _, l := range lines {
		f := strings.Fields(l)
		p, err := netip.ParsePrefix(f[1])
		if err != nil {
			t.Fatal(err)
		}
		h := hostAddr{subnet: subnet{iface: f[0], addr: p.Addr(), prefix: p.Masked()}}
		if p.Bits() <= maxBroadcastBits {
			h.broadcast = lastOf(p)
		}
		if len(f) > 2 {
			h.up, h.loopback = strings.Contains(f[2], "u"), strings.Contains(f[2], "l")
			h.carrier = strings.Contains(f[2], "c")
		}
		all = append(all, h)
	}
	return all
}

func TestChoose(t *testing.T) {
	lines := []string{"lo 127.0.0.1/8 ul", "eth0 169.254.3.4/16 u", "eth0 10.1.2.3/20 u", "eth1 192.168.7.9/24 u",
		"tun0 10.9.9.9/32 u"}
	one := []string{"lo 127.0.0.1/8 ul", "eth0 10.1.2.3/20 u", "eth1 192.168.7.9/24"}
	for _, c := range []struct {
		name, address, iface string
		// The addresses from which the default route and the one to the server
		// send.
		route, server string
		host          []string
		// want is "iface addr prefix broadcast", or part of an error.
		want, err, warning string
	}{
		{name: "address", address: "10.1.2.3/20", host: lines, want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255"},
		{name: "address without prefix", address: "10.1.2.3/32", host: lines, want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255"},
		{name: "another prefix", address: "10.1.2.3/24", host: lines, want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255",
			warning: "has 10.1.2.3/20"},
		{name: "mapped address", address: "::ffff:10.1.2.3/128", host: lines, want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255"},
		{name: "any loopback address", address: "127.9.8.7/8", host: lines, want: "lo 127.9.8.7 127.0.0.0/8 127.255.255.255"},
		{name: "loopback with another prefix", address: "127.9.8.7/24", host: lines,
			want: "lo 127.9.8.7 127.0.0.0/8 127.255.255.255", warning: "127.0.0.0/8"},
		{name: "no broadcast", address: "10.9.9.9/32", host: lines, want: "tun0 10.9.9.9 10.9.9.9/32 invalid IP"},
		{name: "address of nobody", address: "10.1.2.4/20", host: lines,
			err: "10.1.2.4 is not on any interface of this host: choose one of 127.0.0.1/8 (lo), "},
		{name: "address of another interface", address: "10.1.2.3/20", iface: "eth1", host: lines,
			err: "10.1.2.3 is not on interface eth1"},
		{name: "IPv6", address: "fe80::1/64", host: lines, err: "not an IPv4 address"},
		{name: "interface", iface: "eth1", host: lines, want: "eth1 192.168.7.9 192.168.7.0/24 192.168.7.255"},
		{name: "interface with a link-local address", iface: "eth0", host: lines,
			want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255"},
		{name: "interface with nothing else", iface: "eth0", host: lines[:2],
			want: "eth0 169.254.3.4 169.254.0.0/16 169.254.255.255"},
		{name: "no such interface", iface: "eth7", host: lines, err: "eth7 is missing"},
		{name: "default route", route: "192.168.7.9", host: lines, want: "eth1 192.168.7.9 192.168.7.0/24 192.168.7.255"},
		{name: "no route, one interface up", host: one, want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255"},
		{name: "no route, several interfaces", host: lines, want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255",
			warning: "10.1.2.3 is taken of 10.1.2.3/20 (eth0), 192.168.7.9/24 (eth1); "},
		{name: "a bridge of containers", host: []string{"docker0 172.17.0.1/16 u", "eth1 192.168.7.9/24 uc"},
			want: "eth1 192.168.7.9 192.168.7.0/24 192.168.7.255"},
		{name: "a link-local address", host: []string{"usb0 169.254.1.1/16 uc", "eth1 192.168.7.9/24 uc"},
			want: "eth1 192.168.7.9 192.168.7.0/24 192.168.7.255"},
		{name: "a tunnel beside a LAN", route: "10.9.9.9", host: []string{"tun0 10.9.9.9/32 uc", "eth1 192.168.7.9/24 uc"},
			want: "eth1 192.168.7.9 192.168.7.0/24 192.168.7.255"},
		{name: "nothing but a tunnel", route: "10.9.9.9", host: []string{"tun0 10.9.9.9/32 uc"},
			want: "tun0 10.9.9.9 10.9.9.9/32 invalid IP"},
		{name: "the route to the server", route: "10.1.2.3", server: "192.168.7.9", host: lines,
			want: "eth1 192.168.7.9 192.168.7.0/24 192.168.7.255"},
		{name: "a server on this host", route: "10.1.2.3", server: "127.0.0.1", host: lines,
			want: "eth0 10.1.2.3 10.1.0.0/20 10.1.15.255"},
		{name: "nothing but loopback", host: one[:1], err: "no interface that is up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Interface: c.iface}
			if c.address != "" {
				cfg.Address = netip.MustParsePrefix(c.address)
			}
			if c.server != "" {
				cfg.Servers = []string{"nowhere", "server"}
			}
			s, warnings, err := choose(cfg, host(t, c.host...), func(to string) netip.Addr {
				a, _ := netip.ParseAddr(map[string]string{"": c.route, "server": c.server}[to])
				return a
			})
			if c.err != "" {
				if !errors.Is(err, ErrNoAddress) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if have := s.iface + " " + s.addr.String() + " " + s.prefix.String() + " " + s.broadcast.String(); have != c.want {
				t.Errorf("chose %s, want %s", have, c.want)
			}
			if w := strings.Join(warnings, "\n"); c.warning == "" && w != "" || !strings.Contains(w, c.warning) {
				t.Errorf("warned %q, want %q", w, c.warning)
			}
		})
	}
}

func TestConfigValidate(t *testing.T) {
	for dscp, ok := range map[int]bool{-2: false, -1: true, 0: true, 1: true, 63: true, 64: false} {
		if err := (Config{DSCP: dscp}).Validate(); (err == nil) != ok {
			t.Errorf("DSCP %d: %v", dscp, err)
		}
	}
	if _, err := Listen(Config{DSCP: 64}); err == nil {
		t.Error("Listen took a DSCP of 64")
	}
}

// TestHostAddrOf: an address as the kernel tells of it; on a point-to-point
// link IFA_ADDRESS is that of the other side.
func TestHostAddrOf(t *testing.T) {
	attr := func(kind uint16, value ...byte) syscall.NetlinkRouteAttr {
		return syscall.NetlinkRouteAttr{Attr: syscall.RtAttr{Type: kind}, Value: value}
	}
	lan := net.Interface{Name: "eth0", Flags: net.FlagUp | net.FlagBroadcast}
	own, other := attr(syscall.IFA_LOCAL, 10, 0, 0, 5), attr(syscall.IFA_ADDRESS, 10, 0, 0, 9)
	for _, c := range []struct {
		name  string
		iface net.Interface
		bits  int
		attrs []syscall.NetlinkRouteAttr
		want  string // "addr prefix broadcast up loopback", "" for none
	}{
		{"on a LAN", lan, 24, []syscall.NetlinkRouteAttr{own, attr(syscall.IFA_ADDRESS, 10, 0, 0, 5),
			attr(syscall.IFA_BROADCAST, 10, 0, 0, 255)}, "10.0.0.5 10.0.0.0/24 10.0.0.255 true false"},
		{"without its broadcast address", lan, 24, []syscall.NetlinkRouteAttr{own},
			"10.0.0.5 10.0.0.0/24 10.0.0.255 true false"},
		{"with IFA_ADDRESS alone", lan, 24, []syscall.NetlinkRouteAttr{other},
			"10.0.0.9 10.0.0.0/24 10.0.0.255 true false"},
		{"point to point", net.Interface{Name: "tun0", Flags: net.FlagPointToPoint}, 32,
			[]syscall.NetlinkRouteAttr{own, other}, "10.0.0.5 10.0.0.9/32 invalid IP false false"},
		{"a /31 has no broadcast", lan, 31, []syscall.NetlinkRouteAttr{own}, "10.0.0.5 10.0.0.4/31 invalid IP true false"},
		{"loopback", net.Interface{Name: "lo", Flags: net.FlagLoopback | net.FlagUp}, 8,
			[]syscall.NetlinkRouteAttr{attr(syscall.IFA_LOCAL, 127, 0, 0, 1)},
			"127.0.0.1 127.0.0.0/8 127.255.255.255 true true"},
		{"an attribute of another length", lan, 24, []syscall.NetlinkRouteAttr{attr(syscall.IFA_LOCAL, 10, 0), other},
			"10.0.0.9 10.0.0.0/24 10.0.0.255 true false"},
		{"an IPv6 attribute", lan, 24, []syscall.NetlinkRouteAttr{attr(syscall.IFA_LOCAL, make([]byte, 16)...), other},
			"10.0.0.9 10.0.0.0/24 10.0.0.255 true false"},
		{"no address", lan, 24, nil, ""},
		{"no such prefix", lan, 33, []syscall.NetlinkRouteAttr{own}, ""},
	} {
		h, ok := hostAddrOf(c.iface, c.bits, c.attrs)
		got := ""
		if ok {
			got = fmt.Sprint(h.addr, " ", h.prefix, " ", h.broadcast, " ", h.up, " ", h.loopback)
		}
		if got != c.want || ok && h.iface != c.iface.Name {
			t.Errorf("%s: %q of %s, want %q", c.name, got, h.iface, c.want)
		}
	}
	if got := list(nil); got != "none" {
		t.Errorf("no address at all is listed as %q", got)
	}
	if len(markOptions(-1)) != 0 || len(markOptions(1)) == 0 {
		t.Error("packets that stay unmarked are marked, or the others are not")
	}
}
