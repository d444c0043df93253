package slot

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"

	"github.com/peerload/peerload/load"
)

// WriteChunk verifies b as chunk i and stores it. Against a signed table a
// wrong chunk is ErrBadChunk and nothing is stored; without one the bytes are
// provisional, and are refused only for their length or because the chunk is
// held with other bytes: to replace it, Drop it first. Chunks may come in any
// order. A full medium is ErrNoSpace and costs no chunk held.
func (p *Partial) WriteChunk(i int, b []byte) error {
	return p.take(i, b, false)
}

// take stores a chunk; replace says that it counts for more than one that is held
// with other bytes.
func (p *Partial) take(i int, b []byte, replace bool) error {
	crc := crc32.Checksum(b, castagnoli)
	d := standIn(crc)
	if p.table != nil {
		d = load.DigestOf(b)
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	off, have, err := p.accept(i, len(b), d)
	if err != nil {
		return err
	}
	if have {
		switch same, err := p.holds(off, i, b, crc); {
		case err != nil:
			return err
		case same:
			return nil
		case !replace:
			return fmt.Errorf("%s: %w: chunk %d is held with other bytes", p.target, ErrBadChunk, i)
		}
		if err := p.forget(i); err != nil {
			return err
		}
	}
	return p.write(off, i, b, d, crc)
}

// ReplaceChunk is WriteChunk for bytes that count for more than those that are held:
// where no table says which are right, a chunk that is held with other bytes is
// replaced.
func (p *Partial) ReplaceChunk(i int, b []byte) error {
	return p.take(i, b, true)
}

// holds reports whether chunk i, which is held and begins at off, has these bytes.
// Where no table says so they are compared: anybody can make bytes of a given CRC.
// What the medium has lost is not what it was. The caller holds writing.
func (p *Partial) holds(off int64, i int, b []byte, crc uint32) (bool, error) {
	if p.table != nil {
		return true, nil
	}
	p.mu.Lock()
	differs := p.crc[i] != crc
	p.mu.Unlock()
	if differs {
		return false, nil
	}
	held := make([]byte, len(b))
	_, err := p.data.ReadAt(held, off)
	if err != nil && !mediumFault(err) {
		return false, fmt.Errorf("read chunk %d of %s: %w", i, p.target, err)
	}
	return err == nil && bytes.Equal(held, b), nil
}

// write stores a chunk that was accepted. The caller holds writing.
func (p *Partial) write(off int64, i int, b []byte, d load.Digest, crc uint32) error {
	if p.lock == nil {
		return fmt.Errorf("%s is committed and takes no more chunks: %w", p.target, iofs.ErrClosed)
	}
	if _, err := p.data.WriteAt(b, off); err != nil {
		return p.writeError(i, len(b), err)
	}
	if _, err := p.idx.WriteAt(d[:], indexOffset(i)); err != nil {
		return p.writeError(i, len(d), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.x.digests[i], p.crc[i] = d, crc
	p.held++
	for p.prefix < len(p.x.digests) && !p.x.digests[p.prefix].IsZero() {
		p.prefix++
	}
	p.unsynced += int64(len(b))
	return nil
}

// accept says where chunk i goes, or that it is there already, or why it is
// refused.
func (p *Partial) accept(i, n int, d load.Digest) (off int64, have bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i < 0 || i >= len(p.x.digests) {
		return 0, false, fmt.Errorf("%s: %w: number %d, the file has at most %d", p.target, ErrBadChunk, i, len(p.x.digests))
	}
	off, want := p.x.g.Span(i)
	switch {
	case n != want:
		return 0, false, fmt.Errorf("%s: %w: chunk %d has %d bytes, not %d", p.target, ErrBadChunk, i, n, want)
	case p.table != nil && p.table[i] != d:
		return 0, false, fmt.Errorf("%s: %w: chunk %d is %s, signed is %s", p.target, ErrBadChunk, i, d.Short(),
			p.table[i].Short())
	}
	return off, p.has(i), nil
}

func (p *Partial) writeError(i, n int, err error) error {
	p.mu.Lock()
	need := int64(n)
	if p.x.g.Known() {
		off, _ := p.x.g.Span(p.prefixChunk())
		need = p.x.g.Size - off
	}
	p.mu.Unlock()
	return fmt.Errorf("store chunk %d of %s: %w", i, p.target, spaceError(p.fs, p.dir, need, err))
}

// prefixChunk is the first chunk not held, or the last one.
func (p *Partial) prefixChunk() int { return min(p.prefix, len(p.x.digests)-1) }

// ReadChunk reads chunk i into buf, which grows if it is too small, and
// returns the bytes. A chunk that the medium returns wrong is dropped and is
// ErrReadBack; one that is not there is ErrNotHeld. It works after Commit too,
// until Close.
func (p *Partial) ReadChunk(i int, buf []byte) ([]byte, error) {
	p.mu.Lock()
	if !p.has(i) {
		p.mu.Unlock()
		return nil, fmt.Errorf("%s: %w: %d", p.target, ErrNotHeld, i)
	}
	off, n := p.x.g.Span(i)
	crc := p.crc[i]
	p.mu.Unlock()
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err := p.data.ReadAt(buf, off)
	if err == nil && crc32.Checksum(buf, castagnoli) == crc {
		return buf, nil
	}
	if err != nil && !mediumFault(err) {
		return nil, fmt.Errorf("read chunk %d of %s: %w", i, p.target, err)
	}
	return nil, p.lost(i, crc, err)
}

// lost drops chunk i, which the medium lost, unless it was replaced or the
// chunk size has changed meanwhile. It returns the error that says so.
func (p *Partial) lost(i int, crc uint32, cause error) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	same := p.has(i) && p.crc[i] == crc
	p.mu.Unlock()
	if !same {
		return fmt.Errorf("%s: %w: %d", p.target, ErrNotHeld, i)
	}
	if err := p.forget(i); err != nil {
		return err
	}
	return &ReadBackError{Name: p.target, Chunk: i, Err: cause}
}

// Drop drops chunk i, so that it can be fetched again: a provisional chunk that
// differs from a better table. A chunk not held is no error.
func (p *Partial) Drop(i int) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	return p.forget(i)
}

// forget drops chunk i in memory, then in the index: should that write fail,
// the next process hashes the chunk again, so it costs nothing but time. The
// caller holds writing.
func (p *Partial) forget(i int) error {
	p.mu.Lock()
	had := p.has(i)
	if had {
		p.x.digests[i] = load.Digest{}
		p.held--
		p.prefix = min(p.prefix, i)
		p.rehash = p.rehash || i < p.settled
		p.done = false
	}
	p.mu.Unlock()
	if !had || p.closed || p.lock == nil {
		return nil
	}
	var zero load.Digest
	if _, err := p.idx.WriteAt(zero[:], indexOffset(i)); err != nil {
		return fmt.Errorf("drop chunk %d of %s: %w", i, p.target, err)
	}
	return nil
}

// SetSize says how long the file is, once that is learned, and reserves the
// room: ErrNoSpace changes nothing. If that changes the chunk size, what is
// held is divided into chunks and hashed again. A size that was known already
// may turn out to be less, so long as that cuts the file into the same chunks:
// those before its end stay. Any other change is ErrSize: the content is another
// one.
func (p *Partial) SetSize(n int64) error {
	g := load.Geometry{Size: n}
	if err := g.Validate(); err != nil || !g.Known() {
		return fmt.Errorf("size of %s: %d bytes is no valid size", p.target, n)
	}
	p.settling.Lock()
	defer p.settling.Unlock()
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	if p.x.g == g {
		return nil
	}
	if p.x.g.Known() && (p.table != nil || n > p.x.g.Size || g.ChunkSize() != p.x.g.ChunkSize()) {
		return fmt.Errorf("%s: %w: from %d to %d bytes; discard it and start over", p.target, ErrSize, p.x.g.Size, n)
	}
	if err := p.reserve(g); err != nil {
		return err
	}
	x := index{key: p.x.key, epoch: p.x.epoch, g: g, digests: make([]load.Digest, g.Chunks())}
	crc := make([]uint32, g.Chunks())
	if err := p.recut(&x, crc); err != nil {
		return err
	}
	cut, err := p.cut(n)
	if err != nil {
		return err
	}
	p.mu.Lock()
	if cut {
		p.unsynced++
	}
	sameCut := p.x.g.ChunkSize() == g.ChunkSize()
	p.x, p.crc, p.done = x, crc, false
	p.filter(p.table)
	p.count()
	// What was hashed stays hashed unless a chunk boundary, or the end, moved
	// into it.
	p.rehash = p.rehash || (!sameCut && p.settled > 0) || p.settled > p.prefix
	p.mu.Unlock()
	return p.rewriteIndex(x)
}

// recut fills x and crc, of a file now known to have another geometry, from
// the chunks held. No one else changes p.x.g and the held chunks meanwhile,
// except for ReadChunk, which drops what it finds wrong by and by.
func (p *Partial) recut(x *index, crc []uint32) error {
	from := p.x.g.ChunkSize()
	for i := range x.digests {
		off, n := x.g.Span(i)
		first, last := int(off)/from, int(off+int64(n)-1)/from
		whole := n%from == 0
		for k := first; whole && k <= last; k++ {
			whole = p.Has(k)
		}
		if !whole {
			continue
		}
		if _, unproven := standsIn(p.x.digests[first]); n == from && (p.table == nil || !unproven) {
			x.digests[i], crc[i] = p.x.digests[first], p.crc[first]
			continue
		}
		ok, err := p.join(first, last, x, crc, i)
		if err != nil {
			return err
		}
		if !ok {
			x.digests[i] = load.Digest{}
		}
	}
	return nil
}

// join hashes the old chunks first to last as the new chunk i, and reports
// whether each of them still is what was stored.
func (p *Partial) join(first, last int, x *index, crc []uint32, i int) (bool, error) {
	whole, wholeCRC, part := sha256.New(), crc32.New(castagnoli), crc32.New(castagnoli)
	sinks := []io.Writer{wholeCRC, part}
	if p.table != nil {
		sinks = append(sinks, whole)
	}
	for k := first; k <= last; k++ {
		off, n := p.x.g.Span(k)
		part.Reset()
		err := p.scan(off, n, sinks...)
		if err != nil && !mediumFault(err) {
			return false, fmt.Errorf("read chunk %d of %s: %w", k, p.target, err)
		}
		if err != nil || part.Sum32() != p.crc[k] {
			return false, nil
		}
	}
	x.digests[i], crc[i] = standIn(wholeCRC.Sum32()), wholeCRC.Sum32()
	if p.table != nil {
		x.digests[i] = load.Digest(whole.Sum(nil))
	}
	return true, nil
}
