package domain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
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

// TestFetchIsNoSignOfLife: anybody may fetch a device's provisioning file, so
// that it was fetched is told, and says nothing of the device.
func TestFetchIsNoSignOfLife(t *testing.T) {
	f := &faults{}
	r := newRig(t, func(c *domain.Config) { f.Store, c.Store = c.Store, f })
	device := r.enrol(phone1)
	r.ok(r.Report(r.ctx, device, report.Device{Schema: 1, State: "idle"}))
	reported := r.now
	r.device(phone2, "7961")
	r.now = r.now.Add(2 * time.Hour)
	ask := func(from string) {
		for _, name := range []string{phone1, phone2, phone3, "nonsense"} {
			r.Asked(name, from)
		}
	}
	state := func(name string) domain.DeviceState {
		t.Helper()
		row, err := r.Device(r.ctx, r.admin, name)
		r.ok(err)
		if row.State == nil {
			return domain.DeviceState{}
		}
		return *row.State
	}
	ask("10.6.6.6")
	if s := state(phone2); !s.Asked.IsZero() {
		t.Errorf("the reading path writes: %+v", s)
	}
	r.ok(r.RecordAsked(r.ctx))
	if s := state(phone1); !s.LastSeen.Equal(reported) || s.From != "10.0.0.9" || !s.Asked.Equal(r.now) ||
		s.AskedFrom != "10.6.6.6" {
		t.Errorf("a device that reports: %+v", s)
	}
	if s := state(phone2); !s.LastSeen.IsZero() || s.From != "" || !s.Asked.Equal(r.now) ||
		s.Last.State != domain.StateUnknown {
		t.Errorf("a device that does not: %+v", s)
	}
	o, err := r.Overview(r.ctx, r.admin, "", time.Hour)
	if err != nil || o.Devices != 2 || o.Silent != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	version := state(phone1).Version
	r.now = r.now.Add(30 * time.Second)
	ask("10.6.6.7") // not every fetch is written
	r.ok(r.RecordAsked(r.ctx))
	if s := state(phone1); s.Version != version {
		t.Errorf("written again after half a minute: %+v", s)
	}
	r.now = r.now.Add(time.Minute)
	for i := range 11_000 { // invented names do not fill the memory
		r.Asked(fmt.Sprintf("SEP%012X", 0x2000+i), "10.6.6.6")
	}
	ask("10.6.6.8")
	r.ok(r.RecordAsked(r.ctx))
	if s := state(phone1); s.AskedFrom == "10.6.6.8" {
		t.Errorf("more than 10,000 are remembered: %+v", s)
	}
	f.failAt, f.ops = 1, 0
	ask("10.6.6.9")
	if err := r.RecordAsked(r.ctx); err == nil {
		t.Error("the store's error is lost")
	}
}

// TestNobodyIsLockedOut: guesses at one user from everywhere keep the user out
// nowhere for long, and not at all where the user is known.
func TestNobodyIsLockedOut(t *testing.T) {
	tiers.Long(t, "it hashes many passwords")
	r := newRig(t)
	r.user("ann", domain.RoleViewer)
	r.login("ann") // from 10.0.0.1, where she was not known before
	network := 0
	guess := func() error {
		network++
		return drop(r.Login(r.ctx, "ann", "wrong password", fmt.Sprintf("10.%d.%d.1", 1+network/250, network%250)))
	}
	answered := 0
	for range 200 {
		if err := guess(); !errors.Is(err, domain.ErrThrottled) {
			answered++
		}
	}
	if answered != 49 { // and her own first one
		t.Errorf("%d of 200 guesses at once are answered", answered)
	}
	for range 24 {
		r.is(guess(), domain.ErrThrottled)
		r.ok(drop(r.Login(r.ctx, "ann", password, "10.0.0.1")))
	}
	// Elsewhere the user waits as long as it takes for the next attempt of all.
	err := drop(r.Login(r.ctx, "ann", password, "172.16.0.1"))
	var throttled *domain.ThrottledError
	if !errors.As(err, &throttled) || throttled.RetryAfter > time.Second {
		t.Fatalf("from elsewhere: %v", err)
	}
	r.now = r.now.Add(throttled.RetryAfter)
	r.ok(drop(r.Login(r.ctx, "ann", password, "172.16.0.1")))
	for range 3 { // known from now on, and slowed down by what is guessed there only
		r.is(drop(r.Login(r.ctx, "ann", "wrong password", "172.16.0.1")), domain.ErrUnauthenticated)
	}
	r.ok(drop(r.Login(r.ctx, "ann", password, "172.16.0.1")))
	answered = 0
	for range 1000 { // a hundred seconds, ten guesses in each
		r.now = r.now.Add(100 * time.Millisecond)
		if err := guess(); !errors.Is(err, domain.ErrThrottled) {
			answered++
		}
	}
	if answered < 150 || answered > 250 {
		t.Errorf("%d guesses in 100 seconds are answered", answered)
	}
	// Only the last networks are remembered.
	for i := range 8 {
		r.now = r.now.Add(time.Minute)
		r.ok(drop(r.Login(r.ctx, "ann", password, fmt.Sprintf("192.168.%d.1", i))))
	}
	for range 100 {
		_ = guess()
	}
	r.is(drop(r.Login(r.ctx, "ann", password, "10.0.0.1")), domain.ErrThrottled)
	r.ok(drop(r.Login(r.ctx, "ann", password, "192.168.0.1")))
}

