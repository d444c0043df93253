package pdp

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/wire"
)

// resigned is a resignation of a peer, from an address.
func resigned(i, from int, r *wire.Resign) Datagram {
	return Datagram{From: addr(from), Env: wire.Envelope{From: peer(i), TCPPort: wire.Port}, Msg: r}
}

// claimed is a claim of a peer.
func claimed(i int, c *wire.Claim) Datagram {
	return Datagram{From: addr(i), Env: wire.Envelope{From: peer(i), TCPPort: wire.Port}, Msg: c}
}

// pass lets time pass and returns what the machine does. A deadline that is
// never over fails the test.
func pass(t *testing.T, m *Machine, now, until time.Duration) (out []Action) {
	t.Helper()
	steps := 0
	for {
		at, ok := m.Deadline()
		if !ok || at > until {
			return out
		}
		if at > now {
			now, steps = at, 0
		}
		if steps++; steps > 100 {
			t.Fatalf("the deadline %v is never over", at)
		}
		out = m.Step(now, nil, out)
	}
}

// TestOneTreeServes: while the parent in one tree serves, parents that fail in
// the other are no reason to go to the server; when that ends, they are.
func TestOneTreeServes(t *testing.T) {
	m := newMachine(File{Size: 8 << 20, Signed: true, Keyed: true}, 1)
	link := attachTo(t, m, 8<<20)
	now := time.Second
	m.Step(now, nil, nil)
	m.following.trees = 2
	other := m.following.all[1].follower
	other.Root(now, peer(1), addr(1), addr(1), 0)
	for i := range 2 {
		var o follower.Output
		other.DialTo(now, peer(5+i), addr(5+i), &o)
		other.Fail(now, wire.ReasonUnreachable, &o)
	}
	if m.following.failures() < 2 {
		t.Fatalf("%d failures", m.following.failures())
	}
	m.Step(now, Stored{Link: link, Index: 0}, nil)
	if m.fallback.budget.Waiting() || m.fallback.budget.Active() {
		t.Error("goes to the server though a parent serves")
	}
	now += m.cfg.Transfer.Stall + time.Millisecond
	m.Step(now, nil, nil)
	if !m.fallback.budget.Waiting() && !m.fallback.budget.Active() {
		t.Error("waits for ever")
	}
}

// TestGivesUpForItsOwnReasons: a failure of its own and a forged word that the
// file is missing do not end the file. The device asks again itself, and what it
// hears then does.
func TestGivesUpForItsOwnReasons(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginEnded{Reason: wire.ReasonOriginOther}, nil)
	m.Step(now, claimed(1, &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 16}.Confirm(), Size: 1 << 20}), nil)
	m.Step(now, resigned(1, 1, &wire.Resign{Reason: wire.ReasonOriginNotFound, Backoff: 3600_000}), nil)
	if m.phase == ended {
		t.Fatal("gives up because of a peer's word")
	}
	if out := pass(t, m, now, now+m.cfg.Transfer.Backoff+3*time.Second); open(out) < 0 {
		t.Fatal("does not ask the origin itself within the first back-off and the jitter")
	}
	m.Step(now+4*time.Second, OriginEnded{Reason: wire.ReasonOriginNotFound}, nil)
	if m.phase != ended {
		t.Error("does not give up for what it has seen itself")
	}
}

// TestLongestBackoffs: a root that resigns with the longest back-off again and
// again does not keep a device from the origin. Bytes from there end the pause.
func TestLongestBackoffs(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	asked := false
	for now := time.Duration(0); now < 10*time.Second && !asked; now += 500 * time.Millisecond {
		out := m.Step(now, claimed(1, &wire.Claim{
			Rank: wire.Rank{Complete: true, Prefix: 16}.Confirm(), Size: 1 << 20, Prefix: 16, Complete: true}), nil)
		m.Step(now, resigned(1, 1, &wire.Resign{Reason: wire.ReasonOriginOther, Backoff: 3600_000}), nil)
		asked = open(out) >= 0 || open(pass(t, m, now, now+499*time.Millisecond)) >= 0
	}
	if !asked {
		t.Fatal("never asks the origin")
	}
	now := 11 * time.Second
	m.Step(now, OriginOpened{Size: 1 << 20}, nil)
	if m.Step(now, Stored{Index: 0}, nil); m.origin.NotBefore() > now || m.origin.Failing() {
		t.Errorf("bytes came, and the origin is left alone until %v", m.origin.NotBefore())
	}
}

