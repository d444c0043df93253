// Package inbox decides what a device does with the orders that it gets: it
// carries out each once, remembers it until it expires, and keeps its result until
// the controller has it. It is a state machine: events in, actions out, time as an
// argument.
//
// What lives here: what must be remembered, and what follows from what. What must
// not: connections, files, the clock, whether an order is genuine (package order),
// and how one is carried out.
//
// Read first: Inbox.Step and the actions.
package inbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/order"
)

const (
	// MaxEntries bounds the orders that are remembered at a time. Beyond it orders
	// are not taken: the controller sends them again.
	MaxEntries = 256
	// MaxRecord bounds the record as text, in bytes: all entries with the longest
	// results would be more, so texts of the oldest give way.
	MaxRecord = 1 << 20
	// maxTexts bounds the sum of the texts of results, in bytes.
	maxTexts = 128 << 10
)

// State is how far an order is.
type State string

// The states of an order.
const (
	Waiting State = "waiting" // for its turn, or its moment
	Begun   State = "begun"
	Ended   State = "ended"
)

// Entry is an order that is remembered.
type Entry struct {
	ID      string     `json:"id"`
	Kind    order.Kind `json:"kind"`
	Expires time.Time  `json:"expires"`
	Moment  time.Time  `json:"moment,omitzero"`
	Lines   int        `json:"lines,omitempty"`
	State   State      `json:"state"`
	// Outcome and Text are the result, once it has ended; At is when.
	Outcome order.Outcome `json:"outcome,omitempty"`
	Text    string        `json:"text,omitempty"`
	At      time.Time     `json:"at,omitzero"`
	// Taken says that the controller has the result.
	Taken bool `json:"taken,omitempty"`
}

// Record is what must survive a restart.
type Record struct {
	Format  int     `json:"format"`
	Entries []Entry `json:"entries"`
}

const format = 1

// ErrRecord says that a text is no record.
var ErrRecord = errors.New("no record of orders")

