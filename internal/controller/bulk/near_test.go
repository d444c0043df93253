package bulk_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// revisedStore says how often what verdicts rest on has changed, as its test counts it.
type revisedStore struct {
	domain.Store
	n atomic.Int64
}

type revisedTx struct {
	domain.Tx
	of *revisedStore
}

// Revision implements domain.Revised.
func (t revisedTx) Revision(context.Context, ...string) (n int64, ok bool, err error) {
	return t.of.n.Load(), true, nil
}

func (s *revisedStore) View(ctx context.Context, fn func(domain.Tx) error) error {
	return s.Store.View(ctx, func(tx domain.Tx) error { return fn(revisedTx{tx, s}) })
}

func (s *revisedStore) Update(ctx context.Context, fn func(domain.Tx) error) error {
	return s.Store.Update(ctx, func(tx domain.Tx) error { return fn(revisedTx{tx, s}) })
}

// TestJudgedAhead: a step is judged while the one before it is written, and the verdicts
// stand only if nothing has changed since that they rest on.
func TestJudgedAhead(t *testing.T) {
	tiers.Long(t, "it judges a bulk change of many devices")
	const known, first = "SEP0000000002A0", 600 // a device that is there, and the first row of its step that is new
	for name, c := range map[string]struct {
		column string
		change func(r *rig, s *revisedStore)
		// ahead says that the verdicts stand; counts are those of the job.
		ahead  bool
		counts domain.JobCounts
	}{
		"nothing": {"Branch", func(*rig, *revisedStore) {}, true, domain.JobCounts{Rows: 1200, Created: 1199, Changed: 1}},
		"a profile": {"Branch", func(r *rig, s *revisedStore) {
			r.ok(r.ctl.DeleteProfile(r.ctx, r.admin, "lobby", 0))
			s.n.Add(1)
		}, false, domain.JobCounts{Rows: 1200, Created: 1198, Changed: 1, Refused: 1}},
		"a device that is there": {"Branch", func(r *rig, _ *revisedStore) {
			r.set(known, domain.DeviceChange{Profile: ptr("Branch"), Description: ptr("row")})
		}, false, domain.JobCounts{Rows: 1200, Created: 1199, Unchanged: 1}},
		"a device that was not there": {"Branch", func(r *rig, _ *revisedStore) {
			_, err := r.ctl.CreateDevice(r.ctx, r.admin, fmt.Sprintf("SEP%012X", first), domain.DeviceChange{Model: ptr("7941")})
			r.ok(err)
		}, false, domain.JobCounts{Rows: 1200, Created: 1198, Changed: 2}},
		"a load is assigned": {"Branch,SIP41", func(*rig, *revisedStore) {}, false,
			domain.JobCounts{Rows: 1200, Created: 1199, Changed: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "a profile" && name != "a device that was not there" {
				tiers.Long(t, "it makes more than a thousand devices")
			}
			db, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			s := &revisedStore{Store: db}
			r := rigOn(t, s)
			_, err = r.ctl.CreateDevice(r.ctx, r.admin, known, domain.DeviceChange{Model: ptr("7941")})
			r.ok(err)
			lines := []string{"device,model,description,profile"}
			if c.column != "Branch" {
				lines[0] += ",load"
			}
			for i := range 1200 {
				column := c.column
				if i == 700 {
					column = "lobby" + column[len("Branch"):]
				}
				lines = append(lines, fmt.Sprintf("%012X,7941,row,%s", i+1, column))
			}
			q := csv(lines...)
			q.SkipBad = true
			j, err := r.Create(r.ctx, r.admin, q)
			r.ok(err)
			for j.Next == 0 {
				_, err := r.Step(r.ctx, j.ID)
				r.ok(err)
				j, err = r.Job(r.ctx, r.admin, j.ID)
				r.ok(err)
			}
			was := r.now
			r.now = r.now.Add(time.Hour)
			c.change(r, s)
			if j = r.finish(j.ID); j.State != domain.JobDone || j.Counts != c.counts {
				t.Errorf("%s, %+v, not %+v: %s", j.State, j.Counts, c.counts, j.Problem)
			}
			// A device has the time at which it was judged.
			d, err := r.ctl.Device(r.ctx, r.admin, fmt.Sprintf("SEP%012X", first+1))
			if r.ok(err); d.Created.Equal(was) != c.ahead {
				t.Errorf("judged at %v, the step before was written at %v", d.Created, was)
			}
		})
	}
}
