package slot_test

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

func TestPartialOnARealDisk(t *testing.T) {
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 5*chunk + 77} {
		b := random(size, uint64(size))
		dir := t.TempDir()
		target := dir + "/image.bin"
		p := open(t, slot.OS{}, target, signed(b), slot.Config{Window: 2 * chunk, SyncEvery: 3 * chunk})
		must(t, fill(p, b))
		if got := get(t, slot.OS{}, target); got != nil {
			t.Fatal("the name appeared before the commit")
		}
		wantErr(t, p.Commit(), slot.ErrIncomplete)
		d, err := p.Finish()
		must(t, err)
		if d != load.DigestOf(b) {
			t.Fatalf("size %d: digest %s, want %s", size, d, load.DigestOf(b))
		}
		must(t, p.Commit())
		if got := get(t, slot.OS{}, target); !bytes.Equal(got, b) {
			t.Fatalf("size %d: the committed file differs", size)
		}
		wantHeld(t, p, b)
		must(t, p.Close())
		must(t, p.Close())
		if got := names(t, slot.OS{}, dir); !slices.Equal(got, []string{"image.bin"}) {
			t.Fatalf("left over: %v", got)
		}
	}
}

func TestCommitLeavesNothingElse(t *testing.T) {
	d := newDisk(t)
	b := random(3*chunk, 1)
	must(t, fetch(d, "/d/x", signed(b), slot.Config{}, b))
	if got := names(t, d, "/d"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("the directory holds %v, want x alone", got)
	}
	p := open(t, d, "/d/y", signed(b), slot.Config{})
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.Discard())
	if got := names(t, d, "/d"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("after discarding, the directory holds %v, want x alone", got)
	}
}

func TestWriteChunkRefuses(t *testing.T) {
	d := newDisk(t)
	b := random(3*chunk+5, 2)
	p := open(t, d, "/d/x", signed(b), slot.Config{})
	wrong := slices.Clone(piece(b, 1))
	wrong[7] ^= 1
	for _, c := range []struct {
		i int
		b []byte
	}{{1, wrong}, {1, piece(b, 0)}, {-1, piece(b, 0)}, {4, piece(b, 0)}, {3, piece(b, 0)}, {0, nil}, {0, b[:chunk+1]}} {
		before := d.Ops()
		wantErr(t, p.WriteChunk(c.i, c.b), slot.ErrBadChunk)
		if d.Ops() != before {
			t.Fatalf("a wrong chunk %d of %d bytes was stored", c.i, len(c.b))
		}
	}
	if p.Prefix() != 0 || p.Has(1) {
		t.Fatal("a wrong chunk counts")
	}
}

func TestOutOfOrder(t *testing.T) {
	d := newDisk(t)
	b := random(5*chunk+1, 3)
	p := open(t, d, "/d/x", signed(b), slot.Config{Window: chunk})
	for _, c := range []struct{ write, prefix int }{{1, 0}, {3, 0}, {0, 2}, {5, 2}, {2, 4}, {2, 4}, {4, 6}} {
		must(t, p.WriteChunk(c.write, piece(b, c.write)))
		must(t, p.Settle(false))
		if p.Prefix() != c.prefix {
			t.Fatalf("after chunk %d the prefix is %d, want %d", c.write, p.Prefix(), c.prefix)
		}
	}
	_, err := p.ReadChunk(6, nil)
	wantErr(t, err, slot.ErrNotHeld)
	if !slices.Equal(p.Digests(), tableOf(b)) {
		t.Error("the digests are not those of the file")
	}
	finish(t, p, b)
}

func TestWrongProvisionalChunkIsFoundAndReplaced(t *testing.T) {
	d := newDisk(t)
	b := random(4*chunk, 6)
	spec := provisional(b)
	spec.Digest = slot.Expect(load.DigestOf(b))
	p := open(t, d, "/d/x", spec, slot.Config{Window: chunk})
	for i := range 4 {
		c := piece(b, i)
		if i == 1 {
			c = random(chunk, 99)
		}
		must(t, p.WriteChunk(i, c))
		must(t, p.Settle(false))
	}
	for range 2 {
		_, err := p.Finish()
		wantErr(t, err, slot.ErrDigest)
		wantErr(t, p.Commit(), slot.ErrIncomplete)
	}
	for i, d := range tableOf(b) {
		if p.Digests()[i] != d {
			must(t, p.Drop(i))
		}
	}
	if p.Prefix() != 1 {
		t.Fatalf("prefix %d; want a gap at 1", p.Prefix())
	}
	must(t, p.WriteChunk(1, piece(b, 1)))
	_, err := p.Finish()
	must(t, err)
	must(t, p.Drop(2))
	wantErr(t, p.Commit(), slot.ErrIncomplete)
	must(t, p.WriteChunk(2, piece(b, 2)))
	_, err = p.Finish()
	must(t, err)
	must(t, p.Commit())
	if !bytes.Equal(get(t, d, "/d/x"), b) {
		t.Error("the file differs")
	}
}

