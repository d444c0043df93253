package lab

import (
	"fmt"
	"strings"

	"github.com/peerload/peerload/report"
)

// Story says in a sentence what a demo is about to show.
func (d *Demo) Story() string {
	how := "the devices of one model share, one downloads"
	if !d.cfg.Peers {
		how = "every device downloads for itself"
	}
	return fmt.Sprintf("%d devices behind %s; %s %s and %s %s; %s.",
		len(d.devices), d.cfg.WAN, d.loads[0].Name, Size(bytesOf(d.loads[0])),
		d.loads[1].Name, Size(bytesOf(d.loads[1])), how)
}

// Line returns an event as a line for people, "" for one not worth a line.
func Line(ev DemoEvent) string {
	var text string
	switch ev.Event.Event {
	case report.KindRole:
		text = ev.Role + becauseOf(ev.Reason)
	case report.KindParent:
		if a := addrOf(ev.Parent); a.IsValid() {
			text = "child of " + a.String()
		}
	case report.KindSource:
		text = sourceText(FileView{Source: ev.Source, Parent: ev.Parent})
	case report.KindFallback:
		text = "fallback" + becauseOf(ev.Reason)
	case report.KindCommitted:
		text = "verified and in place"
	case report.KindFailed:
		text = strings.TrimSpace("failed" + becauseOf(ev.Reason) + " " + ev.Message)
	case KindKilled:
		text = ev.Message
	}
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%7.2f s  %-16s %-7s %-14s %s", ev.At, ev.Device, ev.Model, ev.File, text)
}

func becauseOf(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}
