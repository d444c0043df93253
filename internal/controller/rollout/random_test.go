package rollout_test

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
)

// runsVariable is how many worlds TestRandomRollouts plays: 300 without it, 100
// with -short, and with 0 none. One that fails is played again as rapid says.
const runsVariable = "PEERLOAD_ROLLOUT_RUNS"

// world is a fleet, its people and its controller; the naive model decides the same
// as the machines, from all that happened.
type world struct {
	*desk
	fataler
	t       *rapid.T
	models  map[string]*naive
	devices map[string]*device
	names   []string
	handed  map[string]rollout.Grant // the last, by device
	reached map[string]bool          // what has happened, for the test of the world
}

// device follows its grant, and fails as it likes.
type device struct {
	name, site string
	dead       bool // it says nothing
	tells      bool // it says which grant it speaks of
	runs, old  string
	activity   rollout.Activity
	load       string
	reason     string
	by         string // the rollout whose grant it follows
	try        int
	grant      *rollout.Grant
	rejected   map[string]bool // loads that must not be handed to it again
	tried      map[string]bool // loads that it has rejected itself
}

// TestRandomRollouts plays fleets under failures, silence, pauses, changes of clocks
// and restarts of the controller. At each moment the machines stand as the naive
// model does, and nothing is handed out that must not be. When the faults stop,
// every rollout ends.
func TestRandomRollouts(t *testing.T) {
	runs := 300
	if testing.Short() {
		runs = 100
	}
	if text := os.Getenv(runsVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			t.Fatalf("%s=%s: give it a whole number", runsVariable, text)
		}
		runs = n
	}
	if runs == 0 {
		t.Skip("no runs are wanted")
	}
	reached, played := map[string]int{}, 0
	play := func(rt *rapid.T) {
		w := newWorld(rt, rt)
		w.play()
		for what, seen := range w.reached {
			if seen {
				reached[what]++
			}
		}
	}
	// What is rare may not come among so many: it is waited for, ten times as long.
	for most := 10 * runs; !t.Failed() && (played < runs || played < most && unseen(reached, runs/200) != ""); {
		rapid.Check(t, play) // 100 at a time
		played += 100
	}
	t.Logf("%d worlds, of which so many have seen: %v", played, reached)
	if what := unseen(reached, runs/200); what != "" && !t.Failed() {
		t.Errorf("%q was seen in %d worlds: they are not what they should be", what, reached[what])
	}
}

// unseen returns something that fewer worlds have seen than should, "" if there is nothing.
func unseen(reached map[string]int, least int) string {
	for _, what := range []string{"finished", "paused", "aborted", "rolled-back", "done", "had", "failed", "skipped",
		"silent", "restart", "outage", "clock set back", "two active", "window closed", "kept while it installs",
		rollout.ReasonLost, rollout.ReasonSilent, rollout.ReasonDeadline, rollout.ReasonTooLong, rollout.ReasonJudged,
		rollout.ReasonClaimed, rollout.ReasonNoWay} {
		if reached[what] < least {
			return what
		}
	}
	return ""
}

// TestInvariantsCanFail breaks each invariant on purpose: it is found.
func TestInvariantsCanFail(t *testing.T) {
	alone := func(w *world) *world { w.shadow = nil; return w } // without the model
	rows := func(f func(r *rollout.Row)) func(w *world) { return func(w *world) { alone(w).stores = f } }
	hands := func(f func(w *world, g *rollout.Grant)) func(w *world) {
		return func(w *world) {
			alone(w).hands = func(device string, out *rollout.Outcome) {
				if g := w.handed[device]; out.Grant == nil && g.Try > 0 {
					out.Grant = &g
				}
				if out.Grant != nil {
					g := *out.Grant
					f(w, &g)
					out.Grant = &g
				}
			}
		}
	}
	for want, bend := range map[string]func(w *world){
		"; by the model":         func(w *world) { w.stores = func(r *rollout.Row) { r.Try++ } },
		"by the model silent":    func(w *world) { w.stores = func(r *rollout.Row) { r.Due = time.Time{} } },
		"(window); by the model": func(w *world) { w.blind = true },
		"counted {":              rows(func(r *rollout.Row) { r.Standing = rollout.Failed }),
		"reasons map":            rows(func(r *rollout.Row) { r.Reason += "x" }),
		"devices were handed":    rows(func(r *rollout.Row) { r.Try = 1 }),
		"before its wave 2":      rows(func(r *rollout.Row) { r.Wave = min(1, r.Try) }),
		"is not that of its row": rows(func(r *rollout.Row) { r.Step = "x" }),
		" is in r0 and in r1":    func(w *world) { alone(w).greedy = true },
		"it never ends":          func(w *world) { alone(w).lazy = true },
		"new by one that is": hands(func(_ *world, g *rollout.Grant) {
			g.Download.Until = g.Download.Until.Add(-time.Second)
		}),
		"it keeps its grant":       hands(func(*world, *rollout.Grant) {}),
		"does not work on it":      hands(func(w *world, g *rollout.Grant) { w.devices[g.Device].rejected[g.Load] = true }),
		"the grant is over":        hands(over),
		"it may activate at":       hands(earlier),
		"it may download at":       hands(sooner),
		"the grant goes beyond":    hands(longer),
		"the grant holds too long": hands(longer),
	} {
		seen := ""
		for seed := 0; seed < 400 && !strings.Contains(seen, want); seed++ {
			seen = violated(seed, bend)
		}
		if !strings.Contains(seen, want) {
			t.Errorf("%q was not seen", want)
		}
	}
}

