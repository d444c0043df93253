package slot_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// wantSound looks at slots as a device does after a power cut: the boot loader
// finds one of the loads that may be active, whole; 0 stands for none. What the
// states say of both slots is true, nothing counts as damaged, and the next
// upgrade works. It returns what is active.
func wantSound(t *testing.T, d *faultdisk.Disk, active ...uint64) slot.Info {
	t.Helper()
	booted := uint64(0)
	if _, err := d.Lstat("/d/current"); err == nil {
		if booted = whichSet(t, d, "/d/current", 1, 2, 3); booted == 0 {
			t.Fatal("the boot loader finds a mixture")
		}
	}
	s, err := slot.OpenSlots(d, "/d")
	must(t, err)
	for _, err := range s.Damage() {
		if !strings.Contains(err.Error(), "invalid character 'o'") { // which damagedState has put there
			t.Fatalf("a power cut counts as damage: %v", err)
		}
	}
	i, ok := s.Active()
	if ok && i.State == slot.StateEmpty || !ok && booted != 0 {
		t.Fatalf("the boot loader starts load %d, and the active slot is %s", booted, i.State)
	}
	now := uint64(0)
	if ok {
		if now = whichSet(t, d, s.Dir(i.Slot), 1, 2, 3); fmt.Sprint(now) != i.Version || booted != 0 && booted != now {
			t.Fatalf("the active slot is described as %v, holds load %d, and load %d was booted", i, now, booted)
		}
	}
	if !slices.Contains(active, now) {
		t.Fatalf("load %d is active, not one of %d", now, active)
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
		must(t, s.Confirm())
	}
	must(t, s.Close())
	must(t, upgrade(d, 3))
	if whichSet(t, d, "/d/current", 3) != 3 {
		t.Fatal("the next upgrade did not work")
	}
	return i
}

