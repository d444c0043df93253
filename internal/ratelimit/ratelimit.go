// Package ratelimit keeps what several senders or readers move together below a
// rate of bytes: the uploads of a device, the bodies that it downloads, a TFTP
// server, a site's budget, the WAN of the laboratory.
//
// It is not golang.org/x/time/rate, because there a request may not be larger
// than the burst. Here it often is: a chunk of up to 4 MiB leaves at 10 kB/s
// with a burst of 50 ms. With a burst of 4 MiB each pause would be followed by
// seven minutes' worth of bytes at once.
//
// What lives here: one Limiter. What must not: which bytes are limited, and by
// which setting.
package ratelimit

import (
	"sync"
	"time"
)

// Limiter grants bytes at a rate, in the order in which they are asked for. Its
// methods may be called by several goroutines. A nil Limiter has no limit.
type Limiter struct {
	rate  float64
	burst time.Duration

	mu   sync.Mutex
	free time.Time // when all bytes that were granted have passed
}

// New returns a limiter of rate bytes a second; nil, which has no limit, where
// rate is 0 or less. After a pause as many bytes may pass at once as the rate
// brings in burst; a request that is larger passes too, and those after it wait
// for it.
func New(rate float64, burst time.Duration) *Limiter {
	if rate <= 0 {
		return nil
	}
	return &Limiter{rate: rate, burst: burst}
}

// Take grants n bytes, 0 or more, and returns how long to wait before they are
// moved: until all that was granted before has passed, less the burst.
func (l *Limiter) Take(now time.Time, n int) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if earliest := now.Add(-l.burst); l.free.Before(earliest) {
		l.free = earliest
	}
	wait := l.free.Sub(now)
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	return max(0, wait)
}

// Wait takes n bytes and waits until they may be moved. It returns false if
// done is closed before that; the bytes count as moved all the same.
func (l *Limiter) Wait(done <-chan struct{}, n int) bool {
	wait := l.Take(time.Now(), n)
	if wait <= 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}
