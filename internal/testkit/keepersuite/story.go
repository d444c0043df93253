package keepersuite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// site is a controller: it works the jobs of a queue, and dies when it likes.
type site struct {
	t     *testing.T
	store *twice
	now   time.Time
	fleet []string
	asks  []keeper.Job
	works int // jobs
}

func newSite(t *testing.T, open Open, n int) *site {
	s := &site{t: t, store: &twice{Kept: open(t)}, now: noon}
	for i := range n {
		s.fleet = append(s.fleet, fmt.Sprintf("d%02d", i))
	}
	return s
}

// keeper is a new one each time: nothing is kept between two calls.
func (s *site) keeper() *keeper.Keeper { return keeper.New(s.store, rollout.Straight) }

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) create(id string, change func(p *rollout.Plan)) {
	s.t.Helper()
	p := rollout.Default()
	p.MaxFailedShare, p.LeaveOut = 0, true
	change(&p)
	s.must(s.keeper().Create(s.t.Context(), s.now, id, "ann", p))
}

func (s *site) order(id string, e rollout.Event) error {
	return s.keeper().Order(s.t.Context(), s.now, id, e)
}

// work works the jobs up to a time. One that fails is tried again.
func (s *site) work(until time.Time) {
	s.t.Helper()
	for {
		jobs := s.store.jobs(s.t)
		if len(jobs) == 0 || jobs[0].At.After(until) {
			s.now = until
			return
		}
		j := jobs[0]
		if j.At.After(s.now) {
			s.now = j.At
		}
		s.must(s.store.Take(s.t.Context(), j))
		if err := s.job(j); errors.Is(err, errDisk) {
			s.must(s.store.Kept.Update(s.t.Context(), func(tx keeper.Tx) error { return tx.Enqueue(s.t.Context(), j) }))
		} else {
			s.must(err)
		}
		if s.works++; s.works > 10_000 {
			s.t.Fatalf("work without end: %+v", j)
		}
	}
}

func (s *site) job(j keeper.Job) error {
	switch j.Kind {
	case keeper.KindTick:
		return s.order(j.Rollout, rollout.Tick{})
	case keeper.KindLook:
		return s.keeper().Look(s.t.Context(), s.now, j.Rollout)
	case keeper.KindAsk:
		s.asks = append(s.asks, j)
		return nil
	}
	if err := s.order(j.Rollout, rollout.Relist{}); err != nil {
		return err
	}
	for part := range slices.Chunk(s.fleet, 7) {
		var all []rollout.Candidate
		for _, device := range part {
			all = append(all, rollout.Candidate{Device: device, Load: "new", Runs: "old", Place: rollout.Place{Zone: time.UTC}})
		}
		if err := s.keeper().List(s.t.Context(), s.now, j.Rollout, all); err != nil {
			return err
		}
	}
	return s.order(j.Rollout, rollout.Listed{})
}

func (s *site) checkIn(device string, said rollout.Report) rollout.Outcome {
	s.t.Helper()
	s.must(s.store.Hear(s.t.Context(), device, s.now))
	out, _, err := s.keeper().CheckIn(s.t.Context(), s.now, device, said, rollout.Place{Zone: time.UTC})
	s.must(err)
	return out
}

func (s *site) record(id string) (r rollout.Record) {
	s.t.Helper()
	s.must(s.store.Update(s.t.Context(), func(tx keeper.Tx) (err error) {
		r, err = tx.Rollout(s.t.Context(), id)
		return err
	}))
	return r
}

