package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/internal/sdnotify"
	"github.com/peerload/peerload/report"
)

// Daemon is a device that looks after itself. Use New, then Run once.
type Daemon struct {
	log     *slog.Logger
	program string
	exitOf  func(error) int
	started time.Time

	state     *status.Dir
	id        uint64
	mac       string
	boot      string
	rec       *status.Recorder
	slots     *slot.Slots
	lock      io.Closer
	installer Installer
	reporter  *reporter   // nil without a controller
	origin    *origin.Mux // for provisioning; the instance has its own for loads
	sink      *sink
	notify    *sdnotify.Notifier

	kick     chan struct{} // asks for a check-in now
	reload   chan Config
	asked    chan error // a check-in ended
	upgraded chan struct{}

	// telling is held while a report is on its way: two at a time would both
	// take what they have told from pending.
	telling sync.Mutex

	mu       sync.Mutex
	cfg      Config
	saved    record
	set      settings
	file     *provision.File
	told     told
	instance *instance
	working  bool               // an upgrade is under way
	stop     context.CancelFunc // ends it
	step     progress
	pending  pending
	moved    traffic // by files that no instance serves any more
	soft     int     // check-ins in a row that ended badly
}

// told is what is known of the last provisioning.
type told struct {
	From    string    // the file in force
	At      time.Time // when a server last gave one
	Contact time.Time // when one was last understood
	Err     string    // why the last try gave none
}

// progress is how far the present phase is.
type progress struct {
	Percent int
	Text    string
}

// pending are reports that the controller has not taken yet.
type pending struct {
	files    []report.Final
	failures []report.Failure
}

// maxPending bounds what waits for the controller.
const maxPending = 64

// Setup is what a Daemon needs beside its configuration.
type Setup struct {
	// Log takes what happens; nil drops it.
	Log *slog.Logger
	// Program is the name and version of this program.
	Program string
	// ExitOf gives the exit status that an error has for whoever asked for a
	// file; nil gives 1 to all.
	ExitOf func(error) int
	// Notify is the socket of the service manager, as NOTIFY_SOCKET has it,
	// and Watchdog the time within which it wants a sign of life. "" and 0:
	// nobody waits.
	Notify   string
	Watchdog time.Duration
}

// New opens everything that survives a restart. One daemon at a time has a
// state directory: slot.ErrLocked.
func New(cfg Config, s Setup) (d *Daemon, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d = &Daemon{log: s.Log, program: s.Program, exitOf: s.ExitOf, cfg: cfg, started: time.Now(),
		kick: make(chan struct{}, 1), reload: make(chan Config), asked: make(chan error, 1), upgraded: make(chan struct{}, 1)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.exitOf == nil {
		d.exitOf = func(error) int { return 1 }
	}
	if cfg.Controller != "" {
		d.reporter = &reporter{daemon: d}
	}
	d.notify = sdnotify.New(s.Notify, s.Watchdog)
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.mac, err = findMAC(cfg); err != nil {
		return d, err
	}
	if d.boot, err = bootID(cfg.BootID); err != nil {
		return d, err
	}
	if d.state, err = status.Open(cfg.State); err != nil {
		return d, err
	}
	return d, d.open()
}

// open takes the state directory and reads what is in it.
func (d *Daemon) open() (err error) {
	dir := d.cfg.State
	if d.lock, err = (slot.OS{}).Lock(filepath.Join(dir, lockName)); err != nil {
		return err
	}
	// What a killed daemon was fetching beside loads is of no use.
	if err := os.RemoveAll(filepath.Join(dir, scratchName)); err != nil {
		return err
	}
	for _, n := range []string{scratchName, slotsName, classicName} {
		if err := os.MkdirAll(filepath.Join(dir, n), 0o755); err != nil {
			return err
		}
	}
	if d.id, err = d.state.ID(); err != nil {
		return err
	}
	if d.saved, err = readRecord(dir); err != nil {
		return err
	}
	if d.slots, err = slot.OpenSlots(slot.OS{}, filepath.Join(dir, slotsName)); err != nil {
		return err
	}
	if d.origin, err = newOrigin(instanceKey{address: d.cfg.Address, cacert: d.cfg.CACert}); err != nil {
		return err
	}
	d.installer = newInstaller(d.cfg, d.log)
	d.rec = d.state.Record("agent")
	d.sink = newSink(d.log, d.rec)
	if d.set, err = effective(d.cfg.Model, policy.Levels{}); err != nil {
		return err
	}
	d.lastGood()
	return d.booted()
}

// close gives back what open took.
func (d *Daemon) close() {
	if d.sink != nil {
		d.sink.close()
	}
	if d.rec != nil {
		d.rec.Close()
	}
	if d.slots != nil {
		_ = d.slots.Close()
	}
	if d.lock != nil {
		_ = d.lock.Close()
	}
}

// Run looks after the device until ctx ends.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.close()
	listeners, err := d.listen()
	if err != nil {
		return err
	}
	defer listeners.close()
	ctx, cancel := context.WithCancel(ctx)
	var busy sync.WaitGroup
	defer func() {
		d.notify.Send(sdnotify.Stopping)
		cancel()
		busy.Wait()
		if i := d.currentInstance(); i != nil {
			i.close()
		}
	}()
	listeners.serve(ctx, &busy)
	d.replaceInstance(ctx)
	d.notify.Send(sdnotify.Ready)
	d.resume(ctx, &busy)
	return d.loop(ctx, &busy)
}

