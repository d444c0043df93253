package words

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// shownBy finds what pages show, in templates and in Go.
var shownBy = map[string]*regexp.Regexp{
	".html": regexp.MustCompile(`[({\s]t\s+("(?:[^"\\]|\\.)*")`),
	".tmpl": regexp.MustCompile(`[({\s]t\s+("(?:[^"\\]|\\.)*")`),
	".go":   regexp.MustCompile(`(?:\.T|\bsay|words\.Say)\((?:ja, |v\.JA, )?("(?:[^"\\]|\\.)*")`),
}

// made are the beginnings of texts that are put together from a state.
var made = regexp.MustCompile(`(?:[({\s]t\s+\(print\s+|\.T\(|words\.Say\(ja, )"([^"]+ )"`)

// many finds what is said of several things, or of one in words of several, after a
// number; beside those that are shown next to a number in a template.
var (
	many   = regexp.MustCompile(`%(?:\[\d\])?[ds](?: more)? ([a-z]{2,}s|are|were|have|do|get)\b`)
	beside = regexp.MustCompile(`(?:\{\{num [^}]*\}\}|–)(?:</b>)?\s*(?:<span[^>]*>)?\{\{t\s+"((?:[a-z]{2,}s|are|were|have|do|get)\b[^"]*)"`)
	single = map[string]bool{"is": true, "was": true, "has": true, "does": true, "says": true}
)

// TestOne: what is said with a number is right of one.
func TestOne(t *testing.T) {
	n := 0
	for key, w := range table {
		if m := many.FindStringSubmatch(w.en); m != nil && !single[m[1]] {
			t.Errorf("%q of 1: write %%d {%s|%s}", key, strings.TrimSuffix(m[1], "s"), m[1])
		}
		if strings.Contains(w.ja, "{") {
			t.Errorf("%q: Japanese does not depend on a number", key)
		}
		if !strings.Contains(w.en, "|") {
			continue
		}
		n++
		args := make([]any, len(regexp.MustCompile(`%[sd]`).FindAllString(w.en, -1)))
		for i := range args {
			args[i] = 1
		}
		if len(args) == 0 {
			args = []any{1}
		}
		one := strings.ReplaceAll(Say(false, key, args...), "%!s(int=1)", "1")
		if wrong := regexp.MustCompile(`\b1 ([a-z]{2,}s|are|were|have|get)\b|[{|}]`).FindStringSubmatch(one); wrong != nil &&
			!single[wrong[1]] {
			t.Errorf("%q of 1 is %q", key, one)
		}
	}
	if n < 20 {
		t.Errorf("%d texts depend on a number", n)
	}
	for _, folder := range []string{"../templates", "../frame/templates"} {
		err := fs.WalkDir(os.DirFS(folder), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(filepath.Join(folder, path))
			for _, m := range beside.FindAllStringSubmatch(string(b), -1) {
				t.Errorf("%s: %q stands beside a number, also beside 1", path, m[1])
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Every text has its Japanese, with the same parts to fill in, and all Japanese is
// shown somewhere.
func TestWords(t *testing.T) {
	said := map[string]bool{}
	var prefixes []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		by := shownBy[filepath.Ext(path)]
		if err != nil || by == nil || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range by.FindAllStringSubmatch(string(b), -1) {
			text, err := strconv.Unquote(m[1])
			if err != nil {
				t.Errorf("%s: %s: %v", path, m[1], err)
			}
			if strings.HasSuffix(text, " ") && text != ", or " {
				continue // the beginning of a key
			}
			said[text] = true
			if !Known(text) {
				t.Errorf("%s: no Japanese for %q", path, text)
			}
		}
		for _, m := range made.FindAllStringSubmatch(string(b), -1) {
			prefixes = append(prefixes, m[1])
		}
		return nil
	})
	if err != nil || len(said) < 50 {
		t.Fatalf("%d texts, %v", len(said), err)
	}
	verb := regexp.MustCompile(`%(?:\[\d\])?[.\d]*[a-z]`)
	for key, w := range table {
		used, made := said[key], false
		for _, p := range prefixes {
			made = made || strings.HasPrefix(key, p)
		}
		if !used && !made {
			t.Errorf("nobody says %q", key)
		}
		if made && !used && w.en == key {
			t.Errorf("%q has no English", key)
		}
		if len(verb.FindAllString(w.en, -1)) != len(verb.FindAllString(w.ja, -1)) {
			t.Errorf("%q has other parts to fill in than %q", w.ja, w.en)
		}
	}
}

// Both languages are formats of the same parts, in any order.
func TestSay(t *testing.T) {
	if en, ja := Say(false, "%s ago", "3 min"), Say(true, "%s ago", "3 分"); en != "3 min ago" || ja != "3 分前" {
		t.Errorf("%q, %q", en, ja)
	}
	if got := Say(true, "Settings of %s", "エンタープライズ"); got != "エンタープライズの設定" {
		t.Errorf("%q", got)
	}
	if got := Say(true, "Settings of %s", "会議室 東"); got != "会議室 東の設定" {
		t.Errorf("%q", got)
	}
	if got := Say(true, "Settings of %s", "lobby"); got != "lobby の設定" {
		t.Errorf("%q", got)
	}
	if got := Say(true, "a text that nobody has translated"); got != "a text that nobody has translated" {
		t.Errorf("%q", got)
	}
}

// TestProblems: a page's own messages about mistakes have a Japanese text, too.
func TestProblems(t *testing.T) {
	detail := regexp.MustCompile(`Detail:\s+("(?:[^"\\]|\\.)*")`)
	n := 0
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range detail.FindAllStringSubmatch(string(b), -1) {
			text, wrong := strconv.Unquote(m[1])
			if wrong != nil {
				t.Errorf("%s: %s: %v", path, m[1], wrong)
			}
			n++
			// The fields say in the language of the page what is not valid.
			if text != "validation failed" && !Known("problem "+text) {
				t.Errorf("%s: no Japanese for the problem %q", path, text)
			}
		}
		return err
	})
	if err != nil || n < 10 {
		t.Fatalf("%d problems, %v", n, err)
	}
}