// probe brings a device to where it asks the origin once: a root that has resigned
// said that the file is missing there, and the next root has no bytes.
func probe(t *testing.T) (m *Machine, now time.Duration) {
	t.Helper()
	m = newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	m.Step(0, claimed(1, &wire.Claim{Rank: wire.Rank{Strength: 9}.Confirm(), Size: 1 << 20}), nil)
	m.Step(0, resigned(1, 1, &wire.Resign{Reason: wire.ReasonOriginNotFound, Backoff: 3600_000}), nil)
	for ; now < time.Minute; now += 100 * time.Millisecond {
		m.Step(now, claimed(2, &wire.Claim{Rank: wire.Rank{Strength: 9}.Confirm(), Size: 1 << 20}), nil)
		if m.origin.use.probing() {
			m.Step(now, OriginOpened{Size: 1 << 20}, nil)
			return m, now
		}
	}
	t.Fatal("the origin is not asked")
	return nil, 0
}

// TestProbe: the first chunk of a probe from the origin ends it, and the device
// waits for its turn if there is a root, and else claims. One that has become root
// meanwhile goes on.
func TestProbe(t *testing.T) {
	m, now := probe(t)
	if out := m.Step(now, Stored{Index: 0}, nil); !stops(out) || !m.fallback.budget.Waiting() {
		t.Errorf("beside a root: stops %v, waits %v", stops(out), m.fallback.budget.Waiting())
	}
	m, now = probe(t)
	m.Step(now, resigned(2, 2, &wire.Resign{Reason: wire.ReasonParentSlow}), nil)
	if m.el.Root() != nil || !m.origin.use.probing() {
		t.Fatal("the root is still there, or the probe is not")
	}
	if out := m.Step(now, Stored{Index: 0}, nil); !stops(out) || m.fallback.budget.Waiting() {
		t.Errorf("without a root: stops %v, waits %v", stops(out), m.fallback.budget.Waiting())
	}
	m, now = probe(t)
	m.Step(now, resigned(2, 2, &wire.Resign{Reason: wire.ReasonParentSlow}), nil)
	now = untilRoot(t, m)
	if out := m.Step(now, Stored{Index: 0}, nil); stops(out) || !m.root.active() {
		t.Errorf("as root: stops %v, root %v", stops(out), m.root.active())
	}
}

// directly is what peer 3 says of its download.
func directly(d wire.Direct) Datagram {
	return Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port}, Msg: &d}
}

// TestProbeOfAnother: one device asks a server that is said to fail, and says what comes
// of it. Others wait meanwhile; one that has asked, too, goes on if it got something
// before.
func TestProbeOfAnother(t *testing.T) {
	tells := func(out []Action) (all []wire.Direct) {
		for _, a := range out {
			if b, ok := a.(Broadcast); ok {
				if d, ok := b.Msg.(*wire.Direct); ok {
					all = append(all, *d)
				}
			}
		}
		return all
	}
	for own, goesOn := range map[int64]bool{0: false, 7: true} {
		m, now := probe(t)
		told := tells(m.Step(now, OriginBytes{Bytes: own}, nil))
		if goesOn != (len(told) == 1) || goesOn && (told[0].Done || told[0].Bytes != own) {
			t.Errorf("got %d bytes: says %+v", own, told)
		}
		out := m.Step(now, directly(wire.Direct{Bytes: 9}), nil)
		told = tells(out)
		if m.origin.use.probing() != goesOn || stops(out) == goesOn || !goesOn && (len(told) != 1 || !told[0].Done) {
			t.Errorf("got %d bytes before the other: goes on %v, says %+v", own, m.origin.use.probing(), told)
		}
	}
	for _, ends := range []bool{false, true} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		root := &wire.Claim{Rank: wire.Rank{Strength: 9}.Confirm(), Size: 1 << 20, Waiting: true}
		m.Step(1, claimed(2, root), nil)
		m.Step(1, resigned(2, 2, &wire.Resign{Reason: wire.ReasonOriginNotFound, Backoff: 3600_000}), nil)
		link := follow(t, m, 1, root)
		m.Step(1, directly(wire.Direct{}), nil)
		asked, end := time.Duration(0), m.cfg.Transfer.Lapse/2
		for now := 100 * time.Millisecond; now < time.Minute && asked == 0; now += 100 * time.Millisecond {
			if now == end && ends {
				m.Step(now, directly(wire.Direct{Done: true}), nil)
			}
			m.Step(now, claimed(1, root), nil)
			m.Step(now, Framed{Link: link, Frame: &wire.Progress{}}, nil)
			if m.origin.use.probing() {
				asked = now
			}
		}
		if early := asked < m.cfg.Transfer.Lapse; asked <= end || early != ends {
			t.Errorf("the other has ended %v: asks after %v", ends, asked)
		}
	}
}

