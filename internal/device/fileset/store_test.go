package fileset_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/fileset"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/load"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is the files of a set, by their names.
type content map[string]string

// setOf is a set with that content.
func setOf(dir, name string, files content) fileset.Set {
	s := fileset.Set{Directory: dir, Load: slot.Load{Name: name, Version: "1"}}
	for _, n := range slices.Sorted(maps.Keys(files)) {
		s.Components = append(s.Components, slot.Entry{Name: n, Size: int64(len(files[n])),
			Digest: load.DigestOf([]byte(files[n]))})
	}
	return s
}

func write(fs slot.FS, name, text string) error {
	f, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Close())
}

func read(fs slot.FS, name string) (string, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	b := make([]byte, fi.Size())
	_, err = f.ReadAt(b, 0)
	return string(b), err
}

// fill writes what is missing of a set.
func fill(fs slot.FS, s *fileset.Store, set fileset.Set, files content) error {
	dir, missing, err := s.Begin(set)
	for i := 0; err == nil && i < len(missing); i++ {
		err = write(fs, filepath.Join(dir, missing[i].Name), files[missing[i].Name])
	}
	return err
}

// place fills a set and puts it in place.
func place(fs slot.FS, s *fileset.Store, set fileset.Set, files content) error {
	if err := fill(fs, s, set, files); err != nil {
		return err
	}
	return s.Place(set)
}

// found is what a directory of a store shows to others, nil if there is nothing.
func found(t *testing.T, fs slot.FS, dir string) content {
	t.Helper()
	to, err := fs.Readlink(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, err)
	entries, err := fs.ReadDir(filepath.Join(filepath.Dir(dir), to))
	must(t, err)
	c := content{}
	for _, e := range entries {
		text, err := read(fs, filepath.Join(filepath.Dir(dir), to, e.Name()))
		must(t, err)
		c[e.Name()] = text
	}
	return c
}

func newDisk(t *testing.T) *faultdisk.Disk {
	t.Helper()
	d := faultdisk.New(1)
	must(t, d.Mkdir("/f", 0o755))
	must(t, d.SyncDir("/"))
	return d
}

func open(t *testing.T, fs slot.FS) *fileset.Store {
	t.Helper()
	s, err := fileset.Open(fs, "/f")
	must(t, err)
	return s
}

var (
	one   = content{"a.txt": strings.Repeat("a", 5000), "b.txt": "bb"}
	two   = content{"a.txt": one["a.txt"], "b.txt": "BBBB", "c.txt": strings.Repeat("c", 9000)}
	rings = content{"r.raw": "ring"}
)

// TestStore: sets come, are replaced and go, each whole; what two have in common is
// on the medium once.
func TestStore(t *testing.T) {
	d := newDisk(t)
	s := open(t, d)
	v1, v2, r := setOf("locale", "l1", one), setOf("locale", "l2", two), setOf("rings", "r", rings)
	must(t, place(d, s, v1, one))
	must(t, place(d, s, r, rings))
	must(t, errors.Join(s.Told("locale"), s.Told("rings")))
	used := d.Used()
	must(t, place(d, s, v2, two))
	if more := d.Used() - used; more > 16<<10 {
		t.Errorf("the second version takes %d bytes more: what both have is there twice", more)
	}
	if got := found(t, d, s.Path("locale")); !maps.Equal(got, two) {
		t.Errorf("in place are %d files", len(got))
	}
	p, _ := s.Get("locale")
	if before, err := d.ReadDir(s.Content("locale", p.Previous)); !p.Pending || err != nil || len(before) != 2 {
		t.Errorf("the content before is gone before the hook was told: %v", err)
	}
	must(t, s.Told("locale"))
	must(t, s.Told("locale")) // it knows already
	if entries, err := d.ReadDir("/f/.sets"); err != nil || len(entries) != 2 {
		t.Errorf("%d contents are kept, %v", len(entries), err)
	}
	must(t, s.Remove("locale"))
	must(t, s.Remove("locale"))
	must(t, s.Remove("nothing"))
	if got := found(t, d, s.Path("locale")); got != nil {
		t.Error("a set that was removed is in place")
	}
	again := open(t, d)
	if p, ok := again.Get("locale"); !ok || !p.Removed || !p.Pending {
		t.Errorf("after a restart: %+v, %v", p, ok)
	}
	must(t, again.Told("locale"))
	if all := again.List(); len(all) != 1 || all[0].Name != "r" || !maps.Equal(found(t, d, "/f/rings"), rings) {
		t.Errorf("left are %+v", all)
	}
	must(t, fill(d, again, v1, one))
	must(t, again.Tidy(func(string) bool { return false }))
	if entries, err := d.ReadDir("/f/.sets"); err != nil || len(entries) != 1 {
		t.Errorf("%d contents are kept of one set, %v", len(entries), err)
	}
}