// TestReplaceChunk: bytes that count for more replace a provisional chunk, also one
// that was hashed already, and nothing that a table says is right.
func TestReplaceChunk(t *testing.T) {
	d := newDisk(t)
	b, c := random(4*chunk, 23), random(4*chunk, 23)
	copy(c[chunk:], random(chunk, 24))
	p := open(t, d, "/d/x", provisional(b), slot.Config{Window: chunk})
	must(t, fill(p, c))
	if got, err := p.Finish(); err != nil || got != load.DigestOf(c) {
		t.Fatalf("digest %s, %v", got, err)
	}
	wantErr(t, p.ReplaceChunk(1, piece(b, 1)[1:]), slot.ErrBadChunk)
	for i := range 4 {
		must(t, p.ReplaceChunk(i, piece(b, i)))
	}
	if got, err := p.Finish(); err != nil || got != load.DigestOf(b) || p.Prefix() != 4 {
		t.Fatalf("digest %s, prefix %d, %v", got, p.Prefix(), err)
	}
	s := open(t, d, "/d/y", signed(b), slot.Config{Window: chunk})
	must(t, fill(s, b))
	wantErr(t, s.ReplaceChunk(1, piece(c, 1)), slot.ErrBadChunk)
	if got, err := s.Finish(); err != nil || got != load.DigestOf(b) {
		t.Fatalf("signed: digest %s, %v", got, err)
	}
}

// TestDropReplaces: what replaces a chunk that was hashed already counts.
func TestDropReplaces(t *testing.T) {
	d := newDisk(t)
	b, c := random(4*chunk, 21), random(4*chunk, 21)
	copy(c[chunk:], random(chunk, 22))
	p := open(t, d, "/d/x", provisional(b), slot.Config{Window: chunk})
	must(t, fill(p, c))
	if got, err := p.Finish(); err != nil || got != load.DigestOf(c) {
		t.Fatalf("digest %s, %v", got, err)
	}
	must(t, p.Drop(1))
	must(t, p.Drop(1))
	if p.Prefix() != 1 {
		t.Fatalf("prefix %d after dropping chunk 1", p.Prefix())
	}
	must(t, p.WriteChunk(1, piece(b, 1)))
	if got, err := p.Finish(); err != nil || got != load.DigestOf(b) || p.Prefix() != 4 {
		t.Fatalf("digest %s, %v", got, err)
	}
}

func TestReadBackFindsALyingMedium(t *testing.T) {
	b := random(6*chunk, 7)
	for _, when := range []string{"settle", "finish", "read"} {
		t.Run(when, func(t *testing.T) {
			d := newDisk(t)
			p := open(t, d, "/d/x", signed(b), slot.Config{Window: 2 * chunk})
			for i := range 6 {
				must(t, p.WriteChunk(i, piece(b, i)))
			}
			must(t, d.Rot("/d/.x.part", chunk+5))
			var err error
			switch when {
			case "settle":
				err = p.Settle(false)
			case "finish":
				_, err = p.Finish()
			case "read":
				_, err = p.ReadChunk(1, nil)
			}
			var lost *slot.ReadBackError
			if !errors.As(err, &lost) || !errors.Is(err, slot.ErrReadBack) || lost.Chunk != 1 {
				t.Fatalf("got %v, want chunk 1 lost", err)
			}
			if p.Has(1) || p.Prefix() != 1 {
				t.Fatal("the lost chunk still counts")
			}
			must(t, fill(p, b))
			finish(t, p, b)
		})
	}
}

// TestRotAfterReadBack: a chunk read back well may still rot before it is
// served; then what was hashed is hashed again.
func TestRotAfterReadBack(t *testing.T) {
	d := newDisk(t)
	b := random(4*chunk, 8)
	p := open(t, d, "/d/x", signed(b), slot.Config{Window: chunk})
	must(t, fill(p, b))
	must(t, p.Settle(true))
	must(t, d.Rot("/d/.x.part", 3))
	_, err := p.ReadChunk(0, nil)
	wantErr(t, err, slot.ErrReadBack)
	_, err = p.Finish()
	wantErr(t, err, slot.ErrIncomplete)
	must(t, p.WriteChunk(0, piece(b, 0)))
	_, err = p.Finish()
	must(t, err)
	must(t, p.Commit())
	if !bytes.Equal(get(t, d, "/d/x"), b) {
		t.Error("the file differs")
	}
}