// TestStalledOriginIsAskedByTurns: a server that is said to send no more may have too
// many to send to. A device that checks takes its turn, as those do that download.
func TestStalledOriginIsAskedByTurns(t *testing.T) {
	for _, other := range []bool{false, true} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		root := &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20, Waiting: true}
		m.Step(1, claimed(2, root), nil)
		m.Step(1, resigned(2, 2, &wire.Resign{Reason: wire.ReasonOriginStalled}), nil)
		link := follow(t, m, 1, root)
		asked := false
		for now := time.Second; now < 11*time.Second && !asked; now += 500 * time.Millisecond {
			m.Step(now+1, claimed(1, root), nil)
			m.Step(now+1, Framed{Link: link, Frame: &wire.Progress{}}, nil)
			if other {
				m.Step(now+1, Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port},
					Msg: &wire.Direct{}}, nil)
			}
			asked = open(pass(t, m, now+1, now+499*time.Millisecond)) >= 0
		}
		if asked == other || m.IsRoot() {
			t.Errorf("another device downloads: %v; asks: %v, is root %v", other, asked, m.IsRoot())
		}
	}
}

// TestRootWithoutChunks: a root that says again and again that it receives bytes,
// and never has a chunk, does not keep a device from the server.
func TestRootWithoutChunks(t *testing.T) {
	m := newMachine(File{Size: 8 << 20, Signed: true, Keyed: true}, 1)
	attachTo(t, m, 8<<20)
	opened := false
	end := m.now + m.cfg.Transfer.Fallback + m.cfg.Transfer.FallbackJitter + time.Second
	for now := m.now; now < end && !opened; now += 100 * time.Millisecond {
		c := &wire.Claim{Rank: wire.Rank{Confirmed: true}, Size: 8 << 20, Bytes: int64(now / 1000), Waiting: true}
		for _, in := range []Event{Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: 1}, Msg: c}, nil} {
			for _, a := range m.Step(now, in, nil) {
				if _, ok := a.(OpenOrigin); ok {
					opened = true
				}
			}
		}
	}
	if !opened {
		t.Errorf("waits for the root until %v", end)
	}
}

// TestGateBeginsTheWait: while a file's turn has not come, nobody has any of it. A
// device does not hold that against the peers when its own turn comes.
func TestGateBeginsTheWait(t *testing.T) {
	for profile, cfg := range map[string]Config{"lan": LAN(), "classic": Classic()} {
		f := File{Size: 8 << 20, Signed: true, Keyed: true}
		m := New(cfg, Self{Peer: peer(0), Addr: addr(0)}, f, rand.New(rand.NewPCG(1, 2)))
		m.Step(0, Start{}, nil)
		m.Step(0, Gate{}, nil)
		root := &wire.Claim{Rank: wire.Rank{Strength: 1<<32 - 1, Confirmed: true}, Size: 8 << 20, Waiting: true}
		link := follow(t, m, 1, root)
		turn, opened := m.now+5*cfg.Transfer.Fallback, time.Duration(0)
		for now := m.now; now < 2*turn && opened == 0; now += 100 * time.Millisecond {
			for _, in := range []Event{claimed(1, root), Active{Link: link}, Gate{Open: now >= turn}, nil} {
				for _, a := range m.Step(now, in, nil) {
					if _, ok := a.(OpenOrigin); ok {
						opened = now
					}
				}
			}
		}
		longest := turn + cfg.Transfer.Fallback + cfg.Transfer.FallbackJitter + time.Second
		if opened < turn+cfg.Transfer.Fallback || opened > longest {
			t.Errorf("%s: asks the server at %v; its turn came at %v", profile, opened, turn)
		}
	}
}

