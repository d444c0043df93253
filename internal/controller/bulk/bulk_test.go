package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

const (
	phone1, phone2, phone3 = "SEP000000000001", "SEP000000000002", "SEP000000000003"
	table3                 = "device,model,profile,peer-sharing\n000000000001,7941,Branch,on\n" +
		"000000000002,7961,,off\n000000000003,7961,,"
)

// TestJob: from a plan by a run to its undoing.
func TestJob(t *testing.T) {
	r := newRig(t)
	q := csv(table3)
	p, err := r.Plan(r.ctx, r.admin, q)
	r.ok(err)
	if p.Counts != (domain.JobCounts{Rows: 3, Created: 3}) || len(r.devices()) != 0 {
		t.Fatalf("the plan is %+v", p)
	}
	j := r.run(q)
	if j.State != domain.JobDone || j.Counts != p.Counts || j.Verified != j.Steps {
		t.Fatalf("%+v", j)
	}
	for i, row := range r.rows(j.ID) {
		if row.Outcome != p.Rows[i].Outcome || row.Line != p.Rows[i].Line || len(row.Changes) != len(p.Rows[i].Changes) {
			t.Errorf("planned %+v, done %+v", p.Rows[i], row)
		}
	}
	d := r.devices()[phone1]
	if d.Model != "CP-7941G" || d.Profile != "Branch" || d.Settings[policy.PeerSharing] != "on" {
		t.Errorf("%+v", d)
	}
	if again := r.run(q); again.Counts != (domain.JobCounts{Rows: 3, Unchanged: 3}) {
		t.Errorf("the same again: %+v", again)
	}
	second := r.run(csv("mac,ピアファームウェア共有,説明", phone1+",-,Reception", phone2+",on,"))
	if second.Counts != (domain.JobCounts{Rows: 2, Changed: 2}) {
		t.Errorf("%+v", second)
	}
	row := r.rows(second.ID)[0]
	if len(row.Changes) != 2 || row.Changes[0].Field != "description" || *row.Changes[0].New != "Reception" ||
		*row.Changes[1].Old != "on" || row.Changes[1].New != nil {
		t.Errorf("old and new of a row: %+v", row)
	}
	_, err = r.Undo(r.ctx, r.admin, j.ID, false) // its devices were changed since
	r.is(err, domain.ErrConflict)
	if !strings.Contains(err.Error(), "cannot be taken back: 2;") || !strings.Contains(err.Error(), "line 2, "+phone1) {
		t.Errorf("it says %v", err)
	}
	if u := r.undo(second.ID); u.State != domain.JobUndone || u.Counts != (domain.JobCounts{Rows: 2, Undone: 2}) {
		t.Errorf("%+v", u)
	}
	if got := r.devices()[phone1]; !reflect.DeepEqual(got, d) {
		t.Errorf("undone, it is %+v, and was %+v", got, d)
	}
	_, err = r.Undo(r.ctx, r.admin, second.ID, false)
	r.is(err, domain.ErrRefused)
}

// TestBeginsFromNowOn: a time that is past is a mistake, not a wish to begin at once.
func TestBeginsFromNowOn(t *testing.T) {
	r := newRig(t)
	q := csv(table3)
	for _, at := range []time.Time{r.now.Add(-5 * time.Minute), r.now.Add(-2 * time.Second)} {
		q.At = at
		_, err := r.Create(r.ctx, r.admin, q)
		r.is(err, domain.ErrInvalid)
	}
	if l, err := r.Jobs(r.ctx, r.admin, "", domain.Page{}); err != nil || l.Total != 0 {
		t.Errorf("%d jobs were made, %v", l.Total, err)
	}
	q.At = r.now
	j, err := r.Create(r.ctx, r.admin, q)
	r.ok(err)
	if j = r.finish(j.ID); j.State != domain.JobDone {
		t.Errorf("a job of now: %+v", j)
	}
}

