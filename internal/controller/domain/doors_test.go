package domain_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
)

// TestDeletedDeviceKeepsItsIdentity: who may delete and add devices, but not
// reset identities, frees no name for another device.
func TestDeletedDeviceKeepsItsIdentity(t *testing.T) {
	r := newRig(t)
	r.user("oscar", domain.RoleOperator)
	r.user("ann", domain.RoleAdmin)
	_, operator := r.login("oscar")
	narrow, err := r.CreateToken(r.ctx, r.admin, "ann", domain.TokenRequest{Name: "n", Role: domain.RoleAdmin,
		Scopes: []domain.Scope{domain.ScopeRead, domain.ScopeDevices}})
	r.ok(err)
	token, err := r.ActorByToken(r.ctx, narrow.Secret, "10.0.0.1")
	r.ok(err)
	key, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "key", SiteKey: true})
	r.ok(err)
	enrol := func(secret string) error {
		return r.Enrol(r.ctx, domain.EnrolRequest{Device: phone1, Model: "7961", Token: key.Secret, Secret: secret,
			From: "10.0.0.9"})
	}
	own, other := strings.Repeat("s", 20)+phone1, strings.Repeat("o", 40)
	r.enrol(phone1)
	for name, a := range map[string]domain.Actor{"an operator": operator, "a token of scope devices": token} {
		r.is(r.ResetIdentity(r.ctx, a, phone1), domain.ErrForbidden)
		r.ok(r.DeleteDevice(r.ctx, a, phone1, 0))
		if err := enrol(other); !errors.Is(err, domain.ErrRefused) {
			t.Errorf("deleted by %s: another device takes its name: %v", name, err)
		}
		r.ok(enrol(own)) // the device itself comes back
		r.ok(r.DeleteDevice(r.ctx, a, phone1, 0))
		r.ok(drop(r.CreateDevice(r.ctx, a, phone1, domain.DeviceChange{Model: ptr("7961")})))
		if err := enrol(other); !errors.Is(err, domain.ErrRefused) {
			t.Errorf("deleted and added by %s: another device takes its name: %v", name, err)
		}
		r.ok(drop(r.ActorByDevice(r.ctx, phone1, own, "")))
	}
	r.ok(r.DeleteDevice(r.ctx, operator, phone1, 0))
	r.ok(r.ResetIdentity(r.ctx, r.admin, phone1))
	r.ok(enrol(other))
	r.ok(r.DeleteDevice(r.ctx, r.admin, phone1, 0)) // an administrator's takes it along
	r.ok(enrol(strings.Repeat("n", 40)))
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

// TestSecretsAreTold: a secret for another purpose is told as what it is, to its
// holder and to nobody else.
func TestSecretsAreTold(t *testing.T) {
	r := newRig(t)
	r.enrol(phone1)
	device := strings.Repeat("s", 20) + phone1
	key, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "key", SiteKey: true})
	r.ok(err)
	one, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "one"})
	r.ok(err)
	enrol := func(token, secret string) error {
		return r.Enrol(r.ctx, domain.EnrolRequest{Device: phone2, Model: "7961", Token: token, Secret: secret,
			From: "10.0.0.9"})
	}
	r.is(enrol(one.Secret, one.Secret), domain.ErrInvalid) // the token would be the device's secret from then on
	r.is(enrol(key.Secret, device), domain.ErrRefused)
	for name, err := range map[string]error{
		"a device's own secret, and an enrolment token is needed": enrol(device, strings.Repeat("o", 40)),
		"a site key, and a device's own secret is needed":         drop(r.ActorByDevice(r.ctx, "", key.Secret, "")),
		"an enrolment token, and an API token is needed":          drop(r.ActorByToken(r.ctx, one.Secret, "")),
	} {
		if !errors.Is(err, domain.ErrUnauthenticated) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := enrol(device+"x", strings.Repeat("o", 40)); !errors.Is(err, domain.ErrUnauthenticated) ||
		strings.Contains(err.Error(), "is needed") {
		t.Errorf("a guess: %v", err)
	}
}