// TestSlowLine: where a chunk takes long to come, the next one may take as long.
func TestSlowLine(t *testing.T) {
	m := newMachine(File{Size: 8 << 20, Signed: true, Keyed: true}, 1)
	link := attachTo(t, m, 8<<20)
	const chunk = 9 * time.Second
	from := m.now
	for i := range 2 {
		m.Step(from+time.Duration(i+1)*chunk, Stored{Link: link, Index: i}, nil)
	}
	now := from + 2*chunk
	m.now = now + 2*chunk - time.Second
	if m.fallback.starved() {
		t.Error("gives up before the next chunk can have come")
	}
	m.now = now + 2*chunk + time.Second
	if !m.fallback.starved() {
		t.Error("waits for ever")
	}
}

// hold plays the root of peer 1, which says that it gets bytes and serves nothing,
// for half a second, and reports whether the machine asks the origin.
func hold(t *testing.T, m *Machine, link Link, now time.Duration) bool {
	t.Helper()
	m.Step(now, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 4 << 20, Bytes: int64(now / 1000)}), nil)
	m.Step(now, Framed{Link: link, Frame: &wire.Progress{}}, nil)
	return open(pass(t, m, now, now+499*time.Millisecond)) >= 0
}

// starving returns a machine that such a root holds, and that downloads directly
// since a time that is returned too.
func starving(t *testing.T) (m *Machine, link Link, now time.Duration) {
	t.Helper()
	m = newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	link = follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Prefix: 9}.Confirm(), Size: 4 << 20})
	for now = time.Second; !hold(t, m, link, now); now += 500 * time.Millisecond {
		if now > 20*time.Second {
			t.Fatal("never goes to the server")
		}
	}
	return m, link, now + 500*time.Millisecond
}

// TestThinLineOfANewRoot: a thin line is left to a root that is new, though no chunk has come
// for longer than one takes.
func TestThinLineOfANewRoot(t *testing.T) {
	for _, i := range []int{1, 2} {
		m, _, now := starving(t)
		gets := &wire.Claim{Rank: wire.Rank{Prefix: 8 + i}.Confirm(), Size: 4 << 20, Bytes: 1}
		for _, e := range []Event{claimed(i, gets), OriginOpened{Size: 4 << 20}, OriginBytes{Bytes: 1}} {
			m.Step(now, e, nil)
		}
		left := stops(m.Step(now+time.Second, OriginBytes{Bytes: 6001}, nil))
		if !m.fallback.thin() || left != (i == 2) {
			t.Errorf("root %d: a chunk takes %v, left %v", i, m.fallback.chunkTime(), left)
		}
	}
}

// TestThinLine: a line that takes a minute for a chunk is left to the peers for as
// long as they could need for one, and then taken for good.
func TestThinLine(t *testing.T) {
	for _, rate := range []int64{1000, 100_000} {
		m, link, began := starving(t)
		now := began + 100*time.Millisecond
		m.Step(now, OriginOpened{Size: 4 << 20}, nil)
		hold(t, m, link, now)
		m.Step(now, OriginBytes{Bytes: 1}, nil)
		out := m.Step(now+time.Second, OriginBytes{Bytes: 1 + rate}, nil)
		left := stops(out)
		if left != (rate == 1000) {
			t.Fatalf("%d bytes a second: leaves the line %v", rate, left)
		}
		if !left {
			continue
		}
		now += time.Second
		chunk := m.fallback.chunkTime()
		if want := 65536 / 2 * time.Millisecond; chunk != want { // the root is said to have half of the line
			t.Errorf("a chunk takes %v, not %v", chunk, want)
		}
		again := time.Duration(0)
		for ; now < 3*chunk && again == 0; now += 500 * time.Millisecond {
			if hold(t, m, link, now) {
				again = now
			}
		}
		if again < chunk || again > 2*chunk {
			t.Fatalf("goes to the server again after %v, a chunk takes %v", again, chunk)
		}
		m.Step(now, OriginOpened{Size: 4 << 20}, nil)
		m.Step(now, OriginBytes{Bytes: 1}, nil)
		m.Step(now+time.Second, OriginBytes{Bytes: 1 + rate}, nil)
		hold(t, m, link, now+time.Second)
		if m.Step(now+2*time.Second, OriginBytes{Bytes: 1 + 2*rate}, nil); !m.fallback.budget.Active() {
			t.Error("leaves the line a second time")
		}
		// Who got nothing there believes those that download anew.
		others := Datagram{From: addr(3), Env: wire.Envelope{From: peer(3)}, Msg: &wire.Direct{Bytes: 1}}
		for end := now + 4*chunk; now < end; now += time.Second {
			m.fallback.budget.Heard(now, m.self.Peer, peer(3), addr(3), &wire.Direct{}, 9)
		}
		for stalled := range 2 {
			if m.Step(now, others, nil); m.fallback.budget.TakenBy(now, peer(3)) != (stalled == 1) {
				t.Errorf("stalled %d times: waits for the other %v", stalled, stalled == 0)
			}
			m.Step(now, OriginEnded{Reason: wire.ReasonOriginStalled}, nil)
		}
	}
}

