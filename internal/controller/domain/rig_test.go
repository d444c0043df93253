package domain_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

const (
	phone1, phone2, phone3 = "SEP000000000001", "SEP000000000002", "SEP000000000003"
	password               = "correct horse battery"
)

// rig is a controller on a real store, with a clock that stands until moved.
type rig struct {
	*domain.Controller
	t     testing.TB
	ctx   context.Context
	store domain.Store
	now   time.Time
	admin domain.Actor
}

func newRig(t testing.TB, change ...func(*domain.Config)) *rig {
	t.Helper()
	s, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, ctx: t.Context(), store: s, now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		admin: domain.Local("root")}
	cfg := domain.Config{Store: s, Now: func() time.Time { return r.now },
		Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}}
	for _, c := range change {
		c(&cfg)
	}
	if r.Controller, err = domain.New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

// withRepository gives the controller a repository of signed loads.
func withRepository(t *testing.T) func(*domain.Config) {
	t.Helper()
	repo := elsewhere(t)
	return func(c *domain.Config) { c.Repository = repo }
}

// elsewhere is a new repository.
func elsewhere(t *testing.T) *repository.Repository {
	t.Helper()
	dir := t.TempDir()
	repo, err := repository.Open(repository.Config{Dir: filepath.Join(dir, "pub"), Keys: filepath.Join(dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// ok fails the test unless the error is nil.
func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// is fails the test unless the error is that one.
func (r *rig) is(err, want error) {
	r.t.Helper()
	if !errors.Is(err, want) {
		r.t.Fatalf("the error is %v, not %v", err, want)
	}
}

func ptr[T any](v T) *T { return &v }

func set(name, value string) domain.SettingsChange {
	return domain.SettingsChange{Set: policy.Values{name: value}}
}

func (r *rig) device(name, model string) domain.Device {
	r.t.Helper()
	d, err := r.CreateDevice(r.ctx, r.admin, name, domain.DeviceChange{Model: &model})
	r.ok(err)
	return d
}

func (r *rig) unsigned(name string, models ...string) {
	r.t.Helper()
	_, err := r.RegisterLoad(r.ctx, r.admin, domain.UnsignedLoad{Name: name, Models: models})
	r.ok(err)
}

// fileSet records a file set that the repository need not have.
func (r *rig) fileSet(name string, models ...string) {
	r.t.Helper()
	r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error {
		f := domain.FileSet{Load: domain.Load{Name: name, Models: models}, Directory: "locale"}
		return tx.FileSets().Put(r.ctx, &f)
	}))
}

// site makes a site of these networks.
func (r *rig) site(name string, networks ...string) domain.Site {
	r.t.Helper()
	s, err := r.CreateSite(r.ctx, r.admin, name, domain.SiteChange{Networks: &networks})
	r.ok(err)
	return s
}

func (r *rig) user(name string, role domain.Role) {
	r.t.Helper()
	_, err := r.CreateUser(r.ctx, r.admin, name, domain.UserChange{Role: &role, Password: ptr(password)})
	r.ok(err)
}

func (r *rig) login(name string) (domain.NewSession, domain.Actor) {
	r.t.Helper()
	s, err := r.Login(r.ctx, name, password, "10.0.0.1")
	r.ok(err)
	a, _, err := r.ActorBySession(r.ctx, s.Secret, "10.0.0.1")
	r.ok(err)
	return s, a
}

// enrol gives a device an identity.
func (r *rig) enrol(name string) domain.Actor {
	r.t.Helper()
	e, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "e"})
	r.ok(err)
	secret := strings.Repeat("s", 20) + name
	err = r.Enrol(r.ctx, domain.EnrolRequest{Device: name, Model: "7961", Token: e.Secret, Secret: secret,
		From: "10.0.0.9"})
	r.ok(err)
	a, err := r.ActorByDevice(r.ctx, name, secret, "10.0.0.9")
	r.ok(err)
	return a
}

func (r *rig) desired(name string) domain.Desired {
	r.t.Helper()
	d, err := r.Desired(r.ctx, r.admin, name)
	r.ok(err)
	return d
}

// export is all that the store holds, as text.
func (r *rig) export() string {
	r.t.Helper()
	var b bytes.Buffer
	r.ok(r.store.Export(r.ctx, &b))
	return b.String()
}

var (
	errFault = errors.New("the store fails")
	errDry   = errors.New("nothing is written")
)

// faults is a store of which one operation fails.
type faults struct {
	domain.Store
	// failAt is the operation that fails, counted from 1; hit says that it did.
	failAt, ops int
	hit         bool
	// dry lets every update come to nothing in the end, with errDry.
	dry bool
}

