package slot_test

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/load"
)

// failEverywhere runs a story on a copy of the durable disk start, once for
// every changing operation in it, and lets that one fail. The story must say
// so, unless the operation begins like one of those that it can do without;
// check judges what is found then, and the story told again must succeed.
func failEverywhere(t *testing.T, start *faultdisk.Disk, story func(fs slot.FS) error,
	check func(t *testing.T, d *faultdisk.Disk), without ...string) {
	t.Helper()
	whole := start.Reboot(0)
	must(t, story(whole))
	for n := 1; n <= whole.Ops(); n++ {
		d := start.Reboot(0)
		d.FailAt(n, syscall.EIO)
		err := story(d)
		op := d.Log()[n-1]
		spare := slices.ContainsFunc(without, func(s string) bool { return strings.HasPrefix(op, s) })
		if !errors.Is(err, syscall.EIO) && (err != nil || !spare) {
			t.Errorf("%q fails, and the story says %v", op, err)
		}
		check(t, d)
		if n := d.OpenFiles(); n > 0 {
			t.Errorf("after %q failed, %d files stay open", op, n)
		}
		if err := story(d); err != nil || d.OpenFiles() > 0 {
			t.Errorf("after %q failed, the story told again: %v, %d files stay open", op, err, d.OpenFiles())
		}
		if t.Failed() {
			t.Fatalf("operation %d of %d: %q", n, whole.Ops(), op)
		}
	}
}

func TestFailuresOfOneFile(t *testing.T) {
	old, b := random(chunk+500, 1), random(4*chunk+777, 2)
	start := newDisk(t)
	put(t, start, "/d/x", old)
	p := open(t, start, "/d/x", provisional(b), slot.Config{})
	must(t, p.WriteChunk(1, piece(b, 1)))
	must(t, p.WriteChunk(2, random(chunk, 9))) // to be dropped: the table speaks against it
	must(t, p.Settle(true))
	must(t, p.Close())
	story := func(fs slot.FS) error {
		err := fetch(fs, "/d/x", signed(b), slot.Config{Window: chunk, SyncEvery: 2 * chunk}, b)
		if errors.Is(err, slot.ErrReadBack) {
			return fmt.Errorf("a medium that fails was taken for one that lies: %w", err)
		}
		return err
	}
	failEverywhere(t, start.Reboot(0), story, func(t *testing.T, d *faultdisk.Disk) {
		if got := get(t, d, "/d/x"); !bytes.Equal(got, old) && !bytes.Equal(got, b) {
			t.Errorf("the target is neither old nor new: %d bytes", len(got))
		}
	})
}

func TestFailuresOfASet(t *testing.T) {
	start := newDisk(t)
	putSet(t, start, "/d", set(1))
	story := func(fs slot.FS) error {
		_, err := slot.Recover(fs, "/d")
		return errors.Join(err, fetchSet(fs, "/d", set(2), slot.Config{}))
	}
	failEverywhere(t, start.Reboot(0), story, func(t *testing.T, d *faultdisk.Disk) {
		if _, err := slot.Recover(d, "/d"); err != nil || whichSet(t, d, "/d", 1, 2) == 0 {
			t.Errorf("after recovery: %v, a mixture: %v", err, whichSet(t, d, "/d", 1, 2) == 0)
		}
	})
}

// cutCommit returns a disk on which a commit of set 2 over set 1 was cut when
// its journal was written and nothing renamed.
func cutCommit(t *testing.T) *faultdisk.Disk {
	t.Helper()
	start := newDisk(t)
	putSet(t, start, "/d", set(1))
	start = start.Reboot(0)
	for n := 1; ; n++ {
		d := start.Reboot(0)
		d.CutAt(n)
		if fetchSet(d, "/d", set(2), slot.Config{}) == nil {
			t.Fatal("no cut left a journal and every partial file")
		}
		for seed := range uint64(10) {
			after := d.Reboot(seed)
			if get(t, after, "/d/.peerload-commit") != nil && whichSet(t, after, "/d", 1) == 1 {
				return after
			}
		}
	}
}

func TestFailuresOfARecovery(t *testing.T) {
	story := func(fs slot.FS) error {
		_, err := slot.Recover(fs, "/d")
		return err
	}
	failEverywhere(t, cutCommit(t), story, func(t *testing.T, d *faultdisk.Disk) {
		if _, err := slot.Recover(d, "/d"); err != nil || whichSet(t, d, "/d", 2) != 2 {
			t.Errorf("recovered again: %v, holds %v", err, names(t, d, "/d"))
		}
	})
}

