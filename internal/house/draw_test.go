package house

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// Sizes of the picture in pixels.
const (
	boxWidth, boxHeight = 138, 24
	lineWidth           = 10 // a line that passes a row
	gap                 = 14 // between what stands side by side
	rowHeight           = 74
	margin              = 14
)

// sides of the product, each with its colour, and the groups that belong to
// one without a folder of its name.
var sides = []struct{ name, groups string }{
	{"device", "peerload cmd/peerload cli"},
	{"shared", ""},
	{"controller", "client cmd/peerload-server"},
	{"laboratory", "lab sim cmd/peerload-lab"},
}

// sideOf is the index of a group's side.
func sideOf(name string) int {
	for i, s := range sides {
		if strings.HasPrefix(name, s.name+"/") || slices.Contains(strings.Fields(s.groups), name) {
			return i
		}
	}
	return 1 // what both sides share
}

// node is a box of the picture or, without a name, a line that passes its row
// on the way to a box further down. All lines to one box join.
type node struct {
	name     string
	side     int
	row      int // 0 is the lowest
	x        int // of its middle
	to, from []*node
}

func (n *node) width() int {
	if n.name == "" {
		return lineWidth
	}
	return boxWidth
}

// drawing is the picture, row by row from the lowest.
type drawing [][]*node

// rowsOf gives each group a row below all that import it, and each import a
// line through the rows between.
func rowsOf(g graph) drawing {
	row := map[string]int{}
	importers := map[string][]string{}
	for _, from := range g.names {
		for _, to := range g.imports[from] {
			importers[to] = append(importers[to], from)
		}
	}
	down := slices.SortedFunc(slices.Values(g.names), func(a, b string) int {
		return cmp.Or(cmp.Compare(g.level[b], g.level[a]), cmp.Compare(a, b))
	})
	for _, n := range down { // importers first
		row[n] = g.level[n]
		for i, from := range importers[n] {
			if i == 0 || row[from]-1 < row[n] {
				row[n] = row[from] - 1
			}
		}
	}
	boxes := map[string]*node{}
	d := make(drawing, slices.Max(slices.Collect(maps.Values(row)))+1)
	for _, n := range g.names {
		boxes[n] = &node{name: n, side: sideOf(n), row: row[n]}
		d[row[n]] = append(d[row[n]], boxes[n])
	}
	lines := map[string]*node{} // by the box that they lead to, and the row
	for _, from := range g.names {
		for _, to := range g.imports[from] {
			at := boxes[from]
			for r := at.row - 1; r > row[to]; r-- {
				key := fmt.Sprint(to, r)
				line, ok := lines[key]
				if !ok {
					line = &node{side: boxes[to].side, row: r}
					lines[key], d[r] = line, append(d[r], line)
				}
				connect(at, line)
				at = line
			}
			connect(at, boxes[to])
		}
	}
	return d
}

func connect(from, to *node) {
	if !slices.Contains(from.to, to) {
		from.to, to.from = append(from.to, to), append(to.from, from)
	}
}

// place orders each row so that lines cross little, the sides from left to
// right, and moves everything near to what it is connected with.
func (d drawing) place() (width int) {
	for _, row := range d {
		slices.SortStableFunc(row, func(a, b *node) int { return cmp.Compare(a.side, b.side) })
		pack(row, 0)
		width = max(width, row[len(row)-1].x+row[len(row)-1].width()/2)
	}
	for sweep := range 40 {
		for i := range d {
			row, up := d[i], sweep%2 == 0
			if !up {
				row = d[len(d)-1-i]
			}
			for _, n := range row {
				n.x = n.pull(up)
			}
			slices.SortStableFunc(row, func(a, b *node) int { return cmp.Compare(a.x, b.x) })
			pack(row, width)
		}
	}
	left := width
	for _, row := range d {
		left = min(left, row[0].x-row[0].width()/2)
	}
	width = 0
	for _, row := range d {
		for _, n := range row {
			n.x += margin - left
			width = max(width, n.x+n.width()/2)
		}
	}
	return width + margin
}

// pull is where a node would be: amid what it is connected with below, or above
// and below.
func (n *node) pull(below bool) int {
	near := slices.Clone(n.to)
	if !below || len(near) == 0 {
		near = append(near, n.from...)
	}
	sum := 0
	for _, o := range near {
		sum += o.x
	}
	return (sum + n.x) / (len(near) + 1)
}

