package pdp

import (
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/wire"
)

// A root that its children find too slow tells what it finds of itself, in reasons
// of their own: no child fails to take bytes, and no other root named this device.
func TestSlowRootTellsOfItself(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	out := m.Step(0, Start{}, nil)
	for !m.IsRoot() {
		at, ok := m.Deadline()
		if !ok || at > time.Minute {
			t.Fatal("it does not become root")
		}
		m.Step(at, nil, nil)
	}
	m.out = out[:0]
	m.children.fed[addr(1).Addr()] = true
	if !m.root.tooSlow(addr(1).Addr()) {
		t.Fatal("it stays root")
	}
	told := map[note.Note]wire.Reason{}
	resigned := wire.ReasonNone
	for _, a := range m.out {
		switch a := a.(type) {
		case Note:
			switch a.What.(type) {
			case note.HandsOverSlow, note.NoChildren:
				told[a.What] = a.Reason
			}
		case Broadcast:
			if r, ok := a.Msg.(*wire.Resign); ok {
				resigned = r.Reason
			}
		}
	}
	if told[note.HandsOverSlow{}] != wire.ReasonSelfSlow || told[note.NoChildren{}] != wire.ReasonHandsOver {
		t.Errorf("told %v", told)
	}
	// What others read stays as it was: the message's reason.
	if resigned != wire.ReasonParentSlow {
		t.Errorf("it resigned with %s", resigned)
	}
}

// outranked is a machine that is root, gets the file from the origin and then hears
// a claim of a higher rank.
func outranked(t *testing.T, c *wire.Claim) (*Machine, time.Duration, []Action) {
	t.Helper()
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 1 << 20}, nil)
	m.Step(now, Stored{Index: 0}, nil)
	out := m.Step(now, claimed(1, c), nil)
	if m.IsRoot() || m.el.Root() == nil {
		t.Fatal("does not follow the higher rank")
	}
	return m, now, out
}

func stops(out []Action) bool {
	return slices.ContainsFunc(out, func(a Action) bool { _, is := a.(StopOrigin); return is })
}

// TestOutrankedRootGoesOn: a root that is outranked goes on with its download until
// the other serves. If that one gives nothing, it takes the root back, with the same
// download.
func TestOutrankedRootGoesOn(t *testing.T) {
	liar := &wire.Claim{Rank: wire.Rank{Prefix: 16, Strength: 1}.Confirm(), Size: 1 << 20, Prefix: 16}
	m, now, out := outranked(t, liar)
	if stops(out) || !m.fallback.budget.Active() {
		t.Fatal("drops its download for a claim")
	}
	for i := range 3 {
		now += 600 * time.Millisecond
		out = m.Step(now, Stored{Index: 1 + i}, nil)
	}
	out = append(out, pass(t, m, now, now+time.Second)...)
	if !m.IsRoot() || stops(out) || open(out) >= 0 {
		t.Errorf("root again %v, stops %v, asks anew from %d", m.IsRoot(), stops(out), open(out))
	}
	m, now, _ = outranked(t, liar)
	m.Step(now, Stored{Index: 1}, nil)
	if !stops(m.Step(now, Stored{Link: -1, Index: 2}, nil)) || m.fallback.budget.Active() {
		t.Error("goes on though peers serve")
	}
}

// TestRootThatCatchesUp: another root that is behind, and gets bytes, is given time
// to catch up, once. Then this device goes on, and takes the root back.
func TestRootThatCatchesUp(t *testing.T) {
	behind := &wire.Claim{Rank: wire.Rank{Prefix: 1, Strength: 1}.Confirm(), Size: 1 << 20, Prefix: 1, Bytes: 1 << 18}
	m, now, out := outranked(t, behind)
	if !stops(out) || m.fallback.budget.Active() {
		t.Fatal("two roots go on beside each other")
	}
	for end := now + m.cfg.Transfer.Progress; open(out) < 0; now += 500 * time.Millisecond {
		if now > end {
			t.Fatal("waits for ever")
		}
		m.Step(now, claimed(1, behind), nil)
		out = pass(t, m, now, now+499*time.Millisecond)
	}
	m.Step(now, OriginOpened{Size: 1 << 20, From: 1}, nil)
	for i := range 3 {
		now += 600 * time.Millisecond
		out = append(out, m.Step(now, Stored{Index: 1 + i}, nil)...)
	}
	if out = append(out, pass(t, m, now, now+time.Second)...); stops(out) || !m.IsRoot() {
		t.Errorf("gives it time again: stops %v, root %v", stops(out), m.IsRoot())
	}
}

