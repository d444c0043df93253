package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/peerload/peerload/load"
)

// edited returns the sample datagram of a kind with bytes replaced.
func edited(name string, at int, with ...byte) []byte {
	b := Marshal(envelope, samples()[name])
	copy(b[at:], with)
	return b
}

// withBody returns a datagram of a type around a body, then the extensions.
func withBody(k kind, body, extensions []byte) []byte {
	b := Marshal(envelope, &Resign{})[:headerLength]
	b[5] = byte(k)
	binary.BigEndian.PutUint16(b[38:], uint16(len(body)))
	return append(append(b, body...), extensions...)
}

func bodyOf(name string) []byte { return Marshal(envelope, samples()[name])[headerLength:] }

// ends are the lengths at which bodies of older senders end, short of the
// whole.
var ends = map[string][]int{"ask": {42, 43}, "place": {34}, "hello": {48}}

func TestForeignDatagrams(t *testing.T) {
	for what, b := range map[string][]byte{
		"nothing":            nil,
		"a phone's own talk": []byte("XID080027F8 TxBdcst ClaimRoot(tent): map=ff9d7cb9 strength=31d4d43d"),
		"another magic":      edited("claim", 0, 0x51),
		"a newer version":    edited("claim", 4, version+1),
		"version 0":          edited("claim", 4, 0),
		"half a header":      edited("claim", 0)[:headerLength-1],
		"a foreign jumbo":    make([]byte, 9000),
	} {
		if _, m, err := Unmarshal(b); !errors.Is(err, ErrForeign) || m != nil {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
}

func TestMalformedDatagrams(t *testing.T) {
	tooBig := binary.BigEndian.AppendUint32(nil, load.MaxChunks+1)
	const sizeAt = headerLength + 28
	for what, b := range map[string][]byte{
		"longer than allowed":        append(edited("claim", 0), make([]byte, MaxDatagram)...),
		"no sender":                  edited("claim", 24, make([]byte, 12)...),
		"a body past the end":        edited("claim", 38, 0xFF, 0xFF),
		"half an extension header":   append(edited("claim", 0), 0, 1, 0),
		"an extension past the end":  append(edited("claim", 0), 0, 1, 0, 5, 1, 2, 3, 4),
		"a prefix past all tables":   edited("claim", headerLength+12, tooBig...),
		"a rank past all tables":     edited("claim", headerLength+8, tooBig...),
		"a size past all files":      edited("claim", sizeAt, 0x7F),
		"a negative size":            edited("claim", sizeAt, 0xFF, 0, 0, 0, 0, 0, 0, 0),
		"an ask of stripe 2":         edited("ask", headerLength+1, MaxStripes),
		"three free slots":           edited("ask", headerLength+2, MaxChildren+1),
		"three children":             edited("ask", headerLength+3, MaxChildren+1),
		"an ask past all tables":     edited("ask", headerLength+6, tooBig...),
		"a place in stripe 2":        edited("place", headerLength, MaxStripes),
		"a direct past all tables":   edited("direct", headerLength+2, tooBig...),
		"a direct of unknown length": edited("direct", headerLength+6, bytes.Repeat([]byte{0xFF}, 8)...),
		"a claim of unknown bytes":   edited("claim", sizeAt+8, bytes.Repeat([]byte{0xFF}, 8)...),
	} {
		if _, _, err := Unmarshal(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, m := range samples() {
		body := bodyOf(name)
		for n := range body {
			if slices.Contains(ends[name], n) {
				continue
			}
			if _, _, err := Unmarshal(withBody(m.kind(), body[:n], nil)); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s with %d of %d bytes: %v", name, n, len(body), err)
			}
		}
	}
}

func TestNewerDatagrams(t *testing.T) {
	if e, m, err := Unmarshal(withBody(200, []byte("a body of tomorrow"), nil)); e != envelope || m != nil || err != nil {
		t.Errorf("an unknown type: %+v, %+v, %v", e, m, err)
	}
	extensions := []byte{0xAB, 0xCD, 0, 3, 1, 2, 3, 0, 1, 0, 0}
	for name, want := range samples() {
		body := bodyOf(name)
		flagged := withBody(want.kind(), body, nil)
		flagged[6], flagged[7] = 0xFF, 0xFF
		for what, b := range map[string][]byte{
			"a longer body": withBody(want.kind(), append(body[:len(body):len(body)], 9, 9, 9), nil),
			"extensions":    withBody(want.kind(), body, extensions),
			"both":          withBody(want.kind(), append(body[:len(body):len(body)], 9), extensions),
			"unknown flags": flagged,
			"the largest there": withBody(want.kind(),
				append(body[:len(body):len(body)], make([]byte, MaxDatagram-headerLength-len(body))...), nil),
		} {
			_, have, err := Unmarshal(b)
			if err != nil || !bytes.Equal(Marshal(envelope, have), Marshal(envelope, want)) {
				t.Errorf("%s with %s: %+v, %v", name, what, have, err)
			}
		}
	}
}

func TestMarshalFits(t *testing.T) {
	for name, m := range samples() {
		if n := len(Marshal(envelope, m)); n > MaxDatagram {
			t.Errorf("%s takes %d bytes", name, n)
		}
	}
	path := &Path{Peers: make([]Peer, MaxPath)}
	table := &TablePart{Total: MaxTablePart, Digests: make([]load.Digest, MaxTablePart)}
	for _, m := range []Frame{path, table} {
		b := AppendFrame(nil, m)
		if len(b)-5 > MaxFrame {
			t.Errorf("%T takes %d bytes", m, len(b)-5)
		}
		if _, err := ReadFrame(bytes.NewReader(b), nil); err != nil {
			t.Errorf("the largest %T: %v", m, err)
		}
	}
}

// frame returns a frame of a type with a body, and a length of its own.
func frame(length uint32, k kind, body []byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, length), byte(k)), body...)
}

