package pdp

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/chunks"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// stage is how far a device is with the file.
type stage uint8

const (
	gathering stage = iota // chunks are missing, or are not to be trusted yet
	verifying              // the whole is being read back
	complete               // and is right
)

// held is what this device holds of the file, and how far it is with it.
type held struct {
	m *Machine
	*chunks.Held
	stage stage
	// ends says that the size was borne out: a body from the origin ended there, or a
	// parent says so.
	ends bool
	// waited says that this device waited once for that, and nobody said so.
	waited bool
	// longer is the largest size after which a body of the origin went on. A peer that tells
	// this size or a smaller one is not believed: it may have it from a liar, and others from
	// that peer again.
	longer int64
}

func newHeld(m *Machine) *held {
	return &held{m: m, Held: chunks.New(m.file.Size, m.file.Signed), longer: load.UnknownSize}
}

// complete reports whether the whole file is verified.
func (h *held) complete() bool { return h.stage == complete }

// verifying reports whether the whole file is being read back.
func (h *held) verifying() bool { return h.stage == verifying }

// start takes what the store found.
func (h *held) start(e Start) {
	h.SetEpoch(e.Epoch)
	for i := range e.Prefix {
		h.Add(i, chunks.Kept)
	}
	if e.Complete {
		h.stage, h.ends = complete, true
	}
}

// forget drops everything: the content has changed, or was wrong.
func (h *held) forget(epoch uint64, size int64) {
	m := h.m
	h.renew(epoch)
	h.Clear(epoch, size)
	h.stage, h.ends = gathering, false
	h.reset(epoch)
	m.children.dismissAll(wire.ReasonWrongEpoch)
	m.el.Hold(0, false, m.origin.bytes)
}

// reset drops the content in the store. A download under way belongs to the old
// one, into which nothing can be written any more: it ends, unless its own
// answer is the cause.
func (h *held) reset(epoch uint64) {
	m := h.m
	if m.origin.use.plain() != answering {
		m.fallback.release()
		m.origin.stop()
	}
	m.act(Reset{Epoch: epoch, Size: h.Size()})
}

// adopt takes the content's epoch while nothing is held yet, and tells the
// children, who hold nothing either.
func (h *held) adopt(epoch uint64) {
	if epoch == h.Epoch() {
		return
	}
	m := h.m
	h.renew(epoch)
	h.SetEpoch(epoch)
	if m.file.Keyed {
		return // they mean the same bytes anyway
	}
	m.children.send(&wire.Welcome{From: m.self.Peer, Epoch: epoch, Size: h.Size()})
}

// setSize takes the file's size from a peer or the origin.
func (h *held) setSize(n int64) {
	if h.Known() || n < 0 {
		return
	}
	m := h.m
	if !h.Fits(n) {
		// Some of what is held is after the end: it is from another content.
		m.following.failAll(wire.ReasonWrongEpoch)
		h.forget(h.Epoch(), n)
		return
	}
	h.SetSize(n)
	m.act(SetSize{Size: n})
	if h.certain() {
		m.children.send(&wire.End{Size: n})
	} else {
		m.children.send(&wire.Welcome{From: m.self.Peer, Epoch: h.Epoch(), Size: n}) // End would bear it out
	}
}

// refute remembers that the size that a peer told is false: the origin sent more.
func (h *held) refute() {
	if h.Known() && !h.Sure() {
		h.longer = max(h.longer, h.Size())
	}
}

// refutes reports whether the origin has shown that the file is longer.
func (h *held) refutes(size int64) bool {
	return size <= h.longer || h.OriginAfter(size)
}

// renew forgets what was found of the content, where an epoch means another one.
func (h *held) renew(epoch uint64) {
	if epoch != h.Epoch() && !h.m.file.Keyed {
		h.longer = load.UnknownSize
	}
}

// certain reports whether a signature or a digest says what is right.
func (h *held) certain() bool { return h.m.file.Signed || h.m.file.Keyed }