// pack moves the nodes of a row apart, as little as it can, keeping their
// order; width, if not 0, is where the row should end at most.
func pack(row []*node, width int) {
	for i, n := range row {
		least := n.width() / 2
		if i > 0 {
			least = row[i-1].x + row[i-1].width()/2 + gap + n.width()/2
		}
		n.x = max(n.x, least)
	}
	for i := len(row) - 1; i >= 0 && width > 0; i-- {
		most := width - row[i].width()/2
		if i < len(row)-1 {
			most = row[i+1].x - row[i+1].width()/2 - gap - row[i].width()/2
		}
		row[i].x = min(row[i].x, most)
	}
}

// head is the beginning of the picture, with its width and height.
const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12.5">
<title>The packages of Peerload and what they import</title>
<style>
svg { background: #fff } text { fill: #1b1f24 } .title { font-weight: 600; font-size: 14px }
rect { fill: #eef2f6; stroke: #8894a3 } .device { fill: #e3f0ff } .controller { fill: #e8f5e4 } .laboratory { fill: #fbf0dc }
.command { stroke-width: 2 } path { fill: none; stroke: #6b7785; stroke-opacity: .7 } marker path { fill: #6b7785; stroke: none }
@media (prefers-color-scheme: dark) {
svg { background: #14181d } text { fill: #e3e8ee } rect { fill: #262d36; stroke: #67727f }
.device { fill: #1d3550 } .controller { fill: #20402a } .laboratory { fill: #46391d } path { stroke: #93a0ae } marker path { fill: #93a0ae } }
</style>
<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>
`

// draw makes the picture. An arrow goes from who imports to what is imported;
// what follows from other arrows is left out.
func draw(g graph) []byte {
	d := rowsOf(g)
	width := d.place()
	top := 2*margin + boxHeight
	y := func(row int) int { return top + (len(d)-1-row)*rowHeight }
	var b bytes.Buffer
	fmt.Fprintf(&b, head, width, y(0)+boxHeight+margin)
	for i, s := range sides {
		x := margin + i*(boxWidth-20)
		fmt.Fprintf(&b,
			"<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"14\" height=\"14\" rx=\"3\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
			s.name, x, margin, x+20, margin+12, s.name)
	}
	for r := len(d) - 1; r >= 0; r-- {
		for _, n := range d[r] {
			for i, to := range byX(n.to) {
				x1, x2 := n.end(i, len(n.to)), to.end(slices.Index(byX(to.from), n), len(to.from))
				y1, y2 := y(r)+boxHeight, y(to.row)
				arrow := ` marker-end="url(#to)"`
				down := ""
				if to.name == "" { // it passes the row
					arrow, down = "", fmt.Sprintf("V%d", y2+boxHeight)
				}
				bend := (y2 - y1) / 2
				fmt.Fprintf(&b, "<path d=\"M%d %dC%d %d %d %d %d %d%s\"%s/>\n", x1, y1, x1, y1+bend, x2, y2-bend, x2, y2, down,
					arrow)
			}
		}
	}
	for r := len(d) - 1; r >= 0; r-- {
		for _, n := range d[r] {
			if n.name == "" {
				continue
			}
			class := sides[n.side].name
			if strings.HasPrefix(n.name, "cmd/") {
				class += " command"
			}
			fmt.Fprintf(&b,
				"<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/><text x=\"%d\" y=\"%d\" "+
					"text-anchor=\"middle\">%s</text>\n",
				class, n.x-boxWidth/2, y(r), boxWidth, boxHeight, n.x, y(r)+boxHeight/2+5, n.name)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func byX(nodes []*node) []*node {
	return slices.SortedStableFunc(slices.Values(nodes), func(a, b *node) int { return cmp.Compare(a.x, b.x) })
}

// end is where the i-th of n lines meets a node's edge.
func (n *node) end(i, of int) int {
	if n.name == "" {
		return n.x
	}
	return n.x - boxWidth/2 + (i+1)*boxWidth/(of+1)
}

// TestDrawing: no line crosses a box. Lines leave a row only between rows, and
// where they pass one they have a place of their own.
func TestDrawing(t *testing.T) {
	tiers.Long(t, "it reads the whole tree")
	d := rowsOf(graphOf(t, ownPackages(t)))
	d.place()
	boxes := 0
	for r, row := range d {
		for i, n := range row {
			if n.name != "" {
				boxes++
			}
			if i > 0 && row[i-1].x+row[i-1].width()/2 >= n.x-n.width()/2 {
				t.Errorf("row %d: %q and %q overlap", r, row[i-1].name, n.name)
			}
			for _, to := range n.to {
				if to.row != r-1 {
					t.Errorf("a line goes from row %d to row %d", r, to.row)
				}
			}
		}
	}
	if boxes < 20 {
		t.Errorf("only %d boxes", boxes)
	}
}
