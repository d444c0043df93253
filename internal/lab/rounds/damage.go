package rounds

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stateFiles are the files of a state directory that are always there, or mostly:
// a draw means the same one whenever a round is played.
var stateFiles = []string{"daemon.json", "id", "identity", "pin", "provision.last", "slots/current", "slots/a.json",
	"slots/b.json", "slots/.slots.lock"}

// damage changes one file of a device's state directory, as a medium that fails
// or a power cut may, and returns which, and how. The components in the slots
// stay as they are: those of the load that runs are looked at one by one, and a
// round would not see all of them.
func damage(state string, draw uint64) (what string, err error) {
	r := rand.New(rand.NewPCG(draw, 1))
	first, how := r.IntN(len(stateFiles)+1), damages[r.IntN(len(damages))]
	others, err := otherFiles(state)
	if err != nil {
		return "nothing", err
	}
	// The one that is drawn, one of the others, or the next that is there.
	names := slices.Concat(stateFiles[first:], stateFiles[:first])
	if first == len(stateFiles) {
		names = slices.Concat(others, names)
	}
	for _, name := range names {
		if st, err := os.Lstat(filepath.Join(state, name)); err == nil && !st.IsDir() {
			return how.name + " " + name, how.do(filepath.Join(state, name), r)
		}
	}
	return "nothing", nil
}

// otherFiles are the files of a state directory beside those that are always
// there: of partial files, of processes.
func otherFiles(state string) (names []string, err error) {
	err = filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(state, path)
		inSlot := strings.HasPrefix(rel, "slots/a/") || strings.HasPrefix(rel, "slots/b/")
		if d.Type().IsRegular() && !inSlot && !slices.Contains(stateFiles, rel) {
			names = append(names, rel)
		}
		return err
	})
	return names, err
}

// damages are the ways to change a file.
var damages = []struct {
	name string
	do   func(name string, r *rand.Rand) error
}{
	{"missing", func(name string, _ *rand.Rand) error { return os.Remove(name) }},
	{"empty", func(name string, _ *rand.Rand) error { return put(name, nil) }},
	{"cut", func(name string, r *rand.Rand) error {
		return change(name, func(b []byte) []byte { return b[:r.IntN(len(b))] })
	}},
	{"flipped", func(name string, r *rand.Rand) error {
		return change(name, func(b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b })
	}},
	{"longer", func(name string, r *rand.Rand) error {
		return change(name, func(b []byte) []byte { return append(b, make([]byte, 1+r.IntN(100))...) })
	}},
	{"directory", func(name string, _ *rand.Rand) error {
		if err := os.Remove(name); err != nil {
			return err
		}
		return os.Mkdir(name, 0o755)
	}},
	{"dangling", func(name string, _ *rand.Rand) error {
		if err := os.Remove(name); err != nil {
			return err
		}
		return os.Symlink("nowhere", name)
	}},
}

// put replaces what is at a name, a link too, by a file.
func put(name string, b []byte) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}

// change changes the bytes of a file; those of a link are where it points.
func change(name string, f func([]byte) []byte) error {
	to, err := os.Readlink(name)
	b := []byte(to)
	if err != nil {
		if b, err = os.ReadFile(name); err != nil {
			return err
		}
	}
	if len(b) == 0 {
		b = []byte{0}
	}
	return put(name, f(b))
}
