package origin

import (
	"errors"
	"net/url"
	"sync"
	"time"
)

// busy remembers the servers that asked to be left alone. The zero value is
// ready.
type busy struct {
	mu    sync.Mutex
	until map[string]time.Time // by HOST:PORT
}

const (
	// longWait is a pause beyond what anybody waits between two attempts: another
	// one before its end only adds to what the server has too much of.
	longWait = 10 * time.Second
	// longestWait bounds what a server can ask for.
	longestWait = time.Hour
	maxBusy     = 64
)

// refuses is the server's own word if it asked for a long pause which is not
// over, nil otherwise.
func (b *busy) refuses(u *url.URL, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.until[serverOf(u)].Sub(now)
	if left <= 0 {
		return nil
	}
	return &BusyError{RetryAfter: left.Round(time.Second)}
}

// said takes what an attempt ended with.
func (b *busy) said(u *url.URL, err error, now time.Time) {
	var e *BusyError
	if !errors.As(err, &e) || e.RetryAfter <= longWait {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil || len(b.until) >= maxBusy {
		b.until = map[string]time.Time{}
	}
	b.until[serverOf(u)] = now.Add(min(e.RetryAfter, longestWait))
}