func over(_ *world, g *rollout.Grant) { g.Download, g.Activate = window.Span{}, window.Span{} }

func earlier(_ *world, g *rollout.Grant) { g.Activate.From = g.Activate.From.Add(-12 * time.Hour) }

func sooner(_ *world, g *rollout.Grant) { g.Download.From = g.Download.From.Add(-12 * time.Hour) }

func longer(_ *world, g *rollout.Grant) { g.Download.Until = g.Download.Until.Add(30 * time.Hour) }

// panics is a test whose failure can be looked at.
type panics struct{}

func (panics) Helper() {}

func (panics) Fatalf(format string, args ...any) { panic(violation(fmt.Sprintf(format, args...))) }

type violation string

// violated plays a world that was bent, and returns what did not hold, "" if all
// did.
func violated(seed int, bend func(w *world)) (bad string) {
	rapid.Custom(func(rt *rapid.T) bool {
		defer func() {
			switch r := recover().(type) {
			case nil:
			case violation:
				bad = string(r)
			default:
				bad = fmt.Sprint(r) // a bent row may be one that no machine has made
			}
		}()
		w := newWorld(rt, panics{})
		bend(w)
		w.play()
		return true
	}).Example(seed)
	return bad
}

// plans that a world may have: sites, and the windows and zones that they have.
var (
	worldZones   = []string{"Asia/Tokyo", "Europe/Berlin", "America/Santiago"}
	worldWindows = []string{"", "", "", "20:00-08:00", "22:00-04:00", "02:15-05:30", "sat,sun 08:00-20:00"}
	worldStarts  = []time.Time{ // near changes of clocks
		time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC), time.Date(2026, 10, 23, 9, 30, 0, 0, time.UTC),
		time.Date(2026, 9, 4, 20, 0, 0, 0, time.UTC),
	}
)

func newWorld(t *rapid.T, f fataler) *world {
	w := &world{desk: newDesk(f, worldStarts[0]), fataler: f, t: t, models: map[string]*naive{},
		devices: map[string]*device{}, handed: map[string]rollout.Grant{}, reached: map[string]bool{}}
	w.now = oneOf(w, "start", worldStarts...)
	w.next = func(runs, goal string) (string, bool) {
		if runs == "older" && goal != "mid" {
			return "mid", true
		}
		return goal, runs != "odd"
	}
	for i := range 2 {
		site := fmt.Sprint("s", i)
		w.places[site] = rollout.Place{Zone: zone(t, worldZones[w.number("zone", 0, 2)]),
			Windows: schedule(t, w.windows()...)}
	}
	for i := range w.number("devices", 1, 8) {
		d := &device{name: fmt.Sprint("d", i), site: fmt.Sprint("s", w.number("site", 0, 1)), tells: w.chance(70),
			runs: oneOf(w, "runs", "old", "old", "old", "old", "old", "older", "older", "odd", "new", ""),
			dead: w.chance(10), rejected: map[string]bool{}, tried: map[string]bool{}}
		w.devices[d.name] = d
		w.names = append(w.names, d.name)
	}
	w.shadow = w.model
	return w
}

