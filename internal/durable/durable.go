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

// TempPrefix begins the name of a file that is being written.
const TempPrefix = ".tmp-"

// Writer writes to a file system. The zero Writer writes to that of the machine,
// as the functions of this package do; tests give another one, which knows what a
// power cut leaves.
type Writer struct {
	// FS is nil for that of the machine.
	FS FS
}

// FS is what writing needs of a file system.
type FS interface {
	Dirs
	// CreateTemp makes a file in dir under a name of its own that begins with
	// TempPrefix.
	CreateTemp(dir string) (File, error)
	// Rename replaces to by from at once. It is durable after SyncDir.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(path string) error
}

// Dirs is what making directories needs of a file system.
type Dirs interface {
	// Mkdir makes one directory.
	Mkdir(path string, mode fs.FileMode) error
	// Lstat describes a name without following a symbolic link.
	Lstat(path string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
}

// File is an open file, written from its start.
type File interface {
	io.WriteCloser
	Name() string
	Chmod(fs.FileMode) error
	Sync() error
}

// system is the file system of the machine.
type system struct{}

func (system) CreateTemp(dir string) (File, error)       { return os.CreateTemp(dir, TempPrefix) }
func (system) Rename(from, to string) error              { return os.Rename(from, to) }
func (system) Remove(path string) error                  { return os.Remove(path) }
func (system) Mkdir(path string, mode fs.FileMode) error { return os.Mkdir(path, mode) }
func (system) Lstat(path string) (fs.FileInfo, error)    { return os.Lstat(path) }
func (system) SyncDir(dir string) error                  { return SyncDir(dir) }

func (w Writer) fs() FS {
	if w.FS == nil {
		return system{}
	}
	return w.FS
}

// Write makes the file appear under its name whole or not at all, even after a
// power cut: temporary file, fsync, rename, fsync of the directory.
func Write(path string, data []byte, mode fs.FileMode) error { return Writer{}.Write(path, data, mode) }

// Write is the function Write.
func (w Writer) Write(path string, data []byte, mode fs.FileMode) error {
	return w.WriteFrom(path, mode, func(to io.Writer) error {
		_, err := to.Write(data)
		return err
	})
}

// Replace is Write for a file in whose place a damaged directory may be: that
// is put aside, as path.damaged.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return Writer{}.Replace(path, data, mode)
}

// Replace is the function Replace.
func (w Writer) Replace(path string, data []byte, mode fs.FileMode) error {
	err := w.Write(path, data, mode)
	if err != nil && isDir(path) {
		if err = PutAside(path); err == nil {
			err = w.Write(path, data, mode)
		}
	}
	return err
}

func isDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}

// PutAside renames what is damaged at path to path.damaged, in the place of an
// earlier one: something new can be made, and somebody can look at the old.
func PutAside(path string) error {
	aside := path + ".damaged"
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	return os.Rename(path, aside)
}

// WriteFrom is Write for what write writes. If write fails, nothing appears.
func WriteFrom(path string, mode fs.FileMode, write func(io.Writer) error) error {
	return Writer{}.WriteFrom(path, mode, write)
}

// WriteFrom is the function WriteFrom.
func (w Writer) WriteFrom(path string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	disk, dir := w.fs(), filepath.Dir(path)
	f, err := disk.CreateTemp(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = disk.Remove(f.Name()) // the next holder of the lock removes it otherwise
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
	if err := disk.Rename(f.Name(), path); err != nil {
		return err
	}
	return disk.SyncDir(dir)
}

// Remove removes a file, durably after SyncDir.
func (w Writer) Remove(path string) error { return w.fs().Remove(path) }

// SyncDir is the function SyncDir.
func (w Writer) SyncDir(dir string) error { return w.fs().SyncDir(dir) }

// MkdirAll is the function MkdirAll on the file system of w.
func (w Writer) MkdirAll(dir string, mode fs.FileMode) error { return MkdirAll(w.fs(), dir, mode) }

// MkdirAll makes a directory and those above it that are missing, as
// os.MkdirAll does, and makes them durable: what is written into a directory
// that a power cut loses is lost with it.
func MkdirAll(disk Dirs, dir string, mode fs.FileMode) error {
	dir = filepath.Clean(dir)
	if fi, err := disk.Lstat(dir + "/."); err == nil && fi.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := MkdirAll(disk, above, mode); err != nil {
			return err
		}
	}
	err := disk.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) { // somebody has made it meanwhile, or it is something else
		if fi, lerr := disk.Lstat(dir + "/."); lerr != nil || !fi.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
	} else if err != nil {
		return err
	}
	// A directory that may be written to and not read cannot be synced.
	if err := disk.SyncDir(above); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
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
		if err := PutAside(name); err != nil {
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

// Scratch makes a file in dir for what is to be read while it is written. Its writer
// renames or removes it; what a killed one left is removed by RemoveUnfinished.
func Scratch(dir string) (*os.File, error) { return os.CreateTemp(dir, TempPrefix) }

// Settle gives a file of Scratch its name. It may be read meanwhile.
func Settle(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// RemoveUnfinished removes what killed writers left in dir. Only the holder of
// the lock calls it.
func RemoveUnfinished(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // the write that follows meets the same error and reports it
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TempPrefix) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
