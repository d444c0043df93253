package domain_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// TestSetup: one link, once, for a while; no user and no secret is built in.
func TestSetup(t *testing.T) {
	r := newRig(t)
	if _, err := r.Login(r.ctx, "admin", "admin", "10.0.0.1"); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Fatalf("somebody is there already: %v", err)
	}
	first, err := r.BeginSetup(r.ctx)
	r.ok(err)
	second, err := r.BeginSetup(r.ctx)
	r.ok(err)
	try := func(secret string) error {
		return drop(r.CompleteSetup(r.ctx, secret, "ann", password, "10.0.0.1"))
	}
	r.is(try(""), domain.ErrUnauthenticated)
	r.is(try(first), domain.ErrUnauthenticated)
	r.is(drop(r.CompleteSetup(r.ctx, second, "ann", "short", "10.0.0.1")), domain.ErrInvalid)
	r.now = r.now.Add(25 * time.Hour)
	r.is(try(second), domain.ErrUnauthenticated)
	third, err := r.BeginSetup(r.ctx)
	r.ok(err)
	r.ok(try(third))
	r.is(try(third), domain.ErrUnauthenticated)
	if again, err := r.BeginSetup(r.ctx); again != "" || err != nil {
		t.Errorf("set-up begins again: %q, %v", again, err)
	}
	_, ann := r.login("ann")
	if ann.Role != domain.RoleAdmin {
		t.Errorf("the first user is %+v", ann)
	}
}

// TestBackOff: guesses get slower, from one address and at one user, and the
// right password counts as little meanwhile.
func TestBackOff(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleViewer)
	var waits []time.Duration
	for range 12 {
		_, err := r.Login(r.ctx, "ann", "wrong password", "10.0.0.1")
		var throttled *domain.ThrottledError
		if errors.As(err, &throttled) {
			waits = append(waits, throttled.RetryAfter)
			r.is(drop(r.Login(r.ctx, "ann", password, "10.0.0.1")), domain.ErrThrottled)
			r.now = r.now.Add(throttled.RetryAfter)
			continue
		}
		r.is(err, domain.ErrUnauthenticated)
	}
	if len(waits) < 3 || waits[len(waits)-1] < 2*waits[0] {
		t.Errorf("waits of %v", waits)
	}
	r.ok(drop(r.Login(r.ctx, "ann", password, "10.0.0.2"))) // she is not locked out
	longest := time.Duration(0)
	for range 40 {
		_, err := r.Login(r.ctx, "ann", "wrong password", "10.0.0.1")
		if throttled := (*domain.ThrottledError)(nil); errors.As(err, &throttled) {
			longest = max(longest, throttled.RetryAfter)
			r.now = r.now.Add(throttled.RetryAfter)
		}
	}
	if longest != 15*time.Minute {
		t.Errorf("the longest wait is %v", longest)
	}
	r.now = r.now.Add(time.Hour)
	r.ok(drop(r.Login(r.ctx, "ann", password, "10.0.0.1")))
	for range 5 { // forgiven
		r.is(drop(r.Login(r.ctx, "ann", "wrong password", "10.0.0.1")), domain.ErrUnauthenticated)
	}
	// One who tries many names from the addresses of one network is one.
	answered := 0
	for i := range 15 {
		_, err := r.Login(r.ctx, "user"+string(rune('a'+i)), "wrong password", "2001:db8::"+string(rune('1'+i%9)))
		if errors.Is(err, domain.ErrUnauthenticated) {
			answered++
		}
	}
	if answered != 11 { // ten are free
		t.Errorf("%d of 15 names from one network are answered", answered)
	}
}

