package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestBackupInSomebodysDirectory: a backup is written through no link, is for its
// owner alone, and is what was written, whoever else writes to its directory.
func TestBackupInSomebodysDirectory(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "all.jsonl")
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Links where a backup, or a part of one, could be expected.
	for _, name := range []string{at + ".part", at + ".tmp", at + "~"} {
		if err := os.Symlink(victim, name); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (all []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				all = append(all, e.Name())
			}
		}
		return all
	}
	secret := func(w io.Writer) error { _, err := io.WriteString(w, "secret"); return err }
	broken := errors.New("broken")
	if err := WriteNew(at, func(w io.Writer) error { return errors.Join(secret(w), broken) }); !errors.Is(err, broken) {
		t.Errorf("a write that fails: %v", err)
	}
	swapped := func(w io.Writer) error {
		for _, n := range names() {
			p := filepath.Join(dir, n)
			if err := errors.Join(os.Rename(p, p+".away"), os.WriteFile(p, []byte("forged"), 0o666)); err != nil {
				return err
			}
		}
		return secret(w)
	}
	if err := WriteNew(at, swapped); err == nil || !strings.Contains(err.Error(), "swapped") {
		t.Errorf("a file that was swapped: %v", err)
	}
	if b, err := os.ReadFile(at); err == nil {
		t.Errorf("the backup is %q", b)
	}
	for _, n := range names() {
		if !strings.HasSuffix(n, ".away") {
			t.Errorf("%s is left", n)
		}
	}
	if err := WriteNew(at, secret); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(at)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := WriteNew(at, secret); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one of that name: %v", err)
	}
	for p, want := range map[string]string{at: "secret", victim: "precious"} {
		if b, err := os.ReadFile(p); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v", p, b, err)
		}
	}
}

// TestNameOnce: a file gets its name on file systems without hard links too, and
// replaces nothing there either.
func TestNameOnce(t *testing.T) {
	dir := t.TempDir()
	none := func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM} }
	apart := func(string, string) error { return syscall.EXDEV }
	broken := func(string, string) error { return syscall.EIO }
	for _, c := range []struct {
		name string
		link func(from, to string) error
		want error
	}{
		{"a", os.Link, nil}, {"a", os.Link, fs.ErrExist}, {"b", none, nil}, {"b", none, fs.ErrExist},
		{"c", broken, syscall.EIO}, {"d", apart, nil}, {"d", apart, fs.ErrExist},
	} {
		from := filepath.Join(dir, "new")
		if err := os.WriteFile(from, []byte(c.name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := nameOnce(c.link, from, filepath.Join(dir, c.name)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		os.Remove(from)
	}
	for name, want := range map[string]string{"a": "a", "b": "b", "c": "", "d": "d"} {
		if b, _ := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s holds %q", name, b)
		}
	}
}
