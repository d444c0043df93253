package slot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/peerload/peerload/load"
)

// OpenHeld opens a file that was committed before, verifies all of it, and
// returns it as Partial is after Commit: ReadChunk serves it until Close, and
// nothing can be written. Spec.Digest must be given. A missing file is
// fs.ErrNotExist; another content, or a file that another user can write, is
// ErrDamaged.
func OpenHeld(fs FS, target string, spec Spec, cfg Config) (*Partial, error) {
	if err := errors.Join(spec.Validate(), cfg.Validate()); err != nil {
		return nil, err
	}
	if _, given := spec.Digest.Given(); !given {
		return nil, fmt.Errorf("%s: only a file whose digest is known can be held", target)
	}
	data, err := fs.OpenFile(target, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	p := &Partial{
		fs: fs, cfg: cfg.withDefaults(), target: target, dir: filepath.Dir(target), want: spec.Digest, table: spec.Table,
		data: data, sum: sha256.New(), buf: make([]byte, bufSize), named: true, renamed: true, done: true,
	}
	if err := p.hold(spec); err != nil {
		return nil, errors.Join(err, data.Close())
	}
	return p, nil
}

// hold reads the whole file and fills the index with what it is.
func (p *Partial) hold(spec Spec) error {
	fi, err := p.data.Stat()
	if err != nil {
		return err
	}
	if !p.fs.Owned(fi) {
		return fmt.Errorf("%s: %w: %w", p.target, ErrDamaged, errForeign)
	}
	g := load.Geometry{Size: fi.Size()}
	if !fi.Mode().IsRegular() || g.Validate() != nil || spec.Geometry.Known() && g != spec.Geometry {
		return fmt.Errorf("%s: %w: it has %d bytes", p.target, ErrDamaged, fi.Size())
	}
	p.setIndex(index{key: spec.Key, g: g})
	chunk, crc := sha256.New(), crc32.New(castagnoli)
	for i := range p.x.digests {
		off, n := g.Span(i)
		chunk.Reset()
		crc.Reset()
		sinks := append(p.sums(), crc)
		if p.table != nil {
			sinks = append(sinks, chunk)
		}
		if err := p.scan(off, n, sinks...); err != nil {
			return fmt.Errorf("read %s: %w", p.target, err)
		}
		p.x.digests[i], p.crc[i] = standIn(crc.Sum32()), crc.Sum32()
		if p.table != nil {
			p.x.digests[i] = load.Digest(chunk.Sum(nil))
		}
	}
	if !spec.Digest.fits(p.digest()) || p.filter(spec.Table) > 0 {
		return fmt.Errorf("%s: %w: its digest is another one", p.target, ErrDamaged)
	}
	p.count()
	p.settled, p.unsynced = len(p.x.digests), 0
	return nil
}

// recheck hashes what an earlier process left, and keeps what is right. It
// reads from the medium, so it also counts as the read-back. Without a table it is
// the digest of the whole file that decides, now or when the gaps before a chunk are
// closed: till then its CRC shows whether it was written to its end.
func (p *Partial) recheck() error {
	if p.held == 0 {
		return nil
	}
	fi, err := p.data.Stat()
	if err != nil {
		return err
	}
	if !p.cfg.NoSync {
		if err := p.data.Flush(0, fi.Size()); err != nil {
			return err
		}
	}
	chunk, crc := sha256.New(), crc32.New(castagnoli)
	for i, d := range p.x.digests {
		off, n := p.x.g.Span(i)
		if d.IsZero() {
			continue
		}
		chunk.Reset()
		crc.Reset()
		was, unproven := standsIn(d)
		prove := !unproven || len(p.table) == len(p.x.digests)
		if unproven && prove {
			d = p.table[i]
		}
		sinks := []io.Writer{crc}
		if prove {
			sinks = append(sinks, chunk)
		}
		inOrder := p.settled == i
		if inOrder {
			p.saveSum()
			sinks = append(sinks, p.sums()...)
		}
		ok := off+int64(n) <= fi.Size() && p.scan(off, n, sinks...) == nil
		if !ok || prove && load.Digest(chunk.Sum(nil)) != d || !prove && crc.Sum32() != was {
			if inOrder {
				p.restoreSum()
			}
			p.x.digests[i] = load.Digest{}
			continue
		}
		p.x.digests[i], p.crc[i] = d, crc.Sum32()
		if inOrder {
			p.settled = i + 1
		}
	}
	p.count()
	// An earlier process may have synced nothing of it.
	p.unsynced += fi.Size()
	return nil
}

// Digests returns a copy of the digests of the chunks held, zero where one is
// not. While the size is unknown it ends with the last chunk held. Without a table
// most chunks have none before it is asked for: then it reads them, and waits for
// the medium.
func (p *Partial) Digests() load.Table {
	p.settling.Lock()
	defer p.settling.Unlock()
	p.mu.Lock()
	x := p.x
	x.digests = append(load.Table{}, p.x.digests...)
	p.mu.Unlock()
	for i, d := range x.digests {
		if crc, ok := standsIn(d); ok {
			p.prove(x.g, i, crc)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.x.digests)
	for !p.x.g.Known() && n > 0 && p.x.digests[n-1].IsZero() {
		n--
	}
	t := append(load.Table{}, p.x.digests[:n]...)
	for i, d := range t {
		if _, ok := standsIn(d); ok { // it came meanwhile, or cannot be read
			t[i] = load.Digest{}
		}
	}
	return t
}

// prove finds the digest of chunk i, of which only the CRC is known, if the medium
// still has it. The caller holds settling.
func (p *Partial) prove(g load.Geometry, i int, crc uint32) {
	chunk, c := sha256.New(), crc32.New(castagnoli)
	off, n := g.Span(i)
	if p.scan(off, n, chunk, c) != nil || c.Sum32() != crc {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.x.g == g && p.x.digests[i] == standIn(crc) {
		p.x.digests[i] = load.Digest(chunk.Sum(nil))
	}
}