// TestRootAtTheSamePace: another root gets the file beside this device, and so has nothing
// to bring that it lacks. This device stops once the other says that it gets bytes, unless
// the server would send all that it has got again.
func TestRootAtTheSamePace(t *testing.T) {
	for _, got := range []int64{3 << 16, 3<<16 + 1} {
		for _, whole := range []bool{false, true} {
			beside := &wire.Claim{Rank: wire.Rank{Prefix: 1, Strength: 1}.Confirm(), Size: 1 << 20, Prefix: 1}
			m, now, out := outranked(t, beside)
			m.origin.skips = whole
			m.Step(now, OriginBytes{Bytes: got}, nil)
			out = append(out, m.Step(now, Stored{Index: 1}, nil)...)
			out = append(out, m.Step(now, Stored{Index: 2}, nil)...)
			out = append(out, m.Step(now, Stored{Link: -1, Index: 3}, nil)...)
			if stops(out) {
				t.Fatal("drops its download for a root that has got nothing yet")
			}
			beside.Bytes = 1 << 18
			out = m.Step(now, claimed(1, beside), nil)
			goesOn := whole && got > 3<<16
			out = append(out, m.Step(now, Stored{Index: 4}, nil)...)
			if stops(out) == goesOn || m.fallback.budget.Active() != goesOn {
				t.Errorf("%d bytes, which come again %v: stops %v", got, whole, stops(out))
			}
		}
	}
}

// TestComplaintAboutNothing: a root is too slow for a child that lacks what it holds,
// and not for one that has all of it: that one believes a liar that there is more. Who got
// no chunk of it cannot tell, in whatever name.
func TestComplaintAboutNothing(t *testing.T) {
	for _, c := range []struct {
		holds        int
		fed, resigns bool
	}{{0, true, true}, {1, true, false}, {0, false, false}} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		now := untilRoot(t, m)
		m.Step(now, OriginOpened{Size: 1 << 20}, nil)
		m.Step(now, Stored{Index: 0}, nil)
		if c.fed {
			m.Step(now, Accepted{Link: 1, From: addr(1), Hello: &wire.Hello{From: peer(1)}}, nil)
			m.Step(now, Sent{Link: 1}, nil)
		}
		m.Step(now, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port},
			Msg: &wire.Ask{Prefix: c.holds, Failed: m.self.Peer, Reason: wire.ReasonParentSlow}}, nil)
		if m.IsRoot() == c.resigns {
			t.Errorf("a complaint of one that holds %d of 1 chunk, fed %v: root %v", c.holds, c.fed, m.IsRoot())
		}
	}
}

// TestChildLeavesFromItsAddress: a root ends the link of a child that says that it has left,
// and not because another address says so in its name.
func TestChildLeavesFromItsAddress(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, Accepted{Link: 1, From: addr(1), Hello: &wire.Hello{From: peer(1)}}, nil)
	for _, from := range []int{2, 1} {
		m.Step(now, Datagram{From: addr(from), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port},
			Msg: &wire.Ask{Failed: m.self.Peer, Reason: wire.ReasonParentLost}}, nil)
		if n := m.Status().Children; n != from-1 {
			t.Errorf("word from address %d: %d children", from, n)
		}
	}
}

// TestReviewAfterAnotherRoot: a comparison that another root or a failure of the server
// ends before the server answers is made again, since this device keeps its parent.
func TestReviewAfterAnotherRoot(t *testing.T) {
	for name, end := range map[string]Event{
		"another root": claimed(2, &wire.Claim{Rank: wire.Rank{Prefix: 64, Strength: 1}.Confirm(),
			Size: 4 << 20, Prefix: 64}),
		"a failure": OriginEnded{Reason: wire.ReasonOriginUnreachable},
	} {
		m, link, now := trickle(t, File{Size: 4 << 20, Signed: true, Keyed: true}, time.Second)
		if m.Step(now, end, nil); m.fallback.budget.Active() {
			t.Fatalf("%s does not end it", name)
		}
		again := false
		for until := now + 4*m.fallback.review.wait; now < until && !again; now += 500 * time.Millisecond {
			if now%time.Second == 0 {
				m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
			}
			again = hold(t, m, link, now)
		}
		if !again {
			t.Errorf("%s: compares no more", name)
		}
	}
}