// TestJobsOfASite: a site has the jobs that have devices of it when they are made, or
// move them there.
func TestJobsOfASite(t *testing.T) {
	r := newRig(t)
	made := r.run(csv("device,model,site", phone1+",7961,Kyoto", phone2+",7961,", phone3+",7961,Kioto")) // refused
	moved := csv("device,model,site", phone1+",7961,Kyoto", phone2+",7961,")
	first := r.run(moved)
	moved = csv("device,site", phone1+",Osaka")
	moved.At = r.now.Add(time.Hour)
	waits, err := r.Create(r.ctx, r.admin, moved)
	r.ok(err)
	none := r.run(csv("device,description", phone2+",x"))
	ken := domain.Actor{Kind: domain.ActorUser, Name: "ken", User: "ken", Account: "k1", Role: domain.RoleOperator,
		Realm: domain.RealmOf([]string{"Kyoto"})}
	for _, c := range []struct {
		by    domain.Actor
		site  string
		want  []string
		error error
	}{
		{r.admin, "", []string{made.ID, first.ID, waits.ID, none.ID}, nil},
		{r.admin, "Kyoto", []string{made.ID, first.ID, waits.ID}, nil},
		{r.admin, "Osaka", []string{waits.ID}, nil},
		{r.admin, "Kioto", nil, domain.ErrNotFound},
		{ken, "Osaka", nil, domain.ErrNotFound},
		{ken, "Kyoto", nil, nil},
	} {
		var ids []string
		for p := (domain.Page{Limit: 2}); ; {
			l, err := r.Jobs(r.ctx, c.by, c.site, p)
			if !errors.Is(err, c.error) || err == nil && l.Total != len(c.want) {
				t.Errorf("site %q: %d in all, %v", c.site, l.Total, err)
			}
			for _, j := range l.Items {
				ids = append(ids, j.ID)
			}
			if p.After = l.Next; p.After == "" {
				break
			}
		}
		if !slices.Equal(ids, c.want) {
			t.Errorf("%s sees of site %q %v, not %v", c.by.Name, c.site, ids, c.want)
		}
	}
	r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error { // as if ken had made it before he was limited
		j, err := tx.Jobs().Get(r.ctx, waits.ID)
		r.ok(err)
		j.By.Name, j.By.Account = ken.Name, ken.Account
		return tx.Jobs().Put(r.ctx, &j)
	}))
	if l, err := r.Jobs(r.ctx, ken, "Kyoto", domain.Page{}); err != nil || len(l.Items) != 1 ||
		!slices.Equal(l.Items[0].Sites, []string{"Kyoto"}) {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestEntryOfAJob: whoever undoes the entry of a job in the audit log is sent to the
// job: part by part, the devices that it made would stay.
func TestEntryOfAJob(t *testing.T) {
	r := newRig(t)
	j := r.run(csv(table3))
	for _, dry := range []bool{true, false} {
		_, err := r.ctl.Change(r.ctx, r.admin, domain.Order{Undo: j.ID}, dry)
		r.is(err, domain.ErrRefused)
	}
	if n := len(r.devices()); n != 3 {
		t.Errorf("%d devices", n)
	}
}

// TestUndoSkips: rows that were changed since are kept, and told.
func TestUndoSkips(t *testing.T) {
	r := newRig(t)
	j := r.run(csv(table3))
	r.set(phone2, domain.DeviceChange{Description: ptr("mine")})
	_, err := r.Undo(r.ctx, r.admin, j.ID, true)
	r.ok(err)
	if j = r.finish(j.ID); j.State != domain.JobUndone || j.Counts.Undone != 2 || j.Counts.Kept != 1 {
		t.Errorf("%+v", j)
	}
	if got := slices.Collect(maps.Keys(r.devices())); !slices.Equal(got, []string{phone2}) {
		t.Errorf("%v are left", got)
	}
	l, err := r.Rows(r.ctx, r.admin, j.ID, true, domain.Page{})
	r.ok(err)
	if len(l.Items) != 1 || l.Items[0].Outcome != domain.RowKept || l.Items[0].Problem == "" {
		t.Errorf("the bad rows are %+v", l.Items)
	}
}

// TestAllOrNothing: with one bad row nothing is written, with SkipBad all others.
func TestAllOrNothing(t *testing.T) {
	r := newRig(t)
	q := csv(table3, "000000000004,7961,Branhc,", "000000000005,7916,,", "000000000006,7961,,maybe")
	j := r.run(q)
	if j.State != domain.JobRefused || j.Counts != (domain.JobCounts{Rows: 6, Refused: 3}) || len(r.devices()) > 0 {
		t.Errorf("%+v, %d devices", j, len(r.devices()))
	}
	rows := r.rows(j.ID)
	for i, says := range map[int]string{3: "did you mean Branch?", 4: `no table has model "7916"; did you mean`,
		5: "peer-sharing"} {
		if !strings.Contains(rows[i].Problem, says) || rows[i].Line != i+2 {
			t.Errorf("%+v does not say %s", rows[i], says)
		}
	}
	q.SkipBad = true
	if j = r.run(q); j.State != domain.JobDone || j.Counts != (domain.JobCounts{Rows: 6, Created: 3, Refused: 3}) {
		t.Errorf("%+v", j)
	}
	q.AnyModel = true
	if j = r.run(q); j.Counts.Created != 1 || j.Counts.Unchanged != 3 || r.devices()["SEP000000000005"].Model != "7916" {
		t.Errorf("%+v", j)
	}
}

// TestBadSinceChecked: what becomes bad while the job runs takes back what was
// written.
func TestBadSinceChecked(t *testing.T) {
	r := newRig(t)
	lines := []string{"device,model,profile"}
	for i := range 1200 {
		lines = append(lines, fmt.Sprintf("%012X,7961,%s", i+1, []string{"Branch", "lobby"}[i/600]))
	}
	j, err := r.Create(r.ctx, r.admin, csv(lines...))
	r.ok(err)
	for j.Next < 1 {
		_, err := r.Step(r.ctx, j.ID)
		r.ok(err)
		j, err = r.Job(r.ctx, r.admin, j.ID)
		r.ok(err)
	}
	if len(r.devices()) != 500 {
		t.Fatalf("%d devices after a step", len(r.devices()))
	}
	r.ok(r.ctl.DeleteProfile(r.ctx, r.admin, "lobby", 0))
	j = r.finish(j.ID)
	if j.State != domain.JobRefused || j.Counts.Undone != 500 || !strings.Contains(j.Problem, "line 602") ||
		len(r.devices()) != 0 {
		t.Errorf("%+v, %d devices", j, len(r.devices()))
	}
}

// TestKilled: wherever a job is cut off, another process goes on to the same end, or
// undoes it.
func TestKilled(t *testing.T) {
	tiers.Long(t, "it stops a job at each line")
	every := 1
	if testing.Short() {
		every = 4
	}
	for cut := 0; cut < 9; cut += every {
		for _, undo := range []bool{false, true} {
			r := newRig(t)
			lines := []string{"device,model"}
			for i := range 1001 {
				lines = append(lines, fmt.Sprintf("%012X,7961", i+1))
			}
			j, err := r.Create(r.ctx, r.admin, csv(lines...))
			r.ok(err)
			for range cut {
				_, err := r.Step(r.ctx, j.ID)
				r.ok(err)
			}
			r.Service = r.service(r.store)
			if undo {
				_, err := r.Undo(r.ctx, r.admin, j.ID, false)
				r.ok(err)
			}
			j = r.finish(j.ID)
			if n := len(r.devices()); undo && (n != 0 || j.State != domain.JobUndone) ||
				!undo && (n != 1001 || j.State != domain.JobDone || j.Counts.Created != 1001) {
				t.Errorf("cut after %d steps, undo %v: %d devices, %+v", cut, undo, n, j)
			}
		}
	}
}

// TestRun: Run carries out what is due, at its time, and what another has left.
func TestRun(t *testing.T) {
	r := newRig(t)
	later := csv(table3)
	later.At = r.now.Add(time.Hour)
	j, err := r.Create(r.ctx, r.admin, later)
	r.ok(err)
	if more, err := r.Step(r.ctx, j.ID); more || err != nil {
		t.Fatalf("before its time: %v, %v", more, err)
	}
	if j := r.finish(j.ID); j.State != domain.JobWaiting {
		t.Fatalf("%+v", j)
	}
	r.now = r.now.Add(time.Hour)
	ctx, stop := context.WithCancel(r.ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for j.State != domain.JobDone {
		<-tick.C
		j, err = r.Job(r.ctx, r.admin, j.ID)
		r.ok(err)
	}
	stop()
	<-ended
	cancelled, err := r.Create(r.ctx, r.admin, csv("device,profile", phone1+",lobby"))
	r.ok(err)
	_, err = r.Undo(r.ctx, r.admin, cancelled.ID, false)
	r.ok(err)
	if j := r.finish(cancelled.ID); j.State != domain.JobUndone || r.devices()[phone1].Profile != "Branch" {
		t.Errorf("%+v", j)
	}
}

// TestRights: a job has the rights that its maker has when it runs.
func TestRights(t *testing.T) {
	r := newRig(t)
	_, err := r.ctl.CreateUser(r.ctx, r.admin, "ann", domain.UserChange{Role: ptr(domain.RoleOperator),
		Password: ptr("correct horse battery")})
	r.ok(err)
	ann := domain.Actor{Kind: domain.ActorUser, Name: "ann", User: "ann", From: "10.0.0.1", Role: domain.RoleOperator}
	viewer := ann
	viewer.Role = domain.RoleViewer
	_, err = r.Create(r.ctx, viewer, csv(table3))
	r.is(err, domain.ErrForbidden)
	_, err = r.Plan(r.ctx, viewer, csv(table3))
	r.is(err, domain.ErrForbidden)
	_, err = r.Export(r.ctx, viewer, bulk.Query{})
	r.is(err, domain.ErrForbidden)
	j, err := r.Create(r.ctx, ann, csv(table3))
	r.ok(err)
	_, err = r.Undo(r.ctx, viewer, j.ID, false)
	r.is(err, domain.ErrForbidden)
	_, err = r.ctl.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Disabled: ptr(true)}, 0)
	r.ok(err)
	j = r.finish(j.ID)
	if j.State != domain.JobRefused || !strings.Contains(j.Problem, "disabled") || len(r.devices()) > 0 {
		t.Errorf("%+v", j)
	}
}

