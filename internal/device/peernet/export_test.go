package peernet

import (
	"net"
	"net/netip"
	"syscall"
)

// LowerEffort is the codepoint that packets carry by default.
const LowerEffort = dscpLE

// Unicast returns the socket that sends, and hears what is sent to it alone.
func (s *Sockets) Unicast() syscall.Conn { return s.unicast }

// HearsBroadcasts returns the socket that hears broadcasts.
func (s *Sockets) HearsBroadcasts() *net.UDPConn { return s.broadcast }

// BroadcastAddr returns where broadcasts go.
func (s *Sockets) BroadcastAddr() netip.Addr { return s.subnet.broadcast }

// Config returns the configuration with its defaults.
func (s *Sockets) Config() Config { return s.cfg }

// OpenWildcard opens the like of s, as on a kernel that binds no broadcast
// address: one that no IPv4 socket can be bound to stands for it.
func OpenWildcard(s *Sockets) (*Sockets, error) {
	o := &Sockets{cfg: s.cfg, subnet: s.subnet, closed: make(chan struct{})}
	o.subnet.broadcast = netip.IPv6LinkLocalAllNodes()
	return o, o.open()
}
