package order

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of orders.
const (
	// MaxTargets bounds the devices of one order.
	MaxTargets = 4096
	// MaxEnvelope bounds an order with its signature, in bytes.
	MaxEnvelope = 128 << 10
	// MaxLife bounds the time between issue and expiry: a device remembers each
	// order as long.
	MaxLife = 7 * 24 * time.Hour
	// MaxLines bounds the lines that CollectLog may ask for.
	MaxLines = 1000
	// maxID and maxWord bound ids and kinds, in bytes.
	maxID   = 48
	maxWord = 32
)

// Kind is what a device is to do.
type Kind string

// The kinds of orders. A device answers one that it does not know with
// Unsupported.
const (
	// CheckIn asks for provisioning and reports, now.
	CheckIn Kind = "check-in"
	// UpdateSettings fetches provisioning, now.
	UpdateSettings Kind = "update-settings"
	// ForgetFailure forgets that loads have failed; the next check-in tries them.
	ForgetFailure Kind = "forget-failure"
	// Retry forgets that loads have failed, and checks in.
	Retry Kind = "retry"
	// Restart restarts the device.
	Restart Kind = "restart"
	// ResetTogether restarts the device at a moment, the same for all of the order,
	// so that they fetch together and share. A device that cannot restart itself
	// checks in instead.
	ResetTogether Kind = "reset-together"
	// CollectLog sends the last lines of the log.
	CollectLog Kind = "collect-log"
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{CheckIn, Retry, Restart, ResetTogether, CollectLog, UpdateSettings, ForgetFailure}
}

// Words are the kinds that this program knows, as a command line has them.
func Words() []string {
	words := []string{}
	for _, k := range Kinds() {
		words = append(words, string(k))
	}
	return words
}

// Known reports whether this program knows the kind.
func (k Kind) Known() bool { return slices.Contains(Kinds(), k) }

// Order tells devices to do something. Times are of whole seconds.
type Order struct {
	// ID is its own for ever: an order of an id that a device remembers does
	// nothing.
	ID   string
	Kind Kind
	// Targets are the names of the devices, ascending, each once.
	Targets []string
	Issued  time.Time
	// Expires is when it is of no use any more: a device that gets it later does
	// nothing.
	Expires time.Time
	// Moment is when to do it; the zero time means at once. Only of ResetTogether,
	// which must have one.
	Moment time.Time
	// Lines of the log; only of CollectLog, 1 to MaxLines.
	Lines int
	// Feed is that in which this order comes, and Number its place there, from 1: see
	// Beat.
	Feed   string
	Number uint64
}

// ErrMalformed says that bytes are not what they should be.
var ErrMalformed = errors.New("order: malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// body is an order as bytes.
type body struct {
	ID      string   `json:"id"`
	Kind    Kind     `json:"kind"`
	Targets []string `json:"to"`
	Issued  int64    `json:"issued"`
	Expires int64    `json:"expires"`
	Moment  int64    `json:"at,omitempty"`
	Lines   int      `json:"lines,omitempty"`
	Feed    string   `json:"feed"`
	Number  uint64   `json:"n"`
}

// Validate says what is wrong with an order. One of an unknown kind may be right.
func (o Order) Validate() error {
	switch {
	case !word(o.ID, maxID) || !word(string(o.Kind), maxWord):
		return malformed("its id and kind are small letters, digits and hyphens")
	case !word(o.Feed, maxWord) || o.Number == 0:
		return malformed("it comes in a feed, and has a number there")
	case len(o.Targets) == 0 || len(o.Targets) > MaxTargets:
		return malformed("%d devices: 1 to %d", len(o.Targets), MaxTargets)
	case slices.ContainsFunc(o.Targets, func(n string) bool { return !IsDevice(n) }):
		return malformed("a target is no name of a device")
	case !o.Expires.After(o.Issued) || o.Expires.Sub(o.Issued) > MaxLife || o.Issued.Unix() <= 0:
		return malformed("it expires after it is issued, within %v", MaxLife)
	case o.Kind == ResetTogether && (o.Moment.Before(o.Issued) || !o.Moment.Before(o.Expires)):
		return malformed("its moment is between its issue and its expiry")
	case o.Kind.Known() && o.Kind != ResetTogether && !o.Moment.IsZero():
		return malformed("%s has no moment", o.Kind)
	case o.Kind == CollectLog && (o.Lines < 1 || o.Lines > MaxLines), o.Lines < 0:
		return malformed("a log has 1 to %d lines", MaxLines)
	case o.Kind.Known() && o.Kind != CollectLog && o.Lines != 0:
		return malformed("%s has no lines", o.Kind)
	}
	for i := 1; i < len(o.Targets); i++ {
		if o.Targets[i-1] >= o.Targets[i] {
			return malformed("its targets do not ascend")
		}
	}
	return nil
}

// For reports whether a device is a target.
func (o Order) For(device string) bool {
	_, ok := slices.BinarySearch(o.Targets, device)
	return ok
}

// IsDevice reports whether a text is the name of a device: SEP and 12 digits.
func IsDevice(name string) bool {
	digits, ok := strings.CutPrefix(name, "SEP")
	return ok && len(digits) == 12 && strings.Trim(digits, "0123456789ABCDEF") == ""
}

func word(s string, most int) bool {
	return s != "" && len(s) <= most && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Marshal writes an order. It fails if the order is not valid.
func (o Order) Marshal() ([]byte, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	b := body{o.ID, o.Kind, o.Targets, o.Issued.Unix(), o.Expires.Unix(), 0, o.Lines, o.Feed, o.Number}
	if !o.Moment.IsZero() {
		b.Moment = o.Moment.Unix()
	}
	return json.Marshal(b)
}

// Parse reads an order. Only what Marshal writes is one. Errors match
// ErrMalformed.
func Parse(text []byte) (Order, error) {
	var b body
	if len(text) > MaxEnvelope {
		return Order{}, malformed("%d bytes", len(text))
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return Order{}, malformed("%v", err)
	}
	o := Order{ID: b.ID, Kind: b.Kind, Targets: b.Targets, Issued: time.Unix(b.Issued, 0).UTC(),
		Expires: time.Unix(b.Expires, 0).UTC(), Lines: b.Lines, Feed: b.Feed, Number: b.Number}
	if b.Moment != 0 {
		o.Moment = time.Unix(b.Moment, 0).UTC()
	}
	again, err := o.Marshal()
	if err == nil && !bytes.Equal(again, text) {
		err = malformed("there is another way to write it")
	}
	return o, err
}