// TestPowerCut: wherever the power is cut, what is in place is one version, whole, and
// what was said to be in place, or gone, is.
func TestPowerCut(t *testing.T) {
	v1, v2 := setOf("locale", "l1", one), setOf("locale", "l2", two)
	start := newDisk(t)
	s := open(t, start)
	must(t, place(start, s, v1, one))
	must(t, s.Told("locale"))
	d := start.Reboot(0)
	promise := "l1"
	story := func() error {
		s, err := fileset.Open(d, "/f")
		if err != nil {
			return err
		}
		if err := place(d, s, v2, two); err != nil {
			return err
		}
		promise = "l2"
		if err := s.Refused("locale", errors.New("no"), time.Unix(9, 0)); err != nil {
			return err
		}
		if err := s.Told("locale"); err != nil {
			return err
		}
		promise = "l2 told"
		if err := s.Remove("locale"); err != nil {
			return err
		}
		promise = "gone"
		if err := s.Told("locale"); err != nil {
			return err
		}
		promise = "forgotten"
		return nil
	}
	order := []string{"l1", "l2", "l2 told", "gone", "forgotten"}
	faultdisk.Every(t, d, story, func() string { return promise }, func(t *testing.T, d *faultdisk.Disk) {
		least := slices.Index(order, promise)
		s := open(t, d)
		got, p := found(t, d, "/f/locale"), fileset.Placed{}
		if all := s.List(); len(all) > 0 {
			p = all[0]
		}
		at := 0
		switch {
		case got == nil && p.Directory == "":
			at = 4
		case got == nil && p.Removed && p.Pending:
			at = 3
		case maps.Equal(got, two) && p.Name == "l2" && !p.Removed && !p.Pending:
			at = 2
		case maps.Equal(got, two) && p.Name == "l2" && !p.Removed:
			at = 1
		case maps.Equal(got, one) && p.Name == "l1" && !p.Removed:
		default:
			t.Fatalf("in place are %d files of %+v", len(got), p)
		}
		if at < least || at > least+1 {
			t.Fatalf("it is at %q, and was said to be at %q", order[at], promise)
		}
		if len(s.Damage()) > 0 {
			t.Fatalf("a power cut damaged %v", s.Damage())
		}
		// And it goes on from there.
		must(t, place(d, s, v2, two))
		must(t, s.Told("locale"))
		if !maps.Equal(found(t, d, "/f/locale"), two) {
			t.Fatal("going on did not put it in place")
		}
	})
}

