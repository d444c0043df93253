package chunks

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/transfer"
)

// TestHeld compares the counters with what follows from a plain list of chunks.
func TestHeld(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	const n = 37
	h := New(n*load.MinChunkSize, true)
	from := map[int]Source{}
	for step := range 20_000 {
		i := rnd.IntN(n+2) - 1 // now and then one that the file does not have
		_, had := from[i]
		if rnd.IntN(3) > 0 {
			s := Source(rnd.IntN(3))
			inside := i >= 0 && i < n
			if h.Add(i, s) != (inside && !had) {
				t.Fatalf("step %d: chunk %d is taken for new, or not, wrongly", step, i)
			}
			if inside && !had {
				from[i] = s
			}
		} else {
			h.Drop([]int{i})
			delete(from, i)
		}
		missing := func(first, by int) int {
			for i := first; i < n; i += by {
				if _, ok := from[i]; !ok {
					return i
				}
			}
			return n
		}
		var foreign, lacking []int
		for i := range n {
			if s, ok := from[i]; ok && s != Origin {
				foreign = append(foreign, i)
			} else if !ok {
				lacking = append(lacking, i)
			}
			if s, ok := from[i]; h.FromOrigin(i) != (ok && s == Origin) {
				t.Fatalf("step %d: chunk %d from the origin: %v", step, i, h.FromOrigin(i))
			}
		}
		set, i := transfer.Set(1+rnd.IntN(3)), rnd.IntN(n)
		but := transfer.Marks{rnd.Uint64() & rnd.Uint64()}
		next, ok := h.Next(set, i, but)
		for ; i < n; i++ {
			if _, held := from[i]; held && set.Has(uint8(i%2)) && but.Word(i/64)&(1<<(i%64)) == 0 {
				break
			}
		}
		if ok != (i < n) || ok && next != i {
			t.Fatalf("step %d: the next chunk of set %d is %d, %v, not %d", step, set, next, ok, i)
		}
		if h.Count() != len(from) || h.Whole() != (len(from) == n) || h.Prefix() != missing(0, 1) ||
			h.PrefixOf(1) != missing(0, 2) || h.PrefixOf(2) != missing(1, 2) || !slices.Equal(h.Foreign(), foreign) ||
			!slices.Equal(h.Missing(nil), lacking) {
			t.Fatalf("step %d: %d chunks, prefix %d (even %d, odd %d), foreign %v; held is %v",
				step, h.Count(), h.Prefix(), h.PrefixOf(1), h.PrefixOf(2), h.Foreign(), from)
		}
	}
}

// TestClear: another content leaves nothing of the one before, but a signed size.
func TestClear(t *testing.T) {
	// The prefix is right before and after a size is told.
	h := New(load.UnknownSize, false)
	if h.SetSize(3 * load.MinChunkSize); h.Prefix() != 0 {
		t.Errorf("prefix %d of an empty file", h.Prefix())
	}
	h.Add(0, Peer)
	h.Add(1, Peer)
	if h.SetSize(load.MinChunkSize); h.Prefix() != 1 {
		t.Errorf("prefix %d of a file of one chunk", h.Prefix())
	}
	for _, signed := range []bool{true, false} {
		h := New(2*load.MinChunkSize, signed)
		h.Add(0, Peer)
		h.Add(1, Origin)
		h.Confirm(2 * load.MinChunkSize)
		if h.Pure() || !h.Whole() || !h.Sure() {
			t.Errorf("signed %v: pure %v, whole %v, sure %v", signed, h.Pure(), h.Whole(), h.Sure())
		}
		h.Clear(7, load.UnknownSize)
		if h.Count() != 0 || h.PrefixOf(transfer.All) != 0 || h.Prefix() != 0 || h.FromOrigin(1) || !h.Pure() ||
			h.Epoch() != 7 {
			t.Errorf("signed %v: %d chunks left of another content", signed, h.Count())
		}
		if h.Known() != signed || h.Sure() != signed {
			t.Errorf("signed %v: known %v, sure %v", signed, h.Known(), h.Sure())
		}
	}
}

// TestConfirm: only the size that is known becomes sure.
func TestConfirm(t *testing.T) {
	h := New(load.UnknownSize, false)
	h.Confirm(load.UnknownSize)
	h.Add(4, Kept)
	h.SetSize(5 * load.MinChunkSize)
	h.Confirm(4 * load.MinChunkSize)
	if h.Sure() {
		t.Error("another size than the known one is sure")
	}
	if h.Fits(4*load.MinChunkSize) || !h.Fits(4*load.MinChunkSize+1) {
		t.Error("chunk 4 begins behind 4 chunks")
	}
	if h.Confirm(5 * load.MinChunkSize); !h.Sure() {
		t.Error("what the origin said is not sure")
	}
}

// TestLargest: the file of the most chunks, each held and dropped by itself.
func TestLargest(t *testing.T) {
	h := New(load.MaxFileSize, true)
	order := rand.New(rand.NewPCG(2, 2)).Perm(load.MaxChunks)
	for n, i := range order {
		if !h.Add(i, Origin) || h.Add(i, Peer) || h.Count() != n+1 {
			t.Fatalf("chunk %d, the %dth, is not new once: %d are held", i, n, h.Count())
		}
	}
	if h.Prefix() != load.MaxChunks {
		t.Fatalf("all held, and prefix %d", h.Prefix())
	}
	for n, i := range order {
		h.Drop([]int{i})
		if h.Count() != load.MaxChunks-n-1 || h.Prefix() > i {
			t.Fatalf("chunk %d dropped: %d held, prefix %d", i, h.Count(), h.Prefix())
		}
	}
	var b bits
	b.add(70)
	for i := range load.MaxChunks {
		if b.has(i) != (i == 70) {
			t.Errorf("70 added, and %d is there: %v", i, b.has(i))
		}
	}
	if len(b)*64 != load.MaxChunks {
		t.Errorf("%d bits for %d chunks", len(b)*64, load.MaxChunks)
	}
}

// TestEpochSure: only the epoch that is known becomes sure, until it is another.
func TestEpochSure(t *testing.T) {
	h := New(load.UnknownSize, false)
	h.SetEpoch(3)
	if h.ConfirmEpoch(4); h.EpochSure() {
		t.Error("another epoch than the known one is sure")
	}
	h.ConfirmEpoch(3)
	h.Clear(3, load.UnknownSize)
	if !h.EpochSure() {
		t.Error("what the origin said is not sure")
	}
	if h.Clear(5, load.UnknownSize); h.EpochSure() {
		t.Error("an epoch is sure that the origin did not name")
	}
	h.ConfirmEpoch(5)
	if h.SetEpoch(6); h.EpochSure() {
		t.Error("a new epoch is sure")
	}
}

// TestPure: only what came from the origin in this run is the origin's alone.
func TestPure(t *testing.T) {
	for from, pure := range map[Source]bool{Kept: false, Origin: true, Peer: false} {
		h := New(2*load.MinChunkSize, false)
		h.Add(0, Origin)
		if h.Add(1, from); h.Pure() != pure {
			t.Errorf("source %d: pure %v", from, h.Pure())
		}
		if h.Replaced(1); !h.Pure() || !h.FromOrigin(1) || h.Count() != 2 {
			t.Errorf("source %d, replaced: pure %v, holds %d", from, h.Pure(), h.Count())
		}
	}
	if h := New(load.UnknownSize, false); !h.Fits(0) {
		t.Error("a file without chunks does not fit where none is held")
	}
}
