package rollouts_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
	"github.com/peerload/peerload/report"
)

// TestChangesAreTold: each state that a rollout comes into is told, once, in the
// transaction that writes it, which comes to nothing if that fails.
func TestChangesAreTold(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("old", "7961")
		r.load("new", "7961")
		r.site("kyoto", "Asia/Tokyo", "")
		all := r.fleet("kyoto", "7961", "old", 1, 1)
		r.create("up", "new", domain.RolloutTarget{All: true}, rollouts.Plan{Waves: []rollouts.Wave{{Percent: 100}}})
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		r.work(r.now)
		r.refuses = errors.New("no")
		_, err := r.Order(r.ctx, r.admin, "up", rollouts.ToPause, rollouts.Instruction{}, 0, false)
		r.is(err, r.refuses)
		if v := r.status("up"); v.State != rollout.Running {
			t.Errorf("it is %s, though that could not be told", v.State)
		}
		r.refuses, r.changes = nil, r.changes[:len(r.changes)-1]
		r.order("up", rollouts.ToPause, rollouts.Instruction{})
		r.order("up", rollouts.ToResume, rollouts.Instruction{})
		r.work(r.now)
		if !r.upgrade(all[0]) {
			t.Fatal("the device does nothing")
		}
		r.work(r.now.Add(time.Hour))
		want := []string{"up: draft → scheduled", "up: scheduled → running", "up: running → paused",
			"up: paused → running", "up: running → finished"}
		if !slices.Equal(r.changes, want) {
			t.Errorf("told: %q, want %q", r.changes, want)
		}
	})
}

// TestStory takes two sites from one load to the next: a canary, a wave in which
// too many fail, a mended load, a restart of the controller, and the end.
func TestStory(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("old", "7961")
		r.load("new", "7961")
		r.load("newer", "7961")
		r.site("kyoto", "Asia/Tokyo", "")
		r.site("oslo", "Europe/Oslo", "")
		kyoto := r.fleet("kyoto", "7961", "old", 1, 6)
		oslo := r.fleet("oslo", "7961", "old", 11, 4)
		r.create("up", "new", domain.RolloutTarget{All: true}, rollouts.Plan{
			Waves: []rollouts.Wave{{Devices: kyoto[:1], Soak: "1h"}, {Sites: []string{"kyoto"}, Opener: "person"},
				{Percent: 100}}})
		p, err := r.Preview(r.ctx, r.admin, "up")
		r.ok(err)
		if p.Reach.Devices != 10 || p.Reach.Sites["kyoto"] != 6 || p.Waves[1].Devices != 5 || p.Refused != "" {
			t.Fatalf("the preview says %+v", p)
		}
		would, err := r.Order(r.ctx, r.admin, "up", rollouts.ToStart, rollouts.Instruction{}, 1, true)
		r.ok(err)
		if would.Reach.Devices != 10 || r.status("up").State != rollout.Draft {
			t.Fatalf("a dry run says %+v, and it is %s", would.Reach, r.status("up").State)
		}
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		if r.told(kyoto[0]).Grant != nil {
			t.Fatal("a device may begin before the target is listed")
		}
		r.work(r.now)
		if r.told(kyoto[1]).Grant != nil || !r.upgrade(kyoto[0]) {
			t.Fatal("the canary, and it alone, may begin")
		}
		if v := r.status("up"); v.State != rollout.Running || v.Counts.Done != 1 || v.Counts.Waiting != 9 {
			t.Fatalf("%s %+v", v.State, v.Counts)
		}
		if r.assigned(kyoto[0]) != "new" || r.assigned(kyoto[1]) != "old" {
			t.Error("what a device came to run is not its assignment, or another's")
		}
		r.restart()
		r.jobs = nil // the queue is lost
		r.ok(r.Rebuild(r.ctx))
		r.work(r.now.Add(2 * time.Hour))
		if v := r.status("up"); v.Open != 2 {
			t.Fatalf("%d waves are open after the soak", v.Open)
		}
		r.fail(kyoto[1], report.StateRolledBack, "not-confirmed")
		v := r.status("up")
		if v.State != rollout.Paused || v.Counts.Failed != 1 || v.Reasons["not-confirmed"] != 1 {
			t.Fatalf("%s %+v %v", v.State, v.Counts, v.Reasons)
		}
		if r.told(kyoto[2]).Grant != nil {
			t.Fatal("a paused rollout hands out")
		}
		_, err = r.Order(r.ctx, r.admin, "up", rollouts.ToRetry, rollouts.Instruction{}, 0, false)
		r.is(err, domain.ErrRefused) // the load does not work there
		r.order("up", rollouts.ToReplace, rollouts.Instruction{From: "new", To: "newer"})
		if d := r.order("up", rollouts.ToRetry, rollouts.Instruction{}); d.Reach.Devices != 1 {
			t.Fatalf("tried again: %+v", d.Reach)
		}
		r.order("up", rollouts.ToResume, rollouts.Instruction{})
		for _, d := range kyoto[1:] {
			if !r.upgrade(d) {
				t.Fatalf("%s may not begin", d)
			}
		}
		r.work(r.now.Add(time.Hour))
		if v := r.status("up"); v.Open != 2 {
			t.Fatalf("%d waves are open, and nobody said next", v.Open)
		}
		if d := r.order("up", rollouts.ToNext, rollouts.Instruction{}); d.Reach.Devices != 4 || d.Rollout.Open != 3 {
			t.Fatalf("next: %+v", d)
		}
		for _, d := range oslo {
			r.upgrade(d)
		}
		v = r.status("up")
		if v.State != rollout.Finished || v.Counts.Done != 10 {
			t.Fatalf("%s %+v", v.State, v.Counts)
		}
		for _, d := range append(kyoto[1:], oslo...) {
			if got := r.assigned(d); got != "newer" {
				t.Errorf("%s should run %s", d, got)
			}
		}
	})
}

