package engine

import (
	"context"
	"net"
	"net/netip"

	"github.com/peerload/peerload/internal/device/peernet"
)

// NoPeers is the network of a device that does not share: it sends and receives
// nothing. With pdp.NoPeers it downloads at once, the classic way, by the same
// code as a root.
type NoPeers struct{}

var _ peernet.Net = NoPeers{}

// Addr implements peernet.Net.
func (NoPeers) Addr() netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), 0) }

// TCPPort implements peernet.Net.
func (NoPeers) TCPPort() uint16 { return 0 }

// Broadcast implements peernet.Net.
func (NoPeers) Broadcast([]byte) error { return nil }

// Send implements peernet.Net.
func (NoPeers) Send(netip.AddrPort, []byte) error { return nil }

// Serve implements peernet.Net.
func (NoPeers) Serve(ctx context.Context, _ peernet.Handler) error {
	<-ctx.Done()
	return nil
}

// Dial implements peernet.Net.
func (NoPeers) Dial(context.Context, netip.AddrPort) (net.Conn, error) {
	return nil, peernet.ErrNoAddress
}

// Close implements peernet.Net.
func (NoPeers) Close() error { return nil }
