package syslog

import (
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/peerload/peerload/report"
)

func FuzzMessage(f *testing.F) {
	f.Add("a \"file\"]", "why\n", "日本語", int64(0))
	f.Add("a\r\n<11>1 forged", "why\x00", "a\rb\u0085c\u2028<11>1 forged", int64(0))
	f.Fuzz(func(t *testing.T, file, reason, text string, at int64) {
		e := report.Event{Event: report.KindFailed, Device: "0000000000000001", File: file, Reason: reason, Message: text}
		b := message("SEP001122334455", time.Unix(at%(1<<33), 0).UTC(), e, slog.LevelError)
		m, err := rfc5424.NewParser().Parse(b)
		if at >= 0 && (err != nil || *m.(*rfc5424.SyslogMessage).Severity != 3) {
			t.Fatalf("%v in %q", err, b)
		}
		if len(b) > maxMessage {
			t.Fatalf("%d bytes", len(b))
		}
		if i := strings.IndexFunc(string(b), func(r rune) bool {
			return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
		}); i >= 0 {
			t.Fatalf("a collector would begin a new line at byte %d of %q", i, b)
		}
	})
}
