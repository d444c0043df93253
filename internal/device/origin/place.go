package origin

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// place says where an address is, seen from this device.
type place int

const (
	elsewhere place = iota
	// here is this device itself: loopback, and the unspecified address, which
	// systems take for it.
	here
	// link is what no router forwards: clouds keep their secrets there.
	link
	places
)

// errPlace says that a redirect leads to where the server itself is not.
var errPlace = fmt.Errorf("%w: a redirect to this device itself, or to its link only, is not followed: "+
	"the server is elsewhere", ErrAnswer)

func placeOf(a netip.Addr) place {
	a = a.Unmap()
	switch {
	case a.IsLoopback() || a.IsUnspecified():
		return here
	case a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast():
		return link
	}
	return elsewhere
}

// placeOfConn is where a connection leads.
func placeOfConn(c net.Conn) place {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return elsewhere
	}
	return placeOf(a.Addr())
}

// placeOfURL is where a URL leads as far as its text tells: that of a name is not
// known before it is resolved.
func placeOfURL(u *url.URL) place {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return here
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return elsewhere
	}
	return placeOf(a)
}

// reachable refuses a redirect of a server at from to an address at to.
func reachable(from, to place) error {
	if to == elsewhere || to == from {
		return nil
	}
	return errPlace
}

// dialling is the Control of a dialer for redirects of servers at from: it sees
// the address that is dialled, whatever the name was that stood for it.
func dialling(from place) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %w", errPlace, err)
		}
		return reachable(from, placeOf(a.Addr()))
	}
}
