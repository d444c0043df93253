package order_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/peerload/peerload/internal/order"
)

// A mandate and its cover are of one device, one carrier, one nonce and one beat.
func TestMandate(t *testing.T) {
	mine, other := order.NewSecret("a secret"), order.NewSecret("another")
	want := order.Mandate{Device: "SEP0000000000AB", Time: at, Nonce: 1 << 31, Stamp: order.StampOf([]byte("a file"))}
	b, err := mine.Mandate(want, two)
	if err != nil || len(b) != order.MandateSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if got, err := order.ParseMandate(b); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if !mine.Mandated(b, two) || mine.Mandated(b, one) || other.Mandated(b, two) || mine.Mandated(b[1:], two) {
		t.Error("a mandate that is none counts, or one that is does not")
	}
	for i := range b {
		changed := bytes.Clone(b)
		if changed[i] ^= 1; mine.Mandated(changed, two) {
			t.Errorf("byte %d is not part of the code", i)
		}
	}
	beat := []byte("a beat")
	cover := mine.Cover(b, beat)
	if len(cover) != order.CoverSize || !mine.Covers(b, beat, cover) || mine.Covers(b, beat[1:], cover) ||
		other.Covers(b, beat, cover) || mine.Covers(b[1:], beat, cover) || mine.Covers(b, beat, nil) ||
		mine.Covers(b, beat, make([]byte, order.CoverSize)) {
		t.Error("a cover that is none counts, or one that is does not")
	}
	for _, names := range [][2]string{{"SEP1", two}, {one, "two"}} {
		if _, err := mine.Mandate(order.Mandate{Device: names[0]}, names[1]); !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%q: %v", names, err)
		}
	}
}

func TestSplit(t *testing.T) {
	all, err := order.Split([]byte("aabbcc"), 2, 3)
	if err != nil || len(all) != 3 || string(all[2]) != "cc" {
		t.Errorf("%q, %v", all, err)
	}
	for _, b := range []string{"a", "aabbccdd", "aabbc"} {
		if _, err := order.Split([]byte(b), 2, 3); !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// FuzzCarry: what is read of a carrier or a follower is within its bounds and is
// written as the same; and no bytes are a mandate but those that the secret has made.
func FuzzCarry(f *testing.F) {
	secret := order.NewSecret("a secret")
	mandate, err := secret.Mandate(order.Mandate{Device: one, Nonce: 7}, two)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(mandate)
	for _, c := range []order.Carried{{Carrier: one}, {Mandate: mandate},
		{Line: []byte(`{"beat":"AA=="}`), Cover: []byte{1}},
		{Results: [][]byte{{1}, {2}}}, {Acks: []order.Ack{{Order: "a", Device: one, Code: []byte{1}}}}} {
		b, err := c.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := order.ParseMandate(b)
		if err == nil && !order.IsDevice(m.Device) || err != nil && !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%+v, %v", m, err)
		}
		if secret.Mandated(b, two) && !bytes.Equal(b, mandate) {
			t.Errorf("%x is taken for a mandate", b)
		}
		c, err := order.ParseCarried(b)
		if err != nil {
			if !errors.Is(err, order.ErrMalformed) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		text, err := c.Marshal()
		if err != nil {
			return // it grew beyond its bound
		}
		again, err := order.ParseCarried(text)
		if err != nil || again.Carrier != c.Carrier || !bytes.Equal(again.Mandate, c.Mandate) ||
			!bytes.Equal(again.Cover, c.Cover) || len(again.Results) != len(c.Results) ||
			!reflect.DeepEqual(again.Acks, c.Acks) && len(c.Acks)+len(again.Acks) > 0 {
			t.Errorf("%q became %q, %v", b, text, err)
		}
	})
}
