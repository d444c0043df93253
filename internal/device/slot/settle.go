package slot

import (
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"syscall"

	"github.com/peerload/peerload/load"
)

// sumState is the SHA-256 of the standard library, which can save its state, so
// that a chunk that is read back wrong can be removed from the sum. Saving never
// fails, and restoring fails only for a state that was not saved by the same kind
// of hash: an error of either is one of this package, and so ends the program.
type sumState interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

func (p *Partial) saveSum() {
	b, err := p.sum.(sumState).AppendBinary(p.state[:0])
	if err != nil {
		panic("slot: the state of a SHA-256 cannot be saved: " + err.Error())
	}
	p.state = b
}

func (p *Partial) restoreSum() {
	if err := p.sum.(sumState).UnmarshalBinary(p.state); err != nil {
		panic("slot: the state of a SHA-256 cannot be restored: " + err.Error())
	}
}

// proven reports whether the digests of all chunks are signed, and so the whole file
// needs none of its own: what has the chunks that the table names, in their order,
// is the file.
func (p *Partial) proven() bool {
	_, given := p.want.Given()
	return given && p.table != nil
}

// sums is where the bytes of chunks in their order go to.
func (p *Partial) sums() []io.Writer {
	if p.proven() {
		return nil
	}
	return []io.Writer{p.sum}
}

// digest is that of the whole file, once all is settled.
func (p *Partial) digest() load.Digest {
	if p.proven() {
		d, _ := p.want.Given()
		return d
	}
	return load.Digest(p.sum.Sum(nil))
}

// mediumFault reports whether a read failed because of the medium, so that
// fetching the chunk again may help.
func mediumFault(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Settle follows the write position: when a window is full, it writes it to the
// medium, reads it back, compares it with what was written by its CRC-32C and, if no
// signed table has proven it, hashes it into the digest of the whole file. Every
// SyncEvery bytes it makes everything durable. It handles at most one window;
// with force it handles the whole prefix and makes it durable. It is cheap when
// there is nothing to do, so call it after every chunk. A chunk that is read
// back wrong is dropped: *ReadBackError names it, and Settle may go on.
func (p *Partial) Settle(force bool) error {
	p.settling.Lock()
	defer p.settling.Unlock()
	if err := p.sync(force); err != nil {
		return err
	}
	return p.settle(force)
}

// sync makes data and index durable when enough was written since. The index
// may be written in any order: its digests are used only after the data has
// been hashed.
func (p *Partial) sync(force bool) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	p.mu.Lock()
	n := p.unsynced
	due := n > 0 && (force || n >= p.cfg.SyncEvery)
	if due {
		p.unsynced = 0
	}
	p.mu.Unlock()
	if !due || p.cfg.NoSync {
		return nil
	}
	err := errors.Join(p.data.Sync(), p.idx.Sync())
	if err == nil && !p.named {
		err = p.fs.SyncDir(p.dir)
		p.named = err == nil
	}
	if err != nil {
		// The system marks a page that it could not write as clean and may drop
		// it: what was hashed before must be read from the medium again.
		p.mu.Lock()
		p.unsynced += n
		p.rehash, p.done = true, false
		p.mu.Unlock()
		return fmt.Errorf("sync the partial file of %s: %w", p.target, spaceError(p.fs, p.dir, 0, err))
	}
	return nil
}

// settle reads back one window, or all.
func (p *Partial) settle(all bool) error {
	for {
		from, to, off, n := p.window(all)
		if from == to {
			return nil
		}
		if !p.cfg.NoSync {
			if err := p.data.Flush(off, n); err != nil {
				return fmt.Errorf("write out %s: %w", p.target, spaceError(p.fs, p.dir, n, err))
			}
		}
		for from < to {
			next, err := p.readBack(from)
			if err != nil {
				return err
			}
			if next != from+1 {
				break
			}
			from = next
		}
		if !all {
			return nil
		}
	}
}

// window returns the chunks to read back next, from == to if there are too
// few, and their place in the file.
func (p *Partial) window(all bool) (from, to int, off, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rehash {
		p.sum.Reset()
		p.settled, p.rehash = 0, false
	}
	from = p.settled
	step := int((p.cfg.Window + int64(p.x.g.ChunkSize()) - 1) / int64(p.x.g.ChunkSize()))
	if p.prefix == from || (!all && p.prefix-from < step) {
		return from, from, 0, 0
	}
	to = min(p.prefix, from+step)
	off, _ = p.x.g.Span(from)
	last, size := p.x.g.Span(to - 1)
	return from, to, off, last + int64(size) - off
}

// readBack reads chunk i, the next to be settled, back into the digest of the
// whole file. It returns the chunk to go on with.
func (p *Partial) readBack(i int) (next int, err error) {
	p.mu.Lock()
	if p.rehash || !p.has(i) {
		p.mu.Unlock()
		return 0, nil
	}
	crc := p.crc[i]
	off, n := p.x.g.Span(i)
	p.mu.Unlock()
	p.saveSum()
	c := crc32.New(castagnoli)
	err = p.scan(off, n, append(p.sums(), c)...)
	if err == nil && c.Sum32() == crc {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.has(i) {
			p.rehash = true
		}
		p.settled = i + 1
		return i + 1, nil
	}
	p.restoreSum()
	if err != nil && !mediumFault(err) {
		return 0, fmt.Errorf("read back chunk %d of %s: %w", i, p.target, err)
	}
	err = p.lost(i, crc, err)
	if errors.Is(err, ErrNotHeld) {
		// Dropped by someone else meanwhile.
		return 0, nil
	}
	return 0, err
}

