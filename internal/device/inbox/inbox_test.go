package inbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/order"
)

var at = time.Unix(1_790_000_000, 0).UTC()

const device = "SEP000000000001"

func got(id string, kind order.Kind) inbox.Got {
	o := order.Order{ID: id, Kind: kind, Targets: []string{device}, Issued: at, Expires: at.Add(time.Hour)}
	switch kind {
	case order.ResetTogether:
		o.Moment = at.Add(10 * time.Minute)
	case order.CollectLog:
		o.Lines = 5
	}
	return inbox.Got{Order: o}
}

// does are the ids of the orders that actions begin, answers those that they
// answer.
func does(all []inbox.Action) (ids []string) {
	for _, a := range all {
		if d, ok := a.(inbox.Do); ok {
			ids = append(ids, d.Entry.ID)
		}
	}
	return ids
}

func answers(all []inbox.Action) (said []string) {
	for _, a := range all {
		if d, ok := a.(inbox.Answer); ok {
			said = append(said, d.Entry.ID+" "+string(d.Entry.Outcome))
		}
	}
	return said
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, not %q", what, got, want)
	}
}

// An order is carried out once, however often it comes, and its result is kept
// until the controller has it.
func TestOnce(t *testing.T) {
	b := inbox.New(inbox.Record{})
	expect(t, "the first", does(b.Step(at, got("a", order.CheckIn))), "a")
	expect(t, "again, under way", does(b.Step(at, got("a", order.CheckIn))))
	expect(t, "another waits", does(b.Step(at, got("b", order.Retry))))
	out := b.Step(at, inbox.Over{ID: "a", Outcome: order.Done})
	expect(t, "the end", answers(out), "a done")
	expect(t, "the turn of the other", does(out), "b")
	expect(t, "again, ended", does(b.Step(at, got("a", order.CheckIn))))
	if n := len(b.Answers()); n != 1 {
		t.Errorf("%d results wait", n)
	}
	b.Step(at, inbox.Taken{ID: "a"})
	if n := len(b.Answers()); n != 0 {
		t.Errorf("%d results wait though they were taken", n)
	}
	out = b.Step(at.Add(30*time.Minute), got("a", order.CheckIn))
	expect(t, "again, taken", does(out))
	expect(t, "the controller has lost it", answers(out), "a done")
	if out := b.Step(at, inbox.Over{ID: "none", Outcome: order.Done}); len(out) != 0 {
		t.Errorf("the end of nothing: %v", out)
	}
}

// What must be remembered is, before anything is done about it.
func TestRememberFirst(t *testing.T) {
	b := inbox.New(inbox.Record{})
	out := b.Step(at, got("a", order.CheckIn))
	if r, ok := out[0].(inbox.Remember); !ok || r.Record.Entries[0].State != inbox.Begun {
		t.Errorf("first %+v", out[0])
	}
	out = b.Step(at, inbox.Over{ID: "a", Outcome: order.Failed, Text: "why"})
	if r, ok := out[0].(inbox.Remember); !ok || r.Record.Entries[0].Text != "why" {
		t.Errorf("first %+v", out[0])
	}
	if out := b.Step(at, inbox.Tick{}); len(out) != 0 {
		t.Errorf("nothing has changed, and %+v is to be done", out)
	}
}

// What could not be remembered was not.
func TestNotRemembered(t *testing.T) {
	b := inbox.New(inbox.Record{})
	expect(t, "the first", does(b.Step(at, got("a", order.CheckIn))), "a")
	b.Step(at, inbox.NotRemembered{})
	expect(t, "it comes again", does(b.Step(at, got("a", order.CheckIn))), "a")
	b.Step(at, inbox.Over{ID: "a", Outcome: order.Done})
	b.Step(at, inbox.NotRemembered{})
	expect(t, "still under way", does(b.Step(at, got("b", order.CheckIn))))
	expect(t, "its end again", answers(b.Step(at, inbox.Over{ID: "a", Outcome: order.Done})), "a done")
}

// What becomes of orders when the program, or the device, is started anew.
func TestStarted(t *testing.T) {
	for _, c := range []struct {
		kind      order.Kind
		restarted bool
		says      []string
		does      []string
	}{
		{order.Restart, true, []string{"a done"}, nil},
		{order.Restart, false, []string{"a failed"}, nil},
		{order.CheckIn, false, nil, []string{"a"}},
		{order.CheckIn, true, nil, []string{"a"}},
	} {
		first := inbox.New(inbox.Record{}).Step(at, got("a", c.kind))
		b := inbox.New(first[0].(inbox.Remember).Record)
		out := b.Step(at, inbox.Started{Restarted: c.restarted})
		expect(t, fmt.Sprint(c, " says"), answers(out), c.says...)
		expect(t, fmt.Sprint(c, " does"), does(out), c.does...)
	}
}

