package pdp

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/origin"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// use is how a device uses the origin at the moment. A probe only checks
// whether a chunk comes.
type use uint8

// The uses, and in the same order those of a probe.
const (
	unused    use = iota
	asked         // nothing has come back yet
	answering     // the answer is being taken
	sending       // the answer is known, and bytes may come

	probeCut // unused, but a probe ended before a chunk came: what follows is one, too
	probeAsked
	probeAnswering
	probeSending
)

// probing reports whether the use is a probe.
func (u use) probing() bool { return u >= probeCut }

// plain returns the same use, not as a probe.
func (u use) plain() use {
	if u.probing() {
		return u - probeCut
	}
	return u
}

// then returns the use that is given, unused to sending, as a probe if u is one.
func (u use) then(next use) use {
	if u.probing() {
		return next + probeCut
	}
	return next
}

// originSide is the origin as this device uses it: the current download, and
// what its failures mean. rootSide and fallback say whether it may begin.
type originSide struct {
	m *Machine
	*origin.Health
	use   use
	shut  bool          // another file of the load has its turn
	bytes int64         // that came in the download under way, or in the last one
	begun time.Duration // when that was asked for
	line  origin.Line
	skips bool // the server sends bodies from the first chunk on, whatever is asked for
	wrong int  // files or chunks from the origin with the wrong digest
	false int  // sizes that it told and that its bodies did not have
}

func newOriginSide(m *Machine) *originSide {
	return &originSide{m: m, Health: origin.NewHealth(m.cfg.Transfer)}
}

// busy reports whether a download is under way.
func (o *originSide) busy() bool { return o.use.plain() != unused }

// answered reports whether the origin has answered the download under way.
func (o *originSide) answered() bool { return o.use.plain() >= answering }

// gate opens or closes the way to the origin; what is under way goes on. When it
// opens, the peers have had no turn at this file either: the wait for chunks begins.
func (o *originSide) gate(e Gate) {
	if e.Open && o.shut && o.m.phase == running {
		o.m.fallback.start()
	}
	o.shut = !e.Open
}

// received takes how many bytes have come.
func (o *originSide) received(e OriginBytes) {
	o.bytes = e.Bytes
	if o.use.plain() == sending {
		others := 0
		if r := o.m.el.Root(); r != nil && r.Claim.Bytes > 0 && !r.Claim.Complete {
			others++
		}
		if o.m.fallback.budget.Taken(o.m.now) {
			others++
		}
		o.line.Seen(o.m.now, e.Bytes, others)
	}
}

// takes returns how long the download under way takes for so many chunks, at its
// rate so far; 0 if that is not known.
func (o *originSide) takes(chunks int) time.Duration {
	if o.bytes == 0 {
		return 0
	}
	n := float64(chunks) * float64(o.m.held.ChunkSize())
	return time.Duration(float64(o.m.now-o.begun) * n / float64(o.bytes))
}

// renew forgets the bytes of an earlier download.
func (o *originSide) renew() { o.bytes = 0 }

// blocked reports whether a download cannot begin, whatever the time is.
func (o *originSide) blocked() bool { return o.busy() || o.shut || o.m.held.verifying() }

// open asks for the body when the time at has come, the gate is open and chunks
// are missing.
func (o *originSide) open(at time.Duration) {
	m := o.m
	if o.blocked() || m.now < at || m.held.Whole() {
		return
	}
	if m.root.active() && m.cfg.Transfer.RootWait > 0 {
		m.note(report.KindLog, wire.ReasonRootOfFile, netip.AddrPort{}, note.AsksFirst{})
	} else {
		m.note(report.KindLog, wire.ReasonRootOfFile, netip.AddrPort{}, note.Asks{Chunk: m.held.Prefix()})
	}
	o.begin(o.use.then(asked))
}

// probe asks for the body to check whether a chunk comes.
func (o *originSide) probe() { o.begin(probeAsked) }

func (o *originSide) begin(u use) {
	o.use, o.bytes, o.begun = u, 0, o.m.now
	o.m.act(OpenOrigin{From: o.m.held.Prefix()})
}

// probes reports whether a probe is under way.
func (o *originSide) probes() bool { return o.use > probeCut }

// stop ends the download under way.
func (o *originSide) stop() {
	if o.busy() {
		o.use = o.use.then(unused)
		o.m.act(StopOrigin{})
	}
}

// endProbe goes on with a probe as with any download, and reports whether there
// was one.
func (o *originSide) endProbe() bool {
	was := o.use.probing()
	if o.use = o.use.plain(); was {
		o.m.fallback.tell(wire.ReasonNone, true)
	}
	return was
}

// opened takes the origin's answer.
func (o *originSide) opened(e OriginOpened) {
	if !o.busy() {
		return
	}
	body := o.use.plain() == sending
	o.use = o.use.then(answering)
	o.line.Begin()
	o.m.fallback.review.answered()
	same := o.m.file.Keyed || e.Epoch == o.m.held.Epoch()
	if body && same && !o.m.file.Signed && o.m.held.Known() && e.Size != o.m.held.Size() {
		o.corrected(e)
	} else {
		o.answer(e)
	}
	o.skips = e.From == 0 && (o.skips || e.Whole || o.m.held.Prefix() > 0)
	if o.use.plain() == answering {
		o.use = o.use.then(sending)
	}
}

