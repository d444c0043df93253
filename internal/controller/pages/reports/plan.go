package reports

import (
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// sitePlan is what it would take to bring a load or a release to the devices of a site.
func sitePlan(v *frame.Visit) error {
	site := v.Path("site")
	loads, releases, err := frame.SoftwareOptions(v)
	if err != nil {
		return err
	}
	load, release := v.Query("load"), v.Query("release")
	p := frame.Thing{Title: v.T("What an upgrade of %s would take", site),
		Intro:   v.T("Nothing is changed. Waves, windows and restarts add to the time."),
		Actions: []frame.Action{{Text: v.T("The site"), Path: frame.At("sites", site), Second: true}},
		Filters: []frame.Field{
			{Name: "release", Label: v.T("Release to bring"), Kind: "select", Value: release,
				Options: slices.Concat(frame.NoOption(v), releases)},
			{Name: "load", Label: v.T("or load"), Kind: "select", Value: load,
				Options: slices.Concat(frame.NoOption(v), loads)}},
		FilterButton: v.T("Show what it takes")}
	switch {
	case load != "" && release != "":
		p.Filters[1].Error = v.T("Choose a load or a release, not both.")
		return v.Show("thing", p)
	case load == "" && release == "": // the page of a site that is not there is none either
		if _, err := v.API.Sites.Get(v.Context(), site); err != nil {
			return err
		}
		return v.Show("thing", p)
	}
	plan, err := v.API.PlanSite(v.Context(), site, load, release)
	if err != nil {
		return err
	}
	planFacts(v, &p, plan)
	return v.Show("thing", p)
}

// seconds is a time of a plan, or why it is not known.
func seconds(v *frame.Visit, s *float64, unknown string) frame.Cell {
	switch {
	case s != nil:
		return frame.Text(frame.Span(v.JA, time.Duration(*s*float64(time.Second))))
	case unknown != "":
		return frame.Text(unknown)
	}
	return frame.Text(v.T("not known"))
}

func planFacts(v *frame.Visit, p *frame.Thing, s client.SitePlan) {
	p.Know(v.T("Devices that would fetch something"), frame.Num(s.Devices))
	p.Know(v.T("Loads"), frame.Text(strings.Join(s.Loads, ", ")))
	p.Know(v.T("Over its line"), frame.Text(frame.Bytes(s.WANBytes)))
	p.Know(v.T("Last device after"), seconds(v, s.LastS, s.Unknown))
	p.Know(v.T("The classic way"), frame.Text(frame.Bytes(s.Classic.WANBytes)))
	p.Know(v.T("The classic way takes"), seconds(v, s.Classic.HTTPSeconds, ""), frame.Text(v.T("by HTTP,")),
		seconds(v, s.Classic.TFTPSeconds, ""), frame.Text(v.T("by TFTP")))
	rate := v.T("not known")
	if s.Line.WANRate > 0 {
		rate = frame.Bytes(s.Line.WANRate) + "/s"
	}
	p.Know(v.T("Rate of its line"), frame.Text(rate))
	if t := s.Took; t != nil {
		p.Know(v.T("The last upgrade"), frame.Link(t.Load, "loads", t.Load),
			frame.Text(v.T("%d {device|devices}, %s over the line, the slowest in %s,", t.Devices, frame.Bytes(t.WANBytes),
				frame.Span(v.JA, time.Duration(t.LastS*float64(time.Second))))), frame.Time(t.Ended))
	}
}