// An order of a moment waits for it, and does not hold up others.
func TestMoment(t *testing.T) {
	b := inbox.New(inbox.Record{})
	expect(t, "too soon", does(b.Step(at, got("a", order.ResetTogether))))
	moment := at.Add(10 * time.Minute)
	if d, ok := b.Deadline(); !ok || !d.Equal(moment) {
		t.Errorf("deadline %v, %v", d, ok)
	}
	expect(t, "another", does(b.Step(at, got("b", order.CheckIn))), "b")
	b.Step(at, inbox.Over{ID: "b", Outcome: order.Done})
	expect(t, "just before", does(b.Step(moment.Add(-1), inbox.Tick{})))
	expect(t, "at the moment", does(b.Step(moment, inbox.Tick{})), "a")
}

// What expires is answered as late, and forgotten a day later, or once it was
// taken; an order of a kind that nobody knows is answered at once.
func TestExpiry(t *testing.T) {
	b := inbox.New(inbox.Record{})
	expect(t, "unknown", answers(b.Step(at, got("x", "of-later"))), "x unsupported")
	b.Step(at, inbox.Taken{ID: "x"})
	b.Step(at, got("a", order.CheckIn))
	b.Step(at, got("b", order.CheckIn))
	end := at.Add(time.Hour)
	expect(t, "late", answers(b.Step(end, inbox.Tick{})), "b late")
	if out := b.Step(end, inbox.Over{ID: "a", Outcome: order.Done}); len(answers(out)) != 1 {
		t.Errorf("what was under way when it expired: %+v", out)
	}
	if n := len(b.Answers()); n != 2 {
		t.Errorf("%d results wait", n)
	}
	d, ok := b.Deadline()
	if !ok || !d.Equal(end.Add(24*time.Hour)) {
		t.Errorf("deadline %v, %v", d, ok)
	}
	b.Step(d, inbox.Tick{})
	if _, ok := b.Deadline(); ok || len(b.Answers()) != 0 {
		t.Error("something is left after a day")
	}
}