// TestStarvingTriesOthers: a device that its root does not serve asks another root of
// lower rank, and opens a link to a device that downloads directly: each address
// once.
func TestStarvingTriesOthers(t *testing.T) {
	m, _, now := starving(t)
	other := &wire.Claim{Rank: wire.Rank{Prefix: 2}.Confirm(), Prefix: 2, Size: 4 << 20}
	m.Step(now, claimed(2, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 4 << 20}), nil)
	if r := m.el.Root(); r == nil || r.Peer != peer(1) {
		t.Fatalf("tries one that has nothing: %+v", r)
	}
	m.Step(now, claimed(2, other), nil)
	if r := m.el.Root(); r == nil || r.Peer != peer(2) {
		t.Fatalf("does not try another root: %+v", r)
	}
	if m.fallback.try(election.Candidate{Peer: peer(2), Addr: addr(2), Claim: *other}); len(m.fallback.tries.made) != 1 {
		t.Errorf("tries it again: %v", m.fallback.tries.made)
	}
	dials := func(d *wire.Direct) bool {
		out := m.Step(now, Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port}, Msg: d}, nil)
		return slices.ContainsFunc(out, func(a Action) bool { _, ok := a.(Dial); return ok })
	}
	if dials(&wire.Direct{}) {
		t.Error("dials a device that has nothing")
	}
	if !dials(&wire.Direct{Prefix: 1, Bytes: 70_000}) {
		t.Error("does not dial one that has more")
	}
	now += 5 * time.Second
	m.Step(now, nil, nil)
	if dials(&wire.Direct{Prefix: 2, Bytes: 140_000}) {
		t.Error("dials it again though it did not answer")
	}
}

// TestSlowlyServedTriesOthers: a device whose root sends a chunk now and then goes over
// to another that says it has more, and opens a link to one that downloads directly:
// each after a while, and after twice as long once more. One that is served well does
// not.
func TestSlowlyServedTriesOthers(t *testing.T) {
	served := func(each int) (m *Machine, now time.Duration) {
		m = newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		link := follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 64}.Confirm(), Size: 4 << 20,
			Prefix: 64, Complete: true})
		for now = time.Second; now <= 6*time.Second; now += 500 * time.Millisecond {
			for range each {
				m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
			}
			hold(t, m, link, now)
		}
		return m, now
	}
	other := &wire.Claim{Rank: wire.Rank{Prefix: 40}.Confirm(), Prefix: 40, Size: 4 << 20}
	direct := func(m *Machine, now time.Duration) bool {
		out := m.Step(now, Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port},
			Msg: &wire.Direct{Prefix: 50, Bytes: 70_000}}, nil)
		return slices.ContainsFunc(out, func(a Action) bool { _, ok := a.(Dial); return ok })
	}
	for each, tries := range map[int]bool{1: true, 3: false} {
		m, now := served(each)
		if direct(m, now) != tries {
			t.Errorf("%d chunks each half second: opens a link: %v", each, !tries)
		}
		if tries && direct(m, now) {
			t.Error("opens it again at once")
		}
		m, now = served(each)
		m.Step(now, claimed(2, other), nil)
		if r := m.el.Root(); r == nil || (r.Peer == peer(2)) != tries {
			t.Errorf("%d chunks each half second: follows %+v", each, r)
		}
	}
}

