package election

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// maxLate bounds how often a device that is too busy to keep its times puts
// its confirmation off.
const maxLate = 5

// Claim takes a claim that was received.
func (e *Election) Claim(now time.Duration, c Candidate, out *Output) {
	if e.state == Idle || c.Peer == e.self {
		return
	}
	if e.Distrusted(now, c.Addr.Addr()) {
		e.Refuse(now, c, out)
		return
	}
	if r := e.Expected(); r != nil && r.Peer == c.Peer && r.Addr.Addr() != c.Addr.Addr() {
		return // in the root's name, but not from there
	}
	if c.Claim.Rank.Complete && !c.Claim.Complete {
		// It has not what its rank is for, any more or at all.
		c.Claim.Rank.Complete, c.Claim.Rank.Prefix = false, min(c.Claim.Rank.Prefix, c.Claim.Prefix)
	}
	c.Heard = now
	if e.state == Following && c.Peer == e.root.Peer {
		e.heardRoot(now, c, out)
		return
	}
	if e.holding.Complete && !c.Claim.Complete {
		e.holderHears(now, c, out)
		return
	}
	if c.Claim.Complete {
		e.answering = false
	}
	if c.Claim.Rank.CompareHolding(e.holding) >= 0 {
		e.objecting = false
	}
	if c.Claim.Rank.Confirmed {
		e.hearConfirmed(now, c, out)
	} else {
		e.hearTentative(now, c, out)
	}
}

// Refuse takes a claim that does not count. A root answers it all the same: its
// followers may not know what this device does. They wait for longer than for others. So
// does a device that holds the whole file: the claimant may be honest, and need it.
func (e *Election) Refuse(now time.Duration, c Candidate, out *Output) {
	switch {
	case !c.Claim.Rank.Confirmed:
	case e.state == Root:
		e.answerWithin(now, e.cfg.Challenge/4, out)
		e.repeat(now)
	case e.holding.Complete && !c.Claim.Complete:
		e.holderHears(now, c, out)
	}
}

// repeat has this root claim again soon: its followers must hear it after the other root's
// claim, and its answer may have been quicker on its way to them.
func (e *Election) repeat(now time.Duration) { e.wake = min(e.wake, now+e.cfg.Challenge/2) }

// heardRoot refreshes the root that is followed.
func (e *Election) heardRoot(now time.Duration, c Candidate, out *Output) {
	if !c.Claim.Rank.Confirmed {
		// It has started over and holds no more of the file than anybody else.
		e.RootLost(now, wire.ReasonRootLost, out)
		return
	}
	// The rank was frozen at its confirmation; a root cannot raise it later,
	// except by holding the whole file.
	if !c.Claim.Rank.Complete || !c.Claim.Complete {
		c.Claim.Rank = e.root.Claim.Rank
	}
	e.root = c
	e.objecting = false
	if !e.challenge.Peer.IsZero() {
		e.challenge = Candidate{}
		e.awake = false
	}
	if c.Claim.Complete && !e.needed {
		e.answering = false
	}
}

// holderHears is how a device that holds the whole file takes the claim of one
// that does not: it answers, unless another is quicker.
func (e *Election) holderHears(now time.Duration, c Candidate, out *Output) {
	switch {
	case e.state == Root:
		e.answerClaim(now, out)
	case e.state == Resting: // it stepped down for a reason
	case !e.answering:
		e.answering, e.needed, e.answer = true, false, now+e.early(e.cfg.Holder)
		if e.yields {
			e.answer = now + e.cfg.Holder // other holders answer before
		}
	}
}

// Needed tells a device that holds the whole file that another gets it from the
// origin: it answers as it does a claim.
func (e *Election) Needed(now time.Duration, out *Output) {
	e.holderHears(now, Candidate{}, out)
	e.needed = e.answering
}

