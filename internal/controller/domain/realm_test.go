package domain_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
)

// TestRealm: who is limited to a site learns nothing of others, and changes
// nothing there, by whichever use case.
func TestRealm(t *testing.T) {
	realmsuite.Run(t, realmsuite.New(t), func(cfg domain.Config) any {
		c, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}, "ActorByDevice", "ActorByLogin", "ActorBySession", "ActorByToken", "AskLogin", "Asked", "Assignable", "BeginSetup",
		"CompleteSetup", "Defaults", "Batch", "ResumeBatch", "Enrol", "Locator", "Login", "NextStep", "Provision",
		"ProvisionKnown", "Prune", "Random", "RecordAsked", "RedeemLogin", "Root", "Settle", "Sharers", "SignIn", "SignInBy",
		"Table", "Time", "Wanted", "WantedNamed", "Within")
}

// TestRealmOfEveryTable: each table of the store is another one for who is limited
// to a site, but those that only package domain reads, for signing in.
func TestRealmOfEveryTable(t *testing.T) {
	f := realmsuite.New(t)
	open := map[string]bool{"Accounts": true, "Credentials": true, "Throttles": true}
	kinds := func(a domain.Actor) map[string]reflect.Type {
		all := map[string]reflect.Type{}
		err := f.Controller.View(t.Context(), a, func(tx domain.Tx) error {
			v := reflect.ValueOf(&tx).Elem()
			for i := range v.NumMethod() {
				all[v.Type().Method(i).Name] = v.Method(i).Call(nil)[0].Elem().Type()
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	whole, limited := kinds(f.Admin), kinds(f.Ken)
	for name, kind := range limited {
		if (kind == whole[name]) != open[name] {
			t.Errorf("%s is a %s for Ken, and a %s for an administrator", name, kind, whole[name])
		}
	}
	if len(limited) < 20 {
		t.Errorf("a transaction has %d tables", len(limited))
	}
}

// TestRealmOfOtherPackages: the transactions that use cases elsewhere run in show
// and write what the actor may see and touch, one by one and many at once.
func TestRealmOfOtherPackages(t *testing.T) {
	f := realmsuite.New(t)
	r := &rig{Controller: f.Controller, t: t, ctx: t.Context(), store: f.Store, admin: f.Admin}
	ctx, keys := t.Context(), []string{realmsuite.Own, realmsuite.Outside}
	var outside domain.Device
	var job domain.Job
	r.ok(r.Update(ctx, f.Admin, func(tx domain.Tx, _ domain.Note) (err error) {
		if outside, err = tx.Devices().Get(ctx, realmsuite.Outside); err != nil {
			return err
		}
		batch, err := r.Batch(ctx, tx, f.Admin)
		if err != nil {
			return err
		}
		job = domain.Job{ID: "j", Name: "n", State: domain.JobDone, By: batch.By()}
		return errors.Join(tx.Jobs().Put(ctx, &job), tx.SentOrders().Put(ctx, &domain.SentOrder{ID: "o", By: f.Admin.Name}),
			tx.OrderDevices().Put(ctx, &domain.OrderDevice{Order: "o", Device: realmsuite.Outside}))
	}))
	r.ok(r.View(ctx, f.Ken, func(tx domain.Tx) error {
		devices, err := tx.Devices().GetAll(ctx, keys)
		if err != nil || len(devices) != 1 {
			t.Errorf("he sees %d devices, %v", len(devices), err)
		}
		states, err := tx.States().GetAll(ctx, keys)
		if _, told := states[realmsuite.Outside]; err != nil || told {
			t.Errorf("he sees states %+v, %v", states, err)
		}
		sites, err := tx.Sites().GetAll(ctx, []string{realmsuite.Kyoto, realmsuite.Osaka})
		if err != nil || len(sites) != 1 {
			t.Errorf("he sees %d sites, %v", len(sites), err)
		}
		jobs, err := tx.Jobs().List(ctx, domain.JobFilter{}, domain.Page{})
		if err != nil || jobs.Total != 0 {
			t.Errorf("he sees jobs %+v, %v", jobs, err)
		}
		r.is(drop(tx.Jobs().Get(ctx, "j")), domain.ErrNotFound)
		r.is(drop(tx.SentOrders().Get(ctx, "o")), domain.ErrNotFound)
		told, err := tx.OrderDevices().GetAll(ctx, []string{domain.OrderDeviceKey("o", realmsuite.Outside)})
		if err != nil || len(told) != 0 {
			t.Errorf("he sees answers %+v, %v", told, err)
		}
		return nil
	}))
	for name, write := range map[string]func(tx domain.Tx) error{
		"a device": func(tx domain.Tx) error { return tx.Devices().PutAll(ctx, []domain.Device{outside}) },
		"a state": func(tx domain.Tx) error {
			return tx.States().PutAll(ctx, []domain.DeviceState{{Device: realmsuite.Own}})
		},
		"a site":    func(tx domain.Tx) error { return tx.Sites().PutAll(ctx, []domain.Site{{Name: "Nara"}}) },
		"a load":    func(tx domain.Tx) error { return tx.Loads().PutAll(ctx, []domain.Load{{Name: "new"}}) },
		"a profile": func(tx domain.Tx) error { return tx.Profiles().PutAll(ctx, []domain.Profile{{Name: "new"}}) },
		"a job":     func(tx domain.Tx) error { return tx.Jobs().PutAll(ctx, []domain.Job{job}) },
	} {
		err := r.Update(ctx, f.Ken, func(tx domain.Tx, _ domain.Note) error { return write(tx) })
		if !errors.Is(err, domain.ErrForbidden) && !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.ok(r.Update(ctx, f.Ken, func(tx domain.Tx, _ domain.Note) error {
		batch, err := r.Batch(ctx, tx, f.Ken)
		if err != nil {
			return err
		}
		own := domain.Job{ID: "k", Name: "n", State: domain.JobDone, By: batch.By()}
		if err := tx.Jobs().Put(ctx, &own); err != nil {
			return err
		}
		jobs, err := tx.Jobs().List(ctx, domain.JobFilter{}, domain.Page{Limit: 1})
		if len(jobs.Items) != 1 || jobs.Items[0].ID != "k" {
			t.Errorf("his jobs are %+v, %v", jobs, err)
		}
		again, err := r.ResumeBatch(ctx, tx, own.By)
		if err != nil {
			return err
		}
		judged, err := again.Judge(ctx, realmsuite.Outside, &outside, domain.DeviceChange{Description: ptr("x")})
		if err == nil {
			err = again.Write(ctx, "", []domain.Judged{judged})
		}
		r.is(err, domain.ErrNotFound)
		return nil
	}))
}

// TestOperatorOfASite: what is outside is not there, and what reaches beyond is
// refused with its count; within, all is as for others.
func TestOperatorOfASite(t *testing.T) {
	f := realmsuite.New(t)
	r := &rig{Controller: f.Controller, t: t, ctx: t.Context(), store: f.Store, admin: f.Admin}
	for _, ken := range []domain.Actor{f.Ken, f.Token} {
		l, err := r.Devices(r.ctx, ken, domain.DeviceFilter{}, domain.Page{})
		if err != nil || l.Total != 1 || l.Items[0].Name != realmsuite.Own {
			t.Errorf("%s sees %+v, %v", ken.Name, l, err)
		}
		o, err := r.Overview(r.ctx, ken, "", time.Hour)
		if err != nil || o.Devices != 1 || len(o.BySite) != 1 {
			t.Errorf("%s counts %+v, %v", ken.Name, o, err)
		}
		s, err := r.Sites(r.ctx, ken, domain.TextFilter{}, time.Hour, domain.Page{Limit: 1})
		if err != nil || s.Total != 1 || s.Next != "" || s.Items[0].Counts.Devices != 1 {
			t.Errorf("%s has the sites %+v, %v", ken.Name, s, err)
		}
		r.is(drop(r.Device(r.ctx, ken, realmsuite.Outside)), domain.ErrNotFound)
		r.is(drop(r.Overview(r.ctx, ken, realmsuite.Osaka, time.Hour)), domain.ErrNotFound)
		limit := set("wan-limit", "1k")
		err = drop(r.ChangeSettings(r.ctx, ken, domain.ProfileTarget("desks"), limit, 0))
		if !errors.Is(err, domain.ErrForbidden) || !strings.Contains(err.Error(), "4 devices, 3 of them of other sites") {
			t.Errorf("a profile: %v", err)
		}
		for name, change := range map[string]domain.DeviceChange{"moves": {Site: ptr("")}, "hides": {Site: ptr("Osaka")}} {
			err := drop(r.UpdateDevice(r.ctx, ken, realmsuite.Own, change, 0))
			if !errors.Is(err, domain.ErrForbidden) && !errors.Is(err, domain.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		done, err := r.Change(r.ctx, ken, domain.Order{Site: realmsuite.Kyoto, Settings: &limit}, false)
		r.ok(err)
		if done.Reach.Devices != 1 {
			t.Errorf("it touched %+v", done.Reach)
		}
		_, err = r.Change(r.ctx, ken, domain.Order{Undo: done.Audit}, false)
		r.ok(err)
		own, outside := domain.DeviceTarget(realmsuite.Own), domain.DeviceTarget(realmsuite.Outside)
		r.is(drop(r.Change(r.ctx, ken, domain.Order{Target: &outside, Delete: true}, false)), domain.ErrNotFound)
		done, err = r.Change(r.ctx, ken, domain.Order{Target: &own, Delete: true}, false)
		r.ok(err)
		r.ok(drop(r.Change(r.ctx, ken, domain.Order{Undo: done.Audit}, false)))
		gone, err := r.Change(r.ctx, r.admin, domain.Order{Target: &outside, Delete: true}, false)
		r.ok(err)
		r.is(drop(r.Change(r.ctx, ken, domain.Order{Undo: gone.Audit}, false)), domain.ErrNotFound)
		r.ok(drop(r.Change(r.ctx, r.admin, domain.Order{Undo: gone.Audit}, false)))
	}
	rows := []domain.BulkRow{{Device: realmsuite.Own, Change: domain.DeviceChange{Description: ptr("x")}},
		{Device: realmsuite.Outside, Change: domain.DeviceChange{Description: ptr("x")}},
		{Device: phone1, Create: true, Change: domain.DeviceChange{Model: ptr("7961")}},
		{Device: phone2, Create: true, Change: domain.DeviceChange{Model: ptr("7961"), Site: ptr(realmsuite.Kyoto)}},
		{Device: realmsuite.Unnamed, Create: true, Change: domain.DeviceChange{Model: ptr("7961"), Site: ptr("Kyoto")}}}
	results, err := r.Bulk(r.ctx, f.Ken, rows)
	r.ok(err)
	for i, want := range []error{nil, domain.ErrNotFound, domain.ErrForbidden, nil, domain.ErrForbidden} {
		r.is(results[i].Err, want)
	}
	both, err := r.Change(r.ctx, r.admin, domain.Order{Rows: []domain.BulkRow{{Device: realmsuite.Own,
		Change: domain.DeviceChange{Load: ptr("ab")}}, {Device: realmsuite.Stray,
		Change: domain.DeviceChange{Load: ptr("ab")}}}}, false)
	r.ok(err)
	err = drop(r.Change(r.ctx, f.Ken, domain.Order{Undo: both.Audit}, false))
	if !errors.Is(err, domain.ErrForbidden) || !strings.Contains(err.Error(), "1 of the 2 parts") {
		t.Errorf("an order that is one half of others: %v", err)
	}
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, "ken", domain.UserChange{Sites: &[]string{}}, 0)))
	r.is(r.DeleteSite(r.ctx, r.admin, realmsuite.Osaka, 0), domain.ErrRefused) // bob is limited to it
	r.is(drop(r.UpdateUser(r.ctx, r.admin, "bob", domain.UserChange{Role: ptr(domain.RoleAdmin)}, 0)), domain.ErrInvalid)
}

// TestSignInForASite: an issuer limits to sites that there are; if there are none
// of them nobody comes in, and the key of one site takes no device of another.
func TestSignInForASite(t *testing.T) {
	f := realmsuite.New(t)
	r := &rig{Controller: f.Controller, t: t, ctx: t.Context(), store: f.Store, admin: f.Admin}
	id := carol
	for _, c := range []struct {
		sites []string
		want  error
		seen  int
	}{{[]string{"Kyoto"}, nil, 1}, {[]string{"Uji"}, domain.ErrForbidden, 0}, {[]string{"Uji", "Osaka"}, nil, 1},
		{nil, nil, 4}, {[]string{"Nara", "Osaka", "Nara"}, nil, 3}} {
		id.Sites = c.sites
		s, err := r.SignInBy(r.ctx, id, "10.0.0.1")
		r.is(err, c.want)
		if err != nil {
			continue
		}
		a, _, err := r.ActorBySession(r.ctx, s.Secret, "10.0.0.1")
		r.ok(err)
		if l, err := r.Devices(r.ctx, a, domain.DeviceFilter{}, domain.Page{}); err != nil || l.Total != c.seen {
			t.Errorf("of %q there are %d devices, not %d: %v", c.sites, l.Total, c.seen, err)
		}
	}
	id.Sites, id.Role = []string{"Kyoto"}, domain.RoleAdmin
	r.is(drop(r.SignInBy(r.ctx, id, "10.0.0.1")), domain.ErrInvalid)
	key, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "k", SiteKey: true, Site: "Kyoto"})
	r.ok(err)
	for device, want := range map[string]error{realmsuite.Own: nil, realmsuite.Outside: domain.ErrForbidden,
		realmsuite.Unnamed: domain.ErrForbidden, phone1: nil} {
		if device != phone1 {
			r.ok(r.ResetIdentity(r.ctx, r.admin, device))
		}
		r.is(r.Enrol(r.ctx, domain.EnrolRequest{Device: device, Model: "7961", Token: key.Secret,
			Secret: strings.Repeat("n", 20) + device}), want)
	}
}

// TestSetupAfterAForeignUser: whoever signs in at an issuer before the set-up is
// done does not end it, unless as an admin.
func TestSetupAfterAForeignUser(t *testing.T) {
	r := newRig(t)
	r.ok(drop(r.SignInBy(r.ctx, carol, "10.0.0.1")))
	link, err := r.BeginSetup(r.ctx)
	r.ok(err)
	r.ok(drop(r.CompleteSetup(r.ctx, link, "ann", password, "10.0.0.1")))
	if again, err := r.BeginSetup(r.ctx); err != nil || again != "" {
		t.Errorf("with an admin there is another link: %v", err)
	}
	r = newRig(t)
	root := carol
	root.Role = domain.RoleAdmin
	r.ok(drop(r.SignInBy(r.ctx, root, "10.0.0.1")))
	if link, err := r.BeginSetup(r.ctx); err != nil || link != "" {
		t.Errorf("with an admin of an issuer there is a link: %v", err)
	}
}

// TestStoredPasswordIsNotShown: an address that was stored with a password before
// those were refused is shown without it, wherever settings are read.
func TestStoredPasswordIsNotShown(t *testing.T) {
	r := newRig(t)
	r.ok(drop(r.CreateProfile(r.ctx, r.admin, "p", domain.ProfileChange{})))
	r.device(phone1, "7961")
	r.ok(drop(r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Profile: ptr("p")}, 0)))
	old := policy.Values{policy.LoadServer: "http://ann:hunter2@10.0.0.1/"}
	r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error {
		d, err := tx.Devices().Get(r.ctx, phone1)
		r.ok(err)
		p, err := tx.Profiles().Get(r.ctx, "p")
		r.ok(err)
		d.Settings, p.Settings = old, old
		e := domain.Enterprise{Settings: old}
		return errors.Join(tx.Devices().Put(r.ctx, &d), tx.Profiles().Put(r.ctx, &p), tx.Enterprises().Put(r.ctx, &e))
	}))
	show := func(v any, err error) {
		t.Helper()
		b, bad := json.Marshal(v)
		if err != nil || bad != nil || strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), "xxxxx") {
			t.Errorf("%.400s, %v, %v", b, err, bad)
		}
	}
	for _, at := range []domain.Target{domain.DeviceTarget(phone1), domain.ProfileTarget("p"),
		domain.EnterpriseTarget()} {
		v, err := r.Settings(r.ctx, r.admin, at)
		show(v, err)
	}
	d, err := r.Device(r.ctx, r.admin, phone1)
	show(d, err)
	l, err := r.Devices(r.ctx, r.admin, domain.DeviceFilter{}, domain.Page{})
	show(l, err)
	p, err := r.Profile(r.ctx, r.admin, "p")
	show(p, err)
	ps, err := r.Profiles(r.ctx, r.admin, domain.TextFilter{}, domain.Page{})
	show(ps, err)
	e, err := r.Enterprise(r.ctx, r.admin)
	show(e, err)
	w, err := r.Desired(r.ctx, r.admin, phone1)
	show(w, err)
	// Writes answer with the whole, and the audit log has what was there before.
	said := ptr("said")
	u, err := r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Description: said}, 0)
	show(u, err)
	u, err = r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Description: said}, 0)
	show(u, err)
	p, err = r.UpdateProfile(r.ctx, r.admin, "p", domain.ProfileChange{Description: said}, 0)
	show(p, err)
	e, err = r.UpdateEnterprise(r.ctx, r.admin, domain.EnterpriseChange{AutoRegistration: ptr(true)}, 0)
	show(e, err)
	r.ok(drop(r.ChangeSettings(r.ctx, r.admin, domain.ProfileTarget("p"),
		domain.SettingsChange{Unset: []string{policy.LoadServer}}, 0)))
	log, err := r.Audit(r.ctx, r.admin, domain.AuditFilter{}, domain.Page{Limit: domain.MaxPage})
	show(log, err)
	got, err := r.Provision(r.ctx, phone1, "", "")
	if err != nil || !strings.Contains(got.Setting(policy.LoadServer), "hunter2") {
		t.Errorf("what the device is told has lost it: %v", err)
	}
}

