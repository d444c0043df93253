package slot

import (
	"cmp"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"slices"
)

// makeSlot makes the directory of a slot, and reports whether it did.
func (s *Slots) makeSlot(slot string) (made bool, err error) {
	dir := s.Dir(slot)
	for range 2 {
		err := s.fs.Mkdir(dir, dirPerm)
		if !errors.Is(err, iofs.ErrExist) {
			return err == nil, err
		}
		fi, err := s.fs.Lstat(dir)
		if err != nil {
			return false, err
		}
		if fi.IsDir() {
			if !s.fs.Owned(fi) {
				return false, fmt.Errorf("%s: %w: keep slots where only this user can write", dir, errForeign)
			}
			return false, nil
		}
		if err := s.damage.PutAside(s.fs, dir, errors.New("not a directory")); err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("%s: %w", dir, iofs.ErrExist)
}

// findActive reads the link to the active slot. If it is damaged or lost, the
// slots themselves prove which one it was.
func (s *Slots) findActive() error {
	link := filepath.Join(s.dir, currentLink)
	fi, err := s.fs.Lstat(link)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return s.prove()
	case err != nil:
		return err
	case fi.Mode().Type() != iofs.ModeSymlink:
		err = errors.New("not a symbolic link")
	case !s.fs.Owned(fi):
		err = errForeign
	default:
		to, rerr := s.fs.Readlink(link)
		if rerr != nil {
			return rerr
		}
		if to == slotA || to == slotB {
			s.active = to
			return nil
		}
		err = fmt.Errorf("it points to %q, not to a or b", to)
	}
	if err := s.damage.PutAside(s.fs, link, err); err != nil {
		return err
	}
	return s.prove()
}

// prove makes the slot active that was the active one by its state, and whose
// components are what they should be: one whose trial was booted, else the one
// that was switched to last. A first switch that was cut off may be finished
// so, too. There may be none.
func (s *Slots) prove() error {
	was := []Info{}
	for _, i := range s.info {
		if i.State == StateConfirmed || i.State == StateTrial && i.Boots > 0 {
			was = append(was, i)
		}
	}
	slices.SortFunc(was, func(a, b Info) int {
		return cmp.Or(cmp.Compare(b.Boots, a.Boots), cmp.Compare(b.Turn, a.Turn), cmp.Compare(a.Slot, b.Slot))
	})
	for _, i := range was {
		h, err := s.verify(i)
		if err != nil {
			s.damage = append(s.damage, err)
			continue
		}
		err = s.activate(i.Slot, h)
		h.close()
		return err
	}
	return nil
}

// Sound verifies a component of a slot: nil, ErrIncomplete if it is missing, or
// ErrDamaged.
func (s *Slots) Sound(slot string, e Entry) error {
	name := filepath.Join(s.Dir(slot), e.Name)
	f, err := OpenVerified(s.fs, name, e.Size, e.Digest)
	if errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrIncomplete, name)
	}
	if NoFile(err) {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	if err != nil {
		return err
	}
	return f.Close()
}
