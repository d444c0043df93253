package rollout_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// plan is the default one with changes.
func plan(change func(p *rollout.Plan)) rollout.Plan {
	p := rollout.Default()
	p.MaxFailedShare = 0
	change(&p)
	return p
}

func plain(*rollout.Plan) {}

// canary is two waves: the first device, then the rest.
func canary(g rollout.Gate) rollout.Plan {
	return plan(func(p *rollout.Plan) {
		p.Waves = []rollout.Wave{{Devices: []string{"d00"}, Gate: g}, {Percent: 100}}
	})
}

// running is a rollout r of n devices that has started.
func running(t *testing.T, n int, p rollout.Plan) *desk {
	t.Helper()
	d := newDesk(t, noon)
	d.create("r", p, fleet(n, "")...)
	d.must("r", rollout.Start{By: "ann"})
	return d
}

// stands looks at a device of r.
func (d *desk) stands(device string, want rollout.Standing, why string) {
	d.t.Helper()
	if row := d.held["r"].rows[device]; row.Standing != want || row.Reason != why {
		d.t.Fatalf("%s is %s %q, want %s %q\n%s", device, row.Standing, row.Reason, want, why, d.trace.String())
	}
	d.sums("r")
}

// is looks at the state of r.
func (d *desk) is(want rollout.State) {
	d.t.Helper()
	if got := d.held["r"].m.Status().State; got != want {
		d.t.Fatalf("r is %s, want %s\n%s", got, want, d.trace.String())
	}
}

// gets looks at whether a device that runs "old" is handed "new".
func (d *desk) gets(device string, want bool, hold rollout.Hold) *rollout.Grant {
	d.t.Helper()
	out := d.checkIn(device, rests("old"))
	if (out.Grant != nil) != want || out.Hold != hold {
		d.t.Fatalf("%s is handed %v, %q; want %v, %q\n%s", device, out.Grant, out.Hold, want, hold, d.trace.String())
	}
	return out.Grant
}

