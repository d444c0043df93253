// Package agent keeps a device up to date by itself: it asks how it is
// provisioned, fetches the load that it is told to run through the peers, puts
// it in the inactive slot, starts it on trial, confirms it or goes back, keeps
// serving what it holds, and shows and reports all this. It is the path as a
// daemon; package engine runs the path once.
//
// What lives here: when to ask, what to do with the answer, what must survive a
// restart, and the ways to look at it: socket, page, metrics, syslog. What must
// not: the protocol, the bytes of files, what a provisioning file means, and what
// follows in an upgrade from what happens.
//
// Read config.go (what it is told on the device), daemon.go (the loop),
// provisioning.go (what it is told by servers), upgrade.go (the driver of package
// upgrade, which decides), stage.go (how a load is fetched), sets.go (file sets),
// orders.go (what the controller orders), installer.go (the contract with
// installers), instance.go (the engine for one set of settings), then the ways to
// look at it: socket.go, page.go, metrics.go, events.go.
package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/feed"
	"github.com/peerload/peerload/internal/device/fileset"
	"github.com/peerload/peerload/internal/device/logtail"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/sdnotify"
)

// Daemon keeps a device up to date. Use New, then Run once. Each part of its
// changing state has one owner, with a lock of its own.
type Daemon struct {
	log     *slog.Logger
	program string
	exitOf  func(error) int
	started time.Time
	now     func() time.Time // of upgrades
	id      uint64
	mac     string

	*stateDir
	conf     *settled
	prov     provisioned
	place    place
	upgrade  *upgrader
	out      outbox
	health   health
	reporter *reporter      // nil without a controller
	feed     *feed.Follower // likewise
	orderWay orderWay
	calm     calm
	tail     *logtail.Tail
	sink     *sink
	proxy    ownProxy
	notify   *sdnotify.Notifier

	kick   chan struct{} // asks for a check-in now
	early  waiters       // who waits for the end of the next check-in
	reload chan Config
	asked  chan error // a check-in ended
	soft   int        // check-ins in a row that ended badly; the loop's
}

// stateDir holds the open files of the state directory.
type stateDir struct {
	files filesystem
	lock  io.Closer
	state *status.Dir
	rec   *status.Recorder
	keep  *keeper
	slots *slot.Slots
	sets  *fileSets
	// damage is what was put aside at the start.
	damage slot.Damage
}

// Setup is what a Daemon needs in addition to its configuration.
type Setup struct {
	// Log takes what happens; nil drops it.
	Log *slog.Logger
	// Program is the name and version of this program.
	Program string
	// ExitOf returns the exit status for an error, for a program that asked for
	// a file; nil returns 1 for all.
	ExitOf func(error) int
	// Notify is the socket of the service manager, as NOTIFY_SOCKET has it, and
	// Watchdog the interval of its watchdog. "" and 0: none.
	Notify   string
	Watchdog time.Duration

	files filesystem       // nil for that of the machine
	now   func() time.Time // of upgrades; nil for time.Now
}

// New opens everything that survives a restart. One daemon at a time has a
// state directory: slot.ErrLocked.
func New(cfg Config, s Setup) (d *Daemon, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d = &Daemon{log: s.Log, program: s.Program, exitOf: s.ExitOf, started: time.Now(), stateDir: &stateDir{files: s.files},
		kick: make(chan struct{}, 1), reload: make(chan Config), asked: make(chan error, 1)}
	if d.files == nil {
		d.files = machine{}
	}
	if d.now = s.now; d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	var h slog.Handler
	h, d.tail = logtail.New(d.log.Handler())
	d.log = slog.New(h)
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
	if d.conf, err = settle(cfg, d.log); err != nil {
		return d, err
	}
	if err = d.stateDir.open(cfg.State); err != nil {
		return d, err
	}
	return d, d.begin()
}