// TestSessions: they end by age, by idleness, by logout, by a new password and
// with their user; each has a CSRF token of its own.
func TestSessions(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleOperator)
	alive := func(s domain.NewSession) error {
		_, _, err := r.ActorBySession(r.ctx, s.Secret, "10.0.0.1")
		return err
	}
	s, ann := r.login("ann")
	other, _ := r.login("ann")
	if s.CSRF == other.CSRF || domain.CheckCSRF(s.Session, s.CSRF) != nil ||
		domain.CheckCSRF(s.Session, other.CSRF) == nil || domain.CheckCSRF(s.Session, "") == nil {
		t.Error("CSRF tokens")
	}
	r.ok(r.Logout(r.ctx, ann))
	r.is(alive(s), domain.ErrUnauthenticated)
	r.ok(alive(other))
	for range 20 { // kept awake
		r.now = r.now.Add(35 * time.Minute)
		r.ok(alive(other))
	}
	r.now = r.now.Add(35 * time.Minute)
	r.is(alive(other), domain.ErrUnauthenticated) // by age
	idle, _ := r.login("ann")
	r.now = r.now.Add(61 * time.Minute)
	r.is(alive(idle), domain.ErrUnauthenticated)
	changed, ann := r.login("ann")
	r.is(r.ChangeOwnPassword(r.ctx, ann, "wrong password", password+"2"), domain.ErrUnauthenticated)
	r.ok(r.ChangeOwnPassword(r.ctx, ann, password, password+"2"))
	r.is(alive(changed), domain.ErrUnauthenticated)
	r.is(drop(r.Login(r.ctx, "ann", password, "10.0.0.1")), domain.ErrUnauthenticated)
	last, err := r.Login(r.ctx, "ann", password+"2", "10.0.0.1")
	r.ok(err)
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Disabled: ptr(true)}, 0)))
	r.is(alive(last), domain.ErrUnauthenticated)
	r.is(drop(r.Login(r.ctx, "ann", password+"2", "10.0.0.1")), domain.ErrUnauthenticated)
	r.user("bob", domain.RoleViewer)
	r.login("bob")
	r.now = r.now.Add(2 * time.Hour)
	n, err := r.Prune(r.ctx)
	if err != nil || n.Credentials != 1 {
		t.Errorf("pruned %+v, %v", n, err)
	}
}

// TestTokens: never more than their maker or user may, for a while, and void
// when revoked.
func TestTokens(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleOperator)
	_, ann := r.login("ann")
	req := domain.TokenRequest{Name: "ci", Role: domain.RoleOperator,
		Scopes: []domain.Scope{domain.ScopeRead, domain.ScopeDevices}, Life: time.Hour}
	tok, err := r.CreateToken(r.ctx, ann, "", req)
	r.ok(err)
	a, err := r.ActorByToken(r.ctx, tok.Secret, "10.0.0.5")
	r.ok(err)
	r.is(drop(r.CreateToken(r.ctx, a, "", req)), domain.ErrForbidden)
	r.is(drop(r.ActorByDevice(r.ctx, "", tok.Secret, "")), domain.ErrUnauthenticated)
	r.is(drop(r.ActorByToken(r.ctx, tok.Secret+"x", "")), domain.ErrUnauthenticated)
	r.is(drop(r.ActorByToken(r.ctx, "", "")), domain.ErrUnauthenticated)
	for _, bad := range []domain.TokenRequest{{Name: "n", Role: domain.RoleAdmin, Scopes: req.Scopes},
		{Name: "n", Role: domain.RoleViewer}, {Role: domain.RoleViewer, Scopes: req.Scopes},
		{Name: "n", Role: "god", Scopes: req.Scopes}, {Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{"all"}},
		{Name: "n", Role: domain.RoleDevice, Scopes: req.Scopes},
		{Name: "n", Role: domain.RoleViewer, Scopes: req.Scopes, Life: 100 * 365 * 24 * time.Hour}} {
		if _, err := r.CreateToken(r.ctx, ann, "", bad); err == nil {
			t.Errorf("a token of %+v", bad)
		}
	}
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Role: ptr(domain.RoleViewer)}, 0)))
	a, err = r.ActorByToken(r.ctx, tok.Secret, "10.0.0.5")
	if err != nil || a.Role != domain.RoleViewer {
		t.Errorf("after its user was made a viewer the token is %+v, %v", a, err)
	}
	l, err := r.Tokens(r.ctx, a, "", domain.Page{})
	if err != nil || len(l.Items) != 1 || l.Items[0].LastUsed.IsZero() {
		t.Errorf("tokens: %+v, %v", l, err)
	}
	r.now = r.now.Add(time.Hour)
	r.is(drop(r.ActorByToken(r.ctx, tok.Secret, "")), domain.ErrUnauthenticated)
	tok, err = r.CreateToken(r.ctx, r.admin, "ann",
		domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{domain.ScopeRead}})
	r.ok(err)
	r.user("bob", domain.RoleViewer)
	_, bob := r.login("bob")
	r.is(r.RevokeToken(r.ctx, bob, tok.ID), domain.ErrForbidden)
	_, ann = r.login("ann")
	r.ok(r.RevokeToken(r.ctx, ann, tok.ID))
	r.is(drop(r.ActorByToken(r.ctx, tok.Secret, "")), domain.ErrUnauthenticated)
}

