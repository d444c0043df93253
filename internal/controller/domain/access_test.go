package domain_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// useCase is a method of the controller as an actor calls it, and who may.
type useCase struct {
	method string
	scope  domain.Scope
	roles  string // v, o, a; d: the device itself, D: another device
	call   func(r *rig, a domain.Actor) error
}

func drop[T any](_ T, err error) error { return err }

var useCases = []useCase{
	{"Audit", "read", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.Audit(r.ctx, a, domain.AuditFilter{}, domain.Page{}))
	}},
	{"History", "read", "voad", func(r *rig, a domain.Actor) error {
		return drop(r.History(r.ctx, a, domain.HistoryFilter{Device: phone1}, domain.Page{}))
	}},
	{"History", "read", "voa", func(r *rig, a domain.Actor) error {
		return drop(r.History(r.ctx, a, domain.HistoryFilter{}, domain.Page{}))
	}},
	{"Desired", "read", "voad", func(r *rig, a domain.Actor) error { return drop(r.Desired(r.ctx, a, phone1)) }},
	{"Device", "read", "voad", func(r *rig, a domain.Actor) error { return drop(r.Device(r.ctx, a, phone1)) }},
	{"Devices", "read", "voa", func(r *rig, a domain.Actor) error {
		return drop(r.Devices(r.ctx, a, domain.DeviceFilter{}, domain.Page{}))
	}},
	{"Overview", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Overview(r.ctx, a, "", time.Hour)) }},
	{"Settings", "read", "voa", func(r *rig, a domain.Actor) error {
		return drop(r.Settings(r.ctx, a, domain.DeviceTarget(phone1)))
	}},
	{"Enterprise", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Enterprise(r.ctx, a)) }},
	{"Profile", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Profile(r.ctx, a, "p")) }},
	{"Profiles", "read", "voa", func(r *rig, a domain.Actor) error {
		return drop(r.Profiles(r.ctx, a, domain.TextFilter{}, domain.Page{}))
	}},
	{"Model", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Model(r.ctx, a, "7961")) }},
	{"Models", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Models(r.ctx, a)) }},
	{"Load", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Load(r.ctx, a, "l")) }},
	{"Loads", "read", "voa", func(r *rig, a domain.Actor) error {
		return drop(r.Loads(r.ctx, a, domain.LoadFilter{}, domain.Page{}))
	}},
	{"CreateDevice", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.CreateDevice(r.ctx, a, phone3, domain.DeviceChange{Model: ptr("7961")}))
	}},
	{"UpdateDevice", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.UpdateDevice(r.ctx, a, phone1, domain.DeviceChange{}, 0))
	}},
	{"DeleteDevice", "devices", "oa", func(r *rig, a domain.Actor) error { return r.DeleteDevice(r.ctx, a, phone1, 0) }},
	{"Bulk", "devices", "oa", func(r *rig, a domain.Actor) error { return drop(r.Bulk(r.ctx, a, nil)) }},
	{"Batch", "devices", "oa", func(r *rig, a domain.Actor) error {
		return r.store.View(r.ctx, func(tx domain.Tx) error { return drop(r.Controller.Batch(r.ctx, tx, a)) })
	}},
	{"ResumeBatch", "devices", "oa", func(r *rig, a domain.Actor) error {
		was := domain.JobActor{Kind: a.Kind, User: a.User, Account: a.Account, Role: a.Role, Scopes: a.Scopes}
		return r.store.View(r.ctx, func(tx domain.Tx) error { return drop(r.Controller.ResumeBatch(r.ctx, tx, was)) })
	}},
	{"CreateProfile", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.CreateProfile(r.ctx, a, "q", domain.ProfileChange{}))
	}},
	{"UpdateProfile", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.UpdateProfile(r.ctx, a, "p", domain.ProfileChange{}, 0))
	}},
	{"AssignRelease", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.AssignRelease(r.ctx, a, domain.ProfileTarget("p"), "R", 0))
	}},
	{"AssignRelease", "enterprise", "a", func(r *rig, a domain.Actor) error {
		return drop(r.AssignRelease(r.ctx, a, domain.ModelTarget("7961"), "R", 0))
	}},
	{"CreateRelease", "loads", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.CreateRelease(r.ctx, a, "N", domain.ReleaseChange{Loads: &[]string{"l"}}))
	}},
	{"UpdateRelease", "loads", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.UpdateRelease(r.ctx, a, "R", domain.ReleaseChange{Note: ptr("x")}, 0))
	}},
	{"DeleteRelease", "loads", "oa", func(r *rig, a domain.Actor) error { return r.DeleteRelease(r.ctx, a, "S", 0) }},
	{"Release", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Release(r.ctx, a, "R")) }},
	{"Releases", "read", "voa", func(r *rig, a domain.Actor) error {
		return drop(r.Releases(r.ctx, a, domain.TextFilter{}, domain.Page{}))
	}},
	{"Change", "devices", "oa", func(r *rig, a domain.Actor) error {
		t := domain.ProfileTarget("p")
		return drop(r.Change(r.ctx, a, domain.Order{Target: &t, Load: ptr("l")}, false))
	}},
	{"Change", "enterprise", "a", func(r *rig, a domain.Actor) error {
		t := domain.EnterpriseTarget()
		return drop(r.Change(r.ctx, a, domain.Order{Target: &t, Settings: ptr(set(policy.Timing, "lan"))}, true))
	}},
	{"CreateSite", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.CreateSite(r.ctx, a, "N", domain.SiteChange{Networks: &[]string{"10.0.0.0/8"}}))
	}},
	{"UpdateSite", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.UpdateSite(r.ctx, a, "S", domain.SiteChange{Note: ptr("x")}, 0))
	}},
	{"DeleteSite", "devices", "oa", func(r *rig, a domain.Actor) error { return r.DeleteSite(r.ctx, a, "S", 0) }},
	{"Site", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.Site(r.ctx, a, "S", time.Hour)) }},
	{"Sites", "read", "voa", func(r *rig, a domain.Actor) error {
		return drop(r.Sites(r.ctx, a, domain.TextFilter{}, time.Hour, domain.Page{}))
	}},
	{"DeleteProfile", "devices", "oa", func(r *rig, a domain.Actor) error { return r.DeleteProfile(r.ctx, a, "p", 0) }},
	{"ChangeSettings", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.ChangeSettings(r.ctx, a, domain.DeviceTarget(phone1), set(policy.PeerSharing, "on"), 0))
	}},
	{"ChangeSettings", "enterprise", "a", func(r *rig, a domain.Actor) error {
		return drop(r.ChangeSettings(r.ctx, a, domain.EnterpriseTarget(), set(policy.PeerSharing, "on"), 0))
	}},
	{"ChangeFileSets", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.ChangeFileSets(r.ctx, a, domain.ProfileTarget("p"), domain.FileSetsChange{Assign: []string{"f"}}, 0))
	}},
	{"AssignLoad", "devices", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.AssignLoad(r.ctx, a, domain.ProfileTarget("p"), "l", 0))
	}},
	{"AssignLoad", "enterprise", "a", func(r *rig, a domain.Actor) error {
		return drop(r.AssignLoad(r.ctx, a, domain.ModelTarget("7961"), "l", 0))
	}},
	{"RollBackLoad", "enterprise", "a", func(r *rig, a domain.Actor) error {
		return drop(r.RollBackLoad(r.ctx, a, domain.EnterpriseTarget(), 0))
	}},
	{"UpdateEnterprise", "enterprise", "a", func(r *rig, a domain.Actor) error {
		return drop(r.UpdateEnterprise(r.ctx, a, domain.EnterpriseChange{}, 0))
	}},
	{"PutModels", "enterprise", "a", func(r *rig, a domain.Actor) error {
		return drop(r.PutModels(r.ctx, a, []policy.ModelRow{{Name: "C", Family: "f"}}))
	}},
	{"DeleteModel", "enterprise", "a", func(r *rig, a domain.Actor) error { return r.DeleteModel(r.ctx, a, "7961") }},
	{"AddLoad", "loads", "oa", func(r *rig, a domain.Actor) error { return drop(r.AddLoad(r.ctx, a, publish.Request{})) }},
	{"AddFileSet", "loads", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.AddFileSet(r.ctx, a, publish.Request{Directory: "d"}))
	}},
	{"AddLoadFrom", "loads", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.AddLoadFrom(r.ctx, a, publish.Request{}, nil))
	}},
	{"ReachOf", "read", "voa", func(r *rig, a domain.Actor) error { return drop(r.ReachOf(r.ctx, a, "l")) }},
	{"SetLoadFrom", "loads", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.SetLoadFrom(r.ctx, a, "l", nil, 0))
	}},
	{"SyncLoads", "loads", "oa", func(r *rig, a domain.Actor) error { return r.SyncLoads(r.ctx, a) }},
	{"RegisterLoad", "loads", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.RegisterLoad(r.ctx, a, domain.UnsignedLoad{Name: "m", Models: []string{"7961"}}))
	}},
	{"RetireLoad", "loads", "oa", func(r *rig, a domain.Actor) error {
		return drop(r.RetireLoad(r.ctx, a, "l", false, 0))
	}},
	{"VerifyLoads", "loads", "oa", func(r *rig, a domain.Actor) error { return drop(r.VerifyLoads(r.ctx, a)) }},
	{"RotateKeys", "access", "a", func(r *rig, a domain.Actor) error { return r.RotateKeys(r.ctx, a, "snapshot") }},
	{"CreateUser", "access", "a", func(r *rig, a domain.Actor) error {
		return drop(r.CreateUser(r.ctx, a, "x", domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)}))
	}},
	{"UpdateUser", "access", "a", func(r *rig, a domain.Actor) error {
		return drop(r.UpdateUser(r.ctx, a, "other", domain.UserChange{FullName: ptr("x")}, 0))
	}},
	{"DeleteUser", "access", "a", func(r *rig, a domain.Actor) error { return r.DeleteUser(r.ctx, a, "other", 0) }},
	{"EndSessions", "access", "a", func(r *rig, a domain.Actor) error { return r.EndSessions(r.ctx, a, "other") }},
	{"User", "access", "a", func(r *rig, a domain.Actor) error { return drop(r.User(r.ctx, a, "other")) }},
	{"Users", "access", "a", func(r *rig, a domain.Actor) error {
		return drop(r.Users(r.ctx, a, domain.TextFilter{}, domain.Page{}))
	}},
	{"Tokens", "access", "a", func(r *rig, a domain.Actor) error {
		return drop(r.Tokens(r.ctx, a, "other", domain.Page{}))
	}},
	{"RevokeToken", "access", "a", func(r *rig, a domain.Actor) error { return r.RevokeToken(r.ctx, a, "nothing") }},
	{"CreateToken", "access", "", func(r *rig, a domain.Actor) error {
		return drop(r.CreateToken(r.ctx, a, "other",
			domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{"read"}}))
	}},
	{"CreateEnrolment", "access", "a", func(r *rig, a domain.Actor) error {
		return drop(r.CreateEnrolment(r.ctx, a, domain.EnrolmentRequest{Name: "n"}))
	}},
	{"Enrolments", "access", "a", func(r *rig, a domain.Actor) error { return drop(r.Enrolments(r.ctx, a, "")) }},
	{"RevokeEnrolment", "access", "a", func(r *rig, a domain.Actor) error {
		return r.RevokeEnrolment(r.ctx, a, "nothing")
	}},
	{"ResetIdentity", "access", "a", func(r *rig, a domain.Actor) error { return r.ResetIdentity(r.ctx, a, phone1) }},
	{"Report", "", "dD", func(r *rig, a domain.Actor) error {
		return r.Report(r.ctx, a, report.Device{Schema: 1, State: "idle"})
	}},
}

