// Package fileset keeps the file sets of a device: locale, ring tones and whatever
// else stands beside its loads and is put in place without a restart.
//
// What lives here: how a set is put in place whole, replaced and removed, what of
// that survives a power cut, and when a hook is told. What must not: the network,
// processes, clocks, goroutines; which sets a device is to have.
//
// Below the directory of a Store, NAME is a symbolic link to the set that is in
// place; it is replaced by rename, so that whoever opens it finds the old set or the
// new one. What it points to is never changed, but to mend it.
//
// Read Store, then Keeper.
package fileset

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
)

// Names in the directory of a Store.
const (
	recordName = "sets.json"
	contentDir = ".sets"
	newPrefix  = ".new-"
)

// MaxSets bounds the sets of a device.
const MaxSets = 64

// Set is a file set, as its manifest has it.
type Set struct {
	// Directory is the name under which it is put in place.
	Directory string `json:"directory"`
	slot.Load
}

// id names the content: another name, version or file makes another one.
func (s Set) id() string {
	text := fmt.Sprintf("%q %q %q", s.Directory, s.Name, s.Version)
	for _, e := range s.Components {
		text += fmt.Sprintf(" %q %d %s", e.Name, e.Size, e.Digest)
	}
	return load.DigestOf([]byte(text)).String()[:idLen]
}

// idLen is how many hexadecimal digits an id has.
const idLen = 16

// Placed is what is known of one directory.
type Placed struct {
	// Set that is in place. Its name is "" if the record of it was lost.
	Set
	// ID names its content.
	ID string `json:"id"`
	// Removed says that the set is not in place any more, and that the hook has not
	// been told yet.
	Removed bool `json:"removed,omitempty"`
	// Previous is the content before, "" for none; it stays until the hook was told.
	Previous string `json:"previous,omitempty"`
	// Pending says that the hook is still to be told, Tries how often that failed, and
	// Why the last time; Next is when it is due.
	Pending bool      `json:"pending,omitempty"`
	Tries   int       `json:"tries,omitempty"`
	Why     string    `json:"why,omitempty"`
	Next    time.Time `json:"next,omitzero"`
}

// Store is the directory of a device's file sets. Its methods may be called
// concurrently.
type Store struct {
	fs  slot.FS
	dir string

	damage slot.Damage // found by Open

	mu   sync.Mutex
	sets map[string]Placed // by directory
}

