package orders

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/report"
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

// A device whose provisioning file is another one than it says is ordered to fetch it,
// once, and one with the same file is left alone. Whoever has asked, or has given a
// mandate, was heard of.
func TestChanged(t *testing.T) {
	r := newRig(t)
	files := map[string]string{one: "old", two: "old", three: "old"}
	r.orders.stamp = func(_ context.Context, device string) (order.Stamp, error) {
		text, ok := files[device]
		if !ok {
			return order.Stamp{}, domain.ErrNotFound
		}
		return order.StampOf([]byte(text)), nil
	}
	old := order.StampOf([]byte("old"))
	m, err := order.NewSecret(secretOf(two)).Mandate(order.Mandate{Device: two, Time: r.ctl.Time(), Stamp: old}, one)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{one, two} {
		if err := r.ctl.Report(t.Context(), r.device(name), report.Device{Schema: 1, State: report.StateIdle}); err != nil {
			t.Fatal(err)
		}
	}
	r.ahead.Add(int64(time.Minute))
	orders := func() (all []order.Order) {
		var key order.Key
		hello := order.Hello{Mandates: m, Stamp: old[:]}
		err := r.orders.Feed(r.Context(), r.device(one), hello, func(l order.Line) (err error) {
			if l.Key != nil {
				key, err = order.ParseKey(l.Key)
			}
			if l.Order != nil {
				o, e := key.Open(l.Order, two, r.ctl.Time())
				all, err = append(all, o), e
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := orders(); len(all) != 0 {
		t.Errorf("nothing has changed, and there is %+v", all)
	}
	files[two] = "new"
	all := orders()
	if len(all) != 1 || all[0].Kind != order.UpdateSettings || !slices.Equal(all[0].Targets, []string{two}) {
		t.Errorf("%+v", all)
	}
	seen := func(name string) time.Time {
		st, err := r.ctl.Device(t.Context(), r.root, name)
		if err != nil || st.State == nil {
			t.Fatalf("%+v, %v", st, err)
		}
		return st.State.LastSeen
	}
	if a, b := seen(one), seen(two); a.Sub(b) < 30*time.Second || r.ctl.Time().Sub(a) > 30*time.Second {
		t.Errorf("heard of the carrier at %v, of the other at %v", a, b)
	}
}

// TestSeenByMandate: a device was heard of when it made its mandate, not when its carrier
// hands that over; one of the future, which a carrier could keep for later, says nothing.
func TestSeenByMandate(t *testing.T) {
	r := newRig(t)
	if err := r.ctl.Report(t.Context(), r.device(two), report.Device{Schema: 1, State: report.StateIdle}); err != nil {
		t.Fatal(err)
	}
	reported := r.ctl.Time()
	seen := func() time.Duration {
		st, err := r.ctl.Device(t.Context(), r.root, two)
		if err != nil || st.State == nil {
			t.Fatalf("%+v, %v", st, err)
		}
		return st.State.LastSeen.Sub(reported)
	}
	hand := func(secret string, at time.Time) {
		m, err := order.NewSecret(secret).Mandate(order.Mandate{Device: two, Time: at}, one)
		if err != nil {
			t.Fatal(err)
		}
		err = r.orders.Feed(t.Context(), r.device(one), order.Hello{Mandates: m}, func(order.Line) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	r.ahead.Add(int64(time.Hour))
	hand(secretOf(two), r.ctl.Time().Add(2*time.Hour))
	hand(secretOf(three), r.ctl.Time())
	if d := seen(); d > time.Second {
		t.Errorf("heard of %v after its report, by a mandate of the future or of somebody else", d)
	}
	hand(secretOf(two), reported.Add(10*time.Minute))
	if d := seen(); d < 9*time.Minute || d > 11*time.Minute {
		t.Errorf("heard of %v after its report, and its mandate was made after 10 minutes", d)
	}
}
