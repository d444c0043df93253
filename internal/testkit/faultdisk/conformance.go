package faultdisk

import (
	"bytes"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
)

// Conformance checks that a file system behaves as slot.FS says. make returns
// a fresh one and an empty directory in it.
func Conformance(t *testing.T, make func(t *testing.T) (fs slot.FS, dir string)) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, fs slot.FS, dir string)
	}{
		{"files", checkFiles},
		{"flags", checkFlags},
		{"names", checkNames},
		{"links", checkLinks},
		{"directories", checkDirs},
		{"lock", checkLock},
		{"owner", checkOwner},
		{"reserve", checkReserve},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, dir := make(t)
			c.run(t, fs, dir)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func create(t *testing.T, fs slot.FS, name, content string) slot.File {
	t.Helper()
	f, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	must(t, err)
	if n, err := f.WriteAt([]byte(content), 0); err != nil || n != len(content) {
		t.Fatalf("write %s: %d, %v", name, n, err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t *testing.T, fs slot.FS, name string) string {
	t.Helper()
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	must(t, err)
	return string(b)
}

func checkFiles(t *testing.T, fs slot.FS, dir string) {
	f := create(t, fs, filepath.Join(dir, "x"), "hello")
	_, err := f.WriteAt([]byte("world"), 8)
	must(t, err)
	if got := content(t, fs, filepath.Join(dir, "x")); got != "hello\x00\x00\x00world" {
		t.Errorf("a hole reads as %q", got)
	}
	b := []byte("......")
	n, err := f.ReadAt(b, 10)
	if n != 3 || err != io.EOF || !bytes.Equal(b[:n], []byte("rld")) {
		t.Errorf("short read: %d, %v, %q", n, err, b)
	}
	must(t, f.Flush(0, 13))
	must(t, f.Sync())
	must(t, f.Truncate(4))
	must(t, f.Truncate(6))
	fi, err := f.Stat()
	must(t, err)
	if got := content(t, fs, filepath.Join(dir, "x")); got != "hell\x00\x00" || fi.Size() != 6 {
		t.Errorf("after truncation %q, size %d", got, fi.Size())
	}
	must(t, f.Close())
	_, err = f.WriteAt(b, 0)
	wantErr(t, "write to a closed file", err, iofs.ErrClosed)
	wantErr(t, "second close", f.Close(), iofs.ErrClosed)
}

func checkFlags(t *testing.T, fs slot.FS, dir string) {
	name := filepath.Join(dir, "x")
	_, err := fs.OpenFile(name, os.O_RDWR, 0)
	wantErr(t, "open what is not there", err, iofs.ErrNotExist)
	create(t, fs, name, "content")
	_, err = fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	wantErr(t, "make what is there", err, iofs.ErrExist)
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("wrote to a file opened for reading")
	}
	must(t, f.Close())
	f, err = fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	must(t, err)
	must(t, f.Close())
	if got := content(t, fs, name); got != "" {
		t.Errorf("after O_TRUNC %q", got)
	}
	if _, err := fs.OpenFile(dir, os.O_RDONLY, 0); err == nil {
		t.Error("opened a directory as a file")
	}
	_, err = fs.OpenFile(filepath.Join(dir, "none", "x"), os.O_RDWR|os.O_CREATE, 0o644)
	wantErr(t, "make in a directory that is not there", err, iofs.ErrNotExist)
}

func checkNames(t *testing.T, fs slot.FS, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	f := create(t, fs, a, "A")
	create(t, fs, b, "B")
	must(t, fs.Rename(a, b))
	if got := content(t, fs, b); got != "A" {
		t.Errorf("after rename %q", got)
	}
	_, err := fs.Lstat(a)
	wantErr(t, "the old name", err, iofs.ErrNotExist)
	wantErr(t, "rename what is not there", fs.Rename(a, b), iofs.ErrNotExist)
	x, err := f.Stat()
	must(t, err)
	y, err := fs.Lstat(b)
	must(t, err)
	if !fs.SameFile(x, y) || !y.Mode().IsRegular() || y.Name() != "b" || y.Size() != 1 {
		t.Errorf("the open file is not the renamed one: %v", y)
	}
	must(t, fs.Remove(b))
	wantErr(t, "remove what is not there", fs.Remove(b), iofs.ErrNotExist)
	if _, err := f.WriteAt([]byte("still"), 0); err != nil {
		t.Errorf("an open file without a name: %v", err)
	}
	create(t, fs, b, "new")
	y, err = fs.Lstat(b)
	must(t, err)
	if fs.SameFile(x, y) {
		t.Error("a new file under the old name counts as the same")
	}
	must(t, fs.SyncDir(dir))
}

func checkLinks(t *testing.T, fs slot.FS, dir string) {
	a, b, l := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "l")
	create(t, fs, a, "A")
	must(t, fs.Link(a, b))
	must(t, fs.Remove(a))
	if got := content(t, fs, b); got != "A" {
		t.Errorf("through the second name %q", got)
	}
	wantErr(t, "link what is not there", fs.Link(a, l), iofs.ErrNotExist)
	wantErr(t, "link over a file", fs.Link(b, b), iofs.ErrExist)
	must(t, fs.Symlink("b", l))
	wantErr(t, "symlink over a link", fs.Symlink("b", l), iofs.ErrExist)
	to, err := fs.Readlink(l)
	if err != nil || to != "b" {
		t.Errorf("readlink: %q, %v", to, err)
	}
	_, err = fs.Readlink(a)
	wantErr(t, "readlink of nothing", err, iofs.ErrNotExist)
	if _, err := fs.OpenFile(l, os.O_RDONLY, 0); err == nil {
		t.Error("opened through a symbolic link")
	}
	fi, err := fs.Lstat(l)
	must(t, err)
	if fi.Mode().Type() != iofs.ModeSymlink {
		t.Errorf("a symbolic link has mode %v", fi.Mode())
	}
	must(t, fs.Symlink("c", filepath.Join(dir, "new")))
	must(t, fs.Rename(filepath.Join(dir, "new"), l))
	if to, err := fs.Readlink(l); err != nil || to != "c" {
		t.Errorf("after the switch: %q, %v", to, err)
	}
}

func checkDirs(t *testing.T, fs slot.FS, dir string) {
	sub := filepath.Join(dir, "sub")
	must(t, fs.Mkdir(sub, 0o755))
	wantErr(t, "mkdir twice", fs.Mkdir(sub, 0o755), iofs.ErrExist)
	create(t, fs, filepath.Join(sub, "y"), "")
	create(t, fs, filepath.Join(sub, "x"), "")
	if err := fs.Remove(sub); err == nil {
		t.Error("removed a directory that is not empty")
	}
	es, err := fs.ReadDir(sub)
	must(t, err)
	if len(es) != 2 || es[0].Name() != "x" || es[1].Name() != "y" {
		t.Errorf("readdir: %v", es)
	}
	must(t, fs.Symlink("sub", filepath.Join(dir, "link")))
	if got := content(t, fs, filepath.Join(dir, "link", "x")); got != "" {
		t.Errorf("through a linked directory %q", got)
	}
	_, err = fs.ReadDir(filepath.Join(dir, "none"))
	wantErr(t, "readdir of nothing", err, iofs.ErrNotExist)
	wantErr(t, "syncdir of nothing", fs.SyncDir(filepath.Join(dir, "none")), iofs.ErrNotExist)
	must(t, fs.Remove(filepath.Join(sub, "x")))
	must(t, fs.Remove(filepath.Join(sub, "y")))
	must(t, fs.Remove(sub))
}

func checkLock(t *testing.T, fs slot.FS, dir string) {
	name := filepath.Join(dir, ".lock")
	l, err := fs.Lock(name)
	must(t, err)
	_, err = fs.Lock(name)
	var le *slot.LockedError
	if !errors.As(err, &le) || !errors.Is(err, slot.ErrLocked) || le.PID != os.Getpid() {
		t.Errorf("second holder: %v, want ErrLocked with process %d", err, os.Getpid())
	}
	must(t, l.Close())
	if _, err := fs.Lstat(name); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("a released lock left its file: %v", err)
	}
	must(t, fs.Mkdir(name, 0o755))
	l, err = fs.Lock(name)
	must(t, err)
	must(t, l.Close())
	if fi, err := fs.Lstat(name + ".damaged"); err != nil || !fi.IsDir() {
		t.Errorf("a directory in the place of a lock was not put aside: %v", err)
	}
}

