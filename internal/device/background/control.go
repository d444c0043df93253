package background

import "time"

// Control decides how many bytes may be under way to a device, over all of its
// connections. It is pure: the caller measures and passes in the time.
//
// The shortest round trip of late is that of the empty line. What a round trip takes
// beyond it is time in the queue, whoever filled that. While it is less than Target,
// more may be under way; when it is more, less, down to the least: somebody else uses
// the line. Every few seconds there is a short pause, in which the queue drains, so that
// the round trip of the empty line is seen also by one who came when it was full.
type Control struct {
	window   float64
	starting bool
	began    bool

	full   shortestOf                 // round trips of full packets
	small  shortestOf                 // those of small ones
	recent [recentTrips]time.Duration // round trips, 0: none
	next   int                        // of recent
	rate   float64                    // most bytes a second that came, of late

	last   time.Time     // of the latest step
	came   float64       // bytes since
	pause  time.Time     // when the next pause begins
	resume time.Time     // end of the latest pause
	ramp   time.Duration // how long it takes from there to the whole window
}

// Seen is what was seen of the connections since the step before.
type Seen struct {
	// Trip is the shortest round trip that a connection has now, of full packets. 0: not
	// known.
	Trip time.Duration
	// Small is the shortest round trip that small packets have had, such as those of a
	// handshake: the line needs no time for these. 0: not known.
	Small time.Duration
	// Bytes that came.
	Bytes int
	// First is what may be under way to begin with, in bytes, where others have the line:
	// more only as it turns out to be free. 0: this is the first, and begins with 32 KiB,
	// and twice as much in each round trip until something waits.
	First float64
	// Least is the least that may be under way, in bytes: what the connections need to
	// go on at all.
	Least float64
	// Each is what is needed for each of them to have something, in bytes. With less some
	// wait, and what comes says little of what may.
	Each float64
}

const (
	// Target is the time in the queue that a download adds.
	Target = 6 * time.Millisecond
	// baseSlots of baseFor each are remembered.
	baseSlots = 4
	baseFor   = 15 * time.Second
	// pauseEvery and pauseTrips say when the queue is drained, and for how many round
	// trips.
	pauseEvery = 20 * time.Second
	pauseTrips = 2
	// recentTrips are looked at together, and the shortest counts: a device, or a server,
	// that was busy with something else is no queue.
	recentTrips = 4
	// used is the part of the window that has to come in a round trip for more to be of
	// use: what is never under way tells nothing of the queue.
	used = 0.5
	// forgets is what is left of the highest rate at each step.
	forgets = 0.99
	// fullPacket is the size of one, in bytes.
	fullPacket = 1500
	// first is the window to begin with, most the largest, in bytes.
	first = 32 << 10
	most  = 16 << 20
	// damping of a step: how much of the way to the new window it goes.
	damping = 0.5
	// climb is the new window where next to nothing waits: on a long line Target is a
	// small part of what is under way.
	climb = 1.15
)

// shortestOf remembers the shortest round trip of the last minute.
type shortestOf struct {
	slots [baseSlots]time.Duration // 0: none
	slot  int
	since time.Time
}

// note takes a round trip, unless it is 0.
func (b *shortestOf) note(now time.Time, trip time.Duration) {
	if trip <= 0 {
		return
	}
	if b.since.IsZero() {
		b.since = now
	}
	if now.Sub(b.since) >= baseFor {
		b.slot, b.since = (b.slot+1)%baseSlots, now
		b.slots[b.slot] = 0
	}
	b.slots[b.slot] = shorter(b.slots[b.slot], trip)
}

// trip is the shortest, 0 if none was noted.
func (b *shortestOf) trip() (least time.Duration) {
	for _, t := range b.slots {
		least = shorter(least, t)
	}
	return least
}

// shorter is the shorter of two round trips, of which 0 are not known.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// empty is the round trip of a full packet over the empty line. It may never have been
// seen, where the line was full from the start; then that of small packets says it.
func (c *Control) empty() time.Duration {
	if small := c.small.trip(); small > 0 {
		return shorter(c.full.trip(), small+c.packet())
	}
	return c.full.trip()
}

// Step takes what was seen, and returns how much may be under way, in bytes. Call it
// about once in a round trip; what comes sooner only adds to what is known of the line.
func (c *Control) Step(now time.Time, s Seen) (window float64) {
	if !c.began {
		*c = Control{began: true, window: max(s.First, s.Least), last: now, pause: now.Add(pauseEvery)}
		if s.First == 0 {
			c.starting, c.window = true, max(first, s.Least)
		}
	}
	c.came += float64(s.Bytes)
	c.small.note(now, s.Small)
	if s.Trip <= 0 {
		return max(c.share(now, s.Least), s.Least)
	}
	c.recent[c.next] = s.Trip
	c.next = (c.next + 1) % recentTrips
	c.full.note(now, s.Trip)
	if trip := c.trip(); now.Sub(c.last) >= trip {
		c.step(now, trip, s.Each)
	}
	c.window = min(max(c.window, s.Least), most)
	return max(c.share(now, s.Least), s.Least)
}

// trip is the shortest of the recent ones.
func (c *Control) trip() (least time.Duration) {
	for _, t := range c.recent {
		least = shorter(least, t)
	}
	return least
}

// packet is how long the line needs for a full packet: no queue is shorter. While others
// have the line, its rate is not seen, so it counts as Target at most.
func (c *Control) packet() time.Duration {
	if c.rate == 0 {
		return 0
	}
	return min(time.Duration(fullPacket/c.rate*float64(time.Second)), Target)
}

// share is the part of the window that counts now: the least in a pause, and from there
// on more within a round trip, since all at once would fill the queue.
func (c *Control) share(now time.Time, least float64) float64 {
	if c.resume.IsZero() || !now.Before(c.resume.Add(c.ramp)) {
		return c.window
	}
	if now.Before(c.resume) {
		return least
	}
	return least + max(0, c.window-least)*float64(now.Sub(c.resume))/float64(c.ramp)
}

// step is one round trip's.
func (c *Control) step(now time.Time, trip time.Duration, each float64) {
	rate, full := c.came/now.Sub(c.last).Seconds(), c.came >= used*c.window || c.window < each
	c.rate = max(forgets*c.rate, rate)
	c.last, c.came = now, 0
	switch {
	case now.Before(c.resume.Add(2 * c.ramp)): // what is seen now is of the pause
		return
	case !now.Before(c.pause):
		c.ramp = trip
		c.resume = now.Add(pauseTrips * trip)
		c.pause = now.Add(pauseEvery)
		return
	}
	empty := c.empty()
	waits := trip - empty
	if c.starting && waits < Target/2 {
		if full {
			c.window *= 2
		}
		return
	}
	// What is under way is the line's rate times the round trip: this is what it would
	// be with just Target in the queue.
	goal := c.window * float64(empty+Target) / float64(trip)
	if c.starting { // before it was doubled the last time nothing waited
		c.starting, c.pause = false, now
		c.window = min(c.window/2, goal)
		return
	}
	if waits < Target/4 {
		goal = max(goal, c.window*climb, c.window+fullPacket)
	}
	if goal < c.window || full {
		c.window += damping * (goal - c.window)
	}
}