// TestLastAdmin: somebody can always administer.
func TestLastAdmin(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	r.is(r.DeleteUser(r.ctx, r.admin, "ann", 0), domain.ErrRefused)
	r.is(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Role: ptr(domain.RoleViewer)}, 0)), domain.ErrRefused)
	r.is(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Disabled: ptr(true)}, 0)), domain.ErrRefused)
	r.user("bob", domain.RoleAdmin)
	r.ok(r.DeleteUser(r.ctx, r.admin, "ann", 0))
	r.is(drop(r.CreateUser(r.ctx, r.admin, "bob",
		domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)})), domain.ErrExists)
	r.is(drop(r.CreateUser(r.ctx, r.admin, "Bob Jones",
		domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)})), domain.ErrInvalid)
}

// TestEnrolment: a token is good as often as it says, a site key from its
// networks, and neither takes the identity of a device that has one.
func TestEnrolment(t *testing.T) {
	r := newRig(t)
	enrol := func(device, token, secret, from string) error {
		return r.Enrol(r.ctx, domain.EnrolRequest{Device: device, Model: "Cisco 7961", Token: token,
			Secret: strings.Repeat(secret, 32), From: from})
	}
	r.site("oslo")
	token, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "two", Uses: 2, Site: "oslo"})
	r.ok(err)
	r.is(enrol(phone1, "wrong", "a", "10.0.0.1"), domain.ErrUnauthenticated)
	r.is(r.Enrol(r.ctx, domain.EnrolRequest{Device: phone1, Token: token.Secret, Secret: "short"}), domain.ErrInvalid)
	r.ok(enrol(phone1, token.Secret, "a", "10.0.0.1"))
	r.ok(enrol(phone1, token.Secret, "a", "10.0.0.1")) // the answer was lost
	r.is(enrol(phone1, token.Secret, "b", "10.0.0.1"), domain.ErrRefused)
	r.is(enrol(phone2, token.Secret, "a", "10.0.0.1"), domain.ErrRefused)
	r.ok(enrol(phone2, token.Secret, "b", "10.0.0.1"))
	r.is(enrol(phone3, token.Secret, "c", "10.0.0.1"), domain.ErrUnauthenticated)
	if d := r.desired(phone1).Device; d.Site != "oslo" || d.Model != "CP-7961G" ||
		d.Registration != domain.RegistrationByEnrolment {
		t.Errorf("enrolled as %+v", d)
	}
	key, err := r.CreateEnrolment(r.ctx, r.admin,
		domain.EnrolmentRequest{Name: "key", SiteKey: true, Networks: []string{"10.1.2.3/16"}})
	r.ok(err)
	r.is(enrol(phone3, key.Secret, "c", "10.2.0.1"), domain.ErrForbidden)
	r.is(enrol(phone3, key.Secret, "c", "nonsense"), domain.ErrForbidden)
	r.is(enrol(phone1, key.Secret, "c", "10.1.9.9"), domain.ErrRefused)
	r.ok(enrol(phone3, key.Secret, "c", "::ffff:10.1.9.9"))
	r.is(drop(r.ActorByDevice(r.ctx, phone1, strings.Repeat("c", 32), "")), domain.ErrUnauthenticated)
	r.ok(r.ResetIdentity(r.ctx, r.admin, phone1))
	r.is(drop(r.ActorByDevice(r.ctx, phone1, strings.Repeat("a", 32), "")), domain.ErrUnauthenticated)
	r.ok(enrol(phone1, key.Secret, "d", "10.1.9.9"))
	r.ok(r.RevokeEnrolment(r.ctx, r.admin, key.ID))
	r.is(enrol(phone2, key.Secret, "e", "10.1.9.9"), domain.ErrUnauthenticated)
	late, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "late"})
	r.ok(err)
	r.now = r.now.Add(8 * 24 * time.Hour)
	r.is(enrol("SEP000000000009", late.Secret, "f", "10.0.0.1"), domain.ErrUnauthenticated)
	r.ok(r.DeleteDevice(r.ctx, r.admin, phone1, 0))
	a := domain.Actor{Kind: domain.ActorDevice, Name: phone1, Role: domain.RoleDevice}
	r.is(r.Report(r.ctx, a, report.Device{Schema: 1, State: "idle"}), domain.ErrNotFound)
}

