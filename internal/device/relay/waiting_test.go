package relay

import (
	"testing"

	"github.com/peerload/peerload/internal/device/feed"
)

// TestWaitingOrders: an order of a feed waits until that feed serves, whatever others do
// meanwhile: a carrier that repeats a line of the feed before must not make it lost.
func TestWaitingOrders(t *testing.T) {
	var w waitingOrders
	if !w.add(feed.Passed{Feed: "old", Number: 1}) || len(w.take("old")) != 1 {
		t.Fatal("an order of the feed that serves is not taken")
	}
	w.add(feed.Passed{Feed: "new", Number: 1})
	if got := w.take("old"); len(got) != 0 {
		t.Errorf("took %v of another feed", got)
	}
	w.add(feed.Passed{Feed: "old", Number: 2}) // while that does not serve
	w.add(feed.Passed{Feed: "new", Number: 2})
	if got := w.take("old"); len(got) != 1 || got[0].Number != 2 {
		t.Errorf("took %v, want the second of the old feed", got)
	}
	if got := w.take("new"); len(got) != 2 || got[0].Number != 1 || got[1].Number != 2 {
		t.Errorf("took %v, want both of the new feed", got)
	}
	if len(w.all) != 0 {
		t.Errorf("%d wait still", len(w.all))
	}
}

// TestWaitingOrdersAreBounded: a carrier that fills what waits leaves room for the feed
// of the next one.
func TestWaitingOrdersAreBounded(t *testing.T) {
	var w waitingOrders
	w.take("served")
	for _, name := range []string{"a liar's", "honest", "served"} {
		for i := range uint64(maxWaiting) {
			if !w.add(feed.Passed{Feed: name, Number: 1 + i}) {
				t.Fatalf("%s: no room for order %d", name, 1+i)
			}
		}
		if w.add(feed.Passed{Feed: name, Number: 1 + maxWaiting}) {
			t.Errorf("%s: no bound", name)
		}
	}
	if len(w.all) != 2*maxWaiting {
		t.Errorf("%d orders wait, want those of two feeds", len(w.all))
	}
}
