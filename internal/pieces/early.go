package pieces

import "time"

// Handshakes are what connections to a server have shown before any byte of the file
// came. They were made at the same time.
type Handshakes struct {
	// Trip is how long the first of all took.
	Trip time.Duration
	// Made is how many connections wait, and Spread how long after the first of them
	// the last one was there.
	Made   int
	Spread time.Duration
}

// HandshakeBytes is the size of the packet that ends a handshake, on the line.
const HandshakeBytes = 74

const (
	// earlyFrom is the round trip from which pieces are asked for before the first
	// answer: on nearer lines it comes soon enough.
	earlyFrom = 80 * time.Millisecond
	// mostEarly bounds them. A server without ranges sends initialWindow for each in
	// vain, less than a hundredth of 20 MB.
	mostEarly = 12
	// leastSpread is the least that a device can measure.
	leastSpread = 200 * time.Microsecond
)

// line returns the least rate of the line by which the connections were made so soon
// one after the other, in bytes per second.
func (h Handshakes) line() float64 {
	return float64(h.Made-1) * HandshakeBytes / max(h.Spread, leastSpread).Seconds()
}

// Early returns what to ask for before the first answer is there, over connections that
// wait: one piece over each, from the chunk before which the first piece ends. These are
// as many as a line of the least rate that the handshakes have shown needs, so that
// there is none on a thin one.
func Early(cfg Config, h Handshakes, from int, held func(int) bool) (asks []Ask) {
	if h.Trip < earlyFrom || h.Made < 2 || cfg.Limit > 0 {
		return nil
	}
	cfg = cfg.bounded()
	c := newCount(cfg)
	c.line, c.rtt = h.line(), h.Trip
	for range min(c.initial()-1, h.Made, mostEarly) {
		for from < cfg.Chunks && held(from) {
			from++
		}
		if from >= cfg.Chunks {
			break
		}
		a := Ask{First: from, End: from + min(staggered(len(asks)), Run(from, cfg.Chunks, held))}
		asks = append(asks, a)
		from = a.End
	}
	return asks
}

// staggered is the size of the nth of the pieces that are asked for at the same time, in
// chunks: if they were equal, all connections would wait for their next answers together.
func staggered(n int) int { return FirstPiece/2 + n%(FirstPiece+1) }

// Early takes an ask of Early that was made so long ago, now that there is the first
// answer.
func (f *Fetch) Early(now time.Duration, first, end int, ago time.Duration) Ask {
	f.early = true
	return f.begin(now-ago, first, end)
}

// curb ends what the line turns out not to need of the early asks: what has begun
// brings the chunk under way, and the rest is asked for in the order of need.
func (f *Fetch) curb() {
	if !f.early || !f.count.shown {
		return
	}
	f.early = false
	for _, p := range f.after(f.count.target()) {
		if p.bytes == 0 {
			f.drop(p)
		} else {
			p.End = min(p.End, p.next+1)
		}
	}
}

// after returns the asks under way but the first so many.
func (f *Fetch) after(n int) []*piece {
	if n >= len(f.live) {
		return nil
	}
	return append([]*piece(nil), f.live[n:]...)
}
