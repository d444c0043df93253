package slot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/load"
)

func FuzzParseIndex(f *testing.F) {
	for _, size := range []int64{load.UnknownSize, 0, 1, 3 * load.MinChunkSize, load.MaxFileSize} {
		x := index{key: load.DigestOf([]byte("k")), epoch: 7, g: load.Geometry{Size: size}}
		x.digests = make([]load.Digest, x.g.Chunks())
		if len(x.digests) > 1 {
			x.digests[1] = load.DigestOf([]byte("one"))
		}
		f.Add(x.marshal())
		f.Add(x.header())
	}
	f.Add([]byte(indexMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseIndex(b)
		if err != nil {
			return
		}
		if len(x.digests) != x.g.Chunks() || x.g.Validate() != nil {
			t.Fatalf("%d digests for %+v", len(x.digests), x.g)
		}
		y, err := parseIndex(x.marshal())
		if err != nil || !reflect.DeepEqual(x, y) {
			t.Fatalf("round trip: %v\n%+v\n%+v", err, x, y)
		}
	})
}

func sampleEntries() []Entry {
	return []Entry{
		{Name: "boot.bin", Size: 1, Digest: load.DigestOf([]byte("b"))},
		{Name: "with space", Size: load.MaxFileSize, Digest: load.DigestOf([]byte("c"))},
		{Name: "phone.load", Size: 0, Digest: load.DigestOf(nil)},
	}
}

// FuzzParseJournal fuzzes the body and the whole: with the right sum behind
// it, and as it is.
func FuzzParseJournal(f *testing.F) {
	whole := marshalJournal(sampleEntries())
	f.Add(whole)
	f.Add(whole[:bytes.LastIndex(whole, []byte(journalSum))])
	f.Add([]byte(journalFirst + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if es, err := parseJournal(b); err == nil && !bytes.Equal(marshalJournal(es), b) {
			t.Fatalf("read %q as %+v", b, es)
		}
		summed := append(bytes.Clone(b), journalSum+load.DigestOf(b).String()+"\n"...)
		es, err := parseJournal(summed)
		if err != nil {
			return
		}
		again, err := parseJournal(marshalJournal(es))
		if err != nil || !reflect.DeepEqual(es, again) {
			t.Fatalf("round trip of %+v: %+v, %v", es, again, err)
		}
	})
}

func FuzzParseState(f *testing.F) {
	for _, i := range []Info{
		{State: StateEmpty},
		{State: StateTrial, Boots: 1, Load: Load{Name: "phone", Version: "1.2", Components: sampleEntries()}},
	} {
		b, err := marshalState(i)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"format":1,"state":"confirmed","load":"x","components":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := parseState(b)
		if err != nil {
			return
		}
		if i.State != StateEmpty && i.Load.Validate() != nil {
			t.Fatalf("accepted %+v", i)
		}
		out, err := marshalState(i)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseState(out)
		if err != nil || !reflect.DeepEqual(i, again) {
			t.Fatalf("round trip of %+v: %+v, %v", i, again, err)
		}
	})
}

// FuzzPID: a lock's file names a process, or none.
func FuzzPID(f *testing.F) {
	f.Add([]byte("4711\n"))
	f.Add([]byte("-1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pid := parsePID(b)
		if again := parsePID([]byte(strconv.Itoa(pid) + "\n")); pid < 0 || again != pid {
			t.Fatalf("%q is %d, and that %d", b, pid, again)
		}
	})
}

// TestLimitsHoldTheLargest: what is written must be readable again, at the
// largest.
func TestLimitsHoldTheLargest(t *testing.T) {
	var es []Entry
	for n := range maxEntries {
		name := bytes.Repeat([]byte{'&'}, load.MaxNameLen)
		name[0], name[1] = 'a'+byte(n%16), 'a'+byte(n/16)
		es = append(es, Entry{Name: string(name) + load.ManifestSuffix, Size: load.MaxFileSize, Digest: load.DigestOf(name)})
	}
	if b := marshalJournal(es); len(b) > maxJournal {
		t.Errorf("a journal of %d bytes, bound %d", len(b), maxJournal)
	} else if got, err := parseJournal(b); err != nil || !reflect.DeepEqual(got, es) {
		t.Errorf("the largest journal: %v", err)
	}
	i := Info{State: StateConfirmed, Load: Load{Name: "x", Components: es}}
	b, err := marshalState(i)
	if err != nil || len(b) > maxState {
		t.Errorf("a state of %d bytes, bound %d, %v", len(b), maxState, err)
	} else if got, err := parseState(b); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("the largest state: %v", err)
	}
	x := index{g: load.Geometry{Size: load.MaxFileSize}, digests: make([]load.Digest, load.MaxChunks)}
	x.digests[load.MaxChunks-1] = load.DigestOf(nil)
	if n := len(x.marshal()); n != maxIndex {
		t.Errorf("the largest index has %d bytes, bound %d", n, maxIndex)
	}
}

