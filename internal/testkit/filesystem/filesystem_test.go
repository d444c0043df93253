package filesystem

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
)

// TestKinds: each kind lacks what it says, and nothing else.
func TestKinds(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			dir := k.Mount(t, foreign.Program)
			file := filepath.Join(dir, "Name")
			if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "nAME"))
			if folds := err == nil && string(b) == "content"; folds != k.Lacks.Case {
				t.Errorf("one case: %v (%v)", folds, err)
			}
			err = os.Link(file, filepath.Join(dir, "hard"))
			if (err != nil) != (k.Lacks.HardLinks != 0) || err != nil && !errors.Is(err, k.Lacks.HardLinks) {
				t.Errorf("a hard link: %v", err)
			}
			err = os.Symlink("Name", filepath.Join(dir, "soft"))
			if (err != nil) != (k.Lacks.Symlinks != 0) || err != nil && !errors.Is(err, k.Lacks.Symlinks) {
				t.Errorf("a symbolic link: %v", err)
			}
			if err := os.Rename(file, filepath.Join(dir, "other")); err != nil {
				t.Error(err)
			}
			if err := os.Remove(filepath.Join(dir, "other")); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the renamed file is still there: %v", err)
			}
		})
	}
}
