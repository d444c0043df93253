package slot_test

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

const stranger = 12345 // a user who is not this one

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
}

// interrupted leaves a partial file with one chunk of b and returns its names.
func interrupted(t *testing.T, target string, b []byte) (part, index string) {
	t.Helper()
	p := open(t, slot.OS{}, target, provisional(b), slot.Config{})
	must(t, p.WriteChunk(0, piece(b, 0)))
	must(t, p.Close())
	part = filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".part")
	return part, part + ".idx"
}

func inode(t *testing.T, name string) uint64 {
	t.Helper()
	fi, err := os.Lstat(name)
	must(t, err)
	return fi.Sys().(*syscall.Stat_t).Ino
}

// A partial file is continued only if nobody else can have it open or exchange
// it. Otherwise the bytes come into a file of their own, and whoever has the
// old one open changes nothing by it.
func TestPartialOfOthers(t *testing.T) {
	b := random(3*chunk+7, 40)
	for name, meddle := range map[string]func(t *testing.T, dir, part, index string){
		"of another user":        func(t *testing.T, _, part, _ string) { asRoot(t); must(t, os.Chown(part, stranger, 0)) },
		"index of another user":  func(t *testing.T, _, _, idx string) { asRoot(t); must(t, os.Chown(idx, stranger, 0)) },
		"dir of another user":    func(t *testing.T, dir, _, _ string) { asRoot(t); must(t, os.Chown(dir, stranger, 0)) },
		"others may write it":    func(t *testing.T, _, part, _ string) { must(t, os.Chmod(part, 0o666)) },
		"a group may write it":   func(t *testing.T, _, part, _ string) { must(t, os.Chmod(part, 0o664)) },
		"others may write there": func(t *testing.T, dir, _, _ string) { must(t, os.Chmod(dir, 0o777)) },
		"sticky directory":       func(t *testing.T, dir, _, _ string) { must(t, os.Chmod(dir, 0o777|os.ModeSticky)) },
		"two links":              func(t *testing.T, dir, part, _ string) { must(t, os.Link(part, dir+"/other")) },
		"two links of the index": func(t *testing.T, dir, _, idx string) { must(t, os.Link(idx, dir+"/other")) },
		"a symbolic link": func(t *testing.T, dir, part, _ string) {
			must(t, os.Rename(part, dir+"/other"))
			must(t, os.Symlink("other", part))
		},
		"a directory": func(t *testing.T, _, part, _ string) {
			must(t, os.Remove(part))
			must(t, os.MkdirAll(part+"/in it", 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			part, index := interrupted(t, dir+"/x", b)
			theirs, err := os.OpenFile(part, os.O_RDWR, 0)
			must(t, err)
			defer theirs.Close()
			meddle(t, dir, part, index)
			p := open(t, slot.OS{}, dir+"/x", provisional(b), slot.Config{})
			if p.Prefix() != 0 {
				t.Errorf("took over %d chunks", p.Prefix())
			}
			must(t, fill(p, b))
			finish(t, p, b)
			_, err = theirs.WriteAt([]byte("changed after it was verified"), 5)
			must(t, err)
			must(t, p.Commit())
			if got, err := os.ReadFile(dir + "/x"); err != nil || !bytes.Equal(got, b) {
				t.Errorf("what was committed is not what was verified: %v", err)
			}
		})
	}
}

// In a directory of this user's own a partial file is continued, through a
// symbolic link to the directory, too.
func TestPartialOfOneself(t *testing.T) {
	b := random(3*chunk+7, 41)
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/d", 0o755))
	must(t, os.Symlink("d", dir+"/link"))
	part, _ := interrupted(t, dir+"/d/x", b)
	was := inode(t, part)
	p := open(t, slot.OS{}, dir+"/link/x", provisional(b), slot.Config{})
	if p.Prefix() != 1 || inode(t, part) != was {
		t.Errorf("a prefix of %d chunks", p.Prefix())
	}
	must(t, fill(p, b))
	finish(t, p, b)
	must(t, p.Commit())
	if inode(t, dir+"/d/x") != was {
		t.Error("another file was committed than the one that was verified")
	}
}

// What a partial file has beyond the content is not committed, whenever it came
// there.
func TestLongerPartial(t *testing.T) {
	b := random(2*chunk+9, 42)
	more := func(d *faultdisk.Disk) { put(t, d, "/d/.x.part", append(get(t, d, "/d/.x.part"), "and more"...)) }
	for name, spec := range map[string]slot.Spec{"signed": signed(b), "provisional": provisional(b),
		"size not known": sizeless(b)} {
		for when := range 3 {
			d := newDisk(t)
			p := open(t, d, "/d/x", spec, slot.Config{})
			for i := range 3 {
				must(t, p.WriteChunk(i, piece(b, i)[:min(len(piece(b, i)), chunk)]))
				if !spec.Geometry.Known() && i == 1 {
					break // the last is short, and can come only once the size is known
				}
			}
			if when == 0 {
				must(t, p.Close())
				more(d)
				p = open(t, d, "/d/x", spec, slot.Config{})
			}
			if when == 1 {
				more(d)
			}
			if !spec.Geometry.Known() {
				must(t, p.SetSize(int64(len(b))))
			}
			must(t, fill(p, b))
			finish(t, p, b)
			if when == 2 {
				fi, err := d.Lstat("/d/.x.part")
				must(t, err)
				f, err := d.OpenFile("/d/.x.part", os.O_RDWR, 0)
				must(t, err)
				_, err = f.WriteAt([]byte("and more"), fi.Size())
				must(t, err)
				wantErr(t, p.Commit(), slot.ErrDamaged)
				finish(t, p, b)
			}
			must(t, p.Commit())
			if got := get(t, d.Reboot(3), "/d/x"); !bytes.Equal(got, b) {
				t.Errorf("%s, %d: %d bytes are committed, %d were verified", name, when, len(got), len(b))
			}
		}
	}
}

// exchange puts another file under a name.
func exchange(t *testing.T, d *faultdisk.Disk, name string) {
	t.Helper()
	put(t, d, name+".other", []byte("other"))
	must(t, d.Rename(name+".other", name))
}

// TestExchangedBeforeCommit: what is renamed is what was verified, not what has
// its name by then.
func TestExchangedBeforeCommit(t *testing.T) {
	b := random(2*chunk, 32)
	for _, how := range []string{"exchanged", "removed"} {
		for what, commit := range map[string]func(d *faultdisk.Disk, p *slot.Partial) error{
			"one": func(_ *faultdisk.Disk, p *slot.Partial) error { return p.Commit() },
			"set": func(d *faultdisk.Disk, p *slot.Partial) error {
				return slot.CommitSet(d, "/d", []*slot.Partial{p})
			},
		} {
			d := newDisk(t)
			put(t, d, "/d/x", []byte("old"))
			p := open(t, d, "/d/x", signed(b), slot.Config{})
			must(t, fill(p, b))
			finish(t, p, b)
			if how == "exchanged" {
				exchange(t, d, "/d/.x.part")
			} else {
				must(t, d.Remove("/d/.x.part"))
			}
			err := commit(d, p)
			if !errors.Is(err, slot.ErrDamaged) || string(get(t, d, "/d/x")) != "old" {
				t.Errorf("%s, %s: %v, the target holds %q", what, how, err, get(t, d, "/d/x"))
			}
			if errors.Is(err, iofs.ErrNotExist) != (how == "removed") {
				t.Errorf("%s, %s: %v", what, how, err)
			}
		}
	}
}

// meddler is a file system on which something happens just after a file was
// opened.
type meddler struct {
	*faultdisk.Disk
	opened string
	happen func()
}

func (m *meddler) OpenFile(name string, flag int, perm iofs.FileMode) (slot.File, error) {
	f, err := m.Disk.OpenFile(name, flag, perm)
	if err == nil && name == m.opened && m.happen != nil {
		m.happen()
		m.happen = nil
	}
	return f, err
}

// TestExchangedBeforeRecovery: recovery renames the files that it checked. The
// first is exchanged when the last is looked at.
func TestExchangedBeforeRecovery(t *testing.T) {
	d := cutCommit(t)
	m := &meddler{Disk: d, opened: "/d/.root.part"}
	m.happen = func() { exchange(t, d, "/d/.boot.part") }
	_, err := slot.Recover(m, "/d")
	wantErr(t, err, slot.ErrDamaged)
	if whichSet(t, d, "/d", 1) != 1 {
		t.Error("something was renamed")
	}
}

// TestExchangedBeforeReuse: a file of the active slot gets its second name only
// if it is the one that was checked.
func TestExchangedBeforeReuse(t *testing.T) {
	d := newDisk(t)
	must(t, upgrade(d, 1))
	m := &meddler{Disk: d, opened: "/d/a/conf"}
	m.happen = func() { exchange(t, d, "/d/a/conf") }
	s := openSlots(t, m, "/d")
	l := slotLoad(2)
	l.Components = []slot.Entry{l.Components[0], slotLoad(1).Components[1]}
	missing, err := s.Begin(l)
	if err != nil || len(missing) != 2 {
		t.Errorf("missing %v, %v; want both: conf was exchanged", missing, err)
	}
	if got := get(t, d, "/d/b/conf"); got != nil {
		t.Errorf("slot b got %q", got)
	}
}

// A name that is exchanged between the last look and the rename is noticed.
func TestExchangedAtTheRename(t *testing.T) {
	b := random(chunk, 43)
	d := newDisk(t)
	m := &late{Disk: d}
	p := open(t, m, "/d/x", signed(b), slot.Config{})
	must(t, fill(p, b))
	finish(t, p, b)
	m.before = func() { exchange(t, d, "/d/.x.part") }
	wantErr(t, p.Commit(), slot.ErrDamaged)
	wantErr(t, p.Commit(), slot.ErrDamaged)
}

// The same while a set is put into place after a power cut.
func TestExchangedAtTheRenameOfARecovery(t *testing.T) {
	b := random(chunk, 44)
	d := newDisk(t)
	m := &late{Disk: d}
	p := open(t, m, "/d/x", signed(b), slot.Config{})
	must(t, fill(p, b))
	finish(t, p, b)
	m.refuse = "/d/.x.part"
	if err := slot.CommitSet(m, "/d", []*slot.Partial{p}); err == nil {
		t.Fatal("a set is committed without a rename")
	}
	must(t, p.Close())
	m.refuse, m.before = "", func() { exchange(t, d, "/d/.x.part") }
	_, err := slot.Recover(m, "/d")
	wantErr(t, err, slot.ErrDamaged)
}

// late is a file system on which something happens just before a rename.
type late struct {
	*faultdisk.Disk
	before func()
	refuse string // a name that cannot be renamed
}

func (l *late) Rename(from, to string) error {
	if from == l.refuse {
		return errors.New("not now")
	}
	if l.before != nil {
		l.before()
		l.before = nil
	}
	return l.Disk.Rename(from, to)
}

// A file in place that another user can write is not taken for held, however
// right it is now.
func TestHeldByOthers(t *testing.T) {
	b := random(chunk+1, 44)
	target := t.TempDir() + "/x"
	must(t, os.WriteFile(target, b, 0o644))
	held, err := slot.OpenHeld(slot.OS{}, target, signed(b), slot.Config{})
	must(t, err)
	must(t, held.Close())
	must(t, os.Chmod(target, 0o646))
	_, err = slot.OpenHeld(slot.OS{}, target, signed(b), slot.Config{})
	wantErr(t, err, slot.ErrDamaged)
	asRoot(t)
	must(t, os.Chmod(target, 0o644))
	must(t, os.Chown(target, stranger, 0))
	_, err = slot.OpenHeld(slot.OS{}, target, signed(b), slot.Config{})
	wantErr(t, err, slot.ErrDamaged)
}

// A journal that somebody else can write gives no file its name, and neither
// does one of this user's for files of somebody else's.
func TestJournalOfOthers(t *testing.T) {
	for name, open := range map[string][]string{"journal": {".peerload-commit"}, "file": {".boot.part", ".root.part"}} {
		dir := t.TempDir()
		real := cutCommit(t)
		for _, n := range names(t, real, "/d") {
			mode := iofs.FileMode(0o644)
			for _, o := range open {
				if n == o {
					mode = 0o666
				}
			}
			if b := get(t, real, "/d/"+n); n != ".peerload-commit.lock" {
				must(t, os.WriteFile(dir+"/"+n, b, 0o644))
				must(t, os.Chmod(dir+"/"+n, mode))
			}
		}
		if did, err := slot.Recover(slot.OS{}, dir); did {
			t.Errorf("%s: a commit was finished, %v", name, err)
		}
	}
}

// Nothing is written to a lock file that is somebody else's or has another name
// as well.
func TestLockOfOthers(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/precious", []byte("precious"), 0o644))
	must(t, os.Link(dir+"/precious", dir+"/lock"))
	l, err := slot.OS{}.Lock(dir + "/lock")
	must(t, err)
	if b, err := os.ReadFile(dir + "/precious"); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	_, err = slot.OS{}.Lock(dir + "/lock")
	wantErr(t, err, slot.ErrLocked)
	must(t, l.Close())
	asRoot(t)
	must(t, os.WriteFile(dir+"/lock", nil, 0o644))
	must(t, os.Chown(dir+"/lock", stranger, 0))
	l, err = slot.OS{}.Lock(dir + "/lock")
	must(t, err)
	if fi, err := os.Lstat(dir + "/lock"); err != nil || fi.Sys().(*syscall.Stat_t).Uid == stranger {
		t.Errorf("locked a file of somebody else's: %v", err)
	}
	must(t, l.Close())
}
