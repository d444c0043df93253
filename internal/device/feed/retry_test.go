package feed

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
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
