package domain_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// The known bugs of the original (docs/ORIGINAL.md, "Known bugs"), each as
// what the controller must show instead.

// TestCSCud66570_EffectiveValueAndLevel: "7931: PFS always disabled". The
// effective value, its level, and what the other levels say, step by step.
func TestCSCud66570_EffectiveValueAndLevel(t *testing.T) {
	r := newRig(t)
	_, err := r.CreateProfile(r.ctx, r.admin, "offices", domain.ProfileChange{})
	r.ok(err)
	_, err = r.CreateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Model: ptr("Cisco IP Phone 7931"), Profile: ptr("offices")})
	r.ok(err)
	said := []policy.At{{Level: policy.LevelDefault, Value: "off"}}
	check := func() {
		t.Helper()
		a := r.desired(phone1).Settings[0].Answer
		want := policy.Answer{Setting: policy.PeerSharing, At: said[0], Others: said[1:]}
		if !reflect.DeepEqual(a, want) {
			t.Errorf("%+v, want %+v", a, want)
		}
	}
	check()
	for _, step := range []struct {
		target domain.Target
		value  string
	}{{domain.EnterpriseTarget(), "on"}, {domain.ProfileTarget("offices"), "off"}, {domain.DeviceTarget("00:00:00:00:00:01"), "on"}} {
		out, err := r.ChangeSettings(r.ctx, r.admin, step.target, set(policy.PeerSharing, step.value), 0)
		r.ok(err)
		if v := out.Settings[0].Value; v == nil || *v != step.value {
			t.Errorf("%s: not read back: %+v", step.target, out.Settings[0])
		}
		said = slices.Insert(said, 0, policy.At{Level: step.target.Level, Value: step.value})
		check()
	}
	for _, target := range []domain.Target{domain.DeviceTarget(phone1), domain.ProfileTarget("offices"), domain.EnterpriseTarget()} {
		_, err := r.ChangeSettings(r.ctx, r.admin, target, domain.SettingsChange{Unset: []string{policy.PeerSharing}}, 0)
		r.ok(err)
		said = said[1:]
		check()
	}
	// A model that cannot share says so, whatever is set.
	r.device(phone2, "7960")
	_, err = r.ChangeSettings(r.ctx, r.admin, domain.DeviceTarget(phone2), set(policy.PeerSharing, "on"), 0)
	r.ok(err)
	if a := r.desired(phone2).Settings[0]; a.Value != "off" || a.Level != policy.LevelModel || a.Reason == "" {
		t.Errorf("7960: %+v", a)
	}
}

// TestCSCso40251_CSCtb49726_EveryModelShowsEverySetting: "PFS field missing
// for 7975/7965, 7942/62".
func TestCSCso40251_CSCtb49726_EveryModelShowsEverySetting(t *testing.T) {
	r := newRig(t)
	_, err := r.PutModels(r.ctx, r.admin, []policy.ModelRow{{Name: "Camera 1", Family: "camera", CanShare: true, Lacks: []string{policy.LogServer}}})
	r.ok(err)
	models, err := r.Models(r.ctx, r.admin)
	r.ok(err)
	if len(models) < 22 {
		t.Errorf("%d models", len(models))
	}
	for i, m := range models {
		if len(m.Settings) != len(policy.Settings()) {
			t.Errorf("%s shows %d settings", m.Name, len(m.Settings))
		}
		for k, s := range policy.Settings() {
			if m.Settings[k].Name != s.Name || m.CanShare && m.Name != "Camera 1" && m.Settings[k].Lacking != "" {
				t.Errorf("%s: %+v", m.Name, m.Settings[k])
			}
		}
		name, err := domain.DeviceName("0000000001" + string("0123456789ABCDEF"[i/16]) + string("0123456789ABCDEF"[i%16]))
		r.ok(err)
		r.device(name, m.Name)
		out, err := r.Settings(r.ctx, r.admin, domain.DeviceTarget(name))
		r.ok(err)
		if len(out.Settings) != len(policy.Settings()) || out.Settings[0].Name != policy.PeerSharing || out.Settings[0].Effective == nil {
			t.Errorf("the page of a %s shows %+v", m.Name, out.Settings)
		}
	}
}

