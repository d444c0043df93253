package docs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTables: each row of each table has as many cells as its header. Browsers
// leave out what is beyond them.
func TestTables(t *testing.T) {
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	above, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	if files = slices.Concat(files, above); len(files) < 8 {
		t.Fatal(files)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range uneven(string(b)) {
			t.Errorf("%s: another number of cells than in the header: %s", name, line)
		}
	}
	for text, want := range map[string]int{
		"| a | b |\n|---|---|\n| 1 | 2 |\n": 0, "| a | b |\n|---|---|\n| 1 | 2 | | 3 | 4 |\n": 1,
		"| a | b |\n|---|---|\n| 1 |\n": 1, "| a |\n|---|\n| `x \\| y` |\n": 0, "```\n| a |\n| 1 | 2 |\n```\n": 0,
		"| a |\n|---|\n| 1 |\n\n| b | c |\n|---|---|\n| 1 | 2 |\n": 0,
	} {
		if got := uneven(text); len(got) != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// uneven are the rows of the tables of a text that do not fit their header.
func uneven(text string) (rows []string) {
	header, code := 0, false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if code || !strings.HasPrefix(line, "|") {
			header = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if header == 0 {
			header = n
		}
		if n != header {
			rows = append(rows, line)
		}
	}
	return rows
}
