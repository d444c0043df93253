package docs_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	heading   = regexp.MustCompile(`(?m)^## (.+)$`)
	bugID     = regexp.MustCompile(`CSC[a-z]{2}[0-9]{5}`)
	testName  = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	reference = regexp.MustCompile(`docs/ORIGINAL\.md(?:, "([^"]*)")?`)
)

// sources calls do for every file of the module whose name ends in one of the
// suffixes, with its path from the module's root.
func sources(t *testing.T, do func(path, text string), suffixes ...string) {
	t.Helper()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() == ".git":
			return fs.SkipDir
		case !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(path, s) }):
			return nil
		}
		b, err := fs.ReadFile(root, path)
		if err == nil {
			do(filepath.ToSlash(path), string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func original(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("ORIGINAL.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOriginalNamesTests: every bug of the original has a test that mentions it,
// and every test that ORIGINAL.md names exists.
func TestOriginalNamesTests(t *testing.T) {
	bugs, funcs := map[string]bool{}, map[string]bool{}
	sources(t, func(path, text string) {
		for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
			funcs[m[1]] = true
		}
		for _, id := range bugID.FindAllString(text, -1) {
			bugs[id] = true
		}
	}, "_test.go")
	text := original(t)
	_, section, _ := strings.Cut(text, "\n## Known bugs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := regexp.MustCompile(`\*\*(CSC[a-z]{2}[0-9]{5})\*\*`).FindAllStringSubmatch(section, -1)
	if len(listed) != 8 {
		t.Errorf("ORIGINAL.md lists %d bugs, want the 8 of the note", len(listed))
	}
	for _, m := range listed {
		if !bugs[m[1]] {
			t.Errorf("no test mentions %s", m[1])
		}
	}
	names := testName.FindAllStringSubmatch(text, -1)
	if len(names) < 40 {
		t.Errorf("ORIGINAL.md names %d tests", len(names))
	}
	for _, m := range names {
		if !funcs[m[1]] {
			t.Errorf("ORIGINAL.md names %s, which is no test", m[1])
		}
	}
}

// badReferences returns the references to ORIGINAL.md in a comment that do not
// have the form `docs/ORIGINAL.md, "HEADING"` with one of its headings.
func badReferences(comment string, headings []string) (bad []string) {
	for _, m := range reference.FindAllStringSubmatch(strings.Join(strings.Fields(comment), " "), -1) {
		if !slices.Contains(headings, m[1]) {
			bad = append(bad, m[0])
		}
	}
	return bad
}

// TestReferencesToOriginal: a comment that refers to ORIGINAL.md names a heading
// that is there.
func TestReferencesToOriginal(t *testing.T) {
	var headings []string
	for _, m := range heading.FindAllStringSubmatch(original(t), -1) {
		headings = append(headings, m[1])
	}
	found := 0
	sources(t, func(path, text string) {
		if !reference.MatchString(text) || path == "docs/original_test.go" {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Comments {
			found += len(reference.FindAllString(c.Text(), -1))
			for _, bad := range badReferences(c.Text(), headings) {
				t.Errorf("%s refers to %s, want docs/ORIGINAL.md, and one of %q", path, bad, headings)
			}
		}
	}, ".go")
	if found == 0 {
		t.Error("no comment refers to ORIGINAL.md: the test reads nothing")
	}
}

// TestReferencesCanBeWrong shows that a wrong reference is found.
func TestReferencesCanBeWrong(t *testing.T) {
	for comment, want := range map[string]int{
		"see (docs/ORIGINAL.md, \"Known bugs\").":          0,
		"see docs/ORIGINAL.md,\n\"Known\nbugs\", and more": 0,
		"see docs/ORIGINAL.md":                             1,
		"see docs/ORIGINAL.md, Known bugs":                 1,
		"docs/ORIGINAL.md, \"Theory\"; docs/ORIGINAL.md":   2,
	} {
		if bad := badReferences(comment, []string{"Known bugs"}); len(bad) != want {
			t.Errorf("%q: %s", comment, fmt.Sprint(bad))
		}
	}
}

// TestNothingNamesAnotherPage: what is known of the original stands in
// ORIGINAL.md, and nothing refers to the notes that were there before it.
func TestNothingNamesAnotherPage(t *testing.T) {
	notes := regexp.MustCompile(`\bFA` + `CTS\b`)
	files := 0
	sources(t, func(path, text string) {
		files++
		if at := notes.FindStringIndex(text); at != nil {
			line := 1 + strings.Count(text[:at[0]], "\n")
			t.Errorf("%s:%d refers to notes that the project does not have; name a heading of docs/ORIGINAL.md", path, line)
		}
	}, ".go", ".md", ".sh", ".yml", ".toml", ".json", ".html", ".tmpl", ".sql")
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}
