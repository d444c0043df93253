package tree_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
)

// Five devices ask device 0, the root, for a parent, one after the other.
func Example() {
	root := wire.Peer{ID: 0, Nonce: 1}
	placer := tree.NewPlacer(tree.LAN(), root)
	placer.Trees(1)
	for i := range 5 {
		peer := wire.Peer{ID: uint64(i) + 1, Nonce: 1}
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i) + 1}), wire.Port)
		now := time.Duration(i) * time.Millisecond
		place := placer.Ask(now, from, wire.Envelope{From: peer, TCPPort: wire.Port}, &wire.Ask{Free: wire.MaxChildren})
		fmt.Printf("device %d: below device %d, depth %d\n", peer.ID, place.Parent.ID, place.Depth)
	}
	// Output:
	// device 1: below device 0, depth 1
	// device 2: below device 0, depth 1
	// device 3: below device 1, depth 2
	// device 4: below device 1, depth 2
	// device 5: below device 2, depth 2
}
