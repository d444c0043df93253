package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSweep(t *testing.T) {
	base := t.TempDir()
	alive, err := NewRunDir(base, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	killed := filepath.Join(base, runPrefix+"killed")
	young := filepath.Join(base, runPrefix+"young")
	other := filepath.Join(base, "other")
	for _, d := range []string{killed, young, other} {
		if err := os.MkdirAll(filepath.Join(d, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(killed, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	removed, err := Sweep(base)
	if err != nil {
		t.Fatal(err)
	}
	var here []string
	for _, r := range removed {
		if strings.HasPrefix(r, base) {
			here = append(here, r)
		}
	}
	if len(here) != 1 || here[0] != killed {
		t.Errorf("removed %v, want %s", here, killed)
	}
	for _, d := range []string{alive.Path, young, other} {
		if _, err := os.Stat(d); err != nil {
			t.Error(err)
		}
	}
}

func TestRunDirNeedsRoom(t *testing.T) {
	if d, err := NewRunDir(t.TempDir(), 1<<60); err == nil {
		d.Close()
		t.Error("a run of 2^60 bytes got a directory")
	}
}