func (e *Election) hearConfirmed(now time.Duration, c Candidate, out *Output) {
	switch e.state {
	case Root:
		if e.stays(&c) {
			e.answerClaim(now, out)
			e.repeat(now)
			return
		}
		e.follow(c, wire.ReasonOutranked, out)
	case Following:
		if c.Claim.Rank.Outranks(c.Peer, e.root.Claim.Rank, e.root.Peer) && !yields(&c.Claim, &e.root.Claim) {
			e.follow(c, wire.ReasonOutranked, out)
			return
		}
		e.other = c
		if e.challenge.Peer.IsZero() {
			e.challenge = c
			e.wake, e.awake = now+e.cfg.Challenge, true
		}
	case Holding:
		// Another holder is root; this one need not be.
	case Listening, Tentative:
		if c.Claim.Bytes == 0 && c.Claim.Rank.CompareHolding(e.holding) < 0 && c.Claim.Prefix < e.holding.Prefix {
			return // that root gives way to this device's claim, before it begins the file again
		}
		fallthrough
	default:
		e.follow(c, followReason(c.Claim), out)
	}
}

// stays reports whether this root remains root against another confirmed one.
// Of two that held the same when they were confirmed, the one that has received
// clearly more bytes stays, because a change would fetch them again. Of two that
// held different prefixes, the one that is clearly further now stays: a device that
// wakes with a few chunks must not displace a root that has come to hold many.
// Otherwise the frozen ranks decide.
func (e *Election) stays(c *Candidate) bool {
	if c.Claim.Rank.CompareHolding(e.frozen) == 0 {
		if ahead(e.served, c.Claim.Bytes) {
			return true
		}
		if ahead(c.Claim.Bytes, e.served) {
			return false
		}
	} else if comparable(&c.Claim, e.frozen.Complete) {
		if further(e.holding.Prefix, c.Claim.Prefix) {
			return true
		}
		if further(c.Claim.Prefix, e.holding.Prefix) {
			return false
		}
	}
	return e.frozen.Outranks(e.self, c.Claim.Rank, c.Peer)
}

// yields reports whether a root that claims c will give way to the one that
// claims d although its rank is higher; see stays.
func yields(c, d *wire.Claim) bool {
	if c.Rank.CompareHolding(d.Rank) == 0 {
		return ahead(d.Bytes, c.Bytes)
	}
	return comparable(c, d.Rank.Complete) && comparable(d, c.Rank.Complete) && further(d.Prefix, c.Prefix)
}

// comparable reports whether the prefix that a claim tells may be compared with
// that of a root whose rank is complete or not. Where files are passed on whole a
// claim tells less than is held.
func comparable(c *wire.Claim, complete bool) bool {
	return c.Rank.Complete == complete && c.Prefix >= c.Rank.Prefix
}

// further reports whether a root that holds a chunks from the start is clearly
// further than one that holds b. As with ahead, less could be a matter of when it
// was said.
func further(a, b int) bool {
	const clear = 4
	return a > b+b/4+clear
}

// ahead reports whether a root that received a bytes is clearly ahead of one
// that received b. What they know about each other may be one announcement old:
// with a smaller difference they could disagree.
func ahead(a, b int64) bool {
	const clear = 256 << 10
	return a > 0 && (b == 0 || a > 2*b+clear)
}

// followReason says why a device without a root follows a confirmed root.
func followReason(c wire.Claim) wire.Reason {
	if c.Complete {
		return wire.ReasonHolder
	}
	return wire.ReasonConfirmedFirst
}

