package refusals

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSay: a refusal is said with all that it names; one without words stays as it is.
func TestSay(t *testing.T) {
	for refusal, want := range map[string]string{
		`not found: profile "Brnach"; did you mean Branch?`: `プロファイル "Brnach" はありません` +
			`(Branch の誤りではありませんか)`,
		`line 3: column description: it holds #REF!, the error of a formula`: `3行目: 列 description: ` +
			`数式のエラー #REF! です`,
		`bad setting: timing: the value is lan or classic, not "clasic"; did you mean classic?`: `設定 timing: ` +
			`値は lan、classic のいずれかです。"clasic" ではありません(classic の誤りではありませんか)`,
		`not found: site "$1 %1"`: `サイト "$1 %1" はありません`,
		`refused: it does not fit the model: SIP41 is for 7941, which 2 devices are not: SEP1 (7961)`: `` +
			`モデルに合いません: SIP41 は 7941 用ですが、2 台はそうではありません: SEP1 (7961)`,
		`refused: rollout autumn is paused, and only a draft is started`: `ロールアウト autumn は一時停止中です。` +
			`開始できるのは下書きだけです`,
		`not in this state: it is running, and only one that is draft or paused can be told to resume`: `現在は実行中です。` +
			`「再開」ができるのは下書き、一時停止中のときだけです`,
		`something else`: `something else`,
	} {
		if got := Say(refusal, true); got != want {
			t.Errorf("%s: %s, want %s", refusal, got, want)
		}
		if got := Say(refusal, false); got != refusal {
			t.Errorf("in English it is %s", got)
		}
		if got := Known(refusal); got != (refusal != "something else") {
			t.Errorf("%s: known %v", refusal, got)
		}
	}
	if Known("profile x") {
		t.Error("a part of refusals is one")
	}
	const part = "line 3: something else"
	if Known(part) || !strings.Contains(Say(part, true), "3行目: something") {
		t.Error("a part without words is known, or lost")
	}
	if long := strings.Repeat("line 3: ", longest); Known(long) || Say(long, true) != long {
		t.Error("a text without end is looked for")
	}
}

// TestForms: the Japanese of each form names parts that it has, and no form stands twice.
func TestForms(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range forms {
		verbs := 0
		for _, p := range f.parts {
			if len(p) == 2 && p[0] == '%' {
				verbs++
			}
		}
		for _, p := range place.FindAllString(f.japanese, -1) {
			if int(p[1]-'0') > verbs {
				t.Errorf("%q has no part %s", f.parts, p)
			}
		}
		key := strings.Join(f.parts, "")
		if seen[key] {
			t.Errorf("%q stands twice", key)
		}
		seen[key] = true
	}
}

// refusing are the packages whose errors people see on pages, from this folder.
var refusing = []string{"../domain", "../rollouts", "../rollout", "../rollout/keeper", "../orders", "../bulk",
	"../bulk/table", "../filesets", "../forecast", "../summary", "../window", "../site", "../webhooks", "../webhook",
	"../publish", "../stepping", "../passhash", "../livesite", "../api", "../../policy", "../../parse", "../../../load"}

// unseen says of errors of these packages why nobody reads them on a page, by how their
// texts begin or end.
var unseen = map[string][]string{
	"a package is put together wrongly": {"domain: ", "rollouts: ", "orders: ", "bulk: ", "livesite: ", "webhooks: ",
		"services: ", "api: ", "passhash: "},
	"devices alone are told": {"only a device ", "report of schema", "time %", "%d per cent: it is", "%.40q is no state",
		"%s has reported by itself", "mandates: ", "reports: ", "%d results: ", "too many devices wait for orders",
		"a device's secret has ", "the device's secret is its", "the secret is in use", "the token is for devices of site",
		"the token is not for devices from"},
	"it says that nothing is written": {"a dry run"},
	"issuers alone are told":          {"an identity needs an issuer"},
	"it is of a file on the controller's disk": {"it is of the site", "%s: not what was kept of this site",
		"no random numbers",
		"the stored "},
	"it is of a file that a publisher or a device reads": {"bad .loads file", "bad manifest", "manifest of an unknown",
		"its ", "it has %d components", "it names no component", "it names %d models", "component", "line %d: component",
		"line %d: more than %d components", "header field", "model %q is named twice", "the load's name", "created ",
		"%q has no",
		"%q of %d bytes has", "%q: its", "%q: chunks", "%q: a file", "something follows", "bad name", "a SHA-256",
		"64 zeros", "the file is ", "the header", "a file of", "it says", "schema %d", "no device has it"},
	"the API says it in other words": {"the database does not answer"},
}

