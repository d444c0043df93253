package house

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// clocks holds the rule that no test fails for the time it takes: it neither
// sleeps nor wants anything to have happened soon enough. In a bubble of
// testing/synctest the time is virtual. A lower bound is allowed, since other
// work on the machine makes nothing faster.
func (in *inspector) clocks(f *ast.File, fields []string) {
	if localName(f, "testing/synctest") != "" {
		return
	}
	for _, u := range selections(f, localName(f, "time")) {
		if u.Sel.Name == "Sleep" {
			in.add(in.fset.Position(u.Pos()).String(), "tests do not sleep",
				"wait for an event, poll with a deadline, or use testing/synctest")
		}
	}
	for _, d := range f.Decls {
		m := measured{clock: localName(f, "time"), fields: fields, names: map[string]bool{}}
		m.learn(d)
		ast.Inspect(d, func(n ast.Node) bool {
			if b, ok := n.(*ast.BinaryExpr); ok && m.bounded(b) {
				in.add(in.fset.Position(b.Pos()).String(), "tests do not measure",
					"bound what can be counted, wait with a generous limit, use testing/synctest, or make it a benchmark")
			}
			return true
		})
	}
}

// reported are fields in which devices and the laboratory tell how long
// something took, in seconds.
var reported = []string{"ElapsedS", "FirstByteS", "TookS"}

// measuredFields are the fields of a package's structs to which its tests
// assign the time that something took, by folder.
func measuredFields(files map[string]*ast.File) map[string][]string {
	all := map[string][]string{}
	for _, name := range sortedKeys(files) {
		f := files[name]
		if !strings.HasSuffix(name, "_test.go") || localName(f, "testing/synctest") != "" {
			continue
		}
		m := measured{clock: localName(f, "time"), names: map[string]bool{}}
		m.learn(f)
		all[path.Dir(name)] = append(all[path.Dir(name)], m.fields...)
	}
	return all
}

// measured knows which expressions are times that something took.
type measured struct {
	clock  string          // what the file calls package time
	fields []string        // of structs
	names  map[string]bool // of variables
}

// learn finds the variables and fields to which such a time is assigned.
func (m *measured) learn(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || len(a.Lhs) != len(a.Rhs) {
			return true
		}
		for i, to := range a.Lhs {
			if !m.is(a.Rhs[i]) {
				continue
			}
			switch to := to.(type) {
			case *ast.Ident:
				m.names[to.Name] = true
			case *ast.SelectorExpr:
				m.fields = append(m.fields, to.Sel.Name)
			}
		}
		return true
	})
}

// is reports whether such a time is in an expression.
func (m *measured) is(e ast.Expr) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.Ident:
			found = found || m.names[n.Name]
		case *ast.SelectorExpr:
			x, _ := n.X.(*ast.Ident)
			found = found || slices.Contains(reported, n.Sel.Name) || slices.Contains(m.fields, n.Sel.Name) ||
				x != nil && m.clock != "" && x.Name == m.clock && n.Sel.Name == "Since" || m.sub(n)
		}
		return true
	})
	return found
}

// sub reports whether this is time.Now().Sub.
func (m *measured) sub(s *ast.SelectorExpr) bool {
	call, ok := s.X.(*ast.CallExpr)
	if !ok || s.Sel.Name != "Sub" {
		return false
	}
	now, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || now.Sel.Name != "Now" {
		return false
	}
	x, ok := now.X.(*ast.Ident)
	return ok && m.clock != "" && x.Name == m.clock
}

// bounded reports whether a comparison holds when something took too long.
func (m *measured) bounded(b *ast.BinaryExpr) bool {
	switch b.Op {
	case token.GTR, token.GEQ:
		return m.is(b.X)
	case token.LSS, token.LEQ:
		return m.is(b.Y)
	}
	return false
}