// TestSlowPeersAndAHolder: a device that peers serve slowly, and that a root with the
// whole file answers when it turns to the server, asks that root for a place.
func TestSlowPeersAndAHolder(t *testing.T) {
	m, link, now := trickled(t)
	out := m.Step(now, claimed(2, &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 64, Strength: 1}.Confirm(),
		Size: 4 << 20, Prefix: 64, Complete: true}), nil)
	out = append(out, pass(t, m, now, now+time.Second)...)
	if !stops(out) || !slices.ContainsFunc(out, func(a Action) bool { c, is := a.(Close); return is && c.Link == link }) {
		t.Error("stays with the server, or with its parent")
	}
	if !slices.ContainsFunc(out, func(a Action) bool {
		s, is := a.(Send)
		if !is || s.To != addr(2) {
			return false
		}
		ask, is := s.Msg.(*wire.Ask)
		return is && !ask.Attached
	}) {
		t.Error("asks the root for no place")
	}
}

// TestSlowDeviceAsRoot: a device that took itself for slow serves when it has become
// root. It offers itself to those that ask; to refuse them would hold them for good.
func TestSlowDeviceAsRoot(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	m.following.becomeLeaf(wire.ReasonSelfSlow)
	hello := Accepted{Link: 1, From: addr(1), Hello: &wire.Hello{From: peer(1)}}
	if m.Step(0, hello, nil); m.Status().Children != 0 {
		t.Error("a device that takes itself for slow takes a child")
	}
	now := untilRoot(t, m)
	hello.Link = 2
	if m.Step(now, hello, nil); m.Status().Children != 1 {
		t.Error("refuses a child as root")
	}
}

// TestReviewGivesWayOnce: another root ends a comparison with the server once. Roots
// that alternate would otherwise prevent every one.
func TestReviewGivesWayOnce(t *testing.T) {
	m, link, now := trickle(t, File{Size: 4 << 20, Signed: true, Keyed: true}, time.Second)
	other := func(i int) {
		m.Step(now, claimed(i, &wire.Claim{Rank: wire.Rank{Prefix: 64, Strength: uint32(i)}.Confirm(),
			Size: 4 << 20, Prefix: 64}), nil)
		if r := m.el.Root(); r == nil || r.Peer != peer(i) {
			t.Fatalf("does not follow root %d", i)
		}
	}
	if other(2); m.fallback.budget.Active() {
		t.Fatal("the root that is new has no time to serve")
	}
	again := false
	for until := now + 4*m.fallback.review.wait; now < until && !again; now += 500 * time.Millisecond {
		if now%time.Second == 0 {
			m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
		}
		again = hold(t, m, link, now)
	}
	if !again {
		t.Fatal("compares no more")
	}
	if other(3); !m.fallback.budget.Active() {
		t.Error("a third root prevents the comparison once more")
	}
	r, was := m.fallback.review, time.Second
	for state, then := range map[reviewing]time.Duration{satisfied: was, queued: was, comparing: 2 * was} {
		r.state, r.wait = state, was
		if r.drop(); r.wait != then || r.state != satisfied {
			t.Errorf("%d: the next after %v, not %v", state, r.wait, then)
		}
	}
}

// withoutPeers returns a machine whose peers have failed, one after the other.
func withoutPeers(t *testing.T) *Machine {
	t.Helper()
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	link := attach(t, m)
	for range m.cfg.Transfer.FailedPeers {
		m.Step(m.now, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
		link = placedBelow(m, 1, &wire.Welcome{From: peer(1), Size: 1 << 20})
	}
	m.Step(m.now, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	return m
}

// TestServerAgainstTheRoot: a device that went to the server because its root serves
// nothing, and gets chunks there, distrusts that root although it was never root itself.
func TestServerAgainstTheRoot(t *testing.T) {
	m := withoutPeers(t)
	asked := false
	for now := m.now; !asked && now < 5*time.Second; now += 100 * time.Millisecond {
		m.Step(now, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}), nil)
		asked = open(pass(t, m, now, now+99*time.Millisecond)) >= 0
	}
	if !asked || m.IsRoot() {
		t.Fatalf("goes to the server: %v, as root: %v", asked, m.IsRoot())
	}
	m.Step(m.now, OriginOpened{Size: 1 << 20}, nil)
	m.Step(m.now+time.Second, Stored{Index: 0}, nil)
	if m.el.Distrusted(m.now, addr(1).Addr()) {
		t.Error("one chunk says nothing yet")
	}
	if m.Step(m.now+time.Second, Stored{Index: 1}, nil); !m.el.Distrusted(m.now, addr(1).Addr()) {
		t.Error("still followed")
	}
}

