// Package treesuite is the suite that every objects.Tree passes.
//
// What lives here: what a tree promises, whatever keeps it. What must not: tests of one
// kind. Read first: Run.
package treesuite

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/durable"
)

// Run runs the suite. open returns an empty tree.
func Run(t *testing.T, open func(t *testing.T) objects.Tree) {
	for name, f := range map[string]func(*testing.T, objects.Tree){
		"files": files, "readers": readers, "interrupted": interrupted, "names": names, "changed": changed,
	} {
		t.Run(name, func(t *testing.T) {
			tree := open(t)
			ok(t, tree.Prepare())
			ok(t, tree.Prepare())
			f(t, tree)
		})
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// component is the path of a content by its digest.
func component(content []byte) string {
	return fmt.Sprintf("components/%x.app.bin", sha256.Sum256(content))
}

// bytesOf makes a content that is different in each place.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 2654435761 >> 7)
	}
	return b
}

// files: what is written, which is never empty, is read, at each way in.
func files(t *testing.T, tree objects.Tree) {
	for _, n := range []int{1, 5000, 300_000} {
		content := bytesOf(n)
		for _, p := range []string{component(content), "fw-1.load", fmt.Sprintf("metadata/%d.targets.json", n+1)} {
			if n%2 == 0 {
				ok(t, tree.Write(p, content))
			} else {
				ok(t, tree.WriteFrom(p, func(w io.Writer) error { _, err := w.Write(content); return err }))
			}
			got, err := tree.Read(p, int64(n))
			if err != nil || !bytes.Equal(got, content) || got == nil {
				t.Errorf("%s: %d bytes, %v", p, len(got), err)
			}
			if _, err := tree.Read(p, int64(n-1)); !errors.Is(err, durable.ErrTooLarge) {
				t.Errorf("%s as one of %d bytes at most: %v", p, n-1, err)
			}
		}
	}
	for _, p := range []string{"none", "metadata/9.root.json", "components", "metadata/../fw-1.load", "/fw-1.load", ""} {
		if f, err := tree.Open(p); err == nil {
			t.Errorf("%q is opened, of %d bytes", p, f.Size())
			f.Close()
		}
	}
	for _, p := range []string{"none", "metadata/9.root.json", "components/" + strings.Repeat("ab", 32) + ".x"} {
		if b, err := tree.Read(p, 100); b != nil || err != nil {
			t.Errorf("%s, which is missing: %q, %v", p, b, err)
		}
		if _, err := tree.Open(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, which is missing: %v", p, err)
		}
	}
}

// readers: a file is read by several at once, from anywhere.
func readers(t *testing.T, tree objects.Tree) {
	content := bytesOf(700_001)
	p := component(content)
	ok(t, tree.Write(p, content))
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			f, err := tree.Open(p)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if f.Size() != int64(len(content)) || f.Tag() == "" {
				t.Errorf("%d bytes, tag %q", f.Size(), f.Tag())
			}
			from := i * 100_000
			if at, err := f.Seek(int64(from-len(content)), io.SeekEnd); err != nil || at != int64(from) {
				t.Errorf("at %d, %v", at, err)
			}
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content[from:]) {
				t.Errorf("from %d: %d bytes, %v", from, len(got), err)
			}
			part := make([]byte, 1000)
			if _, err := f.ReadAt(part, int64(from)); err != nil || !bytes.Equal(part, content[from:from+1000]) {
				t.Errorf("at %d: %v", from, err)
			}
			if n, err := f.ReadAt(part, int64(len(content)-10)); n != 10 || !errors.Is(err, io.EOF) {
				t.Errorf("over the end: %d bytes, %v", n, err)
			}
		})
	}
	wg.Wait()
}

var errCut = errors.New("cut off")

// interrupted: what is not written whole does not appear, and what was there stays.
func interrupted(t *testing.T, tree objects.Tree) {
	cut := func(w io.Writer) error { return errors.Join(drop(w.Write([]byte("new"))), errCut) }
	if err := tree.WriteFrom("fw-1.load", cut); !errors.Is(err, errCut) {
		t.Error(err)
	}
	if b, err := tree.Read("fw-1.load", 100); b != nil || err != nil {
		t.Errorf("a part appears: %q, %v", b, err)
	}
	ok(t, tree.Write("fw-1.load", []byte("old")))
	if err := tree.WriteFrom("fw-1.load", cut); !errors.Is(err, errCut) {
		t.Error(err)
	}
	tree.Tidy()
	if b, err := tree.Read("fw-1.load", 100); string(b) != "old" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func drop(_ int, err error) error { return err }

// names: a folder lists its own files, in order.
func names(t *testing.T, tree objects.Tree) {
	for _, p := range []string{"metadata/2.root.json", "metadata/10.root.json", "metadata/timestamp.json", "fw.load"} {
		ok(t, tree.Write(p, []byte("x")))
	}
	want := func(folder string, names ...string) {
		t.Helper()
		if got, err := tree.Names(folder); err != nil || !slices.Equal(got, names) {
			t.Errorf("%q has %q, %v; want %q", folder, got, err, names)
		}
	}
	want("metadata", "10.root.json", "2.root.json", "timestamp.json")
	want("", "fw.load")
	want("components")
	want("none")
	ok(t, tree.Remove("metadata/2.root.json"))
	want("metadata", "10.root.json", "timestamp.json")
}

// changed: a file that is written again is another one, for whoever opens it then.
func changed(t *testing.T, tree objects.Tree) {
	ok(t, tree.Write("metadata/timestamp.json", []byte("one")))
	f, err := tree.Open("metadata/timestamp.json")
	ok(t, err)
	defer f.Close()
	ok(t, tree.Write("metadata/timestamp.json", []byte("two")))
	g, err := tree.Open("metadata/timestamp.json")
	ok(t, err)
	defer g.Close()
	if got, err := io.ReadAll(g); string(got) != "two" || err != nil || g.Tag() == f.Tag() {
		t.Errorf("%q, %v, tags %q and %q", got, err, f.Tag(), g.Tag())
	}
	ok(t, tree.Remove("metadata/timestamp.json"))
	if _, err := tree.Open("metadata/timestamp.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed, and yet: %v", err)
	}
}