// TestSecretsAreHashed: nothing that opens anything is in the database, nor in
// the audit log.
func TestSecretsAreHashed(t *testing.T) {
	r := newRig(t)
	setup, err := r.BeginSetup(r.ctx)
	r.ok(err)
	before := r.export()
	r.ok(drop(r.CompleteSetup(r.ctx, setup, "ann", password, "10.0.0.1")))
	s, ann := r.login("ann")
	tok, err := r.CreateToken(r.ctx, ann, "",
		domain.TokenRequest{Name: "n", Role: domain.RoleAdmin, Scopes: domain.Scopes()})
	r.ok(err)
	e, err := r.CreateEnrolment(r.ctx, ann, domain.EnrolmentRequest{Name: "n", Uses: 5})
	r.ok(err)
	device := "device-secret-device-secret-device"
	r.ok(r.Enrol(r.ctx, domain.EnrolRequest{Device: phone1, Token: e.Secret, Secret: device}))
	all := before + r.export()
	for name, secret := range map[string]string{"set-up": setup, "password": password, "session": s.Secret, "csrf": s.CSRF,
		"token": tok.Secret, "enrolment": e.Secret, "device": device} {
		if strings.Contains(all, secret) {
			t.Errorf("the %s is in the database", name)
		}
		if len(secret) < 16 {
			t.Errorf("the %s is %q", name, secret)
		}
	}
	log, err := r.Audit(r.ctx, ann, domain.AuditFilter{}, domain.Page{})
	r.ok(err)
	for _, entry := range log.Items {
		for _, c := range entry.Changes {
			if strings.Contains(c.Field, "hash") {
				t.Errorf("%s notes %s", entry.Action, c.Field)
			}
		}
	}
}

