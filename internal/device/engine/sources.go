package engine

import (
	"cmp"
	"net/url"
	"slices"
	"sync"
	"time"
)

// demoted is how long a server that failed is asked after the others: long enough
// for a load of several files, short enough that the order of the configuration
// holds again soon.
const demoted = 5 * time.Minute

// servers remembers which servers have failed this device lately, for all of
// its files: what one file has found out is not found out again by the next.
type servers struct {
	mu     sync.Mutex
	failed map[string]time.Duration // when, by server
}

// serverOf names the server of a URL: a scheme is a server of its own, since
// it is another program that answers.
func serverOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// fail notes that a server failed.
func (s *servers) fail(now time.Duration, u *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = map[string]time.Duration{}
	}
	for at, since := range s.failed {
		if now-since > demoted {
			delete(s.failed, at)
		}
	}
	s.failed[serverOf(u)] = now
}

// serve notes that a server served.
func (s *servers) serve(u *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failed, serverOf(u))
}

// order returns the indices of sources in the order to ask them: those of
// servers that have not failed lately as they stand, then those whose failure
// is the longest ago.
func (s *servers) order(now time.Duration, sources []*url.URL) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := make([]time.Duration, len(sources))
	order := make([]int, len(sources))
	for i, u := range sources {
		order[i], since[i] = i, -1
		if at, ok := s.failed[serverOf(u)]; ok && now-at <= demoted {
			since[i] = at
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(since[a], since[b]) })
	return order
}
