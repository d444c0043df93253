package reports

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/device/wording"
)

// groups are what savings can be put together by.
var groups = []string{"month", "site", "load", "release"}

// savings is what sharing has saved, by what the address says: by month if it says
// nothing.
func savings(v *frame.Visit) error {
	q := client.SavingQuery{Site: v.Query("site"), Load: v.Query("load"), Release: v.Query("release"),
		Since: v.Query("since"), Until: v.Query("until")}
	for _, by := range groups {
		if v.Query("by-"+by) != "" {
			q.By = append(q.By, by)
		}
	}
	if len(q.By) == 0 {
		q.By = groups[:1]
	}
	filters, err := savingFields(v, q)
	if err != nil {
		return err
	}
	s, err := v.API.Savings(v.Context(), q)
	if err != nil {
		return err
	}
	p := frame.Listing{Title: v.T("Savings"), Tabs: Tabs(v), Filters: filters,
		Intro: v.T("What came over the lines of the sites, beside what would have if each device had fetched by itself."),
		Empty: v.T("No device has told of a fetch yet.")}
	for _, by := range q.By {
		p.Table.Head = append(p.Table.Head, v.T("by "+by))
	}
	p.Table.Head = append(p.Table.Head, v.T("Fetches"), v.T("Failed"), v.T("Over its line"), v.T("The classic way"),
		v.T("Saved"), v.T("Saved in percent"), v.T("Last device"), v.T("Sources given up"))
	for _, r := range s.Rows {
		p.Table.Rows = append(p.Table.Rows, savingRow(v, q.By, r))
	}
	if len(s.Rows) > 1 {
		all := savingRow(v, q.By, s.Total)
		all[0] = frame.Text(v.T("in all"))
		p.Table.Rows = append(p.Table.Rows, all)
	}
	return v.Show("listing", p)
}

// savingFields are the conditions of savings.
func savingFields(v *frame.Visit, q client.SavingQuery) ([]frame.Field, error) {
	site, err := siteField(v)
	if err != nil {
		return nil, err
	}
	loads, releases, err := frame.SoftwareOptions(v)
	if err != nil {
		return nil, err
	}
	all := []frame.Field{site,
		{Name: "load", Label: v.T("Load"), Kind: "select", Value: q.Load, Options: slices.Concat(every(v), loads)},
		{Name: "release", Label: v.T("Release"), Kind: "select", Value: q.Release,
			Options: slices.Concat(every(v), releases)},
		{Name: "since", Label: v.T("From month"), Kind: "month", Value: q.Since, Help: v.T("For example 2026-11.")},
		{Name: "until", Label: v.T("Up to month"), Kind: "month", Value: q.Until}}
	for _, by := range groups {
		f := frame.Field{Name: "by-" + by, Label: v.T("per " + by), Kind: "check"}
		if slices.Contains(q.By, by) {
			f.Value = "on"
		}
		all = append(all, f)
	}
	return all, nil
}

// savingRow is one row, which begins with what it is put together by.
func savingRow(v *frame.Visit, by []string, s client.Saving) (row []frame.Cell) {
	is := map[string]frame.Cell{"month": {Text: s.Month, Whole: true}, "site": frame.Text(v.T("no site")),
		"load": frame.Text(s.Load), "release": frame.Text(v.T("no release"))}
	if s.Site != "" {
		is["site"] = frame.Link(s.Site, "sites", s.Site)
	}
	if s.Release != "" {
		is["release"] = frame.Link(s.Release, "releases", s.Release)
	}
	for _, name := range by {
		row = append(row, is[name])
	}
	failed := frame.Num(s.Failed)
	if s.Failed > 0 {
		failed.State = "failed"
	}
	var why []string
	for _, code := range slices.Sorted(maps.Keys(s.Fallbacks)) {
		why = append(why, fmt.Sprintf("%s: %d", wording.Why(v.JA, code, ""), s.Fallbacks[code]))
	}
	last := frame.Cell{}
	if !s.Last.IsZero() {
		last = frame.Time(s.Last)
	}
	return append(row, frame.Num(s.Done), failed, size(s.FromOrigin), size(s.Classic), size(s.Saved),
		percent(s.SavedPercent), last, frame.Text(strings.Join(why, ", ")))
}
