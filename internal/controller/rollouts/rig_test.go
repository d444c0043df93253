package rollouts_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/report"
)

// rig is a controller with rollouts on a real store. Its clock stands until it is
// moved, and the test works the jobs.
type rig struct {
	*rollouts.Service
	t     *testing.T
	ctx   context.Context
	ctl   *domain.Controller
	store domain.Store
	now   time.Time
	admin domain.Actor
	jobs  []keeper.Job
	runs  map[string]string
	boots int
	// changes are the states that rollouts came into, as they were told.
	changes []string
	refuses error
}

// Enqueue implements rollouts.Queue: a job that is there already is there once, at
// the earlier time.
func (r *rig) Enqueue(_ context.Context, _ domain.Tx, j keeper.Job) error {
	for i, o := range r.jobs {
		if o.Kind == j.Kind && o.Rollout == j.Rollout && o.Wave == j.Wave && o.Number == j.Number {
			if j.At.Before(o.At) {
				r.jobs[i].At = j.At
			}
			return nil
		}
	}
	r.jobs = append(r.jobs, j)
	return nil
}

// work works the jobs up to a time.
func (r *rig) work(until time.Time) {
	r.t.Helper()
	for n := 0; ; n++ {
		slices.SortStableFunc(r.jobs, func(a, b keeper.Job) int { return a.At.Compare(b.At) })
		if len(r.jobs) == 0 || r.jobs[0].At.After(until) {
			break
		}
		if n > 20_000 {
			r.t.Fatal("work without end")
		}
		j := r.jobs[0]
		r.jobs = r.jobs[1:]
		if j.At.After(r.now) {
			r.now = j.At
		}
		r.ok(r.Work(r.ctx, j))
	}
	r.now = until
}

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
		r.t.Fatalf("%v, want %v", err, want)
	}
}

// databases are the two that a controller can have.
var databases = map[string]func(t *testing.T) domain.Store{
	"sqlite": func(t *testing.T) domain.Store {
		s, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
	"postgres": func(t *testing.T) domain.Store {
		s, err := postgres.Open(t.Context(), postgres.Config{URL: shared.Migrated(t)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
}

// shared is the PostgreSQL of these tests.
var shared = storesuite.Shared{Missing: foreign.Missing,
	Open: func(ctx context.Context, url string) (io.Closer, error) {
		return postgres.Open(ctx, postgres.Config{URL: url})
	}}

func TestMain(m *testing.M) { shared.Main(m) }

// onBoth runs a test on both databases.
func onBoth(t *testing.T, test func(t *testing.T, r *rig)) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { s.Close() })
			r := &rig{t: t, ctx: t.Context(), store: s, now: noon, admin: domain.Local("ann"), runs: map[string]string{}}
			r.restart()
			test(t, r)
		})
	}
}

// restart is another start of the controller on its database.
func (r *rig) restart() {
	r.t.Helper()
	r.boots++
	clock := func() time.Time { return r.now }
	kept := rollouts.New(r.store, r, clock)
	kept.Told = func(_ context.Context, tx domain.Tx, before rollout.State, v domain.Rollout) error {
		now, err := tx.Rollouts().Get(r.ctx, v.Key()) // it is told in the transaction that has written it
		r.ok(err)
		r.changes = append(r.changes, fmt.Sprintf("%s: %s → %s", v.Key(), before, now.Record.State))
		return r.refuses
	}
	var err error
	r.ctl, err = domain.New(domain.Config{Store: r.store, Now: clock, Removed: kept.Removed,
		Reported: func(ctx context.Context, tx domain.Tx, devices []string) error {
			return r.Reported(ctx, tx, devices)
		}, Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}})
	r.ok(err)
	r.Service, err = rollouts.NewService(rollouts.Config{Controller: r.ctl, Kept: kept})
	r.ok(err)
}

// device is the name of one.
func device(n int) string { return fmt.Sprintf("SEP0200000000%02X", n) }

// load makes a load known.
func (r *rig) load(name string, models ...string) {
	r.t.Helper()
	_, err := r.ctl.RegisterLoad(r.ctx, r.admin, domain.UnsignedLoad{Name: name, Models: models})
	r.ok(err)
}

// site makes a site.
func (r *rig) site(name, zone, window string) {
	r.t.Helper()
	_, err := r.ctl.CreateSite(r.ctx, r.admin, name, domain.SiteChange{TimeZone: &zone, Window: &window})
	r.ok(err)
}

// fleet makes devices at a site that run a load, from first on.
func (r *rig) fleet(site, model, load string, first, n int) (names []string) {
	r.t.Helper()
	for i := range n {
		name := device(first + i)
		names = append(names, name)
		_, err := r.ctl.CreateDevice(r.ctx, r.admin, name, domain.DeviceChange{Model: &model, Site: &site, Load: &load})
		r.ok(err)
		r.says(name, report.Device{State: report.StateIdle, Active: load, Wanted: load})
	}
	return names
}

// says reports for a device.
func (r *rig) says(name string, d report.Device) {
	r.t.Helper()
	r.runs[name] = d.Active
	d.Schema = report.Schema
	r.ok(r.ctl.Report(r.ctx, domain.Actor{Kind: domain.ActorDevice, Name: name, Role: domain.RoleDevice,
		From: "10.0.0.9"}, d))
}

// told is what a device is told when it fetches its file.
func (r *rig) told(name string) rollouts.Told {
	r.t.Helper()
	t, err := r.Told(r.ctx, name)
	r.ok(err)
	return t
}

// idle reports that a device runs what it runs.
func (r *rig) idle(name string) {
	r.t.Helper()
	r.says(name, report.Device{State: report.StateIdle, Active: r.runs[name]})
}

// upgrade takes a device through what it is told; false if that is nothing.
func (r *rig) upgrade(name string) bool {
	r.t.Helper()
	r.idle(name)
	g := r.told(name).Grant
	if g == nil {
		return false
	}
	u := &report.Upgrade{Load: g.Load, Rollout: g.Rollout, Try: g.Try}
	r.says(name, report.Device{State: report.StateDownloading, Active: r.runs[name], Upgrade: u})
	r.says(name, report.Device{State: report.StateIdle, Active: g.Load, Upgrade: u})
	return true
}

// fail lets a device fail at what it is told.
func (r *rig) fail(name, state, reason string) {
	r.t.Helper()
	g := r.told(name).Grant
	if g == nil {
		r.t.Fatalf("%s is told nothing", name)
	}
	r.says(name, report.Device{State: state, Active: r.runs[name], Reason: reason,
		Upgrade: &report.Upgrade{Load: g.Load, Rollout: g.Rollout, Try: g.Try}})
}

// order gives an order.
func (r *rig) order(id string, v rollouts.Verb, o rollouts.Instruction) rollouts.Done {
	r.t.Helper()
	done, err := r.Order(r.ctx, r.admin, id, v, o, 0, false)
	r.ok(err)
	return done
}

// create makes a rollout of a load.
func (r *rig) create(id, load string, target domain.RolloutTarget, plan rollouts.Plan) {
	r.t.Helper()
	_, err := r.Create(r.ctx, r.admin, id, rollouts.Change{Load: &load, Target: &target, Plan: &plan})
	r.ok(err)
}

// status reads a rollout.
func (r *rig) status(id string) rollouts.View {
	r.t.Helper()
	v, err := r.Get(r.ctx, r.admin, id)
	r.ok(err)
	return v
}

// assigned is what a device should run.
func (r *rig) assigned(name string) string {
	r.t.Helper()
	d, err := r.ctl.Desired(r.ctx, r.admin, name)
	r.ok(err)
	return d.Load.Load
}
