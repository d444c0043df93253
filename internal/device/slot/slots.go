package slot

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"
	"sync"
)

const (
	slotA       = "a"
	slotB       = "b"
	currentLink = "current"
	slotsLock   = ".slots.lock"
)

// Slots is a directory with two slots: a and b, each a directory with the
// components of one load, a.json and b.json with their states, and current, a
// symbolic link to the active one. Switching replaces the link by rename: a
// boot loader that follows it finds the old load or the new. Methods may be
// called concurrently.
type Slots struct {
	fs   FS
	dir  string
	lock io.Closer

	damage Damage // found by OpenSlots

	mu     sync.Mutex
	active string // "a", "b", or "" before the first switch
	info   map[string]Info
}

// OpenSlots opens the slots of dir, which must exist, and makes what is
// missing. What is damaged is put aside and begun anew: see Slots.Damage. A slot
// that another user can write is refused. One process at a time may hold them:
// ErrLocked.
func OpenSlots(fs FS, dir string) (*Slots, error) {
	lock, err := fs.Lock(filepath.Join(dir, slotsLock))
	if err != nil {
		return nil, err
	}
	s := &Slots{fs: fs, dir: dir, lock: lock, info: map[string]Info{}}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the slots of %s: %w", dir, err), lock.Close())
	}
	return s, nil
}

func (s *Slots) open() error {
	made := false
	for _, n := range []string{slotA, slotB} {
		did, err := s.makeSlot(n)
		if err != nil {
			return err
		}
		made = made || did
		if s.info[n], err = s.readState(n); err != nil {
			return err
		}
	}
	if made {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return err
		}
	}
	if err := s.findActive(); err != nil {
		return err
	}
	return s.tidy()
}

// Damage says what was found damaged when the slots were opened, was put aside
// and begun anew.
func (s *Slots) Damage() []error { return s.damage }

// tidy completes what a crash interrupted: a trial that is not active was
// either not switched to yet, or already rolled back.
func (s *Slots) tidy() error {
	i := s.info[s.other()]
	if i.State != StateTrial {
		return nil
	}
	i.State, i.Boots = afterTrial(i), 0
	return s.setState(i)
}

func afterTrial(i Info) State {
	if i.Boots > 0 {
		return StateFailed
	}
	return StateComplete
}

// other is the slot that is not active.
func (s *Slots) other() string {
	if s.active == slotA {
		return slotB
	}
	return slotA
}

// Close releases the slots.
func (s *Slots) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	l := s.lock
	s.lock = nil
	return l.Close()
}

// Dir returns the directory of a slot by its name.
func (s *Slots) Dir(slot string) string { return filepath.Join(s.dir, slot) }

// Active describes the active slot; ok is false before the first switch.
func (s *Slots) Active() (i Info, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info[s.active], s.active != ""
}

// Inactive describes the slot to fill.
func (s *Slots) Inactive() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info[s.other()]
}

// Begin makes the inactive slot ready for load l and returns the components
// still to be committed into its directory. Files of an earlier load are
// removed, except those that l has too; files of the active slot that l has too
// get a second name here, and so are on the medium once: nothing may write to a
// committed file. What is kept has been verified. While a trial is not
// confirmed, the other slot is needed to go back: ErrTrial.
func (s *Slots) Begin(l Load) (missing []Entry, err error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.info[s.active].State == StateTrial {
		return nil, fmt.Errorf("fill slot %s: %w: confirm it or roll it back first", s.other(), ErrTrial)
	}
	i := s.info[s.other()]
	if i.State != StateFilling || !i.Load.equal(l) {
		// From here on the slot must not be booted; only then may files go.
		if err := s.setState(Info{Slot: i.Slot, State: StateFilling, Load: l}); err != nil {
			return nil, err
		}
	}
	if err := s.clean(i.Slot, l); err != nil {
		return nil, fmt.Errorf("clean slot %s: %w", i.Slot, err)
	}
	for _, e := range l.Components {
		if !s.reuse(i.Slot, e) {
			missing = append(missing, e)
		}
	}
	return missing, s.fs.SyncDir(s.Dir(i.Slot))
}

