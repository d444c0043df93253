package pdp

import (
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
)

// halfFromOrigin is a machine that was root, had the first half of 1 MiB from
// the origin, and has the other half from peer 1, which claims to hold it all.
// The whole is wrong, and peer 1 is its parent again, to be asked for its table.
func halfFromOrigin(t *testing.T) (*Machine, time.Duration, Link) {
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 1 << 20}, nil)
	for i := range 8 {
		m.Step(now, Stored{Index: i}, nil)
	}
	link := follow(t, m, now+time.Millisecond, holder())
	now += time.Second
	for i := 8; i < 16; i++ {
		m.Step(now, Stored{Link: link, Index: i}, nil)
	}
	m.Step(now, Verified{}, nil)
	link = follow(t, m, now, holder())
	if !m.repair.suspects() || m.held.Count() != 16 {
		t.Fatalf("suspect %v, holds %d", m.repair.suspects(), m.held.Count())
	}
	return m, now, link
}

// TestBytesOfTheOriginAreKept: a root whose table contradicts what the origin
// itself sent is the one that is wrong. What it sent is dropped, the rest kept.
func TestBytesOfTheOriginAreKept(t *testing.T) {
	for name, differ := range map[string][]int{"all differ": {0, 1, 2, 9}, "none differs": nil} {
		m, now, link := halfFromOrigin(t)
		m.Step(now, Compared{Link: link, Differ: differ}, nil)
		if m.held.Count() != 8 || m.held.Prefix() != 8 {
			t.Errorf("%s: holds %d, the first %d of them", name, m.held.Count(), m.held.Prefix())
		}
		if !m.el.Distrusted(now, addr(1).Addr()) {
			t.Errorf("%s: the root is still believed", name)
		}
	}
	m, now, link := halfFromOrigin(t)
	m.Step(now, Compared{Link: link, Differ: []int{9, 12}}, nil)
	if m.held.Count() != 14 || m.el.Distrusted(now, addr(1).Addr()) {
		t.Errorf("what was altered on its way is not all that is asked for again: holds %d", m.held.Count())
	}
}

// TestNoTableComes: a root that is asked for its table and sends none is the one that
// is wrong. What the origin sent is kept, and the rest comes from there.
func TestNoTableComes(t *testing.T) {
	m, now, _ := halfFromOrigin(t)
	now += m.cfg.Tree.Forget
	m.Step(now, nil, nil)
	if m.held.Count() != 8 || m.held.Prefix() != 8 || !m.el.Distrusted(now, addr(1).Addr()) {
		t.Errorf("holds %d, the first %d of them, distrusted: %v", m.held.Count(), m.held.Prefix(),
			m.el.Distrusted(now, addr(1).Addr()))
	}
}

// TestMostFromTheOrigin: where little came from peers, that is dropped at once if the
// whole is wrong; what the origin sent again counts as its own.
func TestMostFromTheOrigin(t *testing.T) {
	m, now, link := halfFromOrigin(t)
	m.Step(now, Compared{Link: link, Differ: []int{12}}, nil) // and is mended
	link = follow(t, m, now, &wire.Claim{
		Rank: wire.Rank{Complete: true, Prefix: 16}.Confirm(), Size: 1 << 20, Prefix: 16, Complete: true})
	for i := 8; i < 14; i++ {
		m.Step(now, Stored{Index: i}, nil)
	}
	m.Step(now, Stored{Link: link, Index: 12}, nil)
	if !m.held.FromOrigin(13) || m.held.Count() != 16 {
		t.Fatalf("holds %d, the 14th from the origin: %v", m.held.Count(), m.held.FromOrigin(13))
	}
	m.repair.end()
	m.Step(now, Verified{}, nil)
	if m.held.Count() != 14 || m.repair.suspects() || !m.el.Distrusted(now, addr(1).Addr()) {
		t.Errorf("holds %d, suspect %v, distrusted: %v", m.held.Count(), m.repair.suspects(),
			m.el.Distrusted(now, addr(1).Addr()))
	}
}

