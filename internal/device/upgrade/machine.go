package upgrade

import (
	"errors"
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/report"
)

// Times and limits of an upgrade.
const (
	// confirmEvery is the distance between two questions whether the new load
	// works; a short trial asks four times.
	confirmEvery = 2 * time.Second
	// rebootWait is how long the device may take to go down.
	rebootWait = 10 * time.Minute
	// maxStarts is how often the program may be started during one trial before
	// the load counts as one that does not stay up.
	maxStarts = 5
	// maxInstalls is how often a load is installed without being tried to an
	// end: an installer that takes the device down with it, or a slot that
	// cannot be switched, must not keep a device busy for ever.
	maxInstalls = 5
	// againFirst is how long a load that failed is left alone where the device
	// has none that works, so that nothing is lost by trying; each time twice as
	// long, up to againMost. What made it fail may be mended meanwhile: the
	// installer, the self-test, the server that a trial waits for.
	againFirst = 15 * time.Minute
	againMost  = 6 * time.Hour
)

// doing is what is under way.
type doing int

const (
	resting       doing = iota // nothing: the next Wake begins what is due
	counting                   // CountBoot
	preparing                  // StepDownload
	fetching                   // Fetch
	holding                    // has the load, and waits until it may be installed
	installing                 // StepInstall
	undoing                    // StepRollback after an Install that failed
	switching                  // SwitchTrial
	restarting                 // StepReboot
	goingDown                  // waits for the device to go down
	asking                     // AskHealth
	waiting                    // waits to ask again, or to be provisioned
	committing                 // StepCommit
	confirming                 // Confirm
	goingBack                  // GoBack
	failing                    // Fail
	revoking                   // StepRollback after the slots went back
	restartingOld              // StepReboot after that
)

// stopping says why a fetch was told to stop.
type stopping int

const (
	goesOn     stopping = iota // it was not
	reassigned                 // another load takes its place
	suspended                  // it begins again with the next Wake
)

// Machine is the upgrade of one device. Use New. It is not safe for concurrent
// use.
type Machine struct {
	rec     Record
	durable Record // as remembered last
	before  Record // what was remembered before durable
	slots   Slots
	cfg     Configured
	boot    string

	doing     doing
	was       doing // what is under way again if the last Step is not remembered
	stopping  stopping
	trial     Configured // in force for the trial under way
	deadline  time.Time  // of goingDown, asking and waiting
	askAt     time.Time  // when waiting ends: to ask again, or at the deadline
	unhealthy error      // what the last AskHealth said
	since     time.Time  // of the start, or of the last failure after it

	// Of the Step under way.
	now  time.Time
	told []Action
	job  Action
}

// New returns the machine of a device that remembers this record. Its first
// event is Started.
func New(r Record) *Machine {
	if r.Phase == "" {
		r.Phase = Idle
	}
	return &Machine{rec: r, durable: r, before: r}
}

// Record returns what holds now. It is not to be changed.
func (m *Machine) Record() Record { return m.rec }

// Working reports whether an upgrade is under way: a job, or a wait for its end. A
// load that waits until it may be installed is not.
func (m *Machine) Working() bool { return m.doing != resting && m.doing != holding }

// Unfinished reports whether a load is assigned that does not run yet, and
// waits for the next Wake.
func (m *Machine) Unfinished() bool {
	return m.rec.Phase == Idle && !m.Working() && m.wanted() != ""
}

// Deadline returns when Tick is due; ok is false if nothing waits.
func (m *Machine) Deadline() (at time.Time, ok bool) {
	switch m.doing {
	case goingDown:
		return m.deadline, true
	case waiting:
		return m.askAt, true
	case preparing, fetching:
		if g := m.rec.Grant; g != nil && m.stopping == goesOn {
			return g.Download.Until, true
		}
	case holding:
		if g := m.rec.Grant; g != nil && m.now.Before(g.Activate.Until) {
			return g.Activate.From, true
		}
	}
	return time.Time{}, false
}