func (f *faults) op() error {
	if f.ops++; f.ops != f.failAt {
		return nil
	}
	f.hit = true
	return errFault
}

func (f *faults) View(ctx context.Context, fn func(domain.Tx) error) error {
	if err := f.op(); err != nil {
		return err
	}
	return f.Store.View(ctx, func(tx domain.Tx) error { return fn(faultTx{tx, f}) })
}

func (f *faults) Update(ctx context.Context, fn func(domain.Tx) error) error {
	return f.Store.Update(ctx, func(tx domain.Tx) error {
		if err := fn(faultTx{tx, f}); err != nil {
			return err
		}
		if err := f.op(); err != nil || !f.dry {
			return err // that of the commit
		}
		return errDry
	})
}

type faultTx struct {
	domain.Tx
	f *faults
}

type faultTable[T, F any] struct {
	domain.Table[T, F]
	f *faults
}

func (t faultTable[T, F]) Get(ctx context.Context, key string) (v T, err error) {
	if err := t.f.op(); err != nil {
		return v, err
	}
	return t.Table.Get(ctx, key)
}

func (t faultTable[T, F]) Put(ctx context.Context, v *T) error {
	if err := t.f.op(); err != nil {
		return err
	}
	return t.Table.Put(ctx, v)
}

func (t faultTable[T, F]) Delete(ctx context.Context, key string, version int64) error {
	if err := t.f.op(); err != nil {
		return err
	}
	return t.Table.Delete(ctx, key, version)
}

func (t faultTable[T, F]) List(ctx context.Context, f F, p domain.Page) (l domain.List[T], err error) {
	if err := t.f.op(); err != nil {
		return l, err
	}
	return t.Table.List(ctx, f, p)
}

type faultLog[T, F any] struct {
	domain.Log[T, F]
	f *faults
}

func (t faultLog[T, F]) Append(ctx context.Context, v T) error {
	if err := t.f.op(); err != nil {
		return err
	}
	return t.Log.Append(ctx, v)
}

func (t faultLog[T, F]) List(ctx context.Context, f F, p domain.Page) (l domain.List[T], err error) {
	if err := t.f.op(); err != nil {
		return l, err
	}
	return t.Log.List(ctx, f, p)
}

func (t faultLog[T, F]) Trim(ctx context.Context, before time.Time) (int64, error) {
	if err := t.f.op(); err != nil {
		return 0, err
	}
	return t.Log.Trim(ctx, before)
}

func (t faultLog[T, F]) TrimOf(ctx context.Context, subject string, keep int) (int64, error) {
	if err := t.f.op(); err != nil {
		return 0, err
	}
	return t.Log.TrimOf(ctx, subject, keep)
}

func (t faultTx) Devices() domain.Table[domain.Device, domain.DeviceFilter] {
	return faultTable[domain.Device, domain.DeviceFilter]{t.Tx.Devices(), t.f}
}

func (t faultTx) Profiles() domain.Table[domain.Profile, domain.TextFilter] {
	return faultTable[domain.Profile, domain.TextFilter]{t.Tx.Profiles(), t.f}
}

func (t faultTx) Enterprises() domain.Table[domain.Enterprise, domain.None] {
	return faultTable[domain.Enterprise, domain.None]{t.Tx.Enterprises(), t.f}
}

func (t faultTx) Models() domain.Table[domain.ModelEntry, domain.None] {
	return faultTable[domain.ModelEntry, domain.None]{t.Tx.Models(), t.f}
}

func (t faultTx) Loads() domain.Table[domain.Load, domain.LoadFilter] {
	return faultTable[domain.Load, domain.LoadFilter]{t.Tx.Loads(), t.f}
}

func (t faultTx) FileSets() domain.Table[domain.FileSet, domain.LoadFilter] {
	return faultTable[domain.FileSet, domain.LoadFilter]{t.Tx.FileSets(), t.f}
}

func (t faultTx) Releases() domain.Table[domain.Release, domain.TextFilter] {
	return faultTable[domain.Release, domain.TextFilter]{t.Tx.Releases(), t.f}
}

func (t faultTx) Sites() domain.Table[domain.Site, domain.TextFilter] {
	return faultTable[domain.Site, domain.TextFilter]{t.Tx.Sites(), t.f}
}

func (t faultTx) States() domain.Table[domain.DeviceState, domain.StateFilter] {
	return faultTable[domain.DeviceState, domain.StateFilter]{t.Tx.States(), t.f}
}

