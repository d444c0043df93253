package rollout_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
)

// TestGrant: what a device may do stands in its grant, with an end; it is renewed
// when half of it is over, and another try only if it was given up.
func TestGrant(t *testing.T) {
	d := running(t, 1, plan(func(p *rollout.Plan) { p.Valid = 10 * time.Hour }))
	want := window.Span{From: noon, Until: noon.Add(10 * time.Hour)}
	g := d.gets("d00", true, "")
	if *g != (rollout.Grant{Rollout: "r", Device: "d00", Load: "new", Try: 1, Download: want, Activate: want}) {
		t.Fatalf("%+v", g)
	}
	d.wait(5*time.Hour - time.Second)
	row := *d.held["r"].rows["d00"]
	if again := d.gets("d00", true, ""); *again != *g {
		t.Errorf("it is renewed too early: %v", again)
	}
	if out := d.checkIn("d00", rests("old")); out.Changed {
		t.Errorf("a check-in that changes nothing changes %+v to %+v", row, d.held["r"].rows["d00"])
	}
	d.wait(time.Second)
	if again := d.gets("d00", true, ""); again.Try != 1 || !again.Activate.Until.Equal(noon.Add(15*time.Hour)) {
		t.Errorf("renewed: %v", again)
	}
	d.wait(10*time.Hour - time.Second)
	d.stands("d00", rollout.Granted, "")
	d.wait(time.Second)
	d.stands("d00", rollout.Waiting, "")
	if again := d.gets("d00", true, ""); again.Try != 2 {
		t.Errorf("after its end: %v", again)
	}
}

// TestWindows: grants lie in windows of the site's clock; a download may be allowed
// before them.
func TestWindows(t *testing.T) {
	tokyo := zone(t, "Asia/Tokyo") // noon here is 21:00 there
	opening := window.Span{From: noon.Add(time.Hour), Until: noon.Add(3 * time.Hour)}
	for _, c := range []struct {
		name               string
		windows, site      []string
		anytime            bool
		valid              time.Duration
		at                 time.Duration // after noon
		hold               rollout.Hold
		again              time.Duration
		download, activate window.Span
	}{
		{name: "before", windows: []string{"22:00-00:00"}, hold: rollout.HoldWindow, again: time.Hour},
		{name: "in it", windows: []string{"22:00-00:00"}, at: 2 * time.Hour,
			download: window.Span{From: noon.Add(2 * time.Hour), Until: opening.Until},
			activate: window.Span{From: noon.Add(2 * time.Hour), Until: opening.Until}},
		{name: "at its end", windows: []string{"22:00-00:00"}, at: 3 * time.Hour, hold: rollout.HoldWindow,
			again: 25 * time.Hour},
		{name: "of the site", site: []string{"22:00-00:00"}, hold: rollout.HoldWindow, again: time.Hour},
		{name: "of both", windows: []string{"20:00-00:00"}, site: []string{"22:00-03:00"}, at: time.Hour,
			download: opening, activate: opening},
		{name: "download now", windows: []string{"22:00-00:00"}, anytime: true,
			download: window.Span{From: noon, Until: noon.Add(24 * time.Hour)}, activate: opening},
		{name: "download now, too early to activate", windows: []string{"22:00-00:00"}, anytime: true, valid: time.Hour,
			download: window.Span{From: noon, Until: noon.Add(time.Hour)}},
		{name: "download now, part of the window", windows: []string{"22:00-00:00"}, anytime: true, valid: 2 * time.Hour,
			download: window.Span{From: noon, Until: noon.Add(2 * time.Hour)},
			activate: window.Span{From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)}},
		{name: "a short grant in it", windows: []string{"22:00-00:00"}, valid: time.Hour, at: time.Hour,
			download: window.Span{From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)},
			activate: window.Span{From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)}},
	} {
		d := newDesk(t, noon)
		d.places[""] = rollout.Place{Zone: tokyo, Windows: schedule(t, c.site...)}
		d.create("r", plan(func(p *rollout.Plan) {
			p.Windows, p.DownloadAnytime = schedule(t, c.windows...), c.anytime
			if c.valid > 0 {
				p.Valid = c.valid
			}
		}), fleet(1, "")...)
		d.must("r", rollout.Start{By: "ann"})
		d.wait(c.at)
		out := d.checkIn("d00", rests("old"))
		switch {
		case c.hold != "":
			again := noon.Add(c.again)
			if c.again == 0 {
				again = time.Time{}
			}
			if out.Grant != nil || out.Hold != c.hold || !out.Again.Equal(again) {
				t.Errorf("%s: %v, %s until %v", c.name, out.Grant, out.Hold, out.Again)
			}
		case out.Grant == nil || out.Grant.Download != c.download || out.Grant.Activate != c.activate:
			t.Errorf("%s: %v (%s); want download %v, activate %v", c.name, out.Grant, out.Hold, c.download, c.activate)
		}
	}
}