// Step takes an event and appends what follows from it to out.
func (m *Machine) Step(now time.Time, in Event, out []Action) []Action {
	m.now = now
	if _, failed := in.(NotRemembered); failed {
		m.rec, m.durable, m.doing = m.before, m.before, m.was
		return out
	}
	m.was = m.doing
	m.take(in)
	if !m.rec.equal(m.durable) {
		m.before, m.durable = m.durable, m.rec
		out = append(out, Remember{m.rec})
	}
	out = append(out, m.told...)
	if m.job != nil {
		out = append(out, m.job)
	}
	m.told, m.job = nil, nil
	return out
}

// take takes one event.
func (m *Machine) take(in Event) {
	switch e := in.(type) {
	case Started:
		m.started(e)
	case Configured:
		m.cfg = e
	case Provisioned:
		m.provisioned(e.Load, e.Grant)
	case Wake:
		m.wake()
	case Forget:
		m.rec.Failed, m.rec.Installs = nil, 0
	case Interrupt:
		m.stop(suspended)
	case Tick:
		m.tick()
	default:
		m.jobEnded(in)
	}
}

// jobEnded takes the end of a job. One that nobody waits for is dropped.
func (m *Machine) jobEnded(in Event) {
	did := m.doing
	switch e := in.(type) {
	case Fetched:
		m.slots = e.Slots
	case Held:
		m.slots = e.Slots
	case NotFetched:
		m.slots = e.Slots
	case SlotsChanged:
		m.slots = e.Slots
	}
	if !ends(did, in) {
		return
	}
	m.doing, m.was = resting, resting
	if s := m.stopping; s != goesOn {
		m.stopping = goesOn
		if s == reassigned {
			m.next()
		}
		return
	}
	switch e := in.(type) {
	case Fetched:
		m.rec.Phase, m.rec.Version, m.rec.State, m.rec.Since = Install, e.Version, report.StateReady, m.stamp()
		m.resume()
	case Held:
		m.idle(report.StateIdle)
	case NotFetched:
		m.giveUp(e.Reason, e.Err, e.Final)
	case StepEnded:
		m.stepEnded(did, e)
	case SlotsChanged:
		m.slotsChanged(did, e)
	case Asked:
		m.asked(e.Err)
	}
}

// ends reports whether an event is the end of the job under way.
func ends(d doing, in Event) bool {
	switch in.(type) {
	case Fetched, Held, NotFetched:
		return d == fetching
	case StepEnded:
		return d == preparing || d == installing || d == undoing || d == restarting || d == committing ||
			d == revoking || d == restartingOld
	case SlotsChanged:
		return d == counting || d == switching || d == confirming || d == goingBack || d == failing
	}
	return d == asking
}

// stepEnded takes the end of what the installer was asked to do.
func (m *Machine) stepEnded(did doing, e StepEnded) {
	switch did {
	case preparing:
		if e.Err != nil {
			m.giveUp(reason.Installer, e.Err, false)
			return
		}
		m.begin(fetching, Fetch{m.rec.Load})
	case installing:
		m.installed(e)
	case undoing:
		if e.Err != nil {
			m.problem(fmt.Errorf("the installer could not undo its work: %w", e.Err))
		}
		m.giveUp(m.rec.Reason, errors.New(m.rec.Message), true)
	case restarting:
		if e.Err != nil {
			m.back(reason.Reboot, e.Err)
			return
		}
		m.doing, m.deadline = goingDown, m.now.Add(rebootWait)
	case committing:
		if e.Err != nil {
			m.back(reason.Installer, e.Err)
			return
		}
		m.begin(confirming, ChangeSlots{Confirm})
	case revoking:
		m.revoked(e)
	case restartingOld:
		if e.Err != nil {
			m.problem(e.Err)
		}
	}
}