// TestServerWithoutRanges: where each body begins with the first chunk, what comes
// next takes as long as all that is held.
func TestServerWithoutRanges(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	at := untilRoot(t, m)
	m.Step(at, OriginOpened{Size: 1 << 20, Whole: true}, nil)
	known := m.origin.skips
	m.Step(at, Stored{Index: 0}, nil)
	if m.Step(at, OriginOpened{Size: 1 << 20, From: 1}, nil); !known || m.origin.skips {
		t.Errorf("seen to send all of it: %v; then a part: %v", known, m.origin.skips)
	}
	for _, from := range []int{0, 3} {
		m, link, now := starving(t)
		for i := range 3 {
			m.Step(now, Stored{Link: link, Index: i}, nil)
		}
		for ; !hold(t, m, link, now); now += 500 * time.Millisecond {
			if now > time.Minute {
				t.Fatal("never goes to the server again")
			}
		}
		m.Step(now, OriginOpened{Size: 4 << 20, From: from}, nil)
		m.Step(now, OriginBytes{Bytes: 1}, nil)
		m.Step(now+time.Second, OriginBytes{Bytes: 1 + 100_000}, nil)
		want := time.Duration(4-from) * 65536 * time.Second / 200_000 // the root has half of the line
		if took := m.fallback.chunkTime(); took < want-1000 || took > want+1000 {
			t.Errorf("from chunk %d on: %v, not %v", from, took, want)
		}
	}
}

// trickled returns a machine whose parent has sent a chunk a second until the machine
// goes to the server to compare, and when that was.
func trickled(t *testing.T) (m *Machine, link Link, now time.Duration) {
	t.Helper()
	m, link, now = trickle(t, File{Size: 4 << 20, Signed: true, Keyed: true}, time.Second)
	m.Step(now, OriginOpened{Size: m.held.Size(), From: m.held.Prefix()}, nil)
	return m, link, now
}

// trickle is trickled for a file of which a chunk comes each so often; the server has
// not answered yet.
func trickle(t *testing.T, f File, every time.Duration) (m *Machine, link Link, now time.Duration) {
	t.Helper()
	m = newMachine(f, 1)
	m.Step(0, Start{}, nil)
	link = follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Prefix: 64}.Confirm(), Size: f.Size})
	for now = time.Second; !hold(t, m, link, now); now += 500 * time.Millisecond {
		if now%every == 0 {
			m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
		}
		if now > 20*time.Second {
			t.Fatal("never compares with the server")
		}
	}
	if m.fallback.review.state != comparing {
		t.Fatalf("goes to the server for another reason: %v", m.fallback.review.state)
	}
	return m, link, now + 500*time.Millisecond
}

// TestReviewGoesOn: peers that send a chunk a second are left for a server that sends
// four, whatever they say; a chunk of theirs now and then does not end that.
func TestReviewGoesOn(t *testing.T) {
	m, link, now := trickled(t)
	if m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil); !m.fallback.budget.Active() {
		t.Fatal("a chunk of the parent ends the comparison")
	}
	for i := range 8 {
		now += 250 * time.Millisecond
		m.Step(now, Stored{Index: m.held.Prefix()}, nil)
		if i%4 == 1 {
			m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
		}
	}
	if !m.fallback.budget.Active() || m.fallback.review.state != satisfied {
		t.Errorf("left the server: active %v", m.fallback.budget.Active())
	}
}

// TestReviewEnds: a server that brings a chunk no sooner than peers did, and one that
// brings none in that time, is left to the others; the next comparison is later.
func TestReviewEnds(t *testing.T) {
	for _, comes := range []bool{true, false} {
		m, link, now := trickled(t)
		wait := m.fallback.review.wait
		now += 900 * time.Millisecond
		out := m.Step(now, Framed{Link: link, Frame: &wire.Progress{}}, nil)
		if comes {
			out = m.Step(now, Stored{Index: m.held.Prefix()}, out)
		} else {
			out = append(out, pass(t, m, now, now+time.Second)...)
		}
		if !stops(out) ||
			m.fallback.budget.Active() || m.fallback.review.wait != 2*wait {
			t.Errorf("a chunk comes %v: active %v, next after %v", comes, m.fallback.budget.Active(), m.fallback.review.wait)
		}
	}
}

// TestReviewIsPostponed: while another device compares, this one does not, once for
// each address.
func TestReviewIsPostponed(t *testing.T) {
	m := newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	link := follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Prefix: 64}.Confirm(), Size: 4 << 20})
	asked := time.Duration(0)
	for now := time.Second; now < 90*time.Second && asked == 0; now += 500 * time.Millisecond {
		if now%(2*time.Second) == 0 {
			m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
		}
		d := &wire.Direct{Bytes: int64(now)}
		m.Step(now, Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port}, Msg: d}, nil)
		if hold(t, m, link, now) {
			asked = now
		}
	}
	if cfg := m.cfg.Transfer; asked < cfg.Share || asked > cfg.Share+3*cfg.Fallback {
		t.Errorf("compares after %v", asked)
	}
}
