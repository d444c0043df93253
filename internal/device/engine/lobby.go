package engine

import (
	"net"
	"slices"
	"sync"
)

// maxWaiting bounds the links that have not said hello yet. A hello comes with
// the connection; who opens many and says nothing takes the places of his own.
const maxWaiting = 32

// lobby holds the links that have not said hello yet. When it is full the one
// that has waited longest has to go, so that nobody can keep others out. The
// zero value is empty.
type lobby struct {
	mu      sync.Mutex
	waiting []net.Conn
}

// enter takes a link in.
func (l *lobby) enter(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= maxWaiting {
		l.waiting[0].Close()
		l.waiting = slices.Delete(l.waiting, 0, 1)
	}
	l.waiting = append(l.waiting, c)
}

// leave lets a link go that has said hello, or never will.
func (l *lobby) leave(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, c); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
}
