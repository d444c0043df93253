package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/report"
)

// upgrader drives the machine of package upgrade: it carries out what follows
// from each event. One job at a time is under way, in a goroutine of its own.
type upgrader struct {
	daemon *Daemon
	// tick rings when the machine's deadline has passed.
	tick *time.Timer
	now  func() time.Time
	// rested says that an upgrade came to rest, and may be late: ask working.
	rested chan struct{}

	mu       sync.Mutex
	machine  *upgrade.Machine
	next     upgrade.Action // the job to begin
	stop     context.CancelFunc
	progress progress
	// heard has what the program printed that failed last for a load: the upgrade ends
	// with that failure only after it was undone. A restart forgets it.
	heard atomic.Pointer[report.Failure]
	// Of the run of the daemon; nil before it.
	ctx  context.Context
	busy *sync.WaitGroup
}

// progress is how far the present phase is.
type progress struct {
	Percent int
	Text    string
}

// newUpgrader goes on with what is remembered, and finds out what the start of
// the device, or of the daemon, means for it. It runs before anything else
// looks at the slots.
func newUpgrader(d *Daemon) (*upgrader, error) {
	u := &upgrader{daemon: d, tick: time.NewTimer(time.Hour), now: d.now, rested: make(chan struct{}, 1),
		machine: upgrade.New(d.keep.get().Record)}
	boot, err := bootID(d.conf.get().BootID)
	if err != nil {
		return nil, err
	}
	u.configure(d.conf.get())
	u.mu.Lock()
	defer u.mu.Unlock()
	err = u.step(upgrade.Started{Boot: boot, Slots: d.slotsView()})
	for err == nil && u.next != nil {
		job := u.next
		u.next = nil
		err = u.step(u.do(context.Background(), job))
	}
	return u, err
}

// run lets jobs begin, until ctx ends.
func (u *upgrader) run(ctx context.Context, busy *sync.WaitGroup) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ctx, u.busy = ctx, busy
}

// tell takes an event to the machine. An error says that the state of the
// device could not be written, and that nothing follows from the event.
func (u *upgrader) tell(in upgrade.Event) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.step(in)
}

// configure tells how a load on trial is confirmed.
func (u *upgrader) configure(c Config) {
	_ = u.tell(upgrade.Configured{ByCommand: c.ConfirmCommand != "", Within: c.ConfirmTimeout}) // remembers nothing
}

// step is tell for a caller that holds mu.
func (u *upgrader) step(in upgrade.Event) (err error) {
	worked := u.machine.Working()
	for _, a := range u.machine.Step(u.now(), in, nil) {
		if err = u.carryOut(a); err != nil {
			u.daemon.log.Error("upgrade", "error", err)
			u.machine.Step(u.now(), upgrade.NotRemembered{}, nil)
			break
		}
	}
	if at, ok := u.machine.Deadline(); ok {
		u.tick.Reset(at.Sub(u.now()))
	} else {
		u.tick.Stop()
	}
	if u.ctx == nil {
		return err
	}
	if u.next != nil {
		u.begin(u.next)
		u.next = nil
	}
	if worked && !u.machine.Working() {
		u.progress = progress{}
		select {
		case u.rested <- struct{}{}:
		default:
		}
	}
	return err
}

// carryOut carries out one action. Only a Remember fails.
func (u *upgrader) carryOut(a upgrade.Action) error {
	d := u.daemon
	switch a := a.(type) {
	case upgrade.Remember:
		return d.keep.change(func(r *record) { r.Record = a.Record })
	case upgrade.Stop:
		u.stop()
	case upgrade.CheckIn:
		d.Wake()
	case upgrade.Began:
		u.progress = progress{}
		if a.Phase == upgrade.Download {
			u.heard.Store(nil)
		}
		d.log.Info("upgrade", "phase", a.Phase, "load", a.Load)
	case upgrade.Reassigned:
		d.log.Info("another load is assigned", "load", a.To, "instead", a.From)
	case upgrade.Fault:
		f := failureOf(a.Load, "", a.Reason, a.Err)
		if h := u.heard.Load(); f.Output == "" && h != nil && h.Load == a.Load && a.Reason != reason.NoWayBack {
			f.Output = h.Output
		}
		d.out.add(f)
	case upgrade.Problem:
		d.log.Error("upgrade", "phase", a.Phase, "load", a.Load, "error", a.Err)
	case upgrade.Ended:
		d.ended(a)
	default:
		u.next = a
	}
	return nil
}

// ended tells how an upgrade ended.
func (d *Daemon) ended(e upgrade.Ended) {
	d.sink.count.upgrade(string(e.Result))
	switch e.Result {
	case upgrade.Committed:
		d.log.Info("the load is confirmed", "load", e.Load, "version", e.Version)
	case upgrade.RolledBack:
		d.log.Error("rolled back", "load", e.Load, "reason", e.Reason, "message", e.Message)
	default:
		d.log.Error("the upgrade failed", "load", e.Load, "reason", e.Reason, "error", e.Message, "final", e.Final)
	}
}

// begin begins a job. If the daemon ends meanwhile, its end is not told: the
// phase begins again with the next start.
func (u *upgrader) begin(job upgrade.Action) {
	run := u.ctx
	ctx, stop := context.WithCancel(run)
	u.stop = stop
	u.busy.Go(func() {
		defer stop()
		in := u.do(ctx, job)
		if run.Err() == nil {
			_ = u.tell(in) // what could not be written is in the log, and begins again with the next Wake
		}
	})
}