// TestRightSecretIsNotKeptOut: guesses from an address do not keep those out who
// have the secret, though all of a site come from one address.
func TestRightSecretIsNotKeptOut(t *testing.T) {
	r := newRig(t)
	setup, err := r.BeginSetup(r.ctx)
	r.ok(err)
	key, err := r.CreateEnrolment(r.ctx, r.admin, domain.EnrolmentRequest{Name: "key", SiteKey: true})
	r.ok(err)
	enrol := func(token string) error {
		return r.Enrol(r.ctx, domain.EnrolRequest{Device: phone1, Model: "7961", Token: token,
			Secret: strings.Repeat("s", 40), From: "10.0.0.1"})
	}
	complete := func(secret string) error {
		return drop(r.CompleteSetup(r.ctx, secret, "ann", password, "10.0.0.1"))
	}
	for range 150 {
		if err := errors.Join(enrol("ple_x"), complete("pls_x")); err == nil {
			t.Fatal("a guess is right")
		}
	}
	r.is(enrol("ple_x"), domain.ErrThrottled)
	r.is(complete("pls_x"), domain.ErrThrottled)
	r.ok(enrol(key.Secret))
	r.ok(complete(setup))
}

// TestThrottlesAreBounded: invented names and many addresses do not fill the
// disk, and those who are held back stay so.
func TestThrottlesAreBounded(t *testing.T) {
	tiers.Long(t, "it signs in thousands of times")
	r := newRig(t, func(c *domain.Config) { c.MaxThrottles = 40 })
	for range 7 {
		_ = drop(r.Login(r.ctx, "eve", "wrong password", "10.6.6.6"))
	}
	r.is(drop(r.Login(r.ctx, "eve", "wrong password", "10.6.6.6")), domain.ErrThrottled)
	for i := range 150 {
		_ = drop(r.Login(r.ctx, fmt.Sprintf("user%d", i), "wrong password", fmt.Sprintf("10.1.%d.1", i)))
		var l domain.List[domain.Throttle]
		r.ok(r.store.View(r.ctx, func(tx domain.Tx) (err error) {
			l, err = tx.Throttles().List(r.ctx, domain.None{}, domain.Page{Limit: 1})
			return err
		}))
		if l.Total > 40 {
			t.Fatalf("%d counts are kept", l.Total)
		}
	}
	r.is(drop(r.Login(r.ctx, "eve", "wrong password", "10.6.6.6")), domain.ErrThrottled)
}

// unwritable is a store that can be read, and fails to write with an error.
type unwritable struct {
	domain.Store
	err error
}

func (u *unwritable) Update(ctx context.Context, fn func(domain.Tx) error) error {
	if u.err != nil {
		return u.err
	}
	return u.Store.Update(ctx, fn)
}

