package postgres

import (
	"errors"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/report"
)

// TestSitesRevision: a controller keeps the networks of all sites, and sees each change
// that another one makes, but none that comes to nothing.
func TestSitesRevision(t *testing.T) {
	at := shared.NewDatabase(t)
	ctx, admin := t.Context(), domain.Local("root")
	var all [2]*domain.Controller
	var stores [2]*Store
	for i := range all {
		s, err := Open(ctx, Config{URL: at})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores[i] = s
		if all[i], err = domain.New(domain.Config{Store: s}); err != nil {
			t.Fatal(err)
		}
	}
	const device = "SEP020000000001"
	model := "7941"
	if _, err := all[0].CreateDevice(ctx, admin, device, domain.DeviceChange{Model: &model}); err != nil {
		t.Fatal(err)
	}
	addresses := []string{"10.0.0.1", "10.0.0.2"}
	n := 0
	// reported has the device report to the first controller, each time from another
	// address, as only then its site is looked for.
	reported := func(want string) {
		t.Helper()
		n++
		err := all[0].Report(ctx, domain.Actor{Kind: domain.ActorDevice, Name: device, From: addresses[n%2],
			Role: domain.RoleDevice}, report.Device{Schema: report.Schema, State: report.StateIdle})
		if err != nil {
			t.Fatal(err)
		}
		d, err := all[0].Device(ctx, admin, device)
		if err != nil || d.State.Site != want {
			t.Errorf("report %d: the device is at %q, not at %q: %v", n, d.State.Site, want, err)
		}
	}
	networks := func(all ...string) domain.SiteChange { return domain.SiteChange{Networks: &all} }
	reported("")
	for _, c := range []struct {
		change func() error
		want   string
	}{
		{func() error { _, err := all[1].CreateSite(ctx, admin, "Kyoto", networks("10.0.0.0/24")); return err }, "Kyoto"},
		{func() error { _, err := all[1].CreateSite(ctx, admin, "Desk", networks("10.0.0.0/30")); return err }, "Desk"},
		{func() error { _, err := all[1].UpdateSite(ctx, admin, "Desk", networks("10.1.0.0/30"), 0); return err }, "Kyoto"},
		{func() error { _, err := all[1].UpdateSite(ctx, admin, "Kyoto", networks(), 0); return err }, ""},
		{func() error { return all[1].DeleteSite(ctx, admin, "Kyoto", 0) }, ""},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		reported(c.want)
		reported(c.want)
	}
	nothing := errors.New("nothing")
	err := stores[1].Update(ctx, func(tx domain.Tx) error {
		s := domain.Site{Name: "Never", Networks: []string{"10.0.0.0/24"}}
		if err := tx.Sites().Put(ctx, &s); err != nil {
			return err
		}
		return nothing
	})
	if !errors.Is(err, nothing) {
		t.Fatal(err)
	}
	reported("")
}
