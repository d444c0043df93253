package tftp

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"
)

// simConfig describes a network between the two state machines.
type simConfig struct {
	blocks     int64 // in the file; the last one is short
	window     int
	block      int // bytes, 0: simBlock
	queue      int // packets of DATA that wait at the link, 0: no limit
	oack       bool
	delay      time.Duration // one way
	loss, dup  float64       // of each packet
	jitter     time.Duration // extra delay of each packet: reordering
	rate       float64       // packets of DATA in a second, 0: no limit
	lose       func(ack bool, block int64, copies int) bool
	seed       uint64
	maxElapsed time.Duration
}

type simResult struct {
	elapsed        time.Duration
	data, acks     int64 // packets sent
	retransmitted  int64
	senderTimeouts int
}

type simEvent struct {
	at    time.Time
	order int
	ack   bool
	wire  uint16
	n     int
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return e
}

// sim is one transfer in virtual time.
type sim struct {
	simConfig
	t      *testing.T
	rnd    *rand.Rand
	now    time.Time
	q      simQueue
	order  int
	free   time.Time // when the link can take the next DATA
	copies map[[2]int64]int
	s      *sender
	r      *receiver
	got    int64
	res    simResult
}

const simBlock = 512

// simulate runs a transfer to its end and checks that the blocks arrive once
// each and in order.
func simulate(t *testing.T, c simConfig) simResult {
	t.Helper()
	start := time.Unix(1_000_000, 0)
	if c.block == 0 {
		c.block = simBlock
	}
	p := params{blockSize: c.block, window: c.window, size: -1}
	m := &sim{
		simConfig: c, t: t, rnd: rand.New(rand.NewPCG(c.seed, 1)), now: start, free: start, copies: map[[2]int64]int{},
		s: newSender(start, p, c.oack, time.Second, 30*time.Second, 50),
		r: newReceiver(start, p, time.Second, 30*time.Second, 50),
	}
	done := false
	for steps := int64(0); !done; steps++ {
		if steps > 40*c.blocks+100_000 {
			t.Fatalf("seed %d: no end after %d steps: sender at %d, receiver at %d", c.seed, steps, m.s.base, m.r.next)
		}
		for m.s.wantsToSend() && m.s.waitsForTurn(m.now).IsZero() {
			m.sendData()
		}
		done = m.step()
	}
	if m.got != c.blocks {
		t.Fatalf("seed %d: %d blocks arrived of %d", c.seed, m.got, c.blocks)
	}
	m.res.elapsed = m.now.Sub(start)
	if c.maxElapsed > 0 && m.res.elapsed > c.maxElapsed {
		t.Errorf("seed %d: took %v, the limit is %v", c.seed, m.res.elapsed, c.maxElapsed)
	}
	return m.res
}

// step takes the next event or timer.
func (m *sim) step() (done bool) {
	at, timer := m.s.deadline(), "sender"
	if d := m.r.deadline(); !m.r.finished && d.Before(at) {
		at, timer = d, "receiver"
	}
	if len(m.q) > 0 && !m.q[0].at.After(at) {
		e := heap.Pop(&m.q).(simEvent)
		m.now = e.at
		if e.ack {
			_, done = m.s.acked(m.now, e.wire)
		} else {
			m.receive(e)
		}
		return done
	}
	m.now = at
	if timer == "sender" {
		if !m.now.Before(m.s.timeoutAt()) {
			m.res.senderTimeouts++
		}
		if !m.s.timeout(m.now) {
			m.t.Fatalf("seed %d: the sender gave up at block %d", m.seed, m.s.base)
		}
	} else {
		if !m.r.timeout(m.now) {
			m.t.Fatalf("seed %d: the receiver gave up at block %d", m.seed, m.r.next)
		}
		m.sendAck()
	}
	return false
}

func (m *sim) sendData() {
	n, size := m.s.next, m.block
	if n == m.blocks {
		size = m.block - 1
	}
	if !m.s.sent(m.now, n == m.blocks) {
		m.res.retransmitted++
	}
	m.res.data++
	at := m.now
	if m.rate > 0 {
		if m.free.Before(at) {
			m.free = at
		}
		if m.queue > 0 && m.free.Sub(at).Seconds()*m.rate > float64(m.queue) {
			return
		}
		m.free = m.free.Add(time.Duration(float64(time.Second) / m.rate))
		at = m.free
	}
	m.post(at, simEvent{wire: uint16(n), n: size}, n)
}

func (m *sim) sendAck() {
	m.res.acks++
	n := m.r.next - 1
	m.post(m.now, simEvent{ack: true, wire: m.r.ack()}, n)
}

func (m *sim) receive(e simEvent) {
	if m.s.base == 0 && m.got == 0 && e.n == m.block && e.wire == 0 { // the OACK
		if m.r.again() {
			m.sendAck()
		}
		return
	}
	accept, ack := m.r.data(m.now, e.wire, e.n)
	if accept {
		m.got++
		if e.wire != uint16(m.got) {
			m.t.Fatalf("seed %d: block %d taken for %d", m.seed, e.wire, m.got)
		}
	}
	if ack {
		m.sendAck()
	}
}