// TestReadingNeedsNoWriting: on a full disk, and while the database is locked,
// what devices fetch and what people look at is there, and the server starts.
func TestReadingNeedsNoWriting(t *testing.T) {
	u := &unwritable{}
	r := newRig(t, func(c *domain.Config) { u.Store, c.Store = c.Store, u })
	r.user("ann", domain.RoleAdmin)
	session, _ := r.login("ann")
	tok, err := r.CreateToken(r.ctx, r.admin, "ann", domain.TokenRequest{Name: "n", Role: domain.RoleAdmin,
		Scopes: domain.Scopes()})
	r.ok(err)
	r.device(phone1, "7961")
	device := r.enrol(phone2)
	for _, u.err = range []error{syscall.ENOSPC, fmt.Errorf("locked: %w", domain.ErrAway)} {
		r.now = r.now.Add(10 * time.Minute) // the use of credentials would be noted
		r.ok(drop(r.Provision(r.ctx, phone1, "", "10.0.0.1")))
		r.Asked(phone1, "10.0.0.1")
		r.ok(drop(r.Defaults(r.ctx)))
		_, _, err := r.ActorBySession(r.ctx, session.Secret, "10.0.0.2")
		r.ok(err)
		a, err := r.ActorByToken(r.ctx, tok.Secret, "10.0.0.2")
		r.ok(err)
		r.ok(drop(r.Devices(r.ctx, a, domain.DeviceFilter{}, domain.Page{})))
		if link, err := r.BeginSetup(r.ctx); link != "" || err != nil {
			t.Errorf("at the start: %q, %v", link, err)
		}
		r.is(r.Report(r.ctx, device, report.Device{Schema: 1, State: "idle"}), u.err)
	}
}

// FuzzDeviceName: a name is refused, or is one that cannot leave its place and
// stays as it is.
func FuzzDeviceName(f *testing.F) {
	for _, s := range []string{"SEP001122334455", "00:11:22:aa:bb:cc", "0011.22aa.bbcc", "sep00-11-22-33-44-55 ",
		"SEPSEP001122334455", "../x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := domain.DeviceName(s)
		if err != nil {
			if !errors.Is(err, domain.ErrInvalid) || name != "" {
				t.Fatalf("%q: %q, %v", s, name, err)
			}
			return
		}
		if again, err := domain.DeviceName(name); err != nil || again != name || len(name) != 15 ||
			strings.Trim(name, "SEP0123456789ABCDF") != "" {
			t.Fatalf("%q is %q, and that %q, %v", s, name, again, err)
		}
	})
}

