package orders

import (
	"fmt"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
)

// The desk sends each order once, again after a while, and no more than fits.
func TestDesk(t *testing.T) {
	at := time.Unix(1_790_000_000, 0).UTC()
	o := domain.SentOrder{ID: "a", Kind: "retry", Issued: at, Expires: at.Add(time.Hour)}
	var all []open
	for i := range order.MaxTargets + 1 {
		all = append(all, open{o, fmt.Sprintf("SEP%012X", i)})
	}
	d := newDesk("f")
	send, next := d.due(at, all)
	if len(send) != 1 || len(send[0].Targets) != order.MaxTargets || send[0].Number != 1 || !next.Equal(at) {
		t.Fatalf("%d orders, next %v", len(send), next)
	}
	send, next = d.due(at, all)
	if len(send) != 1 || len(send[0].Targets) != 1 || send[0].Number != 2 || !next.Equal(at.Add(again)) {
		t.Fatalf("%d orders, next %v", len(send), next)
	}
	if d.repeats(at, all) {
		t.Error("it would be sent again at once")
	}
	if send, _ = d.due(at.Add(again-1), all); len(send) != 0 {
		t.Errorf("%d orders too soon", len(send))
	}
	if !d.repeats(at.Add(again), all) {
		t.Error("it would not be sent again")
	}
	if send, _ = d.due(at.Add(again), all[:1]); len(send) != 1 || send[0].Number != 3 {
		t.Errorf("%+v", send)
	}
	if send, next = d.due(at.Add(time.Hour), all); len(send) != 0 || !next.IsZero() || len(d.sent) != 0 {
		t.Errorf("after it has expired: %d orders, next %v", len(send), next)
	}
}
