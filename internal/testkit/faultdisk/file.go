package faultdisk

import (
	"bytes"
	"io"
	iofs "io/fs"
	"slices"
	"syscall"
	"time"
)

// file is an open file of a Disk.
type file struct {
	d        *Disk
	n        *node
	name     string
	writable bool
	closed   bool
}

// info describes a node.
type info struct {
	n    *node
	name string
	size int64
}

func (n *node) info(name string) info {
	size := int64(len(n.data))
	if n.mode&iofs.ModeSymlink != 0 {
		size = int64(len(n.target))
	}
	return info{n: n, name: name, size: size}
}

// The methods of fs.FileInfo. There is no clock: ModTime is the zero time.
func (i info) Name() string                     { return i.name }
func (i info) Size() int64                      { return i.size }
func (i info) Mode() iofs.FileMode              { return i.n.mode }
func (i info) ModTime() time.Time               { return time.Time{} }
func (i info) IsDir() bool                      { return i.n.mode.IsDir() }
func (i info) Sys() any                         { return nil }
func (f *file) fail(op string, err error) error { return pathError(op, f.name, err) }

// usable is an error when the file is closed or the power is cut.
func (f *file) usable(op string) error {
	if f.closed {
		return f.fail(op, iofs.ErrClosed)
	}
	if f.d.down {
		return ErrPowerCut
	}
	return nil
}

// ReadAt implements slot.File.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable("read"); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements slot.File. A full disk takes what still fits.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable("write"); err != nil {
		return 0, err
	}
	if !f.writable {
		return 0, f.fail("write", syscall.EBADF)
	}
	do, err := f.d.step("write %s %d+%d", f.name, off, len(b))
	if !do {
		return 0, f.failUnlessCut("write", err)
	}
	n := int64(len(b))
	if end := off + n; end > int64(len(f.n.data)) {
		if room := f.d.roomFor(f.n); end > room {
			n = max(0, room-off)
		}
		if off+n > int64(len(f.n.data)) {
			f.d.resize(f.n, off+n)
		}
	}
	if n > 0 {
		f.n.own()
		copy(f.n.data[off:], b[:n])
		f.n.touch(off, off+n)
	}
	if err == nil && n < int64(len(b)) {
		err = syscall.ENOSPC
	}
	return int(n), f.failUnlessCut("write", err)
}

// failUnlessCut names the file in an error, but leaves ErrPowerCut alone.
func (f *file) failUnlessCut(op string, err error) error {
	if err == nil || err == ErrPowerCut {
		return err
	}
	return f.fail(op, err)
}

// roomFor is the length that a file can grow to.
func (d *Disk) roomFor(n *node) int64 {
	return n.room() + max(0, d.capacity-d.used)/pageSize*pageSize
}

// own makes data a copy of its own, which may be changed.
func (n *node) own() {
	if n.shared {
		n.data, n.shared = bytes.Clone(n.data), false
	}
}

// touch marks the pages of a range as changed since the last sync.
func (n *node) touch(from, to int64) {
	for p := from / pageSize; p*pageSize < to; p++ {
		n.dirty[p] = false
		n.past.page(n, p)
	}
}

// resize changes the length of a file and accounts for its room.
func (d *Disk) resize(n *node, size int64) {
	before, old := n.room(), int64(len(n.data))
	n.own()
	if size <= old {
		n.data = n.data[:size]
		n.reserved = 0
		n.touch(size, old)
	} else {
		n.data = slices.Grow(n.data, int(size-old))[:size]
		clear(n.data[old:])
		n.touch(old, size)
	}
	n.past.size(size)
	if n.links > 0 {
		d.used += n.room() - before
	}
}

// Truncate implements slot.File.
func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable("truncate"); err != nil {
		return err
	}
	do, err := f.d.step("truncate %s %d", f.name, size)
	if do {
		f.d.resize(f.n, size)
	}
	return f.failUnlessCut("truncate", err)
}

// Reserve implements slot.File.
func (f *file) Reserve(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable("reserve"); err != nil {
		return err
	}
	if size > f.d.roomFor(f.n) {
		return f.fail("reserve", syscall.ENOSPC)
	}
	do, err := f.d.step("reserve %s %d", f.name, size)
	if do {
		before := f.n.room()
		f.n.reserved = max(f.n.reserved, size)
		f.d.used += f.n.room() - before
	}
	return f.failUnlessCut("reserve", err)
}

// Stat implements slot.File.
func (f *file) Stat() (iofs.FileInfo, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable("stat"); err != nil {
		return nil, err
	}
	return f.n.info(f.name), nil
}

// Flush implements slot.File: the pages are on the medium, but the way to
// them is not durable, so a power cut may still lose them.
func (f *file) Flush(off, n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable("flush"); err != nil {
		return err
	}
	do, err := f.d.step("flush %s %d+%d", f.name, off, n)
	if do {
		for p, there := range f.n.dirty {
			if !there && (p+1)*pageSize > off && p*pageSize < off+n {
				f.n.dirty[p] = true
				f.d.flushed += pageSize
			}
		}
	}
	return f.failUnlessCut("flush", err)
}

// Sync implements slot.File.
func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable("sync"); err != nil {
		return err
	}
	do, err := f.d.step("sync %s", f.name)
	if do {
		for _, there := range f.n.dirty {
			if !there {
				f.d.flushed += pageSize
			}
		}
		f.n.stable, f.n.shared = f.n.data, true
		clear(f.n.dirty)
		f.n.past.forget()
	}
	return f.failUnlessCut("sync", err)
}

// Close implements slot.File.
func (f *file) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return f.fail("close", iofs.ErrClosed)
	}
	f.closed = true
	f.d.open--
	return nil
}