// slotsChanged takes the end of a change of the slots.
func (m *Machine) slotsChanged(did doing, e SlotsChanged) {
	switch {
	case did == counting:
		m.counted(e)
	case did == switching && e.Err != nil:
		m.giveUp(reason.Switch, e.Err, false)
	case did == switching:
		m.switched()
	case did == goingBack && e.NoWayBack:
		// A load that does not work, and no other: it ends its trial so that the
		// other slot can take the next load, and stays known as failed.
		m.noWayBack(e.Err)
		m.begin(failing, ChangeSlots{Fail})
	case e.Err != nil:
		m.problem(e.Err) // the phase stays, and the next Wake begins it again
	case did == confirming:
		m.confirmed()
	default:
		m.revoke()
	}
}

// wanted returns the load to upgrade to, "" if there is nothing to do.
func (m *Machine) wanted() string {
	if !m.rec.Grant.may(m.now, download) {
		return ""
	}
	if f, failed := m.rec.FailedBefore(m.rec.Assigned); failed && !m.due(f) {
		return ""
	}
	if a := m.slots.Active; a.Load == m.rec.Assigned && a.State != SlotFailed {
		return ""
	}
	return m.rec.Assigned
}

// works reports whether the device runs a load that is known to be good.
func (m *Machine) works() bool { return m.slots.Active.State == SlotConfirmed }

// due reports whether a load that failed is to be tried once more. Its pause is
// counted anew from each start: it needs no clock that is right, and a load that
// takes the device down does not come back sooner.
func (m *Machine) due(f FailedLoad) bool {
	pause := againMost
	if n := max(f.Tries, 1) - 1; n < 16 {
		pause = min(againFirst<<n, againMost)
	}
	return !m.works() && m.now.Sub(m.since) >= pause
}

// failed notes that a load failed.
func (m *Machine) failed(code reason.Code) {
	m.rec.fail(m.rec.Load, code, m.now)
	m.since = m.now
}

// provisioned takes which load is assigned, and what a rollout allows that brings
// it. Where nobody else is asked, being provisioned is what shows that a new load
// works. A load that failed may be tried again in another try of a rollout.
func (m *Machine) provisioned(load string, g *Grant) {
	r := &m.rec
	if load != r.Assigned || g != nil && g.By != r.Grant.by() {
		r.Assigned, r.Failed, r.Installs = load, nil, 0
	}
	if !g.same(r.Grant) {
		r.Grant = g
	}
	if r.Load == load && (r.Phase == Download || r.Phase == Install && r.State == report.StateReady) {
		r.By = g.by()
	}
	if m.doing == waiting && !m.trial.ByCommand {
		m.begin(committing, m.step(StepCommit))
	}
}

// wake begins what is due. A fetch of a load that is no longer assigned, or may no
// longer be fetched, is given up.
func (m *Machine) wake() {
	if m.doing == resting || m.doing == holding {
		m.doing = resting
		m.next()
		return
	}
	if want := m.wanted(); want != m.rec.Load && m.stop(reassigned) && m.rec.Assigned != m.rec.Load {
		m.tell(Reassigned{From: m.rec.Load, To: want})
	}
}

// stop ends a fetch, if one is under way and was not told to stop before. One
// that is suspended does not begin again by itself, whatever is assigned.
func (m *Machine) stop(why stopping) bool {
	if m.stopping == suspended || m.stopping == why || m.doing != preparing && m.doing != fetching {
		return false
	}
	if m.stopping == goesOn {
		m.tell(Stop{})
	}
	m.stopping = why
	return true
}

// next begins the next upgrade, or goes on with the one that was begun.
func (m *Machine) next() {
	r := &m.rec
	if want := m.wanted(); r.Phase == Idle || r.Phase == Download && want != r.Load {
		if want == "" {
			if r.Phase == Download {
				m.idle(report.StateIdle)
			}
			return
		}
		if want != r.Load {
			r.Installs = 0
		}
		if r.again(want) {
			r.Installs = min(r.Installs, maxInstalls-1) // once more, however often it was
		}
		r.Phase, r.Load, r.Version, r.Starts, r.By = Download, want, "", 0, r.Grant.by()
	}
	m.resume()
}

