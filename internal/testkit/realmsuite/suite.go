// Package realmsuite is the suite that everything with use cases passes: a
// user who is limited to some sites learns nothing of others, and changes nothing
// there. It
// calls every method that takes a domain.Actor, so one that is added later is
// held to it, too.
//
// What lives here: the fleet, the calls and what must not come of them. What must
// not: claims about single use cases. Read first: Run.
package realmsuite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/report"
)

// What there is. Own is of the realm, Kyoto; all others are outside. Nothing that
// is called is told of Unnamed, Nara and Secret: whoever tells of them has read
// what is outside.
const (
	Kyoto, Osaka, Nara           = "Kyoto", "Osaka", "Nara"
	Own, Outside, Unnamed, Stray = "SEP0000000000A1", "SEP0000000000B1", "SEP0000000000B2", "SEP0000000000C1"
	Secret                       = "a-secret-of-Osaka"
	Password                     = "correct horse battery"
)

// Fleet is a controller with two sites, each with devices that have reported, and
// who may see what.
type Fleet struct {
	Store      domain.Store
	Config     domain.Config
	Controller *domain.Controller
	// Admin may do all; Ken, an operator, is limited to Kyoto, and so is his token.
	Admin, Boss, Ken, Token, Device domain.Actor
	// Samples are what use cases are called with.
	Samples Samples
}

// New makes a fleet.
func New(t testing.TB) *Fleet {
	t.Helper()
	dir := t.TempDir()
	store, err := freshdb.Open(t.Context(), filepath.Join(dir, "a.db"))
	must(t, err)
	t.Cleanup(func() { store.Close() })
	repo, err := repository.Open(repository.Config{Dir: filepath.Join(dir, "pub"), Keys: filepath.Join(dir, "keys")})
	must(t, err)
	f := &Fleet{Store: store, Admin: domain.Local("root"), Samples: Samples{},
		Config: domain.Config{Store: store, Repository: repo, Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}}}
	f.Controller, err = domain.New(f.Config)
	must(t, err)
	file := filepath.Join(dir, "app.bin")
	must(t, os.WriteFile(file, []byte("firmware"), 0o600))
	f.people(t)
	f.sites(t, file)
	f.entries(t)
	f.rollouts(t)
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// people makes the users, and the actors that they are.
func (f *Fleet) people(t testing.TB) {
	t.Helper()
	ctx, c := t.Context(), f.Controller
	for _, site := range []string{Kyoto, Osaka, Nara, "Empty"} {
		_, err := c.CreateSite(ctx, f.Admin, site, domain.SiteChange{Note: ptr("note of " + site)})
		must(t, err)
	}
	session := func(name string, change domain.UserChange) domain.Actor {
		change.Password = ptr(Password)
		_, err := c.CreateUser(ctx, f.Admin, name, change)
		must(t, err)
		s, err := c.Login(ctx, name, Password, "127.0.0.1")
		must(t, err)
		a, _, err := c.ActorBySession(ctx, s.Secret, "127.0.0.1")
		must(t, err)
		return a
	}
	f.Boss = session("boss", domain.UserChange{Role: ptr(domain.RoleAdmin)})
	session("bob", domain.UserChange{Role: ptr(domain.RoleOperator), Sites: &[]string{Osaka}})
	f.Ken = session("ken", domain.UserChange{Role: ptr(domain.RoleOperator), Sites: &[]string{Kyoto}})
	token := func(user string, sites ...string) domain.NewToken {
		tok, err := c.CreateToken(ctx, f.Admin, user, domain.TokenRequest{Name: "t", Role: domain.RoleOperator,
			Scopes: domain.Scopes(), Sites: sites})
		must(t, err)
		return tok
	}
	a, err := c.ActorByToken(ctx, token("boss", Kyoto).Secret, "127.0.0.1")
	must(t, err)
	f.Token = a
	ask, err := c.AskLogin(ctx, "a command line", "127.0.0.1")
	must(t, err)
	key, err := c.CreateEnrolment(ctx, f.Admin, domain.EnrolmentRequest{Name: "of " + Osaka, SiteKey: true, Site: Osaka})
	must(t, err)
	Add(f.Samples, Outside, Osaka, "desks", "7961", "b1", "9.4", "bob", "targets", token("bob").ID, key.ID, ask.Code,
		Password, "*", "", // and what nothing holds, so that it can be made or removed
		"SEP0000000000D1", "Empty", "lobby", "Camera 1")
}

