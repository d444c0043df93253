package loglimit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/loglimit"
)

var begin = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// TestBounds: lines of one kind and of all kinds are bounded, what was left out is
// told, and a line of another kind is still there.
func TestBounds(t *testing.T) {
	var out bytes.Buffer
	h := loglimit.New(slog.NewTextHandler(&out, nil))
	say := func(after time.Duration, text string) {
		t.Helper()
		log := slog.Handler(h)
		if strings.HasPrefix(text, "http") {
			log = h.WithAttrs([]slog.Attr{slog.String("a", "b")}).WithGroup("g") // counts with the others
		}
		if err := log.Handle(context.Background(), slog.NewRecord(begin.Add(after), slog.LevelWarn, text, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100_000 {
		say(time.Duration(i)*time.Microsecond, fmt.Sprintf("http: TLS handshake error from 10.0.0.%d", i))
	}
	if n := strings.Count(out.String(), "TLS handshake"); n != loglimit.PerKind {
		t.Errorf("%d lines of one kind", n)
	}
	say(time.Second, "another kind of line")
	if !strings.Contains(out.String(), "another kind") {
		t.Error("lines of one kind silence another")
	}
	for i := range 100_000 {
		say(2*time.Second, fmt.Sprintf("%08d invented", i))
	}
	if n := strings.Count(out.String(), "\n"); n > loglimit.All {
		t.Errorf("%d lines in all", n)
	}
	say(loglimit.Span, "in the next span")
	if s := out.String(); !strings.Contains(s, "in the next span") || !strings.Contains(s, "lines=199") {
		t.Errorf("what was left out is not told: %s", s[max(0, len(s)-300):])
	}
	out.Reset()
	for range 100 {
		say(-time.Hour, "the clock was set back")
	}
	if n := strings.Count(out.String(), "set back"); n != loglimit.PerKind {
		t.Errorf("%d lines after the clock was set back", n)
	}
	out.Reset()
	say(24*time.Hour, strings.Repeat("x", 1<<20))
	if out.Len() > 2*loglimit.MaxText {
		t.Errorf("a line of %d bytes", out.Len())
	}
	if h.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("it passes on what the other does not take")
	}
}
