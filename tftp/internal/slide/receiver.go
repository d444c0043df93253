package slide

import "time"

// Waits of the receiver.
const (
	// ackWait is how long a block may wait for its ACK.
	ackWait = 10 * time.Millisecond
	// quick blocks are acknowledged at once, each: the sender knows nothing yet.
	quick = 16
)

// Receiver is the state of the side that gets the file. An ACK says which blocks
// are there; it goes out when enough have come, when one is missing or a gap is
// closed, when a block comes that is there, and a little later else.
type Receiver struct {
	slide   int64
	every   int
	first   time.Duration // shortest wait for the next block
	idle    time.Duration
	retries int

	next int64    // first block that is missing
	high int64    // first block beyond all that came
	last int64    // the last block, 0: not known
	held []uint64 // bits of next to high, each at its number modulo the bits

	latest   uint16
	latestAt time.Time
	twice    uint16

	pending int  // blocks since the last ACK
	now     bool // an ACK is due at once
	since   time.Time

	heard    time.Time
	progress time.Time
	wait     time.Duration
	waits    int
}

// NewReceiver returns the state before the first block. Slide is what was agreed
// on, every how many blocks an ACK is sent; first is the shortest wait for a block,
// idle the time without a new one and retries the number of waits after which
// Timeout gives up.
func NewReceiver(now time.Time, slide, every int, first, idle time.Duration, retries int) *Receiver {
	slide = min(max(slide, 1), MaxBlocks)
	words := 1
	for words*64 < slide+64 {
		words *= 2
	}
	return &Receiver{slide: int64(slide), every: max(every, 1), first: first, idle: idle, retries: retries, next: 1,
		high: 1, held: make([]uint64, words), heard: now, progress: now, latestAt: now, wait: first}
}

func (r *Receiver) bit(block int64) (word *uint64, mask uint64) {
	i := block & int64(len(r.held)*64-1)
	return &r.held[i/64], 1 << (i % 64)
}

// has reports whether a block from next on is there.
func (r *Receiver) has(block int64) bool {
	w, m := r.bit(block)
	return *w&m != 0
}

// Silent reports whether no block came yet.
func (r *Receiver) Silent() bool { return r.high == 1 }

// Next is the first block that is missing.
func (r *Receiver) Next() int64 { return r.next }

// Finished reports whether all blocks are there.
func (r *Receiver) Finished() bool { return r.last > 0 && r.next > r.last }

// Data takes a block's number; isLast says that it is the last. It returns the
// number without end and reports whether the block is one that was missing.
func (r *Receiver) Data(now time.Time, wire uint16, isLast bool) (block int64, fresh bool) {
	block = r.next + int64(int16(wire-uint16(r.next)))
	if block < 1 || block >= r.next+r.slide || r.last > 0 && block > r.last || isLast && block+1 < r.high {
		return block, false // nothing that a sender of this file would send
	}
	r.latest, r.latestAt, r.heard = wire, now, now
	if r.pending++; r.pending == 1 {
		r.since = now
	}
	if block < r.next || r.has(block) {
		r.twice++
		r.now = true
		return block, false
	}
	if isLast {
		r.last = block
	}
	w, m := r.bit(block)
	*w |= m
	r.now = r.now || block > r.high || r.high > block+1 || block <= quick
	r.high = max(r.high, block+1)
	for r.next < r.high && r.has(r.next) {
		w, m := r.bit(r.next)
		*w &^= m
		r.next++
	}
	r.now = r.now || r.Finished()
	r.progress, r.waits, r.wait = now, 0, r.first
	return block, true
}

// AckDue reports whether an ACK is to be sent now.
func (r *Receiver) AckDue(now time.Time) bool {
	return r.now || r.pending >= r.every || r.pending > 0 && !now.Before(r.since.Add(ackWait))
}

// Ack is the ACK to be sent now. It takes the bits from buf, which may be nil.
func (r *Receiver) Ack(now time.Time, buf []byte) Ack {
	a := Ack{Block: uint16(r.next - 1), Latest: r.latest, Twice: r.twice, Delay: now.Sub(r.latestAt), Held: buf[:0]}
	for b := r.next + 1; b < r.high; b++ {
		i := int(b - r.next - 1)
		if i%8 == 0 {
			a.Held = append(a.Held, 0)
		}
		if r.has(b) {
			a.Held[i/8] |= 0x80 >> (i % 8)
		}
	}
	if r.Silent() {
		a.Plain = true // nothing came yet
	}
	r.pending, r.now = 0, false
	return a
}

// Resume restarts the waits when the caller is back: its absence says nothing about
// the sender.
func (r *Receiver) Resume(now time.Time) { r.heard, r.progress = now, now }

// Deadline is when Timeout is to be called, unless a block comes before.
func (r *Receiver) Deadline() time.Time {
	at := r.heard.Add(r.wait)
	if end := r.progress.Add(r.idle); end.Before(at) {
		at = end
	}
	if soon := r.since.Add(ackWait); r.pending > 0 && soon.Before(at) {
		return soon
	}
	return at
}

// Timeout takes that time has passed; AckDue says then whether to send an ACK. It
// reports false when it is time to give up.
func (r *Receiver) Timeout(now time.Time) bool {
	if !now.Before(r.progress.Add(r.idle)) {
		return false
	}
	if now.Before(r.heard.Add(r.wait)) {
		return true
	}
	if r.waits++; r.waits > r.retries {
		return false
	}
	r.wait = min(2*r.wait, max(longestWait, r.first))
	r.heard, r.now = now, true
	return true
}