// forgetful loses the settings of one device on their way into the store.
type forgetful struct{ domain.Store }

type forgetfulTx struct{ domain.Tx }

type forgetfulTable struct {
	domain.Table[domain.Device, domain.DeviceFilter]
}

func (f forgetful) Update(ctx context.Context, fn func(domain.Tx) error) error {
	return f.Store.Update(ctx, func(tx domain.Tx) error { return fn(forgetfulTx{tx}) })
}

func (f forgetfulTx) Devices() domain.Table[domain.Device, domain.DeviceFilter] {
	return forgetfulTable{f.Tx.Devices()}
}

func (f forgetfulTable) Put(ctx context.Context, d *domain.Device) error {
	if d.Name == phone2 {
		lost := *d
		lost.Settings = nil
		return f.Table.Put(ctx, &lost)
	}
	return f.Table.Put(ctx, d)
}

// TestCSCsh98792_BulkIsReadBackPerRow: "bulk tool cannot set product-specific
// parameters". Each row is read back and compared, so a write that gets lost is
// seen, row by row.
func TestCSCsh98792_BulkIsReadBackPerRow(t *testing.T) {
	r := newRig(t)
	_, err := r.CreateProfile(r.ctx, r.admin, "offices", domain.ProfileChange{})
	r.ok(err)
	r.device(phone2, "7961")
	rows := []domain.BulkRow{
		{Device: "00-00-00-00-00-01", Create: true, Change: domain.DeviceChange{Model: ptr("7961"), Profile: ptr("offices"), Settings: set(policy.PeerSharing, "1")}},
		{Device: phone2, Change: domain.DeviceChange{Settings: set(policy.WANLimit, "2048k")}},
		{Device: phone3, Change: domain.DeviceChange{Settings: set(policy.PeerSharing, "on")}},
		{Device: phone2, Change: domain.DeviceChange{Settings: set(policy.PeerSharing, "perhaps")}},
		{Device: "phone", Change: domain.DeviceChange{}},
		{Device: phone2, Change: domain.DeviceChange{Settings: domain.SettingsChange{Unset: []string{policy.WANLimit}}}},
	}
	want := []error{nil, nil, domain.ErrNotFound, policy.ErrSetting, domain.ErrInvalid, nil}
	results, err := r.Bulk(r.ctx, r.admin, rows)
	r.ok(err)
	for i, res := range results {
		if res.Row != i || res.OK != (want[i] == nil) || !errors.Is(res.Err, want[i]) || (res.Error == "") != res.OK {
			t.Errorf("row %d: %+v, want %v", i, res, want[i])
		}
	}
	if s := results[0].Stored; s == nil || s.Settings[policy.PeerSharing] != "on" || !results[0].Created || results[0].Settings[0].Level != policy.LevelDevice {
		t.Errorf("row 0 was read back as %+v", results[0])
	}
	if s := results[1].Stored; s == nil || s.Settings[policy.WANLimit] != "2M" {
		t.Errorf("row 1 was read back as %+v", s)
	}
	liar := newRig(t, func(c *domain.Config) { c.Store = forgetful{c.Store} })
	liar.device(phone1, "7961")
	liar.device(phone2, "7961")
	results, err = liar.Bulk(liar.ctx, liar.admin, []domain.BulkRow{{Device: phone1, Change: domain.DeviceChange{Settings: set(policy.PeerSharing, "on")}},
		{Device: phone2, Change: domain.DeviceChange{Settings: set(policy.PeerSharing, "on")}}})
	liar.ok(err)
	if !results[0].OK || results[1].OK || !errors.Is(results[1].Err, domain.ErrConflict) {
		t.Errorf("a lost write was not seen: %+v", results)
	}
}

