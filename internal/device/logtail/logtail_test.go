package logtail_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/device/logtail"
)

// The last lines are there, in order, however many there were; what the log itself
// leaves out is not, and what it takes goes on.
func TestLast(t *testing.T) {
	var out bytes.Buffer
	h, tail := logtail.New(slog.NewTextHandler(&out, nil))
	if got := tail.Last(5, 1000); got != "" {
		t.Errorf("before the first line: %q", got)
	}
	log := slog.New(h).With("a", 1).WithGroup("g")
	log.Debug("left out")
	for i := range logtail.MaxLines + 3 {
		log.Info(fmt.Sprint("line ", i), "k", "v")
	}
	got := strings.Split(strings.TrimSpace(tail.Last(2, 1000)), "\n")
	for i, want := range []int{logtail.MaxLines + 1, logtail.MaxLines + 2} {
		if !strings.HasSuffix(got[i], fmt.Sprintf(`msg="line %d" a=1 g.k=v`, want)) {
			t.Errorf("%q", got)
		}
	}
	all := tail.Last(2*logtail.MaxLines, 1<<20)
	if strings.Count(all, "\n") != logtail.MaxLines || !strings.Contains(all, `"line 3"`) || strings.Contains(all, "out") {
		t.Errorf("%d lines, the first %.80q", strings.Count(all, "\n"), all)
	}
	if n := strings.Count(out.String(), "\n"); n != logtail.MaxLines+3 {
		t.Errorf("%d lines went on", n)
	}
}

// Long lines and odd bytes stay within the bounds, as text.
func TestBounds(t *testing.T) {
	h, tail := logtail.New(slog.DiscardHandler)
	slog.New(h).Info("nothing takes it")
	for range 3 {
		if _, err := tail.Write([]byte(strings.Repeat("é", 5000) + "\xff\n")); err != nil {
			t.Fatal(err)
		}
	}
	got := tail.Last(9, 1200)
	if len(got) > 1200 || strings.Count(got, "\n") != 2 || !utf8.ValidString(got) {
		t.Errorf("%d bytes, %d lines", len(got), strings.Count(got, "\n"))
	}
}