// TestDisabledUser: tokens and sessions of a disabled user open nothing.
func TestDisabledUser(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleOperator)
	req := domain.TokenRequest{Name: "n", Role: domain.RoleOperator, Scopes: domain.Scopes()}
	tok, err := r.CreateToken(r.ctx, r.admin, "ann", req)
	r.ok(err)
	r.ok(drop(r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")))
	session, _ := r.login("ann")
	// A session that was stored before its user was disabled, as by another controller.
	var kept domain.Credential
	r.ok(r.store.View(r.ctx, func(tx domain.Tx) (err error) {
		kept, err = tx.Credentials().Get(r.ctx, session.ID)
		return err
	}))
	r.ok(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Disabled: ptr(true)}, 0)))
	kept.Version = 0
	r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error { return tx.Credentials().Put(r.ctx, &kept) }))
	_, _, err = r.ActorBySession(r.ctx, session.Secret, "10.0.0.1")
	r.is(err, domain.ErrUnauthenticated)
	r.is(drop(r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")), domain.ErrUnauthenticated)
}

// TestUserMadeAgain: what opened something for a deleted user opens nothing for
// another one of that name.
func TestUserMadeAgain(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleOperator)
	session, _ := r.login("ann")
	req := domain.TokenRequest{Name: "n", Role: domain.RoleOperator, Scopes: domain.Scopes()}
	tok, err := r.CreateToken(r.ctx, r.admin, "ann", req)
	r.ok(err)
	r.is(r.DeleteUser(r.ctx, r.admin, "ann", 7), domain.ErrConflict)
	r.ok(r.DeleteUser(r.ctx, r.admin, "ann", 0))
	for range 2 {
		_, _, err = r.ActorBySession(r.ctx, session.Secret, "10.0.0.1")
		r.is(err, domain.ErrUnauthenticated)
		r.is(drop(r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")), domain.ErrUnauthenticated)
		if _, err := r.User(r.ctx, r.admin, "ann"); err != nil {
			r.is(err, domain.ErrNotFound)
			r.user("ann", domain.RoleAdmin)
		}
	}
}

// TestSetupAfterAnAdmin: a set-up link that is still good makes nobody once
// there is a user.
func TestSetupAfterAnAdmin(t *testing.T) {
	r := newRig(t)
	link, err := r.BeginSetup(r.ctx)
	r.ok(err)
	r.is(drop(r.CompleteSetup(r.ctx, link, "Not a name", password, "10.0.0.1")), domain.ErrInvalid)
	r.user("ann", domain.RoleAdmin) // by a shell on the controller
	r.is(drop(r.CompleteSetup(r.ctx, link, "eve", password, "10.0.0.1")), domain.ErrRefused)
	r.is(drop(r.User(r.ctx, r.admin, "eve")), domain.ErrNotFound)
	// The link is of use for nothing else.
	r.is(drop(r.ActorByToken(r.ctx, link, "")), domain.ErrUnauthenticated)
	r.is(drop(r.ActorByDevice(r.ctx, "", link, "")), domain.ErrUnauthenticated)
}

// TestGuessesAreSlowedDown: those at set-up links and enrolment tokens, too; what
// somebody did right is forgiven, and a day later all is forgotten.
func TestGuessesAreSlowedDown(t *testing.T) {
	tiers.Long(t, "it hashes many passwords")
	r := newRig(t)
	e, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "key", SiteKey: true})
	r.ok(err)
	enrol := func(device, token, from string) error {
		secret := strings.Repeat("s", 20) + device
		return r.Enrol(r.ctx, domain.EnrolRequest{Device: device, Token: token, Secret: secret, From: from})
	}
	for name, guess := range map[string]struct {
		free int
		try  func(from string) error
	}{
		"set-up":    {10, func(from string) error { return drop(r.CompleteSetup(r.ctx, "pls_x", "eve", password, from)) }},
		"enrolment": {100, func(from string) error { return enrol(phone1, "ple_x", from) }},
	} {
		for range guess.free + 1 {
			r.is(guess.try("10.0.0.1"), domain.ErrUnauthenticated)
		}
		if err := guess.try("10.0.0.1"); !errors.Is(err, domain.ErrThrottled) {
			t.Errorf("%s: guess %d is answered: %v", name, guess.free+2, err)
		}
		r.is(guess.try("10.0.0.2"), domain.ErrUnauthenticated) // another address
		r.now = r.now.Add(25 * time.Hour)
		for range guess.free + 1 {
			r.is(guess.try("10.0.0.1"), domain.ErrUnauthenticated)
		}
		r.now = r.now.Add(time.Hour)
	}
	r.ok(enrol(phone1, e.Secret, "10.0.0.1"))
	for range 100 {
		r.is(enrol(phone2, "ple_x", "10.0.0.1"), domain.ErrUnauthenticated)
	}
	// What nobody has failed at for a day is not kept.
	r.now = r.now.Add(25 * time.Hour)
	r.ok(drop(r.Prune(r.ctx)))
	if strings.Contains(r.export(), `"name":"enrol from`) {
		t.Error("an old throttle is kept")
	}
}

// TestLongNamesAreNotKept: what somebody who guesses calls himself is not
// written down, and a long password is not hashed.
func TestLongNamesAreNotKept(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("long", 100)
	r.is(drop(r.Login(r.ctx, long, password, "10.0.0.1")), domain.ErrUnauthenticated)
	r.is(drop(r.Login(r.ctx, "ann", long, "10.0.0.1")), domain.ErrUnauthenticated)
	if all := r.export(); strings.Contains(all, long) || strings.Contains(all, `"login ann"`) {
		t.Error("the name of an attempt that cannot be right is kept")
	}
	r.user("ann", domain.RoleViewer)
	for _, bad := range []string{password[:9], strings.Repeat("x", 257), "\xff" + password} {
		r.is(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Password: ptr(bad)}, 0)), domain.ErrInvalid)
	}
	_, ann := r.login("ann")
	r.is(r.ChangeOwnPassword(r.ctx, ann, password, "short"), domain.ErrInvalid)
	token := domain.Actor{Kind: domain.ActorToken, User: "ann", Role: domain.RoleAdmin}
	r.is(r.ChangeOwnPassword(r.ctx, token, password, password), domain.ErrUnauthenticated)
	r.is(r.Logout(r.ctx, token), domain.ErrUnauthenticated)
	r.is(r.Logout(r.ctx, domain.Actor{Kind: "user", User: "ann", Role: domain.RoleAdmin}), domain.ErrUnauthenticated)
	for _, bad := range []string{"", strings.Repeat("a", 65), "ann/", "Ann", "a n"} {
		c := domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)}
		r.is(drop(r.CreateUser(r.ctx, r.admin, bad, c)), domain.ErrInvalid)
	}
	r.is(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{Role: ptr(domain.Role("god"))}, 0)), domain.ErrInvalid)
	r.is(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{FullName: ptr("a\nb")}, 0)), domain.ErrInvalid)
	r.is(drop(r.UpdateUser(r.ctx, r.admin, "ann", domain.UserChange{FullName: ptr("a")}, 99)), domain.ErrConflict)
	r.is(drop(r.CreateUser(r.ctx, r.admin, "bob", domain.UserChange{Role: ptr(domain.RoleViewer)})), domain.ErrInvalid)
	r.is(drop(r.CreateUser(r.ctx, r.admin, "bob", domain.UserChange{Password: ptr(password)})), domain.ErrInvalid)
}

