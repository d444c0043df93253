package sim

import (
	"encoding/binary"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// store is a device's disk for one file.
type store struct {
	geo    load.Geometry
	has    []bool
	tokens []token
	n      int
	epoch  uint64
	rotten map[int]bool // chunks that the medium lost once
}

func (st *store) clear() { *st = store{geo: load.Geometry{Size: load.UnknownSize}, rotten: st.rotten} }

func (st *store) put(i int, v token) {
	for len(st.has) <= i {
		st.has = append(st.has, false)
		st.tokens = append(st.tokens, 0)
	}
	if !st.has[i] {
		st.has[i] = true
		st.n++
	}
	st.tokens[i] = v
}

func (st *store) drop(i int) {
	if i < len(st.has) && st.has[i] {
		st.has[i] = false
		st.n--
	}
}

func (st *store) holds(i int) bool { return i < len(st.has) && st.has[i] }

func (st *store) prefix() int {
	n := 0
	for n < len(st.has) && st.has[n] {
		n++
	}
	return n
}

// whole reports whether every chunk is there and the right one.
func (st *store) whole(f *File, right token) bool {
	if st.geo.Size != f.Size || st.n != f.Chunks() {
		return false
	}
	for i := range f.Chunks() {
		if st.tokens[i] != right {
			return false
		}
	}
	return true
}

func (d *Device) disk(n int) time.Duration {
	t := time.Duration(float64(d.sub.cfg.Disk) * float64(n) / load.MinChunkSize)
	if d.Slow > 1 {
		t = time.Duration(float64(t) * d.Slow)
	}
	return t
}

// openContent opens what an earlier run left, or starts anew; it reports
// whether the disk works.
func (t *Task) openContent() bool {
	t.full = false
	if t.store.n > 0 {
		return true
	}
	t.store.clear()
	if !t.file.Unsized {
		t.store.geo = t.file.geo
	}
	if t.dev.Full {
		t.full, t.failed, t.ended = true, wire.ReasonDisk, true
	}
	return !t.full
}

// ranFull reports whether a write failed since the start.
func (d *Device) ranFull() bool {
	for _, t := range d.order {
		if t.full {
			return true
		}
	}
	return false
}

// tellRest reports chunks after a gap: they will not be stored again.
func (t *Task) tellRest(prefix int) {
	if t.complete || !t.store.geo.Known() {
		return
	}
	for i := prefix; i < t.store.geo.Chunks(); i++ {
		if t.store.holds(i) {
			t.step(pdp.Stored{Index: i})
		}
	}
}

func (t *Task) setSize(n int64) {
	g, now := t.store.geo, load.Geometry{Size: n}
	if g.Known() && g.Size != n && (t.file.Signed || n > g.Size || now.ChunkSize() != g.ChunkSize()) {
		t.dev.sub.s.violate("%s: the size is %d and shall be %d", t.dev, g.Size, n)
		return
	}
	for i := int(n / int64(now.ChunkSize())); g.Known() && n < g.Size && i < g.Chunks(); i++ {
		t.store.drop(i)
	}
	t.store.geo.Size = n
	if t.dev.Full {
		t.diskFailed()
	}
}

// reset drops the content and begins another one. Writes to the old one have no
// effect.
func (t *Task) reset(a pdp.Reset) {
	t.gen++
	t.store.clear()
	t.store.epoch, t.store.geo.Size = a.Epoch, a.Size
	if t.file.Signed {
		t.store.geo = t.file.geo
	}
	if t.dev.Full {
		t.diskFailed()
	}
}

// diskFailed tells the actor that a write failed: not at once, since actions
// may still be carried out.
func (t *Task) diskFailed() {
	actor := t.actor
	t.full = true
	t.dev.sub.s.After(0, func() {
		t.dev.wakes(input, func() {
			if t.actor == actor {
				t.step(pdp.DiskFailed{})
			}
		})
	})
}

// chunk takes a chunk of size bytes from a link or, as link 0, from the server.
// It is checked and on disk by now, if it is right and the disk takes it.
func (t *Task) chunk(l pdp.Link, i, size int, v token) (ok bool) {
	if t.First < 0 {
		t.First = t.dev.sub.s.now
	}
	if !t.fits(i, size) || t.file.Signed && v != t.rightToken() {
		if l != 0 { // for the server, the end of the download says it
			t.step(pdp.Bad{Link: l, Index: i})
		}
		return false
	}
	if !t.store.holds(i) {
		if t.dev.Full {
			t.diskFailed()
			return false
		}
		t.store.put(i, v)
		if l == 0 {
			t.FromOrigin++
		} else {
			t.FromPeers++
		}
	} else if l == 0 {
		t.store.put(i, v) // what a peer sent may be wrong
	}
	t.step(pdp.Stored{Link: l, Index: i})
	return true
}

// fits reports whether a chunk has the index and the length that the file's
// size as it is known gives it.
func (t *Task) fits(i, size int) bool {
	if i < 0 || i >= t.store.geo.Chunks() {
		return false
	}
	_, want := t.store.geo.Span(i)
	return size == want
}

// rightToken is what the signed table, or the digest that the user gave, says.
func (t *Task) rightToken() token { return token(t.dev.sub.Server.right) }

// verify reads the whole file back: only the last window is left to read.
func (t *Task) verify() {
	s, actor := t.dev.sub.s, t.actor
	s.After(2*t.dev.disk(load.MinChunkSize), func() {
		t.dev.wakes(input, func() {
			if t.actor != actor {
				return
			}
			if lost := t.rot(); len(lost) > 0 {
				t.step(pdp.Verified{Dropped: lost})
				return
			}
			t.step(pdp.Verified{OK: t.store.whole(t.file, t.rightToken())})
		})
	})
}

// rot drops the chunks that the medium did not keep, each once.
func (t *Task) rot() (lost []int) {
	for i := range t.store.geo.Chunks() {
		if t.dev.Rots == nil || !t.dev.Rots(i) || t.store.rotten[i] || !t.store.holds(i) {
			continue
		}
		if t.store.rotten == nil {
			t.store.rotten = map[int]bool{}
		}
		t.store.rotten[i] = true
		t.store.drop(i)
		lost = append(lost, i)
	}
	return lost
}

// sendTable sends the digests of what is held: its tokens.
func (t *Task) sendTable(l pdp.Link) {
	total := t.store.geo.Chunks()
	for first := 0; first < total; first += wire.MaxTablePart {
		p := &wire.TablePart{First: first, Total: total}
		for i := first; i < min(total, first+wire.MaxTablePart); i++ {
			var d load.Digest
			binary.BigEndian.PutUint64(d[:], uint64(t.store.tokens[i]))
			p.Digests = append(p.Digests, d)
		}
		t.sendFrame(pdp.SendFrame{Link: l, Frame: p})
	}
}

// tablePart compares a part of another's table with what is held; the last part
// gives the result. Chunks that the other's table lacks count as different.
func (t *Task) tablePart(l pdp.Link, p *wire.TablePart) {
	if p.First == 0 {
		t.differ = nil
	}
	for k, d := range p.Digests {
		if i := p.First + k; t.store.holds(i) && token(binary.BigEndian.Uint64(d[:])) != t.store.tokens[i] {
			t.differ = append(t.differ, i)
		}
	}
	if p.First+len(p.Digests) < p.Total {
		return
	}
	for i := p.Total; i < t.store.geo.Chunks(); i++ {
		t.differ = append(t.differ, i)
	}
	t.step(pdp.Compared{Link: l, Differ: t.differ})
}
