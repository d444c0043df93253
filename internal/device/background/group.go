package background

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// How often a Group looks at its connections, and the least window, in bytes: of all
// together two packets, so that an ACK for every second one keeps them going, and of each
// one. More, on a thin line with several connections, is what others do not get.
const (
	shortest  = 10 * time.Millisecond
	longest   = 100 * time.Millisecond
	packet    = 1460
	leastAll  = 2 * packet
	leastEach = packet
	// quiet is how long a connection may bring nothing before it counts no more.
	quiet = time.Second
)

// Group holds the connections of one device's downloads to what Control allows. The
// nil Group lets them be. It is safe for use by several goroutines.
type Group struct {
	mu      sync.Mutex
	members []*member
	running bool
	control Control
}

// member is one connection.
type member struct {
	raw  syscall.RawConn
	got  uint64 // bytes so far
	last time.Time
	set  int // its window, 0: as the system has it
}

// seen is what the system tells of a connection.
type seen struct {
	trip time.Duration // round trip of what it receives, 0: not known
	got  uint64
}

// Join takes a connection. It leaves by itself when it is closed.
func (g *Group) Join(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if g == nil || !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, &member{raw: raw, last: time.Now()})
	if !g.running {
		g.running = true
		go g.run()
	}
}

// run goes on while there are connections.
func (g *Group) run() {
	wait := shortest
	for timer := time.NewTimer(wait); ; timer.Reset(wait) {
		<-timer.C
		var goesOn bool
		if wait, goesOn = g.look(time.Now()); !goesOn {
			return
		}
	}
}

// look measures all connections and sets their windows. It returns when to look
// again, or false if none is left.
func (g *Group) look(now time.Time) (wait time.Duration, goesOn bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var trip time.Duration
	active, open := 0, g.members[:0]
	for _, m := range g.members {
		s, ok := measure(m.raw)
		if !ok {
			continue // it was closed
		}
		open = append(open, m)
		if s.got != m.got {
			m.got, m.last = s.got, now
			if s.trip > 0 && (trip == 0 || s.trip < trip) {
				trip = s.trip
			}
		}
		if now.Sub(m.last) < quiet {
			active++
		}
	}
	clear(g.members[len(open):])
	g.members = open
	if len(open) == 0 {
		g.running = false
		return 0, false
	}
	if active == 0 {
		return longest, true
	}
	all := g.control.Step(now, trip, least(active))
	for _, m := range open {
		m.bound(int(all) / active)
	}
	return min(max(trip/4, shortest), longest), true
}

// least is the least that so many connections need under way together, in bytes.
func least(active int) float64 { return float64(max(leastAll, active*leastEach)) }

// bound sets the window of a connection, unless it is about that already.
func (m *member) bound(window int) {
	if d := window - m.set; m.set > 0 && max(d, -d) < m.set/32 {
		return
	}
	m.set = window
	setWindow(m.raw, window)
}