// ParseRecord reads a record. Errors match ErrRecord.
func ParseRecord(text []byte) (Record, error) {
	var r Record
	if len(text) > MaxRecord {
		return Record{}, fmt.Errorf("%w: %d bytes", ErrRecord, len(text))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Format != format || len(r.Entries) > MaxEntries {
		return Record{}, fmt.Errorf("%w: format %d, %d entries", ErrRecord, r.Format, len(r.Entries))
	}
	seen := map[string]bool{}
	for _, e := range r.Entries {
		known := e.State == Waiting || e.State == Begun || e.State == Ended
		if e.ID == "" || seen[e.ID] || !known || (e.State == Ended) != e.Outcome.Known() || len(e.Text) > order.MaxText {
			return Record{}, fmt.Errorf("%w: order %.60q", ErrRecord, e.ID)
		}
		seen[e.ID] = true
	}
	return r, nil
}

// Event is what happened.
type Event interface{ event() }

type (
	// Started is the first event. Restarted says that the device was started anew,
	// not the program alone.
	Started struct{ Restarted bool }
	// Got is an order that is genuine, for this device, and not expired.
	Got struct{ Order order.Order }
	// Over ends a Do.
	Over struct {
		ID      string
		Outcome order.Outcome
		Text    string
	}
	// Taken says that the controller has the result of an order.
	Taken struct{ ID string }
	// Tick says that the Deadline has passed.
	Tick struct{}
	// NotRemembered says that the Remember of the last Step failed: that Step is taken
	// back. Of an Over the driver must tell again.
	NotRemembered struct{}
)

func (Started) event() {}
func (Got) event()     {}
func (Over) event()    {}
func (Taken) event()   {}
func (Tick) event()    {}

func (NotRemembered) event() {}

// Action is what is to be done.
type Action interface{ action() }

type (
	// Remember must be durable before what follows it is done.
	Remember struct{ Record Record }
	// Do carries out an order; Over ends it. One is under way at a time.
	Do struct{ Entry Entry }
	// Answer sends the result of an order to the controller. It is to be sent again
	// with each connection: see Answers.
	Answer struct{ Entry Entry }
)

func (Remember) action() {}
func (Do) action()       {}
func (Answer) action()   {}

// Inbox is the machine.
type Inbox struct {
	entries []Entry
	doing   string // the id of the one under way, "" for none
	// was and did are what they were before the last Step.
	was []Entry
	did string
}

// New goes on with a record.
func New(r Record) *Inbox { return &Inbox{entries: slices.Clone(r.Entries)} }

// Step takes an event and returns what follows from it, in order.
func (b *Inbox) Step(now time.Time, in Event) (out []Action) {
	if _, ok := in.(NotRemembered); ok {
		b.entries, b.doing = slices.Clone(b.was), b.did
		return nil
	}
	before := slices.Clone(b.entries)
	b.was, b.did = before, b.doing
	if in, ok := in.(Got); ok {
		if e := b.find(in.Order.ID); e != nil && e.State == Ended && e.Taken {
			// The controller has lost the result: it would not ask otherwise.
			return []Action{Answer{*e}}
		}
	}
	switch in := in.(type) {
	case Started:
		b.started(now, in.Restarted)
	case Got:
		b.got(in.Order)
	case Over:
		if e := b.find(in.ID); e != nil && e.State == Begun {
			b.end(e, now, in.Outcome, in.Text)
		}
		if b.doing == in.ID {
			b.doing = ""
		}
	case Taken:
		if e := b.find(in.ID); e != nil && e.State == Ended {
			e.Taken, e.Text = true, ""
		}
	}
	b.forget(now)
	next := b.next(now)
	if !slices.Equal(before, b.entries) {
		out = append(out, Remember{b.record()})
	}
	for _, e := range b.entries {
		if e.State == Ended && !e.Taken && !slices.Contains(before, e) {
			out = append(out, Answer{e})
		}
	}
	if next != nil {
		out = append(out, Do{*next})
	}
	return out
}

// started goes on after a restart of the program. An order to restart is carried
// out if the device was started anew; what else was under way begins again, for
// twice does no harm.
func (b *Inbox) started(now time.Time, restarted bool) {
	for i := range b.entries {
		e := &b.entries[i]
		switch {
		case e.State != Begun:
		case restarts(e.Kind) && restarted:
			b.end(e, now, order.Done, "")
		case restarts(e.Kind):
			b.end(e, now, order.Failed, "the program was started anew, and not the device")
		default:
			e.State = Waiting
		}
	}
}

func restarts(k order.Kind) bool { return k == order.Restart || k == order.ResetTogether }

// got takes an order unless it is known, or there is no room to remember it.
func (b *Inbox) got(o order.Order) {
	if b.find(o.ID) != nil || len(b.entries) >= MaxEntries {
		return
	}
	b.entries = append(b.entries, Entry{ID: o.ID, Kind: o.Kind, Expires: o.Expires, Moment: o.Moment, Lines: o.Lines,
		State: Waiting})
}

func (b *Inbox) find(id string) *Entry {
	for i := range b.entries {
		if b.entries[i].ID == id {
			return &b.entries[i]
		}
	}
	return nil
}

// end notes a result. The texts of the oldest give way to it.
func (b *Inbox) end(e *Entry, now time.Time, outcome order.Outcome, text string) {
	e.State, e.Outcome, e.Text, e.At = Ended, outcome, text, now.UTC().Truncate(time.Second)
	sum := len(text)
	for i := len(b.entries) - 1; i >= 0; i-- {
		if o := &b.entries[i]; o != e {
			if sum += len(o.Text); sum > maxTexts {
				o.Text = ""
			}
		}
	}
}

// forget forgets what has expired, but for what is under way. A result that the
// controller does not have stays for a day more.
func (b *Inbox) forget(now time.Time) {
	b.entries = slices.DeleteFunc(b.entries, func(e Entry) bool {
		return e.State == Ended && !now.Before(e.gone())
	})
	for i := range b.entries {
		if e := &b.entries[i]; e.State == Waiting && !now.Before(e.Expires) {
			b.end(e, now, order.Late, "")
		}
	}
}

// unheard is how long the result of an order that has expired is kept.
const unheard = 24 * time.Hour

// gone is when an order that has ended is forgotten.
func (e Entry) gone() time.Time {
	if e.Taken {
		return e.Expires
	}
	return e.Expires.Add(unheard)
}

// next begins the first order whose turn it is. What this program does not know
// ends at once.
func (b *Inbox) next(now time.Time) *Entry {
	if b.doing != "" {
		return nil
	}
	for i := range b.entries {
		e := &b.entries[i]
		switch {
		case e.State != Waiting || now.Before(e.Moment):
		case !e.Kind.Known():
			b.end(e, now, order.Unsupported, "this program does not know "+string(e.Kind))
		default:
			e.State, b.doing = Begun, e.ID
			return e
		}
	}
	return nil
}

func (b *Inbox) record() Record { return Record{format, slices.Clone(b.entries)} }

// Answers are the results that the controller does not have yet.
func (b *Inbox) Answers() (all []Entry) {
	for _, e := range b.entries {
		if e.State == Ended && !e.Taken {
			all = append(all, e)
		}
	}
	return all
}

// Deadline is when something follows by itself; false if nothing will.
func (b *Inbox) Deadline() (at time.Time, ok bool) {
	for _, e := range b.entries {
		t := e.Expires
		if e.State == Begun {
			continue
		}
		if e.State == Ended {
			t = e.gone()
		}
		if e.State == Waiting && b.doing == "" && e.Moment.Before(t) {
			t = e.Moment
		}
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}
