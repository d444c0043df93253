package background

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// packetOnLine is one on the simulated line.
type packetOnLine struct {
	flow int
	at   time.Duration // when it leaves the queue
	sent time.Duration
	late time.Duration
}

// rig is a line in virtual time: a queue before a rate, and behind it half of the
// round trip each way.
type rig struct {
	rate  float64 // bytes per second
	trip  time.Duration
	queue time.Duration // longest
	late  bool          // the empty line's round trip is not known from a handshake
	free  time.Duration
	// jitter is how much later than the line says a packet may come.
	jitter time.Duration
	call   []time.Duration // how long each packet of the call waited
	got    [2]float64      // bytes of ours, and of another download
	lost   int
}

const size = 1500

// put queues a packet and says when it has left the queue; false: it is dropped.
func (r *rig) put(now time.Duration, bytes float64) (time.Duration, bool) {
	start := max(now, r.free)
	if start-now > r.queue {
		return 0, false
	}
	r.free = start + time.Duration(bytes/r.rate*float64(time.Second))
	return r.free, true
}

// play runs ours beside a call and, from other on, another download that fills the
// queue until it loses something, as TCP does. It counts from from on.
func (r *rig) play(c *Control, other, from, end time.Duration) {
	const tick = time.Millisecond
	epoch, random := time.Unix(0, 0), rand.New(rand.NewPCG(18, 18))
	window, flight := 0.0, [2]float64{}
	look := time.Duration(0)
	cwnd, lossAt := 10.0*size, time.Duration(0)
	seen, way, came := time.Duration(0), []packetOnLine(nil), 0
	for now := time.Duration(0); now < end; now += tick {
		way = slices.DeleteFunc(way, func(p packetOnLine) bool {
			if p.at+p.late+r.trip > now {
				return false
			}
			flight[p.flow] -= size
			if p.flow == 0 {
				came += size
			}
			if now >= from {
				r.got[p.flow] += size
			}
			if p.flow == 0 {
				if took := now - p.sent; seen == 0 || took < seen { // as the kernel smooths it
					seen = took
				} else {
					seen += (took - seen) / 8
				}
			} else {
				cwnd += size * size / cwnd
			}
			return true
		})
		if now%(20*tick) == 0 {
			if at, ok := r.put(now, 200); ok && now >= from {
				r.call = append(r.call, at-now)
			} else if !ok && now >= from {
				r.lost++
			}
		}
		if now >= look { // as a Group does
			look = now + min(max(c.trip()/4, 10*tick), 100*tick)
			s := Seen{Bytes: came, Least: 2 * size}
			if came > 0 {
				s.Trip = seen
			}
			if now == 0 && !r.late {
				s.Small = r.trip
			}
			window, came = c.Step(epoch.Add(now), s), 0
		}
		for flow, most := range []float64{window, cwnd} {
			if flow == 1 && now < other {
				continue
			}
			for flight[flow]+size <= most {
				at, ok := r.put(now, size)
				if !ok {
					if flow == 1 && now-lossAt > r.trip {
						cwnd, lossAt = max(cwnd/2, 2*size), now
					}
					break
				}
				flight[flow] += size
				late := time.Duration(random.Int64N(int64(r.jitter) + 1))
				way = append(way, packetOnLine{flow: flow, at: at, sent: now, late: late})
			}
		}
	}
}

const never = time.Hour

// A call on the same line has next to no delay, and the line is used.
func TestHarmlessToACall(t *testing.T) {
	for _, mbit := range []float64{2, 20} {
		for _, trip := range []time.Duration{40, 200} {
			r := rig{rate: mbit * 1e6 / 8, trip: trip * time.Millisecond, queue: 200 * time.Millisecond}
			const from, end = 5 * time.Second, 60 * time.Second
			r.play(&Control{}, never, from, end)
			slices.Sort(r.call)
			p99 := r.call[len(r.call)*99/100]
			used := r.got[0] / (r.rate * (end - from).Seconds())
			t.Logf("%2.0f Mbit/s, %v: p99 %v, %d lost, %.2f of the line used", mbit, r.trip, p99, r.lost, used)
			if p99 > 25*time.Millisecond || r.lost > 0 || used < 0.88 {
				t.Error("want 25 ms at most, nothing lost, and the line used")
			}
		}
	}
}

// A download of somebody else gets the line, also when it was there first.
func TestGivesWay(t *testing.T) {
	for _, other := range []time.Duration{0, 10 * time.Second} {
		r := rig{rate: 20e6 / 8, trip: 40 * time.Millisecond, queue: 200 * time.Millisecond}
		r.play(&Control{}, other, 30*time.Second, 90*time.Second)
		share := r.got[1] / (r.got[0] + r.got[1])
		t.Logf("other from %v on: it gets %.3f", other, share)
		if share < 0.9 {
			t.Error("want 0.9")
		}
	}
}

