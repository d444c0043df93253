package slide

import (
	"math/rand/v2"
	"time"
)

// rate decides how fast blocks follow each other and how many may be under way. It
// measures what the line delivers and sends that much, as BBR does, and a little
// more from time to time to see whether there is room. A loss says nothing by
// itself: a radio loses packets, too.
//
// At first it sends about three times what came through, until that stops growing
// or a queue builds; then it lets the queue drain.
type rate struct {
	phase  phase
	since  time.Time // when it began
	step   int       // of cycle
	before float64   // bandwidth before the latest look for room
	bw     [bwRounds]float64
	full   float64 // highest rate of the start, blocks per second
	slow   int     // round trips in a row that were longer than before
	same   int     // rounds of the start without growth
	roundN int64   // rounds so far

	rtt      time.Duration // shortest of late
	guessed  bool          // rtt was not measured
	rttAt    time.Time     // when that was seen
	roundRTT time.Duration // shortest of this round, 0: none

	delivered   int64 // blocks that arrived
	deliveredAt time.Time
	firstSent   time.Time // when the block was sent with which the sample begins
	roundEnd    int64     // delivered, from which on a round is over
	roundLost   int64
	lossy       float64 // the part that the line loses while nothing queues
	roundGot    int64

	chance *rand.Rand
	next   time.Time // when the next block may go out
	cap    float64   // blocks under way, at most
}

type phase int

const (
	starting phase = iota
	draining
	cruising
	probing // for the round trip, with half of what the line holds
)

// Constants of the control. The gains are those that BBR found to double the rate
// each round trip, and to let a queue of a fourth drain again.
const (
	startGain = 2.885
	drainGain = 1 / startGain
	startHold = 2.4  // the same at the start
	holdGain  = 2    // blocks under way, of what the line holds
	bwRounds  = 10   // rounds for which a rate counts
	grown     = 1.25 // of the highest so far: the line was not full
	plateau   = 3    // rounds without growth that end the start
	// startBlocks are sent before anything is known.
	startBlocks = 8
	minBlocks   = 4
	// startLoss of a round ends the start: no radio is as bad, a short queue is.
	startLoss = 0.3
	// excessLoss of a round, beside what the line loses always, is that of a queue.
	excessLoss = 0.02
	// slowTrips are the round trips in a row that show a queue.
	slowTrips = 8
	// slowRounds go by before they do: a process that has just begun is slow itself.
	slowRounds = 3
	// found is how much more than before a look for room has to bring to go on as at
	// the start.
	found = 1.15
	// rttFor is how long a shortest round trip counts, probeFor how long it takes to
	// look for it.
	rttFor   = 10 * time.Second
	probeFor = 200 * time.Millisecond
	// quantum is what may go out at once, as time at the rate: timers are coarse, more
	// so on a busy machine.
	quantum = 4 * time.Millisecond
	// burst is the most that goes out at once, in blocks: small sockets hold as many.
	burst = 64
)

// cycle are the gains one after the other, for a round trip each.
var cycle = [...]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

func newRate(now time.Time, rtt time.Duration, seed uint64) *rate {
	return &rate{
		chance: rand.New(rand.NewPCG(seed, 0)), rtt: max(rtt, 50*time.Microsecond), rttAt: now,
		deliveredAt: now, firstSent: now, next: now, cap: startBlocks, since: now,
	}
}

// bandwidth is the rate that the line has shown, in blocks per second.
func (r *rate) bandwidth() float64 {
	most := 0.0
	for _, b := range r.bw {
		most = max(most, b)
	}
	if most == 0 {
		most = startBlocks / r.rtt.Seconds()
	}
	return most
}

// holds is how many blocks are on the line when its queue is empty.
func (r *rate) holds() float64 { return r.bandwidth() * r.rtt.Seconds() }

func (r *rate) gain() float64 {
	switch r.phase {
	case starting:
		return startGain
	case draining:
		return drainGain
	case probing:
		return 1
	}
	return cycle[r.step]
}

// limit is how many blocks may be under way.
func (r *rate) limit() int64 {
	if r.phase == probing {
		return max(minBlocks, int64(r.holds()/2))
	}
	return max(minBlocks, int64(r.cap))
}

// may reports whether a block may go out now, or else when.
func (r *rate) may(now time.Time) (bool, time.Time) {
	at := r.next.Add(-r.ahead())
	return !now.Before(at), at
}

// sent notes that a block went out.
func (r *rate) sent(now time.Time, inFlight int64, p *packet) {
	if inFlight == 0 {
		r.firstSent, r.deliveredAt = now, now
	}
	p.firstSent, p.deliveredAt, p.delivered = r.firstSent, r.deliveredAt, r.delivered
	if floor := now.Add(-r.ahead()); r.next.Before(floor) {
		r.next = floor
	}
	r.next = r.next.Add(r.gap())
}

// gap is the time from one block to the next.
func (r *rate) gap() time.Duration {
	return time.Duration(float64(time.Second) / (r.gain() * r.bandwidth()))
}

// ahead is how much sooner than its turn a block may go out.
func (r *rate) ahead() time.Duration { return min(quantum, burst*r.gap()) }

// sample is what one ACK tells.
type sample struct {
	prior     int64 // delivered when the latest of its blocks went out
	priorAt   time.Time
	sending   time.Duration // that it took to send what was delivered since
	blocks    int64         // that the ACK tells of for the first time
	rtt       time.Duration // 0: none
	lost      int64
	inFlight  int64 // after it
	roundOver bool
}

