package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Sizes in lines: worth a look, and refused.
const (
	longFile, hugeFile         = 600, 800
	longFunction, hugeFunction = 80, 120
)

// violation is a rule broken somewhere. A mild one is only listed.
type violation struct {
	at     string
	broken string
	mild   bool
	text   string
}

func (b violation) String() string { return fmt.Sprintf("%s: %s: %s", b.at, b.broken, b.text) }

// TestRules checks the tree against the rules.
func TestRules(t *testing.T) {
	for _, b := range inspect(readTree(t)) {
		if b.mild {
			t.Logf("worth a look: %s", b)
		} else {
			t.Error(b)
		}
	}
}

// inspect holds all rules against sources and returns the violations in order.
func inspect(sources map[string]string) []violation {
	in := inspector{fset: token.NewFileSet()}
	comments, tests, all := map[string][]string{}, map[string]*ast.File{}, map[string]*ast.File{}
	for _, name := range sortedKeys(sources) {
		dir := path.Dir(name)
		f := in.file(name, sources[name])
		if f == nil {
			continue
		}
		all[name] = f
		if strings.HasSuffix(name, "_test.go") {
			tests[name] = f
			continue
		}
		if _, seen := comments[dir]; !seen {
			comments[dir] = nil
		}
		if f.Doc != nil {
			comments[dir] = append(comments[dir], name)
		}
	}
	in.comments(all)
	fields := measuredFields(tests)
	for _, name := range sortedKeys(tests) {
		in.clocks(tests[name], fields[path.Dir(name)])
	}
	for _, dir := range sortedKeys(comments) {
		if n := len(comments[dir]); n != 1 {
			in.add(dir, "package comment", "%d files have one, exactly one must: %s", n, strings.Join(comments[dir], ", "))
		}
		if ruleOf(dir) == nil {
			in.add(dir, "no rule", "it has no rule: give it one in internal/house/packages_test.go")
		}
	}
	return in.found
}

func ruleOf(dir string) *rule {
	i := slices.IndexFunc(packages, func(r rule) bool { return r.dir == dir })
	if i < 0 {
		return nil
	}
	return &packages[i]
}

// inspector collects violations.
type inspector struct {
	fset  *token.FileSet
	found []violation
}

func (in *inspector) add(at, broken, format string, args ...any) {
	in.found = append(in.found, violation{at: at, broken: broken, text: fmt.Sprintf(format, args...)})
}

func (in *inspector) size(at, broken string, n, long, huge int) {
	if n > long {
		in.found = append(in.found, violation{at, broken, n <= huge,
			fmt.Sprintf("%d lines, at most about %d, never above %d", n, long, huge)})
	}
}

// unfinished finds the marks of work left undone.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

// file holds the rules against one file.
func (in *inspector) file(name, text string) *ast.File {
	fset := in.fset
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		in.add(name, "syntax", "%v", err)
		return nil
	}
	in.size(name, "length of a file", strings.Count(text, "\n"), longFile, hugeFile)
	for i, line := range strings.Split(text, "\n") {
		if m := unfinished.FindString(line); m != "" {
			in.add(fmt.Sprintf("%s:%d", name, i+1), "finished work", "%s: finish it or leave it out", m)
		}
	}
	in.columns(name, text, f)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			in.size(fmt.Sprintf("%s %s", fset.Position(fn.Pos()), fn.Name.Name), "length of a function", n, longFunction,
				hugeFunction)
		}
	}
	if strings.HasSuffix(name, "_test.go") {
		return f
	}
	if r := ruleOf(path.Dir(name)); r != nil {
		for _, imp := range f.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			in.imports(fset.Position(imp.Pos()).String(), r, p)
		}
		in.uses(fset, f, r)
		in.writes(f, r)
	}
	return f
}

// imports holds the rules about what a package may know.
func (in *inspector) imports(at string, r *rule, p string) {
	if p == module {
		p += "/."
	}
	if strings.HasPrefix(p, module+"/") {
		in.inside(at, r, strings.TrimPrefix(p, module+"/"))
		return
	}
	if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
		if !slices.ContainsFunc(r.libraries, func(l string) bool { return p == l || strings.HasPrefix(p, l+"/") }) {
			in.add(at, "libraries", "%s may not use %s", r.dir, p)
		}
		return
	}
	if r.pure && matches(impure, p) && !matches(harmless, p) {
		in.add(at, "purity", "%s may not import %s", r.dir, p)
	}
	if (r.side == device || r.side == both) && r.dir != "internal/testkit/faultdisk" && matches(heavy, p) {
		in.add(at, "lightness", "%s is on a device and may not import %s", r.dir, p)
	}
}

