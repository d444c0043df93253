package transfer_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// A parent that holds eight chunks feeds two children, one of which has the
// first four already and reads faster.
func Example() {
	feed := transfer.NewFeed(transfer.LAN()) // at most three chunks on the way to each
	feed.Add(0, 1, wire.Peer{ID: 1}, netip.MustParseAddrPort("192.0.2.1:4051"), transfer.All, 0)
	feed.Add(0, 2, wire.Peer{ID: 2}, netip.MustParseAddrPort("192.0.2.2:4051"), transfer.All, 4)

	held := func(transfer.Set) int { return 8 }
	send := func(l transfer.Link, chunk int) { fmt.Printf("chunk %d to child %d\n", chunk, l) }
	feed.Next(0, held, nil, send)

	fmt.Println("one has left for child 2")
	feed.Sent(10*time.Millisecond, 2)
	feed.Next(10*time.Millisecond, held, nil, send)

	// Child 1 reads nothing. After a while its slot is for somebody else.
	feed.Report(10*time.Second, 1, 0, false)
	feed.Report(10*time.Second, 2, 8, true)
	fmt.Println("lagging: child", feed.Lagging(10*time.Second).Link)
	// Output:
	// chunk 0 to child 1
	// chunk 1 to child 1
	// chunk 2 to child 1
	// chunk 4 to child 2
	// chunk 5 to child 2
	// chunk 6 to child 2
	// one has left for child 2
	// chunk 7 to child 2
	// lagging: child 1
}
