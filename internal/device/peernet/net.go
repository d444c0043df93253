// Package peernet connects a device to its subnet: PDP datagrams over UDP
// broadcast and unicast, and links over TCP.
//
// What lives here: Net, and Sockets, which is Net over the sockets of a host
// (Linux). Another Net, a virtual subnet for tests, counts and admits by the
// same Counters; one suite tests both (internal/testkit/netsuite). What must
// not: what a message means. This package moves bytes; it decodes nothing,
// elects nobody and keeps no peers.
//
// Read net.go (the interface), then sockets.go and serve.go.
package peernet

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Net is a device's place on one subnet.
type Net interface {
	// Addr is the own unicast UDP address and port: the source of everything
	// that the device sends.
	Addr() netip.AddrPort
	// TCPPort is where the device takes links, on the address of Addr.
	TCPPort() uint16
	// Broadcast sends b, at most wire.MaxDatagram bytes, to all devices of the
	// subnet. The sender does not hear it. Loss is no error.
	Broadcast(b []byte) error
	// Send sends b to one device, by the address its datagrams come from.
	Send(to netip.AddrPort, b []byte) error
	// Serve calls the handlers until ctx ends, then returns nil; it returns
	// net.ErrClosed once the Net is closed. One Serve runs at a time.
	Serve(ctx context.Context, h Handler) error
	// Dial opens a link to a device's TCP port. It takes as long as ctx lets
	// it; an address off the subnet is refused with ErrOffLink.
	Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// Close ends Serve and frees the ports. Open links stay with their owners.
	Close() error
}

// Handler takes what arrives. Both functions must be set.
type Handler struct {
	// Datagram is called for one datagram at a time, always from one
	// goroutine. b is valid during the call only.
	Datagram func(from netip.AddrPort, b []byte)
	// Accept is called for one new link at a time, from another goroutine than
	// Datagram. It owns c, and the next link waits until it returns.
	Accept func(c net.Conn)
}

// Errors of this package that a caller may want to tell apart.
var (
	// ErrOffLink: the other address is not on the own subnet.
	ErrOffLink = errors.New("the address is not on this subnet")
	// ErrTooLong: a datagram of more than wire.MaxDatagram bytes.
	ErrTooLong = errors.New("the datagram is too long")
	// ErrNoAddress: this host has no address that would do.
	ErrNoAddress = errors.New("no usable address")
)
