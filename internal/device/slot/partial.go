package slot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/peerload/peerload/load"
)

// Spec says which content a partial file holds.
type Spec struct {
	// Key identifies the content: the digest of a signed or pinned file; for an
	// unsigned one a hash of what was asked for, such as its URL, while length
	// and validator are in Epoch. Not zero.
	Key load.Digest
	// Epoch distinguishes different contents of one key: a partial file of
	// another epoch is discarded. 0 for content that is identified by its
	// digest.
	Epoch uint64
	// AnyEpoch accepts what an earlier process left, whatever its epoch; see
	// Partial.Epoch. Epoch is then used only for a new partial file.
	AnyEpoch bool
	// Geometry of the file; the size may be load.UnknownSize.
	Geometry load.Geometry
	// Table is the signed chunk table, nil while chunks are provisional. It
	// needs a known size.
	Table load.Table
	// Digest of the whole file, if one was given.
	Digest Expected
}

// Validate refuses a Spec that identifies no content or contradicts itself.
func (s Spec) Validate() error {
	if err := s.Geometry.Validate(); err != nil {
		return err
	}
	if s.Key.IsZero() {
		return errors.New("a partial file needs a key that names its content")
	}
	if s.Digest.how == unsaid {
		return errors.New("a partial file needs a digest, or the word that none was given")
	}
	return checkTable(s.Table, s.Geometry)
}

func checkTable(t load.Table, g load.Geometry) error {
	if t == nil {
		return nil
	}
	if !g.Known() {
		return errors.New("a chunk table needs a known size")
	}
	if len(t) != g.Chunks() {
		return fmt.Errorf("a chunk table of %d digests for a file of %d chunks", len(t), g.Chunks())
	}
	return nil
}

// Config says how carefully and how often a partial file is settled. The zero
// Config is right for devices.
type Config struct {
	// Window is how many bytes Settle writes out, reads back and hashes at a
	// time, and so about how many are left when the last byte arrives. 0 means
	// DefaultWindow, 4 MiB: below a second for slow flash memory, and enough
	// for it to write in large pieces.
	Window int64
	// SyncEvery is after how many written bytes Settle makes all of them
	// durable: what a power cut can cost. 0 means DefaultSyncEvery, 16 MiB,
	// which a thin line brings again in a minute, while a sync for each chunk
	// would halve the rate of flash memory.
	SyncEvery int64
	// NoSync leaves out every fsync and reads back from memory. It is for
	// laboratories that run many devices on one disk: a power cut may then
	// leave a damaged file under its final name. False on devices.
	NoSync bool
}

// Defaults of Config, in bytes.
const (
	DefaultWindow    = 4 << 20
	DefaultSyncEvery = 16 << 20
)

// Validate refuses negative sizes.
func (c Config) Validate() error {
	if c.Window < 0 || c.SyncEvery < 0 {
		return fmt.Errorf("window %d and sync distance %d must not be negative", c.Window, c.SyncEvery)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = DefaultSyncEvery
	}
	return c
}

// Partial is one component while it arrives: .NAME.part beside the target
// NAME, and .NAME.part.idx with the digest of each chunk held. All methods may
// be called concurrently; Settle and Finish wait for the medium, so one
// goroutine that may wait should call them.
type Partial struct {
	fs     FS
	cfg    Config
	target string
	dir    string
	want   Expected // of the whole file
	data   File
	idx    File

	// Lock order: settling, writing, mu. No one waits for the medium with mu
	// held.

	settling sync.Mutex // holder reads back; owns these three
	sum      hash.Hash  // SHA-256 of the first x.settled chunks
	state    []byte     // of sum, before the chunk being read back
	buf      []byte

	writing sync.Mutex // holder changes data and idx; owns these
	lock    io.Closer  // nil after commit or close
	named   bool       // the names of data and idx are durable
	renamed bool       // data has the target's name
	closed  bool

	mu       sync.Mutex // guards these
	x        index
	crc      []uint32 // CRC-32C per held chunk: a cheap check on read-back
	table    load.Table
	prefix   int   // chunks held without a gap from the start
	held     int   // chunks held
	settled  int   // chunks in sum
	rehash   bool  // sum must start again: a chunk in it was dropped
	unsynced int64 // bytes written since the last sync
	done     bool  // the whole file is verified and durable
}

func partName(target string) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".part")
}

func indexName(target string) string { return partName(target) + ".idx" }
func lockName(target string) string  { return partName(target) + ".lock" }