func TestFailuresOfASlotSwitch(t *testing.T) {
	start := newDisk(t)
	must(t, upgrade(start, 1))
	must(t, upgrade(start, 2))
	story := func(fs slot.FS) error {
		s, err := slot.OpenSlots(fs, "/d")
		if err != nil {
			return err
		}
		if i, _ := s.Active(); i.State == slot.StateTrial {
			err = s.Rollback()
		}
		if i, _ := s.Active(); err == nil && i.Version != "3" {
			err = install(fs, s, 3)
			err = errors.Join(err, s.Complete())
			if err == nil {
				err = s.SwitchTrial()
			}
			if err == nil {
				_, err = s.Boot()
			}
			if err == nil {
				err = s.Confirm()
			}
		}
		return errors.Join(err, s.Close())
	}
	failEverywhere(t, start.Reboot(0), story, func(t *testing.T, d *faultdisk.Disk) {
		if v := whichSet(t, d, "/d/current", 2, 3); v == 0 {
			t.Error("the active slot holds a mixture")
		}
	}, "remove /d/a/boot", "remove /d/a/root") // what cannot be reused is fetched
}

// TestSyncThatFailed: after an fsync that failed the system calls pages clean
// that it has lost. What was hashed before is read again, and nothing counts as
// durable.
func TestSyncThatFailed(t *testing.T) {
	b := random(4*chunk, 31)
	for _, file := range []string{"/d/.x.part", "/d/.x.part.idx", "/d"} {
		d := newDisk(t)
		p := open(t, d, "/d/x", signed(b), slot.Config{Window: chunk, SyncEvery: 100 * chunk})
		must(t, fill(p, b))
		at := slices.Index([]string{"/d/.x.part", "/d/.x.part.idx", "/d"}, file) + 1
		done := d.Ops()
		d.FailAt(done+at, syscall.EIO)
		wantErr(t, p.Settle(true), syscall.EIO)
		if failed := d.Log()[done+at-1]; failed != "sync "+file && failed != "syncdir "+file {
			t.Fatalf("%q failed, want the sync of %s", failed, file)
		}
		must(t, d.Rot("/d/.x.part", 5))
		before := d.Ops()
		_, err := p.Finish()
		var lost *slot.ReadBackError
		if !errors.As(err, &lost) || lost.Chunk != 0 {
			t.Fatalf("the sync of %s failed and chunk 0 was lost: %v", file, err)
		}
		for _, again := range []string{"sync /d/.x.part", "sync /d/.x.part.idx"} {
			if log := d.Log()[before:]; !slices.Contains(log, again) {
				t.Errorf("the sync of %s failed, and then was only done %q", file, log)
			}
		}
		must(t, p.WriteChunk(0, piece(b, 0)))
		finish(t, p, b)
		must(t, p.Commit())
	}
}

