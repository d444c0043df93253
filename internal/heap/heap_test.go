package heap

import (
	"runtime/debug"
	"testing"
)

// TestLoosen: who sets Go's own variables has what they say.
func TestLoosen(t *testing.T) {
	for _, c := range []struct {
		gogc, limit string
		percent     int
		bytes       int64
	}{
		{"", "", 400, 1 << 30},
		{"", "1GiB", 400, 0},
		{"100", "", 0, 0},
		{"off", "1GiB", 0, 0},
	} {
		if percent, bytes := settings(c.gogc, c.limit, 2<<30); percent != c.percent || bytes != c.bytes {
			t.Errorf("GOGC=%q GOMEMLIMIT=%q: %d, %d; want %d, %d", c.gogc, c.limit, percent, bytes, c.percent, c.bytes)
		}
	}
	was, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() { debug.SetGCPercent(was); debug.SetMemoryLimit(limit) }()
	Loosen(func(string) string { return "" })
	if now, bytes := debug.SetGCPercent(100), debug.SetMemoryLimit(-1); now != 400 || bytes < 32<<20 || bytes == limit {
		t.Errorf("%d percent, at most %d bytes", now, bytes)
	}
}
