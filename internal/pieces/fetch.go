package pieces

import (
	"errors"
	"slices"
	"time"
)

// Config is what a Fetch has to keep to.
type Config struct {
	// Connections is the most that there may be, 1 to Most; 0 is 1.
	Connections int
	// Chunk is the size of a chunk in bytes. Required.
	Chunk int
	// Chunks of the file. Required.
	Chunks int
	// Limit is the most bytes that may come in a second. 0: no limit.
	Limit float64
}

// Validate refuses what makes no pieces.
func (c Config) Validate() error {
	if c.Connections < 0 || c.Chunk <= 0 || c.Chunks < 0 || c.Limit < 0 {
		return errors.New("pieces: a file of chunks is needed, and no number may be negative")
	}
	return nil
}

// Ask is a piece to be asked for over a connection: the chunks from First to
// before End.
type Ask struct {
	// ID names the ask. Each has another.
	ID         int
	First, End int
}

// How large pieces are.
const (
	// FirstPiece is what is asked for before the rate of a connection is known, in
	// chunks.
	FirstPiece = 4
	// mostPieces is how many chunks all pieces have together at most.
	mostPieces = 256
	// A piece takes so many round trips, or pieceTime if that is longer, so that the
	// wait for the next answer costs little; more where there may be no more
	// connections; over the only connection, where nothing comes meanwhile, longTrips,
	// or longTime.
	pieceTrips, scarceTrips, longTrips = 8, 10, 100

	pieceTime = time.Second
	longTime  = 10 * time.Second
	leastTime = 50 * time.Millisecond
	// mostBytes bounds what all connections hold in memory, which is a chunk each.
	mostBytes = 4 << 20
	// A connection over which nothing came for so many round trips, or so long, is
	// stalled: what it has not begun is asked for over another.
	stallTrips = 8
	stallTime  = 2 * time.Second
	// leastLook is the least time until it is looked again whether somebody is slow.
	leastLook = 50 * time.Millisecond
	// worthwhile is what asking elsewhere has to save at least.
	worthwhile = 250 * time.Millisecond
	// twiceOf is the part of the chunks that may come twice: one in so many.
	twiceOf = 128
)

// Fetch is one download over several connections. Use New.
//
// A driver tells what happens by Bytes, Chunk and Ended, and calls Next after each
// end and when Deadline has come.
type Fetch struct {
	cfg   Config
	count *count
	live  []*piece
	stop  []int // asks that are of no use any more
	last  int   // ID of the last ask
	rate  float64
	moved time.Duration // when a byte last came
	peak  int           // most asks that had an answer at the same time
	spare int           // chunks that may come twice
	// rescue says that a connection is stalled: if it is the only one, another is to
	// show whether it is the line.
	rescue bool
	early  bool // there are early asks, and the line is not known yet
}

// piece is an ask that is under way.
type piece struct {
	Ask
	next     int // chunk that comes next
	asked    time.Duration
	answered bool
	began    time.Duration // when the first byte came
	moved    time.Duration // when a byte last came, or the ask began
	bytes    int64
	partial  int64 // bytes of the chunk under way
}

// New returns a Fetch over which nothing has come. The configuration must be valid.
func New(cfg Config) *Fetch {
	cfg = cfg.bounded()
	return &Fetch{cfg: cfg, count: newCount(cfg), spare: cfg.Chunks / twiceOf}
}

// bounded has as many connections as there may be.
func (c Config) bounded() Config {
	c.Connections = max(1, min(c.Connections, Most, max(2, mostBytes/c.Chunk)))
	return c
}

// Run returns how many of the chunks of a file are lacking from one on, up to the first
// that is held. The first counts as lacking.
func Run(first, chunks int, held func(int) bool) int {
	end := min(first+1, chunks)
	for end < chunks && !held(end) {
		end++
	}
	return end - first
}

// Target returns how many connections there should be now.
func (f *Fetch) Target() int {
	if f.rescue {
		return max(2, f.count.target())
	}
	return f.count.target()
}

// Active returns how many asks are under way.
func (f *Fetch) Active() int { return len(f.live) }

// Wants reports whether Next has something to do now that bytes have come.
func (f *Fetch) Wants() bool {
	return len(f.live) < f.Target() || f.early && f.count.shown
}

// Narrow reports whether the server turned out to want no second connection.
func (f *Fetch) Narrow() bool { return f.count.only || f.cfg.Connections > 1 && f.count.most == 1 }