// Open opens the store in a directory, which must exist, and finishes what a crash
// has interrupted. What is damaged is put aside: see Damage.
func Open(fs slot.FS, dir string) (*Store, error) {
	s := &Store{fs: fs, dir: dir, sets: map[string]Placed{}}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open the file sets of %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.makeContentDir(); err != nil {
		return err
	}
	if err := s.readRecord(); err != nil {
		return err
	}
	if err := s.findLinks(); err != nil {
		return err
	}
	for _, dir := range slices.Sorted(maps.Keys(s.sets)) {
		if err := s.resettle(s.sets[dir]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) makeContentDir() error {
	return s.makeDir(filepath.Join(s.dir, contentDir))
}

// makeDir makes a directory, durably. What else has its name, or cannot be used, is
// put aside.
func (s *Store) makeDir(name string) error {
	for range 2 {
		err := s.fs.Mkdir(name, 0o755)
		if err == nil {
			return s.fs.SyncDir(filepath.Dir(name))
		}
		if !errors.Is(err, iofs.ErrExist) {
			return err
		}
		fi, err := s.fs.Lstat(name)
		if err != nil {
			return err
		}
		if fi.IsDir() && s.fs.Owned(fi) {
			if _, err := s.fs.ReadDir(name); !errors.Is(err, iofs.ErrPermission) {
				return err
			}
		}
		if err := s.damage.PutAside(s.fs, name, errors.New("not a directory that this user alone can write")); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", name, iofs.ErrExist)
}

// findLinks finds the sets in place whose record was lost: they stay until it is
// known what belongs there.
func (s *Store) findLinks() error {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := e.Name()
		if strings.HasPrefix(dir, newPrefix) {
			if err := slot.RemoveTree(s.fs, filepath.Join(s.dir, dir)); err != nil {
				return err
			}
		}
		if load.CheckDirectory(dir) != nil || s.sets[dir].Directory != "" || len(s.sets) >= MaxSets {
			continue
		}
		if id := s.linked(dir); id != "" {
			s.sets[dir] = Placed{Set: Set{Directory: dir}, ID: id}
		}
	}
	return nil
}

// linked is the id of the content that a directory's link points to, "" if there is
// none.
func (s *Store) linked(dir string) string {
	name := filepath.Join(s.dir, dir)
	fi, err := s.fs.Lstat(name)
	if err != nil || fi.Mode().Type() != iofs.ModeSymlink || !s.fs.Owned(fi) {
		return ""
	}
	to, err := s.fs.Readlink(name)
	id, ok := strings.CutPrefix(to, contentDir+"/"+dir+".")
	if err != nil || !ok || !isID(id) {
		return ""
	}
	return id
}

func isID(s string) bool { return len(s) == idLen && strings.Trim(s, "0123456789abcdef") == "" }

// settle makes a directory what its record says. The record is written first: a
// crash may have come before the link.
func (s *Store) settle(p Placed) error {
	linked := s.linked(p.Directory)
	switch {
	case p.Removed:
		return s.unlink(p.Directory)
	case p.Name == "" || linked == p.ID:
		return nil
	}
	h, err := s.verify(p.Set)
	if err != nil {
		return err
	}
	defer h.close()
	return s.link(p.Set, h)
}

// resettle is settle for a start: what was to be put in place and is gone comes again,
// and what is there stays until then.
func (s *Store) resettle(p Placed) error {
	err := s.settle(p)
	if err == nil || !errors.Is(err, slot.ErrIncomplete) && !errors.Is(err, slot.ErrDamaged) {
		return err
	}
	linked := s.linked(p.Directory)
	s.damage = append(s.damage, err)
	next := Placed{Set: Set{Directory: p.Directory}, ID: linked}
	if linked == "" {
		next = Placed{}
	}
	return s.put(p.Directory, next)
}

// Damage says what was found damaged when the store was opened.
func (s *Store) Damage() []error { return s.damage }

// List returns what is known of all directories, in order.
func (s *Store) List() []Placed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Placed
	for _, dir := range slices.Sorted(maps.Keys(s.sets)) {
		all = append(all, s.sets[dir])
	}
	return all
}

// Get returns what is known of a directory; ok is false if nothing is.
func (s *Store) Get(dir string) (p Placed, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok = s.sets[dir]
	return p, ok
}

// Path is where a set is found that is in place.
func (s *Store) Path(dir string) string { return filepath.Join(s.dir, dir) }

// Content is the directory of a content of a set.
func (s *Store) Content(dir, id string) string {
	return filepath.Join(s.dir, contentDir, dir+"."+id)
}

// Begin makes a directory for the content of a set, and returns the components that
// are still to be committed into it. A file that another set in place has too gets a
// second name. What is kept has been verified.
func (s *Store) Begin(set Set) (content string, missing []slot.Entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := set.validate(); err != nil {
		return "", nil, err
	}
	if _, known := s.sets[set.Directory]; !known && len(s.sets) >= MaxSets {
		return "", nil, fmt.Errorf("there are %d file sets already", MaxSets)
	}
	content = s.Content(set.Directory, set.id())
	if err := s.makeDir(content); err != nil {
		return "", nil, err
	}
	for _, e := range set.Components {
		if s.reuse(content, e) {
			continue
		}
		missing = append(missing, e)
		name := filepath.Join(content, e.Name)
		if fi, err := s.fs.Lstat(name); err == nil && !fi.Mode().IsRegular() {
			if err := slot.RemoveTree(s.fs, name); err != nil {
				return "", nil, err
			}
		}
	}
	return content, missing, s.fs.SyncDir(content)
}

// reuse reports whether a component is there already, or could be linked from a set
// in place.
func (s *Store) reuse(content string, e slot.Entry) bool {
	name := filepath.Join(content, e.Name)
	if f, err := slot.OpenVerified(s.fs, name, e.Size, e.Digest); err == nil {
		return f.Close() == nil
	}
	for _, p := range s.sets {
		for _, have := range p.Components {
			from := filepath.Join(s.Content(p.Directory, p.ID), have.Name)
			if have.Digest != e.Digest || from == name {
				continue
			}
			f, err := slot.OpenVerified(s.fs, from, e.Size, e.Digest)
			if err != nil {
				continue
			}
			ok := slot.RemoveTree(s.fs, name) == nil && s.fs.Link(from, name) == nil &&
				slot.StillOpen(s.fs, name, f) == nil
			return f.Close() == nil && ok
		}
	}
	return false
}

func (s Set) validate() error {
	return errors.Join(load.CheckDirectory(s.Directory), s.Load.Validate())
}

// Place puts a set in place whose components are all there, and notes that the hook
// is to be told. Until it was, the content before stays. A missing or wrong component
// is slot.ErrIncomplete or slot.ErrDamaged, and nothing changes.
func (s *Store) Place(set Set) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := set.validate(); err != nil {
		return err
	}
	h, err := s.verify(set)
	if err != nil {
		return err
	}
	defer h.close()
	old := s.sets[set.Directory]
	next := Placed{Set: set, ID: set.id(), Pending: true, Previous: old.ID}
	if old.ID == next.ID || old.Removed {
		next.Previous = old.Previous
	}
	if err := s.put(set.Directory, next); err != nil {
		return err
	}
	if err := s.link(set, h); err != nil {
		return errors.Join(err, s.back(set.Directory, old))
	}
	return nil
}