// sites makes the devices, and what is assigned to them.
func (f *Fleet) sites(t testing.TB, file string) {
	t.Helper()
	ctx, c := t.Context(), f.Controller
	for name, models := range map[string][]string{"a1": {"7941"}, "b1": {"7961"}, "ab": {"7941", "7961"}} {
		_, err := c.RegisterLoad(ctx, f.Admin, domain.UnsignedLoad{Name: name, Models: models})
		must(t, err)
	}
	_, err := c.CreateRelease(ctx, f.Admin, "9.4", domain.ReleaseChange{Loads: &[]string{"a1", "b1"}})
	must(t, err)
	_, err = c.PutModels(ctx, f.Admin, []policy.ModelRow{{Name: "Camera 1", Family: "camera"}})
	must(t, err)
	for _, name := range []string{"desks", "lobby"} {
		_, err = c.CreateProfile(ctx, f.Admin, name, domain.ProfileChange{Description: ptr("all " + name)})
		must(t, err)
	}
	for name, site := range map[string]string{Own: Kyoto, Outside: Osaka, Unnamed: "", Stray: ""} {
		change := domain.DeviceChange{Model: ptr("7961"), Profile: ptr("desks"), Load: ptr("b1"), Site: &site}
		if name != Own {
			change.Description = ptr(Secret)
		}
		_, err := c.CreateDevice(ctx, f.Admin, name, change)
		must(t, err)
		e, err := c.CreateEnrolment(ctx, f.Admin, domain.EnrolmentRequest{Name: "e"})
		must(t, err)
		secret := strings.Repeat("s", 20) + name
		must(t, c.Enrol(ctx, domain.EnrolRequest{Device: name, Token: e.Secret, Secret: secret, From: "10.2.0.7"}))
		a, err := c.ActorByDevice(ctx, name, secret, "10.2.0.7")
		must(t, err)
		f.Device = a
		r := report.Device{Schema: 1, State: report.StateIdle, Active: "b1", Message: Secret}
		if name == Own {
			r.Message = "mine"
		}
		must(t, c.Report(ctx, a, r))
		Add(f.Samples, r)
	}
	_, err = c.UpdateSite(ctx, f.Admin, Nara, domain.SiteChange{Networks: &[]string{"10.2.0.0/16"}}, 0)
	must(t, err) // where they all report from: Unnamed and Stray belong to it, Own does not
	_, err = c.AddLoad(ctx, f.Admin, publish.Request{Name: "signed", Version: "1", Models: []string{"7961"},
		Files: []string{file}})
	must(t, err)
	_, err = c.AddFileSet(ctx, f.Admin, publish.Request{Name: "faces", Version: "1", Models: []string{"7961"},
		Directory: "wallpapers", Files: []string{file}})
	must(t, err)
	Add(f.Samples, publish.Request{Name: "new", Version: "1", Models: []string{"7961"}, Files: []string{file}},
		publish.Request{Name: "set", Version: "1", Models: []string{"7961"}, Directory: "locale", Files: []string{file}})
	Add(f.Samples, domain.UnsignedLoad{Name: "old", Models: []string{"7961"}})
	Add(f.Samples, []policy.ModelRow{{Name: "Camera 1", Family: "door"}})
}