// TestNoWindow: a device whose site's windows and the plan's are never open
// together cannot take part.
func TestNoWindow(t *testing.T) {
	d := newDesk(t, noon)
	d.places["a"] = rollout.Place{Zone: time.UTC, Windows: schedule(t, "22:00-03:00")}
	d.places["b"] = rollout.Place{Zone: time.UTC}
	d.create("r", plan(func(p *rollout.Plan) { p.Windows, p.LeaveOut = schedule(t, "20:00-21:00"), true }),
		append(fleet(2, "a"), fleet(1, "b")...)...)
	d.must("r", rollout.Start{By: "ann"})
	if got, want := d.summary("r"), "r is running, 1 of 1 waves open: 1 waiting, 2 no-window"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	d.places["b"] = rollout.Place{Zone: time.UTC, Windows: schedule(t, "22:00-03:00")} // since then
	if out := d.checkIn("bd00", rests("old")); out.Hold != rollout.HoldWindow || !out.Again.IsZero() {
		t.Errorf("%s until %v", out.Hold, out.Again)
	}
}

// TestWindowsThatChange: a grant of a window that the site has no more is taken.
func TestWindowsThatChange(t *testing.T) {
	d := newDesk(t, noon)
	d.create("r", plan(plain), fleet(1, "")...)
	d.must("r", rollout.Start{By: "ann"})
	d.gets("d00", true, "")
	d.places[""] = rollout.Place{Zone: time.UTC, Windows: schedule(t, "22:00-00:00")}
	d.gets("d00", false, rollout.HoldWindow)
	d.stands("d00", rollout.Waiting, "")
	d.places[""] = rollout.Place{Zone: time.UTC, Windows: schedule(t, "11:00-13:00")}
	if g := d.gets("d00", true, ""); !g.Activate.Until.Equal(noon.Add(time.Hour)) {
		t.Errorf("%v", g)
	}
}

// TestActivationFollows: a device that downloaded ahead is told when it may
// activate once that is near enough.
func TestActivationFollows(t *testing.T) {
	d := running(t, 1, plan(func(p *rollout.Plan) {
		p.Windows, p.DownloadAnytime, p.Valid = schedule(t, "22:00-00:00"), true, 2*time.Hour
	}))
	if g := d.gets("d00", true, ""); !g.Activate.Empty() {
		t.Fatal(g)
	}
	d.checkIn("d00", says(rollout.Fetching, "old", "new", 1))
	d.wait(9 * time.Hour)
	out := d.checkIn("d00", says(rollout.Fetching, "old", "new", 1))
	want := window.Span{From: noon.Add(10 * time.Hour), Until: noon.Add(11 * time.Hour)}
	if out.Grant == nil || out.Grant.Activate != want || out.Grant.Try != 1 {
		t.Error(out.Grant)
	}
}