// TestRevokedTokenOfAJob: a job goes on with what its maker may now, which is
// nothing once the token that made it is revoked or has expired.
func TestRevokedTokenOfAJob(t *testing.T) {
	r := newRig(t)
	r.ok(drop(r.CreateUser(r.ctx, r.admin, "ann", domain.UserChange{Role: ptr(domain.RoleOperator),
		Password: ptr("correct horse battery")})))
	var was []domain.JobActor
	var ids []string
	for range 2 {
		tok, err := r.CreateToken(r.ctx, r.admin, "ann", domain.TokenRequest{Name: "t", Role: domain.RoleOperator,
			Scopes: domain.Scopes(), Life: time.Hour})
		r.ok(err)
		a, err := r.ActorByToken(r.ctx, tok.Secret, "127.0.0.1")
		r.ok(err)
		r.ok(r.View(r.ctx, a, func(tx domain.Tx) error {
			batch, err := r.Batch(r.ctx, tx, a)
			was = append(was, batch.By())
			return err
		}))
		ids = append(ids, tok.ID)
	}
	again := func(of domain.JobActor) error {
		return r.store.View(r.ctx, func(tx domain.Tx) error { return drop(r.ResumeBatch(r.ctx, tx, of)) })
	}
	r.ok(again(was[0]))
	r.ok(r.RevokeToken(r.ctx, r.admin, ids[0]))
	r.is(again(was[0]), domain.ErrForbidden)
	r.ok(again(was[1]))
	r.now = r.now.Add(2 * time.Hour)
	r.is(again(was[1]), domain.ErrForbidden)
}

