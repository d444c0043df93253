package window

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxWindows bounds a schedule.
const MaxWindows = 32

var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Parse reads a window: "22:00-04:00", "sat,sun 08:00-18:00", "mon-fri
// 22:00-04:00".
func Parse(text string) (w Window, err error) {
	fields := strings.Fields(strings.ToLower(text))
	if len(fields) == 0 || len(fields) > 2 || len(text) > 100 {
		return w, unreadable(text)
	}
	from, to, ok := strings.Cut(fields[len(fields)-1], "-")
	var fine [2]bool
	w.From, fine[0] = clock(from)
	w.To, fine[1] = clock(to)
	if !ok || !fine[0] || !fine[1] {
		return w, unreadable(text)
	}
	if len(fields) == 1 {
		return w, nil
	}
	for part := range strings.SplitSeq(fields[0], ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, b := slices.Index(days, first), slices.Index(days, last)
		if !isRange {
			b = a
		}
		if a < 0 || b < 0 {
			return w, unreadable(text)
		}
		for d := a; ; d = (d + 1) % 7 {
			if !slices.Contains(w.Days, time.Weekday(d)) {
				w.Days = append(w.Days, time.Weekday(d))
			}
			if d == b {
				break
			}
		}
	}
	slices.Sort(w.Days)
	return w, nil
}

func unreadable(text string) error {
	return fmt.Errorf("%.60q is no window: write 22:00-04:00, or mon-fri 22:00-04:00, by the site's clock", text)
}

// clock reads a time of the day as minutes. 24:00 is the end of the day, which is
// the beginning of the next.
func clock(text string) (int, bool) {
	h, m, _ := strings.Cut(text, ":")
	hours, err := strconv.ParseUint(h, 10, 8)
	mins, err2 := strconv.ParseUint(m, 10, 8)
	n := int(hours)*60 + int(mins)
	fine := err == nil && err2 == nil && len(h) == 2 && len(m) == 2 && mins < 60 && n <= minutesOfDay
	return n % minutesOfDay, fine
}

// String writes a window so that Parse reads it.
func (w Window) String() string {
	text := fmt.Sprintf("%02d:%02d-%02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
	var names []string
	for _, d := range w.Days {
		names = append(names, days[d])
	}
	if len(names) > 0 {
		text = strings.Join(names, ",") + " " + text
	}
	return text
}

// Validate refuses windows that no clock shows, and too many of them.
func (all Schedule) Validate() error {
	if len(all) > MaxWindows {
		return fmt.Errorf("%d windows: at most %d", len(all), MaxWindows)
	}
	for _, w := range all {
		bad := slices.ContainsFunc(w.Days, func(d time.Weekday) bool { return d < time.Sunday || d > time.Saturday })
		if bad || len(w.Days) > len(days) || !ofDay(w.From) || !ofDay(w.To) {
			return fmt.Errorf("a window on days %v from minute %d to %d: days are 0 to 6, minutes 0 to %d", w.Days, w.From,
				w.To, minutesOfDay-1)
		}
	}
	return nil
}

func ofDay(minute int) bool { return minute >= 0 && minute < minutesOfDay }