func framed(k kind, body []byte) []byte { return frame(uint32(1+len(body)), k, body) }

func TestMalformedFrames(t *testing.T) {
	tooBig := binary.BigEndian.AppendUint32(nil, load.MaxChunks+1)
	body := func(name string) []byte { return AppendFrame(nil, frames()[name])[5:] }
	edit := func(name string, at int, with ...byte) []byte {
		b := AppendFrame(nil, frames()[name])
		copy(b[5+at:], with)
		return b
	}
	all := bytes.Repeat([]byte{0xFF}, 8)
	for what, b := range map[string][]byte{
		"no type":                    frame(0, kindBye, nil),
		"an endless control frame":   frame(0xFFFFFFFF, kindBye, nil),
		"one byte too long":          frame(MaxFrame+2, kindPath, nil),
		"an endless unknown frame":   frame(0xFFFFFFFF, 200, nil),
		"an endless chunk":           frame(0xFFFFFFFF, kindChunk, nil),
		"a chunk too long":           frame(1+ChunkHeader+load.MaxChunkSize+1, kindChunk, make([]byte, 100)),
		"a chunk without its header": frame(ChunkHeader, kindChunk, make([]byte, ChunkHeader-1)),
		"a chunk past all tables":    edit("chunk", 0, tooBig...),
		"a path of nobody":           edit("path", 0, 0),
		"a path too long":            framed(kindPath, append([]byte{MaxPath + 1}, make([]byte, 12*(MaxPath+1))...)),
		"a hello from nobody":        edit("hello", 21, make([]byte, 12)...),
		"a hello of stripe 2":        edit("hello", 35, MaxStripes),
		"a hello past all tables":    edit("hello", 44, tooBig...),
		"a welcome from nobody":      edit("welcome", 0, make([]byte, 12)...),
		"a welcome to too much":      edit("welcome", 20, 0x7F),
		"progress past all tables":   edit("progress", 1, tooBig...),
		"a root past all tables":     edit("progress", 5, tooBig...),
		"a root of unknown bytes":    edit("progress", 9, all...),
		"an end without a size":      edit("end", 0, all...),
		"a report past all tables":   edit("report", 1, tooBig...),
		"a table past the end":       edit("table-part", 0, 0, 0, 0, 3),
		"a table past all tables":    edit("table-part", 0, tooBig...),
		"a table of too many chunks": edit("table-part", 4, tooBig...),
		"a count past all tables":    edit("table-part", 8, tooBig...),
		"too many digests": framed(kindTablePart,
			append([]byte{0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x04, 1}, make([]byte, 32*(MaxTablePart+1))...)),
		"digests that are missing": framed(kindTablePart,
			append([]byte{0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 4, 0}, make([]byte, 32)...)),
	} {
		if _, err := ReadFrame(bytes.NewReader(b), makeBuf); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, m := range frames() {
		if name == "chunk" || name == "table-ask" || name == "carry" {
			continue // any body will do
		}
		whole := body(name)
		for n := range whole {
			if slices.Contains(ends[name], n) {
				continue
			}
			_, err := ReadFrame(bytes.NewReader(framed(m.frameKind(), whole[:n])), makeBuf)
			if err == nil {
				t.Errorf("%s with %d of %d bytes was taken", name, n, len(whole))
			}
		}
	}
	for at, with := range map[int]byte{0: 0x51, 4: version + 1} {
		if _, err := ReadFrame(bytes.NewReader(edit("hello", at, with)), nil); !errors.Is(err, ErrForeign) {
			t.Errorf("a foreign hello, byte %d: %v", at, err)
		}
	}
}

func TestFrameStream(t *testing.T) {
	var b []byte
	b = AppendFrame(b, &Report{Prefix: 1})
	b = append(b, framed(200, []byte("a frame of tomorrow"))...)
	b = append(b, framed(kindReport, []byte{0, 0, 0, 0, 2, 9, 9})...)
	ends := map[int]bool{0: true, 10: true, 34: true, len(b): true}
	for cut := range len(b) + 1 {
		r := bytes.NewReader(b[:cut])
		var err error
		for err == nil {
			_, err = ReadFrame(r, makeBuf)
		}
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[ends[cut]]; err != want {
			t.Errorf("a stream cut after %d bytes ends with %v, want %v", cut, err, want)
		}
	}
	r := bytes.NewReader(b)
	for i, want := range []int{1, -1, 2} {
		m, err := ReadFrame(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if rep, ok := m.(*Report); ok != (want > 0) || ok && rep.Prefix != want {
			t.Errorf("frame %d: %+v", i, m)
		}
	}
}

func TestChunkCutShort(t *testing.T) {
	b := AppendFrame(nil, frames()["chunk"])
	for cut := 1; cut < len(b); cut++ {
		if _, err := ReadFrame(bytes.NewReader(b[:cut]), makeBuf); err != io.ErrUnexpectedEOF {
			t.Errorf("a chunk cut after %d bytes: %v", cut, err)
		}
	}
}

func TestChunkBuffer(t *testing.T) {
	b := AppendFrame(nil, frames()["chunk"])
	asked := 0
	refuse := func(n int) []byte { asked = n; return nil }
	if _, err := ReadFrame(bytes.NewReader(b), refuse); !errors.Is(err, ErrMalformed) || asked != 16 {
		t.Errorf("a refused chunk: %v, %d bytes asked for", err, asked)
	}
	mine := make([]byte, 100)
	m, err := ReadFrame(bytes.NewReader(b), func(int) []byte { return mine })
	if err != nil || &m.(*Chunk).Bytes[0] != &mine[0] || len(m.(*Chunk).Bytes) != 16 {
		t.Errorf("%+v, %v: not in the buffer that was given", m, err)
	}
}

// TestBoundedMemory: a length that is only claimed takes no memory beyond the
// limit of its kind.
func TestBoundedMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for k := range 256 {
		for _, n := range []uint32{0, MaxFrame + 2, 1 << 24, 1<<32 - 1} {
			_, err := ReadFrame(bytes.NewReader(frame(n, kind(k), nil)), func(n int) []byte {
				t.Errorf("type %d: a buffer of %d bytes asked for before the index was read", k, n)
				return nil
			})
			if err == nil {
				t.Errorf("type %d of %d bytes was taken", k, n)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes taken for frames of which nothing came", n)
	}
}

// TestOlderSenders: a body that ends before a field that came later is read as
// one that does not tell it.
func TestOlderSenders(t *testing.T) {
	for _, name := range []string{"ask", "place"} {
		b, kind := bodyOf(name), samples()[name].kind()
		for _, n := range ends[name] {
			_, have, err := Unmarshal(withBody(kind, b[:n], nil))
			if err != nil || have == nil {
				t.Fatalf("%s of %d bytes: %v", name, n, err)
			}
			if a, ok := have.(*Ask); ok && (a.Speed != 0 || n == 42 && a.Trees != 0) {
				t.Errorf("%d bytes: %+v", n, a)
			}
			if p, ok := have.(*Place); ok && p.Trees != 0 {
				t.Errorf("%+v", p)
			}
		}
	}
}
