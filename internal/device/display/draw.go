package display

import (
	"fmt"
	"strings"

	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/terminal"
)

// The narrowest screen that can be read, in cells, and below what width names are told
// without words around them.
const (
	Narrowest = 20
	narrow    = 40
)

// Draw draws a screen for a terminal that is as many cells wide, at least Narrowest.
// It needs no colour; with colour the box and what went wrong stand out.
func (s Screen) Draw(ja bool, width int, colour bool) []string {
	width = max(width, Narrowest)
	p := &picture{inner: width - 4, colour: colour}
	icon := "[   ]"
	if s.Sharing {
		icon = "[<=>]"
	}
	p.edge()
	head := terminal.Fit(terminal.Printable(s.Name), p.inner-len(icon))
	p.lines = append(p.lines, "| "+p.paint("1", head)+p.paint("32", icon)+" |")
	p.edge()
	for _, t := range s.Troubles {
		p.text("1;31", "! "+t.What)
		p.text("", t.Why)
		if t.ToDo != "" {
			p.text("", "> "+t.ToDo)
		}
	}
	if len(s.Troubles) == 0 || s.File != nil {
		p.text("", s.Heading)
	}
	if s.File != nil {
		p.file(ja, *s.File)
	}
	p.edge()
	return p.lines
}

// picture is what is being drawn.
type picture struct {
	inner  int // cells between the edges
	colour bool
	lines  []string
}

func (p *picture) edge() { p.lines = append(p.lines, "+"+strings.Repeat("-", p.inner+2)+"+") }

func (p *picture) paint(code, s string) string {
	if !p.colour || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// text writes a text in as many lines as it needs. One that others have made longer than
// any of this program's is cut, and ends so.
func (p *picture) text(code, s string) {
	const most = 20
	for i, l := range terminal.Wrap(terminal.Printable(s), p.inner) {
		if i == most {
			p.lines = append(p.lines, "| "+terminal.Fit("...", p.inner)+" |")
			return
		}
		p.lines = append(p.lines, "| "+p.paint(code, terminal.Fit(l, p.inner))+" |")
	}
}

func (p *picture) file(ja bool, f File) {
	number := fmt.Sprintf("%d/%d ", f.Number, f.Of)
	if p.inner >= narrow {
		number = wording.Fill(wording.Say(ja, "screen component"), f.Number, f.Of) + ": "
	}
	p.text("", number+f.Name)
	// A bar of fewer cells says nothing: then the figure stands below it.
	const shortest = 8
	room := p.inner - 2
	beside := room-1-terminal.Width(f.Figure) >= shortest
	if beside {
		room -= 1 + terminal.Width(f.Figure)
	}
	full := room * f.Filled / 1000
	bar := "[" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "]"
	if beside {
		p.text("", bar+" "+f.Figure)
	} else {
		p.text("", bar)
		p.text("", f.Figure)
	}
	if f.Parent {
		p.text("", wording.Fill(wording.Say(ja, "screen children"), f.Children))
	}
}
