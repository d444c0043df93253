package domain_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// TestLoadMustFit: at each level a load is refused that a device would get for
// whose model it is not, and whoever would come to such a load is refused too.
func TestLoadMustFit(t *testing.T) {
	r := newRig(t)
	r.unsigned("for61", "7961")
	r.unsigned("for41", "7941")
	r.unsigned("both", "7941", "7961")
	assign := func(target domain.Target, load string) error {
		return drop(r.AssignLoad(r.ctx, r.admin, target, load, 0))
	}
	_, err := r.CreateProfile(r.ctx, r.admin, "p", domain.ProfileChange{})
	r.ok(err)
	r.device(phone1, "7961")
	r.is(assign(domain.DeviceTarget(phone1), "for41"), domain.ErrUnfit)
	r.is(assign(domain.ModelTarget("Cisco 7961"), "for41"), domain.ErrUnfit)
	r.is(assign(domain.EnterpriseTarget(), "for41"), domain.ErrUnfit)
	r.is(assign(domain.DeviceTarget(phone1), "nothing"), domain.ErrNotFound)
	r.ok(assign(domain.ProfileTarget("p"), "for41")) // nobody has it yet
	r.is(drop(r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Profile: ptr("p")}, 0)), domain.ErrUnfit)
	r.ok(assign(domain.ProfileTarget("p"), "for61"))
	r.ok(drop(r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Profile: ptr("p")}, 0)))
	r.is(assign(domain.ProfileTarget("p"), "for41"), domain.ErrUnfit)
	r.is(drop(r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Model: ptr("7941")}, 0)), domain.ErrUnfit)
	r.ok(assign(domain.EnterpriseTarget(), "for41")) // phone1 has its profile's
	r.ok(assign(domain.ModelTarget("7961"), "both"))
	r.ok(assign(domain.DeviceTarget(phone1), "both"))
	expect := func(load string, level policy.Level, others ...policy.Level) {
		t.Helper()
		a := r.desired(phone1).Load
		var got []policy.Level
		for _, o := range a.Others {
			got = append(got, o.Level)
		}
		if a.Load != load || a.Level != level || !slices.Equal(got, others) {
			t.Errorf("%+v, want %s from %s, others %v", a, load, level, others)
		}
	}
	expect("both", policy.LevelDevice, policy.LevelProfile, policy.LevelModel, policy.LevelEnterprise)
	r.ok(assign(domain.DeviceTarget(phone1), ""))
	expect("for61", policy.LevelProfile, policy.LevelModel, policy.LevelEnterprise)
	r.ok(assign(domain.ProfileTarget("p"), ""))
	expect("both", policy.LevelModel, policy.LevelEnterprise)
	r.is(assign(domain.ModelTarget("7961"), ""), nil)
	expect("", policy.LevelDefault, policy.LevelEnterprise) // passed over, and said so
	if o := r.desired(phone1).Load.Others[0]; o.Skipped == "" {
		t.Errorf("no reason: %+v", o)
	}
	if w := r.desired(phone1).Load.Warning; w != "" {
		t.Errorf("warning %q without a load", w)
	}
	r.ok(assign(domain.DeviceTarget(phone1), "for61"))
	if w := r.desired(phone1).Load.Warning; !strings.Contains(w, "unsigned") {
		t.Errorf("an unsigned load: %q", w)
	}
	r.is(drop(r.RetireLoad(r.ctx, r.admin, "for61", true, 0)), domain.ErrRefused)
	r.is(drop(r.RollBackLoad(r.ctx, r.admin, domain.ModelTarget("7941"), 0)), domain.ErrRefused)
	r.ok(assign(domain.DeviceTarget(phone1), "both"))
	r.ok(drop(r.RetireLoad(r.ctx, r.admin, "for61", true, 0)))
	r.is(assign(domain.DeviceTarget(phone1), "for61"), domain.ErrRefused)
	r.is(drop(r.RollBackLoad(r.ctx, r.admin, domain.DeviceTarget(phone1), 0)), domain.ErrRefused)
}