func (t faultTx) Accounts() domain.Table[domain.Account, domain.TextFilter] {
	return faultTable[domain.Account, domain.TextFilter]{t.Tx.Accounts(), t.f}
}

func (t faultTx) Credentials() domain.Table[domain.Credential, domain.CredentialFilter] {
	return faultTable[domain.Credential, domain.CredentialFilter]{t.Tx.Credentials(), t.f}
}

func (t faultTx) Throttles() domain.Table[domain.Throttle, domain.None] {
	return faultTable[domain.Throttle, domain.None]{t.Tx.Throttles(), t.f}
}

func (t faultTx) Verdicts() domain.Table[domain.Verdict, domain.VerdictFilter] {
	return faultTable[domain.Verdict, domain.VerdictFilter]{t.Tx.Verdicts(), t.f}
}

func (t faultTx) History() domain.Log[domain.HistoryEntry, domain.HistoryFilter] {
	return faultLog[domain.HistoryEntry, domain.HistoryFilter]{t.Tx.History(), t.f}
}

func (t faultTx) Audit() domain.Log[domain.AuditEntry, domain.AuditFilter] {
	return faultLog[domain.AuditEntry, domain.AuditFilter]{t.Tx.Audit(), t.f}
}

// carol signs in at an issuer.
var carol = domain.Identity{Issuer: "https://login.example.com", Subject: "42", Name: "Carol", FullName: "Carol C",
	Role: domain.RoleOperator}

// TestSignInBy: who comes from an issuer has the role that the issuer tells at
// each time, the name of nobody else, and neither a password nor a role by hand.
func TestSignInBy(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	in := func(id domain.Identity) (domain.NewSession, error) { return r.SignInBy(r.ctx, id, "10.0.0.1") }
	s, err := in(carol)
	r.ok(err)
	if s.User != "carol@login.example.com" || s.Role != domain.RoleOperator {
		t.Fatalf("signed in as %+v", s)
	}
	same := carol
	same.Name, same.Role = "renamed", domain.RoleAdmin // the subject counts
	if s, err = in(same); err != nil || s.User != "carol@login.example.com" || s.Role != domain.RoleAdmin {
		t.Fatalf("again: %+v, %v", s, err)
	}
	other := carol
	other.Subject = "43"
	r.is(drop(in(other)), domain.ErrRefused)
	other.Issuer = "https://other.example.com"
	other.Subject, other.Name = "42", "carol@login.example.com" // an issuer that says it is the first one's
	r.is(drop(in(other)), domain.ErrRefused)
	other.Name = "ann"
	if s, err := in(other); err != nil || s.User != "ann@other.example.com" {
		t.Errorf("who is called as a user with a password is %+v, %v", s, err)
	}
	for name, id := range map[string]domain.Identity{
		"no issuer": {Subject: "1", Name: "x", Role: domain.RoleViewer}, "no subject": {Issuer: "https://a", Name: "x"},
		"no role that is": {Issuer: "https://a", Subject: "1", Name: "x", Role: "god"},
		"a device's role": {Issuer: "https://a", Subject: "1", Name: "x", Role: domain.RoleDevice},
	} {
		if err := drop(in(id)); !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "@", "a@", "@b", "a@b@c", "a b", "a/b", "a\x00", strings.Repeat("a", 65), "ä"} {
		id := domain.Identity{Issuer: "https://a.example", Subject: "7", Name: name, Role: domain.RoleViewer}
		if err := drop(in(id)); !errors.Is(err, domain.ErrRefused) || !strings.Contains(err.Error(), "--oidc-name-claim") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, change := range map[string]domain.UserChange{"a password": {Password: ptr(password)},
		"a role": {Role: ptr(domain.RoleAdmin)}} {
		err := drop(r.UpdateUser(r.ctx, r.admin, "carol@login.example.com", change, 0))
		if !errors.Is(err, domain.ErrRefused) {
			t.Errorf("%s by hand: %v", name, err)
		}
	}
	long := domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)}
	r.is(drop(r.CreateUser(r.ctx, r.admin, "dora@login.example.com", long)), domain.ErrInvalid)
	r.is(drop(r.Login(r.ctx, "carol@login.example.com", password, "10.0.0.1")), domain.ErrUnauthenticated)
	a, _, err := r.ActorBySession(r.ctx, s.Secret, "10.0.0.1")
	r.ok(err)
	r.is(r.ChangeOwnPassword(r.ctx, a, password, password+"2"), domain.ErrRefused)
	// Ann is the last admin whom no issuer can keep out.
	r.is(r.DeleteUser(r.ctx, r.admin, "ann", 0), domain.ErrRefused)
	r.ok(r.DeleteUser(r.ctx, r.admin, "carol@login.example.com", 0))
	if s, err := in(carol); err != nil || s.Role != domain.RoleOperator { // the name is free, and so is the identity
		t.Errorf("after the end: %+v, %v", s, err)
	}
}

