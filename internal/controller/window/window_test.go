package window_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/internal/controller/site"
	"github.com/peerload/peerload/internal/controller/window"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func schedule(t testing.TB, texts string) window.Schedule {
	t.Helper()
	all, err := window.Parse(strings.Split(texts, "; ")...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOpening: the present opening or the next, as instants.
func TestOpening(t *testing.T) {
	for _, c := range slices.Concat(ordinary, changes) {
		s, ok := window.Opening(at(t, c.now), zone(t, c.zone), schedule(t, c.windows))
		if !ok || !s.From.Equal(at(t, c.from)) || !s.Until.Equal(at(t, c.until)) {
			z := zone(t, c.zone)
			t.Errorf("%s: %s at %s: open from %s to %s (%v), want %s to %s", c.name, c.windows, c.now,
				s.From.In(z).Format(time.RFC3339), s.Until.In(z).Format(time.RFC3339), ok, c.from, c.until)
		}
	}
}

// opens is what a window does: the next opening by the site's clock, with its
// offset from UTC.
type opens struct {
	name, zone, windows, now, from, until string
}

var (
	ordinary = []opens{
		{"on an afternoon", "Asia/Tokyo", "22:00-04:00", "2026-11-28T12:00:00+09:00",
			"2026-11-28T22:00:00+09:00", "2026-11-29T04:00:00+09:00"},
		{"before midnight", "Asia/Tokyo", "22:00-04:00", "2026-11-28T23:59:59+09:00",
			"2026-11-28T22:00:00+09:00", "2026-11-29T04:00:00+09:00"},
		{"after midnight", "Asia/Tokyo", "22:00-04:00", "2026-11-29T03:59:59+09:00",
			"2026-11-28T22:00:00+09:00", "2026-11-29T04:00:00+09:00"},
		{"its last instant is the next one's", "Asia/Tokyo", "22:00-04:00", "2026-11-29T04:00:00+09:00",
			"2026-11-29T22:00:00+09:00", "2026-11-30T04:00:00+09:00"},
		{"the day is that of its beginning", "Asia/Tokyo", "sat 22:00-04:00", "2026-11-29T01:00:00+09:00",
			"2026-11-28T22:00:00+09:00", "2026-11-29T04:00:00+09:00"},
		{"and not that of its end", "Asia/Tokyo", "sun 22:00-04:00", "2026-11-29T01:00:00+09:00",
			"2026-11-29T22:00:00+09:00", "2026-11-30T04:00:00+09:00"},
		{"a whole day", "Asia/Tokyo", "sun 00:00-12:00; sun 12:00-00:00", "2026-11-27T00:00:00+09:00",
			"2026-11-29T00:00:00+09:00", "2026-11-30T00:00:00+09:00"},
		{"two days that adjoin", "Asia/Tokyo", "sat,sun 00:00-09:00; sat,sun 09:00-00:00", "2026-11-29T12:00:00+09:00",
			"2026-11-28T00:00:00+09:00", "2026-11-30T00:00:00+09:00"},
		{"two windows that overlap", "Asia/Tokyo", "22:00-02:00; 01:00-05:00", "2026-11-29T12:00:00+09:00",
			"2026-11-29T22:00:00+09:00", "2026-11-30T05:00:00+09:00"},
		{"the nearer of two", "Asia/Tokyo", "22:00-23:00; 12:00-13:00", "2026-11-29T11:00:00+09:00",
			"2026-11-29T12:00:00+09:00", "2026-11-29T13:00:00+09:00"},
	}
	changes = []opens{
		// Clocks go forward from 02:00 to 03:00 on 29 March 2026.
		{"it begins in the hour left out", "Europe/Berlin", "02:30-04:00", "2026-03-29T00:00:00+01:00",
			"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		{"it ends in the hour left out", "Europe/Berlin", "23:00-02:30", "2026-03-29T00:00:00+01:00",
			"2026-03-28T23:00:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"it lies in the hour left out", "Europe/Berlin", "02:15-02:45", "2026-03-29T00:00:00+01:00",
			"2026-03-30T02:15:00+02:00", "2026-03-30T02:45:00+02:00"},
		{"once a week, in the hour left out", "Europe/Berlin", "sun 02:15-02:45", "2026-03-29T00:00:00+01:00",
			"2026-04-05T02:15:00+02:00", "2026-04-05T02:45:00+02:00"},
		{"across the hour left out", "Europe/Berlin", "01:00-04:00", "2026-03-29T00:00:00+01:00",
			"2026-03-29T01:00:00+01:00", "2026-03-29T04:00:00+02:00"},
		// Clocks go back from 03:00 to 02:00 on 25 October 2026.
		{"it begins in the hour that comes twice", "Europe/Berlin", "02:30-04:00", "2026-10-25T00:00:00+02:00",
			"2026-10-25T02:30:00+02:00", "2026-10-25T04:00:00+01:00"},
		{"it ends in the hour that comes twice", "Europe/Berlin", "23:00-02:30", "2026-10-25T00:00:00+02:00",
			"2026-10-24T23:00:00+02:00", "2026-10-25T02:30:00+02:00"},
		{"it lies in the hour that comes twice", "Europe/Berlin", "02:15-02:45", "2026-10-25T00:00:00+02:00",
			"2026-10-25T02:15:00+02:00", "2026-10-25T02:45:00+02:00"},
		{"it does not open again in the second", "Europe/Berlin", "02:15-02:45", "2026-10-25T02:20:00+01:00",
			"2026-10-26T02:15:00+01:00", "2026-10-26T02:45:00+01:00"},
		{"across the hour that comes twice", "Europe/Berlin", "01:00-04:00", "2026-10-25T00:00:00+02:00",
			"2026-10-25T01:00:00+02:00", "2026-10-25T04:00:00+01:00"},
		// Chile's clocks change at midnight: forward on 6 September 2026, back on
		// 4 April, when the last hour of the day comes twice.
		{"it begins at a midnight left out", "America/Santiago", "00:00-06:00", "2026-09-05T12:00:00-04:00",
			"2026-09-06T01:00:00-03:00", "2026-09-06T06:00:00-03:00"},
		{"it ends at a midnight left out", "America/Santiago", "20:00-00:00", "2026-09-05T12:00:00-04:00",
			"2026-09-05T20:00:00-04:00", "2026-09-06T01:00:00-03:00"},
		{"the last hour of a day comes twice", "America/Santiago", "23:00-23:30", "2026-04-04T12:00:00-03:00",
			"2026-04-04T23:00:00-03:00", "2026-04-04T23:30:00-03:00"},
		{"it ends after the second of them", "America/Santiago", "20:00-00:00", "2026-04-04T12:00:00-03:00",
			"2026-04-04T20:00:00-03:00", "2026-04-05T00:00:00-04:00"},
		// Lord Howe Island moves by half an hour; Samoa left out a whole day.
		{"half an hour left out", "Australia/Lord_Howe", "02:15-03:00", "2026-10-04T00:00:00+10:30",
			"2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00"},
		{"a day left out", "Pacific/Apia", "fri 08:00-18:00", "2011-12-29T12:00:00-10:00",
			"2012-01-06T08:00:00+14:00", "2012-01-06T18:00:00+14:00"},
	}
)

// TestOpeningOfSeveral: all must be open; none is always open.
func TestOpeningOfSeveral(t *testing.T) {
	now, tokyo := at(t, "2026-11-28T12:00:00+09:00"), zone(t, "Asia/Tokyo") // a Saturday
	s, ok := window.Opening(now, tokyo)
	if !ok || !s.Contains(now) || s.Until.Sub(now) < 300*24*time.Hour {
		t.Errorf("without windows: %v, %v", s, ok)
	}
	two, night := schedule(t, "mon-fri 20:00-00:00; 01:00-03:00"), schedule(t, "sun 22:00-02:00")
	s, ok = window.Opening(now, tokyo, nil, two, night)
	if !ok || !s.From.Equal(at(t, "2026-11-30T01:00:00+09:00")) || !s.Until.Equal(at(t, "2026-11-30T02:00:00+09:00")) {
		t.Errorf("the night of Sunday: %v, %v", s, ok)
	}
	if s, ok = window.Opening(now, tokyo, schedule(t, "08:00-09:00"), schedule(t, "10:00-11:00")); ok {
		t.Errorf("windows that never meet: %v", s)
	}
}

// TestOpeningNaively compares with a clock that is watched minute by minute.
func TestOpeningNaively(t *testing.T) {
	zones := []string{"UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe",
		"Africa/Casablanca", "Pacific/Chatham"}
	near := []string{"2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z", "2026-03-08T06:00:00Z", "2026-09-06T03:00:00Z",
		"2026-04-05T02:00:00Z", "2026-10-03T15:00:00Z", "2026-07-01T00:00:00Z"}
	rapid.Check(t, func(rt *rapid.T) {
		z := zone(t, rapid.SampledFrom(zones).Draw(rt, "zone"))
		now := at(t, rapid.SampledFrom(near).Draw(rt, "near"))
		now = now.Add(time.Duration(rapid.IntRange(-2*24*60, 24*60).Draw(rt, "minutes")) * time.Minute)
		minute := rapid.Custom(func(rt *rapid.T) int { // much around the changes of clocks
			return (rapid.IntRange(-180, 300).Draw(rt, "minute") + 24*60) % (24 * 60)
		})
		w := site.Window{Start: minute.Draw(rt, "from"), End: minute.Draw(rt, "to"),
			Days: [7]bool{true, true, true, true, true, true, true}}
		if rapid.Bool().Draw(rt, "on one day") {
			w.Days = [7]bool{}
			w.Days[rapid.IntRange(0, 6).Draw(rt, "day")] = true
		}
		s, ok := window.Opening(now, z, window.Schedule{w})
		if !ok {
			rt.Fatalf("%v never opens", w)
		}
		if got, want := s.Contains(now), watch(w, z, now); got != want {
			rt.Fatalf("%v at %v: open %v, want %v: %v", w, now.In(z), got, want, s)
		}
		if w.Start == w.End {
			return // package site reads none of no length
		}
		for _, edge := range []time.Time{s.From, s.Until} {
			before, after := watch(w, z, edge.Add(-time.Second)), watch(w, z, edge)
			if edge.Equal(s.From) && (before || !after) || edge.Equal(s.Until) && (!before || after) {
				rt.Fatalf("%v: %v is no edge: %v, then %v", w, edge.In(z), before, after)
			}
		}
	})
}

// watch tells whether a window is open by watching the site's clock from three
// days ago: it opens when the clock shows a time that is not before its
// beginning on a day of its own, and closes when it shows one that is not
// before its end.
func watch(w site.Window, z *time.Location, now time.Time) bool {
	const day = 24 * 60
	to := w.End
	if to <= w.Start {
		to += day
	}
	opened, closed := map[int]bool{}, map[int]bool{} // by the day, counted from 1970
	for t := now.Add(-75 * time.Hour).Truncate(time.Minute); !t.After(now); t = t.Add(time.Minute) {
		_, offset := t.In(z).Zone()
		shown := int(t.Unix()+int64(offset)) / 60
		for d := shown/day - 2; d <= shown/day; d++ {
			opened[d] = opened[d] || shown >= d*day+w.Start
			closed[d] = closed[d] || shown >= d*day+to
		}
	}
	for d := range opened {
		weekday := time.Weekday((d + int(time.Thursday)) % 7)
		if opened[d] && !closed[d] && w.Days[weekday] {
			return true
		}
	}
	return false
}

// TestSchedule: as it is stored, and what is refused.
func TestSchedule(t *testing.T) {
	all := schedule(t, "22:00-04:00; mon-fri 01:00-02:00")
	b, err := json.Marshal(all)
	if err != nil || string(b) != `["22:00-04:00","mon-fri 01:00-02:00"]` {
		t.Errorf("%s, %v", b, err)
	}
	var back window.Schedule
	if err := json.Unmarshal(b, &back); err != nil || !slices.Equal(back, all) {
		t.Errorf("%v, %v", back, err)
	}
	if b, err = json.Marshal(window.Schedule(nil)); err != nil || string(b) != "[]" {
		t.Errorf("none: %s, %v", b, err)
	}
	many := "[" + strings.Repeat(`"22:00-04:00",`, window.MaxWindows) + `"22:00-04:00"]`
	for _, bad := range []string{`["noon"]`, `"22:00-04:00"`, many} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%.40s is read", bad)
		}
	}
	daily := all[0].Days
	for _, bad := range []site.Window{{Days: daily, Start: -1}, {Days: daily, End: 24 * 60}, {Start: 1, End: 2}} {
		if (window.Schedule{bad}).Validate() == nil {
			t.Errorf("%v is allowed", bad)
		}
	}
}

// FuzzSchedule: what is read is written so that it is read again, and has an opening
// that is not over.
func FuzzSchedule(f *testing.F) {
	for _, text := range []string{`["22:00-04:00"]`, `["mon-fri 01:00-02:00","sun 00:00-23:59"]`, `[]`, `null`, `["x"]`} {
		f.Add([]byte(text), int64(1_790_000_000))
	}
	oslo := zone(f, "Europe/Oslo")
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		var all, again window.Schedule
		if all.UnmarshalJSON(b) != nil {
			return
		}
		if len(all) > window.MaxWindows {
			t.Fatalf("%d windows", len(all))
		}
		text, err := json.Marshal(all)
		if err == nil {
			err = again.UnmarshalJSON(text)
		}
		if err != nil || !slices.Equal(all, again) {
			t.Fatalf("%v, then %v, %v", all, again, err)
		}
		now := time.Unix(at%4_000_000_000, 0)
		if s, ok := window.Opening(now, oslo, all); !ok || s.Empty() || !s.Until.After(now) {
			t.Fatalf("%v at %v: %v, %v", all, now, s, ok)
		}
	})
}
