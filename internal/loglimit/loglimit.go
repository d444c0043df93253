// Package loglimit bounds the lines of a log, so that whoever can cause a line
// cannot fill the disk with them: of one kind a few in a time, of all kinds some
// more, and in their place how many were left out.
//
// What must not be here: what is logged, and where to.
package loglimit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// The limits in each span of time, by the times of the lines.
const (
	// Span is the time in which lines are counted.
	Span = 10 * time.Second
	// PerKind is the most lines with one text.
	PerKind = 20
	// All is the most lines of all texts together, besides those about the lines
	// that were left out.
	All = 200
	// maxKinds bounds the texts that are told apart; others count as one.
	maxKinds = 100
	// MaxText is the most bytes of a line's text.
	MaxText = 2000
)

// Handler is a slog.Handler that passes lines on to another within the limits.
// Attributes of one line are as long as who logs them makes them.
type Handler struct {
	to    slog.Handler
	count *count
}

// count is shared by all handlers that come of one.
type count struct {
	mu    sync.Mutex
	until time.Time
	all   int
	kinds map[string]int
	left  int
}

// New returns a handler that passes lines on to another.
func New(to slog.Handler) *Handler { return &Handler{to: to, count: &count{}} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.to.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{to: h.to.WithAttrs(attrs), count: h.count}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{to: h.to.WithGroup(name), count: h.count}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	left, pass := h.count.next(kindOf(r.Message), r.Time)
	if left > 0 {
		told := slog.NewRecord(r.Time, slog.LevelWarn, "lines were left out, of which there were too many", 0)
		told.AddAttrs(slog.Int("lines", left))
		if err := h.to.Handle(ctx, told); err != nil {
			return err
		}
	}
	if !pass {
		return nil
	}
	if len(r.Message) > MaxText {
		r.Message = r.Message[:MaxText] + "…"
	}
	return h.to.Handle(ctx, r)
}

// kindOf is the beginning of a text: what follows often names who caused it.
func kindOf(text string) string { return text[:min(len(text), 20)] }

// next counts a line. left is how many were left out in the span before, pass
// whether this one is logged.
func (c *count) next(kind string, at time.Time) (left int, pass bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A clock that was set back must not silence the log.
	if !at.Before(c.until) || at.Before(c.until.Add(-Span)) {
		left, c.left, c.all = c.left, 0, 0
		c.until, c.kinds = at.Add(Span), make(map[string]int)
	}
	if _, ok := c.kinds[kind]; !ok && len(c.kinds) >= maxKinds {
		kind = ""
	}
	if c.all >= All || c.kinds[kind] >= PerKind {
		c.left++
		return left, false
	}
	c.all++
	c.kinds[kind]++
	return left, true
}
