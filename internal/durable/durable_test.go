package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestWriteIsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := WriteFrom(path, 0o600, func(w io.Writer) error {
		_, _ = w.Write([]byte("half"))
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("a write that fails: %v", err)
	}
	if b, err := Read(path, 3); err != nil || string(b) != "old" {
		t.Errorf("afterwards: %q, %v", b, err)
	}
	if err := Write(path, []byte("new!"), 0o644); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Read(path, 3); !errors.Is(err, ErrTooLarge) {
		t.Errorf("four bytes where three are allowed: %v", err)
	}
	if b, err := Read(filepath.Join(dir, "none"), 3); b != nil || err != nil {
		t.Errorf("a missing file: %q, %v", b, err)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

// TestLock: writers that read, add one and write lose nothing.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, TempPrefix+"1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "count")
	if err := os.WriteFile(path, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	const writers, times = 4, 25
	addOne := func() error {
		unlock, err := Lock(dir)
		if err != nil {
			return err
		}
		defer unlock()
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(b))
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(strconv.Itoa(n+1)), 0o600)
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range times {
				if err := addOne(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if b, err := os.ReadFile(path); err != nil || string(b) != strconv.Itoa(writers*times) {
		t.Errorf("the count is %s, want %d, %v", b, writers*times, err)
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("what a killed writer left is still there: %v", got)
	}
	if info, err := os.Stat(filepath.Join(dir, ".lock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the lock: %v, %v", info, err)
	}
}

// TestLinkedLock: a link in the place of the lock must not make a file, or take
// a lock, outside the directory.
func TestLinkedLock(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(elsewhere, filepath.Join(dir, ".lock")); err != nil {
		t.Fatal(err)
	}
	if unlock, err := Lock(dir); err == nil {
		unlock()
		t.Error("a symbolic link was taken for the lock")
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link's target was made: %v", err)
	}
}