// loop is the only place that starts check-ins and upgrades.
func (d *Daemon) loop(ctx context.Context, busy *sync.WaitGroup) error {
	next := time.NewTimer(0)
	defer next.Stop()
	beat := time.NewTicker(d.notify.Interval())
	defer beat.Stop()
	// due outlives the timer: a check-in that is asked for while another runs,
	// or just before an upgrade ends and sets the timer, is not forgotten.
	asking, due := false, false
	for {
		var lost <-chan struct{}
		if i := d.currentInstance(); i != nil {
			lost = i.gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
			due = true
		case <-d.kick:
			due = true
		case c := <-d.reload:
			d.notify.Reloading()
			d.reconfigure(c)
			d.notify.Send(sdnotify.Ready)
			due = true
		case err := <-d.asked:
			asking = false
			next.Reset(d.wait(err))
			d.replaceInstance(ctx)
			d.resume(ctx, busy)
		case <-d.upgraded:
			d.mu.Lock()
			d.working = false
			d.mu.Unlock()
			d.replaceInstance(ctx)
			next.Reset(d.wait(nil))
			d.tell(ctx, busy)
		case <-lost:
			d.log.Error("the peers' ports closed", "error", d.currentInstance().err)
			d.mu.Lock()
			d.instance = nil
			d.mu.Unlock()
			next.Reset(firstRetry)
		case <-beat.C:
			d.beat(ctx)
		}
		if due && !asking {
			due, asking = false, true
			busy.Go(func() { d.asked <- d.checkIn(ctx) })
		}
	}
}

// firstRetry is the wait after the first check-in that failed; it doubles up
// to the time between check-ins.
const firstRetry = 5 * time.Second

// wait returns the time to the next check-in, with jitter: a whole site that
// was switched on together must not ask together for ever.
func (d *Daemon) wait(err error) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	every := d.cfg.CheckIn
	if err == nil {
		err = d.unfinished()
	}
	if err == nil {
		d.soft = 0
		return every - every/10 + rand.N(every/5)
	}
	back := min(firstRetry<<min(d.soft, 16), every)
	d.soft++
	var slow *origin.BusyError
	if errors.As(err, &slow) {
		back = max(back, min(slow.RetryAfter, every))
	}
	return back/2 + rand.N(back/2+1)
}

// unfinished reports an upgrade that failed and is to be tried again. The
// caller holds mu.
func (d *Daemon) unfinished() error {
	if d.saved.Phase == phaseIdle && !d.working && d.wanted() != "" {
		return errors.New("the load that is assigned does not run yet")
	}
	return nil
}

// tell reports how an upgrade ended to a controller that waits to hear it, soon
// and not in step with a whole site. It is no check-in: that would begin an
// upgrade that failed again at once, and the pause before the next try would
// come to nothing.
func (d *Daemon) tell(ctx context.Context, busy *sync.WaitGroup) {
	if d.reporter == nil {
		return
	}
	busy.Go(func() {
		soon := time.NewTimer(rand.N(time.Second))
		defer soon.Stop()
		select {
		case <-ctx.Done():
		case <-soon.C:
			d.report(ctx)
		}
	})
}

// beat tells the service manager that the device is alive.
func (d *Daemon) beat(ctx context.Context) {
	if i := d.currentInstance(); i != nil {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if !i.dev.Alive(ctx) {
			return
		}
	}
	d.notify.Send(sdnotify.Alive)
}