// OpenPartial opens the partial file of target, or makes one. Chunks that an
// earlier process left are read and hashed again and count only if they are
// what the signed table, or without one the index, says; a partial of another
// content is discarded, and so is one that another user could have open or
// exchange: only in a directory that no one else can write is it continued. The
// caller owns target until Commit, Discard or Close:
// another process gets ErrLocked. A known size that does not fit the medium is
// ErrNoSpace at once.
func OpenPartial(fs FS, target string, spec Spec, cfg Config) (*Partial, error) {
	if err := errors.Join(spec.Validate(), cfg.Validate()); err != nil {
		return nil, err
	}
	if b := filepath.Base(target); b == "." || b == ".." || b == string(filepath.Separator) {
		return nil, fmt.Errorf("%q is not the name of a file", target)
	}
	// The rename would replace anything of that name, even a device file.
	if fi, err := fs.Lstat(target); err == nil && !fi.Mode().IsRegular() && fi.Mode().Type() != os.ModeSymlink {
		return nil, fmt.Errorf("%s: %w", target, ErrNotFile)
	}
	lock, err := fs.Lock(lockName(target))
	if err != nil && !errors.Is(err, ErrLocked) {
		err = fmt.Errorf("nothing can be written in %s: %w", filepath.Dir(target), err)
	}
	if err != nil {
		return nil, spaceError(fs, filepath.Dir(target), max(spec.Geometry.Size, 0), err)
	}
	p := &Partial{
		fs: fs, cfg: cfg.withDefaults(), target: target, dir: filepath.Dir(target),
		want: spec.Digest, table: spec.Table, lock: lock,
		sum: sha256.New(), buf: make([]byte, bufSize),
	}
	if err := p.open(spec); err != nil {
		return nil, errors.Join(fmt.Errorf("open the partial file of %s: %w", target, err), p.Close())
	}
	return p, nil
}

// open fills p from the medium and applies spec.
func (p *Partial) open(spec Spec) error {
	x := p.leftover(spec)
	if x == nil {
		if err := p.create(spec); err != nil {
			return spaceError(p.fs, p.dir, max(spec.Geometry.Size, 0), err)
		}
		x = &index{key: spec.Key, epoch: spec.Epoch, g: spec.Geometry}
	}
	p.setIndex(*x)
	listed := p.held
	if p.x.g == spec.Geometry {
		p.filter(p.table)
	}
	if err := p.recheck(); err != nil {
		return err
	}
	if p.held < listed {
		if err := p.rewriteIndex(p.x); err != nil {
			return err
		}
	}
	if spec.Geometry.Known() && !p.x.g.Known() {
		return p.SetSize(spec.Geometry.Size)
	}
	return p.reserve(p.x.g)
}

// leftover opens the files of an earlier process and returns their index, or
// nil if there are none of this content, or somebody else could have a hand on
// them. What the data has beyond the content is cut off.
func (p *Partial) leftover(spec Spec) *index {
	if !private(p.fs, p.dir) {
		return nil
	}
	var err error
	if p.idx, err = p.openSole(indexName(p.target)); err != nil {
		return nil
	}
	b, err := readFile(p.idx, indexName(p.target), int64(maxIndex))
	if err != nil {
		return nil
	}
	x, err := parseIndex(b)
	if err != nil || x.key != spec.Key || x.epoch != spec.Epoch && !spec.AnyEpoch {
		return nil
	}
	if spec.Geometry.Known() && x.g.Known() && x.g != spec.Geometry {
		return nil
	}
	if p.data, err = p.openSole(partName(p.target)); err != nil {
		return nil
	}
	if x.g.Known() {
		if _, err := p.cut(x.g.Size); err != nil {
			return nil
		}
	}
	return x
}