// TestForeignRightsEnd: with the role at the issuer go sessions, sign-ins and
// tokens; a ban holds against the issuer; and who never comes again is out in
// the end.
func TestForeignRightsEnd(t *testing.T) {
	r := newRig(t)
	in := func(role domain.Role) (domain.NewSession, error) {
		id := carol
		id.Role = role
		return r.SignInBy(r.ctx, id, "10.0.0.1")
	}
	if err := drop(in("")); !errors.Is(err, domain.ErrForbidden) || !strings.Contains(err.Error(), "group") {
		t.Errorf("without a role: %v", err)
	}
	if l, err := r.Users(r.ctx, r.admin, domain.TextFilter{}, domain.Page{}); err != nil || l.Total != 0 {
		t.Errorf("who has no role is a user all the same: %+v, %v", l, err)
	}
	s, err := in(domain.RoleAdmin)
	r.ok(err)
	a, _, err := r.ActorBySession(r.ctx, s.Secret, "10.0.0.1")
	r.ok(err)
	token, err := r.CreateToken(r.ctx, a, "", domain.TokenRequest{Name: "t", Role: domain.RoleAdmin,
		Scopes: domain.Scopes(), Life: domain.MaxTokenLife})
	r.ok(err)
	may := func() bool {
		a, err := r.ActorByToken(r.ctx, token.Secret, "10.0.0.1")
		return err == nil && a.Can(domain.ScopeRead)
	}
	if !may() {
		t.Fatal("the token is of no use")
	}
	r.is(drop(in("")), domain.ErrForbidden)
	_, _, err = r.ActorBySession(r.ctx, s.Secret, "10.0.0.1")
	r.is(err, domain.ErrUnauthenticated)
	if may() {
		t.Error("the role is gone, and the token is good")
	}
	r.ok(drop(in(domain.RoleAdmin)))
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, s.User, domain.UserChange{Disabled: ptr(true)}, 0)))
	err = drop(in(domain.RoleAdmin))
	if !errors.Is(err, domain.ErrForbidden) || !strings.Contains(err.Error(), "disabled") {
		t.Errorf("disabled: %v", err)
	}
	if may() {
		t.Error("the user is disabled, and the token is good")
	}
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, s.User, domain.UserChange{Disabled: ptr(false)}, 0)))
	s, err = in(domain.RoleAdmin)
	r.ok(err)
	a, _, err = r.ActorBySession(r.ctx, s.Secret, "10.0.0.1")
	r.ok(err)
	began := r.now
	r.now = began.Add(time.Minute)
	r.ok(r.letIn(a)) // the issuer is not asked, so the month does not begin anew
	r.now = began.Add(30*24*time.Hour - time.Second)
	if !may() {
		t.Error("the token ends early")
	}
	r.now = r.now.Add(time.Second)
	if may() {
		t.Error("who has not signed in for a month has a token")
	}
	log, err := r.Audit(r.ctx, r.admin, domain.AuditFilter{Target: "user " + s.User}, domain.Page{})
	r.ok(err)
	var actions []string
	for _, e := range log.Items {
		actions = append(actions, e.Action+" by "+string(e.Kind))
	}
	for _, want := range []string{"user.create by system", "user.update by system", "login.failed by system",
		"login by user"} {
		if !strings.Contains(strings.Join(actions, ","), want) {
			t.Errorf("the audit log has no %s: %v", want, actions)
		}
	}
}

