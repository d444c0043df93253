package faultdisk

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// shape says what is on a disk: each name with its content, by runs of bytes.
func shape(d *Disk) string {
	var all []string
	for _, name := range sortedNames(d.root.names) {
		b := d.root.names[name].data
		var runs []string
		for i := 0; i < len(b); {
			n := i
			for n < len(b) && b[n] == b[i] {
				n++
			}
			runs = append(runs, fmt.Sprintf("%d%q", n-i, b[i:i+1]))
			i = n
		}
		all = append(all, name+":"+strings.Join(runs, "+"))
	}
	return strings.Join(all, " ")
}

// seen are the shapes of all states of a story on a disk.
func seen(t *testing.T, d *Disk, most int, story func() error) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	c := &Cuts{Most: most, Look: func(_ int, states []*Disk) {
		for _, s := range states {
			all[shape(s)] = true
		}
	}}
	d.Watch(c)
	must(t, story())
	d.Unwatch()
	return all
}

// fill writes n times a letter at the start of a file.
func fill(d *Disk, name, letter string, n int, sync bool) error {
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strings.Repeat(letter, n)), 0)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// TestCuts: all that a power cut can leave of a file that is replaced, and
// nothing else.
func TestCuts(t *testing.T) {
	old := func() *Disk {
		d := New(1)
		must(t, errors.Join(fill(d, "/x", "o", 600, true), d.SyncDir("/")))
		return d
	}
	replace := func(d *Disk, sync bool) func() error {
		return func() error {
			return errors.Join(fill(d, "/x.new", "n", 1024, sync), d.Rename("/x.new", "/x"))
		}
	}
	d := old()
	synced := seen(t, d, 1000, replace(d, true))
	for s := range synced {
		if !strings.Contains(s, `x:600"o"`) && s != `x:1024"n"` {
			t.Errorf("with the file synced a cut leaves %s", s)
		}
	}
	d = old()
	torn := seen(t, d, 1000, replace(d, false))
	for _, want := range []string{`x:600"o"`, `x:600"o" x.new:`, `x:600"o" x.new:1024"n"`, `x:`, `x:1024"n"`, `x:1024"\x00"`,
		`x:512"n"+512"\x00"`, `x:512"\x00"+512"n"`} {
		if !torn[want] {
			t.Errorf("a cut never leaves %s; it leaves %q", want, slices.Sorted(maps.Keys(torn)))
		}
	}
	if few := seen(t, old(), 2, func() error { return nil }); len(few) != 1 {
		t.Errorf("of a disk that rests a cut leaves %v", few)
	}
}

// TestCutsOfVersions: a page that was written twice can be found as it was
// between, beside another file that was written later.
func TestCutsOfVersions(t *testing.T) {
	d := New(1)
	must(t, errors.Join(fill(d, "/x", "o", 10, true), fill(d, "/y", "o", 10, true), d.SyncDir("/")))
	all := seen(t, d, 1000, func() error {
		return errors.Join(fill(d, "/x", "1", 10, false), fill(d, "/x", "2", 10, false), fill(d, "/y", "3", 10, false))
	})
	for _, x := range []string{"o", "1", "2"} {
		for _, y := range []string{"o", "3"} {
			if want := fmt.Sprintf("x:10%q y:10%q", x, y); !all[want] {
				t.Errorf("a cut never leaves %s", want)
			}
		}
	}
	if len(all) != 6 {
		t.Errorf("%q", slices.Sorted(maps.Keys(all)))
	}
}

// TestRecorder: a directory and the disk that repeats what is done there hold the
// same.
func TestRecorder(t *testing.T) {
	dir := Scratch(t)
	must(t, os.WriteFile(dir+"/old", []byte("old"), 0o600))
	r, d, err := Record(dir)
	must(t, err)
	f, err := r.OpenFile(dir+"/a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	must(t, err)
	_, err = f.WriteAt([]byte("aaaa"), 1)
	tmp, terr := r.CreateTemp(dir)
	must(t, errors.Join(err, terr, f.Truncate(3), f.Flush(0, 3), f.Sync(), f.Close()))
	_, err = tmp.Write([]byte("x"))
	_, err2 := tmp.Write([]byte("y"))
	must(t, errors.Join(err, err2, tmp.Chmod(0o640), tmp.Sync(), tmp.Close(), r.Rename(tmp.Name(), dir+"/b"),
		r.Link(dir+"/a", dir+"/c"), r.Symlink("a", dir+"/l"), r.Mkdir(dir+"/sub", 0o755), r.Remove(dir+"/old"),
		r.SyncDir(dir), r.Err()))
	if got := shape(d); got != `a:1"\x00"+2"a" b:1"x"+1"y" c:1"\x00"+2"a" l: sub:` {
		t.Errorf("recorded is %s", got)
	}
	again := Scratch(t)
	must(t, d.Reboot(1).Materialize(again))
	for _, name := range []string{"a", "b", "c", "l", "sub"} {
		x, err := os.Lstat(dir + "/" + name)
		y, err2 := os.Lstat(again + "/" + name)
		if err != nil || err2 != nil || x.Mode() != y.Mode() || !x.IsDir() && x.Size() != y.Size() {
			t.Errorf("%s: %v and %v, %v, %v", name, x, y, err, err2)
		}
	}
	if err := r.OS.Rename(dir+"/a", dir+"/gone"); err != nil || r.Remove(dir+"/gone") != nil || r.Err() == nil {
		t.Error("a change that was not recorded is not noticed")
	}
}
