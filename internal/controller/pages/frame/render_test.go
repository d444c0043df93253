package frame

import (
	"testing"
	"time"
)

// Figures and times are as people read them.
func TestFigures(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d is %q", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_949_999: "9.9 MB", 12e9: "12 GB",
		5e18: "5000 PB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d is %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "just now", 59 * time.Second: "just now", time.Minute: "60 s ago",
		3 * time.Minute: "3 min ago", 3 * time.Hour: "3 h ago", 49 * time.Hour: "2 days ago", -time.Hour: "in 60 min"} {
		if got := Ago(false, d); got != want {
			t.Errorf("%v is %q", d, got)
		}
	}
	if got := Ago(true, -3*time.Hour); got != "3 時間後" {
		t.Errorf("%q", got)
	}
	if share(1, 0) != 0 || share(1, 3) != 33 {
		t.Errorf("%d, %d", share(1, 0), share(1, 3))
	}
}
