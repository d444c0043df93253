package engine

import (
	"sync"
	"time"
)

// paceBurst is how long an idle pace saves up for, so that short pauses cost no
// throughput.
const paceBurst = 50 * time.Millisecond

// pace spreads what all links of a device send. The zero value does not limit.
type pace struct {
	rate int64 // bytes a second, 0: no limit

	mu   sync.Mutex
	next time.Time // when the bytes promised so far have left
}

// take promises n bytes and returns how long to wait before they are sent.
func (p *pace) take(now time.Time, n int) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if earliest := now.Add(-paceBurst); p.next.Before(earliest) {
		p.next = earliest
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return max(0, wait)
}

// wait waits for the turn of n bytes, or until the link is dropped.
func (l *link) wait(n int) {
	d := l.job.dev.pace.take(time.Now(), n)
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.dropped:
	}
}