// shrink takes a size that is less than the one that was believed, keeps the
// chunks before the end, and sends the children away, who believe that size, too.
// It does nothing and reports false if the file is cut into chunks in another way
// then.
func (h *held) shrink(n int64) bool {
	m, was := h.m, h.Size()
	g := load.Geometry{Size: n}
	if m.file.Signed || !h.Known() || n < 0 || n >= was || g.ChunkSize() != h.ChunkSize() {
		return false
	}
	var behind []int
	for i := int(n / int64(g.ChunkSize())); i < h.Chunks(); i++ {
		behind = append(behind, i)
	}
	h.Drop(behind)
	h.SetSize(n)
	h.stage, h.ends = gathering, false
	m.children.dismissAll(wire.ReasonWrongEpoch)
	m.el.Hold(h.Prefix(), false, m.origin.bytes)
	m.act(SetSize{Size: n})
	return true
}

// drop drops chunks, here and in the store.
func (h *held) drop(indices []int) {
	m := h.m
	h.Drop(indices)
	m.el.Hold(h.Prefix(), false, m.origin.bytes)
	m.act(Drop{Indices: indices})
}

// settle starts the reading back once every chunk is held.
func (h *held) settle() {
	if h.open() && h.m.now >= h.openUntil() {
		h.waited = true
	}
	if h.ready() && !h.open() {
		h.stage = verifying
		h.m.act(Verify{})
	}
}

// ready reports whether all is held, and only to be read back.
func (h *held) ready() bool {
	return h.Whole() && h.stage == gathering && !h.m.repair.wantsTable()
}

// open reports whether all is held of a size that was only told, and more is to be
// heard of it. Where neither a signature nor a digest says what is right, a part would
// be taken for the whole. A root that downloads nothing hears no more. Who says
// nothing is waited for once: a liar could do so each time.
func (h *held) open() bool {
	m := h.m
	return h.ready() && !h.certain() && !h.ends && !h.waited && (!m.root.active() || m.origin.busy())
}

// openUntil is when the size is believed although nobody bears it out: no chunk has
// come for the time that a root is given to catch up.
func (h *held) openUntil() time.Duration { return h.m.fallback.gained + h.m.cfg.Transfer.CatchUp }

// bearOut records that the size was borne out, and tells the children.
func (h *held) bearOut() {
	if h.ends || !h.Known() {
		return
	}
	h.ends = true
	if !h.certain() {
		h.m.children.send(&wire.End{Size: h.Size()})
	}
}

// deadline is when an open size is believed; otherwise only chunks that come make
// something due.
func (h *held) deadline() (time.Duration, bool) { return h.openUntil(), h.open() }

// verified takes the result for the whole file.
func (h *held) verified(e Verified) {
	if h.stage != verifying {
		return
	}
	h.stage = gathering
	switch {
	case len(e.Dropped) > 0:
		h.Drop(e.Dropped)
		if !h.m.root.active() {
			h.m.following.failAll(wire.ReasonDisk) // they come again
		}
	case e.OK:
		h.finish()
	default:
		h.m.repair.wholeFileWrong()
	}
}

// finish tells everybody that the file is whole and right.
func (h *held) finish() {
	m := h.m
	h.stage = complete
	h.bearOut()
	m.origin.stop() // it may be sending what this device had, after a chunk that was wrong
	m.repair.end()
	m.el.Hold(h.Prefix(), true, m.origin.bytes)
	m.note(report.KindVerified, wire.ReasonNone, netip.AddrPort{}, note.Verified{Size: h.Size()})
	m.act(Complete{})
	direct := m.fallback.budget.Active()
	m.fallback.withdraw()
	for _, s := range m.following.sides() {
		if _, _, l := s.follower.Parent(); l != 0 {
			m.act(SendFrame{l, &wire.Report{Prefix: h.Prefix(), Complete: true}})
		}
	}
	if !m.IsRoot() {
		m.following.all[0].done()
		m.following.leaveAll(wire.ReasonDone)
		if m.el.Root() == nil {
			m.el.start(wire.ReasonDone)
		} else if direct {
			// The others may have been served no better.
			m.el.elect(func(o *election.Output) { m.el.Needed(m.now, o) })
		}
	}
	m.root.announce()
}