// story takes a fleet through a rollout: a canary, a check that says go, silent
// devices, and the end; by jobs alone, of which there are a few.
func story(t *testing.T, open Open) {
	s := newSite(t, open, 40)
	s.create("r", func(p *rollout.Plan) {
		p.Waves = []rollout.Wave{{Devices: []string{"d00"}, Gate: rollout.Gate{Opener: rollout.ByExternal, Success: 100,
			Soak: time.Hour}}, {Percent: 100}}
		p.Start, p.AskEvery = noon.Add(time.Hour), 10*time.Minute
		p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: 5 * time.Hour}
	})
	s.must(s.order("r", rollout.Start{By: "ann"}))
	s.store.fails = 20 // in the midst of the listing, which begins again
	s.work(noon.Add(time.Hour))
	if r := s.record("r"); r.State != rollout.Running || r.Totals() != (rollout.Counts{Waiting: 40}) {
		t.Fatalf("%s, %+v", r.State, r.Totals())
	}
	upgrade := func(device string) {
		t.Helper()
		if out := s.checkIn(device, rollout.Report{Runs: "old"}); out.Grant == nil {
			t.Fatalf("%s is handed nothing: %s", device, out.Hold)
		}
		s.checkIn(device, rollout.Report{Runs: "new"})
	}
	upgrade("d00")
	s.work(noon.Add(2*time.Hour + 5*time.Minute))
	if len(s.asks) != 1 || s.asks[0].Number != 1 || s.asks[0].Wave != 0 {
		t.Fatalf("asked %+v", s.asks)
	}
	s.must(s.order("r", rollout.Answer{Asked: 1, Go: true}))
	for _, device := range s.fleet[1:38] {
		upgrade(device)
	}
	s.work(noon.Add(20 * time.Hour))
	r := s.record("r")
	if r.State != rollout.Finished || r.Totals() != (rollout.Counts{Done: 38, Silent: 2}) {
		t.Errorf("%s, %+v", r.State, r.Totals())
	}
	if left := s.store.jobs(t); len(left) != 0 || s.works > 400 {
		t.Errorf("%d jobs were worked, and there are %v", s.works, left)
	}
}

// checkInWritesLittle: one that changes nothing writes nothing, and most others
// the device's row alone.
func checkInWritesLittle(t *testing.T, open Open) {
	s := newSite(t, open, 3)
	s.create("r", func(*rollout.Plan) {})
	s.must(s.order("r", rollout.Start{By: "ann"}))
	s.work(s.now)
	writes := func(said rollout.Report) int {
		before := s.store.written
		s.checkIn("d00", said)
		return s.store.written - before
	}
	if n := writes(rollout.Report{Runs: "old"}); n != 2 {
		t.Errorf("a grant writes %d times: the row and the record", n)
	}
	if n := writes(rollout.Report{Runs: "old"}); n != 0 {
		t.Errorf("the same again writes %d times", n)
	}
	s.now = s.now.Add(13 * time.Hour)
	if n := writes(rollout.Report{Runs: "old"}); n != 1 {
		t.Errorf("a renewed grant writes %d times: the row", n)
	}
}

// oneActive: what one holds another leaves out, and a verdict outlives
// both.
func oneActive(t *testing.T, open Open) {
	s := newSite(t, open, 5)
	s.create("a", func(*rollout.Plan) {})
	s.must(s.order("a", rollout.Start{By: "ann"}))
	s.work(s.now)
	s.fleet = append(s.fleet, "e0", "e1")
	s.create("b", func(*rollout.Plan) {})
	s.must(s.order("b", rollout.Start{By: "ann"}))
	s.work(s.now)
	if b := s.record("b"); b.Totals() != (rollout.Counts{Waiting: 2}) || b.LeftOut[rollout.ReasonClaimed] != 5 {
		t.Fatalf("%+v, left out %v", b.Totals(), b.LeftOut)
	}
	s.checkIn("d00", rollout.Report{Runs: "old"})
	s.checkIn("d00", rollout.Report{Runs: "old", Activity: rollout.Rejecting, Load: "new", Reason: "does-not-start"})
	s.must(s.keeper().Judge(t.Context(), rollout.Verdict{Device: "d01", Load: "new"}))
	if out := s.checkIn("d01", rollout.Report{Runs: "old"}); out.Grant != nil {
		t.Errorf("it is handed %v", out.Grant)
	}
	s.must(s.order("a", rollout.Abort{By: "ann"}))
	s.must(s.order("b", rollout.Abort{By: "ann"}))
	s.create("c", func(*rollout.Plan) {})
	s.must(s.order("c", rollout.Start{By: "ann"}))
	s.work(s.now)
	if c := s.record("c"); c.Totals() != (rollout.Counts{Waiting: 5}) || c.LeftOut[rollout.ReasonJudged] != 2 {
		t.Errorf("%+v, left out %v", c.Totals(), c.LeftOut)
	}
}

