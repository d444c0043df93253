package load

import "fmt"

// Limits on files and chunks. A file beyond MaxFileSize is refused.
const (
	// MinChunkSize is the chunk size of small files and of files of unknown
	// size, in bytes.
	MinChunkSize = 64 << 10
	// MaxChunkSize is the largest chunk, in bytes: what a device must hold in
	// memory to check one.
	MaxChunkSize = 4 << 20
	// MaxChunks bounds the chunk table of a file: 128 KiB of digests.
	MaxChunks = 4096
	// MaxFileSize is the largest file, in bytes (16 GiB).
	MaxFileSize = MaxChunkSize * MaxChunks
	// UnknownSize is the size of a file whose size is not known yet.
	UnknownSize = -1
)

// Geometry says how a file is divided into chunks. The zero Geometry is that of
// an empty file.
type Geometry struct {
	// Size of the file in bytes, or UnknownSize.
	Size int64
}

// ChunkSize returns the size of every chunk but the last, in bytes. It is a
// fixed function of the file's size, so that all devices divide it in the same
// way: 64 KiB, doubled until the file has at most MaxChunks chunks.
func (g Geometry) ChunkSize() int {
	n := int64(MinChunkSize)
	for g.Size > n*MaxChunks && n < MaxChunkSize {
		n *= 2
	}
	return int(n)
}

// Known reports whether the size is known.
func (g Geometry) Known() bool { return g.Size >= 0 }

// Chunks returns the number of chunks, 0 for an empty file, or MaxChunks while
// the size is unknown: no file of unknown size may have more.
func (g Geometry) Chunks() int {
	if !g.Known() {
		return MaxChunks
	}
	c := int64(g.ChunkSize())
	return int((g.Size + c - 1) / c)
}

// Span returns where chunk i starts and how many bytes it has. While the size
// is unknown every chunk counts as full. It panics if i is out of range.
func (g Geometry) Span(i int) (off int64, n int) {
	if i < 0 || i >= g.Chunks() {
		panic(fmt.Sprintf("load: chunk %d of %d", i, g.Chunks()))
	}
	c := g.ChunkSize()
	off = int64(i) * int64(c)
	if g.Known() && g.Size-off < int64(c) {
		return off, int(g.Size - off)
	}
	return off, c
}

// Validate refuses sizes outside 0 to MaxFileSize; UnknownSize is valid.
func (g Geometry) Validate() error {
	if g.Size != UnknownSize && (g.Size < 0 || g.Size > MaxFileSize) {
		return fmt.Errorf("a file of %d bytes is outside 0 to %d", g.Size, int64(MaxFileSize))
	}
	return nil
}

// Table is the chunk table of a file: the digest of each chunk in order.
type Table []Digest

// Check reports whether b is chunk i of the table. A chunk beyond the table
// is never right.
func (t Table) Check(i int, b []byte) bool {
	return i >= 0 && i < len(t) && DigestOf(b) == t[i]
}
