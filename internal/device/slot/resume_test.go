package slot_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/load"
)

func TestResume(t *testing.T) {
	b := random(6*chunk+9, 4)
	for name, spec := range map[string]slot.Spec{"signed": signed(b), "provisional": provisional(b)} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			p := open(t, d, "/d/x", spec, slot.Config{})
			for _, i := range []int{0, 1, 2, 4} {
				must(t, p.WriteChunk(i, piece(b, i)))
			}
			must(t, p.Settle(true)) // so that a reboot leaves it
			must(t, p.Close())
			must(t, d.Rot("/d/.x.part", 4*chunk+100))
			p = open(t, d, "/d/x", spec, slot.Config{})
			if p.Prefix() != 3 || p.Has(4) {
				t.Fatalf("resumed with prefix %d and has(4) = %v; chunk 4 had rotted", p.Prefix(), p.Has(4))
			}
			must(t, p.Close())
			if q := open(t, d.Reboot(1), "/d/x", spec, slot.Config{}); q.Prefix() != 3 {
				t.Fatalf("after a reboot %d chunks are left, want 3", q.Prefix())
			}
			for what, other := range map[string]slot.Spec{
				"epoch": {Key: spec.Key, Digest: slot.ExpectAny(), Epoch: 1, Geometry: spec.Geometry},
				"key":   {Key: load.DigestOf([]byte("other")), Digest: slot.ExpectAny(), Geometry: spec.Geometry},
				"size":  {Key: spec.Key, Digest: slot.ExpectAny(), Geometry: load.Geometry{Size: spec.Geometry.Size + 1}},
			} {
				q := open(t, d.Reboot(1), "/d/x", other, slot.Config{})
				if q.Prefix() != 0 {
					t.Errorf("another %s took over %d chunks", what, q.Prefix())
				}
			}
			must(t, fetch(d, "/d/x", spec, slot.Config{}, b))
			if !bytes.Equal(get(t, d, "/d/x"), b) {
				t.Fatal("the file differs")
			}
		})
	}
}

func TestResumeWhateverTheEpoch(t *testing.T) {
	d := newDisk(t)
	b := random(3*chunk, 6)
	spec := provisional(b)
	spec.Epoch = 7
	p := open(t, d, "/d/x", spec, slot.Config{})
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.Close())
	spec.Epoch, spec.AnyEpoch = 0, true
	p = open(t, d, "/d/x", spec, slot.Config{})
	if p.Epoch() != 7 || p.Prefix() != 1 {
		t.Errorf("resumed epoch %d with prefix %d, want 7 and 1", p.Epoch(), p.Prefix())
	}
	must(t, p.Discard())
	spec.Epoch = 8
	if p = open(t, d, "/d/x", spec, slot.Config{}); p.Epoch() != 8 || p.Prefix() != 0 {
		t.Errorf("begun anew with epoch %d and prefix %d, want 8 and 0", p.Epoch(), p.Prefix())
	}
	must(t, p.Close())
}

// What was begun for a file of another size is not continued, whatever its key.
func TestPartialOfAnotherSize(t *testing.T) {
	b := random(3*chunk, 45)
	for _, size := range []int64{2 * chunk, 4 * chunk, 3*chunk - 1} {
		d := newDisk(t)
		spec := slot.Spec{Key: load.DigestOf([]byte("k")), Geometry: load.Geometry{Size: 3 * chunk}, Digest: slot.ExpectAny()}
		p := open(t, d, "/d/x", spec, slot.Config{})
		must(t, p.WriteChunk(0, piece(b, 0)))
		must(t, p.Close())
		p = open(t, d, "/d/x", spec, slot.Config{})
		if !p.Has(0) {
			t.Fatal("what was begun is not continued")
		}
		must(t, p.Close())
		spec.Geometry.Size = size
		p = open(t, d, "/d/x", spec, slot.Config{})
		if p.Has(0) || p.Geometry() != spec.Geometry {
			t.Errorf("%d bytes: chunk 0 is held: %v, of a file of %+v", size, p.Has(0), p.Geometry())
		}
		must(t, p.Close())
	}
}

