package provision

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
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
	// Name is the server of option 66: a host's name or an address, with a port
	// behind it if there is one, or a URL.
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

// ParseLease reads a lease file of dhclient, where the last lease of each
// interface counts, and of these the last that names a server; the message that
// dhcpcd keeps; or NAME=VALUE lines, as udhcpc, dhcpcd, dhclient and
// NetworkManager give them to their scripts. Errors match ErrLease.
func ParseLease(b []byte) (Lease, error) {
	if len(b) > MaxLeaseSize {
		return Lease{}, fmt.Errorf("%w: its %d bytes are more than %d", ErrLease, len(b), MaxLeaseSize)
	}
	if isMessage(b) {
		return named(parseMessage(b))
	}
	var leases []interfaceLease
	now := &interfaceLease{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "lease") && strings.HasSuffix(line, "{") {
			leases, now = append(leases, *now), &interfaceLease{} // dhclient appends
			continue
		}
		if rest, ok := strings.CutPrefix(line, "interface "); ok {
			now.iface = strings.Trim(rest, `"; `)
		}
		if name, value, ok := option(line); ok {
			now.take(name, value)
		}
	}
	leases = append(leases, *now)
	seen := map[string]bool{}
	for _, l := range slices.Backward(leases) {
		if !seen[l.iface] && len(l.Hosts()) > 0 {
			return l.Lease, nil
		}
		seen[l.iface] = true
	}
	return Lease{}, ErrLease
}

// interfaceLease is the lease of one interface, "" if it is not told.
type interfaceLease struct {
	Lease
	iface string
}

func (l *Lease) take(name, value string) {
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

// named is an error for a lease that names no server.
func named(l Lease) (Lease, error) {
	if len(l.Hosts()) == 0 {
		return Lease{}, ErrLease
	}
	return l, nil
}

// Where things stand in a DHCP message (RFC 2131), and options (RFC 2132).
const (
	cookieAt   = 236
	optionsAt  = cookieAt + 4
	optionPad  = 0
	optionEnd  = 255
	optionName = 66
	optionTFTP = 150
)

// isMessage reports whether a file is a DHCP message as it came, which dhcpcd
// keeps.
func isMessage(b []byte) bool {
	return len(b) >= optionsAt && b[0] == 2 && string(b[cookieAt:optionsAt]) == "\x63\x82\x53\x63"
}

func parseMessage(b []byte) (l Lease) {
	for b = b[optionsAt:]; len(b) > 1 && b[0] != optionEnd; {
		if b[0] == optionPad {
			b = b[1:]
			continue
		}
		n := int(b[1])
		if len(b) < 2+n {
			break
		}
		switch value := b[2 : 2+n]; b[0] {
		case optionTFTP:
			l.take("150", hex.EncodeToString(value))
		case optionName:
			l.take("option-66", string(value))
		}
		b = b[2+n:]
	}
	return l
}

// option splits a line.
func option(line string) (name, value string, ok bool) {
	if rest, dhclient := strings.CutPrefix(line, "option "); dhclient {
		name, value, ok = strings.Cut(strings.TrimSuffix(rest, ";"), " ")
	} else {
		name, value, ok = strings.Cut(line, "=")
	}
	name = strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(strings.TrimSpace(name)))
	name = strings.TrimPrefix(name, "export ")
	name = strings.TrimPrefix(strings.TrimPrefix(name, "new-"), "dhcp4-")
	return name, strings.Trim(strings.TrimSpace(value), `"'`), ok
}

func is150(name string) bool {
	switch name {
	case "opt150", "option150", "option-150", "unknown-150", "150",
		"tftp-server-address", "tftp-server-addresses", "tftp-server-ip-address", "tftp-servers",
		"voip-tftp-server", "voip-tftp-servers", "cisco-tftp", "voip-tftp":
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

// refusedByUdhcpc is what busybox's udhcpc writes in place of a text that is no
// name of a host, such as a URL.
const refusedByUdhcpc = "bad"

// serverName takes a host's name or address, with a port if there is one, or a
// URL of what serves files; clients that do not know the option give
// its bytes.
func serverName(v string) string {
	if raw := hexBytes(v); len(raw) > 3 && !strings.Contains(v, ".") {
		v = string(raw)
	}
	v = strings.TrimRight(strings.ReplaceAll(v, `\000`, ""), "\x00 ") // dhclient writes a NUL so
	for _, r := range v {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("-._:/[]", r) {
			return ""
		}
	}
	text := v
	if !strings.Contains(text, "://") {
		if strings.Contains(text, "/") {
			return ""
		}
		text = "tftp://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || len(v) > 255 || v == refusedByUdhcpc ||
		!slices.Contains([]string{"tftp", "http", "https"}, strings.ToLower(u.Scheme)) {
		return ""
	}
	return v
}
