package follower

import (
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// ParentWatch judges a parent. A parent may be silent for a while and may lack
// chunks; it must not be gone, withhold bytes, or fall further and further
// behind. That the root gets nothing from the origin is no parent's fault. Use
// NewParentWatch at each new parent.
type ParentWatch struct {
	cfg    transfer.Config
	active time.Duration // last byte from the parent
	behind bool          // the parent holds what this device lacks
	gained time.Duration // last chunk, or since when behind
	parent int           // the parent's prefix
	mine   int

	from       time.Duration // start of the slow window
	fromParent int
	fromMine   int
	pace       int // chunks that the parent gained in its best windows, fading
	root       int // the root's prefix as the parent knows it
	fromRoot   int
	waited     int // windows in a row in which the parent fell behind the root
	measured   bool
	sent       int // in the last window
}

// NewParentWatch starts to watch a parent while holding prefix chunks.
func NewParentWatch(cfg transfer.Config, now time.Duration, prefix int) *ParentWatch {
	return &ParentWatch{cfg: cfg, active: now, gained: now, mine: prefix, from: now, fromMine: prefix}
}

// Active tells that bytes came over the link.
func (w *ParentWatch) Active(now time.Duration) { w.active = now }

// Parent takes the parent's keep-alive: its own prefix and the root's.
func (w *ParentWatch) Parent(now time.Duration, prefix, root int) {
	w.active = now
	if w.fromParent == 0 {
		w.fromParent = prefix
	}
	if w.fromRoot == 0 {
		w.fromRoot = root
	}
	w.parent, w.root = prefix, max(w.root, root)
	w.update(now)
}

// Root takes the root's prefix from the root itself, where that is not the
// parent: a parent may say less.
func (w *ParentWatch) Root(prefix int) { w.root = max(w.root, prefix) }

// Mine takes what the device holds after a chunk came.
func (w *ParentWatch) Mine(now time.Duration, prefix int) {
	if prefix > w.mine {
		w.gained = now
	}
	w.mine = prefix
	w.update(now)
}

func (w *ParentWatch) update(now time.Duration) {
	behind := w.parent > w.mine
	if behind && !w.behind {
		w.gained = now
	}
	w.behind = behind
}

// Check returns why the parent should be left, ReasonNone if it should not.
// Depth is this device's depth below the root.
func (w *ParentWatch) Check(now time.Duration, depth int) wire.Reason {
	switch {
	case now-w.active > w.cfg.Silence:
		return wire.ReasonParentSilent
	case w.behind && now-w.gained > w.cfg.Stall:
		return wire.ReasonParentStalled
	case now-w.from > w.cfg.SlowWindow:
		return w.slow(now, depth)
	}
	return wire.ReasonNone
}

// slow ends a window. A parent that is well ahead and advanced, lately or in
// its best time, more than three times as far as it passed on is too slow for
// this child; if it passed on nothing, it withholds it. A parent that itself
// falls behind the root is given time to find a better parent: more time the
// deeper the child is, so that of a whole subtree only the topmost devices
// move.
func (w *ParentWatch) slow(now time.Duration, depth int) wire.Reason {
	ahead, sent := w.parent-w.fromParent, w.mine-w.fromMine
	lag := w.parent - w.mine
	w.pace = max(ahead, w.pace*3/4)
	w.measured, w.sent = true, sent
	if w.root-w.parent >= w.cfg.SlowLag && w.root-w.fromRoot > 3*ahead ||
		w.root > w.parent && w.parent <= w.mine && ahead == 0 {
		w.waited++
	} else {
		w.waited = 0
	}
	w.from, w.fromParent, w.fromMine, w.fromRoot = now, w.parent, w.mine, w.root
	switch {
	case lag >= w.cfg.SlowLag && ahead > 0 && sent == 0:
		return wire.ReasonParentStalled
	case lag >= w.cfg.SlowLag && w.pace > 3*sent, w.waited > depth+1:
		return wire.ReasonParentSlow
	}
	return wire.ReasonNone
}

// Takes returns how long the parent takes up to a chunk at its pace in the last window;
// 0 if there was none yet.
func (w *ParentWatch) Takes(chunk int) time.Duration {
	const longest = 10 * time.Minute
	switch left := chunk - w.mine; {
	case !w.measured || left <= 0:
		return 0
	case w.sent <= 0:
		return longest
	default:
		return min(longest, w.cfg.SlowWindow*time.Duration(left)/time.Duration(w.sent))
	}
}

// Trickles reports whether the parent has sent so few chunks in the last window, and since,
// that all before the given one would take longer than a time at that pace.
func (w *ParentWatch) Trickles(chunk int, within time.Duration) bool {
	sent := max(w.sent, w.mine-w.fromMine)
	return w.measured && time.Duration(chunk-w.mine)*w.cfg.SlowWindow > within*time.Duration(sent)
}

// Stay starts the wait again: the parent is kept although it was found slow.
func (w *ParentWatch) Stay(now time.Duration) { w.gained, w.from, w.waited = now, now, 0 }

// Deadline returns when Check may find a reason.
func (w *ParentWatch) Deadline() time.Duration {
	at := min(w.active+w.cfg.Silence, w.from+w.cfg.SlowWindow)
	if w.behind {
		at = min(at, w.gained+w.cfg.Stall)
	}
	return at + 1
}

// RootWatch judges a root by its results: bytes that it claims to receive, and
// chunks that arrive here. Use NewRootWatch at each new root.
type RootWatch struct {
	cfg      transfer.Config
	began    time.Duration
	since    time.Duration // start of the present patience
	claimed  count         // the root's bytes as its claims say
	relayed  map[wire.Peer]*count
	latest   int64 // of the count that grew last
	prefix   int
	first    int  // what it said it holds, when it said first that it holds something
	credible bool // this device has come to hold that too
}

// count is how many bytes somebody says that the root received in its download.
// Where one says less than before, another download began. A parent may tell of an
// earlier root without end: so what one says is compared with nothing but what the
// same said before.
type count struct {
	said   int64
	before int64 // when it counted as an advance last
}

// mostRelays bounds the parents whose counts are kept; later ones count for nothing.
const mostRelays = 16

// NewRootWatch starts to watch a root.
func NewRootWatch(cfg transfer.Config, now time.Duration) *RootWatch {
	return &RootWatch{cfg: cfg, began: now, since: now, claimed: count{-1, -1}, relayed: map[wire.Peer]*count{}}
}

// Root takes how far the root says it is, and reports whether it received
// bytes since it said so last.
func (w *RootWatch) Root(now time.Duration, prefix int, bytes int64) (moved bool) {
	return w.say(now, &w.claimed, prefix, bytes)
}

// Relay takes how far a parent says that the root is.
func (w *RootWatch) Relay(now time.Duration, parent wire.Peer, prefix int, bytes int64) {
	c := w.relayed[parent]
	if c == nil {
		if len(w.relayed) >= mostRelays {
			return
		}
		c = &count{-1, -1}
		w.relayed[parent] = c
	}
	w.say(now, c, prefix, bytes)
}

func (w *RootWatch) say(now time.Duration, c *count, prefix int, bytes int64) (moved bool) {
	w.prefix = max(w.prefix, prefix)
	if w.first == 0 {
		w.first = prefix
	}
	fresh := c.said < 0
	moved = !fresh && bytes > c.said
	if fresh || bytes < c.said {
		c.before = bytes
	}
	if c.said = bytes; moved || fresh && c == &w.claimed {
		w.latest = bytes
	}
	if c.said-c.before >= w.cfg.RootBytes {
		w.since, c.before = now, c.said
	}
	return moved
}

// Wait tells that the root waits for its turn at the origin, which is no
// fault of it for as long as cfg.Turn.
func (w *RootWatch) Wait(now time.Duration) {
	if now-w.began <= w.cfg.Turn {
		w.since = now
	}
}

// Gain tells that a chunk arrived here.
func (w *RootWatch) Gain(now time.Duration) { w.since = now }

// Mine tells what this device holds, in chunks from the start.
func (w *RootWatch) Mine(prefix int) { w.credible = w.credible || w.first > 0 && prefix >= w.first }

// Credible reports whether this device has come to hold what the root said first
// that it holds: only then what it says counts against a parent.
func (w *RootWatch) Credible() bool { return w.credible }

// Began returns since when the root is watched.
func (w *RootWatch) Began() time.Duration { return w.began }

// Prefix returns how far the root is, in chunks.
func (w *RootWatch) Prefix() int { return w.prefix }

// Bytes returns how many bytes the root received, as the one said whose count grew
// last: what does not grow is passed on without growing.
func (w *RootWatch) Bytes() int64 { return w.latest }

// Stalled reports whether the root should be left.
func (w *RootWatch) Stalled(now time.Duration) bool { return now-w.since > w.cfg.Progress }

// Deadline returns when Stalled may become true.
func (w *RootWatch) Deadline() time.Duration { return w.since + w.cfg.Progress + 1 }