// got takes a block that arrived into the sample.
func (r *rate) got(now time.Time, p *packet, s *sample) {
	r.delivered++
	r.deliveredAt = now
	s.blocks++
	if p.delivered >= s.prior || s.priorAt.IsZero() {
		s.prior, s.priorAt = p.delivered, p.deliveredAt
		s.sending = p.sentAt.Sub(p.firstSent)
		r.firstSent = p.sentAt
	}
}

// acked takes what an ACK told.
func (r *rate) acked(now time.Time, s *sample) {
	r.roundLost += s.lost
	if s.blocks == 0 {
		return
	}
	r.roundGot += s.blocks
	if s.prior >= r.roundEnd {
		s.roundOver = true
	}
	r.measureRTT(now, s.rtt)
	interval := max(s.sending, r.deliveredAt.Sub(s.priorAt))
	if s.roundOver {
		r.roundN++
		r.bw[r.roundN%bwRounds] = 0
	}
	if interval >= r.rtt/2 && interval > 0 {
		at := &r.bw[r.roundN%bwRounds]
		*at = max(*at, float64(r.delivered-s.prior)/interval.Seconds())
	}
	r.advance(now, s)
	r.grow(s)
	if s.roundOver {
		r.judge()
		r.roundEnd, r.roundRTT, r.roundLost, r.roundGot = r.delivered, 0, 0, 0
	}
}

func (r *rate) measureRTT(now time.Time, rtt time.Duration) {
	if rtt <= 0 {
		return
	}
	if r.roundRTT == 0 || rtt < r.roundRTT {
		r.roundRTT = rtt
	}
	switch {
	case rtt < r.rtt, r.guessed:
		r.guessed = false
		r.rtt, r.rttAt = rtt, now
	case rtt <= r.rtt+r.rtt/16:
		r.rttAt = now // as good as the shortest
	}
}

// grow sets how many blocks may be under way.
func (r *rate) grow(s *sample) {
	want := max(minBlocks, r.gainOfCap()*r.holds()+minBlocks)
	if r.phase == starting {
		r.cap = max(r.cap, min(r.cap+float64(s.blocks), max(want, startBlocks)))
		return
	}
	r.cap = min(r.cap+float64(s.blocks), want)
}

func (r *rate) gainOfCap() float64 {
	if r.phase == starting {
		return startHold
	}
	return holdGain
}

// advance moves from one phase to the next.
func (r *rate) advance(now time.Time, s *sample) {
	switch r.phase {
	case starting:
		if r.filling(s.rtt) || s.roundOver && r.startOver() {
			r.begin(draining, now)
		}
	case draining:
		if float64(s.inFlight) <= r.holds() {
			r.begin(cruising, now)
			r.step = r.anyStep()
		}
	case cruising:
		r.cruise(now, s)
	case probing:
		if now.Sub(r.since) >= max(probeFor, r.rtt) {
			if r.roundRTT > 0 {
				r.rtt = r.roundRTT
			}
			r.rttAt = now
			r.begin(cruising, now)
			r.step = r.anyStep()
		}
	}
}

// anyStep draws where the cycle goes on, so that flows on one line do not all look
// for room at the same time: then none would find out that it has too much.
func (r *rate) anyStep() int { return 2 + r.chance.IntN(len(cycle)-3) }

func (r *rate) begin(p phase, now time.Time) { r.phase, r.since = p, now }

// queues reports whether blocks of this round waited in a queue, all of them.
func (r *rate) queues() bool {
	return r.roundRTT > r.rtt+r.rtt/4+leastOrder
}

// judge takes the losses of a round. Those that the line has always are no reason
// to be slower. More than those, while a queue is full, says that what the line has
// shown before belongs to somebody else now, or came out of the queue.
func (r *rate) judge() {
	all := float64(r.roundLost + r.roundGot)
	lost := float64(r.roundLost) / all
	if !r.queues() {
		r.lossy += (lost - r.lossy) / 8
		return
	}
	if all < 16 || lost < excessLoss+1.5*r.lossy {
		return
	}
	now := r.bw[r.roundN%bwRounds] * (1 + r.lossy)
	for i := range r.bw {
		r.bw[i] = min(r.bw[i], now)
	}
}

// filling reports, at the start, whether a queue builds: no round trip of late was
// as short as before.
func (r *rate) filling(rtt time.Duration) bool {
	switch {
	case rtt == 0:
	case rtt > r.rtt+r.rtt/8+leastOrder:
		r.slow++
	default:
		r.slow = 0
	}
	return r.slow >= slowTrips && r.roundN >= slowRounds
}

// startOver reports whether the line is full, at the end of a round of the start.
func (r *rate) startOver() bool {
	if all := r.roundLost + r.roundGot; r.roundLost >= 8 && float64(r.roundLost) > startLoss*float64(all) {
		return true
	}
	if now := r.bandwidth(); now >= grown*r.full {
		r.full, r.same = now, 0
	} else {
		r.same++
	}
	return r.same >= plateau
}

// cruise goes through the cycle, and looks for the round trip when none as short
// was seen for long.
func (r *rate) cruise(now time.Time, s *sample) {
	if now.Sub(r.rttAt) > rttFor {
		r.begin(probing, now)
		r.roundRTT = 0
		return
	}
	if s.roundOver && r.before > 0 && r.bandwidth() >= found*r.before && !r.queues() {
		r.begin(starting, now)
		r.full, r.same, r.slow, r.before = r.bandwidth(), plateau-1, 0, 0
		return
	}
	over := now.Sub(r.since) >= r.rtt
	if r.step == 1 && float64(s.inFlight) <= r.holds() {
		over = true
	}
	if over {
		r.since = now
		if r.step++; r.step == 2 {
			r.step = r.anyStep()
		}
		if r.step %= len(cycle); r.step == 0 {
			r.before = r.bandwidth()
		}
	}
}
