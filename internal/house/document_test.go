package house

import (
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNamedTestsExist: tests that a document names must be there.
func TestNamedTestsExist(t *testing.T) {
	var all strings.Builder
	for name, text := range readTree(t) {
		if strings.HasSuffix(name, "_test.go") {
			all.WriteString(text)
		}
	}
	documents, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, architecture, root+"/README.md", root+"/CONTRIBUTING.md", root+"/SECURITY.md")
	named, n := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)(…?)`"), 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			n++
			decl := "\nfunc " + m[1]
			if m[2] == "" {
				decl += "("
			}
			if !strings.Contains(all.String(), decl) {
				t.Errorf("%s names %s%s, which no package has", filepath.Base(document), m[1], m[2])
			}
		}
	}
	if n < 20 {
		t.Fatalf("the documents name only %d tests", n)
	}
}

// TestNamedFilesExist: what ARCHITECTURE.md tells to read must be there.
func TestNamedFilesExist(t *testing.T) {
	text, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`([a-z_/]+\\.go)`").FindAllStringSubmatch(string(text), -1)
	if len(names) < 15 {
		t.Fatalf("ARCHITECTURE.md names only %d files", len(names))
	}
	for _, m := range names {
		if _, err := os.Stat(root + "/" + m[1]); err != nil && m[1] != "main.go" { // of a command
			t.Errorf("ARCHITECTURE.md names a file that is not there: %v", err)
		}
	}
}

// TestExamples: each package that others may import has an example that runs
// and whose output is compared.
func TestExamples(t *testing.T) {
	public := map[string]bool{}
	sources := readTree(t)
	for name := range sources {
		dir := path.Dir(name)
		first, _, _ := strings.Cut(dir, "/")
		if !strings.Contains("/"+dir+"/", "/internal/") &&
			!slices.Contains([]string{"cmd", "docs", "e2e", "packaging"}, first) {
			public[dir] = public[dir] || hasExample(name, sources[name])
		}
	}
	if len(public) < 10 {
		t.Fatalf("only %d public packages found: %v", len(public), sortedKeys(public))
	}
	for _, dir := range sortedKeys(public) {
		if !public[dir] {
			t.Errorf("%s has no example with an output", dir)
		}
	}
}

// hasExample reports whether a file has an example that go test runs.
func hasExample(name, text string) bool {
	if !strings.HasSuffix(name, "_test.go") {
		return false
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(doc.Examples(f), func(e *doc.Example) bool { return e.Output != "" })
}

// TestHasExample shows what counts.
func TestHasExample(t *testing.T) {
	for text, want := range map[string]bool{
		"package p\nfunc Example() {\n\t// Output: a\n}\n":        true,
		"package p\nfunc ExampleF() {\n\t// Output:\n\t// a\n}\n": true,
		"package p\nfunc Example() {\n}\n":                        false,
		"package p\nfunc TestExample() {\n\t// Output: a\n}\n":    false,
	} {
		if got := hasExample("p_test.go", text); got != want {
			t.Errorf("%v for\n%s", got, text)
		}
	}
	if hasExample("p.go", "package p\nfunc Example() {\n\t// Output: a\n}\n") {
		t.Error("go test runs no example outside a test file")
	}
}