// back takes a change of the record back whose link could not be made. If that fails
// too, the next Open finishes the change.
func (s *Store) back(dir string, old Placed) error {
	err := s.put(dir, old)
	if s.sets = maps.Clone(s.sets); old.Directory == "" {
		delete(s.sets, dir)
	} else {
		s.sets[dir] = old
	}
	return err
}

// link points the name of a directory to a verified content, durably.
func (s *Store) link(set Set, h held) error {
	tmp, name := filepath.Join(s.dir, newPrefix+set.Directory), s.Path(set.Directory)
	if err := slot.RemoveTree(s.fs, tmp); err != nil {
		return err
	}
	if fi, err := s.fs.Lstat(name); err == nil && fi.Mode().Type() != iofs.ModeSymlink {
		if err := s.damage.PutAside(s.fs, name, errors.New("not a link to a file set")); err != nil {
			return err
		}
	}
	if err := s.fs.Symlink(contentDir+"/"+set.Directory+"."+set.id(), tmp); err != nil {
		return err
	}
	if err := h.same(); err != nil {
		return err
	}
	if err := s.fs.Rename(tmp, name); err != nil {
		return err
	}
	return errors.Join(h.same(), s.fs.SyncDir(s.dir))
}

// Remove takes a set away, and notes that the hook is to be told.
func (s *Store) Remove(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.sets[dir]
	if !ok || old.Removed {
		return nil
	}
	p := old
	p.Removed, p.Pending, p.Tries, p.Why, p.Next = true, true, 0, "", time.Time{}
	p.Previous = p.ID
	if err := s.put(dir, p); err != nil {
		return err
	}
	if err := s.unlink(dir); err != nil {
		return errors.Join(err, s.back(dir, old))
	}
	return nil
}