func TestUnknownSize(t *testing.T) {
	d := newDisk(t)
	b := random(4*chunk+100, 9)
	spec := slot.Spec{Key: load.DigestOf([]byte("url")), Epoch: 5, Digest: slot.ExpectAny(),
		Geometry: load.Geometry{Size: load.UnknownSize}}
	p := open(t, d, "/d/x", spec, slot.Config{Window: chunk})
	for i := range 3 {
		must(t, p.WriteChunk(i, piece(b, i)))
		must(t, p.Settle(false))
	}
	_, err := p.Finish()
	wantErr(t, err, slot.ErrIncomplete)
	if got := len(p.Digests()); got != 3 {
		t.Fatalf("%d digests, want 3", got)
	}
	must(t, p.Close())
	p = open(t, d, "/d/x", spec, slot.Config{Window: chunk})
	if p.Prefix() != 3 {
		t.Fatalf("resumed with prefix %d, want 3", p.Prefix())
	}
	must(t, p.WriteChunk(3, piece(b, 3)))
	must(t, p.SetSize(int64(len(b))))
	must(t, p.SetSize(int64(len(b))))
	wantErr(t, p.SetSize(int64(len(b))+1), slot.ErrSize)
	must(t, fill(p, b))
	finish(t, p, b)
	must(t, p.Commit())
}

// TestSizeThatWasTooLarge: a size that was believed and turns out to be less
// keeps the chunks before the end, whatever was held behind it.
func TestSizeThatWasTooLarge(t *testing.T) {
	for name, size := range map[string]int{"in a chunk": 2*chunk + 10, "between two": 2 * chunk} {
		b := random(size, 12)
		spec := slot.Spec{Key: load.DigestOf(b), Digest: slot.Expect(load.DigestOf(b)),
			Geometry: load.Geometry{Size: 9 * chunk}}
		p := open(t, newDisk(t), "/d/x", spec, slot.Config{Window: chunk})
		for i, piece := range [][]byte{b[:chunk], b[chunk : 2*chunk]} {
			if p.EndsWith(2, b[2*chunk:]) {
				t.Fatalf("%s: ends with %d chunks", name, i)
			}
			must(t, p.WriteChunk(i, piece))
		}
		if p.EndsWith(2, []byte("no")) || p.EndsWith(1, b[2*chunk:]) || !p.EndsWith(2, b[2*chunk:]) {
			t.Fatalf("%s: the end is not known by the digest", name)
		}
		must(t, p.WriteChunk(2, random(chunk, 13)))
		must(t, p.WriteChunk(4, random(chunk, 14)))
		must(t, p.Settle(true))
		must(t, p.SetSize(int64(size)))
		if p.Prefix() != 2 || p.Has(2) {
			t.Fatalf("%s: prefix %d", name, p.Prefix())
		}
		must(t, fill(p, b))
		finish(t, p, b)
		must(t, p.Commit())
	}
}

func TestSizeSmallerThanHeld(t *testing.T) {
	d := newDisk(t)
	b := random(2*chunk+10, 10)
	long := append(slices.Clone(b), random(3*chunk, 11)...)
	p := open(t, d, "/d/x", sizeless(b),
		slot.Config{Window: chunk})
	for i := range 4 {
		must(t, p.WriteChunk(i, piece(long, i)))
		must(t, p.Settle(false))
	}
	must(t, p.SetSize(int64(len(b))))
	if p.Prefix() != 2 {
		t.Fatalf("prefix %d, want 2", p.Prefix())
	}
	must(t, fill(p, b))
	got, err := p.Finish()
	must(t, err)
	must(t, p.Commit())
	if got != load.DigestOf(b) || !bytes.Equal(get(t, d, "/d/x"), b) {
		t.Error("the file differs")
	}
}