// damagedState damages the state of the slot that is not active, durably.
func damagedState(fs slot.FS) error {
	f, err := fs.OpenFile("/d/a.json", os.O_RDWR|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("not a slot's state"), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// slotsStory opens the slots of /d for a story.
func slotsStory(do func(s *slot.Slots, fs slot.FS) error) func(fs slot.FS) error {
	return func(fs slot.FS) (err error) {
		s, err := slot.OpenSlots(fs, "/d")
		if err != nil {
			return err
		}
		return errors.Join(do(s, fs), s.Close())
	}
}

// TestPowerCutOfSlots cuts the power in whatever changes slots, beside the
// whole upgrade of TestPowerCutOfASlotSwitch.
func TestPowerCutOfSlots(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	trial := func(fs slot.FS, s *slot.Slots, version uint64) error {
		return errors.Join(install(fs, s, version), s.SwitchTrial())
	}
	done := false
	for name, c := range map[string]struct {
		before     func(fs slot.FS) error // durable
		story      func(s *slot.Slots, fs slot.FS) error
		may, after []uint64 // be active meanwhile, and once it is done
		state      slot.State
	}{
		"the first load": {
			func(slot.FS) error { return nil },
			func(s *slot.Slots, fs slot.FS) error {
				return errors.Join(install(fs, s, 1), s.Complete(), s.SwitchTrial(), s.Confirm())
			}, []uint64{0, 1}, []uint64{1}, slot.StateConfirmed},
		"switch": {
			func(fs slot.FS) error { return upgrade(fs, 1) },
			func(s *slot.Slots, fs slot.FS) error { return errors.Join(install(fs, s, 2), s.Switch()) },
			[]uint64{1, 2}, []uint64{2}, slot.StateConfirmed},
		"trial": {
			func(fs slot.FS) error { return upgrade(fs, 1) },
			func(s *slot.Slots, fs slot.FS) error { return trial(fs, s, 2) },
			[]uint64{1, 2}, []uint64{2}, slot.StateTrial},
		"confirm": {
			func(fs slot.FS) error {
				return errors.Join(upgrade(fs, 1), slotsStory(func(s *slot.Slots, fs slot.FS) error { return trial(fs, s, 2) })(fs))
			},
			func(s *slot.Slots, _ slot.FS) error { return s.Confirm() }, []uint64{2}, []uint64{2}, slot.StateConfirmed},
		"roll back": {
			func(fs slot.FS) error { return upgrade(fs, 1) },
			func(s *slot.Slots, fs slot.FS) error { return errors.Join(trial(fs, s, 2), s.Rollback()) },
			[]uint64{1, 2}, []uint64{1}, slot.StateConfirmed},
		"no way back": {
			func(slot.FS) error { return nil },
			func(s *slot.Slots, fs slot.FS) error { return errors.Join(trial(fs, s, 1), s.Fail()) },
			[]uint64{0, 1}, []uint64{1}, slot.StateFailed},
		"a lost link": {
			func(fs slot.FS) error {
				return errors.Join(upgrade(fs, 1), upgrade(fs, 2), fs.Remove("/d/current"), fs.SyncDir("/d"))
			},
			func(*slot.Slots, slot.FS) error { return nil }, []uint64{2}, []uint64{2}, slot.StateConfirmed},
		"a damaged state": {
			func(fs slot.FS) error { return errors.Join(upgrade(fs, 1), upgrade(fs, 2), damagedState(fs)) },
			func(s *slot.Slots, fs slot.FS) error {
				return errors.Join(install(fs, s, 3), s.SwitchTrial(), s.Confirm())
			}, []uint64{2, 3}, []uint64{3}, slot.StateConfirmed},
		"three loads": {
			func(fs slot.FS) error { return upgrade(fs, 1) },
			func(s *slot.Slots, fs slot.FS) error {
				return errors.Join(install(fs, s, 2), s.Switch(), install(fs, s, 3), s.SwitchTrial(), s.Confirm(),
					install(fs, s, 1), s.Complete())
			}, []uint64{1, 2, 3}, []uint64{3}, slot.StateConfirmed},
	} {
		t.Run(name, func(t *testing.T) {
			start := newDisk(t)
			must(t, c.before(start))
			story := func(fs slot.FS) error {
				done = false
				err := slotsStory(c.story)(fs)
				done = err == nil
				return err
			}
			cutEverywhere(t, start, story, func() string { return fmt.Sprint(done) }, func(t *testing.T, d *faultdisk.Disk) {
				may := c.may
				if done {
					may = c.after
				}
				if i := wantSound(t, d, may...); done && i.State != c.state {
					t.Fatalf("it was %s, and is %s", c.state, i.State)
				}
			})
		})
	}
}

// TestPowerCutOfResuming cuts the power while a download is interrupted, and
// taken up again by other processes, and given up.
func TestPowerCutOfResuming(t *testing.T) {
	t.Parallel()
	old, b := random(100, 1), random(3*chunk+777, 2)
	cfg := slot.Config{Window: chunk, SyncEvery: chunk}
	start := newDisk(t)
	put(t, start, "/d/x", old)
	promised, committed := 0, false
	some := func(fs slot.FS, spec slot.Spec, chunks ...int) error {
		p, err := slot.OpenPartial(fs, "/d/x", spec, cfg)
		if err != nil {
			return err
		}
		for _, i := range chunks {
			if err := p.WriteChunk(i, piece(b, i)); err != nil {
				return err
			}
		}
		err = p.Settle(true)
		promised = max(promised, p.Prefix())
		return errors.Join(err, p.Close())
	}
	story := func(fs slot.FS) error {
		promised, committed = 0, false
		err := errors.Join(some(fs, provisional(b), 0), some(fs, provisional(b), 2), some(fs, signed(b), 1),
			fetch(fs, "/d/x", signed(b), cfg, b))
		committed = err == nil
		return err
	}
	said := func() string { return fmt.Sprint(promised, committed) }
	cutEverywhere(t, start, story, said, func(t *testing.T, d *faultdisk.Disk) {
		got := get(t, d, "/d/x")
		isNew := bytes.Equal(got, b)
		if !isNew && (committed || !bytes.Equal(got, old)) {
			t.Fatalf("committed %v, found are %d bytes", committed, len(got))
		}
		p := open(t, d, "/d/x", signed(b), cfg)
		wantHeld(t, p, b)
		if !isNew && p.Prefix() < promised {
			t.Fatalf("prefix %d after the cut, %d chunks had been made durable", p.Prefix(), promised)
		}
		must(t, p.Close())
		must(t, fetch(d, "/d/x", signed(b), cfg, b))
	})
}

// TestPowerCutOfMending cuts the power while a rotten component of the active
// load is fetched anew: the others stay, and it is the rotten or the right one.
func TestPowerCutOfMending(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	start := newDisk(t)
	must(t, upgrade(start, 1))
	good := set(1)["root"]
	rotten := bytes.Clone(good)
	rotten[chunk] ^= 1
	f, err := start.OpenFile("/d/a/root", os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(rotten[chunk:chunk+1], chunk)
	must(t, errors.Join(err, f.Sync(), f.Close()))
	mended := false
	story := func(fs slot.FS) error {
		mended = false
		err := fetch(fs, "/d/a/root", signed(good), slot.Config{}, good)
		mended = err == nil
		return err
	}
	said := func() string { return fmt.Sprint(mended) }
	cutEverywhere(t, start, story, said, func(t *testing.T, d *faultdisk.Disk) {
		got := get(t, d, "/d/current/root")
		if !bytes.Equal(got, good) && (mended || !bytes.Equal(got, rotten)) {
			t.Fatalf("mended %v, found are %d bytes", mended, len(got))
		}
		must(t, fetch(d, "/d/a/root", signed(good), slot.Config{}, good))
		wantSound(t, d, 1)
	})
}

// TestPowerCutOfRecoveries cuts the power in a commit, and cuts it again while
// that is recovered: at each state from which there is something to recover.
func TestPowerCutOfRecoveries(t *testing.T) {
	t.Parallel()
	start := newDisk(t)
	putSet(t, start, "/d", set(1))
	var found []*faultdisk.Disk
	d := start.Reboot(0)
	story := func() error { return fetchSet(d, "/d", set(2), slot.Config{}) }
	faultdisk.EveryNth(t, 4, d, story, nil, func(t *testing.T, d *faultdisk.Disk) {
		if get(t, d, "/d/.peerload-commit") != nil && whichSet(t, d, "/d", 2) == 0 {
			found = append(found, d)
		}
	})
	if len(found) == 0 {
		t.Fatal("no cut left a journal to roll forward")
	}
	for n, d := range found {
		t.Run(fmt.Sprintf("journal=%d", n), func(t *testing.T) {
			recover := func() error { _, err := slot.Recover(d, "/d"); return err }
			faultdisk.EveryNth(t, 4, d, recover, nil, func(t *testing.T, d *faultdisk.Disk) {
				if _, err := slot.Recover(d, "/d"); err != nil || whichSet(t, d, "/d", 2) != 2 {
					t.Fatalf("%v, %v", err, names(t, d, "/d"))
				}
			})
		})
	}
}
