package pieces

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// line is a line with connections that each bring at most one rate, in virtual time.
type line struct {
	rate, each float64 // bytes per second; of all, of one
	rtt        time.Duration
	noise      float64 // part by which the rate of a connection varies
	stalls     float64 // chance that an ask stalls for some time
}

// driverPatience is how long a driver waits for an answer.
const driverPatience = 5 * time.Second

// run fetches a file over a line and returns when it was there, how many chunks came
// in all, and how many connections there were, weighted by time.
func (l line) run(t *testing.T, cfg Config, seed uint64) (took time.Duration, came int, mean float64) {
	t.Helper()
	const step = 10 * time.Millisecond
	rnd := rand.New(rand.NewPCG(seed, 1))
	f := New(cfg)
	missing := make([]int, cfg.Chunks)
	for i := range missing {
		missing[i] = i
	}
	type body struct {
		Ask
		from, stalled time.Duration
		head          bool
		got           float64
		next          int
	}
	var bodies []*body
	begin := func(now, wait time.Duration, a Ask) {
		b := &body{Ask: a, from: now + wait, next: a.First}
		if rnd.Float64() < l.stalls {
			b.stalled = time.Duration(rnd.Int64N(int64(20 * time.Second)))
		}
		bodies = append(bodies, b)
	}
	begin(0, 0, f.Begin(0, 0, min(FirstPiece, cfg.Chunks), l.rtt))
	for now := time.Duration(0); ; now += step {
		if now > 24*time.Hour {
			t.Fatal("never ends")
		}
		share := l.rate / float64(max(1, len(bodies)))
		idle := false
		for _, b := range slices.Clone(bodies) {
			if now-b.from > driverPatience && !b.head {
				f.Ended(now, b.ID, false)
				bodies = slices.DeleteFunc(bodies, func(o *body) bool { return o == b })
				idle = true
			}
			if now < b.from+b.stalled {
				continue
			}
			if !b.head {
				b.head = true
				f.Bytes(now, b.ID, 0)
			}
			n := min(share, l.each*(1+l.noise*(2*rnd.Float64()-1))) * step.Seconds()
			b.got += n
			f.Bytes(now, b.ID, int(n))
			for b.got >= float64(cfg.Chunk) && slices.Contains(bodies, b) {
				b.got -= float64(cfg.Chunk)
				came++
				missing = slices.DeleteFunc(missing, func(i int) bool { return i == b.next })
				goesOn := f.Chunk(b.ID, b.next)
				if b.next++; !goesOn || b.next == b.End {
					f.Ended(now, b.ID, true)
					bodies = slices.DeleteFunc(bodies, func(o *body) bool { return o == b })
					idle = true
				}
			}
		}
		at, ok := f.Deadline(now)
		if idle || ok && now >= at || len(bodies) < f.Target() {
			asks, stop := f.Next(now, missing)
			bodies = slices.DeleteFunc(bodies, func(o *body) bool { return slices.Contains(stop, o.ID) })
			for _, a := range asks {
				begin(now, l.rtt, a)
			}
		}
		if len(bodies) != f.Active() || f.Active() > max(1, cfg.Connections) {
			t.Fatalf("%d asks are under way, %d bodies come", f.Active(), len(bodies))
		}
		mean += float64(len(bodies))
		if len(missing) == 0 {
			return now, came, mean * step.Seconds() / now.Seconds()
		}
	}
}

// TestFull: over any line that needs several connections the file comes nearly as
// soon as Most of them can bring it, over any other as soon as one can, and hardly
// anything comes twice.
func TestFull(t *testing.T) {
	cfg := Config{Connections: Most, Chunk: 64 << 10, Chunks: 305}
	size := float64(cfg.Chunk * cfg.Chunks)
	for _, c := range []struct {
		name       string
		l          line
		bound      float64
		more, less float64 // connections in the mean
	}{
		{"one is enough", line{rate: 2.4e6, each: 1e9, rtt: 20 * time.Millisecond}, 1.1, 1, 4.5},
		{"five are needed", line{rate: 2.4e6, each: 5e5, rtt: 200 * time.Millisecond}, 1.2, 4, 16},
		{"all are needed", line{rate: 2.4e6, each: 1e5, rtt: 200 * time.Millisecond, noise: 0.5}, 1.45, 10, 16},
		{"some stall", line{rate: 2.4e6, each: 5e5, rtt: 200 * time.Millisecond, stalls: 0.02}, 1.8, 3.5, 16},
		{"12 kbit/s", line{rate: 1500, each: 1500, rtt: 300 * time.Millisecond}, 1.05, 0.9, 1.001},
	} {
		for seed := range uint64(5) {
			took, came, mean := c.l.run(t, cfg, seed)
			best := size / min(c.l.rate, Most*c.l.each)
			if took.Seconds() > c.bound*best || mean < c.more || mean > c.less || came > cfg.Chunks+3 {
				t.Errorf("%s, seed %d: %v of %.1f s, %d chunks of %d, %.1f connections", c.name, seed, took, best, came,
					cfg.Chunks, mean)
			}
		}
	}
}

