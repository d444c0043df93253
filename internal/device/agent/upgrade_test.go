package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// healthy is a confirm-command that looks into the new load.
const healthy = `grep -q good "$PEERLOAD_DIR/health"`

// TestSiteUpgrade: devices of two models share an upgrade; then a load that
// does not work is tried by all and rolled back by all; then a good one again.
func TestSiteUpgrade(t *testing.T) {
	tiers.Long(t, "several devices upgrade")
	t.Parallel()
	const size = 2_000_000
	d := newDepot(t)
	d.load("L61-1", "good", size, "CP-7961G")
	d.load("L41-1", "good", size, "CP-7941G")
	d.provision(withSharing("L61-1", "L41-1"))
	s := newSubnet(t)
	letThrough := d.hold()
	var all []*runner
	for _, model := range []string{"CP-7961G", "7961", "CP-7941G"} {
		c := s.config(d, model)
		c.ConfirmCommand, c.ConfirmTimeout = healthy, 5*time.Second
		all = append(all, start(t, c))
	}
	// The server sends nothing before the two of one model have found each other,
	// however long a busy machine takes for that.
	follows := regexp.MustCompile(`following root .* file=app\.bin`)
	until(t, "one follows the other", func() bool {
		return follows.MatchString(all[0].log.String()) || follows.MatchString(all[1].log.String())
	})
	letThrough()
	for i, r := range all {
		r.runs([]string{"L61-1", "L61-1", "L41-1"}[i])
		if _, why := d.wants(r); why != "" {
			t.Error(why)
		}
	}
	// Two models: two copies over the WAN, and little more. What the server had written when
	// a connection was closed counts here, too, though it was not sent.
	if n := d.bytes.Load(); n > 2*size*125/100 {
		t.Errorf("%d bytes came from the server, %d are two loads", n, 2*size)
	}

	d.load("L61-2", "bad", size, "CP-7961G")
	d.provision(withSharing("L61-2", "L41-1"))
	for _, r := range all {
		r.Wake()
	}
	for _, r := range all[:2] {
		r.rolledBack("L61-2", "L61-1")
		if b, err := os.ReadFile(filepath.Join(r.conf.get().State, slotsName, "current", "health")); err != nil ||
			string(b) != "good" {
			t.Errorf("the device boots %q, %v", b, err)
		}
	}
	all[2].runs("L41-1")
	// It is not tried again, unless another is assigned between.
	all[0].Wake()
	until(t, "checked in again", func() bool { return strings.Count(all[0].log.String(), "upgrade phase=download") == 2 })

	d.load("L61-3", "good", size, "CP-7961G")
	d.provision(withSharing("L61-3", "L41-1"))
	for _, r := range all {
		r.Wake()
	}
	for _, r := range all[:2] {
		r.runs("L61-3")
	}
}

// wants says what a device was told, and complains if its slots disagree.
func (d *depot) wants(r *runner) (string, string) {
	a, ok := r.slots.Active()
	rec := r.keep.get()
	if !ok || a.Name != rec.Assigned || a.State != slot.StateConfirmed {
		return rec.Assigned, fmt.Sprintf("%s is assigned and %+v active", rec.Assigned, a)
	}
	return rec.Assigned, ""
}

// TestLateDevice: what the site holds does not come from the server again,
// also after its devices were started anew.
func TestLateDevice(t *testing.T) {
	tiers.Long(t, "it runs whole devices; a short run has a whole upgrade of a site")
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 1_000_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	s := newSubnet(t)
	c := s.config(d, "CP-7961G")
	first := start(t, c)
	first.runs("L1")
	first.stop()
	again := start(t, c)
	until(t, "serves again", func() bool {
		if st := again.place.current(); st != nil {
			_, files, _ := st.tally()
			return st.key.sharing && files == 2
		}
		return false
	})
	// A holder has some 70 ms to answer a claim, and a busy machine may not run
	// it for as long: then the late device asks the server, which sends nothing.
	letThrough := d.hold()
	defer letThrough()
	before := d.bytes.Load()
	start(t, s.config(d, "CP-7961G")).runs("L1")
	if took := d.bytes.Load() - before; took != 0 {
		t.Errorf("the late device took %d bytes from the server", took)
	}
}

