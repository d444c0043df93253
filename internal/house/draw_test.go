package house

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Sizes of the picture in pixels.
const (
	boxWidth, boxHeight = 148, 26
	gapX, gapY          = 14, 12
	levelGap            = 34
	margin, titleHeight = 16, 34
)

// columns of the picture, from left to right: the two sides do not know each
// other, both stand on what is shared.
var columns = []struct{ title, of string }{
	{"device", "peerload cmd/peerload cli"},
	{"shared", ""},
	{"controller", "client cmd/peerload-server"},
	{"laboratory", "lab sim cmd/peerload-lab"},
}

// columnOf is the column of a group.
func columnOf(name string) int {
	for i, c := range columns {
		if strings.HasPrefix(name, c.title+"/") || slices.Contains(strings.Fields(c.of), name) {
			return i
		}
	}
	return 1 // what both sides share
}

// box is a group with its place.
type box struct {
	name string
	x, y int
}

// layout places the groups: a row for each level, higher levels above, and as
// many boxes side by side in a column as its fullest level needs, three at most.
func layout(g graph) (boxes map[string]*box, left []int, width, height int) {
	levels := 0
	for _, l := range g.level {
		levels = max(levels, l+1)
	}
	cells := make([][][]string, len(columns)) // column, level, names
	for c := range cells {
		cells[c] = make([][]string, levels)
	}
	for _, n := range g.names {
		c := columnOf(n)
		cells[c][g.level[n]] = append(cells[c][g.level[n]], n)
	}
	boxes = map[string]*box{}
	x := margin
	rows := make([]int, levels) // the height of each level in boxes
	perRow := make([]int, len(columns))
	for c := range columns {
		perRow[c] = 1
		for _, names := range cells[c] {
			perRow[c] = max(perRow[c], min(len(names), 3))
		}
		for l, names := range cells[c] {
			rows[l] = max(rows[l], (len(names)+perRow[c]-1)/perRow[c])
		}
		left = append(left, x)
		x += perRow[c]*(boxWidth+gapX) + 2*gapX
	}
	width = x - gapX
	y := margin + titleHeight
	for l := levels - 1; l >= 0; l-- {
		for c := range columns {
			for i, n := range cells[c][l] {
				boxes[n] = &box{n, left[c] + i%perRow[c]*(boxWidth+gapX), y + i/perRow[c]*(boxHeight+gapY)}
			}
		}
		y += rows[l]*(boxHeight+gapY) + levelGap
	}
	return boxes, left, width, y - levelGap
}

// draw makes the picture. An arrow goes from who imports to what is imported;
// what follows from other arrows is left out.
func draw(g graph) []byte {
	boxes, left, width, height := layout(g)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13">
<title>The packages of Peerload and what they import</title>
<style>
svg { background: #fff } text { fill: #1b1f24 } .title { font-weight: 600; font-size: 14px }
rect { fill: #eef2f6; stroke: #8894a3 } .device { fill: #e3f0ff } .controller { fill: #e8f5e4 } .laboratory { fill: #fbf0dc }
.command { stroke-width: 2 } path { fill: none; stroke: #6b7785; stroke-opacity: .55 } marker path { fill: #6b7785; stroke: none }
@media (prefers-color-scheme: dark) {
svg { background: #14181d } text { fill: #e3e8ee } rect { fill: #262d36; stroke: #67727f }
.device { fill: #1d3550 } .controller { fill: #20402a } .laboratory { fill: #46391d } path { stroke: #93a0ae } marker path { fill: #93a0ae } }
</style>
<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>
`, width, height)
	for i, c := range columns {
		fmt.Fprintf(&b, "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", left[i], margin+12, c.title)
	}
	for _, a := range arrows(g, boxes) {
		bend := max(20, (a.y2-a.y1)/2)
		fmt.Fprintf(&b, "<path d=\"M%d %dC%d %d %d %d %d %d\" marker-end=\"url(#to)\"/>\n",
			a.x1, a.y1, a.x1, a.y1+bend, a.x2, a.y2-bend, a.x2, a.y2)
	}
	order := slices.SortedFunc(slices.Values(g.names), func(a, c string) int {
		return cmp.Or(cmp.Compare(boxes[a].y, boxes[c].y), cmp.Compare(boxes[a].x, boxes[c].x))
	})
	for _, n := range order {
		k := boxes[n]
		class := columns[columnOf(n)].title
		if strings.HasPrefix(n, "cmd/") {
			class += " command"
		}
		fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/><text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
			class, k.x, k.y, boxWidth, boxHeight, k.x+boxWidth/2, k.y+boxHeight/2+5, n)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// arrow goes from the lower edge of a box to the upper edge of another.
type arrow struct {
	from, to       *box
	x1, y1, x2, y2 int
}

// arrows spreads the ends of all arrows over the edges of their boxes, in the
// order in which they come from the left.
func arrows(g graph, boxes map[string]*box) []*arrow {
	var all []*arrow
	out, in := map[*box][]*arrow{}, map[*box][]*arrow{}
	for _, from := range g.names {
		for _, to := range g.imports[from] {
			a := &arrow{from: boxes[from], to: boxes[to]}
			a.y1, a.y2 = a.from.y+boxHeight, a.to.y
			all = append(all, a)
			out[a.from], in[a.to] = append(out[a.from], a), append(in[a.to], a)
		}
	}
	at := func(k *box, i, n int) int { return k.x + (i+1)*boxWidth/(n+1) }
	for k, ends := range out {
		slices.SortStableFunc(ends, func(a, b *arrow) int { return cmp.Or(cmp.Compare(a.to.x, b.to.x), cmp.Compare(b.to.y, a.to.y)) })
		for i, a := range ends {
			a.x1 = at(k, i, len(ends))
		}
	}
	for k, ends := range in {
		slices.SortStableFunc(ends, func(a, b *arrow) int { return cmp.Or(cmp.Compare(a.from.x, b.from.x), cmp.Compare(a.from.y, b.from.y)) })
		for i, a := range ends {
			a.x2 = at(k, i, len(ends))
		}
	}
	return all
}
