package slot_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// cutEverywhere runs a story on a copy of the durable disk start, and lets check
// judge what can be found if the power is cut anywhere in it. Then it runs the
// story with a cut at one operation after the other: none goes on without power.
func cutEverywhere(t *testing.T, start *faultdisk.Disk, story func(fs slot.FS) error, promised func() string,
	check func(t *testing.T, d *faultdisk.Disk)) {
	t.Helper()
	d := start.Reboot(0)
	faultdisk.Every(t, d, func() error { return story(d) }, promised, check)
	for n := 1; n <= d.Ops(); n += 1 + d.Ops()/25 {
		d := start.Reboot(0)
		d.CutAt(n)
		// Cleaning up at the end may be cut without harm to the story.
		if err := story(d); err != nil && !errors.Is(err, faultdisk.ErrPowerCut) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestPowerCutOfOneFile(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	old, b := random(chunk+500, 1), random(5*chunk+777, 2)
	unknown := sizeless(b)
	cfg := slot.Config{Window: chunk, SyncEvery: 2 * chunk}
	for name, spec := range map[string]slot.Spec{"signed": signed(b), "provisional": provisional(b), "unknown": unknown} {
		t.Run(name, func(t *testing.T) {
			start := newDisk(t)
			put(t, start, "/d/x", old)
			promised, committed := 0, false
			story := func(fs slot.FS) error {
				promised, committed = 0, false
				p, err := slot.OpenPartial(fs, "/d/x", spec, cfg)
				if err != nil {
					return err
				}
				for _, i := range []int{1, 0, 3, 2, 4} {
					if err := errors.Join(p.WriteChunk(i, piece(b, i)), p.Settle(i == 2)); err != nil {
						return err
					}
					if i == 2 {
						promised = 4
					}
				}
				if err := p.SetSize(int64(len(b))); err != nil {
					return err
				}
				if err := p.WriteChunk(5, piece(b, 5)); err != nil {
					return err
				}
				if _, err := p.Finish(); err != nil {
					return err
				}
				promised = 6
				if err := p.Commit(); err != nil {
					return err
				}
				committed = true
				return p.Close()
			}
			said := func() string { return fmt.Sprint(promised, committed) }
			cutEverywhere(t, start, story, said, func(t *testing.T, d *faultdisk.Disk) {
				got := get(t, d, "/d/x")
				isNew := bytes.Equal(got, b)
				if !isNew && !bytes.Equal(got, old) {
					t.Fatalf("the target is neither old nor new: %d bytes", len(got))
				}
				if committed && !isNew {
					t.Fatal("a committed file is lost")
				}
				p := open(t, d, "/d/x", spec, cfg)
				wantHeld(t, p, b)
				if !isNew && p.Prefix() < promised {
					t.Fatalf("prefix %d after the cut, %d chunks had been made durable", p.Prefix(), promised)
				}
				must(t, p.SetSize(int64(len(b))))
				must(t, fill(p, b))
				_, err := p.Finish()
				must(t, err)
				must(t, p.Commit())
				must(t, p.Close())
				if !bytes.Equal(get(t, d, "/d/x"), b) || !slices.Equal(names(t, d, "/d"), []string{"x"}) {
					t.Fatalf("going on did not complete: %v", names(t, d, "/d"))
				}
			})
		})
	}
}

// TestPowerCutOfAnotherContent: a partial of one content is replaced by
// another; never are the bytes of the first taken for the second.
func TestPowerCutOfAnotherContent(t *testing.T) {
	t.Parallel()
	a, b := random(3*chunk, 1), random(3*chunk, 2)
	start := newDisk(t)
	p := open(t, start, "/d/x", provisional(a), slot.Config{})
	must(t, p.WriteChunk(0, piece(a, 0)))
	must(t, p.WriteChunk(1, piece(a, 1)))
	must(t, p.Settle(true))
	must(t, p.Close())
	story := func(fs slot.FS) error {
		p, err := slot.OpenPartial(fs, "/d/x", provisional(b), slot.Config{Window: chunk, SyncEvery: chunk})
		if err != nil {
			return err
		}
		return errors.Join(p.WriteChunk(0, piece(b, 0)), p.Settle(true), p.WriteChunk(2, piece(b, 2)), p.Close())
	}
	cutEverywhere(t, start, story, nil, func(t *testing.T, d *faultdisk.Disk) {
		p := open(t, d, "/d/x", provisional(b), slot.Config{})
		wantHeld(t, p, b)
	})
}

// set is the files of one load, with sizes that differ. Version 3 has no conf.
// Nobody changes them: they are made once.
func set(version uint64) map[string][]byte {
	if s, ok := sets.Load(version); ok {
		return s.(map[string][]byte)
	}
	s := map[string][]byte{
		"boot": random(chunk+int(version), version),
		"conf": random(100, 10+version),
		"root": random(2*chunk+1, 20+version),
	}
	if version == 3 {
		delete(s, "conf")
	}
	sets.Store(version, s)
	return s
}

var sets sync.Map

var setNames = []string{"boot", "conf", "root"}

func putSet(t *testing.T, fs slot.FS, dir string, s map[string][]byte) {
	t.Helper()
	for _, n := range setNames {
		put(t, fs, filepath.Join(dir, n), s[n])
	}
}

// whichSet returns the version of the set in dir, 0 for a mixture.
func whichSet(t *testing.T, fs slot.FS, dir string, versions ...uint64) uint64 {
	t.Helper()
	for _, v := range versions {
		same := true
		for n, b := range set(v) {
			same = same && bytes.Equal(get(t, fs, filepath.Join(dir, n)), b)
		}
		if same {
			return v
		}
	}
	return 0
}

// fetchSet brings the set into dir and commits it.
func fetchSet(fs slot.FS, dir string, s map[string][]byte, cfg slot.Config) (err error) {
	var parts []*slot.Partial
	defer func() {
		for _, p := range parts {
			err = errors.Join(err, p.Close())
		}
	}()
	for _, n := range setNames {
		p, err := slot.OpenPartial(fs, filepath.Join(dir, n), signed(s[n]), cfg)
		if err != nil {
			return err
		}
		parts = append(parts, p)
		if err := fill(p, s[n]); err != nil {
			return err
		}
		if _, err := p.Finish(); err != nil {
			return err
		}
	}
	return slot.CommitSet(fs, dir, parts)
}

func TestPowerCutOfASet(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	start := newDisk(t)
	putSet(t, start, "/d", set(1))
	committed := false
	cfg := slot.Config{Window: chunk}
	story := func(fs slot.FS) error {
		committed = false
		err := fetchSet(fs, "/d", set(2), cfg)
		committed = err == nil
		return err
	}
	cutEverywhere(t, start, story, func() string { return fmt.Sprint(committed) }, func(t *testing.T, d *faultdisk.Disk) {
		_, err := slot.Recover(d, "/d")
		must(t, err)
		v := whichSet(t, d, "/d", 1, 2)
		if v == 0 || (committed && v != 2) {
			t.Fatalf("after recovery the directory holds set %d (0 = a mixture), committed = %v", v, committed)
		}
		must(t, fetchSet(d, "/d", set(2), cfg))
		did, err := slot.Recover(d, "/d")
		must(t, err)
		if did || whichSet(t, d, "/d", 2) != 2 || !slices.Equal(names(t, d, "/d"), setNames) {
			t.Fatalf("going on did not complete: %v", names(t, d, "/d"))
		}
	})
}

// TestPowerCutOfASetWithAnEmptyFile: a file without a byte has a name to lose,
// and the journal speaks of it.
func TestPowerCutOfASetWithAnEmptyFile(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	b := random(100, 3)
	files := map[string][]byte{"boot": b, "empty": {}}
	committed := false
	story := func(fs slot.FS) (err error) {
		committed = false
		var parts []*slot.Partial
		for _, n := range []string{"boot", "empty"} {
			p, err := slot.OpenPartial(fs, "/d/"+n, signed(files[n]), slot.Config{})
			if err != nil {
				return err
			}
			defer p.Close()
			parts = append(parts, p)
			if err := fill(p, files[n]); err != nil {
				return err
			}
			if _, err := p.Finish(); err != nil {
				return err
			}
		}
		err = slot.CommitSet(fs, "/d", parts)
		committed = err == nil
		return err
	}
	whole := newDisk(t)
	must(t, story(whole))
	for n := 1; n <= whole.Ops(); n++ {
		for seed := range uint64(40) {
			d := newDisk(t).Reboot(seed)
			d.CutAt(n)
			_ = story(d)
			after := d.Reboot(seed)
			_, err := slot.Recover(after, "/d")
			boot, empty := get(t, after, "/d/boot"), get(t, after, "/d/empty")
			isNew := bytes.Equal(boot, b) && empty != nil && len(empty) == 0
			if err != nil || !isNew && (committed || boot != nil || empty != nil) {
				t.Fatalf("cut at %d, seed %d: committed %v, found %v: %v; operations %q", n, seed, committed,
					names(t, after, "/d"), err, d.Log())
			}
		}
	}
}

func slotLoad(version uint64) slot.Load {
	l := slot.Load{Name: "phone", Version: fmt.Sprint(version)}
	s := set(version)
	for _, n := range slices.Sorted(maps.Keys(s)) {
		b := s[n]
		l.Components = append(l.Components, slot.Entry{Name: n, Size: int64(len(b)), Digest: load.DigestOf(b)})
	}
	return l
}

// install fetches a load into the inactive slot.
func install(fs slot.FS, s *slot.Slots, version uint64) error {
	missing, err := s.Begin(slotLoad(version))
	if err != nil {
		return err
	}
	for _, e := range missing {
		b := set(version)[e.Name]
		target := filepath.Join(s.Dir(s.Inactive().Slot), e.Name)
		if err := fetch(fs, target, signed(b), slot.Config{Window: chunk}, b); err != nil {
			return err
		}
	}
	return nil
}

// upgrade does it all: install, trial, boot, confirm.
func upgrade(fs slot.FS, version uint64) (err error) {
	s, err := slot.OpenSlots(fs, "/d")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := install(fs, s, version); err != nil {
		return err
	}
	if err := s.SwitchTrial(); err != nil {
		return err
	}
	if _, err := s.Boot(); err != nil {
		return err
	}
	return s.Confirm()
}

func TestPowerCutOfASlotSwitch(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	start := newDisk(t)
	must(t, upgrade(start, 1))
	must(t, upgrade(start, 2))
	done := false
	story := func(fs slot.FS) error {
		done = false
		err := upgrade(fs, 3)
		done = err == nil
		return err
	}
	cutEverywhere(t, start, story, func() string { return fmt.Sprint(done) }, func(t *testing.T, d *faultdisk.Disk) {
		v := whichSet(t, d, "/d/current", 2, 3)
		if v == 0 || (done && v != 3) {
			t.Fatalf("the active slot holds load %d (0 = a mixture), done = %v", v, done)
		}
		s, err := slot.OpenSlots(d, "/d")
		must(t, err)
		i, ok := s.Active()
		if !ok || i.Version != fmt.Sprint(v) || (i.State != slot.StateConfirmed && i.State != slot.StateTrial) {
			t.Fatalf("the active slot is described as %v and holds load %d", i, v)
		}
		switch other := s.Inactive(); other.State {
		case slot.StateTrial:
			t.Fatalf("the inactive slot is %v", other)
		case slot.StateComplete, slot.StateConfirmed:
			if got := whichSet(t, d, s.Dir(other.Slot), 1, 2, 3); fmt.Sprint(got) != other.Version {
				t.Fatalf("the inactive slot is said to be %s with load %s and holds load %d", other.State, other.Version, got)
			}
		}
		if i.State == slot.StateTrial {
			// The device starts again and again and no one confirms.
			for range 2 {
				_, err := s.Boot()
				must(t, err)
			}
			if whichSet(t, d, "/d/current", 2) != 2 {
				t.Fatal("an unconfirmed trial was not rolled back")
			}
		}
		must(t, s.Close())
		must(t, upgrade(d, 3))
		if whichSet(t, d, "/d/current", 3) != 3 {
			t.Fatal("going on did not complete")
		}
	})
}

func TestPowerCutOfARollback(t *testing.T) {
	t.Parallel()
	start := newDisk(t)
	must(t, upgrade(start, 1))
	s, err := slot.OpenSlots(start, "/d")
	must(t, err)
	must(t, install(start, s, 2))
	must(t, s.SwitchTrial())
	_, err = s.Boot()
	must(t, err)
	must(t, s.Close())
	story := func(fs slot.FS) error {
		s, err := slot.OpenSlots(fs, "/d")
		if err != nil {
			return err
		}
		_, err = s.Boot()
		return errors.Join(err, s.Close())
	}
	cutEverywhere(t, start, story, nil, func(t *testing.T, d *faultdisk.Disk) {
		if whichSet(t, d, "/d/current", 1, 2) == 0 {
			t.Fatal("a mixture")
		}
		s, err := slot.OpenSlots(d, "/d")
		must(t, err)
		_, err = s.Boot()
		must(t, err)
		i, _ := s.Active()
		if i.Version != "1" || i.State != slot.StateConfirmed || s.Inactive().State != slot.StateFailed {
			t.Fatalf("active %v, inactive %v", i, s.Inactive())
		}
	})
}

// TestSwitchMakesDurable: whoever put the files there, and synced nothing,
// they are on the medium before the switch is.
func TestSwitchMakesDurable(t *testing.T) {
	for seed := range uint64(20) {
		d := newDisk(t)
		must(t, upgrade(d, 1))
		s, err := slot.OpenSlots(d, "/d")
		must(t, err)
		missing, err := s.Begin(slotLoad(2))
		must(t, err)
		for _, e := range missing {
			f, err := d.OpenFile("/d/b/"+e.Name, os.O_RDWR|os.O_CREATE, 0o644)
			must(t, err)
			_, err = f.WriteAt(set(2)[e.Name], 0)
			must(t, err)
		}
		must(t, s.Switch())
		if whichSet(t, d.Reboot(seed), "/d/current", 1, 2) != 2 {
			t.Fatalf("seed %d: a load that was switched to is lost", seed)
		}
	}
}

// TestConformance holds the real file system, its twin, and one that is recorded on
// the other to one behaviour.
func TestConformance(t *testing.T) {
	t.Run("os", func(t *testing.T) {
		faultdisk.Conformance(t, func(t *testing.T) (slot.FS, string) { return slot.OS{}, t.TempDir() })
	})
	t.Run("recorded", func(t *testing.T) {
		faultdisk.Conformance(t, func(t *testing.T) (slot.FS, string) {
			dir := t.TempDir()
			r, _, err := faultdisk.Record(dir)
			must(t, err)
			t.Cleanup(func() { must(t, r.Err()) })
			return r, dir
		})
	})
	t.Run("twin", func(t *testing.T) {
		faultdisk.Conformance(t, func(t *testing.T) (slot.FS, string) {
			d := faultdisk.New(1)
			if err := d.Mkdir("/d", 0o755); err != nil {
				t.Fatal(err)
			}
			return d, "/d"
		})
	})
}
