package rounds

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/testkit/labtest"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestDraw: a plan follows from seed, round and devices; all kinds of faults are
// drawn; and steady devices are never killed, filled, damaged or replaced.
func TestDraw(t *testing.T) {
	const devices = 40
	seen := map[Kind]int{}
	wan := 0
	for round := range 200 {
		p := Draw(7, round, devices)
		if !reflect.DeepEqual(p, Draw(7, round, devices)) {
			t.Fatalf("round %d is drawn in two ways", round)
		}
		if p.Count(Liar) > mostLiars || p.Size < minSize || p.Size > maxSize {
			t.Errorf("round %d: %s, %d bytes", round, p, p.Size)
		}
		if p.CutWAN.For > 0 {
			wan++
		}
		last := -1
		for _, f := range p.Faults {
			seen[f.Kind]++
			if f.Device <= last || f.Device >= devices {
				t.Errorf("round %d: device %d behind %d", round, f.Device, last)
			}
			last = f.Device
			if Steady(f.Device, devices) && f.Kind != Stop && f.Kind != Cut {
				t.Errorf("round %d: %s of device %d, which is steady", round, f.Kind, f.Device)
			}
		}
	}
	for _, k := range []Kind{Kill, Stop, Cut, Full, Damage, Liar} {
		if seen[k] < 50 {
			t.Errorf("%s was drawn %d times", k, seen[k])
		}
	}
	if wan < 20 || reflect.DeepEqual(Draw(7, 1, devices), Draw(8, 1, devices)) {
		t.Errorf("the WAN was cut %d times, or the seed means nothing", wan)
	}
}

// TestGrowth: what stays, and what varies, is flat; what grows is not.
func TestGrowth(t *testing.T) {
	series := func(use func(i int) Use) (all []Use) {
		for i := range 30 {
			all = append(all, use(i))
		}
		return all
	}
	for name, c := range map[string]struct {
		samples []Use
		flat    bool
	}{
		"the same": {series(func(int) Use { return Use{20 << 20, 12, 30} }), true},
		"chance":   {series(func(i int) Use { return Use{20<<20 + int64(i%3)<<20, 12 + int64(i%2), 30 - int64(i%4)} }), true},
		"begins low": {series(func(i int) Use {
			return Use{min(int64(i+1)*5<<20, 20<<20), 12, 30}
		}), true},
		"memory":      {series(func(i int) Use { return Use{20<<20 + int64(i)<<20, 12, 30} }), false},
		"descriptors": {series(func(i int) Use { return Use{20 << 20, 12 + int64(i), 30} }), false},
		"goroutines":  {series(func(i int) Use { return Use{20 << 20, 12, 30 + 2*int64(i)} }), false},
	} {
		g, ok := growth("x", c.samples)
		if !ok || g.Flat != c.flat || !strings.Contains(g.String(), "| x |") {
			t.Errorf("%s: %v, %v", name, g, ok)
		}
	}
	if _, ok := growth("x", series(func(int) Use { return Use{} })[:10]); ok {
		t.Error("ten samples were compared")
	}
}

