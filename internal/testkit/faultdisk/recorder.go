package faultdisk

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
)

// Recorder is a directory of the real file system whose changes are repeated on
// a Disk, in the order in which they happened: what a power cut leaves of them
// can be enumerated there. A program runs on it as on the real file system.
// Names outside the directory are only real.
type Recorder struct {
	slot.OS
	dir  string
	disk *Disk
	mu   sync.Mutex // keeps both in the same order
	err  error      // of the Disk: it is not what the directory is
}

var (
	_ slot.FS    = (*Recorder)(nil)
	_ durable.FS = (*Recorder)(nil)
)

// Record records the changes of a directory. What it holds counts as durable. A
// change that is not made through the Recorder is not known to the Disk.
func Record(dir string) (*Recorder, *Disk, error) {
	d := New(1)
	err := filepath.WalkDir(dir, func(p string, e iofs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		return load(d, p, strings.TrimPrefix(p, dir))
	})
	if err != nil {
		return nil, nil, err
	}
	d.settle(d.root)
	d.pending = nil
	return &Recorder{dir: dir, disk: d}, d, nil
}

// load copies one name of the real file system.
func load(d *Disk, from, to string) error {
	fi, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case fi.IsDir():
		return d.Mkdir(to, fi.Mode())
	case fi.Mode().Type() == iofs.ModeSymlink:
		target, err := os.Readlink(from)
		return errors.Join(err, d.Symlink(target, to))
	case !fi.Mode().IsRegular():
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := d.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, fi.Mode())
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// settle makes everything durable.
func (d *Disk) settle(dir *node) {
	clear(dir.kept)
	for name, n := range dir.names {
		dir.kept[name] = n
		if n.mode.IsDir() {
			d.settle(n)
		}
	}
}

// Err returns why the Disk is not what the directory is, nil if it is.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Materialize writes what is on the disk into an empty directory of the real
// file system.
func (d *Disk) Materialize(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	done := map[*node]string{}
	var put func(n *node, at string) error
	put = func(n *node, at string) error {
		if first, linked := done[n]; linked {
			return os.Link(first, at)
		}
		done[n] = at
		switch {
		case n.mode.IsDir():
			if err := os.Mkdir(at, n.mode.Perm()); err != nil && !errors.Is(err, iofs.ErrExist) {
				return err
			}
			for _, name := range sortedNames(n.names) {
				if err := put(n.names[name], filepath.Join(at, name)); err != nil {
					return err
				}
			}
			return nil
		case n.mode.Type() == iofs.ModeSymlink:
			return os.Symlink(n.target, at)
		}
		return os.WriteFile(at, n.data, n.mode.Perm())
	}
	return put(d.root, dir)
}

// onDisk is the name on the Disk; ok is false outside the directory.
func (r *Recorder) onDisk(name string) (at string, ok bool) {
	rel, err := filepath.Rel(r.dir, name)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return filepath.Join("/", rel), true
}

// both does something to the real file system, and if that succeeds to the Disk.
func (r *Recorder) both(name string, real func() error, copied func(at string) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.onDisk(name)
	if err := real(); err != nil || !ok {
		return err
	}
	r.note(copied(at))
	return nil
}

func (r *Recorder) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

// OpenFile implements slot.FS.
func (r *Recorder) OpenFile(name string, flag int, perm iofs.FileMode) (slot.File, error) {
	f := &recorded{r: r}
	var err error
	err = r.both(name, func() error {
		f.File, err = r.OS.OpenFile(name, flag, perm)
		return err
	}, func(at string) error {
		f.copy, err = r.disk.OpenFile(at, flag, perm)
		return err
	})
	if f.File == nil {
		return nil, err
	}
	return f, err
}

// Rename implements slot.FS.
func (r *Recorder) Rename(oldname, newname string) error {
	return r.both(newname, func() error { return r.OS.Rename(oldname, newname) }, func(at string) error {
		from, _ := r.onDisk(oldname)
		return r.disk.Rename(from, at)
	})
}

