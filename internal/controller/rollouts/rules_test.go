package rollouts_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollouts"
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