// Finish settles what is left, makes the file and the partial's name durable
// and returns the digest of the whole file. Missing chunks are ErrIncomplete; a
// digest other than the Spec's is ErrDigest, and every chunk is kept: ask for a
// table, Drop the chunks that differ, fetch them, and call Finish again. A
// chunk that the medium lost is ErrReadBack and is fetched again likewise.
func (p *Partial) Finish() (load.Digest, error) {
	p.settling.Lock()
	defer p.settling.Unlock()
	p.mu.Lock()
	held, chunks, g := p.held, len(p.x.digests), p.x.g
	p.mu.Unlock()
	if !g.Known() {
		return load.Digest{}, fmt.Errorf("%s: %w: its size is not known", p.target, ErrIncomplete)
	}
	if held < chunks {
		return load.Digest{}, fmt.Errorf("%s: %w: %d of %d chunks are held", p.target, ErrIncomplete, held, chunks)
	}
	if err := p.trim(g.Size); err != nil {
		return load.Digest{}, err
	}
	// First the sync: only written pages can be dropped and read back.
	if err := p.sync(true); err != nil {
		return load.Digest{}, err
	}
	if err := p.settle(true); err != nil {
		return load.Digest{}, err
	}
	d := p.digest()
	if !p.want.fits(d) {
		if err := p.findLost(); err != nil {
			return d, err
		}
		return d, fmt.Errorf("%s: %w: %s, not %s", p.target, ErrDigest, d, p.want.digest)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rehash || p.settled != len(p.x.digests) || p.proven() && !slices.Equal(p.table, p.x.digests) {
		return d, fmt.Errorf("%s: %w: a chunk was dropped meanwhile", p.target, ErrIncomplete)
	}
	p.done = true
	return d, nil
}

// EndsWith reports whether the file is its first chunks, so many, and tail: they
// have the digest that the file must have. It settles what is left of them.
func (p *Partial) EndsWith(chunks int, tail []byte) bool {
	if _, given := p.want.Given(); !given || p.table != nil {
		return false // a signed table has the size, too
	}
	p.settling.Lock()
	defer p.settling.Unlock()
	if p.settle(true) != nil {
		return false
	}
	p.mu.Lock()
	all := p.settled == chunks && !p.rehash
	p.mu.Unlock()
	if !all {
		return false
	}
	p.saveSum()
	_, _ = p.sum.Write(tail) // a hash never fails
	d := load.Digest(p.sum.Sum(nil))
	p.restoreSum()
	return p.want.fits(d)
}

// trim cuts off what the data has beyond its size.
func (p *Partial) trim(size int64) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	cut, err := p.cut(size)
	if cut && err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unsynced++
	}
	return err
}

// findLost hashes every chunk on the medium: when the whole file is wrong, it
// distinguishes a faulty medium from wrong chunks.
func (p *Partial) findLost() error {
	p.mu.Lock()
	x := p.x
	x.digests = append([]load.Digest{}, p.x.digests...)
	crc := append([]uint32{}, p.crc...)
	p.mu.Unlock()
	h, c := sha256.New(), crc32.New(castagnoli)
	for i, d := range x.digests {
		h.Reset()
		c.Reset()
		off, n := x.g.Span(i)
		_, unproven := standsIn(d)
		sinks := []io.Writer{c}
		if !unproven {
			sinks = append(sinks, h)
		}
		err := p.scan(off, n, sinks...)
		if err != nil && !mediumFault(err) {
			return fmt.Errorf("read chunk %d of %s: %w", i, p.target, err)
		}
		if err != nil || c.Sum32() != crc[i] || !unproven && load.Digest(h.Sum(nil)) != d {
			return p.lost(i, crc[i], err)
		}
	}
	return nil
}

// Commit puts the file in place: it must have passed Finish. The file is
// renamed over the target and the directory is made durable. Then the target
// is no longer locked; ReadChunk works until Close.
func (p *Partial) Commit() error {
	p.settling.Lock()
	defer p.settling.Unlock()
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.ready(); err != nil {
		return err
	}
	if err := p.rename(); err != nil {
		return err
	}
	if !p.cfg.NoSync {
		if err := p.fs.SyncDir(p.dir); err != nil {
			return fmt.Errorf("commit %s: %w", p.target, err)
		}
	}
	return p.committed()
}

// ready is an error unless the file may be committed. The caller holds
// settling and writing.
func (p *Partial) ready() error {
	if err := p.usable(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		return fmt.Errorf("%s: %w: it has not been verified as a whole", p.target, ErrIncomplete)
	}
	return nil
}

// rename puts the very file that was verified under the target's name. Whoever
// can write the directory may exchange names meanwhile: that is looked at on
// both sides of the rename.
func (p *Partial) rename() error {
	if p.renamed {
		return nil
	}
	fi, err := p.data.Stat()
	if err == nil && fi.Size() != p.x.g.Size {
		err = fmt.Errorf("%w: it has %d bytes, %d were verified", ErrDamaged, fi.Size(), p.x.g.Size)
	}
	if err == nil {
		err = StillOpen(p.fs, partName(p.target), p.data)
	}
	if err == nil {
		err = p.fs.Rename(partName(p.target), p.target)
	}
	if err == nil {
		err = StillOpen(p.fs, p.target, p.data)
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", p.target, err)
	}
	p.renamed = true
	return nil
}

// committed removes what a committed file does not need any more.
func (p *Partial) committed() error {
	if p.lock == nil {
		return nil
	}
	return errors.Join(removeAny(p.fs, indexName(p.target)), p.unlock())
}