func (o *originSide) answer(e OriginOpened) {
	m := o.m
	wrongSize := m.held.Known() && e.Size >= 0 && e.Size != m.held.Size()
	changed := wrongSize || !m.file.Keyed && e.Epoch != m.held.Epoch() && m.held.Count() > 0
	switch {
	case wrongSize && m.file.Signed:
		o.failed(wire.ReasonOriginWrong)
		return
	case changed:
		m.following.failAll(wire.ReasonWrongEpoch)
		m.held.forget(e.Epoch, e.Size)
		if m.root.active() {
			m.el.claim(true) // the others' bytes are of no use either
		}
		if e.From > 0 {
			o.stop() // what comes is the rest of something else
			o.open(m.now)
			return
		}
	case m.held.Count() == 0:
		m.held.adopt(e.Epoch)
	}
	m.held.setSize(e.Size)
	m.held.Confirm(e.Size)
	m.held.ConfirmEpoch(e.Epoch)
	why := wire.ReasonRootOfFile
	if !m.root.active() {
		why = wire.ReasonPeersFailed
	}
	m.note(report.KindSource, why, netip.AddrPort{}, note.FromOrigin{Chunk: e.From})
}

// mostFalse is how many false sizes a device takes from the origin before each
// counts as a failure: one in the answer that told it, one in a later answer.
const mostFalse = 2

// corrected takes the size that the body under way turned out to have, after the
// origin or a peer had told another; it is unknown if the body goes on after that.
// What was held of a longer file stays where it can.
func (o *originSide) corrected(e OriginOpened) {
	m := o.m
	m.note(report.KindFallback, wire.ReasonOriginTruncated, netip.AddrPort{},
		note.FalseSize{Told: m.held.Size(), Size: e.Size})
	m.following.failAll(wire.ReasonWrongEpoch)
	if e.Size < 0 || e.Size > m.held.Size() {
		m.held.refute()
	}
	if m.held.shrink(e.Size) {
		m.held.Confirm(e.Size)
	} else {
		m.held.forget(e.Epoch, e.Size)
		o.stop() // nothing can be written any more into what it is for
	}
	if m.root.active() {
		m.el.claim(true) // the others' size is as wrong
	}
	if o.false++; o.false > mostFalse {
		o.failed(wire.ReasonOriginTruncated)
	} else if !o.busy() {
		m.root.fetchNow()
		o.open(m.now)
	}
}

// ended takes the end of the body.
func (o *originSide) ended(e OriginEnded) {
	if !o.busy() {
		return
	}
	m := o.m
	short := e.Reason == wire.ReasonOriginTruncated || e.Reason == wire.ReasonOriginWrong
	if short && m.held.Known() && !m.held.Sure() {
		if e.Reason == wire.ReasonOriginWrong {
			m.held.refute()
		}
		o.checkSize()
		return
	}
	if e.Reason != wire.ReasonNone {
		o.failed(e.Reason)
		return
	}
	o.use = o.use.then(unused)
	m.held.setSize(e.Size)
	m.held.Confirm(e.Size)
	m.held.bearOut()
	o.Progress(m.now)
	if m.held.Count() < m.held.Chunks() {
		// The body ended before the file did.
		m.act(StopOrigin{})
		o.failed(wire.ReasonOriginTruncated)
	}
}

// checkSize starts over if the origin's bytes do not fit a size that only a
// peer told: the peer may have been wrong.
func (o *originSide) checkSize() {
	m := o.m
	m.note(report.KindFallback, wire.ReasonOriginTruncated, netip.AddrPort{},
		note.SizeNotServed{Size: m.held.Size()})
	o.stop()
	m.fallback.release()
	m.following.failAll(wire.ReasonWrongEpoch)
	m.held.forget(m.held.Epoch(), load.UnknownSize)
	o.endProbe()
	m.root.fetchNow()
}

// countWrong counts what came from the origin with the wrong digest, and returns
// how often that was.
func (o *originSide) countWrong() int {
	o.wrong++
	return o.wrong
}

// failed counts the failure, and leaves the file to another device or tries
// again later.
func (o *originSide) failed(why wire.Reason) {
	m := o.m
	o.stop()
	if why == wire.ReasonOriginWrong && o.countWrong() >= 2 {
		m.giveUp(why)
		return
	}
	crowded := why == wire.ReasonOriginStalled && m.fallback.crowded()
	backoff := o.Failed(m.now, why, crowded)
	m.note(report.KindFallback, why, netip.AddrPort{}, note.OriginFailed{For: backoff})
	m.fallback.review.drop()
	m.fallback.release()
	o.endProbe()
	if o.Spent(m.now) {
		m.fail(why, backoff)
		return
	}
	if m.root.active() {
		m.el.elect(func(out *election.Output) {
			r := wire.Resign{Reason: why, Backoff: uint32(backoff / time.Millisecond)}
			m.el.StepDown(m.now, r, backoff, out)
		})
	}
}