// TestNamesOfNothing: who looks for devices by a name that nothing has is told so, and
// which was probably meant; nobody takes an empty list for an answer.
func TestNamesOfNothing(t *testing.T) {
	r := newRig(t)
	_, err := r.CreateProfile(r.ctx, r.admin, "offices", domain.ProfileChange{})
	r.ok(err)
	r.site("Kyoto", "10.0.0.0/24")
	r.unsigned("SIP42", "7941")
	r.device(phone1, "7941")
	r.device(phone2, "a word of its own")
	for _, c := range []struct {
		f     domain.DeviceFilter
		meant string
	}{
		{domain.DeviceFilter{Model: "CP-7941H"}, "CP-7941G"}, {domain.DeviceFilter{Profile: "office"}, "offices"},
		{domain.DeviceFilter{Site: "Kyto"}, "Kyoto"}, {domain.DeviceFilter{Load: "SIP43"}, "SIP42"},
		{domain.DeviceFilter{Release: "nothing"}, ""},
	} {
		_, err := r.Devices(r.ctx, r.admin, c.f, domain.Page{})
		if r.is(err, domain.ErrNotFound); err != nil && !strings.Contains(err.Error(), c.meant) {
			t.Errorf("%+v: %v, want %q in it", c.f, err, c.meant)
		}
	}
	for _, f := range []domain.DeviceFilter{{Model: "7941"}, {Model: "a word of its own"}} {
		if l, err := r.Devices(r.ctx, r.admin, f, domain.Page{}); err != nil || len(l.Items) != 1 {
			t.Errorf("%+v: %+v, %v", f, l, err)
		}
	}
	_, err = r.UpdateDevice(r.ctx, r.admin, phone1, domain.DeviceChange{Model: ptr("")}, 0)
	r.is(err, domain.ErrInvalid)
}