// open locks the state directory and reads what is in it. What is damaged is
// put aside and begun anew.
func (s *stateDir) open(dir string) (err error) {
	if s.state, err = status.OpenOn(s.files, dir); err != nil {
		return err
	}
	if s.lock, err = s.files.Lock(filepath.Join(dir, lockName)); err != nil {
		return err
	}
	// What a killed daemon was fetching besides loads is of no use.
	if err := os.RemoveAll(filepath.Join(dir, scratchName)); err != nil {
		return err
	}
	for _, n := range []string{scratchName, slotsName, classicName, setsName} {
		if err := s.makeDir(filepath.Join(dir, n)); err != nil {
			return err
		}
	}
	if s.slots, err = slot.OpenSlots(s.files, filepath.Join(dir, slotsName)); err != nil {
		return err
	}
	s.damage = append(s.damage, s.slots.Damage()...)
	store, err := fileset.Open(s.files, filepath.Join(dir, setsName))
	if err != nil {
		return err
	}
	s.damage = append(s.damage, store.Damage()...)
	s.sets = newFileSets(store)
	if err := slot.CanSwitch(s.files, filepath.Join(dir, slotsName)); err != nil {
		return err
	}
	if err := s.openKeeper(dir); err != nil {
		return err
	}
	s.rec = s.state.Record("agent")
	return nil
}

// begin continues where the last run ended.
func (d *Daemon) begin() (err error) {
	if d.id, err = d.state.ID(); err != nil {
		return err
	}
	d.sink = newSink(d.log, d.rec)
	if d.prov.set, err = effective(d.conf.get().Model, policy.Levels{}); err != nil {
		return err
	}
	if d.keep.begun {
		boot, err := bootID(d.conf.get().BootID)
		if err != nil {
			return err
		}
		d.keep.saved.Record = proved(d.slots, boot, time.Now())
	}
	d.lastGood()
	if err := narrow(d.conf.get().State); err != nil {
		d.log.Warn("others may read what may hold a password", "error", err)
	}
	for _, err := range d.damage {
		d.damaged(err)
	}
	d.pin(d.conf.get())
	d.sets.keeper = fileset.NewKeeper(d.sets.Store, setWorld{d})
	before := d.keep.get().BootID
	if d.upgrade, err = newUpgrader(d); err != nil || d.reporter == nil {
		return err
	}
	return d.openFeed(before != "" && before != d.keep.get().BootID)
}

// damaged tells of something that was damaged.
func (d *Daemon) damaged(err error) {
	d.log.Error("damaged", "error", err)
	d.out.failure("", "", reason.Damaged, err)
}

// close releases what New opened.
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

// Run keeps the device up to date until ctx ends.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.close()
	ctx, cancel := context.WithCancel(ctx)
	var busy sync.WaitGroup
	defer func() {
		d.notify.Send(sdnotify.Stopping)
		cancel()
		busy.Wait()
		if i := d.place.current(); i != nil {
			i.close()
		}
	}()
	for _, l := range d.listeners(&busy) {
		l.serve(ctx, &busy, d.log)
	}
	d.upgrade.run(ctx, &busy)
	d.replaceInstance(ctx)
	busy.Go(func() { d.place.lookOut(ctx, d.kick) })
	busy.Go(func() { d.place.yields.Follow(ctx, func() string { return d.conf.get().YieldFile }) })
	d.notify.Send(sdnotify.Ready)
	d.resume()
	d.bringSets(ctx, &busy)
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
	asking, due, asked := false, false, true // asked: not by the clock alone
	first := make(chan struct{})             // closed once the first check-in ended: by then it is enrolled
	d.follow(ctx, busy, first)
	for {
		var lost <-chan struct{}
		if i := d.place.current(); i != nil {
			lost = i.gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
			due = true
		case <-d.kick:
			due, asked = true, true
		case c := <-d.reload:
			d.notify.Reloading()
			d.reconfigure(c)
			d.notify.Send(sdnotify.Ready)
			due, asked = true, true
		case err := <-d.asked:
			asking, first = false, closed(first)
			next.Reset(d.wait(err))
			d.replaceInstance(ctx)
			d.mend(ctx, busy)
			d.resume()
			d.bringSets(ctx, busy)
		case <-d.sets.tick.C:
			d.bringSets(ctx, busy)
		case <-d.sets.rested:
			next.Reset(d.wait(nil))
			d.tell(ctx, busy)
		case <-d.upgrade.tick.C:
			_ = d.upgrade.tell(upgrade.Tick{})
		case <-d.upgrade.rested:
			if d.upgrade.working() {
				continue
			}
			d.replaceInstance(ctx)
			next.Reset(d.wait(nil))
			d.tell(ctx, busy)
		case <-lost:
			d.log.Error("the peers' ports closed", "error", d.place.current().err)
			d.place.put(nil)
			next.Reset(firstRetry)
		case <-beat.C:
			d.beat(ctx)
		}
		if due && !asking {
			full := asked
			due, asking, asked = false, true, false
			wait := d.early.take()
			busy.Go(func() {
				c := d.checkIn(ctx, full)
				wait.tell(c)
				d.asked <- c.provision
				d.repeat(ctx, c.report)
			})
		}
	}
}

