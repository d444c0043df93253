package slot_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

// eachFS runs a test on the real file system and on the twin; dir is a path
// to an empty directory.
func eachFS(t *testing.T, run func(t *testing.T, fs slot.FS, dir string)) {
	t.Run("os", func(t *testing.T) { run(t, slot.OS{}, t.TempDir()) })
	t.Run("twin", func(t *testing.T) { run(t, newDisk(t), "/d") })
}

func openSlots(t *testing.T, fs slot.FS, dir string) *slot.Slots {
	t.Helper()
	s, err := slot.OpenSlots(fs, dir)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func wantSlots(t *testing.T, s *slot.Slots, active string, state slot.State, version string, other slot.State) {
	t.Helper()
	i, ok := s.Active()
	if ok != (active != "") || i.Slot != active || i.State != state || i.Version != version ||
		s.Inactive().State != other {
		t.Fatalf("active %+v (%v), inactive %+v; want %q %s version %q, %s", i, ok, s.Inactive(), active, state, version,
			other)
	}
}

func TestSlotsLife(t *testing.T) {
	eachFS(t, func(t *testing.T, fs slot.FS, dir string) {
		s := openSlots(t, fs, dir)
		wantSlots(t, s, "", "", "", slot.StateEmpty)
		wantErr(t, s.Switch(), slot.ErrNoSlot)
		wantErr(t, s.Rollback(), slot.ErrNoSlot)
		wantErr(t, s.Complete(), slot.ErrNoSlot)
		_, err := slot.OpenSlots(fs, dir)
		wantErr(t, err, slot.ErrLocked)

		must(t, install(fs, s, 1))
		must(t, s.Complete())
		must(t, s.Switch())
		wantSlots(t, s, "a", slot.StateConfirmed, "1", slot.StateEmpty)

		must(t, install(fs, s, 2))
		wantErr(t, s.Rollback(), slot.ErrNoSlot)
		must(t, s.Close())
		s = openSlots(t, fs, dir)
		wantSlots(t, s, "a", slot.StateConfirmed, "1", slot.StateFilling)
		must(t, s.SwitchTrial())
		wantSlots(t, s, "b", slot.StateTrial, "2", slot.StateConfirmed)
		_, err = s.Begin(slotLoad(3))
		wantErr(t, err, slot.ErrTrial)
		wantErr(t, s.Switch(), slot.ErrTrial)
		if back, err := s.Boot(); back || err != nil {
			t.Fatalf("the first boot of a trial: %v, %v", back, err)
		}
		must(t, s.Confirm())
		if back, err := s.Boot(); back || err != nil {
			t.Fatalf("the boot of a confirmed slot: %v, %v", back, err)
		}
		must(t, s.Rollback())
		wantSlots(t, s, "a", slot.StateConfirmed, "1", slot.StateFailed)
		wantErr(t, s.Switch(), slot.ErrNoSlot)
		if whichSet(t, fs, filepath.Join(dir, "current"), 1, 2) != 1 {
			t.Fatal("current does not hold load 1")
		}

		must(t, install(fs, s, 3))
		must(t, s.SwitchTrial())
		for n, want := range []bool{false, true, false} {
			must(t, s.Close())
			s = openSlots(t, fs, dir)
			if back, err := s.Boot(); back != want || err != nil {
				t.Fatalf("boot %d: rolled back %v, %v; want %v", n, back, err, want)
			}
		}
		wantSlots(t, s, "a", slot.StateConfirmed, "1", slot.StateFailed)
	})
}

// TestSlotIsMadeAgain: where a slot's directory is gone the other one stays
// active.
func TestSlotIsMadeAgain(t *testing.T) {
	d := newDisk(t)
	must(t, upgrade(d, 1))
	must(t, d.Remove("/d/b"))
	s := openSlots(t, d, "/d")
	wantSlots(t, s, "a", slot.StateConfirmed, "1", slot.StateEmpty)
	must(t, install(d, s, 2))
	must(t, s.Switch())
}

func TestBeginReusesWhatIsThere(t *testing.T) {
	eachFS(t, func(t *testing.T, fs slot.FS, dir string) {
		s := openSlots(t, fs, dir)
		must(t, install(fs, s, 1))
		must(t, s.Switch())
		// Load 2 keeps conf of load 1 under another name, and has a new file.
		l := slotLoad(2)
		one := slotLoad(1).Components[1]
		one.Name = "settings"
		l.Components = []slot.Entry{l.Components[0], one}
		missing, err := s.Begin(l)
		must(t, err)
		if len(missing) != 1 || missing[0].Name != "boot" {
			t.Fatalf("missing %v, want boot alone", missing)
		}
		put(t, fs, filepath.Join(dir, "b", "stray"), []byte("x"))
		b := set(2)["boot"]
		p := open(t, fs, filepath.Join(dir, "b", "boot"), signed(b), slot.Config{})
		must(t, p.WriteChunk(0, piece(b, 0)))
		must(t, p.Close())
		// Begun again, the stray goes and the partial stays.
		missing, err = s.Begin(l)
		must(t, err)
		if got := names(t, fs, filepath.Join(dir, "b")); len(missing) != 1 ||
			!slices.Equal(got, []string{".boot.part", ".boot.part.idx", "settings"}) {
			t.Fatalf("missing %v, slot b holds %v", missing, got)
		}
		wantErr(t, s.SwitchTrial(), slot.ErrIncomplete)
		must(t, fetch(fs, filepath.Join(dir, "b", "boot"), signed(b), slot.Config{}, b))
		must(t, s.Switch())
		if !bytes.Equal(get(t, fs, filepath.Join(dir, "current", "settings")), set(1)["conf"]) {
			t.Fatal("the reused file differs")
		}
		// A file that is wrong is not reused.
		must(t, fs.Remove(filepath.Join(dir, "a", "conf")))
		put(t, fs, filepath.Join(dir, "a", "conf"), random(100, 77))
		missing, err = s.Begin(slotLoad(1))
		must(t, err)
		if len(missing) != 0 {
			t.Fatalf("missing %v: conf should come from the active slot, the rest was there", missing)
		}
		if !bytes.Equal(get(t, fs, filepath.Join(dir, "a", "conf")), set(1)["conf"]) {
			t.Fatal("a wrong file was kept")
		}
	})
}

// TestSwitchVerifiesAll: CSCtg96408, a load that is not whole must not be
// switched to, and the old slot stays bootable.
func TestSwitchVerifiesAll(t *testing.T) {
	for _, harm := range []string{"rot", "missing", "long", "exchanged"} {
		t.Run(harm, func(t *testing.T) {
			d := newDisk(t)
			must(t, upgrade(d, 1))
			s := openSlots(t, d, "/d")
			must(t, install(d, s, 2))
			must(t, s.Complete())
			want := slot.ErrDamaged
			switch harm {
			case "rot":
				must(t, d.Rot("/d/b/root", chunk+3))
			case "missing":
				must(t, d.Remove("/d/b/conf"))
				want = slot.ErrIncomplete
			case "long":
				put(t, d, "/d/b/conf", append(set(2)["conf"], 'x'))
			case "exchanged":
				must(t, s.Close())
				s = openSlots(t, exchangingFS{d}, "/d")
			}
			wantErr(t, s.SwitchTrial(), want)
			if i, _ := s.Active(); i.Version != "1" || whichSet(t, d, "/d/current", 1) != 1 {
				t.Fatal("the old slot is not active and whole")
			}
		})
	}
}

// exchangingFS exchanges a file between the check and the switch.
type exchangingFS struct{ *faultdisk.Disk }

func (x exchangingFS) Symlink(target, name string) error {
	if err := x.Remove("/d/b/boot"); err != nil {
		return err
	}
	if err := x.Link("/d/b/conf", "/d/b/boot"); err != nil {
		return err
	}
	return x.Disk.Symlink(target, name)
}

func TestDiskFullLeavesTheOldSlot(t *testing.T) {
	d := newDisk(t)
	must(t, upgrade(d, 1))
	s := openSlots(t, d, "/d")
	used := d.Used()
	for extra := int64(0); extra < 5*chunk; extra += chunk / 4 {
		d.SetCapacity(used + extra)
		err := install(d, s, 2)
		if err == nil {
			err = s.Switch()
		}
		if err == nil {
			if extra < 3*chunk {
				t.Fatalf("%d bytes were enough", extra)
			}
			return
		}
		wantErr(t, err, slot.ErrNoSpace)
		if i, _ := s.Active(); i.Version != "1" || whichSet(t, d, "/d/current", 1) != 1 {
			t.Fatalf("with %d bytes left the old slot is not intact", extra)
		}
	}
	t.Fatal("never enough")
}

func TestRollbackToADamagedSlotIsRefused(t *testing.T) {
	d := newDisk(t)
	must(t, upgrade(d, 1))
	s := openSlots(t, d, "/d")
	must(t, install(d, s, 2))
	must(t, s.SwitchTrial())
	_, err := s.Boot()
	must(t, err)
	must(t, d.Rot("/d/a/boot", 1))
	_, err = s.Boot()
	wantErr(t, err, slot.ErrDamaged)
	wantSlots(t, s, "b", slot.StateTrial, "2", slot.StateConfirmed)
}

// TestFirstLoadFails: a first load that does not work has no way back. It is
// not taken for good, and another load can follow it, or the same once more.
func TestFirstLoadFails(t *testing.T) {
	for _, next := range []uint64{1, 2} {
		d := newDisk(t)
		s := openSlots(t, d, "/d")
		must(t, s.Fail()) // no trial: nothing happens
		must(t, install(d, s, 1))
		must(t, s.SwitchTrial())
		wantErr(t, s.Rollback(), slot.ErrNoSlot)
		must(t, s.Fail())
		wantSlots(t, s, "a", slot.StateFailed, "1", slot.StateEmpty)
		must(t, s.Close())
		d = d.Reboot(1)
		s = openSlots(t, d, "/d")
		wantSlots(t, s, "a", slot.StateFailed, "1", slot.StateEmpty)
		if rolled, err := s.Boot(); rolled || err != nil {
			t.Fatalf("a failed load without a trial: rolled back %v, %v", rolled, err)
		}
		must(t, install(d, s, next))
		must(t, s.SwitchTrial())
		wantErr(t, s.Rollback(), slot.ErrNoSlot)
		must(t, s.Confirm())
		wantSlots(t, s, "b", slot.StateConfirmed, fmt.Sprint(next), slot.StateFailed)
		if whichSet(t, d, "/d/current", next) != next {
			t.Fatal("the slot does not hold the load")
		}
	}
}

func TestSlotsRefuse(t *testing.T) {
	d := newDisk(t)
	s := openSlots(t, d, "/d")
	for _, name := range []string{"", "..", "a/b", ".hidden", "a\x00", strings.Repeat("x", 300)} {
		l := slotLoad(1)
		l.Components[0].Name = name
		if _, err := s.Begin(l); err == nil {
			t.Errorf("accepted the component name %q", name)
		}
	}
	twice := slotLoad(1)
	twice.Components[0].Name = twice.Components[1].Name
	for _, l := range []slot.Load{{}, {Name: "x"}, twice} {
		if _, err := s.Begin(l); err == nil {
			t.Errorf("accepted %+v", l)
		}
	}
	must(t, s.Close())
}

func TestCommitSet(t *testing.T) {
	eachFS(t, func(t *testing.T, fs slot.FS, dir string) {
		if did, err := slot.Recover(fs, filepath.Join(dir, "none")); did || err != nil {
			t.Fatalf("recovering nothing: %v, %v", did, err)
		}
		must(t, fetchSet(fs, dir, set(1), slot.Config{}))
		must(t, fetchSet(fs, dir, set(2), slot.Config{NoSync: true}))
		if whichSet(t, fs, dir, 2) != 2 || !slices.Equal(names(t, fs, dir), setNames) {
			t.Fatalf("the directory holds %v", names(t, fs, dir))
		}
		b := set(1)["boot"]
		p := open(t, fs, filepath.Join(dir, "boot"), signed(b), slot.Config{})
		must(t, fill(p, b))
		wantErr(t, slot.CommitSet(fs, dir, []*slot.Partial{p}), slot.ErrIncomplete)
		_, err := p.Finish()
		must(t, err)
		if slot.CommitSet(fs, dir, []*slot.Partial{p, p}) == nil || slot.CommitSet(fs, dir, nil) == nil {
			t.Fatal("accepted a file twice, or no file")
		}
		if whichSet(t, fs, dir, 2) != 2 {
			t.Fatal("a refused commit changed the directory")
		}
		put(t, fs, filepath.Join(dir, ".peerload-commit"), []byte("torn"))
		if did, err := slot.Recover(fs, dir); did || err != nil {
			t.Fatalf("recovering a torn journal: %v, %v", did, err)
		}
		must(t, slot.CommitSet(fs, dir, []*slot.Partial{p}))
	})
}

// TestRecoverRefusesWhatIsDamaged: the journal is there, a part has rotted.
func TestRecoverRefusesWhatIsDamaged(t *testing.T) {
	start := newDisk(t)
	putSet(t, start, "/d", set(1))
	start = start.Reboot(0)
	for n := 1; n < 200; n++ {
		d := start.Reboot(0)
		d.CutAt(n)
		if fetchSet(d, "/d", set(2), slot.Config{}) == nil {
			t.Fatal("no cut left a journal")
		}
		after := d.Reboot(0)
		if get(t, after, "/d/.peerload-commit") == nil || get(t, after, "/d/.root.part") == nil {
			continue
		}
		must(t, after.Rot("/d/.root.part", 9))
		_, err := slot.Recover(after, "/d")
		wantErr(t, err, slot.ErrDamaged)
		// The whole load fetched again mends it.
		must(t, fetchSet(after, "/d", set(2), slot.Config{}))
		did, err := slot.Recover(after, "/d")
		if did || err != nil || whichSet(t, after, "/d", 2) != 2 {
			t.Fatalf("after fetching again: %v, %v, %v", did, err, names(t, after, "/d"))
		}
		return
	}
}

// twoLoads returns a disk with load 1 confirmed in slot a and load 2 active in
// slot b, confirmed or booted once on trial.
func twoLoads(t *testing.T, confirmed bool) *faultdisk.Disk {
	t.Helper()
	d := newDisk(t)
	must(t, upgrade(d, 1))
	s := openSlots(t, d, "/d")
	must(t, install(d, s, 2))
	must(t, s.SwitchTrial())
	_, err := s.Boot()
	must(t, err)
	if confirmed {
		must(t, s.Confirm())
	}
	must(t, s.Close())
	return d
}

// Whatever happens to the link to the active slot, the slots prove which one it
// was; what was damaged is put aside, and told.
func TestActiveSlotProved(t *testing.T) {
	const link = "/d/current"
	for name, damage := range map[string]func(d *faultdisk.Disk){
		"missing":   func(d *faultdisk.Disk) {},
		"a file":    func(d *faultdisk.Disk) { put(t, d, link, []byte("b")) },
		"empty":     func(d *faultdisk.Disk) { put(t, d, link, nil) },
		"elsewhere": func(d *faultdisk.Disk) { must(t, d.Symlink("../elsewhere", link)) },
		"dangling":  func(d *faultdisk.Disk) { must(t, d.Symlink("c", link)) },
		"directory": func(d *faultdisk.Disk) { must(t, d.Mkdir(link, 0o755)); put(t, d, link+"/x", []byte("x")) },
	} {
		for _, confirmed := range []bool{true, false} {
			d := twoLoads(t, confirmed)
			must(t, d.Remove(link))
			damage(d)
			for range 2 { // the second time nothing is damaged any more
				s := openSlots(t, d, "/d")
				want := slot.StateTrial
				if confirmed {
					want = slot.StateConfirmed
				}
				wantSlots(t, s, "b", want, "2", slot.StateConfirmed)
				must(t, s.Close())
			}
			if to, err := d.Readlink(link); err != nil || to != "b" {
				t.Errorf("%s: current points to %q, %v", name, to, err)
			}
			if _, err := d.Lstat(link + ".damaged"); (err == nil) != (name != "missing") {
				t.Errorf("%s: what was damaged is put aside: %v", name, err)
			}
		}
	}
}

// A slot is not made active by its state alone.
func TestActiveSlotProvedByItsComponents(t *testing.T) {
	d := twoLoads(t, true)
	must(t, d.Remove("/d/current"))
	must(t, d.Rot("/d/b/boot", 3))
	s := openSlots(t, d, "/d")
	wantSlots(t, s, "a", slot.StateConfirmed, "1", slot.StateConfirmed)
	if len(s.Damage()) != 1 || !errors.Is(s.Damage()[0], slot.ErrDamaged) {
		t.Errorf("%v", s.Damage())
	}
	must(t, s.Close())
	must(t, d.Remove("/d/current"))
	must(t, d.Rot("/d/a/boot", 3))
	s = openSlots(t, d, "/d")
	wantSlots(t, s, "", "", "", slot.StateConfirmed)
}

// A state that is damaged in any way is put aside and told; its slot is empty,
// the other one is as it was, and the device can fill it again. Its files are
// found again.
func TestSlotStateDamaged(t *testing.T) {
	long := make([]byte, 1<<20)
	for name, damage := range map[string]func(d *faultdisk.Disk, name string, b []byte){
		"empty":     func(d *faultdisk.Disk, name string, _ []byte) { put(t, d, name, nil) },
		"truncated": func(d *faultdisk.Disk, name string, b []byte) { put(t, d, name, b[:len(b)/2]) },
		"flipped": func(d *faultdisk.Disk, name string, b []byte) {
			b[len(b)/3] ^= 1
			put(t, d, name, b)
		},
		"longer": func(d *faultdisk.Disk, name string, b []byte) { put(t, d, name, append(b, long...)) },
		"directory": func(d *faultdisk.Disk, name string, _ []byte) {
			must(t, d.Remove(name))
			must(t, d.Mkdir(name, 0o755))
		},
		"dangling": func(d *faultdisk.Disk, name string, _ []byte) {
			must(t, d.Remove(name))
			must(t, d.Symlink("c", name))
		},
		"newer": func(d *faultdisk.Disk, name string, _ []byte) {
			put(t, d, name, []byte(`{"format": 2, "state": "new"}`))
		},
	} {
		for _, of := range []string{"a", "b"} {
			d := twoLoads(t, true)
			damage(d, "/d/"+of+".json", get(t, d, "/d/"+of+".json"))
			s := openSlots(t, d, "/d")
			if len(s.Damage()) != 1 {
				t.Errorf("%s of %s: told %v", name, of, s.Damage())
			}
			if of == "a" {
				wantSlots(t, s, "b", slot.StateConfirmed, "2", slot.StateEmpty)
			} else {
				wantSlots(t, s, "b", slot.StateEmpty, "", slot.StateConfirmed)
				missing, err := s.Begin(slotLoad(2))
				if err != nil || len(missing) != 0 {
					t.Errorf("%s: the files of the slot are not found again: %v, %v", name, missing, err)
				}
				must(t, s.Switch())
				wantSlots(t, s, "a", slot.StateConfirmed, "2", slot.StateEmpty)
			}
			must(t, s.Close())
		}
	}
}

// What should be the directory of a slot and is none is put aside; one that
// another user can write is refused.
func TestSlotDirectoryDamaged(t *testing.T) {
	d := twoLoads(t, true)
	must(t, d.Rename("/d/a", "/d/lost"))
	must(t, d.Symlink("lost", "/d/a"))
	s := openSlots(t, d, "/d")
	if len(s.Damage()) != 1 {
		t.Errorf("told %v", s.Damage())
	}
	must(t, install(d, s, 3))
	must(t, s.SwitchTrial())
	wantSlots(t, s, "a", slot.StateTrial, "3", slot.StateConfirmed)

	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/a", 0o755))
	must(t, os.Chmod(dir+"/a", 0o775))
	if _, err := slot.OpenSlots(slot.OS{}, dir); err == nil {
		t.Error("opened a slot that others can write")
	}
}

// TestSound tells what is wrong with a component.
func TestSound(t *testing.T) {
	d := twoLoads(t, true)
	s := openSlots(t, d, "/d")
	a, _ := s.Active()
	e := a.Components[0]
	name := fmt.Sprintf("/d/%s/%s", a.Slot, e.Name)
	must(t, s.Sound(a.Slot, e))
	must(t, d.Rot(name, 1))
	wantErr(t, s.Sound(a.Slot, e), slot.ErrDamaged)
	must(t, d.Remove(name))
	wantErr(t, s.Sound(a.Slot, e), slot.ErrIncomplete)
	must(t, d.Mkdir(name, 0o755))
	wantErr(t, s.Sound(a.Slot, e), slot.ErrDamaged)
}
