package upgrade_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/load"
)

// release is a load as the server has it, with what comes of it on the device.
type release struct {
	name    string
	version int
	content map[string]string // by component

	broken   bool // it does not work
	absent   bool // the server does not have it
	wrong    bool // it is for another model
	refused  bool // the installer always fails on it
	deadly   bool // its installation always takes the device down
	restarts bool // it needs a restart, to try it and to go back
	stays    bool // the restart never comes
}

// healthy reports whether nothing but faults keeps a device from it.
func (r *release) healthy() bool {
	return !r.broken && !r.absent && !r.wrong && !r.refused && !r.deadly && !(r.restarts && r.stays)
}

func (r *release) slot() slot.Load {
	l := slot.Load{Name: r.name, Version: fmt.Sprint(r.version)}
	for _, n := range []string{"app", "dsp", "boot"} {
		b := []byte(r.content[n])
		l.Components = append(l.Components, slot.Entry{Name: n, Size: int64(len(b)), Digest: load.DigestOf(b)})
	}
	return l
}

// job is a job under way.
type job struct {
	do     upgrade.Action
	at     time.Time // it ends
	killed bool      // by Stop
}

// device is one device in virtual time: a machine, slots on a disk that
// forgets, and a site that does things to it.
type device struct {
	rnd   *rand.Rand
	now   time.Time
	calm  bool // no faults any more
	keeps bool // the trace
	trace []string

	disk    *faultdisk.Disk
	slots   *slot.Slots
	saved   upgrade.Record
	machine *upgrade.Machine
	boots   int
	command bool // a command confirms
	job     *job
	checkIn time.Time
	soft    int       // check-ins in a row that left something unfinished
	goDown  time.Time // the restart that the installer has begun; zero: none

	releases []*release
	assigned string

	// Of tests that break an invariant: what the machine hears, and what it
	// remembers, instead.
	hears     func(upgrade.Event) upgrade.Event
	remembers func(upgrade.Record) upgrade.Record

	ledger
}

// ledger is what the invariants need to know.
type ledger struct {
	steps       int
	provisioned bool            // being provisioned ends the trial under way well
	passed      map[string]bool // loads whose trial went well since their last switch
	banned      map[string]bool // loads that failed, and are not to come back
	failed      map[string]time.Time
	installs    map[string]int // since the last order or assignment
	bad         string         // the first violation
	ended       map[upgrade.Result]int
}

// chances of faults, each out of a thousand.
const (
	chanceCut    = 25 // a power cut in the middle of a change of the slots
	chanceKill   = 12 // the program is killed while a job is under way
	chanceDisk   = 10 // the record cannot be written
	chanceHook   = 80 // the installer fails, or hangs until it is killed
	chanceServer = 150
)

// newDevice makes a device, which keeps a trace if it is told to, and starts it.
func newDevice(seed uint64, keeps bool) *device {
	rnd := rand.New(rand.NewPCG(seed, 0x0061726465))
	d := &device{rnd: rnd, keeps: keeps, now: time.Unix(1_700_000_000, 0).UTC(), disk: faultdisk.New(seed),
		command: rnd.IntN(2) == 0, ledger: ledger{passed: map[string]bool{}, banned: map[string]bool{},
			failed: map[string]time.Time{}, installs: map[string]int{}, ended: map[upgrade.Result]int{}}}
	for i := range 2 + rnd.IntN(3) {
		r := &release{name: fmt.Sprintf("L%d", i), version: i, content: map[string]string{
			"app": fmt.Sprintf("app of %d", i), "dsp": fmt.Sprintf("dsp of %d", i/2), "boot": "the same in all"}}
		switch rnd.IntN(12) {
		case 0, 1:
			r.broken = true
		case 2:
			r.absent = true
		case 3:
			r.wrong = true
		case 4:
			r.refused = true
		case 5:
			r.deadly = true
		}
		r.restarts = rnd.IntN(2) == 0
		r.stays = r.restarts && rnd.IntN(6) == 0
		d.releases = append(d.releases, r)
	}
	if err := errors.Join(d.disk.Mkdir("/slots", 0o755), d.disk.SyncDir("/")); err != nil {
		d.violated("%v", err)
	}
	d.assign()
	d.start()
	return d
}

func (d *device) chance(of int) bool { return !d.calm && d.rnd.IntN(1000) < of }

func (d *device) violated(format string, args ...any) {
	if d.bad == "" {
		d.bad = fmt.Sprintf(format, args...)
		d.log("VIOLATED: %s", d.bad)
	}
}

