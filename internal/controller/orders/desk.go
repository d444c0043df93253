package orders

import (
	"cmp"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
)

// again is how long after it was sent an order is sent again to a device that has
// not answered. An order that is under way there may take longer: it does no harm.
const again = 30 * time.Second

// open is an order that a device has not answered.
type open struct {
	order  domain.SentOrder
	device string
}

func (o open) key() string { return domain.OrderDeviceKey(o.order.ID, o.device) }

// desk decides what goes into one feed, and when. It is pure.
type desk struct {
	feed   string
	number uint64
	// sent is when what is open was last sent, by its key.
	sent map[string]time.Time
}

func newDesk(feed string) *desk { return &desk{feed: feed, sent: map[string]time.Time{}} }

// due returns the orders to send now to those devices of all that are open, each
// once with its targets, and when to look again; zero is never. What is no longer
// open is forgotten.
func (d *desk) due(now time.Time, all []open) (send []order.Order, next time.Time) {
	still := map[string]time.Time{}
	targets := map[string]*order.Order{}
	look := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, o := range all {
		if !now.Before(o.order.Expires) {
			continue
		}
		look(o.order.Expires)
		if at, ok := d.sent[o.key()]; ok && now.Before(at.Add(again)) {
			still[o.key()] = at
			look(at.Add(again))
			continue
		}
		to := targets[o.order.ID]
		if to == nil {
			to = &order.Order{ID: o.order.ID, Kind: order.Kind(o.order.Kind), Issued: o.order.Issued,
				Expires: o.order.Expires, Moment: o.order.Moment, Lines: o.order.Lines, Feed: d.feed}
			targets[o.order.ID] = to
		}
		if len(to.Targets) == order.MaxTargets {
			look(now) // the rest goes into another envelope
			continue
		}
		to.Targets = append(to.Targets, o.device)
		still[o.key()] = now
		look(now.Add(again))
	}
	d.sent = still
	for _, o := range targets {
		slices.Sort(o.Targets)
		send = append(send, *o)
	}
	slices.SortFunc(send, func(a, b order.Order) int { return cmp.Compare(a.ID, b.ID) })
	for i := range send {
		d.number++
		send[i].Number = d.number
	}
	return send, next
}

// repeats reports whether something would be sent again: another process may have
// seen it answered.
func (d *desk) repeats(now time.Time, all []open) bool {
	return slices.ContainsFunc(all, func(o open) bool {
		at, ok := d.sent[o.key()]
		return ok && !now.Before(at.Add(again))
	})
}