// Two of ours on one line: together they do no more harm than one.
func TestAloneAgain(t *testing.T) {
	c := &Control{}
	seen := func(trip time.Duration) Seen { return Seen{Trip: trip, Bytes: 1 << 20, Least: 3000} }
	now := time.Unix(0, 0)
	for range 600 { // somebody fills the queue
		now = now.Add(50 * time.Millisecond)
		c.Step(now, seen(40*time.Millisecond+time.Duration(now.Unix()%2)*200*time.Millisecond))
	}
	low := c.Step(now, seen(240*time.Millisecond))
	for range 600 {
		now = now.Add(50 * time.Millisecond)
		c.Step(now, seen(41*time.Millisecond))
	}
	if high := c.Step(now, seen(41*time.Millisecond)); high < 4*low {
		t.Errorf("%.0f bytes beside another download, %.0f alone again", low, high)
	}
}

// A device that comes when its own first packets fill the queue learns from the pauses how
// long the empty line takes: else it would keep the queue that it made.
func TestLearnsFromPauses(t *testing.T) {
	r := rig{rate: 2e6 / 8, trip: 20 * time.Millisecond, queue: 200 * time.Millisecond, late: true}
	r.put(0, 15000) // 60 ms wait
	r.play(&Control{}, never, 5*time.Second, 60*time.Second)
	slices.Sort(r.call)
	if p99 := r.call[len(r.call)*99/100]; p99 > 25*time.Millisecond {
		t.Errorf("p99 is %v, want 25 ms at most", p99)
	}
}

// In a pause there is the least under way, and the handshake's round trip is the empty
// line's, plus the time of a full packet.
func TestPauseAndEmpty(t *testing.T) {
	c, now, paused := &Control{}, time.Unix(0, 0), 0
	s := Seen{Trip: 50 * time.Millisecond, Small: 40 * time.Millisecond, Bytes: 12500, Least: 3000}
	for range 1000 {
		now = now.Add(50 * time.Millisecond)
		if c.Step(now, s) == s.Least && now.Before(c.resume) {
			paused++
		}
	}
	if paused < 3 || paused > 12 { // at the end of the start, and every 20 of 50 s
		t.Errorf("the least was under way at %d of 1,000 looks, want it in three or four pauses", paused)
	}
	if got := c.empty(); got < 45*time.Millisecond || got > 47*time.Millisecond {
		t.Errorf("the empty line takes %v, want 40 ms and the 6 ms of a packet at 2 Mbit/s", got)
	}
}

// What is not used does not grow: it would fill the queue at once when the server has more.
func TestGrowsIfUsed(t *testing.T) {
	for _, tc := range []struct {
		name        string
		bytes, each int
		grows       bool
	}{
		{"all comes", 1 << 20, 0, true}, {"next to nothing comes", 1000, 0, false},
		{"too little for each", 1000, 2 * first, true},
	} {
		c, now := &Control{}, time.Unix(0, 0)
		s := Seen{Trip: 40 * time.Millisecond, Bytes: tc.bytes, Least: 3000, Each: float64(tc.each)}
		begun := c.Step(now, s)
		var got float64
		for range 8 {
			now = now.Add(40 * time.Millisecond)
			got = c.Step(now, s)
		}
		if (got > begun) != tc.grows {
			t.Errorf("%s: from %.0f to %.0f", tc.name, begun, got)
		}
	}
}

// Packets that come late for another reason than the queue, as by radio, do not stop the
// download.
func TestJitter(t *testing.T) {
	for _, mbit := range []float64{2, 20} {
		r := rig{rate: mbit * 1e6 / 8, trip: 40 * time.Millisecond, queue: 200 * time.Millisecond,
			jitter: 20 * time.Millisecond}
		const from, end = 5 * time.Second, 60 * time.Second
		r.play(&Control{}, never, from, end)
		if used := r.got[0] / (r.rate * (end - from).Seconds()); used < 0.8 {
			t.Errorf("%.0f Mbit/s: %.2f of the line used", mbit, used)
		}
	}
}

// Who shares the line with another device of the site begins with the least.
func TestShared(t *testing.T) {
	var g *Group
	g.Share(true) // of a device that does not download in the background
	g = &Group{}
	for _, shared := range []bool{false, true, false} {
		g.Share(shared)
		begins := float64(first)
		if shared {
			begins = packet
		}
		if idle := g.idle(); idle > int(begins) || idle <= int(begins)-packet {
			t.Errorf("shared %v: a connection that is not active has %d bytes", shared, idle)
		}
	}
	if window := new(Control).Step(time.Unix(0, 0), Seen{First: leastAll, Least: leastAll}); window != leastAll {
		t.Errorf("begins with %v bytes, not the %v that it was told", window, leastAll)
	}
	for begins, grows := range map[float64]float64{0: 4 * first, leastAll: 2 * leastAll} {
		c, now, window := new(Control), time.Unix(0, 0), 0.0
		for range 3 { // nothing waits
			window = c.Step(now, Seen{First: begins, Least: leastAll, Trip: 40 * time.Millisecond, Bytes: int(window)})
			now = now.Add(40 * time.Millisecond)
		}
		if window > grows || begins == 0 && window < grows {
			t.Errorf("begins with %v bytes: %v after two round trips, want %v", begins, window, grows)
		}
	}
}
