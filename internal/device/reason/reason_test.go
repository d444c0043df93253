package reason_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/pdp/wire"
)

// Every code is one of its own, in lower case with hyphens, and those of the
// protocol are there.
func TestCodes(t *testing.T) {
	all := reason.All()
	seen := map[reason.Code]bool{}
	for _, code := range all {
		if seen[code] || code == "" || strings.Trim(string(code), "abcdefghijklmnopqrstuvwxyz-") != "" {
			t.Errorf("code %q is there twice, or is none", code)
		}
		seen[code] = true
	}
	if !seen[reason.Of(wire.ReasonDuplicateID)] || !seen[reason.NoWayBack] || len(all) < 55 {
		t.Errorf("codes are missing in %q", all)
	}
	if got := reason.Of(wire.ReasonNone); got != "" {
		t.Errorf("no reason is %q", got)
	}
}

// TestFailures: why a root or a parent was chosen is no failure, and what ends a download
// in the protocol's code is one.
func TestFailures(t *testing.T) {
	failures := reason.Failures()
	for _, code := range failures {
		if !slices.Contains(reason.All(), code) {
			t.Errorf("%s is no reason", code)
		}
	}
	for _, r := range []wire.Reason{wire.ReasonAlone, wire.ReasonStrongest, wire.ReasonHandover, wire.ReasonParentSlow,
		wire.ReasonFull, wire.ReasonPeersOff, wire.ReasonCached, wire.ReasonDone} {
		if slices.Contains(failures, reason.Of(r)) {
			t.Errorf("%s is a failure", r)
		}
	}
	if slices.Contains(failures, reason.ProxySmall) {
		t.Error("a proxy's decision is a failure")
	}
	ends := regexp.MustCompile(`\.(?:fail|giveUp)\(wire\.(Reason\w+)`)
	names := map[string]wire.Reason{"ReasonNoProgress": wire.ReasonNoProgress, "ReasonDisk": wire.ReasonDisk,
		"ReasonDigestMismatch": wire.ReasonDigestMismatch, "ReasonWrongEpoch": wire.ReasonWrongEpoch,
		"ReasonOriginWrong": wire.ReasonOriginWrong}
	files, err := filepath.Glob("../../../pdp/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue // it may end one with what no device does
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ends.FindAllStringSubmatch(string(text), -1) {
			if found++; m[1] == "ReasonDone" {
				continue // a parent whose place others need more is left by it
			}
			if r, ok := names[m[1]]; !ok || !slices.Contains(failures, reason.Of(r)) {
				t.Errorf("%s ends a download with %s, which is no failure", name, m[1])
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d ends of a download were found", found)
	}
}

// TestPhases: each reason of its own says at what a device failed, and those of the
// protocol say that it was the transfer, if it was nothing else.
func TestPhases(t *testing.T) {
	for _, code := range reason.All() {
		if code.Phase() == "" {
			t.Errorf("%s has no phase", code)
		}
	}
	for code, want := range map[reason.Code]string{reason.Trust: "manifest", reason.Installer: "install",
		reason.Of(wire.ReasonOriginUnreachable): "transfer", reason.Of(wire.ReasonDigestMismatch): "verify",
		"": "", "of a newer device": ""} {
		if got := code.Phase(); got != want {
			t.Errorf("%q fails at %q, want %q", code, got, want)
		}
	}
}

// Nothing but this package and package wire spells a code: whoever means a reason
// names it, so that it means the same everywhere. Codes of one word are words of
// other things, too; they are looked for where a reason is set or compared.
func TestNobodyElseSpellsCodes(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir(), filepath.Ext(path) != ".go", strings.HasSuffix(path, "_test.go"),
			strings.HasPrefix(rel, "pdp/wire/"), strings.HasPrefix(rel, "internal/device/reason/"):
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, code := range spelt(f) {
			t.Errorf("%s spells the reason %q: take it from package reason or wire", rel, code)
		}
		return nil
	})
	if err != nil || files < 200 {
		t.Fatalf("%d files, %v", files, err)
	}
	const bad = `package p; var e = E{Reason: "disk"}; func f() { e.Reason = "full"; _ = e.Reason == "done"; g("root-lost") }`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", bad, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := spelt(f); !slices.Equal(got, []string{"disk", "full", "done", "root-lost"}) {
		t.Errorf("of four spelt codes %q were found", got)
	}
}

// spelt finds the codes that a file spells.
func spelt(f *ast.File) (found []string) {
	add := func(e ast.Expr, single bool) {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return
		}
		s, err := strconv.Unquote(lit.Value)
		if err == nil && slices.Contains(reason.All(), reason.Code(s)) && strings.Contains(s, "-") != single {
			found = append(found, s)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			add(n, false)
		case *ast.KeyValueExpr:
			if isReason(n.Key) {
				add(n.Value, true)
			}
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				if isReason(l) && len(n.Rhs) == len(n.Lhs) {
					add(n.Rhs[i], true)
				}
			}
		case *ast.BinaryExpr:
			if isReason(n.X) {
				add(n.Y, true)
			}
		}
		return true
	})
	return found
}

// isReason reports whether an expression is a field or variable of a reason.
func isReason(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return strings.EqualFold(e.Name, "reason")
	case *ast.SelectorExpr:
		return e.Sel.Name == "Reason"
	}
	return false
}
