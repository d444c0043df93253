package tftp

import "time"

// Retransmission. The first wait is the agreed or the configured timeout; then
// it follows the measured round trip, as TCP does (RFC 6298), and doubles with
// every timeout.
const (
	minRetransmit = 200 * time.Millisecond
	maxRetransmit = 8 * time.Second
	// holdBackoff is the number of ACKs without a sample after which a doubled
	// wait is taken back: before, a sample may still come (Karn).
	holdBackoff = 2
)

// Pacing of large windows. Sockets of clients hold about 200 KiB, in packets of any
// size less; what goes beyond is lost, and with it the end of the window, of which
// nothing tells the client.
const (
	// freeBurst may go out at once in every window, in bytes.
	freeBurst = 64 << 10
	// firstPace is that of the rest at first, leastPace the slowest, in bytes per
	// second; it doubles with every window that arrives, and halves when one does not.
	firstPace = 16 << 20
	leastPace = 1 << 20
	// paceQuantum is what may go out at once of the rest, as time: timers are coarse.
	paceQuantum = time.Millisecond
)

// sender is the state of the side that sends DATA: which blocks are in flight,
// what to send next, when to send again. It is pure: the caller passes in the
// time and moves the bytes.
//
// Blocks are counted from 1 without end; block 0 stands for the OACK, which
// the receiver acknowledges with ACK 0. On the wire the count is taken modulo
// 65536, so that 65535 is followed by 0.
//
// A duplicate of the last ACK is never answered with data: that would be the
// Sorcerer's Apprentice bug (RFC 1123 section 4.2.3.1). Data is sent again when
// the timer says so, or when an ACK for a part of the window tells of a gap
// (RFC 7440 section 4).
type sender struct {
	window  int64
	retries int           // timeouts in a row before it gives up
	idle    time.Duration // time without progress before it gives up
	floor   time.Duration // shortest wait

	base int64 // first block without an ACK
	next int64 // next block to send
	high int64 // first block never sent
	last int64 // the last block, -1 while unknown

	block  int64         // bytes
	gap    time.Duration // between blocks beyond freeBurst, 0: none
	slowed bool          // a window was lost: gap grows slowly
	turn   time.Time     // when the next block beyond it may go out
	burst  int64         // block up to which no turn counts

	rto, srtt, rttvar time.Duration
	timed             int64 // block whose ACK gives a sample, -1: none
	timedAt           time.Time

	sentAt    time.Time // of the latest block
	progress  time.Time // when base last moved or a new block went out
	waits     int
	unsampled int // ACKs since the wait was last set
}

// newSender returns the state before anything was sent. withOAck says that
// block 0, the OACK, comes first.
func newSender(now time.Time, p params, withOAck bool, first, idle time.Duration, retries int) *sender {
	s := &sender{
		window: int64(p.window), retries: retries, idle: idle, floor: min(minRetransmit, first),
		last: -1, timed: -1, rto: first, sentAt: now, progress: now,
	}
	s.block = int64(p.blockSize)
	s.gap = s.paced(firstPace)
	s.newWindow()
	if p.timeout > 0 {
		s.rto, s.floor = p.timeout, p.timeout
	}
	if !withOAck {
		s.base, s.next, s.high = 1, 1, 1
	}
	return s
}

// wantsToSend reports whether block s.next may be sent now.
func (s *sender) wantsToSend() bool {
	if s.base == 0 {
		return s.next == 0
	}
	return s.next < s.base+s.window && (s.last < 0 || s.next <= s.last)
}

// paced is the time from block to block at a rate in bytes per second.
func (s *sender) paced(rate int64) time.Duration {
	return time.Duration(s.block) * time.Second / time.Duration(rate)
}

// newWindow lets the beginning of a window go out at once.
func (s *sender) newWindow() { s.burst = s.next + max(4, freeBurst/max(1, s.block)) }

// faster and slower adapt the pace to how a window fared.
func (s *sender) faster() {
	if s.slowed {
		s.gap -= s.gap / 8
	} else {
		s.gap /= 2
	}
}

