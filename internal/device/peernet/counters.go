package peernet

import (
	"net/netip"
	"sync/atomic"

	"github.com/peerload/peerload/pdp/wire"
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
	// Accepted and Dialled count links opened by others and by this device.
	Accepted, Dialled uint64
	// ReadErrors, SendErrors, AcceptErrors and DialErrors count failures.
	ReadErrors, SendErrors, AcceptErrors, DialErrors uint64
}

// Counters are Stats as they are counted. The zero value is ready; methods and
// fields may be used from several goroutines.
type Counters struct {
	Received, ReceivedBytes, Sent, SentBytes, Broadcasts atomic.Uint64
	OffLink, Oversized, Own                              atomic.Uint64
	Accepted, Dialled                                    atomic.Uint64
	ReadErrors, SendErrors, AcceptErrors, DialErrors     atomic.Uint64
}

// Stats returns the counts so far.
func (c *Counters) Stats() Stats {
	return Stats{
		Received: c.Received.Load(), ReceivedBytes: c.ReceivedBytes.Load(),
		Sent: c.Sent.Load(), SentBytes: c.SentBytes.Load(), Broadcasts: c.Broadcasts.Load(),
		OffLink: c.OffLink.Load(), Oversized: c.Oversized.Load(), Own: c.Own.Load(),
		Accepted: c.Accepted.Load(), Dialled: c.Dialled.Load(),
		ReadErrors: c.ReadErrors.Load(), SendErrors: c.SendErrors.Load(),
		AcceptErrors: c.AcceptErrors.Load(), DialErrors: c.DialErrors.Load(),
	}
}

// Admit decides whether a datagram of n bytes goes to the handler of the device
// at self on a subnet, and counts: not its own, not from off the subnet, none
// of more than wire.MaxDatagram bytes.
func (c *Counters) Admit(subnet netip.Prefix, self, from netip.AddrPort, n int) bool {
	switch {
	case from == self:
		c.Own.Add(1)
	case !OnLink(subnet, from.Addr()):
		c.OffLink.Add(1)
	case n > wire.MaxDatagram:
		c.Oversized.Add(1)
	default:
		c.Received.Add(1)
		c.ReceivedBytes.Add(uint64(n))
		return true
	}
	return false
}

// CountSent counts the outcome of sending n bytes.
func (c *Counters) CountSent(n int, broadcast bool, err error) {
	if err != nil {
		c.SendErrors.Add(1)
		return
	}
	c.Sent.Add(1)
	c.SentBytes.Add(uint64(n))
	if broadcast {
		c.Broadcasts.Add(1)
	}
}

// OnLink reports whether an address, which may be IPv4-mapped IPv6, is on a
// subnet.
func OnLink(subnet netip.Prefix, a netip.Addr) bool { return subnet.Contains(a.Unmap()) }
