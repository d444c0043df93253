package orders

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
)

// A carrier's feed has the orders of those that have given it a mandate, and of nobody
// else; who has given one is told so by a code that the carrier cannot make.
func TestCarry(t *testing.T) {
	r := newRig(t)
	secret := func(name string) order.Secret { return order.NewSecret(secretOf(name)) }
	mandate := func(of, by, carrier string) []byte {
		b, err := secret(by).Mandate(order.Mandate{Device: of, Nonce: 7}, carrier)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mandates := [][]byte{mandate(two, two, one), mandate(three, one, one), mandate(three, three, two),
		mandate("SEP0000000000FF", one, one)}
	id := r.send(Request{Kind: "check-in", Devices: []string{one, two, three}}).Order.ID
	var lines []order.Line
	hello := order.Hello{Mandates: slices.Concat(mandates...)}
	err := r.orders.Feed(r.Context(), r.device(one), hello, func(l order.Line) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil || len(lines) != 4 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	key, err := order.ParseKey(lines[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	o, err := key.Open(lines[2].Order, two, r.ctl.Time())
	if err != nil || o.ID != id || !slices.Equal(o.Targets, []string{one, two}) || o.Number != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	// The covers come after what was open, and say so.
	b, err := key.OpenBeat(lines[3].Beat)
	if err != nil || b.Last != 1 || b.Feed != o.Feed {
		t.Errorf("%+v, %v", b, err)
	}
	covers, err := order.Split(lines[3].Covers, order.CoverSize, order.MaxMandates)
	if err != nil || len(covers) != len(mandates) {
		t.Fatalf("%d covers, %v", len(covers), err)
	}
	if !secret(two).Covers(mandates[0], lines[3].Beat, covers[0]) {
		t.Error("the cover of a genuine mandate is not genuine")
	}
	for i, c := range covers[1:] {
		if !slices.Equal(c, make([]byte, order.CoverSize)) {
			t.Errorf("mandate %d is none, and is covered", i+1)
		}
	}
}

// Mandates are bounded before they are believed.
func TestMandatesBounded(t *testing.T) {
	r := newRig(t)
	for name, b := range map[string][]byte{"a torn one": make([]byte, order.MandateSize+1),
		"too many": make([]byte, (order.MaxMandates+1)*order.MandateSize)} {
		err := r.orders.Feed(context.Background(), r.device(one), order.Hello{Mandates: b},
			func(order.Line) error { return nil })
		if !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
