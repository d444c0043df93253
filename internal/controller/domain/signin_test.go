package domain_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// carol signs in at an issuer.
var carol = domain.Identity{Issuer: "https://login.example.com", Subject: "42", Name: "Carol", FullName: "Carol C",
	Role: domain.RoleOperator}

// TestSignIn: a command line is let in by a password, has the user's rights of
// the moment, and is out by itself, by its own wish, by a new password, and by an
// administrator.
func TestSignIn(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	r.user("bob", domain.RoleOperator)
	in := func() string {
		t.Helper()
		l, err := r.SignIn(r.ctx, "bob", password, "laptop", "10.0.0.1")
		r.ok(err)
		if l.User != "bob" || l.Role != domain.RoleOperator || l.Client != "laptop" || !l.Expires.After(r.now) ||
			!strings.HasPrefix(l.Secret, "plc_") {
			t.Fatalf("signed in as %+v", l)
		}
		return l.Secret
	}
	by := func(secret string) (domain.Actor, error) {
		a, _, err := r.ActorByLogin(r.ctx, secret, "10.0.0.1")
		return a, err
	}
	r.is(drop(r.SignIn(r.ctx, "bob", "wrong password", "c", "10.0.0.1")), domain.ErrUnauthenticated)
	r.is(drop(r.SignIn(r.ctx, "bob", password, "c\x1b[2J", "10.0.0.1")), domain.ErrInvalid)
	secret := in()
	a, err := by(secret)
	r.ok(err)
	if a.Kind != domain.ActorUser || a.User != "bob" || !a.Can(domain.ScopeDevices) || a.Can(domain.ScopeAccess) {
		t.Errorf("the actor is %+v", a)
	}
	_, _, err = r.ActorBySession(r.ctx, secret, "10.0.0.1")
	r.is(err, domain.ErrUnauthenticated) // no cookie
	r.is(drop(r.ActorByToken(r.ctx, secret, "10.0.0.1")), domain.ErrUnauthenticated)
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, "bob", domain.UserChange{Role: ptr(domain.RoleViewer)}, 0)))
	if a, err = by(secret); err != nil || a.Can(domain.ScopeDevices) {
		t.Errorf("after the role was taken: %+v, %v", a, err)
	}
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, "bob", domain.UserChange{Role: ptr(domain.RoleOperator)}, 0)))
	r.now = r.now.Add(11 * time.Hour) // unused for long, and good all the same
	r.ok(drop(by(secret)))
	r.now = r.now.Add(time.Hour)
	r.is(drop(by(secret)), domain.ErrUnauthenticated)

	first, second := in(), in()
	a, err = by(first)
	r.ok(err)
	r.ok(r.Logout(r.ctx, a))
	r.is(drop(by(first)), domain.ErrUnauthenticated)
	r.ok(drop(by(second)))
	for name, end := range map[string]func() error{
		"a password": func() error {
			return drop(r.UpdateUser(r.ctx, r.admin, "bob", domain.UserChange{Password: ptr(password)}, 0))
		},
		"a ban": func() error {
			err := drop(r.UpdateUser(r.ctx, r.admin, "bob", domain.UserChange{Disabled: ptr(true)}, 0))
			return errors.Join(err, drop(r.UpdateUser(r.ctx, r.admin, "bob", domain.UserChange{Disabled: ptr(false)}, 0)))
		},
		"an administrator": func() error { return r.EndSessions(r.ctx, r.admin, "bob") },
		"the user": func() error {
			a, err := by(in())
			return errors.Join(err, r.EndSessions(r.ctx, a, "bob"))
		},
	} {
		secret := in()
		r.ok(end())
		if err := drop(by(secret)); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("after %s: %v", name, err)
		}
	}
	r.is(r.EndSessions(r.ctx, r.admin, "nobody"), domain.ErrNotFound)
}

// TestManySignIns: a program that signs in again and again takes no more room.
func TestManySignIns(t *testing.T) {
	r := newRig(t)
	r.user("bob", domain.RoleOperator)
	var secrets []string
	for range 103 {
		l, err := r.SignIn(r.ctx, "bob", password, "c", "10.0.0.1")
		r.ok(err)
		secrets = append(secrets, l.Secret)
		r.now = r.now.Add(time.Second)
	}
	good := 0
	for i, s := range secrets {
		_, _, err := r.ActorByLogin(r.ctx, s, "10.0.0.1")
		if (err == nil) != (i >= 3) {
			t.Errorf("sign-in %d: %v", i, err)
		}
		if err == nil {
			good++
		}
	}
	if good != 100 {
		t.Errorf("%d are good", good)
	}
}

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
	r.ok(drop(in(domain.RoleAdmin)))
	r.now = r.now.Add(30*24*time.Hour - time.Second)
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

// TestRequestsAreBounded: neither one address nor many fill the disk, and
// guesses at codes are slowed down.
func TestRequestsAreBounded(t *testing.T) {
	r := newRig(t)
	r.user("bob", domain.RoleOperator)
	_, bob := r.login("bob")
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = r.AskLogin(r.ctx, "c", "10.0.0.1")
	}
	if !errors.Is(err, domain.ErrThrottled) || n > 30 {
		t.Errorf("%d requests from one address: %v", n, err)
	}
	for err, n = nil, 0; err == nil && n < 2000; n++ {
		_, err = r.AskLogin(r.ctx, "c", fmt.Sprintf("10.1.%d.%d", n/200, n%200))
	}
	if !errors.Is(err, domain.ErrThrottled) || n > 1000 {
		t.Errorf("%d requests from many addresses: %v", n, err)
	}
	for err, n = nil, 0; !errors.Is(err, domain.ErrThrottled) && n < 100; n++ {
		_, err = r.LoginRequest(r.ctx, bob, "BBBB-BBBB")
	}
	if n > 40 {
		t.Errorf("%d guesses at a code", n)
	}
	r.now = r.now.Add(domain.RequestLife)
	r.ok(drop(r.Prune(r.ctx)))
	r.ok(drop(r.AskLogin(r.ctx, "c", "10.2.0.1")))
}