// TestNoRepository: a controller without a repository says so.
func TestNoRepository(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "app.sbn")
	r.ok(os.WriteFile(file, []byte("firmware"), 0o600))
	_, _, rootErr := r.Root()
	for what, err := range map[string]error{
		"add": drop(r.AddLoad(r.ctx, r.admin, publish.Request{Name: "new", Version: "1", Models: []string{"7961"},
			Files: []string{file}})),
		"verify": drop(r.VerifyLoads(r.ctx, r.admin)), "rotate": r.RotateKeys(r.ctx, r.admin, "timestamp"),
		"sync": r.SyncLoads(r.ctx, r.admin), "root": rootErr,
	} {
		if !errors.Is(err, domain.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSignedLoads: what is published is known, and what is gone is noticed.
func TestSignedLoads(t *testing.T) {
	r := newRig(t, withRepository(t))
	file := filepath.Join(t.TempDir(), "app.sbn")
	r.ok(os.WriteFile(file, []byte("firmware"), 0o600))
	req := publish.Request{Name: "new", Version: "1", Models: []string{"7961"}, Files: []string{file}}
	l, err := r.AddLoad(r.ctx, r.admin, req)
	r.ok(err)
	if !l.Signed || l.Size != 8 || !slices.Equal(l.Models, []string{"CP-7961G"}) || len(l.Components) != 1 ||
		len(l.Components[0].SHA256) != 64 {
		t.Errorf("published %+v", l)
	}
	again, err := r.AddLoad(r.ctx, r.admin, req)
	if err != nil || again.Version != l.Version {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	r.is(drop(r.AddLoad(r.ctx, r.admin, publish.Request{Name: "x", Version: "1", Models: []string{"7961"},
		Files: []string{"/nowhere"}})), fs.ErrNotExist)
	r.ok(os.WriteFile(file, []byte("altered!"), 0o600))
	r.is(drop(r.AddLoad(r.ctx, r.admin, req)), domain.ErrExists)
	checked, err := r.VerifyLoads(r.ctx, r.admin)
	if err != nil || len(checked) != 1 || checked[0].Problem != "" {
		t.Errorf("verified %+v, %v", checked, err)
	}
	if root, version, err := r.Root(); err != nil || version != 1 || len(root) == 0 {
		t.Errorf("root %d, %v", version, err)
	}
	r.ok(r.SyncLoads(r.ctx, r.admin))
	// Another repository does not have it.
	other, err := domain.New(domain.Config{Store: r.store, Repository: elsewhere(t),
		Now: func() time.Time { return r.now }})
	r.ok(err)
	r.ok(other.SyncLoads(r.ctx, r.admin))
	if l, err = r.Load(r.ctx, r.admin, "new"); err != nil || !l.Missing {
		t.Errorf("a load that is gone: %+v, %v", l, err)
	}
	r.device(phone1, "7961")
	r.is(drop(r.AssignLoad(r.ctx, r.admin, domain.DeviceTarget(phone1), "new", 0)), domain.ErrRefused)
	r.ok(r.SyncLoads(r.ctx, r.admin))
	r.ok(drop(r.AssignLoad(r.ctx, r.admin, domain.DeviceTarget(phone1), "new", 0)))
	r.is(drop(r.AddLoad(r.ctx, r.admin, publish.Request{Name: "new", Version: "2", Models: req.Models, Files: req.Files})),
		domain.ErrRefused)
	r.is(drop(r.AddLoad(r.ctx, r.admin, publish.Request{Name: "new", Version: "2", Models: []string{"7941"},
		Files: req.Files, Replace: true})), domain.ErrUnfit)
	r.ok(drop(r.AddLoad(r.ctx, r.admin, publish.Request{Name: "new", Version: "2", Models: []string{"7941", "7961"},
		Files: req.Files, Replace: true})))
	r.ok(drop(r.AssignLoad(r.ctx, r.admin, domain.ModelTarget("7941"), "new", 0)))
	r.is(drop(r.AddLoad(r.ctx, r.admin, publish.Request{Name: "new", Version: "3", Models: []string{"7961"},
		Files: req.Files, Replace: true})), domain.ErrUnfit)
	none := newRig(t)
	none.is(none.SyncLoads(none.ctx, none.admin), domain.ErrUnavailable)
}

// TestAutoRegistration: off, an unknown device stays unknown; on, it becomes
// known, within the limit.
func TestAutoRegistration(t *testing.T) {
	r := newRig(t, func(c *domain.Config) { c.MaxDevices = 1 })
	r.is(drop(r.Provision(r.ctx, phone1, "7961", "10.0.0.1")), domain.ErrNotFound)
	_, err := r.CreateProfile(r.ctx, r.admin, "new", domain.ProfileChange{})
	r.ok(err)
	r.is(drop(r.UpdateEnterprise(r.ctx, r.admin, domain.EnterpriseChange{RegisterProfile: ptr("nothing")}, 0)),
		domain.ErrNotFound)
	_, err = r.UpdateEnterprise(r.ctx, r.admin,
		domain.EnterpriseChange{AutoRegistration: ptr(true), RegisterProfile: ptr("new")}, 0)
	r.ok(err)
	d, err := r.Provision(r.ctx, phone1, "Cisco IP Phone 7961", "10.0.0.1")
	r.ok(err)
	if d.Device.Registration != domain.RegistrationAutomatic || d.Device.Profile != "new" || d.Device.Model != "CP-7961G" {
		t.Errorf("registered %+v", d.Device)
	}
	if again, err := r.Provision(r.ctx, "00:00:00:00:00:01", "7941", "10.0.0.2"); err != nil ||
		again.Device.Version != d.Device.Version {
		t.Errorf("it asks again: %+v, %v", again.Device, err)
	}
	r.is(drop(r.Provision(r.ctx, phone2, "7961", "10.0.0.1")), domain.ErrRefused)
	r.is(drop(r.Provision(r.ctx, "SEP../../etc", "", "")), domain.ErrInvalid)
	defaults, err := r.Defaults(r.ctx)
	if err != nil || len(defaults.Models) != 21 || !defaults.Registration {
		t.Errorf("defaults: %d models, %v", len(defaults.Models), err)
	}
}

// TestModelOfASilentDevice: a device that said nothing of its model when it became
// known has the one of its first report that does, and keeps it.
func TestModelOfASilentDevice(t *testing.T) {
	r := newRig(t)
	e, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "e"})
	r.ok(err)
	secret := strings.Repeat("s", 40)
	r.ok(r.Enrol(r.ctx, domain.EnrolRequest{Device: phone1, Token: e.Secret, Secret: secret}))
	a, err := r.ActorByDevice(r.ctx, "", secret, "")
	r.ok(err)
	steps := []struct{ says, want string }{{"", ""}, {"Cisco 7961", "CP-7961G"}, {"7941", "CP-7961G"}, {"", "CP-7961G"}}
	for _, step := range steps {
		before := r.desired(phone1).Device
		r.ok(r.Report(r.ctx, a, report.Device{Schema: 1, State: "idle", Model: step.says}))
		after := r.desired(phone1).Device
		if after.Model != step.want || (after.Version != before.Version) != (after.Model != before.Model) {
			t.Errorf("after a report of model %q: %+v", step.says, after)
		}
	}
}

// TestDevicesAreListed: each device with the last that is known of it, by model,
// by profile, and page by page.
func TestDevicesAreListed(t *testing.T) {
	r := newRig(t)
	device := r.enrol(phone1) // a 7961
	r.device(phone2, "7941")
	r.device(phone3, "7941")
	r.ok(r.Report(r.ctx, device, report.Device{Schema: 1, State: "idle", Active: "l"}))
	list := func(f domain.DeviceFilter, p domain.Page) (names []string, next string) {
		t.Helper()
		l, err := r.Devices(r.ctx, r.admin, f, p)
		r.ok(err)
		for _, row := range l.Items {
			names = append(names, row.Name)
			if known := row.State != nil; known != (row.Name == phone1) || known && row.State.Last.Active != "l" {
				t.Errorf("the state of %s is %+v", row.Name, row.State)
			}
		}
		return names, l.Next
	}
	for _, c := range []struct {
		filter domain.DeviceFilter
		want   []string
	}{
		{domain.DeviceFilter{}, []string{phone1, phone2, phone3}},
		{domain.DeviceFilter{Model: "Cisco 7941"}, []string{phone2, phone3}},
		{domain.DeviceFilter{State: "idle"}, []string{phone1}}, {domain.DeviceFilter{Active: "m"}, nil},
	} {
		if names, next := list(c.filter, domain.Page{}); !slices.Equal(names, c.want) || next != "" {
			t.Errorf("%+v lists %v, %q", c.filter, names, next)
		}
	}
	first, next := list(domain.DeviceFilter{}, domain.Page{Limit: 2})
	rest, end := list(domain.DeviceFilter{}, domain.Page{Limit: 2, After: next})
	if !slices.Equal(first, []string{phone1, phone2}) || !slices.Equal(rest, []string{phone3}) || end != "" {
		t.Errorf("pages %v, %v, %q", first, rest, end)
	}
	// No use case takes for a device what is none.
	a := r.admin
	for name, err := range map[string]error{
		"UpdateDevice": drop(r.UpdateDevice(r.ctx, a, "x", domain.DeviceChange{}, 0)),
		"DeleteDevice": r.DeleteDevice(r.ctx, a, "x", 0),
		"Device":       drop(r.Device(r.ctx, a, "x")), "Desired": drop(r.Desired(r.ctx, a, "x")),
		"ResetIdentity": r.ResetIdentity(r.ctx, a, "x"), "Provision": drop(r.Provision(r.ctx, "x", "", "")),
		"History":  drop(r.History(r.ctx, a, domain.HistoryFilter{Device: "x"}, domain.Page{})),
		"Settings": drop(r.Settings(r.ctx, a, domain.DeviceTarget("x"))),
	} {
		if !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLostUpdates: who has read an older version is told, and changes nothing.
func TestLostUpdates(t *testing.T) {
	r := newRig(t)
	d := r.device(phone1, "7961")
	d2, err := r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Description: ptr("one")}, d.Version)
	r.ok(err)
	r.is(drop(r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Description: ptr("two")}, d.Version)),
		domain.ErrConflict)
	r.is(drop(r.ChangeSettings(r.ctx, r.admin, domain.DeviceTarget(phone1), set(policy.PeerSharing, "on"), d.Version)),
		domain.ErrConflict)
	r.is(r.DeleteDevice(r.ctx, r.admin, phone1, d.Version), domain.ErrConflict)
	if got := r.desired(phone1).Device; got.Description != "one" || got.Version != d2.Version || len(got.Settings) != 0 {
		t.Errorf("%+v", got)
	}
	r.is(drop(r.CreateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Model: ptr("7961")})), domain.ErrExists)
}