// post puts a packet on its way, or loses it, or doubles it.
func (m *sim) post(at time.Time, e simEvent, block int64) {
	key := [2]int64{block, 0}
	if e.ack {
		key[1] = 1
	}
	if m.lose != nil && block > 0 {
		if m.copies[key]++; m.lose(e.ack, block, m.copies[key]) {
			return
		}
	}
	if m.rnd.Float64() < m.loss {
		return
	}
	for copies := 1; copies > 0; copies-- {
		if m.rnd.Float64() < m.dup {
			copies++
		}
		e.at = at.Add(m.delay)
		if m.jitter > 0 {
			e.at = e.at.Add(time.Duration(m.rnd.Int64N(int64(m.jitter))))
		}
		m.order++
		e.order = m.order
		heap.Push(&m.q, e)
	}
}

func TestPerfectNetworkSendsEverythingOnce(t *testing.T) {
	for _, window := range []int{1, 2, 7, 16, 64} {
		for _, blocks := range []int64{1, 2, 15, 16, 17, 1000} {
			for _, oack := range []bool{false, true} {
				r := simulate(t, simConfig{blocks: blocks, window: window, oack: oack, delay: time.Millisecond})
				want := blocks
				if oack {
					want++
				}
				if r.data != want {
					t.Errorf("window %d, %d blocks: %d packets sent", window, blocks, r.data)
				}
			}
		}
	}
}

// Past block 65535 the number on the wire starts again at 0.
func TestBlockNumberRollsOver(t *testing.T) {
	t.Parallel()
	for _, window := range []int{1, 16} {
		r := simulate(t, simConfig{blocks: 2*65536 + 5, window: window, delay: time.Millisecond})
		if r.retransmitted != 0 {
			t.Errorf("window %d: %d packets sent again", window, r.retransmitted)
		}
	}
	for _, window := range []int{1, 2, 64} {
		simulate(t, simConfig{
			blocks: 65536 + 70, window: window, delay: time.Millisecond, seed: uint64(window),
			// Whatever stands around the rollover is lost once.
			lose: func(ack bool, block int64, copies int) bool { return block > 65500 && block < 65570 && copies == 1 },
		})
	}
}

func TestLossDuplicatesAndReordering(t *testing.T) {
	t.Parallel()
	for seed := range uint64(45) {
		window := []int{1, 2, 4, 16, 64}[seed%5]
		simulate(t, simConfig{
			blocks: 1000, window: window, oack: seed%2 == 0, delay: 5 * time.Millisecond, seed: seed,
			loss: 0.02 * float64(seed%4), dup: 0.05 * float64(seed%3), jitter: time.Duration(seed%3) * time.Millisecond,
		})
	}
}

// A network that doubles every packet must not make anybody send data twice:
// the Sorcerer's Apprentice.
func TestNoSorcerersApprentice(t *testing.T) {
	for _, window := range []int{1, 4, 16} {
		r := simulate(t, simConfig{blocks: 500, window: window, oack: true, delay: 10 * time.Millisecond, dup: 0.5, seed: 7})
		if r.retransmitted != 0 {
			t.Errorf("window %d: %d blocks were sent again though none was lost", window, r.retransmitted)
		}
	}
	// An ACK that comes after the timeout comes twice in lock step: it ends there.
	s := newSender(time.Unix(0, 0), defaultParams(), false, time.Second, time.Minute, 5)
	now := time.Unix(0, 0)
	s.sent(now, false)
	now = s.deadline()
	if !s.timeout(now) || !s.wantsToSend() {
		t.Fatal("no retransmission")
	}
	s.sent(now, false)
	s.acked(now, 1)
	s.sent(now, false) // block 2
	if progress, _ := s.acked(now, 1); progress || s.wantsToSend() {
		t.Error("a second ACK 1 makes block 2 go out again")
	}
}

// A lost block costs one round trip, not a timeout, when the window goes on
// after it.
func TestGapIsToldAtOnce(t *testing.T) {
	c := simConfig{
		blocks: 64, window: 16, delay: 100 * time.Millisecond,
		lose: func(ack bool, block int64, copies int) bool { return !ack && block == 20 && copies == 1 },
	}
	r := simulate(t, c)
	if r.senderTimeouts != 0 || r.elapsed > 1100*time.Millisecond {
		t.Errorf("took %v with %d timeouts", r.elapsed, r.senderTimeouts)
	}
	if r.retransmitted > 13 {
		t.Errorf("%d blocks sent again, the window had 13 from the gap on", r.retransmitted)
	}
}

// The blocks behind a gap do not each tell of it.
func TestGapIsToldOnce(t *testing.T) {
	now := time.Unix(0, 0)
	r := newReceiver(now, params{blockSize: simBlock, window: 8}, time.Second, time.Minute, 5)
	acks := 0
	for _, block := range []uint16{1, 3, 4, 5, 2, 4, 5, 6} {
		if _, ack := r.data(now, block, simBlock); ack {
			r.ack()
			acks++
		}
	}
	if acks != 2 || r.next != 3 {
		t.Errorf("two gaps were told %d times, block %d is next", acks, r.next)
	}
}