// open are the use cases that take no actor, and why they need none.
var open = map[string]string{
	"Defaults": "devices fetch it", "Provision": "devices fetch it", "ProvisionKnown": "likewise", "Asked": "likewise",
	"RecordAsked": "the server's own", "Locator": "the server's own", "Root": "it is public", "Table": "it is public",
	"Enrol": "takes a token", "Login": "takes a password", "BeginSetup": "the server's own",
	"CompleteSetup": "takes a one-time secret", "Prune": "the server's own", "ActorByDevice": "makes actors",
	"ActorBySession": "makes actors", "ActorByToken": "makes actors",
	"SignIn": "takes a password", "SignInBy": "an issuer vouches", "ActorByLogin": "makes actors",
	"AskLogin": "nobody asks", "RedeemLogin": "takes a secret", "LoginRequest": "of a session", "AnswerLogin": "likewise",
	"NextStep": "for use cases elsewhere, which ask", "Logout": "of a session", "ChangeOwnPassword": "takes a password",
	"Update": "for use cases elsewhere, which ask", "View": "for use cases elsewhere, which ask",
	"Within": "for use cases elsewhere, which ask", "Wanted": "for use cases elsewhere, which ask",
	"WantedNamed": "for use cases elsewhere, which ask",
	"Assignable":  "for use cases elsewhere, which ask", "Settle": "for use cases elsewhere, which ask",
	"Sharers": "for use cases elsewhere, which ask", "Time": "a clock", "Random": "random numbers",
}

