package election_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
)

// Two devices that hold nothing yet elect a root in virtual time: a broadcast
// of the one is heard by the other at once.
func Example() {
	var peers [2]wire.Peer
	var devices [2]*election.Election
	var out election.Output
	for i := range devices {
		peers[i] = wire.Peer{ID: uint64(i) + 1}
		devices[i] = election.New(election.LAN(), peers[i], rand.New(rand.NewPCG(uint64(i), 1)))
		devices[i].Start(0, wire.ReasonNone, &out)
	}
	for devices[0].State() != election.Root && devices[1].State() != election.Root {
		i := 0
		now, _ := devices[0].Deadline()
		if at, ok := devices[1].Deadline(); ok && at < now {
			i, now = 1, at
		}
		out = election.Output{}
		devices[i].Tick(now, &out)
		if !out.Broadcast {
			continue
		}
		rank, _ := devices[i].Rank()
		fmt.Printf("%v: device %d claims, confirmed %v\n", now.Round(time.Millisecond), i, rank.Confirmed)
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i) + 1}), wire.Port)
		heard := election.Candidate{Peer: peers[i], Addr: addr, Links: addr, Claim: wire.Claim{Rank: rank}}
		devices[1-i].Claim(now, heard, &election.Output{})
	}
	fmt.Println(devices[0].State(), devices[1].State())
	// Output:
	// 31ms: device 0 claims, confirmed false
	// 43ms: device 0 claims, confirmed false
	// 55ms: device 0 claims, confirmed false
	// 67ms: device 0 claims, confirmed true
	// root following
}
