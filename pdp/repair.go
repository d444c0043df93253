package pdp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/load"
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

// repair finds out which chunks are wrong if the whole file is, and repairs
// them.
type repair struct {
	m         *Machine
	suspicion suspicion
	until     time.Duration // how long a suspicion lasts at most if no chunk comes
	told      bool          // a root said that the origin is wrong
	again     bool          // a root has started over before
}

func newRepair(m *Machine) *repair { return &repair{m: m} }

// suspects reports whether what is held may be wrong.
func (d *repair) suspects() bool { return d.suspicion != trusting }

// wantsTable reports whether the root's table is waited for.
func (d *repair) wantsTable() bool { return d.suspicion == suspect }

// end ends the suspicion: the suspect chunks have been dropped.
func (d *repair) end() { d.suspicion = trusting }

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
	if m.root.active() || d.suspects() || !d.told && 4*len(m.held.Foreign()) <= m.held.Count() {
		// A root has nobody to ask, and a device that has asked already got a
		// wrong answer. Where most came from the origin, the rest from there costs
		// less than an answer of a root that may lie.
		d.keepFromOrigin()
		m.root.fetchNow()
		if !m.root.active() {
			m.following.distrustRoot(wire.ReasonDigestMismatch)
			m.fallback.budget.Entitle(m.now)
		}
		return
	}
	d.suspicion = suspect
	d.until = m.now + m.cfg.Tree.Forget
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
func (d *repair) rootResigned(why wire.Reason) { d.told = d.told || why == wire.ReasonOriginWrong }

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
	m.following.failAll(wire.ReasonDigestMismatch) // they have sent it all
	m.following.forgive()
	m.held.forget(m.held.Epoch(), size)
}

// askTable asks a new parent for its table if it is the root, as the ask for a
// place wanted it.
func (d *repair) askTable(s *side, l Link) {
	if d.wantsTable() && s.fromRoot() {
		d.m.act(SendFrame{l, &wire.TableAsk{}})
	}
}

// settle gives up waiting for the table after a while, or when the root has
// found that its own file is wrong: then all start over.
func (d *repair) settle() {
	m := d.m
	if !d.suspects() || m.held.complete() {
		return
	}
	r := m.el.Root()
	over := r != nil && !r.Claim.Complete && r.Claim.Prefix < m.held.Chunks() && r.Heard > d.until-m.cfg.Tree.Forget
	switch at, _ := d.deadline(); {
	case m.root.active():
		d.keepFromOrigin()
		m.root.fetchNow()
	case over:
		d.startOver()
		if d.again && !d.told {
			m.following.distrustRoot(wire.ReasonDigestMismatch)
		}
		d.again = true
	case m.now >= at && d.told:
		d.startOver() // what the origin sent may be what is wrong
		m.fallback.budget.Entitle(m.now)
	case m.now >= at:
		d.keepFromOrigin()
		m.following.distrustRoot(wire.ReasonDigestMismatch)
		m.fallback.budget.Entitle(m.now)
	}
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
}

// keepFromOrigin drops what peers sent and keeps what this device got from the
// origin: if that were wrong, so would be everybody else's. A device that got
// nothing from there, or its size from a peer, starts over, the size included.
func (d *repair) keepFromOrigin() {
	m := d.m
	foreign := m.held.Foreign()
	if !m.held.Sure() || m.held.Count() == len(foreign) || len(foreign) == 0 {
		d.startOver()
		return
	}
	d.end()
	m.held.drop(foreign)
	m.following.failAll(wire.ReasonDigestMismatch)
}

// mend drops the chunks that differ from the root's, and has them sent again.
func (d *repair) mend(addr netip.AddrPort, differ []int) {
	m := d.m
	m.note(report.KindFallback, wire.ReasonBadChunk, addr,
		note.Altered{Count: len(differ), First: differ[0]})
	d.suspicion = mended
	d.until = m.now + m.cfg.Tree.Forget
	m.held.drop(differ)
	m.following.failAll(wire.ReasonDigestMismatch) // and back to it, from the first of them on
}