// do does a job and returns its end.
func (u *upgrader) do(ctx context.Context, job upgrade.Action) upgrade.Event {
	d := u.daemon
	switch a := job.(type) {
	case upgrade.Fetch:
		version, err := d.stage(ctx, a.Load)
		switch {
		case errors.Is(err, engine.ErrActive):
			return upgrade.Held{Slots: d.slotsView()}
		case err != nil:
			return upgrade.NotFetched{Reason: failure.Reason(err), Err: err,
				Final: errors.Is(err, engine.ErrModel) || errors.Is(err, engine.ErrKind), Slots: d.slotsView()}
		}
		return upgrade.Fetched{Version: version, Slots: d.slotsView()}
	case upgrade.RunStep:
		restart, err := d.conf.installs().Do(ctx, a.Step, u.job(a.Step, a.Load, a.Version))
		if a.Step != upgrade.StepRollback {
			u.hear(a.Load, err)
		}
		return upgrade.StepEnded{Restart: restart, Err: err}
	case upgrade.ChangeSlots:
		return d.changeSlots(a.Change)
	}
	return upgrade.Asked{Err: u.healthy(ctx, job.(upgrade.AskHealth))}
}

// healthy asks whether a load on trial works; nil says that it does.
func (u *upgrader) healthy(ctx context.Context, a upgrade.AskHealth) error {
	c := u.daemon.conf.get()
	c.HookTimeout = min(c.HookTimeout, c.ConfirmTimeout)
	env := environment(c, u.job(upgrade.StepCommit, a.Load, a.Version))
	p := programs{c, u.daemon.log, &u.daemon.conf.lines}
	status, said, err := p.run(ctx, env, nil, "/bin/sh", "-c", c.ConfirmCommand)
	if err == nil && status != 0 {
		err = fmt.Errorf("confirm-command ended with %d", status)
	}
	err = after(err, said)
	u.hear(a.Load, err)
	return err
}

// hear keeps what a program printed that failed, if it did.
func (u *upgrader) hear(load string, err error) {
	var out *outputError
	if errors.As(err, &out) {
		u.heard.Store(&report.Failure{Load: load, Output: out.lines})
	}
}

// changeSlots changes the slots. A load that is confirmed is offered to the
// peers before the next one may take its place in the other slot.
func (d *Daemon) changeSlots(c upgrade.SlotChange) upgrade.Event {
	var out upgrade.SlotsChanged
	switch c {
	case upgrade.CountBoot:
		out.RolledBack, out.Err = d.slots.Boot()
	case upgrade.SwitchTrial:
		out.Err = d.slots.SwitchTrial()
	case upgrade.Confirm:
		out.Err = d.slots.Confirm()
		if i := d.place.current(); out.Err == nil && i != nil {
			d.offer(i)
		}
	case upgrade.GoBack:
		out.Err = d.slots.Rollback()
		out.NoWayBack = errors.Is(out.Err, slot.ErrNoSlot) || errors.Is(out.Err, slot.ErrIncomplete) ||
			errors.Is(out.Err, slot.ErrDamaged)
	case upgrade.Fail:
		out.Err = d.slots.Fail()
	}
	out.Slots = d.slotsView()
	return out
}

// slotsView is what the machine is told of the slots.
func (d *Daemon) slotsView() upgrade.Slots {
	a, _ := d.slots.Active()
	return upgrade.Slots{Active: slotView(a), Inactive: slotView(d.slots.Inactive())}
}

func slotView(i slot.Info) upgrade.Slot {
	s := upgrade.Slot{Load: i.Name, Version: i.Version, Booted: i.Boots > 0}
	switch i.State {
	case slot.StateTrial:
		s.State = upgrade.SlotTrial
	case slot.StateConfirmed:
		s.State = upgrade.SlotConfirmed
	case slot.StateFailed:
		s.State = upgrade.SlotFailed
	}
	return s
}

// job describes a load to the installer: where it is, and where the other one.
func (u *upgrader) job(s upgrade.Step, load, version string) Job {
	j := Job{Load: load, Version: version, Progress: u.setProgress}
	slots := u.daemon.slots
	a, ok := slots.Active()
	i := slots.Inactive()
	// A load that failed may be in both, to be tried once more.
	filling := s == upgrade.StepDownload || s == upgrade.StepInstall || i.Name == load && a.State != slot.StateTrial
	switch {
	case ok && a.Name == load && !filling:
		j.Dir = slots.Dir(a.Slot)
		if i.State != slot.StateEmpty {
			j.Previous = slots.Dir(i.Slot)
		}
	default:
		j.Dir = slots.Dir(i.Slot)
		if ok {
			j.Previous = slots.Dir(a.Slot)
		}
	}
	return j
}

func (u *upgrader) setProgress(percent int, text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress = progress{percent, text}
}

// phaseProgress is how far the present phase is.
func (u *upgrader) phaseProgress() progress {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.progress
}

// unfinished reports an upgrade that failed and is to be tried again.
func (u *upgrader) unfinished() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.machine.Unfinished() {
		return errors.New("the load that is assigned does not run yet")
	}
	return nil
}

// working reports whether an upgrade is under way.
func (u *upgrader) working() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.machine.Working()
}

// suspend ends a fetch, which the next Wake begins again, and waits for that.
// Installers and trials are not disturbed: then it is false.
func (u *upgrader) suspend(ctx context.Context) bool {
	_ = u.tell(upgrade.Interrupt{}) // remembers nothing
	for u.working() {
		if u.daemon.keep.get().Phase != upgrade.Download {
			return false
		}
		select {
		case <-u.rested:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