// openSole opens a file that is this user's alone, under one name.
func (p *Partial) openSole(name string) (File, error) {
	f, err := p.fs.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (!p.fs.Owned(fi) || p.fs.Links(fi) != 1) {
		err = errForeign
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// cut cuts off what the data has beyond size bytes, and reports whether there
// was anything.
func (p *Partial) cut(size int64) (did bool, err error) {
	fi, err := p.data.Stat()
	if err != nil || fi.Size() <= size {
		return false, err
	}
	return true, p.data.Truncate(size)
}

// create makes empty files in place of whatever is there. They are new files:
// no power cut can pair this key with bytes of an older content.
func (p *Partial) create(spec Spec) error {
	err := errors.Join(p.closeFiles(), p.removeFiles())
	p.data, p.idx = nil, nil
	if err != nil {
		return err
	}
	const flag = os.O_RDWR | os.O_CREATE | os.O_EXCL
	if p.data, err = p.fs.OpenFile(partName(p.target), flag, filePerm); err != nil {
		return err
	}
	if p.idx, err = p.fs.OpenFile(indexName(p.target), flag, filePerm); err != nil {
		return err
	}
	x := index{key: spec.Key, epoch: spec.Epoch, g: spec.Geometry}
	_, err = p.idx.WriteAt(x.header(), 0)
	return err
}

// Epoch returns the epoch of the content.
func (p *Partial) Epoch() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.x.epoch
}

// setIndex uses an index of which nothing is verified yet.
func (p *Partial) setIndex(x index) {
	if x.digests == nil {
		x.digests = make([]load.Digest, x.g.Chunks())
	}
	p.x = x
	p.crc = make([]uint32, len(x.digests))
	p.count()
	// The file itself, be it empty, must be synced once.
	p.unsynced = 1
}

// count finds held and prefix again.
func (p *Partial) count() {
	p.prefix, p.held = 0, 0
	for i, d := range p.x.digests {
		if d.IsZero() {
			continue
		}
		if p.prefix == i {
			p.prefix++
		}
		p.held++
	}
}

// filter drops, in memory, each held chunk that differs from t, and returns
// how many. A nil t fits everything, and what a chunk with a stand-in is, recheck
// finds out.
func (p *Partial) filter(t load.Table) int {
	dropped := 0
	for i := range p.x.digests {
		if _, unproven := standsIn(p.x.digests[i]); unproven {
			continue
		}
		if t != nil && !p.x.digests[i].IsZero() && p.x.digests[i] != t[i] {
			p.x.digests[i] = load.Digest{}
			dropped++
		}
	}
	if dropped > 0 {
		p.count()
		p.done = false
		if p.prefix < p.settled {
			p.rehash = true
		}
	}
	return dropped
}

// scan reads n bytes from off through the buffer into every sink.
func (p *Partial) scan(off int64, n int, sinks ...io.Writer) error {
	for n > 0 {
		b := p.buf[:min(n, len(p.buf))]
		if _, err := p.data.ReadAt(b, off); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		for _, w := range sinks {
			// A hash never fails.
			_, _ = w.Write(b)
		}
		off += int64(len(b))
		n -= len(b)
	}
	return nil
}

// rewriteIndex overwrites the index on the medium with x. If a power cut tears
// it, no harm is done: no digest in it is used before the data has been hashed.
func (p *Partial) rewriteIndex(x index) error {
	b := x.marshal()
	if _, err := p.idx.WriteAt(b, 0); err != nil {
		return spaceError(p.fs, p.dir, int64(len(b)), err)
	}
	return p.idx.Truncate(int64(len(b)))
}

// reserve allocates room for the whole file, so that a full medium shows before
// the transfer. If it fails, it frees what it allocated.
func (p *Partial) reserve(g load.Geometry) error {
	if !g.Known() {
		return nil
	}
	fi, err := p.data.Stat()
	if err != nil {
		return err
	}
	need := g.Size - fi.Size()
	err = p.data.Reserve(g.Size)
	switch {
	case err == nil || need <= 0:
		return nil
	case errors.Is(err, errors.ErrUnsupported):
		free, ferr := p.fs.StatFree(p.dir)
		if ferr == nil && free < need {
			return &NoSpaceError{Dir: p.dir, Need: need, Free: free}
		}
		return nil
	}
	return errors.Join(p.data.Truncate(fi.Size()), spaceError(p.fs, p.dir, need, err))
}

// Geometry returns the geometry as known now.
func (p *Partial) Geometry() load.Geometry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.x.g
}

// Prefix returns how many chunks are held from the start without a gap.
func (p *Partial) Prefix() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.prefix
}

// Has reports whether chunk i is held.
func (p *Partial) Has(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.has(i)
}

func (p *Partial) has(i int) bool {
	return i >= 0 && i < len(p.x.digests) && !p.x.digests[i].IsZero()
}

// Close closes the partial file and keeps it on disk if it holds anything;
// after Commit it ends the reading of the committed file.
func (p *Partial) Close() error {
	p.settling.Lock()
	defer p.settling.Unlock()
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.worthless() {
		return errors.Join(p.removeFiles(), p.close())
	}
	return p.close()
}

// worthless reports whether the files are this partial's own and hold no
// chunk. A file that is verified as a whole may be empty, and in a set that is
// about to be committed. The caller holds writing.
func (p *Partial) worthless() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lock != nil && p.data != nil && p.held == 0 && !p.done && !p.renamed
}

func (p *Partial) close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	return errors.Join(p.closeFiles(), p.unlock())
}

// Discard closes the partial and removes its files. After Commit it leaves
// the committed file alone.
func (p *Partial) Discard() error {
	p.settling.Lock()
	defer p.settling.Unlock()
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.lock == nil {
		return p.close()
	}
	return errors.Join(p.removeFiles(), p.close())
}

func (p *Partial) closeFiles() error {
	var err error
	for _, f := range []File{p.data, p.idx} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

func (p *Partial) removeFiles() error {
	return errors.Join(makeRoom(p.fs, indexName(p.target)), makeRoom(p.fs, partName(p.target)))
}

func (p *Partial) unlock() error {
	if p.lock == nil {
		return nil
	}
	l := p.lock
	p.lock = nil
	return l.Close()
}

// usable is an error once the partial is closed. The caller holds writing.
func (p *Partial) usable() error {
	if p.closed {
		return fmt.Errorf("partial file of %s: %w", p.target, iofs.ErrClosed)
	}
	return nil
}
