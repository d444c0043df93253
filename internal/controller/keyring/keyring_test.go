package keyring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func entry(server, token string) Entry { return Entry{Server: server, User: "alice", Token: token} }

// TestChange: entries side by side, the last one the default, in a file and a
// directory that are the user's alone.
func TestChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerload", "logins.json")
	put := func(e Entry) {
		t.Helper()
		if err := Change(path, func(r *Ring) error { r.Put(e); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := Read(path); err != nil || len(r.Entries) != 0 {
		t.Fatalf("before: %+v, %v", r, err)
	}
	put(entry("https://b:8443", "1"))
	put(entry("https://a:8443", "2"))
	put(entry("https://a:8443", "3"))
	r, err := Read(path)
	if err != nil || len(r.Entries) != 2 || r.Entries[0].Token != "3" || r.Default != "https://a:8443" {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
	boom := errors.New("boom")
	if err := Change(path, func(r *Ring) error { r.Entries = nil; return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	err = Change(path, func(r *Ring) error {
		r.Drop("https://a:8443", "2") // was replaced
		if _, ok := r.Find("https://a:8443"); !ok {
			t.Error("a later sign-in went with an earlier one")
		}
		r.Drop("https://a:8443", "3")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err = Read(path); err != nil || len(r.Entries) != 1 || r.Default != "" {
		t.Errorf("after the end of the default: %+v, %v", r, err)
	}
}

// TestManyAtOnce: sign-ins that are made at the same time are all kept.
func TestManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerload", "logins.json")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := Change(path, func(r *Ring) error {
				r.Put(entry(fmt.Sprintf("https://c%02d", i), "t"))
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r, err := Read(path); err != nil || len(r.Entries) != 20 {
		t.Errorf("%d entries, %v", len(r.Entries), err)
	}
}

// TestRefusals: what others can read, and what is not whole, is refused with what
// to do, and never overwritten.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want error
	}{
		"for the group":   {`{"schema":1,"entries":[]}`, 0o640, ErrExposed},
		"for all":         {`{"schema":1,"entries":[]}`, 0o604, ErrExposed},
		"nothing":         {"", 0o600, ErrDamaged},
		"no JSON":         {"x", 0o600, ErrDamaged},
		"half":            {`{"schema":1,"entries":[{"serv`, 0o600, ErrDamaged},
		"newer":           {`{"schema":2,"entries":[]}`, 0o600, ErrDamaged},
		"no token":        {`{"schema":1,"entries":[{"server":"https://a"}]}`, 0o600, ErrDamaged},
		"no controller":   {`{"schema":1,"entries":[{"server":"x","token":"t"}]}`, 0o600, ErrDamaged},
		"another's name":  {`{"schema":1,"entries":[{"server":"HTTPS://A/","token":"t"}]}`, 0o600, ErrDamaged},
		"a false default": {`{"schema":1,"default":"https://b","entries":[]}`, 0o600, ErrDamaged},
		"too long":        {strings.Repeat(" ", maxSize+1), 0o600, ErrDamaged},
	} {
		path := filepath.Join(t.TempDir(), "logins.json")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err := Change(path, func(r *Ring) error { r.Put(entry("https://a", "t")); return nil }); !errors.Is(err, c.want) {
			t.Errorf("%s is changed: %v", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != c.text {
			t.Errorf("%s was overwritten: %v", name, err)
		}
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}

// TestOthersFile: the file of another account is not used.
func TestOthersFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a file away")
	}
	path := filepath.Join(t.TempDir(), "logins.json")
	if err := os.WriteFile(path, []byte(`{"schema":1,"entries":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); !errors.Is(err, ErrExposed) {
		t.Error(err)
	}
}

// TestServer: one controller is one entry, however its URL is written.
func TestServer(t *testing.T) {
	for in, want := range map[string]string{
		"https://Controller:8443/": "https://controller:8443", "https://a:443": "https://a", "http://a:80/": "http://a",
		"http://a:443": "http://a:443", "HTTPS://a/x/": "https://a/x", "https://[::1]:8443": "https://[::1]:8443",
		"https://[2001:DB8::1]": "https://[2001:db8::1]",
	} {
		if got, err := Server(in); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "a", "ftp://a", "https://", "https://u:secret@a", "https://a:x"} {
		if got, err := Server(in); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

// TestPath follows XDG.
func TestPath(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "/x")
	if p, err := Path(); err != nil || p != "/x/peerload/logins.json" {
		t.Error(p, err)
	}
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "/h")
	if p, err := Path(); err != nil || p != "/h/.config/peerload/logins.json" {
		t.Error(p, err)
	}
	t.Setenv("HOME", "")
	if _, err := Path(); err == nil || !strings.Contains(err.Error(), "HOME") {
		t.Error(err)
	}
}

// FuzzRead: whatever stands in the file, it is refused, or its entries can be
// written and read again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"schema":1,"default":"https://a","entries":[{"server":"https://a","token":"t"}]}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "logins.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Read(path)
		if err != nil {
			return
		}
		if err := Change(path, func(*Ring) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if again, err := Read(path); err != nil || len(again.Entries) != len(r.Entries) || again.Default != r.Default {
			t.Errorf("%+v came back as %+v, %v", r, again, err)
		}
	})
}