// TestFinishes: a rollout ends when every device is accounted for, each in its own
// way.
func TestFinishes(t *testing.T) {
	target := fleet(4, "")
	target[3].Runs = "new"
	d := newDesk(t, noon)
	d.create("r", plan(plain), target...)
	d.must("r", rollout.Start{By: "ann"})
	d.stands("d03", rollout.Had, "")
	d.upgrade(t, "d00", "old", "new")
	d.checkIn("d01", rests("new")) // it was listed as one that runs the old one
	d.stands("d01", rollout.Had, "")
	d.is(rollout.Running)
	d.gets("d02", true, "")
	d.checkIn("d02", says(rollout.Giving, "old", "new", 1))
	d.stands("d02", rollout.Failed, "disk")
	d.is(rollout.Finished)
	d.gets("d02", false, rollout.HoldSettled)
	if got, want := d.summary("r"), "r is finished, 1 of 1 waves open: 1 done 2 had 1 failed, 1 disk"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestHadNoMore: a device that was listed as one that runs the load and does not
// gets it.
func TestHadNoMore(t *testing.T) {
	target := fleet(2, "")
	target[0].Runs = "new"
	d := newDesk(t, noon)
	d.create("r", plan(plain), target...)
	d.must("r", rollout.Start{By: "ann"})
	d.gets("d00", true, "")
	d.stands("d00", rollout.Granted, "")
}

// TestTrialIsNotDone: a load that runs on trial is not there yet.
func TestTrialIsNotDone(t *testing.T) {
	d := running(t, 1, plan(plain))
	g := d.gets("d00", true, "")
	if out := d.checkIn("d00", says(rollout.Installing, "new", "new", g.Try)); out.Grant == nil {
		t.Errorf("its grant is taken in the trial: %s", out.Hold)
	}
	d.stands("d00", rollout.Began, "")
	d.checkIn("d00", rests("new"))
	d.stands("d00", rollout.Done, "")
	// One that tries it by itself is neither had nor handed it.
	d = running(t, 1, plan(plain))
	out := d.checkIn("d00", says(rollout.Installing, "new", "new", 0))
	if out.Grant != nil || out.Hold != rollout.HoldTrial {
		t.Errorf("handed %v, %s", out.Grant, out.Hold)
	}
	d.stands("d00", rollout.Waiting, "")
}

// TestWaves: a device gets nothing before its wave is open, a canary comes first,
// and a percentage has the devices of a lower one.
func TestWaves(t *testing.T) {
	d := running(t, 20, plan(func(p *rollout.Plan) {
		gate := rollout.Gate{Opener: rollout.BySuccess, Success: 50}
		p.Waves = []rollout.Wave{{Devices: []string{"d07"}, Gate: gate}, {Percent: 40, Gate: gate}, {Percent: 100}}
	}))
	for _, c := range fleet(20, "") {
		first := c.Device == "d07"
		hold := rollout.HoldWave
		if first {
			hold = ""
		}
		d.gets(c.Device, first, hold)
	}
	d.upgrade(t, "d07", "old", "new")
	got := 0
	for _, c := range fleet(20, "") {
		in := rollout.Share("r", c.Device) < 4000
		if out := d.checkIn(c.Device, rests("old")); c.Device != "d07" && (out.Grant != nil) != in {
			t.Errorf("%s, share %d: %v", c.Device, rollout.Share("r", c.Device), out.Grant)
		} else if out.Grant != nil {
			got++
		}
	}
	if got < 4 || got > 12 {
		t.Errorf("%d of 20 are 40 %%", got)
	}
}

// TestShares: they are spread evenly, and differ from rollout to rollout.
func TestShares(t *testing.T) {
	below, same := 0, 0
	for _, c := range fleet(10_000, "") {
		a, b := rollout.Share("a", c.Device), rollout.Share("b", c.Device)
		if a < 0 || a >= 10_000 {
			t.Fatalf("share %d", a)
		}
		if a < 1000 {
			below++
			if b < 1000 {
				same++
			}
		}
	}
	if below < 850 || below > 1150 || same > 200 {
		t.Errorf("%d of 10,000 are 10 %%, %d of them in two rollouts", below, same)
	}
}

// TestSites: a wave of sites takes them as a whole.
func TestSites(t *testing.T) {
	d := newDesk(t, noon)
	d.places["kyoto"], d.places["oslo"] = d.places[""], d.places[""]
	d.create("r", plan(func(p *rollout.Plan) {
		p.Waves = []rollout.Wave{{Sites: []string{"oslo"}, Gate: rollout.Gate{Opener: rollout.ByPerson}}, {Percent: 100}}
	}), append(fleet(2, "kyoto"), fleet(2, "oslo")...)...)
	d.must("r", rollout.Start{By: "ann"})
	d.gets("oslod01", true, "")
	d.gets("kyotod01", false, rollout.HoldWave)
	d.must("r", rollout.Next{By: "ann"})
	d.gets("kyotod01", true, "")
}

// TestSuccessAndSoak: the next wave opens once so many of the wave are done, and
// have been for so long without a break.
func TestSuccessAndSoak(t *testing.T) {
	gate := rollout.Gate{Opener: rollout.BySuccess, Success: 75, Soak: time.Hour}
	p := plan(func(p *rollout.Plan) {
		p.Waves = []rollout.Wave{{Devices: []string{"d00", "d01", "d02", "d03"}, Gate: gate}, {Percent: 100}}
	})
	open := func(d *desk) int { return d.held["r"].m.Status().Open }
	d := running(t, 8, p)
	d.upgrade(t, "d00", "old", "new")
	d.upgrade(t, "d01", "old", "new")
	d.wait(2 * time.Hour)
	if open(d) != 1 {
		t.Fatal("two of four are not 75 %")
	}
	d.upgrade(t, "d02", "old", "new")
	d.wait(59 * time.Minute)
	if open(d) != 1 {
		t.Fatal("it has not soaked")
	}
	d.checkIn("d02", says(rollout.Rejecting, "old", "new", 1)) // and so the share is lost
	d.wait(59 * time.Minute)
	d.upgrade(t, "d03", "old", "new")
	d.wait(59 * time.Minute)
	if open(d) != 1 {
		t.Fatal("it soaked with a break")
	}
	d.wait(time.Minute)
	if open(d) != 2 {
		t.Fatalf("it has soaked\n%s", d.trace.String())
	}
}

// TestNobodyShowsAnything: a wave whose devices were all left out on the way opens
// nothing; one whose devices all run the load does.
func TestNobodyShowsAnything(t *testing.T) {
	gate := rollout.Gate{Opener: rollout.BySuccess, Success: 50}
	d := running(t, 3, canary(gate))
	if _, err := d.held["r"].m.Skip(d.now, d.held["r"].rows["d00"], rollout.ReasonByHand); err != nil {
		t.Fatal(err)
	}
	d.wait(time.Hour)
	d.gets("d01", false, rollout.HoldWave)
	d.must("r", rollout.Next{By: "ann"})
	d.gets("d01", true, "")

	d = running(t, 3, canary(gate))
	d.checkIn("d00", rests("new"))
	d.gets("d01", true, "")
}

// TestEmptyWave: a percentage of few devices may be nobody, and is passed; a wave
// that names none of the target is a slip, and refused.
func TestEmptyWave(t *testing.T) {
	i := slices.IndexFunc(fleet(10, ""), func(c rollout.Candidate) bool { return rollout.Share("r", c.Device) >= 5000 })
	gate := rollout.Gate{Opener: rollout.ByPerson}
	d := newDesk(t, noon)
	d.create("r", plan(func(p *rollout.Plan) { p.Waves = []rollout.Wave{{Percent: 50, Gate: gate}, {Percent: 100}} }),
		fleet(10, "")[i])
	d.must("r", rollout.Start{By: "ann"})
	d.gets(fleet(10, "")[i].Device, true, "")

	d = newDesk(t, noon)
	d.create("r", canary(gate), fleet(10, "")[1:]...)
	if err := d.try("r", rollout.Start{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	d.is(rollout.Draft)
	if why := d.held["r"].m.Status().Why; !strings.Contains(why, "wave 1 has no device") || len(d.held["r"].rows) != 0 {
		t.Errorf("%q, %d rows", why, len(d.held["r"].rows))
	}
}

// TestPersonOpens: nothing but a person does.
func TestPersonOpens(t *testing.T) {
	d := running(t, 3, canary(rollout.Gate{Opener: rollout.ByPerson}))
	d.upgrade(t, "d00", "old", "new")
	d.wait(1000 * time.Hour)
	d.gets("d01", false, rollout.HoldWave)
	d.must("r", rollout.Next{By: "ann"})
	d.gets("d01", true, "")
	if err := d.try("r", rollout.Next{By: "ann"}); !errors.Is(err, rollout.ErrRefused) {
		t.Errorf("there is no other wave: %v", err)
	}
}

// TestExternalCheck: only an explicit go to the last question opens the next wave;
// silence never does.
func TestExternalCheck(t *testing.T) {
	gate := rollout.Gate{Opener: rollout.ByExternal, Success: 100, Soak: time.Hour}
	d := running(t, 3, canary(gate))
	d.must("r", rollout.Answer{Asked: 0, Go: true})
	d.upgrade(t, "d00", "old", "new")
	d.must("r", rollout.Answer{Asked: 0, Go: true}, rollout.Answer{Asked: 1, Go: true})
	d.wait(time.Hour)
	if len(d.asks) != 1 || d.asks[0].Number != 1 {
		t.Fatalf("asked %v", d.asks)
	}
	d.wait(30 * time.Minute)
	if n := len(d.asks); n != 31 {
		t.Fatalf("asked %d times in half an hour", n)
	}
	d.must("r", rollout.Answer{Asked: 30, Go: true}, rollout.Answer{Asked: 31})
	d.gets("d01", false, rollout.HoldWave)
	d.must("r", rollout.Pause{By: "ann"}, rollout.Answer{Asked: 31, Go: true}, rollout.Resume{By: "ann"})
	d.gets("d01", false, rollout.HoldWave)
	d.checkIn("d00", says(rollout.Rejecting, "old", "new", 1)) // what was asked holds no more
	d.must("r", rollout.Answer{Asked: 31, Go: true})
	d.gets("d01", false, rollout.HoldWave)

	d = running(t, 3, canary(gate))
	d.upgrade(t, "d00", "old", "new")
	d.wait(time.Hour)
	d.must("r", rollout.Answer{Asked: 1, Go: true})
	d.gets("d01", true, "")
}

// TestAGoIsForOneWave: a go is not for the gate after it.
func TestAGoIsForOneWave(t *testing.T) {
	gate := rollout.Gate{Opener: rollout.ByExternal, Success: 100}
	d := running(t, 3, plan(func(p *rollout.Plan) {
		p.Waves = []rollout.Wave{{Devices: []string{"d00"}, Gate: gate}, {Devices: []string{"d01"}, Gate: gate},
			{Percent: 100}}
	}))
	d.upgrade(t, "d00", "old", "new")
	d.must("r", rollout.Answer{Asked: 1, Go: true})
	d.must("r", rollout.Answer{Asked: 1, Go: true})
	d.upgrade(t, "d01", "old", "new")
	d.must("r", rollout.Answer{Asked: 1, Go: true})
	d.gets("d02", false, rollout.HoldWave)
	d.must("r", rollout.Answer{Asked: 2, Go: true})
	d.gets("d02", true, "")
}

// TestFailuresPause: by their count, and by their share of a wave; failures that a
// person has seen pause no more.
func TestFailuresPause(t *testing.T) {
	fails := func(d *desk, device string) {
		t.Helper()
		g := d.gets(device, true, "")
		d.checkIn(device, says(rollout.Giving, "old", "new", g.Try))
	}
	d := running(t, 10, plan(func(p *rollout.Plan) { p.MaxFailed = 2 }))
	fails(d, "d00")
	d.is(rollout.Running)
	fails(d, "d01")
	d.is(rollout.Paused)
	if why := d.held["r"].m.Status().Why; !strings.Contains(why, "failed devices: 2; the limit is 2") {
		t.Error(why)
	}
	d.gets("d02", false, rollout.HoldState)
	d.must("r", rollout.Resume{By: "ann"})
	fails(d, "d02")
	d.is(rollout.Running)
	fails(d, "d03")
	d.is(rollout.Paused)

	d = running(t, 10, plan(func(p *rollout.Plan) { p.MaxFailedShare = 20 }))
	fails(d, "d00")
	d.is(rollout.Running)
	fails(d, "d01")
	d.is(rollout.Paused)
	d.must("r", rollout.Resume{By: "ann"})
	fails(d, "d02")
	d.is(rollout.Running)

	// A failure that was tried again is no failure any more, and its pardon goes
	// with it.
	d = running(t, 10, plan(func(p *rollout.Plan) { p.MaxFailed = 1 }))
	fails(d, "d00")
	d.must("r", rollout.Resume{By: "ann"})
	if _, err := d.held["r"].m.Retry(d.now, d.held["r"].rows["d00"]); err != nil {
		t.Fatal(err)
	}
	fails(d, "d00")
	d.is(rollout.Paused)
}

// TestPause: new grants stop at once; what has not been installed is taken back
// with the next check-in, and what is being installed is let end.
func TestPause(t *testing.T) {
	d := running(t, 4, plan(func(p *rollout.Plan) { p.Lost = 48 * time.Hour }))
	one, two := d.gets("d00", true, ""), d.gets("d01", true, "")
	d.gets("d02", true, "")
	d.checkIn("d00", says(rollout.Fetching, "old", "new", one.Try))
	d.checkIn("d01", says(rollout.Installing, "old", "new", two.Try))
	d.must("r", rollout.Pause{By: "bob", Why: "the switch is replaced"})
	if out := d.checkIn("d00", says(rollout.Fetching, "old", "new", one.Try)); out.Grant != nil {
		t.Error("one that fetches keeps its grant")
	}
	if out := d.checkIn("d01", says(rollout.Installing, "old", "new", two.Try)); out.Grant == nil || *out.Grant != *two {
		t.Errorf("one that installs has %v, had %v", out.Grant, two)
	}
	d.gets("d02", false, rollout.HoldState)
	d.stands("d02", rollout.Waiting, "")
	d.gets("d03", false, rollout.HoldState)
	// However long it lasts, nothing is handed out again.
	d.wait(23 * time.Hour)
	if out := d.checkIn("d01", says(rollout.Installing, "old", "new", two.Try)); out.Grant == nil || *out.Grant != *two {
		t.Errorf("one that installs has %v, had %v", out.Grant, two)
	}
	d.wait(time.Hour)
	if out := d.checkIn("d01", says(rollout.Installing, "old", "new", two.Try)); out.Grant != nil {
		t.Errorf("it is renewed in the pause: %v", out.Grant)
	}
	d.must("r", rollout.Resume{By: "bob"})
	if g := d.gets("d00", true, ""); g.Try != one.Try {
		t.Errorf("one that had begun is at try %d", g.Try)
	}
	if g := d.gets("d02", true, ""); g.Try != 2 {
		t.Errorf("one that had not begun is at try %d", g.Try)
	}
}

// TestPausedDoesNotFinish: a person looks at it first.
func TestPausedDoesNotFinish(t *testing.T) {
	d := running(t, 1, plan(plain))
	d.gets("d00", true, "")
	d.must("r", rollout.Pause{By: "bob"})
	d.checkIn("d00", rests("new"))
	d.is(rollout.Paused)
	d.must("r", rollout.Resume{By: "bob"})
	d.is(rollout.Finished)
}

// TestAbort: nothing is handed out any more, and facts still count.
func TestAbort(t *testing.T) {
	d := running(t, 4, plan(plain))
	g := d.gets("d00", true, "")
	d.gets("d02", true, "")
	d.checkIn("d02", says(rollout.Fetching, "old", "new", 1))
	d.must("r", rollout.Abort{By: "bob", Why: "wrong release"})
	d.gets("d01", false, "")
	d.gets("d02", false, rollout.HoldState)
	d.checkIn("d00", says(rollout.Rejecting, "old", "new", g.Try))
	d.stands("d00", rollout.Failed, "disk")
	d.checkIn("d02", rests("new"))
	d.stands("d02", rollout.Done, "")
	if !slices.Equal(d.judged["d00"], []string{"new"}) {
		t.Errorf("judged %v", d.judged)
	}
	d.is(rollout.Aborted)
	if err := d.try("r", rollout.Abort{By: "bob"}); !errors.Is(err, rollout.ErrState) {
		t.Errorf("aborted twice: %v", err)
	}
}
