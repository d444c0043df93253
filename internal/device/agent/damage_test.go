package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/internal/testkit/otheruser"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// mutations are what can have happened to a file of the state, or to the name
// of one that is not there.
var mutations = map[string]func(name string, b []byte) error{
	"missing":   func(string, []byte) error { return nil },
	"empty":     func(name string, _ []byte) error { return os.WriteFile(name, nil, 0o644) },
	"truncated": func(name string, b []byte) error { return os.WriteFile(name, b[:len(b)/2], 0o644) },
	"flipped": func(name string, b []byte) error {
		b = bytes.Clone(append(b, 0)[:max(1, len(b))])
		b[len(b)/2] ^= 4
		return os.WriteFile(name, b, 0o644)
	},
	"longer":    func(name string, b []byte) error { return os.WriteFile(name, append(b, make([]byte, 5<<20)...), 0o644) },
	"directory": func(name string, _ []byte) error { return os.MkdirAll(filepath.Join(name, "in it"), 0o755) },
	"dangling":  func(name string, _ []byte) error { return os.Symlink("/nowhere/at/all", name) },
	"unreadable": func(name string, b []byte) error {
		return errors.Join(os.WriteFile(name, b, 0o644), os.Chmod(name, 0))
	},
	"newer": func(name string, b []byte) error {
		b = bytes.Replace(b, []byte(`"format": 1`), []byte(`"format": 2`), 1)
		b = bytes.Replace(b, []byte(keptFirst), []byte("peerload provisioning 2 "), 1)
		return os.WriteFile(name, b, 0o644)
	},
}

