package chunks

import (
	mathbits "math/bits"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// Source is where a chunk came from.
type Source uint8

// The sources of a chunk.
const (
	Kept   Source = iota // from an earlier run of this device
	Origin               // from the origin, to this device itself
	Peer                 // from another device
)

// bits is a set of chunks.
type bits [load.MaxChunks / 64]uint64

func (b *bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b *bits) add(i int)      { b[i/64] |= 1 << (i % 64) }
func (b *bits) remove(i int)   { b[i/64] &^= 1 << (i % 64) }

// Held is what a device holds of a file. Use New.
type Held struct {
	geo    load.Geometry
	chunks int  // of it, as many as a file may have while its size is unknown
	signed bool // the size is
	sure   bool // the size is signed, or the origin told it
	epoch  uint64
	named  bool // the origin named the epoch

	have   bits
	origin bits // those of them that came from the origin
	count  int
	last   int                  // highest chunk that was held, -1 if none was
	first  [wire.MaxStripes]int // of each stripe, the first chunk that is not held
	prefix int                  // PrefixOf(transfer.All), which is asked for most
}

// New returns an empty Held for a file of size bytes, or of load.UnknownSize. A
// signed size never changes.
func New(size int64, signed bool) *Held {
	h := &Held{signed: signed, sure: signed, last: -1}
	h.rewind()
	h.SetSize(size)
	return h
}

func (h *Held) rewind() {
	for s := range h.first {
		h.first[s] = s
	}
	h.prefix = 0
}

// Add records that a chunk is held, and reports whether that is new.
func (h *Held) Add(i int, from Source) bool {
	if i < 0 || i >= h.chunks || h.have.has(i) {
		return false
	}
	h.have.add(i)
	if from == Origin {
		h.origin.add(i)
	}
	h.count++
	h.last = max(h.last, i)
	s := i % wire.MaxStripes
	for h.first[s] < h.chunks && h.have.has(h.first[s]) {
		h.first[s] += wire.MaxStripes
	}
	h.prefix = h.PrefixOf(transfer.All)
	return true
}

// Replaced records that the origin sent a chunk, which is the one that is held now,
// wherever an earlier one came from.
func (h *Held) Replaced(i int) {
	if i >= 0 && i < h.chunks && h.have.has(i) {
		h.origin.add(i)
	}
}

// Drop removes chunks; those that are not held are ignored.
func (h *Held) Drop(indices []int) {
	for _, i := range indices {
		if i < 0 || i >= h.chunks || !h.have.has(i) {
			continue
		}
		h.have.remove(i)
		h.origin.remove(i)
		h.count--
		h.first[i%wire.MaxStripes] = min(h.first[i%wire.MaxStripes], i)
		h.prefix = min(h.prefix, i)
	}
}

// Clear drops everything: the content is another one, of an epoch and of size
// bytes, or load.UnknownSize.
func (h *Held) Clear(epoch uint64, size int64) {
	h.have, h.origin = bits{}, bits{}
	h.count, h.last = 0, -1
	h.SetEpoch(epoch)
	h.rewind()
	if !h.signed {
		h.SetSize(size)
		h.sure = false
	}
}

// SetEpoch sets the epoch of the content that is held.
func (h *Held) SetEpoch(epoch uint64) {
	h.named = h.named && epoch == h.epoch
	h.epoch = epoch
}

// ConfirmEpoch records that the origin named an epoch; the known one is sure if
// it is the same.
func (h *Held) ConfirmEpoch(epoch uint64) { h.named = epoch == h.epoch }

// EpochSure reports whether the origin itself named the epoch of the content
// that is held.
func (h *Held) EpochSure() bool { return h.named }

// Epoch returns the epoch of the content that is held.
func (h *Held) Epoch() uint64 { return h.epoch }

// SetSize tells the file's size in bytes.
func (h *Held) SetSize(size int64) {
	h.geo.Size = size
	h.chunks = h.geo.Chunks()
	h.prefix = h.PrefixOf(transfer.All)
}

// Fits reports whether no chunk that is held is after the end of a file of size
// bytes.
func (h *Held) Fits(size int64) bool { return h.last < (load.Geometry{Size: size}).Chunks() }

// OriginAfter reports whether a chunk is held that the origin sent and that is after
// the end of a file of size bytes.
func (h *Held) OriginAfter(size int64) bool {
	for i := (load.Geometry{Size: size}).Chunks(); i <= h.last; i++ {
		if h.FromOrigin(i) {
			return true
		}
	}
	return false
}

// Confirm records that the origin said size; the known size is sure if it is
// the same.
func (h *Held) Confirm(size int64) { h.sure = h.sure || h.Known() && size == h.geo.Size }

// Sure reports whether the size is signed or the origin told it.
func (h *Held) Sure() bool { return h.sure }

// Known reports whether the size is known.
func (h *Held) Known() bool { return h.geo.Known() }

// Size returns the file's size in bytes, or load.UnknownSize.
func (h *Held) Size() int64 { return h.geo.Size }

// Chunks returns the number of chunks of the file, load.MaxChunks while its size
// is unknown.
func (h *Held) Chunks() int { return h.chunks }

// ChunkSize returns the bytes of a chunk that is not the last one.
func (h *Held) ChunkSize() int { return h.geo.ChunkSize() }

// Count returns how many chunks are held.
func (h *Held) Count() int { return h.count }

// Whole reports whether all chunks of a file whose size is known are held.
func (h *Held) Whole() bool { return h.geo.Known() && h.count == h.chunks }

// Prefix returns how many chunks are held from the start.
func (h *Held) Prefix() int { return h.prefix }

// Missing appends the chunks that are not held, in order.
func (h *Held) Missing(out []int) []int {
	for i := h.prefix; i < h.chunks; i++ {
		if !h.have.has(i) {
			out = append(out, i)
		}
	}
	return out
}

// PrefixOf returns the first chunk of a set that is not held, or the number of
// all chunks.
func (h *Held) PrefixOf(set transfer.Set) int {
	n := h.chunks
	for s := range uint8(wire.MaxStripes) {
		if set.Has(s) {
			n = min(n, h.first[s])
		}
	}
	return n
}

// Next returns the first chunk of a set that is held, not before i, and not marked.
func (h *Held) Next(set transfer.Set, i int, but transfer.Marks) (next int, ok bool) {
	last, mine := min(h.last, h.chunks-1), wordOf(set)
	for w := i / 64; w*64 <= last; w++ {
		b := h.have[w] & mine &^ but.Word(w)
		if w == i/64 {
			b &= ^uint64(0) << (i % 64)
		}
		if b != 0 {
			next = w*64 + mathbits.TrailingZeros64(b)
			return next, next <= last
		}
	}
	return 0, false
}

// wordOf returns the chunks of a set among 64, of which the first has a number that 64
// divides: of each stripe every second one, in general every wire.MaxStripes-th.
func wordOf(set transfer.Set) (w uint64) {
	for s := range uint8(wire.MaxStripes) {
		if set.Has(s) {
			w |= ^uint64(0) / (1<<wire.MaxStripes - 1) << s
		}
	}
	return w
}

// FromOrigin reports whether a chunk is held that came from the origin.
func (h *Held) FromOrigin(i int) bool { return i >= 0 && i < h.chunks && h.origin.has(i) }

// Foreign returns the chunks that are held and did not come from the origin, in
// order.
func (h *Held) Foreign() (indices []int) {
	for i := range h.chunks {
		if h.have.has(i) && !h.origin.has(i) {
			indices = append(indices, i)
		}
	}
	return indices
}

// Pure reports whether every chunk that is held came from the origin in this run:
// none from a peer, and none was kept from an earlier run.
func (h *Held) Pure() bool { return h.have == h.origin }
