package carrier

import (
	"time"

	"github.com/peerload/peerload/internal/order"
)

const (
	// maxWaiting bounds the reports that wait, maxWaitingBytes what they have together. Who
	// does not fit reports by itself.
	maxWaiting, maxWaitingBytes = 2048, 4 << 20
	// batchBytes is the most of one batch.
	batchBytes = 2 << 20
)

// reporting is what becomes of reports: of this device's own while its carrier has it,
// and of those of followers.
type reporting struct {
	// link is that over which this device's own went, 0 if none is on its way; until is
	// when to give it up.
	link  Link
	until time.Duration

	// waiting are those of followers, bytes what they have together. at is when to hand
	// them over, if not 0.
	waiting []handed
	bytes   int
	at      time.Duration
	// batch are those that are being handed over, if busy.
	batch []handed
	busy  bool
}

type handed struct {
	from Link
	order.Reported
}

// reportSelf has the carrier hand this device's report over. One that was on its way is
// forgotten: its owner has asked for another one.
func (m *Machine) reportSelf() {
	l, _ := m.Served()
	if l == 0 {
		m.act(Reported{})
		return
	}
	m.reports.link, m.reports.until = l, m.now+m.cfg.ReportWait
	m.act(SendReport{l})
}

// answered takes what the carrier says of this device's report. An answer that is not
// genuine is none of the controller's: the report goes by itself then.
func (m *Machine) answered(in Answered) {
	if m.reports.link != 0 && in.Link == m.reports.link {
		m.endReport(in.Genuine)
	}
}

func (m *Machine) endReport(has bool) {
	m.reports.link = 0
	m.act(Reported{has})
}

// handed takes a report of a follower. Whether it is genuine is the controller's to find.
func (m *Machine) handed(in Handed) {
	r := &m.reports
	f := m.carried.followers[in.Link]
	if f == nil || len(r.waiting) >= maxWaiting || r.bytes+len(in.Report.Report) > maxWaitingBytes {
		m.act(Took{in.Link, order.Ack{Device: in.Report.Device}})
		return
	}
	r.waiting = append(r.waiting, handed{in.Link, in.Report})
	r.bytes += len(in.Report.Report)
	m.gatherReports()
}

// gatherReports waits for more reports, unless some are being handed over.
func (m *Machine) gatherReports() {
	if r := &m.reports; len(r.waiting) > 0 && !r.busy && r.at == 0 {
		r.at = m.now + m.cfg.ReportGather
	}
}

// next takes the next batch.
func (r *reporting) next() (batch []handed) {
	n := 0
	for _, w := range r.waiting {
		if n += len(w.Report); len(batch) == order.MaxReports || n > batchBytes && len(batch) > 0 {
			break
		}
		batch = append(batch, w)
		r.bytes -= len(w.Report)
	}
	r.waiting = append([]handed(nil), r.waiting[len(batch):]...)
	return batch
}

// report does what is due with reports.
func (m *Machine) report() {
	r := &m.reports
	if l, _ := m.Served(); r.link != 0 && (l != r.link || m.now >= r.until) {
		m.endReport(false) // who has carried may not have handed it over
	}
	if r.at == 0 || m.now < r.at {
		return
	}
	r.at, r.busy, r.batch = 0, true, r.next()
	var all []order.Reported
	for _, h := range r.batch {
		all = append(all, h.Reported)
	}
	m.act(HandOver{all})
}

// handedOver tells each follower what the controller has said.
func (m *Machine) handedOver(in HandedOver) {
	codes := map[string][]byte{}
	for _, a := range in.Acks {
		codes[a.Device] = a.Code
	}
	for _, h := range m.reports.batch {
		m.act(Took{h.from, order.Ack{Device: h.Device, Code: codes[h.Device]}})
	}
	m.reports.batch, m.reports.busy = nil, false
	m.gatherReports()
}

// dropReports forgets the reports of followers, who report by themselves as soon as they
// see that nobody carries for them.
func (r *reporting) dropReports() { r.waiting, r.bytes, r.at, r.batch = nil, 0, 0, nil }

// due is when to hand reports over, or to give the own one up.
func (r *reporting) due() due {
	switch {
	case r.link == 0:
		return due{r.at, r.at != 0}
	case r.at == 0:
		return due{r.until, true}
	}
	return due{min(r.at, r.until), true}
}