// TestSuspectTurnsToTheRoot: a parent that was asked for before the whole was
// found to be wrong is of no use: only the root is asked for its table.
func TestSuspectTurnsToTheRoot(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	now := time.Second
	for i := range 16 {
		m.Step(now, Stored{Link: link, Index: i}, nil)
	}
	m.Step(now, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	m.Step(now, Verified{}, nil) // while the ask is under way
	env := wire.Envelope{From: peer(1), TCPPort: wire.Port}
	dialled := Link(0)
	for _, a := range m.Step(now, Datagram{From: addr(1), Env: env,
		Msg: &wire.Place{Parent: peer(2), Addr: addr(2), Depth: 2}}, nil) {
		if d, ok := a.(Dial); ok {
			dialled = d.Link
		}
	}
	if !m.repair.suspects() || dialled == 0 {
		t.Fatalf("suspect %v, dials %d", m.repair.suspects(), dialled)
	}
	m.Step(now, Opened{Link: dialled}, nil)
	var left, asks bool
	for _, a := range m.Step(now, Framed{Link: dialled, Frame: &wire.Welcome{From: peer(2), Size: 1 << 20}}, nil) {
		switch a := a.(type) {
		case Close:
			left = left || a.Link == dialled
		case Send:
			ask, ok := a.Msg.(*wire.Ask)
			asks = asks || ok && ask.Reason == wire.ReasonDigestMismatch
		}
	}
	if !left || !asks {
		t.Errorf("left %v, asks for the root %v", left, asks)
	}
}

// TestWrongTwice: what the origin sends is wrong once more and that is all.
func TestWrongTwice(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	for range 2 {
		now := untilRoot(t, m)
		m.Step(now, OriginOpened{Size: 1 << 20}, nil)
		m.Step(now, OriginEnded{Reason: wire.ReasonOriginWrong}, nil)
	}
	if m.phase != ended {
		t.Error("a wrong file is asked for a third time")
	}
}

// TestMendedDeviceIsComplete: a device that had wrong chunks sent again holds the
// whole file once that is verified, and claims so.
func TestMendedDeviceIsComplete(t *testing.T) {
	m, link, now := suspicious(t)
	m.Step(now, Compared{Link: link, Differ: []int{3}}, nil)
	link = follow(t, m, now, holder())
	m.Step(now, Stored{Link: link, Index: 3}, nil)
	m.Step(now, Verified{OK: true}, nil)
	now += time.Second
	m.Step(now, resigned(1, 1, &wire.Resign{Reason: wire.ReasonStopped}), nil)
	m.Step(now, claimed(2, &wire.Claim{Rank: wire.Rank{Strength: 1}}), nil)
	claims := 0
	for _, a := range pass(t, m, now, now+time.Second) {
		if b, ok := a.(Broadcast); ok {
			if c, ok := b.Msg.(*wire.Claim); ok {
				claims++
				if !c.Rank.Complete || c.Rank.Prefix != 16 {
					t.Errorf("a complete device claims the rank %+v", c.Rank)
				}
			}
		}
	}
	if claims == 0 {
		t.Error("a complete device leaves the file to one without")
	}
}

// TestEmptyFileOfAPeer: a peer that tells size 0 does not make a device believe
// that it has the whole file from the origin.
func TestEmptyFileOfAPeer(t *testing.T) {
	m := newMachine(unsigned(), 1)
	attachTo(t, m, 0)
	now := time.Second
	if !m.held.verifying() {
		t.Fatal("does not take the size: the test shows nothing")
	}
	for range 3 {
		m.Step(now, Verified{}, nil)
	}
	if m.phase == ended || m.held.Known() || !m.el.Distrusted(now, addr(1).Addr()) {
		t.Errorf("ended %v, %d bytes", m.phase == ended, m.held.Size())
	}
	// The same from a parent that is not the root, which claims more.
	m = newMachine(unsigned(), 1)
	link := attachTo(t, m, load.UnknownSize)
	root := &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}
	m.Step(now, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	m.Step(now, claimed(1, root), nil)
	place := &wire.Place{Parent: peer(2), Addr: addr(2), Depth: 2}
	for _, a := range m.Step(now, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1)}, Msg: place}, nil) {
		if d, ok := a.(Dial); ok {
			link = d.Link
		}
	}
	m.Step(now, Opened{Link: link}, nil)
	out := m.Step(now, Framed{Link: link, Frame: &wire.Welcome{From: peer(2)}}, nil)
	if !slices.Contains(out, Action(Close{link, wire.ReasonWrongEpoch})) || m.held.Known() {
		t.Errorf("a parent tells another size than the root: %v, %d bytes", out, m.held.Size())
	}
}

