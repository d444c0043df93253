package rollouts_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/report"
)

// TestRetryReasons: a word that is no reason is refused, with those that are.
func TestRetryReasons(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("new", "7961")
		all, load := domain.RolloutTarget{All: true}, "new"
		retry := func(id string, reasons ...string) error {
			_, err := r.Create(r.ctx, r.admin, id, rollouts.Change{Load: &load, Target: &all,
				Plan: &rollouts.Plan{Retry: rollouts.Retry{Reasons: reasons, Times: 1, BackOff: "1m"}}})
			return err
		}
		err := retry("typo", "origin-unreachable", "no-progres", "alone")
		if !errors.Is(err, domain.ErrInvalid) || !strings.Contains(err.Error(), "did you mean no-progress?") ||
			!strings.Contains(err.Error(), "never-came-back, took-too-long") {
			t.Error(err)
		}
		r.ok(retry("right", "origin-unreachable", "disk", "installer", "never-came-back"))
	})
}

// TestJudgedByHand: a load that does not work on a device is not handed to it by an
// assignment either. At its own level that is refused, at others the device keeps
// what it runs; one that is added anew starts afresh.
func TestJudgedByHand(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("old", "7961")
		r.load("new", "7961")
		two := r.fleet("", "7961", "old", 1, 2)
		r.create("up", "new", domain.RolloutTarget{Devices: two[:1]}, rollouts.Plan{})
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		r.work(r.now)
		r.fail(two[0], report.StateRolledBack, "not-confirmed")
		r.order("up", rollouts.ToAbort, rollouts.Instruction{})

		_, err := r.ctl.AssignLoad(r.ctx, r.admin, domain.DeviceTarget(two[0]), "new", 0)
		r.is(err, domain.ErrRefused)
		if !strings.Contains(err.Error(), "another name") || r.assigned(two[0]) != "old" {
			t.Errorf("%v, and it should run %s", err, r.assigned(two[0]))
		}
		load := "new"
		_, err = r.ctl.UpdateDevice(r.ctx, r.admin, two[0], domain.DeviceChange{Load: &load}, 0)
		r.is(err, domain.ErrRefused)
		_, err = r.ctl.AssignLoad(r.ctx, r.admin, domain.DeviceTarget(two[1]), "new", 0)
		r.ok(err)
		for _, d := range two {
			_, err = r.ctl.AssignLoad(r.ctx, r.admin, domain.DeviceTarget(d), "", 0)
			r.ok(err)
		}
		c, err := r.ctl.Change(r.ctx, r.admin, domain.Order{Target: &domain.Target{}, Load: &load}, false)
		if err == nil {
			t.Fatalf("a target of no level: %+v", c)
		}
		all := domain.EnterpriseTarget()
		c, err = r.ctl.Change(r.ctx, r.admin, domain.Order{Target: &all, Load: &load}, false)
		r.ok(err)
		if c.Reach.Devices != 2 || c.Reach.Waiting != 1 {
			t.Errorf("%+v", c.Reach)
		}
		want := map[string]string{two[0]: "", two[1]: "new"}
		for name, handed := range want {
			d, err := r.ctl.Desired(r.ctx, r.admin, name)
			r.ok(err)
			if d.Load.Handed() != handed || strings.Contains(d.Load.Held, "not-confirmed") != (handed == "") {
				t.Errorf("%s is handed %q: %s", name, d.Load.Handed(), d.Load.Held)
			}
		}
		r.ok(r.ctl.DeleteDevice(r.ctx, r.admin, two[0], 0))
		r.fleet("", "7961", "old", 1, 1)
		_, err = r.ctl.AssignLoad(r.ctx, r.admin, domain.DeviceTarget(two[0]), "new", 0)
		r.ok(err)
	})
}

// stones makes a load that is installed from one that is installed from "v1".
func (r *rig) stones() {
	r.t.Helper()
	for _, name := range []string{"v0", "v1", "v2", "v3"} {
		r.load(name, "7961")
	}
	for name, from := range map[string]string{"v1": "factory", "v2": "v1", "v3": "v2"} {
		_, err := r.ctl.SetLoadFrom(r.ctx, r.admin, name, []string{from}, 0)
		r.ok(err)
	}
}