// TestBrowserLetsACommandLineIn: with the code that the command line shows, once,
// in time, from a browser only, and as whoever is logged in there.
func TestBrowserLetsACommandLineIn(t *testing.T) {
	r := newRig(t)
	r.user("bob", domain.RoleOperator)
	_, bob := r.login("bob")
	ask := func() domain.NewLoginRequest {
		t.Helper()
		q, err := r.AskLogin(r.ctx, "laptop", "10.0.0.7")
		r.ok(err)
		return q
	}
	redeem := func(secret string) (domain.NewLogin, bool, error) { return r.RedeemLogin(r.ctx, secret, "10.0.0.7") }
	q := ask()
	if _, ok, err := redeem(q.Secret); ok || err != nil {
		t.Fatalf("before the answer: %v, %v", ok, err)
	}
	seen, err := r.LoginRequest(r.ctx, bob, strings.ToLower(strings.ReplaceAll(q.Code, "-", " ")))
	if err != nil || seen != q.LoginRequest || seen.From != "10.0.0.7" || seen.Client != "laptop" {
		t.Fatalf("what is asked: %+v, %v", seen, err)
	}
	r.ok(r.AnswerLogin(r.ctx, bob, q.Code, true))
	r.is(r.AnswerLogin(r.ctx, bob, q.Code, false), domain.ErrNotFound) // it is answered
	l, ok, err := redeem(q.Secret)
	if err != nil || !ok || l.User != "bob" || l.Client != "laptop" {
		t.Fatalf("after it: %+v, %v, %v", l, ok, err)
	}
	_, _, err = redeem(q.Secret)
	r.is(err, domain.ErrUnauthenticated)
	a, _, err := r.ActorByLogin(r.ctx, l.Secret, "10.0.0.7")
	r.ok(err)
	again := ask()
	r.is(r.AnswerLogin(r.ctx, a, again.Code, true), domain.ErrForbidden) // not from a command line
	r.is(r.AnswerLogin(r.ctx, r.admin, again.Code, true), domain.ErrForbidden)
	r.is(r.AnswerLogin(r.ctx, domain.Actor{}, again.Code, true), domain.ErrUnauthenticated)
	for _, code := range []string{"", "B", "BBBB-BBBB", strings.Repeat("B", 1000), "\xff"} {
		r.is(drop(r.LoginRequest(r.ctx, bob, code)), domain.ErrNotFound)
	}
	r.ok(r.AnswerLogin(r.ctx, bob, again.Code, false))
	_, _, err = redeem(again.Secret)
	r.is(err, domain.ErrUnauthenticated)
	late := ask()
	r.ok(r.AnswerLogin(r.ctx, bob, late.Code, true))
	r.now = r.now.Add(domain.RequestLife)
	_, _, err = redeem(late.Secret)
	r.is(err, domain.ErrUnauthenticated)
	r.is(drop(r.LoginRequest(r.ctx, bob, late.Code)), domain.ErrNotFound)
	// One that is let in as somebody who is out meanwhile.
	_, bob = r.login("bob")
	out := ask()
	r.ok(r.AnswerLogin(r.ctx, bob, out.Code, true))
	r.user("ann", domain.RoleAdmin)
	r.ok(r.DeleteUser(r.ctx, r.admin, "bob", 0))
	_, _, err = redeem(out.Secret)
	r.is(err, domain.ErrUnauthenticated)
}

// TestEndOfSessionsEndsGrants: whoever ends all sessions of a user also ends what
// one of them has granted to a command line that has not fetched it yet.
func TestEndOfSessionsEndsGrants(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	for name, end := range map[string]func() error{
		"a password": func() error {
			return drop(r.UpdateUser(r.ctx, r.admin, "bob", domain.UserChange{Password: ptr(password)}, 0))
		},
		"an administrator": func() error { return r.EndSessions(r.ctx, r.admin, "bob") },
		"a user of the same name": func() error {
			err := r.DeleteUser(r.ctx, r.admin, "bob", 0)
			r.user("bob", domain.RoleOperator)
			return err
		},
	} {
		if _, err := r.User(r.ctx, r.admin, "bob"); errors.Is(err, domain.ErrNotFound) {
			r.user("bob", domain.RoleOperator)
		}
		_, bob := r.login("bob")
		_, ann := r.login("ann")
		his, err := r.AskLogin(r.ctx, "c", "10.0.0.1")
		r.ok(err)
		hers, err := r.AskLogin(r.ctx, "c", "10.0.0.1")
		r.ok(err)
		r.ok(r.AnswerLogin(r.ctx, bob, his.Code, true))
		r.ok(r.AnswerLogin(r.ctx, ann, hers.Code, true))
		r.ok(end())
		if _, ok, err := r.RedeemLogin(r.ctx, his.Secret, "10.0.0.1"); ok || !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("after %s: %v, %v", name, ok, err)
		}
		if _, ok, err := r.RedeemLogin(r.ctx, hers.Secret, "10.0.0.1"); !ok || err != nil {
			t.Errorf("after %s somebody else is kept out: %v, %v", name, ok, err)
		}
	}
}

// letIn lets a command line in from somebody's browser.
func (r *rig) letIn(somebody domain.Actor) error {
	asked, err := r.AskLogin(r.ctx, "c", "10.0.0.1")
	if err != nil {
		return err
	}
	if err := r.AnswerLogin(r.ctx, somebody, asked.Code, true); err != nil {
		return err
	}
	_, _, err = r.RedeemLogin(r.ctx, asked.Secret, "10.0.0.1")
	return err
}
