package rollouts_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
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
		err := retry("typo", "origin-unreachable", "parent-lsot")
		if !errors.Is(err, domain.ErrInvalid) || !strings.Contains(err.Error(), "did you mean parent-lost?") ||
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
		r.order("up", rollouts.ToStart, rollouts.Order{})
		r.work(r.now)
		r.fail(two[0], report.StateRolledBack, "not-confirmed")
		r.order("up", rollouts.ToAbort, rollouts.Order{})

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
