package domain_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/limits"
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
	_, err = r.CreateDevice(r.ctx, r.admin, phone1,
		domain.DeviceChange{Model: ptr("Cisco IP Phone 7931"), Profile: ptr("offices")})
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
	}{{domain.EnterpriseTarget(), "on"}, {domain.ProfileTarget("offices"), "off"},
		{domain.DeviceTarget("00:00:00:00:00:01"), "on"}} {
		out, err := r.ChangeSettings(r.ctx, r.admin, step.target, set(policy.PeerSharing, step.value), 0)
		r.ok(err)
		if v := out.Settings[0].Value; v == nil || *v != step.value {
			t.Errorf("%s: not read back: %+v", step.target, out.Settings[0])
		}
		said = slices.Insert(said, 0, policy.At{Level: step.target.Level, Value: step.value})
		check()
	}
	for _, target := range []domain.Target{domain.DeviceTarget(phone1), domain.ProfileTarget("offices"),
		domain.EnterpriseTarget()} {
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
	_, err := r.PutModels(r.ctx, r.admin,
		[]policy.ModelRow{{Name: "Camera 1", Family: "camera", CanShare: true, Lacks: []string{policy.LogServer}}})
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
		if len(out.Settings) != len(policy.Settings()) || out.Settings[0].Name != policy.PeerSharing ||
			out.Settings[0].Effective == nil {
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
		{Device: "00-00-00-00-00-01", Create: true,
			Change: domain.DeviceChange{Model: ptr("7961"), Profile: ptr("offices"), Settings: set(policy.PeerSharing, "1")}},
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
	if s := results[0].Stored; s == nil || s.Settings[policy.PeerSharing] != "on" || !results[0].Created ||
		results[0].Settings[0].Level != policy.LevelDevice {
		t.Errorf("row 0 was read back as %+v", results[0])
	}
	if s := results[1].Stored; s == nil || s.Settings[policy.WANLimit] != "2M" {
		t.Errorf("row 1 was read back as %+v", s)
	}
	liar := newRig(t, func(c *domain.Config) { c.Store = forgetful{c.Store} })
	liar.device(phone1, "7961")
	liar.device(phone2, "7961")
	results, err = liar.Bulk(liar.ctx, liar.admin,
		[]domain.BulkRow{{Device: phone1, Change: domain.DeviceChange{Settings: set(policy.PeerSharing, "on")}},
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
	err := r.Report(r.ctx, device, report.Device{Schema: 1, State: report.StateDownloading, Sharing: "on",
		SharingFrom: "enterprise",
		Role:        report.RoleParent,
		Root:        "10.0.0.1", Parent: "10.0.0.2", Children: []string{"10.0.0.3", "10.0.0.4"}, Active: "old", Wanted: "new",
		Files: []report.Final{{File: "new", BytesFromOrigin: 10, BytesFromPeers: 90, Components: []report.Final{
			{File: "a.sbn", Source: report.SourcePeer, BytesFromPeers: 90, Parent: "10.0.0.2"},
			{File: "b.sbn", Source: report.SourceOrigin, BytesFromOrigin: 10,
				Fallbacks: []report.Fallback{{AtS: 3, From: "10.0.0.2", Reason: "stalled"}}}}}}})
	r.ok(err)
	row, err := r.Device(r.ctx, r.admin, phone1)
	r.ok(err)
	s := row.State
	if s == nil || s.Last.Sharing != "on" || s.Last.SharingFrom != "enterprise" || s.Last.Role != "parent" ||
		s.Last.Parent != "10.0.0.2" || len(s.Last.Children) != 2 {
		t.Fatalf("the device shows %+v", s)
	}
	if s.Traffic != (domain.Traffic{FromOrigin: 10, FromPeers: 90}) {
		t.Errorf("bytes: %+v", s.Traffic)
	}
	by := map[string]report.Final{}
	for _, f := range s.Files {
		by[f.File] = f
	}
	if by["a.sbn"].Source != "peer" || by["b.sbn"].Source != "origin" || len(by["b.sbn"].Fallbacks) != 1 ||
		by["b.sbn"].Fallbacks[0].Reason != "stalled" {
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
		err := r.Report(r.ctx, device, report.Device{Schema: 1, State: state,
			Active: map[string]string{"trial": "new", "rolled-back": "old"}[state], Wanted: "new", Reason: "not-confirmed"})
		r.ok(err)
	}
	h, err := r.History(r.ctx, r.admin, domain.HistoryFilter{Device: phone1, Kind: domain.HistoryState}, domain.Page{})
	r.ok(err)
	if len(h.Items) != 2 || h.Items[0].Old != "trial" || h.Items[0].New != "rolled-back" ||
		h.Items[0].Reason != "not-confirmed" {
		t.Errorf("history: %+v", h.Items)
	}
	back, err := r.RollBackLoad(r.ctx, r.admin, target, 0)
	r.ok(err)
	if d := r.desired(phone1); back.Load != "old" || back.Previous != "new" || d.Load.Load != "old" ||
		d.Load.Level != policy.LevelEnterprise {
		t.Errorf("%+v, %+v", back, d.Load)
	}
}

// TestEveryWriteComparesVersions: a change that names another version than the
// stored one fails, and one that names none yet fails once there is one.
func TestEveryWriteComparesVersions(t *testing.T) {
	r := newRig(t)
	r.device(phone1, "7961")
	r.unsigned("l", "7961")
	r.unsigned("m", "7961")
	r.user("ann", domain.RoleViewer)
	r.user("bob", domain.RoleViewer)
	for _, p := range []string{"p", "q"} {
		r.ok(drop(r.CreateProfile(r.ctx, r.admin, p, domain.ProfileChange{})))
	}
	for _, name := range []string{"r", "u"} {
		r.ok(drop(r.CreateRelease(r.ctx, r.admin, name, domain.ReleaseChange{Loads: &[]string{"l"}})))
	}
	r.site("s")
	r.site("t")
	writes := map[string]func(version int64) error{
		"UpdateRelease": func(v int64) error {
			return drop(r.UpdateRelease(r.ctx, r.admin, "r", domain.ReleaseChange{Note: ptr("n")}, v))
		},
		"DeleteRelease": func(v int64) error { return r.DeleteRelease(r.ctx, r.admin, "u", v) },
		"AssignRelease": func(v int64) error {
			return drop(r.AssignRelease(r.ctx, r.admin, domain.ProfileTarget("q"), "r", v))
		},
		"UpdateSite": func(v int64) error {
			return drop(r.UpdateSite(r.ctx, r.admin, "s", domain.SiteChange{Note: ptr("n")}, v))
		},
		"DeleteSite": func(v int64) error { return r.DeleteSite(r.ctx, r.admin, "t", v) },
		"UpdateDevice": func(v int64) error {
			return drop(r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Site: ptr("s")}, v))
		},
		"UpdateProfile": func(v int64) error {
			return drop(r.UpdateProfile(r.ctx, r.admin, "p", domain.ProfileChange{Description: ptr("d")}, v))
		},
		"DeleteProfile": func(v int64) error { return r.DeleteProfile(r.ctx, r.admin, "q", v) },
		"RetireLoad":    func(v int64) error { return drop(r.RetireLoad(r.ctx, r.admin, "m", true, v)) },
		"AssignLoad": func(v int64) error {
			return drop(r.AssignLoad(r.ctx, r.admin, domain.ProfileTarget("p"), "l", v))
		},
		"AssignLoad to a model": func(v int64) error {
			return drop(r.AssignLoad(r.ctx, r.admin, domain.ModelTarget("7961"), "l", v))
		},
		"RollBackLoad": func(v int64) error {
			return drop(r.RollBackLoad(r.ctx, r.admin, domain.ModelTarget("7961"), v))
		},
		"ChangeSettings": func(v int64) error {
			return drop(r.ChangeSettings(r.ctx, r.admin, domain.ProfileTarget("p"), set(policy.Timing, "lan"), v))
		},
		"UpdateEnterprise": func(v int64) error {
			return drop(r.UpdateEnterprise(r.ctx, r.admin, domain.EnterpriseChange{AutoRegistration: ptr(true)}, v))
		},
		"UpdateUser": func(v int64) error {
			return drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{FullName: ptr("A")}, v))
		},
		"DeleteUser":   func(v int64) error { return r.DeleteUser(r.ctx, r.admin, "bob", v) },
		"DeleteDevice": func(v int64) error { return r.DeleteDevice(r.ctx, r.admin, phone1, v) },
	}
	r.ok(writes["AssignLoad to a model"](domain.Unwritten))
	r.ok(writes["UpdateEnterprise"](domain.Unwritten))
	before := r.export()
	for name, write := range writes {
		for _, version := range []int64{99, domain.Unwritten} {
			if err := write(version); !errors.Is(err, domain.ErrConflict) {
				t.Errorf("%s of version %d: %v", name, version, err)
			}
		}
	}
	if r.export() != before {
		t.Error("a write that failed has changed something")
	}
}

