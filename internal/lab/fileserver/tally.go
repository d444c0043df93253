package fileserver

import (
	"net/netip"
	"sync"
	"time"
)

// Resolution is that of the tally's log: bytes to one device within this time
// are one entry, whose time is that of its first byte.
const Resolution = 10 * time.Millisecond

// Tally counts the payload that the file server sends: bytes of files, neither
// headers of HTTP or TFTP nor retransmissions, by device address. It is safe
// for concurrent use.
type Tally struct {
	mu    sync.Mutex
	flows map[netip.Addr]*flow
	open  map[*countedConn]struct{}
}

// flow is what one device address got.
type flow struct {
	bytes    int64
	requests int
	log      []burst
}

// burst is one entry of the log.
type burst struct {
	at    time.Time
	bytes int64
}

// newTally returns an empty tally.
func newTally() *Tally {
	return &Tally{flows: map[netip.Addr]*flow{}, open: map[*countedConn]struct{}{}}
}

// sent counts n payload bytes that left for a now.
func (t *Tally) sent(a netip.Addr, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(a, n, time.Now())
}

func (t *Tally) note(a netip.Addr, n int64, now time.Time) {
	f := t.flow(a)
	f.bytes += n
	if k := len(f.log); k > 0 && now.Sub(f.log[k-1].at) < Resolution {
		f.log[k-1].bytes += n
		return
	}
	f.log = append(f.log, burst{now, n})
}

// request counts one request for a file.
func (t *Tally) request(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flow(a).requests++
}

func (t *Tally) flow(a netip.Addr) *flow {
	f := t.flows[a]
	if f == nil {
		f = &flow{}
		t.flows[a] = f
	}
	return f
}

// Total returns the payload bytes sent to all devices. Bytes that wait in the
// server's socket buffers have not been sent.
func (t *Tally) Total() int64 {
	var sum int64
	for _, n := range t.ByAddress() {
		sum += n
	}
	return sum
}

// ByAddress returns the payload bytes by device address.
func (t *Tally) ByAddress() map[netip.Addr]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[netip.Addr]int64, len(t.flows))
	for a, f := range t.flows {
		out[a] = f.bytes
	}
	for c := range t.open {
		out[c.addr] -= c.unsent()
	}
	return out
}

// Bytes returns the payload bytes sent to one device.
func (t *Tally) Bytes(a netip.Addr) int64 { return t.ByAddress()[a] }

// Requests returns the number of requests for files.
func (t *Tally) Requests() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, f := range t.flows {
		n += f.requests
	}
	return n
}

// First returns when, at or after the given time, the first payload byte left
// for a device that want accepts, and for which; false if none has yet. A nil
// want accepts all.
func (t *Tally) First(after time.Time, want func(netip.Addr) bool) (time.Time, netip.Addr, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var at time.Time
	var to netip.Addr
	for a, f := range t.flows {
		if want != nil && !want(a) {
			continue
		}
		for _, b := range f.log {
			if b.bytes > 0 && !b.at.Before(after) {
				if !to.IsValid() || b.at.Before(at) {
					at, to = b.at, a
				}
				break
			}
		}
	}
	return at, to, to.IsValid()
}
