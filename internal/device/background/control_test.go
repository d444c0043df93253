package background

import (
	"slices"
	"testing"
	"time"
)

// packetOnLine is one on the simulated line.
type packetOnLine struct {
	flow int
	at   time.Duration // when it leaves the queue
	sent time.Duration
}

// rig is a line in virtual time: a queue before a rate, and behind it half of the
// round trip each way.
type rig struct {
	rate  float64 // bytes per second
	trip  time.Duration
	queue time.Duration // longest
	free  time.Duration
	call  []time.Duration // how long each packet of the call waited
	got   [2]float64      // bytes of ours, and of another download
	lost  int
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
	epoch := time.Unix(0, 0)
	window, flight := 0.0, [2]float64{}
	cwnd, lossAt := 10.0*size, time.Duration(0)
	seen, way := r.trip, []packetOnLine(nil)
	for now := time.Duration(0); now < end; now += tick {
		way = slices.DeleteFunc(way, func(p packetOnLine) bool {
			if p.at+r.trip > now {
				return false
			}
			flight[p.flow] -= size
			if now >= from {
				r.got[p.flow] += size
			}
			if p.flow == 0 {
				seen += (now - p.sent - seen) / 8 // as the kernel smooths it
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
		if now%(10*tick) == 0 {
			window = c.Step(epoch.Add(now), seen, 2*size)
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
				way = append(way, packetOnLine{flow: flow, at: at, sent: now})
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
	now := time.Unix(0, 0)
	for range 600 { // somebody fills the queue
		now = now.Add(50 * time.Millisecond)
		c.Step(now, 40*time.Millisecond+time.Duration(now.Unix()%2)*200*time.Millisecond, 3000)
	}
	low := c.Step(now, 240*time.Millisecond, 3000)
	for range 600 {
		now = now.Add(50 * time.Millisecond)
		c.Step(now, 41*time.Millisecond, 3000)
	}
	if high := c.Step(now, 41*time.Millisecond, 3000); high < 4*low {
		t.Errorf("%.0f bytes beside another download, %.0f alone again", low, high)
	}
}
