package feed

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/order"
)

// TestRetry: where there is no way to the controller the next attempts come later and
// later, up to a bound, and not all devices at the same moment. By the clock of a
// bubble.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		begun := time.Now()
		var waits []time.Duration
		f, err := New(Config{State: t.TempDir(), Files: slot.OS{}, Device: one, Do: (&done{}).do,
			Log: slog.New(slog.DiscardHandler), Controller: func() (Controller, error) {
				now := time.Now()
				waits = append(waits, now.Sub(begun))
				if begun = now; len(waits) > 40 {
					end()
				}
				return Controller{}, errors.New("no token")
			}})
		if err != nil {
			t.Fatal(err)
		}
		f.Run(ctx)
		same := true
		for i, wait := range waits[1:] {
			d := min(firstRetry<<min(i, 20), lastRetry)
			if wait < d/2 || wait >= d/2+d {
				t.Errorf("attempt %d comes after %v, want %v to %v", i+2, wait, d/2, d/2+d)
			}
			same = same && wait == waits[len(waits)-1]
		}
		if same || waits[0] != 0 {
			t.Errorf("the first attempt comes after %v; all others after the same time: %v", waits[0], same)
		}
	})
}

// silent is the way to a controller that accepts a feed and says nothing.
type silent struct{}

// RoundTrip implements http.RoundTripper.
func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	body, end := io.Pipe()
	context.AfterFunc(r.Context(), func() { end.CloseWithError(r.Context().Err()) })
	return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
}

// TestSilence: a feed in which nothing comes ends, and says that alone. By the clock of
// a bubble.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := New(Config{State: t.TempDir(), Files: slot.OS{}, Device: one, Do: (&done{}).do,
			Log: slog.New(slog.DiscardHandler), Controller: func() (Controller, error) {
				return Controller{URL: "https://controller", Client: &http.Client{Transport: silent{}}}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		err = f.Once(t.Context(), nil, func(order.Line) {})
		if err == nil || !strings.HasPrefix(err.Error(), "the controller has said nothing") ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("it ends with %v", err)
		}
		if d := time.Since(begun); d != silence {
			t.Errorf("it ends after %v, not %v", d, silence)
		}
	})
}

// sour is the way to a controller that never answers, with the times between tries.
type sour struct {
	began time.Time
	tries []time.Duration
	end   func()
}

// RoundTrip implements http.RoundTripper.
func (s *sour) RoundTrip(*http.Request) (*http.Response, error) {
	now := time.Now()
	s.tries = append(s.tries, now.Sub(s.began))
	if s.began = now; len(s.tries) > 30 {
		s.end()
	}
	return nil, errors.New("no line")
}

// TestAnswersAreTriedAgain: results that the controller does not take are handed over
// later and later, up to a bound. By the clock of a bubble.
func TestAnswersAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		way := &sour{began: time.Now(), end: end}
		d := &done{ch: make(chan string, 1)}
		f, err := New(Config{State: t.TempDir(), Files: slot.OS{}, Device: one, Do: d.do,
			Log: slog.New(slog.DiscardHandler), Follow: func(ctx context.Context, f *Follower) {
				// Not before it runs: an order that was begun before that is begun again.
				now := time.Now()
				for _, l := range []order.Line{keyLine(t, first), beatLine(first, now), orderLine(t, first, "o1", now)} {
					if err := f.take(l, "https://controller"); err != nil {
						t.Error(err)
					}
				}
				<-ctx.Done()
			},
			Controller: func() (Controller, error) {
				return Controller{URL: "https://controller", Client: &http.Client{Transport: way}, Secret: secret}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		f.Run(ctx)
		if len(way.tries) < 31 || len(d.ids) != 1 {
			t.Fatalf("%d tries for %d results", len(way.tries), len(d.ids))
		}
		for i, wait := range way.tries[1:31] { // one more may come as it ends
			if d := min(firstRetry<<min(i, 20), lastRetry); wait < d/2 || wait >= d/2+d {
				t.Errorf("try %d comes after %v, want %v to %v", i+2, wait, d/2, d/2+d)
			}
		}
	})
}

// TestReportWithoutTime: before the controller has said what time it is, a device seals no
// report for a carrier: its own clock may be years ahead.
func TestReportWithoutTime(t *testing.T) {
	f, err := New(Config{State: t.TempDir(), Files: slot.OS{}, Device: one, Do: (&done{}).do,
		Log: slog.New(slog.DiscardHandler), Controller: func() (Controller, error) {
			return Controller{URL: "https://controller", Secret: secret}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	const carrier = "SEP000000000002"
	if r, err := f.Report(carrier, []byte("{}")); err == nil {
		t.Errorf("sealed at %v", r.Time())
	}
	at := time.Now().Add(-time.Hour)
	for _, l := range []order.Line{keyLine(t, first), beatLine(first, at)} {
		if err := f.take(l, "https://controller"); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := f.Report(carrier, []byte("{}")); err != nil || r.Time().After(at.Add(30*time.Minute)) {
		t.Errorf("sealed at %v by a controller's %v: %v", r.Time(), at, err)
	}
}