// firstRetry is the wait after the first check-in that failed; it doubles up
// to the time between check-ins.
const firstRetry = 5 * time.Second

// wait returns the time to the next check-in, with jitter: the devices of a
// site that were switched on together must not ask together forever.
func (d *Daemon) wait(err error) time.Duration {
	every := d.conf.get().CheckIn
	if err == nil {
		err = cmp.Or(d.upgrade.unfinished(), d.health.unmended(), d.sets.unfinished())
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

// resume begins the work that is due, if the device has a place on the network.
func (d *Daemon) resume() {
	if d.place.current() != nil {
		_ = d.upgrade.tell(upgrade.Wake{})
	}
}

// tell reports the end of an upgrade to the controller, soon but at a random
// time, so that the devices of a site do not report together. It is not a
// check-in: that would start a failed upgrade again at once, without the pause
// before the next try.
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
			d.repeat(ctx, d.report(ctx))
		}
	})
}

// repeat reports again until the controller has taken a report, after one that ended
// with err: a device that a controller could not take for a moment must not stay
// unknown until its next check-in, which may be an hour away. The pauses double, up to
// the time between check-ins; from then on those do it. A refusal is not asked for
// again: somebody has to do something first.
func (d *Daemon) repeat(ctx context.Context, err error) {
	if err == nil || d.reporter == nil || !d.reporter.repeating.CompareAndSwap(false, true) {
		return
	}
	defer d.reporter.repeating.Store(false)
	for back := firstRetry; err != nil && !errors.Is(err, errUnknown) && back < d.conf.get().CheckIn; back *= 2 {
		pause := time.NewTimer(back/2 + rand.N(back/2))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		err = d.report(ctx)
	}
}

// beat tells the service manager that the device is alive.
func (d *Daemon) beat(ctx context.Context) {
	if i := d.place.current(); i != nil {
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
	c = d.conf.change(c)
	if d.reporter != nil {
		d.reporter.drop()
	}
	d.pin(c)
	d.prov.remodel(c.Model)
	d.upgrade.configure(c)
	// Before a reload, somebody may have fixed what made a load fail.
	_ = d.upgrade.tell(upgrade.Forget{})
	if err := d.sets.Again(); err != nil {
		d.log.Error("file sets", "error", err)
	}
	d.log.Info("configuration reloaded")
}

// replaceInstance starts the instance of the engine that the settings ask for,
// unless it runs already, and ends the one before. An upgrade that is fetching
// moves to the new instance: it begins its phase again and keeps what it has.
func (d *Daemon) replaceInstance(ctx context.Context) {
	c := d.conf.get()
	key, old := d.prov.key(c), d.place.current()
	if old != nil && old.key == key && !old.moved() {
		return
	}
	if !d.upgrade.suspend(ctx) {
		return // what is under way ends, and comes here again
	}
	d.place.put(nil)
	if old != nil {
		old.close()
		d.place.moved(old.past)
	}
	ic := instanceConfig{id: d.id, noSync: c.NoSync, report: d.sink.take, files: d.files}
	i, warnings, err := openInstance(key, ic)
	if err != nil {
		d.log.Error("this device cannot share: it downloads by itself until it can", "error", err)
		d.out.failure("", "", reason.NoAddress, err)
		key.sharing = false
		if i, warnings, err = openInstance(key, ic); err != nil {
			d.log.Error("no place on the network", "error", err)
			return
		}
	}
	for _, w := range warnings {
		d.log.Warn(w)
	}
	d.place.put(i)
	d.offer(i)
}

// offer serves what the slots hold.
func (d *Daemon) offer(i *instance) {
	active, ok := d.slots.Active()
	for _, s := range []slot.Info{active, d.slots.Inactive()} {
		if ok && (s.State == slot.StateComplete || s.State == slot.StateConfirmed || s.State == slot.StateTrial) {
			if err := i.hold(d.slots.Dir(s.Slot), s); err != nil {
				d.log.Error("a component that should be there is not offered", "load", s.Name, "error", err)
				d.out.failure(s.Name, "", reason.Damaged, err)
			}
		}
	}
	d.offerSets(i)
}

// Wake asks for a check-in now.
func (d *Daemon) Wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}
