package fileset

import (
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/peerload/peerload/internal/device/seal"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
)

const (
	recordFormat = 1
	// maxRecord bounds the record, in bytes: all sets with all their components.
	maxRecord = MaxSets * (load.MaxComponents + 1) * (load.MaxNameLen + 200)
)

// record is what survives a restart. It is replaced by rename.
type record struct {
	Format int      `json:"format"`
	Sets   []Placed `json:"sets"`
}

// put writes the record with another state of one directory; the zero Placed takes
// it out.
func (s *Store) put(dir string, p Placed) error {
	next := maps.Clone(s.sets)
	if next[dir] = p; p.Directory == "" {
		delete(next, dir)
	}
	r := record{Format: recordFormat, Sets: []Placed{}}
	for _, d := range slices.Sorted(maps.Keys(next)) {
		r.Sets = append(r.Sets, next[d])
	}
	b, err := seal.Marshal(r)
	if err == nil {
		err = slot.WriteAtomic(s.fs, filepath.Join(s.dir, recordName), b)
	}
	if err != nil {
		return fmt.Errorf("write the record of the file sets: %w", err)
	}
	s.sets = next
	return nil
}

// readRecord reads the record. One that is damaged is put aside: what is in place is
// then known by its links alone.
func (s *Store) readRecord() error {
	name := filepath.Join(s.dir, recordName)
	b, err := slot.ReadBounded(s.fs, name, maxRecord)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return nil
	case err == nil:
		var sets map[string]Placed
		if sets, err = parseRecord(b); err == nil {
			s.sets = sets
			return nil
		}
	case !errors.Is(err, slot.ErrDamaged) && !slot.NoFile(err):
		return err
	}
	return s.damage.PutAside(s.fs, name, err)
}

// parseRecord reads the text of a record; what it returns can be relied on.
func parseRecord(b []byte) (map[string]Placed, error) {
	var r record
	if err := errors.Join(seal.Check(b), json.Unmarshal(b, &r)); err != nil {
		return nil, err
	}
	if r.Format != recordFormat || len(r.Sets) > MaxSets {
		return nil, fmt.Errorf("format %d with %d sets is not known to this program", r.Format, len(r.Sets))
	}
	sets := map[string]Placed{}
	for _, p := range r.Sets {
		if err := p.check(); err != nil {
			return nil, err
		}
		if _, twice := sets[p.Directory]; twice {
			return nil, fmt.Errorf("the directory %s stands twice", p.Directory)
		}
		sets[p.Directory] = p
	}
	return sets, nil
}

func (p Placed) check() error {
	if err := load.CheckDirectory(p.Directory); err != nil {
		return err
	}
	if p.Name != "" {
		if err := p.validate(); err != nil {
			return err
		}
		if p.ID != p.id() {
			return errors.New("the id of a set is another one")
		}
	}
	if !isID(p.ID) || p.Previous != "" && !isID(p.Previous) || p.Tries < 0 || len(p.Why) > maxWhy {
		return fmt.Errorf("the record of %s is not one", p.Directory)
	}
	return nil
}
