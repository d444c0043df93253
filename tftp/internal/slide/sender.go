package slide

import "time"

// Waits of the sender.
const (
	// firstWait is that for an answer while no round trip was measured.
	firstWait = time.Second
	// leastSpread is the least that an answer may be late, beside ackWait.
	leastSpread = 10 * time.Millisecond
	// againWait is the shortest wait when an answer was missed, longestWait the
	// longest.
	againWait   = 200 * time.Millisecond
	longestWait = 8 * time.Second
	// guess is the round trip to begin with where none was measured.
	guess = 100 * time.Millisecond
	// leastOrder is the least time by which blocks may overtake each other.
	leastOrder = time.Millisecond
	// mostOrder bounds the parts of a fourth of a round trip by which they may.
	mostOrder = 8
	// calmLosses without a needless repeat make the sender trust the order more.
	calmLosses = 64
)

// Agreed is what a Sender knows of a transfer, and how patient it is.
type Agreed struct {
	// Blocks of the file, of which the last is short or empty: 1 or more.
	Blocks int64
	// Slide is the most blocks that are under way or wait behind one that is
	// missing: 1 to MaxBlocks.
	Slide int
	// RTT is a round trip as it was measured before; 0: none was.
	RTT time.Duration
	// Idle is the time without progress before Timeout gives up.
	Idle time.Duration
	// Retries is how many answers in a row may be missed before it does.
	Retries int
	// Seed of what is drawn.
	Seed uint64
}

// Sender is the state of the side that has the file. Each block is sent again by
// itself when it is lost: when blocks that were sent later have arrived, and it is
// later than blocks overtake each other here. How much that is, is learned from the
// blocks that the other side has got twice.
type Sender struct {
	c    Agreed
	rate *rate

	base  int64    // first block that has not arrived
	high  int64    // first block never sent
	ring  []packet // of base to high, each at its number modulo the length
	again []int64  // blocks to be sent again

	inFlight int64
	order    int64 // number of packets sent
	srtt     time.Duration
	rttvar   time.Duration
	latest   packet // of those that arrived, the one that was sent last
	took     time.Duration
	looser   int64 // parts of a fourth of a round trip that blocks may be late
	twice    uint16
	calm     int

	checkAt  time.Time // when to look for lost blocks, zero: not
	sentAt   time.Time
	progress time.Time
	probes   int // answers missed in a row
	force    int // packets that may go out whatever is under way
}

// packet is a block as it was sent last.
type packet struct {
	block, order int64
	sentAt       time.Time
	sends        int
	arrived      bool
	lost         bool

	firstSent, deliveredAt time.Time
	delivered              int64
}

// NewSender returns the state before the first block.
func NewSender(now time.Time, c Agreed) *Sender {
	c.Slide = min(max(c.Slide, 1), MaxBlocks)
	s := &Sender{c: c, base: 1, high: 1, ring: make([]packet, 64), looser: 1, sentAt: now, progress: now}
	rtt := c.RTT
	if rtt <= 0 {
		rtt = guess
	}
	s.rate = newRate(now, rtt, c.Seed)
	s.rate.guessed = c.RTT <= 0
	if c.RTT > 0 {
		s.srtt, s.rttvar = c.RTT, c.RTT/2
	}
	return s
}

func (s *Sender) at(block int64) *packet { return &s.ring[block&int64(len(s.ring)-1)] }

// Base is the first block that has not arrived.
func (s *Sender) Base() int64 { return s.base }

// Next returns the block to send now; ok is false if there is none, or it is not
// time yet: Deadline says when it may be.
func (s *Sender) Next(now time.Time) (block int64, ok bool) {
	block = s.candidate()
	if block == 0 {
		return 0, false
	}
	if s.force > 0 {
		return block, true
	}
	ok, _ = s.rate.may(now)
	return block, ok
}

// candidate is the block that would be sent next, 0 for none.
func (s *Sender) candidate() int64 {
	for len(s.again) > 0 {
		if p := s.at(s.again[0]); s.again[0] >= s.base && p.lost && !p.arrived {
			break
		}
		s.again = s.again[1:]
	}
	if s.force == 0 && s.inFlight >= s.rate.limit() {
		return 0
	}
	if len(s.again) > 0 {
		return s.again[0]
	}
	if s.high <= s.c.Blocks && s.high < s.base+int64(s.c.Slide) {
		return s.high
	}
	return 0
}

// Sent notes that the block that Next returned went out, and reports whether it did
// for the first time.
func (s *Sender) Sent(now time.Time, block int64) (fresh bool) {
	fresh = block == s.high
	if fresh {
		s.high++
		s.room()
		*s.at(block) = packet{block: block}
	} else {
		s.again = s.again[1:]
	}
	s.force = max(0, s.force-1)
	p := s.at(block)
	s.order++
	p.order, p.sentAt, p.lost = s.order, now, false
	p.sends++
	s.rate.sent(now, s.inFlight, p)
	s.inFlight++
	s.sentAt = now
	return fresh
}

// room makes the ring hold all blocks from base to high.
func (s *Sender) room() {
	if s.high-s.base <= int64(len(s.ring)) {
		return
	}
	old := s.ring
	s.ring = make([]packet, 2*len(old))
	for b := s.base; b < s.high-1; b++ {
		s.ring[b&int64(len(s.ring)-1)] = old[b&int64(len(old)-1)]
	}
}

