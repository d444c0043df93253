// Package objects says where the files of a published tree are kept: in a directory,
// which is here, or in a bucket, which is package objects/s3. Both pass one suite
// (internal/testkit/treesuite).
//
// What lives here: the names and what may be asked of a tree. What must not: what the
// files mean, and who may have them.
//
// Read first: Tree.
package objects

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/durable"
)

// Errors of a tree that is not in a directory here.
var (
	// ErrAway says that what keeps the tree does not answer now: try again.
	ErrAway = errors.New("the object storage does not answer now")
	// ErrChanged says that a file is not what was written, or not what its name says.
	ErrChanged = errors.New("a file of the object storage is not what was written")
)

// Tree holds the files of a published tree by their paths, whose elements are divided
// by slashes. It may be used by several goroutines.
type Tree interface {
	// Prepare makes what the tree needs before the first file is written.
	Prepare() error
	// Read returns a file as it is now, of at most max bytes; a missing one is nil.
	Read(path string, max int64) ([]byte, error)
	// Open opens a file. A missing one is an error that matches fs.ErrNotExist.
	Open(path string) (File, error)
	// Write writes a file, which appears whole or not at all. When it returns, the file
	// survives.
	Write(path string, content []byte) error
	// WriteFrom is Write for what write writes. If write fails, nothing appears.
	WriteFrom(path string, write func(io.Writer) error) error
	// Remove removes a file.
	Remove(path string) error
	// Names lists the files of a folder by their last elements, in ascending order; one
	// that is not there has none.
	Names(folder string) ([]string, error)
	// Tidy removes what killed writers left. Only who holds the lock of the tree calls
	// it.
	Tidy()
}

// File is an open file. Its methods are called by one goroutine at a time, but for
// ReadAt.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
	// Changed is when it was written, or zero.
	Changed() time.Time
	// Tag differs from those of all other contents of the same path.
	Tag() string
}

// Dir is a tree in a directory.
type Dir struct {
	Path string
	// Folders are those below it that Prepare makes.
	Folders []string
	Disk    durable.Writer
}

var _ Tree = Dir{}

func (d Dir) at(p string) string { return filepath.Join(d.Path, filepath.FromSlash(p)) }

// Prepare implements Tree.
func (d Dir) Prepare() error {
	for _, f := range append([]string{""}, d.Folders...) {
		if err := d.Disk.MkdirAll(d.at(f), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Read implements Tree. It opens what Open does.
func (d Dir) Read(p string, max int64) ([]byte, error) {
	f, err := os.OpenInRoot(d.Path, filepath.FromSlash(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return durable.ReadAll(f, p, max)
}

// Open implements Tree. Nothing outside the directory is opened, symbolic links
// included.
func (d Dir) Open(p string) (File, error) {
	if !fs.ValidPath(p) || Hidden(p) {
		return nil, fs.ErrNotExist
	}
	f, err := os.OpenInRoot(d.Path, filepath.FromSlash(p))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return plain{f, info}, nil
}

// Write implements Tree.
func (d Dir) Write(p string, content []byte) error { return d.Disk.Write(d.at(p), content, 0o644) }

// WriteFrom implements Tree.
func (d Dir) WriteFrom(p string, write func(io.Writer) error) error {
	return d.Disk.WriteFrom(d.at(p), 0o644, write)
}

// Remove implements Tree.
func (d Dir) Remove(p string) error { return d.Disk.Remove(d.at(p)) }

// Names implements Tree.
func (d Dir) Names(folder string) ([]string, error) {
	entries, err := os.ReadDir(d.at(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !Hidden(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Tidy implements Tree.
func (d Dir) Tidy() {
	for _, f := range append([]string{""}, d.Folders...) {
		durable.RemoveUnfinished(d.at(f))
	}
}

// Hidden reports whether no file of a tree has that name: files that are being written
// have such ones.
func Hidden(name string) bool { return name == "" || path.Base(name)[0] == '.' }

// plain is a file of a directory.
type plain struct {
	*os.File
	info fs.FileInfo
}

// Size implements File.
func (p plain) Size() int64 { return p.info.Size() }

// Changed implements File.
func (p plain) Changed() time.Time { return p.info.ModTime() }

// Tag implements File: files are replaced, and not written to. Of two that are written
// within a tick of the clock the numbers differ.
func (p plain) Tag() string { return TagOf(p.info) }

// TagOf is the tag of a file of the system.
func TagOf(info fs.FileInfo) string {
	tag := fmt.Sprintf("%x-%x", info.Size(), info.ModTime().UnixNano())
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		tag += fmt.Sprintf("-%x", s.Ino)
	}
	return tag
}

// OnDisk implements onDisk.
func (p plain) OnDisk() *os.File { return p.File }

// onDisk is a file that is here as a whole.
type onDisk interface{ OnDisk() *os.File }

// Plain is the file of the system below one that is here as a whole, which the system
// can copy by itself; else it is f.
func Plain(f File) io.ReadSeekCloser {
	if d, ok := f.(onDisk); ok {
		return d.OnDisk()
	}
	return f
}