// TestDamage: every kind of damage changes a file, the same draw the same one,
// and never a component.
func TestDamage(t *testing.T) {
	tiers.Long(t, "it damages files three hundred times")
	seen := map[string]bool{}
	for draw := range uint64(300) {
		dir := t.TempDir()
		for _, name := range append(slices.Clone(stateFiles), "scratch/x.part", "slots/a/app.bin", "slots/b/app.bin") {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		current := filepath.Join(dir, "slots/current")
		if err := os.Remove(current); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("a", current); err != nil {
			t.Fatal(err)
		}
		what, err := damage(dir, draw)
		how, name, ok := strings.Cut(what, " ")
		if err != nil || !ok {
			t.Fatalf("%q, %v", what, err)
		}
		seen[how], seen[name] = true, true
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && string(b) == "content" {
			t.Errorf("%s: it is as it was", what)
		}
	}
	for _, want := range append(slices.Clone(stateFiles), "scratch/x.part", "missing", "empty", "cut", "flipped", "longer",
		"directory", "dangling") {
		if !seen[want] {
			t.Errorf("%s was never drawn", want)
		}
	}
	if seen["slots/a/app.bin"] {
		t.Error("a component was damaged")
	}
}

// TestDocumented: an agent may end by itself in one way only.
func TestDocumented(t *testing.T) {
	ended := func(script string) error { return exec.Command("sh", "-c", script).Run() }
	for _, c := range []struct {
		err  error
		full bool
		want bool
	}{
		{ended("exit 5"), true, true}, {ended("exit 5"), false, false}, {ended("exit 2"), true, false},
		{ended("exit 15"), true, false}, {ended("exit 0"), true, false}, {ended("kill -9 $$"), true, false},
	} {
		if got := documented(c.err, c.full); got != c.want {
			t.Errorf("%v, disk full %v: %v", c.err, c.full, got)
		}
	}
}

// TestMetric reads what processes show.
func TestMetric(t *testing.T) {
	const text = "# HELP a x\na{b=\"c\"} 7\nab 8\na 9\n"
	for name, want := range map[string]int64{"a": 9, `a{b="c"}`: 7, "ab": 8} {
		if v, err := metric(text, name); v != want || err != nil {
			t.Errorf("%s is %d, %v", name, v, err)
		}
	}
	if _, err := metric(text, "b"); err == nil {
		t.Error("a metric that is not there was found")
	}
}

// FuzzMetric: a metric is that of a line of its own, or there is none.
func FuzzMetric(f *testing.F) {
	f.Add("a{b=\"c\"} 7\na 9e3\n", "a")
	f.Add("a x\na 1\n", "a")
	f.Fuzz(func(t *testing.T, text, name string) {
		if v, err := metric(text, name); err != nil && v != 0 || err == nil && !strings.Contains(text, name+" ") {
			t.Fatalf("%q in %q is %d, %v", name, text, v, err)
		}
	})
}

// TestConfig: what cannot be played is told so.
func TestConfig(t *testing.T) {
	good := Config{Devices: 2, Rounds: 1, First: 1, Limit: time.Minute}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(c *Config){
		func(c *Config) { c.Devices = 1 }, func(c *Config) { c.Devices = MaxDevices + 1 }, func(c *Config) { c.Rounds = 0 },
		func(c *Config) { c.First = 0 }, func(c *Config) { c.Limit = 0 },
	} {
		c := good
		if change(&c); c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}

// TestRounds plays three short rounds with real processes; and then shows that
// the checks see what is wrong.
func TestRounds(t *testing.T) {
	programs := inside.RunPrograms(t, "peerload", "peerload-server")
	if programs == "" {
		return
	}
	base := t.TempDir()
	var played []Round
	s, err := New(t.Context(), Config{Devices: 5, Rounds: 3, First: 1, Seed: shortSeed, Limit: 5 * time.Minute,
		Agent: filepath.Join(programs, "peerload"), Server: filepath.Join(programs, "peerload-server"), Base: base,
		OnRound: func(r Round) { played = append(played, r) }})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run(t.Context())
	if err != nil || !r.Right() || len(played) != 3 {
		t.Errorf("%+v, %v; %+v", r, err, played)
	}
	for _, k := range []Kind{Kill, Full, Damage, Liar} {
		if r.Faults[string(k)] == 0 {
			t.Errorf("the seed has no %s any more: choose another", k)
		}
	}
	if r.FromPeers == 0 || r.FromOrigin == 0 {
		t.Errorf("%d bytes from the server, %d from peers", r.FromOrigin, r.FromPeers)
	}
	for _, d := range s.devices {
		if len(d.uses) != 3 && Steady(d.index, len(s.devices)) {
			t.Errorf("device %d was looked at %d times", d.index+1, len(d.uses))
		}
	}
	// A wrong byte in an active slot.
	d := s.devices[0]
	slot, err := os.Readlink(d.path("state", "slots", "current"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.path("state", "slots", slot, component), []byte("wrong"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.note(func(r *Round) { *r = Round{} })
	s.check(Plan{}, sha256.Sum256([]byte("wanted")))
	s.mu.Lock()
	wrong := strings.Join(s.round.Wrong, "\n")
	s.mu.Unlock()
	if !strings.Contains(wrong, "device 1 has wrong bytes in slot "+slot) ||
		!strings.Contains(wrong, "device 5 does not run") {
		t.Errorf("the checks see %q", wrong)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(base, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// shortSeed is one whose first three rounds have faults of all kinds that end a
// process, for five devices.
const shortSeed = 515