// TestRetry: the policy's reasons are tried again, so often, with a longer pause
// each time; others are not.
func TestRetry(t *testing.T) {
	d := running(t, 2, plan(func(p *rollout.Plan) {
		p.Retry = rollout.Retry{Reasons: []string{"disk"}, Times: 3, BackOff: time.Hour, MaxBackOff: 3 * time.Hour}
	}))
	extra := time.Duration(rollout.Share("r", "d00"))
	for i, hours := range []time.Duration{1, 2, 3} {
		g := d.gets("d00", true, "")
		d.checkIn("d00", says(rollout.Fetching, "old", "new", g.Try))
		d.checkIn("d00", says(rollout.Giving, "old", "new", g.Try))
		d.stands("d00", rollout.Waiting, "disk")
		d.checkIn("d00", says(rollout.Giving, "old", "new", g.Try)) // the same failure again
		d.checkIn("d00", says(rollout.Fetching, "old", "new", g.Try))
		d.stands("d00", rollout.Waiting, "disk")
		pause := hours*time.Hour + hours*time.Hour/4*extra/10000
		if out := d.checkIn("d00", rests("old")); out.Hold != rollout.HoldBackOff || !out.Again.Equal(d.now.Add(pause)) {
			t.Fatalf("after failure %d: %s until %v, want %v\n%s", i+1, out.Hold, out.Again, pause, d.trace.String())
		}
		d.wait(pause - time.Second)
		d.gets("d00", false, rollout.HoldBackOff)
		d.wait(time.Second)
	}
	g := d.gets("d00", true, "")
	if d.checkIn("d00", says(rollout.Giving, "old", "new", g.Try-1)); d.held["r"].rows["d00"].Standing != rollout.Granted {
		t.Error("a failure of an earlier try counts")
	}
	d.checkIn("d00", says(rollout.Giving, "old", "new", g.Try))
	d.stands("d00", rollout.Failed, "disk")

	g = d.gets("d01", true, "")
	said := says(rollout.Giving, "old", "new", g.Try)
	said.Reason = "trust"
	d.checkIn("d01", said)
	d.stands("d01", rollout.Failed, "trust")
}

// TestRetryByHand: what failed gets another chance, with all its tries; but no load
// that was found not to work.
func TestRetryByHand(t *testing.T) {
	d := running(t, 4, plan(func(p *rollout.Plan) {
		p.Retry = rollout.Retry{Reasons: []string{"disk"}, Times: 1, BackOff: time.Hour}
	}))
	retry := func(device string) error {
		_, err := d.held["r"].m.Retry(d.now, d.held["r"].rows[device])
		return err
	}
	for range 2 {
		for range 2 {
			g := d.gets("d00", true, "")
			d.checkIn("d00", says(rollout.Giving, "old", "new", g.Try))
			d.wait(2 * time.Hour)
		}
		d.stands("d00", rollout.Failed, "disk")
		if err := retry("d00"); err != nil {
			t.Fatal(err)
		}
		d.checkIn("d00", says(rollout.Giving, "old", "new", 0)) // it still says so
		d.stands("d00", rollout.Granted, rollout.ReasonByHand)
	}
	if err := retry("d00"); !errors.Is(err, rollout.ErrRefused) {
		t.Errorf("one that is under way: %v", err)
	}
	g := d.gets("d01", true, "")
	d.checkIn("d01", says(rollout.Rejecting, "old", "new", g.Try))
	if err := retry("d01"); !errors.Is(err, rollout.ErrRefused) || !strings.Contains(err.Error(), "replace it") {
		t.Errorf("a load that does not work: %v", err)
	}
	d.stands("d01", rollout.Failed, "disk")
	d.must("r", rollout.Abort{By: "ann"})
	if err := retry("d00"); !errors.Is(err, rollout.ErrState) {
		t.Errorf("after the end: %v", err)
	}
}

