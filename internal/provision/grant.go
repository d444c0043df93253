package provision

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/peerload/peerload/load"
)

// Grant is what a device may do for a rollout. It stands by itself: a device that
// holds it asks nobody else, and when it has ended the device may do nothing more.
type Grant struct {
	// Rollout and Try go back in what the device reports.
	Rollout string
	Try     int
	// Load to fetch and run.
	Load string
	// Download is when it may be fetched, Activate when it may begin to be
	// installed: not yet if it is empty.
	Download, Activate Span
}

// Span is the time from From up to, not including, Until.
type Span struct{ From, Until time.Time }

// Contains reports whether an instant is in the span.
func (s Span) Contains(t time.Time) bool { return !t.Before(s.From) && t.Before(s.Until) }

// Empty reports whether no instant is in the span.
func (s Span) Empty() bool { return !s.From.Before(s.Until) }

// grantElement holds a grant, in XML; grantKey in the native form. Real phones
// ignore it.
const (
	grantElement = "rolloutGrant"
	grantKey     = "rollout"
)

const (
	// maxRollout bounds the id of a rollout, in bytes.
	maxRollout = 64
	maxTry     = 1 << 30
)

// grantField is a field of a grant in a text.
type grantField struct {
	element, key string
	text         func(g *Grant) string
	take         func(g *Grant, text string) error
}

// at is the field of a time.
func at(element, key string, of func(g *Grant) *time.Time) grantField {
	return grantField{element, key,
		func(g *Grant) string {
			if t := *of(g); !t.IsZero() {
				return t.UTC().Format(time.RFC3339Nano)
			}
			return ""
		},
		func(g *Grant, text string) error {
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil || t.Year() < 1970 || t.UTC().Year() > 9999 {
				return fmt.Errorf("%.40q is no time such as 2026-03-01T22:00:00Z", text)
			}
			*of(g) = t.UTC()
			return nil
		}}
}

var grantFields = []grantField{
	{"rollout", "id", func(g *Grant) string { return g.Rollout },
		func(g *Grant, text string) error { g.Rollout = text; return nil }},
	{"try", "try", func(g *Grant) string { return strconv.Itoa(g.Try) },
		func(g *Grant, text string) (err error) {
			if g.Try, err = strconv.Atoi(text); err != nil {
				err = fmt.Errorf("%.20q is no number", text)
			}
			return err
		}},
	{"load", "load", func(g *Grant) string { return g.Load },
		func(g *Grant, text string) error { g.Load = loadName(text); return nil }},
	at("downloadFrom", "download-from", func(g *Grant) *time.Time { return &g.Download.From }),
	at("downloadUntil", "download-until", func(g *Grant) *time.Time { return &g.Download.Until }),
	at("activateFrom", "activate-from", func(g *Grant) *time.Time { return &g.Activate.From }),
	at("activateUntil", "activate-until", func(g *Grant) *time.Time { return &g.Activate.Until }),
}

// validate refuses a grant that is not whole, or could not be written.
func (g *Grant) validate() error {
	if g == nil {
		return nil
	}
	for _, s := range []Span{g.Download, g.Activate} {
		if s.From.IsZero() != s.Until.IsZero() || s.Until.Before(s.From) ||
			!s.From.IsZero() && (s.From.Year() < 1970 || s.Until.Year() > 9999) {
			return errors.New("a time has no beginning or no end, or ends before it begins")
		}
	}
	if err := load.CheckName(g.Load); err != nil {
		return fmt.Errorf("the load's name: %w", err)
	}
	switch {
	case g.Rollout == "" || len(g.Rollout) > maxRollout:
		return fmt.Errorf("the id of a rollout has 1 to %d bytes", maxRollout)
	case g.Try < 1 || g.Try > maxTry:
		return fmt.Errorf("try %d: it is 1 or more", g.Try)
	case g.Download.Empty() && g.Activate.Empty():
		return errors.New("it allows nothing")
	}
	return checkText(g.Rollout)
}

// section is the grant as XML has it.
func (g *Grant) section() Section {
	out := Section{Element: grantElement}
	for _, f := range grantFields {
		if text := f.text(g); text != "" {
			out.Settings = append(out.Settings, Setting{f.element, text})
		}
	}
	return out
}

// grant takes an element of a grant, or the end of one. known is false for
// elements that have no meaning.
func (r *reader) grant(o *xmlOpen, e Element) (known bool, err error) {
	if len(r.path) == 2 {
		if err := r.file.Grant.validate(); err != nil {
			return true, fmt.Errorf("<%s>: %w", grantElement, err)
		}
		return true, nil
	}
	i := slices.IndexFunc(grantFields, func(f grantField) bool { return f.element == r.path[len(r.path)-1] })
	if len(r.path) != 3 || i < 0 || o.inner {
		return false, nil
	}
	if r.file.Grant == nil {
		r.file.Grant = &Grant{}
	}
	if err := grantFields[i].take(r.file.Grant, e.Value); err != nil {
		return true, fmt.Errorf("<%s>: %w", grantFields[i].element, err)
	}
	return true, nil
}

// nativeGrant reads the grant of the native form.
func (f *File) nativeGrant(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errors.New("it is a table")
	}
	f.Grant = &Grant{}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		i := slices.IndexFunc(grantFields, func(g grantField) bool { return g.key == key })
		if i < 0 {
			return fmt.Errorf("there is no key %.40q", key)
		}
		text, err := asText(table[key])
		if at, ok := table[key].(time.Time); ok {
			text, err = at.Format(time.RFC3339Nano), nil
		}
		if err == nil {
			err = grantFields[i].take(f.Grant, text)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}