// TestWrongByHearsay: a device that has wrong bytes of peers does not give up
// because roots say that the origin is wrong. One that has found it wrong itself
// does, without fetching the file a second time.
func TestWrongByHearsay(t *testing.T) {
	wrong := resigned(1, 1, &wire.Resign{Reason: wire.ReasonOriginWrong})
	garbage := func() *Machine {
		m := newMachine(File{Size: 1 << 20, Keyed: true}, 1)
		link := attach(t, m)
		for i := range 16 {
			m.Step(time.Second, Stored{Link: link, Index: i}, nil)
		}
		m.Step(time.Second, Verified{}, nil)
		return m
	}
	kept := func() *Machine {
		m := newMachine(File{Size: 1 << 20, Keyed: true}, 1)
		m.Step(0, Start{Prefix: 16}, nil)
		m.Step(time.Second, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}), nil)
		return m
	}
	for name, m := range map[string]*Machine{"garbage": garbage(), "kept from before": kept()} {
		for i := range 4 {
			now := time.Duration(i+1) * time.Second
			m.Step(now, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}), nil)
			m.Step(now, wrong, nil)
			m.Step(now, Verified{}, nil)
		}
		if m.phase == ended {
			t.Errorf("%s: gives up though it asked the origin for nothing", name)
		}
	}
	for _, told := range []bool{true, false} {
		m := newMachine(unsigned(), 1)
		m.Step(0, Start{}, nil)
		if told {
			m.Step(1, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}), nil)
			m.Step(1, wrong, nil)
		}
		now := untilRoot(t, m)
		m.Step(now, OriginOpened{Size: 1 << 20}, nil)
		for i := range 16 {
			m.Step(now, Stored{Index: i}, nil)
		}
		if m.Step(now, Verified{}, nil); (m.phase == ended) != told {
			t.Errorf("a root said that the origin is wrong %v: gives up %v", told, m.phase == ended)
		}
	}
}

// holder claims to be a root that holds all of 1 MiB.
func holder() *wire.Claim {
	return &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 16}.Confirm(), Size: 1 << 20, Prefix: 16, Complete: true}
}

// suspicious is a device that has found wrong all that a root sent, and has asked that for
// its table over a link.
func suspicious(t *testing.T) (*Machine, Link, time.Duration) {
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	now := time.Second
	for i := range 16 {
		m.Step(now, Stored{Link: link, Index: i}, nil)
	}
	m.Step(now, Verified{}, nil)
	return m, follow(t, m, now, holder()), now
}

// TestTurnsToAnotherHolder: a root that sends no table is left for another that has the
// file after the time in which it can be read, and is asked no longer than that.
func TestTurnsToAnotherHolder(t *testing.T) {
	m, _, now := suspicious(t)
	until := m.repair.until
	other := holder()
	other.Rank.Prefix, other.Rank.Complete = 0, false // it does not outrank the first one
	if m.Step(now+500*time.Millisecond, claimed(2, other), nil); m.el.Root().Peer != peer(1) {
		t.Error("the root has no time to read the file")
	}
	m.following.failAll(wire.ReasonParentLost) // it closes the link, and is dialed again
	if follow(t, m, now+time.Second, holder()); m.repair.until != until {
		t.Errorf("waits until %v, at first until %v", m.repair.until, until)
	}
	now += m.repair.reads() + m.cfg.Tree.AskAgain + 200*time.Millisecond
	if m.Step(now, claimed(2, other), nil); m.el.Root().Peer != peer(2) || !m.repair.wantsTable() {
		t.Errorf("follows %v, wants a table %v", m.el.Root().Peer, m.repair.wantsTable())
	}
}

// TestDoneByItself: a device that got the rest of the file from the server by itself
// says so soon, for others that are served no better.
func TestDoneByItself(t *testing.T) {
	m, link, now := starving(t)
	if !m.fallback.budget.Active() {
		t.Fatal("does not download: the test shows nothing")
	}
	m.Step(now, OriginOpened{Size: 4 << 20}, nil)
	for i := range 64 {
		m.Step(now, Stored{Index: i}, nil)
	}
	m.Step(now, Verified{OK: true}, nil)
	for until := now + m.cfg.Election.Holder; now < until; now += time.Millisecond {
		m.Step(now, nil, nil)
	}
	if !m.held.complete() || !m.IsRoot() {
		t.Errorf("complete %v, root %v, link %d", m.held.complete(), m.IsRoot(), link)
	}
}

// TestStaysForAChildThatDoubts: a device that is complete stays for a while for a child
// that found wrong what it has, and not for another time.
func TestStaysForAChildThatDoubts(t *testing.T) {
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{Prefix: 16, Complete: true}, nil)
	for i, stays := range []bool{true, false} {
		now := time.Duration(i+1) * time.Minute
		l := Link(i + 1)
		m.Step(now, Accepted{Link: l, From: addr(2), Hello: &wire.Hello{From: peer(2), Trees: 1}}, nil)
		m.Step(now, Framed{Link: l, Frame: &wire.Bye{Reason: wire.ReasonDigestMismatch}}, nil)
		if m.Idle() == stays {
			t.Errorf("time %d: idle %v", i+1, m.Idle())
		}
		later := now + m.cfg.Tree.Forget + time.Second
		pass(t, m, now, later)
		if m.Step(later, nil, nil); !m.Idle() {
			t.Errorf("time %d: never idle again", i+1)
		}
	}
}