func TestNoSpace(t *testing.T) {
	old, b := random(2*chunk, 14), random(8*chunk, 15)
	wantFull := func(t *testing.T, err error) {
		t.Helper()
		var full *slot.NoSpaceError
		if !errors.As(err, &full) || !errors.Is(err, slot.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v, want ErrNoSpace", err)
		}
		if full.Need <= full.Free || full.Free < 0 || full.Dir != "/d" {
			t.Fatalf("says %v", full)
		}
	}
	t.Run("open", func(t *testing.T) {
		d := newDisk(t)
		put(t, d, "/d/x", old)
		d.SetCapacity(6 * chunk)
		used := d.Used()
		_, err := slot.OpenPartial(d, "/d/x", signed(b), slot.Config{})
		wantFull(t, err)
		if d.Used() != used || !slices.Equal(names(t, d, "/d"), []string{"x"}) {
			t.Fatalf("a refused open left %v", names(t, d, "/d"))
		}
	})
	t.Run("size", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(6 * chunk)
		spec := sizeless(b)
		p := open(t, d, "/d/x", spec, slot.Config{})
		must(t, p.WriteChunk(0, piece(b, 0)))
		wantFull(t, p.SetSize(int64(len(b))))
		if p.Prefix() != 1 || p.Geometry().Known() {
			t.Fatal("a refused size changed the partial")
		}
		d.SetCapacity(9 * chunk)
		must(t, p.SetSize(int64(len(b))))
	})
	t.Run("size of nothing", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(6 * chunk)
		p := open(t, d, "/d/x", sizeless(b),
			slot.Config{})
		wantFull(t, p.SetSize(int64(len(b))))
		must(t, p.Close())
		if left := names(t, d, "/d"); len(left) > 0 {
			t.Fatalf("a refused size left %v where nothing was fetched", left)
		}
	})
	t.Run("write", func(t *testing.T) {
		d := newDisk(t)
		put(t, d, "/d/x", old)
		spec := sizeless(b)
		p := open(t, d, "/d/x", spec, slot.Config{Window: chunk})
		d.SetCapacity(5 * chunk)
		var err error
		for i := 0; i < 8 && err == nil; i++ {
			err = p.WriteChunk(i, piece(b, i))
		}
		wantFull(t, err)
		n := p.Prefix()
		wantHeld(t, p, b)
		if n == 0 || !bytes.Equal(get(t, d, "/d/x"), old) {
			t.Fatalf("prefix %d; the old file must be intact", n)
		}
		must(t, p.Close())
		d.SetCapacity(20 * chunk)
		p = open(t, d, "/d/x", spec, slot.Config{})
		if p.Prefix() != n {
			t.Fatalf("resumed with %d chunks, %d were held", p.Prefix(), n)
		}
		must(t, p.SetSize(int64(len(b))))
		must(t, fill(p, b))
	})
}

// unreserving is a file system that cannot reserve room.
type unreserving struct{ *faultdisk.Disk }

type unreserved struct{ slot.File }

func (unreserved) Reserve(int64) error { return errors.ErrUnsupported }

func (u unreserving) OpenFile(name string, flag int, perm iofs.FileMode) (slot.File, error) {
	f, err := u.Disk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unreserved{f}, nil
}

// TestNoSpaceWithoutReserving: where nothing can be reserved, what is free
// decides.
func TestNoSpaceWithoutReserving(t *testing.T) {
	b := random(8*chunk, 33)
	d := newDisk(t)
	d.SetCapacity(6 * chunk)
	_, err := slot.OpenPartial(unreserving{d}, "/d/x", signed(b), slot.Config{})
	var full *slot.NoSpaceError
	if !errors.As(err, &full) || full.Need != 8*chunk || full.Free >= 6*chunk || full.Free < 5*chunk {
		t.Fatalf("%v", err)
	}
	d.SetCapacity(9 * chunk)
	must(t, fetch(unreserving{d}, "/d/x", signed(b), slot.Config{}, b))
}

// TestSpecialFiles: nothing is opened but regular files, and nobody waits for
// the other end of a pipe.
func TestSpecialFiles(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(dir+"/pipe", 0o600))
	must(t, os.WriteFile(dir+"/file", []byte("x"), 0o600))
	must(t, os.Symlink("file", dir+"/link"))
	for _, name := range []string{dir + "/pipe", dir + "/link", dir, "/dev/null"} {
		for _, flag := range []int{os.O_RDONLY, os.O_RDWR} {
			if f, err := (slot.OS{}).OpenFile(name, flag, 0); err == nil {
				must(t, f.Close())
				t.Errorf("opened %s", name)
			}
		}
	}
	for _, name := range []string{dir + "/pipe", dir + "/link"} { // put aside
		l, err := (slot.OS{}).Lock(name)
		must(t, err)
		if fi, err := os.Lstat(name); err != nil || !fi.Mode().IsRegular() {
			t.Errorf("the lock %s is %v, %v", name, fi, err)
		}
		must(t, l.Close())
	}
	if b, err := os.ReadFile(dir + "/file"); err != nil || string(b) != "x" {
		t.Errorf("a lock through a link changed the file: %q, %v", b, err)
	}
}

// TestSetElsewhere: a set is of one directory, and so is its journal.
func TestSetElsewhere(t *testing.T) {
	d := newDisk(t)
	must(t, d.Mkdir("/d/e", 0o755))
	b := random(10, 34)
	p := open(t, d, "/d/e/x", signed(b), slot.Config{})
	must(t, fill(p, b))
	finish(t, p, b)
	if err := slot.CommitSet(d, "/d", []*slot.Partial{p}); err == nil || get(t, d, "/d/e/x") != nil {
		t.Errorf("committed a file of another directory: %v", err)
	}
}

