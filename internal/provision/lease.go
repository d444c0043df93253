package provision

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// MaxLeaseSize bounds a lease file, in bytes.
const MaxLeaseSize = 1 << 20

// maxServers bounds the servers of a lease.
const maxServers = 16

// ErrLease says that a lease names no server.
var ErrLease = errors.New("the lease names no provisioning server (DHCP options 150 and 66)")

// Lease is what a DHCP server said about provisioning.
type Lease struct {
	// Servers are the addresses of option 150, in order.
	Servers []netip.Addr
	// Name is the server of option 66: a host's name or an address.
	Name string
}

// Hosts returns the servers to ask, in order: those of option 150 before that
// of option 66.
func (l Lease) Hosts() []string {
	var hosts []string
	for _, a := range l.Servers {
		hosts = append(hosts, a.String())
	}
	if len(hosts) == 0 && l.Name != "" {
		hosts = append(hosts, l.Name)
	}
	return hosts
}

// ParseLease reads a lease file of dhclient, where the last lease counts, a
// lease file of systemd-networkd, or the environment that udhcpc, dhcpcd and
// dhclient give their scripts, one NAME=VALUE per line. Errors match ErrLease.
func ParseLease(b []byte) (Lease, error) {
	if len(b) > MaxLeaseSize {
		return Lease{}, fmt.Errorf("%w: its %d bytes are more than %d", ErrLease, len(b), MaxLeaseSize)
	}
	var l Lease
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "lease") && strings.HasSuffix(line, "{") {
			l = Lease{} // dhclient appends: the last one counts
		}
		name, value, ok := option(line)
		if !ok {
			continue
		}
		switch {
		case is150(name):
			if addrs := addresses(value); len(addrs) > 0 {
				l.Servers = addrs
			}
		case is66(name):
			if host := serverName(value); host != "" {
				l.Name = host
			}
		}
	}
	if len(l.Hosts()) == 0 {
		return Lease{}, ErrLease
	}
	return l, nil
}

// option splits a line.
func option(line string) (name, value string, ok bool) {
	if rest, dhclient := strings.CutPrefix(line, "option "); dhclient {
		name, value, ok = strings.Cut(strings.TrimSuffix(rest, ";"), " ")
	} else {
		name, value, ok = strings.Cut(line, "=")
	}
	name = strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(strings.TrimSpace(name)))
	name = strings.TrimPrefix(strings.TrimPrefix(name, "export "), "new-")
	return name, strings.Trim(strings.TrimSpace(value), `"'`), ok
}

func is150(name string) bool {
	switch name {
	case "opt150", "option150", "option-150", "unknown-150", "150",
		"tftp-server-address", "tftp-server-addresses", "voip-tftp-server", "voip-tftp-servers", "cisco-tftp", "voip-tftp":
		return true
	}
	return false
}

func is66(name string) bool {
	switch name {
	case "tftp", "tftp-server-name", "option-66", "opt66", "unknown-66", "dhcp-tftp-server-name":
		return true
	}
	return false
}

// addresses reads a list of addresses, or their bytes in hexadecimal with or
// without colons.
func addresses(v string) []netip.Addr {
	var out []netip.Addr
	for _, f := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }) {
		if a, err := netip.ParseAddr(f); err == nil && a.Is4() && len(out) < maxServers {
			out = append(out, a)
		}
	}
	if len(out) > 0 {
		return out
	}
	raw := hexBytes(v)
	if len(raw)%4 != 0 {
		return nil
	}
	for ; len(raw) >= 4 && len(out) < maxServers; raw = raw[4:] {
		out = append(out, netip.AddrFrom4([4]byte(raw[:4])))
	}
	return out
}

// hexBytes reads 0a000005 and dhclient's a:0:0:5.
func hexBytes(v string) []byte {
	if strings.Contains(v, ":") {
		var out []byte
		for _, f := range strings.Split(v, ":") {
			if len(f) == 1 {
				f = "0" + f
			}
			b, err := hex.DecodeString(f)
			if err != nil || len(b) != 1 {
				return nil
			}
			out = append(out, b[0])
		}
		return out
	}
	b, err := hex.DecodeString(strings.TrimPrefix(v, "0x"))
	if err != nil {
		return nil
	}
	return b
}

// serverName takes a host's name or address; clients that do not know the
// option give its bytes.
func serverName(v string) string {
	if raw := hexBytes(v); len(raw) > 3 && !strings.Contains(v, ".") {
		v = strings.TrimRight(string(raw), "\x00")
	}
	for _, r := range v {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '-' && r != '.' && r != '_' {
			return ""
		}
	}
	if len(v) > 255 {
		return ""
	}
	return v
}