func (e *Election) hearTentative(now time.Duration, c Candidate, out *Output) {
	mine, _ := e.Rank()
	switch e.state {
	case Root:
		e.answerClaim(now, out)
	case Tentative:
		if c.Claim.Rank.Outranks(c.Peer, mine, e.self) {
			e.deferTo(now, c, out)
		} else if now-e.lastClaim >= e.cfg.Answer/2 {
			e.broadcast(now, out)
		}
	case Listening, Orphan:
		// Any device may be the first to claim, unless this one holds more:
		// strength only decides between claims already made.
		if c.Claim.Rank.CompareHolding(mine) >= 0 {
			e.deferTo(now, c, out)
		}
	case Following:
		// The root answers at once if it lives. If it does not, a device that
		// holds more claims too, before this one is confirmed: the newcomer
		// would begin the file again.
		if !e.objecting && c.Claim.Rank.CompareHolding(e.holding) < 0 {
			e.objecting, e.object = true, now+e.cfg.Answer+e.early(e.cfg.ClaimEvery)
		}
	case Deferring:
		if c.Peer == e.root.Peer || c.Claim.Rank.Outranks(c.Peer, e.root.Claim.Rank, e.root.Peer) {
			e.deferTo(now, c, out)
		}
	}
}

// deferTo gives way to a tentative claimant for as long as it needs to confirm,
// and a random time more; to all claimants together no longer than two announcements take,
// since whoever claims on and on would keep the subnet without a root.
func (e *Election) deferTo(now time.Duration, c Candidate, out *Output) {
	if e.state == Deferring {
		c.Heard = e.root.Heard
	}
	e.root = c
	e.enter(Deferring, wire.ReasonStrongest, out)
	confirmed := now + time.Duration(e.cfg.Claims+1)*e.cfg.ClaimEvery + e.early(e.cfg.Listen)
	e.wake = min(confirmed, c.Heard+2*e.cfg.Announce)
	e.awake = true
}

// unconfirmed counts a claimant that this device gave way to and that did not
// become root, and reports whether that happened so often that it is no accident:
// who claims and claims, and never confirms, would keep the subnet without a root.
func (e *Election) unconfirmed(a netip.Addr) bool {
	const most = 3
	return count(e.claims, a) >= most-1
}

// Try follows another confirmed root for once, though its rank is lower: the present
// one has not served. That is not heard for a while.
func (e *Election) Try(now time.Duration, c Candidate, out *Output) {
	if e.state != Following || e.Distrusted(now, c.Addr.Addr()) {
		return
	}
	e.ignore(now, e.root.Addr.Addr(), e.cfg.Ignore)
	c.Heard = now
	e.follow(c, wire.ReasonRootSilent, out)
}

func (e *Election) follow(c Candidate, why wire.Reason, out *Output) {
	clear(e.claims)
	e.enter(Following, why, out)
	e.root = c
	e.awake = false
}

// Resign takes a root's resignation. Needed says whether this device needs a
// root now.
func (e *Election) Resign(now time.Duration, p wire.Peer, r *wire.Resign, needed bool, out *Output) {
	if (e.state != Following && e.state != Deferring) || e.root.Peer != p {
		return
	}
	a := e.root.Addr.Addr()
	e.ignore(now, a, e.cfg.HeadStart) // an older claim may still be in flight
	if _, known := e.resigned[a]; known || len(e.resigned) < mostAddresses {
		e.resigned[a] = now
	}
	switch {
	case e.holding.Complete:
		e.Start(now, wire.ReasonRootResigned, out)
	case r.Successor == e.self:
		e.listen(now, 0, wire.ReasonHandover, out)
		e.Tick(now, out)
	case !r.Successor.IsZero():
		e.listen(now, e.cfg.Listen, wire.ReasonRootResigned, out)
		e.wake += e.cfg.HeadStart
	case !needed:
		e.enter(Orphan, wire.ReasonRootResigned, out)
		e.awake = false
	default:
		e.listen(now, e.cfg.Listen, wire.ReasonRootResigned, out)
	}
}

// Returns reports whether a claim is of a root that has stepped down just now, and is no
// older than that. Whoever does so would take each other root's place, and step down again.
func (e *Election) Returns(now time.Duration, c Candidate) bool {
	const rests = time.Second // at least, whatever the reason
	a := c.Addr.Addr()
	at, ok := e.resigned[a]
	return ok && now-at < rests && c.Claim.Rank.Confirmed && !e.Distrusted(now, a)
}

