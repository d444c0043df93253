package bulk_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

// rig is a service on a real store, with a clock that stands until moved. It has a
// profile, a site, loads and a release.
type rig struct {
	*bulk.Service
	t     testing.TB
	ctx   context.Context
	ctl   *domain.Controller
	store domain.Store
	now   time.Time
	admin domain.Actor
}

func newRig(t testing.TB) *rig {
	t.Helper()
	s, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return rigOn(t, s)
}

// rigOn likewise, on an empty store.
func rigOn(t testing.TB, s domain.Store) *rig {
	t.Helper()
	r := &rig{t: t, ctx: t.Context(), store: s, now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		admin: domain.Local("root")}
	var err error
	r.ctl, err = domain.New(domain.Config{Store: s, Now: func() time.Time { return r.now },
		Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}})
	r.ok(err)
	r.Service = r.service(s)
	for _, name := range []string{"Branch", "lobby"} {
		_, err := r.ctl.CreateProfile(r.ctx, r.admin, name, domain.ProfileChange{})
		r.ok(err)
	}
	for _, name := range []string{"Kyoto", "Osaka"} {
		_, err := r.ctl.CreateSite(r.ctx, r.admin, name, domain.SiteChange{})
		r.ok(err)
	}
	for name, models := range map[string][]string{"SIP41": {"7941"}, "SIP61": {"7961"}, "any": {"7941", "7961"}} {
		_, err := r.ctl.RegisterLoad(r.ctx, r.admin, domain.UnsignedLoad{Name: name, Models: models})
		r.ok(err)
	}
	_, err = r.ctl.CreateRelease(r.ctx, r.admin, "9.4(2)", domain.ReleaseChange{Loads: &[]string{"SIP41", "SIP61"}})
	r.ok(err)
	return r
}

// service is another process on the same database.
func (r *rig) service(s domain.Store) *bulk.Service {
	r.t.Helper()
	now := func() time.Time { return r.now }
	ctl, err := domain.New(domain.Config{Store: s, Now: now, Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}})
	r.ok(err)
	out, err := bulk.New(bulk.Config{Controller: ctl, Now: now})
	r.ok(err)
	return out
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// csv is a request with a table.
func csv(lines ...string) bulk.Request {
	return bulk.Request{Name: "t.csv", Table: []byte(strings.Join(lines, "\n") + "\n"),
		JobOptions: domain.JobOptions{Create: true}}
}

// run makes a job and takes it to its end.
func (r *rig) run(q bulk.Request) domain.Job {
	r.t.Helper()
	j, err := r.Create(r.ctx, r.admin, q)
	r.ok(err)
	return r.finish(j.ID)
}

// finish takes a job to its end.
func (r *rig) finish(id string) domain.Job {
	r.t.Helper()
	for more := true; more; {
		var err error
		more, err = r.Step(r.ctx, id)
		r.ok(err)
	}
	j, err := r.Job(r.ctx, r.admin, id)
	r.ok(err)
	return j
}

// undo undoes a job.
func (r *rig) undo(id string) domain.Job {
	r.t.Helper()
	_, err := r.Undo(r.ctx, r.admin, id, false)
	r.ok(err)
	return r.finish(id)
}

// rows are all rows of a job.
func (r *rig) rows(id string) (all []domain.JobRow) {
	r.t.Helper()
	for p := (domain.Page{}); ; {
		l, err := r.Rows(r.ctx, r.admin, id, false, p)
		r.ok(err)
		all = append(all, l.Items...)
		if p.After = l.Next; p.After == "" {
			return all
		}
	}
}

// devices are all devices without what counts and dates their changes.
func (r *rig) devices() map[string]domain.Device {
	r.t.Helper()
	all := map[string]domain.Device{}
	r.ok(r.store.View(r.ctx, func(tx domain.Tx) error {
		for p := (domain.Page{Limit: domain.MaxPage}); ; {
			l, err := tx.Devices().List(r.ctx, domain.DeviceFilter{}, p)
			if err != nil {
				return err
			}
			for _, d := range l.Items {
				d.Meta = domain.Meta{}
				all[d.Name] = d
			}
			if p.After = l.Next; p.After == "" {
				return nil
			}
		}
	}))
	return all
}

// set changes a device behind the back of jobs.
func (r *rig) set(name string, change domain.DeviceChange) {
	r.t.Helper()
	_, err := r.ctl.UpdateDevice(r.ctx, r.admin, name, change, 0)
	r.ok(err)
}

// export is a table of all devices.
func (r *rig) export() []byte {
	r.t.Helper()
	t, err := r.Export(r.ctx, r.admin, bulk.Query{})
	r.ok(err)
	var b bytes.Buffer
	r.ok(table.WriteCSV(&b, t))
	return b.Bytes()
}

// is fails the test unless the error is that one.
func (r *rig) is(err, want error) {
	r.t.Helper()
	if !errors.Is(err, want) {
		r.t.Fatalf("the error is %v, not %v", err, want)
	}
}
