// Package output has what the results of all instruments have in common: their
// words and figures, the live picture on a terminal, and the style of a page
// for a browser.
//
// What must not live here: what only one instrument shows. Read first:
// picture.go.
package output

import (
	"fmt"
	"math"
	"net/netip"
)

// Interrupted is the error of a run that was stopped by hand.
const Interrupted = "interrupted"

// Kill is a root that was killed.
type Kill struct {
	Percent int        `json:"percent"` // of the file, at its death
	Device  netip.Addr `json:"device"`
	AtS     float64    `json:"at_s"`
	NewRoot netip.Addr `json:"new_root"`
	ResumeS float64    `json:"resume_s"` // from the kill to the next root's first payload byte
}

// Failure is a device that did not end with the right file and exit status 0.
type Failure struct {
	Device netip.Addr `json:"device"`
	Exit   string     `json:"exit"`
	Reason string     `json:"reason,omitempty"`
	Log    string     `json:"log,omitempty"` // the end of its standard error
}

// Quantile returns the nearest-rank quantile of sorted values.
func Quantile(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// Ratio writes a ratio to a bound; 0 means unknown.
func Ratio(r float64) string {
	if r == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.3f", r)
}

// Reasons says how often devices fell back for which reason; "" for none.
func Reasons(reasons map[string]int) string {
	if len(reasons) == 0 {
		return ""
	}
	return fmt.Sprint(reasons)
}

// Because writes a reason in the form in which it follows an event.
func Because(reason string) string {
	if reason == "" || reason == "none" {
		return ""
	}
	return " (" + reason + ")"
}

// OrNobody returns s, or "nobody" for "".
func OrNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}