// Only has one connection from now on.
func (f *Fetch) Only() { f.count.single() }

// Begin begins the first ask, whose answer took so long and is there.
func (f *Fetch) Begin(now time.Duration, first, end int, took time.Duration) Ask {
	a := f.begin(now-took, first, end)
	f.Bytes(now, a.ID, 0)
	return a
}

func (f *Fetch) begin(now time.Duration, first, end int) Ask {
	f.last++
	p := &piece{Ask: Ask{f.last, first, end}, next: first, asked: now, moved: now}
	f.live = append(f.live, p)
	return p.Ask
}

func (f *Fetch) find(id int) *piece {
	for _, p := range f.live {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// Bytes takes that n bytes have come over an ask; the first 0 is the head of the
// answer.
func (f *Fetch) Bytes(now time.Duration, id, n int) {
	p := f.find(id)
	if p == nil {
		return
	}
	if !p.answered {
		p.answered, p.began = true, now
		f.peak = max(f.peak, f.answered())
		f.count.answered(now - p.asked)
	}
	p.moved, f.moved = now, now
	if n == 0 {
		return
	}
	p.bytes += int64(n)
	p.partial += int64(n)
	f.count.bytes(now, n)
}

// Chunk takes that a chunk has come over an ask and is stored, and reports whether
// the ask goes on: the rest may be asked for over another connection.
func (f *Fetch) Chunk(id, index int) (goesOn bool) {
	p := f.find(id)
	if p == nil {
		return false
	}
	p.next, p.partial = index+1, 0
	for _, o := range slices.Clone(f.live) {
		if o != p && o.next == index {
			f.drop(o)
		}
	}
	return p.next < p.End
}

// drop ends an ask that is of no use any more.
func (f *Fetch) drop(p *piece) {
	f.stop = append(f.stop, p.ID)
	f.remove(p)
}

func (f *Fetch) remove(p *piece) {
	if i := slices.Index(f.live, p); i >= 0 {
		f.live = slices.Delete(f.live, i, i+1)
	}
}

// Ended takes that an ask has ended, with all that it still had to bring or without.
func (f *Fetch) Ended(now time.Duration, id int, well bool) {
	p := f.find(id)
	if p == nil {
		return
	}
	f.remove(p)
	if took := now - p.began; p.answered && took > 0 && p.bytes >= int64(f.cfg.Chunk) {
		rate := float64(p.bytes) / took.Seconds()
		if f.rate == 0 {
			f.rate = rate
		}
		f.rate += (rate - f.rate) / 4
	}
	if !well && len(f.live) > 0 {
		f.count.atMost(f.count.most - 1)
	}
}

// Deadline returns when Next is due; ok is false if only an event can change
// anything.
func (f *Fetch) Deadline(now time.Duration) (at time.Duration, ok bool) {
	at, ok = f.count.due()
	if len(f.live) >= f.Target() && (ok || !f.count.unseen()) {
		return at, ok
	}
	// A connection is idle, or the line is not known yet: somebody may turn out to be
	// slow.
	if look := now + max(leastLook, min(f.patience()/4, f.count.rtt/2)); !ok || look < at {
		at = look
	}
	return at, true
}

// patience is how long an ask that brings nothing is left alone.
func (f *Fetch) patience() time.Duration { return max(stallTrips*f.count.rtt, stallTime) }

// Next returns what to ask for now, given the chunks that are missing in the order of
// need, and the asks to be ended, which are forgotten.
func (f *Fetch) Next(now time.Duration, missing []int) (asks []Ask, stop []int) {
	f.count.settle(now)
	f.curb()
	if f.Target() > 1 {
		f.release(now)
	}
	f.rescue = f.count.spareOne() && slices.ContainsFunc(f.live, func(p *piece) bool { return now-p.moved > f.patience() })
	for len(f.live) < f.Target() {
		first, end, ok := f.choose(now, missing)
		if !ok {
			break
		}
		asks = append(asks, f.begin(now, first, end))
	}
	stop, f.stop = f.stop, nil
	return asks, stop
}

// choose returns the next piece for an idle connection: what is needed most and not
// under way, or what another connection is slow to bring.
func (f *Fetch) choose(now time.Duration, missing []int) (first, end int, ok bool) {
	most := f.size(len(missing))
	for _, i := range missing {
		switch {
		case f.taken(i):
			if ok {
				return first, end, true
			}
		case !ok:
			first, end, ok = i, i+1, true
		case i != end:
			return first, end, true
		default:
			end++
		}
		if ok && end-first >= most {
			return first, end, true
		}
	}
	if ok {
		return first, end, true
	}
	return f.relieve(now)
}

// size is how many chunks a piece has: what a connection brings in a while, and less
// near the end, so that all connections end together.
func (f *Fetch) size(left int) int {
	t := f.count.target()
	if f.count.only {
		return left
	}
	n, least, took, trips := FirstPiece, 1, pieceTime, time.Duration(pieceTrips)
	switch t {
	case 1:
		if least = FirstPiece; f.count.settled() {
			took, trips = longTime, longTrips
		}
	case f.cfg.Connections:
		trips = scarceTrips
	}
	took = max(trips*f.count.rtt, took)
	if f.rate > 0 {
		n = int(f.rate * took.Seconds() / float64(f.cfg.Chunk))
		if t > 1 {
			n += f.last % 2 // or all wait for their next answers together
		}
		if f.count.trying() {
			n = min(n, FirstPiece) // what comes before it is needed is lost with this device
		}
	} else if t > 1 {
		n = min(staggered(f.last), int(f.count.line/float64(t)*took.Seconds()/float64(f.cfg.Chunk)))
	}
	if t > 1 {
		// Less than comes in a round trip leaves the line idle.
		flight := int(f.rate*max(2*f.count.rtt, leastTime).Seconds()/float64(f.cfg.Chunk)) + 1
		n = max(min(n, left/(2*t)), min(flight, left/t))
	}
	return max(least, min(n, mostPieces/t))
}

func (f *Fetch) taken(i int) bool {
	return slices.ContainsFunc(f.live, func(p *piece) bool { return p.next <= i && i < p.End })
}

// release takes what has not begun off the asks that are stalled, and ends those that
// have nothing of the chunk under way. If all are, it is the line, and the driver's
// patience counts.
func (f *Fetch) release(now time.Duration) {
	if now-f.moved > f.patience() {
		return
	}
	for _, p := range slices.Clone(f.live) {
		switch {
		case now-p.moved <= f.patience():
		case p.partial == 0:
			f.drop(p)
			if !p.answered { // perhaps the server takes no more
				f.count.atMost(f.peak)
			}
		default:
			p.End = min(p.End, p.next+1)
		}
	}
}

// answered returns how many asks under way have an answer.
func (f *Fetch) answered() (n int) {
	for _, p := range f.live {
		if p.answered {
			n++
		}
	}
	return n
}

// expected is how long an ask will take for some bytes.
func (p *piece) expected(now time.Duration, bytes float64) float64 {
	if p.bytes == 0 {
		return max(0, (now - p.moved).Seconds())
	}
	return bytes * max(now-p.began, time.Millisecond).Seconds() / float64(p.bytes)
}

// relieve finds the ask that will take longest, and takes the later half of what it
// has not begun. Of the last chunk of all a few may come twice.
func (f *Fetch) relieve(now time.Duration) (first, end int, ok bool) {
	var worst *piece
	most, chunk := 0.0, float64(f.cfg.Chunk)
	for _, p := range f.live {
		if t := p.expected(now, float64(p.End-p.next)*chunk-float64(p.partial)); t > most {
			most, worst = t, p
		}
	}
	if worst == nil || f.rate == 0 {
		return 0, 0, false
	}
	left := worst.End - worst.next
	take := max(1, left/2)
	mine := (worthwhile + 2*f.count.rtt).Seconds() + float64(take)*chunk/f.rate
	if left > 1 && most > 2*mine {
		worst.End -= take
		return worst.End, worst.End + take, true
	}
	quiet := now - worst.moved
	// Nothing of it has come, though an answer and a new connection take no longer.
	late := worst.bytes == 0 && quiet > worthwhile+2*f.count.rtt
	if left > 1 || most <= 2*mine && !late || f.twice(worst) {
		return 0, 0, false
	}
	switch {
	case worst.bytes == 0 && quiet > f.patience(): // what never came does not come twice
	case f.spare > 0:
		f.spare--
	default:
		return 0, 0, false
	}
	return worst.next, worst.End, true
}

// twice reports whether the chunk under way of an ask is another's, too.
func (f *Fetch) twice(p *piece) bool {
	return slices.ContainsFunc(f.live, func(o *piece) bool { return o != p && o.next <= p.next && p.next < o.End })
}