// matches reports whether list has a path; an entry that ends in a slash
// stands for all below it.
func matches(list []string, p string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return p == s || strings.HasSuffix(s, "/") && strings.HasPrefix(p, s)
	})
}

// testkit reports whether a package is for tests.
func testkit(dir string) bool { return strings.HasPrefix(dir, "internal/testkit/") }

// inside holds the rules about packages of this module.
func (in *inspector) inside(at string, r *rule, dir string) {
	i := slices.IndexFunc(packages, func(o rule) bool { return o.dir == dir })
	from := slices.IndexFunc(packages, func(o rule) bool { return o.dir == r.dir })
	if i < 0 {
		in.add(at, "no rule", "%s imports %s, which has no rule", r.dir, dir)
		return
	}
	to := packages[i]
	switch {
	case to.floor > r.floor:
		in.add(at, "floors", "%s on floor %d imports %s on floor %d", r.dir, r.floor, dir, to.floor)
	case i >= from:
		in.add(at, "order", "%s imports %s, which comes after it in the table", r.dir, dir)
	case strings.HasPrefix(r.dir, "cmd/") && strings.HasPrefix(dir, r.dir+"/internal/"): // its own
	case strings.HasPrefix(dir, "cmd/") || testkit(dir) && !testkit(r.dir):
		in.add(at, "order", "%s imports %s, which nobody may", r.dir, dir)
	case r.side != outside && to.side != both && to.side != r.side:
		in.add(at, "sides", "%s imports %s: device and controller do not know each other", r.dir, dir)
	case r.allowedImports != nil && !slices.Contains(r.allowedImports, dir):
		in.add(at, "allowed imports", "%s may import %v of this module and not %s", r.dir, r.allowedImports, dir)
	}
}

// uses holds the rules about clocks, goroutines and chance.
func (in *inspector) uses(fset *token.FileSet, f *ast.File, r *rule) {
	if !r.pure && !r.still {
		return
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			in.add(fset.Position(g.Pos()).String(), "goroutines", "%s may not start one", r.dir)
		}
		return true
	})
	for _, u := range selections(f, localName(f, "time")) {
		if slices.Contains(clock, u.Sel.Name) {
			in.add(fset.Position(u.Pos()).String(), "clock", "%s may not use time.%s: time is passed in", r.dir, u.Sel.Name)
		}
	}
	if !r.pure {
		return
	}
	for _, u := range selections(f, localName(f, "math/rand/v2")) {
		if !slices.Contains(chance, u.Sel.Name) {
			in.add(fset.Position(u.Pos()).String(), "chance", "%s may not use rand.%s: randomness is passed in", r.dir,
				u.Sel.Name)
		}
	}
	for _, p := range []string{"time", "math/rand/v2"} {
		if localName(f, p) == "." {
			in.add(fset.Position(f.Pos()).String(), "dot imports", "%s may not hide what it takes from %s", r.dir, p)
		}
	}
}

// localName is what a file calls a package, "" if it does not import it.
func localName(f *ast.File, p string) string {
	for _, imp := range f.Imports {
		if v, _ := strconv.Unquote(imp.Path.Value); v != p {
			continue
		}
		if imp.Name != nil {
			return imp.Name.Name
		}
		if base := path.Base(p); base != "v2" {
			return base
		}
		return path.Base(path.Dir(p))
	}
	return ""
}

// selections are all uses of a package's names, by what the file calls it.
func selections(f *ast.File, pkg string) []*ast.SelectorExpr {
	var all []*ast.SelectorExpr
	if pkg == "" {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				all = append(all, s)
			}
		}
		return true
	})
	return all
}

// TestPackagesAreInOrder: the table itself must keep its own order.
func TestPackagesAreInOrder(t *testing.T) {
	seen := map[string]bool{}
	floor := 0
	for _, r := range packages {
		if seen[r.dir] {
			t.Errorf("%s stands twice", r.dir)
		}
		if r.floor < floor {
			t.Errorf("%s on floor %d comes after floor %d", r.dir, r.floor, floor)
		}
		for _, o := range r.allowedImports {
			if !seen[o] {
				t.Errorf("%s may import %s, which does not come before it", r.dir, o)
			}
		}
		if r.floor < 2 && (!r.pure || len(r.libraries) > 0) {
			t.Errorf("%s on floor %d must be pure and use the standard library only", r.dir, r.floor)
		}
		seen[r.dir], floor = true, r.floor
	}
	for dir := range seen {
		if _, err := os.Stat(root + "/" + dir); err != nil {
			t.Errorf("%s has a rule and is not there: %v", dir, err)
		}
	}
}
