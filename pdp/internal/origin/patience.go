package origin

import (
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// Patience counts an origin's failures, this device's and the subnet's, and
// says how long to leave it alone and when to give up. Use NewPatience.
type Patience struct {
	cfg    transfer.Config
	own    int // failed attempts of this device without progress
	others int // failures that peers told
	before time.Duration
	last   wire.Reason
	fed    time.Duration // when it last gave a byte, to whomever
	ever   bool          // it has
}

// NewPatience returns a Patience without failures.
func NewPatience(cfg transfer.Config) *Patience { return &Patience{cfg: cfg} }

// Progress tells that bytes came from the origin: it works.
func (p *Patience) Progress(now time.Duration) {
	p.own, p.others = 0, 0
	p.fed, p.ever = now, true
}

// Served tells that a peer sent a chunk. The chunk is from the origin, which
// therefore works; during a back-off it may be from before the failure.
func (p *Patience) Served(now time.Duration) {
	p.own = 0
	if now >= p.before {
		p.others = 0
		p.fed, p.ever = now, true
	}
}

// Well records that the origin serves another device.
func (p *Patience) Well(now time.Duration) {
	p.others = 0
	p.fed, p.ever = now, true
}

// Failed counts an attempt of this device and returns for how long the whole
// subnet leaves the origin alone.
func (p *Patience) Failed(now time.Duration, why wire.Reason) time.Duration {
	p.own++
	p.last = why
	return p.hold(now)
}

// Heard counts a failure that a peer told.
func (p *Patience) Heard(now, backoff time.Duration, why wire.Reason) {
	p.others++
	p.last = why
	p.before = max(p.before, now+min(backoff, p.cfg.BackoffMax))
}

func (p *Patience) hold(now time.Duration) time.Duration {
	d := p.cfg.Backoff
	for range min(p.own+p.others-1, 16) {
		d *= 2
	}
	d = min(d, p.cfg.BackoffMax)
	if p.Outage(now) {
		d = min(d, 2*p.cfg.Backoff)
	}
	p.before = now + d
	return d
}

// Outage reports whether the origin served a while ago and cannot be reached,
// or sends nothing: the path to it may be interrupted for a while. No device
// gives up then, and the roots try again and again.
func (p *Patience) Outage(now time.Duration) bool {
	switch p.last {
	case wire.ReasonOriginUnreachable, wire.ReasonOriginStalled:
		return p.Failing() && p.ever && now-p.fed <= p.cfg.Outage
	}
	return false
}

// OutageEnds returns when Outage is over if nothing comes, 0 if there is none.
func (p *Patience) OutageEnds(now time.Duration) time.Duration {
	if !p.Outage(now) {
		return 0
	}
	return p.fed + p.cfg.Outage + 1
}

// NotBefore returns when the origin may be tried again.
func (p *Patience) NotBefore() time.Duration { return p.before }

// Spent reports whether this device has tried enough: it never gives up because
// of what peers say alone.
func (p *Patience) Spent(now time.Duration) bool {
	if p.own > 0 && lasting(p.last) {
		return true
	}
	if p.Outage(now) {
		return false
	}
	return p.own >= p.cfg.Attempts || p.own > 0 && p.own+p.others > p.cfg.Attempts
}

// Failing reports whether the origin failed since it last gave a byte.
func (p *Patience) Failing() bool { return p.own+p.others > 0 }

// Doubtful reports whether peers told of so many failures, or of permanent
// ones, that this device should check whether the origin answers.
func (p *Patience) Doubtful(now time.Duration) bool {
	return !p.Outage(now) && p.own == 0 && (p.others >= p.cfg.Attempts || p.others > 0 && lasting(p.last))
}

// lasting reports whether trying again is useless.
func lasting(why wire.Reason) bool {
	return why == wire.ReasonOriginNotFound || why == wire.ReasonOriginForbidden
}

// Tried reports whether an attempt of this device's own has failed.
func (p *Patience) Tried() bool { return p.own > 0 }

// Last returns why the origin failed last.
func (p *Patience) Last() wire.Reason { return p.last }