// TestRecut: a file that turns out to have larger chunks is cut anew from
// what is held, in the running process and when it was known only later.
func TestRecut(t *testing.T) {
	const size = load.MinChunkSize*load.MaxChunks + 1 // chunks of 128 KiB
	g := load.Geometry{Size: size}
	b := random(7*chunk, 12)
	unknown := sizeless(b)
	for _, when := range []string{"running", "resumed"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			p := open(t, slot.OS{}, dir+"/x", unknown, slot.Config{Window: chunk})
			for _, i := range []int{0, 1, 2, 4, 5, 6} {
				must(t, p.WriteChunk(i, b[i*chunk:(i+1)*chunk]))
				must(t, p.Settle(false))
			}
			if when == "running" {
				must(t, p.SetSize(size))
			} else {
				must(t, p.Close())
				known := unknown
				known.Geometry = g
				p = open(t, slot.OS{}, dir+"/x", known, slot.Config{})
			}
			for i, want := range []bool{true, false, true, false} {
				if p.Has(i) != want {
					t.Fatalf("chunk %d held: %v, want %v", i, p.Has(i), want)
				}
				if want && p.Digests()[i] != load.DigestOf(b[2*i*chunk:2*(i+1)*chunk]) {
					t.Fatalf("chunk %d has a wrong digest", i)
				}
			}
			must(t, p.Settle(true))
		})
	}
}

func TestLocked(t *testing.T) {
	d := newDisk(t)
	b := random(chunk, 13)
	p := open(t, d, "/d/x", signed(b), slot.Config{})
	_, err := slot.OpenPartial(d, "/d/x", signed(b), slot.Config{})
	wantErr(t, err, slot.ErrLocked)
	open(t, d, "/d/y", signed(b), slot.Config{})
	must(t, p.Close())
	p = open(t, d, "/d/x", signed(b), slot.Config{})
	must(t, fill(p, b))
	_, err = p.Finish()
	must(t, err)
	must(t, p.Commit())
	// The holder may go on serving the committed file.
	q := open(t, d, "/d/x", signed(b), slot.Config{})
	must(t, q.Discard())
	must(t, p.Discard())
	if !bytes.Equal(get(t, d, "/d/x"), b) {
		t.Error("discarding after the commit touched the file")
	}
	wantErr(t, p.WriteChunk(0, b), iofs.ErrClosed)
}

// What is no file keeps its name, and nothing is made beside it: a commit
// would replace a device as readily as a file.
func TestNameOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(dir+"/pipe", 0o600))
	must(t, slot.OS{}.Mkdir(dir+"/dir", 0o700))
	b := random(chunk, 21)
	for _, name := range []string{"pipe", "dir"} {
		_, err := slot.OpenPartial(slot.OS{}, dir+"/"+name, signed(b), slot.Config{})
		wantErr(t, err, slot.ErrNotFile)
	}
	if got := names(t, slot.OS{}, dir); !slices.Equal(got, []string{"dir", "pipe"}) {
		t.Errorf("the directory holds %v", got)
	}
}

func TestWriteError(t *testing.T) {
	d := newDisk(t)
	b := random(4*chunk, 16)
	p := open(t, d, "/d/x", signed(b), slot.Config{Window: chunk, SyncEvery: chunk})
	must(t, p.WriteChunk(0, piece(b, 0)))
	for n := 1; n <= 6; n++ {
		d.FailAt(d.Ops()+n, syscall.EIO)
	}
	wantErr(t, p.WriteChunk(1, piece(b, 1)), syscall.EIO)
	wantErr(t, p.Settle(true), syscall.EIO)
	for d.Ops() < 20 && errors.Is(p.Settle(true), syscall.EIO) {
	}
	if p.Prefix() != 1 {
		t.Fatalf("prefix %d, want 1", p.Prefix())
	}
	must(t, fill(p, b))
	finish(t, p, b)
	must(t, p.Commit())
}

// TestFlashWritten: figures of the design: flash written / file size <= 1.05.
func TestFlashWritten(t *testing.T) {
	tiers.Long(t, "it writes a file of 20 MB")
	d := newDisk(t)
	b := random(20_000_000, 17)
	before := d.Flushed()
	must(t, fetch(d, "/d/x", signed(b), slot.Config{}, b))
	ratio := float64(d.Flushed()-before) / float64(len(b))
	t.Logf("flash written / file size = %.4f (bound 1.05)", ratio)
	if ratio > 1.05 || ratio < 1 {
		t.Errorf("flash written / file size = %.4f, want 1 to 1.05", ratio)
	}
}

