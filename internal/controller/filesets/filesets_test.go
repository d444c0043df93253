package filesets_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/filesets"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// TestFileSets: sets are published, assigned, replaced, unassigned and retired, on both
// databases; of several levels the strongest counts for each directory.
func TestFileSets(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		s, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		story(t, s)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		story(t, onPostgres(t))
	})
}

const phone, camera = "SEP000000000001", "SEP000000000002"

func story(t *testing.T, s domain.Store) {
	dir, ctx, root := t.TempDir(), t.Context(), domain.Local("root")
	repo, err := repository.Open(repository.Config{Dir: filepath.Join(dir, "pub"), Keys: filepath.Join(dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	c, err := domain.New(domain.Config{Store: s, Repository: repo})
	if err != nil {
		t.Fatal(err)
	}
	sets := filesets.New(c)
	add := func(name, directory, version string, models ...string) error {
		file := filepath.Join(dir, "a.txt")
		if err := os.WriteFile(file, []byte(name+version), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := c.AddFileSet(ctx, root, publish.Request{Name: name, Version: version, Directory: directory,
			Models: models, Files: []string{file}})
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(add("jp-1", "locale", "1", "7961"))
	must(add("jp-2", "locale", "2", "7961"))
	must(add("jp-cam", "locale", "1", "7941"))
	must(add("rings", "ring-tones", "1", "7961", "7941"))
	_, err = c.CreateProfile(ctx, root, "desks", domain.ProfileChange{})
	must(err)
	for name, model := range map[string]string{phone: "7961", camera: "7941"} {
		profile := "desks"
		_, err := c.CreateDevice(ctx, root, name, domain.DeviceChange{Model: &model, Profile: &profile})
		must(err)
	}
	all, desks, own := domain.EnterpriseTarget(), domain.ProfileTarget("desks"), domain.DeviceTarget(phone)
	change := func(t domain.Target, dry bool, assign, unassign []string) (int, error) {
		r, err := c.Change(ctx, root, domain.Order{Target: &t, FileSets: &domain.FileSetsChange{Assign: assign,
			Unassign: unassign}}, dry)
		return r.Reach.Devices, err
	}
	has := func(device string, want ...string) {
		t.Helper()
		d, err := c.Provision(ctx, device, "", "")
		must(err)
		var got []string
		for _, f := range d.FileSets {
			got = append(got, fmt.Sprintf("%s=%s at %s", f.Directory, f.FileSet, f.Level))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, not %q", device, got, want)
		}
	}
	step := func(n int, t0 domain.Target, assign, unassign []string) {
		t.Helper()
		for _, dry := range []bool{true, false} {
			if got, err := change(t0, dry, assign, unassign); err != nil || got != n {
				t.Errorf("%v and not %v at %s, dry %v: %d devices, %v", assign, unassign, t0, dry, got, err)
			}
		}
	}
	has(phone)
	step(2, all, []string{"jp-1", "jp-cam", "rings"}, nil)
	has(phone, "locale=jp-1 at enterprise", "ring-tones=rings at enterprise")
	has(camera, "locale=jp-cam at enterprise", "ring-tones=rings at enterprise")
	step(1, desks, []string{"jp-2"}, nil)
	has(phone, "locale=jp-2 at profile", "ring-tones=rings at enterprise")
	step(1, own, []string{"jp-1"}, nil)
	step(1, own, []string{"jp-2"}, nil) // in the place of the one for the same directory
	step(0, own, []string{"jp-2"}, nil)
	step(0, own, nil, []string{"jp-2"}) // the profile's is the same
	step(2, all, nil, []string{"rings"})
	has(camera, "locale=jp-cam at enterprise")
	undone(t, ctx, c, has)
	refusals(t, ctx, c, sets, add)
	if l, err := sets.List(ctx, root, domain.LoadFilter{Text: "locale"}, domain.Page{}); err != nil || l.Total != 3 {
		t.Errorf("for locale there are %d sets, %v", l.Total, err)
	}
	if f, err := sets.Retire(ctx, root, "rings", true, 0); err != nil || !f.Retired {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := change(all, false, []string{"rings"}, nil); !errors.Is(err, domain.ErrRefused) {
		t.Errorf("a retired set is assigned: %v", err)
	}
	must(c.SyncLoads(ctx, root))
	if f, err := sets.Get(ctx, root, "jp-1"); err != nil || f.Directory != "locale" || f.Release != "1" {
		t.Errorf("%+v, %v", f, err)
	}
}

// undone: a change at a level or at a site is taken back by the id of its entry in the
// audit log, unless somebody has changed it since.
func undone(t *testing.T, ctx context.Context, c *domain.Controller, has func(device string, want ...string)) {
	t.Helper()
	root, all := domain.Local("root"), domain.EnterpriseTarget()
	do := func(devices int, o domain.Order) string {
		t.Helper()
		would, err := c.Change(ctx, root, o, true)
		if err != nil || would.Reach.Devices != devices {
			t.Fatalf("%+v would touch %d devices, %v", o, would.Reach.Devices, err)
		}
		o.Shown = would.Shown
		done, err := c.Change(ctx, root, o, false)
		if err != nil || done.Reach.Devices != devices || done.Audit == "" {
			t.Fatalf("%+v: %+v, %v", o, done, err)
		}
		return done.Audit
	}
	at := func(o domain.Order, assign, unassign []string) domain.Order {
		o.FileSets = &domain.FileSetsChange{Assign: assign, Unassign: unassign}
		return o
	}
	refused := func(o domain.Order, want error, text string) {
		t.Helper()
		for _, dry := range []bool{true, false} {
			if _, err := c.Change(ctx, root, o, dry); !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
				t.Errorf("%+v: %v", o, err)
			}
		}
	}
	rings := do(2, at(domain.Order{Target: &all}, []string{"rings"}, nil))
	locale := do(1, at(domain.Order{Target: &all}, nil, []string{"jp-cam"}))
	has(camera, "ring-tones=rings at enterprise")
	refused(domain.Order{Undo: rings}, domain.ErrConflict, "file_sets is")
	again := do(1, domain.Order{Undo: locale})
	has(camera, "locale=jp-cam at enterprise", "ring-tones=rings at enterprise")
	do(1, domain.Order{Undo: again})
	has(camera, "ring-tones=rings at enterprise")
	do(1, at(domain.Order{Target: &all}, []string{"jp-cam"}, nil))
	do(2, domain.Order{Undo: rings}) // they are what it left again
	has(camera, "locale=jp-cam at enterprise")

	const kyoto = "Kyoto"
	site := kyoto
	if _, err := c.CreateSite(ctx, root, kyoto, domain.SiteChange{}); err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{phone, camera} {
		if _, err := c.UpdateDevice(ctx, root, device, domain.DeviceChange{Site: &site}, 0); err != nil {
			t.Fatal(err)
		}
	}
	refused(at(domain.Order{Site: kyoto}, []string{"jp-1"}, nil), domain.ErrUnfit, "1 device is not: "+camera)
	refused(at(domain.Order{Site: kyoto}, nil, []string{"rings"}), domain.ErrNotFound, "at its own level")
	refused(at(domain.Order{Site: kyoto}, nil, nil), domain.ErrInvalid, "name file sets")
	refused(at(domain.Order{Site: kyoto}, []string{"ringz"}, nil), domain.ErrNotFound, "did you mean rings?")
	bySite := do(2, at(domain.Order{Site: kyoto}, []string{"rings"}, nil))
	has(camera, "locale=jp-cam at enterprise", "ring-tones=rings at device")
	do(2, domain.Order{Undo: bySite})
	has(camera, "locale=jp-cam at enterprise")
	do(2, at(domain.Order{Site: kyoto}, []string{"rings"}, nil))
	do(2, at(domain.Order{Site: kyoto}, nil, []string{"rings"}))
	has(phone, "locale=jp-2 at profile")

	own := domain.DeviceTarget(phone)
	given := do(1, at(domain.Order{Target: &own}, []string{"jp-1", "rings"}, nil))
	has(phone, "locale=jp-1 at device", "ring-tones=rings at device")
	do(1, domain.Order{Undo: do(1, domain.Order{Target: &own, Delete: true})})
	has(phone, "locale=jp-1 at device", "ring-tones=rings at device") // a device comes back with its sets
	do(1, domain.Order{Undo: given})
	has(phone, "locale=jp-2 at profile")
}

// refusals: what cannot be done is said clearly, and changes nothing.
func refusals(t *testing.T, ctx context.Context, c *domain.Controller, sets *filesets.Service,
	add func(name, directory, version string, models ...string) error) {
	t.Helper()
	root, jp, none := domain.Local("root"), []string{"jp-1"}, []string{"x"}
	at := func(t domain.Target, change domain.FileSetsChange) error {
		_, err := c.ChangeFileSets(ctx, root, t, change, 0)
		return err
	}
	for what, c := range map[string]struct{ err, want error }{
		"no directory":       {add("x", "", "1", "7961"), domain.ErrInvalid},
		"a bad directory":    {add("x", "../x", "1", "7961"), domain.ErrInvalid},
		"another directory":  {add("jp-1", "other", "1", "7961"), domain.ErrInvalid},
		"other content":      {add("jp-1", "locale", "1", "7941"), domain.ErrExists},
		"nothing to change":  {at(domain.EnterpriseTarget(), domain.FileSetsChange{}), domain.ErrInvalid},
		"a set of nobody":    {at(domain.EnterpriseTarget(), domain.FileSetsChange{Assign: none}), domain.ErrNotFound},
		"not assigned there": {at(domain.DeviceTarget(phone), domain.FileSetsChange{Unassign: jp}), domain.ErrNotFound},
		"another model":      {at(domain.DeviceTarget(camera), domain.FileSetsChange{Assign: jp}), domain.ErrUnfit},
		"a level without":    {at(domain.ModelTarget("7961"), domain.FileSetsChange{Assign: jp}), domain.ErrInvalid},
		"no such profile":    {at(domain.ProfileTarget("x"), domain.FileSetsChange{Assign: jp}), domain.ErrNotFound},
		"no such device":     {at(domain.DeviceTarget("x"), domain.FileSetsChange{Assign: jp}), domain.ErrInvalid},
		"a load by its name": {func() error {
			_, err := c.AssignLoad(ctx, root, domain.EnterpriseTarget(), "jp-1", 0)
			return err
		}(), domain.ErrNotFound},
		"retired while assigned": {func() error { _, err := sets.Retire(ctx, root, "jp-2", true, 0); return err }(),
			domain.ErrRefused},
		"a set as a load": {func() error {
			_, err := c.AddLoad(ctx, root, publish.Request{Name: "y", Version: "1", Directory: "locale"})
			return err
		}(), domain.ErrInvalid},
		"by nobody": {func() error { _, err := sets.Get(ctx, domain.Actor{}, "jp-1"); return err }(),
			domain.ErrUnauthenticated},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
}

// onPostgres is a store in a PostgreSQL of the test's own.
func onPostgres(t *testing.T) domain.Store {
	at, _, err := storesuite.PostgresFor(t, foreign.Missing).NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), postgres.Config{URL: at})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