// After some round trips the wait follows what was measured.
func TestRetransmissionFollowsRoundTrip(t *testing.T) {
	s := newSender(time.Unix(0, 0), defaultParams(), false, time.Second, time.Minute, 5)
	now := time.Unix(0, 0)
	for i := uint16(1); i <= 50; i++ {
		s.sent(now, false)
		now = now.Add(20 * time.Millisecond)
		s.acked(now, i)
	}
	s.sent(now, false)
	if wait := s.deadline().Sub(now); wait != minRetransmit {
		t.Errorf("at 20 ms it waits %v, want %v", wait, minRetransmit)
	}
	for i := uint16(51); i <= 100; i++ {
		now = now.Add(2 * time.Second)
		s.acked(now, i)
		s.sent(now, false)
	}
	if wait := s.deadline().Sub(now); wait < 2*time.Second || wait > 3*time.Second {
		t.Errorf("at 2 s it waits %v", wait)
	}
	waits := []time.Duration{}
	for s.timeout(now) {
		s.sent(now, false)
		waits = append(waits, s.deadline().Sub(now))
		now = s.deadline()
	}
	if len(waits) != 6 || waits[2] < waits[1] || waits[5] > maxRetransmit {
		t.Errorf("waits before giving up: %v", waits)
	}
}

// What the client asked for in the timeout option holds (RFC 2349).
func TestAgreedTimeoutHolds(t *testing.T) {
	p := defaultParams()
	p.timeout = 3 * time.Second
	now := time.Unix(0, 0)
	s := newSender(now, p, false, time.Second, time.Minute, 5)
	for i := uint16(1); i <= 10; i++ {
		s.sent(now, false)
		if wait := s.deadline().Sub(now); wait < p.timeout {
			t.Fatalf("block %d waits %v", i, wait)
		}
		s.acked(now.Add(time.Millisecond), i)
	}
}

// The total deadline holds though something comes again and again.
func TestIdleEndsATransferWithoutProgress(t *testing.T) {
	start := time.Unix(0, 0)
	s := newSender(start, defaultParams(), false, time.Second, 10*time.Second, 1000)
	s.sent(start, false)
	now := start
	for s.timeout(now) {
		for s.wantsToSend() {
			s.sent(now, false)
		}
		s.acked(now, 0)
		now = s.deadline()
	}
	if now.Sub(start) != 10*time.Second {
		t.Errorf("gave up after %v", now.Sub(start))
	}
	r := newReceiver(start, defaultParams(), time.Second, 10*time.Second, 1000)
	for now = start; r.timeout(now); now = r.deadline() {
		r.data(now, 0, simBlock)
	}
	if now.Sub(start) != 10*time.Second {
		t.Errorf("the receiver gave up after %v", now.Sub(start))
	}
}

// Over a long round trip a window a round trip goes through:
// throughput = blksize * window / round trip.
func TestThroughputOverLongRoundTrip(t *testing.T) {
	const rtt = 200 * time.Millisecond
	for _, window := range []int{1, 4, 16, 64} {
		const block = DefaultBlockSize
		blocks := int64(200 * window)
		r := simulate(t, simConfig{blocks: blocks, window: window, delay: rtt / 2})
		got := float64(blocks*block) / r.elapsed.Seconds()
		formula := float64(block*window) / rtt.Seconds()
		t.Logf("window %2d at 200 ms: %7.1f kbit/s, the formula says %7.1f", window, got*8/1000, formula*8/1000)
		if got < 0.99*formula || got > 1.01*formula {
			t.Errorf("window %d: %.0f bytes/s, want %.0f", window, got, formula)
		}
	}
}

// A client with a small socket that reads slower than the network brings gets large
// windows all the same: what is sent at once fits, and the pace finds its own.
func TestLargeWindowsArePaced(t *testing.T) {
	for _, tc := range []struct {
		block, window, socket int
		reads                 float64 // MB per second
	}{
		{8192, 64, 23, 8}, {8192, 64, 23, 40}, {1428, 64, 50, 5}, {4096, 64, 40, 1.5},
	} {
		c := simConfig{
			blocks: 64 << 20 / int64(tc.block), window: tc.window, block: tc.block, queue: tc.socket, oack: true,
			delay: 100 * time.Microsecond, rate: tc.reads * 1e6 / float64(tc.block),
		}
		r := simulate(t, c)
		share := float64(c.blocks) / c.rate / r.elapsed.Seconds()
		t.Logf("%+v: %.2f of what it can read, %d blocks sent again, %d timeouts", tc, share, r.retransmitted,
			r.senderTimeouts)
		if share < 0.5 || r.senderTimeouts > 40 {
			t.Error("want half of it at least, and no wait in most windows")
		}
	}
}