// Link implements slot.FS.
func (r *Recorder) Link(oldname, newname string) error {
	return r.both(newname, func() error { return r.OS.Link(oldname, newname) }, func(at string) error {
		from, _ := r.onDisk(oldname)
		return r.disk.Link(from, at)
	})
}

// Remove implements slot.FS.
func (r *Recorder) Remove(name string) error {
	return r.both(name, func() error { return r.OS.Remove(name) }, r.disk.Remove)
}

// Mkdir implements slot.FS.
func (r *Recorder) Mkdir(name string, perm iofs.FileMode) error {
	return r.both(name, func() error { return r.OS.Mkdir(name, perm) },
		func(at string) error { return r.disk.Mkdir(at, perm) })
}

// Symlink implements slot.FS.
func (r *Recorder) Symlink(target, name string) error {
	return r.both(name, func() error { return r.OS.Symlink(target, name) },
		func(at string) error { return r.disk.Symlink(target, at) })
}

// SyncDir implements slot.FS.
func (r *Recorder) SyncDir(name string) error {
	return r.both(name, func() error { return r.OS.SyncDir(name) }, r.disk.SyncDir)
}

// Lock implements slot.FS. The lock file is on the real file system alone: that
// it is left behind makes no difference.
func (r *Recorder) Lock(name string) (io.Closer, error) { return r.OS.Lock(name) }

// CreateTemp implements durable.FS.
func (r *Recorder) CreateTemp(dir string) (durable.File, error) {
	t := &temp{r: r}
	var err error
	err = r.both(dir, func() error {
		t.File, err = os.CreateTemp(dir, durable.TempPrefix)
		return err
	}, func(at string) error {
		at = filepath.Join(at, filepath.Base(t.Name()))
		t.copy, err = r.disk.OpenFile(at, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// recorded is an open file.
type recorded struct {
	slot.File
	r    *Recorder
	copy slot.File // nil outside the directory
}

// do is Recorder.both for an open file.
func (f *recorded) do(real, copied func() error) error {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if err := real(); err != nil || f.copy == nil {
		return err
	}
	f.r.note(copied())
	return nil
}

// WriteAt implements slot.File.
func (f *recorded) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.do(func() error { n, err = f.File.WriteAt(b, off); return err },
		func() error { _, err := f.copy.WriteAt(b, off); return err })
	return n, err
}

// Truncate implements slot.File.
func (f *recorded) Truncate(size int64) error {
	return f.do(func() error { return f.File.Truncate(size) }, func() error { return f.copy.Truncate(size) })
}

// Sync implements slot.File.
func (f *recorded) Sync() error { return f.do(f.File.Sync, func() error { return f.copy.Sync() }) }

// Flush implements slot.File.
func (f *recorded) Flush(off, n int64) error {
	return f.do(func() error { return f.File.Flush(off, n) }, func() error { return f.copy.Flush(off, n) })
}

// Close implements slot.File.
func (f *recorded) Close() error {
	return f.do(f.File.Close, func() error { return f.copy.Close() })
}

// temp is an open file that is written from its start.
type temp struct {
	*os.File
	r    *Recorder
	copy slot.File
	at   int64
}

// Write implements durable.File.
func (t *temp) Write(b []byte) (int, error) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	n, err := t.File.Write(b)
	if t.copy != nil {
		_, terr := t.copy.WriteAt(b[:n], t.at)
		t.r.note(terr)
		t.at += int64(n)
	}
	return n, err
}

// Chmod implements durable.File.
func (t *temp) Chmod(mode iofs.FileMode) error {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	if f, ok := t.copy.(*file); ok {
		f.d.mu.Lock()
		f.n.mode = mode.Perm()
		f.d.mu.Unlock()
	}
	return t.File.Chmod(mode)
}

// Sync implements durable.File.
func (t *temp) Sync() error {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	if t.copy != nil {
		t.r.note(t.copy.Sync())
	}
	return t.File.Sync()
}
