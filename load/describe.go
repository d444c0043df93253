package load

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Errors of Describe, for errors.Is.
var (
	// ErrShort says that a reader ended before the stated size.
	ErrShort = errors.New("the file is shorter than stated")
	// ErrLong says that a reader had more bytes than the stated size.
	ErrLong = errors.New("the file is longer than stated")
)

// Describe reads r once, to its end, and returns the component of that name.
// The size in bytes must be known beforehand, because it determines the chunks,
// and r must have exactly that many bytes. It uses the memory of one buffer and
// the table, whatever the size. Errors match ErrName, ErrShort or ErrLong, or
// are r's.
func Describe(name string, r io.Reader, size int64) (Component, error) {
	if err := CheckName(name); err != nil {
		return Component{}, err
	}
	g := Geometry{Size: size}
	if err := g.Validate(); err != nil {
		return Component{}, fmt.Errorf("%q: %w", name, err)
	}
	if !g.Known() {
		return Component{}, fmt.Errorf("%q: a file must have a size before it is described", name)
	}
	c := Component{Name: name, Size: size, Table: make(Table, g.Chunks())}
	whole, chunk := sha256.New(), sha256.New()
	both := io.MultiWriter(whole, chunk)
	buf := make([]byte, MinChunkSize)
	window := io.LimitedReader{R: r}
	for i := range c.Table {
		_, n := g.Span(i)
		chunk.Reset()
		window.N = int64(n)
		got, err := io.CopyBuffer(both, &window, buf)
		if err != nil {
			return Component{}, fmt.Errorf("%q: %w", name, err)
		}
		if got != int64(n) {
			return Component{}, fmt.Errorf("%q: %w: %d bytes", name, ErrShort, size)
		}
		chunk.Sum(c.Table[i][:0])
	}
	whole.Sum(c.Digest[:0])
	switch n, err := io.ReadFull(r, buf[:1]); {
	case n > 0:
		return Component{}, fmt.Errorf("%q: %w: %d bytes", name, ErrLong, size)
	case err != io.EOF:
		return Component{}, fmt.Errorf("%q: %w", name, err)
	}
	return c, nil
}