// TestCSCtg96408_DevicesBootAfterAnUpgrade: the load is verified as a whole
// before it is switched to, the old slot stays bootable, and without a
// confirmation the device goes back: at the time limit, at the next start, and
// when it cannot stay up.
func TestCSCtg96408_DevicesBootAfterAnUpgrade(t *testing.T) {
	tiers.Long(t, "it upgrades five times; a short run has a whole upgrade of a site")
	t.Parallel()
	for name, c := range map[string]struct {
		confirm string
		timeout time.Duration
		reboot  string
		again   func(t *testing.T, cfg Config, r *runner) *runner
	}{
		"not confirmed in time": {"false", 200 * time.Millisecond, "", nil},
		"hangs":                 {"exec tail -f /dev/null", 200 * time.Millisecond, "", nil},
		"started again":         {"false", time.Hour, "true", reboots(2)},
		"does not stay up":      {"false", time.Hour, "", restarts(6)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDepot(t)
			d.load("L1", "good", 100_000, "CP-7961G")
			d.provision(withSharing("L1", ""))
			cfg := newSubnet(t).config(d, "CP-7961G")
			r := start(t, cfg)
			r.runs("L1")
			r.stop()
			d.load("L2", "bad", 100_000, "CP-7961G")
			d.provision(withSharing("L2", ""))
			cfg.ConfirmCommand, cfg.ConfirmTimeout, cfg.RebootCommand = c.confirm, c.timeout, c.reboot
			r = start(t, cfg)
			if c.again != nil {
				r = c.again(t, cfg, r)
			}
			r.rolledBack("L2", "L1")
			if a, _ := r.slots.Active(); a.State != slot.StateConfirmed {
				t.Errorf("the slot it went back to is %s", a.State)
			}
			if i := r.slots.Inactive(); i.State != slot.StateFailed {
				t.Errorf("the slot it left is %s", i.State)
			}
			if st := r.Status(); st.Reason != "not-confirmed" || st.Message == "" {
				t.Errorf("it does not say why: %+v", st)
			}
		})
	}
}

// reboots starts the device anew when it asks for it, n times in all.
func reboots(n int) func(*testing.T, Config, *runner) *runner {
	return func(t *testing.T, cfg Config, r *runner) *runner {
		for i := range n {
			until(t, "asks for a start, or is on trial", func() bool {
				p := r.keep.get().Phase
				a, _ := r.slots.Active() // the phase is written before its work begins
				return a.Name == "L2" && (p == upgrade.Reboot && i == 0 || p == upgrade.Trial && i > 0)
			})
			r.stop()
			write(t, cfg.BootID, fmt.Sprint("boot ", i+2))
			r = start(t, cfg)
		}
		return r
	}
}

// restarts ends the daemon during the trial, n times.
func restarts(n int) func(*testing.T, Config, *runner) *runner {
	return func(t *testing.T, cfg Config, r *runner) *runner {
		for range n {
			until(t, "on trial", func() bool {
				p := r.keep.get().Phase
				a, _ := r.slots.Active()
				return p == upgrade.Trial && a.Name == "L2" || r.Status().State == report.StateRolledBack
			})
			r.stop()
			r = start(t, cfg)
		}
		return r
	}
}

// TestRebootConfirms: a load that needs a restart is confirmed after it.
func TestRebootConfirms(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.RebootCommand, cfg.ConfirmCommand = "true", healthy
	r := start(t, cfg)
	until(t, "asks for a start", func() bool { return r.keep.get().Phase == upgrade.Reboot })
	// A daemon that is only started again goes on asking.
	r.stop()
	r = start(t, cfg)
	until(t, "asks again", func() bool { return strings.Contains(r.log.String(), "phase=reboot") })
	if p := r.keep.get().Phase; p != upgrade.Reboot {
		t.Fatalf("phase %s", p)
	}
	r.stop()
	write(t, cfg.BootID, "boot 2")
	r = start(t, cfg)
	r.runs("L1")

}