// TestQuery: all devices of a model and a profile get something.
func TestQuery(t *testing.T) {
	r := newRig(t)
	r.run(csv(table3))
	r.set(phone2, domain.DeviceChange{Profile: ptr("Branch")})
	q := bulk.Request{Query: &bulk.Query{Model: "Cisco 7961", Profile: "Branch"}}
	_, err := r.Plan(r.ctx, r.admin, q)
	r.is(err, domain.ErrInvalid) // nothing to set
	q.Set.Settings.Set = policy.Values{policy.PeerSharing: "on"}
	j := r.run(q)
	if j.Counts != (domain.JobCounts{Rows: 1, Changed: 1}) || j.Name != "devices of model Cisco 7961, profile Branch" {
		t.Errorf("%+v", j)
	}
	if got := r.devices()[phone2].Settings[policy.PeerSharing]; got != "on" {
		t.Errorf("sharing is %q", got)
	}
	for _, bad := range []bulk.Query{{Profile: "Brunch"}, {Site: "Kioto"}} {
		q.Query = &bad
		_, err := r.Create(r.ctx, r.admin, q)
		if r.is(err, domain.ErrNotFound); !strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%v", err)
		}
	}
	q.Query = &bulk.Query{Site: "Osaka"}
	_, err = r.Create(r.ctx, r.admin, q)
	r.is(err, domain.ErrRefused)
}

