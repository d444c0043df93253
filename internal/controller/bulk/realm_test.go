package bulk_test

import (
	"encoding/json"
	"testing"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/domain"
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
	if _, err := s.PutTemplate(ctx, f.Admin, "desks", "", mine); err != nil {
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
	l, err := s.Jobs(ctx, f.Admin, domain.Page{Limit: domain.MaxPage})
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
		own, err := s.Jobs(ctx, a, domain.Page{Limit: domain.MaxPage})
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
