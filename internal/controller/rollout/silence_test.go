package rollout_test

import (
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
)

// TestSilence: devices that are not heard of, by each rule, and one that comes back.
func TestSilence(t *testing.T) {
	for rule, want := range map[rollout.SilenceRule]struct {
		standing rollout.Standing
		why      string
		state    rollout.State
	}{
		rollout.SilenceWaits:  {rollout.Waiting, "", rollout.Running},
		rollout.SilencePasses: {rollout.Silent, "", rollout.Running},
		rollout.SilenceFails:  {rollout.Failed, rollout.ReasonSilent, rollout.Paused},
	} {
		d := running(t, 3, plan(func(p *rollout.Plan) {
			p.Silence = rollout.Silence{Rule: rule, After: 10 * time.Hour}
			p.MaxFailed = 1
		}))
		d.upgrade(t, "d00", "old", "new")
		d.wait(9 * time.Hour)
		d.gets("d02", true, "")
		d.stands("d01", rollout.Waiting, "")
		d.wait(time.Hour)
		d.stands("d01", want.standing, want.why)
		d.is(want.state)
		d.stands("d02", rollout.Granted, "")
		if want.state == rollout.Paused {
			d.must("r", rollout.Resume{By: "ann"})
		}
		d.gets("d01", true, "")
		d.stands("d01", rollout.Granted, "")
	}
}

// TestFrozenAtTheEnd: how devices stood when a rollout was ended is what it says, and
// nobody has to look at them again.
func TestFrozenAtTheEnd(t *testing.T) {
	d := running(t, 3, plan(func(p *rollout.Plan) {
		p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: time.Hour}
	}))
	d.gets("d00", true, "")
	d.must("r", rollout.Abort{By: "ann"})
	d.wait(100 * time.Hour)
	d.stands("d00", rollout.Granted, "")
	d.stands("d01", rollout.Waiting, "")
	for device, row := range d.held["r"].rows {
		if !row.Due.IsZero() {
			t.Errorf("%s is due at %v", device, row.Due)
		}
	}
}

// TestClockSetBack: what was noted before counts from the new time.
func TestClockSetBack(t *testing.T) {
	d := running(t, 4, plan(func(p *rollout.Plan) {
		p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: time.Hour}
		p.Lost = 2 * time.Hour
		p.Retry = rollout.Retry{Reasons: []string{"disk"}, Times: 1, BackOff: 4 * time.Hour}
	}))
	d.gets("d00", true, "")
	d.checkIn("d00", says(rollout.Fetching, "old", "new", 1))
	d.gets("d01", true, "")
	d.checkIn("d01", says(rollout.Giving, "old", "new", 1))
	d.now = d.now.Add(-1000 * time.Hour)
	d.heard = map[string]time.Time{}
	d.looks(true)
	d.wait(59 * time.Minute)
	d.stands("d02", rollout.Waiting, "")
	d.wait(time.Minute)
	d.stands("d02", rollout.Silent, "")
	d.wait(time.Hour)
	d.stands("d00", rollout.Failed, rollout.ReasonLost)
	d.wait(3*time.Hour + 10*time.Minute)
	d.gets("d01", true, "")
}

// TestForgivenForAnotherReason: a failure that a person has seen stays one of those
// when more becomes known of it.
func TestForgivenForAnotherReason(t *testing.T) {
	d := running(t, 3, plan(func(p *rollout.Plan) { p.MaxFailed = 1 }))
	g := d.gets("d00", true, "")
	d.checkIn("d00", says(rollout.Fetching, "old", "new", g.Try))
	d.wait(24 * time.Hour)
	d.stands("d00", rollout.Failed, rollout.ReasonLost)
	d.must("r", rollout.Resume{By: "ann"})
	d.checkIn("d00", says(rollout.Giving, "old", "new", g.Try))
	d.stands("d00", rollout.Failed, "disk")
	d.is(rollout.Running)
}

// TestSilentAfterTheEnd: a device that comes back when all is over changes nothing,
// unless it runs the load.
func TestSilentAfterTheEnd(t *testing.T) {
	d := running(t, 2, plan(func(p *rollout.Plan) {
		p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: time.Hour}
	}))
	d.gets("d00", true, "")
	d.upgrade(t, "d01", "old", "new")
	d.wait(30 * time.Hour)
	d.is(rollout.Finished)
	d.gets("d00", false, rollout.HoldSettled)
	d.checkIn("d00", says(rollout.Fetching, "old", "new", 1))
	d.stands("d00", rollout.Silent, "")
	d.checkIn("d00", rests("new"))
	d.stands("d00", rollout.Done, "")
}