// TestRepairEndsTheDownload: a root that fetches one wrong chunk anew takes no more of the
// body once the file is right.
func TestRepairEndsTheDownload(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	m.Step(time.Second, Stored{Link: link, Index: 0}, nil)
	m.Step(time.Second, resigned(1, 1, &wire.Resign{Reason: wire.ReasonStopped}), nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 1 << 20, From: 1}, nil)
	for i := 1; i < 16; i++ {
		m.Step(now, Stored{Index: i}, nil)
	}
	m.Step(now, OriginEnded{Size: 1 << 20}, nil)
	if out := m.Step(now, Verified{}, nil); open(out) != 0 {
		t.Fatalf("does not ask for the chunk of a peer anew: %v", out)
	}
	m.Step(now, OriginOpened{Size: 1 << 20}, nil)
	m.Step(now, Stored{Index: 0}, nil)
	if out := m.Step(now, Verified{OK: true}, nil); !slices.Contains(out, Action(StopOrigin{})) {
		t.Errorf("goes on with the body: %v", out)
	}
}

// TestNoTableOfTheRoot: a root that was asked for its table has three seconds; then it is
// distrusted, not the one that is followed by then. So is a root whose table has mended
// nothing.
func TestNoTableOfTheRoot(t *testing.T) {
	for _, answers := range []bool{false, true} {
		now := time.Second
		m, holder := fed(t, now)
		link := follow(t, m, now, holder)
		if answers {
			m.Step(now, Compared{Link: link, Differ: []int{3}}, nil)
			link = follow(t, m, now, holder)
			m.Step(now, Stored{Link: link, Index: 3}, nil)
		}
		better := *holder
		better.Rank.Strength |= 1
		m.Step(now, claimed(2, &better), nil)
		if r := m.el.Root(); r == nil || r.Peer != peer(2) {
			t.Fatal("does not follow the other one")
		}
		if answers {
			m.Step(now, Verified{}, nil)
		} else {
			now += 4 * time.Second
			m.Step(now, nil, nil)
		}
		left := 0
		if answers {
			left = 15 // its table may be right
		}
		if first, other := m.el.Distrusted(now, addr(1).Addr()), m.el.Distrusted(now, addr(2).Addr()); !first || other ||
			m.repair.suspects() || m.held.Count() != left {
			t.Errorf("answers %v: distrusts the root that was asked %v, the present one %v; holds %d chunks", answers,
				first, other, m.held.Count())
		}
	}
}

// TestRootFindsItsFileWrong: where the root was asked for its table a moment before it found
// its own file wrong, and starts over, the others wait for it and do not go to the server.
func TestRootFindsItsFileWrong(t *testing.T) {
	m, link, now := suspicious(t)
	now += 10 * time.Millisecond
	m.Step(now, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}), nil)
	if m.held.Count() != 0 || m.following.of(link) != nil {
		t.Fatalf("holds %d, attached %v", m.held.Count(), m.following.attached())
	}
	for end := now + m.cfg.Transfer.FallbackJitter; now < end; now += 10 * time.Millisecond {
		if from := open(m.Step(now, nil, nil)); from >= 0 {
			t.Fatalf("asks the server from chunk %d on", from)
		}
	}
}

// TestStepsDownBeforeItsTable: a root that sent wrong bytes and steps down before it is asked
// for its table is distrusted, whoever is root then: this device, or one that has not got
// the file yet. That one is not, and may start over once.
func TestStepsDownBeforeItsTable(t *testing.T) {
	for _, why := range []wire.Reason{wire.ReasonOriginWrong, wire.ReasonStopped, wire.ReasonYields} {
		for _, other := range []bool{false, true} {
			now := time.Second
			m, holder := fed(t, now)
			m.Step(now, resigned(1, 1, &wire.Resign{Reason: why}), nil)
			if other {
				now++
				m.Step(now, claimed(2, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}), nil)
			} else {
				now = untilRoot(t, m)
			}
			m.Step(now+1, claimed(1, holder), nil)
			if second := m.el.WasDistrusted(addr(2).Addr()); second || !m.el.WasDistrusted(addr(1).Addr()) ||
				m.repair.suspects() || m.IsRoot() == other {
				t.Errorf("%s, another is root %v: distrusts that one %v, suspects %v", why, other, second, m.repair.suspects())
			}
		}
	}
}

