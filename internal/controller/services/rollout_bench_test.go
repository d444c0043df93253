package services_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/report"
)

// benchTarget are the devices of the rollout that is measured, of however many.
const benchTarget = 100_000

// BenchmarkRollout measures a step of a rollout over 100,000 devices: a person opens
// the wave that has nearly all of them, and the controller does what follows. It prints
// how long it takes to list them, too, and a check-in of one of them.
func BenchmarkRollout(b *testing.B) {
	onBoth(b, func(b *testing.B, f *benchFleet) {
		b.Run("step", func(b *testing.B) {
			for n := range b.N {
				f.rollout(b, fmt.Sprintf("up-%d", n))
			}
		})
	})
}

// rollout takes a rollout to its second wave, and ends it.
func (f *benchFleet) rollout(b *testing.B, id string) {
	b.Helper()
	ctx, load := b.Context(), "new-"+id
	_, err := f.Controller.RegisterLoad(ctx, f.admin, domain.UnsignedLoad{Name: load, Models: []string{"7941", "7961"}})
	must(b, err)
	order := func(v rollouts.Verb) {
		_, err := f.Rollouts.Order(ctx, f.admin, id, v, rollouts.Instruction{}, 0, false)
		must(b, err)
	}
	seconds := func(name string, fn func()) {
		begun := time.Now()
		fn()
		b.ReportMetric(time.Since(begun).Seconds(), name)
	}
	share := max(benchTarget*100/benchDevices, 1)
	_, err = f.Rollouts.Create(ctx, f.admin, id, rollouts.Change{Load: &load,
		Target: &domain.RolloutTarget{All: true, Percent: min(share, 100)},
		Plan:   &rollouts.Plan{LeaveOut: true, Waves: []rollouts.Wave{{Percent: 1, Opener: "person"}, {Percent: 100}}}})
	must(b, err)
	order(rollouts.ToStart)
	seconds("s/listing", func() { must(b, f.Rollouts.Work(ctx, keeper.Job{Kind: keeper.KindList, Rollout: id})) })
	seconds("s/step", func() {
		order(rollouts.ToNext)
		for _, kind := range []keeper.Kind{keeper.KindTick, keeper.KindLook} {
			must(b, f.Rollouts.Work(ctx, keeper.Job{Kind: kind, Rollout: id}))
		}
	})
	b.ReportMetric(2, "s/step-bound")
	v, err := f.Rollouts.Get(ctx, f.admin, id)
	must(b, err)
	if v.State != rollout.Running || v.Open != 2 || v.Counts.Waiting == 0 {
		b.Fatalf("%s, %d waves open, %+v", v.State, v.Open, v.Counts)
	}
	b.ReportMetric(float64(v.Counts.Waiting), "devices")
	const checkIns = 500
	begun, granted := time.Now(), 0
	for n := range checkIns {
		i := n * 7919 % benchDevices / 7 * 7
		r := benchReport(i, 0)
		r.State = report.StateIdle
		must(b, f.Controller.Report(ctx, domain.Actor{Kind: domain.ActorDevice, Name: benchName(i), From: benchFrom(i),
			Role: domain.RoleDevice}, r))
		told, err := f.Rollouts.Told(ctx, benchName(i))
		must(b, err)
		if told.Grant != nil {
			granted++
		}
	}
	if granted == 0 {
		b.Fatal("no device was granted anything")
	}
	b.ReportMetric(float64(time.Since(begun).Microseconds())/checkIns, "µs/check-in")
	order(rollouts.ToAbort)
}