// TestAccess calls every use case as nobody, in each role, as the device
// itself and as another device.
func TestAccess(t *testing.T) {
	r := accessRig(t) // actors stay who they are, whatever a use case deletes
	for _, u := range useCases {
		for _, who := range "-voadD" {
			err := u.call(r.rig, r.actors[who])
			refused := errors.Is(err, domain.ErrForbidden) || errors.Is(err, domain.ErrUnauthenticated)
			if want := !strings.ContainsRune(u.roles, who); refused != want {
				t.Errorf("%s (%s) as %c: %v, refused should be %v", u.method, u.scope, who, err, want)
			}
			if who == '-' && !errors.Is(err, domain.ErrUnauthenticated) {
				t.Errorf("%s as nobody: %v", u.method, err)
			}
		}
	}
}

// TestScopes calls every use case with an admin's token of one scope.
func TestScopes(t *testing.T) {
	r := accessRig(t)
	by := map[domain.Scope]domain.Actor{}
	for _, scope := range domain.Scopes() {
		tok, err := r.CreateToken(r.ctx, r.admin, "admin",
			domain.TokenRequest{Name: "n", Role: domain.RoleAdmin, Scopes: []domain.Scope{scope}})
		r.ok(err)
		by[scope], err = r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")
		r.ok(err)
	}
	for _, u := range useCases {
		if u.method == "CreateToken" || u.method == "RevokeToken" || u.method == "CreateUser" {
			continue // one's own need another scope: TestTokens; a user has further ones: TestUserGrantsNoMore
		}
		for scope, a := range by {
			err := u.call(r.rig, a)
			if refused, want := errors.Is(err, domain.ErrForbidden), u.scope != scope; refused != want {
				t.Errorf("%s (%s) with scope %s: %v", u.method, u.scope, scope, err)
			}
		}
	}
}

