package upgrade

import (
	"errors"
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/report"
)

// started finds out what the start of the device, or of the program alone,
// means for an upgrade under way.
func (m *Machine) started(e Started) {
	m.boot, m.slots, m.since = e.Boot, e.Slots, m.now
	if m.rec.BootID == e.Boot {
		m.settle(false)
		return
	}
	// Noted first: told twice, the slots would take one start for two and leave
	// a good load; told never, they give it one start more.
	m.rec.BootID = e.Boot
	m.begin(counting, ChangeSlots{CountBoot})
}

var errNotConfirmed = errors.New("the device was started again before the load was confirmed")

// counted takes what the slots made of a start of the device.
func (m *Machine) counted(e SlotsChanged) {
	if e.Err != nil {
		m.noWayBack(e.Err)
	}
	if e.RolledBack {
		m.rolledBack()
		return
	}
	m.settle(true)
}

// settle fits the record to the slots. Restarted: this is a new start of the
// device, and the first of the program in it.
func (m *Machine) settle(restarted bool) {
	r, a := &m.rec, m.slots.Active
	onTrial := a.State == SlotTrial
	switch {
	case onTrial && r.Phase == Reboot:
		// The program may have been started before in this start of the device,
		// and killed before it noted that.
		if restarted || a.Booted || r.RebootFrom != "" && r.RebootFrom != m.boot {
			m.onTrial()
		}
	case onTrial && r.Phase == Trial:
		r.Starts++
	case onTrial && r.Phase != Rollback:
		// The record was lost or is older than the switch.
		r.Load, r.Version = a.Load, a.Version
		m.onTrial()
	}
}

// onTrial notes that the device runs the new load.
func (m *Machine) onTrial() {
	r := &m.rec
	r.Phase, r.State, r.Starts, r.RebootFrom = Trial, report.StateTrial, 1, ""
}

// rolledBack notes that the slots went back by themselves.
func (m *Machine) rolledBack() {
	r, i := &m.rec, m.slots.Inactive
	if r.Load != i.Load {
		r.Load, r.Version = i.Load, i.Version
	}
	r.Phase, r.Since = Rollback, m.stamp()
	r.Reason, r.Message = reason.NotConfirmed, errNotConfirmed.Error()
}

// switchOver makes sure that the slot of the load is active, on trial. The slots
// may be further than the record: what they did was not remembered any more.
func (m *Machine) switchOver() {
	a, i := m.slots.Active, m.slots.Inactive
	switch {
	case a.State == SlotTrial && a.Load == m.rec.Load:
		m.switched()
	case a.State == SlotConfirmed && a.Load == m.rec.Load:
		m.confirmed()
	case i.State == SlotFailed && i.Load == m.rec.Load:
		m.rolledBack()
		m.resume()
	case i.Load != m.rec.Load:
		m.giveUp(reason.Switch, fmt.Errorf("the inactive slot holds %q, not %s", i.Load, m.rec.Load), false)
	default:
		m.begin(switching, ChangeSlots{SwitchTrial})
	}
}

// switched restarts the device into the new load, or begins its trial.
func (m *Machine) switched() {
	r := &m.rec
	if r.Phase == Reboot {
		if r.RebootFrom == "" { // of an earlier version of this program
			r.RebootFrom = m.boot
		}
		m.begin(restarting, m.step(StepReboot))
		return
	}
	if r.Starts > maxStarts {
		m.back(reason.NotConfirmed, fmt.Errorf("the daemon was started %d times during the trial", r.Starts))
		return
	}
	m.trial = m.cfg
	m.deadline = m.now.Add(m.trial.Within)
	if m.trial.ByCommand {
		m.ask()
		return
	}
	m.unhealthy = errors.New("the device was not provisioned during the trial")
	m.wait()
	m.tell(CheckIn{})
}

// ask asks whether the load on trial works.
func (m *Machine) ask() { m.begin(asking, AskHealth{m.rec.Load, m.rec.Version}) }

// asked takes the answer. One that is good counts, however late it comes.
func (m *Machine) asked(unhealthy error) {
	if unhealthy == nil {
		m.begin(committing, m.step(StepCommit))
		return
	}
	m.unhealthy = unhealthy
	m.wait()
}

// wait waits for the next question, or for being provisioned.
func (m *Machine) wait() {
	m.doing, m.askAt = waiting, m.deadline
	if m.trial.ByCommand {
		if next := m.now.Add(max(min(confirmEvery, m.trial.Within/4), time.Millisecond)); next.Before(m.deadline) {
			m.askAt = next
		}
	}
}

// tick takes that a deadline has passed.
func (m *Machine) tick() {
	at, ok := m.Deadline()
	if !ok || m.now.Before(at) {
		return
	}
	did := m.doing
	if did == preparing || did == fetching {
		m.wake() // what a rollout allowed has ended
		return
	}
	m.doing, m.was = resting, resting
	switch {
	case did == holding:
		m.resume()
	case did == goingDown:
		m.back(reason.Reboot, fmt.Errorf("the device is still up %v after it was told to restart", rebootWait))
	case m.now.Before(m.deadline):
		m.ask()
	default:
		m.back(reason.NotConfirmed, fmt.Errorf("the load was not confirmed within %v: %w", m.trial.Within, m.unhealthy))
	}
}

// confirmed ends an upgrade well.
func (m *Machine) confirmed() {
	r := &m.rec
	m.tell(Ended{Result: Committed, Load: r.Load, Version: r.Version})
	r.passed(r.Load)
	m.idle(report.StateIdle)
	r.Installs = 0
}

// back begins the way back to the load before.
func (m *Machine) back(code reason.Code, why error) {
	r := &m.rec
	r.Phase, r.Reason, r.Message, r.Since = Rollback, code, why.Error(), m.stamp()
	m.resume()
}

// goBack makes the other slot active again, if it is not.
func (m *Machine) goBack() {
	if m.slots.Active.State == SlotTrial {
		m.begin(goingBack, ChangeSlots{GoBack})
		return
	}
	m.revoke()
}

// revoke has the installer undo what it did.
func (m *Machine) revoke() { m.begin(revoking, m.step(StepRollback)) }

// revoked ends an upgrade that was rolled back.
func (m *Machine) revoked(e StepEnded) {
	r := &m.rec
	if e.Err != nil {
		m.fault(reason.Installer, e.Err)
		m.problem(fmt.Errorf("the installer could not go back: %w", e.Err))
	}
	code, message := r.Reason, r.Message
	m.fault(code, errors.New(message))
	m.tell(Ended{Result: RolledBack, Load: r.Load, Version: r.Version, Reason: code, Message: message,
		Final: m.works()})
	m.failed(code)
	state := report.StateRolledBack
	if a := m.slots.Active; a.Load == r.Load && a.State == SlotFailed {
		state = report.StateFailed // there was no load to go back to
	}
	m.idle(state)
	r.Reason, r.Message, r.Installs = code, message, 0
	if e.Restart {
		m.begin(restartingOld, m.step(StepReboot))
	}
}