// TestWrongBytesAgain: a device that is sent wrong bytes for the third time goes to the
// server, whatever peers send, and takes nothing of them while it downloads.
func TestWrongBytesAgain(t *testing.T) {
	for before := range mostFooled {
		now := 100 * time.Millisecond
		m, holder := fed(t, now)
		m.repair.fooled = before
		now += m.cfg.Tree.Forget
		m.Step(now, nil, nil) // no table has come
		if m.held.Count() != 0 || !m.fallback.budget.Waiting() {
			t.Fatalf("holds %d, waits for its turn: %v", m.held.Count(), m.fallback.budget.Waiting())
		}
		link, at := Link(0), now
		m.Step(now, claimed(2, holder), nil)
		for until := now + m.cfg.Transfer.FallbackJitter; at < until && !m.origin.busy(); {
			due, _ := m.Deadline()
			at = max(at+1, due)
			out := m.Step(at, nil, nil)
			out = m.Step(at, Datagram{From: addr(2), Env: wire.Envelope{From: peer(2), TCPPort: wire.Port},
				Msg: &wire.Place{Parent: peer(2), Depth: 1}}, out)
			for _, a := range out {
				if d, ok := a.(Dial); ok {
					link = d.Link
					m.Step(at, Opened{Link: link}, nil)
					m.Step(at, Framed{Link: link, Frame: &wire.Welcome{From: peer(2), Size: 1 << 20}}, nil)
					m.Step(at, Stored{Link: link, Index: m.held.Prefix()}, nil)
				}
			}
		}
		again := before == mostFooled-1
		if link == 0 || m.origin.busy() != again {
			t.Errorf("fooled %d times before: a peer served %v; at the server %v", before, link != 0, m.origin.busy())
		}
		if again && (m.held.Count() != 0 || m.following.of(link) != nil || !m.following.all[0].waits()) {
			t.Errorf("holds %d chunks of peers, has a parent: %v, asks for one: %v", m.held.Count(),
				m.following.of(link) != nil, !m.following.all[0].waits())
		}
	}
}

// TestAlteredFromTheOrigin: chunks that a root's table showed as wrong, and that are wrong
// when the root has sent them anew, come from the origin, and nothing else does. Where
// they are more than a fourth of the file, the table is not believed.
func TestAlteredFromTheOrigin(t *testing.T) {
	for _, c := range []struct {
		differ []int
		keeps  int
	}{{[]int{3}, 15}, {[]int{3, 4, 9, 12}, 12}, {[]int{3, 4, 9, 12, 13}, 0}} {
		now := 100 * time.Millisecond
		m, holder := fed(t, now)
		m.repair.fooled = mostFooled - 1
		link := follow(t, m, now, holder)
		m.Step(now, Compared{Link: link, Differ: c.differ}, nil)
		link = follow(t, m, now, holder)
		for _, i := range c.differ {
			m.Step(now, Stored{Link: link, Index: i}, nil)
		}
		m.Step(now, Verified{}, nil)
		if m.held.Count() != c.keeps || !m.repair.doubts {
			t.Errorf("%v differ: holds %d chunks, want %d; doubts %v", c.differ, m.held.Count(), c.keeps, m.repair.doubts)
		}
		for until := now + 2*m.cfg.Transfer.FallbackJitter; now < until && !m.origin.busy(); {
			due, _ := m.Deadline()
			now = max(now+1, due)
			m.Step(now, nil, nil)
		}
		if !m.origin.busy() || m.held.Count() != c.keeps {
			t.Errorf("%v differ: at the server %v, with %d chunks, want %d", c.differ, m.origin.busy(), m.held.Count(),
				c.keeps)
		}
	}
}

// TestCorruptedParentIsNamed: a chunk that fails its digest is not relayed and
// its sender is left.
func TestCorruptedParentIsNamed(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	link := attach(t, m)
	out := m.Step(time.Second, Bad{Link: link, Index: 0}, nil)
	var closed, named bool
	for _, a := range out {
		switch a := a.(type) {
		case Close:
			closed = closed || a.Link == link && a.Reason == wire.ReasonBadChunk
		case Note:
			named = named || a.Peer.Addr() == addr(1).Addr() && a.Reason == wire.ReasonBadChunk
		case SendChunk:
			t.Error("something is relayed")
		}
	}
	if !closed || !named {
		t.Errorf("closed %v, named %v: %v", closed, named, out)
	}
}
