// Package reports has the controller's pages that report and predict: the history of the
// fleet, what sharing has saved, and how long an upgrade of a site will take.
//
// What lives here: these pages. What must not: pages that change something, and counting,
// which is the API's.
//
// Read first: Add, then savings as the example for all others.
package reports

import (
	"slices"
	"strconv"

	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// Add adds the pages to a frame.
func Add(f *frame.Frame) {
	f.Page("GET /history", history)
	f.Page("GET /savings", savings)
	f.Page("GET /sites/{site}/plan", sitePlan)
}

// Tabs are the pages of what happened.
func Tabs(v *frame.Visit) []frame.Tab {
	all := []frame.Tab{{Text: v.T("Failures"), Path: "/failures"}, {Text: v.T("History"), Path: "/history"},
		{Text: v.T("Savings"), Path: "/savings"}}
	if v.May("devices") {
		all = append(all, frame.Tab{Text: v.T("Audit log"), Path: "/audit"})
	}
	return all
}

// every is the option of a condition that is left open.
func every(v *frame.Visit) []frame.Option { return []frame.Option{{Value: "", Label: v.T("all")}} }

// siteField is the condition of a site.
func siteField(v *frame.Visit) (f frame.Field, err error) {
	sites, err := frame.SiteOptions(v)
	return frame.Field{Name: "site", Label: v.T("Site"), Kind: "select", Value: v.Query("site"),
		Options: slices.Concat(every(v), sites)}, err
}

// size are bytes in a cell, and number is a number: at the right, in columns.
func size(n int64) frame.Cell { return frame.Cell{Text: frame.Bytes(n), Number: true} }

func percent(n *int) frame.Cell {
	if n == nil {
		return frame.Cell{Number: true}
	}
	return frame.Cell{Text: strconv.Itoa(*n) + " %", Number: true}
}
