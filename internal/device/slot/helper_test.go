package slot_test

import (
	"bytes"
	"errors"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/load"
)

const chunk = load.MinChunkSize

// random returns n bytes that depend on the seed alone.
func random(n int, seed uint64) []byte {
	var k [32]byte
	k[0], k[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(k).Read(b)
	return b
}

// tableOf describes b for its chunk table.
func tableOf(b []byte) load.Table {
	c, err := load.Describe("x", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		panic(err)
	}
	return c.Table
}

// signed describes b as a signed manifest would.
func signed(b []byte) slot.Spec {
	return slot.Spec{
		Key: load.DigestOf(b), Geometry: load.Geometry{Size: int64(len(b))},
		Table: tableOf(b), Digest: slot.Expect(load.DigestOf(b)),
	}
}

// provisional describes b by its key and size alone.
func provisional(b []byte) slot.Spec {
	return slot.Spec{Key: load.DigestOf(b), Digest: slot.ExpectAny(), Geometry: load.Geometry{Size: int64(len(b))}}
}

// sizeless describes b by its key alone.
func sizeless(b []byte) slot.Spec {
	return slot.Spec{Key: load.DigestOf(b), Digest: slot.ExpectAny(), Geometry: load.Geometry{Size: load.UnknownSize}}
}

// newDisk returns a twin with an empty durable directory /d.
func newDisk(t *testing.T) *faultdisk.Disk {
	t.Helper()
	d := faultdisk.New(1)
	must(t, d.Mkdir("/d", 0o755))
	must(t, d.SyncDir("/"))
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func open(t testing.TB, fs slot.FS, target string, spec slot.Spec, cfg slot.Config) *slot.Partial {
	t.Helper()
	p, err := slot.OpenPartial(fs, target, spec, cfg)
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// piece returns chunk i of b.
func piece(b []byte, i int) []byte {
	off, n := load.Geometry{Size: int64(len(b))}.Span(i)
	return b[off : off+int64(n)]
}

// put stores a file durably, as if it had always been there.
func put(t testing.TB, fs slot.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	must(t, err)
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, fs.SyncDir(filepath.Dir(name)))
}

// get reads a file, nil if it is not there.
func get(t testing.TB, fs slot.FS, name string) []byte {
	t.Helper()
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	must(t, err)
	return b
}

// fill writes every chunk of b that is missing, settling after each.
func fill(p *slot.Partial, b []byte) error {
	for i := range p.Geometry().Chunks() {
		if p.Has(i) {
			continue
		}
		if err := p.WriteChunk(i, piece(b, i)); err != nil {
			return err
		}
		if err := p.Settle(false); err != nil {
			return err
		}
	}
	return nil
}

// finish finishes p, whose content must be b.
func finish(t testing.TB, p *slot.Partial, b []byte) {
	t.Helper()
	got, err := p.Finish()
	must(t, err)
	if want := load.DigestOf(b); got != want {
		t.Fatalf("finished with digest %s, want %s", got, want)
	}
}

// fetch stores b as target from wherever an earlier try stood.
func fetch(fs slot.FS, target string, spec slot.Spec, cfg slot.Config, b []byte) (err error) {
	p, err := slot.OpenPartial(fs, target, spec, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := fill(p, b); err != nil {
		return err
	}
	if _, err := p.Finish(); err != nil {
		return err
	}
	return p.Commit()
}

// names lists a directory, for comparison.
func names(t testing.TB, fs slot.FS, dir string) []string {
	t.Helper()
	es, err := fs.ReadDir(dir)
	must(t, err)
	var s []string
	for _, e := range es {
		s = append(s, e.Name())
	}
	return s
}

// wantHeld checks that each chunk held is the right one.
func wantHeld(t testing.TB, p *slot.Partial, b []byte) {
	t.Helper()
	if p.Geometry().Known() && p.Geometry().Size != int64(len(b)) {
		t.Fatalf("size %d, want %d", p.Geometry().Size, len(b))
	}
	for i := range (load.Geometry{Size: int64(len(b))}).Chunks() {
		if !p.Has(i) {
			continue
		}
		got, err := p.ReadChunk(i, nil)
		if err != nil || !bytes.Equal(got, piece(b, i)) {
			t.Fatalf("chunk %d counts as held and is wrong: %v", i, err)
		}
	}
}