// TestStoredHash: a hash that cannot be, or whose cost nobody has chosen, opens
// nothing and costs nothing.
func TestStoredHash(t *testing.T) {
	r := newRig(t)
	r.user("ann", domain.RoleAdmin)
	put := func(change func(hash string) string) {
		t.Helper()
		r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error {
			u, err := tx.Accounts().Get(r.ctx, "ann")
			if err != nil {
				return err
			}
			u.PasswordHash = change(u.PasswordHash)
			return tx.Accounts().Put(r.ctx, &u)
		}))
	}
	var good string
	put(func(hash string) string { good = hash; return hash })
	parts := strings.Split(good, "$")
	with := func(i int, text string) string {
		p := append([]string{}, parts...)
		p[i] = text
		return strings.Join(p, "$")
	}
	for name, hash := range map[string]string{
		"no hash at all": "secret", "another kind": with(1, "argon2i"), "another version": with(2, "v=16"),
		"no cost": with(3, "m=,t=,p="), "no memory": with(3, "m=0,t=1,p=1"), "much memory": with(3, "m=1048577,t=1,p=1"),
		"no pass": with(3, "m=8,t=0,p=1"), "many passes": with(3, "m=8,t=65,p=1"), "no thread": with(3, "m=8,t=1,p=0"),
		"many threads": with(3, "m=1024,t=1,p=17"), "no salt": with(4, ""), "another salt": with(4, "*"),
		"a key cut off": with(5, parts[5][:20]), "no key": with(5, ""), "something behind": good + "$x",
	} {
		put(func(string) string { return hash })
		if _, err := r.Login(r.ctx, "ann", password, "10.0.0.1"); err == nil || errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
		r.now = r.now.Add(time.Hour)
	}
	put(func(string) string { return good })
	r.login("ann")
}

// meddled runs something before one of the updates to come.
type meddled struct {
	domain.Store
	before map[int]func() // by the number of updates before it
}

func (m *meddled) Update(ctx context.Context, fn func(domain.Tx) error) error {
	next := map[int]func(){}
	var now func()
	for n, f := range m.before {
		if n == 0 {
			now = f
		} else {
			next[n-1] = f
		}
	}
	m.before = next
	if now != nil {
		now()
	}
	return m.Store.Update(ctx, fn)
}

// TestChangedWhileThePasswordIsHashed: who was disabled, or has got another
// password, after his password was compared gets no session by it; nor does a
// set-up link make a second administrator.
func TestChangedWhileThePasswordIsHashed(t *testing.T) {
	m := &meddled{}
	r := newRig(t, func(c *domain.Config) { m.Store = c.Store; c.Store = m })
	link, err := r.BeginSetup(r.ctx)
	r.ok(err)
	m.before = map[int]func(){0: func() { r.user("ann", domain.RoleAdmin) }}
	r.is(drop(r.CompleteSetup(r.ctx, link, "eve", password, "10.0.0.1")), domain.ErrRefused)
	m.before = map[int]func(){0: func() { r.ok(drop(r.BeginSetup(r.ctx))) }}
	r.is(drop(r.CompleteSetup(r.ctx, link, "eve", password, "10.0.0.1")), domain.ErrUnauthenticated)
	r.user("bob", domain.RoleViewer)
	change := func(c domain.UserChange) func() {
		return func() { r.ok(drop(r.UpdateUser(r.ctx, r.admin, "bob", c, 0))) }
	}
	_, bob := r.login("bob")
	other := domain.UserChange{Password: ptr(password + "2")}
	m.before = map[int]func(){2: change(other)} // behind those of the throttle
	r.is(r.ChangeOwnPassword(r.ctx, bob, password, password+"3"), domain.ErrConflict)
	m.before = map[int]func(){2: change(domain.UserChange{Password: ptr(password)})}
	r.is(drop(r.Login(r.ctx, "bob", password+"2", "10.0.0.1")), domain.ErrUnauthenticated)
	m.before = map[int]func(){2: change(domain.UserChange{Disabled: ptr(true)})}
	r.is(drop(r.Login(r.ctx, "bob", password, "10.0.0.1")), domain.ErrUnauthenticated)
	// A token that is revoked while it is used is not brought back.
	req := domain.TokenRequest{Name: "n", Role: domain.RoleAdmin, Scopes: domain.Scopes()}
	tok, err := r.CreateToken(r.ctx, r.admin, "ann", req)
	r.ok(err)
	m.before = map[int]func(){0: func() { r.ok(r.RevokeToken(r.ctx, r.admin, tok.ID)) }}
	r.is(drop(r.ActorByToken(r.ctx, tok.Secret, "10.0.0.1")), domain.ErrUnauthenticated)
}

