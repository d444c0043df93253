package orders

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
	"github.com/peerload/peerload/report"
)

// TestWave: an order goes to the devices of a wave, or of all waves, that are devices
// still and that the other fields find.
func TestWave(t *testing.T) {
	r := newRig(t)
	site := "Kyoto"
	if _, err := r.ctl.CreateSite(t.Context(), r.root, site, domain.SiteChange{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ctl.UpdateDevice(t.Context(), r.root, two, domain.DeviceChange{Site: &site}, 0); err != nil {
		t.Fatal(err)
	}
	const deleted = "SEP000000000009"
	err := r.ctl.Update(t.Context(), r.root, func(tx domain.Tx, _ domain.Note) error {
		all := []error{
			tx.Rollouts().Put(t.Context(), &domain.Rollout{Record: rollout.Record{ID: "draft"}}),
			tx.Rollouts().Put(t.Context(), &domain.Rollout{Record: rollout.Record{ID: "spring",
				Waves: make([]rollout.WaveRecord, 2)}}),
		}
		for device, wave := range map[string]int{one: 0, two: 1, three: 1, deleted: 1} {
			all = append(all, tx.RolloutDevices().Put(t.Context(), &domain.RolloutDevice{Rollout: "spring",
				Row: rollout.Row{Device: device, Wave: wave}}))
		}
		return errors.Join(all...)
	})
	if err != nil {
		t.Fatal(err)
	}
	kind := string(order.Retry)
	for _, c := range []struct {
		ask  Request
		want []string
		err  error
	}{
		{Request{Rollout: "spring", Wave: 1}, []string{one}, nil},
		{Request{Rollout: "spring", Wave: 2}, []string{two, three}, nil},
		{Request{Rollout: "spring"}, []string{one, two, three}, nil},
		{Request{Rollout: "spring", Site: site}, []string{two}, nil},
		{Request{Rollout: "spring", Wave: 1, Site: site}, nil, domain.ErrRefused},
		{Request{Rollout: "spring", Wave: 3}, nil, domain.ErrInvalid},
		{Request{Rollout: "spring", Wave: -1}, nil, domain.ErrInvalid},
		{Request{Rollout: "summer", Wave: 1}, nil, domain.ErrNotFound},
		{Request{Rollout: "draft"}, nil, domain.ErrRefused},
		{Request{Wave: 1}, nil, domain.ErrInvalid},
		{Request{Wave: 1, All: true}, nil, domain.ErrInvalid},
		{Request{Rollout: "spring", All: true}, nil, domain.ErrInvalid},
		{Request{Rollout: "spring", Devices: []string{one}}, nil, domain.ErrInvalid},
	} {
		c.ask.Kind = kind
		sent, err := r.orders.Send(t.Context(), r.root, c.ask, false)
		if !errors.Is(err, c.err) {
			t.Errorf("%+v: %v", c.ask, err)
		}
		if err != nil {
			continue
		}
		l, err := r.orders.Devices(t.Context(), r.root, sent.Order.ID, "", domain.Page{})
		var got []string
		for _, d := range l.Items {
			got = append(got, d.Device)
		}
		if slices.Sort(got); err != nil || !slices.Equal(got, c.want) || sent.Reach.Devices != len(c.want) {
			t.Errorf("%+v reached %v, %v", c.ask, got, err)
		}
	}
}

// TestFilters: an order finds devices by whatever a list of devices finds them by.
func TestFilters(t *testing.T) {
	r := newRig(t)
	lobby, load := "lobby", "edge-1"
	_, err := r.ctl.CreateProfile(t.Context(), r.root, lobby, domain.ProfileChange{})
	if err == nil {
		_, err = r.ctl.RegisterLoad(t.Context(), r.root, domain.UnsignedLoad{Name: load, Models: []string{"7941"}})
	}
	if err == nil {
		_, err = r.ctl.UpdateDevice(t.Context(), r.root, one, domain.DeviceChange{Profile: &lobby}, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = r.ctl.Update(t.Context(), r.root, func(tx domain.Tx, _ domain.Note) error {
		d, err := tx.Devices().Get(t.Context(), two)
		d.Load, d.Registration = domain.Assignment{Load: load}, domain.RegistrationAutomatic
		return errors.Join(err, tx.Devices().Put(t.Context(), &d), tx.States().Put(t.Context(), &domain.DeviceState{
			Device: three, LastSeen: r.ctl.Time(), Last: report.Device{State: report.StateFailed, Reason: "disk"}}))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ask  Request
		want []string
	}{
		{Request{NoProfile: true}, []string{two, three}}, {Request{Registration: "auto-registered"}, []string{two}},
		{Request{Load: load}, []string{two}}, {Request{Failed: true}, []string{three}},
		{Request{Silent: 60}, []string{one, two}}, {Request{NoProfile: true, Silent: 60}, []string{two}},
		{Request{Active: "none"}, nil},
	} {
		c.ask.Kind = string(order.Retry)
		sent, err := r.orders.Send(t.Context(), r.root, c.ask, true)
		if len(c.want) == 0 && errors.Is(err, domain.ErrRefused) {
			continue
		}
		if err != nil || sent.Reach.Devices != len(c.want) || !slices.Equal(sent.Reach.Some, c.want) {
			t.Errorf("%+v reached %+v, %v", c.ask, sent.Reach, err)
		}
		c.ask.All = true
		if _, err := r.orders.Send(t.Context(), r.root, c.ask, true); !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%+v: %v", c.ask, err)
		}
	}
	if _, err := r.orders.Send(t.Context(), r.root, Request{Kind: string(order.Retry), Release: "none"}, true); !errors.Is(
		err, domain.ErrNotFound) {
		t.Errorf("a release that is not there: %v", err)
	}
}

// TestWaveOfASite: who is limited to a site reaches the devices of the wave that are
// there, and learns nothing of rollouts that have none there.
func TestWaveOfASite(t *testing.T) {
	f := realmsuite.New(t)
	s, err := New(Config{Controller: f.Controller, Keys: t.TempDir(), Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	send := func(ctx context.Context, rollout string) (Sent, error) {
		return s.Send(ctx, f.Ken, Request{Kind: string(order.Retry), Rollout: rollout, Wave: 1}, true)
	}
	sent, err := send(t.Context(), "both")
	if err != nil || !slices.Equal(sent.Reach.Some, []string{realmsuite.Own}) {
		t.Errorf("it reaches %+v, %v", sent.Reach, err)
	}
	if _, err := send(t.Context(), realmsuite.Elsewhere); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("a rollout of another site: %v", err)
	}
}
