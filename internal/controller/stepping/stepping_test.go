package stepping_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/stepping"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"9.3(1)", "9.3(1)", true}, {"9.3(1)", "9.3(1)SR1", false}, {"9.3(*)", "9.3(1)", true}, {"9.3(*)", "9.3()", true},
		{"9.3(*)", "9.30(1)", false}, {"9.3*", "9.3", true}, {"9.3*", "9.30(1)", true}, {"*", "", true}, {"*", "x", true},
		{"", "", true}, {"*SR*", "9.3(1)SR1", true}, {"*SR*2", "9.3(1)SR1", false}, {"ab*ba", "aba", false},
		{"ab*ba", "abba", true}, {"a*b*c", "acb", false}, {"a*b*c", "abbc", true},
		{"[9]?", "9x", false}, {"[9]?", "[9]?", true},
	} {
		if got := stepping.Matches(c.pattern, c.text); got != c.want {
			t.Errorf("%q and %q: %v", c.pattern, c.text, got)
		}
	}
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", stepping.MaxPattern)
	for _, good := range [][]string{nil, {"*"}, {"9.2(*)", "none"}, {long}} {
		if err := stepping.Check(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	var many []string
	for i := range stepping.MaxPatterns + 1 {
		many = append(many, fmt.Sprint(i))
	}
	if err := stepping.Check(many[1:]); err != nil {
		t.Errorf("as many as may be: %v", err)
	}
	for _, bad := range [][]string{{""}, {" 9"}, {"9 "}, {long + "x"}, {"a", "a"}, many} {
		if err := stepping.Check(bad); !errors.Is(err, stepping.ErrPattern) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

// phones are the loads of a fleet: 9.4 wants 9.3, which wants 9.2 or 9.1 SR2, which
// wants 8.5.
func phones() []stepping.Load {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	both := []string{"7941", "7961"}
	return []stepping.Load{
		{Name: "old", Version: "8.5(3)", Models: both, Created: day(1)},
		{Name: "mid-a", Version: "9.1(1)SR2", Models: both, From: []string{"8.5(*)"}, Created: day(2)},
		{Name: "mid-b", Version: "9.2(1)", Models: both, From: []string{"8.5(*)"}, Created: day(3)},
		{Name: "mid-c", Version: "9.2(3)", Models: both, From: []string{"8.5(*)"}, Created: day(4)},
		{Name: "near", Version: "9.3(1)", Models: both, From: []string{"9.2(*)", "9.1(1)SR2"}, Created: day(5)},
		{Name: "goal", Version: "9.4(2)", Models: both, From: []string{"9.3(*)", "9.4(*)"}, Created: day(6)},
		{Name: "free", Version: "1.0", Models: both, Created: day(7)},
	}
}

func TestNext(t *testing.T) {
	s := stepping.New(phones())
	for _, c := range []struct {
		runs, goal, want string
	}{
		{"near", "goal", "goal"}, {"goal", "goal", "goal"},
		{"mid-b", "goal", "near"}, {"mid-a", "goal", "near"},
		{"old", "goal", "mid-c"}, // the first pattern, and of its loads the later one
		{"old", "near", "mid-c"},
		{"", "goal", ""}, {"nobody-knows", "goal", ""}, // nothing is guessed
		{"free", "goal", "old"}, // which names no versions, and leads there
		{"", "free", "free"}, {"nobody-knows", "free", "free"}, {"old", "of-nobody", "of-nobody"},
		{"8.5(9)", "mid-c", "mid-c"}, {"8.5(9)", "goal", "mid-c"}, // its name says it
	} {
		got, ok := s.Next(c.runs, c.goal)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("from %q to %q by %q, %v", c.runs, c.goal, got, ok)
		}
	}
	if s.Version("goal") != "9.4(2)" || s.Version("x") != "x" || s.Restricted("free") || !s.Restricted("goal") {
		t.Error("what a load is was lost")
	}
}

// TestStonesAreUsable: nothing is taken on the way that the device cannot run or that
// cannot be handed out; a device that runs nothing is taken where a load says so.
func TestStonesAreUsable(t *testing.T) {
	loads := phones()
	loads[4].Models = []string{"7941"}
	s := stepping.New(loads)
	if got, ok := s.Next("mid-b", "goal"); ok {
		t.Errorf("by %q, which is not for every model", got)
	}
	if got, ok := s.NextOf("7941", "mid-b", "goal"); got != "near" || !ok {
		t.Errorf("a 7941 goes by %q", got)
	}
	if got, ok := s.NextOf("7961", "mid-b", "goal"); ok {
		t.Errorf("a 7961 goes by %q", got)
	}
	loads = phones()
	loads[2].Models = []string{"7941"} // so what runs is a 7941
	loads[4].Models = []string{"7941"}
	if got, ok := stepping.New(loads).Next("mid-b", "goal"); got != "near" || !ok {
		t.Errorf("by %q, though it is for what runs", got)
	}
	loads = phones()
	loads[4].Unusable = true
	if got, ok := stepping.New(loads).Next("mid-b", "goal"); ok {
		t.Errorf("by %q, which cannot be handed out", got)
	}
	if got, ok := stepping.New(loads).Next("near", "goal"); got != "goal" || !ok {
		t.Errorf("of a load that cannot be handed out the version is known no more: %q", got)
	}
	loads = phones()
	loads[1].From = []string{stepping.Nothing, "8.5(*)"}
	if got, ok := stepping.New(loads).Next("", "goal"); got != "mid-a" || !ok {
		t.Errorf("a device without a load goes by %q", got)
	}
}

// TestRandomWays: Next always takes a step that is allowed, and the fewest there are,
// as a search forwards finds them.
func TestRandomWays(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var loads []stepping.Load
		for i := range 2 + r.IntN(9) {
			l := stepping.Load{Name: fmt.Sprintf("l%d", i), Version: fmt.Sprintf("v%d", r.IntN(6)), Models: []string{"m"},
				Created: time.Unix(int64(r.IntN(3)), 0), Unusable: r.IntN(8) == 0}
			for range r.IntN(3) {
				if p := fmt.Sprintf("v%d", r.IntN(6)); !slices.Contains(l.From, p) {
					l.From = append(l.From, p)
				}
			}
			loads = append(loads, l)
		}
		s := stepping.New(loads)
		goal := loads[r.IntN(len(loads))]
		for _, from := range loads {
			want := forwards(loads, from, goal)
			step, ok := s.Next(from.Name, goal.Name)
			if ok != (want >= 0) {
				t.Fatalf("seed %d: from %s to %s: %v, and %d steps lead there", seed, from.Name, goal.Name, ok, want)
			}
			if !ok || from.Name == goal.Name {
				continue
			}
			i := slices.IndexFunc(loads, func(l stepping.Load) bool { return l.Name == step })
			if !allowed(from, loads[i]) || step != goal.Name && loads[i].Unusable {
				t.Fatalf("seed %d: from %s to %s by %s, which is not allowed", seed, from.Name, goal.Name, step)
			}
			if rest := forwards(loads, loads[i], goal); rest != want-1 {
				t.Fatalf("seed %d: from %s to %s by %s are %d steps more, of %d", seed, from.Name, goal.Name, step, rest, want)
			}
		}
	}
}

func allowed(from, to stepping.Load) bool {
	return len(to.From) == 0 || slices.Contains(to.From, from.Version)
}

// forwards counts the fewest steps from one load to another, -1 if there is no way.
func forwards(loads []stepping.Load, from, goal stepping.Load) int {
	at := map[string]int{from.Name: 0}
	for todo := []stepping.Load{from}; len(todo) > 0; todo = todo[1:] {
		if todo[0].Name == goal.Name {
			return at[goal.Name]
		}
		for _, l := range loads {
			if _, seen := at[l.Name]; seen || !allowed(todo[0], l) || l.Unusable && l.Name != goal.Name {
				continue
			}
			at[l.Name] = at[todo[0].Name] + 1
			todo = append(todo, l)
		}
	}
	return -1
}

func FuzzPattern(f *testing.F) {
	f.Add("9.3(*)", "9.3(1)")
	f.Add("*a*b*", "xaxbx")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		got := stepping.Matches(pattern, text)
		if want := naive(pattern, text); len(pattern) < 40 && len(text) < 40 && got != want {
			t.Fatalf("%q and %q: %v", pattern, text, got)
		}
		_ = stepping.Check([]string{pattern})
	})
}

// naive matches by trying every length for each star.
func naive(pattern, text string) bool {
	reach := make([]bool, len(text)+1)
	reach[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(text)+1)
		for at, ok := range reach {
			switch {
			case !ok:
			case pattern[i] == '*':
				for k := at; k <= len(text); k++ {
					next[k] = true
				}
			case at < len(text) && text[at] == pattern[i]:
				next[at+1] = true
			}
		}
		reach = next
	}
	return reach[len(text)]
}
