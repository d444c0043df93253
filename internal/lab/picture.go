package lab

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// Scene is what a Picture shows: a Demo, or an Up.
type Scene interface {
	// lines are the lines of now, on a screen of so many rows.
	lines(rows int) [][]span
}

// Picture draws a scene on a terminal, in place: devices as the tree of the
// file that is on its way, each with its role, percent and source.
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

// Styles are parameters of SGR.
const (
	plain = ""
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	gold  = "33"
	blue  = "36"
)

// span is a piece of a line in one style.
type span struct{ text, style string }

// Start hides the cursor; Stop draws the last picture and shows it again.
func (p *Picture) Start() { fmt.Fprint(p.Out, hideCursor) }

// Stop ends the picture and leaves its last state on the screen.
func (p *Picture) Stop() {
	p.Draw()
	fmt.Fprint(p.Out, showCursor)
}

// Draw draws the state of now over the last picture.
func (p *Picture) Draw() {
	cols, rows := p.Size()
	lines := p.Scene.lines(rows)
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

// render cuts a line to the columns and colours it.
func (p *Picture) render(line []span, cols int) string {
	var b strings.Builder
	room := max(cols-1, 0)
	for _, s := range line {
		runes := []rune(s.text)
		if len(runes) > room {
			runes = runes[:room]
		}
		room -= len(runes)
		if p.Color && s.style != plain && len(runes) > 0 {
			fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", s.style, string(runes))
			continue
		}
		b.WriteString(string(runes))
	}
	return b.String()
}

// lines implements Scene.
func (d *Demo) lines(int) [][]span {
	t := d.Elapsed()
	sent := d.server.Tally.Total()
	rate := units.Rate(0)
	if t > 100*time.Millisecond {
		rate = units.Rate(float64(8*sent) / t.Seconds())
	}
	lines := [][]span{{
		{fmt.Sprintf("%5.1f s", t.Seconds()), bold},
		{fmt.Sprintf("  WAN: %s at %.2f of %s; %d classic upgrades: %s",
			units.Size(sent), float64(rate)/1e6, d.cfg.WAN, len(d.devices), units.Size(d.classicBytes())), plain},
	}}
	var classic []*demoDevice
	for i, m := range d.loads {
		var group []*demoDevice
		for _, dev := range d.devices {
			switch {
			case dev.load != m:
			case dev.classic:
				classic = append(classic, dev)
			default:
				group = append(group, dev)
			}
		}
		if len(group) > 0 {
			lines = append(lines, tree(DemoLoads[i].Model, m, group)...)
		}
	}
	if len(classic) > 0 {
		lines = append(lines, []span{{"classic", bold}, {": each downloads for itself", plain}})
		for _, dev := range classic {
			lines = append(lines, deviceLine(dev, "  ", dev.model))
		}
	}
	return lines
}

// tree draws a group as the tree of its present component.
func tree(model string, m *load.Manifest, group []*demoDevice) [][]span {
	file := present(m, group)
	head := []span{{model, bold}, {fmt.Sprintf(" %s, %s", m.Name, units.Size(bytesOf(m))), plain}}
	if file == "" {
		head = append(head, span{": no root yet", faint})
	} else {
		head = append(head, span{": tree of " + file, plain})
	}
	lines := [][]span{head}
	nodes := make([]treeNode, len(group))
	for i, dev := range group {
		v := dev.View(file)
		nodes[i] = treeNode{
			addr: dev.Host.Addr, parent: process.AddrOf(v.Parent), root: v.Role == report.RoleRoot,
			line: func(lead string) []span { return deviceLine(dev, lead, "") },
		}
	}
	return append(lines, drawTree(nodes)...)
}

// treeNode is one device in the picture of a tree.
type treeNode struct {
	addr, parent netip.Addr
	root         bool
	line         func(lead string) []span
}

// drawTree draws each device below its parent: roots first, then those whose
// parent is not there.
func drawTree(nodes []treeNode) (lines [][]span) {
	known := map[netip.Addr]bool{}
	for _, n := range nodes {
		known[n.addr] = true
	}
	children := map[netip.Addr][]treeNode{}
	var tops, others []treeNode
	for _, n := range nodes {
		switch {
		case n.root:
			tops = append(tops, n)
		case n.parent != n.addr && known[n.parent]:
			children[n.parent] = append(children[n.parent], n)
		default:
			others = append(others, n)
		}
	}
	seen := map[netip.Addr]bool{}
	var walk func(n treeNode, lead, below string)
	walk = func(n treeNode, lead, below string) {
		if seen[n.addr] {
			return
		}
		seen[n.addr] = true
		lines = append(lines, n.line(lead))
		kids := children[n.addr]
		for i, kid := range kids {
			if i == len(kids)-1 {
				walk(kid, below+"└ ", below+"  ")
			} else {
				walk(kid, below+"├ ", below+"│ ")
			}
		}
	}
	for _, n := range slices.Concat(tops, others, nodes) {
		// All of them last: whoever hangs on a parent that hangs on nobody.
		walk(n, "  ", "  ")
	}
	return lines
}

// present returns the component whose tree is worth seeing: the one that most
// devices are at, else the last that had a root; "" before the first root.
func present(m *load.Manifest, group []*demoDevice) string {
	best, most := "", 0
	for _, c := range m.Components {
		count, rooted := 0, false
		for _, dev := range group {
			if v, _, state := dev.current(); state == "" && v.File == c.Name {
				count++
			}
			rooted = rooted || !dev.View(c.Name).RootSince.IsZero()
		}
		if rooted && count >= most {
			best, most = c.Name, count
		}
	}
	return best
}

// barWidth is the length of a progress bar, in columns.
const barWidth = 12

// deviceLine draws one device: address, role, component, percent and source.
func deviceLine(dev *demoDevice, lead, note string) []span {
	name := fmt.Sprintf("%-20s ", lead+dev.Host.Addr.String())
	v, held, state := dev.current()
	if state != "" {
		style := faint
		if held == len(dev.load.Components) {
			style = green
		}
		if state == "dead" {
			style = red
		}
		return []span{{name, plain}, {fmt.Sprintf("%-8s %s", v.Role, state), style}, {" " + note, faint}}
	}
	full := barWidth * v.Percent / 100
	return []span{
		{name, plain},
		{fmt.Sprintf("%-8s ", v.Role), roleStyle(v.Role)},
		{fmt.Sprintf("%-12s ", v.File), plain},
		{strings.Repeat("█", full), roleStyle(v.Role)},
		{strings.Repeat("░", barWidth-full), faint},
		{fmt.Sprintf(" %3d %% ", v.Percent), plain},
		{sourceText(v), plain},
		{" " + note, faint},
	}
}

func roleStyle(role string) string {
	switch role {
	case report.RoleRoot:
		return gold
	case report.RoleClassic:
		return red
	case report.RoleDetached:
		return faint
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

// current returns the file that the device is at, how many components it
// holds, and a word instead of a file where it is at none.
func (dev *demoDevice) current() (v process.FileView, held int, state string) {
	procs := dev.All()
	if len(procs) == 0 {
		return v, 0, "starting"
	}
	var last process.FileView
	for _, c := range dev.load.Components {
		w := dev.View(c.Name)
		if w.File == "" {
			continue
		}
		last = w
		if w.Held() {
			held++
			continue
		}
		if v.File == "" || v.Percent == 100 && w.Percent < 100 {
			v = w
		}
	}
	switch p := procs[len(procs)-1]; {
	case held == len(dev.load.Components):
		return last, held, fmt.Sprintf("holds all %d components", held)
	case !p.Running():
		return last, held, "dead"
	case v.File == "":
		return last, held, "waiting"
	}
	return v, held, ""
}
