package wire_test

import (
	"fmt"

	"github.com/peerload/peerload/pdp/wire"
)

// A device claims to be root of a file; another reads its claim.
func Example() {
	env := wire.Envelope{
		Hierarchy: wire.HierarchyOf("CP-7961G", []byte("digest of the file")),
		From:      wire.Peer{ID: 0x0008_0027_f800_0001, Nonce: 0xa1b2c3d4},
		TCPPort:   wire.Port,
	}
	claim := &wire.Claim{Rank: wire.Rank{Prefix: 12, Strength: 0x31d4d43d}.Confirm(), Prefix: 40, Size: 5_000_000}
	datagram := wire.Marshal(env, claim)

	from, m, err := wire.Unmarshal(datagram)
	if err != nil {
		fmt.Println(err)
		return
	}
	switch m := m.(type) {
	case *wire.Claim:
		fmt.Printf("%d bytes: %s claims hierarchy %s\n", len(datagram), from.From, from.Hierarchy)
		fmt.Printf("confirmed %v, strength %08x, held %d chunks then and %d now\n",
			m.Rank.Confirmed, m.Rank.Strength, m.Rank.Prefix, m.Prefix)
	default:
		fmt.Printf("something else: %T\n", m)
	}
	// Output:
	// 86 bytes: 00080027f8000001.d4 claims hierarchy 25c2063e
	// confirmed true, strength b1d4d43d, held 12 chunks then and 40 now
}