// TestTemplates: a template says what rows do not.
func TestTemplates(t *testing.T) {
	r := newRig(t)
	_, err := r.PutTemplate(r.ctx, r.admin, "branch phones", "", domain.DeviceChange{}, 0)
	r.is(err, domain.ErrInvalid)
	change := domain.DeviceChange{Model: ptr("7961"), Profile: ptr("Branch"), Release: ptr("9.4(2)"),
		Settings: domain.SettingsChange{Set: policy.Values{policy.PeerSharing: "on", policy.Timing: "lan"}}}
	_, err = r.PutTemplate(r.ctx, r.admin, "branch", "Phones of branches", change, domain.Unwritten)
	r.ok(err)
	q := csv("device,model,load,timing", "000000000001,,,", "000000000002,7941,SIP41,-")
	q.Template, q.Set.Site = "branch", ptr("Kyoto")
	if j := r.run(q); j.State != domain.JobDone {
		t.Fatalf("%+v %+v", j, r.rows(j.ID))
	}
	d := r.devices()
	if a := d[phone1]; a.Model != "CP-7961G" || a.Profile != "Branch" || a.Site != "Kyoto" || a.Load.Release != "9.4(2)" ||
		a.Settings[policy.Timing] != "lan" {
		t.Errorf("%+v", a)
	}
	if b := d[phone2]; b.Model != "CP-7941G" || b.Load.Load != "SIP41" || b.Load.Release != "" ||
		!maps.Equal(b.Settings, policy.Values{policy.PeerSharing: "on"}) {
		t.Errorf("%+v", b)
	}
	l, err := r.Templates(r.ctx, r.admin, domain.Page{})
	if r.ok(err); len(l.Items) != 1 || l.Items[0].Note != "Phones of branches" {
		t.Fatalf("%+v", l)
	}
	// Of two editors the slower one writes nothing.
	read := l.Items[0].Version
	_, err = r.PutTemplate(r.ctx, r.admin, "branch", "of the first", change, read)
	r.ok(err)
	for _, old := range []int64{read, domain.Unwritten} {
		_, err = r.PutTemplate(r.ctx, r.admin, "branch", "of the second", change, old)
		r.is(err, domain.ErrConflict)
	}
	if l, err = r.Templates(r.ctx, r.admin, domain.Page{}); l.Items[0].Note != "of the first" {
		t.Errorf("%+v, %v", l, err)
	}
	r.ok(r.DeleteTemplate(r.ctx, r.admin, "branch"))
	r.is(r.DeleteTemplate(r.ctx, r.admin, "branch"), domain.ErrNotFound)
	_, err = r.Create(r.ctx, r.admin, q)
	r.is(err, domain.ErrNotFound)
}