// TestSkip: nobody waits for a device that was taken away.
func TestSkip(t *testing.T) {
	d := running(t, 2, plan(plain))
	h := d.held["r"]
	d.gets("d00", true, "")
	if _, err := h.m.Skip(d.now, h.rows["d00"], rollout.ReasonRemoved); err != nil {
		t.Fatal(err)
	}
	d.stands("d00", rollout.Skipped, rollout.ReasonRemoved)
	d.gets("d00", false, rollout.HoldSettled)
	d.checkIn("d00", says(rollout.Giving, "old", "new", 1))
	d.stands("d00", rollout.Skipped, rollout.ReasonRemoved)
	if _, err := h.m.Skip(d.now, h.rows["d00"], rollout.ReasonRemoved); !errors.Is(err, rollout.ErrRefused) {
		t.Errorf("twice: %v", err)
	}
	d.upgrade(t, "d01", "old", "new")
	d.is(rollout.Finished)
	if _, err := h.m.Skip(d.now, h.rows["d01"], rollout.ReasonByHand); !errors.Is(err, rollout.ErrState) {
		t.Errorf("after the end: %v", err)
	}
}

// TestSteps: a device goes by stepping stones, and one that has no way, or goes in
// circles, is told so.
func TestSteps(t *testing.T) {
	d := newDesk(t, noon)
	d.next = func(runs, goal string) (string, bool) {
		switch runs {
		case "old":
			return "mid", true
		case "round", "about":
			return map[string]string{"round": "about", "about": "round"}[runs], true
		}
		return goal, runs != "odd"
	}
	target := fleet(5, "")
	target[1].Runs = "odd"
	d.create("r", plan(func(p *rollout.Plan) { p.LeaveOut = true }), target...)
	d.must("r", rollout.Start{By: "ann"})
	if got := d.held["r"].m.Status().LeftOut; got[rollout.ReasonNoWay] != 1 || len(got) != 1 {
		t.Errorf("left out %v", got)
	}
	d.upgrade(t, "d00", "old", "mid")
	d.stands("d00", rollout.Granted, "")
	d.upgrade(t, "d00", "mid", "new")
	d.stands("d00", rollout.Done, "")
	if row := d.held["r"].rows["d00"]; row.Ran != "old" || row.Steps != 1 {
		t.Errorf("ran %s, %d steps", row.Ran, row.Steps)
	}
	d.checkIn("d02", rests("odd"))
	d.stands("d02", rollout.Skipped, rollout.ReasonNoWay)
	for range 8 {
		d.upgrade(t, "d03", "round", "about")
		d.upgrade(t, "d03", "about", "round")
	}
	d.checkIn("d03", rests("round"))
	d.stands("d03", rollout.Failed, rollout.ReasonSteps)
	// A stone that does not work on a device is the end of its way.
	g := d.checkIn("d04", rests("old")).Grant
	d.checkIn("d04", says(rollout.Rejecting, "old", "mid", g.Try))
	d.stands("d04", rollout.Failed, "disk")
}

