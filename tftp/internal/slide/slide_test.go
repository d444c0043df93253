package slide

import (
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

const mbit = 1e6 / 8 / 1474 // blocks of 1428 bytes with their headers, per second

// A long line is full, whatever it loses.
func TestFillsALongLine(t *testing.T) {
	for _, tc := range []struct {
		mbit  float64
		rtt   time.Duration
		queue int
		loss  float64
		most  float64 // time, of what the line needs
		again float64 // most packets, of the blocks
	}{
		{20, 200, 0, 0, 1.25, 1.01},
		{20, 200, 340, 0, 1.25, 1.01},
		{20, 200, 80, 0, 1.3, 1.06},
		{20, 200, 340, 0.001, 1.25, 1.03},
		{20, 200, 340, 0.01, 1.3, 1.05},
		{20, 200, 340, 0.05, 1.4, 1.12},
		{20, 40, 100, 0.01, 1.15, 1.05},
		{10, 600, 500, 0.005, 1.5, 1.05},
		{2, 200, 50, 0, 1.1, 1.05},
		{1, 200, 20, 0, 1.1, 1.05},
		{0.1, 200, 10, 0, 1.1, 1.1},
	} {
		l := line{rate: tc.mbit * mbit, queue: tc.queue, delay: tc.rtt * time.Millisecond / 2, loss: tc.loss}
		blocks := int64(14_006) // 20 MB
		if tc.mbit < 1 {
			blocks = 500
		}
		f := transfer(t, 3, l, blocks, 2048)
		share := f.doneAt.Seconds() * l.rate / float64(blocks)
		again := float64(f.sent) / float64(blocks)
		t.Logf("%4.1f Mbit/s, %3d ms, queue %3d, loss %.3f: %.3f of the time, %.3f packets a block, %.2f ACKs",
			tc.mbit, tc.rtt, tc.queue, tc.loss, share, again, float64(f.acks)/float64(blocks))
		if share > tc.most || again > tc.again {
			t.Errorf("at most %.2f and %.2f", tc.most, tc.again)
		}
	}
}

// Two flows share a line: the second to come gets at least a fourth of it.
func TestFairToAnother(t *testing.T) {
	tiers.Long(t, "it plays four long downloads")
	for seed, queue := range []int{60, 60, 340, 340} {
		l := line{rate: 20 * mbit, queue: queue, delay: 25 * time.Millisecond, loss: 0.01 * float64(seed%2)}
		a := &flow{blocks: 1 << 30, slide: 2048, rtt: 50 * time.Millisecond}
		b := &flow{blocks: 1 << 30, slide: 2048, rtt: 50 * time.Millisecond, start: 5 * time.Second}
		w := play(t, uint64(seed), l, 80*time.Second, a, b)
		var x, y float64
		for s := 20; s < 80; s++ {
			x, y = x+float64(a.within[s]), y+float64(b.within[s])
		}
		used := (x + y) / 60 / l.rate
		t.Logf("queue %d, loss %.2f: shares %.2f and %.2f, %.2f of the line used, longest in the queue %v, sent %.3f", queue,
			l.loss, x/(x+y), y/(x+y), used, w.queued, float64(a.sent+b.sent)/float64(a.got+b.got))
		if min(x, y)/(x+y) < 0.25 || used < 0.9 {
			t.Error("not fair, or not full")
		}
		if w.queued > 100*time.Millisecond {
			t.Error("the queue holds more than two round trips")
		}
	}
}

// Blocks that overtake each other are not sent again, once the sender knows how
// late they may be.
func TestReorderingIsNotLoss(t *testing.T) {
	for _, jitter := range []time.Duration{2, 10, 30} {
		l := line{rate: 10 * mbit, delay: 20 * time.Millisecond, jitter: jitter * time.Millisecond}
		f := transfer(t, 9, l, 5000, 1024)
		share, again := f.doneAt.Seconds()*l.rate/5000, float64(f.sent)/5000
		t.Logf("up to %v late: %.2f of the time, %.3f packets a block", l.jitter, share, again)
		if share > 1.25 || again > 1.03 {
			t.Error("at most 1.25 and 1.03")
		}
	}
}

// A machine that is slow while a transfer begins, and a line that becomes free, are
// found out: the sender does not stay slow.
func TestFindsRoom(t *testing.T) {
	for name, l := range map[string]line{
		"slow at first": {late: func(at time.Duration) time.Duration {
			return max(0, 90*time.Millisecond-at/5)
		}},
		"busy at first": {busy: func(at time.Duration) float64 {
			if at < 3*time.Second {
				return 20
			}
			return 1
		}},
	} {
		l.rate, l.queue, l.delay, l.loss = 20*mbit, 340, 100*time.Millisecond, 0.01
		f := transfer(t, 6, l, 14_006, 2048)
		took := f.doneAt.Seconds() * l.rate / 14_006
		t.Logf("%s: %.2f of the time", name, took)
		if took > 1.8 {
			t.Error("at most 1.8")
		}
	}
}

// A burst is never longer than a small socket holds, and never faster than the line
// beyond a few milliseconds: a queue of 40 blocks loses next to nothing.
func TestPaced(t *testing.T) {
	l := line{rate: 20 * mbit, queue: 40, delay: 2 * time.Millisecond}
	f := transfer(t, 1, l, 14_000, 2048)
	if again := float64(f.sent) / 14_000; again > 1.01 {
		t.Errorf("%.3f packets a block", again)
	}
}

// Past block 65535 the number on the wire starts again at 0, also while blocks are
// lost around it.
func TestNumbersRollOver(t *testing.T) {
	l := line{delay: time.Millisecond, lose: func(_ int, ack bool, block int64, copies int) bool {
		return !ack && block > 65_500 && block < 65_570 && copies == 1
	}}
	transfer(t, 2, l, 65_536+500, 192)
}

// An outage of some seconds is waited out, and the line is full again after it.
func TestOutage(t *testing.T) {
	var w *world
	l := line{rate: 10 * mbit, queue: 100, delay: 50 * time.Millisecond}
	f := &flow{blocks: 7000, slide: 1024, rtt: 100 * time.Millisecond}
	l.lose = func(int, bool, int64, int) bool {
		at := w.now.Sub(w.start)
		return at > 2*time.Second && at < 6*time.Second
	}
	w = newWorld(t, 4, l, f)
	w.run(time.Hour)
	if need := time.Duration(7000 / l.rate * float64(time.Second)); f.got != 7000 || f.doneAt > need+10*time.Second {
		t.Errorf("%d blocks, took %v of %v", f.got, f.doneAt, need)
	}
}

// Nobody waits for ever.
func TestGivesUp(t *testing.T) {
	now := time.Unix(0, 0)
	s := NewSender(now, Agreed{Blocks: 10, Slide: 8, RTT: 10 * time.Millisecond, Idle: time.Minute, Retries: 5})
	tries := 0
	for s.Timeout(now) && tries < 100 {
		for b, ok := s.Next(now); ok; b, ok = s.Next(now) {
			s.Sent(now, b)
		}
		tries, now = tries+1, s.Deadline()
	}
	if s.probes != 6 || now.Sub(time.Unix(0, 0)) > time.Minute {
		t.Errorf("the sender gave up after %v, %d answers missed", now.Sub(time.Unix(0, 0)), s.probes)
	}
	start := now
	r := NewReceiver(start, 8, 4, time.Second, time.Minute, 1000)
	for r.Timeout(now) {
		r.Data(now, 60_000, false) // not of this file
		r.Ack(now, nil)
		now = r.Deadline()
	}
	if now.Sub(start) != time.Minute {
		t.Errorf("the receiver gave up after %v", now.Sub(start))
	}
}

func TestLossDuplicatesAndReordering(t *testing.T) {
	for seed := range uint64(60) {
		l := line{
			rate: []float64{0, 20 * mbit, 2 * mbit}[seed%3], queue: []int{0, 30, 100}[seed%3],
			delay: 20 * time.Millisecond, jitter: time.Duration(seed%4) * 8 * time.Millisecond,
			loss: 0.05 * float64(seed%4), dup: 0.05 * float64(seed%5),
		}
		f := transfer(t, seed, l, 700, []int{5, 64, 1024}[seed%3])
		if limit := 60 * time.Second; f.doneAt > limit {
			t.Errorf("seed %d: took %v", seed, f.doneAt)
		}
	}
}
