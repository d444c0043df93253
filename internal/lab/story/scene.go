package story

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/report"
)

// marksShown is how many of the latest events a picture shows.
const marksShown = 4

// meterWidth is the length of the bar of the WAN's load, in columns.
const meterWidth = 20

// Lines implements Scene: the WAN's load, the latest events, and the tree of
// each subnet, as far as the screen has rows.
func (u *Up) Lines(rows int) [][]output.Span {
	held := 0
	for _, d := range u.devices {
		if d.view().Held() {
			held++
		}
	}
	rate, wan := u.line.rate(), u.cfg.Site.WAN
	full := min(meterWidth, int(meterWidth*rate/wan))
	sent := u.server.Tally.Total()
	lines := [][]output.Span{
		slices.Concat(
			[]output.Span{output.Bold.Text(fmt.Sprintf("%5.1f s", u.Elapsed().Seconds())), output.Plain.Text("  WAN ")},
			output.Bar(full, meterWidth, output.Gold),
			[]output.Span{output.Plain.Text(fmt.Sprintf(" %5.1f of %s", float64(rate)/1e6, wan))},
		),
		{
			output.Plain.Text(fmt.Sprintf("%d of %d devices have the file", held, len(u.devices))),
			output.Plain.Text(fmt.Sprintf("; %s over the WAN, %.2f times the file", units.Size(sent),
				float64(sent)/float64(u.cfg.Size))),
		},
	}
	for _, m := range u.line.lately(marksShown) {
		lines = append(lines, []output.Span{markStyle(m.Kind).Text("  " + m.String())})
	}
	subnets := max(u.cfg.Site.Subnets, 1)
	room := max(1, (rows-1-len(lines)-subnets)/subnets)
	for k := range subnets {
		lines = append(lines, u.subnetLines(k, room)...)
	}
	return lines
}

// subnetLines draws one subnet: at most room lines, to stand below its head.
func (u *Up) subnetLines(k, room int) [][]output.Span {
	var nodes []output.Node
	held, on := 0, 0
	for _, d := range u.devices {
		if d.subnet != k {
			continue
		}
		v := d.view()
		if v.Held() {
			held++
		}
		if len(d.All()) > 0 {
			on++
		}
		nodes = append(nodes, output.Node{
			Addr: d.Host.Addr, Parent: process.AddrOf(v.Parent), Root: v.Role == report.RoleRoot, Line: d.line,
		})
	}
	head := []output.Span{
		output.Bold.Text(fmt.Sprintf("subnet %d", k+1)),
		output.Plain.Text(fmt.Sprintf(": %d devices, %d started, %d have the file", len(nodes), on, held)),
	}
	tree := output.Tree(nodes)
	if len(tree) > room {
		more := len(tree) - room + 1
		tree = append(tree[:max(0, room-1)], []output.Span{output.Faint.Text(fmt.Sprintf("  and %d more", more))})
	}
	return append([][]output.Span{head}, tree...)
}

// line draws one device.
func (d *device) line(lead string) []output.Span {
	name := output.Plain.Text(fmt.Sprintf("%-24s ", lead+d.Host.Addr.String()))
	v := d.view()
	switch procs := d.All(); {
	case len(procs) == 0:
		return []output.Span{name, output.Faint.Text("off")}
	case v.Held():
		return []output.Span{name, output.Plain.Text(fmt.Sprintf("%-8s ", v.Role)), output.Green.Text("has the file")}
	case !procs[len(procs)-1].Running():
		return []output.Span{name, output.Red.Text(strings.TrimSpace("off " + v.Reason))}
	case v.File == "":
		return []output.Span{name, output.Faint.Text("starting")}
	}
	return append([]output.Span{name, output.Role(v.Role)}, output.Progress(v)...)
}

// String returns the mark as a line for people.
func (m Mark) String() string {
	whom := m.Devices
	if len(whom) > 4 {
		whom = append(append([]string{}, whom[:3]...), fmt.Sprintf("%d more", len(m.Devices)-3))
	}
	text := m.Text
	if len(whom) > 0 {
		text = strings.Join(whom, ", ") + ": " + text
	}
	return fmt.Sprintf("%7.2f s  %s", m.AtS, text)
}

func markStyle(kind string) output.Style {
	switch kind {
	case markStory:
		return output.Bold
	case markFailed:
		return output.Red
	case markRoot:
		return output.Gold
	}
	return output.Plain
}