func (d *device) log(format string, args ...any) {
	if !d.keeps {
		return
	}
	d.trace = append(d.trace, d.now.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (d *device) release(name string) *release {
	for _, r := range d.releases {
		if r.name == name {
			return r
		}
	}
	d.violated("a job about %q, which is no load", name)
	return d.releases[0]
}

// assign picks another load, or none.
func (d *device) assign() {
	d.assigned = ""
	if n := d.rnd.IntN(len(d.releases) + 1); n < len(d.releases) {
		d.assigned = d.releases[n].name
	}
	d.log("assigned: %q", d.assigned)
}

// start starts the program; the device, too, if its boots were counted up.
func (d *device) start() {
	if d.slots != nil {
		_ = d.slots.Close()
	}
	d.job = nil
	if d.bad != "" {
		return
	}
	var err error
	if d.slots, err = slot.OpenSlots(d.disk, "/slots"); err != nil {
		d.violated("the slots cannot be opened after a start: %v", err)
		return
	}
	d.mixed()
	m := upgrade.New(d.saved)
	d.machine = m
	d.step(upgrade.Configured{ByCommand: d.command, Within: time.Minute})
	d.step(upgrade.Started{Boot: fmt.Sprint(d.boots), Slots: view(d.slots)})
	if d.machine == m && d.job != nil { // nothing else may look at the slots before
		if d.endJob(); d.machine == m && d.job != nil {
			d.violated("another job before Wake: %T", d.job.do)
		}
	}
	if d.machine == m {
		d.checkIn = d.now.Add(time.Duration(d.rnd.IntN(5000)) * time.Millisecond)
		d.step(upgrade.Wake{})
	}
}

// cut cuts the power: what was not synced is there or not.
func (d *device) cut(why string) {
	d.log("the power is cut: %s", why)
	d.disk = d.disk.Reboot(d.rnd.Uint64())
	d.slots, d.goDown = nil, time.Time{}
	d.boots++
	d.start()
}

// view is what the machine is told of the slots.
func view(s *slot.Slots) upgrade.Slots {
	one := func(i slot.Info) upgrade.Slot {
		states := map[slot.State]upgrade.SlotState{slot.StateTrial: upgrade.SlotTrial,
			slot.StateConfirmed: upgrade.SlotConfirmed, slot.StateFailed: upgrade.SlotFailed}
		return upgrade.Slot{Load: i.Name, Version: i.Version, State: states[i.State], Booted: i.Boots > 0}
	}
	a, _ := s.Active()
	return upgrade.Slots{Active: one(a), Inactive: one(s.Inactive())}
}

// mixed looks at the active slot as a boot loader does.
func (d *device) mixed() {
	a, ok := d.slots.Active()
	if !ok {
		return
	}
	for _, e := range d.release(a.Name).slot().Components {
		f, err := d.disk.OpenFile(filepath.Join("/slots/current", e.Name), os.O_RDONLY, 0)
		if err != nil {
			d.violated("mixed: %s of the active %s: %v", e.Name, a.Name, err)
			return
		}
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1000))
		if err != nil || load.DigestOf(b) != e.Digest {
			d.violated("mixed: %s of the active %s holds %q, %v", e.Name, a.Name, b, err)
		}
		_ = f.Close()
	}
	if a.State == slot.StateConfirmed && !d.passed[a.Name] {
		d.violated("%s is confirmed without a trial that passed", a.Name)
	}
}

// step takes an event to the machine and carries out what follows.
func (d *device) step(in upgrade.Event) {
	if d.bad != "" {
		return
	}
	if d.hears != nil {
		in = d.hears(in)
	}
	d.steps++
	if d.steps > 5000 {
		d.violated("it never comes to rest")
		return
	}
	was := d.machine
	d.log("< %T%+v", in, in)
	for _, a := range was.Step(d.now, in, nil) {
		d.log("  > %T%+v", a, a)
		if !d.carryOut(in, a) || d.machine != was { // it was started anew meanwhile
			return
		}
	}
	if at, ok := d.machine.Deadline(); ok && isTick(in) && !at.After(d.now) {
		d.violated("a deadline that Tick does not move")
	}
}