// TestErrorsNameTheThing: what is there already, or is not, is told by its name.
func TestErrorsNameTheThing(t *testing.T) {
	r := newRig(t)
	r.device(phone1, "7961")
	r.unsigned("l", "7961")
	r.user("ann", domain.RoleViewer)
	r.ok(drop(r.CreateProfile(r.ctx, r.admin, "p", domain.ProfileChange{})))
	user := domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)}
	load := domain.UnsignedLoad{Name: "l", Models: []string{"7961"}}
	for says, err := range map[string]error{
		`device "` + phone1 + `"`: drop(r.CreateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Model: ptr("7961")})),
		`load "l"`:                drop(r.RegisterLoad(r.ctx, r.admin, load)),
		`user "ann"`:              drop(r.CreateUser(r.ctx, r.admin, "ann", user)),
		`profile "p"`:             drop(r.CreateProfile(r.ctx, r.admin, "p", domain.ProfileChange{})),
	} {
		if !errors.Is(err, domain.ErrExists) || !strings.Contains(err.Error(), "exists already: "+says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	for says, err := range map[string]error{
		`device "` + phone2 + `"`: r.DeleteDevice(r.ctx, r.admin, phone2, 0),
		`load "m"`:                drop(r.Load(r.ctx, r.admin, "m")),
		`user "bob"`:              r.DeleteUser(r.ctx, r.admin, "bob", 0),
		`profile "q"`:             r.DeleteProfile(r.ctx, r.admin, "q", 0),
	} {
		if !errors.Is(err, domain.ErrNotFound) || !strings.Contains(err.Error(), "not found: "+says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// TestNothingTooLong: every text that somebody names has its bound and is plain.
func TestNothingTooLong(t *testing.T) {
	r := newRig(t)
	r.device(phone1, "7961")
	r.unsigned("l", "7961")
	e := domain.EnrolmentRequest{Name: "n"}
	enrolment := func(change func(*domain.EnrolmentRequest)) error {
		req := e
		change(&req)
		return drop(r.CreateEnrolment(r.ctx, r.admin, req))
	}
	device := func(c domain.DeviceChange) error { return drop(r.UpdateDevice(r.ctx, r.admin, phone1, c, 0)) }
	load := func(l domain.UnsignedLoad) error { return drop(r.RegisterLoad(r.ctx, r.admin, l)) }
	add := func(name, model string) error {
		return drop(r.CreateDevice(r.ctx, r.admin, name, domain.DeviceChange{Model: &model}))
	}
	settings := func(t domain.Target) error {
		return drop(r.ChangeSettings(r.ctx, r.admin, t, domain.SettingsChange{}, 0))
	}
	both := domain.SettingsChange{Set: policy.Values{policy.Timing: "lan"}, Unset: []string{policy.Timing}}
	long := strings.Repeat("x", 501)
	models := slices.Repeat([]string{"7961"}, 257)
	for name, err := range map[string]error{
		"device: description":      device(domain.DeviceChange{Description: &long}),
		"device: model":            device(domain.DeviceChange{Model: ptr(long[:181])}),
		"device: site":             device(domain.DeviceChange{Site: ptr(long[:65])}),
		"device: control":          device(domain.DeviceChange{Site: ptr("a\x1b[2J")}),
		"device: no UTF-8":         device(domain.DeviceChange{Site: ptr("a\xff")}),
		"device: set and unset":    device(domain.DeviceChange{Settings: both}),
		"device: unset unknown":    device(domain.DeviceChange{Settings: domain.SettingsChange{Unset: []string{"colour"}}}),
		"device: no model":         add(phone2, ""),
		"device: nil model":        drop(r.CreateDevice(r.ctx, r.admin, phone2, domain.DeviceChange{})),
		"device: long name":        add("00"+strings.Repeat(":", 40)+"0000000002", "7961"),
		"device: group address":    add("01:00:5e:00:00:01", "7961"),
		"device: zeros":            add("SEP000000000000", "7961"),
		"device: rows":             drop(r.Bulk(r.ctx, r.admin, make([]domain.BulkRow, domain.MaxBulkRows+1))),
		"profile: description":     drop(r.CreateProfile(r.ctx, r.admin, "p", domain.ProfileChange{Description: &long})),
		"profile: a question mark": drop(r.CreateProfile(r.ctx, r.admin, "p?", domain.ProfileChange{})),
		"profile: a dot":           drop(r.CreateProfile(r.ctx, r.admin, ".", domain.ProfileChange{})),
		"load: name":               load(domain.UnsignedLoad{Name: "../l", Models: models[:1]}),
		"load: component":          load(domain.UnsignedLoad{Name: "m", Models: models[:1], Components: []string{"../c"}}),
		"load: model":              load(domain.UnsignedLoad{Name: "m", Models: []string{long[:101]}}),
		"load: no models":          load(domain.UnsignedLoad{Name: "m"}),
		"load: models":             load(domain.UnsignedLoad{Name: "m", Models: models}),
		"load: components":         load(domain.UnsignedLoad{Name: "m", Models: models[:1], Components: models}),
		"enrolment: no name":       enrolment(func(e *domain.EnrolmentRequest) { e.Name = "" }),
		"enrolment: name":          enrolment(func(e *domain.EnrolmentRequest) { e.Name = long[:65] }),
		"enrolment: site":          enrolment(func(e *domain.EnrolmentRequest) { e.Site = long[:65] }),
		"enrolment: uses of a key": enrolment(func(e *domain.EnrolmentRequest) { e.SiteKey, e.Uses = true, 1 }),
		"enrolment: uses":          enrolment(func(e *domain.EnrolmentRequest) { e.Uses = domain.MaxEnrolmentUses + 1 }),
		"enrolment: uses below 0":  enrolment(func(e *domain.EnrolmentRequest) { e.Uses = -1 }),
		"enrolment: life":          enrolment(func(e *domain.EnrolmentRequest) { e.Life = domain.MaxTokenLife + 1 }),
		"enrolment: life below 0":  enrolment(func(e *domain.EnrolmentRequest) { e.Life = -1 }),
		"enrolment: networks": enrolment(func(e *domain.EnrolmentRequest) {
			e.Networks = slices.Repeat([]string{"10.0.0.0/8"}, domain.MaxNetworks+1)
		}),
		"enrolment: no network":       enrolment(func(e *domain.EnrolmentRequest) { e.Networks = []string{"10.0.0.1"} }),
		"enterprise: name":            settings(domain.Target{Level: policy.LevelEnterprise, Name: "x"}),
		"settings of a model":         settings(domain.ModelTarget("7961")),
		"settings of a model to read": drop(r.Settings(r.ctx, r.admin, domain.ModelTarget("7961"))),
		"default level":               drop(r.AssignLoad(r.ctx, r.admin, domain.Target{Level: policy.LevelDefault}, "l", 0)),
	} {
		if !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"enrolment: profile": enrolment(func(e *domain.EnrolmentRequest) { e.Profile = "none" }),
		"device: profile":    device(domain.DeviceChange{Profile: ptr("none")}),
		"model":              drop(r.AssignLoad(r.ctx, r.admin, domain.ModelTarget("none"), "l", 0)),
	} {
		if !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOneKindOfSecretIsNoOther: an id or a secret of one kind is none of another.
func TestOneKindOfSecretIsNoOther(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	e, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "e", SiteKey: true})
	r.ok(err)
	req := domain.TokenRequest{Name: "n", Role: domain.RoleAdmin, Scopes: domain.Scopes()}
	tok, err := r.CreateToken(r.ctx, r.admin, "ann", req)
	r.ok(err)
	session, _ := r.login("ann")
	r.enrol(phone1)
	device := strings.Repeat("s", 20) + phone1
	other := 0
	for name, secret := range map[string]string{
		"an enrolment token": e.Secret, "a token": tok.Secret, "a session": session.Secret,
		"a device": device, "nothing": "", "a long one": strings.Repeat("x", 300),
	} {
		other++
		enrol := domain.EnrolRequest{Device: fmt.Sprintf("SEP%012X", 0xa0+other), Token: secret,
			Secret: fmt.Sprintf("%040d", other)}
		_, err := r.ActorByToken(r.ctx, secret, "")
		_, _, bySession := r.ActorBySession(r.ctx, secret, "")
		for kind, got := range map[string]error{
			"a token": err, "a session": bySession, "a device": drop(r.ActorByDevice(r.ctx, "", secret, "")),
			"an enrolment token": r.Enrol(r.ctx, enrol),
			"a set-up link":      drop(r.CompleteSetup(r.ctx, secret, "eve", password, "")),
		} {
			if want := name == kind; (got == nil) != want || !want && !errors.Is(got, domain.ErrUnauthenticated) {
				t.Errorf("%s taken for %s: %v", name, kind, got)
			}
		}
	}
	r.is(drop(r.ActorByDevice(r.ctx, phone2, device, "")), domain.ErrUnauthenticated)
	r.is(drop(r.ActorByDevice(r.ctx, "nonsense", device, "")), domain.ErrUnauthenticated)
	r.is(r.RevokeEnrolment(r.ctx, r.admin, tok.ID), domain.ErrNotFound)
	r.is(r.RevokeToken(r.ctx, r.admin, e.ID), domain.ErrNotFound)
	r.is(r.RevokeToken(r.ctx, r.admin, session.ID), domain.ErrNotFound)
	r.ok(drop(r.ActorByToken(r.ctx, tok.Secret, "")))
}

// TestDeviceSecrets: a secret must be long and plain, and enrolling devices are
// bounded as registering ones are.
func TestDeviceSecrets(t *testing.T) {
	r := newRig(t, func(c *domain.Config) { c.MaxDevices = 1 })
	e, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "e", SiteKey: true})
	r.ok(err)
	enrol := func(device, secret string) error {
		return r.Enrol(r.ctx, domain.EnrolRequest{Device: device, Token: e.Secret, Secret: secret, From: "10.0.0.1"})
	}
	short := strings.Repeat("s", 31)
	for _, bad := range []string{"", short, strings.Repeat("s", 129), short + "\n", short + "é"} {
		r.is(enrol(phone1, bad), domain.ErrInvalid)
	}
	r.is(enrol("nonsense", strings.Repeat("s", 32)), domain.ErrInvalid)
	r.ok(enrol(phone1, strings.Repeat("s", 128)))
	r.is(enrol(phone2, strings.Repeat("t", 32)), domain.ErrRefused)
	// The secret of a device that was deleted is not that of a new one of its name.
	r.ok(r.DeleteDevice(r.ctx, r.admin, phone1, 0))
	r.is(drop(r.ActorByDevice(r.ctx, phone1, strings.Repeat("s", 128), "")), domain.ErrUnauthenticated)
	r.is(drop(r.Desired(r.ctx, r.admin, phone1)), domain.ErrNotFound)
	r.is(r.ResetIdentity(r.ctx, r.admin, phone1), domain.ErrNotFound)
}

// TestConfigRanges: no time and no limit is negative, and a session has an end.
func TestConfigRanges(t *testing.T) {
	var good domain.Config
	newRig(t, func(c *domain.Config) { good = *c })
	zero, made := limits.AtLeast(0), limits.Any("below, or nil")
	limits.Test(t, good, domain.Config.Validate, map[string]limits.Range{
		"Store": made, "Repository": made, "Table": made, "Now": made, "Random": made, "Removed": made,
		"Reported": made, "Failed": made,
		"Password": limits.Any("package passhash tests it"), "SessionLife": limits.Between(0, int64(domain.MaxSessionLife)),
		"SessionIdle": zero, "SetupLife": zero, "HistoryLife": zero, "AuditLife": zero, "HistoryPerDevice": zero,
		"MaxDevices": zero, "ForeignLife": zero, "MaxThrottles": zero,
	})
	for name, spoil := range map[string]func(c *domain.Config){
		"no store": func(c *domain.Config) { c.Store = nil },
		"a cost":   func(c *domain.Config) { c.Password.Threads = 17 },
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		if _, err := domain.New(c); err == nil {
			t.Errorf("%s: a controller was made", name)
		}
	}
}

// TestLoginOfADisabledUser is one that failed: it is told in the audit log, with
// the right password too.
func TestLoginOfADisabledUser(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleOperator)
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Disabled: ptr(true)}, 0)))
	r.is(drop(r.Login(r.ctx, "ann", password, "10.0.0.1")), domain.ErrUnauthenticated)
	l, err := r.Audit(r.ctx, r.admin, domain.AuditFilter{Action: "login.failed"}, domain.Page{})
	r.ok(err)
	if l.Total != 1 || l.Items[0].Target != "user ann" {
		t.Errorf("the audit log has %+v", l.Items)
	}
}

