package peernet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxBroadcastBits is the longest IPv4 prefix that has a broadcast address
// (RFC 3021: a /31 has none).
const maxBroadcastBits = 30

var loopback4 = netip.MustParsePrefix("127.0.0.0/8")

// subnet is what a device is on.
type subnet struct {
	iface string
	addr  netip.Addr
	// prefix is masked.
	prefix netip.Prefix
	// broadcast is invalid where there is none: point to point, /31, /32.
	broadcast netip.Addr
}

func (s subnet) onLink(a netip.Addr) bool { return OnLink(s.prefix, a) }

// hostAddr is one IPv4 address of this host.
type hostAddr struct {
	subnet
	up, loopback bool
	carrier      bool // something is at the other end
}

// choose finds the subnet that cfg asks for among the host's addresses. route
// gives the address that this host would send from to a server, or to a far host
// for "", or an invalid one.
func choose(cfg Config, host []hostAddr, route func(server string) netip.Addr) (subnet, []string, error) {
	switch {
	case cfg.Address.IsValid():
		return chooseAddress(cfg, host)
	case cfg.Interface != "":
		return chooseInterface(cfg.Interface, host)
	}
	// The peers are where the server is, or the way to it. A tunnel has none: a
	// device whose uplink is one may have a LAN beside it.
	for _, server := range append(slices.Clone(cfg.Servers), "") {
		if a := route(server); a.IsValid() {
			for _, h := range host {
				if h.addr == a && !h.loopback && h.broadcast.IsValid() {
					return h.subnet, nil, nil
				}
			}
		}
	}
	// No such route: a site without a way out still has its subnet.
	var best []hostAddr
	for _, h := range host {
		switch {
		case !h.up || h.loopback || len(best) > 0 && h.fitness() < best[0].fitness():
			continue
		case len(best) > 0 && h.fitness() > best[0].fitness():
			best = nil
		}
		best = append(best, h)
	}
	if len(best) == 0 {
		return subnet{}, nil, fmt.Errorf("%w: no interface that is up has an IPv4 address", ErrNoAddress)
	}
	var warnings []string
	if len(best) > 1 {
		warnings = []string{fmt.Sprintf("no route tells where the peers are: %s is taken of %s; give the address, or the "+
			"interface, if it is another", best[0].addr, list(best))}
	}
	return best[0].subnet, warnings, nil
}

// fitness tells how likely peers are at an address: a bridge of containers has
// no carrier while none runs, and a link-local address is no network.
func (h hostAddr) fitness() (n int) {
	for i, ok := range []bool{!h.addr.IsLinkLocalUnicast(), h.carrier, h.broadcast.IsValid()} {
		if ok {
			n += 1 << i
		}
	}
	return n
}

func chooseAddress(cfg Config, host []hostAddr) (subnet, []string, error) {
	a := cfg.Address.Addr().Unmap()
	if !a.Is4() {
		return subnet{}, nil, fmt.Errorf("%w: %s is not an IPv4 address", ErrNoAddress, a)
	}
	var s subnet
	if loopback4.Contains(a) {
		// Every address of 127/8 is this host's, listed or not.
		s = subnet{iface: "lo", addr: a, prefix: loopback4, broadcast: lastOf(loopback4)}
	} else {
		i := slices.IndexFunc(host, func(h hostAddr) bool {
			return h.addr == a && (cfg.Interface == "" || h.iface == cfg.Interface)
		})
		if i < 0 {
			where := "any interface of this host"
			if cfg.Interface != "" {
				where = "interface " + cfg.Interface
			}
			return subnet{}, nil, fmt.Errorf("%w: %s is not on %s: choose one of %s", ErrNoAddress, a, where, list(host))
		}
		s = host[i].subnet
	}
	var warnings []string
	b := cfg.Address.Bits()
	if cfg.Address.Addr().Is4In6() {
		b -= 96
	}
	if b != s.prefix.Bits() && b != a.BitLen() {
		warnings = append(warnings, fmt.Sprintf("%s was asked for, but interface %s has %s/%d: %s is used",
			cfg.Address, s.iface, a, s.prefix.Bits(), s.prefix))
	}
	return s, warnings, nil
}

func chooseInterface(name string, host []hostAddr) (subnet, []string, error) {
	var found []hostAddr
	for _, h := range host {
		if h.iface == name {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return subnet{}, nil, fmt.Errorf("%w: interface %s is missing or has no IPv4 address: choose one of %s",
			ErrNoAddress, name, list(host))
	}
	// A link-local address beside a real one is a leftover of a late DHCP.
	i := slices.IndexFunc(found, func(h hostAddr) bool { return !h.addr.IsLinkLocalUnicast() })
	return found[max(i, 0)].subnet, nil, nil
}

// list formats addresses as a person may type them.
func list(host []hostAddr) string {
	if len(host) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, h := range host {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s/%d (%s)", h.addr, h.prefix.Bits(), h.iface)
	}
	return b.String()
}

// lastOf returns the last address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// routeTimeout bounds the time in which the name of a server is resolved.
const routeTimeout = 2 * time.Second

// routeTo asks the kernel which address it would send from to a server, HOST, or
// to a far host. Connecting a UDP socket sends nothing; the far host is a
// documentation address (RFC 5737).
func routeTo(server string) netip.Addr {
	if server == "" {
		server = "192.0.2.1"
	}
	d := net.Dialer{Timeout: routeTimeout}
	c, err := d.Dial("udp4", net.JoinHostPort(server, "9"))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// Choose reports whether Listen would find an address now.
func Choose(cfg Config) error {
	host, err := hostAddrs()
	if err == nil {
		_, _, err = choose(cfg, host, routeTo)
	}
	return err
}

// Gone reports whether an address is no longer this host's.
func Gone(own netip.Addr) bool {
	host, err := hostAddrs()
	return err == nil && !slices.ContainsFunc(host, func(h hostAddr) bool { return h.addr == own })
}

// Connected reports whether this host has any network beside loopback, be it one
// without IPv4 addresses.
func Connected() bool {
	ifaces, err := net.Interfaces()
	return err == nil && slices.ContainsFunc(ifaces, func(i net.Interface) bool {
		addrs, err := i.Addrs()
		return i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 && err == nil && len(addrs) > 0
	})
}