// TestRollBack: what a rollout did is taken back by another one, and the bad load
// never comes again.
func TestRollBack(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("old", "7961")
		r.load("new", "7961")
		all := r.fleet("", "7961", "old", 1, 4)
		r.says(all[3], report.Device{State: report.StateIdle, Active: "new"})
		r.create("up", "new", domain.RolloutTarget{All: true}, rollouts.Plan{})
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		r.work(r.now)
		r.upgrade(all[0])
		r.idle(all[1])
		r.told(all[1])
		if v := r.status("up"); v.Counts != (rollout.Counts{Done: 1, Granted: 1, Waiting: 1, Had: 1}) {
			t.Fatalf("%+v", v.Counts)
		}
		if told := r.told(all[3]); told.Load != "new" {
			t.Errorf("a device that had the load is told %q", told.Load)
		}
		done := r.order("up", rollouts.ToRollBack, rollouts.Instruction{})
		if done.Reach.Devices != 2 || done.Other == nil || done.Other.ID != "up-back" {
			t.Fatalf("%+v", done)
		}
		r.work(r.now)
		if v := r.status("up"); v.State != rollout.RolledBack || v.Links.UndoneBy != "up-back" {
			t.Fatalf("%s %+v", v.State, v.Links)
		}
		if !r.upgrade(all[0]) || r.runs[all[0]] != "old" {
			t.Fatalf("it runs %s", r.runs[all[0]])
		}
		r.idle(all[1])
		if v := r.status("up-back"); v.State != rollout.Finished || v.Counts.Done+v.Counts.Had != 2 {
			t.Fatalf("%s %+v", v.State, v.Counts)
		}
		if got := r.assigned(all[0]); got != "old" {
			t.Errorf("it should run %s", got)
		}
		_, err := r.Order(r.ctx, r.admin, "up-back", rollouts.ToRollBack, rollouts.Instruction{ID: "again"}, 0, false)
		r.ok(err)
		r.work(r.now)
		for _, d := range all[:2] {
			r.idle(d)
			if g := r.told(d).Grant; g != nil {
				t.Errorf("%s gets %s again", d, g.Load)
			}
		}
	})
}