// TestStepsAndWhatIsKnown: a device of which nobody knows what it runs takes part, one
// that runs the load needs no step, one that was skipped is not sent on, and a way
// whose end or whose stones do not work on a device is none.
func TestStepsAndWhatIsKnown(t *testing.T) {
	d := newDesk(t, noon)
	d.next = func(runs, goal string) (string, bool) {
		to := map[string]string{"old": "mid", "mid": goal}[runs]
		return to, to != ""
	}
	target := fleet(6, "")
	target[0].Runs, target[1].Runs = "", "new"
	d.create("r", plan(plain), target...)
	d.must("r", rollout.Start{By: "ann"})
	d.stands("d00", rollout.Waiting, "")
	d.stands("d01", rollout.Had, "")
	d.must("r", rollout.Pause{By: "ann"})
	d.checkIn("d00", rests("older"))
	if ran := d.held["r"].rows["d00"].Ran; ran != "older" {
		t.Errorf("it ran %q", ran)
	}
	d.must("r", rollout.Resume{By: "ann"})
	d.checkIn("d00", rests(""))
	d.stands("d00", rollout.Skipped, rollout.ReasonNoWay)

	h := d.held["r"]
	g := d.checkIn("d02", rests("old")).Grant
	if _, err := h.m.Skip(d.now, h.rows["d02"], rollout.ReasonByHand); err != nil {
		t.Fatal(err)
	}
	d.checkIn("d02", says(rollout.Fetching, "mid", "mid", g.Try))
	d.stands("d02", rollout.Skipped, rollout.ReasonByHand)

	for device, load := range map[string]string{"d03": "new", "d04": "mid"} {
		if out := h.m.Judge(h.rows[device], load); !out.Changed {
			t.Errorf("%s is not noted", load)
		}
		if out := h.m.Judge(h.rows[device], load); out.Changed {
			t.Errorf("%s is noted twice", load)
		}
		d.checkIn(device, rests("old"))
		d.stands(device, rollout.Skipped, rollout.ReasonJudged)
	}
	// One that is at it is not told to go on.
	g = d.checkIn("d05", rests("old")).Grant
	d.checkIn("d05", says(rollout.Installing, "old", "mid", g.Try))
	h.m.Judge(h.rows["d05"], "mid")
	if out := d.checkIn("d05", says(rollout.Installing, "old", "mid", g.Try)); out.Grant != nil {
		t.Error(out.Grant)
	}
}

// TestTryOfAnother: what a device says of another rollout's grant is no failure of
// this one.
func TestTryOfAnother(t *testing.T) {
	d := running(t, 1, plan(plain))
	d.gets("d00", true, "")
	other := says(rollout.Giving, "old", "new", 1)
	other.Rollout = "q"
	d.checkIn("d00", other)
	d.stands("d00", rollout.Granted, "")
	other.Rollout = "r"
	d.checkIn("d00", other)
	d.stands("d00", rollout.Failed, "disk")
}

// TestJudged: a load that was found not to work on a device is never handed to it,
// whoever found it.
func TestJudged(t *testing.T) {
	d := newDesk(t, noon)
	d.judged["d00"] = []string{"new"}
	target := fleet(4, "")
	d.create("r", plan(func(p *rollout.Plan) { p.LeaveOut = true }), target...)
	d.must("r", rollout.Start{By: "ann"})
	if got := d.held["r"].m.Status().LeftOut; got[rollout.ReasonJudged] != 1 {
		t.Errorf("left out %v", got)
	}
	// By itself, before the rollout has reached it.
	out := d.checkIn("d01", says(rollout.Rejecting, "old", "new", 0))
	verdict := rollout.Verdict{Device: "d01", Load: "new", Reason: "disk"}
	if out.Grant != nil || out.Judged == nil || *out.Judged != verdict {
		t.Errorf("%v, %v", out.Grant, out.Judged)
	}
	d.stands("d01", rollout.Skipped, rollout.ReasonJudged)
	if out = d.checkIn("d01", says(rollout.Rejecting, "old", "new", 0)); out.Judged != nil {
		t.Error("judged twice")
	}
	// After it was done.
	d.upgrade(t, "d02", "old", "new")
	d.checkIn("d02", says(rollout.Rejecting, "old", "new", 0))
	d.stands("d02", rollout.Failed, "disk")
	// One that has no load to go back to runs it all the same.
	g := d.checkIn("d03", rests("")).Grant
	d.checkIn("d03", says(rollout.Rejecting, "new", "new", g.Try))
	d.stands("d03", rollout.Failed, "disk")
}

// TestManyLoadsRejected: a device that rejects loads without end does not fill its
// row, and what matters is noted all the same.
func TestManyLoadsRejected(t *testing.T) {
	d := running(t, 1, plan(plain))
	for i := range 1000 {
		d.checkIn("d00", says(rollout.Rejecting, "old", fmt.Sprint("load ", i), 0))
	}
	d.checkIn("d00", says(rollout.Rejecting, "old", "new", 1))
	row := d.held["r"].rows["d00"]
	if len(row.Bad) > 100 || !slices.Contains(row.Bad, "new") {
		t.Errorf("%d loads, %v", len(row.Bad), row.Bad[len(row.Bad)-1])
	}
}