// TestSilenceBeginsWithTheWave: a device that nobody has asked anything is not
// silent.
func TestSilenceBeginsWithTheWave(t *testing.T) {
	p := canary(rollout.Gate{Opener: rollout.ByPerson})
	p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: 10 * time.Hour}
	d := running(t, 2, p)
	d.wait(95 * time.Hour)
	d.stands("d00", rollout.Silent, "")
	d.stands("d01", rollout.Waiting, "")
	d.must("r", rollout.Next{By: "ann"})
	d.wait(9*time.Hour + 59*time.Minute)
	d.stands("d01", rollout.Waiting, "")
	d.is(rollout.Running)
	d.wait(time.Minute)
	d.stands("d01", rollout.Silent, "")
	d.is(rollout.Finished)
}

// TestOutage: a time in which nobody could be heard is not the devices' silence.
func TestOutage(t *testing.T) {
	d := running(t, 2, plan(func(p *rollout.Plan) {
		p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: 10 * time.Hour}
		p.Lost = 10 * time.Hour
	}))
	d.gets("d00", true, "")
	d.checkIn("d00", says(rollout.Fetching, "old", "new", 1))
	d.wait(2 * time.Hour)
	d.now = d.now.Add(100 * time.Hour) // the controller is away
	d.restart()
	d.must("r", rollout.Outage{During: window.Span{From: d.now.Add(-100 * time.Hour), Until: d.now}})
	d.looks(false)
	d.wait(7 * time.Hour)
	d.now = d.now.Add(time.Hour) // and again, told in two parts that overlap
	d.must("r", rollout.Outage{During: window.Span{From: d.now.Add(-time.Hour), Until: d.now.Add(-10 * time.Minute)}})
	d.must("r", rollout.Outage{During: window.Span{From: d.now.Add(-30 * time.Minute), Until: d.now}})
	d.looks(false)
	d.wait(time.Hour - time.Second)
	d.stands("d00", rollout.Began, "")
	d.stands("d01", rollout.Waiting, "")
	d.wait(time.Second)
	d.stands("d00", rollout.Failed, rollout.ReasonLost)
	d.stands("d01", rollout.Silent, "")
	// However many there are, what is kept is bounded, and nothing is found too
	// soon.
	d = running(t, 1, plan(func(p *rollout.Plan) {
		p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: 50 * time.Hour}
	}))
	for range 100 {
		d.wait(30 * time.Minute)
		d.now = d.now.Add(time.Minute)
		d.must("r", rollout.Outage{During: window.Span{From: d.now.Add(-time.Minute), Until: d.now}})
		d.looks(false)
	}
	d.stands("d00", rollout.Waiting, "")
	if n := len(d.held["r"].m.Status().Outages); n > 32 {
		t.Errorf("%d outages are kept", n)
	}
	d.wait(51 * time.Hour)
	d.is(rollout.Finished)
}

// TestLost: a device that began and never came back fails, and one that comes back
// after that goes on.
func TestLost(t *testing.T) {
	d := running(t, 2, plan(func(p *rollout.Plan) { p.Lost = 5 * time.Hour }))
	g := d.gets("d00", true, "")
	d.checkIn("d00", says(rollout.Fetching, "old", "new", g.Try))
	d.wait(4 * time.Hour)
	d.checkIn("d00", says(rollout.Fetching, "old", "new", g.Try))
	d.wait(5*time.Hour - time.Second)
	d.stands("d00", rollout.Began, "")
	d.wait(time.Second)
	d.stands("d00", rollout.Failed, rollout.ReasonLost)
	d.checkIn("d00", says(rollout.Fetching, "old", "new", g.Try))
	d.stands("d00", rollout.Began, "")
	d.wait(5 * time.Hour)
	d.stands("d00", rollout.Failed, rollout.ReasonLost)
	d.checkIn("d00", rests("new"))
	d.stands("d00", rollout.Done, "")
}

// TestLongest: a device that talks and never gets there fails as well.
func TestLongest(t *testing.T) {
	d := running(t, 2, plan(func(p *rollout.Plan) { p.Longest = 30 * time.Hour }))
	d.gets("d00", true, "")
	for range 29 {
		d.wait(time.Hour)
		d.checkIn("d00", says(rollout.Fetching, "old", "new", 1))
	}
	d.stands("d00", rollout.Began, "")
	d.wait(time.Hour)
	d.stands("d00", rollout.Failed, rollout.ReasonTooLong)
	d.gets("d00", false, rollout.HoldSettled)
	d.is(rollout.Running)
}