// TestKilledAfterTheRestart: a daemon that was killed right after the device had
// restarted, between the count of that start and its note, does not ask for
// another restart: the slots would go back from a good load.
func TestKilledAfterTheRestart(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.RebootCommand, cfg.ConfirmCommand = "true", healthy
	r := start(t, cfg)
	until(t, "asks for a start", func() bool {
		a, _ := r.slots.Active()
		return r.keep.get().Phase == upgrade.Reboot && a.State == slot.StateTrial
	})
	r.stop()
	write(t, cfg.BootID, "boot 2")
	rec, err := readRecord(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	rec.BootID = "boot 2"
	if err := writeRecord(durable.Writer{}, cfg.State, rec); err != nil {
		t.Fatal(err)
	}
	s, err := slot.OpenSlots(slot.OS{}, filepath.Join(cfg.State, slotsName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Boot(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	r.runs("L1")
	if strings.Contains(r.log.String(), "phase=reboot") {
		t.Error("it asked for another restart")
	}
}

// TestHookContract: the steps come in order with what they need to know.
func TestHookContract(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.load("L2", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	dir := t.TempDir()
	cfg.Hook = filepath.Join(dir, "hook")
	hook := func(more string) {
		write(t, cfg.Hook, "#!/bin/sh\necho \"$1 $PEERLOAD_LOAD $PEERLOAD_VERSION $PEERLOAD_MODEL $(cat "+
			"\"$PEERLOAD_DIR/health\" 2>/dev/null)\" >> "+dir+"/calls\n"+
			"echo progress 40 half way\necho and a line\n"+more+"\nexit 0\n")
	}
	hook("")
	r := start(t, cfg)
	r.runs("L1")
	calls := func() string { b, _ := os.ReadFile(dir + "/calls"); return string(b) }
	if want := "Download L1  CP-7961G \nInstall L1 1 CP-7961G good\nCommit L1 1 CP-7961G good\n"; calls() != want {
		t.Errorf("the hook was called with\n%s, want\n%s", calls(), want)
	}
	if !strings.Contains(r.log.String(), `"and a line"`) {
		t.Error("what the hook says is not logged")
	}
	// An Install that fails is undone, and the old load stays.
	gate := filepath.Join(dir, "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	hook(`[ "$1" != Install ] || { read -r go < "` + gate + `"; echo "no room on /opt" >&2; exit 1; }`)
	d.provision(withSharing("L2", ""))
	r.Wake()
	until(t, "tells how far the hook is", func() bool {
		return r.Status().State == report.StateInstalling && r.Status().Percent == 40
	})
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	until(t, "failed", func() bool { return r.Status().State == report.StateFailed })
	if st := r.Status(); st.Active != "L1" || st.Reason != "installer" ||
		!strings.HasSuffix(calls(), "Rollback L2 1 CP-7961G good\n") {
		t.Errorf("%+v\n%s", st, calls())
	}
	// The controller is told which step it was, and what the hook printed last, though
	// the hook ran once more since, to undo it.
	_, told := r.out.some()
	if len(told) == 0 || told[len(told)-1].Phase != "install" || !slices.Equal(
		slices.Sorted(strings.SplitSeq(told[len(told)-1].Output, "\n")), // standard output and error are two pipes
		[]string{"and a line", "no room on /opt"}) {
		t.Errorf("failures that wait for the controller: %+v", told)
	}
	// Exit status 4 asks for a restart, which the hook does.
	hook(`[ "$1" != Install ] || exit 4`)
	d.provision(withSharing("L1", ""))
	r.Wake()
	until(t, "idle", func() bool { return r.keep.get().Assigned == "L1" })
	d.provision(withSharing("L2", ""))
	r.Wake()
	until(t, "asks for a start", func() bool { return strings.HasSuffix(calls(), "Reboot L2 1 CP-7961G good\n") })
	r.stop()
	write(t, cfg.BootID, "boot 2")
	start(t, cfg).runs("L2")
}

// TestKilledAnywhere: a daemon that is killed in any phase goes on where it
// was, and ends with the load that works.
func TestKilledAnywhere(t *testing.T) {
	for _, step := range []upgrade.Step{upgrade.StepDownload, upgrade.StepInstall, upgrade.StepReboot, upgrade.StepCommit,
		upgrade.StepRollback} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			if step != upgrade.StepCommit {
				tiers.Long(t, "it kills a daemon; a short run has one that is killed while it commits")
			}
			d := newDepot(t)
			d.load("L1", "good", 300_000, "CP-7961G")
			health, active := "good", "L2"
			if step == upgrade.StepRollback {
				health, active = "bad", "L1"
			}
			d.load("L2", health, 300_000, "CP-7961G")
			d.provision(withSharing("L1", ""))
			cfg := newSubnet(t).config(d, "CP-7961G")
			cfg.ConfirmCommand = healthy
			if step == upgrade.StepRollback {
				cfg.ConfirmTimeout = time.Second
			}
			r := start(t, cfg)
			r.runs("L1")
			r.stop()
			d.provision(withSharing("L2", ""))
			dir := t.TempDir()
			cfg.Hook = filepath.Join(dir, "hook")
			restart := ""
			if step == upgrade.StepReboot {
				restart = `[ "$1" != Install ] || exit 4`
			}
			// In the step it waits to be killed, the first time.
			write(t, cfg.Hook, "#!/bin/sh\nif [ \"$1\" = "+string(step)+" ] && mkdir "+dir+"/once 2>/dev/null; then\n  touch "+
				dir+"/there\n  exec tail -f /dev/null --pid=$PPID\nfi\n"+restart+"\nexit 0\n")
			p := spawn(t, cfg)
			until(t, "in "+string(step), func() bool { _, err := os.Stat(dir + "/there"); return err == nil })
			p.kill()
			if step == upgrade.StepReboot {
				write(t, cfg.BootID, "boot 2")
			}
			last := start(t, cfg)
			if step == upgrade.StepRollback {
				last.rolledBack("L2", "L1")
			} else {
				last.runs(active)
			}
			if a, _ := last.slots.Active(); a.Name != active || a.State != slot.StateConfirmed {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestKilledInTransfer: what came before the end is not fetched again.
func TestKilledInTransfer(t *testing.T) {
	tiers.Long(t, "it kills a download again and again")
	t.Parallel()
	const size = 6 << 20
	d := newDepot(t)
	d.load("L1", "good", size, "CP-7961G")
	d.provision(
		`<Default><loadInformation model="CP-7961G">L1</loadInformation><vendorConfig><wanLimit>2M</wanLimit></vendorConfig></Default>`)
	cfg := newSubnet(t).config(d, "CP-7961G")
	p := spawn(t, cfg)
	until(t, "some bytes came", func() bool { return d.bytes.Load() >= size/2 && fileSize(cfg) > 1<<20 })
	p.kill()
	r := start(t, cfg)
	r.runs("L1")
	fin := r.Status().Files[0]
	if fin.BytesFromCache == 0 || fin.BytesFromOrigin+fin.BytesFromCache < size {
		t.Errorf("%d bytes of %d were held before, %d came again", fin.BytesFromCache, size, fin.BytesFromOrigin)
	}
}

// TestReassignedWhileItFetches: another load, other settings, or none at all while
// a load arrives: the device stops, and does what it is told now.
func TestReassignedWhileItFetches(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.load("BIG", "good", 4<<20, "CP-7961G")
	d.load("L2", "good", 100_000, "CP-7961G")
	slow := func(load string, sharing int) string {
		return fmt.Sprintf(`<Default><loadInformation model="7961">%s</loadInformation><vendorConfig><wanLimit>1M</wanLimit>`+
			`<peerFirmwareSharing>%d</peerFirmwareSharing></vendorConfig></Default>`, load, sharing)
	}
	d.provision(slow("L1", 1))
	cfg := newSubnet(t).config(d, "CP-7961G")
	r := start(t, cfg)
	r.runs("L1")
	told := func(text string) {
		d.provision(text)
		r.Wake()
	}
	arrives := func() {
		t.Helper()
		before := d.bytes.Load()
		until(t, "some of BIG came", func() bool {
			return r.Status().State == report.StateDownloading && d.bytes.Load() > before
		})
	}
	told(slow("BIG", 1))
	arrives()
	told(slow("BIG", 0))
	until(t, "shares no more", func() bool { i := r.place.current(); return i != nil && !i.key.sharing })
	arrives()
	told(slow("L2", 0))
	r.runs("L2")
	if i := r.slots.Inactive(); i.Name != "L1" || i.State != slot.StateConfirmed {
		t.Errorf("the way back is %+v", i)
	}
	told(slow("BIG", 0))
	arrives()
	told(slow("", 0))
	until(t, "does not download any more", func() bool { return r.Status().State == report.StateIdle })
	if st := r.Status(); st.Active != "L2" || st.Wanted != "" || st.Reason != "" {
		t.Errorf("%+v", st)
	}
	if strings.Contains(r.log.String(), "level=ERROR") {
		t.Error("it takes that for a failure")
	}
}

// TestRefusedLoads: each refusal is told and leaves the old load alone.
func TestRefusedLoads(t *testing.T) {
	tiers.Long(t, "it refuses many loads")
	t.Parallel()
	for name, c := range map[string]struct {
		cnf                     string
		reason                  string
		untrusted, unsignedOnly bool
	}{
		"wrong model":   {withSharing("L41", ""), "wrong-model", false, false},
		"not there":     {withSharing("L9", ""), "no-such-load", false, false},
		"too large":     {`<Default><loadInformation model="7961">L2</loadInformation><vendorConfig><loadRetention>150k</loadRetention></vendorConfig></Default>`, "disk-budget", false, false},
		"no publisher":  {withSharing("L2", ""), "trust", true, false},
		"unsigned only": {withSharing("CLASSIC", ""), "no-such-load", false, true},
		"unsigned allowed against the pin": {`<Default><loadInformation model="7961">CLASSIC</loadInformation><enterpriseConfig><allowUnsigned>1</allowUnsigned></enterpriseConfig></Default>`,
			"no-such-load", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDepot(t)
			d.load("L1", "good", 100_000, "CP-7961G")
			d.load("L2", "good", 100_000, "CP-7961G")
			d.load("L41", "good", 100_000, "CP-7941G")
			d.write("CLASSIC.loads", "app.sbn\r\n")
			d.provision(withSharing("L1", ""))
			cfg := newSubnet(t).config(d, "CP-7961G")
			r := start(t, cfg)
			r.runs("L1")
			r.stop()
			if c.untrusted {
				cfg.Trust = t.TempDir()
			}
			d.provision(c.cnf)
			r = start(t, cfg)
			until(t, "refused", func() bool { return r.Status().State == report.StateFailed })
			if st := r.Status(); st.Reason != c.reason || st.Active != "L1" || st.Message == "" {
				t.Errorf("%+v, want reason %s", st, c.reason)
			}
		})
	}
}

// TestUnsignedOnlyWithTheSetting: a classic load runs where it is allowed, and
// the device says so.
func TestUnsignedOnlyWithTheSetting(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	d := newDepot(t)
	d.write("CLASSIC.loads", "# a classic load\r\napp.sbn\r\ndsp.sbn\r\n")
	d.write("app.sbn", strings.Repeat("app", 50_000))
	d.write("dsp.sbn", "dsp")
	allow := `<enterpriseConfig><peerFirmwareSharing>1</peerFirmwareSharing><allowUnsigned>1</allowUnsigned></enterpriseConfig>`
	d.provision(`<Default><loadInformation model="7961">CLASSIC</loadInformation>` + allow + `</Default>`)
	s := newSubnet(t)
	var devices []*runner
	for range 2 {
		cfg := s.config(d, "7961")
		cfg.Trust = t.TempDir() // no publisher is pinned
		devices = append(devices, start(t, cfg))
	}
	for _, r := range devices {
		r.runs("CLASSIC")
		a, _ := r.slots.Active()
		if a.Version != unsignedVersion || len(a.Components) != 3 {
			t.Errorf("%+v", a)
		}
		if b, err := os.ReadFile(filepath.Join(r.slots.Dir(a.Slot), "dsp.sbn")); string(b) != "dsp" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if got := r.prov.setting(policy.Unsigned); got != policy.On {
			t.Errorf("unsigned is %s", got)
		}
		until(t, "the page says that nothing protects the load",
			func() bool { return strings.Contains(string(r.devicePage(view{})), "100 % (unsigned)") })
	}
}

// TestLastGoodStays: a bad file, and no server at all, change nothing.
func TestLastGoodStays(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	r := start(t, cfg)
	r.runs("L1")
	d.provision(
		"<Default>\n<enterpriseConfig><peerFirmwareSharing>maybe</peerFirmwareSharing></enterpriseConfig></Default>")
	r.Wake()
	until(t, "told that it is bad", func() bool { return strings.Contains(r.prov.last().Err, "line 2") })
	if st := r.Status(); st.Sharing != policy.On || st.SharingFrom != "enterprise" || st.Wanted != "L1" {
		t.Errorf("%+v", st)
	}
	r.stop()
	d.down.Store(true)
	r = start(t, cfg)
	until(t, "tried in vain", func() bool { return r.prov.last().Err != "" })
	if st := r.Status(); st.Sharing != policy.On || st.Active != "L1" {
		t.Errorf("without its server: %+v", st)
	}
}

// TestOneDaemon: a second daemon on one state directory is refused.
func TestOneDaemon(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	cfg := newSubnet(t).config(d, "CP-7961G")
	start(t, cfg)
	if _, err := New(cfg, Setup{}); !errors.Is(err, slot.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
}

// fileSize is how long the partial file of the one large component is.
func fileSize(c Config) int64 {
	names, _ := filepath.Glob(filepath.Join(c.State, slotsName, "*", ".app.bin.part"))
	if len(names) == 0 {
		return 0
	}
	st, err := os.Stat(names[0])
	if err != nil {
		return 0
	}
	return st.Size()
}
