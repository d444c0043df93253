// Package golden compares what a program prints with a file of testdata.
//
// What lives here: the comparison, writing the file anew, and the shape of files
// that several packages have: the traces of a machine, a program's answers to
// mistakes. What must not: the program. Read Check first.
package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Check fails the test at the first line that differs from those of the file
// testdata/NAME.golden. With update it writes the file.
func Check(t *testing.T, name, got string, update bool) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, have, below := strings.Split(string(b), "\n"), strings.Split(got, "\n"), ""
	for i := range max(len(want), len(have)) {
		w, h := at(want, i), at(have, i)
		if w != h {
			t.Fatalf("%s, line %d, below %q:\n got: %q\nwant: %q\nIf this is meant, run the test with -update.",
				path, i+1, below, h, w)
		}
		if strings.HasPrefix(w, "$ ") {
			below = w
		}
	}
}

// at is a line, or a text that no line has where there is none.
func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "\n"
}
