package pages

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

const (
	// silentAfter is how long a device must be silent to count as silent.
	silentAfter = time.Hour
	// rootSoon is how long before the root of trust expires people are told.
	rootSoon = 90 * 24 * time.Hour
	// littleRoom is how much of the disk must be free, in percent.
	littleRoom = 5
	// fewRows is how many things of a kind the overview shows.
	fewRows = 8
)

// overviewPage is what needs attention, what runs, and what was saved.
type overviewPage struct {
	client.Overview
	Failed, Unknown, Running int
	Failures                 []client.Failure
	Paused, Under            []client.Rollout
	Jobs                     []client.Job
	Month                    client.Saving
	Versions                 []count
	Changes                  []client.AuditEntry
	// SavedPercent is how much that is of what classic upgrades would have pulled.
	SavedPercent int
	// RootEnds is when the root of trust expires; zero if that is far away.
	RootEnds time.Time
}

// count is a name and how many devices have it.
type count struct {
	Name       string
	N, Percent int
}

// DiskPercent is how much of the controller's disk is free; 100 if that is not known.
func (p overviewPage) DiskPercent() int {
	if p.DiskFree == nil || p.DiskSize == nil || *p.DiskSize <= 0 {
		return 100
	}
	return int(float64(*p.DiskFree) * 100 / float64(*p.DiskSize))
}

// DiskLow reports whether the controller's disk is nearly full, which would stop all that
// the controller does.
func (p overviewPage) DiskLow() bool { return p.DiskPercent() < littleRoom }

// Calm reports whether nothing needs attention.
func (p overviewPage) Calm() bool {
	return !p.DiskLow() &&
		p.Failed == 0 && p.Silent == 0 && len(p.Paused) == 0 && p.RootEnds.IsZero() && p.DeadMessages == 0
}

// Did is what an entry of the audit log says was done, in words.
func (overviewPage) Did(v *frame.Visit, action string) string { return did(v, action) }

func overview(v *frame.Visit) error {
	p := overviewPage{}
	var err error
	if p.Overview, err = v.API.Overview(v.Context(), "", silentAfter); err != nil {
		return err
	}
	p.Failed = p.ByState["failed"] + p.ByState["rolled-back"]
	p.Unknown = p.ByState["unknown"]
	for _, state := range []string{"downloading", "ready", "installing", "rebooting", "trial"} {
		p.Running += p.ByState[state]
	}
	p.Versions = counts(p.ByActive, p.Devices)
	if p.Failures, err = frame.All(v, v.API.Failures, client.Filter{Limit: fewRows}); err != nil {
		return err
	}
	rollouts, err := frame.All(v, v.API.Rollouts, client.Filter{Active: "true", Limit: frame.PageRows})
	if err != nil {
		return err
	}
	for _, r := range rollouts {
		if r.State == "paused" {
			p.Paused = append(p.Paused, r)
		} else {
			p.Under = append(p.Under, r)
		}
	}
	if p.Jobs, err = activeJobs(v); err != nil {
		return err
	}
	month := v.Now().UTC().Format("2006-01")
	saved, err := v.API.Savings(v.Context(), client.SavingQuery{Since: month, Until: month})
	if err != nil {
		return err
	}
	p.Month = saved.Total
	if is := p.Month.SavedPercent; is != nil {
		p.SavedPercent = *is
	}
	if p.RootEnds, err = rootEnds(v); err != nil {
		return err
	}
	if v.May("devices") {
		if p.Changes, err = lastChanges(v); err != nil {
			return err
		}
	}
	return v.Show("overview", p)
}

// lastChanges are the last entries of the audit log that changed something.
func lastChanges(v *frame.Visit) (changes []client.AuditEntry, err error) {
	all, err := frame.All(v, v.API.Audit, client.Filter{Limit: 5 * fewRows})
	for _, e := range all {
		if e.PartOf == "" && !strings.HasPrefix(e.Action, "log") && len(changes) < fewRows {
			changes = append(changes, e)
		}
	}
	return changes, err
}

// counts are the most frequent first.
func counts(by map[string]int, of int) (all []count) {
	for name, n := range by {
		if n > 0 {
			all = append(all, count{name, n, n * 100 / max(of, 1)})
		}
	}
	slices.SortFunc(all, func(a, b count) int {
		if a.N != b.N {
			return b.N - a.N
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// activeJobs are those that somebody has to go on with, the latest first.
func activeJobs(v *frame.Visit) (active []client.Job, err error) {
	jobs, err := frame.All(v, v.API.Jobs, client.Filter{})
	for _, j := range slices.Backward(jobs) {
		if jobRuns(j) {
			active = append(active, j)
		}
	}
	return active, err
}

// jobRuns reports whether a bulk job is not at its end.
func jobRuns(j client.Job) bool {
	return slices.Contains([]string{"waiting", "checking", "running", "undoing"}, j.State)
}

// rootEnds is when the root of trust expires, zero if that is far away or nothing was
// published yet.
func rootEnds(v *frame.Visit) (time.Time, error) {
	expires, version, err := rootExpiry(v)
	if err != nil || version == 0 || expires.Sub(v.Now()) > rootSoon {
		return time.Time{}, err
	}
	return expires, nil
}

// rootExpiry is when the root of trust expires, and its version, 0 before anything was
// published.
func rootExpiry(v *frame.Visit) (expires time.Time, version int64, err error) {
	raw, version, err := v.API.Root(v.Context())
	if errors.Is(err, client.NotFound) || errors.Is(err, client.Unavailable) {
		return expires, 0, nil
	}
	if err != nil {
		return expires, 0, err
	}
	var root struct {
		Signed struct {
			Expires time.Time `json:"expires"`
		} `json:"signed"`
	}
	err = json.Unmarshal(raw, &root)
	return root.Signed.Expires, version, err
}
