package pieces

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestDecisions: what is asked for, when and how much, is as it was. Who changes a
// number or a rule sees on which lines it decides something.
func TestDecisions(t *testing.T) {
	const ms = time.Millisecond
	lines := []struct {
		name string
		l    line
		cfg  Config
		seed uint64
	}{
		{"thin", line{rate: 6e3, each: 6e3, rtt: 300 * ms}, Config{Connections: 4, Chunks: 12}, 1},
		{"one", line{rate: 2.4e6, each: 1e9, rtt: 20 * ms}, Config{Connections: Most, Chunks: 200}, 1},
		{"long", line{rate: 2.4e6, each: 5e5, rtt: 200 * ms}, Config{Connections: Most, Chunks: 300}, 1},
		{"longer", line{rate: 1.2e6, each: 2e5, rtt: 600 * ms, noise: 0.3}, Config{Connections: Most, Chunks: 300}, 2},
		{"lossy", line{rate: 2.4e6, each: 1e5, rtt: 40 * ms, noise: 0.9}, Config{Connections: Most, Chunks: 400}, 3},
		{"stalls", line{rate: 2.4e6, each: 5e5, rtt: 100 * ms, stalls: 0.1}, Config{Connections: 8, Chunks: 300}, 4},
		{"stalls-often", line{rate: 5e5, each: 2e5, rtt: 100 * ms, stalls: 0.5}, Config{Connections: 4, Chunks: 60}, 5},
		{"takes-two", line{rate: 2.4e6, each: 3e5, rtt: 100 * ms, takes: 2}, Config{Connections: 8, Chunks: 200}, 6},
		{"takes-one", line{rate: 2.4e6, each: 3e5, rtt: 100 * ms, takes: 1}, Config{Connections: 4, Chunks: 80}, 6},
		{"limited", line{rate: 1e6, each: 1e5, rtt: 200 * ms, noise: 0.2},
			Config{Connections: 8, Chunks: 150, Limit: 3e5}, 7},
		{"few", line{rate: 1e6, each: 3e5, rtt: 100 * ms, noise: 0.5}, Config{Connections: 3, Chunks: 300}, 8},
		{"large-chunks", line{rate: 4e6, each: 1e6, rtt: 50 * ms}, Config{Connections: 8, Chunk: 1 << 20, Chunks: 60}, 9},
	}
	for _, c := range lines {
		t.Run(c.name, func(t *testing.T) {
			var got []byte
			c.l.told = func(format string, args ...any) { got = fmt.Appendf(got, format+"\n", args...) }
			if c.cfg.Chunk == 0 {
				c.cfg.Chunk = 64 << 10
			}
			r := c.l.run(t, c.cfg, c.seed)
			got = fmt.Appendf(got, "%v: all is here; %d chunks came, at most %d connections\n", r.took, r.came, r.most)
			golden(t, filepath.Join("testdata", c.name+".golden"), got)
		})
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s: decides otherwise than before (-update writes the file anew):\n%s", path, got)
	}
}

