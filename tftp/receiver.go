package tftp

import "time"

// receiver is the state of the side that receives DATA: which block comes
// next and when to acknowledge. It is pure, like sender.
//
// It acknowledges when a window is full or the file ends. A gap is reported
// once, by an ACK of the last block before it (RFC 7440 section 4); blocks
// after the gap are dropped, since the sender starts again there. A duplicate
// is answered only if it is the block that was acknowledged last: then that ACK
// was lost.
//
// Retransmission relies on the sender's timer. The receiver's own timer is
// slow, because an ACK in the middle of a window makes the sender repeat blocks
// that may only be late.
type receiver struct {
	window  int64
	block   int           // bytes of a full block
	retries int           // timeouts in a row before it gives up
	idle    time.Duration // time without progress before it gives up
	first   time.Duration // shortest wait

	next     int64 // block that comes next
	ring     int64 // block numbers of one round, 0 while it is not known
	ones     int   // rounds that seemed to begin with 1
	doubt    bool  // the first block may be whole though it is short
	maybe    int   // bytes of that block while it may be the last, else 0
	acked    int64 // block acknowledged last
	gapTold  bool
	finished bool

	pace     time.Duration // decaying maximum of the time between steps
	wait     time.Duration // time to wait for the next block
	heard    time.Time     // last progress or repeated ACK
	progress time.Time
	waits    int
}

func newReceiver(now time.Time, p params, first, idle time.Duration, retries int) *receiver {
	return &receiver{
		window: int64(p.window), block: p.blockSize, retries: retries, idle: idle,
		first: max(first, p.timeout),
		next:  1, wait: max(first, p.timeout), heard: now, progress: now,
	}
}

// The number that follows 65535 is 0 with most servers and 1 with some.
const (
	fromZero = 1 << 16
	fromOne  = 1<<16 - 1
)

// data takes a block number and the number of bytes that came with it. It
// reports whether the bytes are the next ones and whether to send an ACK now.
func (r *receiver) data(now time.Time, wire uint16, n int) (accept, ack bool) {
	r.roll(wire)
	switch ahead := r.ahead(wire); {
	case ahead == 0 && !r.finished:
		r.step(now)
		if r.maybe > 0 {
			r.block, r.maybe = r.maybe, 0
		}
		r.next++
		r.gapTold = false
		if r.finished = n < r.block; r.finished && r.doubt && r.next == 2 && n > 0 {
			r.finished, r.maybe = false, n
			return true, true
		}
		return true, r.finished || r.windowEnds()
	case ahead > 0 && ahead < r.window && !r.finished:
		ack = !r.gapTold
		r.gapTold = true
		return false, ack
	case ahead == -1:
		return false, r.acked == r.next-1
	}
	return false, false
}

// roll finds out what follows block number 65535. A server of which block 65536
// has the number 0 sends no number beyond its window; that it does, or that 0
// never comes, tells the other kind.
func (r *receiver) roll(wire uint16) {
	if r.ring != 0 || r.next != fromZero {
		return
	}
	if wire == 1 {
		r.ones++
	}
	switch beyond := fromZero+int64(wire) > r.acked+r.window; {
	case wire == 0:
		r.ring = fromZero
	case beyond && int64(wire) <= 1+r.window, r.ones > 3:
		r.ring, r.gapTold = fromOne, false
	}
}

// ahead is how many blocks after the next one a block is that has this number.
func (r *receiver) ahead(wire uint16) int64 {
	if r.ring != fromOne {
		return int64(int16(wire - uint16(r.next)))
	}
	d := int64(wire) - int64(r.number(r.next))
	switch {
	case d > fromOne/2:
		return d - fromOne
	case d < -fromOne/2:
		return d + fromOne
	}
	return d
}

// number is the number that a block goes by.
func (r *receiver) number(block int64) uint16 {
	if r.ring == fromOne && block > 0 {
		return uint16((block-1)%fromOne + 1)
	}
	return uint16(block)
}

func (r *receiver) windowEnds() bool {
	return r.next-1-r.acked >= r.window
}

// again takes a repeated OACK and reports whether to acknowledge it again.
func (r *receiver) again() bool { return r.next == 1 }

// ack notes that the ACK went out and returns its block number.
func (r *receiver) ack() uint16 {
	r.acked = r.next - 1
	return r.number(r.acked)
}

// resume restarts the wait when the caller is back: the time of its absence
// says nothing about the sender.
func (r *receiver) resume(now time.Time) { r.heard, r.progress = now, now }

func (r *receiver) step(now time.Time) {
	r.pace = max(r.pace-r.pace/8, now.Sub(r.progress))
	r.wait = min(max(r.first, 2*r.pace), max(maxRetransmit, r.first))
	r.heard, r.progress, r.waits = now, now, 0
}

// deadline is when timeout must be called, unless the next block comes before.
func (r *receiver) deadline() time.Time {
	at := r.heard.Add(r.wait)
	if end := r.progress.Add(r.idle); end.Before(at) {
		return end
	}
	return at
}

// lastWasThat ends the doubt about a first block after which nothing comes. It
// reports false if there was none.
func (r *receiver) lastWasThat() bool {
	if r.maybe == 0 {
		return false
	}
	r.finished, r.maybe = true, 0
	return true
}

// timeout asks for an ACK to be sent again. It reports false when it is time
// to give up.
func (r *receiver) timeout(now time.Time) bool {
	if now.Before(r.deadline()) {
		return true
	}
	r.waits++
	if r.waits > 1 && r.lastWasThat() {
		return true
	}
	if r.waits > r.retries || !now.Before(r.progress.Add(r.idle)) {
		return false
	}
	r.wait = min(2*r.wait, max(maxRetransmit, r.first))
	r.heard = now
	r.gapTold = false
	return true
}