func (s *sender) slower() {
	if s.window > 1 {
		s.gap = min(max(2*s.gap, s.paced(firstPace)), max(s.paced(leastPace), s.srtt/time.Duration(s.window)))
		s.slowed = true
	}
}

// waitsForTurn is when the next block may go out, the zero time if it may now.
func (s *sender) waitsForTurn(now time.Time) time.Time {
	if s.gap == 0 || s.next < s.burst || !now.Before(s.turn.Add(-paceQuantum)) {
		return time.Time{}
	}
	return s.turn.Add(-paceQuantum)
}

// sent notes that block s.next went out, and whether it was the last one. It
// reports whether it went out for the first time.
func (s *sender) sent(now time.Time, isLast bool) (fresh bool) {
	n := s.next
	if isLast {
		s.last = n
	}
	fresh = n == s.high
	if fresh {
		s.high++
		s.progress = now // a paced window may take longer than idle
		s.timed, s.timedAt = n, now
	} else if n == s.timed {
		s.timed = -1 // an ACK could mean either copy (Karn)
	}
	s.next++
	s.sentAt = now
	if floor := now.Add(-paceQuantum); s.next <= s.burst || s.turn.Before(floor) {
		s.turn = now
	}
	s.turn = s.turn.Add(s.gap)
	return fresh
}

// acked takes the block number of an ACK and reports whether it brought
// progress and whether all is done.
func (s *sender) acked(now time.Time, wire uint16) (progress, done bool) {
	ahead := int64(wire - uint16(s.base-1))
	if ahead == 0 || ahead > s.high-s.base {
		return false, false // a duplicate, or nothing that is under way
	}
	n := s.base + ahead - 1
	if n == s.timed {
		s.sample(now.Sub(s.timedAt))
	} else if s.unsampled++; s.unsampled > holdBackoff && s.srtt > 0 {
		s.setWait() // no sample will come: the cause of the longer wait is over
	}
	if s.timed <= n {
		s.timed = -1
	}
	s.base, s.progress, s.waits = n+1, now, 0
	// What was sent beyond the ACK is sent again: the receiver has a gap there.
	if s.next > s.base {
		s.slower()
	} else {
		s.faster()
	}
	s.next = s.base
	s.newWindow()
	return true, s.last >= 0 && s.base > s.last
}

// sample takes one measured round trip.
func (s *sender) sample(rtt time.Duration) {
	if s.srtt == 0 {
		s.srtt, s.rttvar = rtt, rtt/2
	} else {
		s.rttvar += ((s.srtt - rtt).Abs() - s.rttvar) / 4
		s.srtt += (rtt - s.srtt) / 8
	}
	s.setWait()
}

func (s *sender) setWait() {
	s.rto = min(max(s.srtt+4*s.rttvar, s.floor), max(maxRetransmit, s.floor))
	s.unsampled = 0
}

// deadline is when timeout must be called, unless an ACK comes before, or when the
// next block may go out.
func (s *sender) deadline() time.Time {
	if s.base > 0 && s.wantsToSend() {
		if turn := s.waitsForTurn(s.sentAt); !turn.IsZero() && turn.Before(s.timeoutAt()) {
			return turn
		}
	}
	return s.timeoutAt()
}

func (s *sender) timeoutAt() time.Time {
	at := s.sentAt
	if s.progress.After(at) {
		at = s.progress
	}
	at = at.Add(s.rto)
	if end := s.progress.Add(s.idle); end.Before(at) {
		return end
	}
	return at
}

// timeout starts the window again. It reports false when it is time to give
// up.
func (s *sender) timeout(now time.Time) bool {
	if now.Before(s.timeoutAt()) {
		return true
	}
	s.waits++
	if s.waits > s.retries || !now.Before(s.progress.Add(s.idle)) {
		return false
	}
	s.rto = min(2*s.rto, max(maxRetransmit, s.floor))
	s.unsampled = 0
	s.next = s.base
	s.slower()
	s.newWindow()
	s.timed = -1
	s.sentAt = now
	return true
}
