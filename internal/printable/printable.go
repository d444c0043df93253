// Package printable makes text from others harmless to a terminal.
//
// What lives here: that alone, for programs that must be small. What must not: widths and
// languages, which package terminal has.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line turns text from any source into one harmless line: line ends become
// "; ", and every other character that is not a letter, mark, number, sign or
// space is escaped as in Go, so that it is visible and has no effect. This
// covers terminal escapes, characters that change the writing direction, and
// bytes that are not UTF-8.
func Line(s string) string {
	if !strings.ContainsFunc(s, harmful) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	s = strings.TrimRight(s, "\r\n")
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\n':
			b.WriteString("; ")
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case harmful(r):
			q := fmt.Sprintf("%+q", r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

func harmful(r rune) bool { return !unicode.IsGraphic(r) }