// Tick does what is due.
func (e *Election) Tick(now time.Duration, out *Output) {
	if e.answering && e.answer <= now {
		e.confirm(now, wire.ReasonHolder, out)
		return
	}
	if e.objecting && e.object <= now {
		e.listen(now, 0, wire.ReasonLongestPrefix, out)
	}
	if !e.awake || e.wake > now {
		return
	}
	switch e.state {
	case Listening:
		e.enter(Tentative, wire.ReasonNone, out)
		e.sent, e.late = 0, 0
		e.reason = wire.ReasonNone
		e.claimAgain(now, out)
	case Tentative:
		if e.sent < e.cfg.Claims {
			e.claimAgain(now, out)
			return
		}
		if now-e.wake >= e.cfg.ClaimEvery && e.late < maxLate {
			// This device was delayed, and others may have been too: it would
			// not have heard an answer. It claims and listens once more.
			e.late++
			e.claimAgain(now, out)
			return
		}
		e.confirm(now, wire.ReasonAlone, out)
	case Deferring, Resting:
		if e.holding.Complete {
			e.Start(now, wire.ReasonDone, out)
			return
		}
		if a := e.root.Addr.Addr(); e.state == Deferring && e.unconfirmed(a) {
			e.Distrust(now, a, wire.ReasonRootSilent, out)
			return
		}
		e.listen(now, e.cfg.Listen, wire.ReasonRootSilent, out)
	case Root:
		e.broadcast(now, out)
		e.wake = now + e.cfg.Announce
	case Following:
		c := e.challenge
		if c.Peer.IsZero() {
			e.awake = false
			return
		}
		// The second time for four times as long, and from the third on for eight times: one that
		// is silent by turns would take the place of each other root as often. More would divide
		// the followers of an honest one that was not heard.
		a := e.root.Addr.Addr()
		e.ignore(now, a, e.cfg.Ignore<<min(2*count(e.silent, a), 3))
		e.follow(c, wire.ReasonRootSilent, out)
	default:
		e.awake = false
	}
}

// Serve makes a holder root again that is silent or follows another: it is asked
// for a place.
func (e *Election) Serve(now time.Duration, out *Output) {
	if e.state == Holding || e.state == Following && e.holding.Complete {
		e.confirm(now, wire.ReasonHolder, out)
	}
}

func (e *Election) claimAgain(now time.Duration, out *Output) {
	e.broadcast(now, out)
	e.sent++
	e.wake, e.awake = now+e.cfg.ClaimEvery, true
}

// confirm makes the device root: the rank is frozen, the strength bumped.
func (e *Election) confirm(now time.Duration, why wire.Reason, out *Output) {
	if e.strength == 0 {
		e.strength = e.rnd.Uint32() >> 1
	}
	r := e.holding
	r.Strength = e.strength
	e.frozen = r.Confirm()
	e.reason = why
	e.enter(Root, why, out)
	e.broadcast(now, out)
	e.wake, e.awake = now+e.cfg.Announce, true
}

func (e *Election) broadcast(now time.Duration, out *Output) {
	out.Broadcast = true
	e.lastClaim, e.claimed = now, true
}

// answerClaim lets a weaker claimant hear the root, but not more often than
// cfg.Answer: a storm of claims gets no storm of answers.
func (e *Election) answerClaim(now time.Duration, out *Output) {
	e.answerWithin(now, e.cfg.Answer, out)
}

// answerWithin answers a claim now, or when so long has passed since this device
// claimed last.
func (e *Election) answerWithin(now, least time.Duration, out *Output) {
	if e.claimed && now-e.lastClaim < least {
		// The claim just sent answers this one too, unless it came before the
		// claimant listened: then the next announcement is brought forward.
		if soon := e.lastClaim + least; e.wake > soon {
			e.wake, e.awake = soon, true
		}
		return
	}
	out.Answer = true
	e.broadcast(now, out)
}
