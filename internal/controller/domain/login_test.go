package domain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
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
	r.now = r.now.Add(time.Hour)
	r.ok(drop(r.Login(r.ctx, "ann", password, "10.0.0.1")))
	for range 5 { // forgiven
		r.is(drop(r.Login(r.ctx, "ann", "wrong password", "10.0.0.1")), domain.ErrUnauthenticated)
	}
	// One who tries many names from the addresses of one network is one.
	throttled := false
	for i := range 15 {
		_, err := r.Login(r.ctx, "user"+string(rune('a'+i)), "wrong password", "2001:db8::"+string(rune('1'+i%9)))
		throttled = throttled || errors.Is(err, domain.ErrThrottled)
	}
	if !throttled {
		t.Error("many names from one network are not throttled")
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
	if s.CSRF == other.CSRF || domain.CheckCSRF(s.Session, s.CSRF) != nil || domain.CheckCSRF(s.Session, other.CSRF) == nil || domain.CheckCSRF(s.Session, "") == nil {
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
	req := domain.TokenRequest{Name: "ci", Role: domain.RoleOperator, Scopes: []domain.Scope{domain.ScopeRead, domain.ScopeDevices}, Life: time.Hour}
	tok, err := r.CreateToken(r.ctx, ann, "", req)
	r.ok(err)
	a, err := r.ActorByToken(r.ctx, tok.Secret, "10.0.0.5")
	r.ok(err)
	r.is(drop(r.CreateToken(r.ctx, a, "", req)), domain.ErrForbidden)
	r.is(drop(r.ActorByDevice(r.ctx, "", tok.Secret, "")), domain.ErrUnauthenticated)
	r.is(drop(r.ActorByToken(r.ctx, tok.Secret+"x", "")), domain.ErrUnauthenticated)
	r.is(drop(r.ActorByToken(r.ctx, "", "")), domain.ErrUnauthenticated)
	for _, bad := range []domain.TokenRequest{{Name: "n", Role: domain.RoleAdmin, Scopes: req.Scopes}, {Name: "n", Role: domain.RoleViewer}, {Role: domain.RoleViewer, Scopes: req.Scopes},
		{Name: "n", Role: "god", Scopes: req.Scopes}, {Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{"all"}}, {Name: "n", Role: domain.RoleDevice, Scopes: req.Scopes},
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
	tok, err = r.CreateToken(r.ctx, r.admin, "ann", domain.TokenRequest{Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{domain.ScopeRead}})
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
	r.is(drop(r.CreateUser(r.ctx, r.admin, "bob", domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)})), domain.ErrExists)
	r.is(drop(r.CreateUser(r.ctx, r.admin, "Bob Jones", domain.UserChange{Role: ptr(domain.RoleViewer), Password: ptr(password)})), domain.ErrInvalid)
}

// TestEnrolment: a token is good as often as it says, a site key from its
// networks, and neither takes the identity of a device that has one.
func TestEnrolment(t *testing.T) {
	r := newRig(t)
	enrol := func(device, token, secret, from string) error {
		return r.Enrol(r.ctx, domain.EnrolRequest{Device: device, Model: "Cisco 7961", Token: token, Secret: strings.Repeat(secret, 32), From: from})
	}
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
	if d := r.desired(phone1).Device; d.Site != "oslo" || d.Model != "CP-7961G" || d.Registration != domain.RegistrationByEnrolment {
		t.Errorf("enrolled as %+v", d)
	}
	key, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "key", SiteKey: true, Networks: []string{"10.1.2.3/16"}})
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
	r.is(r.Report(r.ctx, a, report.Device{State: "idle"}), domain.ErrNotFound)
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
	tok, err := r.CreateToken(r.ctx, ann, "", domain.TokenRequest{Name: "n", Role: domain.RoleAdmin, Scopes: domain.Scopes()})
	r.ok(err)
	e, err := r.CreateEnrolment(r.ctx, ann, domain.EnrolmentRequest{Name: "n", Uses: 5})
	r.ok(err)
	device := "device-secret-device-secret-device"
	r.ok(r.Enrol(r.ctx, domain.EnrolRequest{Device: phone1, Token: e.Secret, Secret: device}))
	all := before + r.export()
	for name, secret := range map[string]string{"set-up": setup, "password": password, "session": s.Secret, "csrf": s.CSRF, "token": tok.Secret, "enrolment": e.Secret, "device": device} {
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