// FuzzReport: whatever a device says of itself is invalid, or is kept within the
// bounds of what is kept.
func FuzzReport(f *testing.F) {
	r := newRig(f)
	device := r.enrol(phone1)
	f.Add([]byte(`{"schema":1,"time":"2026-11-22T12:00:00Z","state":"idle","percent":7,"children":["10.0.0.1"],` +
		`"files":[{"file":"a","bytes_from_peers":7,"components":[{"file":"b","size":-1}]}],"failures":[{"reason":"busy"}]}`))
	f.Add([]byte(`{"schema":1,"state":"idle","time":"0001-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var said report.Device
		if json.Unmarshal(body, &said) != nil {
			return
		}
		if err := r.Report(t.Context(), device, said); err != nil {
			if !errors.Is(err, domain.ErrInvalid) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		var s domain.DeviceState
		err := r.store.View(t.Context(), func(tx domain.Tx) (err error) {
			s, err = tx.States().Get(t.Context(), phone1)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range append(s.Last.Children, s.Last.Program, s.Last.Active, s.Last.Message, s.Last.Parent) {
			if len(text) > domain.MaxReportText || !utf8.ValidString(text) {
				t.Fatalf("%q is kept", text)
			}
		}
		if len(s.Files) > domain.MaxStateFiles || len(s.Failures) > domain.MaxStateFailures || s.Last.State != said.State ||
			s.Traffic.FromOrigin < 0 || s.Traffic.FromPeers < 0 || s.Traffic.FromCache < 0 || s.Traffic.ToPeers < 0 {
			t.Fatalf("%+v is kept", s)
		}
	})
}

// FuzzNetworks: networks are refused, or let in the addresses that they have.
func FuzzNetworks(f *testing.F) {
	r := newRig(f)
	f.Add("10.1.0.0/16", "10.1.2.3")
	f.Add("10.1.2.3/16", "::ffff:10.1.0.1")
	f.Add("fe80::/10", "fe80::1%eth0")
	f.Fuzz(func(t *testing.T, network, from string) {
		e, err := r.CreateEnrolment(t.Context(), r.admin, domain.EnrolmentRequest{Name: "e", Networks: []string{network}})
		if err != nil {
			if !errors.Is(err, domain.ErrInvalid) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		defer func() {
			// The token is gone once it was used.
			err := r.RevokeEnrolment(t.Context(), r.admin, e.ID)
			if err != nil && !errors.Is(err, domain.ErrNotFound) {
				t.Error(err)
			}
			if err := r.ResetIdentity(t.Context(), r.admin, phone1); err != nil && !errors.Is(err, domain.ErrNotFound) {
				t.Error(err)
			}
		}()
		p, err := netip.ParsePrefix(network)
		if err != nil {
			t.Fatalf("%q was taken: %v", network, err)
		}
		a, err := netip.ParseAddr(from)
		want := err == nil && p.Contains(a.Unmap())
		err = r.Enrol(t.Context(), domain.EnrolRequest{Device: phone1, Model: "7961", Token: e.Secret,
			Secret: strings.Repeat("s", 40), From: from})
		if got := !errors.Is(err, domain.ErrForbidden); got != want {
			t.Fatalf("%q from %q: %v", network, from, err)
		}
	})
}

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
	tiers.Long(t, "it hashes many passwords")
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

// TestRequestsAreBounded: neither one address nor many fill the disk, and
// guesses at codes are slowed down.
func TestRequestsAreBounded(t *testing.T) {
	tiers.Long(t, "it makes thousands of requests")
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
	r.now = r.now.Add(domain.RequestLife) // those that have expired take no room, pruned or not
	r.ok(drop(r.AskLogin(r.ctx, "c", "10.2.0.1")))
}

// TestDeletedDeviceTakesItsVerdicts: what was judged of loads for it goes, what was
// judged for another stays.
func TestDeletedDeviceTakesItsVerdicts(t *testing.T) {
	r := newRig(t)
	r.device(phone1, "7961")
	r.ok(r.store.Update(r.ctx, func(tx domain.Tx) error {
		var errs []error
		for _, v := range []domain.Verdict{{Device: phone1, Load: "a"}, {Device: phone1, Load: "b"}, {Device: phone2,
			Load: "a"}} {
			errs = append(errs, tx.Verdicts().Put(r.ctx, &v))
		}
		return errors.Join(errs...)
	}))
	r.ok(r.DeleteDevice(r.ctx, r.admin, phone1, 0))
	r.ok(r.store.View(r.ctx, func(tx domain.Tx) error {
		left, err := tx.Verdicts().List(r.ctx, domain.VerdictFilter{}, domain.Page{})
		if len(left.Items) != 1 || left.Items[0].Device != phone2 {
			t.Errorf("left are %+v", left.Items)
		}
		return err
	}))
}

// TestHistoryOfFileSets: what stands in each directory, and of which set a file was.
func TestHistoryOfFileSets(t *testing.T) {
	r := newRig(t)
	device := r.enrol(phone1)
	say := func(files []report.Final, sets ...report.FileSet) {
		r.ok(r.Report(r.ctx, device, report.Device{Schema: 1, State: "idle", Wanted: "fw", FileSets: sets, Files: files}))
	}
	jp, rings := report.FileSet{Directory: "locale", Name: "jp", Version: "1"}, report.FileSet{Directory: "rings"}
	say([]report.Final{{File: "jp.manifest", Load: "jp", Components: []report.Final{{File: "jp.xml"}}},
		{File: "fw.manifest", Load: "fw"}}, jp, rings)
	say(nil, jp, rings)
	jp.Version = "2"
	say(nil, jp)
	say(nil)
	l, err := r.History(r.ctx, r.admin, domain.HistoryFilter{Device: phone1}, domain.Page{})
	r.ok(err)
	var told []string
	for _, h := range l.Items {
		if h.Kind == domain.HistoryFileSet || h.Kind == domain.HistoryFile {
			told = slices.Insert(told, 0, fmt.Sprintf("%s %s of %s: %s → %s", h.Kind, h.File, h.Load, h.Old, h.New))
		}
	}
	want := []string{"file jp.manifest of jp:  → ", "file jp.xml of jp:  → ", "file fw.manifest of fw:  → ",
		"file-set locale of jp:  → jp 1", "file-set locale of jp: jp 1 → jp 2", "file-set locale of : jp 2 → "}
	if !slices.Equal(told, want) {
		t.Errorf("history: %q, want %q", told, want)
	}
}