// TestAllHaveWords reads the code of the packages that refuse something, and looks for
// texts without Japanese.
func TestAllHaveWords(t *testing.T) {
	n := 0
	for _, folder := range refusing {
		names, err := filepath.Glob(filepath.FromSlash(folder + "/*.go"))
		if err != nil || len(names) == 0 {
			t.Fatal(folder, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, format := range refusalsIn(t, name) {
				n++
				if !Known(sample(format)) && !excused(format) {
					t.Errorf("%s: no words in Japanese for %q", name, format)
				}
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d refusals were found", n)
	}
}

// TestOrdersHaveWords: whatever a rollout cannot be told to in its state is named in Japanese.
func TestOrdersHaveWords(t *testing.T) {
	names, err := filepath.Glob(filepath.FromSlash("../rollout/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	orders := 0
	for _, name := range names {
		for _, order := range literals(t, name, "wrong") {
			orders++
			said := Say("it is running, and only one that is paused can be told to "+order, true)
			if strings.Contains(said, order) {
				t.Errorf("%s: %s", name, said)
			}
		}
	}
	if orders < 10 {
		t.Errorf("only %d orders were found", orders)
	}
}

// literals are the texts that a file gives to a method first.
func literals(t *testing.T, path, method string) (texts []string) {
	t.Helper()
	callsIn(t, path, func(called string, call *ast.CallExpr) {
		_, isMethod := call.Fun.(*ast.SelectorExpr)
		if text, ok := literal(call.Args[0]); ok && isMethod && called == method {
			texts = append(texts, text)
		}
	})
	return texts
}

// callsIn visits the calls of a file that have arguments, with the names of what they call.
func callsIn(t *testing.T, path string, visit func(called string, call *ast.CallExpr)) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 {
			called := fmt.Sprint(call.Fun)
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				called = sel.Sel.Name
			}
			visit(called, call)
		}
		return true
	})
}

func excused(format string) bool {
	for strings.HasPrefix(format, "%w: ") {
		format = format[len("%w: "):]
	}
	for _, all := range unseen {
		if slices.ContainsFunc(all, func(begins string) bool { return strings.HasPrefix(format, begins) }) {
			return true
		}
	}
	return false
}

// sample is an error as a format may make it; what it wraps at its start says what kind
// of error it is.
func sample(format string) string {
	format = strings.TrimPrefix(format, "%w: ")
	if rest, is := strings.CutPrefix(format, "%w %"); is { // of package load
		format = "bad name %" + rest
	}
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		switch v[len(v)-1] {
		case '%':
			return "%"
		case 'd', 'X':
			return "7"
		case 'q':
			return `"x"`
		case 'w':
			return "it is retired"
		}
		return "x"
	})
}

// refusalsIn are the formats of the errors that a file makes.
func refusalsIn(t *testing.T, name string) (formats []string) {
	t.Helper()
	callsIn(t, name, func(called string, call *ast.CallExpr) {
		if !slices.Contains([]string{"Errorf", "New", "invalid", "refused", "beyond", "problem"}, called) {
			return
		}
		at := call.Args[0]
		if called == "problem" && len(call.Args) == 3 { // of package api, with its status and its word before
			at = call.Args[2]
		}
		text, ok := literal(at)
		if inner, isCall := call.Args[0].(*ast.CallExpr); isCall && called == "beyond" {
			text, ok = literal(inner.Args[0])
		}
		if letters := verb.ReplaceAllString(text, ""); ok && strings.Contains(strings.Trim(letters, " :"), " ") {
			formats = append(formats, text)
		}
	})
	return formats
}

// literal is a text in quotation marks, or several that are joined.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		a, first := literal(e.X)
		b, second := literal(e.Y)
		return a + b, first && second
	}
	return "", false
}
