package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/peerload/peerload/load"
)

// State is the state of one slot.
type State string

// The states of a slot. Only complete and confirmed can be booted or switched
// to; trial is complete, active and not yet confirmed.
const (
	// StateEmpty: nothing of use, or the state file is missing or damaged.
	StateEmpty State = "empty"
	// StateFilling: components are being fetched.
	StateFilling State = "filling"
	// StateComplete: all components are there and verified.
	StateComplete State = "complete"
	// StateTrial: switched to for a trial that is not confirmed.
	StateTrial State = "trial"
	// StateConfirmed: has been active and is known to be good.
	StateConfirmed State = "confirmed"
	// StateFailed: its trial failed. It was rolled back, or is still active
	// because there was nothing to go back to.
	StateFailed State = "failed"
)

var states = []State{StateEmpty, StateFilling, StateComplete, StateTrial, StateConfirmed, StateFailed}

// Load is what a slot holds: a load's name, version and components.
type Load struct {
	// Name of the load, as load.CheckName allows.
	Name string `json:"load"`
	// Version is text for people, up to load.MaxTextLen bytes.
	Version string `json:"version"`
	// Components, one or more, with unique names.
	Components []Entry `json:"components"`
}

// Validate refuses a load that a slot cannot hold.
func (l Load) Validate() error {
	if err := load.CheckName(l.Name); err != nil {
		return fmt.Errorf("the load's name: %w", err)
	}
	if len(l.Version) > load.MaxTextLen {
		return fmt.Errorf("the load's version has %d bytes, more than %d", len(l.Version), load.MaxTextLen)
	}
	return validateEntries(l.Components)
}

func (l Load) equal(o Load) bool {
	return l.Name == o.Name && l.Version == o.Version && slices.Equal(l.Components, o.Components)
}

// Info describes one slot.
type Info struct {
	// Slot is its name, "a" or "b"; it is not in the state file.
	Slot string `json:"-"`
	// State of the slot.
	State State `json:"state"`
	// Load that it holds or will hold; zero when empty.
	Load
	// Boots counts how often an unconfirmed trial was booted, 0 or 1.
	Boots int `json:"boots,omitempty"`
}

// bootable reports whether the slot may be switched to.
func (i Info) bootable() bool { return i.State == StateComplete || i.State == StateConfirmed }

// The state of slot a is in a.json: small, and replaced by rename.
const (
	stateFormat = 1
	// maxState bounds a state file: in JSON one byte of a name may take six.
	maxState = 4096 + maxEntries*(6*load.MaxNameLen+256)
)

type stateFile struct {
	Format int `json:"format"`
	Info
}

func marshalState(i Info) ([]byte, error) {
	b, err := json.MarshalIndent(stateFile{Format: stateFormat, Info: i}, "", "  ")
	return append(b, '\n'), err
}

// parseState reads a state file of at most maxState bytes.
func parseState(b []byte) (Info, error) {
	if len(b) > maxState {
		return Info{}, fmt.Errorf("a slot's state of more than %d bytes", maxState)
	}
	var f stateFile
	if err := json.Unmarshal(b, &f); err != nil {
		return Info{}, fmt.Errorf("a slot's state: %w", err)
	}
	if f.Format != stateFormat {
		return Info{}, fmt.Errorf("a slot's state of format %d, this program knows %d", f.Format, stateFormat)
	}
	if !slices.Contains(states, f.State) {
		return Info{}, fmt.Errorf("a slot's state is called %q", f.State)
	}
	if f.Boots < 0 || f.Boots > 1 {
		return Info{}, fmt.Errorf("a slot's trial was booted %d times", f.Boots)
	}
	if f.State == StateEmpty {
		return Info{State: StateEmpty}, nil
	}
	if err := f.Load.Validate(); err != nil {
		return Info{}, fmt.Errorf("a slot's state: %w", err)
	}
	return f.Info, nil
}

func (s *Slots) stateName(slot string) string { return filepath.Join(s.dir, slot+".json") }

// readState returns the state of a slot; an unreadable one is empty.
func (s *Slots) readState(slot string) Info {
	b, err := readBounded(s.fs, s.stateName(slot), int64(maxState))
	if err == nil {
		if i, err := parseState(b); err == nil {
			i.Slot = slot
			return i
		}
	}
	return Info{Slot: slot, State: StateEmpty}
}

// setState makes a slot's new state durable.
func (s *Slots) setState(i Info) error {
	b, err := marshalState(i)
	if err == nil {
		err = writeAtomic(s.fs, s.stateName(i.Slot), b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the state of slot %s", i.Slot), err)
	}
	s.info[i.Slot] = i
	return nil
}