func checkOwner(t *testing.T, fs slot.FS, dir string) {
	name := filepath.Join(dir, "x")
	describe := func(name string) iofs.FileInfo {
		fi, err := fs.Lstat(name)
		must(t, err)
		return fi
	}
	must(t, create(t, fs, name, "").Close())
	must(t, fs.Symlink("x", filepath.Join(dir, "l")))
	for _, n := range []string{name, dir, filepath.Join(dir, "l")} {
		if !fs.Owned(describe(n)) {
			t.Errorf("%s counts as another user's", n)
		}
	}
	if n := fs.Links(describe(name)); n != 1 {
		t.Errorf("a file with one name has %d", n)
	}
	must(t, fs.Link(name, filepath.Join(dir, "y")))
	if n := fs.Links(describe(name)); n != 2 {
		t.Errorf("a file with two names has %d", n)
	}
}

func checkReserve(t *testing.T, fs slot.FS, dir string) {
	f := create(t, fs, filepath.Join(dir, "x"), "abc")
	before, err := fs.StatFree(dir)
	must(t, err)
	if before <= 0 {
		t.Fatalf("%d bytes free", before)
	}
	err = f.Reserve(1 << 20)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this file system reserves nothing")
	}
	must(t, err)
	fi, err := f.Stat()
	must(t, err)
	if fi.Size() != 3 || content(t, fs, filepath.Join(dir, "x")) != "abc" {
		t.Errorf("reserving changed the file: size %d", fi.Size())
	}
	if err := f.Reserve(1 << 55); err == nil {
		t.Error("reserved more than there is")
	}
}