// together gives random numbers to all who ask for them at the same time.
type together struct{ wait, met sync.WaitGroup }

func (g *together) Read(b []byte) (int, error) {
	g.wait.Done()
	g.met.Wait()
	return rand.Read(b)
}

// TestHashesAtTheSameTime: however many passwords there are to hash, only a few
// hashes, and their memory, are under way.
func TestHashesAtTheSameTime(t *testing.T) {
	const users, most = 8, 2
	salts := &together{}
	r := newRig(t, func(c *domain.Config) {
		c.Random = salts
		c.Password = passhash.Cost{Memory: 8 << 10, Time: 4, Threads: 1}
	})
	salts.wait.Add(users)
	salts.met.Add(1)
	var left atomic.Int32
	left.Store(users)
	ctx, cancel := context.WithCancel(r.ctx)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			defer left.Add(-1)
			role := domain.RoleViewer
			_, err := r.CreateUser(ctx, r.admin, fmt.Sprint("user", i), domain.UserChange{Role: &role, Password: ptr(password)})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	salts.wait.Wait() // all have a salt next
	salts.wait.Add(1 << 20)
	salts.met.Done()
	stacks := make([]byte, 1<<20)
	seen := 0
	for left.Load() > users/2 {
		stacks = stacks[:runtime.Stack(stacks[:cap(stacks)], true)]
		seen = max(seen, bytes.Count(stacks, []byte("argon2.IDKey(")))
		runtime.Gosched()
	}
	cancel() // nobody waits for a turn that nobody wants any more
	wg.Wait()
	if seen < 1 || seen > most {
		t.Errorf("%d hashes were under way at the same time, at most %d may be", seen, most)
	}
}

// TestOwnUser: one sees oneself, and nobody else by another way of asking.
func TestOwnUser(t *testing.T) {
	r := accessRig(t)
	for _, who := range "vo" {
		a := r.actors[who]
		r.ok(drop(r.User(r.ctx, a, a.User)))
		r.is(drop(r.User(r.ctx, a, "admin")), domain.ErrForbidden)
		r.ok(drop(r.Tokens(r.ctx, a, a.User, domain.Page{})))
		r.is(drop(r.Tokens(r.ctx, a, "*", domain.Page{})), domain.ErrForbidden)
		token := domain.Actor{Kind: domain.ActorToken, Name: "t", User: a.User, Role: a.Role, Scopes: []domain.Scope{}}
		r.is(drop(r.User(r.ctx, token, a.User)), domain.ErrForbidden)
		r.is(drop(r.Tokens(r.ctx, token, "", domain.Page{})), domain.ErrForbidden)
		r.is(r.RevokeToken(r.ctx, token, "x"), domain.ErrForbidden)
	}
	for _, owner := range []string{"viewer", "operator"} {
		req := domain.TokenRequest{Name: owner, Role: domain.RoleViewer, Scopes: domain.Scopes()}
		r.ok(drop(r.CreateToken(r.ctx, r.admin, owner, req)))
	}
	for who, want := range map[string]int{"*": 2, "viewer": 1, "admin": 0} {
		if l, err := r.Tokens(r.ctx, r.actors['a'], who, domain.Page{}); err != nil || len(l.Items) != want {
			t.Errorf("tokens of %s: %+v, %v", who, l.Items, err)
		}
	}
}
