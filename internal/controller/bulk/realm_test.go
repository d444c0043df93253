package bulk_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
)

// TestRealm: who is limited to a site makes no job that changes others, and
// learns nothing of what others have made.
func TestRealm(t *testing.T) {
	f := realmsuite.New(t)
	of := func(cfg domain.Config) *bulk.Service {
		ctl, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := bulk.New(bulk.Config{Controller: ctl})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ctx, s := t.Context(), of(f.Config)
	finish := func(id string) {
		for more := true; more; {
			var err error
			if more, err = s.Step(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	said := domain.DeviceChange{Description: ptr(realmsuite.Secret + " again")}
	for _, device := range []string{realmsuite.Unnamed, realmsuite.Outside} {
		table := []byte("device\n" + device + "\n")
		j, err := s.Create(ctx, f.Admin, bulk.Request{Name: realmsuite.Secret, Table: table, Set: said})
		if err != nil {
			t.Fatal(err)
		}
		finish(j.ID)
		realmsuite.Add(f.Samples, j.ID)
	}
	mine := domain.DeviceChange{Description: ptr("mine")}
	for _, a := range []domain.Actor{f.Ken, f.Token} {
		j, err := s.Create(ctx, a, bulk.Request{Query: &bulk.Query{}, Set: mine})
		if err != nil || j.Counts.Rows != 1 {
			t.Fatalf("%+v, %v", j, err)
		}
		finish(j.ID)
		realmsuite.Add(f.Samples, j.ID)
	}
	if _, err := s.PutTemplate(ctx, f.Admin, "desks", "", mine, 0); err != nil {
		t.Fatal(err)
	}
	realmsuite.Add(f.Samples, bulk.Query{}, bulk.Query{Site: realmsuite.Osaka}, bulk.Query{Text: realmsuite.Outside})
	table := []byte("device,description\n" + realmsuite.Outside + ",x\n" + realmsuite.Own + ",x\n")
	skip := domain.JobOptions{SkipBad: true, Create: true}
	move := domain.DeviceChange{Site: ptr(realmsuite.Osaka)}
	realmsuite.Add(f.Samples, bulk.Request{Query: &bulk.Query{}, Set: mine},
		bulk.Request{Query: &bulk.Query{Site: realmsuite.Osaka}, Template: "desks"},
		bulk.Request{Query: &bulk.Query{}, Set: move, JobOptions: skip}, bulk.Request{Table: table},
		bulk.Request{Table: table, JobOptions: skip},
		bulk.Request{JobOptions: skip, Table: []byte("device,model,site\nSEP0000000000E1,7961," + realmsuite.Osaka +
			"\nSEP0000000000E2,7961,\n")})
	realmsuite.Run(t, f, func(cfg domain.Config) any { return of(cfg) }, "Run", "Step")

	// What was made is carried out, too, and comes to nothing outside.
	before := f.Others(t)
	l, err := s.Jobs(ctx, f.Admin, "", domain.Page{Limit: domain.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, j := range l.Items {
		if j.State.Active() {
			finish(j.ID)
			ran++
		}
	}
	if after := f.Others(t); after != before {
		t.Errorf("a job of %d changes what is outside", ran)
	}
	if ran == 0 {
		t.Error("nothing was made")
	}
	for _, a := range []domain.Actor{f.Ken, f.Token} {
		own, err := s.Jobs(ctx, a, "", domain.Page{Limit: domain.MaxPage})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range own.Items {
			for _, bad := range []bool{false, true} {
				rows, err := s.Rows(ctx, a, j.ID, bad, domain.Page{})
				if told := realmsuite.Leak(jsonOf(t, rows, j)); told != "" || err != nil {
					t.Errorf("job %s tells of others: %s, %v", j.ID, told, err)
				}
			}
		}
	}
}

func jsonOf(t *testing.T, all ...any) string {
	t.Helper()
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestStoredPasswordIsNotShown: an address that was stored with a password before
// those were refused is shown without it, and so is one that a table asks for. An
// undo gives back what there was.
func TestStoredPasswordIsNotShown(t *testing.T) {
	r := newRig(t)
	const phone, old = "SEP000000000001", "http://ann:hunter2@10.0.0.1/"
	r.run(csv("device,model", phone+",7961"))
	r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error {
		d, err := tx.Devices().Get(r.ctx, phone)
		r.ok(err)
		d.Settings = policy.Values{policy.LoadServer: old}
		return tx.Devices().Put(r.ctx, &d)
	}))
	hidden := func(what string, all ...any) {
		t.Helper()
		if text := jsonOf(t, all...); strings.Contains(text, "hunter") {
			t.Errorf("%s: %.400s", what, text)
		}
	}
	hidden("an export", string(r.export()))
	change := csv("device,"+policy.LoadServer, phone+",-")
	for _, ask := range []bulk.Request{change, csv("device,"+policy.LoadServer, phone+",http://ann:hunter3@10.0.0.1/")} {
		p, err := r.Plan(r.ctx, r.admin, ask)
		r.ok(err)
		hidden("a plan", p)
		j := r.run(ask)
		hidden("a job", j, r.rows(j.ID))
	}
	j := r.run(change)
	hidden("a job", j, r.rows(j.ID))
	l, err := r.Jobs(r.ctx, r.admin, "", domain.Page{Limit: domain.MaxPage})
	r.ok(err)
	changed := 0
	for _, j := range l.Items {
		if j.State != domain.JobDone || j.Counts.Changed != 1 {
			continue
		}
		changed++
		_, err := r.Undo(r.ctx, r.admin, j.ID, true)
		r.ok(err)
		r.finish(j.ID)
		hidden("what was undone", r.rows(j.ID))
	}
	t.Logf("%d undone; %v", changed, r.devices()[phone].Settings)
}

// TestRowsOfWhoIsLimitedSince: who made a job and was limited to a site since is
// not told what devices elsewhere were before.
func TestRowsOfWhoIsLimitedSince(t *testing.T) {
	r := newRig(t)
	j, actor := r.jobOfAnn()
	for _, sites := range [][]string{{}, {"Kyoto"}} {
		_, err := r.ctl.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Sites: &sites}, 0)
		r.ok(err)
		l, err := r.Rows(r.ctx, actor(), j.ID, false, domain.Page{})
		r.ok(err)
		text := jsonOf(t, l)
		if !strings.Contains(text, "mine") || strings.Contains(text, "secret") != (len(sites) == 0) {
			t.Errorf("limited to %q: %s", sites, text)
		}
	}
}

// jobOfAnn has run a job of Ann, who was limited to nothing, on a device of Kyoto
// and one of Osaka.
func (r *rig) jobOfAnn() (j domain.Job, actor func() domain.Actor) {
	r.t.Helper()
	r.run(csv("device,model,site,description", "SEP000000000001,7961,Kyoto,mine", "SEP000000000002,7961,Osaka,secret"))
	actor = func() domain.Actor {
		s, err := r.ctl.Login(r.ctx, "ann", "correct horse battery", "127.0.0.1")
		r.ok(err)
		a, _, err := r.ctl.ActorBySession(r.ctx, s.Secret, "127.0.0.1")
		r.ok(err)
		return a
	}
	_, err := r.ctl.CreateUser(r.ctx, r.admin, "ann", domain.UserChange{Role: ptr(domain.RoleOperator),
		Password: ptr("correct horse battery")})
	r.ok(err)
	said := domain.DeviceChange{Description: ptr("new")}
	j, err = r.Create(r.ctx, actor(), bulk.Request{Query: &bulk.Query{}, Set: said})
	r.ok(err)
	return r.finish(j.ID), actor
}

// TestUndoOfWhoIsGone: an undo goes on when the account of who asked for it is
// gone, but no further than that account could reach.
func TestUndoOfWhoIsGone(t *testing.T) {
	r := newRig(t)
	j, actor := r.jobOfAnn()
	_, err := r.ctl.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Sites: &[]string{"Kyoto"}}, 0)
	r.ok(err)
	_, err = r.Undo(r.ctx, actor(), j.ID, true)
	r.ok(err)
	r.ok(r.ctl.DeleteUser(r.ctx, r.admin, "ann", 0))
	r.finish(j.ID)
	own, other := r.devices()["SEP000000000001"].Description, r.devices()["SEP000000000002"].Description
	if own != "mine" || other != "new" {
		t.Errorf("%q and %q", own, other)
	}
}