// TestEveryUseCaseIsInTheTable: one that is added later must be thought about.
func TestEveryUseCaseIsInTheTable(t *testing.T) {
	typ := reflect.TypeFor[*domain.Controller]()
	for i := range typ.NumMethod() {
		name := typ.Method(i).Name
		listed := slices.ContainsFunc(useCases, func(u useCase) bool { return u.method == name })
		if _, ok := open[name]; ok == listed {
			t.Errorf("%s: give it a row in the access test, or a reason why it needs no actor", name)
		}
	}
}

type accessSite struct {
	*rig
	actors map[rune]domain.Actor
}

// accessRig has one of everything that the use cases name.
func accessRig(t *testing.T) accessSite {
	t.Helper()
	return accessRigOn(t)
}

// accessRigOn likewise, on another store.
func accessRigOn(t *testing.T, change ...func(*domain.Config)) accessSite {
	t.Helper()
	r := newRig(t, append(change, withRepository(t))...)
	r.unsigned("l", "7961")
	r.ok(drop(r.CreateProfile(r.ctx, r.admin, "p", domain.ProfileChange{})))
	r.site("S")
	r.fileSet("f", "7961")
	for _, name := range []string{"R", "S"} {
		r.ok(drop(r.CreateRelease(r.ctx, r.admin, name, domain.ReleaseChange{Loads: &[]string{"l"}})))
	}
	s := accessSite{r, map[rune]domain.Actor{'-': {}, 'd': r.enrol(phone1), 'D': r.enrol(phone2)}}
	r.user("other", domain.RoleAdmin)
	for key, role := range map[rune]domain.Role{'v': domain.RoleViewer, 'o': domain.RoleOperator, 'a': domain.RoleAdmin} {
		r.user(string(role), role)
		_, s.actors[key] = r.login(string(role))
	}
	return s
}

