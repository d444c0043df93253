package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestConfigs: whoever sets a field finds its meaning, unit, zero value and the
// reason of its default beside it, and what cannot work is refused.
func TestConfigs(t *testing.T) {
	found, problems := checkConfigs(t, readTree(t))
	for _, p := range problems {
		t.Error(p)
	}
	if found < 20 {
		t.Errorf("only %d configurations were found: are they named otherwise now?", found)
	}
}

// TestConfigsCanBeWrong shows that each kind of problem is found.
func TestConfigsCanBeWrong(t *testing.T) {
	found, problems := checkConfigs(t, map[string]string{
		"a/a.go": `package a
			// Config has everything.
			type Config struct {
				// One is 1. 0: none.
				One int
				hidden int
			}
			// Validate refuses what is wrong.
			func (c *Config) Validate() error { return nil }`,
		"b/b.go": `package b
			type LinkConfig struct {
				Bare int
				Trailing int // at the end of the line, without a reason
				// A and B are two.
				A, B int
				Embedded
			}
			func (c LinkConfig) Validate() error { return nil }
			type unseenConfig struct { Bare int }`,
		"b/b_test.go": `package b; type TestConfig struct { Bare int }`,
		"c/c.go":      "package c\n// Config is empty.\ntype Config struct{}",
	})
	want := []string{
		"b/b.go: LinkConfig has no comment",
		"b/b.go: LinkConfig.Bare has no comment above it",
		"b/b.go: LinkConfig.Trailing has no comment above it",
		"b/b.go: LinkConfig.A, B share one comment: give each its own",
		"b/b.go: LinkConfig.Embedded has no comment above it",
		"b/b.go: Validate of LinkConfig has no comment",
		"c/c.go: Config has no method Validate",
	}
	if found != 3 || !slices.Equal(problems, want) {
		t.Errorf("%d configurations:\n%s\nwant:\n%s", found, strings.Join(problems, "\n"), strings.Join(want, "\n"))
	}
}

// checkConfigs looks at all exported types that are named Config or …Config,
// and returns how many there are and what is wrong with them.
func checkConfigs(t *testing.T, sources map[string]string) (found int, problems []string) {
	t.Helper()
	validates := map[string]bool{} // by folder and type
	type config struct{ dir, file, name string }
	var configs []config
	for _, name := range sortedKeys(sources) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, sources[name], parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		say := func(format string, args ...any) {
			problems = append(problems, name+": "+fmt.Sprintf(format, args...))
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if typ, ok := s.(*ast.TypeSpec); ok && isConfig(typ) {
						configs = append(configs, config{path.Dir(name), name, typ.Name.Name})
						checkFields(typ, d.Doc != nil || typ.Doc != nil, say)
					}
				}
			case *ast.FuncDecl:
				on := receiver(d)
				if d.Name.Name != "Validate" || !strings.HasSuffix(on, "Config") {
					continue
				}
				validates[path.Dir(name)+" "+on] = true
				if d.Doc == nil {
					say("Validate of %s has no comment", on)
				}
			}
		}
	}
	for _, c := range configs {
		if !validates[c.dir+" "+c.name] {
			problems = append(problems, fmt.Sprintf("%s: %s has no method Validate", c.file, c.name))
		}
	}
	return len(configs), problems
}

// isConfig reports whether a type is an exported configuration.
func isConfig(typ *ast.TypeSpec) bool {
	_, ok := typ.Type.(*ast.StructType)
	return ok && typ.Name.IsExported() && strings.HasSuffix(typ.Name.Name, "Config")
}

// checkFields says which exported fields have no comment of their own.
func checkFields(typ *ast.TypeSpec, commented bool, say func(string, ...any)) {
	name := typ.Name.Name
	if !commented {
		say("%s has no comment", name)
	}
	for _, f := range typ.Type.(*ast.StructType).Fields.List {
		var exported []string
		for _, n := range f.Names {
			if n.IsExported() {
				exported = append(exported, n.Name)
			}
		}
		if id, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 {
			exported = []string{id.Name}
		}
		switch {
		case len(exported) > 1:
			say("%s.%s share one comment: give each its own", name, strings.Join(exported, ", "))
		case len(exported) == 1 && f.Doc == nil:
			say("%s.%s has no comment above it", name, exported[0])
		}
	}
}

// receiver returns the type that a method is of, "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	id, _ := typ.(*ast.Ident)
	if id == nil {
		return ""
	}
	return id.Name
}
