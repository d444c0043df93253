package slot

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"testing"

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
		"another digest": func(s *Spec) { s.Digest.digest[0] ^= 1 },
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
