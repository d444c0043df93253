package storesuite

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// orderTables: what finds orders and their devices, and what goes with an order that
// is removed.
func orderTables(t *testing.T, open Open) {
	s := fresh(t, open)
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		return tx.OrderDevices().Put(t.Context(), &domain.OrderDevice{Order: "none", Device: "a"})
	})
	if err == nil {
		t.Error("a device is in an order that does not exist")
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if err := tx.Devices().Put(ctx, &domain.Device{Name: "d1", Site: "Nara"}); err != nil {
			return err
		}
		for i, o := range []domain.SentOrder{
			{ID: "1", Kind: "retry", Expires: at.Add(time.Hour)},
			{ID: "2", Kind: "restart", Expires: at.Add(time.Minute)},
			{ID: "3", Kind: "retry", Expires: at.Add(time.Hour), Cancelled: at},
		} {
			if err := tx.SentOrders().Put(ctx, &o); err != nil {
				return err
			}
			d := domain.OrderDevice{Order: o.ID, Device: fmt.Sprint("d", i%2), Site: "Kyoto",
				Standing: domain.OrderWaiting}
			if err := tx.OrderDevices().Put(ctx, &d); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		expect := func(what string, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, not %v", what, got, want)
			}
		}
		sent := func(f domain.SentOrderFilter) []string { return keys(t, ctx, tx.SentOrders(), f) }
		expect("all", sent(domain.SentOrderFilter{}), "1", "2", "3")
		expect("of a kind", sent(domain.SentOrderFilter{Kind: "retry"}), "1", "3")
		expect("open", sent(domain.SentOrderFilter{OpenAt: at}), "1", "2")
		expect("open a minute later", sent(domain.SentOrderFilter{OpenAt: at.Add(time.Minute)}), "1")
		expect("expired a minute later", sent(domain.SentOrderFilter{ExpiredBy: at.Add(time.Minute)}), "2")
		of := func(f domain.OrderDeviceFilter) []string { return keys(t, ctx, tx.OrderDevices(), f) }
		expect("of a device", of(domain.OrderDeviceFilter{Device: "d0", Standing: "waiting"}), "1/d0", "3/d0")
		expect("of an order", of(domain.OrderDeviceFilter{Order: "2"}), "2/d1")
		expect("at a site", of(domain.OrderDeviceFilter{Site: "Nara"}))
		nara := domain.RealmOf([]string{"Nara"}) // where d1 is now, whatever its row says
		expect("of a realm", of(domain.OrderDeviceFilter{Realm: nara}), "2/d1")
		expect("orders of a realm", sent(domain.SentOrderFilter{Realm: nara}), "2")
		if err := tx.SentOrders().Delete(ctx, "3", 0); err != nil {
			return err
		}
		expect("after a removal", of(domain.OrderDeviceFilter{}), "1/d0", "2/d1")
		// What is written together can be exported like all else.
		return tx.OrderDevices().PutAll(ctx, []domain.OrderDevice{{Order: "2", Device: "d3"}, {Order: "2", Device: "d4"}})
	})
	var text bytes.Buffer
	if err := s.Export(t.Context(), &text); err != nil {
		t.Fatal(err)
	}
	again := fresh(t, open)
	if err := again.Import(t.Context(), &text); err != nil {
		t.Error(err)
	}
}