// TestCSCui49910_CSCus67416_DeviceShowsSharingAndSources: CSCui49910, "peer
// firmware sharing missing on the phone's web page", and CSCus67416, "phone B
// still downloads from the server".
// The device's state shows setting, role, peers, and of each file the source
// and why.
func TestCSCui49910_CSCus67416_DeviceShowsSharingAndSources(t *testing.T) {
	r := newRig(t)
	device := r.enrol(phone1)
	err := r.Report(r.ctx, device, report.Device{State: report.StateDownloading, Sharing: "on", SharingFrom: "enterprise", Role: report.RoleParent,
		Root: "10.0.0.1", Parent: "10.0.0.2", Children: []string{"10.0.0.3", "10.0.0.4"}, Active: "old", Wanted: "new",
		Files: []report.Final{{File: "new", BytesFromOrigin: 10, BytesFromPeers: 90, Components: []report.Final{
			{File: "a.sbn", Source: report.SourcePeer, BytesFromPeers: 90, Parent: "10.0.0.2"},
			{File: "b.sbn", Source: report.SourceOrigin, BytesFromOrigin: 10, Fallbacks: []report.Fallback{{AtS: 3, From: "10.0.0.2", Reason: "stalled"}}}}}}})
	r.ok(err)
	row, err := r.Device(r.ctx, r.admin, phone1)
	r.ok(err)
	s := row.State
	if s == nil || s.Last.Sharing != "on" || s.Last.SharingFrom != "enterprise" || s.Last.Role != "parent" || s.Last.Parent != "10.0.0.2" || len(s.Last.Children) != 2 {
		t.Fatalf("the device shows %+v", s)
	}
	if s.Traffic != (domain.Traffic{FromOrigin: 10, FromPeers: 90}) {
		t.Errorf("bytes: %+v", s.Traffic)
	}
	by := map[string]report.Final{}
	for _, f := range s.Files {
		by[f.File] = f
	}
	if by["a.sbn"].Source != "peer" || by["b.sbn"].Source != "origin" || len(by["b.sbn"].Fallbacks) != 1 || by["b.sbn"].Fallbacks[0].Reason != "stalled" {
		t.Errorf("files: %+v", s.Files)
	}
}

// TestCSCtg96408_RollBack: "7911/41 do not boot after a PFS upgrade". A device
// that rolled back says so and why, and the load before returns in one step.
func TestCSCtg96408_RollBack(t *testing.T) {
	r := newRig(t)
	device := r.enrol(phone1)
	r.unsigned("old", "7961")
	r.unsigned("new", "7961")
	target := domain.EnterpriseTarget()
	for _, l := range []string{"old", "new"} {
		_, err := r.AssignLoad(r.ctx, r.admin, target, l, 0)
		r.ok(err)
	}
	for _, state := range []string{report.StateTrial, report.StateRolledBack} {
		err := r.Report(r.ctx, device, report.Device{State: state, Active: map[string]string{"trial": "new", "rolled-back": "old"}[state], Wanted: "new", Reason: "not-confirmed"})
		r.ok(err)
	}
	h, err := r.History(r.ctx, r.admin, domain.HistoryFilter{Device: phone1, Kind: domain.HistoryState}, domain.Page{})
	r.ok(err)
	if len(h.Items) != 2 || h.Items[0].Old != "trial" || h.Items[0].New != "rolled-back" || h.Items[0].Reason != "not-confirmed" {
		t.Errorf("history: %+v", h.Items)
	}
	back, err := r.RollBackLoad(r.ctx, r.admin, target, 0)
	r.ok(err)
	if d := r.desired(phone1); back.Load != "old" || back.Previous != "new" || d.Load.Load != "old" || d.Load.Level != policy.LevelEnterprise {
		t.Errorf("%+v, %+v", back, d.Load)
	}
}
