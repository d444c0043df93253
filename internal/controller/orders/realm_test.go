package orders

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
)

// TestRealm: who is limited to a site sends nothing to others, and learns nothing
// of what others were sent.
func TestRealm(t *testing.T) {
	f := realmsuite.New(t)
	keys := t.TempDir()
	of := func(cfg domain.Config) *Service {
		ctl, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{Controller: ctl, Keys: keys, Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	kind := string(order.CheckIn)
	sent, err := of(f.Config).Send(t.Context(), f.Admin, Request{Kind: kind, Devices: []string{realmsuite.Outside,
		realmsuite.Unnamed}}, false)
	if err != nil {
		t.Fatal(err)
	}
	both, err := of(f.Config).Send(t.Context(), f.Admin, Request{Kind: kind, All: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	realmsuite.Add(f.Samples, sent.Order.ID, both.Order.ID)
	realmsuite.Add(f.Samples, Request{Kind: kind, All: true}, Request{Kind: kind, Site: realmsuite.Osaka},
		Request{Kind: kind, Profile: "desks"}, Request{Kind: kind, Devices: []string{realmsuite.Outside, realmsuite.Own}})
	realmsuite.Add(f.Samples, Request{Kind: kind, Rollout: "both", Wave: 1}, Request{Kind: kind,
		Rollout: realmsuite.Elsewhere}, Request{Kind: kind, Rollout: realmsuite.Elsewhere, Profile: "desks"})
	realmsuite.Run(t, f, func(cfg domain.Config) any { return of(cfg) }, "Answer", "Carries", "Feed", "Prune", "Reports",
		"Run", "ToPin", "Told", "Untold")
}

// TestLimitedLater: who is limited to a site after he has sent an order sees how its
// devices answer that are of the site, all of them, and cannot cancel it for others.
func TestLimitedLater(t *testing.T) {
	f := realmsuite.New(t)
	s, err := New(Config{Controller: f.Controller, Keys: t.TempDir(), Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	const second = "SEP0000000000A2"
	site, model := realmsuite.Kyoto, "7961"
	if _, err := f.Controller.CreateDevice(t.Context(), f.Admin, second, domain.DeviceChange{Site: &site,
		Model: &model}); err != nil {
		t.Fatal(err)
	}
	before := f.Ken
	before.Realm = domain.Realm{}
	send := func(devices ...string) string {
		t.Helper()
		sent, err := s.Send(t.Context(), before, Request{Kind: string(order.CheckIn), Devices: devices}, false)
		if err != nil {
			t.Fatal(err)
		}
		return sent.Order.ID
	}
	both, own := send(realmsuite.Own, second, realmsuite.Outside), send(realmsuite.Own, second)
	for _, id := range []string{both, own} {
		told, err := s.Get(t.Context(), f.Ken, id)
		if err != nil || len(told.Standings) != 1 || told.Standings[domain.OrderWaiting] != 2 {
			t.Errorf("standings of %s: %v, %v", id, told.Standings, err)
		}
		l, err := s.Devices(t.Context(), f.Ken, id, "", domain.Page{})
		if err != nil || l.Total != 2 || len(l.Items) != 2 || l.Items[0].Device != realmsuite.Own ||
			l.Items[1].Device != second {
			t.Errorf("devices of %s: %+v, %v", id, l, err)
		}
	}
	for range 2 {
		send(realmsuite.Own)
	}
	l, err := s.List(t.Context(), f.Ken, "", domain.SentOrderFilter{}, domain.Page{Limit: 3})
	if err != nil || l.Total != 4 || len(l.Items) != 3 || l.Next != l.Items[2].ID {
		t.Errorf("a page of orders: %+v, %v", l, err)
	}
	if _, err := s.Cancel(t.Context(), f.Ken, both); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("an order to devices of others is cancelled: %v", err)
	}
	if told, err := s.Cancel(t.Context(), f.Ken, own); err != nil || told.Standings[domain.OrderCancelled] != 2 {
		t.Errorf("an order to own devices is not cancelled: %v, %v", told.Standings, err)
	}
}

// counting counts the transactions of a store.
type counting struct {
	domain.Store
	views, updates int
}

// View implements domain.Store.
func (c *counting) View(ctx context.Context, fn func(domain.Tx) error) error {
	c.views++
	return c.Store.View(ctx, fn)
}

// Update implements domain.Store.
func (c *counting) Update(ctx context.Context, fn func(domain.Tx) error) error {
	c.updates++
	return c.Store.Update(ctx, fn)
}

// TestSentInOne: whom an order reaches is found in the transaction that writes it. In
// between a device could go to a site that is not the sender's.
func TestSentInOne(t *testing.T) {
	f := realmsuite.New(t)
	c := &counting{Store: f.Store}
	f.Config.Store = c
	ctl, err := domain.New(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Controller: ctl, Keys: t.TempDir(), Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Request{{Devices: []string{realmsuite.Own, realmsuite.Outside}}, {Site: realmsuite.Osaka}} {
		r.Kind = string(order.CheckIn)
		c.views, c.updates = 0, 0
		if sent, err := s.Send(t.Context(), f.Admin, r, false); err != nil || sent.Reach.Devices == 0 {
			t.Fatalf("%+v, %v", sent, err)
		}
		if c.views != 0 || c.updates != 1 {
			t.Errorf("%+v takes %d transactions to read and %d to write", r, c.views, c.updates)
		}
	}
}