// held reports whether a load that is there may not be installed yet, or any more.
// What a rollout has brought is given up once it is no longer assigned.
func (m *Machine) held() bool {
	r := &m.rec
	if r.Phase != Install || r.State == report.StateInstalling {
		return false // once begun it is let end
	}
	if r.By != (By{}) && r.Assigned != r.Load {
		m.idle(report.StateIdle)
		return true
	}
	if r.Grant.may(m.now, activate) {
		return false
	}
	m.doing = holding
	return true
}

// resume begins the work of the phase.
func (m *Machine) resume() {
	if m.held() {
		return
	}
	m.tell(Began{m.rec.Phase, m.rec.Load})
	switch m.rec.Phase {
	case Download:
		m.rec.State, m.rec.Since = report.StateDownloading, m.stamp()
		m.begin(preparing, m.step(StepDownload))
	case Install:
		m.install()
	case Reboot, Trial:
		m.switchOver()
	case Rollback:
		m.goBack()
	}
}

// install asks the installer, unless that has led nowhere too often.
func (m *Machine) install() {
	r := &m.rec
	if _, failed := r.FailedBefore(r.Load); failed { // and only its undoing was cut off
		m.begin(undoing, m.step(StepRollback))
		return
	}
	if r.Installs >= maxInstalls {
		m.installFailed(fmt.Errorf("the load was installed %d times and never got to the end of its trial", r.Installs))
		return
	}
	r.Installs++
	r.State = report.StateInstalling
	m.begin(installing, m.step(StepInstall))
}

// installed takes the end of an Install. The slot is switched in the next phase:
// a power cut between finds what is still to be done.
func (m *Machine) installed(e StepEnded) {
	if e.Err != nil {
		m.installFailed(e.Err)
		return
	}
	r := &m.rec
	r.Phase, r.State, r.RebootFrom = Trial, report.StateTrial, ""
	if e.Restart {
		r.Phase, r.State, r.RebootFrom = Reboot, report.StateRebooting, m.boot
	}
	r.Since, r.Starts = m.stamp(), 1
	m.resume()
}

// installFailed notes the failure before it is undone: after a power cut the
// installer is not asked for the same again.
func (m *Machine) installFailed(why error) {
	m.failed(reason.Installer)
	m.rec.Reason, m.rec.Message = reason.Installer, why.Error()
	m.begin(undoing, m.step(StepRollback))
}

// giveUp ends an upgrade that failed before its load was tried. Final: the load
// is not tried again until another one is assigned, or for a while if the device
// has none that works.
func (m *Machine) giveUp(code reason.Code, why error, final bool) {
	r := &m.rec
	m.fault(code, why)
	m.tell(Ended{Result: Failed, Load: r.Load, Version: r.Version, Reason: code, Message: why.Error(),
		Final: final && m.works()})
	if final {
		m.failed(code)
	}
	m.idle(report.StateFailed)
	r.Reason, r.Message = code, why.Error()
}

// idle ends an upgrade.
func (m *Machine) idle(state string) {
	r := &m.rec
	r.Phase, r.State, r.Since, r.Starts, r.RebootFrom = Idle, state, m.stamp(), 0, ""
	r.Reason, r.Message = "", ""
}

// step is a question to the installer about the load under way.
func (m *Machine) step(s Step) Action {
	return RunStep{Step: s, Load: m.rec.Load, Version: m.rec.Version}
}

// begin begins a job.
func (m *Machine) begin(d doing, job Action) { m.doing, m.job = d, job }

func (m *Machine) tell(a Action) { m.told = append(m.told, a) }

func (m *Machine) fault(code reason.Code, why error) { m.tell(Fault{m.rec.Load, code, why}) }

// noWayBack tells of a load on trial that was not confirmed, and of no other.
func (m *Machine) noWayBack(why error) {
	m.fault(reason.NoWayBack, why)
	m.problem(fmt.Errorf("there is no load to go back to: %w", why))
}

func (m *Machine) problem(why error) { m.tell(Problem{m.rec.Phase, m.rec.Load, why}) }

// stamp is the time for people.
func (m *Machine) stamp() string { return m.now.Format(time.RFC3339) }