// Acked takes an ACK, and reports whether it brought progress and whether all is
// done. What cannot be is passed over.
func (s *Sender) Acked(now time.Time, a Ack) (progress, done bool) {
	upTo := s.base - 1 + int64(int16(a.Block-uint16(s.base-1)))
	if upTo >= s.high || upTo < 0 {
		return false, false
	}
	var k sample
	if !a.Plain {
		s.repeats(a.Twice)
		s.timed(now, upTo+int64(int16(a.Latest-uint16(upTo))), a.Delay, &k)
	} else {
		s.timed(now, upTo, 0, &k)
	}
	for b := s.base; b <= upTo; b++ {
		s.arrived(now, b, &k)
	}
	holes := false
	for i := int64(0); i < int64(len(a.Held))*8; i++ {
		b := upTo + 2 + i
		if b >= s.high {
			break
		}
		if a.Held[i/8]&(0x80>>(i%8)) != 0 && b >= s.base {
			s.arrived(now, b, &k)
			holes = true
		}
	}
	for s.base < s.high && s.at(s.base).arrived {
		s.base++
	}
	if k.blocks > 0 {
		s.progress, s.probes = now, 0
	}
	s.checkAt = time.Time{}
	if holes || s.at(s.base).sends > 1 && s.base < s.high {
		k.lost = s.findLost(now)
	}
	k.inFlight = s.inFlight
	s.rate.acked(now, &k)
	return k.blocks > 0, s.base > s.c.Blocks
}

// timed takes the round trip of the block that came last, if there is no doubt
// which of its copies did.
func (s *Sender) timed(now time.Time, block int64, delay time.Duration, k *sample) {
	if block < s.base || block >= s.high {
		return
	}
	p := s.at(block)
	rtt := now.Sub(p.sentAt) - delay
	if p.arrived || p.sends != 1 || rtt <= 0 {
		return
	}
	k.rtt = rtt
	if s.srtt == 0 {
		s.srtt, s.rttvar = rtt, rtt/2
		return
	}
	s.rttvar += ((s.srtt - rtt).Abs() - s.rttvar) / 4
	s.srtt += (rtt - s.srtt) / 8
}

// arrived takes that a block is there.
func (s *Sender) arrived(now time.Time, block int64, k *sample) {
	p := s.at(block)
	if p.arrived {
		return
	}
	p.arrived = true
	if !p.lost {
		s.inFlight--
	}
	took := now.Sub(p.sentAt)
	if p.sends == 1 || took >= s.rate.rtt {
		if p.order > s.latest.order {
			s.latest, s.took = *p, took
		}
		s.rate.got(now, p, k)
		return
	}
	s.rate.delivered++ // the first copy came, after all: its time is not known
	k.blocks++
}

// repeats takes how many blocks the other side has got twice: if there are more
// than before, some were sent again though they were only late.
func (s *Sender) repeats(twice uint16) {
	if more := int16(twice - s.twice); more > 0 {
		s.twice, s.calm = twice, 0
		s.looser = min(s.looser+1, mostOrder)
	}
}

// late is how much later than a block that was sent after it a block may come.
func (s *Sender) late() time.Duration {
	return max(leastOrder, min(time.Duration(s.looser)*s.rate.rtt/4, max(s.srtt, leastOrder)))
}

// findLost marks the blocks that are later than they may be, and returns how many
// it found.
func (s *Sender) findLost(now time.Time) (lost int64) {
	wait := s.took + s.late()
	for b := s.base; b < s.high; b++ {
		p := s.at(b)
		if p.arrived || p.lost || p.order >= s.latest.order {
			continue
		}
		if at := p.sentAt.Add(wait); now.Before(at) {
			if s.checkAt.IsZero() || at.Before(s.checkAt) {
				s.checkAt = at
			}
			continue
		}
		s.lose(p)
		lost++
		if s.calm++; s.calm >= calmLosses {
			s.calm, s.looser = 0, max(1, s.looser-1)
		}
	}
	return lost
}

func (s *Sender) lose(p *packet) {
	p.lost = true
	s.inFlight--
	s.again = append(s.again, p.block)
}

// wait is how long an answer may take.
func (s *Sender) wait() time.Duration {
	w := firstWait
	if s.srtt > 0 {
		w = s.srtt + max(4*s.rttvar, leastSpread) + ackWait
	}
	if s.probes == 0 {
		return w
	}
	return min(max(w, againWait)<<min(s.probes, 6), longestWait)
}

// Deadline is when Timeout and then Next are to be called, unless an ACK comes
// before.
func (s *Sender) Deadline() time.Time {
	at := s.progress.Add(s.c.Idle)
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	if s.base < s.high {
		sooner(s.sentAt.Add(s.wait()))
	}
	if !s.checkAt.IsZero() {
		sooner(s.checkAt)
	}
	if s.candidate() != 0 {
		_, next := s.rate.may(s.sentAt)
		sooner(next)
	}
	return at
}

// Timeout takes that time has passed. It reports false when it is time to give up.
func (s *Sender) Timeout(now time.Time) bool {
	if !now.Before(s.progress.Add(s.c.Idle)) {
		return false
	}
	if !s.checkAt.IsZero() && !now.Before(s.checkAt) {
		s.checkAt = time.Time{}
		s.rate.roundLost += s.findLost(now)
	}
	if now.Before(s.sentAt.Add(s.wait())) || s.base == s.high {
		return true
	}
	if s.probes++; s.probes > s.c.Retries {
		return false
	}
	s.sentAt = now
	s.force = 1
	if s.probes == 1 {
		// The oldest block, once more: the answer tells what is there.
		if p := s.at(s.base); !p.lost {
			s.lose(p)
		}
		return true
	}
	for b := s.base; b < s.high; b++ {
		if p := s.at(b); !p.arrived && !p.lost {
			s.lose(p)
		}
	}
	s.rate.cap = minBlocks // the line was away: begin anew, with what it could
	return true
}
