package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// suspicion says whether what is held may be wrong, when no signed table says
// which chunks.
type suspicion uint8

const (
	trusting suspicion = iota
	suspect            // the whole file was wrong, and the root should send its table
	mended             // its table showed the wrong chunks, which will come again
)

// accused are the roots that may have sent wrong bytes.
type accused struct {
	source netip.AddrPort // the root when the suspicion began, also if it has stepped down since
	asked  netip.AddrPort // the root that was asked for its table last
}

// repair finds out which chunks are wrong if the whole file is, and repairs
// them.
type repair struct {
	m         *Machine
	suspicion suspicion
	since     time.Duration // when the suspicion began
	until     time.Duration // how long a suspicion lasts at most if no chunk comes
	accused   accused       // none without a suspicion
	asked     time.Duration // when a root was asked for its table first
	resigned  bool          // a root has stepped down since the suspicion began
	told      bool          // a root said that the origin is wrong
	restarts  int           // how often a root that had sent the file has started over
	fooled    int           // how often peers sent wrong bytes, and nobody told which
	doubts    bool          // they did so again and again: what they send is no service any more
	altered   []int         // the chunks that the last table showed as wrong
}

func newRepair(m *Machine) *repair { return &repair{m: m} }

// suspects reports whether what is held may be wrong.
func (d *repair) suspects() bool { return d.suspicion != trusting }

// wantsTable reports whether the root's table is waited for.
func (d *repair) wantsTable() bool { return d.suspicion == suspect }

// mends reports whether the chunks that the root's table showed as wrong come again.
func (d *repair) mends() bool { return d.suspicion == mended }

// end ends the suspicion: the suspect chunks have been dropped.
func (d *repair) end() {
	d.suspicion, d.accused, d.resigned = trusting, accused{}, false
}

// wholeFileWrong: every chunk is there and the digest of the whole file is
// wrong. With a signed table only a wrong table can cause this; without one a
// peer altered a chunk, or the origin is wrong.
//
// Bytes of the origin alone are dropped and fetched once more. No bytes at all are
// not the origin's, if a peer told that there are none. Bytes that came
// through peers are kept, and the root, which has the file from the origin, is
// asked for its chunk table: what differs was altered on its way and is fetched
// again from the root itself.
func (d *repair) wholeFileWrong() {
	m := d.m
	m.note(report.KindFallback, wire.ReasonDigestMismatch, netip.AddrPort{}, note.WrongFile{})
	if m.held.Pure() && !m.held.Sure() {
		d.nothingOfOrigin()
		return
	}
	if m.held.Pure() || m.file.Signed {
		d.originWrong(m.held.Pure())
		return
	}
	mostly := !d.told && 4*len(m.held.Foreign()) <= m.held.Count() // from the origin
	if d.mends() && d.fetchAltered() {
		return
	}
	if m.root.active() || d.suspects() || mostly {
		// A root has nobody to ask, and a device that has asked already got a
		// wrong answer, or none. Where most came from the origin, the rest from there
		// costs less than an answer of a root that may lie.
		accused := d.accused
		d.keepFromOrigin()
		m.root.fetchNow()
		if !m.root.active() {
			d.blame(accused)
		}
		return
	}
	d.suspicion = suspect
	if r := m.el.Root(); r != nil {
		d.accused.source = r.Addr
	}
	d.since, d.until = m.now, m.now+m.cfg.Tree.Forget
	m.following.failAll(wire.ReasonDigestMismatch)
}

// originWrong fetches once more what the origin sent wrong, or gives it up.
func (d *repair) originWrong(alone bool) {
	m := d.m
	d.startOver()
	if n := m.origin.countWrong(); n >= 2 || alone && (d.told || m.file.Signed) {
		m.giveUp(wire.ReasonOriginWrong)
	} else if m.root.active() {
		m.root.fetchNow()
		m.el.claim(true) // the others' bytes are wrong too
	}
}

// rootResigned notes that a root found the origin wrong: a device that finds it
// wrong itself then need not fetch the file again to be sure.
func (d *repair) rootResigned(why wire.Reason) {
	d.resigned = d.suspects()
	d.told = d.told || why == wire.ReasonOriginWrong
}

