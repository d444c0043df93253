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
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/policy"
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
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, ctx: t.Context(), store: s, now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		admin: domain.Local("root")}
	cfg := domain.Config{Store: s, Now: func() time.Time { return r.now },
		Password: domain.PasswordCost{Memory: 8, Time: 1, Threads: 1}}
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
