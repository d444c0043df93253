package origin

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// claim is a device's use of the budget.
type claim uint8

const (
	unclaimed claim = iota
	waiting         // for its turn
	active          // downloads directly
)

// mostHeard bounds the addresses whose claims are remembered; who comes later is
// not waited for.
const mostHeard = 1024

// Budget is the subnet's budget of direct downloads for one file, as far as
// this device knows: one at a time. Each address is believed for cfg.Share of its
// downloads in all: whoever downloads for longer without serving anybody is no reason
// to wait. Use NewBudget.
type Budget struct {
	cfg transfer.Config
	rnd *rand.Rand

	claim claim
	due   time.Duration // not before
	turn  time.Duration // own random wait, so that not all begin at once
	// other is who downloads directly, until it is done or its claim lapses.
	other      wire.Peer
	otherAddr  netip.AddrPort
	otherBytes int64
	otherMoved time.Duration
	heard      map[netip.Addr]use // of the budget by each address, as it said
	share      time.Duration      // for how long each is believed
}

// use is how long an address has used the budget.
type use struct {
	since time.Duration // if it had done so without a break
	over  bool          // it is done, or fell silent
	at    time.Duration // since then
	heard time.Duration // when it said last that it goes on
}

// NewBudget returns an unused budget.
func NewBudget(cfg transfer.Config, rnd *rand.Rand) *Budget {
	return &Budget{cfg: cfg, rnd: rnd, heard: map[netip.Addr]use{}, share: cfg.Share}
}

// Slow tells how long another's download has to be left alone to bring anything.
func (b *Budget) Slow(d time.Duration) { b.share = max(b.cfg.Share, d) }

// Entitle starts the jittered wait for a direct download.
func (b *Budget) Entitle(now time.Duration) {
	if b.claim == unclaimed {
		b.turn = time.Duration(b.rnd.Int64N(int64(b.cfg.FallbackJitter)))
		b.claim, b.due = waiting, now+b.turn
	}
}

// Cancel ends the wait: a peer serves after all.
func (b *Budget) Cancel() {
	if b.claim == waiting {
		b.claim = unclaimed
	}
}

// Ready reports whether the wait is over and no other device downloads; this
// device then holds the budget. The origin is left alone before the given time.
func (b *Budget) Ready(now, before time.Duration) bool {
	if at, ok := b.Deadline(before); !ok || now < at {
		return false
	}
	b.claim = active
	return true
}

// Take holds the budget at once: this device was root, and goes on.
func (b *Budget) Take() { b.claim = active }

// Active reports whether this device downloads directly.
func (b *Budget) Active() bool { return b.claim == active }

// Done ends this device's direct download.
func (b *Budget) Done() {
	if b.claim == active {
		b.claim = unclaimed
	}
}

// Heard takes another's announcement. If two began at once, the one with clearly
// more bytes continues, else the one with the lower id; Heard reports whether this
// device, which has so many, must stop.
func (b *Budget) Heard(now time.Duration, self, p wire.Peer, link netip.AddrPort, d *wire.Direct,
	mine int64) (stop bool) {
	if d.Done {
		b.ended(now, link.Addr())
		if b.other == p {
			b.other = wire.Peer{}
			b.due = max(b.due, now+b.turn)
		}
		return false
	}
	if !b.believed(now, link.Addr()) || b.other != p && b.Taken(now) && b.other.Less(p) {
		return false
	}
	if b.other != p || d.Bytes > b.otherBytes {
		b.otherMoved = now
	}
	b.other, b.otherAddr, b.otherBytes = p, link, d.Bytes
	if b.claim == active && !more(mine, d.Bytes) && (p.Less(self) || more(d.Bytes, mine)) {
		b.claim = unclaimed
		return true
	}
	return false
}

// more reports whether a bytes are clearly more than b: what is told of them may be
// one announcement old.
func more(a, b int64) bool { return a > b+b/4 }

// Renew believes every address anew.
func (b *Budget) Renew(now time.Duration) {
	for a, u := range b.heard {
		b.heard[a] = use{since: now, over: u.over, at: now, heard: now}
	}
}

// believed reports whether a claim from an address counts, and begins to count its
// time. One that fell silent, as a device does that crashes, was waited for until its
// claim lapsed.
func (b *Budget) believed(now time.Duration, a netip.Addr) bool {
	u, before := b.heard[a]
	if before && !u.over && now-u.heard > b.cfg.Lapse {
		u.over, u.at = true, u.heard+b.cfg.Lapse
		if b.otherAddr.Addr() == a {
			b.other = wire.Peer{} // what it says now is of another download
		}
	}
	u.heard = now
	switch {
	case !before && len(b.heard) >= mostHeard:
		return false
	case !before:
		u.since = now
	case u.over:
		u.since, u.over = u.since+now-u.at, false
	}
	b.heard[a] = u
	return now-u.since <= b.share
}

// ended ends the count of an address's time. However short, each download counts as
// the wait that follows it.
func (b *Budget) ended(now time.Duration, a netip.Addr) {
	if u, before := b.heard[a]; before && !u.over {
		b.heard[a] = use{since: u.since - b.cfg.FallbackJitter, over: true, at: now}
	}
}

// Taken reports whether another device uses the budget.
func (b *Budget) Taken(now time.Duration) bool { return !b.other.IsZero() && now < b.Until() }

// Until returns when the other's claim counts no more if nothing more is heard.
func (b *Budget) Until() time.Duration {
	return min(b.otherMoved+b.cfg.Lapse, b.heard[b.otherAddr.Addr()].since+b.share) + 1
}

// TakenBy reports whether a device uses the budget that is not this one.
func (b *Budget) TakenBy(now time.Duration, p wire.Peer) bool { return b.Taken(now) && b.other == p }

// Waiting reports whether this device waits for its turn.
func (b *Budget) Waiting() bool { return b.claim == waiting }

// Deadline returns when Ready becomes true, as far as is known. The origin is
// left alone before the given time.
func (b *Budget) Deadline(before time.Duration) (time.Duration, bool) {
	if b.claim != waiting {
		return 0, false
	}
	at := max(b.due, before+b.turn)
	if !b.other.IsZero() {
		at = max(at, b.Until()+b.turn)
	}
	return at, true
}
