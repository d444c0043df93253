package engine

import (
	"net"
	"slices"
	"sync"
)

// maxPending bounds the links that have not said hello yet. A hello comes with
// the connection; a peer that opens many silent ones loses its oldest.
const maxPending = 32

// pendingLinks holds the links that have not said hello yet. When it is full the one
// that has waited longest has to go, so that nobody can keep others out. The
// zero value is empty.
type pendingLinks struct {
	mu    sync.Mutex
	links []net.Conn
}

// add takes a link in.
func (l *pendingLinks) add(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.links) >= maxPending {
		l.links[0].Close()
		l.links = slices.Delete(l.links, 0, 1)
	}
	l.links = append(l.links, c)
}

// remove drops a link that has said hello, or never will.
func (l *pendingLinks) remove(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.links, c); i >= 0 {
		l.links = slices.Delete(l.links, i, i+1)
	}
}
