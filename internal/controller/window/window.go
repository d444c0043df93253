// Package window says when a site's maintenance windows are open, by the clock of
// its time zone.
//
// What lives here: the openings of windows as instants. What must not: how people
// write windows, which package site reads; what may be done in them, which package
// rollout decides; the clock and the zone, which are passed in.
//
// A window may go across midnight. It opens at the first instant at which the
// site's clock has reached its beginning, and closes at the first instant at which
// the clock has reached its end. So one that begins in the hour that a change of
// clocks leaves out opens at the change; one that lies in that hour alone does not
// open that day; and of an hour that comes twice a window has the first only. It
// opens once a day.
//
// Read Schedule, then Opening.
package window

import (
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/site"
)

// Span is the time from From up to, not including, Until.
type Span struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Empty reports whether no instant is in the span.
func (s Span) Empty() bool { return !s.From.Before(s.Until) }

// Contains reports whether an instant is in the span.
func (s Span) Contains(t time.Time) bool { return !t.Before(s.From) && t.Before(s.Until) }

// Covers reports whether all of another span is in this one.
func (s Span) Covers(o Span) bool {
	return o.Empty() || !o.From.Before(s.From) && !s.Until.Before(o.Until)
}

// And is what two spans have in common.
func (s Span) And(o Span) Span {
	if o.From.After(s.From) {
		s.From = o.From
	}
	if o.Until.Before(s.Until) {
		s.Until = o.Until
	}
	return s
}

// Schedule is the windows of a site, or of a plan. One of them must be open. None:
// it is always open.
type Schedule []site.Window

const (
	minutesOfDay = 24 * 60
	// ahead is how many days are searched for an opening: a window of one day a
	// week that a change of clocks leaves out comes again within two weeks.
	ahead = 15
	// near is how many are searched first.
	near = 3
	// forever is how long what is always open is said to have been open, and to
	// stay so.
	forever = 366 * 24 * time.Hour
)

func always(now time.Time) Span { return Span{now.Add(-forever), now.Add(forever)} }

// Opening returns the span in which all schedules are open: the present one, or
// else the next. An opening is told from its beginning on, and openings that
// adjoin are one. ok is false if there is none within two weeks.
func Opening(now time.Time, zone *time.Location, all ...Schedule) (s Span, ok bool) {
	// A time at which one is closed moves on to its next opening, until all are
	// open. Each round passes one opening at least, of which a week has a few.
	end := now.AddDate(0, 0, ahead)
	for at := now; at.Before(end); {
		common, later := always(at), at
		for _, one := range all {
			o, found := one.opening(at, zone)
			if !found {
				return Span{}, false
			}
			if o.From.After(later) {
				later = o.From
			}
			common = common.And(o)
		}
		if later.Equal(at) {
			return common, true
		}
		at = later
	}
	return Span{}, false
}

// opening is Opening of one schedule.
func (all Schedule) opening(now time.Time, zone *time.Location) (s Span, ok bool) {
	if len(all) == 0 {
		return always(now), true
	}
	// Nearly always the next days have it, and it ends before the last of them.
	if s, ok = all.within(now, zone, near); ok && s.Until.Before(now.AddDate(0, 0, near-1)) {
		return s, true
	}
	return all.within(now, zone, ahead)
}

// within is opening of so many days.
func (all Schedule) within(now time.Time, zone *time.Location, days int) (s Span, ok bool) {
	for _, o := range all.openings(now, zone, days) {
		switch {
		case !s.Empty() && !o.From.After(s.Until): // it adjoins, or overlaps
			if o.Until.After(s.Until) {
				s.Until = o.Until
			}
		case s.Until.After(now):
			return s, true
		default:
			s = o
		}
	}
	return s, s.Until.After(now)
}

// openings lists those that begin between the day before yesterday and so many days
// from now, in order.
func (all Schedule) openings(now time.Time, zone *time.Location, days int) []Span {
	year, month, day := now.In(zone).Date()
	var spans []Span
	for d := -2; d <= days; d++ {
		date := time.Date(year, month, day+d, 0, 0, 0, 0, time.UTC)
		for _, w := range all {
			if !w.Days[date.Weekday()] {
				continue
			}
			to := w.End
			if to <= w.Start {
				to += minutesOfDay
			}
			o := Span{reached(date.Add(minutes(w.Start)), zone), reached(date.Add(minutes(to)), zone)}
			if !o.Empty() {
				spans = append(spans, o)
			}
		}
	}
	slices.SortFunc(spans, func(a, b Span) int { return a.From.Compare(b.From) })
	return spans
}

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// reached returns the first instant at which a clock of the zone shows the wall
// time, or a later one. wall has it as if it were UTC.
func reached(wall time.Time, zone *time.Location) time.Time {
	at := wall.Add(-30 * time.Hour).In(zone) // no zone is so far from UTC
	for {
		_, offset := at.Zone()
		_, end := at.ZoneBounds()
		shown := wall.Add(-time.Duration(offset) * time.Second)
		if shown.Before(at) {
			shown = at // it was left out by the change that begins this period
		}
		if end.IsZero() || shown.Before(end) {
			return shown.UTC()
		}
		at = end
	}
}
