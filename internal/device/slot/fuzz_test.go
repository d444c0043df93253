package slot

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/peerload/peerload/load"
)

func FuzzParseIndex(f *testing.F) {
	for _, size := range []int64{load.UnknownSize, 0, 1, 3 * load.MinChunkSize, load.MaxFileSize} {
		x := index{key: load.DigestOf([]byte("k")), epoch: 7, g: load.Geometry{Size: size}}
		x.digests = make([]load.Digest, x.g.Chunks())
		if len(x.digests) > 1 {
			x.digests[1] = load.DigestOf([]byte("one"))
		}
		f.Add(x.marshal())
		f.Add(x.header())
	}
	f.Add([]byte(indexMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseIndex(b)
		if err != nil {
			return
		}
		if len(x.digests) != x.g.Chunks() || x.g.Validate() != nil {
			t.Fatalf("%d digests for %+v", len(x.digests), x.g)
		}
		y, err := parseIndex(x.marshal())
		if err != nil || !reflect.DeepEqual(x, y) {
			t.Fatalf("round trip: %v\n%+v\n%+v", err, x, y)
		}
	})
}

func sampleEntries() []Entry {
	return []Entry{
		{Name: "boot.bin", Size: 1, Digest: load.DigestOf([]byte("b"))},
		{Name: "with space", Size: load.MaxFileSize, Digest: load.DigestOf([]byte("c"))},
		{Name: "phone.load", Size: 0, Digest: load.DigestOf(nil)},
	}
}

// FuzzParseJournal fuzzes the body and the whole: with the right sum behind
// it, and as it is.
func FuzzParseJournal(f *testing.F) {
	whole := marshalJournal(sampleEntries())
	f.Add(whole)
	f.Add(whole[:bytes.LastIndex(whole, []byte(journalSum))])
	f.Add([]byte(journalFirst + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if es, err := parseJournal(b); err == nil && !bytes.Equal(marshalJournal(es), b) {
			t.Fatalf("read %q as %+v", b, es)
		}
		summed := append(bytes.Clone(b), journalSum+load.DigestOf(b).String()+"\n"...)
		es, err := parseJournal(summed)
		if err != nil {
			return
		}
		again, err := parseJournal(marshalJournal(es))
		if err != nil || !reflect.DeepEqual(es, again) {
			t.Fatalf("round trip of %+v: %+v, %v", es, again, err)
		}
	})
}

func FuzzParseState(f *testing.F) {
	for _, i := range []Info{
		{State: StateEmpty},
		{State: StateTrial, Boots: 1, Load: Load{Name: "phone", Version: "1.2", Components: sampleEntries()}},
	} {
		b, err := marshalState(i)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"format":1,"state":"confirmed","load":"x","components":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := parseState(b)
		if err != nil {
			return
		}
		if i.State != StateEmpty && i.Load.Validate() != nil {
			t.Fatalf("accepted %+v", i)
		}
		out, err := marshalState(i)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseState(out)
		if err != nil || !reflect.DeepEqual(i, again) {
			t.Fatalf("round trip of %+v: %+v, %v", i, again, err)
		}
	})
}

// TestLimitsHoldTheLargest: what is written must be readable again, at the
// largest.
func TestLimitsHoldTheLargest(t *testing.T) {
	var es []Entry
	for n := range maxEntries {
		name := bytes.Repeat([]byte{'&'}, load.MaxNameLen)
		name[0], name[1] = 'a'+byte(n%16), 'a'+byte(n/16)
		es = append(es, Entry{Name: string(name) + load.ManifestSuffix, Size: load.MaxFileSize, Digest: load.DigestOf(name)})
	}
	if b := marshalJournal(es); len(b) > maxJournal {
		t.Errorf("a journal of %d bytes, bound %d", len(b), maxJournal)
	} else if got, err := parseJournal(b); err != nil || !reflect.DeepEqual(got, es) {
		t.Errorf("the largest journal: %v", err)
	}
	i := Info{State: StateConfirmed, Load: Load{Name: "x", Components: es}}
	b, err := marshalState(i)
	if err != nil || len(b) > maxState {
		t.Errorf("a state of %d bytes, bound %d, %v", len(b), maxState, err)
	} else if got, err := parseState(b); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("the largest state: %v", err)
	}
	x := index{g: load.Geometry{Size: load.MaxFileSize}, digests: make([]load.Digest, load.MaxChunks)}
	x.digests[load.MaxChunks-1] = load.DigestOf(nil)
	if n := len(x.marshal()); n != maxIndex {
		t.Errorf("the largest index has %d bytes, bound %d", n, maxIndex)
	}
}