// TestWritesThatFail: whichever operation fails, the call says so, and what is in place
// stays whole; a new start goes on.
func TestWritesThatFail(t *testing.T) {
	v1, v2 := setOf("locale", "l1", one), setOf("locale", "l2", two)
	story := func(d *faultdisk.Disk, s *fileset.Store) error {
		return errors.Join(place(d, s, v2, two), s.Told("locale"), s.Remove("locale"), s.Told("locale"))
	}
	start := newDisk(t)
	s := open(t, start)
	must(t, place(start, s, v1, one))
	must(t, s.Told("locale"))
	whole := start.Reboot(0)
	must(t, story(whole, open(t, whole)))
	for n := 1; n <= whole.Ops(); n++ {
		d := start.Reboot(0)
		s := open(t, d)
		d.FailAt(d.Ops()+n, errors.New("the disk fails"))
		_ = story(d, s)
		got := found(t, d, "/f/locale")
		if got != nil && !maps.Equal(got, one) && !maps.Equal(got, two) {
			t.Fatalf("operation %d failed, and a mixture is in place: %d files", n, len(got))
		}
		d = d.Reboot(0)
		s = open(t, d)
		must(t, place(d, s, v2, two))
		must(t, s.Told("locale"))
		if !maps.Equal(found(t, d, "/f/locale"), two) {
			t.Fatalf("operation %d failed, and going on did not mend it", n)
		}
	}
}

// TestDamage: whatever has happened to its files, the store opens, shows what is in
// place, and takes the right sets again.
func TestDamage(t *testing.T) {
	set := setOf("locale", "l1", one)
	for name, harm := range map[string]func(d *faultdisk.Disk) error{
		"no record":        func(d *faultdisk.Disk) error { return d.Remove("/f/sets.json") },
		"an empty record":  func(d *faultdisk.Disk) error { return write(d, "/f/sets.json", "") },
		"a changed record": func(d *faultdisk.Disk) error { return d.Rot("/f/sets.json", 30) },
		"no link":          func(d *faultdisk.Disk) error { return d.Remove("/f/locale") },
		"a link elsewhere": func(d *faultdisk.Disk) error {
			return errors.Join(d.Remove("/f/locale"), d.Symlink("/etc", "/f/locale"))
		},
		"a directory for a link": func(d *faultdisk.Disk) error {
			return errors.Join(d.Remove("/f/locale"), d.Mkdir("/f/locale", 0o755), write(d, "/f/locale/x", "x"))
		},
		"a file for a record's name": func(d *faultdisk.Disk) error {
			return errors.Join(d.Remove("/f/sets.json"), d.Mkdir("/f/sets.json", 0o755))
		},
		"a file lost": func(d *faultdisk.Disk) error {
			p := open(t, d).List()[0]
			return d.Remove("/f/.sets/locale." + p.ID + "/a.txt")
		},
		"a file for the contents": func(d *faultdisk.Disk) error {
			return errors.Join(d.Rename("/f/.sets", "/f/other"), write(d, "/f/.sets", "x"))
		},
	} {
		d := newDisk(t)
		s := open(t, d)
		must(t, place(d, s, set, one))
		must(t, s.Told("locale"))
		if err := harm(d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s, err := fileset.Open(d, "/f")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p, ok := s.Get("locale"); ok && p.Name == "l1" && s.Sound("locale") == nil &&
			!maps.Equal(found(t, d, "/f/locale"), one) {
			t.Errorf("%s: what it says to be in place is not", name)
		}
		if err := errors.Join(place(d, s, set, one), s.Told("locale")); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !maps.Equal(found(t, d, "/f/locale"), one) || s.Sound("locale") != nil {
			t.Errorf("%s: it was not mended", name)
		}
	}
}

// TestPlaceVerifies: nothing gets into place that is not as it was signed.
func TestPlaceVerifies(t *testing.T) {
	d := newDisk(t)
	s := open(t, d)
	set := setOf("locale", "l1", one)
	must(t, fill(d, s, set, content{"a.txt": one["a.txt"], "b.txt": "xx"}))
	if err := s.Place(set); !errors.Is(err, slot.ErrDamaged) {
		t.Errorf("a wrong file: %v", err)
	}
	must(t, d.Remove(mustContent(t, s, set)+"/b.txt"))
	if err := s.Place(set); !errors.Is(err, slot.ErrIncomplete) {
		t.Errorf("a missing file: %v", err)
	}
	if found(t, d, "/f/locale") != nil || len(s.List()) > 0 {
		t.Error("it is in place all the same")
	}
	for _, bad := range []fileset.Set{setOf("..", "x", one), setOf("a", "x", nil), setOf("a", "../x", one),
		setOf("a", "x", content{"../y": "y"})} {
		if err := s.Place(bad); err == nil {
			t.Errorf("%+v is in place", bad)
		}
		if _, _, err := s.Begin(bad); err == nil {
			t.Errorf("%+v was begun", bad)
		}
	}
	for i := range fileset.MaxSets + 1 {
		dir := fmt.Sprintf("d%d", i)
		if err := place(d, s, setOf(dir, "x", rings), rings); (err != nil) != (i == fileset.MaxSets) {
			t.Fatalf("set %d: %v", i, err)
		}
	}
}

func mustContent(t *testing.T, s *fileset.Store, set fileset.Set) string {
	t.Helper()
	dir, _, err := s.Begin(set)
	must(t, err)
	return dir
}

// TestRealDisk: what the story of the disk in memory does is done on a real one.
func TestRealDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := fileset.Open(slot.OS{}, dir)
	must(t, err)
	must(t, place(slot.OS{}, s, setOf("locale", "l1", one), one))
	must(t, place(slot.OS{}, s, setOf("locale", "l2", two), two))
	must(t, s.Told("locale"))
	b, err := os.ReadFile(filepath.Join(dir, "locale", "b.txt"))
	if err != nil || !bytes.Equal(b, []byte("BBBB")) {
		t.Errorf("%q, %v", b, err)
	}
}