// nothingOfOrigin starts over where not even the size of what is wrong came from
// the origin, and distrusts the root if it claims that size.
func (d *repair) nothingOfOrigin() {
	m := d.m
	r, told := m.el.Root(), m.held.Size()
	d.startOver()
	if m.root.active() {
		m.root.fetchNow()
	} else if r != nil && r.Claim.Size == told {
		m.following.distrustRoot(wire.ReasonDigestMismatch)
	}
}

// startOver drops what is held of the content.
func (d *repair) startOver() {
	m := d.m
	size := m.held.Size()
	if !m.file.Signed {
		size = load.UnknownSize
	}
	d.end()
	d.altered = nil
	m.following.failAll(wire.ReasonDigestMismatch) // they have sent it all
	m.following.forgive()
	m.held.forget(m.held.Epoch(), size)
}

// askTable asks a new parent for its table if it is the root, as the ask for a
// place wanted it. A root that has the whole file answers as soon as it has read it,
// and one that has not says so. Each time that this device was fooled it waits half as long.
func (d *repair) askTable(s *side, l Link) {
	m := d.m
	if !d.wantsTable() || !s.fromRoot() {
		return
	}
	m.act(SendFrame{l, &wire.TableAsk{}})
	_, a, _ := s.follower.Parent()
	if a == d.accused.asked {
		return // it was given its time; one that closes the link gets no more
	}
	d.accused.asked, d.asked = a, m.now
	d.until = min(d.since+m.cfg.Tree.Forget, m.now+m.cfg.Transfer.CatchUp>>d.fooled+d.reads())
}

// turnTo follows another root that has the whole file, and asks that for its table, if the
// present one has sent none in the time that it takes to read it, and as long as a root is
// given for an answer. A liar may have led a few devices away from the root that is right.
func (d *repair) turnTo(c election.Candidate) {
	m, f, r, a := d.m, d.m.fallback, d.m.el.Root(), c.Addr.Addr()
	if !d.wantsTable() || r == nil || r.Addr != d.accused.asked || r.Addr.Addr() == a || f.tries.made[a] ||
		!c.Claim.Complete || !c.Claim.Rank.Confirmed || m.now-d.asked < d.reads()+m.cfg.Tree.AskAgain {
		return
	}
	f.noteTry(a)
	m.el.elect(func(o *election.Output) { m.el.Try(m.now, c, o) })
}

// reads is how long a root takes to read the file at most.
func (d *repair) reads() time.Duration {
	return time.Duration(d.m.held.Size()/slowestMedium) * time.Millisecond
}

// slowestMedium is how many bytes a root reads in a millisecond at least.
const slowestMedium = 10 << 10

// settle gives up waiting for the table after a while, or when the root has stepped
// down without sending it, or found that its own file is wrong: then all start over.
func (d *repair) settle() {
	m := d.m
	if !d.suspects() || m.held.complete() {
		return
	}
	r, accused := m.el.Root(), d.accused
	over := r != nil && !r.Claim.Complete && r.Claim.Prefix < m.held.Chunks() && r.Heard > d.since
	switch at, _ := d.deadline(); {
	case m.root.active() || over:
		excused := d.mayRestart()
		d.keepFromOrigin()
		m.root.fetchNow()
		if accused.source.IsValid() && !excused {
			m.following.distrust(accused.source, wire.ReasonDigestMismatch)
		}
	case m.now >= at:
		if d.told {
			d.startOver() // what the origin sent may be what is wrong
		} else {
			d.keepFromOrigin()
		}
		d.blame(accused)
	}
}

// mayRestart reports whether a root that sent the file may start over in place of sending
// its table, as one does that has found its own file wrong: the first time, and once more
// where a root said that the origin is wrong. One that steps down may not.
func (d *repair) mayRestart() bool {
	if d.resigned {
		return false
	}
	d.restarts++
	return d.restarts == 1 || d.told && d.restarts == 2
}

// fetchAltered drops the chunks that the root sent anew, where they are few, and reports
// whether it does: the table may be right, and the root one that sends wrong bytes. Then the
// rest is right, too, and these come from the origin or another root.
func (d *repair) fetchAltered() bool {
	m := d.m
	if d.told || d.doubts || m.root.active() || 4*len(d.altered) > m.held.Count() {
		return false
	}
	accused := d.accused
	d.end()
	m.held.drop(d.altered)
	m.following.failAll(wire.ReasonDigestMismatch)
	d.blame(accused)
	return true
}

