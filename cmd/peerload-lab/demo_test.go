package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBrowse: the demo has a browser open its page, if one is known.
func TestBrowse(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	t.Setenv("BROWSER", "touch")
	if b := browse(t.Context(), seen); b == nil || b.Wait() != nil {
		t.Fatal("the browser is not started")
	}
	if _, err := os.Stat(seen); err != nil {
		t.Error("it was not told what to open: ", err)
	}
	t.Setenv("BROWSER", filepath.Join(t.TempDir(), "none"))
	if browse(t.Context(), seen) != nil {
		t.Error("a browser that does not exist is started")
	}
}
