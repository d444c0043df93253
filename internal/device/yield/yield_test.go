package yield

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch: the device yields while the file is there or a program says so, and each
// change is told once.
func TestWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "call")
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		var told []bool
		w.Tell(func(on bool) { told = append(told, on) })
		ctx, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Follow(ctx, func() string { return file })
		}()
		after := func(err error, want ...bool) {
			t.Helper()
			time.Sleep(2 * lookEvery)
			synctest.Wait()
			if err != nil || !slices.Equal(told, want) || w.On() != want[len(want)-1] {
				t.Errorf("%v, told %v and is %v, not %v", err, told, w.On(), want)
			}
		}
		after(nil, false)
		after(os.WriteFile(file, nil, 0o600), false, true)
		w.Say(true)
		after(errors.Join(os.Remove(file)), false, true) // a program still says so
		w.Say(false)
		after(nil, false, true, false)
		w.Say(true)
		w.Tell(nil)
		w.Say(false)
		if len(told) != 4 || w.On() {
			t.Errorf("told %v, and yields: %v", told, w.On())
		}
		end()
		<-done
	})
}