func TestResumeDropsWhatTheSignedTableRefuses(t *testing.T) {
	d := newDisk(t)
	b := random(3*chunk, 5)
	p := open(t, d, "/d/x", provisional(b), slot.Config{})
	forged := random(chunk, 99)
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.WriteChunk(1, forged))
	wantErr(t, p.WriteChunk(1, piece(b, 1)), slot.ErrBadChunk)
	must(t, p.Close())
	p = open(t, d, "/d/x", signed(b), slot.Config{})
	if p.Prefix() != 1 || p.Has(1) {
		t.Fatalf("prefix %d; a forged chunk survived the signed table", p.Prefix())
	}
	wantErr(t, p.Commit(), slot.ErrIncomplete)
}

// TestCommitAgain: a commit that failed behind its rename can be done again, and
// what was closed can be closed again.
func TestCommitAgain(t *testing.T) {
	d := newDisk(t)
	b := random(chunk, 42)
	p := open(t, d, "/d/x", signed(b), slot.Config{})
	must(t, fill(p, b))
	finish(t, p, b)
	d.FailAt(d.Ops()+2, syscall.EIO)
	wantErr(t, p.Commit(), syscall.EIO)
	if last := d.Log()[d.Ops()-1]; last != "syncdir /d" {
		t.Fatalf("%q failed", last)
	}
	must(t, p.Commit())
	if !bytes.Equal(get(t, d, "/d/x"), b) {
		t.Error("the file differs")
	}
	s := openSlots(t, d, "/d")
	must(t, s.Close())
	again := openSlots(t, d, "/d")
	must(t, s.Close())
	if _, err := slot.OpenSlots(d, "/d"); !errors.Is(err, slot.ErrLocked) {
		t.Errorf("a second Close gave the lock of others back: %v", err)
	}
	must(t, again.Close())
}

var update = flag.Bool("update", false, "write the operations anew")

// TestOperations holds what each story does on the medium, in its order, to a
// file: what is written and synced before what has a name.
func TestOperations(t *testing.T) {
	var out strings.Builder
	b := random(9*chunk+5, 41)
	small := slot.Config{Window: 2 * chunk, SyncEvery: 4 * chunk}
	unknown := sizeless(b)
	unknown.Epoch = 3
	d := newDisk(t)
	upTo := 0
	story := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fmt.Fprintf(&out, "# %s: %d bytes used, %d flushed\n", name, d.Used(), d.Flushed())
		for _, op := range d.Log()[upTo:] {
			fmt.Fprintln(&out, op)
		}
		upTo = d.Ops()
	}
	upTo = d.Ops()
	story("a file with small windows", fetch(d, "/d/x", signed(b), small, b))
	story("the same with the windows of devices", fetch(d, "/d/x", signed(b), slot.Config{}, b))
	story("the same without syncing", fetch(d, "/d/x", signed(b), slot.Config{NoSync: true}, b))
	p, err := slot.OpenPartial(d, "/d/y", unknown, small)
	for _, i := range []int{0, 1, 2, 5, 4} {
		err = errors.Join(err, p.WriteChunk(i, piece(b, i)), p.Settle(false))
	}
	story("a file of unknown size begins", errors.Join(err, p.Close()))
	p, err = slot.OpenPartial(d, "/d/y", unknown, small)
	err = errors.Join(err, p.SetSize(int64(len(b))), p.Drop(1), p.Drop(1), fill(p, b))
	_, ferr := p.Finish()
	story("and goes on", errors.Join(err, ferr, p.Commit(), p.Close()))
	story("a set", fetchSet(d, "/d", set(1), small))
	_, err = slot.Recover(d, "/d")
	story("no recovery", err)
	story("a first slot", upgrade(d, 1))
	story("a second", upgrade(d, 2))
	story("a third", upgrade(d, 3))
	s, err := slot.OpenSlots(d, "/d")
	story("a rollback", errors.Join(err, s.Rollback(), s.Close()))
	golden.Check(t, "operations", out.String(), *update)
}

// What nobody works on goes, what somebody works on and all else stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	b := random(chunk, 22)
	held := open(t, slot.OS{}, dir+"/bundle-1", signed(b), slot.Config{})
	for _, name := range []string{"bundle-2", "other"} {
		p := open(t, slot.OS{}, dir+"/"+name, signed(b), slot.Config{})
		must(t, p.WriteChunk(0, b))
		must(t, p.Close())
	}
	for _, name := range []string{".bundle-3.part.lock", "bundle-4", ".part", "bundle-5.part"} {
		put(t, slot.OS{}, dir+"/"+name, nil)
	}
	sweep := func() error {
		return slot.Sweep(slot.OS{}, dir, func(name string) bool { return strings.HasPrefix(name, "bundle-") })
	}
	must(t, sweep())
	want := []string{".bundle-1.part", ".bundle-1.part.idx", ".bundle-1.part.lock", ".other.part", ".other.part.idx",
		".part", "bundle-4", "bundle-5.part"}
	if got := names(t, slot.OS{}, dir); !slices.Equal(got, want) {
		t.Errorf("it leaves %v, want %v", got, want)
	}
	must(t, held.Close())
	must(t, sweep())
	if got := names(t, slot.OS{}, dir); !slices.Equal(got, want[3:]) {
		t.Errorf("then it leaves %v, want %v", got, want[3:])
	}
	must(t, slot.Sweep(slot.OS{}, dir+"/missing", func(string) bool { return true }))
}