// TestAudit: who, what, when, from where, old and new value; a change that is
// refused, or changes nothing, leaves no entry.
func TestAudit(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	_, ann := r.login("ann")
	for _, v := range []string{"off", "on"} {
		_, err := r.ChangeSettings(r.ctx, ann, domain.EnterpriseTarget(), set(policy.PeerSharing, v), 0)
		r.ok(err)
	}
	for _, v := range []string{"on", "perhaps"} {
		r.ChangeSettings(r.ctx, ann, domain.EnterpriseTarget(), set(policy.PeerSharing, v), 0)
	}
	l, err := r.Audit(r.ctx, ann, domain.AuditFilter{Action: "settings.change"}, domain.Page{})
	r.ok(err)
	if l.Total != 2 {
		t.Fatalf("%+v", l)
	}
	e := l.Items[0]
	if e.Actor != "ann" || e.Kind != domain.ActorUser || e.From != "10.0.0.1" || !e.At.Equal(r.now) ||
		e.Target != "enterprise" || len(e.Changes) != 1 {
		t.Errorf("%+v", e)
	}
	if c := e.Changes[0]; c.Field != "settings.peer-sharing" || *c.Old != "off" || *c.New != "on" {
		t.Errorf("%+v", c)
	}
	if c := l.Items[1].Changes[0]; c.Old != nil || *c.New != "off" {
		t.Errorf("from unset: %+v", c)
	}
	r.now = r.now.Add(3 * 365 * 24 * time.Hour)
	if n, err := r.Prune(r.ctx); err != nil || n.Audit == 0 {
		t.Errorf("pruned %+v, %v", n, err)
	}
}

