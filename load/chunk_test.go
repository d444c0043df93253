package load

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// TestGeometry: how a file is cut at the bounds of sizes, and which sizes there
// are not.
func TestGeometry(t *testing.T) {
	for _, c := range []struct {
		size   int64
		chunk  int
		chunks int
	}{
		{UnknownSize, MinChunkSize, MaxChunks}, {0, MinChunkSize, 0}, {1, MinChunkSize, 1},
		{MinChunkSize, MinChunkSize, 1}, {MinChunkSize + 1, MinChunkSize, 2},
		{MinChunkSize * MaxChunks, MinChunkSize, MaxChunks}, {MinChunkSize*MaxChunks + 1, 2 * MinChunkSize, MaxChunks/2 + 1},
		{MaxFileSize, MaxChunkSize, MaxChunks}, {MaxFileSize + 1, MaxChunkSize, MaxChunks + 1},
	} {
		g := Geometry{Size: c.size}
		if g.ChunkSize() != c.chunk || g.Chunks() != c.chunks || g.Known() != (c.size >= 0) {
			t.Errorf("%d bytes: %d chunks of %d, known %v", c.size, g.Chunks(), g.ChunkSize(), g.Known())
		}
		if err := g.Validate(); (err == nil) != (c.size <= MaxFileSize) {
			t.Errorf("%d bytes: %v", c.size, err)
		}
	}
	for _, size := range []int64{-2, -1 << 62, MaxFileSize + 1, 1 << 62} {
		if err := (Geometry{Size: size}).Validate(); err == nil {
			t.Errorf("%d bytes are taken for the size of a file", size)
		}
	}
}

// TestSpan: each chunk has its place, the last one its rest, and there are no
// others.
func TestSpan(t *testing.T) {
	g := Geometry{Size: MinChunkSize + 10}
	for i, want := range [][2]int64{{0, MinChunkSize}, {MinChunkSize, 10}} {
		if off, n := g.Span(i); off != want[0] || int64(n) != want[1] {
			t.Errorf("chunk %d is %d bytes at %d", i, n, off)
		}
	}
	unknown := Geometry{Size: UnknownSize}
	if off, n := unknown.Span(MaxChunks - 1); off != (MaxChunks-1)*MinChunkSize || n != MinChunkSize {
		t.Errorf("the last chunk of a file of unknown size is %d bytes at %d", n, off)
	}
	for _, c := range []struct {
		g Geometry
		i int
	}{{g, -1}, {g, 2}, {Geometry{}, 0}, {unknown, MaxChunks}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("chunk %d of %d bytes has a place", c.i, c.g.Size)
				}
			}()
			c.g.Span(c.i)
		}()
	}
	table := Table{DigestOf([]byte("a"))}
	for i, want := range map[int]bool{-1: false, 0: true, 1: false} {
		if table.Check(i, []byte("a")) != want {
			t.Errorf("chunk %d of a table of one: %v", i, !want)
		}
	}
	if table.Check(0, []byte("b")) {
		t.Error("another chunk passes")
	}
}

// TestDescribeReadsToTheEnd: a reader that fails behind the last byte is no file.
func TestDescribeReadsToTheEnd(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(bytes.NewReader([]byte("abc")), iotest.ErrReader(broken))
	if c, err := Describe("f", r, 3); !errors.Is(err, broken) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Describe("f", bytes.NewReader(nil), 0); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	_, err := Describe("f", bytes.NewReader(nil), UnknownSize)
	if err == nil || errors.Is(err, ErrLong) || errors.Is(err, ErrShort) {
		t.Errorf("a file of unknown size: %v", err)
	}
}