func (s *Store) unlink(dir string) error {
	if s.linked(dir) == "" {
		return nil
	}
	if err := s.fs.Remove(s.Path(dir)); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// Told notes that the hook knows what is in place, and removes the content before.
func (s *Store) Told(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.sets[dir]
	if !ok || !p.Pending {
		return nil
	}
	if err := s.settle(p); err != nil { // what the link points to must not go
		return err
	}
	p.Pending, p.Previous, p.Tries, p.Why, p.Next = false, "", 0, "", time.Time{}
	if p.Removed {
		p = Placed{}
	}
	if err := s.put(dir, p); err != nil {
		return err
	}
	return s.tidy(dir, p)
}

// Refused notes that the hook has failed, and when it is due again.
func (s *Store) Refused(dir string, why error, next time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.sets[dir]
	if !ok || !p.Pending {
		return nil
	}
	p.Tries, p.Why, p.Next = p.Tries+1, cut(why.Error()), next
	return s.put(dir, p)
}

// maxWhy bounds what is kept of a reason, in bytes.
const maxWhy = 300

func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxWhy)], "")
}

// Again lets the hook be told anew, however often that has failed.
func (s *Store) Again() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for dir, p := range s.sets {
		if p.Pending && p.Tries > 0 {
			p.Tries, p.Next = 0, time.Time{}
			errs = append(errs, s.put(dir, p))
		}
	}
	return errors.Join(errs...)
}

// Tidy removes the contents that nobody needs: those of no set in place and of no
// directory that is in use.
func (s *Store) Tidy(inUse func(dir string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := s.fs.ReadDir(filepath.Join(s.dir, contentDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir, _, _ := strings.Cut(e.Name(), ".")
		if _, known := s.sets[dir]; known || inUse(dir) {
			continue
		}
		if err := slot.RemoveTree(s.fs, filepath.Join(s.dir, contentDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes the contents of a directory but the one that is in place.
func (s *Store) tidy(dir string, p Placed) error {
	entries, err := s.fs.ReadDir(filepath.Join(s.dir, contentDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if of, id, _ := strings.Cut(e.Name(), "."); of != dir || id == p.ID {
			continue
		}
		if err := slot.RemoveTree(s.fs, filepath.Join(s.dir, contentDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Sound verifies every component of a set in place: slot.ErrIncomplete or
// slot.ErrDamaged if one is not what it should be.
func (s *Store) Sound(dir string) error {
	p, ok := s.Get(dir)
	if !ok || p.Removed || p.Name == "" {
		return nil
	}
	h, err := s.verify(p.Set)
	if err != nil {
		return err
	}
	h.close()
	return nil
}

// held keeps the verified files of a set open until it is in place.
type held struct {
	fs    slot.FS
	names []string
	files []slot.File
}

// verify hashes every component of a set and makes it durable.
func (s *Store) verify(set Set) (held, error) {
	h := held{fs: s.fs}
	content := s.Content(set.Directory, set.id())
	for _, e := range set.Components {
		name := filepath.Join(content, e.Name)
		f, err := slot.OpenVerified(s.fs, name, e.Size, e.Digest)
		switch {
		case errors.Is(err, iofs.ErrNotExist):
			err = fmt.Errorf("%w: %s is missing", slot.ErrIncomplete, name)
		case err != nil && slot.NoFile(err):
			err = fmt.Errorf("%w: %s: %w", slot.ErrDamaged, name, err)
		case err == nil:
			h.names, h.files = append(h.names, name), append(h.files, f)
			err = f.Sync()
		}
		if err != nil {
			h.close()
			return held{}, fmt.Errorf("verify the file set %s: %w", set.Name, err)
		}
	}
	for _, dir := range []string{content, filepath.Dir(content)} {
		if err := s.fs.SyncDir(dir); err != nil {
			h.close()
			return held{}, err
		}
	}
	return h, nil
}

// same refuses if a name is no longer that of the verified file.
func (h held) same() error {
	for n, f := range h.files {
		if err := slot.StillOpen(h.fs, h.names[n], f); err != nil {
			return err
		}
	}
	return nil
}

func (h held) close() {
	for _, f := range h.files {
		_ = f.Close() // they were only read
	}
}
