package house

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// mostFields is how many fields a struct of an owned package has at most.
const mostFields = 20

// owned are the packages whose state has owners: structs with methods on their
// pointer. Nothing but these methods, and a function that makes one, writes
// their fields.
var owned = []string{"pdp", "pdp/internal/chunks", "pdp/internal/follower", "pdp/internal/origin", "pdp/transfer"}

// TestOwners holds the rules of owners.
func TestOwners(t *testing.T) {
	tiers.Long(t, "it reads the whole tree")
	sources := readTree(t)
	exports := exportData(t, owned)
	for _, dir := range owned {
		files := map[string]string{}
		for name, text := range sources {
			if path.Dir(name) == dir && !strings.HasSuffix(name, "_test.go") {
				files[name] = text
			}
		}
		found, n, err := inspectOwners(files, exports)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Errorf("%s has no owner: is it still the package that is meant?", dir)
		}
		for _, v := range found {
			t.Error(v)
		}
	}
}

// exportData builds packages and returns where the compiler left what they, and
// all that they import, declare.
func exportData(t *testing.T, dirs []string) map[string]string {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}
	for _, d := range dirs {
		args = append(args, "./"+d)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -export: %v\n%s", err, stderr.Bytes())
	}
	exports := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if name, file, ok := strings.Cut(lines.Text(), " "); ok {
			exports[name] = file
		}
	}
	return exports
}

// inspectOwners type-checks the files of one package, holds the rules against
// its owners, and returns how many owners there are.
func inspectOwners(sources, exports map[string]string) (found []violation, owners int, err error) {
	o := ownership{fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{},
		Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
	}}
	var files []*ast.File
	for _, name := range sortedKeys(sources) {
		f, err := parser.ParseFile(o.fset, name, sources[name], parser.SkipObjectResolution)
		if err != nil {
			return nil, 0, err
		}
		files = append(files, f)
	}
	config := types.Config{Importer: importer.ForCompiler(o.fset, "gc", func(p string) (io.ReadCloser, error) {
		return os.Open(exports[p])
	})}
	pkg, err := config.Check("p", o.fset, files, o.info)
	if err != nil {
		return nil, 0, err
	}
	o.collect(pkg)
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				o.function(fn)
			}
		}
	}
	return o.found, len(o.owners), nil
}

// ownership finds writes to the fields of owners.
type ownership struct {
	inspector
	fset   *token.FileSet
	info   *types.Info
	owners map[*types.TypeName]bool
	fields map[*types.Var]*types.TypeName // whose they are

	writer  string            // the function that is looked at
	writing []*types.TypeName // the owners whose fields it may write
}

// collect finds the owners of a package and their fields.
func (o *ownership) collect(pkg *types.Package) {
	o.owners, o.fields = map[*types.TypeName]bool{}, map[*types.Var]*types.TypeName{}
	for _, name := range pkg.Scope().Names() {
		obj, ok := pkg.Scope().Lookup(name).(*types.TypeName)
		if !ok || obj.IsAlias() {
			continue
		}
		named, _ := obj.Type().(*types.Named)
		fields, isStruct := obj.Type().Underlying().(*types.Struct)
		if !isStruct || !hasPointerMethod(named) {
			continue
		}
		o.owners[obj] = true
		for f := range fields.Fields() {
			o.fields[f] = obj
		}
		if n := fields.NumFields(); n > mostFields {
			o.add(o.fset.Position(obj.Pos()).String(), "fields", "%s has %d fields, at most %d", name, n, mostFields)
		}
	}
}

func hasPointerMethod(n *types.Named) bool {
	for m := range n.Methods() {
		if _, ok := m.Signature().Recv().Type().(*types.Pointer); ok {
			return true
		}
	}
	return false
}

// ownerOf returns the owner that a type is, or points to; nil if it is none.
func (o *ownership) ownerOf(t types.Type) *types.TypeName {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok && o.owners[n.Obj()] {
		return n.Obj()
	}
	return nil
}

// function holds the rule against one function. It may write the fields of the
// owner whose method it is, or which it returns if it is nobody's method.
func (o *ownership) function(fn *ast.FuncDecl) {
	o.writer, o.writing = fn.Name.Name, nil
	sig := o.info.Defs[fn.Name].(*types.Func).Signature()
	if sig.Recv() != nil {
		o.writing = append(o.writing, o.ownerOf(sig.Recv().Type()))
	} else {
		for v := range sig.Results().Variables() {
			o.writing = append(o.writing, o.ownerOf(v.Type()))
		}
	}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				o.write(left)
			}
		case *ast.IncDecStmt:
			o.write(n.X)
		case *ast.RangeStmt:
			o.write(n.Key)
			o.write(n.Value)
		case *ast.UnaryExpr:
			if _, made := n.X.(*ast.CompositeLit); n.Op == token.AND && !made {
				o.write(n.X) // who has its address can write it
			}
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"clear", "copy", "delete"}, id.Name) {
				o.write(n.Args[0])
			}
		case *ast.CompositeLit:
			if owner := o.ownerOf(o.info.Types[n].Type); owner != nil && len(n.Elts) > 0 {
				o.check(n, owner, "fields")
			}
		}
		return true
	})
}

