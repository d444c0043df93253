package origin

import (
	"testing"
	"time"
)

// TestLine: the rate is that of the bytes while somebody listened, times the
// downloads under way; a moment says nothing.
func TestLine(t *testing.T) {
	var l Line
	if l.Takes(1) != 0 {
		t.Error("knows a line that it has not seen")
	}
	l.Begin()
	l.Seen(5*time.Second, 700, 0)
	if l.Seen(5500*time.Millisecond, 1200, 0); l.Timed() || l.Takes(1) != 0 {
		t.Error("half a second tells the rate")
	}
	if l.Seen(7*time.Second, 2700, 0); !l.Timed() || l.Takes(10_000) != 10*time.Second {
		t.Errorf("1,000 bytes a second: 10,000 take %v", l.Takes(10_000))
	}
	l.Begin()
	if l.Timed() || l.Takes(10_000) != 10*time.Second {
		t.Error("a new download forgets what was seen")
	}
	l.Seen(10*time.Second, 5000, 1)
	if l.Seen(12*time.Second, 6000, 1); l.Takes(10_000) != 10*time.Second {
		t.Errorf("half of the line: 10,000 take %v", l.Takes(10_000))
	}
	// The device slept, or its clock was set.
	if l.Seen(time.Hour, 7000, 1); l.Takes(10_000) > 10*time.Second {
		t.Errorf("after a pause 10,000 bytes take %v", l.Takes(10_000))
	}
	l.Begin()
	for s := range time.Duration(9) {
		l.Seen(s*time.Second, 1+int64(s)/8, 0)
	}
	if l.Takes(1<<40) != longestTime {
		t.Errorf("takes %v", l.Takes(1<<40))
	}
}
