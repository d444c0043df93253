package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/wording"
)

// troubles are the rows of all tables of TROUBLESHOOTING.md whose header begins
// with a word.
func troubles(t *testing.T, word string) (rows [][]string) {
	t.Helper()
	b, err := os.ReadFile("TROUBLESHOOTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, all := range parse(string(b)).tables {
		if strings.HasSuffix(name, "/"+word) {
			rows = append(rows, all...)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("TROUBLESHOOTING.md has no table %q", word)
	}
	for _, row := range rows {
		if len(row) != 3 || slices.Contains(row, "") {
			t.Errorf("TROUBLESHOOTING.md does not say what to do: %q", row)
		}
	}
	return rows
}

// covers checks that the first cells of rows are what must stand there, each once.
func covers(t testing.TB, rows [][]string, want []string) {
	t.Helper()
	var have []string
	for _, row := range rows {
		have = append(have, row[0])
		if !slices.Contains(want, row[0]) {
			t.Errorf("TROUBLESHOOTING.md has %q, which is not in the code", row[0])
		}
	}
	for _, w := range want {
		if n := len(slices.DeleteFunc(slices.Clone(have), func(s string) bool { return s != w })); n != 1 {
			t.Errorf("TROUBLESHOOTING.md has %q %d times", w, n)
		}
	}
}

// TestReasonsExplained: every reason that a person can meet stands there, in the
// words of the program and with its advice.
func TestReasonsExplained(t *testing.T) {
	rows := troubles(t, "reason")
	var want []string
	for _, c := range reason.All() {
		want = append(want, string(c))
	}
	if len(want) < 80 {
		t.Fatalf("only %d reasons", len(want))
	}
	covers(t, rows, want)
	usual := wording.Advice(false, "no-such-reason")
	for _, row := range rows {
		said := strings.TrimSuffix(wording.Why(false, row[0], ""), " ("+row[0]+")")
		if row[1] != said {
			t.Errorf("TROUBLESHOOTING.md says of %s %q, the program %q", row[0], row[1], said)
		}
		if a := wording.Advice(false, reason.Code(row[0])); a != usual && row[2] != a {
			t.Errorf("TROUBLESHOOTING.md says to do about %s %q, the program %q", row[0], row[2], a)
		}
	}
}

// TestDoctorExplained: whatever doctor warns of, or fails for, stands there.
func TestDoctorExplained(t *testing.T) {
	var want []string
	for _, pattern := range []string{"../internal/device/doctor/*.go", "../cmd/peerload/doctor.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, findings(f)...)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if len(want) < 25 {
		t.Fatalf("doctor has only %q", want)
	}
	covers(t, troubles(t, "doctor says"), want)
}

// findings are what the code of a file makes warnings and failures of, in English,
// with … for each argument, and as of several.
func findings(f *ast.File) (all []string) {
	verbs, several := regexp.MustCompile(`%[a-z]`), regexp.MustCompile(`\{[^|}]*\|([^}]*)\}`)
	said := map[string]string{} // variables by what is said in them
	text := func(e ast.Expr) string {
		switch x := e.(type) {
		case *ast.Ident:
			return said[x.Name]
		case *ast.CallExpr: // Say(EN, JA, ...)
			return literal(x.Args[0])
		case *ast.CompositeLit: // Text{EN, JA}
			return literal(x.Elts[0])
		}
		return ""
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.AssignStmt:
			if to, ok := x.Lhs[0].(*ast.Ident); ok && len(x.Rhs) == 1 {
				if c, ok := x.Rhs[0].(*ast.CallExpr); ok && name(c.Fun) == "Say" {
					said[to.Name] = text(c)
				}
			}
		case *ast.CallExpr:
			if !slices.Contains([]string{"Warning", "Failure", "v"}, name(x.Fun)) || len(x.Args) != 2 {
				return true
			}
			all = append(all, verbs.ReplaceAllString(several.ReplaceAllString(text(x.Args[0]), "$1"), "…"))
		}
		return true
	})
	return all
}

// name is that of a function that is called, without its package.
func name(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// literal is a text in code; what is added to it is another argument.
func literal(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(x.Value)
		return s
	case *ast.BinaryExpr:
		return literal(x.X) + literal(x.Y)
	}
	return "%s"
}

// TestStatusesExplained: the exit statuses of peerload stand there.
func TestStatusesExplained(t *testing.T) {
	covers(t, troubles(t, "exit status"), exitStatuses(t))
}

// exitStatuses are those of peerload that say that something failed.
func exitStatuses(t *testing.T) (all []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../cmd/peerload/main.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "exit") && len(v.Values) == 1 {
			if b, ok := v.Values[0].(*ast.BasicLit); ok && b.Value != "0" {
				all = append(all, b.Value)
			}
		}
		return true
	})
	if len(all) < 11 {
		t.Fatalf("only %q", all)
	}
	return all
}

// TestTroublesCanBeWrong shows that what is missing, twice or too much is found.
func TestTroublesCanBeWrong(t *testing.T) {
	for _, c := range []struct {
		have   [][]string
		errors int
	}{
		{[][]string{{"a"}, {"b"}}, 0}, {[][]string{{"a"}}, 1}, {[][]string{{"a"}, {"b"}, {"b"}}, 1},
		{[][]string{{"a"}, {"b"}, {"c"}}, 1},
	} {
		r := &recorder{TB: t}
		covers(r, c.have, []string{"a", "b"})
		if r.errors != c.errors {
			t.Errorf("%v: %d errors, want %d", c.have, r.errors, c.errors)
		}
	}
	const code = `package p
func f() { all(Failure(Say("no %s", "-", x), do)); w := Say("late", "-"); g(doctor.Warning(w, do))
	h(v(Text{"drops " + x, "-"}, do)); Found(Say("fine", "-")) }`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", code, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := findings(f); !slices.Equal(got, []string{"no …", "late", "drops …"}) {
		t.Errorf("%q", got)
	}
}
