package demo

import (
	"fmt"
	"strings"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/report"
)

// Intro says what a demo is about to show.
func (d *Demo) Intro() string {
	how := "One device of a model downloads, the others copy from each other."
	if !d.cfg.Peers {
		how = "Every device downloads for itself."
	}
	if p := d.site.Port(); p != site.PeerPort {
		how += fmt.Sprintf("\nThey meet on port %d: others on this machine use %d.", p, site.PeerPort)
	}
	return fmt.Sprintf("%d devices behind a WAN of %s. Loads: %s, %s, and %s, %s.\n%s",
		len(d.devices), d.cfg.WAN, d.loads[0].Name, units.Size(bytesOf(d.loads[0])),
		d.loads[1].Name, units.Size(bytesOf(d.loads[1])), how)
}

// Line returns an event as a line for people, "" for one not worth a line.
func Line(ev Event) string {
	text := ""
	switch ev.Event.Event {
	case report.KindRole:
		text = roleText(ev)
	case report.KindParent:
		if a := process.AddrOf(ev.Parent); a.IsValid() {
			text = "child of " + a.String()
		}
	case report.KindFallback:
		text = "fallback" + output.Because(ev.Reason)
	case report.KindVerified:
		text = "verified"
	case report.KindFailed:
		text = strings.TrimSpace("failed" + output.Because(ev.Reason) + " " + ev.Message)
	case report.KindDone:
		text = doneText(ev.Final)
	case kindKilled:
		text = ev.Message
	}
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%7.2f s  %-14s %-7s %-14s %s", ev.At, ev.Device, ev.Model, ev.File, text)
}

func roleText(ev Event) string {
	switch ev.Role {
	case report.RoleRoot:
		return "root" + output.Because(ev.Reason)
	case report.RoleClassic:
		return "classic: downloads for itself"
	case report.RoleDetached:
		if a := process.AddrOf(ev.Root); a.IsValid() {
			return "follows root " + a.String() + output.Because(ev.Reason)
		}
	}
	return ""
}

// doneText says what a device has and where it came from.
func doneText(f *report.Final) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("done in %.1f s: %s from the server, %s from peers, %s passed on",
		f.ElapsedS, units.Size(f.BytesFromOrigin), units.Size(f.BytesFromPeers), units.Size(f.BytesToPeers))
}
