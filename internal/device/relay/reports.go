package relay

import (
	"context"

	"github.com/peerload/peerload/internal/device/carrier"
	"github.com/peerload/peerload/internal/order"
)

// said is a report of this device on its way, and who waits for the answer; nil: nobody
// does.
type said struct {
	sealed order.Reported
	answer chan<- bool
}

// end tells who waits whether the controller has the report.
func (s *said) end(has bool) {
	if s.answer != nil {
		s.answer <- has // there is room for one
	}
	s.answer = nil
}

// Report hands a report over by way of the carrier, and reports whether the controller has
// it. If not, also because no carrier serves this device or the carrier is gone, the
// caller still has it. One reports at a time.
func (r *Relay) Report(ctx context.Context, text []byte) bool {
	answer := make(chan bool, 1)
	sent := r.post(func() {
		sealed, err := r.feed.Report(r.mine.carrier, text)
		c := order.Carried{Report: &sealed}
		if _, long := c.Marshal(); err != nil || long != nil {
			answer <- false
			return
		}
		r.said.end(false)
		r.said = said{sealed, answer}
		r.step(carrier.Reporting{})
	})
	if !sent {
		return false
	}
	select {
	case has := <-answer:
		return has
	case <-r.done:
	case <-ctx.Done():
	}
	return false
}

// handReports hands reports of followers over.
func (r *Relay) handReports(all []order.Reported) {
	ctx := r.ctx
	go func() {
		acks, err := r.feed.HandReports(ctx, all)
		r.post(func() {
			if err != nil && ctx.Err() == nil {
				r.cfg.Log.Warn("reports of others were not handed over", "error", err)
			}
			r.step(carrier.HandedOver{Acks: acks.Acks})
		})
	}()
}