// TestLongFiles: what is longer than it may be is read no further, and is no
// index, no state and no journal.
func TestLongFiles(t *testing.T) {
	d := newDisk(t)
	b := random(3*chunk, 35)
	p := open(t, d, "/d/x", signed(b), slot.Config{})
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.Close())
	long := append(get(t, d, "/d/.x.part.idx"), make([]byte, 64+load.MaxChunks*32)...)
	put(t, d, "/d/.x.part.idx", long)
	if p := open(t, d, "/d/x", signed(b), slot.Config{}); p.Prefix() != 0 {
		t.Error("resumed by an index that is too long")
	}
	must(t, upgrade(d, 1))
	state := get(t, d, "/d/a.json")
	put(t, d, "/d/a.json", append(state, bytes.Repeat([]byte(" "), 1<<20)...))
	s := openSlots(t, d, "/d")
	if i, _ := s.Active(); i.State != slot.StateEmpty {
		t.Errorf("a state of a megabyte was read as %v", i.State)
	}
	must(t, s.Close())
	put(t, d, "/d/.peerload-commit", bytes.Repeat([]byte("x"), 1<<20))
	if did, err := slot.Recover(d, "/d"); did || err != nil || get(t, d, "/d/.peerload-commit") != nil {
		t.Errorf("a journal of a megabyte: %v, %v", did, err)
	}
}

// TestConfirmTwice: to confirm what is on no trial changes nothing.
func TestConfirmTwice(t *testing.T) {
	d := newDisk(t)
	must(t, upgrade(d, 1))
	s := openSlots(t, d, "/d")
	before := d.Ops()
	must(t, s.Confirm())
	if d.Ops() != before {
		t.Errorf("wrote %q", d.Log()[before:])
	}
	wantSlots(t, s, "a", slot.StateConfirmed, "1", slot.StateEmpty)
}

// TestTargets: what names no file is refused before anything is made.
func TestTargets(t *testing.T) {
	d := newDisk(t)
	b := random(10, 36)
	for _, target := range []string{"/", ".", "/d/.", ".."} {
		if _, err := slot.OpenPartial(d, target, signed(b), slot.Config{}); err == nil {
			t.Errorf("opened %q", target)
		}
	}
	for _, dir := range []string{"/", "/d"} {
		if got := names(t, d, dir); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, ".") }) {
			t.Errorf("%s holds %v", dir, got)
		}
	}
}

// unreadable is a file system on which one operation that changes nothing fails,
// counted from 1.
type unreadable struct {
	*faultdisk.Disk
	n, failAt int
	log       []string
}

func (u *unreadable) read(op, name string) error {
	u.n++
	u.log = append(u.log, op+" "+name)
	if u.n == u.failAt {
		return &iofs.PathError{Op: op, Path: name, Err: syscall.EIO}
	}
	return nil
}

func (u *unreadable) OpenFile(name string, flag int, perm iofs.FileMode) (slot.File, error) {
	if flag&os.O_CREATE == 0 {
		if err := u.read("open", name); err != nil {
			return nil, err
		}
	}
	f, err := u.Disk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &unreadableFile{f, u, name}, nil
}

func (u *unreadable) ReadDir(name string) ([]iofs.DirEntry, error) {
	if err := u.read("readdir", name); err != nil {
		return nil, err
	}
	return u.Disk.ReadDir(name)
}

func (u *unreadable) Readlink(name string) (string, error) {
	if err := u.read("readlink", name); err != nil {
		return "", err
	}
	return u.Disk.Readlink(name)
}

func (u *unreadable) Lstat(name string) (iofs.FileInfo, error) {
	if err := u.read("lstat", name); err != nil {
		return nil, err
	}
	return u.Disk.Lstat(name)
}

type unreadableFile struct {
	slot.File
	u    *unreadable
	name string
}