// TestRelieve: an idle connection takes the later half of what another is slow to
// bring if that saves enough, and the last chunk twice only while chunks may.
func TestRelieve(t *testing.T) {
	const chunk, ms = 1000, time.Millisecond
	// The rate is a chunk in 100 ms and a round trip 50 ms.
	ask := func(first, end int, began, moved time.Duration, bytes int64) *piece {
		return &piece{Ask: Ask{first + 1, first, end}, next: first, answered: true, began: began, moved: moved,
			bytes: bytes, partial: bytes % chunk}
	}
	slow := func(first, end int) *piece { return ask(first, end, 0, 9*time.Second, 1000) } // a chunk in 10 s
	for _, c := range []struct {
		name              string
		live              []*piece
		spare             int
		first, end, spent int
	}{
		{name: "nothing is under way"},
		{name: "half of what is slow", live: []*piece{slow(0, 8)}, first: 4, end: 8},
		{name: "half, rounded down", live: []*piece{slow(0, 3)}, first: 2, end: 3},
		{name: "of the slowest", live: []*piece{slow(0, 2), slow(4, 9), slow(20, 22)}, first: 7, end: 9},
		{name: "not of what is quick", live: []*piece{ask(0, 8, 9*time.Second, 10*time.Second, 9000)}},
		{name: "not where it saves too little", live: []*piece{ask(0, 2, 9600*ms, 10*time.Second, 889)}},
		{name: "where it saves enough", live: []*piece{ask(0, 2, 9*time.Second, 10*time.Second, 1000)}, first: 1, end: 2},
		{name: "the last chunk, twice", live: []*piece{slow(7, 8)}, spare: 1, first: 7, end: 8, spent: 1},
		{name: "the last chunk, but no more twice", live: []*piece{slow(7, 8)}},
		{name: "not thrice", live: []*piece{slow(7, 8), ask(7, 8, 9990*ms, 10*time.Second, 500)}, spare: 1},
		{name: "another's chunk is no second", live: []*piece{slow(7, 8), ask(8, 9, 9990*ms, 10*time.Second, 500)},
			spare: 1, first: 7, end: 8, spent: 1},
		{name: "a wider ask is a second", live: []*piece{slow(7, 8), ask(6, 9, 9990*ms, 10*time.Second, 500)}},
		{name: "late", live: []*piece{ask(7, 8, 0, 9640*ms, 0)}, spare: 1, first: 7, end: 8, spent: 1},
		{name: "not late yet", live: []*piece{ask(7, 8, 0, 9650*ms, 0)}, spare: 1},
		{name: "late, but quicker than anew", live: []*piece{ask(7, 8, 0, 9660*ms, 1)}, spare: 1, first: 7, end: 8, spent: 1},
		{name: "never began", live: []*piece{ask(7, 8, 0, 7900*ms, 0)}, first: 7, end: 8},
		{name: "perhaps it begins", live: []*piece{ask(7, 8, 0, 8*time.Second, 0)}},
	} {
		f := New(Config{Connections: 8, Chunk: chunk, Chunks: 100})
		f.live, f.rate, f.count.rtt, f.spare = c.live, 10*chunk, 50*ms, c.spare
		first, end, ok := f.relieve(10 * time.Second)
		if first != c.first || end != c.end || ok != (c.end > 0) || f.spare != c.spare-c.spent {
			t.Errorf("%s: asks for %d to %d (%v), %d may come twice", c.name, first, end, ok, f.spare)
		}
	}
	if n := New(Config{Chunk: 1, Chunks: 5 * twiceOf}).spare; n != 5 {
		t.Errorf("%d of %d chunks may come twice", n, 5*twiceOf)
	}
	// While the rate of the line is not known nobody is slow.
	f := New(Config{Connections: 8, Chunk: chunk, Chunks: 100})
	f.live = []*piece{slow(0, 8)}
	if _, _, ok := f.relieve(10 * time.Second); ok {
		t.Error("takes from an ask though no rate is known")
	}
}

// TestTwin: an ask whose chunk came over another connection is ended.
func TestTwin(t *testing.T) {
	f := New(Config{Connections: 8, Chunk: 1000, Chunks: 100})
	a, twin, other := f.begin(0, 7, 8), f.begin(0, 7, 8), f.begin(0, 9, 10)
	if f.Chunk(twin.ID, 7) {
		t.Error("an ask of one chunk goes on after it")
	}
	f.Ended(time.Second, twin.ID, true)
	_, stop := f.Next(time.Second, nil)
	if !slices.Equal(stop, []int{a.ID}) || f.Active() != 1 || f.find(other.ID) == nil {
		t.Errorf("ends %v, %d are under way", stop, f.Active())
	}
}

// TestDeadline: while a connection is idle it is looked soon whether somebody is slow,
// else when the window ends.
func TestDeadline(t *testing.T) {
	const ms = time.Millisecond
	f := New(Config{Connections: 8, Chunk: 64 << 10, Chunks: 400})
	a := f.Begin(0, 0, 4, 200*ms)
	if at, ok := f.Deadline(0); !ok || at != 100*ms {
		t.Errorf("before the line is known looks at %v, %v", at, ok)
	}
	f.Bytes(0, a.ID, 1<<10)
	f.Bytes(10*ms, a.ID, 16<<10)
	if at, ok := f.Deadline(20 * ms); !ok || at != 120*ms {
		t.Errorf("with idle connections looks at %v, %v", at, ok)
	}
	f.Next(20*ms, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24})
	if at, ok := f.Deadline(20 * ms); !ok || at != 410*ms || f.Active() != f.Target() {
		t.Errorf("with %d of %d connections looks at %v, %v", f.Active(), f.Target(), at, ok)
	}
}