// sameCRC returns other bytes of the length and the CRC-32C of b: the first bit is
// another one, and the last 32 bits make up for it.
func sameCRC(t *testing.T, b []byte) []byte {
	t.Helper()
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := func(b []byte) uint32 { return crc32.Checksum(b, table) }
	zero := make([]byte, len(b))
	flip := func(bit int) uint32 { // what one bit changes
		zero[bit/8] ^= 1 << (bit % 8)
		defer func() { zero[bit/8] = 0 }()
		return sum(zero) ^ sum(make([]byte, len(b)))
	}
	need, last := flip(0), 8*(len(b)-4)
	rows := make([]uint64, 32) // what the bit changes, and which bits it stands for
	for i := range rows {
		rows[i] = uint64(flip(last+i))<<32 | 1<<i
	}
	goal := uint64(need) << 32
	for bit := 63; bit >= 32; bit-- {
		at := slices.IndexFunc(rows, func(r uint64) bool { return r>>bit&1 == 1 })
		if at < 0 {
			continue
		}
		pivot := rows[at]
		rows = slices.Delete(rows, at, at+1)
		for i := range rows {
			if rows[i]>>bit&1 == 1 {
				rows[i] ^= pivot
			}
		}
		if goal>>bit&1 == 1 {
			goal ^= pivot
		}
	}
	other := bytes.Clone(b)
	other[0] ^= 1
	for i := range 4 {
		other[len(b)-4+i] ^= byte(goal >> (8 * i))
	}
	if sum(other) != sum(b) || bytes.Equal(other, b) {
		t.Fatal("the CRC is another one")
	}
	return other
}

// A CRC proves nothing about bytes that somebody chose: what is held is compared, and
// the digest of the whole file, or the chunk's own, decides.
func TestForgedCRC(t *testing.T) {
	b := random(4*chunk+9, 31)
	forged := bytes.Clone(b)
	copy(forged[chunk:], sameCRC(t, piece(b, 1)))
	pinned := signed(b)
	pinned.Table = nil
	d := newDisk(t)
	p := open(t, d, "/d/x", pinned, slot.Config{})
	must(t, p.WriteChunk(1, piece(forged, 1)))
	wantErr(t, p.WriteChunk(1, piece(b, 1)), slot.ErrBadChunk)
	must(t, fill(p, b))
	_, err := p.Finish()
	wantErr(t, err, slot.ErrDigest)
	if got := p.Digests(); !slices.Equal(got, tableOf(forged)) {
		t.Errorf("the digests are those of other bytes: %v", got)
	}
	must(t, p.ReplaceChunk(1, piece(b, 1)))
	if _, err = p.Finish(); err != nil {
		t.Errorf("after the right bytes counted for more: %v", err)
	}
	must(t, p.Close())

	// The same bytes left by an earlier process: with the table they are found at once,
	// without it by the digest of the whole.
	for _, spec := range []slot.Spec{pinned, signed(b)} {
		d := newDisk(t)
		p := open(t, d, "/d/x", pinned, slot.Config{})
		must(t, fill(p, forged))
		must(t, p.Close())
		p = open(t, d, "/d/x", spec, slot.Config{})
		if p.Has(1) != (spec.Table == nil) || !p.Has(0) || !p.Has(4) {
			t.Errorf("with a table %v: has(1) is %v", spec.Table != nil, p.Has(1))
		}
		if spec.Table == nil {
			_, err := p.Finish()
			wantErr(t, err, slot.ErrDigest)
			continue
		}
		must(t, p.WriteChunk(1, piece(b, 1)))
		digest, err := p.Finish()
		if err != nil || digest != load.DigestOf(b) {
			t.Errorf("%s, %v", digest, err)
		}
	}
}