func (f *unreadableFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.u.read("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *unreadableFile) Stat() (iofs.FileInfo, error) {
	if err := f.u.read("stat", f.name); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

// TestUnreadable lets each operation that only reads fail once, in each of the
// stories: an error is told, unless the operation is one that the story can do
// without; what has a name is whole, and the story told again succeeds.
func TestUnreadable(t *testing.T) {
	old, b := random(chunk+500, 1), random(3*chunk+777, 2)
	one := newDisk(t)
	put(t, one, "/d/x", old)
	p := open(t, one, "/d/x", provisional(b), slot.Config{})
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.Close())
	slots := newDisk(t)
	must(t, upgrade(slots, 1))
	must(t, upgrade(slots, 2))
	for name, s := range map[string]struct {
		start   *faultdisk.Disk
		story   func(fs slot.FS) error
		whole   func(d *faultdisk.Disk) bool
		without []string // what can be done again, or otherwise, without a word
	}{
		"one file": {one, func(fs slot.FS) error {
			return fetch(fs, "/d/x", provisional(b), slot.Config{Window: chunk}, b)
		}, func(d *faultdisk.Disk) bool {
			got := get(t, d, "/d/x")
			return bytes.Equal(got, old) || bytes.Equal(got, b)
		}, []string{"lstat /d/x", "lstat /d/.", "open /d/.x.part", "read /d/.x.part", "stat /d/.x.part.idx"}},
		"a recovery": {cutCommit(t), func(fs slot.FS) error {
			_, err := slot.Recover(fs, "/d")
			return err
		}, func(d *faultdisk.Disk) bool { // what was begun is in the journal still
			_, err := slot.Recover(d, "/d")
			return err == nil && whichSet(t, d, "/d", 2) == 2
		}, []string{"lstat "}},
		"a slot": {slots, func(fs slot.FS) error {
			s, err := slot.OpenSlots(fs, "/d")
			if err != nil {
				return err
			}
			err = install(fs, s, 3)
			if err == nil {
				err = s.Switch()
			}
			return errors.Join(err, s.Close())
		}, func(d *faultdisk.Disk) bool { return whichSet(t, d, "/d/current", 2, 3) != 0 },
			[]string{"lstat ", "open ", "read ", "stat "}},
	} {
		t.Run(name, func(t *testing.T) {
			count := &unreadable{Disk: s.start.Reboot(0)}
			must(t, s.story(count))
			for n := 1; n <= count.n; n++ {
				u := &unreadable{Disk: s.start.Reboot(0), failAt: n}
				err := s.story(u)
				spare := slices.ContainsFunc(s.without, func(p string) bool { return strings.HasPrefix(u.log[n-1], p) })
				if err == nil && !spare {
					t.Errorf("%q fails, and the story says nothing", u.log[n-1])
				}
				if open := u.OpenFiles(); open > 0 {
					t.Errorf("%q fails, and %d files stay open", u.log[n-1], open)
				}
				if !s.whole(u.Disk) {
					t.Errorf("%q fails, and a mixture has the name: %v", u.log[n-1], err)
				}
				if err := s.story(u); err != nil && name != "a slot" {
					t.Errorf("after %q failed, the story told again: %v", u.log[n-1], err)
				}
			}
		})
	}
}

// TestFailuresOfASize: a size that is learned late, and is less than is there.
func TestFailuresOfASize(t *testing.T) {
	b := random(2*chunk+10, 37)
	long := append(slices.Clone(b), random(3*chunk, 38)...)
	start := func() (*faultdisk.Disk, *slot.Partial) {
		d := newDisk(t)
		spec := sizeless(b)
		p := open(t, d, "/d/x", spec, slot.Config{Window: chunk})
		for i := range 4 {
			must(t, p.WriteChunk(i, piece(long, i)))
			must(t, p.Settle(false))
		}
		return d, p
	}
	d, p := start()
	before := d.Ops()
	must(t, p.SetSize(int64(len(b))))
	ops := d.Ops() - before
	if ops < 3 {
		t.Fatalf("only %q", d.Log()[before:])
	}
	for n := 1; n <= ops; n++ {
		d, p := start()
		before := d.Ops()
		d.FailAt(before+n, syscall.EIO)
		err := p.SetSize(int64(len(b)))
		// The room is there already: whether it can be reserved does not matter.
		if op := d.Log()[before+n-1]; !errors.Is(err, syscall.EIO) && !strings.HasPrefix(op, "reserve ") {
			t.Errorf("%q fails: %v", op, err)
		}
		must(t, p.Close())
		p = open(t, d, "/d/x", provisional(b), slot.Config{})
		must(t, fill(p, b))
		finish(t, p, b)
		must(t, p.Commit())
		if !bytes.Equal(get(t, d, "/d/x"), b) {
			t.Errorf("operation %d of a new size failed, and the file differs", n)
		}
	}
}
