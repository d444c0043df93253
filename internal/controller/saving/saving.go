// Package saving counts what sharing among peers saves: the bytes that came from
// servers, beside those that devices would have fetched from there each by itself.
//
// What lives here: what is counted of a final report, and how counts are put
// together by site, load, release and month. What must not: where they are kept, and
// who may see them.
//
// Read Record and its Add, then Sum.
package saving

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/report"
)

// MonthLayout writes months, by UTC: 2026-11. They sort by time.
const MonthLayout = "2006-01"

// Counts are what is counted.
type Counts struct {
	// Done counts the fetches that were complete, Failed the others.
	Done   int `json:"done"`
	Failed int `json:"failed"`
	// FromOrigin are the bytes that came from servers, FromPeers from other devices;
	// FromCache were held before.
	FromOrigin int64 `json:"from_origin"`
	FromPeers  int64 `json:"from_peers"`
	FromCache  int64 `json:"from_cache"`
	// Classic are the bytes that would have come from servers if each device had
	// fetched by itself what it did not hold.
	Classic int64 `json:"classic"`
	// Last is when the last device was done, LastDevice which; zero and "" if none was.
	Last       time.Time `json:"last,omitzero"`
	LastDevice string    `json:"last_device,omitempty"`
	// Fallbacks count why sources were given up, by the code of the reason.
	Fallbacks map[string]int `json:"fallbacks,omitempty"`
}

// Saved are the bytes that did not come from servers; fewer than none if devices
// fetched so much in vain.
func (c Counts) Saved() int64 { return c.Classic - c.FromOrigin }

// Percent is how much of the classic way was saved, rounded down; ok is false if
// nothing was fetched.
func (c Counts) Percent() (percent int, ok bool) {
	if c.Classic <= 0 {
		return 0, false
	}
	return int(math.Floor(float64(c.Saved()) / float64(c.Classic) * 100)), true
}

const (
	// maxReasons bounds the reasons that are told apart; the others count as
	// otherReason.
	maxReasons  = 32
	otherReason = "other"
)

// Add counts the final report of a device, which is bounded. Of a load it is that of
// the whole.
func (c *Counts) Add(now time.Time, device string, f report.Final) {
	needed := f.BytesFromOrigin + f.BytesFromPeers
	if f.Size > 0 {
		needed = min(needed, f.Size) // a device by itself does not fetch a part twice
	}
	one := Counts{FromOrigin: f.BytesFromOrigin, FromPeers: f.BytesFromPeers, FromCache: f.BytesFromCache,
		Classic: needed}
	// A device of an older version names no load, and does not say that it failed.
	if f.Reason == "" && (f.Load != "" || needed+f.BytesFromCache >= f.Size) {
		one.Done, one.Last, one.LastDevice = 1, now, device
	} else {
		one.Failed = 1
	}
	for _, b := range f.Fallbacks {
		one.fellBack(b.Reason, 1)
	}
	c.Join(one)
}

// fellBack counts fallbacks for a reason.
func (c *Counts) fellBack(why string, n int) {
	if _, known := c.Fallbacks[why]; why == "" || !known && len(c.Fallbacks) >= maxReasons {
		why = otherReason
	}
	if c.Fallbacks == nil {
		c.Fallbacks = map[string]int{}
	}
	c.Fallbacks[why] += n
}

// Join adds other counts. Sums of bytes stop at the largest number.
func (c *Counts) Join(o Counts) {
	c.Done += o.Done
	c.Failed += o.Failed
	for _, n := range []struct {
		to *int64
		by int64
	}{{&c.FromOrigin, o.FromOrigin}, {&c.FromPeers, o.FromPeers}, {&c.FromCache, o.FromCache}, {&c.Classic, o.Classic}} {
		*n.to += min(n.by, math.MaxInt64-*n.to)
	}
	if o.Last.After(c.Last) {
		c.Last, c.LastDevice = o.Last, o.LastDevice
	}
	for why, n := range o.Fallbacks {
		c.fellBack(why, n)
	}
}

// Group is what counts are of. Fields that are "" are none, or all.
type Group struct {
	// Month of the reports.
	Month string `json:"month,omitempty"`
	// Site that the devices belonged to, "" for none.
	Site string `json:"site,omitempty"`
	// Load is the load or file set, "" for all that the controller does not know.
	Load string `json:"load,omitempty"`
	// Release that the load is in, "" for none.
	Release string `json:"release,omitempty"`
}

// Record is what the devices of one site fetched of one load in one month. It has
// no release: a load may be put into others later.
type Record struct {
	Group
	Counts
}

// What records are put together by.
const (
	ByMonth   = "month"
	BySite    = "site"
	ByLoad    = "load"
	ByRelease = "release"
)

// Ways are all of them.
func Ways() []string { return []string{BySite, ByLoad, ByRelease, ByMonth} }

// Sum puts records together by some of Ways, in order. releases are those that each
// load is in: it counts for each, and under "" if it is in none.
func Sum(records []Record, by []string, releases map[string][]string) []Record {
	sums := map[Group]*Counts{}
	for _, r := range records {
		g := Group{}
		if slices.Contains(by, ByMonth) {
			g.Month = r.Month
		}
		if slices.Contains(by, BySite) {
			g.Site = r.Site
		}
		if slices.Contains(by, ByLoad) {
			g.Load = r.Load
		}
		in := []string{""}
		if of := releases[r.Load]; slices.Contains(by, ByRelease) && len(of) > 0 {
			in = of
		}
		for _, g.Release = range in {
			if sums[g] == nil {
				sums[g] = &Counts{}
			}
			sums[g].Join(r.Counts)
		}
	}
	all := make([]Record, 0, len(sums))
	for g, c := range sums {
		all = append(all, Record{g, *c})
	}
	slices.SortFunc(all, func(a, b Record) int {
		return cmp.Or(strings.Compare(a.Month, b.Month), strings.Compare(a.Site, b.Site),
			strings.Compare(a.Release, b.Release), strings.Compare(a.Load, b.Load))
	})
	return all
}
