// Package terminal prepares text for display on a terminal: which language they
// read, how wide a text is, and that nothing in it moves the cursor.
//
// What lives here: what all commands need to know about a terminal. What must
// not: the texts themselves, and any writing.
package terminal

import (
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"github.com/peerload/peerload/internal/printable"
)

// Japanese reports whether the locale asks for Japanese, by the environment
// that getenv reads. Of LC_ALL, LC_MESSAGES and LANG the first that is set
// counts (POSIX.1-2017, XBD 8.2).
func Japanese(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			language, _, _ := strings.Cut(v, "_")
			language, _, _ = strings.Cut(language, ".")
			return language == "ja"
		}
	}
	return false
}

// Printable turns text from any source into one harmless line, as printable.Line says.
func Printable(s string) string { return printable.Line(s) }

// cells counts cells as terminals do outside of East Asia: what Unicode calls
// ambiguous (UAX 11), such as a Greek letter, takes one. The locale must not
// decide it, or the columns of two devices would differ.
func cells(r rune) int { return (&runewidth.Condition{}).RuneWidth(r) }

// Width is how many cells a printable text takes.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += cells(r)
	}
	return n
}

// Fit makes a printable text exactly width cells wide: it is cut, or filled
// with spaces.
func Fit(s string, width int) string {
	n := 0
	for i, r := range s {
		if n += cells(r); n > width {
			n -= cells(r)
			s = s[:i]
			break
		}
	}
	return s + strings.Repeat(" ", max(width-n, 0))
}

// notFirst are characters that begin no line of Japanese.
const notFirst = "),.!?:;、。，．・：；？！」』）】ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"

// Wrap breaks a printable text into lines of at most width cells, between words where
// there are any, or between wide characters. A word that is longer than a line is broken
// behind a hyphen if it has one. A character that is wider than a line is left out.
func Wrap(s string, width int) []string {
	var lines []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		n, end, space, hyphen, wide := 0, len(s), -1, -1, false
		for i, r := range s {
			if r == ' ' || (wide || cells(r) > 1) && !strings.ContainsRune(notFirst, r) {
				space = i
			}
			if n += cells(r); n > width {
				end = i
				break
			}
			if r == '-' {
				hyphen = i + 1
			}
			wide = cells(r) > 1
		}
		rest := end
		switch {
		case end == len(s) || s[end] == ' ':
		case space > 0:
			end, rest = space, space
		case hyphen > 1:
			end, rest = hyphen, hyphen
		case end == 0:
			_, rest = utf8.DecodeRuneInString(s)
		}
		if end > 0 {
			lines = append(lines, strings.TrimRight(s[:end], " "))
		}
		s = s[rest:]
	}
	return lines
}