// copyTree copies a state directory, links as links.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		name := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(name, 0o755)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			return errors.Join(err, os.Symlink(target, name))
		case !e.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(p)
		return errors.Join(err, os.WriteFile(name, b, 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever has happened to whichever file of its state, a device starts, runs
// its load, is provisioned, and takes no unsigned load.
func TestStateDamaged(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	damageState(t, func(what string) bool { return what != "unreadable" })
}

// TestStateUnreadable is TestStateDamaged for files that the device may not read.
func TestStateUnreadable(t *testing.T) {
	if otheruser.Runs(t) {
		damageState(t, func(what string) bool { return what == "unreadable" })
	}
}

// damageState damages each file of a state in some ways.
func damageState(t *testing.T, wanted func(what string) bool) {
	d := newDepot(t)
	d.load("SIGNED", "good", 300_000, "CP-7961G")
	d.set("jp", "locale", map[string]string{"x": "here"})
	sets := map[string]string{"locale": "jp"}
	d.provision(withSets("SIGNED", sets))
	c := newSubnet(t).config(d, "CP-7961G")
	c.ConfirmTimeout = patience
	r := start(t, c)
	r.runs("SIGNED")
	r.hasSets(sets)
	until(t, "is idle", func() bool { return r.Status().State == report.StateIdle })
	r.stop()
	active := filepath.Join("slots", "a", "app.bin")
	if _, err := os.Stat(filepath.Join(c.State, active)); err != nil {
		t.Fatal(err)
	}
	trustDir := filepath.Dir(c.Trust)
	names := []string{"id", recordName, provisionName, pinName, lockName, slotsName, classicName, scratchName,
		"status", SocketName, "slots/a", "slots/b", "slots/a.json", "slots/b.json", "slots/current", "slots/.slots.lock",
		active, "slots/a/health", "trust/timestamp.json", "trust/snapshot.json", "trust/targets.json", "trust/.lock",
		"trust/2.root.json", setsName, "files/.sets", "files/sets.json", "files/locale"}
	p, _ := r.sets.Get("locale")
	names = append(names, "files/.sets/locale."+p.ID, "files/.sets/locale."+p.ID+"/x")
	wantNamed(t, c.State, names)
	n := 0
	for i, name := range names {
		for j, what := range slices.Sorted(maps.Keys(mutations)) {
			mutate := mutations[what]
			// A short run damages each file in one way, by turns.
			if !wanted(what) || testing.Short() && (i+j)%8 != 0 {
				continue
			}
			n++
			address := netip.AddrFrom4([4]byte{127, 0, byte(78 + n/250), byte(1 + n%250)})
			t.Run(strings.ReplaceAll(name, "/", ":")+" "+what, func(t *testing.T) {
				t.Parallel() // each alone in its subnet; most of their time is the disk's
				c := c
				c.Address, c.Port = netip.PrefixFrom(address, 8), newSubnet(t).port
				dir := t.TempDir()
				c.State, c.Trust = filepath.Join(dir, "state"), filepath.Join(dir, "trust")
				copyTree(t, r.conf.get().State, c.State)
				copyTree(t, filepath.Join(trustDir, "trust"), c.Trust)
				at := filepath.Join(c.State, name)
				if rest, of := strings.CutPrefix(name, "trust/"); of {
					at = filepath.Join(c.Trust, rest)
				}
				b, _ := os.ReadFile(at) // nil of a directory, or where there is none
				if err := errors.Join(os.RemoveAll(at), mutate(at, b)); err != nil {
					t.Fatal(err)
				}
				again := start(t, c)
				again.runs("SIGNED")
				until(t, "is idle and sound", func() bool {
					a, ok := again.slots.Active()
					st := again.Status()
					if !ok || st.State != report.StateIdle || again.prov.last().Contact.IsZero() {
						return false
					}
					for _, e := range a.Components {
						if again.slots.Sound(a.Slot, e) != nil {
							return false
						}
					}
					return true
				})
				if !pinned(c, again.slots) {
					t.Error("it forgot that it runs signed loads only")
				}
				until(t, "has its file set", func() bool { return again.placed("locale/x") == "here" })
				again.hasSets(sets)
				again.stop()
			})
		}
	}
}

// wantNamed looks whether all that a device keeps is named, or is below a
// directory of what processes leave.
func wantNamed(t *testing.T, state string, names []string) {
	t.Helper()
	err := filepath.WalkDir(state, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(state, p)
		if of := filepath.Dir(rel); rel != "." && of != "status" && !slices.Contains(names, rel) {
			t.Errorf("%s is kept, and nobody damages it", rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever has happened to the file of a device's secret, the device has one, and
// the same from then on; what was damaged is put aside.
func TestIdentityDamaged(t *testing.T) {
	damageIdentity(t, func(what string) bool { return what != "unreadable" })
}

// TestIdentityUnreadable is TestIdentityDamaged for a file that the device may not
// read.
func TestIdentityUnreadable(t *testing.T) {
	if otheruser.Runs(t) {
		damageIdentity(t, func(what string) bool { return what == "unreadable" })
	}
}

// damageIdentity damages the file of a secret in some ways.
func damageIdentity(t *testing.T, wanted func(what string) bool) {
	for what, mutate := range mutations {
		if !wanted(what) {
			continue
		}
		dir := t.TempDir()
		first, err := identity(machine{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, identityName)
		b, err := os.ReadFile(name)
		if err := errors.Join(err, os.Remove(name), mutate(name, b)); err != nil {
			t.Fatal(err)
		}
		second, err := identity(machine{}, dir)
		if _, ok := parseSecret([]byte(second)); err != nil || !ok {
			t.Errorf("%s: %q, %v", what, second, err)
		}
		if anew := what != "newer"; (second != first) != anew { // it has no version
			t.Errorf("%s: it was %s and is %s", what, first, second)
		}
		if again, err := identity(machine{}, dir); again != second || err != nil {
			t.Errorf("%s: it is not kept: %v", what, err)
		}
		// One that reads as a secret is none to be put aside.
		_, err = os.Lstat(name + ".damaged")
		if put := err == nil; what != "flipped" && put != (what != "newer" && what != "missing") {
			t.Errorf("%s: put aside is %v", what, put)
		}
	}
}

// A rotten component of the active load is told in the same check-in, and
// mended from the server.
func TestRottenComponent(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("SIGNED", "good", 300_000, "CP-7961G")
	d.provision(withSharing("SIGNED", ""))
	r := start(t, newSubnet(t).config(d, "CP-7961G"))
	r.runs("SIGNED")
	until(t, "is idle", func() bool { return r.Status().State == report.StateIdle })
	a, _ := r.slots.Active()
	name := filepath.Join(r.slots.Dir(a.Slot), "app.bin")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, rot := range map[string]func() error{
		"changed": func() error { return os.WriteFile(name, bytes.ToUpper(content), 0o644) },
		"gone":    func() error { return os.Remove(name) },
		"link":    func() error { return errors.Join(os.Remove(name), os.Symlink("/nowhere", name)) },
	} {
		if err := rot(); err != nil {
			t.Fatal(err)
		}
		failures := len(r.Status().Failures)
		r.Wake()
		until(t, what+" is mended", func() bool {
			b, err := os.ReadFile(name)
			return err == nil && bytes.Equal(b, content)
		})
		until(t, what+" is told", func() bool { return len(r.Status().Failures) > failures })
	}
}

// A component that the server has no more is mended from the peers; one that
// nobody has is reported with each check-in, and tried again long before the next
// one would be due.
func TestRottenComponentWithoutTheServer(t *testing.T) {
	tiers.Long(t, "it waits until a server is given up")
	t.Parallel()
	d := newDepot(t)
	d.load("SIGNED", "good", 300_000, "CP-7961G")
	d.provision(withSharing("SIGNED", ""))
	subnet := newSubnet(t)
	other, r := start(t, subnet.config(d, "CP-7961G")), start(t, subnet.config(d, "CP-7961G"))
	other.runs("SIGNED")
	r.runs("SIGNED")
	if err := os.RemoveAll(filepath.Join(d.dir, "components")); err != nil {
		t.Fatal(err)
	}
	a, _ := r.slots.Active()
	name := filepath.Join(r.slots.Dir(a.Slot), "app.bin")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	rot := func() {
		t.Helper()
		if err := os.WriteFile(name, content[1:], 0o644); err != nil {
			t.Fatal(err)
		}
		r.Wake()
	}
	mended := func() bool {
		b, err := os.ReadFile(name)
		return err == nil && bytes.Equal(b, content)
	}
	rot()
	until(t, "is mended", mended)
	other.stop()
	rot()
	until(t, "cannot be mended", func() bool { return strings.Contains(r.log.String(), "cannot be mended") })
	failures := len(r.Status().Failures)
	r.Wake()
	until(t, "is told again", func() bool { return len(r.Status().Failures) > failures })
	start(t, other.conf.get())
	until(t, "is mended once a peer is back", mended)
}

// A pin that was named or used once fails closed, until it is forgotten by
// command.
func TestPinFailsClosed(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("SIGNED", "good", 300_000, "CP-7961G")
	d.provision(withSharing("SIGNED", ""))
	c := newSubnet(t).config(d, "CP-7961G")
	r := start(t, c)
	r.runs("SIGNED")
	until(t, "is idle", func() bool { return r.Status().State == report.StateIdle })
	r.stop()
	d.write("CLASSIC.loads", "evil.bin\n")
	d.write("evil.bin", "evil")
	d.provision(`<Default><loadInformation model="CP-7961G">CLASSIC</loadInformation><vendorConfig>
<allowUnsigned>1</allowUnsigned></vendorConfig><enterpriseConfig><peerFirmwareSharing>1</peerFirmwareSharing>
</enterpriseConfig></Default>`)
	refused := func(c Config) {
		t.Helper()
		r := start(t, c)
		until(t, "says why", func() bool {
			return strings.Contains(r.log.String(), "the upgrade failed") && r.Status().Active == "SIGNED"
		})
		if s := r.Status(); !strings.Contains(s.Message, "signed loads only") {
			t.Errorf("%q", s.Message)
		}
		r.stop()
	}
	if st, err := os.Stat(filepath.Join(c.State, pinName)); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("the pin: %v, %v", st.Mode(), err)
	}
	root := filepath.Join(c.Trust, "root.json")
	if err := errors.Join(os.Remove(root), os.Symlink("/nowhere", root)); err != nil {
		t.Fatal(err)
	}
	refused(c) // dangling
	c.Trust = t.TempDir()
	refused(c) // empty
	c.Trust = ""
	refused(c) // not named
	for _, lost := range []string{pinName, recordName} {
		if err := os.Remove(filepath.Join(c.State, lost)); err != nil {
			t.Fatal(err)
		}
	}
	refused(c) // what a slot holds says it
	if still, err := Forget(c); len(still) != 0 || err != nil {
		t.Fatal(still, err)
	}
	r = start(t, c)
	r.runs("CLASSIC")
	r.stop()
	c.TrustNamed = true
	if !pinned(c, r.slots) {
		t.Error("a pin that is named does not count")
	}
	if still, err := Forget(c); len(still) != 1 || err != nil {
		t.Error(still, err)
	}
}

// A listener that cannot be had does not keep a device from its work; it is
// there once it can be.
func TestListenerTaken(t *testing.T) {
	tiers.Long(t, "it runs whole devices; a short run has a whole upgrade of a site")
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := newDepot(t)
	d.load("SIGNED", "good", 300_000, "CP-7961G")
	d.provision(withSharing("SIGNED", ""))
	c := newSubnet(t).config(d, "CP-7961G")
	c.PageAddress, c.MetricsAddress = taken.Addr().String(), "192.0.2.7:8080"
	c.State = filepath.Join(c.State, strings.Repeat("long/", 30)) // no socket has such a name
	r := start(t, c)
	r.runs("SIGNED")
	for _, name := range []string{"socket", "page-address", "metrics-address"} {
		if n := strings.Count(r.log.String(), "listener="+name); n != 1 {
			t.Errorf("the log names %s %d times", name, n)
		}
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "has its page", func() bool {
		conn, err := net.Dial("tcp", c.PageAddress)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// What a hook prints is logged up to a limit, for one step and for all.
func TestHookOutputIsBounded(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "hook")
	write(t, name, "#!/bin/sh\nyes 'a line' | head -n 1000\nyes 'wrong' | head -n 1000 >&2\nprintf 'the last' >&2\n")
	var log lockedBuffer
	h := newInstaller(Config{Hook: name, HookTimeout: time.Minute}, slog.New(slog.NewTextHandler(&log, nil)), &quota{})
	for range 15 {
		if _, err := h.Do(context.Background(), "Install", Job{}); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Count(log.String(), "\n")
	if lines < 15 || lines > allLines+100 || !strings.Contains(log.String(), `last="the last"`) {
		t.Errorf("%d lines", lines)
	}
}

// The quota comes back by and by.
func TestQuota(t *testing.T) {
	var q quota
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	used := func() (n int) {
		for q.take(now) {
			n++
		}
		return n
	}
	if n := used(); n != allLines {
		t.Errorf("%d lines at once", n)
	}
	now = now.Add(3*linesAgain + linesAgain/2)
	if n := used(); n != 3 {
		t.Errorf("%d more lines", n)
	}
	now = now.Add(linesAgain / 2)
	if n := used(); n != 1 {
		t.Errorf("%d more lines", n)
	}
	now = now.Add(-time.Hour)
	if used() != 0 {
		t.Error("a clock that is set back gives lines")
	}
}

// What the slots prove of a device that has lost its record.
func TestProved(t *testing.T) {
	s, err := slot.OpenSlots(slot.OS{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r := proved(s, "boot", time.Now()); r.BootID != "" || r.Assigned != "" {
		t.Errorf("a new device: %+v", r)
	}
	fill := func(name string) {
		t.Helper()
		l := slot.Load{Name: name, Version: "1", Components: []slot.Entry{{Name: "x", Digest: load.DigestOf(nil)}}}
		if _, err := s.Begin(l); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(s.Dir(s.Inactive().Slot), "x")
		if err := errors.Join(os.WriteFile(file, nil, 0o644), s.SwitchTrial()); err != nil {
			t.Fatal(err)
		}
	}
	fill("L1")
	if err := s.Fail(); err != nil {
		t.Fatal(err)
	}
	r := proved(s, "boot", time.Now())
	_, failed := r.FailedBefore("L1")
	if !failed || r.Assigned != "L1" || r.State != report.StateFailed || r.BootID != "boot" {
		t.Errorf("a first load that failed: %+v", r)
	}
	fill("L2")
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	fill("L3")
	if err := s.Rollback(); err != nil {
		t.Fatal(err)
	}
	r = proved(s, "boot", time.Now())
	if _, failed = r.FailedBefore("L3"); !failed || r.Assigned != "L3" || r.State != report.StateRolledBack {
		t.Errorf("a load that was rolled back: %+v", r)
	}
}

// TestPowerCuts cuts the power at each operation on the state directory of a
// device that takes its first load, upgrades, and goes back from a load that
// does not work. Whatever is found: the device starts, nothing of it counts as
// damaged, the active load is one of those that may be and is whole, and neither
// its id, its secret, its publisher nor that a load failed is forgotten.
func TestPowerCuts(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	d := newDepot(t)
	for name, text := range map[string]string{"L1": "good", "L2": "good", "BAD": "bad", "L3": "good"} {
		d.load(name, text, 20_000, "CP-7961G")
	}
	d.provision(withSharing("L1", ""))
	c := newSubnet(t).config(d, "CP-7961G")
	c.NoSync, c.ConfirmCommand, c.ConfirmTimeout = false, healthy, 5*time.Second
	base := filepath.Dir(c.State)
	stage := atomic.Int64{}
	var id uint64
	var secret string
	story := func(rec *faultdisk.Recorder) error {
		r := startWith(t, c, Setup{files: rec})
		id = r.id
		r.runs("L1")
		stage.Store(1)
		var err error
		if secret, err = identity(rec, c.State); err != nil {
			return err
		}
		stage.Store(2)
		for n, load := range []string{"L2", "BAD"} {
			d.provision(withSharing(load, ""))
			r.Wake()
			if load == "BAD" {
				r.rolledBack("BAD", "L2")
			} else {
				r.runs("L2")
			}
			stage.Store(int64(3 + n))
		}
		r.stop()
		d.provision(withSharing("L3", ""))
		return nil
	}
	// What may be active at each stage, the last one from when it is reached.
	may := [][]string{{"", "L1"}, {"L1"}, {"L1", "L2"}, {"L2", "BAD"}, {"L2"}}
	said := func() string { return fmt.Sprint(stage.Load()) }
	seen := 0
	faultdisk.Recorded(t, 2, base, story, said, func(t *testing.T, dir, promise string) {
		c := c
		c.State, c.Trust, c.BootID = filepath.Join(dir, "state"), filepath.Join(dir, "trust"), filepath.Join(dir, "boot")
		write(t, c.BootID, "boot 2")
		at, err := strconv.Atoi(promise)
		if err != nil {
			t.Fatal(err)
		}
		found, err := New(c, Setup{})
		if err != nil {
			t.Fatal(err)
		}
		wantFound(t, found, may[at])
		if again, err := identity(machine{}, c.State); at >= 1 && found.id != id || at >= 2 && again != secret || err != nil {
			t.Errorf("it was %x with one secret, and is %x with %s, %v", id, found.id, again, err)
		}
		rec := found.keep.get()
		if _, failed := rec.FailedBefore("BAD"); at == 4 && !failed {
			t.Error("it forgot that a load had failed")
		}
		found.close()
		if seen++; seen%100 == 0 && !t.Failed() {
			r := start(t, c)
			r.runs("L3")
			r.stop()
		}
	})
}

// wantFound looks at a device after a power cut.
func wantFound(t *testing.T, d *Daemon, may []string) {
	t.Helper()
	if len(d.damage) > 0 {
		t.Errorf("a power cut counts as damage: %v", d.damage)
	}
	a, ok := d.slots.Active()
	if !slices.Contains(may, a.Name) {
		t.Errorf("%q is active, not one of %q", a.Name, may)
	}
	for _, e := range a.Components {
		if err := d.slots.Sound(a.Slot, e); ok && err != nil {
			t.Errorf("the active load %s is a mixture: %v", a.Name, err)
		}
	}
	if !pinned(d.conf.get(), d.slots) {
		t.Error("it forgot that it runs signed loads only")
	}
}
