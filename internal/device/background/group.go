package background

import (
	"math"
	"net"
	"sync"
	"syscall"
	"time"
)

// How often a Group looks at its connections, and the least window, in bytes, of all
// together: two packets, so that an ACK for every second one keeps them going. With more,
// on a thin line with several connections, there is too little for others.
const (
	shortest = 10 * time.Millisecond
	longest  = 100 * time.Millisecond
	packet   = 1460
	leastAll = 2 * packet
	// closed is the window of a connection for which there is no packet: the least that
	// Linux knows. A full packet does not fit, so that a server sends what does once in
	// a while to see whether more may come, and the connection is not taken for dead.
	closed = 1152
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
	shared  bool // with another device of the site, which has the line already
	all     int  // bytes that may be under way, 0: nothing came yet
	active  int  // connections that share them
	turn    int  // of those that have a packet more than others
	turned  time.Time
}

// member is one connection.
type member struct {
	raw   syscall.RawConn
	got   uint64        // bytes so far
	trip  time.Duration // as the system smooths it
	least time.Duration
	last  time.Time
	size  int // of its packets
	set   int // its window, 0: as the system has it
}

// seen is what the system tells of a connection.
type seen struct {
	trip time.Duration // round trip of what it receives, 0: not known
	got  uint64
	size int // of its packets
	// least is the shortest round trip of what it sends, 0: not known.
	least time.Duration
}

// Share says before a download whether another device of the site downloads over the same
// line: that one has found what the line takes, so this one begins with the least. What
// connections have offered they do not take back: it needs new ones for that.
func (g *Group) Share(shared bool) {
	if g == nil {
		return
	}
	g.mu.Lock()
	if g.shared = shared; shared {
		g.all, g.control.began = 0, false
	}
	g.mu.Unlock()
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
	m := &member{raw: raw}
	g.members = append(g.members, m)
	unbound(raw)
	m.bound(g.idle())
	if !g.running {
		g.running = true
		go g.run()
	}
}

// Handshake returns how long the handshake of a connection took that has just been made,
// 0 if the system does not tell.
func Handshake(c net.Conn) time.Duration {
	s, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	is, _ := measure(raw)
	return is.least
}

// Control prepares a connection that is not made yet, as net.Dialer wants it: what it
// offers before Join bounds it is what a server sends at once, which is too much for a
// thin line.
func (g *Group) Control(_, _ string, c syscall.RawConn) error {
	if g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		prepare(c, g.idle())
	}
	return nil
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
	var s Seen
	active, open := 0, g.members[:0]
	for _, m := range g.members {
		is, ok := measure(m.raw)
		if !ok {
			continue // it was closed
		}
		open = append(open, m)
		if is.least != m.least { // the system remembers it for minutes
			s.Small, m.least = shorter(s.Small, is.least), is.least
		}
		if is.got != m.got {
			s.Bytes += int(is.got - m.got)
			s.Trip = shorter(s.Trip, m.sample(is))
			m.got, m.last, m.trip, m.size = is.got, now, is.trip, max(m.size, is.size)
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
	if s.Least, s.Each = leastAll, float64(active*packet); g.shared {
		// The one that has the line has two packets in it: a third is as much as may wait.
		s.First, s.Least = packet, packet
	}
	all := g.control.Step(now, s)
	g.share(now, int(all), active)
	return min(max(g.control.trip()/4, shortest), longest), true
}

// share bounds all connections: those that are active to what they may have together, in
// whole packets, since a server sends the rest of a window as a packet of its own; and
// those that wait to what they would have as one more. Where there is too little for all, they
// take turns.
func (g *Group) share(now time.Time, all, active int) {
	g.all, g.active = all, active
	if now.Sub(g.turned) >= quiet {
		g.turn, g.turned = g.turn+1, now
	}
	nth := g.turn
	for _, m := range g.members {
		if now.Sub(m.last) >= quiet {
			m.bound(g.idle())
			continue
		}
		m.bound(part(all, m.packet(), active, nth%active))
		nth++
	}
}

// idle is the window of a connection that is not active.
func (g *Group) idle() int {
	all := g.all
	if all == 0 { // it is the first
		if all = first; g.shared {
			all = packet
		}
	}
	return max(packet, part(all, packet, g.active+1, g.active))
}

// part is the window of the nth of so many connections that may have all together: whole
// packets of a size, of which the first have one more than the others. Those that have
// none are closed.
func part(all, size, active, nth int) int {
	packets := all / size
	n := packets / active
	if nth < packets%active {
		n++
	}
	return max(closed, n*size)
}

// packet is the size of those that come.
func (m *member) packet() int {
	if m.size < packet/2 { // none was full yet
		return packet
	}
	return m.size
}

// bound sets the window of a connection, unless it is about that already.
func (m *member) bound(window int) {
	// The system widens it, too, where it makes room for more.
	if d := window - windowOf(m.raw); m.set > 0 && max(d, -d) < m.set/32 {
		return
	}
	m.set = window
	setWindow(m.raw, window)
}

// sample is the round trip of late. The system smooths it: it adds an eighth of the
// difference for each time that it measures, which is about once for two packets. A
// newer Linux does so only where it grows. So a round trip that falls is as it is told.
func (m *member) sample(is seen) time.Duration {
	if m.trip == 0 || is.trip <= m.trip {
		return is.trip
	}
	times := max(1, float64(is.got-m.got)/(2*packet))
	return m.trip + time.Duration(float64(is.trip-m.trip)/(1-math.Pow(7./8, times)))
}
