package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/peerload/peerload/load"
)

func FuzzDatagram(f *testing.F) {
	for name, m := range samples() {
		f.Add(Marshal(envelope, m))
		f.Add(withBody(m.kind(), append(bodyOf(name), 1, 2, 3), []byte{0, 1, 0, 1, 7}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, m, err := Unmarshal(b)
		if err != nil {
			if !errors.Is(err, ErrForeign) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if len(b) > MaxDatagram || e.From.IsZero() {
			t.Fatalf("%d bytes from %v were taken", len(b), e.From)
		}
		if m == nil {
			return
		}
		again := Marshal(e, m)
		if len(again) > MaxDatagram {
			t.Fatalf("%+v takes %d bytes", m, len(again))
		}
		e2, m2, err := Unmarshal(again)
		if err != nil || e2 != e || !reflect.DeepEqual(m2, m) {
			t.Fatalf("%+v %+v came back as %+v %+v, %v", e, m, e2, m2, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	for _, m := range frames() {
		f.Add(uint8(m.frameKind()), AppendFrame(nil, m)[5:])
	}
	f.Fuzz(func(t *testing.T, k uint8, body []byte) {
		m, err := decodeFrame(k, body)
		if err != nil || m == nil {
			return
		}
		again := AppendFrame(nil, m)
		r := bytes.NewReader(again)
		m2, err := ReadFrame(r, makeBuf)
		if c, ok := m.(*Chunk); ok && len(c.Bytes) > load.MaxChunkSize {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("a chunk of %d bytes was read: %v", len(c.Bytes), err)
			}
			return
		}
		if err != nil || r.Len() != 0 || !reflect.DeepEqual(m2, m) {
			t.Fatalf("%+v came back as %+v, %v, %d bytes left", m, m2, err, r.Len())
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	var stream []byte
	for _, m := range frames() {
		f.Add(AppendFrame(nil, m))
		stream = AppendFrame(stream, m)
	}
	f.Add(stream)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			before := r.Len()
			m, err := ReadFrame(r, func(n int) []byte {
				if n < 0 || n > load.MaxChunkSize {
					t.Fatalf("a buffer of %d bytes was asked for", n)
				}
				if n > MaxFrame {
					return nil
				}
				return make([]byte, n)
			})
			if err != nil {
				if err == io.EOF && before != 0 {
					t.Fatalf("%d torn bytes look like a clean end", before)
				}
				return
			}
			if before-r.Len() < 5 {
				t.Fatalf("a frame took %d bytes", before-r.Len())
			}
			switch m := m.(type) {
			case *Path:
				if len(m.Peers) > MaxPath {
					t.Fatalf("a path of %d", len(m.Peers))
				}
			case *TablePart:
				if len(m.Digests) > MaxTablePart || m.First+len(m.Digests) > m.Total {
					t.Fatalf("%d digests from %d of %d", len(m.Digests), m.First, m.Total)
				}
			}
		}
	})
}