// TestReasonsAreBounded: whatever devices say.
func TestReasonsAreBounded(t *testing.T) {
	d := running(t, 300, plan(plain))
	for i, c := range fleet(300, "") {
		g := d.gets(c.Device, true, "")
		said := says(rollout.Giving, "old", "new", g.Try)
		said.Reason = []string{fmt.Sprint("code-", i), strings.Repeat("x", 50), "", "no code!"}[i%4]
		d.checkIn(c.Device, said)
		d.sums("r")
	}
	r := d.held["r"].m.Status().Reasons
	if len(r) > rollout.MaxReasons+1 || r[rollout.ReasonUnknown] != 75 || r[rollout.ReasonOther] < 150 {
		t.Errorf("%d reasons: %v", len(r), r)
	}
}

// TestReplace: a mended load takes the place of one that failed, for all that are
// not done.
func TestReplace(t *testing.T) {
	d := running(t, 3, plan(func(p *rollout.Plan) { p.MaxFailed = 1 }))
	d.upgrade(t, "d00", "old", "new")
	g := d.gets("d02", true, "")
	d.checkIn("d02", says(rollout.Fetching, "old", "new", g.Try))
	g = d.gets("d01", true, "")
	if err := d.try("r", rollout.Replace{By: "ann", From: "new", To: "new2"}); !errors.Is(err, rollout.ErrState) {
		t.Errorf("while it runs: %v", err)
	}
	d.checkIn("d01", says(rollout.Rejecting, "old", "new", g.Try))
	for _, bad := range []rollout.Replace{{From: "new", To: "new"}, {From: "", To: "x"}, {From: "new", To: ""}} {
		if err := d.try("r", bad); !errors.Is(err, rollout.ErrRefused) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	d.must("r", rollout.Replace{By: "ann", From: "new", To: "new2"}, rollout.Replace{By: "ann", From: "new2", To: "new3"})
	for _, bad := range []rollout.Replace{{From: "new3", To: "new"}, {From: "new", To: "new4"}} {
		if err := d.try("r", bad); !errors.Is(err, rollout.ErrRefused) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := d.held["r"].m.Retry(d.now, d.held["r"].rows["d01"]); err != nil {
		t.Fatal(err)
	}
	d.must("r", rollout.Resume{By: "ann"})
	out := d.checkIn("d01", says(rollout.Rejecting, "old", "new", 1)) // it still says so
	if out.Grant == nil || out.Grant.Load != "new3" {
		t.Fatalf("%v %s", out.Grant, out.Hold)
	}
	if out = d.checkIn("d02", says(rollout.Fetching, "old", "new", 1)); out.Grant == nil || out.Grant.Load != "new3" ||
		out.Grant.Try != 2 {
		t.Errorf("one that fetches the old one: %v", out.Grant)
	}
	d.checkIn("d01", rests("new3"))
	d.checkIn("d02", rests("new3"))
	d.is(rollout.Finished)
	d.stands("d00", rollout.Done, "")
}

// TestReplaceIsBounded: a rollout that is mended without end is not one.
func TestReplaceIsBounded(t *testing.T) {
	d := running(t, 1, plan(plain))
	d.must("r", rollout.Pause{By: "ann"})
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = d.try("r", rollout.Replace{From: fmt.Sprint(i), To: fmt.Sprint(i + 1)})
	}
	if !errors.Is(err, rollout.ErrRefused) {
		t.Error(err)
	}
}

// undo makes the rollout that takes id back.
func (d *desk) undo(t *testing.T, id, back string) {
	t.Helper()
	d.must(id, rollout.RollBack{By: "ann"})
	var target []rollout.Candidate
	for _, row := range d.held[id].rows {
		c, judged, ok, err := d.held[id].m.Undo(row)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			target = append(target, c)
			d.judged[c.Device] = append(d.judged[c.Device], judged.Load)
		}
	}
	d.create(back, plan(func(p *rollout.Plan) { p.LeaveOut = true }), target...)
	d.must(back, rollout.Start{By: "ann"})
}

