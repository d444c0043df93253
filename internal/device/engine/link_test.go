package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// TestChunkOfAnEarlierContent: what a parent sent before the content was begun
// anew, and its reader still has in hand, does not become part of it. Found by
// a peer that sent wrong bytes: one of them outlived the dropping of all.
func TestChunkOfAnEarlierContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 300_000, 1)
		d := s.join()
		s.fetch(d, false)
		j := d.file.j
		l := &link{id: -99, job: j}
		took := func() bool {
			l.chunk(&wire.Chunk{Index: 1, Bytes: make([]byte, load.MinChunkSize)})
			part, _ := j.content()
			return part.Has(1)
		}
		if !took() {
			t.Fatal("a chunk of a parent is not stored at all")
		}
		d.call(func(time.Duration) { j.reset(pdp.Reset{Size: load.UnknownSize}) })
		if took() {
			t.Error("a chunk of the earlier content is in the new one")
		}
		d.stop()
		synctest.Wait()
	})
}