// TestDeviceSeesItselfOnly: nothing of another device, whatever it asks for.
func TestDeviceSeesItselfOnly(t *testing.T) {
	r := newRig(t)
	one, two := r.enrol(phone1), r.enrol(phone2)
	for _, err := range []error{drop(r.Device(r.ctx, two, phone1)), drop(r.Desired(r.ctx, two, "00:00:00:00:00:01")),
		drop(r.History(r.ctx, two, domain.HistoryFilter{Device: phone1}, domain.Page{})),
		drop(r.History(r.ctx, two, domain.HistoryFilter{}, domain.Page{}))} {
		if !errors.Is(err, domain.ErrForbidden) {
			t.Errorf("another device: %v", err)
		}
	}
	err := r.Report(r.ctx, one, report.Device{Schema: 1, State: "failed", Reason: "mine"})
	r.ok(err)
	row, err := r.Device(r.ctx, two, phone2)
	r.ok(err)
	if row.State != nil {
		t.Errorf("a report of one is the state of another: %+v", row.State)
	}
}

// TestWhoIsNobody: an actor needs a kind and a role; one alone is nobody, and
// only a device's actor of a device's role passes as a device.
func TestWhoIsNobody(t *testing.T) {
	r := newRig(t)
	r.device(phone1, "7961")
	for name, c := range map[string]struct {
		a    domain.Actor
		want error
	}{
		"a role without a kind":     {domain.Actor{Name: phone1, Role: domain.RoleAdmin}, domain.ErrUnauthenticated},
		"a kind without a role":     {domain.Actor{Kind: domain.ActorUser, Name: phone1}, domain.ErrUnauthenticated},
		"a role that is none":       {domain.Actor{Kind: domain.ActorUser, Name: phone1, Role: "god"}, domain.ErrForbidden},
		"a user who is a device":    {domain.Actor{Kind: "user", Name: phone1, Role: "device"}, domain.ErrForbidden},
		"a device without a role":   {domain.Actor{Kind: domain.ActorDevice, Name: phone1}, domain.ErrUnauthenticated},
		"nobody of a device's role": {domain.Actor{Name: phone1, Role: domain.RoleDevice}, domain.ErrUnauthenticated},
	} {
		for call, err := range map[string]error{
			"Device":  drop(r.Device(r.ctx, c.a, phone1)),
			"Devices": drop(r.Devices(r.ctx, c.a, domain.DeviceFilter{}, domain.Page{})),
		} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", name, call, err, c.want)
			}
		}
		if c.a.Can(domain.ScopeRead) {
			t.Errorf("%s can read", name)
		}
	}
	if domain.Local("root").Can("everything") {
		t.Error("a scope that there is not is granted")
	}
}