// TestLeafCompares: a device that takes itself for slow compares its peers with the server
// as well. Whether it is slow is told by claims.
func TestLeafCompares(t *testing.T) {
	m := newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	link := follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Prefix: 64}.Confirm(), Size: 4 << 20})
	m.following.becomeLeaf(wire.ReasonSelfSlow)
	for now := time.Second; now < 20*time.Second; now += 500 * time.Millisecond {
		if hold(t, m, link, now) {
			return
		}
		if now%time.Second == 0 {
			m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
		}
	}
	t.Error("never compares with the server")
}

// TestTriesWhoDownloads: a device that waits to compare slow peers with the server tries
// another one that downloads from there and has more, though its own turn is put off.
func TestTriesWhoDownloads(t *testing.T) {
	m := newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	link := follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Prefix: 64}.Confirm(), Size: 4 << 20})
	now := time.Second
	for ; m.fallback.review.state != queued; now += 100 * time.Millisecond {
		if now%time.Second == 0 {
			m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
		}
		m.Step(now, Framed{Link: link, Frame: &wire.Progress{}}, nil)
		if now > 20*time.Second {
			t.Fatal("never waits for its turn")
		}
	}
	heard := func(d *wire.Direct) []Action {
		return m.Step(now, Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port}, Msg: d}, nil)
	}
	heard(&wire.Direct{})
	if m.fallback.review.state == queued {
		t.Fatal("goes on waiting: the test shows nothing")
	}
	out := heard(&wire.Direct{Done: true, Prefix: 64, Bytes: 4 << 20})
	if !slices.ContainsFunc(out, func(a Action) bool { _, is := a.(Dial); return is }) {
		t.Error("does not try who has the file now")
	}
}

// TestNoTimeWhereChunksAreSlow: without a signed table a root that is behind is given no time
// to catch up where the line takes longer for the chunks of that time than it lasts: what
// came of a chunk, or of a body without ranges, would come again.
func TestNoTimeWhereChunksAreSlow(t *testing.T) {
	for _, rate := range []int64{30_000, 1_000_000} {
		m := newMachine(File{Size: 1 << 20, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		now := untilRoot(t, m)
		m.Step(now, OriginOpened{Size: 1 << 20}, nil)
		m.Step(now, OriginBytes{Bytes: 1}, nil)
		now += 1100 * time.Millisecond
		m.Step(now, OriginBytes{Bytes: 1 + rate*11/10}, nil)
		m.Step(now, Stored{Index: 0}, nil)
		out := m.Step(now, claimed(1, &wire.Claim{Rank: wire.Rank{Prefix: 1, Strength: 1}.Confirm(), Size: 1 << 20,
			Prefix: 1, Bytes: 1 << 18}), nil)
		if m.IsRoot() {
			t.Fatal("does not follow the higher rank")
		}
		if slow := rate < 65536; stops(out) == slow {
			t.Errorf("a chunk takes %v: stops %v", m.fallback.chunkTime(), !slow)
		}
	}
}

// TestAnotherRootIsJudgedAnew: what the server brought under a root says nothing of the next
// one, once for each address.
func TestAnotherRootIsJudgedAnew(t *testing.T) {
	higher := func(i int) *wire.Claim {
		return &wire.Claim{Rank: wire.Rank{Prefix: 8, Strength: uint32(i)}.Confirm(), Size: 1 << 20, Prefix: 8}
	}
	m, now, _ := outranked(t, higher(1))
	brings := func(i int) {
		now += 900 * time.Millisecond
		m.Step(now, Stored{Index: i}, nil)
	}
	brings(1)
	m.Step(now, claimed(2, higher(2)), nil)
	if brings(2); m.el.Distrusted(now, addr(2).Addr()) {
		t.Error("distrusts a root for what came before it")
	}
	m.fallback.another(addr(2).Addr())
	if brings(3); !m.el.Distrusted(now, addr(2).Addr()) {
		t.Error("believes a root that brings nothing")
	}
}

// TestWaitsForAnotherRoot: a device that waits for its turn at the server waits for a root
// that it comes to follow, once for each address.
func TestWaitsForAnotherRoot(t *testing.T) {
	m := withoutPeers(t)
	if !m.fallback.budget.Waiting() {
		t.Fatal("does not wait for its turn: the test shows nothing")
	}
	other := claimed(2, &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 16}.Confirm(), Size: 1 << 20, Prefix: 16,
		Complete: true})
	began := m.now
	m.Step(began, other, nil)
	if m.el.Root() == nil || m.el.Root().Peer != peer(2) || m.fallback.budget.Waiting() {
		t.Fatalf("follows %v, waits for the server %v", m.el.Root(), m.fallback.budget.Waiting())
	}
	for now := began; !m.origin.busy(); now += 100 * time.Millisecond {
		if now > began+10*time.Second {
			t.Fatal("waits for ever")
		}
		m.Step(now, other, nil)
		m.Step(now, Datagram{From: addr(2), Env: wire.Envelope{From: peer(2), TCPPort: wire.Port},
			Msg: &wire.Place{Wait: 100, Trees: 1}}, nil)
		pass(t, m, now, now+99*time.Millisecond)
	}
	if waited := m.now - began; waited < m.cfg.Transfer.CatchUp {
		t.Errorf("the root has %v", waited)
	}
}

