package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
)

// How large the tree may grow: beyond that a newcomer no longer sees it.
const (
	mostRootFolders = 14
	mostFiles       = 25  // of Go, and of all else, in one folder
	mostExported    = 640 // declarations that others can import
)

// TestSizes holds the limits of the tree.
func TestSizes(t *testing.T) {
	sources := readTree(t)
	folders := map[string]bool{}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != ".git" {
			folders[e.Name()] = true
		}
	}
	if len(folders) > mostRootFolders {
		t.Errorf("%d folders at the root, at most %d: %v", len(folders), mostRootFolders, sortedKeys(folders))
	}
	for dir, n := range filesPerFolder(t) {
		if n > mostFiles {
			t.Errorf("%s: %d files, at most %d: split it along a seam", dir, n, mostFiles)
		}
	}
	exported := map[string]int{}
	total := 0
	for name, text := range sources {
		dir := path.Dir(name)
		if strings.HasSuffix(name, "_test.go") || strings.Contains("/"+dir+"/", "/internal/") ||
			strings.HasPrefix(dir, "cmd/") { // nobody can import a program
			continue
		}
		n := exportedDeclarations(t, name, text)
		exported[dir] += n
		total += n
	}
	if total > mostExported {
		t.Errorf("%d exported declarations outside internal, at most %d", total, mostExported)
	}
	for _, dir := range sortedKeys(exported) {
		t.Logf("%4d exported in %s", exported[dir], dir)
	}
	t.Logf("%4d exported in all", total)
}

// filesPerFolder counts the files of Go in each folder, and all others.
func filesPerFolder(t *testing.T) map[string]int {
	t.Helper()
	files := map[string]int{}
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() {
			kind := map[bool]string{true: ".go", false: "other"}[path.Ext(p) == ".go"]
			files[path.Dir(p)+": "+kind]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// exportedDeclarations counts the functions, methods, types, constants and
// variables with exported names; fields are part of their types.
func exportedDeclarations(t *testing.T, name, text string) (n int) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	count := func(id *ast.Ident) {
		if id.IsExported() {
			n++
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			count(d.Name)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					count(s.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						count(id)
					}
				}
			}
		}
	}
	return n
}

// TestExportedDeclarations shows what counts.
func TestExportedDeclarations(t *testing.T) {
	const text = `package p
type A struct{ F, G int }
type b int
func (A) M() {}
func (b) N() {}
func (b) o() {}
func P() {}
const C, d = 1, 2
var E = func() { type F int }
`
	if n := exportedDeclarations(t, "p.go", text); n != 6 {
		t.Errorf("counted %d, want 6: A, M, N, P, C, E", n)
	}
}
