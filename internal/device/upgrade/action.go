package upgrade

import (
	"github.com/peerload/peerload/internal/device/reason"
)

// Action is what the machine wants done.
type Action interface{ action() }

// Step is what an installer is asked to do. They come in this order; Rollback
// instead of Commit, or after an Install that failed.
type Step string

// The steps of an upgrade.
const (
	// StepDownload: the load is about to be fetched. Failing puts it off to
	// the next check-in.
	StepDownload Step = "Download"
	// StepInstall: the load is complete and verified. Afterwards its slot
	// becomes active on trial.
	StepInstall Step = "Install"
	// StepReboot: restart the device into the active slot.
	StepReboot Step = "Reboot"
	// StepCommit: the new load works; nothing of the old one is needed to boot.
	StepCommit Step = "Commit"
	// StepRollback: the old slot is active again; undo what Install did.
	StepRollback Step = "Rollback"
)

// SlotChange is what is to be done with the slots.
type SlotChange string

// The changes of slots.
const (
	CountBoot   SlotChange = "count a boot" // the device was started
	SwitchTrial SlotChange = "switch"       // the inactive slot becomes active, on trial
	Confirm     SlotChange = "confirm"      // the trial ends well
	GoBack      SlotChange = "go back"      // the other slot becomes active again
	Fail        SlotChange = "fail"         // the trial ends badly, and the slot stays active
)

// Result of an upgrade.
type Result string

// The results; metrics count them under these names.
const (
	Committed  Result = "committed"
	RolledBack Result = "rolled-back"
	Failed     Result = "failed"
)

type (
	// Remember makes the record durable before anything after it is done.
	Remember struct{ Record Record }

	// Fetch is a job: bring a load into the inactive slot.
	Fetch struct{ Load string }
	// RunStep is a job: ask the installer.
	RunStep struct {
		Step          Step
		Load, Version string
	}
	// ChangeSlots is a job.
	ChangeSlots struct{ Change SlotChange }
	// AskHealth is a job: does the load on trial work?
	AskHealth struct{ Load, Version string }

	// Stop ends the Fetch, or the RunStep before it, that is under way.
	Stop struct{}
	// CheckIn asks how the device is provisioned, now.
	CheckIn struct{}

	// Began tells that the work of a phase begins.
	Began struct {
		Phase Phase
		Load  string
	}
	// Reassigned tells that another load takes the place of the one that is
	// being fetched; "" is none.
	Reassigned struct{ From, To string }
	// Fault is a failure that the controller and the page are to know.
	Fault struct {
		Load   string
		Reason reason.Code
		Err    error
	}
	// Problem is a failure for the log alone.
	Problem struct {
		Phase Phase
		Load  string
		Err   error
	}
	// Ended tells how an upgrade ended. Final: the load is not tried again by
	// itself.
	Ended struct {
		Result        Result
		Load, Version string
		Reason        reason.Code
		Message       string
		Final         bool
	}
)

func (Remember) action()    {}
func (Fetch) action()       {}
func (RunStep) action()     {}
func (ChangeSlots) action() {}
func (AskHealth) action()   {}
func (Stop) action()        {}
func (CheckIn) action()     {}
func (Began) action()       {}
func (Reassigned) action()  {}
func (Fault) action()       {}
func (Problem) action()     {}
func (Ended) action()       {}