// TestApproval: whoever wrote the plan does not approve it, with no token either.
func TestApproval(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("new", "7961")
		r.fleet("", "7961", "", 1, 1)
		r.create("up", "new", domain.RolloutTarget{All: true}, rollouts.Plan{Approval: true})
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		r.work(r.now)
		if v := r.status("up"); v.State != rollout.Awaiting {
			t.Fatal(v.State)
		}
		_, err := r.Order(r.ctx, r.admin, "up", rollouts.ToApprove, rollouts.Instruction{}, 0, false)
		r.is(err, domain.ErrRefused)
		if strings.Count(err.Error(), "refused") != 1 {
			t.Error(err)
		}
		own := domain.Actor{Kind: domain.ActorToken, Name: "token ci of ann", User: "ann", Role: domain.RoleAdmin}
		_, err = r.Order(r.ctx, own, "up", rollouts.ToApprove, rollouts.Instruction{}, 0, false)
		r.is(err, domain.ErrRefused)
		_, err = r.Order(r.ctx, domain.Local("ben"), "up", rollouts.ToApprove, rollouts.Instruction{}, 0, false)
		r.ok(err)
		r.work(r.now)
		if v := r.status("up"); v.State != rollout.Running {
			t.Fatal(v.State)
		}
		viewer := domain.Actor{Kind: domain.ActorUser, Name: "vi", User: "vi", Role: domain.RoleViewer}
		_, err = r.Order(r.ctx, viewer, "up", rollouts.ToPause, rollouts.Instruction{}, 0, false)
		r.is(err, domain.ErrForbidden)
		_, err = r.Order(r.ctx, r.admin, "up", rollouts.ToPause, rollouts.Instruction{}, 1, false)
		r.is(err, domain.ErrConflict)
		l, err := r.ctl.Audit(r.ctx, r.admin, domain.AuditFilter{Target: "rollout up"}, domain.Page{})
		r.ok(err)
		var did []string
		for _, e := range l.Items {
			did = append(did, e.Action+" by "+e.Actor)
		}
		if len(did) != 3 || did[0] != "rollout.approve by ben" || did[2] != "rollout.create by ann" {
			t.Errorf("the audit log has %q", did)
		}
	})
}

// TestRealm: who is limited to a site makes rollouts of it alone, and learns
// nothing of others'.
func TestRealm(t *testing.T) {
	f := realmsuite.New(t)
	of := func(cfg domain.Config) *rollouts.Service {
		kept := rollouts.New(cfg.Store, noQueue{}, time.Now)
		ctl, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := rollouts.NewService(rollouts.Config{Controller: ctl, Kept: kept})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	load := "ab"
	var changes []rollouts.Change
	for _, target := range []domain.RolloutTarget{{Site: realmsuite.Osaka}, {Profile: "desks"}, {All: true},
		{Devices: []string{realmsuite.Outside}}, {Site: realmsuite.Kyoto}} {
		changes = append(changes, rollouts.Change{Load: &load, Target: &target})
	}
	realmsuite.Add(f.Samples, changes...)
	for i, c := range changes {
		id := fmt.Sprint("r", i)
		if _, err := of(f.Config).Create(t.Context(), f.Admin, id, c); err != nil {
			t.Fatal(err)
		}
		realmsuite.Add(f.Samples, id)
	}
	realmsuite.Add(f.Samples, "both", "new")
	realmsuite.Add(f.Samples, rollouts.Verbs()...)
	realmsuite.Add(f.Samples, rollouts.Instruction{}, rollouts.Instruction{Devices: []string{realmsuite.Outside}})
	realmsuite.Add(f.Samples, domain.RolloutDeviceFilter{}, domain.RolloutDeviceFilter{Rollout: "both"})
	realmsuite.Run(t, f, func(cfg domain.Config) any { return of(cfg) }, "Rebuild", "Reported", "Told", "Work")
}

// noQueue takes jobs, and nobody does them.
type noQueue struct{}

func (noQueue) Enqueue(context.Context, domain.Tx, keeper.Job) error { return nil }

// TestPausedBeforeItIsListed: a rollout that was paused before its target was listed
// is listed all the same, and goes on.
func TestPausedBeforeItIsListed(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("new", "7961")
		all := r.fleet("", "7961", "", 1, 2)
		r.create("up", "new", domain.RolloutTarget{Devices: all}, rollouts.Plan{})
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		r.order("up", rollouts.ToPause, rollouts.Instruction{Why: "lunch"})
		r.jobs = nil // and the queue is lost
		r.ok(r.Rebuild(r.ctx))
		r.work(r.now)
		if v := r.status("up"); v.State != rollout.Paused || !v.Listed || v.Counts.Waiting != 2 {
			t.Fatalf("%s, %+v", v.State, v.Counts)
		}
		r.order("up", rollouts.ToResume, rollouts.Instruction{})
		r.restart()
		r.ok(r.Rebuild(r.ctx))
		r.work(r.now.Add(time.Minute))
		if v := r.status("up"); v.State != rollout.Running || v.Open != 1 {
			t.Fatalf("%s, %d waves are open", v.State, v.Open)
		}
	})
}

