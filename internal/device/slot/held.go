package slot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
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
		if err := p.scan(off, n, chunk, crc, p.sum); err != nil {
			return fmt.Errorf("read %s: %w", p.target, err)
		}
		p.x.digests[i], p.crc[i] = load.Digest(chunk.Sum(nil)), crc.Sum32()
	}
	if !spec.Digest.fits(load.Digest(p.sum.Sum(nil))) || p.filter(spec.Table) > 0 {
		return fmt.Errorf("%s: %w: its digest is another one", p.target, ErrDamaged)
	}
	p.count()
	p.settled, p.unsynced = len(p.x.digests), 0
	return nil
}