// TestSteps: a rollout takes each device by the stepping stones that it needs, and
// the plan counts them. One that fails at a stone has failed, and is not handed the
// stone again.
func TestSteps(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.stones()
		r.site("kyoto", "", "")
		low := r.fleet("kyoto", "7961", "v1", 1, 3)
		high := r.fleet("kyoto", "7961", "v2", 11, 1)[0]
		share := 0
		r.create("up", "v3", domain.RolloutTarget{Site: "kyoto"}, rollouts.Plan{MaxFailedShare: &share})
		p, err := r.Preview(r.ctx, r.admin, "up")
		r.ok(err)
		if p.Refused != "" || p.Reach.Devices != 4 || len(p.Sites) != 1 || p.Sites[0].Site != "kyoto" ||
			p.Sites[0].Devices != 4 || strings.Join(p.Sites[0].Loads, " ") != "v2 v3" {
			t.Fatalf("%+v", p)
		}
		r.order("up", rollouts.ToStart, rollouts.Instruction{})
		r.work(r.now)
		step := func(name, want string) {
			t.Helper()
			r.idle(name)
			if g := r.told(name).Grant; want == "" && g != nil || want != "" && (g == nil || g.Load != want) {
				t.Fatalf("%s is told %+v, want %q", name, g, want)
			}
		}
		step(high, "v3")
		r.upgrade(high)
		step(low[0], "v2")
		r.upgrade(low[0])
		if v := r.status("up"); v.Counts.Done != 1 || r.runs[low[0]] != "v2" {
			t.Fatalf("at the stone: %+v, it runs %s", v.Counts, r.runs[low[0]])
		}
		r.restart()
		step(low[0], "v3")
		r.upgrade(low[0])

		r.fail(low[1], report.StateRolledBack, "not-confirmed") // at the stone
		step(low[1], "")
		r.upgrade(low[2])
		step(low[2], "v3")
		r.fail(low[2], report.StateRolledBack, "installer") // at the goal
		v := r.status("up")
		if v.Counts.Done != 2 || v.Counts.Failed != 2 || v.State != rollout.Finished || v.Reasons["not-confirmed"] != 1 {
			t.Fatalf("%s: %+v %v", v.State, v.Counts, v.Reasons)
		}
		for name, runs := range map[string]string{high: "v3", low[0]: "v3", low[1]: "v1", low[2]: "v2"} {
			if r.runs[name] != runs {
				t.Errorf("%s runs %s, want %s", name, r.runs[name], runs)
			}
		}
		r.create("again", "v3", domain.RolloutTarget{Devices: low[1:]}, rollouts.Plan{})
		p, err = r.Preview(r.ctx, r.admin, "again")
		r.ok(err)
		if p.Refused == "" || p.LeftOut["judged-bad"] != 2 {
			t.Errorf("%+v", p)
		}
	})
}

// TestNoStep: where no stone leads to the load, the plan says how many devices cannot
// get there, and the rollout does not start, or leaves them out.
func TestNoStep(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.stones()
		r.fleet("", "7961", "v1", 1, 1)
		r.fleet("", "7961", "v0", 11, 2)
		r.create("up", "v3", domain.RolloutTarget{All: true}, rollouts.Plan{})
		p, err := r.Preview(r.ctx, r.admin, "up")
		r.ok(err)
		if !strings.Contains(p.Refused, "2") || p.LeftOut["no-way"] != 2 || p.Reach.Devices != 1 {
			t.Errorf("%+v", p)
		}
		_, err = r.Order(r.ctx, r.admin, "up", rollouts.ToStart, rollouts.Instruction{}, 0, true)
		r.is(err, domain.ErrRefused)
		r.create("some", "v3", domain.RolloutTarget{All: true}, rollouts.Plan{LeaveOut: true})
		r.order("some", rollouts.ToStart, rollouts.Instruction{})
		r.work(r.now)
		if v := r.status("some"); v.LeftOut["no-way"] != 2 || v.Counts.Waiting != 1 || r.told(device(11)).Grant != nil {
			t.Errorf("%+v %v", v.Counts, v.LeftOut)
		}
	})
}