// TestExternalCheck: only an explicit go with a 2xx opens the next wave; the
// question is signed, and its last answer is told.
func TestExternalCheck(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		status, answer, secret := http.StatusOK, "", ""
		asked := 0
		monitor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			asked++
			body, err := io.ReadAll(q.Body)
			sum := hmac.New(sha256.New, []byte(secret))
			sum.Write(body)
			if want := "sha256=" + hex.EncodeToString(sum.Sum(nil)); err != nil || q.Method != http.MethodPost ||
				q.Header.Get(rollouts.SignatureHeader) != want {
				t.Errorf("asked by %s: %s %v", q.Method, body, err)
			}
			if status == http.StatusFound {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, answer) // the test sees what comes of it
		}))
		t.Cleanup(monitor.Close)
		r.load("new", "7961")
		all := r.fleet("", "7961", "", 1, 2)
		load, check := "new", monitor.URL+"/go"
		made, err := r.Create(r.ctx, r.admin, "up", rollouts.Change{Load: &load, Check: &check,
			Target: &domain.RolloutTarget{All: true},
			Plan:   &rollouts.Plan{Waves: []rollouts.Wave{{Devices: all[:1], Opener: "external"}, {Percent: 100}}}})
		r.ok(err)
		if secret = made.Secret; len(secret) != 64 {
			t.Fatalf("the secret is %q", secret)
		}
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		r.work(r.now)
		r.upgrade(all[0])
		for _, c := range []struct {
			status       int
			answer, says string
		}{{200, `{"go":false}`, "not yet"}, {200, `{}`, "nothing of go"}, {200, `go`, "no JSON"}, {500, `{"go":true}`, "500"},
			{302, `{"go":true}`, "302"}, {200, `{"go":"true"}`, "no JSON"}, {200, strings.Repeat(" ", 70_000), "more than"},
			{204, "", "no JSON"}} {
			status, answer = c.status, c.answer
			before := asked
			r.work(r.now.Add(90 * time.Second))
			v := r.status("up")
			if v.Open != 1 || asked == before || v.Checked == nil || !strings.Contains(v.Checked.Answer, c.says) {
				t.Errorf("%d %.40q: %d waves are open, %d questions, %+v", c.status, c.answer, v.Open, asked-before, v.Checked)
			}
		}
		monitor.CloseClientConnections()
		status, answer = 201, `{"go":true,"why":"all green"}`
		r.work(r.now.Add(3 * time.Minute))
		if v := r.status("up"); v.Open != 2 || v.Checked.Answer != "go" {
			t.Errorf("%d waves are open: %+v", v.Open, v.Checked)
		}
		l, err := r.ctl.Audit(r.ctx, r.admin, domain.AuditFilter{Action: "rollout.next"}, domain.Page{})
		r.ok(err)
		if len(l.Items) != 1 || l.Items[0].Actor != "external check" {
			t.Errorf("the audit log has %+v", l.Items)
		}
	})
}
