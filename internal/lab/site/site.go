// Package site builds customer sites on one machine: hosts for the devices and
// one for a file server, with a WAN of a given rate between them.
//
// There are two kinds. A loopback site gives every device an address of
// 127.0.0.0/8 and shapes the file server's writes; it needs no privileges, and
// its LAN is not shaped. A namespace site gives every device a network
// namespace with a port on one bridge, shapes every port with the kernel's
// token bucket, may put a long link between, and works as root or in a user
// namespace.
//
// What lives here: addresses, links, what happens to links, and their
// counters. What must not: processes and servers. Read first: Site here, then
// netns_linux.go.
package site

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/peerload/peerload/internal/lab/units"
)

// Kinds of sites.
const (
	KindLoopback  = "loopback"
	KindNamespace = "netns"
)

// MaxDevices bounds the devices of one site.
const MaxDevices = 1000

// Site is a customer's site as the lab builds it: hosts for the devices behind
// one WAN, and at its other end a host for the file server.
type Site interface {
	// Listen opens the file server's TCP socket, on a free port.
	Listen() (net.Listener, error)
	// ListenUDP opens the file server's UDP socket, on a free port.
	ListenUDP() (*net.UDPConn, error)
	// Shaper is the WAN if the file server has to limit itself; nil if the
	// site's links do.
	Shaper() *Shaper
	// Host returns the host of device i, 0 to the number of devices less one.
	Host(i int) Host
	// Wire returns the bytes that the WAN link has carried so far, with all
	// headers; false if there is no link to count on.
	Wire() (Wire, bool)
	// Close removes the site. Processes on it must have ended.
	Close() error
}

// Wire counts the bytes on the WAN link in frames without preamble and
// checksum: Down from the server to the site, Up from the site to the server.
type Wire struct {
	Down, Up uint64
}

// Host is what one device runs on. The zero Host is that of this process: the
// file server's.
type Host struct {
	Addr netip.Addr
	// Args tells `peerload get` its address or interface.
	Args []string
	// enter changes the calling thread's namespace; nil if hosts share one.
	enter func() error
}

// Run runs f so that sockets and processes made by it belong to the host, on a
// thread that ends with it.
func (h Host) Run(f func() error) error {
	return onThread(func() error {
		if h.enter != nil {
			if err := h.enter(); err != nil {
				return err
			}
		}
		return f()
	})
}

// PeerPort is the port on which devices meet.
const PeerPort = 4051

// BroadcastOf is the broadcast address of the subnet of a namespace site's device, a /16.
func BroadcastOf(a netip.Addr) netip.Addr {
	b := a.As4()
	return netip.AddrFrom4([4]byte{b[0], b[1], 255, 255})
}

// Loopback is a site on addresses of 127.0.0.0/8, whose WAN is shaped by
// the file server's writes and whose LAN is not shaped.
type Loopback struct {
	wan    *Shaper
	server netip.Addr
	first  netip.Addr
	port   int
	held   io.Closer
}

// NewLoopback returns a site whose file server is at 127.0.0.1 and whose
// devices are at 127.X.0.1 and up, where X comes from this process's id: two
// labs on one machine seldom use the same address. All of 127.0.0.0/8 is one
// subnet, so devices of another run would share with this one's: the site takes
// the peers' port if nobody has it, else one of the next hundred.
func NewLoopback(wan units.Rate) (*Loopback, error) {
	s := &Loopback{
		wan:    newShaper(wan),
		server: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		first:  netip.AddrFrom4([4]byte{127, byte(1 + os.Getpid()%250), 0, 1}),
	}
	for port := PeerPort; port <= PeerPort+100; port++ {
		if held := reservePort(port); held != nil {
			s.port, s.held = port, held
			return s, nil
		}
	}
	return nil, fmt.Errorf("no quiet port from %d to %d for the devices", PeerPort, PeerPort+100)
}

// reservePort reserves a port against other labs of this machine by a name in
// the abstract namespace of Unix sockets, if no device listens on it; else it
// returns nil.
func reservePort(port int) io.Closer {
	held, err := net.Listen("unix", fmt.Sprintf("@peerload-lab-%d", port))
	if err != nil {
		return nil
	}
	broadcast := netip.AddrFrom4([4]byte{127, 255, 255, 255})
	udp, err := net.ListenPacket("udp4", netip.AddrPortFrom(broadcast, uint16(port)).String())
	if err != nil {
		held.Close()
		return nil
	}
	udp.Close()
	return held
}

// Port returns the port on which the devices meet.
func (s *Loopback) Port() int { return s.port }

// Listen implements Site.
func (s *Loopback) Listen() (net.Listener, error) {
	return net.Listen("tcp4", netip.AddrPortFrom(s.server, 0).String())
}

// ListenUDP implements Site.
func (s *Loopback) ListenUDP() (*net.UDPConn, error) {
	return net.ListenUDP("udp4", &net.UDPAddr{IP: s.server.AsSlice()})
}

// Shaper implements Site.
func (s *Loopback) Shaper() *Shaper { return s.wan }

// Host implements Site.
func (s *Loopback) Host(i int) Host {
	a := hostAddr(s.first, i)
	return Host{
		Addr: a,
		Args: []string{"--address", fmt.Sprintf("%s/8", a), "--port", strconv.Itoa(s.port)},
	}
}

// Wire implements Site: loopback has no link to count on.
func (s *Loopback) Wire() (Wire, bool) { return Wire{}, false }

// Close implements Site.
func (s *Loopback) Close() error { return s.held.Close() }

// hostAddr returns the i-th address from first, 250 to each value of the third
// octet: none ends in 0 or 255, which some take for network or broadcast.
func hostAddr(first netip.Addr, i int) netip.Addr {
	b := first.As4()
	b[2] += byte(i / 250)
	b[3] += byte(i % 250)
	return netip.AddrFrom4(b)
}
