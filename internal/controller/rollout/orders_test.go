package rollout_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
)

// TestClaims: a device is in one active rollout. Another one refuses its target,
// or leaves it out, with the count.
func TestClaims(t *testing.T) {
	d := running(t, 3, plan(plain))
	d.create("s", plan(plain), fleet(5, "")...)
	if err := d.try("s", rollout.Start{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	s := d.held["s"].m.Status()
	if s.State != rollout.Draft || !strings.Contains(s.Why, "3 in-another") || len(d.held["s"].rows) != 0 {
		t.Fatalf("%s: %s", s.State, s.Why)
	}
	p := plan(func(p *rollout.Plan) { p.LeaveOut = true })
	d.must("s", rollout.Edit{By: "bob", Plan: p}, rollout.Start{By: "ann"})
	if got, want := d.summary("s"), "s is running, 1 of 1 waves open: 2 waiting, 3 in-another"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	d.create("all", p, fleet(5, "")...)
	_ = d.try("all", rollout.Start{By: "ann"})
	if why := d.held["all"].m.Status().Why; !strings.Contains(why, "no device that can take part (5 in-another)") {
		t.Error(why)
	}
	d.must("r", rollout.Abort{By: "ann"}) // and its devices are free
	d.must("s", rollout.Abort{By: "ann"})
	d.must("all", rollout.Start{By: "ann"})
	if got, want := d.summary("all"), "all is running, 1 of 1 waves open: 5 waiting"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestApproval: by somebody who has not written the plan, and before anything
// happens.
func TestApproval(t *testing.T) {
	d := newDesk(t, noon)
	p := plan(func(p *rollout.Plan) { p.Approval = true })
	h := d.create("r", p, fleet(1, "")...)
	d.must("r", rollout.Edit{By: "bob", ID: "b", Plan: p}, rollout.Start{By: "eve"})
	d.is(rollout.Awaiting)
	if len(h.rows) != 0 {
		t.Error("it is listed before it is approved")
	}
	for _, who := range []rollout.Approve{{By: "ann"}, {By: "ann", ID: "a"}, {By: "bob", ID: "b"}, {By: "bob", ID: "c"},
		{By: "rob", ID: "b"}, {}} {
		if err := d.try("r", who); !errors.Is(err, rollout.ErrRefused) {
			t.Errorf("%+v: %v", who, err)
		}
	}
	if err := d.try("r", rollout.Edit{By: "ann", Plan: p}); !errors.Is(err, rollout.ErrState) {
		t.Errorf("another plan after the first consent: %v", err)
	}
	d.must("r", rollout.Approve{By: "eve", ID: "e"})
	d.is(rollout.Running)
}

// TestStartAndDeadline: nothing before the one, nothing after the other.
func TestStartAndDeadline(t *testing.T) {
	d := running(t, 4, plan(func(p *rollout.Plan) {
		p.Start, p.Deadline, p.Lost = noon.Add(2*time.Hour), noon.Add(5*time.Hour), 3*time.Hour
	}))
	d.is(rollout.Scheduled)
	d.wait(2*time.Hour - time.Second)
	d.gets("d00", false, rollout.HoldState)
	d.wait(time.Second)
	if g := d.gets("d00", true, ""); !g.Download.Until.Equal(noon.Add(5*time.Hour)) || g.Activate != g.Download {
		t.Errorf("it goes beyond the deadline: %v", g)
	}
	d.gets("d01", true, "")
	d.checkIn("d01", says(rollout.Fetching, "old", "new", 1))
	d.gets("d02", true, "")
	d.wait(2 * time.Hour)
	d.checkIn("d01", says(rollout.Fetching, "old", "new", 1))
	d.wait(time.Hour)
	d.stands("d00", rollout.Skipped, rollout.ReasonDeadline)
	d.stands("d03", rollout.Skipped, rollout.ReasonDeadline)
	d.stands("d01", rollout.Began, "")
	d.checkIn("d02", rests("new")) // it has met it
	d.stands("d02", rollout.Done, "")
	for range 3 { // it talks and does not get there
		if out := d.checkIn("d01", says(rollout.Fetching, "old", "new", 1)); out.Grant != nil {
			t.Errorf("after the deadline: %v", out.Grant)
		}
		d.wait(time.Hour)
	}
	d.stands("d01", rollout.Failed, rollout.ReasonDeadline)
	d.is(rollout.Finished)

	d = newDesk(t, noon)
	d.create("r", plan(func(p *rollout.Plan) { p.Deadline = noon.Add(time.Hour) }), fleet(1, "")...)
	d.wait(time.Hour)
	if err := d.try("r", rollout.Start{By: "ann"}); !errors.Is(err, rollout.ErrRefused) {
		t.Errorf("after the deadline: %v", err)
	}
}

// TestPauseBeforeTheStart: it stays away until it is resumed.
func TestPauseBeforeTheStart(t *testing.T) {
	d := running(t, 1, plan(func(p *rollout.Plan) { p.Start = noon.Add(time.Hour) }))
	d.must("r", rollout.Pause{By: "ann"})
	d.wait(2 * time.Hour)
	d.is(rollout.Paused)
	d.must("r", rollout.Resume{By: "ann"})
	d.is(rollout.Running)
	d.gets("d00", true, "")

	d = running(t, 1, plan(func(p *rollout.Plan) { p.Start = noon.Add(time.Hour) }))
	d.must("r", rollout.Pause{By: "ann"}, rollout.Resume{By: "ann"})
	d.is(rollout.Scheduled)
}

// TestOrdersInEachState: which are taken, and that others change nothing and say
// what they want.
func TestOrdersInEachState(t *testing.T) {
	start := rollout.Start{By: "ann"}
	to := map[rollout.State][]rollout.Event{
		rollout.Draft:      nil,
		rollout.Awaiting:   {start},
		rollout.Scheduled:  {start},
		rollout.Running:    {start},
		rollout.Paused:     {start, rollout.Pause{By: "ann"}},
		rollout.Aborted:    {start, rollout.Abort{By: "ann"}},
		rollout.RolledBack: {start, rollout.RollBack{By: "ann"}},
	}
	orders := map[string]rollout.Event{
		"edit": rollout.Edit{By: "ann", Plan: plan(plain)}, "start": start, "approve": rollout.Approve{By: "eve"},
		"next": rollout.Next{By: "ann"}, "pause": rollout.Pause{By: "ann"}, "resume": rollout.Resume{By: "ann"},
		"abort": rollout.Abort{By: "ann"}, "roll back": rollout.RollBack{By: "ann"}, "listed": rollout.Listed{},
		"replace": rollout.Replace{From: "new", To: "new2"},
	}
	taken := map[rollout.State]string{
		rollout.Draft:      "edit, start, abort",
		rollout.Awaiting:   "approve, abort",
		rollout.Scheduled:  "pause, abort",
		rollout.Running:    "next, pause, abort, roll back",
		rollout.Paused:     "resume, abort, roll back, replace",
		rollout.Aborted:    "roll back",
		rollout.RolledBack: "",
	}
	for state, way := range to {
		for name, order := range orders {
			d := newDesk(t, noon)
			p := canary(rollout.Gate{Opener: rollout.ByPerson})
			p.Approval = state == rollout.Awaiting
			if state == rollout.Scheduled {
				p.Start = noon.Add(time.Hour)
			}
			d.create("r", p, fleet(2, "")...)
			d.must("r", way...)
			d.is(state)
			before := d.summary("r")
			err := d.try("r", order)
			want := strings.Contains(", "+taken[state]+",", ", "+name+",")
			switch {
			case want != (err == nil):
				t.Errorf("%s: %s: %v", state, name, err)
			case err != nil && (d.summary("r") != before || !strings.Contains(err.Error(), "rollout r: ")):
				t.Errorf("%s: %s: %v, and then %s", state, name, err, d.summary("r"))
			}
		}
	}
}

// TestWrongState: the error says what would do.
func TestWrongState(t *testing.T) {
	d := running(t, 1, plan(plain))
	d.must("r", rollout.Abort{By: "ann"})
	err := d.try("r", rollout.Abort{By: "ann"})
	const want = "it is aborted, and only one that is draft, awaiting-approval, scheduled, running or paused can be " +
		"told to abort"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestDeadline: when somebody has to tell the machine that time has passed.
func TestDeadline(t *testing.T) {
	at := func(d *desk, want time.Time) {
		t.Helper()
		got, ok := d.held["r"].m.Deadline()
		if ok == want.IsZero() || ok && !got.Equal(want) {
			t.Errorf("%v, %v; want %v", got, ok, want)
		}
	}
	never := time.Time{}
	d := newDesk(t, noon)
	d.create("r", plan(func(p *rollout.Plan) { p.Start = noon.Add(time.Hour) }), fleet(1, "")...)
	at(d, never)
	d.must("r", rollout.Start{By: "ann"})
	at(d, noon.Add(time.Hour))
	d.wait(time.Hour)
	at(d, never)
	for opener, want := range map[rollout.Opener][2]time.Time{
		rollout.BySuccess:  {noon.Add(time.Hour), never},
		rollout.ByPerson:   {never, never},
		rollout.ByExternal: {noon.Add(time.Hour), noon.Add(time.Hour + time.Minute)},
	} {
		d = running(t, 2, canary(rollout.Gate{Opener: opener, Success: 100, Soak: time.Hour}))
		at(d, never)
		d.upgrade(t, "d00", "old", "new")
		at(d, want[0])
		d.wait(time.Hour)
		at(d, want[1])
	}
}

// TestListOnce: a target is listed once.
func TestListOnce(t *testing.T) {
	d := running(t, 1, plan(plain))
	if _, _, err := d.held["r"].m.List(d.now, fleet(2, "")[1]); !errors.Is(err, rollout.ErrState) {
		t.Error(err)
	}
}

// TestRelist: a listing that was cut off begins anew, and counts nobody twice.
func TestRelist(t *testing.T) {
	r, err := rollout.NewRecord(noon, "r", "ann", plan(func(p *rollout.Plan) { p.LeaveOut = true }))
	if err != nil {
		t.Fatal(err)
	}
	m := rollout.New(r, rollout.Straight)
	step := func(e rollout.Event) []rollout.Action {
		t.Helper()
		actions, err := m.Step(noon, e)
		if err != nil {
			t.Fatal(err)
		}
		return actions
	}
	list := func() {
		t.Helper()
		for i, c := range fleet(3, "") {
			if c.Place.Zone = time.UTC; i == 0 {
				c.Load = ""
			}
			if _, _, err := m.List(noon, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := m.Step(noon, rollout.Relist{}); !errors.Is(err, rollout.ErrState) {
		t.Errorf("a draft: %v", err)
	}
	step(rollout.Start{By: "ann"})
	list()
	if actions := step(rollout.Relist{}); !slices.Contains(actions, rollout.Action(rollout.Drop{})) {
		t.Errorf("the rows stay: %v", actions)
	}
	list()
	step(rollout.Listed{})
	sum := m.Status().Totals()
	if left := m.Status().LeftOut[rollout.ReasonNoLoad]; sum.Total() != 2 || left != 1 {
		t.Errorf("%d devices, %d left out", sum.Total(), left)
	}
}

// TestRowOfADraft: a row that was left behind is handed nothing.
func TestRowOfADraft(t *testing.T) {
	d := running(t, 1, plan(plain))
	row := d.held["r"].rows["d00"]
	row.Standing = rollout.Granted
	r, err := rollout.NewRecord(noon, "r", "ann", plan(plain))
	if err != nil {
		t.Fatal(err)
	}
	out := rollout.New(r, rollout.Straight).Heard(noon, row, rests("old"), rollout.Place{Zone: time.UTC})
	if out.Grant != nil || out.Hold != rollout.HoldState {
		t.Errorf("%+v", out)
	}
}

// TestPlans: what cannot work is refused, and the error says what to do.
func TestPlans(t *testing.T) {
	for want, change := range mistakes() {
		p := plan(change)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		if _, err := rollout.NewRecord(noon, "r", "ann", p); !errors.Is(err, rollout.ErrRefused) {
			t.Errorf("%q makes a draft: %v", want, err)
		}
	}
	if _, err := rollout.NewRecord(noon, "r", "", plan(plain)); !errors.Is(err, rollout.ErrRefused) {
		t.Errorf("without a creator: %v", err)
	}
	p, gate := rollout.Default(), rollout.Gate{Opener: rollout.BySuccess, Success: 90}
	p.Waves = []rollout.Wave{{Devices: []string{"a"}, Gate: gate}, {Percent: 5, Gate: gate},
		{Sites: []string{"x"}, Gate: gate}, {Percent: 100}}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
}

// mistakes are changes that make a plan which cannot work, by what is said of it.
func mistakes() map[string]func(*rollout.Plan) {
	gate := rollout.Gate{Opener: rollout.BySuccess, Success: 90}
	type wave = rollout.Wave
	type plan = *rollout.Plan
	waves := func(w ...wave) func(plan) { return func(p plan) { p.Waves = w } }
	fifth, rest := wave{Percent: 20, Gate: gate}, wave{Percent: 100}
	return map[string]func(plan){
		"give 1 to 100":                   waves(),
		"give it 100":                     waves(wave{Percent: 50}),
		"give it 100 %":                   waves(wave{Sites: []string{"a"}}),
		"wave 1: name devices":            waves(wave{}, rest),
		"or a percentage":                 waves(wave{Sites: []string{"a"}, Percent: 5}, rest),
		"so they rise":                    waves(fifth, fifth, rest),
		"so they rise, to 100":            waves(wave{Percent: 101, Gate: gate}, rest),
		"names more than 1000":            waves(wave{Devices: make([]string, 1001)}, rest),
		"a name is empty":                 waves(wave{Devices: []string{""}, Gate: gate}, rest),
		"opened by \"\"":                  waves(wave{Percent: 1}, rest),
		"success share of 0":              waves(wave{Percent: 1, Gate: rollout.Gate{Opener: rollout.BySuccess}}, rest),
		"soak time":                       soakNever,
		"is asked every 0s":               func(p plan) { asksNever(p, gate) },
		"failure count of -1":             func(p plan) { p.MaxFailed = -1 },
		"failure share of 101":            func(p plan) { p.MaxFailedShare = 101 },
		"are lost after 0s":               func(p plan) { p.Lost = 0 },
		"longest time of 1s":              func(p plan) { p.Longest = time.Second },
		"grants hold for 1s":              func(p plan) { p.Valid = time.Second },
		"grants hold for 10000h":          func(p plan) { p.Valid = 10_000 * time.Hour },
		"is not after the start":          func(p plan) { p.Start, p.Deadline = noon, noon },
		"minutes are 0 to 1439":           func(p plan) { p.Windows = window.Schedule{{End: 1440}} },
		"\"\" is none of":                 func(p plan) { p.Silence.Rule = "" },
		"are silent after 0s":             func(p plan) { p.Silence.Rule = rollout.SilenceFails },
		"101 more tries":                  func(p plan) { p.Retry.Times = 101 },
		"65 reasons":                      func(p plan) { p.Retry.Reasons = make([]string, 65) },
		"no reason to try":                func(p plan) { p.Retry = rollout.Retry{Times: 1, BackOff: time.Hour} },
		"back-off of 0s":                  func(p plan) { p.Retry = rollout.Retry{Times: 1, Reasons: []string{"disk"}} },
		"back-off of at most 1s: give 0,": shortBackOff,
	}
}

func asksNever(p *rollout.Plan, gate rollout.Gate) {
	gate.Opener, p.AskEvery = rollout.ByExternal, 0
	p.Waves = []rollout.Wave{{Percent: 1, Gate: gate}, {Percent: 100}}
}

func shortBackOff(p *rollout.Plan) {
	p.Retry = rollout.Retry{Times: 1, Reasons: []string{"disk"}, BackOff: time.Minute, MaxBackOff: time.Second}
}

func soakNever(p *rollout.Plan) {
	p.Waves = []rollout.Wave{{Percent: 1, Gate: rollout.Gate{Opener: rollout.ByPerson, Soak: -1}}, {Percent: 100}}
}