// clean removes from a slot what load l does not need.
func (s *Slots) clean(slot string, l Load) error {
	want := map[string]bool{}
	for _, e := range l.Components {
		part := filepath.Base(partName(e.Name))
		want[e.Name], want[part], want[filepath.Base(indexName(e.Name))] = true, true, true
		want[filepath.Base(lockName(e.Name))] = true
	}
	names, err := s.fs.ReadDir(s.Dir(slot))
	if err != nil {
		return err
	}
	for _, n := range names {
		if want[n.Name()] {
			continue
		}
		if err := RemoveTree(s.fs, filepath.Join(s.Dir(slot), n.Name())); err != nil {
			return err
		}
	}
	return nil
}

// reuse reports whether e is in the slot already, or could be linked from the
// active one. Where it cannot be linked it is fetched.
func (s *Slots) reuse(slot string, e Entry) bool {
	name := filepath.Join(s.Dir(slot), e.Name)
	if f, err := OpenVerified(s.fs, name, e.Size, e.Digest); err == nil {
		return f.Close() == nil
	}
	if s.active == "" || makeRoom(s.fs, name) != nil {
		return false
	}
	there := s.info[s.active].Components
	if s.info[s.active].State == StateEmpty { // lost: it may still be the same file
		there = []Entry{e}
	}
	for _, have := range there {
		if have.Digest != e.Digest {
			continue
		}
		from := filepath.Join(s.Dir(s.active), have.Name)
		f, err := OpenVerified(s.fs, from, e.Size, e.Digest)
		if err != nil {
			continue
		}
		ok := StillOpen(s.fs, from, f) == nil && s.fs.Link(from, name) == nil
		return errors.Join(f.Close()) == nil && ok
	}
	return false
}

// Complete verifies every component of the inactive slot and marks it
// complete, to be switched to later. A missing or wrong component is
// ErrIncomplete or ErrDamaged and leaves the slot as it is.
func (s *Slots) Complete() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.info[s.other()]
	if i.State == StateEmpty || i.State == StateFailed {
		return fmt.Errorf("slot %s is %s: %w", i.Slot, i.State, ErrNoSlot)
	}
	h, err := s.verify(i)
	if err != nil {
		return err
	}
	defer h.close()
	if i.State != StateFilling {
		return nil
	}
	i.State = StateComplete
	return s.setState(i)
}

// Switch makes the inactive slot active, confirmed at once. Every component
// is verified first, and the files that were verified are the ones switched
// to; on any error the old slot stays active.
func (s *Slots) Switch() error { return s.switchTo(StateConfirmed) }

// SwitchTrial makes the inactive slot active on trial: unless Confirm is
// called, the second Boot after it rolls back.
func (s *Slots) SwitchTrial() error { return s.switchTo(StateTrial) }

func (s *Slots) switchTo(st State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.info[s.active].State == StateTrial {
		return fmt.Errorf("switch to slot %s: %w: confirm it or roll it back first", s.other(), ErrTrial)
	}
	i := s.info[s.other()]
	if i.State != StateFilling && !i.bootable() {
		return fmt.Errorf("slot %s is %s: %w: nothing to switch to", i.Slot, i.State, ErrNoSlot)
	}
	h, err := s.verify(i)
	if err != nil {
		return err
	}
	defer h.close()
	i.State, i.Boots, i.Turn = st, 0, min(max(s.info[slotA].Turn, s.info[slotB].Turn)+1, maxTurn)
	if err := s.setState(i); err != nil {
		return err
	}
	return s.activate(i.Slot, h)
}