// meddler is a file system on which something happens once, just after a file was
// opened, or just before the names of a directory are made durable.
type meddler struct {
	*faultdisk.Disk
	opened, synced string
	happen         func()
}

func (m *meddler) OpenFile(name string, flag int, perm os.FileMode) (slot.File, error) {
	f, err := m.Disk.OpenFile(name, flag, perm)
	if err == nil && name == m.opened {
		m.opened = ""
		m.happen()
	}
	return f, err
}

func (m *meddler) SyncDir(name string) error {
	if name == m.synced {
		m.synced = ""
		m.happen()
	}
	return m.Disk.SyncDir(name)
}

// exchange puts another file under a name.
func exchange(t *testing.T, d *faultdisk.Disk, name string) {
	t.Helper()
	must(t, write(d, name+".other", "other"))
	must(t, d.Rename(name+".other", name))
}

// TestExchanged: a file gets a second name, and into place, only if it is the one that
// was verified.
func TestExchanged(t *testing.T) {
	m := &meddler{Disk: newDisk(t)}
	s := open(t, m)
	v1, v2 := setOf("locale", "l1", one), setOf("locale", "l2", two)
	must(t, place(m, s, v1, one))
	must(t, s.Told("locale"))
	p, _ := s.Get("locale")
	m.opened = filepath.Join(s.Content("locale", p.ID), "a.txt")
	m.happen = func() { exchange(t, m.Disk, filepath.Join(s.Content("locale", p.ID), "a.txt")) }
	_, missing, err := s.Begin(v2)
	if err != nil || len(missing) != len(two) || m.opened != "" {
		t.Errorf("missing are %v, %v: want a.txt, too, which was exchanged", missing, err)
	}
	must(t, fill(m, s, v2, two))
	dir := mustContent(t, s, v2)
	m.synced, m.happen = dir, func() { exchange(t, m.Disk, dir+"/b.txt") }
	if err := s.Place(v2); !errors.Is(err, slot.ErrDamaged) || m.synced != "" {
		t.Errorf("a file was exchanged after it was verified: %v", err)
	}
	to, err := m.Readlink(s.Path("locale"))
	if err != nil || filepath.Base(to) != filepath.Base(s.Content("locale", p.ID)) {
		t.Errorf("in place is %s, %v", to, err)
	}
}