// TestRightsShrink: what counts is what somebody may do when they give an order. A
// draft is not started by its author who has lost a site of it; what was started
// goes on, and others steer it.
func TestRightsShrink(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("old", "7961")
		r.load("new", "7961")
		r.site("kyoto", "", "")
		r.site("uji", "", "")
		kyoto, uji := r.fleet("kyoto", "7961", "old", 1, 2), r.fleet("uji", "7961", "old", 11, 1)
		ken := func(sites ...string) domain.Actor {
			return domain.Actor{Kind: domain.ActorUser, Name: "ken", User: "ken", Account: "k1", Role: domain.RoleOperator,
				Realm: domain.RealmOf(sites)}
		}
		load := "new"
		for id, target := range map[string]domain.RolloutTarget{"begun": {Devices: append(uji, kyoto[0])},
			"draft": {Devices: []string{kyoto[1], uji[0]}}, "site": {Site: "kyoto"}} {
			_, err := r.Create(r.ctx, ken("kyoto", "uji"), id, rollouts.Change{Load: &load, Target: &target})
			r.ok(err)
		}
		_, err := r.Order(r.ctx, ken("kyoto", "uji"), "begun", rollouts.ToStart, rollouts.Instruction{}, 0, false)
		r.ok(err)
		r.work(r.now)

		for _, id := range []string{"draft", "site"} {
			for _, dry := range []bool{true, false} {
				if _, err := r.Order(r.ctx, ken("uji"), id, rollouts.ToStart, rollouts.Instruction{}, 0, dry); err == nil {
					t.Fatalf("%s was started by somebody who has lost a site of it", id)
				}
			}
			if v := r.status(id); v.State != rollout.Draft {
				t.Fatalf("%s is %s", id, v.State)
			}
		}
		for _, v := range []rollouts.Verb{rollouts.ToPause, rollouts.ToAbort, rollouts.ToNext, rollouts.ToRollBack} {
			if _, err := r.Order(r.ctx, ken("uji"), "begun", v, rollouts.Instruction{}, 0, false); err == nil {
				t.Errorf("%s by somebody who has lost a site of it", v)
			}
		}
		if v := r.status("begun"); v.State != rollout.Running {
			t.Fatalf("it is %s", v.State)
		}
		if !r.upgrade(kyoto[0]) || !r.upgrade(uji[0]) {
			t.Error("what was started does not go on")
		}
		if v := r.status("begun"); v.State != rollout.Finished || v.Counts.Done != 2 {
			t.Errorf("%s: %+v", v.State, v.Counts)
		}
	})
}

// TestListOfSite: a site has the rollouts that have a device of it.
func TestListOfSite(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.load("old", "7961")
		r.load("new", "7961")
		for i, site := range []string{"kyoto", "uji", "nara"} {
			r.site(site, "", "")
			if site == "nara" {
				break
			}
			r.fleet(site, "7961", "old", 1+16*i, 1)
			r.create(site+"-up", "new", domain.RolloutTarget{Site: site}, rollouts.Plan{})
			r.order(site+"-up", rollouts.ToStart, rollouts.Instruction{})
		}
		r.work(r.now)
		for site, want := range map[string]string{"": "kyoto-up uji-up", "kyoto": "kyoto-up", "uji": "uji-up", "nara": ""} {
			l, err := r.List(r.ctx, r.admin, site, domain.RolloutFilter{}, domain.Page{})
			r.ok(err)
			var ids []string
			for _, v := range l.Items {
				ids = append(ids, v.ID)
			}
			if got := strings.Join(ids, " "); got != want || l.Total != len(ids) {
				t.Errorf("site %q has %q, %d in all, want %q", site, got, l.Total, want)
			}
		}
		_, err := r.List(r.ctx, r.admin, "kyotoo", domain.RolloutFilter{}, domain.Page{})
		r.is(err, domain.ErrNotFound)
		ken := domain.Actor{Kind: domain.ActorUser, Name: "ken", User: "ken", Role: domain.RoleViewer,
			Realm: domain.RealmOf([]string{"kyoto"})}
		l, err := r.List(r.ctx, ken, "kyoto", domain.RolloutFilter{}, domain.Page{})
		r.ok(err)
		if _, err := r.List(r.ctx, ken, "uji", domain.RolloutFilter{}, domain.Page{}); err == nil || len(l.Items) != 1 {
			t.Errorf("who is limited to kyoto sees %d of it, and of another: %v", len(l.Items), err)
		}
	})
}
