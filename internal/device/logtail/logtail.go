// Package logtail keeps the last lines of a log in memory, so that a device can
// send them to somebody who asks.
//
// What lives here: a handler that passes records on and remembers them as text.
// What must not: files, the network. Read New first.
package logtail

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

// Limits of what is remembered.
const (
	// MaxLines bounds the lines.
	MaxLines = 1000
	// maxLine bounds one of them, in bytes.
	maxLine = 500
)

// Tail remembers the last lines.
type Tail struct {
	mu    sync.Mutex
	lines []string // a ring
	next  int
}

// handler passes records on, and writes them as text into a tail.
type handler struct {
	to, text slog.Handler
}

// New returns a handler that passes everything on to another one, and the tail of
// what that one takes.
func New(to slog.Handler) (slog.Handler, *Tail) {
	t := &Tail{}
	return handler{to, slog.NewTextHandler(t, &slog.HandlerOptions{Level: slog.LevelDebug})}, t
}

// Enabled implements slog.Handler.
func (h handler) Enabled(ctx context.Context, l slog.Level) bool { return h.to.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	_ = h.text.Handle(ctx, r.Clone()) // a tail takes everything
	return h.to.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(a []slog.Attr) slog.Handler {
	return handler{h.to.WithAttrs(a), h.text.WithAttrs(a)}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.to.WithGroup(name), h.text.WithGroup(name)}
}

// Write implements io.Writer. Each call is a line.
func (t *Tail) Write(b []byte) (int, error) {
	line := strings.ToValidUTF8(string(bytes.TrimRight(b[:min(len(b), maxLine)], "\n")), "?")
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < MaxLines {
		t.lines = append(t.lines, line)
	} else {
		t.lines[t.next] = line
		t.next = (t.next + 1) % MaxLines
	}
	return len(b), nil
}

// Last returns the last lines, at most so many and in at most so many bytes.
func (t *Tail) Last(lines, most int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	size := 0
	for i := range min(lines, len(t.lines)) {
		line := t.lines[(t.next+2*len(t.lines)-1-i)%len(t.lines)]
		if size += len(line) + 1; size > most {
			break
		}
		all = append(all, line)
	}
	var out strings.Builder
	for i := len(all) - 1; i >= 0; i-- {
		out.WriteString(all[i] + "\n")
	}
	return out.String()
}