// TestTokenGrantsNoMoreThanItHas: a token with the scope to make tokens makes
// none that may more than itself, and one without that scope makes none.
func TestTokenGrantsNoMoreThanItHas(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	r.user("val", domain.RoleViewer)
	as := func(role domain.Role, scopes ...domain.Scope) domain.Actor {
		t.Helper()
		tok, err := r.CreateToken(r.ctx, r.admin, "ann", domain.TokenRequest{Name: "n", Role: role, Scopes: scopes})
		r.ok(err)
		a, err := r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")
		r.ok(err)
		return a
	}
	operator := as(domain.RoleOperator, domain.ScopeRead, domain.ScopeAccess)
	order := func(role domain.Role, scopes ...domain.Scope) error {
		return drop(r.CreateToken(r.ctx, operator, "", domain.TokenRequest{Name: "n", Role: role, Scopes: scopes}))
	}
	r.ok(order(domain.RoleOperator, domain.ScopeRead, domain.ScopeAccess))
	r.is(order(domain.RoleOperator, domain.ScopeDevices), domain.ErrForbidden)
	r.is(order(domain.RoleOperator, domain.ScopeRead, domain.ScopeLoads), domain.ErrForbidden)
	r.is(order(domain.RoleAdmin, domain.ScopeRead), domain.ErrForbidden)
	reader := as(domain.RoleAdmin, domain.ScopeRead, domain.ScopeDevices)
	req := domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{domain.ScopeRead}}
	r.is(drop(r.CreateToken(r.ctx, reader, "", req)), domain.ErrForbidden)
	// A shell makes tokens for others, but none that may more than its user.
	req.Role = domain.RoleOperator
	r.is(drop(r.CreateToken(r.ctx, r.admin, "val", req)), domain.ErrForbidden)
	r.is(drop(r.CreateToken(r.ctx, r.admin, "nobody", req)), domain.ErrNotFound)
	for name, bad := range map[string]domain.TokenRequest{
		"a life below zero": {Name: "n", Role: domain.RoleViewer, Scopes: req.Scopes, Life: -time.Hour},
		"a life too long":   {Name: "n", Role: domain.RoleViewer, Scopes: req.Scopes, Life: domain.MaxTokenLife + 1},
		"a long name":       {Name: strings.Repeat("n", 65), Role: domain.RoleViewer, Scopes: req.Scopes},
		"no name":           {Role: domain.RoleViewer, Scopes: req.Scopes},
		"no scope":          {Name: "n", Role: domain.RoleViewer},
		"another scope":     {Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{"all"}},
		"another role":      {Name: "n", Role: "god", Scopes: req.Scopes},
	} {
		if _, err := r.CreateToken(r.ctx, r.admin, "ann", bad); !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTokenWithoutScopes: of a token that names none in the store, none is
// granted; nil means all for a session only.
func TestTokenWithoutScopes(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	req := domain.TokenRequest{Name: "n", Role: domain.RoleAdmin, Scopes: domain.Scopes()}
	tok, err := r.CreateToken(r.ctx, r.admin, "ann", req)
	r.ok(err)
	r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error {
		cred, err := tx.Credentials().Get(r.ctx, tok.ID)
		if err != nil {
			return err
		}
		cred.Scopes = nil
		return tx.Credentials().Put(r.ctx, &cred)
	}))
	a, err := r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")
	r.ok(err)
	for _, s := range domain.Scopes() {
		if a.Can(s) {
			t.Errorf("scope %s is granted", s)
		}
	}
}

// everyFault calls a use case with each operation of the store that it makes
// failing in turn. It returns once none fails any more.
func (r *rig) everyFault(f *faults, name string, call func() error) {
	r.t.Helper()
	for n := 1; ; n++ {
		*f = faults{Store: f.Store, dry: f.dry, failAt: n}
		err := call()
		switch {
		case !f.hit && n > 1 && (err == nil || errors.Is(err, errDry)):
			f.failAt = 0
			return
		case !f.hit:
			r.t.Fatalf("%s without a fault: %v", name, err)
		case !errors.Is(err, errFault):
			r.t.Errorf("%s, operation %d of the store fails: %v", name, n, err)
		}
		r.now = r.now.Add(10 * time.Minute) // forgives attempts that count as failed
	}
}

// TestStoreFails: whichever operation of the store fails, its use case fails, and
// says so: nothing counts as read, allowed or written that was not.
func TestStoreFails(t *testing.T) {
	f := &faults{}
	r := accessRigOn(t, func(c *domain.Config) { f.Store, c.Store = c.Store, f })
	admin := r.actors['a']
	// What the use cases of the table find, beyond the rig.
	req := domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: domain.Scopes()}
	tok, err := r.CreateToken(r.ctx, r.admin, "other", req)
	r.ok(err)
	e, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "key", SiteKey: true, Uses: 0})
	r.ok(err)
	_, err = r.PutModels(r.ctx, r.admin, []policy.ModelRow{{Name: "Camera", Family: "f", CanShare: true}})
	r.ok(err)
	r.device(phone3, "camera")
	r.unsigned("k", "7961", "camera")
	r.unsigned("m2", "7961", "camera")
	for _, l := range []string{"k", "m2", "k"} {
		r.ok(drop(r.AssignLoad(r.ctx, r.admin, domain.EnterpriseTarget(), l, 0)))
	}
	skip := []string{"VerifyLoads", "AddLoad", "AddLoadFrom", "AddFileSet", "SyncLoads", "RotateKeys", "CreateToken",
		"RevokeToken", "RevokeEnrolment", "DeleteModel", "Bulk", "CreateDevice", "Batch", "ResumeBatch"}
	f.dry = true
	for _, u := range append(useCases, writingUseCases(tok.ID, e.ID)...) {
		if slices.Contains(skip, u.method) && u.scope != "" {
			continue // of the table; here they are called otherwise
		}
		who := admin
		if u.method == "Report" {
			who = r.actors['d']
		}
		r.everyFault(f, u.method, func() error { return u.call(r.rig, who) })
	}
}

