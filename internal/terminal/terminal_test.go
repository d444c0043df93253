package terminal

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestJapanese(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "ja_JP.UTF-8"}, true},
		{map[string]string{"LANG": "ja"}, true},
		{map[string]string{"LANG": "ja.UTF-8"}, true},
		{map[string]string{"LANG": "jam_JM"}, false},
		{map[string]string{"LANG": "C.UTF-8"}, false},
		{map[string]string{"LC_ALL": "C", "LANG": "ja_JP.UTF-8"}, false},
		{map[string]string{"LC_ALL": "", "LC_MESSAGES": "ja_JP.UTF-8", "LANG": "C"}, true},
	} {
		if got := Japanese(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"": "",
		"app.bin: ファイルがない (origin)":      "app.bin: ファイルがない (origin)",
		"a\u3000b\u00a0c":                "a\u3000b\u00a0c",
		"\x1b[2J\x1b]0;title\a":          `\x1b[2J\x1b]0;title\a`,
		"\x9b31m":                        `\x9b31m`,
		"\u009b31m":                      `\u009b31m`,
		"one\ntwo\r\n":                   "one; two",
		"over\rwritten":                  `over\rwritten`,
		"gnp.\u202eexe":                  `gnp.\u202eexe`,
		"\xff\xfe日本":                     `\xff\xfe日本`,
		"\ufffd is a sign, \xff is none": "\ufffd is a sign, " + `\xff is none`,
	} {
		if got := Printable(s); got != want {
			t.Errorf("%q became %q, want %q", s, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("日本\x1b[0m\xff\n", 7)
	f.Fuzz(func(t *testing.T, s string, width int) {
		p := Printable(s)
		if !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Fatalf("%q became %q", s, p)
		}
		if Printable(p) != p {
			t.Fatalf("%q changes once more", p)
		}
		if width = width & 0xff; Width(Fit(p, width)) != width {
			t.Fatalf("%q does not fit into %d cells: %q", p, width, Fit(p, width))
		}
		for _, l := range Wrap(p, width) {
			if Width(l) > width || l == "" {
				t.Fatalf("%q in lines of %d cells has %q", p, width, l)
			}
		}
	})
}

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "日本語": 6, "モデル": 6, "ﾓﾃﾞﾙ": 4, "(共有なし)": 10, "ば": 2,
		"—é": 2,
		"α☎": 2, "한글": 4, "🙂🚀": 4, "a\u0301": 1, "\u200b": 0} {
		if got := Width(s); got != want {
			t.Errorf("%q is %d cells wide, not %d", s, got, want)
		}
	}
	for _, c := range []struct {
		s     string
		width int
		want  string
	}{{"abc", 5, "abc  "}, {"abc", 2, "ab"}, {"日本", 3, "日 "}, {"日本", 4, "日本"}, {"ば", 2, "ば"}, {"x", 0, ""}} {
		if got := Fit(c.s, c.width); got != c.want {
			t.Errorf("%q in %d cells is %q, not %q", c.s, c.width, got, c.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  string
	}{
		{"", 5, ""}, {"  ", 5, ""}, {"abc", 5, "abc"}, {"one two three", 7, "one two|three"}, {"one two", 3, "one|two"},
		{"abcdefgh", 3, "abc|def|gh"},
		{"(origin-not-found)", 16, "(origin-not-|found)"}, {"a-b -cdefg", 3, "a-b|-cd|efg"}, {"a bcdefgh", 3, "a|bcd|efg|h"},
		{"日本語で書く", 5, "日本|語で|書く"},
		{"日本語で)書く", 8, "日本語|で)書く"}, {"ab  cd", 2, "ab|cd"}, {"日a", 1, "a"},
		{"> 以前のロード", 8, "> 以前の|ロード"}, {"以前。前", 4, "以|前。|前"}, {"ab日本cdef", 8, "ab日本|cdef"},
		{"one  two", 5, "one|two"},
	} {
		if got := strings.Join(Wrap(c.s, c.width), "|"); got != c.want {
			t.Errorf("%q in %d cells is %q, not %q", c.s, c.width, got, c.want)
		}
	}
}
