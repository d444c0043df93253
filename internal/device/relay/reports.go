package relay

import (
	"context"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/device/carrier"
	"github.com/peerload/peerload/internal/order"
)

const (
	// reportTime is how long a carrier waits for more reports: nobody waits for one.
	reportTime = 500 * time.Millisecond
	// maxWaitingReports bounds those that wait, maxWaitingBytes what they have together.
	// Who does not fit reports by itself.
	maxWaitingReports, maxWaitingBytes = 2048, 4 << 20
	// batchBytes is the most of one batch.
	batchBytes = 2 << 20
)

// reports are those that a carrier hands over for its followers, and the one of this
// device that its carrier has.
type reports struct {
	waiting []reported
	bytes   int
	busy    bool

	// own is who waits for the answer; nil: nobody does.
	own chan<- []byte
}

type reported struct {
	from carrier.Link
	order.Reported
}

// Report hands a report over by way of the carrier, and reports whether the controller has
// it. If not, also because no carrier serves this device or the carrier is gone, the
// caller still has it. One reports at a time.
func (r *Relay) Report(ctx context.Context, text []byte) bool {
	var sealed order.Reported
	answer := make(chan []byte, 1)
	sent := r.post(func() {
		l, _ := r.m.Served()
		var err error
		sealed, err = r.feed.Report(r.mine.carrier, text)
		c := order.Carried{Report: &sealed}
		if _, long := c.Marshal(); l == 0 || err != nil || long != nil {
			answer <- nil
			return
		}
		r.took(nil)
		r.reports.own = answer
		r.tell(l, c)
	})
	if !sent {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	select {
	case code := <-answer:
		return code != nil && r.feed.Reported(sealed, code)
	case <-r.done:
	case <-ctx.Done():
	}
	return false
}

// took gives the answer to this device's report to who waits for it; nil: it was not
// handed over.
func (r *Relay) took(code []byte) {
	if r.reports.own != nil {
		r.reports.own <- code // there is room for one
	}
	r.reports.own = nil
}

// collectReport takes a report of a follower. Whether it is genuine is the controller's to
// find.
func (r *Relay) collectReport(from carrier.Link, rep order.Reported) {
	c := &r.reports
	if !r.m.Carries() || len(c.waiting) >= maxWaitingReports || c.bytes+len(rep.Report) > maxWaitingBytes {
		r.tell(from, order.Carried{Took: &order.Ack{Device: rep.Device}})
		return
	}
	c.waiting = append(c.waiting, reported{from, rep})
	c.bytes += len(rep.Report)
	r.handReports()
}

// handReports hands over what has been collected, one batch at a time.
func (r *Relay) handReports() {
	c := &r.reports
	if c.busy || len(c.waiting) == 0 {
		return
	}
	c.busy = true
	wait := time.NewTimer(reportTime)
	go func() {
		defer wait.Stop()
		select {
		case <-wait.C:
			r.post(r.reportBatch)
		case <-r.done:
		}
	}()
}

// nextReports takes the next batch.
func (c *reports) nextReports() (batch []reported) {
	n := 0
	for _, w := range c.waiting {
		if n += len(w.Report); len(batch) == order.MaxReports || n > batchBytes && len(batch) > 0 {
			break
		}
		batch = append(batch, w)
		c.bytes -= len(w.Report)
	}
	c.waiting = slices.Clone(c.waiting[len(batch):])
	return batch
}

func (r *Relay) reportBatch() {
	batch := r.reports.nextReports()
	var sealed []order.Reported
	for _, b := range batch {
		sealed = append(sealed, b.Reported)
	}
	ctx := r.ctx
	go func() {
		acks, err := r.feed.HandReports(ctx, sealed)
		r.post(func() {
			if err != nil && ctx.Err() == nil {
				r.cfg.Log.Warn("reports of others were not handed over", "error", err)
			}
			codes := map[string][]byte{}
			for _, a := range acks.Acks {
				codes[a.Device] = a.Code
			}
			for _, b := range batch {
				r.tell(b.from, order.Carried{Took: &order.Ack{Device: b.Device, Code: codes[b.Device]}})
			}
			r.reports.busy = false
			r.handReports()
		})
	}()
}
