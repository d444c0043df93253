package cnf

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/controller/template"
	"github.com/peerload/peerload/internal/controller/window"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

const device = "SEP001122334455"

var client = netip.MustParseAddr("10.0.0.7")

func newMaker(t *testing.T) Maker {
	t.Helper()
	dir := t.TempDir()
	store, err := freshdb.Open(t.Context(), filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	ctl, err := domain.New(domain.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	root, model, name := domain.Local("root"), "7941", "SCCP41.9-4-2SR3-1S"
	if _, err := ctl.RegisterLoad(t.Context(), root,
		domain.UnsignedLoad{Name: name, Models: []string{model}}); err != nil {
		t.Fatal(err)
	}
	if _, err := ctl.CreateDevice(t.Context(), root, device, domain.DeviceChange{Model: &model, Load: &name,
		Settings: domain.SettingsChange{Set: policy.Values{policy.PeerSharing: policy.On,
			policy.LoadServer: "http://a/b&c"}}}); err != nil {
		t.Fatal(err)
	}
	return Maker{Controller: ctl, Templates: dir}
}

// TestMake: a device gets its own file, by any case of its name, which is noted;
// other names are not there.
func TestMake(t *testing.T) {
	m := newMaker(t)
	for _, name := range []string{device + ".cnf.xml", "sep001122334455.cnf.xml"} {
		b, err := m.Make(t.Context(), name, client)
		if err != nil {
			t.Fatal(err)
		}
		f, err := provision.Parse(b)
		if err != nil || len(f.Others) > 0 {
			t.Fatalf("%v, %+v", err, f)
		}
		if l, err := f.Assigned(policy.Builtin(), "CP-7941G"); err != nil || l != "SCCP41.9-4-2SR3-1S" ||
			f.Levels.Device[policy.LoadServer] != "http://a/b&c" {
			t.Errorf("%q, %v, %+v", l, err, f.Levels)
		}
		if _, err := f.Assigned(policy.Builtin(), "CP-7961G"); !errors.Is(err, provision.ErrModel) {
			t.Errorf("a device of another model takes it: %v", err)
		}
	}
	if err := m.Controller.RecordAsked(t.Context()); err != nil {
		t.Fatal(err)
	}
	row, err := m.Controller.Device(t.Context(), domain.Local("root"), device)
	if err != nil || row.State == nil || row.State.AskedFrom != client.String() || !row.State.LastSeen.IsZero() {
		t.Errorf("the fetch is not told, or taken for a sign of life: %+v, %v", row.State, err)
	}
	for _, name := range []string{"SEP001122334466.cnf.xml", "SEPnonsense.cnf.xml", "fw.load",
		"SEP001122334455.cnf.xml.sgn", ".cnf.xml", "a/" + device + ".cnf.xml"} {
		if _, err := m.Make(t.Context(), name, client); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExtendedModel: what the controller's table says of a model reaches the
// device, which comes with a table of its own: both come to the same values.
func TestExtendedModel(t *testing.T) {
	m := newMaker(t)
	root := domain.Local("root")
	rows := []policy.ModelRow{
		{Name: "Camera 1", Provision: "Vendor's Camera", Family: "camera", CanShare: true, Group: "cameras",
			Defaults: policy.Values{policy.PeerSharing: policy.On}, Lacks: []string{policy.LogServer}},
		{Name: "Camera 0", Family: "camera"},
	}
	if _, err := m.Controller.PutModels(t.Context(), root, rows); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Controller.RegisterLoad(t.Context(), root,
		domain.UnsignedLoad{Name: "cam", Models: []string{"Camera 1", "Camera 0"}}); err != nil {
		t.Fatal(err)
	}
	for _, model := range []string{"Camera 1", "Camera 0"} {
		if _, err := m.Controller.AssignLoad(t.Context(), root, domain.ModelTarget(model), "cam", 0); err != nil {
			t.Fatal(err)
		}
	}
	change := domain.SettingsChange{Set: policy.Values{policy.LogServer: "10.0.0.9", policy.WANLimit: "2M",
		policy.LANLimit: "1M"}}
	if _, err := m.Controller.ChangeSettings(t.Context(), root, domain.EnterpriseTarget(), change, 0); err != nil {
		t.Fatal(err)
	}
	for name, model := range map[string]string{"SEP0000000000C1": "Camera 1", "SEP0000000000C0": "Camera 0",
		"SEP000000007941": "7941", "SEP000000007940": "7940"} {
		if _, err := m.Controller.CreateDevice(t.Context(), root, name, domain.DeviceChange{Model: &model}); err != nil {
			t.Fatal(err)
		}
		b, err := m.Make(t.Context(), name+".cnf.xml", client)
		if err != nil {
			t.Fatal(err)
		}
		f, err := provision.Parse(b)
		if err != nil || len(f.Others) > 0 {
			t.Fatalf("%v, %+v", err, f)
		}
		d, err := m.Controller.Desired(t.Context(), root, name)
		if err != nil {
			t.Fatal(err)
		}
		own := policy.Builtin().Lookup(d.Model.Name)
		if l, err := f.Assigned(policy.Builtin(), model); l != d.Load.Load || err != nil {
			t.Errorf("%s is told the load %q, %v; want %q", model, l, err, d.Load.Load)
		}
		got, err := policy.EffectiveAll(own, f.Levels)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range d.Settings {
			if got[i].Value != want.Value || want.Reason == "" && got[i].Level != want.Level {
				t.Errorf("%s: %s is %q from %s on the device, %q from %s for the controller", model, want.Setting, got[i].Value,
					got[i].Level, want.Value, want.Level)
			}
		}
		if group := f.Group; group != "" && group != d.Group || group == "" && own.GroupName() != d.Group {
			t.Errorf("%s: the group %q reaches the device as %q", model, d.Group, group)
		}
	}
}

// TestTemplates: an administrator adds elements; a template that loses what
// devices read makes no file, and does not look like one that is not there.
func TestTemplates(t *testing.T) {
	m := newMaker(t)
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(m.Templates, DeviceTemplate), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(strings.Replace(template.Default, "<{{.Root}}>", "<{{.Root}}><webAccess>0</webAccess>", 1))
	b, err := m.Make(t.Context(), device+".cnf.xml", client)
	if err != nil || !strings.Contains(string(b), "<webAccess>0</webAccess>") {
		t.Errorf("%s, %v", b, err)
	}
	for name, text := range map[string]string{"empty": "<device/>", "torn": "{{"} {
		put(text)
		if _, err := m.Make(t.Context(), device+".cnf.xml", client); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.Make(t.Context(), DefaultName, client); err != nil {
		t.Errorf("the other file has its own template: %v", err)
	}
}

// TestEmptyValueHides: an empty value that is in effect keeps the device from
// what weaker levels set, with a template too; a weaker one hides nothing.
func TestEmptyValueHides(t *testing.T) {
	m := newMaker(t)
	root := domain.Local("root")
	profile := "p"
	if _, err := m.Controller.CreateProfile(t.Context(), root, profile, domain.ProfileChange{}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Controller.UpdateDevice(t.Context(), root, device, domain.DeviceChange{Profile: &profile,
		Settings: domain.SettingsChange{Unset: []string{policy.LoadServer}}}, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Templates, DeviceTemplate), []byte(template.Default), 0o600); err != nil {
		t.Fatal(err)
	}
	targets := []domain.Target{domain.EnterpriseTarget(), domain.ProfileTarget(profile), domain.DeviceTarget(device)}
	// What each level says: - nothing, 0 the empty value, else a server of its own.
	for _, c := range []string{"1--", "1-0", "10-", "100", "102", "012", "0-2", "1-2", "--0", "0--", "-10"} {
		for _, name := range []string{policy.LoadServer, policy.LogServer} {
			s, err := policy.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			for i, target := range targets {
				value := map[byte]string{'0': "", '1': "10.0.0.1", '2': "10.0.0.2"}[c[i]]
				change := domain.SettingsChange{Set: policy.Values{name: value}}
				if c[i] == '-' {
					change = domain.SettingsChange{Unset: []string{name}}
				} else {
					want = value
				}
				if _, err := m.Controller.ChangeSettings(t.Context(), root, target, change, 0); err != nil {
					t.Fatal(err)
				}
			}
			for _, templates := range []string{"", m.Templates} {
				b, err := Maker{Controller: m.Controller, Templates: templates}.Make(t.Context(), device+".cnf.xml", client)
				if err != nil {
					t.Fatal(c, err)
				}
				f, err := provision.Parse(b)
				if err != nil {
					t.Fatal(c, err)
				}
				told, err := policy.Effective(name, policy.Builtin().Lookup("7941"), f.Levels)
				if err != nil || told.Value != want {
					t.Errorf("%s, %s: in effect is %q, the device is told %q, %v", name, c, want, told.Value, err)
				}
				if want == "" && strings.Contains(string(b), s.Element) {
					t.Errorf("%s, %s: a phone finds a server in\n%s", name, c, b)
				}
			}
		}
	}
}

// TestGrant: the file of a device has what its rollout allows. The load of the
// rollout is assigned as well as long as it may be activated, for devices that do
// not read grants, and not outside.
func TestGrant(t *testing.T) {
	m := newMaker(t)
	m.Told = func(context.Context, string) (told rollouts.Told, err error) {
		t.Error("no rollout has the device")
		return told, err
	}
	if _, err := m.Make(t.Context(), device+".cnf.xml", client); err != nil {
		t.Fatal(err)
	}
	err := m.Controller.Update(t.Context(), domain.Local("root"), func(tx domain.Tx, _ domain.Note) error {
		up := domain.Rollout{Record: rollout.Record{ID: "up", State: rollout.Running}}
		row := domain.RolloutDevice{Rollout: "up", Row: rollout.Row{Device: device}}
		return errors.Join(tx.Rollouts().Put(t.Context(), &up), tx.RolloutDevices().Put(t.Context(), &row))
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	soon, over := window.Span{From: now.Add(time.Hour), Until: now.Add(2 * time.Hour)}, window.Span{}
	open := window.Span{From: now.Add(-time.Hour), Until: now.Add(time.Hour)}
	for name, c := range map[string]struct {
		told     rollouts.Told
		assigned string
	}{
		"nothing":   {rollouts.Told{}, "SCCP41.9-4-2SR3-1S"},
		"it has it": {rollouts.Told{Load: "new"}, "new"},
		"download only": {rollouts.Told{Grant: &rollout.Grant{Load: "new", Download: open, Activate: over}},
			"SCCP41.9-4-2SR3-1S"},
		"activate soon": {rollouts.Told{Grant: &rollout.Grant{Load: "new", Download: open, Activate: soon}},
			"SCCP41.9-4-2SR3-1S"},
		"now": {rollouts.Told{Grant: &rollout.Grant{Load: "new", Download: open, Activate: open}}, "new"},
	} {
		if c.told.Grant != nil {
			c.told.Grant.Rollout, c.told.Grant.Try = "up", 3
		}
		m.Told = func(_ context.Context, name string) (rollouts.Told, error) {
			if name != device {
				t.Errorf("%s asks", name)
			}
			return c.told, nil
		}
		b, err := m.Make(t.Context(), device+".cnf.xml", client)
		if err != nil {
			t.Fatal(err)
		}
		f, err := provision.Parse(b)
		if err != nil || len(f.Loads) != 1 || f.Loads[0].Load != c.assigned {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
		if g := c.told.Grant; (f.Grant != nil) != (g != nil) || g != nil && (f.Grant.Rollout != "up" || f.Grant.Try != 3 ||
			f.Grant.Load != "new" || !f.Grant.Download.From.Equal(open.From) ||
			!f.Grant.Activate.Until.Equal(g.Activate.Until)) {
			t.Errorf("%s: the grant is %+v", name, f.Grant)
		}
	}
}