// TestReportsAreBounded: a device that says too much is cut, not believed and
// not refused; its history stays within the limits.
func TestReportsAreBounded(t *testing.T) {
	tiers.Long(t, "it writes many reports")
	r := newRig(t, func(c *domain.Config) { c.HistoryPerDevice = 20 })
	device := r.enrol(phone1)
	long := strings.Repeat("あ\x00\xff", 1000)
	big := report.Final{File: long, Source: long, BytesFromOrigin: 1 << 62, BytesToPeers: -5,
		Children: slices.Repeat([]string{long}, 100), Fallbacks: slices.Repeat([]report.Fallback{{From: long}}, 100)}
	rep := report.Device{Schema: 1, State: "failed", Message: long, Children: big.Children, Percent: 100,
		Files:    slices.Repeat([]report.Final{big}, 500),
		Failures: slices.Repeat([]report.Failure{{Reason: long}}, 500)}
	for i := range 3 {
		rep.Boot = fmt.Sprint(i)
		r.ok(r.Report(r.ctx, device, rep))
	}
	row, err := r.Device(r.ctx, r.admin, phone1)
	r.ok(err)
	s := row.State
	if len(s.Last.Message) > domain.MaxReportText || len(s.Files) > domain.MaxStateFiles ||
		len(s.Failures) > domain.MaxStateFailures || s.Last.Percent != 100 {
		t.Errorf("kept %d bytes, %d files, %d failures", len(s.Last.Message), len(s.Files), len(s.Failures))
	}
	if n := len(s.Last.Children); n != domain.MaxReportPeers {
		t.Errorf("kept %d children", n)
	}
	for _, f := range s.Files {
		if len(f.Children) != domain.MaxReportPeers || len(f.Fallbacks) != domain.MaxReportPeers {
			t.Errorf("kept %d children and %d fallbacks of a file", len(f.Children), len(f.Fallbacks))
		}
	}
	if s.Traffic.FromOrigin <= 0 || s.Traffic.ToPeers != 0 {
		t.Errorf("sums %+v", s.Traffic)
	}
	h, err := r.History(r.ctx, device, domain.HistoryFilter{Device: phone1}, domain.Page{})
	if err != nil || h.Total != 20 {
		t.Errorf("%d entries, %v", h.Total, err)
	}
	for _, bad := range []report.Device{{}, {Schema: 1}, {Schema: 1, State: "Bad State"}, {State: "idle"},
		{Schema: -1, State: "idle"}, {Schema: 99, State: "idle"}, {Schema: 1, State: "idle", Percent: -5},
		{Schema: 1, State: "idle", Percent: 101}, {Schema: 1, State: "idle", Time: "0001-01-01T00:00:00Z"},
		{Schema: 1, State: "idle", Time: "1969-12-31T23:59:59Z"}, {Schema: 1, State: "idle", Time: "yesterday"}} {
		r.is(r.Report(r.ctx, device, bad), domain.ErrInvalid)
	}
	r.ok(r.Report(r.ctx, device, report.Device{Schema: 1, State: "failed", Time: "1970-01-01T00:00:09Z"}))
	r.now = r.now.Add(91 * 24 * time.Hour)
	if n, err := r.Prune(r.ctx); err != nil || n.History != 20 {
		t.Errorf("pruned %+v, %v", n, err)
	}
	o, err := r.Overview(r.ctx, r.admin, "", time.Hour)
	if err != nil || o.Devices != 1 || o.Silent != 1 || o.ByState["failed"] != 1 {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestLongHistory: the history of a device that reports for ever stays near its bound,
// although not every report has it trimmed.
func TestLongHistory(t *testing.T) {
	tiers.Long(t, "it writes a long history")
	const bound = 60
	r := newRig(t, func(c *domain.Config) { c.HistoryPerDevice = bound })
	device := r.enrol(phone1)
	for i := range 5 * bound {
		r.ok(r.Report(r.ctx, device, report.Device{Schema: 1, State: "idle", Boot: fmt.Sprint(i)}))
	}
	h, err := r.History(r.ctx, device, domain.HistoryFilter{Device: phone1}, domain.Page{})
	if err != nil || h.Total < bound || h.Total > 2*bound {
		t.Errorf("%d entries, %v", h.Total, err)
	}
}

// TestModels: rows are added, take the place of built-in ones, and go again;
// devices follow.
func TestModels(t *testing.T) {
	r := newRig(t)
	r.device(phone1, "camera  1")
	_, err := r.PutModels(r.ctx, r.admin,
		[]policy.ModelRow{{Name: "Camera 1", Family: "camera", CanShare: true, Group: "cameras",
			Defaults: map[string]string{policy.PeerSharing: "1"}}})
	r.ok(err)
	d := r.desired(phone1)
	if d.Device.Model != "Camera 1" || d.Group != "cameras" || d.Setting(policy.PeerSharing) != "on" ||
		d.Settings[0].Level != policy.LevelModel {
		t.Errorf("%+v", d)
	}
	for _, bad := range []policy.ModelRow{{Name: "x"}, {Name: "7961", Family: "f"},
		{Name: "x", Family: "f", Defaults: map[string]string{"colour": "red"}},
		{Name: "x", Family: "f", DefaultLoad: "nothing"}} {
		if _, err := r.PutModels(r.ctx, r.admin, []policy.ModelRow{{Name: "Good", Family: "f"}, bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if m, err := r.Model(r.ctx, r.admin, "Good"); err != nil || m.Known {
		t.Errorf("of a request that failed a row stayed: %v", err)
	}
	r.ok(r.DeleteModel(r.ctx, r.admin, "camera 1"))
	if d := r.desired(phone1); d.Known || d.Setting(policy.PeerSharing) != "off" {
		t.Errorf("%+v", d)
	}
	r.is(r.DeleteModel(r.ctx, r.admin, "7961"), domain.ErrNotFound)
}

// TestProfiles: one that somebody has stays.
func TestProfiles(t *testing.T) {
	r := newRig(t)
	for _, bad := range []string{"", " p", "a/b", "a\x00", strings.Repeat("x", 65), ".."} {
		r.is(drop(r.CreateProfile(r.ctx, r.admin, bad, domain.ProfileChange{})), domain.ErrInvalid)
	}
	_, err := r.CreateProfile(r.ctx, r.admin, "会議室", domain.ProfileChange{Settings: set(policy.Timing, "Classic")})
	r.ok(err)
	_, err = r.CreateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Model: ptr("7961"), Profile: ptr("会議室")})
	r.ok(err)
	if d := r.desired(phone1); d.Setting(policy.Timing) != policy.TimingClassic {
		t.Errorf("%+v", d.Settings)
	}
	r.is(r.DeleteProfile(r.ctx, r.admin, "会議室", 0), domain.ErrRefused)
	r.ok(r.DeleteDevice(r.ctx, r.admin, phone1, 0))
	r.ok(r.DeleteProfile(r.ctx, r.admin, "会議室", 0))
}

// TestConfig: each thing that is missing or out of range is refused by itself.
func TestConfig(t *testing.T) {
	s := newRig(t).store
	pw := func(memory, time uint32, threads uint8) domain.Config {
		return domain.Config{Store: s, Password: passhash.Cost{Memory: memory, Time: time, Threads: threads}}
	}
	for _, c := range []domain.Config{
		{}, {Store: s, SessionLife: -1}, {Store: s, SessionIdle: -1}, {Store: s, SetupLife: -1}, {Store: s, HistoryLife: -1},
		{Store: s, AuditLife: -1}, {Store: s, HistoryPerDevice: -1}, {Store: s, MaxDevices: -1},
		{Store: s, MaxThrottles: -1},
		pw(1<<20+1, 1, 1), pw(15, 1, 2), pw(8, 65, 1), pw(1<<10, 1, 17),
	} {
		if _, err := domain.New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	for _, c := range []domain.Config{{Store: s}, pw(1<<20, 64, 16), pw(16, 1, 2)} {
		if _, err := domain.New(c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestNothingChanged: a write that changes nothing is no new version, so that
// the same table written again is in nobody's way.
func TestNothingChanged(t *testing.T) {
	r := newRig(t)
	r.site("Kyoto")
	r.device(phone1, "7961")
	site := domain.DeviceChange{Site: ptr("Kyoto"), Settings: set(policy.PeerSharing, policy.On)}
	first, err := r.UpdateDevice(r.ctx, r.admin, phone1, site, 0)
	r.ok(err)
	r.now = r.now.Add(time.Hour)
	again, err := r.UpdateDevice(r.ctx, r.admin, phone1, site, first.Version)
	r.ok(err)
	if again.Version != first.Version || !again.Changed.Equal(first.Changed) {
		t.Errorf("version %d, then %d", first.Version, again.Version)
	}
	l, err := r.ChangeSettings(r.ctx, r.admin, domain.DeviceTarget(phone1), set(policy.PeerSharing, "1"), 0)
	r.ok(err)
	if l.Version != first.Version {
		t.Errorf("the same settings make version %d", l.Version)
	}
	l, err = r.ChangeSettings(r.ctx, r.admin, domain.DeviceTarget(phone1), set(policy.PeerSharing, policy.Off),
		first.Version)
	r.ok(err)
	if l.Version != first.Version+1 {
		t.Errorf("other settings make version %d", l.Version)
	}
	entries, err := r.Audit(r.ctx, r.admin, domain.AuditFilter{Target: domain.DeviceTarget(phone1).String()},
		domain.Page{})
	if err != nil || entries.Total != 3 {
		t.Errorf("%d entries of the audit log, %v", entries.Total, err)
	}
	r.ok(drop(r.CreateProfile(r.ctx, r.admin, "lobby", domain.ProfileChange{})))
	hall := domain.ProfileChange{Description: ptr("the hall")}
	p, err := r.UpdateProfile(r.ctx, r.admin, "lobby", hall, 0)
	if err != nil || p.Version != 2 || p.Description != "the hall" {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = r.UpdateProfile(r.ctx, r.admin, "lobby", hall, 0)
	if err != nil || p.Version != 2 {
		t.Errorf("the same again: %+v, %v", p, err)
	}
}

// TestModelKeepsItsLoad: bringing a built-in row back leaves the load that is
// assigned to the model.
func TestModelKeepsItsLoad(t *testing.T) {
	r := newRig(t)
	r.unsigned("one", "7961")
	_, err := r.PutModels(r.ctx, r.admin,
		[]policy.ModelRow{{Name: "CP-7961G", Aliases: []string{"7961"}, Family: "phone", CanShare: true}})
	r.ok(err)
	r.ok(drop(r.AssignLoad(r.ctx, r.admin, domain.ModelTarget("7961"), "one", 0)))
	r.ok(r.DeleteModel(r.ctx, r.admin, "7961"))
	m, err := r.Model(r.ctx, r.admin, "7961")
	r.ok(err)
	if m.Custom || m.Load.Load != "one" {
		t.Errorf("%+v", m)
	}
	r.is(r.DeleteModel(r.ctx, r.admin, "7961"), domain.ErrNotFound)
	r.is(drop(r.RetireLoad(r.ctx, r.admin, "one", true, 0)), domain.ErrRefused)
}

// TestAtTheSameTime: devices report while administrators change what holds for
// them; nothing is lost and nobody is in anybody's way.
func TestAtTheSameTime(t *testing.T) {
	r := newRig(t)
	const devices, each = 6, 8
	var actors []domain.Actor
	for i := range devices {
		actors = append(actors, r.enrol(fmt.Sprintf("SEP%012X", i+1)))
	}
	var wg sync.WaitGroup
	for i, a := range actors {
		wg.Go(func() {
			for n := range each {
				err := r.Report(r.ctx, a, report.Device{Schema: 1, State: "idle", Boot: fmt.Sprint(n),
					Files: []report.Final{{File: "f", BytesFromPeers: 1}}})
				if err != nil {
					t.Errorf("report of %s: %v", a.Name, err)
				}
			}
		})
		wg.Go(func() {
			for n := range each {
				value := []string{policy.On, policy.Off}[(n+i)%2]
				if _, err := r.ChangeSettings(r.ctx, r.admin, domain.DeviceTarget(a.Name), set(policy.PeerSharing, value),
					0); err != nil {
					t.Error(err)
				}
				if _, err := r.Devices(r.ctx, r.admin, domain.DeviceFilter{}, domain.Page{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	o, err := r.Overview(r.ctx, r.admin, "", time.Hour)
	if err != nil || o.Traffic.FromPeers != devices*each {
		t.Errorf("%+v, %v", o, err)
	}
	l, err := r.Audit(r.ctx, r.admin, domain.AuditFilter{Action: "settings.change"}, domain.Page{})
	if err != nil || l.Total != devices*each {
		t.Errorf("%d entries of the audit log, %v", l.Total, err)
	}
}

// BenchmarkReport is one report of a device that changes nothing, taken into a
// database on disk with full synchronization.
func BenchmarkReport(b *testing.B) {
	r := newRig(b)
	a := r.enrol(phone1)
	for b.Loop() {
		if err := r.Report(r.ctx, a, report.Device{Schema: 1, State: "idle"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProvision is the answer to one device that asks for its file.
func BenchmarkProvision(b *testing.B) {
	r := newRig(b)
	r.enrol(phone1)
	for b.Loop() {
		if _, err := r.Provision(r.ctx, phone1, "", "10.0.0.1"); err != nil {
			b.Fatal(err)
		}
	}
}