// TestAnyLine: over any line everything comes, in bounds.
func TestAnyLine(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		cfg := Config{Connections: rnd.IntN(20), Chunk: 64 << 10, Chunks: 1 + rnd.IntN(200),
			Limit: float64(rnd.IntN(2)) * 1e5}
		l := line{rate: 1e4 + 3e6*rnd.Float64(), each: 1e4 + 1e6*rnd.Float64(), noise: rnd.Float64(),
			rtt: time.Duration(rnd.IntN(800)) * time.Millisecond, stalls: 0.2 * rnd.Float64()}
		if _, came, _ := l.run(t, cfg, seed); came > cfg.Chunks+cfg.Chunks/twiceOf {
			t.Errorf("seed %d, %+v: %d chunks of %d", seed, l, came, cfg.Chunks)
		}
	}
}

// TestOnly: once the server has said that it wants one connection there is no second.
func TestOnly(t *testing.T) {
	f := New(Config{Connections: 8, Chunk: 64 << 10, Chunks: 100})
	a := f.Begin(0, 0, 4, 30*time.Millisecond)
	f.Bytes(0, a.ID, 1<<10)
	f.Bytes(10*time.Millisecond, a.ID, 10<<10)
	missing := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	asks, _ := f.Next(11*time.Millisecond, missing)
	if len(asks) != Start-1 || asks[0].First != 4 {
		t.Fatalf("asks for %v", asks)
	}
	f.Only()
	for _, o := range asks {
		f.Ended(4*time.Millisecond, o.ID, false)
	}
	if asks, _ := f.Next(5*time.Millisecond, missing); len(asks) > 0 || f.Active() != 1 {
		t.Errorf("asks for %v beside", asks)
	}
	f.Ended(6*time.Millisecond, a.ID, true)
	if asks, _ := f.Next(7*time.Millisecond, missing[4:]); len(asks) != 1 {
		t.Errorf("asks for %v", asks)
	}
}

// TestLimit: where a limit is what bounds the rate, one connection stays one.
func TestLimit(t *testing.T) {
	l := line{rate: 2e5, each: 1e9, rtt: 50 * time.Millisecond}
	if _, _, mean := l.run(t, Config{Connections: Most, Chunk: 64 << 10, Chunks: 100, Limit: 2e5}, 1); mean > 1.5 {
		t.Errorf("%.1f connections", mean)
	}
}

// TestNeed: what is needed most is asked for first, and what stalls is asked for
// elsewhere.
func TestNeed(t *testing.T) {
	f := New(Config{Connections: 2, Chunk: 64 << 10, Chunks: 400})
	a := f.Begin(0, 0, 4, 100*time.Millisecond)
	f.Bytes(0, a.ID, 1<<10)
	f.Bytes(time.Millisecond, a.ID, 16<<10)
	missing := []int{0, 1, 2, 3, 6, 7, 9}
	asks, _ := f.Next(2*time.Millisecond, missing)
	if len(asks) != 1 || asks[0].First != 6 || asks[0].End > 8 {
		t.Fatalf("asks for %v", asks)
	}
	for now := 100 * time.Millisecond; now < 3*time.Second; now += 100 * time.Millisecond {
		f.Bytes(now, asks[0].ID, 100)
	}
	f.Ended(3*time.Second, asks[0].ID, true)
	if asks, _ = f.Next(3*time.Second, missing); len(asks) != 1 || asks[0].First != 1 {
		t.Errorf("asks for %v while chunks 1 to 3 stall", asks)
	}
}

// TestOutage: where nothing comes over any connection nothing is asked for again: it is
// for the driver to give up.
func TestOutage(t *testing.T) {
	f := New(Config{Connections: 2, Chunk: 64 << 10, Chunks: 400})
	a := f.Begin(0, 0, 4, 100*time.Millisecond)
	f.Bytes(0, a.ID, 1<<10)
	f.Bytes(time.Millisecond, a.ID, 16<<10)
	missing := []int{0, 1, 2, 3, 4, 5, 6, 7}
	f.Next(2*time.Millisecond, missing)
	for now := time.Second; now < 20*time.Second; now += time.Second {
		if asks, stop := f.Next(now, missing); len(asks)+len(stop) > 0 {
			t.Fatalf("after %v asks for %v and ends %v", now, asks, stop)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Connections: 4, Chunk: 64 << 10, Chunks: 100, Limit: 1e6}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []Config{{Chunks: 1}, {Connections: -1, Chunk: 1, Chunks: 1}, {Chunk: 1, Chunks: -1},
		{Chunk: 1, Limit: -1}, {Chunk: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}
