package golden

import (
	"fmt"
	"strings"
	"testing"
)

// Answers gives a program each line and compares what it says, and its exit
// status, with testdata/NAME.golden. What it says ends with a line break.
func Answers(t *testing.T, name, program string, lines []string, answer func(line string) (string, int),
	update bool) {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		said, status := answer(line)
		fmt.Fprintf(&b, "$ %s %s\n%sexit status %d\n\n", program, strings.TrimSpace(line), said, status)
	}
	Check(t, name, b.String(), update)
}

// Everywhere are mistakes that can be made with each command of a program: a
// flag that no command has, and more arguments than any takes. The commands are
// root and all below it, as below tells. What use returns begins with the name
// of the command.
func Everywhere[C any](root C, use func(C) string, below func(C) []C) []string {
	var lines []string
	var walk func(path string, c C)
	walk = func(path string, c C) {
		lines = append(lines, path+" --nope", path+" a b c d e")
		for _, sub := range below(c) {
			name, _, _ := strings.Cut(use(sub), " ")
			walk(strings.TrimSpace(path+" "+name), sub)
		}
	}
	walk("", root)
	return lines
}
