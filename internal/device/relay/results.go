package relay

import (
	"context"
	"time"

	"github.com/peerload/peerload/internal/device/carrier"
	"github.com/peerload/peerload/internal/order"
)

const (
	// collectTime is how long a carrier waits for more results.
	collectTime = 50 * time.Millisecond
	// atOnce bounds the results that it hands over at once, and maxWaitingResults those
	// that wait: what is dropped comes again, from the device that has it.
	atOnce, maxWaitingResults = 128, 4096
	// upTime is how long a device waits for the answer by way of its carrier, before
	// it goes to the controller itself.
	upTime = 10 * time.Second
)

// collected are the results that a carrier hands over for its followers.
type collected struct {
	waiting []result
	busy    bool
}

type result struct {
	from   carrier.Link
	order  string
	device string
	sealed []byte
}

// collect takes results of a follower. Whether they are genuine is the controller's
// to find.
func (r *Relay) collect(from carrier.Link, sealed [][]byte) {
	if !r.m.Carries() {
		return
	}
	for _, b := range sealed {
		claim, err := order.Claim(b)
		if err == nil && len(r.results.waiting) < maxWaitingResults {
			r.results.waiting = append(r.results.waiting, result{from, claim.Order, claim.Device, b})
		}
	}
	r.handOver()
}

// handOver hands over what has been collected, one batch at a time.
func (r *Relay) handOver() {
	c := &r.results
	if c.busy || len(c.waiting) == 0 {
		return
	}
	c.busy = true
	wait := time.NewTimer(collectTime)
	go func() {
		defer wait.Stop()
		select {
		case <-wait.C:
			r.post(r.handBatch)
		case <-r.done:
		}
	}()
}

func (r *Relay) handBatch() {
	c := &r.results
	batch := c.waiting[:min(len(c.waiting), atOnce)]
	c.waiting = c.waiting[len(batch):]
	var sealed [][]byte
	for _, b := range batch {
		sealed = append(sealed, b.sealed)
	}
	ctx := r.ctx
	go func() {
		acks, err := r.feed.Hand(ctx, sealed)
		r.post(func() {
			if err != nil {
				r.cfg.Log.Warn("results of others were not handed over", "error", err)
			}
			c.busy = false
			r.sendAcks(batch, acks.Acks)
			r.handOver()
		})
	}()
}

// sendAcks tells each follower what the controller has of it.
func (r *Relay) sendAcks(batch []result, acks []order.Ack) {
	type key struct{ order, device string }
	by := map[key]order.Ack{}
	for _, a := range acks {
		by[key{a.Order, a.Device}] = a
	}
	to := map[carrier.Link][]order.Ack{}
	for _, b := range batch {
		if a, ok := by[key{b.order, b.device}]; ok {
			to[b.from] = append(to[b.from], a)
		}
	}
	for l, acks := range to {
		r.tell(l, order.Carried{Acks: acks})
	}
}

// acked takes acknowledgements by way of the carrier. Whether they are genuine is seen
// by who has asked.
func (r *Relay) acked(from carrier.Link, acks []order.Ack) {
	if l, _ := r.m.Served(); l != from {
		return
	}
	if r.ask != nil {
		r.ask <- order.Acks{Acks: acks} // there is room for one
	}
	r.ask = nil
}

// Up hands results over by way of the carrier, and returns what the controller says;
// nothing if this device has no carrier that serves it, or that does not answer. One
// asks at a time.
func (r *Relay) Up(ctx context.Context, results [][]byte) order.Acks {
	answer := make(chan order.Acks, 1)
	sent := make(chan bool, 1)
	r.post(func() {
		l, _ := r.m.Served()
		c := order.Carried{Results: results}
		if _, err := c.Marshal(); l == 0 || err != nil { // a long log goes by itself
			sent <- false
			return
		}
		r.ask = answer
		r.tell(l, c)
		sent <- true
	})
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	select {
	case ok := <-sent:
		if !ok {
			return order.Acks{}
		}
	case <-r.done:
		return order.Acks{}
	case <-ctx.Done():
		return order.Acks{}
	}
	select {
	case acks := <-answer:
		return acks
	case <-r.done:
	case <-ctx.Done():
	}
	return order.Acks{}
}

// tellLive tells the carrier what has changed of this device's upgrade.
func (r *Relay) tellLive() {
	if l, _ := r.m.Served(); l != 0 && r.cfg.Teller != nil {
		if text := r.cfg.Teller.Own(); text != nil {
			r.tell(l, order.Carried{Live: text})
		}
	}
}