// activate points current to a verified slot, durably.
func (s *Slots) activate(slot string, h held) error {
	link := filepath.Join(s.dir, currentLink)
	tmp := "." + currentLink + ".new"
	if err := makeRoom(s.fs, filepath.Join(s.dir, tmp)); err != nil {
		return err
	}
	if err := s.fs.Symlink(slot, filepath.Join(s.dir, tmp)); err != nil {
		return fmt.Errorf("switch to slot %s: %w", slot, err)
	}
	if err := h.same(); err != nil {
		return fmt.Errorf("switch to slot %s: %w", slot, err)
	}
	if err := s.fs.Rename(filepath.Join(s.dir, tmp), link); err != nil {
		return fmt.Errorf("switch to slot %s: %w", slot, err)
	}
	s.active = slot
	err := h.same()
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("switch to slot %s: %w", slot, err)
	}
	return nil
}

// Confirm ends the trial of the active slot with success. Without a trial it
// does nothing.
func (s *Slots) Confirm() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.info[s.active]
	if i.State != StateTrial {
		return nil
	}
	i.State, i.Boots = StateConfirmed, 0
	return s.setState(i)
}

// Fail ends the trial of the active slot if Rollback finds nothing to go back
// to: the slot stays active, is marked as failed, and the other one can be
// filled. Without a trial it does nothing.
func (s *Slots) Fail() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.info[s.active]
	if i.State != StateTrial {
		return nil
	}
	i.State, i.Boots = StateFailed, 0
	return s.setState(i)
}

// Rollback makes the other slot active again, after verifying it, and marks
// the one left as failed. If the other one cannot be booted the error is
// ErrNoSlot, ErrIncomplete or ErrDamaged and nothing changes.
func (s *Slots) Rollback() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rollback()
}

func (s *Slots) rollback() error {
	bad, good := s.info[s.active], s.info[s.other()]
	if s.active == "" || !good.bootable() {
		return fmt.Errorf("roll back: slot %s is %s: %w", good.Slot, good.State, ErrNoSlot)
	}
	h, err := s.verify(good)
	if err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	defer h.close()
	if err := s.activate(good.Slot, h); err != nil {
		return err
	}
	// A crash before this line: tidy knows a booted trial that is not active.
	bad.State, bad.Boots = StateFailed, 0
	return s.setState(bad)
}

// Boot is called once after each start of the device. The first one after
// SwitchTrial marks the trial as booted; the next one, if no Confirm came
// between, rolls back and says so. If there is nothing to roll back to, the
// trial goes on and the error is ErrNoSlot, ErrIncomplete or ErrDamaged.
func (s *Slots) Boot() (rolledBack bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.info[s.active]
	if i.State != StateTrial {
		return false, nil
	}
	if i.Boots == 0 {
		i.Boots = 1
		return false, s.setState(i)
	}
	if err := s.rollback(); err != nil {
		return false, err
	}
	return true, nil
}

// held keeps the verified files of a slot open until it is switched to.
type held struct {
	fs    FS
	names []string
	files []File
}

// verify hashes every component of a slot and makes it durable.
func (s *Slots) verify(i Info) (held, error) {
	h := held{fs: s.fs}
	for _, e := range i.Components {
		name := filepath.Join(s.Dir(i.Slot), e.Name)
		f, err := OpenVerified(s.fs, name, e.Size, e.Digest)
		if errors.Is(err, iofs.ErrNotExist) {
			err = fmt.Errorf("%w: %s is missing", ErrIncomplete, name)
		}
		if err == nil {
			h.names, h.files = append(h.names, name), append(h.files, f)
			err = f.Sync()
		}
		if err != nil {
			h.close()
			return held{}, fmt.Errorf("verify slot %s: %w", i.Slot, err)
		}
	}
	if err := s.fs.SyncDir(s.Dir(i.Slot)); err != nil {
		h.close()
		return held{}, fmt.Errorf("verify slot %s: %w", i.Slot, err)
	}
	return h, nil
}

// same refuses if a name is no longer that of the verified file.
func (h held) same() error {
	for n, f := range h.files {
		if err := StillOpen(h.fs, h.names[n], f); err != nil {
			return err
		}
	}
	return nil
}

func (h held) close() {
	for _, f := range h.files {
		// They were only read.
		_ = f.Close()
	}
}
