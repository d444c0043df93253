package pieces

import "time"

// The number of connections to the servers of a file: it is Most at most. It stays 1
// where one soon fills the line. Else it begins with Start, or as many as fill the line
// at once, when the first one has shown how fast that is.
const (
	Most  = 16
	Start = 4
)

const (
	// shownBy is how many bytes show how fast the line is: less than initialWindow,
	// which TCP sends before the first acknowledgement (RFC 6928), so that they come at
	// the line's own rate.
	shownBy, initialWindow = 8 << 10, 14600
	// soon is how long a chunk may take over one of several connections, or soonTrips
	// round trips. On a line where it takes longer they only delay the chunk that is
	// needed first, and more is lost with this device.
	soon, soonTrips = time.Second, 4
	// slowStart is what one connection may lose, compared with a full line, until its
	// window has grown. More of them, of which each has a chunk under way that is lost
	// with this device, do not save more than that.
	slowStart = 100 * time.Millisecond
	// A window in which the rate is measured has so many round trips, and at least
	// so long. While the count climbs by one the differences are small, and the
	// window is longer.
	doublingTrips, leastDoubling = 2, 200 * time.Millisecond
	climbingTrips, leastClimbing = 4, time.Second
	// It is longer, too, where so many bytes come that a read is a small part of them,
	// but mostClimbing at most.
	clearBytes, mostClimbing = 512 << 10, 4 * time.Second
	// What counts as more: doubling pays off from grows on, one more from more on, or
	// from an eighth of what it brings where each has as much. One less costs nothing
	// down to same, or to an eighth of what it brought.
	grows, more, same = 1.10, 1.04, 0.98
	// One connection that was enough is so until it brings less than still of that.
	still = 0.75
	// mostPause bounds the windows without a change after changes that did not pay off.
	mostPause = 8
	// enough of a limit needs no further connection.
	enough = 0.9
)

// trial is a change of the count whose effect is being measured.
type trial int8

const (
	steady trial = 0
	up     trial = 1
	down   trial = -1
)

// count finds how many connections bring the most bytes: it doubles them while that
// brings more, then climbs and falls by one, and keeps fewer where more bring nothing.
type count struct {
	most  int
	limit float64 // bytes per second that may come, 0 for no limit
	chunk float64 // bytes

	n       int
	only    bool // the server wants one
	shown   bool // the line's rate is known
	doubles bool
	quick   bool    // one connection soon fills the line
	alone   float64 // the rate at which a second one brought nothing, 0 before that

	rtt    time.Duration // the smallest seen, 0 before that
	first  time.Duration // when the first byte came
	begun  bool          // it has
	before int64         // bytes that came with it
	total  int64
	window struct {
		at    time.Duration
		bytes int64
		skip  bool // the change before it has not had its effect yet
	}
	from    int     // connections before the count was last doubled, 0 if it was not
	flat    int     // windows without growth while the count doubles
	base    float64 // rate of the window before the change, or of the last one
	line    float64 // most that the line has shown lately
	trial   trial
	next    trial // what is tried next
	pause   int   // windows until then
	patient int   // of the last pause
}

func newCount(cfg Config) *count {
	return &count{most: cfg.Connections, limit: cfg.Limit, chunk: float64(cfg.Chunk), n: 1, doubles: true, next: down,
		patient: 1}
}

// target returns how many connections there should be.
func (c *count) target() int {
	if c.only || !c.shown {
		return 1
	}
	return min(c.n, c.bound())
}

// bound is the most connections for now: a chunk has to come soon over each.
func (c *count) bound() int {
	n := c.line * max(soon, soonTrips*c.rtt).Seconds() / c.chunk
	if n >= 1 {
		n++ // the line may only seem thin, because each connection is
	}
	return max(1, min(c.most, int(n)))
}

// spareOne reports whether there may be a second connection beside one that is stalled.
func (c *count) spareOne() bool { return !c.only && c.shown && c.bound() > 1 }

// unseen reports whether there may be more connections once the line is known.
func (c *count) unseen() bool { return !c.shown && !c.only && c.most > 1 }

// single has one connection from now on: the server wants no more.
func (c *count) single() { c.only = true }

// atMost has so many connections at most from now on, but one.
func (c *count) atMost(n int) {
	c.most = max(1, min(c.most, n))
	c.n = min(c.n, c.most)
}

// answered takes the time from a request to its answer.
func (c *count) answered(took time.Duration) {
	if c.rtt == 0 || took < c.rtt {
		c.rtt = max(took, time.Microsecond)
	}
}

// bytes takes how many more bytes have come, over all connections.
func (c *count) bytes(now time.Duration, n int) {
	c.total += int64(n)
	if !c.begun {
		// When these began to come is not known.
		c.begun, c.first, c.before = true, now, c.total
	}
	if !c.shown {
		c.show(now)
	}
}

