package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// WriteNew makes a file for its owner alone, whole and durable or not at all. It
// replaces nothing: the error matches fs.ErrExist if there is a file already. In
// a directory that others may write to, nothing of theirs is written to, and
// nothing of theirs takes the file's place.
func WriteNew(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".backup-") // follows no link, opens no file that is there
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := errors.Join(write(f), f.Sync()); err != nil {
		return err
	}
	if err := nameOnce(os.Link, f.Name(), path); err != nil {
		return err
	}
	written, err := f.Stat()
	if err != nil {
		return err
	}
	if linked, err := os.Lstat(path); err != nil {
		return err
	} else if !os.SameFile(written, linked) {
		return errors.Join(fmt.Errorf("%s was swapped while it was written; name a file in a directory of your own",
			f.Name()), os.Remove(path))
	}
	return SyncDir(filepath.Dir(path))
}

// NoLinks reports whether an error says that a file system has no hard links, or
// not between these names: exFAT, FUSE, network file systems, cards of phones and
// disk quotas each have their own.
func NoLinks(err error) bool {
	for _, no := range []error{syscall.EPERM, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EXDEV, syscall.EACCES,
		syscall.EINVAL, syscall.EMLINK} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// nameOnce gives a file its name unless there is one already. Where the file
// system has no hard links, as link says, it takes the name first, and replaces
// its own file.
func nameOnce(link func(from, to string) error, from, path string) error {
	err := link(from, path) // unlike a rename it replaces nothing
	if !NoLinks(err) {
		return err
	}
	own, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(own.Close(), os.Rename(from, path))
}
