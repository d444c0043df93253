package engine

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	now := time.Unix(0, 0)
	p := pace{rate: 1000}
	var waited time.Duration
	for range 20 {
		d := p.take(now, 100)
		waited += d
		now = now.Add(d)
	}
	// 2,000 bytes: the last 100 leave when 1,900 have, less what was saved up.
	if want := 1900*time.Millisecond - paceBurst; waited != want {
		t.Errorf("waited %v, want %v", waited, want)
	}
	now = now.Add(time.Hour)
	if d := p.take(now, 100); d != 0 {
		t.Errorf("after a pause: %v", d)
	}
	if d := new(pace).take(now, 1<<30); d != 0 {
		t.Errorf("without a limit: %v", d)
	}
}