// TestRollBack: a roll back is a rollout of what each device ran before, and a
// second one never brings back what the first took away.
func TestRollBack(t *testing.T) {
	target := fleet(6, "")
	target[1].Runs, target[4].Runs, target[5].Runs = "older", "", "new"
	d := newDesk(t, noon)
	d.create("r", plan(plain), target...)
	if err := d.try("r", rollout.RollBack{By: "ann"}); !errors.Is(err, rollout.ErrState) {
		t.Errorf("a draft: %v", err)
	}
	d.must("r", rollout.Start{By: "ann"})
	if _, _, _, err := d.held["r"].m.Undo(d.held["r"].rows["d00"]); !errors.Is(err, rollout.ErrState) {
		t.Errorf("it was not rolled back: %v", err)
	}
	d.upgrade(t, "d00", "old", "new")
	d.upgrade(t, "d01", "older", "new")
	d.upgrade(t, "d04", "", "new")
	d.gets("d02", true, "") // and it may be at work by now
	d.undo(t, "r", "back")
	d.is(rollout.RolledBack)
	if got, want := d.summary("back"), "back is running, 1 of 1 waves open: 3 waiting, 1 no-load"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	d.upgrade(t, "d00", "new", "old")
	d.upgrade(t, "d01", "new", "older")
	d.checkIn("d02", rests("old"))
	if err := d.try("r", rollout.RollBack{By: "ann"}); !errors.Is(err, rollout.ErrRefused) {
		t.Errorf("twice: %v", err)
	}
	if got, want := d.summary("back"), "back is finished, 1 of 1 waves open: 2 done 1 had"; !strings.HasPrefix(got, want) {
		t.Fatalf("%s, want %s", got, want)
	}
	d.undo(t, "back", "again")
	if r := d.held["again"].m.Status(); r.State != rollout.Draft || r.LeftOut[rollout.ReasonJudged] != 2 {
		t.Errorf("%s, left out %v", r.State, r.LeftOut)
	}
}

// TestRollBackAfterReplace: of a load that was replaced neither comes again.
func TestRollBackAfterReplace(t *testing.T) {
	d := running(t, 2, plan(plain))
	d.upgrade(t, "d00", "old", "new")
	d.must("r", rollout.Pause{By: "ann"}, rollout.Replace{From: "new", To: "new2"}, rollout.RollBack{By: "ann"})
	c, judged, ok, err := d.held["r"].m.Undo(d.held["r"].rows["d00"])
	if err != nil || !ok || !slices.Equal(c.Bad, []string{"new", "new2"}) || judged.Load != "new2" || c.Load != "old" ||
		c.Runs != "new" {
		t.Errorf("%+v, %v, %v, %v", c, judged, ok, err)
	}
}

// TestRollBackWhileItInstalls: a load that is to go is not handed again, even to a
// device that is at it.
func TestRollBackWhileItInstalls(t *testing.T) {
	d := running(t, 1, plan(plain))
	d.gets("d00", true, "")
	d.checkIn("d00", says(rollout.Installing, "old", "new", 1))
	d.must("r", rollout.RollBack{By: "ann"})
	if out := d.checkIn("d00", says(rollout.Installing, "old", "new", 1)); out.Grant != nil {
		t.Error(out.Grant)
	}
}

// TestRollBackBeforeItBegan: there is nothing to take back.
func TestRollBackBeforeItBegan(t *testing.T) {
	d := running(t, 1, plan(func(p *rollout.Plan) { p.Start = noon.Add(time.Hour) }))
	d.must("r", rollout.Pause{By: "ann"})
	if err := d.try("r", rollout.RollBack{By: "ann"}); !errors.Is(err, rollout.ErrRefused) {
		t.Error(err)
	}
}