// TestAsShown: a job about other devices than its plan has shown is refused, and says how
// many they are; so is one whose template says something else by now.
func TestAsShown(t *testing.T) {
	r := newRig(t)
	q := csv("device,model,site", "000000000001,7961,Kyoto", "000000000002,7961,Kyoto")
	q.Create = true
	r.run(q)
	ask := bulk.Request{Query: &bulk.Query{Site: "Kyoto"}, Set: domain.DeviceChange{Description: ptr("Lobby")}}
	p, err := r.Plan(r.ctx, r.admin, ask)
	r.ok(err)
	ask.Shown = p.Shown
	third := csv("device,model,site", "000000000003,7961,Kyoto")
	third.Create = true
	r.run(third)
	_, err = r.Create(r.ctx, r.admin, ask)
	if r.is(err, domain.ErrConflict); !strings.Contains(err.Error(), "other devices now, 3 and not the 2") {
		t.Error(err)
	}
	p, err = r.Plan(r.ctx, r.admin, ask)
	r.ok(err)
	ask.Shown = p.Shown
	_, err = r.PutTemplate(r.ctx, r.admin, "branch", "", domain.DeviceChange{Profile: ptr("Branch")}, 0)
	r.ok(err)
	other := ask
	other.Template = "branch"
	_, err = r.Create(r.ctx, r.admin, other)
	r.is(err, domain.ErrConflict)
	_, err = r.Create(r.ctx, r.admin, ask)
	r.ok(err)
}

// TestSitesTogether: rows that name many sites ask as often as rows that name one.
func TestSitesTogether(t *testing.T) {
	s, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := rigOn(t, s)
	one, many := []string{"device,model,site"}, []string{"device,model,site"}
	for i := range 20 {
		name := fmt.Sprintf("Site %02d", i)
		_, err := r.ctl.CreateSite(r.ctx, r.admin, name, domain.SiteChange{})
		r.ok(err)
		one = append(one, fmt.Sprintf("%012X,7941,Kyoto", i+1))
		many = append(many, fmt.Sprintf("%012X,7941,%s", i+100, name))
	}
	var asked atomic.Int32 // jobs read and write at the same time
	s.Trace = func(string, []any) { asked.Add(1) }
	of := func(rows []string) int32 {
		asked.Store(0)
		if j := r.run(csv(rows...)); j.State != domain.JobDone || j.Counts.Created != 20 {
			t.Errorf("%+v", j)
		}
		return asked.Load()
	}
	// SQLite writes the counts of each site by themselves: two statements, a row each.
	if few, all := of(one), of(many); all-few > 2*20 {
		t.Errorf("%d statements for rows of one site, %d for those of 20", few, all)
	}
	if d := r.devices()["SEP000000000064"]; d.Site != "Site 00" {
		t.Errorf("%+v", d)
	}
	if j := r.run(csv("device,model,site", "0000000000FF,7941,Site 0")); j.State != domain.JobRefused {
		t.Errorf("a site that is not there: %+v", j)
	}
}
