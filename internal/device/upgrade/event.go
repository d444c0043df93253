package upgrade

import (
	"time"

	"github.com/peerload/peerload/internal/device/reason"
)

// Event is what happened.
type Event interface{ event() }

// Slots is what the machine needs to know of the two slots.
type Slots struct {
	// Active is the zero Slot before the first switch.
	Active, Inactive Slot
}

// Slot is one of them.
type Slot struct {
	// Load and Version that it holds or will hold.
	Load, Version string
	State         SlotState
	// Booted says that the device was started at least once during the trial.
	Booted bool
}

// SlotState is what is known of a slot, as far as it matters here.
type SlotState int

// The states of a slot.
const (
	SlotOther     SlotState = iota // empty, being filled, or complete
	SlotTrial                      // active, and not confirmed yet
	SlotConfirmed                  // known to be good
	SlotFailed                     // its trial failed
)

type (
	// Started is the first event: the program was started. Boot differs with
	// each start of the device.
	Started struct {
		Boot  string
		Slots Slots
	}
	// Configured says how a load on trial is confirmed: by a command, which
	// AskHealth asks, or else by being provisioned; and within which time.
	Configured struct {
		ByCommand bool
		Within    time.Duration
	}
	// Provisioned says which load a server assigns; "" is none. Grant is what a
	// rollout allows that brings the load; nil where none does.
	Provisioned struct {
		Load  string
		Grant *Grant
	}
	// Wake begins what is due. It comes at the start and after each question
	// how the device is provisioned, which so paces what is tried again.
	Wake struct{}
	// Forget is an order: loads that failed may be tried again at once.
	Forget struct{}
	// Interrupt ends a Fetch, which begins again with the next Wake. Whatever
	// else is under way goes on.
	Interrupt struct{}
	// Tick says that the Deadline has passed.
	Tick struct{}
	// NotRemembered says that the Remember of the last Step failed.
	NotRemembered struct{}

	// Fetched ends a Fetch: the load is complete and verified.
	Fetched struct {
		Version string
		Slots   Slots
	}
	// Held ends a Fetch: the active slot has the very load already.
	Held struct{ Slots Slots }
	// NotFetched ends a Fetch that failed. Final: no other try would help.
	NotFetched struct {
		Reason reason.Code
		Err    error
		Final  bool
		Slots  Slots
	}
	// StepEnded ends a RunStep. Restart: the installer wants the device
	// restarted. Err says how it failed, was killed or took too long.
	StepEnded struct {
		Restart bool
		Err     error
	}
	// SlotsChanged ends a ChangeSlots. On an error nothing has changed.
	SlotsChanged struct {
		// RolledBack says that CountBoot went back.
		RolledBack bool
		// NoWayBack says of Err that the other slot cannot be started.
		NoWayBack bool
		Err       error
		Slots     Slots
	}
	// Asked ends an AskHealth: nil says that the load works.
	Asked struct{ Err error }
)

func (Started) event()       {}
func (Configured) event()    {}
func (Provisioned) event()   {}
func (Wake) event()          {}
func (Forget) event()        {}
func (Interrupt) event()     {}
func (Tick) event()          {}
func (NotRemembered) event() {}
func (Fetched) event()       {}
func (Held) event()          {}
func (NotFetched) event()    {}
func (StepEnded) event()     {}
func (SlotsChanged) event()  {}
func (Asked) event()         {}