// However many come and whatever they say, the record stays within its bounds,
// and what was cut away is not carried out again.
func TestBounds(t *testing.T) {
	b := inbox.New(inbox.Record{})
	var last inbox.Record
	for i := range 2 * inbox.MaxEntries {
		id := fmt.Sprint("o", i)
		out := b.Step(at, got(id, order.CollectLog))
		if taken := len(does(out)) == 1; taken != (i < inbox.MaxEntries) {
			t.Fatalf("order %d: taken is %v", i, taken)
		}
		for _, a := range b.Step(at, inbox.Over{ID: id, Outcome: order.Done, Text: strings.Repeat("\x01", order.MaxText)}) {
			if r, ok := a.(inbox.Remember); ok {
				last = r.Record
			}
		}
	}
	text, err := json.Marshal(last)
	if err != nil || len(text) > inbox.MaxRecord {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	again, err := inbox.ParseRecord(text)
	if err != nil || !reflect.DeepEqual(again, last) {
		t.Errorf("the record is read as another one: %v", err)
	}
	if last.Entries[len(last.Entries)-1].Text == "" {
		t.Error("the latest text gave way")
	}
}

// TestTextsGiveWay: texts of 128 KiB are kept in all, those of the orders that came
// last, wherever in the row the one stands that has ended.
func TestTextsGiveWay(t *testing.T) {
	b := inbox.New(inbox.Record{})
	long := strings.Repeat("x", order.MaxText)
	b.Step(at, got("reset", order.ResetTogether))
	var last inbox.Record
	step := func(now time.Time, e inbox.Event) {
		for _, a := range b.Step(now, e) {
			if r, ok := a.(inbox.Remember); ok {
				last = r.Record
			}
		}
	}
	kept := func() (ids []string) {
		for _, e := range last.Entries {
			if e.Text != "" {
				ids = append(ids, e.ID)
			}
		}
		return ids
	}
	all := []string{"1", "2", "3", "4", "5", "6", "7", "8"}
	for _, id := range all {
		b.Step(at, got(id, order.CollectLog))
		step(at, inbox.Over{ID: id, Outcome: order.Done, Text: long})
	}
	expect(t, "as many as fit", kept(), all...)
	moment := at.Add(10 * time.Minute)
	b.Step(moment, inbox.Tick{})
	step(moment, inbox.Over{ID: "reset", Outcome: order.Done, Text: "x"})
	expect(t, "one more, of the first order", kept(), append([]string{"reset"}, all[1:]...)...)
	b.Step(moment, got("9", order.CollectLog))
	step(moment, inbox.Over{ID: "9", Outcome: order.Done, Text: long})
	expect(t, "one more, of the last order", kept(), append(all[1:], "9")...)
}

// TestDeadline: an order that is under way is over when it is; one that waits when it
// expires.
func TestDeadline(t *testing.T) {
	b := inbox.New(inbox.Record{})
	b.Step(at, got("a", order.CheckIn))
	if d, ok := b.Deadline(); ok {
		t.Errorf("with one under way: %v", d)
	}
	b.Step(at, got("b", order.CheckIn))
	if d, ok := b.Deadline(); !ok || !d.Equal(at.Add(time.Hour)) {
		t.Errorf("with one that waits: %v, %v", d, ok)
	}
}

// TestRecordRefused: what no device has written is no record.
func TestRecordRefused(t *testing.T) {
	one := `{"id":"a","kind":"check-in","expires":"2026-01-01T00:00:00Z","state":"waiting"}`
	if _, err := inbox.ParseRecord([]byte(`{"format":1,"entries":[` + one + `]}`)); err != nil {
		t.Fatal(err)
	}
	many := strings.Repeat(one+",", inbox.MaxEntries) + one
	for i := range inbox.MaxEntries + 1 {
		many = strings.Replace(many, `"a"`, fmt.Sprintf("%q", fmt.Sprint(i)), 1)
	}
	for name, text := range map[string]string{
		"none": "", "no JSON": "{", "a list": "[]", "another format": `{"format":2,"entries":[` + one + `]}`,
		"too many":      `{"format":1,"entries":[` + many + `]}`,
		"too long":      `{"format":1,"entries":[]}` + strings.Repeat(" ", inbox.MaxRecord),
		"no id":         `{"format":1,"entries":[` + strings.Replace(one, `"a"`, `""`, 1) + `]}`,
		"one id twice":  `{"format":1,"entries":[` + one + "," + one + `]}`,
		"no such state": `{"format":1,"entries":[` + strings.Replace(one, "waiting", "asleep", 1) + `]}`,
		"no outcome":    `{"format":1,"entries":[` + strings.Replace(one, "waiting", "ended", 1) + `]}`,
		"an outcome before the end": `{"format":1,"entries":[` +
			strings.Replace(one, `"waiting"`, `"waiting","outcome":"done"`, 1) + `]}`,
		"a long text": `{"format":1,"entries":[` + strings.Replace(one, `"waiting"`,
			`"ended","outcome":"done","text":"`+strings.Repeat("x", order.MaxText+1)+`"`, 1) + `]}`,
	} {
		if _, err := inbox.ParseRecord([]byte(text)); !errors.Is(err, inbox.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRandom plays random devices: an order is begun again only if the program
// ended while it was under way, no restart twice, one at a time, nothing before
// its moment or after its expiry, and every order that was begun is answered.
func TestRandom(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		b, now := inbox.New(inbox.Record{}), at
		var kept inbox.Record
		var doing string
		begun, said, restarts := map[string]int{}, map[string]bool{}, map[string]bool{}
		take := func(out []inbox.Action) {
			for _, a := range out {
				switch a := a.(type) {
				case inbox.Remember:
					kept = a.Record
				case inbox.Answer:
					said[a.Entry.ID] = true
				case inbox.Do:
					if doing != "" || begun[a.Entry.ID] > 0 || now.Before(a.Entry.Moment) || !now.Before(a.Entry.Expires) {
						t.Fatalf("seed %d: %+v at %v, while %q is under way", seed, a.Entry, now, doing)
					}
					doing = a.Entry.ID
					begun[doing]++
					restarts[doing] = a.Entry.Kind == order.Restart || a.Entry.Kind == order.ResetTogether
				}
			}
		}
		for range 200 {
			switch rnd.IntN(6) {
			case 0, 1:
				take(b.Step(now, got(fmt.Sprint("o", rnd.IntN(9)), order.Kinds()[rnd.IntN(7)])))
			case 2:
				if done := doing; done != "" {
					doing = ""
					take(b.Step(now, inbox.Over{ID: done, Outcome: order.Done}))
				}
			case 3:
				take(b.Step(now, inbox.Taken{ID: fmt.Sprint("o", rnd.IntN(9))}))
			case 4:
				now = now.Add(time.Duration(rnd.IntN(200)) * time.Second)
				if !now.Before(at.Add(time.Hour)) {
					now = at.Add(59 * time.Minute) // the orders stay those of that hour
				}
				take(b.Step(now, inbox.Tick{}))
			case 5:
				if doing != "" && !restarts[doing] {
					begun[doing] = 0 // it may begin again
				}
				doing = ""
				b = inbox.New(kept)
				take(b.Step(now, inbox.Started{Restarted: rnd.IntN(2) == 0}))
			}
		}
		for id, n := range begun {
			if n > 0 && id != doing && !said[id] {
				t.Errorf("seed %d: nobody was told of %s", seed, id)
			}
		}
	}
}

// FuzzRecord: what is read as a record is within its bounds, and a machine goes on
// with it.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"format":1,"entries":[]}`))
	f.Add([]byte(`{"format":1,"entries":[{"id":"a","kind":"check-in","expires":"2026-11-28T14:00:00Z","state":"begun"}]}`))
	f.Add([]byte(`{"format":1,"entries":[{"id":"a","kind":"restart","expires":"2026-11-28T14:00:00Z","state":"ended",` +
		`"outcome":"done","text":"x","at":"2026-11-28T14:00:00Z","taken":true}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := inbox.ParseRecord(text)
		if err != nil {
			if !errors.Is(err, inbox.ErrRecord) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		b := inbox.New(r)
		b.Step(at, inbox.Started{})
		b.Step(at, got("new", order.CheckIn))
		b.Deadline()
		if len(b.Answers()) > inbox.MaxEntries {
			t.Error("too many answers")
		}
	})
}
