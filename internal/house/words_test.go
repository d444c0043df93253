package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// oneWord has the Japanese words that stand for one thing, by those that would be a second
// word for it.
var oneWord = map[string]string{"サーバー": "サーバ", "コントローラー": "コントローラ", "リポジトリー": "リポジトリ",
	"ブラウザー": "ブラウザ", "フォルダー": "フォルダ", "ユーザ名": "ユーザー名", "拠点": "サイト", "機種": "モデル",
	"端末":   "機器",
	"デバイス": "機器", "一括処理": "一括変更"}

// headings is the file with the words that headings of people's own tables may have.
const headings = "internal/controller/bulk/table/columns.go"

// TestOneWord: what people see calls a thing by one word in Japanese, on pages and on
// command lines.
func TestOneWord(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && name != "." {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(name) {
		case ".go", ".txt", ".html", ".tmpl", ".js":
		default:
			return nil
		}
		if strings.HasSuffix(name, "_test.go") || name == headings {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		for _, wrong := range secondWords(string(text)) {
			t.Errorf("%s: %s", name, wrong)
		}
		return err
	})
	if err != nil || files < 500 {
		t.Errorf("%d files, %v", files, err)
	}
	if len(secondWords("DNSサーバーを確認")) != 1 || len(secondWords("DNSサーバを確認")) != 0 {
		t.Error("a second word is not found, or the first one is")
	}
}

// secondWords are the words of a text for which there is another one.
func secondWords(text string) (wrong []string) {
	for second, first := range oneWord {
		if strings.Contains(text, second) {
			wrong = append(wrong, second+" is called "+first)
		}
	}
	return wrong
}

// manyOf finds what is said of several things after a number.
var manyOf = regexp.MustCompile(`%(?:\[\d\])?d(?: more)? ([a-z]{2,}s|are|were|have)\b`)

// telling are the functions of commands that say something to people, but for errors.
var telling = regexp.MustCompile(`^(tell|say|Say|of|either|Show|Fprintf|Printf|Sprintf|Fill)$`)

// TestOneDevice: commands say nothing with a number that is wrong of one: they write
// {device|devices}, and wording.Fill chooses.
func TestOneDevice(t *testing.T) {
	calls := 0
	for _, folder := range []string{"cmd/peerload", "cmd/peerload-server", "cmd/peerload-server/internal/hook",
		"cmd/peerload-server/internal/summary", "internal/device/doctor", "internal/controller/console"} {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatal(folder, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range told(file) {
				calls++
				if manyOf.MatchString(text) {
					t.Errorf("%s: %q is wrong of 1", name, text)
				}
			}
		}
	}
	if calls < 100 {
		t.Errorf("only %d texts were found", calls)
	}
}

// told are the texts that a file has people told.
func told(file *ast.File) (texts []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		called := ""
		switch fn := call.Fun.(type) {
		case *ast.Ident:
			called = fn.Name
		case *ast.SelectorExpr:
			called = fn.Sel.Name
		}
		if !telling.MatchString(called) {
			return true
		}
		for _, arg := range call.Args {
			if text := joined(arg); text != "" {
				texts = append(texts, text)
			}
		}
		return true
	})
	return texts
}

// joined is a text in quotation marks, or several that are joined; "" for anything else.
func joined(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value) // a number is none
		return text
	case *ast.BinaryExpr:
		return joined(e.X) + joined(e.Y)
	}
	return ""
}