// TestJoinsTheTreeThatServes: a device that has all of one stripe takes the rest from the
// parent that sent it, once, if the parent in the other tree would take long.
func TestJoinsTheTreeThatServes(t *testing.T) {
	for _, sent := range []int{0, 1, 60} {
		m := newMachine(File{Size: 8 << 20, Signed: true, Keyed: true}, 1)
		links := [2]Link{attachTo(t, m, 8<<20)}
		now := m.now
		m.following.trees = 2
		slow := m.following.all[1]
		slow.follower.Root(now, peer(1), addr(1), addr(1), 0)
		slow.dialTo(peer(2), addr(2))
		_, _, links[1] = slow.follower.Parent()
		m.Step(now, Opened{Link: links[1]}, nil)
		m.Step(now, Framed{Link: links[1], Frame: &wire.Welcome{From: peer(2), Size: 8 << 20}}, nil)
		for i := range 64 {
			m.Step(now, Stored{Link: links[0], Index: 2 * i}, nil)
		}
		for i := range sent {
			m.Step(now, Stored{Link: links[1], Index: 2*i + 1}, nil)
		}
		var out []Action
		for end := now + m.cfg.Transfer.SlowWindow + time.Second; now < end; now += 100 * time.Millisecond {
			for _, l := range links {
				out = append(out, m.Step(now, Framed{Link: l, Frame: &wire.Progress{}}, nil)...)
			}
			out = append(out, pass(t, m, now, now+99*time.Millisecond)...)
		}
		dials := slices.ContainsFunc(out, func(a Action) bool { d, is := a.(Dial); return is && d.Addr == addr(1) })
		if long := sent < 60; dials != long {
			t.Errorf("%d of 64 chunks came: joins the other parent %v", sent, dials)
		}
	}
}

// TestSaysItIsTheRoot: a root is blamed for serving nothing only if it says itself, from
// its own address, that it has what the follower lacks.
func TestSaysItIsTheRoot(t *testing.T) {
	for from, blamed := range map[int]bool{1: true, 2: false} {
		m := newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		c := wire.Claim{Rank: wire.Rank{Strength: 9}.Confirm(), Size: 4 << 20}
		link := follow(t, m, 1, &c)
		for now := time.Second; now < 15*time.Second && m.el.Root() != nil; now += 100 * time.Millisecond {
			c.Bytes += 10_000 // it gets something
			told := c
			if told.Prefix = 3; from != 1 {
				told.Rank = wire.Rank{Strength: 9} // else that would be another root
			}
			said := claimed(1, &told)
			said.From = addr(from)
			m.Step(now, claimed(1, &c), nil)
			m.Step(now, said, nil)
			m.Step(now, Framed{Link: link, Frame: &wire.Progress{}}, nil)
			pass(t, m, now, now+99*time.Millisecond)
		}
		if got := m.el.WasDistrusted(addr(1).Addr()); got != blamed {
			t.Errorf("said from address %d: the root is distrusted %v", from, got)
		}
	}
}

