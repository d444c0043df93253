package order_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/order"
)

var (
	at      = time.Unix(1_790_000_000, 0).UTC()
	private = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	other   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	key     = order.Key{Version: 1, Public: private.Public().(ed25519.PublicKey)}
)

const one, two = "SEP000000000001", "SEP000000000002"

func sample() order.Order {
	return order.Order{ID: "0006", Kind: order.CheckIn, Targets: []string{one, two}, Issued: at,
		Expires: at.Add(time.Hour), Feed: "00ff", Number: 1 << 63}
}

func with(change func(*order.Order)) order.Order {
	o := sample()
	change(&o)
	return o
}

// What is signed comes back, with all its fields.
func TestSeal(t *testing.T) {
	for _, o := range []order.Order{sample(),
		with(func(o *order.Order) { o.Kind, o.Moment = order.ResetTogether, at.Add(time.Minute) }),
		with(func(o *order.Order) { o.Kind, o.Lines = order.CollectLog, order.MaxLines }),
		with(func(o *order.Order) { o.Kind = "of-later" })} {
		sealed, err := order.Seal(private, o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := key.Open(sealed, two, at)
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%+v came back as %+v, %v", o, got, err)
		}
	}
}

// The largest order fits, and what is larger is refused.
func TestLargest(t *testing.T) {
	o := sample()
	o.Targets = nil
	for i := range order.MaxTargets {
		o.Targets = append(o.Targets, fmt.Sprintf("SEP%012X", i))
	}
	sealed, err := order.Seal(private, o)
	if err != nil || len(sealed) > order.MaxEnvelope {
		t.Errorf("%d bytes, %v", len(sealed), err)
	}
	o.Targets = append(o.Targets, "SEPFFFFFFFFFFFF")
	if _, err := order.Seal(private, o); !errors.Is(err, order.ErrMalformed) {
		t.Errorf("one device more: %v", err)
	}
}

