package postgres

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// two controllers of one database.
func two(t *testing.T) (all [2]*domain.Controller, stores [2]*Store) {
	t.Helper()
	at := shared.Migrated(t)
	for i := range all {
		s := openAt(t, at)
		t.Cleanup(func() { s.Close() })
		stores[i] = s
		var err error
		if all[i], err = domain.New(domain.Config{Store: s}); err != nil {
			t.Fatal(err)
		}
	}
	return all, stores
}

// TestSitesRevision: a controller keeps the networks of all sites, and sees each change
// that another one makes, but none that comes to nothing.
func TestSitesRevision(t *testing.T) {
	ctx, admin := t.Context(), domain.Local("root")
	all, stores := two(t)
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

// TestSettledRevision: a controller keeps what provisioning files are made of, and sees each
// change that another one makes. While nothing changes, it reads no more than the device.
func TestSettledRevision(t *testing.T) {
	ctx, admin := t.Context(), domain.Local("root")
	all, stores := two(t)
	const device = "SEP020000000001"
	model, profile := "7941", "Branch"
	set := func(value string) domain.SettingsChange {
		return domain.SettingsChange{Set: policy.Values{policy.PeerSharing: value}}
	}
	register := func(name string) func() error {
		return func() error {
			_, err := all[1].RegisterLoad(ctx, admin, domain.UnsignedLoad{Name: name, Models: []string{model}})
			return err
		}
	}
	assign := func(to domain.Target, load string) func() error {
		return func() error { _, err := all[1].AssignLoad(ctx, admin, to, load, 0); return err }
	}
	for i, change := range []func() error{
		func() error {
			_, err := all[1].CreateProfile(ctx, admin, profile, domain.ProfileChange{Settings: set(policy.Off)})
			return err
		},
		func() error {
			_, err := all[1].CreateDevice(ctx, admin, device, domain.DeviceChange{Model: &model, Profile: &profile})
			return err
		},
		func() error {
			_, err := all[1].UpdateProfile(ctx, admin, profile, domain.ProfileChange{Settings: set(policy.On)}, 0)
			return err
		},
		register("one"), register("two"),
		assign(domain.EnterpriseTarget(), "one"), assign(domain.ModelTarget(model), "two"),
		assign(domain.ProfileTarget(profile), "one"),
		assign(domain.DeviceTarget(device), "two"),
	} {
		if err := change(); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
		want, wantErr := all[0].Desired(ctx, admin, device)
		for range 2 {
			got, err := all[0].ProvisionKnown(ctx, device)
			if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
				t.Errorf("after change %d: %+v, %v; want %+v, %v", i, got, err, want, wantErr)
			}
		}
	}
	read := 0
	stores[0].Trace = func(query string, _ []any) {
		if read++; !strings.Contains(query, "FROM peerload_revisions ") && slices.ContainsFunc(revised,
			func(table string) bool { return strings.Contains(query, "FROM "+table+" ") }) {
			t.Error(query)
		}
	}
	if _, err := all[0].ProvisionKnown(ctx, device); err != nil || read != 4 {
		t.Errorf("%d statements, %v", read, err)
	}
}

// TestRevisions: the database counts whatever changes a table, and says nothing of tables
// that it does not count.
func TestRevisions(t *testing.T) {
	s := openAt(t, shared.Migrated(t))
	defer s.Close()
	ctx := t.Context()
	revision := func(tables ...string) (n int64, ok bool) {
		t.Helper()
		err := s.View(ctx, func(tx domain.Tx) (err error) {
			n, ok, err = tx.(domain.Revised).Revision(ctx, tables...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n, ok
	}
	for _, table := range revised {
		before, ok := revision(revised...)
		if _, err := s.Writes.ExecContext(ctx, "DELETE FROM "+table); err != nil {
			t.Fatal(err)
		}
		if after, _ := revision(revised...); !ok || after == before {
			t.Errorf("%s: %d, then %d, %v", table, before, after, ok)
		}
	}
	if n, ok := revision("sites", "devices"); ok {
		t.Errorf("devices are counted: %d", n)
	}
}
