package window

import (
	"encoding/json"
	"fmt"

	"github.com/peerload/peerload/internal/controller/site"
)

// MaxWindows bounds a schedule.
const MaxWindows = 32

// Parse reads windows as package site writes them.
func Parse(texts ...string) (Schedule, error) {
	var all Schedule
	for _, text := range texts {
		w, err := site.ParseWindow(text)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, all.Validate()
}

// Validate refuses windows that no clock shows, and too many of them.
func (all Schedule) Validate() error {
	if len(all) > MaxWindows {
		return fmt.Errorf("%d windows: at most %d", len(all), MaxWindows)
	}
	for _, w := range all {
		if !ofDay(w.Start) || !ofDay(w.End) || w.Days == [7]bool{} {
			return fmt.Errorf("a window from minute %d to %d: minutes are 0 to %d, and it has a day", w.Start, w.End,
				minutesOfDay-1)
		}
	}
	return nil
}

func ofDay(minute int) bool { return minute >= 0 && minute < minutesOfDay }

// MarshalJSON writes the windows as people do.
func (all Schedule) MarshalJSON() ([]byte, error) {
	texts := []string{}
	for _, w := range all {
		texts = append(texts, w.String())
	}
	return json.Marshal(texts)
}

// UnmarshalJSON reads them.
func (all *Schedule) UnmarshalJSON(b []byte) error {
	var texts []string
	err := json.Unmarshal(b, &texts)
	if err == nil {
		*all, err = Parse(texts...)
	}
	return err
}
