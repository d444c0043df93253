package background

import "time"

// Control decides how many bytes may be under way to a device, over all of its
// connections. It is pure: the caller measures and passes in the time.
//
// The shortest round trip of late is that of the empty line. What a round trip takes
// beyond it is time in the queue, whoever filled that. While it is less than Target,
// more may be under way; when it is more, less, down to Least: somebody else uses the
// line. Every few seconds there is a short pause, in which the queue drains, so that
// the round trip of the empty line is seen also by one who came when it was full.
type Control struct {
	window   float64
	starting bool
	began    bool

	base   [baseSlots]time.Duration // shortest of each slot, 0: none
	slot   int
	slotAt time.Time

	last   time.Time     // of the latest step
	pause  time.Time     // when the next pause begins
	resume time.Time     // end of the latest pause
	ramp   time.Duration // how long it takes from there to the whole window
}

const (
	// Target is the time in the queue that a download adds.
	Target = 8 * time.Millisecond
	// baseSlots of baseFor each are remembered.
	baseSlots = 4
	baseFor   = 15 * time.Second
	// pauseEvery and pauseTrips say when the queue is drained, and for how many round
	// trips.
	pauseEvery = 20 * time.Second
	pauseTrips = 2
	// pauseShare of the window is left in a pause.
	pauseShare = 0.25
	// first is the window to begin with, most the largest, in bytes.
	first = 32 << 10
	most  = 16 << 20
	// damping of a step: how much of the way to the new window it goes.
	damping = 0.5
	// climb is the new window where next to nothing waits: on a long line Target is a
	// small part of what is under way.
	climb = 1.15
)

// baseTrip is the round trip of the empty line, 0 if none was measured.
func (c *Control) baseTrip() (least time.Duration) {
	for _, b := range c.base {
		if b > 0 && (least == 0 || b < least) {
			least = b
		}
	}
	return least
}

// Step takes the shortest round trip that a connection has now, and the least that
// may be under way, in bytes: what the connections need to go on at all. It returns
// how much may be under way. Call it about once in a round trip; what comes sooner
// only adds to what is known of the line.
func (c *Control) Step(now time.Time, trip time.Duration, least float64) (window float64) {
	if !c.began {
		*c = Control{began: true, starting: true, window: max(first, least), slotAt: now, last: now,
			pause: now.Add(pauseEvery)}
	}
	if trip <= 0 {
		return max(c.window, least)
	}
	if now.Sub(c.slotAt) >= baseFor {
		c.slot, c.slotAt = (c.slot+1)%baseSlots, now
		c.base[c.slot] = 0
	}
	if b := &c.base[c.slot]; *b == 0 || trip < *b {
		*b = trip
	}
	if now.Sub(c.last) >= trip {
		c.last = now
		c.step(now, trip)
	}
	c.window = min(max(c.window, least), most)
	return max(c.share(now)*c.window, least)
}

// share is the part of the window that counts now: little in a pause, and from there
// on more within a round trip, since all at once would fill the queue.
func (c *Control) share(now time.Time) float64 {
	if c.resume.IsZero() || !now.Before(c.resume.Add(c.ramp)) {
		return 1
	}
	if now.Before(c.resume) {
		return pauseShare
	}
	return pauseShare + (1-pauseShare)*float64(now.Sub(c.resume))/float64(c.ramp)
}

// step is one round trip's.
func (c *Control) step(now time.Time, trip time.Duration) {
	base := c.baseTrip()
	switch {
	case now.Before(c.resume.Add(2 * c.ramp)): // what is seen now is of the pause
		return
	case !now.Before(c.pause):
		c.ramp = trip
		c.resume = now.Add(pauseTrips * trip)
		c.pause = now.Add(pauseEvery)
		return
	}
	waits := trip - base
	if c.starting && waits < Target/2 {
		c.window *= 2
		return
	}
	if c.starting {
		c.starting, c.pause = false, now.Add(2*trip)
	}
	// What is under way is the line's rate times the round trip: this is what it would
	// be with just Target in the queue.
	goal := c.window * float64(base+Target) / float64(trip)
	if waits < Target/4 {
		goal = max(goal, c.window*climb)
	}
	c.window += damping * (goal - c.window)
}