// TestUserGrantsNoMore: a token makes no user, and opens none, who may more than
// itself.
func TestUserGrantsNoMore(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	r.user("bob", domain.RoleAdmin)
	r.user("val", domain.RoleViewer)
	as := func(scopes ...domain.Scope) domain.Actor {
		t.Helper()
		tok, err := r.CreateToken(r.ctx, r.admin, "ann",
			domain.TokenRequest{Name: "n", Role: domain.RoleAdmin, Scopes: scopes})
		r.ok(err)
		a, err := r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")
		r.ok(err)
		return a
	}
	access, reader, all := as(domain.ScopeAccess), as(domain.ScopeAccess, domain.ScopeRead), as(domain.Scopes()...)
	create := func(a domain.Actor, name string, role domain.Role) error {
		return drop(r.CreateUser(r.ctx, a, name, domain.UserChange{Role: &role, Password: ptr(password)}))
	}
	change := func(a domain.Actor, name string, c domain.UserChange) error {
		return drop(r.UpdateUser(r.ctx, a, name, c, 0))
	}
	for _, role := range []domain.Role{domain.RoleViewer, domain.RoleOperator, domain.RoleAdmin} {
		r.is(create(access, "eve", role), domain.ErrForbidden)
	}
	r.is(create(reader, "eve", domain.RoleOperator), domain.ErrForbidden)
	r.ok(create(reader, "vic", domain.RoleViewer))
	r.ok(create(all, "adam", domain.RoleAdmin))
	for _, c := range []domain.UserChange{{Password: ptr("another pass phrase")}, {Role: ptr(domain.RoleAdmin),
		Password: ptr("another pass phrase")}} {
		r.is(change(access, "bob", c), domain.ErrForbidden)
		r.is(change(reader, "ann", c), domain.ErrForbidden)
	}
	r.is(change(reader, "val", domain.UserChange{Role: ptr(domain.RoleAdmin)}), domain.ErrForbidden)
	r.ok(change(access, "bob", domain.UserChange{Disabled: ptr(true)}))
	r.is(change(reader, "bob", domain.UserChange{Disabled: ptr(false)}), domain.ErrForbidden)
	r.ok(change(access, "bob", domain.UserChange{Role: ptr(domain.RoleViewer), FullName: ptr("Bob")}))
	r.ok(change(reader, "bob", domain.UserChange{Disabled: ptr(false)})) // a viewer by now
	r.ok(change(all, "bob", domain.UserChange{Role: ptr(domain.RoleAdmin), Password: ptr("another pass phrase")}))
}