// entries makes entries of the audit log, and the samples of what is asked for.
func (f *Fleet) entries(t testing.TB) {
	t.Helper()
	ctx, c := t.Context(), f.Controller
	orders := []domain.Order{{Site: Osaka, Load: ptr("ab")}, {Site: Osaka, Release: ptr("9.4")},
		{Site: Osaka, RollBack: true}, {Rows: []domain.BulkRow{{Device: Outside, Change: domain.DeviceChange{
			Description: ptr("changed")}}, {Device: Own, Change: domain.DeviceChange{Description: ptr("changed")}}}}}
	Add(f.Samples, false, true)
	faces := domain.FileSetsChange{Assign: []string{"faces"}}
	Add(f.Samples, faces)
	for _, at := range []domain.Target{domain.DeviceTarget(Outside), domain.ProfileTarget("desks"),
		domain.ModelTarget("7961"), domain.EnterpriseTarget()} {
		Add(f.Samples, at)
		load := "ab"
		if at.Level == policy.LevelDevice {
			load = "b1" // else it has that already
		}
		orders = append(orders, domain.Order{Target: &at, Load: &load})
		if at.Level == policy.LevelModel {
			continue // has no settings
		}
		orders = append(orders, domain.Order{Target: &at,
			Settings: &domain.SettingsChange{Set: policy.Values{"timing": "lan"}}},
			domain.Order{Target: &at, FileSets: &faces})
	}
	orders = append(orders, domain.Order{Site: Osaka, FileSets: &domain.FileSetsChange{Unassign: faces.Assign}})
	for _, o := range slices.Clone(orders) {
		done, err := c.Change(ctx, f.Admin, o, false)
		if err != nil || done.Audit == "" {
			t.Fatalf("%+v: %+v, %v", o, done, err)
		}
		orders = append(orders, domain.Order{Undo: done.Audit})
	}
	outside := domain.DeviceTarget(Outside)
	orders = append(orders, domain.Order{Target: &outside, Delete: true})
	Add(f.Samples, orders...)
	Add(f.Samples, domain.DeviceChange{Description: ptr("changed"), Model: ptr("7961"), Site: ptr(Osaka)},
		domain.DeviceChange{Model: ptr("7961"), Load: ptr("ab")})
	Add(f.Samples, domain.SettingsChange{Set: policy.Values{"timing": "lan"}})
	Add(f.Samples, domain.ProfileChange{Description: ptr("changed")})
	Add(f.Samples, domain.EnterpriseChange{AutoRegistration: ptr(true)})
	Add(f.Samples, domain.ReleaseChange{Note: ptr("changed"), Loads: nil}, domain.ReleaseChange{Loads: &[]string{"ab"}})
	Add(f.Samples, domain.SiteChange{Note: ptr("changed")}, domain.SiteChange{Networks: &[]string{"10.0.0.0/8"}})
	Add(f.Samples, domain.UserChange{FullName: ptr("changed"), Role: ptr(domain.RoleViewer), Password: ptr(Password)},
		domain.UserChange{FullName: ptr("changed")})
	Add(f.Samples, domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{domain.ScopeRead}},
		domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{domain.ScopeRead},
			Sites: []string{Osaka}})
	Add(f.Samples, domain.EnrolmentRequest{Name: "n"}, domain.EnrolmentRequest{Name: "n", Site: Osaka})
	Add(f.Samples, []domain.BulkRow{{Device: Outside, Change: domain.DeviceChange{Load: ptr("ab")}},
		{Device: "SEP0000000000D1", Create: true, Change: domain.DeviceChange{Model: ptr("7961"), Site: ptr(Osaka)}}})
	Add(f.Samples, domain.DeviceFilter{}, domain.DeviceFilter{Site: Osaka}, domain.DeviceFilter{Profile: "desks"})
	Add(f.Samples, domain.HistoryFilter{}, domain.HistoryFilter{Device: Outside}, domain.HistoryFilter{Site: Osaka})
	Add(f.Samples, domain.AuditFilter{}, domain.AuditFilter{Target: "device " + Outside}, domain.AuditFilter{Site: Osaka})
	Add(f.Samples, time.Hour)
	Add(f.Samples, t.Context())
}

