package site

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
)

// Bounds of a long link.
const (
	maxRTT = 10 * time.Second
	// extraQueue is what a long link queues in addition to one round trip, as
	// time at its rate: a queue of a round trip keeps one TCP connection at
	// full rate.
	extraQueue = 50 * time.Millisecond
	// MTU is the most that a link carries in one packet of IP, in bytes.
	MTU = 1500
	// frameHeader is the Ethernet header of a packet, in bytes. A long link
	// counts it, so that its rate means the same as that of other links.
	frameHeader = 14
	// smallestQueue takes a burst of a few packets at any rate, in bytes.
	smallestQueue = 16 << 10
)

// LinkConfig describes a long link: the WAN of a site whose server is far away.
type LinkConfig struct {
	// Rate is that of each way. Required.
	Rate units.Rate
	// RTT is the round trip of the idle link, half of it each way; 0 to 10 s.
	RTT time.Duration
	// Jitter is how much later than that a packet may come, each way; how much
	// is random for every packet. Packets keep their order. At most RTT/2. 0:
	// none.
	Jitter time.Duration
	// Loss is the part of the packets that is lost, each way; 0 to 0.5.
	Loss units.Fraction
	// Queue is how long a packet may wait while the link is busy; RTT and 50 ms if it
	// is 0.
	Queue time.Duration
	// Seed makes jitter and loss repeat for the same packets. 0 is as good as
	// any other.
	Seed uint64
}

// Long reports whether the link needs more than a rate.
func (c LinkConfig) Long() bool { return c.RTT > 0 || c.Jitter > 0 || c.Loss > 0 || c.Queue > 0 }

// Validate refuses what the link cannot be.
func (c LinkConfig) Validate() error {
	switch {
	case c.Rate < 1:
		return fmt.Errorf("the WAN's rate must be set")
	case c.RTT < 0 || c.RTT > maxRTT:
		return fmt.Errorf("--rtt is 0s to %v, not %v", maxRTT, c.RTT)
	case c.Jitter < 0 || c.Jitter > c.RTT/2:
		return fmt.Errorf("--jitter is 0s to half of --rtt %v, not %v", c.RTT, c.Jitter)
	case c.Queue < 0 || c.Queue > maxRTT:
		return fmt.Errorf("--queue is 0s to %v, not %v", maxRTT, c.Queue)
	case c.Loss < 0 || c.Loss > 0.5:
		return fmt.Errorf("--loss is 0%% to 50%%, not %v", c.Loss)
	}
	return nil
}

// Text describes the link except its rate, as a part of a sentence; "" for one
// that is not long.
func (c LinkConfig) Text() string {
	s := ""
	if c.RTT > 0 {
		s += fmt.Sprintf(", round trip %v", c.RTT)
	}
	if c.Jitter > 0 {
		s += fmt.Sprintf(", jitter %v", c.Jitter)
	}
	if c.Loss > 0 {
		s += fmt.Sprintf(", loss %v", c.Loss)
	}
	return s
}

// queue is the most that one way queues while the link is busy, in bytes.
func (c LinkConfig) queue() int64 {
	wait := c.Queue
	if wait == 0 {
		wait = c.RTT + extraQueue
	}
	return max(c.Rate.Bytes(wait), smallestQueue)
}

// laneCount is what one way of a long link has done so far. Bytes are those of
// frames, as Wire counts them.
type laneCount struct {
	Packets uint64 // that the link took
	Bytes   uint64 // of those
	Lost    uint64 // of those, lost on the way
	Full    uint64 // that the queue had no room for
}

// lane decides for one way of a long link when a packet arrives. It reads no
// clock: times are durations on any steady clock.
type lane struct {
	cfg  LinkConfig
	rng  *rand.Rand
	free time.Duration // when the link is free of all that it took
	last time.Duration // when the last packet that is not lost arrives

	mu    sync.Mutex // of free and count: others read them
	count laneCount
}

func newLane(cfg LinkConfig, way uint64) *lane {
	return &lane{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, way))}
}

// admit takes a packet of n bytes of IP at a time not before that of the last
// call, and returns when it arrives; false if it never does.
func (l *lane) admit(now time.Duration, n int) (due time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	frame := int64(n + frameHeader)
	l.free = max(l.free, now)
	if l.cfg.Rate.Bytes(l.free-now)+frame > l.cfg.queue() {
		l.count.Full++
		return 0, false
	}
	l.free += l.cfg.Rate.Time(frame)
	l.count.Packets++
	l.count.Bytes += uint64(frame)
	// A lost packet has used the link: it is lost after it.
	if l.cfg.Loss > 0 && l.rng.Float64() < float64(l.cfg.Loss) {
		l.count.Lost++
		return 0, false
	}
	due = l.free + l.cfg.RTT/2
	if l.cfg.Jitter > 0 {
		due += time.Duration(l.rng.Int64N(int64(l.cfg.Jitter) + 1))
	}
	l.last = max(l.last, due)
	return l.last, true
}

// total returns what the lane has done so far.
func (l *lane) total() laneCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// carried returns the bytes of frames that have left the queue until now.
func (l *lane) carried(now time.Duration) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count.Bytes - min(l.count.Bytes, uint64(l.cfg.Rate.Bytes(max(0, l.free-now))))
}

// waits returns how long the link is busy with what it took.
func (l *lane) waits(now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.free-now)
}
