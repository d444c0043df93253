package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/carrier"
	"github.com/peerload/peerload/internal/device/feed"
	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/device/relay"
	"github.com/peerload/peerload/internal/device/teller"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/report"
)

// openFeed prepares to follow the controller's orders. restarted says that the
// device was started anew since the daemon last ran.
func (d *Daemon) openFeed(restarted bool) (err error) {
	d.orderWay.teller = teller.New("SEP"+d.mac, d.livePhase)
	d.sink.subscribe(d.orderWay.teller.Take) // until the daemon ends
	d.feed, err = feed.New(feed.Config{State: d.conf.get().State, Files: d.files, Disk: disk(d.files),
		Device: "SEP" + d.mac, Restarted: restarted, Log: d.log, Do: d.obey, Follow: d.followFeed, Up: d.orderWay.up,
		Stamp: d.calm.file, Watch: d.orderWay.teller.Watch,
		Controller: func() (feed.Controller, error) {
			c := d.conf.get()
			client, err := d.reporter.shared(c)
			if err != nil {
				return feed.Controller{}, err
			}
			secret, err := identity(d.files, c.State)
			return feed.Controller{URL: c.Controller, Client: client, Secret: secret}, err
		}})
	return err
}

// follow follows the orders of the controller, once the device has checked in for
// the first time.
func (d *Daemon) follow(ctx context.Context, busy *sync.WaitGroup, first <-chan struct{}) {
	if d.feed == nil {
		return
	}
	busy.Go(func() {
		select {
		case <-first:
			d.feed.Run(ctx)
		case <-ctx.Done():
		}
	})
	busy.Go(func() { d.tellLive(ctx) })
}

// livePhase is how the device as a whole stands, for people who look.
func (d *Daemon) livePhase() teller.Phase {
	saved := d.keep.get()
	p := teller.Phase{Load: saved.Assigned, State: saved.State, Reason: string(saved.Reason)}
	if i := d.place.current(); i != nil && i.key.sharing {
		p.Address = i.net.Addr().String()
	}
	return p
}

// tellLive tells the controller how upgrades go on, this device's and its followers',
// unless another one carries for it.
func (d *Daemon) tellLive(ctx context.Context) {
	t := d.orderWay.teller
	next := time.NewTimer(teller.Every)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-t.Woken():
		}
		wait := teller.Every
		if !d.orderWay.follows() {
			var b []byte
			if b, wait = t.Batch(); b != nil {
				if err := d.feed.Live(ctx, b); err != nil {
					d.log.Debug("the controller was not told how upgrades go on", "error", err)
					t.Lost(b)
					wait = teller.Seldom
				}
			}
		}
		next.Reset(wait)
	}
}

// orderWay is the way by which orders come.
type orderWay struct {
	teller *teller.Teller // nil without a controller

	mu    sync.Mutex
	relay *relay.Relay // nil while the device is on its own
}

func (w *orderWay) put(r *relay.Relay) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.relay = r
}

// up hands results over by way of the subnet, if there is one.
func (w *orderWay) up(ctx context.Context, results [][]byte) order.Acks {
	w.mu.Lock()
	r := w.relay
	w.mu.Unlock()
	if r == nil {
		return order.Acks{}
	}
	return r.Up(ctx, results)
}

// report hands a report over by way of the carrier of the subnet, and reports whether the
// controller has it.
func (w *orderWay) report(ctx context.Context, status report.Device) bool {
	w.mu.Lock()
	r := w.relay
	w.mu.Unlock()
	if r == nil || !r.Follows() {
		return false
	}
	text, err := json.Marshal(status)
	return err == nil && r.Report(ctx, text)
}

// follows reports whether another device carries for this one.
func (w *orderWay) follows() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.relay != nil && w.relay.Follows()
}

// connected reports whether orders come by way of the subnet.
func (w *orderWay) connected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.relay != nil && w.relay.Connected()
}

// calm is what the last check-in brought. While that holds, and the device is
// connected, it needs no other one: the controller sends an order when the
// provisioning file has changed, and sees by the connection that the device lives.
type calm struct {
	mu    sync.Mutex
	stamp order.Stamp // of the file in force, zero if there is none
	said  []byte      // the state that the controller has, nil if it has none
	until time.Time   // when it checks in all the same
}

// calmTime is the longest time without a check-in. Each device takes up to a fifth off
// it at random, so that a site does not check in at once.
const calmTime = 28 * 24 * time.Hour

func (c *calm) file() order.Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamp
}

// provisioned notes the file in force.
func (c *calm) provisioned(file []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamp = order.StampOf(file)
}

// ended notes how a check-in ended.
func (c *calm) ended(how checkedIn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
	if how.provision == nil && how.report == nil {
		c.until = time.Now().Add(calmTime - rand.N(calmTime/5))
	}
}

// reported notes what the controller has.
func (c *calm) reported(r report.Device) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Files, r.Failures = nil, nil // these are told once
	c.said = stateOf(r)
}

// holds reports whether nothing is to be asked, and nothing to be said of a state.
func (c *calm) holds(r report.Device) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamp != (order.Stamp{}) && c.said != nil && time.Now().Before(c.until) && bytes.Equal(c.said, stateOf(r))
}

// stateOf is a report without what differs each time; nil if it tells of what has
// ended.
func stateOf(r report.Device) []byte {
	if len(r.Files)+len(r.Failures) > 0 {
		return nil
	}
	r.Time = ""
	b, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return b
}