// Run calls every method that takes an actor, of what of makes over a store. Each
// must do something for an administrator, or its samples do not fit, and nothing
// outside for those who are limited to Kyoto. free are methods without an actor,
// that go on in a transaction, or that are for devices alone. No short run has it.
func Run(t *testing.T, f *Fleet, of func(domain.Config) any, free ...string) {
	if testing.Short() {
		t.Skip("not in the short run: it tries what each right allows, over a database")
	}
	did := map[string]bool{}
	dry := f.Config
	dry.Store = rolledBack{f.Store}
	as := f.with(f.Admin, f.Boss, f.Device)
	calls, others := Of[domain.Actor](of(dry), as)
	for _, c := range calls {
		if slices.Contains(free, c.Method) {
			others = append(others, c.Method)
		}
		if did[c.Method] || slices.Contains(free, c.Method) {
			continue
		}
		_, err := c.Do()
		did[c.Method] = err == nil || errors.Is(err, errRolledBack)
	}
	for method, ok := range did {
		if !ok {
			t.Errorf("no call of %s does anything, so nothing is shown of it: add samples to package realmsuite", method)
		}
	}
	slices.Sort(free)
	slices.Sort(others)
	if others = slices.Compact(others); !slices.Equal(others, free) {
		t.Errorf("these methods take no actor: %q; the test says %q", others, free)
	}
	calls, _ = Of[domain.Actor](of(f.Config), f.with(f.Ken, f.Token))
	before := f.Others(t)
	for i, c := range calls {
		if testing.Short() && i%10 != 0 {
			continue // all of them without -short
		}
		if slices.Contains(free, c.Method) {
			continue
		}
		results, err := c.Do()
		if told := leak(results, err); told != "" {
			t.Errorf("%s tells of others: %s", c, told)
		}
		if after := f.Others(t); after != before {
			t.Errorf("%s changes others: %s", c, difference(before, after))
			before = after
		}
	}
	t.Logf("%d calls of %d methods", len(calls), len(did))
}

// with are the samples, with actors.
func (f *Fleet) with(actors ...domain.Actor) Samples {
	s := Samples{}
	for t, v := range f.Samples {
		s[t] = v
	}
	Add(s, actors...)
	return s
}

// leak is Leak, of results and an error.
func leak(results []any, err error) string {
	b, bad := json.Marshal(results)
	if bad != nil {
		return bad.Error()
	}
	return Leak(fmt.Sprint(string(b), " ", err))
}

// Leak is where a text tells what nobody who is limited to Kyoto may learn, "" if
// it does not.
func Leak(text string) string {
	for _, secret := range []string{Unnamed, Stray, Nara, Secret} {
		if i := strings.Index(text, secret); i >= 0 {
			return text[max(0, i-100):min(len(text), i+100)]
		}
	}
	return ""
}

// Others is all that the store holds but what is of Kyoto and of its people.
func (f *Fleet) Others(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	must(t, f.Store.Export(t.Context(), &b))
	mine, err := f.jobs(t.Context())
	must(t, err)
	var kept []string
	for line := range strings.Lines(b.String()) {
		var row struct {
			Table string
			Row   struct{ Name, Device, Subject, Kind, ID, Job string }
		}
		must(t, json.Unmarshal([]byte(line), &row))
		own := slices.Contains([]string{row.Row.Name, row.Row.Device, row.Row.Subject}, Own) ||
			slices.Contains([]string{"ken", Kyoto}, row.Row.Name) || row.Row.Subject == "ken" || row.Row.Subject == "boss" ||
			row.Row.Kind == string(domain.CredentialRequest) || // nobody's, until somebody answers it
			row.Table == "jobs" && mine[row.Row.ID] || row.Table == "job_steps" && mine[row.Row.Job] ||
			slices.ContainsFunc([]string{`"by":"ken"`, `"by":"token t of boss"`, `"authors":["ken"]`, `"authors":["boss"]`},
				func(mine string) bool { return strings.Contains(line, mine) })
		if !own && !slices.Contains([]string{"audit", "throttles", ""}, row.Table) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// jobs are the ids of those that people of Kyoto have made.
func (f *Fleet) jobs(ctx context.Context) (map[string]bool, error) {
	mine := map[string]bool{}
	err := f.Store.View(ctx, func(tx domain.Tx) error {
		l, err := tx.Jobs().List(ctx, domain.JobFilter{}, domain.Page{Limit: domain.MaxPage})
		for _, j := range l.Items {
			mine[j.ID] = j.By.Name == f.Ken.Name || j.By.Name == f.Token.Name
		}
		return err
	})
	return mine, err
}

// difference is the first line in which two texts differ.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + "\n" + y[i]
		}
	}
	return fmt.Sprintf("%d lines, and %d", len(x), len(y))
}

// rolledBack is a store whose updates come to nothing in the end.
type rolledBack struct{ domain.Store }

var errRolledBack = errors.New("rolled back")

// Update implements domain.Store.
func (s rolledBack) Update(ctx context.Context, fn func(domain.Tx) error) error {
	return s.Store.Update(ctx, func(tx domain.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return errRolledBack
	})
}
