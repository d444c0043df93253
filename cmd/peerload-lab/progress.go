package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress shows the progress of a long run: a bar on a terminal, else a line
// for each tenth.
type progress struct {
	out   io.Writer
	what  string
	n, of int
	quiet bool
	began time.Time
	drawn time.Time
	// cols returns the terminal's width; nil if there is none.
	cols func() int
}

func newProgress(out io.Writer, of int, what string, show bool) *progress {
	p := &progress{out: out, what: what, of: of, quiet: !show || of < 2, began: time.Now()}
	f, ok := out.(*os.File)
	if t := os.Getenv("TERM"); ok && t != "" && t != "dumb" && term.IsTerminal(int(f.Fd())) {
		p.cols = func() int {
			cols, _, err := term.GetSize(int(f.Fd()))
			if err != nil || cols <= 0 {
				return 80
			}
			return cols
		}
	}
	return p
}

// step counts one more piece of work as done.
func (p *progress) step() {
	p.n++
	now := time.Now()
	switch {
	case p.quiet:
	case p.cols != nil:
		if now.Sub(p.drawn) >= frame || p.n == p.of {
			p.drawn = now
			// Erasing the rest of the line (ECMA-48 EL) removes the end of a
			// longer one.
			fmt.Fprintf(p.out, "\r%s\x1b[K", p.line(now.Sub(p.began), p.cols()-1))
		}
	case p.n*10/p.of != (p.n-1)*10/p.of:
		fmt.Fprintf(p.out, "%d of %d %s, %.1f s\n", p.n, p.of, p.what, now.Sub(p.began).Seconds())
	}
}

// line is the bar, as wide as there is room, and how far it is.
func (p *progress) line(took time.Duration, room int) string {
	s := fmt.Sprintf("%d of %d %s, %.0f s", p.n, p.of, p.what, took.Seconds())
	if left := time.Duration(float64(took) / float64(p.n) * float64(p.of-p.n)); p.n < p.of && took > time.Second {
		s += fmt.Sprintf(", %.0f s left", left.Seconds())
	}
	width := min(40, room-len(s)-3)
	if width < 8 {
		return s[:min(len(s), max(room, 0))]
	}
	full := width * p.n / p.of
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "] " + s
}

// end leaves the bar's line.
func (p *progress) end() {
	if p.cols != nil && !p.quiet {
		fmt.Fprintln(p.out)
	}
}