// carryOut carries out one action of a step; false says that the rest is void.
func (d *device) carryOut(in upgrade.Event, a upgrade.Action) bool {
	switch a := a.(type) {
	case upgrade.Remember:
		return d.remember(in, a.Record)
	case upgrade.Stop:
		if d.job == nil {
			d.violated("nothing is there to be stopped")
			return false
		}
		d.job.killed, d.job.at = true, d.now.Add(time.Millisecond)
	case upgrade.CheckIn:
		d.checkIn, d.provisioned = d.now.Add(time.Second), true
	case upgrade.Ended:
		d.ended[a.Result]++
	case upgrade.Fetch, upgrade.RunStep, upgrade.ChangeSlots, upgrade.AskHealth:
		if d.job != nil {
			d.violated("two jobs at a time: %T and %T", d.job.do, a)
		}
		d.beginJob(a)
		if _, asks := a.(upgrade.AskHealth); asks {
			d.provisioned = false
		}
	}
	return true
}

func isTick(in upgrade.Event) bool { _, ok := in.(upgrade.Tick); return ok }

// remember writes the record, or fails to, or loses the power before or after it
// is durable.
func (d *device) remember(in upgrade.Event, r upgrade.Record) bool {
	switch {
	case d.chance(chanceDisk):
		if _, first := in.(upgrade.Started); first {
			d.cut("the record cannot be written at the start") // the program ends, and is started later
			return false
		}
		d.step(upgrade.NotRemembered{})
		return false
	case d.chance(chanceKill):
		if d.rnd.IntN(2) == 0 {
			d.remembered(r)
		}
		d.cut("while the record was written")
		return false
	}
	d.remembered(r)
	return true
}

// remembered is what a durable record means to the invariants.
func (d *device) remembered(r upgrade.Record) {
	if d.remembers != nil {
		r = d.remembers(r)
	}
	before := d.saved
	d.saved = r
	a, _ := d.slots.Active()
	for _, f := range r.Failed {
		was, known := before.FailedBefore(f.Load)
		switch {
		case !f.Again && (!known || was.Tries != f.Tries):
			d.banned[f.Load], d.failed[f.Load] = true, d.now
		case !f.Again || !d.banned[f.Load]:
		case a.State == slot.StateConfirmed:
			d.violated("%s has failed and is tried again beside %s, which works", f.Load, a.Name)
		case d.now.Sub(d.failed[f.Load]) < pause(f):
			d.violated("%s is tried again %v after it failed", f.Load, d.now.Sub(d.failed[f.Load]))
		default:
			delete(d.banned, f.Load)
			d.installs[f.Load] = min(d.installs[f.Load], 4) // and it may be installed once
		}
	}
}

// pause is how long a load that failed is left alone, at least.
func pause(f upgrade.FailedLoad) time.Duration {
	p := 15 * time.Minute
	for range f.Tries - 1 {
		p = min(2*p, 6*time.Hour)
	}
	return p
}

// amnesty: a load may be tried again.
func (d *device) amnesty() {
	clear(d.banned)
	clear(d.installs)
}

func (d *device) beginJob(a upgrade.Action) {
	took := time.Duration(1+d.rnd.IntN(20_000)) * time.Millisecond
	switch a := a.(type) {
	case upgrade.ChangeSlots:
		took = time.Duration(1+d.rnd.IntN(100)) * time.Millisecond
	case upgrade.RunStep:
		if a.Step == upgrade.StepInstall {
			if d.installs[a.Load]++; d.installs[a.Load] > 5 {
				d.violated("%s is installed for the %dth time", a.Load, d.installs[a.Load])
			}
			if d.banned[a.Load] {
				d.violated("%s has failed and is installed again", a.Load)
			}
		}
	}
	d.job = &job{do: a, at: d.now.Add(took)}
}

// endJob ends the job under way.
func (d *device) endJob() {
	j := d.job
	if d.chance(chanceKill) {
		if d.rnd.IntN(3) > 0 {
			d.cut("in a job")
			return
		}
		d.log("the program is killed in a job")
		d.start()
		return
	}
	if d.chance(chanceCut) {
		d.disk.CutAt(d.disk.Ops() + 1 + d.rnd.IntN(25))
	}
	in := d.do(j)
	d.disk.CutAt(0)
	// Some operations may fail without harm, but not without power.
	if _, err := d.disk.Lstat("/slots"); in == nil || errors.Is(err, faultdisk.ErrPowerCut) {
		d.cut("in " + fmt.Sprintf("%T%+v", j.do, j.do))
		return
	}
	if d.job != j {
		return
	}
	d.job = nil
	d.step(in)
}