// summed is a journal of this body with the right sum behind it.
func summed(body string) []byte {
	return []byte(body + journalSum + load.DigestOf([]byte(body)).String() + "\n")
}

// TestJournalRefused: every line of a journal is what it should be, or nothing
// of it is believed.
func TestJournalRefused(t *testing.T) {
	digest := load.DigestOf([]byte("b")).String()
	good := journalFirst + "\n" + digest + " 1 boot.bin\n"
	if es, err := parseJournal(summed(good)); err != nil || len(es) != 1 || es[0].Name != "boot.bin" || es[0].Size != 1 {
		t.Fatalf("the good one: %+v, %v", es, err)
	}
	torn := summed(good)
	torn[len(journalFirst)+5] ^= 1
	for what, b := range map[string][]byte{
		"nothing":             nil,
		"a sum and no more":   summed(""),
		"altered":             torn,
		"cut":                 summed(good)[:len(good)+10],
		"another version":     summed(journalFirst + "1\n" + digest + " 1 boot.bin\n"),
		"no component":        summed(journalFirst + "\n"),
		"two fields":          summed(journalFirst + "\n" + digest + " 1\n"),
		"no digest":           summed(journalFirst + "\n" + digest[1:] + " 1 boot.bin\n"),
		"no size":             summed(journalFirst + "\n" + digest + " one boot.bin\n"),
		"a negative size":     summed(journalFirst + "\n" + digest + " -1 boot.bin\n"),
		"a size beyond any":   summed(fmt.Sprintf("%s\n%s %d boot.bin\n", journalFirst, digest, int64(load.MaxFileSize)+1)),
		"a name elsewhere":    summed(journalFirst + "\n" + digest + " 1 ../boot.bin\n"),
		"a name twice":        summed(good + digest + " 1 boot.bin\n"),
		"a zero digest":       summed(journalFirst + "\n" + load.Digest{}.String() + " 1 boot.bin\n"),
		"a line of a new day": summed(good + "\n"),
	} {
		if es, err := parseJournal(b); err == nil {
			t.Errorf("%s was read as %+v", what, es)
		}
	}
}

// TestIndexRefused: a header that is not ours, or says what cannot be.
func TestIndexRefused(t *testing.T) {
	x := index{key: load.DigestOf([]byte("k")), g: load.Geometry{Size: 3 * load.MinChunkSize}}
	x.digests = []load.Digest{load.DigestOf(nil), {}, load.DigestOf(nil)}
	good := x.marshal()
	if got, err := parseIndex(good); err != nil || !reflect.DeepEqual(*got, x) {
		t.Fatalf("the good one: %+v, %v", got, err)
	}
	change := func(at int, b byte, sum bool) []byte {
		bad := bytes.Clone(good)
		bad[at] = b
		if sum {
			binary.BigEndian.PutUint32(bad[56:], crc32.Checksum(bad[:56], castagnoli))
		}
		return bad
	}
	for what, b := range map[string][]byte{
		"short":              good[:indexHeader-1],
		"another magic":      change(0, 'x', true),
		"another version":    change(5, indexVersion+1, true),
		"a damaged header":   change(20, good[20]^1, false),
		"no such size":       change(48, 0x7f, true),
		"one chunk too many": append(bytes.Clone(good), make([]byte, digestSize)...),
	} {
		if got, err := parseIndex(b); err == nil {
			t.Errorf("%s was read as %+v", what, got)
		}
	}
	// A torn last digest is not held; all zeros of it are as good as none.
	if got, err := parseIndex(good[:len(good)-1]); err != nil || !got.digests[2].IsZero() || got.digests[0].IsZero() {
		t.Errorf("a torn one: %+v, %v", got, err)
	}
}

