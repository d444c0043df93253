package output

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/report"
)

// Scene is what a Picture shows.
type Scene interface {
	// Lines returns the current lines, for a screen with that many rows.
	Lines(rows int) [][]Span
}

// Picture draws a scene on a terminal, in place: devices as the tree of the
// current file, each with its role, percent and source.
type Picture struct {
	Scene Scene
	Out   io.Writer
	// Size returns the terminal's columns and rows.
	Size func() (cols, rows int)
	// Color allows colours; cursor movement is used in any case.
	Color bool

	drawn int // lines on the screen
}

// Escape sequences (ECMA-48).
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	upLines    = "\x1b[%dA\r"
	eraseLine  = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// Style is how a text looks, as parameters of SGR.
type Style string

// The styles of the laboratory.
const (
	Plain Style = ""
	Bold  Style = "1"
	Faint Style = "2"
	Red   Style = "31"
	Green Style = "32"
	Gold  Style = "33"
	blue  Style = "36"
)

// Span is a piece of a line in one style.
type Span struct {
	text  string
	style Style
}

// Text returns a text in the style.
func (s Style) Text(text string) Span { return Span{text, s} }

// Start hides the cursor; Stop draws the last picture and shows it again.
func (p *Picture) Start() { fmt.Fprint(p.Out, hideCursor) }

// Stop ends the picture and leaves its last state on the screen.
func (p *Picture) Stop() {
	p.Draw()
	fmt.Fprint(p.Out, showCursor)
}

// Draw draws the current state over the last picture.
func (p *Picture) Draw() {
	cols, rows := p.Size()
	lines := p.Scene.Lines(rows)
	if rows > 1 && len(lines) > rows-1 {
		lines = lines[:rows-1]
	}
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, upLines, p.drawn)
	}
	for _, l := range lines {
		b.WriteString(p.render(l, cols))
		b.WriteString(eraseLine + "\r\n")
	}
	b.WriteString(eraseBelow)
	p.drawn = len(lines)
	// A terminal that is gone needs no picture.
	_, _ = io.WriteString(p.Out, b.String())
}

// render truncates a line to the columns and colours it.
func (p *Picture) render(line []Span, cols int) string {
	var b strings.Builder
	room := max(cols-1, 0)
	for _, s := range line {
		runes := []rune(s.text)
		if len(runes) > room {
			runes = runes[:room]
		}
		room -= len(runes)
		if p.Color && s.style != Plain && len(runes) > 0 {
			fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", s.style, string(runes))
			continue
		}
		b.WriteString(string(runes))
	}
	return b.String()
}

// Node is one device in the picture of a tree.
type Node struct {
	Addr, Parent netip.Addr
	Root         bool
	// Line draws the device behind a lead that shows its place.
	Line func(lead string) []Span
}

// Tree draws each device below its parent: roots first, then those whose
// parent is not there.
func Tree(nodes []Node) (lines [][]Span) {
	known := map[netip.Addr]bool{}
	for _, n := range nodes {
		known[n.Addr] = true
	}
	children := map[netip.Addr][]Node{}
	var tops, others []Node
	for _, n := range nodes {
		switch {
		case n.Root:
			tops = append(tops, n)
		case n.Parent != n.Addr && known[n.Parent]:
			children[n.Parent] = append(children[n.Parent], n)
		default:
			others = append(others, n)
		}
	}
	seen := map[netip.Addr]bool{}
	var walk func(n Node, lead, below string)
	walk = func(n Node, lead, below string) {
		if seen[n.Addr] {
			return
		}
		seen[n.Addr] = true
		lines = append(lines, n.Line(lead))
		kids := children[n.Addr]
		for i, kid := range kids {
			if i == len(kids)-1 {
				walk(kid, below+"└ ", below+"  ")
			} else {
				walk(kid, below+"├ ", below+"│ ")
			}
		}
	}
	for _, n := range slices.Concat(tops, others, nodes) {
		// Last, all devices whose parent is connected to no root.
		walk(n, "  ", "  ")
	}
	return lines
}

// barWidth is the length of a progress bar, in columns.
const barWidth = 12

// Role draws a role, in a column of its own.
func Role(role string) Span { return roleStyle(role).Text(fmt.Sprintf("%-8s ", role)) }

// Progress draws how much of a file a device has, and where it comes from.
func Progress(v process.FileView) []Span {
	full := barWidth * v.Percent / 100
	return append(Bar(full, barWidth, roleStyle(v.Role)),
		Plain.Text(fmt.Sprintf(" %3d %% ", v.Percent)), Plain.Text(sourceText(v)))
}

// Bar draws a bar of the given width, in columns, of which full are filled.
func Bar(full, width int, style Style) []Span {
	return []Span{style.Text(strings.Repeat("█", full)), Faint.Text(strings.Repeat("░", width-full))}
}

func roleStyle(role string) Style {
	switch role {
	case report.RoleRoot:
		return Gold
	case report.RoleClassic:
		return Red
	case report.RoleDetached:
		return Faint
	}
	return blue
}

func sourceText(v process.FileView) string {
	switch v.Source {
	case report.SourceOrigin:
		return "from the server"
	case report.SourcePeer:
		if a := process.AddrOf(v.Parent); a.IsValid() {
			return "from " + a.String()
		}
		return "from a peer"
	case report.SourceCache:
		return "held from before"
	}
	return ""
}