// TestRival: a root dials another that it has distrusted, if that downloads and has more, and
// gives way once it has what that said; where nothing shows what is served, it does not.
func TestRival(t *testing.T) {
	rival := func(prefix int, bytes int64) *wire.Claim {
		return &wire.Claim{Rank: wire.Rank{Strength: 1}.Confirm(), Size: 8 << 20, Prefix: prefix, Bytes: bytes}
	}
	root := func(f File) (*Machine, time.Duration) {
		m := newMachine(f, 1)
		m.Step(0, Start{}, nil)
		now := untilRoot(t, m)
		m.Step(now, OriginOpened{Size: 8 << 20}, nil)
		for i := range 2 {
			m.Step(now, Stored{Index: i}, nil)
		}
		m.following.distrust(addr(1), wire.ReasonRootStalled)
		return m, now
	}
	dialed := func(out []Action) (l Link) {
		for _, a := range out {
			if d, ok := a.(Dial); ok && d.Addr == addr(1) {
				l = d.Link
			}
		}
		return l
	}
	signed := File{Size: 8 << 20, Signed: true, Keyed: true}
	for what, c := range map[string]struct {
		f     File
		claim *wire.Claim
	}{
		"of an unsigned file": {unsigned(), rival(5, 1<<20)},
		"without bytes":       {signed, rival(5, 0)},
		"that has no more":    {signed, rival(2, 1<<20)},
	} {
		if m, now := root(c.f); dialed(m.Step(now, claimed(1, c.claim), nil)) != 0 {
			t.Errorf("dials a rival %s", what)
		}
	}
	m, now := root(signed)
	l := dialed(m.Step(now, claimed(1, rival(5, 1<<20)), nil))
	if l == 0 {
		t.Fatal("does not dial its rival")
	}
	m.Step(now, Opened{Link: l}, nil)
	m.Step(now, Framed{Link: l, Frame: &wire.Welcome{From: peer(1), Size: 8 << 20}}, nil)
	now += time.Second
	if dialed(m.Step(now, claimed(1, rival(6, 2<<20)), nil)) != 0 {
		t.Error("dials it again at once")
	}
	for i := 2; i < 5; i++ {
		if !m.IsRoot() {
			t.Errorf("gives way with %d chunks", i)
		}
		m.Step(now+1, Stored{Link: l, Index: i}, nil)
		m.Step(now+1, claimed(1, rival(6, 2<<20)), nil)
	}
	if r := m.el.Root(); r == nil || r.Peer != peer(1) {
		t.Fatalf("does not give way to a rival that serves: %v", m.el.State())
	}
	if _, _, link := m.following.all[0].follower.Parent(); link != l {
		t.Error("leaves the parent that served it")
	}
}

// TestRivalThatDoesNotServe: a root leaves a rival that sends nothing, keeps its children and
// does not take itself to be slow.
func TestRivalThatDoesNotServe(t *testing.T) {
	m := newMachine(File{Size: 8 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 8 << 20}, nil)
	m.Step(now, Accepted{Link: 1, From: addr(9), Hello: &wire.Hello{From: peer(9), Trees: 1}}, nil)
	for i := range 3 {
		link := Link(0)
		m.following.distrust(addr(i+1), wire.ReasonRootStalled)
		c := &wire.Claim{Rank: wire.Rank{Strength: 1}.Confirm(), Size: 8 << 20, Prefix: 50, Bytes: 1 << 20}
		for _, a := range m.Step(now, claimed(i+1, c), nil) {
			if d, ok := a.(Dial); ok {
				link = d.Link
				m.Step(now, Opened{Link: link}, nil)
				m.Step(now, Framed{Link: link, Frame: &wire.Welcome{From: peer(i + 1), Size: 8 << 20}}, nil)
			}
		}
		if link == 0 {
			t.Fatal("does not dial it: the test shows nothing")
		}
		for range 20 {
			now += 500 * time.Millisecond
			m.Step(now, Stored{Index: m.held.Count()}, nil)
			m.Step(now, Framed{Link: 1, Frame: &wire.Report{Prefix: m.held.Prefix()}}, nil)
			m.Step(now, Framed{Link: link, Frame: &wire.Progress{Prefix: 50, RootPrefix: 50}}, nil)
		}
		if p, _, _ := m.following.all[0].follower.Parent(); !p.IsZero() {
			t.Errorf("rival %d: stays below it", i+1)
		}
	}
	if !m.IsRoot() || m.following.slow.leaf() {
		t.Errorf("is root %v, slow %v", m.IsRoot(), m.following.slow.leaf())
	}
}
