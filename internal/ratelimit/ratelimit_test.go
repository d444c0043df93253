package ratelimit

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTake: many requests take as long as the rate says, less the burst; a
// pause saves up the burst and no more; what is larger than the burst passes.
func TestTake(t *testing.T) {
	const burst = 50 * time.Millisecond
	now := time.Unix(0, 0)
	l := New(1000, burst)
	var waited time.Duration
	take := func(n int) {
		d := l.Take(now, n)
		waited, now = waited+d, now.Add(d)
	}
	for range 20 {
		take(100)
	}
	// 2,000 bytes: the last 100 leave when 1,900 have, less what was saved up.
	if want := 1900*time.Millisecond - burst; waited != want {
		t.Errorf("waited %v, want %v", waited, want)
	}
	now, waited = now.Add(time.Hour), 0
	take(2000)
	if waited != 0 {
		t.Errorf("after a pause: %v", waited)
	}
	take(0)
	if want := 2*time.Second - burst; waited != want {
		t.Errorf("behind 2,000 bytes: %v, want %v", waited, want)
	}
	if d := l.Take(now.Add(-time.Second), 1); d != time.Second {
		t.Errorf("somebody who looked at the clock earlier waits %v, want 1s", d)
	}
}

func TestNoLimit(t *testing.T) {
	for _, rate := range []float64{0, -1} {
		l := New(rate, 0)
		if d := l.Take(time.Unix(0, 0), 1<<30) + l.Take(time.Unix(0, 0), 1<<30); d != 0 || !l.Wait(nil, 1<<30) {
			t.Errorf("at a rate of %v: %v", rate, d)
		}
	}
}

// TestWait: several that wait share the rate in the order of asking, and who
// stops waiting has used his bytes up.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, start := New(1000, 0), time.Now()
		for i := range 10 {
			if !l.Wait(nil, 100) {
				t.Error("ended without a reason")
			}
			if want := time.Duration(i) * 100 * time.Millisecond; time.Since(start) != want {
				t.Errorf("%d: after %v, want %v", i, time.Since(start), want)
			}
		}
		done := make(chan struct{})
		time.AfterFunc(10*time.Millisecond, func() { close(done) })
		if l.Wait(done, 100) || time.Since(start) != 910*time.Millisecond {
			t.Errorf("it went on to wait, until %v", time.Since(start))
		}
		if !l.Wait(nil, 0) || time.Since(start) != 1100*time.Millisecond {
			t.Errorf("the next: after %v", time.Since(start))
		}
	})
}
