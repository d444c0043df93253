package slot_test

import (
	"bytes"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
)

func TestResume(t *testing.T) {
	b := random(6*chunk+9, 4)
	for name, spec := range map[string]slot.Spec{"signed": signed(b), "provisional": provisional(b)} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			p := open(t, d, "/d/x", spec, slot.Config{})
			for _, i := range []int{0, 1, 2, 4} {
				must(t, p.WriteChunk(i, piece(b, i)))
			}
			must(t, p.Close())
			must(t, d.Rot("/d/.x.part", 4*chunk+100))
			p = open(t, d, "/d/x", spec, slot.Config{})
			if p.Prefix() != 3 || p.Has(4) {
				t.Fatalf("resumed with prefix %d and has(4) = %v; chunk 4 had rotted", p.Prefix(), p.Has(4))
			}
			must(t, p.Close())
			for what, other := range map[string]slot.Spec{
				"epoch": {Key: spec.Key, Epoch: 1, Geometry: spec.Geometry},
				"key":   {Key: load.DigestOf([]byte("other")), Geometry: spec.Geometry},
				"size":  {Key: spec.Key, Geometry: load.Geometry{Size: spec.Geometry.Size + 1}},
			} {
				q := open(t, d.Reboot(1), "/d/x", other, slot.Config{})
				if q.Prefix() != 0 {
					t.Errorf("another %s took over %d chunks", what, q.Prefix())
				}
			}
			must(t, fetch(d, "/d/x", spec, slot.Config{}, b))
			if !bytes.Equal(get(t, d, "/d/x"), b) {
				t.Fatal("the file differs")
			}
		})
	}
}

func TestResumeWhateverTheEpoch(t *testing.T) {
	d := newDisk(t)
	b := random(3*chunk, 6)
	spec := provisional(b)
	spec.Epoch = 7
	p := open(t, d, "/d/x", spec, slot.Config{})
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.Close())
	spec.Epoch, spec.AnyEpoch = 0, true
	p = open(t, d, "/d/x", spec, slot.Config{})
	if p.Epoch() != 7 || p.Prefix() != 1 {
		t.Errorf("resumed epoch %d with prefix %d, want 7 and 1", p.Epoch(), p.Prefix())
	}
	must(t, p.Discard())
	spec.Epoch = 8
	if p = open(t, d, "/d/x", spec, slot.Config{}); p.Epoch() != 8 || p.Prefix() != 0 {
		t.Errorf("begun anew with epoch %d and prefix %d, want 8 and 0", p.Epoch(), p.Prefix())
	}
	must(t, p.Close())
}

func TestResumeDropsWhatTheSignedTableRefuses(t *testing.T) {
	d := newDisk(t)
	b := random(3*chunk, 5)
	p := open(t, d, "/d/x", provisional(b), slot.Config{})
	forged := random(chunk, 99)
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.WriteChunk(1, forged))
	wantErr(t, p.WriteChunk(1, piece(b, 1)), slot.ErrBadChunk)
	must(t, p.Close())
	p = open(t, d, "/d/x", signed(b), slot.Config{})
	if p.Prefix() != 1 || p.Has(1) {
		t.Fatalf("prefix %d; a forged chunk survived the signed table", p.Prefix())
	}
	wantErr(t, p.Commit(), slot.ErrIncomplete)
}
