package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

// faulty is a fileSystem in memory whose power can be cut, and whose files
// refuse what they have an error for.
type faulty struct {
	*faultdisk.Disk
	chmod, close error
}

func (d faulty) CreateTemp(dir string) (durable.File, error) {
	name := path.Join(dir, durable.TempPrefix+"1")
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: f, disk: d, name: name}, nil
}

type faultyFile struct {
	slot.File
	disk faulty
	name string
	at   int64
}

func (f *faultyFile) Name() string            { return f.name }
func (f *faultyFile) Chmod(fs.FileMode) error { return f.disk.chmod }
func (f *faultyFile) Close() error            { return errors.Join(f.File.Close(), f.disk.close) }

func (f *faultyFile) Write(b []byte) (int, error) {
	n, err := f.WriteAt(b, f.at)
	f.at += int64(n)
	return n, err
}

// content reads a file of a disk.
func content(t *testing.T, d *faultdisk.Disk, name string) []byte {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	older = bytes.Repeat([]byte("old"), 3000)
	newer = bytes.Repeat([]byte("newer"), 3000)
)

// replace writes newer over older, in pieces as an encoder does.
func replace(d faulty) error {
	return durable.Writer{d}.WriteFrom("/d/key", 0o600, func(w io.Writer) error {
		for rest := newer; len(rest) > 0; rest = rest[5000:] {
			if _, err := w.Write(rest[:5000]); err != nil {
				return err
			}
		}
		return nil
	})
}

// withOlder is a disk that has held older for long.
func withOlder(t *testing.T) *faultdisk.Disk {
	t.Helper()
	d := faultdisk.New(1)
	old := func(w io.Writer) error {
		_, err := w.Write(older)
		return err
	}
	err := errors.Join(d.Mkdir("/d", 0o755), d.SyncDir("/"),
		durable.Writer{faulty{Disk: d}}.WriteFrom("/d/key", 0o600, old))
	if err != nil {
		t.Fatal(err)
	}
	return d.Reboot(0)
}

// TestPowerCut cuts the power at each operation of a write: the file is the old
// or the new one, and the new one once Write has returned.
func TestPowerCut(t *testing.T) {
	d := withOlder(t)
	written := false
	story := func() error {
		err := replace(faulty{Disk: d})
		written = err == nil
		return err
	}
	said := func() string { return fmt.Sprint(written) }
	faultdisk.Every(t, d, story, said, func(t *testing.T, d *faultdisk.Disk) {
		got := content(t, d, "/d/key")
		isNew := bytes.Equal(got, newer)
		if !isNew && (written || !bytes.Equal(got, older)) {
			t.Fatalf("written: %v, found are %d bytes", written, len(got))
		}
		if err := replace(faulty{Disk: d}); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	})
}

// TestPowerCutOfMkdirAll: once MkdirAll has returned, a file that is written there
// stays.
func TestPowerCutOfMkdirAll(t *testing.T) {
	d := faulty{Disk: faultdisk.New(1)}
	written := false
	story := func() error {
		err := durable.Writer{d}.MkdirAll("/a/b/c", 0o755)
		if err == nil {
			err = durable.Writer{d}.Write("/a/b/c/key", newer, 0o600)
		}
		written = err == nil
		return err
	}
	said := func() string { return fmt.Sprint(written) }
	faultdisk.Every(t, d.Disk, story, said, func(t *testing.T, d *faultdisk.Disk) {
		_, err := d.Lstat("/a/b/c/key")
		if written && err != nil {
			t.Fatal(err)
		}
		if err == nil && !bytes.Equal(content(t, d, "/a/b/c/key"), newer) {
			t.Fatal("another content")
		}
		if err := (durable.Writer{faulty{Disk: d}}).MkdirAll("/a/b/c", 0o755); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFailures lets each operation of a write fail: Write says so, the old file
// stays unless the new one is in its place, and nothing is left beside it.
func TestFailures(t *testing.T) {
	start := withOlder(t)
	whole := start.Reboot(0)
	if err := replace(faulty{Disk: whole}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= whole.Ops(); n++ {
		d := start.Reboot(0)
		d.FailAt(n, syscall.EIO)
		err := replace(faulty{Disk: d})
		got := content(t, d, "/d/key")
		if !errors.Is(err, syscall.EIO) || !bytes.Equal(got, older) && !strings.HasPrefix(d.Log()[n-1], "syncdir") {
			t.Errorf("operation %d fails (%s): %v, found are %d bytes", n, d.Log()[n-1], err, len(got))
		}
		if entries, err := d.ReadDir("/d"); err != nil || len(entries) != 1 {
			t.Errorf("operation %d fails: left are %v, %v", n, entries, err)
		}
	}
}

// TestRefusingFile: a file that would have other rights, or cannot be closed, is
// not put in place.
func TestRefusingFile(t *testing.T) {
	start := withOlder(t)
	for _, bad := range []faulty{{chmod: syscall.EIO}, {close: syscall.EIO}} {
		bad.Disk = start.Reboot(0)
		err := replace(bad)
		entries, listErr := bad.ReadDir("/d")
		if !errors.Is(err, syscall.EIO) || !bytes.Equal(content(t, bad.Disk, "/d/key"), older) {
			t.Errorf("chmod says %v, close %v: Write says %v", bad.chmod, bad.close, err)
		}
		if len(entries) != 1 || listErr != nil {
			t.Errorf("chmod says %v, close %v: left are %v, %v", bad.chmod, bad.close, entries, listErr)
		}
	}
}

// TestErrors: what cannot be done is said, and nothing of it counts as done.
func TestErrors(t *testing.T) {
	missing := path.Join(t.TempDir(), "missing")
	if _, err := durable.Lock(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lock of a directory that is not there: %v", err)
	}
	if err := durable.SyncDir(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sync of a directory that is not there: %v", err)
	}
	if err := durable.Write(path.Join(missing, "a"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("write into a directory that is not there: %v", err)
	}
	durable.RemoveUnfinished(missing)
	loop := path.Join(t.TempDir(), "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if b, err := durable.Read(loop, 10); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("what cannot be opened reads as %q, %v", b, err)
	}
	boom := fmt.Errorf("boom")
	half := io.MultiReader(strings.NewReader("half"), failing{boom})
	if b, err := durable.ReadAll(half, "x", 10); !errors.Is(err, boom) {
		t.Errorf("a reader that fails: %q, %v", b, err)
	}
	if b, err := durable.ReadAll(strings.NewReader("four"), "x", 4); err != nil || string(b) != "four" {
		t.Errorf("as long as it may be: %q, %v", b, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
