package upgrade_test

import (
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/upgrade"
)

// provision is a check-in.
func (d *device) provision() {
	d.checkIn = d.now.Add(15 * time.Minute)
	a, _ := d.slots.Active()
	if a.Name != "" && d.release(a.Name).broken || d.chance(chanceServer) {
		d.log("the server does not answer")
	} else {
		if d.assigned != d.machine.Record().Assigned {
			d.amnesty()
		}
		if d.provisioned {
			d.pass(a.Name)
		}
		d.step(upgrade.Provisioned{Load: d.assigned})
	}
	d.step(upgrade.Wake{})
	if d.soft++; !d.machine.Unfinished() {
		d.soft = 0
	} else if soon := d.now.Add(5 * time.Second << min(d.soft, 10)); soon.Before(d.checkIn) {
		d.checkIn = soon
	}
}

// happen lets something happen to the device.
func (d *device) happen() {
	switch d.rnd.IntN(9) {
	case 0:
		d.cut("by somebody")
	case 1:
		d.log("the program is killed")
		d.start()
	case 2, 3:
		d.assign()
	case 4:
		d.log("order: forget failures")
		d.amnesty()
		d.step(upgrade.Forget{})
	case 5:
		d.step(upgrade.Interrupt{})
	case 6:
		d.command = !d.command
		d.step(upgrade.Configured{ByCommand: d.command, Within: time.Duration(1+d.rnd.IntN(120)) * time.Second})
	case 7:
		d.step(upgrade.Wake{})
	case 8:
		d.assign()
		d.checkIn = d.now
	}
}

// play runs the device through faults, then in peace, and returns what was
// violated.
func (d *device) play() string {
	fault := func() time.Time { return d.now.Add(time.Duration(d.rnd.ExpFloat64() * float64(45*time.Second))) }
	end := d.now.Add(40 * time.Minute)
	for next := fault(); d.bad == "" && d.now.Before(end); {
		if at := d.next(); at.Before(next) {
			d.advance(at)
			continue
		}
		d.now = later(d.now, next)
		d.happen()
		next = fault()
	}
	d.calm = true
	d.log("calm")
	end = d.now.Add(16 * time.Hour)
	for at := d.next(); d.bad == "" && (at.Before(end) || d.machine.Working()); at = d.next() {
		d.advance(at)
	}
	if d.bad == "" {
		d.atTheEnd()
	}
	return d.bad
}

// next is when something happens by itself.
func (d *device) next() time.Time {
	at := d.checkIn
	if d.job != nil && d.job.at.Before(at) {
		at = d.job.at
	}
	if !d.goDown.IsZero() && d.goDown.Before(at) {
		at = d.goDown
	}
	if t, ok := d.machine.Deadline(); ok && t.Before(at) {
		at = t
	}
	return at
}

func later(a, b time.Time) time.Time {
	if b.Before(a) {
		return a
	}
	return b
}

func (d *device) advance(at time.Time) {
	d.now = later(d.now, at)
	tick, waits := d.machine.Deadline()
	switch {
	case !d.goDown.IsZero() && !d.now.Before(d.goDown):
		d.cut("the restart")
	case d.job != nil && !d.now.Before(d.job.at):
		d.endJob()
	case waits && !d.now.Before(tick):
		d.step(upgrade.Tick{})
	default:
		d.provision()
	}
}

// atTheEnd holds what must be so once faults have stopped.
func (d *device) atTheEnd() {
	d.mixed()
	r := d.machine.Record()
	a, _ := d.slots.Active()
	failed, gaveUp := r.FailedBefore(d.assigned)
	switch {
	case r.Phase != upgrade.Idle || d.machine.Working():
		d.violated("it ends in phase %s, working %v", r.Phase, d.machine.Working())
	case a.State == slot.StateTrial:
		d.violated("%s is on trial in the end", a.Name)
	case d.assigned == "", a.Name == d.assigned && a.State == slot.StateConfirmed:
	case gaveUp && failed.Reason == "":
		d.violated("%s failed without a reason", d.assigned)
	case gaveUp && r.Assigned == d.assigned && a.State != slot.StateConfirmed &&
		d.now.Sub(d.failed[d.assigned]) > 2*pause(failed)+time.Hour:
		d.violated("%s failed %v ago, no other works, and it is not tried again", d.assigned,
			d.now.Sub(d.failed[d.assigned]))
	case gaveUp: // or it could not ask, and does not know that this one is assigned again
	case a.Name != "" && d.release(a.Name).broken: // it cannot ask what it is to run
	case d.release(d.assigned).healthy():
		d.violated("%s is assigned, works, and does not run: %+v", d.assigned, a)
	case r.State != "failed" || r.Reason == "":
		d.violated("%s does not run, and the state is %q, reason %q", d.assigned, r.State, r.Reason)
	}
}
