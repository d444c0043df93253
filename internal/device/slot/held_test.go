package slot

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/testkit/limits"
	"github.com/peerload/peerload/load"
)

// A file that was committed before is served chunk by chunk, and only if it is
// what it should be.
func TestOpenHeld(t *testing.T) {
	content := bytes.Repeat([]byte("held "), 40_000)
	whole, err := load.Describe("app.bin", bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	table := whole.Table
	spec := Spec{Key: whole.Digest, Digest: Expect(whole.Digest), Geometry: load.Geometry{Size: load.UnknownSize}}
	name := filepath.Join(t.TempDir(), "app.bin")
	if _, err := OpenHeld(OS{}, name, spec, Config{}); !errors.Is(err, iofs.ErrNotExist) {
		t.Fatalf("a missing file: %v", err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	signed := spec
	signed.Geometry.Size, signed.Table = int64(len(content)), table
	for _, s := range []Spec{spec, signed} {
		p, err := OpenHeld(OS{}, name, s, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if !p.Geometry().Known() || p.Prefix() != len(table) {
			t.Fatalf("%+v, prefix %d of %d", p.Geometry(), p.Prefix(), len(table))
		}
		for i := range table {
			b, err := p.ReadChunk(i, nil)
			if err != nil || !table.Check(i, b) {
				t.Fatalf("chunk %d: %v", i, err)
			}
		}
		if err := p.Discard(); err != nil {
			t.Fatal(err)
		}
	}
	for what, change := range map[string]func(s *Spec){
		"another size":   func(s *Spec) { s.Geometry.Size, s.Table = 200_001, nil },
		"another table":  func(s *Spec) { s.Table = append(load.Table{}, table...); s.Table[1][0] ^= 1 },
		"another digest": func(s *Spec) { s.Digest.digest[0] ^= 1; s.Table = nil },
	} {
		other := signed
		change(&other)
		if _, err := OpenHeld(OS{}, name, other, Config{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string]func(s *Spec, c *Config){
		"no key":            func(s *Spec, _ *Config) { s.Key = load.Digest{} },
		"a negative window": func(_ *Spec, c *Config) { c.Window = -1 },
		"a negative sync":   func(_ *Spec, c *Config) { c.SyncEvery = -1 },
		"a table and no size": func(s *Spec, _ *Config) {
			s.Geometry.Size, s.Table = load.UnknownSize, make(load.Table, load.MaxChunks)
		},
	} {
		other, cfg := signed, Config{}
		change(&other, &cfg)
		if _, err := OpenHeld(OS{}, name, other, cfg); err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	content[70_000] ^= 1
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenHeld(OS{}, name, signed, Config{}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("another content: %v", err)
	}
	for _, none := range []Expected{{}, ExpectAny()} {
		spec.Digest = none
		if _, err := OpenHeld(OS{}, name, spec, Config{}); err == nil {
			t.Fatal("a file without a digest was held")
		}
	}
}

// TestSpec: a file is named by a key and by what is known of its digest, and a
// table fits the size.
func TestSpec(t *testing.T) {
	good := Spec{Key: load.DigestOf([]byte("k")), Geometry: load.Geometry{Size: 2 * load.MinChunkSize},
		Digest: Expect(load.DigestOf([]byte("d"))), Table: make(load.Table, 2)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(s *Spec){
		"a size":       func(s *Spec) { s.Geometry.Size = -7 },
		"a key":        func(s *Spec) { s.Key = load.Digest{} },
		"a digest":     func(s *Spec) { s.Digest = Expected{} },
		"a long table": func(s *Spec) { s.Table = make(load.Table, 3) },
		"a short one":  func(s *Spec) { s.Table = make(load.Table, 1) },
		"of no size":   func(s *Spec) { s.Geometry.Size = load.UnknownSize },
	} {
		s := good
		if spoil(&s); s.Validate() == nil {
			t.Errorf("%s: %+v is valid", name, s)
		}
	}
	limits.Test(t, Config{}, Config.Validate, map[string]limits.Range{
		"Window": limits.AtLeast(0), "SyncEvery": limits.AtLeast(0), "NoSync": limits.Any("both ways work"),
	})
}

// TestLoadValidate: what a slot is asked to hold has names that are file names.
func TestLoadValidate(t *testing.T) {
	entry := func(name string) Entry {
		return Entry{Name: name, Size: 3, Digest: load.DigestOf([]byte(name))}
	}
	good := Load{Name: "fw", Version: strings.Repeat("v", load.MaxTextLen), Components: []Entry{entry("a"), entry("b")}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(l *Load){
		"a name":           func(l *Load) { l.Name = "../x" },
		"no name":          func(l *Load) { l.Name = "" },
		"a long version":   func(l *Load) { l.Version += "v" },
		"no components":    func(l *Load) { l.Components = nil },
		"one twice":        func(l *Load) { l.Components = []Entry{entry("a"), entry("a")} },
		"a hidden file":    func(l *Load) { l.Components = []Entry{entry(".a.part")} },
		"outside the slot": func(l *Load) { l.Components = []Entry{entry("../a")} },
		"a negative size":  func(l *Load) { e := entry("a"); e.Size = -1; l.Components = []Entry{e} },
		"a size too large": func(l *Load) { e := entry("a"); e.Size = load.MaxFileSize + 1; l.Components = []Entry{e} },
		"too many": func(l *Load) {
			for i := range maxEntries + 1 {
				l.Components = append(l.Components, entry(fmt.Sprint("c", i)))
			}
		},
		"no digest": func(l *Load) { e := entry("a"); e.Digest = load.Digest{}; l.Components = []Entry{e} },
	} {
		l := good
		if spoil(&l); l.Validate() == nil {
			t.Errorf("%s: %+v is valid", name, l)
		}
	}
}

// folding is a file system that does not tell upper from lower case in names,
// and has no symbolic links, as FAT.
type folding struct{ OS }

func (folding) lower(name string) string {
	return filepath.Join(filepath.Dir(name), strings.ToLower(filepath.Base(name)))
}

func (f folding) Lstat(name string) (iofs.FileInfo, error) { return f.OS.Lstat(f.lower(name)) }

func (folding) Symlink(target, name string) error {
	return &os.LinkError{Op: "symlink", Old: target, New: name, Err: syscall.EPERM}
}

// TestFileSystemOfFewNames: what a file system cannot do is told before a load is
// fetched, and nothing is left of the question.
func TestFileSystemOfFewNames(t *testing.T) {
	dir := t.TempDir()
	names := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		return paths
	}
	for _, c := range []struct {
		fs    FS
		names []string
		want  error
	}{
		{folding{}, names("a.bin", "A.bin"), ErrFoldsCase}, {folding{}, names("a.bin", "b.bin"), nil},
		{OS{}, names("a.bin", "A.bin"), nil}, {folding{}, nil, nil},
	} {
		if err := CheckNames(c.fs, c.names); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.names, err, c.want)
		}
	}
	if err := CanSwitch(folding{}, dir); !errors.Is(err, ErrNoSymlinks) {
		t.Errorf("no symbolic links: %v", err)
	}
	if err := CanSwitch(OS{}, dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
