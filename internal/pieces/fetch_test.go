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
	takes      int     // connections that the server takes, 0 for any number

	// told hears each decision, if it is set.
	told func(format string, args ...any)
}

func (l line) tell(format string, args ...any) {
	if l.told != nil {
		l.told(format, args...)
	}
}

// driverPatience is how long a driver waits for an answer.
const driverPatience = 5 * time.Second

// result is how a file came.
type result struct {
	took  time.Duration
	came  int     // chunks, in all
	mean  float64 // connections, weighted by time
	most  int     // connections
	ahead int     // chunks that were there before the first that was not, at most
}

// run fetches a file over a line.
func (l line) run(t *testing.T, cfg Config, seed uint64) (r result) {
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
			refused := !b.head && l.takes > 0 && len(bodies) > l.takes && now > b.from
			if refused || now-b.from > driverPatience && !b.head {
				l.tell("%v: %d is refused", now, b.ID)
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
				r.came++
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
			for _, id := range stop {
				l.tell("%v: %d is stopped", now, id)
			}
			for _, a := range asks {
				l.tell("%v: %d asks for %d to %d", now, a.ID, a.First, a.End)
				begin(now, l.rtt, a)
			}
		}
		if len(bodies) != f.Active() || f.Active() > max(1, cfg.Connections) {
			t.Fatalf("%d asks are under way, %d bodies come", f.Active(), len(bodies))
		}
		r.mean += float64(len(bodies))
		r.most = max(r.most, len(bodies))
		if len(missing) == 0 {
			r.took, r.mean = now, r.mean*step.Seconds()/now.Seconds()
			return r
		}
		r.ahead = max(r.ahead, cfg.Chunks-len(missing)-missing[0])
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
		{"one is enough", line{rate: 2.4e6, each: 1e9, rtt: 20 * time.Millisecond}, 1.1, 0.9, 1.2},
		{"five are needed", line{rate: 2.4e6, each: 5e5, rtt: 200 * time.Millisecond}, 1.2, 4, 16},
		{"all are needed", line{rate: 2.4e6, each: 1e5, rtt: 200 * time.Millisecond, noise: 0.5}, 1.45, 10, 16},
		{"some stall", line{rate: 2.4e6, each: 5e5, rtt: 200 * time.Millisecond, stalls: 0.02}, 1.8, 3.5, 16},
		{"12 kbit/s", line{rate: 1500, each: 1500, rtt: 300 * time.Millisecond}, 1.05, 0.9, 1.001},
	} {
		for seed := range uint64(5) {
			r := c.l.run(t, cfg, seed)
			best := size / min(c.l.rate, Most*c.l.each)
			if r.took.Seconds() > c.bound*best || r.mean < c.more || r.mean > c.less || r.came > cfg.Chunks+3 {
				t.Errorf("%s, seed %d: %+v, bound %.1f s and %d chunks", c.name, seed, r, best, cfg.Chunks)
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
		if r := l.run(t, cfg, seed); r.came > cfg.Chunks+cfg.Chunks/twiceOf {
			t.Errorf("seed %d, %+v: %d chunks of %d", seed, l, r.came, cfg.Chunks)
		}
	}
}

// TestOneIsEnough: on a line where one connection soon reaches the rate there are two
// at most, and hardly anything comes before what is needed: it would be lost with
// this device.
func TestOneIsEnough(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		cfg := Config{Connections: 2 + rnd.IntN(Most-1), Chunk: 64 << 10, Chunks: 20 + rnd.IntN(400)}
		// What a window of TCP's first size brings in a round trip, several times.
		rtt := time.Duration(1+rnd.IntN(40)) * time.Millisecond
		l := line{rate: min(3e6, (1+3*rnd.Float64())*initialWindow/rtt.Seconds()), each: 1e9, rtt: rtt}
		r := l.run(t, cfg, seed)
		best := float64(cfg.Chunk*cfg.Chunks) / l.rate
		if r.most > 2 || r.mean > 1.5 || r.ahead > 8 || r.came > cfg.Chunks || r.took.Seconds() > 1.1*best+1 {
			t.Errorf("seed %d, %+v, %+v, bound %.1f s: %+v", seed, l, cfg, best, r)
		}
	}
}

// TestOnly: once the server has said that it wants one connection there is no second.
func TestOnly(t *testing.T) {
	f := New(Config{Connections: 8, Chunk: 64 << 10, Chunks: 100})
	a := f.Begin(0, 0, 4, 150*time.Millisecond)
	f.Bytes(0, a.ID, 1<<10)
	f.Bytes(25*time.Millisecond, a.ID, 10<<10)
	missing := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	asks, _ := f.Next(26*time.Millisecond, missing)
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
	if r := l.run(t, Config{Connections: Most, Chunk: 64 << 10, Chunks: 100, Limit: 2e5}, 1); r.mean > 1.5 {
		t.Errorf("%+v", r)
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

// TestRescue: where the only connection stalls another one shows whether it is the
// line, and takes over what is needed if it is not.
func TestRescue(t *testing.T) {
	f := New(Config{Connections: 8, Chunk: 64 << 10, Chunks: 400})
	a := f.Begin(0, 0, 4, time.Millisecond)
	f.Bytes(0, a.ID, 1<<10)
	f.Bytes(time.Millisecond, a.ID, 16<<10)
	missing := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	if asks, _ := f.Next(time.Second, missing); len(asks) > 0 {
		t.Fatalf("asks for %v beside one that is enough", asks)
	}
	asks, stop := f.Next(3*time.Second, missing)
	if len(asks) != 1 || len(stop) > 0 || asks[0].First != 4 {
		t.Fatalf("asks for %v and ends %v", asks, stop)
	}
	if more, _ := f.Next(4*time.Second, missing); len(more) > 0 {
		t.Errorf("asks for %v, too", more)
	}
	f.Bytes(5*time.Second, asks[0].ID, 64<<10)
	f.Next(5*time.Second, missing)
	f.Ended(5*time.Second, asks[0].ID, true)
	if asks, _ = f.Next(5*time.Second, missing); len(asks) != 1 || asks[0].First != 1 {
		t.Errorf("asks for %v while chunks 1 to 3 stall", asks)
	}
}

// TestRun: what is lacking at once ends before the first chunk that is held.
func TestRun(t *testing.T) {
	held := func(i int) bool { return i == 2 || i == 5 }
	for first, want := range []int{2, 1, 3, 2, 1, 3, 2, 1, 0} {
		if n := Run(first, 8, held); n != want {
			t.Errorf("from chunk %d on %d are lacking, not %d", first, n, want)
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
