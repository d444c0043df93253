// Package peernet is how a device stands on its subnet: PDP datagrams over UDP
// broadcast and unicast, links over TCP, and an in-memory twin of both.
//
// What lives here: Net and its two kinds, Sockets (the real thing, Linux) and
// Fabric (a virtual subnet for tests and simulations, whose Nodes run in
// virtual time). What must not: what a message means. This package moves
// bytes; it decodes nothing, elects nobody and keeps no peers.
package peernet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/peerload/peerload/pdp/wire"
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

// Stats counts what a Net has seen since it was opened.
type Stats struct {
	// Datagrams and bytes handed to the handler, and sent without error.
	Received, ReceivedBytes uint64
	Sent, SentBytes         uint64
	// Broadcasts is how many of Sent went to everybody.
	Broadcasts uint64
	// OffLink counts datagrams and links from outside the subnet, dropped.
	OffLink uint64
	// Oversized counts datagrams of more than wire.MaxDatagram bytes, dropped.
	Oversized uint64
	// Own counts own broadcasts that came back, dropped.
	Own uint64
	// Overflow counts datagrams dropped because the inbox was full (Fabric;
	// the kernel does not tell).
	Overflow uint64
	// Accepted and Dialled count links opened by others and by this device.
	Accepted, Dialled uint64
	// ReadErrors, SendErrors, AcceptErrors and DialErrors count failures.
	ReadErrors, SendErrors, AcceptErrors, DialErrors uint64
}

// counters is Stats as it is counted.
type counters struct {
	received, receivedBytes, sent, sentBytes, broadcasts atomic.Uint64
	offLink, oversized, own, overflow                    atomic.Uint64
	accepted, dialled                                    atomic.Uint64
	readErrors, sendErrors, acceptErrors, dialErrors     atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		Received: c.received.Load(), ReceivedBytes: c.receivedBytes.Load(),
		Sent: c.sent.Load(), SentBytes: c.sentBytes.Load(), Broadcasts: c.broadcasts.Load(),
		OffLink: c.offLink.Load(), Oversized: c.oversized.Load(), Own: c.own.Load(), Overflow: c.overflow.Load(),
		Accepted: c.accepted.Load(), Dialled: c.dialled.Load(),
		ReadErrors: c.readErrors.Load(), SendErrors: c.sendErrors.Load(),
		AcceptErrors: c.acceptErrors.Load(), DialErrors: c.dialErrors.Load(),
	}
}

// admit decides whether a datagram of n bytes goes to the handler, and counts.
func (c *counters) admit(s subnet, self, from netip.AddrPort, n int) bool {
	switch {
	case from == self:
		c.own.Add(1)
	case !s.onLink(from.Addr()):
		c.offLink.Add(1)
	case n > wire.MaxDatagram:
		c.oversized.Add(1)
	default:
		c.received.Add(1)
		c.receivedBytes.Add(uint64(n))
		return true
	}
	return false
}

// countSent counts the outcome of one send.
func (c *counters) countSent(n int, broadcast bool, err error) {
	if err != nil {
		c.sendErrors.Add(1)
		return
	}
	c.sent.Add(1)
	c.sentBytes.Add(uint64(n))
	if broadcast {
		c.broadcasts.Add(1)
	}
}