// do does a job; nil says that the device went down in it.
func (d *device) do(j *job) upgrade.Event {
	switch a := j.do.(type) {
	case upgrade.Fetch:
		return d.fetch(a.Load, j.killed)
	case upgrade.RunStep:
		if j.killed {
			return upgrade.StepEnded{Err: errors.New("killed")}
		}
		return d.runStep(a)
	case upgrade.ChangeSlots:
		return d.changeSlots(a.Change)
	case upgrade.AskHealth:
		if d.release(a.Load).broken || d.chance(chanceHook) {
			return upgrade.Asked{Err: errors.New("the self-test fails")}
		}
		d.pass(a.Load)
		return upgrade.Asked{}
	}
	d.violated("no job: %T", j.do)
	return nil
}

// pass notes that a load on trial works.
func (d *device) pass(load string) {
	if a, _ := d.slots.Active(); a.State == slot.StateTrial && a.Name == load {
		d.passed[load] = true
	}
}

// fetch brings a load into the inactive slot, in as many pieces as a killed one
// leaves.
func (d *device) fetch(name string, killed bool) upgrade.Event {
	r := d.release(name)
	l := r.slot()
	fail := func(reason reason.Code, err error, final bool) upgrade.Event {
		return upgrade.NotFetched{Reason: reason, Err: err, Final: final, Slots: view(d.slots)}
	}
	switch a, _ := d.slots.Active(); {
	case r.wrong:
		return fail("wrong-model", errors.New("for another model"), true)
	case r.absent || d.chance(chanceServer):
		return fail("no-such-load", errors.New("not there"), false)
	case a.Name == name && a.State != slot.StateFailed:
		return upgrade.Held{Slots: view(d.slots)}
	}
	missing, err := d.slots.Begin(l)
	for n, e := range missing {
		if killed && n == d.rnd.IntN(len(missing)) {
			err = errors.New("killed")
		}
		if err == nil {
			err = d.put(filepath.Join(d.slots.Dir(d.slots.Inactive().Slot), e.Name), r.content[e.Name])
		}
	}
	if err == nil {
		err = d.slots.Complete()
	}
	switch {
	case errors.Is(err, faultdisk.ErrPowerCut):
		return nil
	case err != nil:
		return fail("disk", err, false)
	}
	return upgrade.Fetched{Version: l.Version, Slots: view(d.slots)}
}

func (d *device) put(name, text string) error {
	f, err := d.disk.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// runStep is the installer.
func (d *device) runStep(a upgrade.RunStep) upgrade.Event {
	r := d.release(a.Load)
	if d.chance(chanceHook) {
		if d.rnd.IntN(2) == 0 {
			d.now = d.now.Add(time.Minute) // it hangs
			return upgrade.StepEnded{Err: errors.New("killed: it took longer than 1m0s")}
		}
		return upgrade.StepEnded{Err: errors.New("exit status 1")}
	}
	switch a.Step {
	case upgrade.StepInstall:
		if r.deadly {
			return nil
		}
		if r.refused {
			return upgrade.StepEnded{Err: errors.New("exit status 1")}
		}
		return upgrade.StepEnded{Restart: r.restarts}
	case upgrade.StepRollback:
		return upgrade.StepEnded{Restart: r.restarts}
	case upgrade.StepReboot:
		if !r.stays {
			d.goDown = d.now.Add(time.Duration(1+d.rnd.IntN(30)) * time.Second)
		}
	}
	return upgrade.StepEnded{}
}

// changeSlots changes the real slots.
func (d *device) changeSlots(c upgrade.SlotChange) upgrade.Event {
	var out upgrade.SlotsChanged
	before := view(d.slots)
	switch c {
	case upgrade.CountBoot:
		out.RolledBack, out.Err = d.slots.Boot()
	case upgrade.SwitchTrial:
		to := before.Inactive.Load
		if d.banned[to] {
			d.violated("%s has failed and is brought back", to)
		}
		delete(d.passed, to)
		out.Err = d.slots.SwitchTrial()
	case upgrade.Confirm:
		out.Err = d.slots.Confirm()
	case upgrade.GoBack:
		out.Err = d.slots.Rollback()
		out.NoWayBack = errors.Is(out.Err, slot.ErrNoSlot)
	case upgrade.Fail:
		out.Err = d.slots.Fail()
	}
	if errors.Is(out.Err, faultdisk.ErrPowerCut) {
		return nil
	}
	out.Slots = view(d.slots)
	if out.RolledBack || c == upgrade.GoBack && out.Err == nil {
		d.banned[before.Active.Load] = true // from here on, whatever is remembered
	}
	d.mixed()
	return out
}