// byHand: orders about one device, and errors that change nothing.
func byHand(t *testing.T, open Open) {
	s := newSite(t, open, 2)
	s.create("r", func(*rollout.Plan) {})
	s.must(s.order("r", rollout.Start{By: "ann"}))
	s.work(s.now)
	s.must(s.keeper().ByHand(t.Context(), s.now, "r", "d00", false, rollout.ReasonByHand))
	s.must(s.keeper().ByHand(t.Context(), s.now, "r", "d00", true, ""))
	s.must(s.keeper().ByHand(t.Context(), s.now, "r", "d00", false, rollout.ReasonRemoved))
	for err, want := range map[error]error{
		s.keeper().ByHand(t.Context(), s.now, "r", "d00", false, rollout.ReasonByHand):            rollout.ErrRefused,
		s.keeper().ByHand(t.Context(), s.now, "r", "x", true, ""):                                 keeper.ErrNotFound,
		s.order("x", rollout.Tick{}):                                                              keeper.ErrNotFound,
		s.order("r", rollout.Resume{By: "ann"}):                                                   rollout.ErrState,
		s.keeper().Create(t.Context(), s.now, "r", "ann", rollout.Default()):                      rollout.ErrRefused,
		s.keeper().List(t.Context(), s.now, "r", []rollout.Candidate{{Device: "z", Load: "new"}}): rollout.ErrState,
		s.keeper().Create(t.Context(), s.now, "empty", "ann", rollout.Plan{}):                     rollout.ErrRefused,
	} {
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if sum := s.record("r"); sum.Totals() != (rollout.Counts{Waiting: 1, Skipped: 1}) {
		t.Errorf("%+v", sum.Totals())
	}
	_, ok, err := s.keeper().CheckIn(t.Context(), s.now, "stranger", rollout.Report{}, rollout.Place{})
	if ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// refusedListing: a rollout that cannot start is a draft again, and holds nobody.
func refusedListing(t *testing.T, open Open) {
	s := newSite(t, open, 3)
	s.create("r", func(p *rollout.Plan) {
		gate := rollout.Gate{Opener: rollout.ByPerson}
		p.Waves = []rollout.Wave{{Devices: []string{"nobody"}, Gate: gate}, {Percent: 100}}
	})
	s.must(s.order("r", rollout.Start{By: "ann"}))
	j := s.store.jobs(t)[0]
	if err := s.job(j); !errors.Is(err, rollout.ErrRefused) {
		t.Error(err)
	}
	if r := s.record("r"); r.State != rollout.Draft {
		t.Errorf("it is %s", r.State)
	}
	update(t, s.store, func(ctx context.Context, tx keeper.Tx) error {
		for _, device := range s.fleet {
			if _, err := tx.Device(ctx, "r", device); !errors.Is(err, keeper.ErrNotFound) {
				t.Errorf("%s is still in it: %v", device, err)
			}
		}
		return nil
	})
}

// removed: the rollout does not wait for a device that is no more, and is done when
// no other is left. One that it has done already stays done.
func removed(t *testing.T, open Open) {
	s := newSite(t, open, 2)
	s.create("r", func(*rollout.Plan) {})
	s.must(s.order("r", rollout.Start{By: "ann"}))
	s.work(s.now)
	s.checkIn("d00", rollout.Report{Runs: "old"})
	s.checkIn("d00", rollout.Report{Runs: "new"})
	remove := func(device string, state rollout.State, want rollout.Counts) {
		t.Helper()
		s.must(s.keeper().Remove(t.Context(), s.now, device))
		if r := s.record("r"); r.State != state || r.Totals() != want {
			t.Errorf("after %s: %s, %+v", device, r.State, r.Totals())
		}
	}
	remove("stranger", rollout.Running, rollout.Counts{Done: 1, Waiting: 1})
	remove("d00", rollout.Running, rollout.Counts{Done: 1, Waiting: 1})
	remove("d01", rollout.Finished, rollout.Counts{Done: 1, Skipped: 1})
	remove("d01", rollout.Finished, rollout.Counts{Done: 1, Skipped: 1})
	if r := s.record("r"); r.Reasons[rollout.ReasonRemoved] != 1 {
		t.Errorf("the reasons are %v", r.Reasons)
	}
}
