package otheruser

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestRuns: whoever starts the tests, what goes on is kept from a file.
func TestRuns(t *testing.T) {
	if !Runs(t) {
		return
	}
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(name); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a file that nobody may read was read: %v", err)
	}
}
