package house

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What a comment may name: a test, a file of Go, a place in a file.
var (
	namedTest  = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*…?`)
	namedFile  = regexp.MustCompile(`[\w./-]*\w\.go\b`)
	namedPlace = regexp.MustCompile(`\.go:\d|\b(?:[Ll]ine|[Ll]ines) (?:\d|above|below)|\blines? (?:above|below)\b`)
)

// comments refuses comments that lead a reader nowhere: to a test or a file
// that is not there, or to a line, which is another one after the next change.
func (in *inspector) comments(all map[string]*ast.File) {
	var tests []string
	for _, f := range all {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && namedTest.MatchString(fn.Name.Name) {
				tests = append(tests, fn.Name.Name)
			}
		}
	}
	for _, name := range sortedKeys(all) {
		for _, group := range all[name].Comments {
			for _, c := range group.List {
				in.comment(name, c, all, tests)
			}
		}
	}
}

// comment holds one comment of the named file against what there is.
func (in *inspector) comment(name string, c *ast.Comment, all map[string]*ast.File, tests []string) {
	at := in.fset.Position(c.Pos()).String()
	if strings.HasPrefix(c.Text, "//go:") || strings.HasPrefix(c.Text, "//line ") {
		return
	}
	for _, test := range namedTest.FindAllString(c.Text, -1) {
		begin, open := strings.CutSuffix(test, "…")
		if !slices.ContainsFunc(tests, func(s string) bool { return s == begin || open && strings.HasPrefix(s, begin) }) {
			in.add(at, "named tests", "no package has %s", test)
		}
	}
	for _, file := range namedFile.FindAllString(c.Text, -1) {
		if all[file] == nil && all[path.Join(path.Dir(name), file)] == nil {
			in.add(at, "named files", "there is no %s, neither here nor from the top of the tree", file)
		}
	}
	if place := namedPlace.FindString(c.Text); place != "" {
		in.add(at, "named places", "%q is elsewhere after the next change: name the function or the type", place)
	}
}

// TestCommentsCanBeBroken shows what is refused, and what only looks like it.
func TestCommentsCanBeBroken(t *testing.T) {
	const doc = "// Package p is for a test.\n"
	for _, c := range []struct {
		name, file, text string
		broken           string // "": nothing
	}{
		{"a test that is not there", "load/a_test.go", "package p\n\n// As TestB does.\nfunc TestA() {}\n", "named tests"},
		{"tests that are there", "load/a_test.go", "package p\n\n// As TestB and TestC… do, not Tests or Testing.\n" +
			"func TestB() {}\nfunc TestCD() {}\n", ""},
		{"tests of which none is there", "load/a_test.go", "package p\n\n// See TestC….\nfunc TestB() {}\n", "named tests"},
		{"a file that is not there", "load/a.go", doc + "package p\n\n// See b.go.\n", "named files"},
		{"a file of another folder", "load/a.go", doc + "package p\n\n// See pdp/a.go.\n", "named files"},
		{"files that are there", "load/a.go", doc + "package p\n\n// See a.go or load/a.go, not go.mod or a.golden.\n", ""},
		{"a line that moves", "load/a.go", doc + "package p\n\nvar a = 1 // as two lines above\n", "named places"},
		{"a place that moves", "load/a.go", doc + "package p\n\nvar a = 1 // as in a.go:7\n", "named places"},
		{"lines that are meant", "load/a.go", doc + "package p\n\nvar a = 1 // at most 3 lines, as the one above\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := inspect(map[string]string{c.file: c.text})
			if c.broken == "" && len(found) > 0 || c.broken != "" && (len(found) != 1 || found[0].broken != c.broken) {
				t.Errorf("found %v, want %q in\n%s", found, c.broken, c.text)
			}
		})
	}
}
