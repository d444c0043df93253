package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"slices"

	"github.com/peerload/peerload/internal/device/seal"
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
	if err := load.CheckFileName(l.Name); err != nil {
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
	// Turn orders the slots by when they were last switched to: the higher one
	// was the later. 0: never, or by a version that did not count.
	Turn int `json:"turn,omitempty"`
}

// bootable reports whether the slot may be switched to.
func (i Info) bootable() bool { return i.State == StateComplete || i.State == StateConfirmed }

// The state of slot a is in a.json: small, and replaced by rename.
const (
	stateFormat = 1
	maxTurn     = 1 << 30
	// maxState bounds a state file: in JSON one byte of a name may take six.
	maxState = 4096 + maxEntries*(6*load.MaxNameLen+256)
)

type stateFile struct {
	Format int `json:"format"`
	Info
}

func marshalState(i Info) ([]byte, error) {
	return seal.Marshal(stateFile{Format: stateFormat, Info: i})
}

// parseState reads a state file of at most maxState bytes.
func parseState(b []byte) (Info, error) {
	if len(b) > maxState {
		return Info{}, fmt.Errorf("a slot's state of more than %d bytes", maxState)
	}
	if err := seal.Check(b); err != nil {
		return Info{}, fmt.Errorf("a slot's state: %w", err)
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
	if f.Turn < 0 || f.Turn > maxTurn {
		return Info{}, fmt.Errorf("a slot's turn is %d", f.Turn)
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

// readState returns the state of a slot. One that is damaged is put aside, and
// the slot is empty.
func (s *Slots) readState(slot string) (Info, error) {
	empty := Info{Slot: slot, State: StateEmpty}
	name := s.stateName(slot)
	b, err := ReadBounded(s.fs, name, int64(maxState))
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return empty, nil
	case err == nil:
		var i Info
		if i, err = parseState(b); err == nil {
			i.Slot = slot
			return i, nil
		}
	case !errors.Is(err, ErrDamaged) && !NoFile(err):
		return empty, err
	}
	return empty, s.damage.PutAside(s.fs, name, err)
}

// setState makes a slot's new state durable.
func (s *Slots) setState(i Info) error {
	b, err := marshalState(i)
	if err == nil {
		err = WriteAtomic(s.fs, s.stateName(i.Slot), b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the state of slot %s", i.Slot), err)
	}
	s.info[i.Slot] = i
	return nil
}
