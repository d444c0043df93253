package slot

import (
	"errors"
	iofs "io/fs"
	"path/filepath"
	"strings"
)

// Sweep removes the partial files in a directory that no process works on any
// more and whose target's name match accepts: what a process that was killed
// left and nobody will continue. A directory that is missing holds none.
func Sweep(fs FS, dir string, match func(name string) bool) error {
	entries, err := fs.ReadDir(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), ".")
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".lock"), ".idx")
		name, is := strings.CutSuffix(name, ".part")
		if !ok || !is || seen[name] || !match(name) {
			continue
		}
		seen[name] = true
		target := filepath.Join(dir, name)
		lock, lerr := fs.Lock(lockName(target))
		if errors.Is(lerr, ErrLocked) {
			continue
		}
		if lerr == nil {
			lerr = errors.Join(removeAny(fs, partName(target)), removeAny(fs, indexName(target)), lock.Close())
		}
		err = errors.Join(err, lerr)
	}
	return err
}
