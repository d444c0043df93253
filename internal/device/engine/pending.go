package engine

import (
	"net"
	"slices"
	"sync"
)

// maxPending bounds the links that have not sent Hello yet. Hello comes right
// after the connection; a peer that opens many silent links loses its oldest.
const maxPending = 32

// pendingLinks holds the links that have not sent Hello yet. When it is full,
// the one that has waited longest is closed, so that nobody can keep others
// out. The zero value is empty.
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

// remove removes a link that has sent Hello, or never will.
func (l *pendingLinks) remove(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.links, c); i >= 0 {
		l.links = slices.Delete(l.links, i, i+1)
	}
}