// Reload puts another configuration in force. What cannot change while the
// daemon runs is named in the log.
func (d *Daemon) Reload(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	select {
	case d.reload <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Daemon) reconfigure(c Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.cfg
	fixed := map[string]bool{"state": c.State != old.State, "mac": c.MAC != old.MAC, "boot-id": c.BootID != old.BootID,
		"page-address": c.PageAddress != old.PageAddress, "metrics-address": c.MetricsAddress != old.MetricsAddress,
		"controller": (c.Controller == "") != (old.Controller == ""), "log-level": c.LogLevel != old.LogLevel, "log-format": c.LogFormat != old.LogFormat}
	for name, differs := range fixed {
		if differs {
			d.log.Warn("takes effect at the next start", "option", name)
		}
	}
	c.State, c.MAC, c.BootID = old.State, old.MAC, old.BootID
	d.cfg = c
	if m, err := newOrigin(instanceKey{address: c.Address, cacert: c.CACert}); err == nil {
		d.origin.Close()
		d.origin = m
	} else {
		d.log.Error("the configuration is not in force as a whole", "error", err)
	}
	d.installer = newInstaller(c, d.log)
	// Whoever reloads may have mended what made a load fail.
	d.saved.Failed = nil
	if set, err := effective(c.Model, d.levels()); err == nil {
		d.set = set
	}
	d.log.Info("configuration reloaded")
}

func (d *Daemon) levels() policy.Levels {
	if d.file == nil {
		return policy.Levels{}
	}
	return d.file.Levels
}

// group is that of the provisioning file, "" for what the model table says.
// The caller holds mu.
func (d *Daemon) group() string {
	if d.file == nil {
		return ""
	}
	return d.file.Group
}

// replaceInstance starts the instance of the engine that the settings ask for,
// unless it runs already, and ends the one before. An upgrade that is fetching is taken along: it begins
// its phase again and finds what it has.
func (d *Daemon) replaceInstance(ctx context.Context) {
	d.mu.Lock()
	key, old := keyOf(d.cfg, d.set, d.group()), d.instance
	if old != nil && old.key == key && !old.moved() {
		d.mu.Unlock()
		return
	}
	stop, working := d.stop, d.working
	if working && d.saved.Phase != phaseDownload {
		// Installers and trials are not disturbed; their end comes here again.
		d.mu.Unlock()
		return
	}
	d.instance = nil
	d.mu.Unlock()
	if working {
		stop()
		select {
		case <-d.upgraded:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		d.working = false
		d.mu.Unlock()
	}
	if old != nil {
		old.close()
		d.mu.Lock()
		d.moved.join(old.past)
		d.mu.Unlock()
	}
	c := instanceConfig{id: d.id, noSync: d.config().NoSync, report: d.sink.take}
	i, warnings, err := openInstance(key, c)
	if err != nil {
		d.log.Error("this device cannot share: it downloads by itself until it can", "error", err)
		d.failure("", "", wording.ReasonNoAddress, err)
		key.sharing = false
		if i, warnings, err = openInstance(key, c); err != nil {
			d.log.Error("no place on the network", "error", err)
			return
		}
	}
	for _, w := range warnings {
		d.log.Warn(w)
	}
	d.mu.Lock()
	d.instance = i
	d.mu.Unlock()
	d.offer(i)
}

// offer serves what the slots hold.
func (d *Daemon) offer(i *instance) {
	active, ok := d.slots.Active()
	for _, s := range []slot.Info{active, d.slots.Inactive()} {
		if ok && (s.State == slot.StateComplete || s.State == slot.StateConfirmed || s.State == slot.StateTrial) {
			if err := i.hold(d.slots.Dir(s.Slot), s); err != nil {
				d.log.Error("a component that should be there is not offered", "load", s.Name, "error", err)
				d.failure(s.Name, "", wording.ReasonDamaged, err)
			}
		}
	}
}

// Wake asks for a check-in now.
func (d *Daemon) Wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

func (d *Daemon) config() Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

func (d *Daemon) installs() Installer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.installer
}

func (d *Daemon) asks() *origin.Mux {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.origin
}

func (d *Daemon) record() record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.saved
}

func (d *Daemon) setting(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.set.value(name)
}

func (d *Daemon) currentInstance() *instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.instance
}

// change alters the record and makes it durable before anything follows from
// it.
func (d *Daemon) change(do func(*record)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.saved
	do(&r)
	if err := writeRecord(d.cfg.State, r); err != nil {
		return fmt.Errorf("the state of the device: %w", err)
	}
	d.saved = r
	return nil
}

// failure notes something that went wrong, for the controller and the page.
func (d *Daemon) failure(load, file, reason string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &d.pending
	p.failures = append(p.failures, report.Failure{Load: load, File: file, Reason: reason, Message: err.Error()})
	if n := len(p.failures) - maxPending; n > 0 {
		p.failures = p.failures[n:]
	}
}
