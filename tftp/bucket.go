package tftp

import (
	"sync"
	"time"
)

// bucket is a token bucket: it lets rate bytes pass in a second, after a pause
// as many at once as 20 ms bring. Several transfers share it in the order in
// which they ask. A nil bucket has no limit.
type bucket struct {
	rate int64

	mu   sync.Mutex
	next time.Time // when all that was granted has passed
}

const bucketDepth = 20 * time.Millisecond

// take grants n bytes and returns how long to wait before they are sent.
func (b *bucket) take(now time.Time, n int) time.Duration {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if full := now.Add(-bucketDepth); b.next.Before(full) {
		b.next = full
	}
	b.next = b.next.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	return max(0, b.next.Sub(now))
}
