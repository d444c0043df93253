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

func (t faultTx) History() domain.Log[domain.HistoryEntry, domain.HistoryFilter] {
	return faultLog[domain.HistoryEntry, domain.HistoryFilter]{t.Tx.History(), t.f}
}

func (t faultTx) Audit() domain.Log[domain.AuditEntry, domain.AuditFilter] {
	return faultLog[domain.AuditEntry, domain.AuditFilter]{t.Tx.Audit(), t.f}
}