// idle reports whether a check-in would ask and say nothing new. Where check-ins are
// closer together than the controller's own looks at the file, somebody wants them.
func (d *Daemon) idle() bool {
	c := d.conf.get()
	busy := cmp.Or(d.upgrade.unfinished(), d.health.unmended(), d.sets.unfinished())
	return d.reporter != nil && c.Provision == "" && c.CheckIn >= order.StampEvery && busy == nil &&
		!d.upgrade.working() && d.keep.get().Phase == upgrade.Idle && d.orderWay.connected() && d.calm.holds(d.Status())
}

// followFeed follows the feed of orders by way of the subnet while the device shares
// and has pinned the order key, else by a connection of its own.
func (d *Daemon) followFeed(ctx context.Context, f *feed.Follower) {
	for ctx.Err() == nil {
		i, changed := d.place.serving()
		pinned := f.Pinned()
		select {
		case <-pinned:
			pinned = nil // there is nothing to wait for
		default:
			i = nil // the device can believe nothing yet that comes by way of others
		}
		stage, end := context.WithCancel(ctx)
		var ways sync.WaitGroup
		ways.Go(func() { d.followBy(stage, i, f) })
		select {
		case <-ctx.Done():
		case <-changed:
		case <-pinned:
		}
		end()
		ways.Wait()
	}
}

// followBy follows the feed until ctx ends, by the instance if that shares; nil: none.
func (d *Daemon) followBy(ctx context.Context, i *instance, f *feed.Follower) {
	if i == nil || !i.key.sharing {
		f.Alone(ctx)
		return
	}
	r, err := relay.New(relay.Config{Device: i.dev, Net: i.net, Name: "SEP" + d.mac, Controller: d.conf.get().Controller,
		Times: carrier.Default(), Teller: d.orderWay.teller, Log: d.log}, f)
	if err != nil {
		d.log.Error("orders come by a connection of this device's own", "error", err)
		f.Alone(ctx)
		return
	}
	d.orderWay.put(r)
	defer d.orderWay.put(nil)
	r.Run(ctx)
}

// closed closes a channel once; nil is one that is closed.
func closed(c chan struct{}) chan struct{} {
	if c != nil {
		close(c)
	}
	return nil
}

// waiters are those who wait for the end of the next check-in that begins.
type waiters struct {
	mu  sync.Mutex
	all []chan checkedIn
}

// waiting are those of one check-in.
type waiting []chan checkedIn

func (w *waiters) add() <-chan checkedIn {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan checkedIn, 1)
	w.all = append(w.all, c)
	return c
}

func (w *waiters) take() waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.all
	w.all = nil
	return all
}

func (w waiting) tell(c checkedIn) {
	for _, to := range w {
		to <- c
	}
}

// checkInNow checks in now, and waits for the end.
func (d *Daemon) checkInNow(ctx context.Context) checkedIn {
	end := d.early.add()
	d.Wake()
	select {
	case c := <-end:
		return c
	case <-ctx.Done():
		return checkedIn{ctx.Err(), ctx.Err()}
	}
}

// obey carries out an order.
func (d *Daemon) obey(ctx context.Context, e inbox.Entry) (order.Outcome, string) {
	switch e.Kind {
	case order.CheckIn:
		return outcome(d.checkInNow(ctx).report)
	case order.UpdateSettings:
		return outcome(d.checkInNow(ctx).provision)
	case order.ForgetFailure:
		return outcome(d.upgrade.tell(upgrade.Forget{}))
	case order.Retry:
		if err := d.upgrade.tell(upgrade.Forget{}); err != nil {
			return outcome(err)
		}
		c := d.checkInNow(ctx)
		return outcome(errors.Join(c.provision, c.report))
	case order.Restart:
		return d.restart(ctx)
	case order.ResetTogether:
		if c := d.conf.get(); c.RebootCommand != "" || c.Hook != "" {
			return d.restart(ctx)
		}
		c := d.checkInNow(ctx)
		if c.provision != nil {
			return outcome(c.provision)
		}
		return order.Done, "checked in: nothing is configured that restarts this device"
	case order.CollectLog:
		return order.Done, d.tail.Last(e.Lines, order.MaxText)
	}
	return order.Unsupported, ""
}

// outcome is that of what ended with err. The text is short: it goes over the WAN.
func outcome(err error) (order.Outcome, string) {
	if err == nil {
		return order.Done, ""
	}
	text := []rune(fmt.Sprint(err))
	return order.Failed, string(text[:min(len(text), maxOutcome)])
}

// maxOutcome bounds the text of an outcome, in letters.
const maxOutcome = 500

// restartWait is how long a device may take to go down.
const restartWait = 5 * time.Minute

// restart restarts the device. It returns only if that fails. A load that is being
// installed, or on trial, is not disturbed: a fetch goes on after the start.
func (d *Daemon) restart(ctx context.Context) (order.Outcome, string) {
	c := d.conf.get()
	if c.RebootCommand == "" && c.Hook == "" {
		return order.Refused, "nothing is configured that restarts this device: give it --reboot-command or --hook"
	}
	if p := d.keep.get().Phase; p != upgrade.Idle && p != upgrade.Download {
		return order.Refused, fmt.Sprintf("a load is under way (%s): send the order again when it has ended", p)
	}
	a, _ := d.slots.Active()
	_, err := d.conf.installs().Do(ctx, upgrade.StepReboot, d.upgrade.job(upgrade.StepReboot, a.Name, a.Version))
	if err != nil {
		return outcome(err)
	}
	wait := time.NewTimer(restartWait)
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	}
	return order.Failed, fmt.Sprintf("the device did not restart within %v", restartWait)
}
