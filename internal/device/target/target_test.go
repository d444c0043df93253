package target

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/load"
)

var words = Words{Digest: "--sha256", Trust: "--trust", Slots: "--slots", Output: "-o", GiveTrust: "--trust DIR"}

const (
	file     = "http://192.0.2.1/fw/app.bin"
	signed   = "http://192.0.2.1/phone.load"
	unsigned = "http://192.0.2.1/phone.loads"
)

// TestParse: what names no file of a known scheme is refused, with the URL's
// password left out.
func TestParse(t *testing.T) {
	for _, bad := range [][]string{
		nil, {"ftp://192.0.2.1/f"}, {"gopher://h/f"}, {"http://192.0.2.1"}, {"http://192.0.2.1/d/"}, {"file:///d/"},
		{"app.bin"}, {""}, {file, "http://me:secret@192.0.2.1/d/"}, {"ftp://me:secret@192.0.2.1/f"},
	} {
		l, err := Parse(bad, "")
		if !errors.Is(err, failure.Request) {
			t.Errorf("%q: %+v, %v", bad, l, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is told: %v", err)
		}
	}
	l, err := Parse([]string{"https://h/a", "tftp://h/b", "file:///c", "192.0.2.1/d"}, "/out")
	if err != nil || len(l.Sources) != 4 || len(l.Sources[3]) != 2 || l.Output != "/out" {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestResolve: what the proof does not fit is refused, and the rest is told what
// it is: files or a load, a file's path or a directory.
func TestResolve(t *testing.T) {
	dir := t.TempDir()
	here := filepath.Join(dir, "app.bin")
	if err := os.WriteFile(here, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		urls   []string
		proof  Proof
		slots  bool
		output string
		want   string // an error, or what of Load, Classic and Dir holds
	}{
		{"one file", []string{file}, Digest, false, "/tmp/x", ""},
		{"one file over another", []string{file}, Digest, false, here, ""},
		{"one file into a directory", []string{file}, Digest, false, dir, "dir"},
		{"one file into a directory to be made", []string{file}, Digest, false, "/nowhere/", "dir"},
		{"one file here", []string{file}, Digest, false, "", "dir"},
		{"two files", []string{file, file + "2"}, Unsigned, false, "/nowhere", "dir"},
		{"a signed load", []string{signed}, Signed, true, "/nowhere", "load dir"},
		{"an unsigned load", []string{unsigned}, Unsigned, false, "/nowhere", "load classic dir"},
		{"the digest of a list", []string{unsigned}, Digest, false, "/nowhere", ""},
		{"two lists", []string{unsigned, file}, Unsigned, false, "/nowhere", "dir"},
		{"a digest for two", []string{file, file + "2"}, Digest, false, "", "--sha256 speaks of one file"},
		{"a signed file", []string{file}, Signed, false, "", "--trust fetches one load"},
		{"two signed loads", []string{signed, signed + ".load"}, Signed, false, "", "--trust fetches one load"},
		{"slots for a file", []string{file}, Digest, true, "", "--slots is for a signed load"},
		{"a signed load believed", []string{signed}, Unsigned, false, "", "give --trust DIR"},
		{"a signed load among files", []string{file, signed}, Unsigned, false, "", "give --trust DIR"},
		{"one name twice", []string{file, "http://192.0.2.2/app.bin"}, Unsigned, false, "", "each with its own -o"},
	} {
		l, err := Parse(c.urls, c.output)
		if err != nil {
			t.Fatal(err)
		}
		err = l.Resolve(c.proof, c.slots, words)
		got := strings.Join(strings.Fields(word("load", l.Load)+word("classic", l.Classic)+word("dir", l.Dir)), " ")
		switch {
		case err != nil && (!errors.Is(err, failure.Request) || c.want == "" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case err == nil && got != c.want:
			t.Errorf("%s: it is %q, want %q", c.name, got, c.want)
		case err == nil && c.output == "" && l.Output != ".":
			t.Errorf("%s: goes to %q", c.name, l.Output)
		}
	}
}

func word(s string, holds bool) string {
	if holds {
		return s + " "
	}
	return ""
}

// TestPath: no name leads out of the directory, or hides in it.
func TestPath(t *testing.T) {
	l := List{Output: "/out", Dir: true}
	for _, bad := range []string{
		"http://h/..", "http://h/a/%2e%2e", "http://h/.hidden", "http://h/a%00b", "http://h/a%5cb", "http://h/",
		"http://h/a%0ab", "http://h/" + strings.Repeat("x", load.MaxNameLen+1),
	} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if path, err := l.Path(u); !errors.Is(err, failure.Request) || !errors.Is(err, load.ErrName) {
			t.Errorf("%s becomes %q, %v", bad, path, err)
		}
	}
	u, err := url.Parse("http://h/a/b%2fapp.bin")
	if err != nil {
		t.Fatal(err)
	}
	if path, err := l.Path(u); err != nil || path != "/out/app.bin" {
		t.Errorf("%q, %v", path, err)
	}
	l.Dir = false
	if path, err := l.Path(u); err != nil || path != "/out" {
		t.Errorf("the one file goes to %q, %v", path, err)
	}
}

// TestMakeDir: a directory is made where files go into one, and nowhere else.
func TestMakeDir(t *testing.T) {
	for _, dir := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "a", "b")
		l := List{Output: path, Dir: dir}
		err := l.MakeDir()
		if st, statErr := os.Stat(path); err != nil || (statErr == nil) != dir || dir && !st.IsDir() {
			t.Errorf("a directory %v: %v, %v", dir, err, statErr)
		}
	}
}