// writingUseCases are calls that write, or read, more than those of useCases do.
func writingUseCases(token, enrolment string) []useCase {
	return []useCase{
		{method: "RevokeToken", call: func(r *rig, a domain.Actor) error { return r.RevokeToken(r.ctx, a, token) }},
		{method: "RevokeEnrolment", call: func(r *rig, a domain.Actor) error {
			return r.RevokeEnrolment(r.ctx, a, enrolment)
		}},
		{method: "DeleteModel", call: func(r *rig, a domain.Actor) error { return r.DeleteModel(r.ctx, a, "camera") }},
		{method: "PutModels", call: func(r *rig, a domain.Actor) error {
			row := policy.ModelRow{Name: "Camera", Family: "g", CanShare: true, DefaultLoad: "k"}
			return drop(r.PutModels(r.ctx, a, []policy.ModelRow{row}))
		}},
		{method: "CreateToken", call: func(r *rig, a domain.Actor) error {
			req := domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: domain.Scopes()}
			return drop(r.CreateToken(r.ctx, a, "", req))
		}},
		{method: "CreateDevice", call: func(r *rig, a domain.Actor) error {
			c := domain.DeviceChange{Model: ptr("7961"), Profile: ptr("p"), Load: ptr("l"), Settings: set(policy.Timing, "lan")}
			return drop(r.CreateDevice(r.ctx, a, "SEP00000000000A", c))
		}},
		{method: "UpdateDevice", call: func(r *rig, a domain.Actor) error {
			return drop(r.UpdateDevice(r.ctx, a, phone1, domain.DeviceChange{Profile: ptr("p"), Load: ptr("l")}, 0))
		}},
		{method: "UpdateSite", call: func(r *rig, a domain.Actor) error {
			return drop(r.UpdateSite(r.ctx, a, "S", domain.SiteChange{Networks: &[]string{"10.0.0.0/24"}}, 0))
		}},
		{method: "Devices of a site", call: func(r *rig, a domain.Actor) error {
			return drop(r.Devices(r.ctx, a, domain.DeviceFilter{Site: "S"}, domain.Page{}))
		}},
		{method: "Devices of a model", call: func(r *rig, a domain.Actor) error {
			return drop(r.Devices(r.ctx, a, domain.DeviceFilter{Model: "7961"}, domain.Page{}))
		}},
		{method: "RetireLoad", call: func(r *rig, a domain.Actor) error {
			return drop(r.RetireLoad(r.ctx, a, "l", true, 0))
		}},
		{method: "UpdateUser", call: func(r *rig, a domain.Actor) error {
			c := domain.UserChange{Role: ptr(domain.RoleViewer), Disabled: ptr(true)}
			return drop(r.UpdateUser(r.ctx, a, "other", c, 0))
		}},
		{method: "UpdateEnterprise", call: func(r *rig, a domain.Actor) error {
			return drop(r.UpdateEnterprise(r.ctx, a, domain.EnterpriseChange{RegisterProfile: ptr("p")}, 0))
		}},
		{method: "CreateEnrolment", call: func(r *rig, a domain.Actor) error {
			return drop(r.CreateEnrolment(r.ctx, a, domain.EnrolmentRequest{Name: "n", Profile: "p"}))
		}},
		{method: "BeginSetup", call: func(r *rig, _ domain.Actor) error { return drop(r.BeginSetup(r.ctx)) }},
		{method: "Prune", call: func(r *rig, _ domain.Actor) error { return drop(r.Prune(r.ctx)) }},
		{method: "Defaults", call: func(r *rig, _ domain.Actor) error { return drop(r.Defaults(r.ctx)) }},
		{method: "Table", call: func(r *rig, _ domain.Actor) error { return drop(r.Table(r.ctx)) }},
		{method: "Provision", call: func(r *rig, _ domain.Actor) error {
			return drop(r.Provision(r.ctx, phone1, "7961", "10.0.0.1"))
		}},
		{method: "Locator", call: func(r *rig, _ domain.Actor) error { return drop(r.Locator(r.ctx)) }},
		{method: "RecordAsked", call: func(r *rig, _ domain.Actor) error {
			r.Asked(phone2, "10.0.0.1")
			return r.RecordAsked(r.ctx)
		}},
		{method: "Logout", call: func(r *rig, a domain.Actor) error { return r.Logout(r.ctx, a) }},
	}
}

