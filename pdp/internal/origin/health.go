package origin

import (
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// Health counts an origin's failures, this device's and those that peers told,
// and says how long to leave it alone and when to give up. A device gives up only
// because of what it has seen itself: what peers tell makes it check, and wait a
// little. Use NewHealth.
type Health struct {
	cfg    transfer.Config
	own    int           // failed attempts of this device without progress
	spared int           // those that may be the fault of others' downloads, since then
	mine   wire.Reason   // why the last of them failed
	before time.Duration // left alone until then because of them
	others int           // failures that peers told
	last   wire.Reason   // why the origin failed last, whoever told it
	asked  time.Duration // left alone until then because a peer asked for it
	fed    time.Duration // when a byte of it last came to this device, directly or through peers
	ever   bool          // one has
}

// NewHealth returns a Health without failures.
func NewHealth(cfg transfer.Config) *Health { return &Health{cfg: cfg} }

// Progress tells that bytes came from the origin: it works.
func (p *Health) Progress(now time.Duration) {
	p.own, p.spared, p.others = 0, 0, 0
	p.before, p.asked = min(p.before, now), min(p.asked, now)
	p.fed, p.ever = now, true
}

// Served tells that a peer sent a chunk. The chunk is from the origin, which
// therefore works; during a back-off it may be from before the failure.
func (p *Health) Served(now time.Duration) {
	p.own, p.spared = 0, 0
	if now >= p.NotBefore() {
		p.others = 0
		p.fed, p.ever = now, true
	}
}

// Well records that the origin serves another device, as that one says.
func (p *Health) Well() { p.others = 0 }

// Heard counts a failure that a peer told. Of the pause that it asks for no more
// is granted than twice the one after a first failure.
func (p *Health) Heard(now, backoff time.Duration, why wire.Reason) {
	p.others++
	p.last = why
	p.asked = max(p.asked, now+min(backoff, 2*p.cfg.Backoff))
}

// Failed counts an attempt of this device and returns for how long it leaves the
// origin alone. One that brought bytes while others downloaded too may have been too slow
// for that, which crowded says: it is none to give up for, cfg.Attempts times.
func (p *Health) Failed(now time.Duration, why wire.Reason, crowded bool) time.Duration {
	if p.own++; crowded && p.own >= p.cfg.Attempts && p.spared < p.cfg.Attempts {
		p.spared++
		p.own = max(1, p.cfg.Attempts-1)
	}
	p.last, p.mine = why, why
	d := p.cfg.Backoff
	for range min(p.own-1, 16) {
		d *= 2
	}
	d = min(d, p.cfg.BackoffMax)
	if p.Outage(now) {
		d = min(d, 2*p.cfg.Backoff)
	}
	p.before = now + d
	return d
}

// Outage reports whether the origin served a while ago and this device cannot
// reach it, or gets nothing: the path to it may be interrupted for a while. No
// device gives up then, and the roots try again and again.
func (p *Health) Outage(now time.Duration) bool { return p.own > 0 && p.cut(now, p.mine) }

// Interrupted reports whether that may be so by what was told last, by this
// device or a peer: then it is no use that each device checks.
func (p *Health) Interrupted(now time.Duration) bool { return p.Failing() && p.cut(now, p.last) }

// cut reports whether a failure may be that of the path: the origin served a
// while ago.
func (p *Health) cut(now time.Duration, why wire.Reason) bool {
	switch why {
	case wire.ReasonOriginUnreachable, wire.ReasonOriginStalled:
		return p.ever && now-p.fed <= p.cfg.Outage
	}
	return false
}

// InterruptionEnds returns when Interrupted is over if nothing comes, 0 if it is
// not the case.
func (p *Health) InterruptionEnds(now time.Duration) time.Duration {
	if !p.Interrupted(now) {
		return 0
	}
	return p.fed + p.cfg.Outage + 1
}

// NotBefore returns when the origin may be tried again.
func (p *Health) NotBefore() time.Duration { return max(p.before, p.asked) }

// ProbeNotBefore returns when this device may check for itself: peers who ask for
// pause after pause do not keep it from that.
func (p *Health) ProbeNotBefore() time.Duration { return p.before }

// Spent reports whether this device has tried enough. What peers say does not
// count.
func (p *Health) Spent(now time.Duration) bool {
	if p.own > 0 && lasting(p.mine) {
		return true
	}
	return p.own >= p.cfg.Attempts && !p.Outage(now)
}

// Failing reports whether the origin failed since it last gave a byte.
func (p *Health) Failing() bool { return p.own+p.others > 0 }

// Doubtful reports whether peers told of so many failures, or of permanent
// ones, that this device should check whether the origin answers.
func (p *Health) Doubtful(now time.Duration) bool {
	return !p.cut(now, p.last) && (p.others >= p.cfg.Attempts || p.others > 0 && lasting(p.last))
}

// lasting reports whether trying again is useless.
func lasting(why wire.Reason) bool {
	return why == wire.ReasonOriginNotFound || why == wire.ReasonOriginForbidden
}

// Tried reports whether an attempt of this device's own has failed.
func (p *Health) Tried() bool { return p.own > 0 }

// Last returns why the origin failed last.
func (p *Health) Last() wire.Reason { return p.last }
