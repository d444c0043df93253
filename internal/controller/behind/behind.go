// Package behind takes connections that come by way of load balancers. These say whom a
// connection is for (the PROXY protocol, versions 1 and 2).
//
// What lives here: whose word counts. What must not: what is done with an address.
// Read first: Listen.
package behind

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// headerTimeout is how long a balancer may take to say whom a connection is for.
const headerTimeout = 10 * time.Second

// errNoAddress says that a connection has no address of the Internet. It is refused, and
// the listener goes on: any other error would end it.
var errNoAddress = fmt.Errorf("a connection without an address: %w", proxyproto.ErrInvalidUpstream)

// Listen returns a listener whose connections have the addresses that balancers say, if
// they come from one of their networks: then they must say it. Of all others nothing is
// believed. Without networks it is ln.
func Listen(ln net.Listener, balancers []netip.Prefix) net.Listener {
	if len(balancers) == 0 {
		return ln
	}
	return &proxyproto.Listener{Listener: ln, ReadHeaderTimeout: headerTimeout,
		ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			at, err := netip.ParseAddrPort(o.Upstream.String())
			if err != nil {
				return proxyproto.REJECT, errNoAddress
			}
			for _, p := range balancers {
				if p.Contains(at.Addr().Unmap().WithZone("")) {
					return proxyproto.REQUIRE, nil
				}
			}
			return proxyproto.SKIP, nil
		}}
}