// An order that is not valid is not signed.
func TestValidate(t *testing.T) {
	for name, o := range map[string]order.Order{
		"no id":             with(func(o *order.Order) { o.ID = "" }),
		"a long id":         with(func(o *order.Order) { o.ID = strings.Repeat("a", 49) }),
		"an odd id":         with(func(o *order.Order) { o.ID = "a/b" }),
		"no feed":           with(func(o *order.Order) { o.Feed = "" }),
		"no number":         with(func(o *order.Order) { o.Number = 0 }),
		"no kind":           with(func(o *order.Order) { o.Kind = "" }),
		"nobody":            with(func(o *order.Order) { o.Targets = nil }),
		"twice":             with(func(o *order.Order) { o.Targets = []string{one, one} }),
		"out of order":      with(func(o *order.Order) { o.Targets = []string{two, one} }),
		"no device":         with(func(o *order.Order) { o.Targets = []string{"SEP00000000000a"} }),
		"expired at once":   with(func(o *order.Order) { o.Expires = o.Issued }),
		"a long life":       with(func(o *order.Order) { o.Expires = at.Add(order.MaxLife + time.Second) }),
		"never issued":      with(func(o *order.Order) { o.Issued = time.Time{} }),
		"a moment":          with(func(o *order.Order) { o.Moment = at.Add(time.Minute) }),
		"no moment":         with(func(o *order.Order) { o.Kind = order.ResetTogether }),
		"a moment at last":  with(func(o *order.Order) { o.Kind, o.Moment = order.ResetTogether, o.Expires }),
		"a moment too soon": with(func(o *order.Order) { o.Kind, o.Moment = order.ResetTogether, at.Add(-time.Second) }),
		"no lines":          with(func(o *order.Order) { o.Kind = order.CollectLog }),
		"many lines":        with(func(o *order.Order) { o.Kind, o.Lines = order.CollectLog, order.MaxLines+1 }),
		"lines of nothing":  with(func(o *order.Order) { o.Lines = 1 }),
	} {
		if _, err := order.Seal(private, o); !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a device refuses, each with its own error.
func TestOpen(t *testing.T) {
	sealed, err := order.Seal(private, sample())
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int) []byte {
		b := bytes.Clone(sealed)
		b[at] ^= 1
		return b
	}
	forged, _ := order.Seal(other, sample())
	beat := order.SealBeat(private, order.Beat{Time: at, Feed: "00ff"})
	for name, c := range map[string]struct {
		bytes  []byte
		device string
		now    time.Time
		want   error
	}{
		"of another key":      {forged, one, at, order.ErrSignature},
		"another key named":   {changed(0), one, at, order.ErrSignature},
		"another signature":   {changed(20), one, at, order.ErrSignature},
		"another text":        {changed(len(sealed) - 3), one, at, order.ErrSignature},
		"a beat":              {beat, one, at, order.ErrSignature},
		"cut off":             {sealed[:40], one, at, order.ErrMalformed},
		"too long":            {make([]byte, order.MaxEnvelope+1), one, at, order.ErrMalformed},
		"for another device":  {sealed, "SEP000000000003", at, order.ErrNotForMe},
		"when it has expired": {sealed, one, at.Add(time.Hour), order.ErrExpired},
		"a moment before":     {sealed, one, at.Add(time.Hour - 1), nil},
	} {
		if _, err := key.Open(c.bytes, c.device, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
	if _, err := (order.Key{}).Open(sealed, one, at); !errors.Is(err, order.ErrSignature) {
		t.Errorf("without a key: %v", err)
	}
}

// A device follows a chain of keys one by one, and nothing else.
func TestNext(t *testing.T) {
	second := order.Key{Version: 2, Public: other.Public().(ed25519.PublicKey)}
	statement, err := order.SealNext(private, second)
	if err != nil {
		t.Fatal(err)
	}
	got, err := key.Next(statement)
	if err != nil || got.Version != 2 || !got.Public.Equal(second.Public) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := got.Next(statement); !errors.Is(err, order.ErrSignature) {
		t.Errorf("the same again: %v", err)
	}
	skip, _ := order.SealNext(private, order.Key{Version: 3, Public: second.Public})
	back, _ := order.SealNext(private, order.Key{Version: 1, Public: second.Public})
	for name, s := range map[string][]byte{"one left out": skip, "back": back} {
		if _, err := key.Next(s); !errors.Is(err, order.ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	short, _ := order.SealNext(private, order.Key{Version: 2, Public: second.Public[:31]})
	if _, err := key.Next(short); !errors.Is(err, order.ErrMalformed) {
		t.Errorf("a short key: %v", err)
	}
	text, err := got.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := order.ParseKey(text); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestBeat(t *testing.T) {
	want := order.Beat{Time: at, Feed: "0123456789abcdef", Last: 1 << 63}
	sealed := order.SealBeat(private, want)
	if got, err := key.OpenBeat(sealed); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := key.OpenBeat(order.SealBeat(other, want)); !errors.Is(err, order.ErrSignature) {
		t.Error(err)
	}
	if _, err := key.OpenBeat(order.SealBeat(private, order.Beat{Time: at})); !errors.Is(err, order.ErrMalformed) {
		t.Errorf("of no feed: %v", err)
	}
	if len(sealed) > 160 {
		t.Errorf("a beat has %d bytes", len(sealed))
	}
}

// Only the device's secret makes the code of a result, and the controller, which
// keeps no more than a hash, knows it.
func TestResult(t *testing.T) {
	const text = "a secret that a device has made by itself"
	mine := order.NewSecret(text)
	sum := sha256.Sum256([]byte(text))
	theirs, err := order.SecretOfHash(hex.EncodeToString(sum[:]))
	if err != nil || mine != theirs {
		t.Fatalf("the two sides differ: %v", err)
	}
	want := order.Result{Order: "0006", Device: one, Outcome: order.Failed, Text: "why <&>\n", At: at}
	sealed, err := mine.Seal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := theirs.Open(sealed); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := order.Claim(sealed); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := order.NewSecret("another").Open(sealed); !errors.Is(err, order.ErrCode) {
		t.Errorf("another secret: %v", err)
	}
	sealed[len(sealed)-3] ^= 1
	if _, err := theirs.Open(sealed); !errors.Is(err, order.ErrCode) && !errors.Is(err, order.ErrMalformed) {
		t.Errorf("another text: %v", err)
	}
	if !mine.Acked(sealed, theirs.Ack(sealed)) || mine.Acked(sealed, order.NewSecret("another").Ack(sealed)) {
		t.Error("an acknowledgement of another secret counts, or that of the own one does not")
	}
	if mine.Acked(sealed[:len(sealed)-1], theirs.Ack(sealed)) {
		t.Error("an acknowledgement of something else counts")
	}
	for name, r := range map[string]order.Result{
		"no order":   {Device: one, Outcome: order.Done},
		"no device":  {Order: "a", Device: "x", Outcome: order.Done},
		"no outcome": {Order: "a", Device: one},
		"a long one": {Order: "a", Device: one, Outcome: order.Done, Text: strings.Repeat("x", order.MaxText+1)},
		"no text":    {Order: "a", Device: one, Outcome: order.Done, Text: "\xff"},
	} {
		if _, err := mine.Seal(r); !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The longest text fits, whatever is in it.
	for _, letter := range []string{"x", "\x01", "\"", "語"} {
		r := want
		r.Text = strings.Repeat(letter, order.MaxText/len(letter))
		sealed, err := mine.Seal(r)
		if got, err2 := theirs.Open(sealed); err != nil || err2 != nil || got != r {
			t.Errorf("%q: %v, %v", letter, err, err2)
		}
	}
	if _, err := order.SecretOfHash("ab"); !errors.Is(err, order.ErrMalformed) {
		t.Error(err)
	}
}

// FuzzParse: what is read as an order is valid, and is written as the same bytes.
func FuzzParse(f *testing.F) {
	for _, o := range []order.Order{sample(), with(func(o *order.Order) { o.Kind, o.Lines = order.CollectLog, 5 })} {
		b, err := o.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"ID":"a"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := order.Parse(text)
		if err != nil {
			if !errors.Is(err, order.ErrMalformed) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		again, err := o.Marshal()
		if err != nil || !bytes.Equal(again, text) || o.Validate() != nil || len(o.Targets) > order.MaxTargets {
			t.Errorf("%q became %q, %v", text, again, err)
		}
	})
}

// FuzzLine: what is read as a line, or as acknowledgements, is within its bounds and
// is written as the same.
func FuzzLine(f *testing.F) {
	plain, _ := key.Marshal()
	for _, l := range []order.Line{{Key: plain}, {Next: [][]byte{{1}, {2}}}, {Beat: []byte{1}}, {Order: []byte{1}}} {
		b, err := l.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"order_key":{"version":1,"public":"AA=="}}`))
	f.Add([]byte(`{"acks":[{"order":"a","device":"SEP000000000001","code":"AA=="}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := order.ParseLine(b)
		if err != nil && !errors.Is(err, order.ErrMalformed) {
			t.Errorf("an error of no kind: %v", err)
		}
		if err == nil {
			text, err := l.Marshal()
			again, err2 := order.ParseLine(text)
			if len(l.Next) > order.MaxNext || err != nil || len(text) <= order.MaxLine && err2 != nil ||
				!bytes.Equal(again.Order, l.Order) || !bytes.Equal(again.Beat, l.Beat) {
				t.Errorf("%q became %q: %v, %v", b, text, err, err2)
			}
		}
		if _, err := order.ParseAcks(b); err != nil && !errors.Is(err, order.ErrMalformed) {
			t.Errorf("an error of no kind: %v", err)
		}
		if _, err := order.ParseEnrolled(b); err != nil && !errors.Is(err, order.ErrMalformed) {
			t.Errorf("an error of no kind: %v", err)
		}
	})
}

// FuzzOpen: nothing that a pinned key, or the device's secret, has not made is
// taken for genuine, and errors have kinds.
func FuzzOpen(f *testing.F) {
	genuine, _ := order.Seal(private, sample())
	beat := order.SealBeat(private, order.Beat{Time: at, Feed: "00ff", Last: 7})
	next, _ := order.SealNext(private, order.Key{Version: 2, Public: key.Public})
	secret := order.NewSecret("a secret")
	result, _ := secret.Seal(order.Result{Order: "a", Device: one, Outcome: order.Done})
	plain, _ := key.Marshal()
	made := [][]byte{genuine, beat, next, result}
	for _, b := range append(made, plain) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, e1 := key.Open(b, one, at)
		_, e2 := key.OpenBeat(b)
		_, e3 := key.Next(b)
		_, e4 := secret.Open(b)
		for i, err := range []error{e1, e2, e3, e4} {
			switch {
			case err == nil && !bytes.Equal(b, made[i]):
				t.Errorf("%x is taken for genuine", b)
			case err != nil && !errors.Is(err, order.ErrMalformed) && !errors.Is(err, order.ErrSignature) &&
				!errors.Is(err, order.ErrCode):
				t.Errorf("an error of no kind: %v", err)
			}
		}
		if k, err := order.ParseKey(b); err == nil && (k.Version < 1 || len(k.Public) != ed25519.PublicKeySize) {
			t.Errorf("%+v is taken for a key", k)
		}
		_, _ = order.Claim(b)
		_, _ = order.SecretOfHash(string(b))
	})
}