// write holds the rule against what is written: a field, an element of what a
// field holds, or a whole owner.
func (o *ownership) write(e ast.Expr) {
	if e == nil {
		return // of a range without a key or a value
	}
	if _, local := e.(*ast.Ident); !local {
		o.whole(e)
	}
	for {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			s := o.info.Selections[x]
			if s == nil || s.Kind() != types.FieldVal {
				return // of a package
			}
			if owner := o.fields[s.Obj().(*types.Var)]; owner != nil {
				o.check(x, owner, x.Sel.Name)
			}
			if _, ok := s.Recv().(*types.Pointer); ok {
				return // what holds the pointer stays as it is
			}
			e = x.X
		default: // a variable, or what a pointer points to
			return
		}
	}
}

// whole holds the rule against what is an owner itself, not a pointer to one.
func (o *ownership) whole(e ast.Expr) {
	t := o.info.Types[e].Type
	if _, pointer := t.(*types.Pointer); pointer {
		return
	}
	if owner := o.ownerOf(t); owner != nil {
		o.check(e, owner, "all fields")
	}
}

func (o *ownership) check(at ast.Node, owner *types.TypeName, what string) {
	if !slices.Contains(o.writing, owner) {
		o.add(o.fset.Position(at.Pos()).String(), "owners", "%s writes %s of %s: call a method of it",
			o.writer, what, owner.Name())
	}
}

// TestOwnersCanBeBroken shows that each way to write another's field is found,
// and that what stands close to it is not.
func TestOwnersCanBeBroken(t *testing.T) {
	const types = `package p
type inner struct{ n int }
func (i *inner) set() { i.n = 1 }
type a struct { n int; list []int; seen map[int]bool; in inner; next *a; data plain }
func (x *a) set(y *a) { x.n, y.n = 1, 2; x.list[0]++; delete(x.seen, 1); x.in.set(); x.data.v = 1 }
func newA() *a { x := &a{n: 1}; x.n = 2; return x }
type plain struct{ v int }
func (p plain) get() int { return p.v }
type b struct { x *a; v a; n int }
`
	for _, c := range []struct {
		name, body string
		broken     int
	}{
		{"nothing", "m.x.set(m.x); m.n = m.x.n; m.x = newA(); var p plain; p.v = 1; x := *m.x; _ = x", 0},
		{"a field", "m.x.n = 1", 1},
		{"a field of a value", "m.v.n = 1", 1},
		{"two at once", "m.n, m.x.n = 1, 2", 1},
		{"a counter", "m.x.n++", 1},
		{"added to", "m.x.n += 2", 1},
		{"an element", "m.x.list[0] = 1", 1},
		{"by another name", "y := m.x; y.n = 1", 1},
		{"far away", "m.x.next.next.n = 1", 1},
		{"of a field's field", "m.x.in.n = 1", 2},
		{"of data that it holds", "m.x.data.v = 1", 1},
		{"in a range", "for m.x.n = range 3 {}", 1},
		{"in a closure", "func() { m.x.n = 1 }()", 1},
		{"its address", "p := &m.x.n; *p = 1", 1},
		{"a map", "delete(m.x.seen, 1); clear(m.x.seen)", 2},
		{"a list", "copy(m.x.list[1:], m.x.list)", 1},
		{"all of it", "*m.x = a{}", 1},
		{"all of a value", "m.v = a{}", 1},
		{"made with fields", "_ = &a{n: 1}", 1},
	} {
		text := types + "func (m *b) f() { " + c.body + " }\n"
		found, owners, err := inspectOwners(map[string]string{"p.go": text}, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if owners != 3 || len(found) != c.broken {
			t.Errorf("%s: %d owners, found %v, want %d", c.name, owners, found, c.broken)
		}
	}
	wide := "package p\ntype a struct {"
	for i := range mostFields + 1 {
		wide += fmt.Sprintf(" f%d int;", i)
	}
	found, _, err := inspectOwners(map[string]string{"p.go": wide + "}\nfunc (x *a) f() {}\n"}, nil)
	if err != nil || len(found) != 1 || found[0].broken != "fields" {
		t.Errorf("%d fields: found %v, %v", mostFields+1, found, err)
	}
}
