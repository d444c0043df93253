package engine

import (
	"bytes"
	"testing"
	"testing/synctest"
)

// TestChanged: whoever follows a file by its changes has read every chunk before it
// is complete, and is woken when it is.
func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 5<<20+17, 1<<20)
		d := s.join()
		s.fetch(d, true)
		var got []byte
		waits, i := 0, 0
		for {
			next := d.file.Changed()
			part := d.file.Partial()
			for ; i < part.Geometry().Chunks() && part.Has(i); i++ {
				b, err := part.ReadChunk(i, nil)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, b...)
			}
			complete, err := d.file.Ended()
			if err != nil {
				t.Fatal(err)
			}
			if complete {
				break
			}
			waits++
			<-next
		}
		if !bytes.Equal(got, s.content) || waits < 10 {
			t.Errorf("%d bytes after %d waits", len(got), waits)
		}
		s.finish(d)
		s.end()
	})
}