// TestStateRefused: a state that this program did not write so.
func TestStateRefused(t *testing.T) {
	entry := sampleEntries()[0]
	with := func(change func(f *stateFile)) []byte {
		f := stateFile{Format: stateFormat, Info: Info{State: StateTrial, Boots: 1,
			Load: Load{Name: "phone", Version: strings.Repeat("v", load.MaxTextLen), Components: []Entry{entry}}}}
		change(&f)
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if i, err := parseState(with(func(*stateFile) {})); err != nil || i.State != StateTrial || i.Boots != 1 {
		t.Fatalf("the good one: %+v, %v", i, err)
	}
	for what, b := range map[string][]byte{
		"no JSON":         []byte("{"),
		"another format":  with(func(f *stateFile) { f.Format = 2 }),
		"no such state":   with(func(f *stateFile) { f.State = "good" }),
		"two boots":       with(func(f *stateFile) { f.Boots = 2 }),
		"fewer than none": with(func(f *stateFile) { f.Boots = -1 }),
		"no name":         with(func(f *stateFile) { f.Name = "" }),
		"a long version":  with(func(f *stateFile) { f.Version += "v" }),
		"no component":    with(func(f *stateFile) { f.Components = nil }),
		"too many": with(func(f *stateFile) {
			f.Components = nil
			for n := range maxEntries + 1 {
				f.Components = append(f.Components, Entry{Name: fmt.Sprint("c", n), Digest: entry.Digest})
			}
		}),
		"too long": append(with(func(*stateFile) {}), bytes.Repeat([]byte(" "), maxState)...),
	} {
		if i, err := parseState(b); err == nil {
			t.Errorf("%s was read as %+v", what, i)
		}
	}
	i, err := parseState(with(func(f *stateFile) { f.State = StateEmpty }))
	if err != nil || i.Name != "" || i.Boots != 0 {
		t.Errorf("an empty slot holds %+v, %v", i, err)
	}
}

// TestLockThatIsGone: a lock on a file that has lost its name keeps nobody out.
func TestLockThatIsGone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !stillThere(f, name) {
		t.Error("the file is there and counts as gone")
	}
	if err := os.Remove(name); err != nil || stillThere(f, name) {
		t.Errorf("the file is gone and counts as there: %v", err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil || stillThere(f, name) {
		t.Errorf("another file has the name, and it counts as the same: %v", err)
	}
}

// TestReadBounded: as long as it may be, and one byte more; and what is written
// into a lock is written, or that is an error.
func TestReadBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadBounded(OS{}, name, 10); err != nil || string(b) != "0123456789" {
		t.Errorf("ten bytes of ten: %q, %v", b, err)
	}
	if b, err := ReadBounded(OS{}, name, 9); err == nil {
		t.Errorf("ten bytes where nine are the most: %q", b)
	}
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR | os.O_APPEND} { // no length can be set, and nothing written
		f, err := os.OpenFile(name, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := writePID(f); err == nil {
			t.Errorf("a number was written into a file that takes none (%x)", flag)
		}
	}
}

// TestMostComponents: a load's components and its manifest, and not one more.
func TestMostComponents(t *testing.T) {
	var es []Entry
	for n := range load.MaxComponents + 2 {
		es = append(es, Entry{Name: fmt.Sprint("c", n), Digest: load.DigestOf([]byte("c"))})
	}
	if err := validateEntries(es[:load.MaxComponents+1]); err != nil {
		t.Error(err)
	}
	if err := validateEntries(es); err == nil {
		t.Errorf("a set of %d is valid", len(es))
	}
}

// TestLockHolder: what is no process number names nobody.
func TestLockHolder(t *testing.T) {
	for text, want := range map[string]int{"": 0, "12\n": 12, "junk\n": 0, "-5\n": 0, "0\n": 0} {
		name := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := lockHolder(f); got != want {
			t.Errorf("%q is held by %d, want %d", text, got, want)
		}
		f.Close()
	}
}

// TestMediumFaults: only what another fetch may mend is the medium's fault.
func TestMediumFaults(t *testing.T) {
	lost := &ReadBackError{Name: "x", Err: syscall.EIO}
	if !errors.Is(lost, ErrReadBack) || !errors.Is(lost, syscall.EIO) || !errors.Is(&ReadBackError{}, ErrReadBack) {
		t.Error("a chunk that was lost does not say why")
	}
	for err, want := range map[error]bool{syscall.EIO: true, io.EOF: true, io.ErrUnexpectedEOF: true,
		syscall.EBADF: false, iofs.ErrClosed: false} {
		if mediumFault(err) != want {
			t.Errorf("%v is the medium's fault: %v", err, !want)
		}
	}
	for err, want := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EIO: false} {
		if got := spaceError(OS{}, "/", 1, err); errors.Is(got, ErrNoSpace) != want || !want && got != err {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}
