package slot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the real file system.
type OS struct{}

var _ FS = OS{}

// OpenFile implements FS.
func (OS) OpenFile(name string, flag int, perm iofs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &iofs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements FS.
func (OS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// Link implements FS.
func (OS) Link(oldname, newname string) error { return os.Link(oldname, newname) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// Mkdir implements FS.
func (OS) Mkdir(name string, perm iofs.FileMode) error { return os.Mkdir(name, perm) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]iofs.DirEntry, error) { return os.ReadDir(name) }

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	// Some network file systems cannot sync a directory; nothing more can be
	// done there.
	if unsupported(err) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Symlink implements FS.
func (OS) Symlink(target, name string) error { return os.Symlink(target, name) }

// Readlink implements FS.
func (OS) Readlink(name string) (string, error) { return os.Readlink(name) }

// Lstat implements FS.
func (OS) Lstat(name string) (iofs.FileInfo, error) { return os.Lstat(name) }

// SameFile implements FS.
func (OS) SameFile(a, b iofs.FileInfo) bool { return os.SameFile(a, b) }

// Owned implements FS. The permissions of a symbolic link mean nothing.
func (OS) Owned(fi iofs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid()) &&
		(fi.Mode().Type() == iofs.ModeSymlink || fi.Mode().Perm()&othersWrite == 0)
}

// Links implements FS.
func (OS) Links(fi iofs.FileInfo) int {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return int(st.Nlink)
}

// StatFree implements FS.
func (OS) StatFree(name string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, &iofs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// lockTries bounds how often Lock starts again because the holder removed the
// lock file between our open and our flock.
const lockTries = 100

// Lock implements FS by flock(2).
func (o OS) Lock(name string) (io.Closer, error) {
	for range lockTries {
		f, made, err := openLock(name)
		switch {
		case errors.Is(err, iofs.ErrNotExist) && !made:
			continue // removed meanwhile
		case !made && errors.Is(err, iofs.ErrPermission) && o.regain(name):
			continue
		case !made && NoFile(err) && !errors.Is(err, iofs.ErrPermission):
			if _, err := PutAside(o, name); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			pid := lockHolder(f)
			f.Close()
			return nil, &LockedError{Name: name, PID: pid}
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if !stillThere(f, name) {
			f.Close()
			continue
		}
		if !made && !o.sole(f) {
			if err := errors.Join(os.Remove(name), f.Close()); err != nil {
				return nil, fmt.Errorf("lock %s: %w: %w", name, errForeign, err)
			}
			continue
		}
		if err := writePID(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		return &osLock{f: f, name: name}, nil
	}
	return nil, &LockedError{Name: name}
}

// openLock opens a lock file, or makes it. An error with made says why it could
// not be made, one without what is wrong with what is there.
func openLock(name string) (f *os.File, made bool, err error) {
	const flag = os.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err = os.OpenFile(name, flag|os.O_CREATE|os.O_EXCL, filePerm)
	if !errors.Is(err, iofs.ErrExist) {
		return f, true, err
	}
	if f, err = os.OpenFile(name, flag, 0); err != nil {
		return nil, false, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, false, err
	}
	return f, false, nil
}

// regain lets this user open a lock file of its own that had lost its
// permissions, where nobody else could put another file in its place. It stays
// the same file: whoever holds it goes on holding it.
func (o OS) regain(name string) bool {
	fi, err := os.Lstat(name)
	if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o600 == 0o600 || !o.Owned(fi) || o.Links(fi) != 1 ||
		!private(o, filepath.Dir(name)) {
		return false
	}
	return os.Chmod(name, filePerm) == nil
}

// sole reports whether an open file is this user's alone, under one name.
func (o OS) sole(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && o.Owned(fi) && o.Links(fi) == 1
}

// stillThere reports whether name still is the open file: a lock on a file that
// was removed meanwhile excludes nobody.
func stillThere(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(name)
	return err == nil && os.SameFile(a, b)
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	// On a full medium the lock is valid without the number in it.
	if isFull(err) {
		return nil
	}
	return err
}

func lockHolder(f *os.File) int {
	var b [16]byte
	n, _ := f.ReadAt(b[:], 0)
	return parsePID(b[:n])
}

// parsePID reads what writePID has written; 0 if it is no process.
func parsePID(b []byte) int {
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

type osLock struct {
	f    *os.File
	name string
}

// Close removes the file before it releases the lock: nobody else can hold the
// lock yet, so removing the file is safe.
func (l *osLock) Close() error {
	err := os.Remove(l.name)
	if errors.Is(err, iofs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.f.Close())
}

// osFile is *os.File with the two operations that every system spells in its
// own way: Flush and Reserve.
type osFile struct{ *os.File }

func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EINVAL)
}