// TestStoreFailsMidway: likewise of what is written in several steps.
func TestStoreFailsMidway(t *testing.T) {
	f := &faults{}
	r := newRig(t, func(c *domain.Config) {
		f.Store, c.Store = c.Store, f
		c.SessionIdle, c.SessionLife = 1000*time.Hour, 1000*time.Hour // the clock moves
	}, withRepository(t))
	link, err := r.BeginSetup(r.ctx)
	r.ok(err)
	long := domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)}
	e, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "key", Uses: 2, Life: 100 * 24 * time.Hour})
	r.ok(err)
	r.everyFault(f, "CompleteSetup", func() error {
		return drop(r.CompleteSetup(r.ctx, link, "ann", password, "10.0.0.1"))
	})
	r.everyFault(f, "CreateUser", func() error { return drop(r.CreateUser(r.ctx, r.admin, "bob", long)) })
	r.everyFault(f, "Login", func() error { return drop(r.Login(r.ctx, "bob", password, "10.0.0.1")) })
	r.everyFault(f, "Login in vain", func() error {
		if err := drop(r.Login(r.ctx, "bob", "wrong password", "10.0.0.1")); !errors.Is(err, domain.ErrUnauthenticated) {
			return err
		}
		return nil
	})
	session, bob := r.login("bob")
	r.everyFault(f, "SignIn", func() error { return drop(r.SignIn(r.ctx, "bob", password, "c", "10.0.0.1")) })
	r.everyFault(f, "SignInBy", func() error { return drop(r.SignInBy(r.ctx, carol, "10.0.0.1")) })
	r.everyFault(f, "a browser lets a command line in", func() error { return r.letIn(bob) })
	r.everyFault(f, "ActorBySession", func() error {
		_, _, err := r.ActorBySession(r.ctx, session.Secret, "10.0.0.2")
		return err
	})
	r.everyFault(f, "ChangeOwnPassword", func() error {
		return r.ChangeOwnPassword(r.ctx, bob, password, password+"2")
	})
	for _, device := range []string{phone1, phone2} {
		r.everyFault(f, "Enrol", func() error {
			return r.Enrol(r.ctx, domain.EnrolRequest{Device: device, Model: "7961", Token: e.Secret,
				Secret: strings.Repeat("s", 20) + device, From: "10.0.0.1"})
		})
	}
	r.ok(drop(r.CreateProfile(r.ctx, r.admin, "p", domain.ProfileChange{})))
	change := domain.EnterpriseChange{AutoRegistration: ptr(true), RegisterProfile: ptr("p")}
	r.ok(drop(r.UpdateEnterprise(r.ctx, r.admin, change, 0)))
	r.everyFault(f, "Provision", func() error { return drop(r.Provision(r.ctx, phone3, "7961", "10.0.0.1")) })
	r.everyFault(f, "ActorByDevice", func() error {
		return drop(r.ActorByDevice(r.ctx, "", strings.Repeat("s", 20)+phone1, "10.0.0.1"))
	})
	file := filepath.Join(t.TempDir(), "app.bin")
	r.ok(os.WriteFile(file, []byte("app"), 0o600))
	add := func(version string) error {
		return drop(r.AddLoad(r.ctx, r.admin, publish.Request{Name: "fw", Version: version, Models: []string{"7961"},
			Files: []string{file}, Replace: true}))
	}
	r.everyFault(f, "AddLoad", func() error { return add("1") })
	r.ok(drop(r.AssignLoad(r.ctx, r.admin, domain.ModelTarget("7961"), "fw", 0)))
	r.everyFault(f, "AddLoad again", func() error { return add("2") })
	r.everyFault(f, "SyncLoads", func() error { return r.SyncLoads(r.ctx, r.admin) })
	r.everyFault(f, "Bulk", func() error {
		row := domain.BulkRow{Device: "SEP00000000000B", Create: true, Change: domain.DeviceChange{Model: ptr("7961")}}
		out, err := r.Bulk(r.ctx, r.admin, []domain.BulkRow{row})
		if err == nil {
			err = out[0].Err
		}
		return err
	})
}
