// Package durable writes files that appear whole or not at all, and keeps the
// writers of a directory apart. That holds over a power cut, too.
//
// What must not be here: what the files mean. The content of a load on a device
// is written by package slot, which needs more: it must survive a bad medium.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrTooLarge says that a file is longer than it may be.
var ErrTooLarge = errors.New("longer than allowed")

// tempPrefix begins the name of a file that is being written.
const tempPrefix = ".tmp-"

// Write makes the file appear under its name whole or not at all, even after a
// power cut: temporary file, fsync, rename, fsync of the directory.
func Write(path string, data []byte, mode fs.FileMode) error {
	return WriteFrom(path, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Replace is Write for a file in whose place a damaged directory may be: that
// is put aside, as path.damaged.
func Replace(path string, data []byte, mode fs.FileMode) error {
	err := Write(path, data, mode)
	if err != nil && isDir(path) {
		if err = putAside(path); err == nil {
			err = Write(path, data, mode)
		}
	}
	return err
}

func isDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}

func putAside(path string) error {
	aside := path + ".damaged"
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	return os.Rename(path, aside)
}

// WriteFrom is Write for what write writes. If write fails, nothing appears.
func WriteFrom(path string, mode fs.FileMode, write func(io.Writer) error) error {
	return writeFrom(system{}, path, mode, write)
}

// fileSystem is what writing needs of a file system: tests cut its power.
type fileSystem interface {
	// createTemp makes a file in dir under a name of its own that begins with
	// tempPrefix.
	createTemp(dir string) (file, error)
	rename(from, to string) error
	remove(path string) error
	syncDir(dir string) error
}

// file is an open file, written from its start.
type file interface {
	io.WriteCloser
	Name() string
	Chmod(fs.FileMode) error
	Sync() error
}

// system is the file system of the machine.
type system struct{}

func (system) createTemp(dir string) (file, error) { return os.CreateTemp(dir, tempPrefix) }
func (system) rename(from, to string) error        { return os.Rename(from, to) }
func (system) remove(path string) error            { return os.Remove(path) }
func (system) syncDir(dir string) error            { return SyncDir(dir) }

func writeFrom(disk fileSystem, path string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := disk.createTemp(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = disk.remove(f.Name()) // the next holder of the lock removes it otherwise
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := disk.rename(f.Name(), path); err != nil {
		return err
	}
	return disk.syncDir(dir)
}

// SyncDir makes renames and removals in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Read reads a file of at most max bytes; a missing one is nil. An error matches
// ErrTooLarge if the file is longer.
func Read(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadAll(f, path, max)
}

// ReadAll reads r, which is called name in errors, to its end, or fails with
// ErrTooLarge after max bytes.
func ReadAll(r io.Reader, name string, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrTooLarge, max)
	}
	return b, nil
}

// Lock takes the one lock of dir among all processes and removes what a
// killed writer left there. unlock gives it back. The lock is the file .lock in
// dir; a symbolic link of that name is refused, because it would make a file,
// and hold a lock, elsewhere; a directory is put aside.
func Lock(dir string) (unlock func(), err error) {
	name := filepath.Join(dir, ".lock")
	if isDir(name) {
		if err := putAside(name); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	RemoveUnfinished(dir)
	return func() { f.Close() }, nil
}

// RemoveUnfinished removes what killed writers left in dir. Only the holder of
// the lock calls it.
func RemoveUnfinished(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // the write that follows meets the same error and reports it
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
