package pdp

import (
	"net/netip"
	"time"
)

// reviewing is how far a review is.
type reviewing uint8

const (
	satisfied reviewing = iota // none is under way
	queued                     // this device waits for its turn at the origin
	comparing                  // the origin is compared with the peers
)

// review checks now and then whether the origin would bring more than the peers do:
// they serve, and the file will take long. What comes both ways in the same time is
// compared. Peers that bring as much end it; then it is the line that is slow.
type review struct {
	m      *Machine
	state  reviewing
	at     time.Duration // the next one
	wait   time.Duration // until then, the last time
	since  time.Duration // what is held is counted since
	held   int           // chunks then
	usual  time.Duration // that a chunk took before the comparison
	opened timer         // when the origin answered
	gave   bool          // one gave way to a root that was new, and none has ended since
}

// longChunk is what a chunk of a file of unknown size may take: what takes longer is
// worth a comparison.
const longChunk = time.Second

func newReview(m *Machine) *review { return &review{m: m, wait: m.cfg.Transfer.Fallback} }

// start begins the first wait.
func (r *review) start() { r.next(r.wait) }

func (r *review) next(wait time.Duration) {
	m := r.m
	r.state, r.wait = satisfied, wait
	r.at, r.since, r.held = m.now+wait, m.now, m.held.Count()
}

// postpone leaves this review and the next one to another device that is at it.
func (r *review) postpone() {
	if r.state == comparing {
		return
	}
	if r.state == queued {
		r.state = satisfied // what came of late still says how slow the peers are
		r.m.fallback.budget.Cancel()
	}
	r.at = max(r.at, r.m.now+2*r.m.cfg.Transfer.Fallback)
}

// resume makes the review soon that was left to another device, which has the whole file
// now: it may leave, and whoever served slowly before would go on.
func (r *review) resume() {
	if r.state == satisfied {
		r.at = min(r.at, r.m.now+r.m.cfg.Transfer.CatchUp)
	}
}

// outdone reports whether another device got clearly more at the origin than this one from
// peers meanwhile: it ends the comparison for itself, as root, and this device has its own.
func (r *review) outdone(bytes int64) bool {
	return bytes >= int64(4*r.m.held.ChunkSize()*(r.m.held.Count()-r.held+1))
}

// pace returns how long a chunk has taken of late, 0 if none came.
func (r *review) pace() time.Duration {
	if n := r.m.held.Count() - r.held; n > 0 {
		return (r.m.now - r.since) / time.Duration(n)
	}
	return 0
}

// long reports whether the file will take long if a chunk takes so long.
func (r *review) long(pace time.Duration) bool {
	h := r.m.held
	if !h.Known() {
		return pace > longChunk
	}
	left := time.Duration(h.Chunks() - h.Count())
	return 2*left*pace > 3*r.m.cfg.Transfer.Fallback
}

// slow reports whether the file will take long at the pace of late.
func (r *review) slow() bool {
	m := r.m
	span := m.now - r.since
	if m.cfg.Transfer.WholeFiles && m.held.Count() == r.held { // nothing comes before a parent has all
		return false
	}
	if span < m.cfg.Transfer.Fallback/4 || m.repair.suspects() {
		return false
	}
	return r.long(span / time.Duration(max(1, m.held.Count()-r.held)))
}

// settle queues for the origin when it is time, if the file will take long at the
// pace of late.
func (r *review) settle() {
	m := r.m
	if at, ok := r.overdue(); ok && m.now >= at {
		r.end()
	}
	if r.state != satisfied || m.now < r.at {
		return
	}
	f := m.fallback
	if m.origin.busy() || m.origin.Failing() || f.budget.Waiting() ||
		m.repair.suspects() || !r.long(r.pace()) {
		r.next(m.cfg.Transfer.Fallback)
		return
	}
	r.state = queued
	f.budget.Entitle(m.now)
}

// begin compares from now on: this device's turn has come.
func (r *review) begin() {
	if r.state == queued {
		r.state, r.usual = comparing, r.pace()
		r.opened.stop()
	}
}

// answered takes the origin's answer.
func (r *review) answered() {
	if r.state == comparing && !r.opened.set {
		r.opened.start(r.m.now)
	}
}

// stored takes a chunk of the origin, new or not: it must have come clearly sooner
// than one came from peers before.
func (r *review) stored(fromOrigin bool) {
	if r.state != comparing || !fromOrigin {
		return
	}
	r.gave = false
	if 3*(r.m.now-r.opened.at) > 2*r.usual {
		r.end()
		return
	}
	r.next(2 * r.wait)
	r.m.fallback.prefer()
}

// givesWay reports whether a comparison ends because another root is followed, which is
// to serve now. That happens once: where roots alternate, none would ever be made.
func (r *review) givesWay() bool {
	was := r.gave
	r.gave = was || r.state != satisfied
	return r.state == satisfied || !was
}

// end leaves the line to the peers.
func (r *review) end() {
	r.next(2 * r.wait)
	r.m.fallback.withdraw()
}

// drop ends a review that cannot go on: the way to the origin was given up.
func (r *review) drop() {
	if r.state == comparing {
		r.wait *= 2
	}
	if r.state != satisfied {
		r.next(r.wait)
	}
}

// holds reports whether a chunk of a peer does not end this device's wait, or its
// download.
func (r *review) holds() bool { return r.state != satisfied }

// overdue returns when a chunk of the origin must have come.
func (r *review) overdue() (time.Duration, bool) {
	return r.opened.at + r.usual, r.state == comparing && r.opened.set
}

func (r *review) deadline() (time.Duration, bool) {
	if at, ok := r.overdue(); ok {
		return at, true
	}
	return r.at, r.state == satisfied
}

// tries are of other peers than the parents that a root named, by addresses.
type tries struct {
	made map[netip.Addr]bool  // since a chunk came
	slow map[netip.Addr]again // when they may be made again while others serve slowly
	full netip.Addr           // the last that had no slot, none without one: as a root it knows who has
}

// mostTried bounds the addresses that are remembered.
const mostTried = 64

// mayTry reports whether this device tries another peer, as a parent or as a root: where none
// has served it for long, each until a chunk comes; where it is served slowly, each
// once and after twice as long each time. One that was full may be tried as a root then.
func (f *fallback) mayTry(a netip.Addr, slow, root bool) bool {
	full := root && a == f.tries.full
	if f.starving || f.budget.Waiting() {
		return full || !f.tries.made[a] && len(f.tries.made) < mostTried
	}
	return slow && (full || f.m.now >= f.tries.slow[a].next && f.remembers(a))
}

// remembers reports whether there is room to remember a try at an address.
func (f *fallback) remembers(a netip.Addr) bool {
	return len(f.tries.slow) < mostTried || f.tries.slow[a].wait > 0
}

// noteTry records that the peer at an address was tried.
func (f *fallback) noteTry(a netip.Addr) {
	f.tries.made[a] = true
	if a == f.tries.full {
		f.tries.full = netip.Addr{}
	}
	if f.remembers(a) {
		w := max(f.m.cfg.Transfer.Fallback, 2*f.tries.slow[a].wait)
		f.tries.slow[a] = again{f.m.now + w, w}
	}
}

// wasFull records that the peer at an address had no slot.
func (f *fallback) wasFull(a netip.Addr) { f.tries.full = a }
