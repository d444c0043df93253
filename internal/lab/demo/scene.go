package demo

import (
	"fmt"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// Lines implements Scene.
func (d *Demo) Lines(int) [][]output.Span {
	t := d.Elapsed()
	sent := d.server.Tally.Total()
	rate := units.Rate(0)
	if t > 100*time.Millisecond {
		rate = units.Rate(float64(8*sent) / t.Seconds())
	}
	lines := [][]output.Span{{
		output.Bold.Text(fmt.Sprintf("%5.1f s", t.Seconds())),
		output.Plain.Text(fmt.Sprintf("  WAN: %s at %.2f of %s; %d classic upgrades: %s",
			units.Size(sent), float64(rate)/1e6, d.cfg.WAN, len(d.devices), units.Size(d.classicBytes()))),
	}}
	var classic []*device
	for i, m := range d.loads {
		var group []*device
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
			lines = append(lines, tree(loads[i].Model, m, group)...)
		}
	}
	if len(classic) > 0 {
		lines = append(lines, []output.Span{output.Bold.Text("classic"), output.Plain.Text(": each downloads for itself")})
		for _, dev := range classic {
			lines = append(lines, deviceLine(dev, "  ", dev.model))
		}
	}
	return lines
}

// tree draws a group as the tree of its current component.
func tree(model string, m *load.Manifest, group []*device) [][]output.Span {
	file := present(m, group)
	head := []output.Span{output.Bold.Text(model),
		output.Plain.Text(fmt.Sprintf(" %s, %s", m.Name, units.Size(bytesOf(m))))}
	if file == "" {
		head = append(head, output.Faint.Text(": no root yet"))
	} else {
		head = append(head, output.Plain.Text(": tree of "+file))
	}
	lines := [][]output.Span{head}
	nodes := make([]output.Node, len(group))
	for i, dev := range group {
		v := dev.View(file)
		nodes[i] = output.Node{
			Addr: dev.Host.Addr, Parent: process.AddrOf(v.Parent), Root: v.Role == report.RoleRoot,
			Line: func(lead string) []output.Span { return deviceLine(dev, lead, "") },
		}
	}
	return append(lines, output.Tree(nodes)...)
}

// present returns the component whose tree is shown: the one that most devices
// are fetching, else the last that had a root; "" before the first root.
func present(m *load.Manifest, group []*device) string {
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

// deviceLine draws one device: address, role, component, percent and source.
func deviceLine(dev *device, lead, note string) []output.Span {
	name := output.Plain.Text(fmt.Sprintf("%-20s ", lead+dev.Host.Addr.String()))
	v, held, state := dev.current()
	if state != "" {
		style := output.Faint
		if held == len(dev.load.Components) {
			style = output.Green
		}
		if state == "dead" {
			style = output.Red
		}
		return []output.Span{name, style.Text(fmt.Sprintf("%-8s %s", v.Role, state)), output.Faint.Text(" " + note)}
	}
	head := []output.Span{name, output.Role(v.Role), output.Plain.Text(fmt.Sprintf("%-12s ", v.File))}
	return slices.Concat(head, output.Progress(v), []output.Span{output.Faint.Text(" " + note)})
}

// current returns the file that the device is fetching, how many components it
// holds, and a word instead of a file if it is fetching none.
func (dev *device) current() (v process.FileView, held int, state string) {
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