// show takes the rate of the first bytes for the line's.
func (c *count) show(now time.Duration) {
	if c.total-c.before < shownBy {
		return
	}
	c.line = float64(c.total-c.before) / max(now-c.first, time.Millisecond).Seconds()
	if c.bound() < 2 && now-c.first < 4*soon {
		return // perhaps it is only slow to begin
	}
	c.shown, c.n = true, c.initial()
	c.begin(now)
}

// initial is the count to begin with.
func (c *count) initial() int {
	if c.quick = c.soonFull(); c.quick || c.limit > 0 {
		return 1
	}
	// As many as fill a long line by what TCP sends at first.
	return min(max(Start, int(c.line*c.rtt.Seconds()/initialWindow)), c.bound())
}

// soonFull reports whether one connection soon fills the line, by slow start
// (RFC 5681 section 3.1).
func (c *count) soonFull() bool {
	need, lost := c.line*c.rtt.Seconds(), 0.0
	for w := float64(initialWindow); w < need; w *= 2 {
		lost += (1 - w/need) * c.rtt.Seconds()
	}
	return lost <= slowStart.Seconds()
}

// settled reports whether there will be one connection for long.
func (c *count) settled() bool {
	return c.n == 1 && (c.alone > 0 || c.limit > 0 || c.most == 1 || c.shown && c.bound() == 1)
}

// trying reports whether it is not known yet that a second connection brings more.
func (c *count) trying() bool {
	return c.quick && !c.settled() && c.n <= 2 && (c.doubles || c.trial == up)
}

func (c *count) begin(now time.Duration) {
	c.window.at, c.window.bytes, c.window.skip = now, c.total, false
}

// length is that of a window.
func (c *count) length() time.Duration {
	if c.doubles {
		return max(doublingTrips*c.rtt, leastDoubling)
	}
	clear := min(mostClimbing, time.Duration(clearBytes/max(1, c.line)*float64(time.Second)))
	return max(climbingTrips*c.rtt, leastClimbing, clear)
}

// due returns when the window under way ends.
func (c *count) due() (at time.Duration, ok bool) {
	return c.window.at + c.length(), c.shown && !c.only && c.most > 1
}

// settle ends the window if it is time, and changes the count.
func (c *count) settle(now time.Duration) {
	if at, ok := c.due(); !ok || now < at {
		return
	}
	rate := float64(c.total-c.window.bytes) / (now - c.window.at).Seconds()
	skip := c.window.skip
	c.begin(now)
	if skip || rate == 0 { // an outage says nothing of the number
		return
	}
	c.line = max(rate, c.line/2)
	defer func() { c.n = min(c.n, c.bound()) }()
	switch {
	case c.doubles:
		c.double(rate)
	case c.trial != steady:
		c.judge(rate)
	default:
		c.base = rate
		if c.pause--; c.pause <= 0 {
			c.try(rate)
		}
	}
}

// double doubles the count while the sum grows. Where it grew without that, by slow
// start, a line that one connection soon fills is given the time to become full.
func (c *count) double(rate float64) {
	first := c.base == 0
	pays := rate >= grows*c.base
	c.base = max(c.base, rate)
	switch {
	case c.full(rate):
		c.doubles, c.pause = false, 1
	case first, pays && c.quick && c.from == 0:
	case c.n >= c.bound() && c.from == 0:
		c.doubles, c.pause = false, 1
	case pays && c.n < c.bound(), c.quick && c.from == 0:
		c.from = c.n
		c.n, c.flat = min(2*c.n, c.bound()), 0
	case !pays && c.flat == 0:
		c.flat++ // a new connection brings nothing for two round trips
	default:
		c.doubles, c.pause = false, 1
		if pays || c.from == 0 {
			break
		}
		if c.n = c.from; c.n == 1 {
			c.alone = c.base
		}
	}
}

// full reports whether the limit leaves nothing for a further connection.
func (c *count) full(rate float64) bool { return c.limit > 0 && rate >= enough*c.limit }

// try changes the count by one.
func (c *count) try(rate float64) {
	if c.n == 1 && c.alone > 0 && rate >= still*c.alone {
		c.pause = 1
		return
	}
	t := c.next
	if t == up && (c.n >= c.bound() || c.full(rate)) {
		t = down
	}
	if t == down && c.n <= 1 {
		t = up
	}
	if c.n+int(t) < 1 || c.n+int(t) > c.bound() || t == up && c.full(rate) {
		c.pause = mostPause
		return
	}
	c.trial = t
	c.n += int(t)
	c.window.skip = true
}

// judge keeps the change that was tried, or takes it back.
func (c *count) judge(rate float64) {
	t := c.trial
	c.trial = steady
	needed := min(same, 1-1/float64(8*(c.n+1))) * c.base
	if t == up {
		needed = max(more, 1+1/float64(8*(c.n-1))) * c.base
	}
	if rate >= needed {
		c.next, c.pause, c.patient = t, 1, 1
	} else {
		c.n -= int(t)
		c.next = -t
		c.patient = min(2*c.patient, mostPause)
		c.pause = c.patient
	}
	if c.n == 1 {
		c.alone = c.base
	}
}