// blame distrusts the root that was asked for its table, and sent none or a wrong one, and
// the one that sent the file, also if it has stepped down since: whoever sends wrong bytes
// and resigns would be followed again, and displace the root that downloads them. If there
// is neither it is the present one.
func (d *repair) blame(a accused) {
	if !a.asked.IsValid() && !a.source.IsValid() {
		d.m.following.distrustRoot(wire.ReasonDigestMismatch)
	}
	if a.asked.IsValid() {
		d.m.following.distrust(a.asked, wire.ReasonDigestMismatch)
	}
	if a.source.IsValid() && a.source != a.asked {
		d.m.following.distrust(a.source, wire.ReasonDigestMismatch)
	}
	d.doubt()
}

// doubt sends this device to the origin. The third time no chunk of a peer keeps it from
// there any more: whoever sends wrong bytes again and again, by turns at several
// addresses, would otherwise hold it for good.
func (d *repair) doubt() {
	d.m.fallback.budget.Entitle(d.m.now)
	if d.fooled++; d.fooled >= mostFooled {
		d.doubts = true
		d.m.fallback.prefer()
	}
}

// mostFooled is how often a device is sent wrong bytes before it doubts all that peers send:
// what one liar sent may come from honest ones once more.
const mostFooled = 3

// alone reports whether this device takes nothing of peers: it downloads what they
// sent wrong.
func (d *repair) alone() bool { return d.doubts && d.m.fallback.budget.Active() }

// clear drops what peers sent before a download that is to do without them: at first, of the
// chunks that a table showed as wrong, if they are few.
func (d *repair) clear() {
	if !d.doubts {
		return
	}
	h := d.m.held
	foreign := h.Foreign()
	again := slices.DeleteFunc(foreign, func(i int) bool { return !slices.Contains(d.altered, i) })
	switch {
	case d.altered != nil && 4*len(again) <= h.Count():
		if len(again) > 0 {
			h.drop(again)
		}
	case len(h.Foreign()) > 0:
		d.keepFromOrigin()
	}
	d.altered = nil
	d.m.following.failAll(wire.ReasonDigestMismatch)
}

// deadline returns when to stop waiting for the table, or for the chunks that
// it showed as altered.
func (d *repair) deadline() (at time.Duration, ok bool) {
	at = d.until
	if d.suspicion == mended {
		at = max(at, d.m.fallback.gained+d.m.cfg.Tree.Forget)
	}
	return at, d.suspects() && !d.m.held.complete()
}

// compared takes the result of the comparison with the root's table: which
// chunks differ.
func (d *repair) compared(e Compared) {
	m := d.m
	s := m.following.of(e.Link)
	if !d.wantsTable() || s == nil {
		return
	}
	_, addr, _ := s.follower.Parent()
	switch {
	case slices.ContainsFunc(e.Differ, m.held.FromOrigin):
		m.note(report.KindFallback, wire.ReasonDigestMismatch, addr,
			note.RootDiffers{Root: addr.Addr()})
	case len(e.Differ) == 0:
		m.note(report.KindFallback, wire.ReasonDigestMismatch, addr,
			note.RootAgrees{Root: addr.Addr()})
	default:
		d.mend(addr, e.Differ)
		return
	}
	d.keepFromOrigin()
	m.following.distrust(addr, wire.ReasonDigestMismatch)
	d.fooled++
}

// keepFromOrigin drops what peers sent and keeps what this device got from the
// origin: if that were wrong, so would be everybody else's. A device that got
// nothing from there starts over, the size included.
func (d *repair) keepFromOrigin() {
	m := d.m
	foreign := m.held.Foreign()
	if m.held.Count() == len(foreign) || len(foreign) == 0 {
		d.startOver()
		return
	}
	d.end()
	d.altered = nil
	m.held.drop(foreign)
	m.following.failAll(wire.ReasonDigestMismatch)
}

// mend drops the chunks that differ from the root's, and has them sent again.
func (d *repair) mend(addr netip.AddrPort, differ []int) {
	m := d.m
	m.note(report.KindFallback, wire.ReasonBadChunk, addr,
		note.Altered{Count: len(differ), First: differ[0]})
	d.suspicion, d.altered = mended, differ
	d.until = m.now + m.cfg.Tree.Forget
	m.held.drop(differ)
	m.following.failAll(wire.ReasonDigestMismatch) // and back to it, from the first of them on
}