// TestConcurrentUse lets readers, two stripes and the disk goroutine work at
// once, as the driver does; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	b := random(24*chunk+3, 18)
	p := open(t, slot.OS{}, t.TempDir()+"/x", signed(b), slot.Config{Window: 2 * chunk, SyncEvery: 8 * chunk})
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	for stripe := range 2 {
		writers.Go(func() {
			for i := stripe; i < 25; i += 2 {
				if err := p.WriteChunk(i, piece(b, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	others.Go(func() {
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			if err := p.Settle(false); err != nil {
				t.Error(err)
			}
		}
	})
	others.Go(func() {
		var buf []byte
		for i := 0; i < 25; {
			got, err := p.ReadChunk(i, buf)
			if errors.Is(err, slot.ErrNotHeld) {
				continue
			}
			if err != nil || !bytes.Equal(got, piece(b, i)) {
				t.Errorf("chunk %d: %v", i, err)
			}
			buf, i = got, i+1
			_, _ = p.Prefix(), p.Digests()
		}
	})
	writers.Wait()
	close(done)
	others.Wait()
	finish(t, p, b)
}

func TestSpecRefused(t *testing.T) {
	d := newDisk(t)
	b := random(2*chunk, 19)
	noKey, noSize, short, huge := signed(b), signed(b), signed(b), provisional(b)
	noKey.Key = load.Digest{}
	noSize.Geometry.Size = load.UnknownSize
	short.Table = short.Table[:1]
	huge.Geometry.Size = load.MaxFileSize + 1
	unsaid := provisional(b)
	unsaid.Digest = slot.Expected{}
	for _, s := range []slot.Spec{noKey, noSize, short, huge, unsaid} {
		if _, err := slot.OpenPartial(d, "/d/x", s, slot.Config{}); err == nil {
			t.Errorf("accepted %+v", s)
		}
	}
	if _, err := slot.OpenPartial(d, "/d/x", signed(b), slot.Config{Window: -1}); err == nil {
		t.Error("accepted a negative window")
	}
	if _, err := slot.OpenPartial(d, "/d/..", signed(b), slot.Config{}); err == nil {
		t.Error("accepted .. as a file name")
	}
	if got := names(t, d, "/d"); got != nil {
		t.Errorf("a refused spec left %v", got)
	}
}

func BenchmarkPartial(bench *testing.B) {
	b := random(32<<20, 20)
	spec := signed(b)
	for _, c := range []struct {
		name string
		cfg  slot.Config
	}{{"synced", slot.Config{}}, {"nosync", slot.Config{NoSync: true}}} {
		bench.Run(c.name, func(bench *testing.B) {
			dir := bench.TempDir()
			bench.SetBytes(int64(len(b)))
			bench.ReportAllocs()
			for bench.Loop() {
				must(bench, fetch(slot.OS{}, dir+"/x", spec, c.cfg, b))
			}
		})
	}
}

// A digest that was given is given, whatever it is: the zero digest is no
// file's, and does not stand for "none".
func TestDigestOfZeros(t *testing.T) {
	d := newDisk(t)
	b := random(10, 20)
	spec := signed(b)
	spec.Digest, spec.Table = slot.Expect(load.Digest{}), nil
	p := open(t, d, "/d/x", spec, slot.Config{})
	must(t, fill(p, b))
	_, err := p.Finish()
	wantErr(t, err, slot.ErrDigest)
	wantErr(t, p.Commit(), slot.ErrIncomplete)
}

// BenchmarkCPU measures the processor time of storing, settling and verifying a file,
// beside that of the program sha256sum for the same file in the same run.
func BenchmarkCPU(bench *testing.B) {
	b := random(64<<20, 20)
	pinned := signed(b)
	pinned.Table = nil
	measure := func(name string, who int, f func(bench *testing.B)) {
		bench.Run(name, func(bench *testing.B) {
			before := cpu(bench, who)
			for bench.Loop() {
				f(bench)
			}
			bench.ReportMetric((cpu(bench, who)-before).Seconds()/float64(bench.N)/float64(len(b))*1e9, "CPU-s/GB")
		})
	}
	for _, s := range []struct {
		name string
		spec slot.Spec
	}{{"signed", signed(b)}, {"pinned", pinned}} {
		dir := bench.TempDir()
		measure(s.name, syscall.RUSAGE_SELF, func(bench *testing.B) {
			must(bench, fetch(slot.OS{}, dir+"/x", s.spec, slot.Config{}, b))
		})
	}
	name := bench.TempDir() + "/x"
	must(bench, os.WriteFile(name, b, 0o600))
	measure("sha256sum", syscall.RUSAGE_CHILDREN, func(bench *testing.B) {
		must(bench, exec.Command("sha256sum", name).Run())
	})
}

// cpu is the processor time of this process, or of the children that have ended.
func cpu(t testing.TB, who int) time.Duration {
	t.Helper()
	var r syscall.Rusage
	must(t, syscall.Getrusage(who, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