// hooked is a store in which something happens just before one of its updates.
type hooked struct {
	domain.Store
	at int // counts down
	do func()
}

func (h *hooked) Update(ctx context.Context, fn func(domain.Tx) error) error {
	if h.at--; h.at == 0 && h.do != nil {
		do := h.do
		h.do = nil
		do()
	}
	return h.Store.Update(ctx, fn)
}

// TestDisabledMeanwhile: whenever a user is disabled while somebody is let in as
// this user, what was opened is of no use, also when the user is enabled again.
func TestDisabledMeanwhile(t *testing.T) {
	ann := domain.Identity{Issuer: "https://i", Subject: "1", Name: "ann", Role: domain.RoleOperator}
	// Each makes the user, and what then lets somebody in.
	for way, prepare := range map[string]func(r *rig) (user string, enter func() (secret string, err error)){
		"password": func(r *rig) (string, func() (string, error)) {
			r.user("ann", domain.RoleOperator)
			return "ann", func() (string, error) {
				s, err := r.Login(r.ctx, "ann", password, "10.0.0.1")
				return s.Secret, err
			}
		},
		"issuer": func(r *rig) (string, func() (string, error)) {
			s, err := r.SignInBy(r.ctx, ann, "10.0.0.1")
			r.ok(err)
			return s.User, func() (string, error) {
				s, err := r.SignInBy(r.ctx, ann, "10.0.0.1")
				return s.Secret, err
			}
		},
		"code": func(r *rig) (string, func() (string, error)) {
			r.user("ann", domain.RoleOperator)
			_, browser := r.login("ann")
			q, err := r.AskLogin(r.ctx, "laptop", "10.0.0.7")
			r.ok(err)
			r.ok(r.AnswerLogin(r.ctx, browser, q.Code, true))
			return "ann", func() (string, error) {
				l, _, err := r.RedeemLogin(r.ctx, q.Secret, "10.0.0.7")
				return l.Secret, err
			}
		},
	} {
		t.Run(way, func(t *testing.T) {
			for n, fired := 1, true; fired; n++ {
				var h *hooked
				r := newRig(t, func(c *domain.Config) { h = &hooked{Store: c.Store}; c.Store = h })
				user, enter := prepare(r)
				disable := func(yes bool) {
					r.ok(drop(r.UpdateUser(r.ctx, r.admin, user, domain.UserChange{Disabled: ptr(yes)}, 0)))
				}
				fired = false
				h.at, h.do = n, func() { fired = true; disable(true) }
				secret, err := enter()
				if h.do = nil; !fired {
					r.ok(err)
					break
				}
				disable(false)
				_, _, bySession := r.ActorBySession(r.ctx, secret, "10.0.0.1")
				_, _, byLogin := r.ActorByLogin(r.ctx, secret, "10.0.0.1")
				if bySession == nil || byLogin == nil {
					t.Errorf("disabled before update %d: what was opened is good (%v)", n, err)
				}
			}
		})
	}
}