// number draws evenly: rapid's own numbers are mostly small ones.
func (w *world) number(label string, least, most int) int {
	span := most - least + 1
	return rapid.Custom(func(t *rapid.T) int {
		n := 0
		for range bits.Len(uint(span)) + 4 {
			n *= 2
			if rapid.Bool().Draw(t, "") {
				n++
			}
		}
		return least + n%span
	}).Draw(w.t, label)
}

// oneOf draws one of some.
func oneOf[T any](w *world, label string, of ...T) T { return of[w.number(label, 0, len(of)-1)] }

func (w *world) chance(percent int) bool { return w.number("chance", 0, 99) < percent }

func (w *world) windows() []string {
	if text := oneOf(w, "windows", worldWindows...); text != "" {
		return []string{text}
	}
	return nil
}

// hours is a time of some hours.
func (w *world) hours(label string, least, most int) time.Duration {
	return time.Duration(w.number(label, least, most)) * time.Hour
}

// plan draws a plan.
func (w *world) plan() rollout.Plan {
	p := rollout.Default()
	p.MaxFailed, p.MaxFailedShare = w.number("max failed", 0, 3), w.number("share", 0, 4)*25
	p.LeaveOut, p.Approval, p.DownloadAnytime = w.chance(90), w.chance(15), w.chance(40)
	p.Silence.Rule = oneOf(w, "silence", rollout.SilenceWaits, rollout.SilencePasses,
		rollout.SilenceFails)
	p.Silence.After, p.Lost, p.Valid = w.hours("silent", 1, 20), w.hours("lost", 1, 10), w.hours("valid", 2, 24)
	p.Windows = schedule(w.t, w.windows()...)
	if w.chance(60) {
		p.Retry = rollout.Retry{Reasons: []string{"origin-stalled"}, Times: w.number("times", 1, 3),
			BackOff: w.hours("back-off", 1, 4), MaxBackOff: 6 * time.Hour}
	}
	if w.chance(20) {
		p.Longest = w.hours("longest", 10, 100)
	}
	if w.chance(20) {
		p.Start = w.now.Add(w.hours("start", 0, 30))
	}
	if w.chance(20) {
		p.Deadline = w.now.Add(w.hours("deadline", 31, 100))
	}
	p.Waves = nil
	gate := func() rollout.Gate {
		return rollout.Gate{Success: w.number("success", 1, 100), Soak: w.hours("soak", 0, 5),
			Opener: oneOf(w, "opener", rollout.BySuccess, rollout.BySuccess, rollout.ByPerson,
				rollout.ByExternal)}
	}
	if w.chance(40) {
		p.Waves = append(p.Waves, rollout.Wave{Devices: []string{"d0"}, Gate: gate()})
	}
	if w.chance(30) {
		p.Waves = append(p.Waves, rollout.Wave{Sites: []string{"s0"}, Gate: gate()})
	}
	if w.chance(50) {
		p.Waves = append(p.Waves, rollout.Wave{Percent: w.number("percent", 1, 80), Gate: gate()})
	}
	p.Waves = append(p.Waves, rollout.Wave{Percent: 100})
	return p
}

// play lets things happen, and then peace.
func (w *world) play() {
	for range w.number("steps", 40, 160) {
		w.happen()
		w.hold()
	}
	w.log("peace")
	for _, d := range w.devices {
		d.dead = false
	}
	end := w.now.Add(24 * 24 * time.Hour)
	for w.now.Before(end) && w.peace() {
		for _, name := range w.names {
			w.report(w.devices[name])
			for range 3 { // it fetches, installs, and runs
				w.work(w.devices[name], true)
			}
		}
		w.wait(time.Hour)
		w.hold()
	}
	for _, id := range w.order {
		if w.held[id].m.Status().State.Active() {
			w.Fatalf("it never ends: %s\n%s", w.summary(id), w.trace.String())
		}
	}
}

// peace has people and checks say yes, and reports whether a rollout is active.
func (w *world) peace() (active bool) {
	if w.lazy {
		return true
	}
	for _, id := range w.order {
		r := w.held[id].m.Status()
		if r.State == rollout.Awaiting {
			w.give(id, rollout.Approve{By: "eve"})
		}
		if r.State == rollout.Paused {
			w.give(id, rollout.Resume{By: "ann"})
		}
		if r.State == rollout.Running && r.Open < len(r.Waves) {
			w.give(id, rollout.Next{By: "ann"})
		}
		active = active || r.State.Active()
	}
	return active
}
