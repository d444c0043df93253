package slide

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"
)

// line is a way to a site in virtual time: one rate and one queue for the blocks
// of all flows, and what else happens to packets, each way.
type line struct {
	rate   float64 // blocks per second, 0: no limit
	queue  int     // blocks that wait at most, 0: no limit
	delay  time.Duration
	jitter time.Duration // up to that much later, so that packets overtake each other
	loss   float64
	dup    float64
	late   func(at time.Duration) time.Duration // what packets sent then take longer
	busy   func(at time.Duration) float64       // how much slower the line is then
	lose   func(flow int, ack bool, block int64, copies int) bool
}

// flow is one transfer of a simulation.
type flow struct {
	blocks int64
	slide  int
	rtt    time.Duration // as the sender was told
	start  time.Duration

	s      *Sender
	r      *Receiver
	got    int64
	sent   int64
	fresh  int64
	acks   int64
	done   bool
	doneAt time.Duration
	within map[int]int64 // blocks that arrived in each second
	copies map[int64]int
}

type event struct {
	at    time.Time
	order int
	flow  int
	ack   []byte // nil: a block
	block int64
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return e
}

// world is a simulation.
type world struct {
	t      testing.TB
	line   line
	flows  []*flow
	rnd    *rand.Rand
	start  time.Time
	now    time.Time
	q      events
	order  int
	free   time.Time     // when the line has sent what waits
	queued time.Duration // longest time in the queue after the first 3 s
}

// play runs flows over a line until all are done, or end has passed.
func play(t testing.TB, seed uint64, l line, end time.Duration, flows ...*flow) *world {
	t.Helper()
	w := newWorld(t, seed, l, flows...)
	w.run(end)
	return w
}

func newWorld(t testing.TB, seed uint64, l line, flows ...*flow) *world {
	start := time.Unix(1_000_000, 0)
	w := &world{t: t, line: l, flows: flows, rnd: rand.New(rand.NewPCG(seed, 7)), start: start, now: start, free: start}
	for i, f := range flows {
		at := start.Add(f.start)
		f.s = NewSender(at, Agreed{Blocks: f.blocks, Slide: f.slide, RTT: f.rtt, Idle: 30 * time.Second, Retries: 50,
			Seed: seed<<8 + uint64(i)})
		f.r = NewReceiver(at, f.slide, 4, time.Second, 30*time.Second, 50)
		f.within, f.copies = map[int]int64{}, map[int64]int{}
	}
	return w
}

func (w *world) run(end time.Duration) {
	w.t.Helper()
	for steps := 0; ; steps++ {
		if steps > 20_000_000 {
			w.t.Fatal("no end")
		}
		open := false
		for i, f := range w.flows {
			if !f.done && !w.now.Before(w.start.Add(f.start)) {
				w.pump(i)
			}
			open = open || !f.done
		}
		if !open || w.now.Sub(w.start) >= end {
			return
		}
		w.step()
	}
}

func (w *world) pump(i int) {
	f := w.flows[i]
	for {
		b, ok := f.s.Next(w.now)
		if !ok {
			return
		}
		f.sent++
		if f.s.Sent(w.now, b) {
			f.fresh++
		}
		at := w.now
		if w.line.rate > 0 {
			if w.free.Before(at) {
				w.free = at
			}
			wait := w.free.Sub(at)
			if w.line.queue > 0 && wait.Seconds()*w.line.rate >= float64(w.line.queue) {
				continue
			}
			if w.now.Sub(w.start) > 3*time.Second {
				w.queued = max(w.queued, wait)
			}
			takes := float64(time.Second) / w.line.rate
			if w.line.busy != nil {
				takes *= w.line.busy(w.now.Sub(w.start))
			}
			w.free = w.free.Add(time.Duration(takes))
			at = w.free
		}
		w.post(at, event{flow: i, block: b})
	}
}

// post puts a packet on its way.
func (w *world) post(at time.Time, e event) {
	f := w.flows[e.flow]
	key := e.block * 2
	if e.ack != nil {
		key = f.acks*2 + 1
	}
	f.copies[key]++
	if w.line.lose != nil && w.line.lose(e.flow, e.ack != nil, key/2, f.copies[key]) || w.rnd.Float64() < w.line.loss {
		return
	}
	for copies := 1; copies > 0; copies-- {
		if w.rnd.Float64() < w.line.dup {
			copies++
		}
		e.at = at.Add(w.line.delay)
		if w.line.late != nil {
			e.at = e.at.Add(w.line.late(w.now.Sub(w.start)))
		}
		if w.line.jitter > 0 {
			e.at = e.at.Add(time.Duration(w.rnd.Int64N(int64(w.line.jitter))))
		}
		w.order++
		e.order = w.order
		heap.Push(&w.q, e)
	}
}

// step takes the next packet or timer.
func (w *world) step() {
	var at time.Time
	who, sender := -1, false
	take := func(t time.Time, i int, s bool) {
		if t.Before(w.now) {
			t = w.now
		}
		if who < 0 || t.Before(at) {
			at, who, sender = t, i, s
		}
	}
	for i, f := range w.flows {
		switch {
		case f.done:
		case w.now.Before(w.start.Add(f.start)):
			take(w.start.Add(f.start), i, true)
		default:
			take(f.s.Deadline(), i, true)
			if !f.r.Finished() {
				take(f.r.Deadline(), i, false)
			}
		}
	}
	if len(w.q) > 0 && !w.q[0].at.After(at) {
		e := heap.Pop(&w.q).(event)
		w.now = e.at
		w.packet(e)
		return
	}
	w.now = at
	f := w.flows[who]
	if sender {
		if !f.s.Timeout(w.now) {
			w.t.Fatalf("the sender gave up at block %d of %d", f.s.base, f.blocks)
		}
		return
	}
	if !f.r.Timeout(w.now) {
		w.t.Fatalf("the receiver gave up at block %d of %d", f.r.next, f.blocks)
	}
	w.acknowledge(who)
}

func (w *world) packet(e event) {
	f := w.flows[e.flow]
	if e.ack != nil {
		a, ok := ParseAck(e.ack)
		if !ok {
			w.t.Fatal("an ACK cannot be read")
		}
		if _, done := f.s.Acked(w.now, a); done && !f.done {
			f.done, f.doneAt = true, w.now.Sub(w.start)-f.start
		}
		return
	}
	b, fresh := f.r.Data(w.now, uint16(e.block), e.block == f.blocks)
	if fresh {
		if b != e.block {
			w.t.Fatalf("block %d taken for %d", e.block, b)
		}
		f.got++
		f.within[int(w.now.Sub(w.start)/time.Second)]++
	}
	w.acknowledge(e.flow)
}

func (w *world) acknowledge(i int) {
	f := w.flows[i]
	if !f.r.AckDue(w.now) {
		return
	}
	a := f.r.Ack(w.now, nil)
	f.acks++
	w.post(w.now, event{flow: i, ack: a.Append(nil)})
}

// transfer plays one flow to its end and checks that each block arrived once.
func transfer(t testing.TB, seed uint64, l line, blocks int64, slide int) *flow {
	t.Helper()
	f := &flow{blocks: blocks, slide: slide, rtt: 2 * l.delay}
	play(t, seed, l, time.Hour, f)
	if !f.done || f.got != blocks || f.r.next != blocks+1 {
		t.Fatalf("seed %d: %d blocks arrived of %d, done %v", seed, f.got, blocks, f.done)
	}
	return f
}
