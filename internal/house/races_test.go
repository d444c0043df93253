package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

// raceless are goroutines that need not be watched, and why.
var raceless = map[string]string{
	"internal/controller/store/sqlite/sqlite_test.go: TestTwoProcesses": "its suite runs over PostgreSQL, watched",
	"internal/controller/store/sqlite/sqlite_test.go: TestLocked":       "likewise",
	"internal/device/upgrade/random_test.go: TestRandomDevices":         "devices that share nothing, side by side",
	"internal/mutate/run.go: sample":                                    "each works on a copy of the package",
}

// TestRaces: ../../test.sh leaves no goroutine to the tests that it runs without the
// race detector because they have none.
func TestRaces(t *testing.T) {
	script, err := os.ReadFile("../../test.sh")
	if err != nil {
		t.Fatal(err)
	}
	kinds := raceKinds(t, string(script))
	for _, bad := range unwatched(kinds, readTree(t)) {
		if where, _, _ := strings.Cut(bad, " has "); raceless[where] == "" {
			t.Error(bad)
		}
	}
}

// TestUnwatched: TestRaces finds what it looks for.
func TestUnwatched(t *testing.T) {
	kinds := map[string]*regexp.Regexp{"alone": regexp.MustCompile(`/internal/quiet$`),
		"walks": regexp.MustCompile(`/internal/walk$`), "concurrent": regexp.MustCompile(`^TestTogether$`)}
	got := unwatched(kinds, map[string]string{
		"internal/quiet/a.go":      "package quiet\n\nfunc f() { go f() }\n",
		"internal/quiet/b.go":      "package quiet\n\nfunc g() { f() }\n",
		"internal/walk/a.go":       "package walk\n\nfunc f() { go f() }\n",
		"internal/walk/a_test.go":  "package walk\n\nfunc TestTogether() { go f() }\n",
		"internal/walk/b_test.go":  "package walk\n\nfunc TestOther() { func() { w.Go(f) }() }\n",
		"internal/other/a_test.go": "package other\n\nfunc TestOther() { go f() }\n",
	})
	want := "internal/quiet/a.go: f has a goroutine, but test.sh says that its package has none\n" +
		"internal/walk/b_test.go: TestOther has a goroutine: name it in \"concurrent\" of test.sh"
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("%s", text)
	}
}

// raceKinds are the patterns of test.sh, by name.
func raceKinds(t *testing.T, script string) map[string]*regexp.Regexp {
	t.Helper()
	kinds := map[string]*regexp.Regexp{}
	_, rest, _ := strings.Cut(script, "\nalone=")
	settings, _, ok := strings.Cut("alone="+rest, "\nthorough=")
	if !ok {
		t.Fatal("test.sh does not set alone, walks and concurrent")
	}
	for _, name := range []string{"alone", "walks", "concurrent"} {
		out, err := exec.Command("bash", "-c", settings+"\nprintf %s \"$"+name+"\"").Output()
		if err != nil || len(out) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		kinds[name] = regexp.MustCompile(string(out))
	}
	return kinds
}

// unwatched are the functions with a goroutine that no test with the race detector
// runs.
func unwatched(kinds map[string]*regexp.Regexp, sources map[string]string) (bad []string) {
	for _, name := range sortedKeys(sources) {
		pkg := "github.com/peerload/peerload/" + path.Dir(name)
		alone, walks := kinds["alone"].MatchString(pkg), kinds["walks"].MatchString(pkg)
		if !alone && !walks {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, sources[name], parser.SkipObjectResolution)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || strings.HasSuffix(name, "bench_test.go") || !hasGoroutine(fn):
			case alone:
				bad = append(bad, fmt.Sprintf("%s: %s has a goroutine, but test.sh says that its package has none", name, fn.Name))
			case strings.HasSuffix(name, "_test.go") && !kinds["concurrent"].MatchString(fn.Name.Name):
				bad = append(bad, fmt.Sprintf("%s: %s has a goroutine: name it in \"concurrent\" of test.sh", name, fn.Name))
			}
		}
	}
	return bad
}

// hasGoroutine reports whether a function starts one itself.
func hasGoroutine(fn *ast.FuncDecl) (found bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" {
				found = true
			}
		}
		return !found
	})
	return found
}
