package lab

import (
	"fmt"
	"strings"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/report"
)

// marksShown is how many of the last things that happened stand in a picture.
const marksShown = 4

// meterWidth is the length of the WAN's meter, in columns.
const meterWidth = 20

// lines implements Scene: the WAN's meter, what happened last, and the tree of
// each subnet, as far as the screen has rows.
func (u *Up) lines(rows int) [][]span {
	held := 0
	for _, d := range u.devices {
		if d.view().Held() {
			held++
		}
	}
	rate, wan := u.line.rate(), u.cfg.Site.WAN
	full := min(meterWidth, int(meterWidth*rate/wan))
	sent := u.server.Tally.Total()
	lines := [][]span{
		{
			{fmt.Sprintf("%5.1f s", u.Elapsed().Seconds()), bold}, {"  WAN ", plain},
			{strings.Repeat("█", full), gold}, {strings.Repeat("░", meterWidth-full), faint},
			{fmt.Sprintf(" %5.1f of %s", float64(rate)/1e6, wan), plain},
		},
		{
			{fmt.Sprintf("%d of %d devices have the file", held, len(u.devices)), plain},
			{fmt.Sprintf("; %s over the WAN, %.2f times the file", units.Size(sent), float64(sent)/float64(u.cfg.Size)), plain},
		},
	}
	for _, m := range u.line.lately(marksShown) {
		lines = append(lines, []span{{"  " + m.String(), markStyle(m.Kind)}})
	}
	subnets := max(u.cfg.Site.Subnets, 1)
	room := max(1, (rows-1-len(lines)-subnets)/subnets)
	for k := range subnets {
		lines = append(lines, u.subnetLines(k, room)...)
	}
	return lines
}

// subnetLines draws one subnet in at most room lines below its head.
func (u *Up) subnetLines(k, room int) [][]span {
	var nodes []treeNode
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
		nodes = append(nodes, treeNode{
			addr: d.Host.Addr, parent: process.AddrOf(v.Parent), root: v.Role == report.RoleRoot,
			line: func(lead string) []span { return d.line(lead) },
		})
	}
	head := []span{{fmt.Sprintf("subnet %d", k+1), bold}, {fmt.Sprintf(": %d devices, %d started, %d have the file", len(nodes), on, held), plain}}
	tree := drawTree(nodes)
	if len(tree) > room {
		more := len(tree) - room + 1
		tree = append(tree[:max(0, room-1)], []span{{fmt.Sprintf("  and %d more", more), faint}})
	}
	return append([][]span{head}, tree...)
}

// line draws one device.
func (d *upDevice) line(lead string) []span {
	name := span{fmt.Sprintf("%-24s ", lead+d.Host.Addr.String()), plain}
	v := d.view()
	switch procs := d.All(); {
	case len(procs) == 0:
		return []span{name, {"off", faint}}
	case v.Held():
		return []span{name, {fmt.Sprintf("%-8s ", v.Role), plain}, {"has the file", green}}
	case !procs[len(procs)-1].Running():
		return []span{name, {strings.TrimSpace("off " + v.Reason), red}}
	case v.File == "":
		return []span{name, {"starting", faint}}
	}
	full := barWidth * v.Percent / 100
	return []span{
		name,
		{fmt.Sprintf("%-8s ", v.Role), roleStyle(v.Role)},
		{strings.Repeat("█", full), roleStyle(v.Role)},
		{strings.Repeat("░", barWidth-full), faint},
		{fmt.Sprintf(" %3d %% ", v.Percent), plain},
		{sourceText(v), plain},
	}
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

func markStyle(kind string) string {
	switch kind {
	case markStory:
		return bold
	case markFailed:
		return red
	case markRoot:
		return gold
	}
	return plain
}
