package pdp

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// TestAnyInput throws anything at a machine: it neither panics nor spins, has
// at most two children in a tree, and relays only what it holds and the child
// wants.
func TestAnyInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := File{Size: []int64{0, 1, 1 << 20, load.UnknownSize}[rapid.IntRange(0, 3).Draw(t, "size")],
			Signed: rapid.Bool().Draw(t, "signed"), Keyed: rapid.Bool().Draw(t, "keyed")}
		m := newMachine(f, rapid.Uint64().Draw(t, "seed"))
		c := &chaos{t: t, m: m, held: map[int]bool{}, children: map[Link]transfer.Set{}}
		c.step(Start{})
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			c.now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
			c.step(c.event())
			for range 20 {
				at, ok := m.Deadline()
				if !ok || at > c.now {
					break
				}
				c.step(nil)
			}
			if at, ok := m.Deadline(); ok && at <= c.now {
				t.Fatalf("the deadline %v stays in the past at %v: %v", at, c.now, m.Status())
			}
		}
	})
}

type chaos struct {
	t        *rapid.T
	m        *Machine
	now      time.Duration
	held     map[int]bool
	children map[Link]transfer.Set
	accepted Link
}

func (c *chaos) step(in Event) {
	if s, ok := in.(Stored); ok {
		c.held[s.Index] = true
	}
	for _, a := range c.m.Step(c.now, in, nil) {
		switch a := a.(type) {
		case Reset:
			clear(c.held)
		case Drop:
			for _, i := range a.Indices {
				delete(c.held, i)
			}
		case SendFrame:
			if _, ok := a.Frame.(*wire.Welcome); ok {
				if acc, ok := in.(Accepted); ok && acc.Link == a.Link {
					c.children[a.Link] = transfer.SetOf(acc.Hello.Stripe, acc.Hello.Trees)
				}
			}
		case Close:
			delete(c.children, a.Link)
		case SendChunk:
			if !c.held[a.Index] {
				c.t.Fatalf("relays chunk %d, which was never stored", a.Index)
			}
			if set, open := c.children[a.Link]; open && !set.Has(uint8(a.Index%wire.MaxStripes)) {
				c.t.Fatalf("relays chunk %d to a child that wants the stripes %b", a.Index, set)
			}
		}
	}
	if cl, ok := in.(Closed); ok {
		delete(c.children, cl.Link)
	}
	for s := range uint8(wire.MaxStripes) {
		n := 0
		for _, set := range c.children {
			if set.Has(s) {
				n++
			}
		}
		if n > wire.MaxChildren {
			c.t.Fatalf("%d children in tree %d", n, s)
		}
	}
}

func (c *chaos) event() Event {
	t := c.t
	i := rapid.IntRange(0, 4).Draw(t, "peer")
	link := Link(rapid.IntRange(-6, 6).Draw(t, "link"))
	n := rapid.IntRange(0, 20).Draw(t, "n")
	flag := rapid.Bool().Draw(t, "flag")
	why := wire.Reason(rapid.IntRange(0, 60).Draw(t, "why"))
	size := []int64{load.UnknownSize, 0, 1, 1 << 20, 1 << 30}[rapid.IntRange(0, 4).Draw(t, "bytes")]
	switch rapid.IntRange(0, 17).Draw(t, "what") {
	case 0, 1, 2, 3:
		return Datagram{From: addr(i), Env: wire.Envelope{From: peer(i), TCPPort: wire.Port},
			Msg: c.message(i, n, size, flag, why)}
	case 4:
		c.accepted++ // drivers use no number twice
		return Accepted{Link: c.accepted, From: addr(i), Hello: &wire.Hello{
			From: peer(i), Prefix: n, Epoch: uint64(n), Stripe: c.stripe(), Trees: c.trees()}}
	case 5:
		return Opened{Link: link}
	case 6, 7:
		return Framed{Link: link, Frame: c.frame(i, n, size, flag, why)}
	case 8:
		return Stored{Link: link, Index: n}
	case 9:
		return Bad{Link: link, Index: n}
	case 10:
		return Sent{Link: link}
	case 11:
		return Closed{Link: link, Reason: why}
	case 12:
		return OriginOpened{Size: size, Epoch: uint64(n), From: n}
	case 13:
		return OriginBytes{Bytes: int64(n)}
	case 14:
		return OriginEnded{Reason: why, Size: size}
	case 15:
		return Verified{OK: flag}
	case 16:
		return Compared{Link: link, Differ: []int{n}}
	}
	return Gate{Open: flag}
}

func (c *chaos) stripe() uint8 {
	return uint8(rapid.IntRange(0, wire.MaxStripes-1).Draw(c.t, "stripe"))
}

func (c *chaos) trees() uint8 { return uint8(rapid.IntRange(0, wire.MaxStripes).Draw(c.t, "trees")) }

func (c *chaos) message(i, n int, size int64, flag bool, why wire.Reason) wire.Message {
	switch rapid.IntRange(0, 4).Draw(c.t, "message") {
	case 0:
		r := wire.Rank{Prefix: n, Strength: uint32(n), Complete: n == 7}
		if flag {
			r = r.Confirm()
		}
		return &wire.Claim{Rank: r, Prefix: n, Bytes: int64(n), Size: size, Complete: n == 9, Epoch: uint64(n % 3),
			Spread: uint16(n)}
	case 1:
		return &wire.Ask{Stripe: c.stripe(), Trees: c.trees(), Attached: flag, Done: n == 5, Free: 2, Prefix: n,
			Failed: peer(n % 5), Reason: why, Parent: peer(n % 4)}
	case 2:
		return &wire.Place{Stripe: c.stripe(), Trees: c.trees(), Parent: peer(n % 5), Addr: addr(n % 5), Wait: uint16(n)}
	case 3:
		return &wire.Resign{Reason: why, Successor: peer(n % 3), Backoff: uint32(n) * 1000}
	}
	return &wire.Direct{Reason: why, Done: flag, Prefix: n, Bytes: int64(n)}
}

func (c *chaos) frame(i, n int, size int64, flag bool, why wire.Reason) wire.Frame {
	switch rapid.IntRange(0, 7).Draw(c.t, "frame") {
	case 0:
		return &wire.Welcome{From: peer(i), Size: size, Epoch: uint64(n % 3)}
	case 1:
		return &wire.Refuse{Reason: why}
	case 2:
		return &wire.Progress{Prefix: n, RootPrefix: 2 * n, RootBytes: int64(n)}
	case 3:
		return &wire.Path{Peers: []wire.Peer{peer(n % 5), peer(i)}}
	case 4:
		return &wire.End{Size: max(size, 0)}
	case 5:
		return &wire.Report{Prefix: n, Complete: flag}
	case 6:
		return &wire.TableAsk{}
	}
	return &wire.Bye{Reason: why}
}

// TestBarrenRoot: a root that said that it had more and served nothing outranks no
// other any more for a while, neither one that is followed nor this device. Where files are
// passed on whole, only one that has all of it could have served.
func TestBarrenRoot(t *testing.T) {
	for _, c := range []struct{ whole, complete, served, again bool }{{}, {served: true, again: true},
		{whole: true, again: true}, {whole: true, complete: true}} {
		m := newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		rank := func(strength uint32) *wire.Claim {
			return &wire.Claim{Rank: wire.Rank{Complete: c.complete, Prefix: 64, Strength: strength}.Confirm(), Size: 4 << 20,
				Prefix: 64, Complete: c.complete}
		}
		link, now := follow(t, m, 1, rank(1)), 3*time.Second
		m.cfg.Transfer.WholeFiles = c.whole
		m.Step(now, claimed(1, rank(1)), nil)
		if c.served {
			m.Step(now, Stored{Link: link}, nil)
		}
		m.Step(now, claimed(2, rank(2)), nil)
		if r := m.el.Root(); r == nil || r.Peer != peer(2) {
			t.Fatal("does not follow the higher rank: the test shows nothing")
		}
		m.Step(now, claimed(1, rank(1<<30)), nil)
		if r := m.el.Root(); (r != nil && r.Peer == peer(1)) != c.again {
			t.Errorf("%+v: follows %v again", c, r)
		}
		now += m.cfg.Election.Distrust
		if m.following.roots.isBarren(now, addr(1).Addr()) {
			t.Error("is barren for ever")
		}
	}
}

// TestLeavesForAHolder: a device leaves a parent that trickles for a root that says it has
// the whole file, once; not if the parent serves well, or if this root has named it or
// served nothing, nor if the device is slow itself.
func TestLeavesForAHolder(t *testing.T) {
	holder := wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 64, Strength: 1}.Confirm(), Size: 4 << 20,
		Prefix: 64, Complete: true}
	part := holder
	part.Complete = false
	for name, c := range map[string]struct {
		each   int // chunks in each half second
		placer int // who named the parent, 0: nobody
		but    func(m *Machine)
		leaves bool
	}{
		"slow parent": {1, 1, nil, true},
		"own choice":  {1, 0, nil, true},
		"fast parent": {6, 1, nil, false},
		"no chunk":    {0, 1, nil, true},
		"named it":    {1, 2, nil, false},
		"was full":    {1, 1, func(m *Machine) { m.fallback.noteTry(addr(2).Addr()) }, true},
		"slow device": {1, 1, func(m *Machine) { m.following.becomeLeaf(wire.ReasonSelfSlow) }, false},
		"served nothing": {1, 1, func(m *Machine) {
			for i := 1; i <= 2; i++ {
				m.following.roots.barren[addr(i).Addr()] = time.Minute
			}
		}, false},
	} {
		m, link := namedBy(t, c.placer)
		now := m.now + time.Second
		for end := now + 3*time.Second; now <= end; now += 500 * time.Millisecond {
			for range c.each {
				m.Step(now, Stored{Link: link, Index: m.held.Prefix()}, nil)
			}
			hold(t, m, link, now)
		}
		if c.but != nil {
			c.but(m)
		}
		if m.fallback.leaves(&election.Candidate{Addr: addr(3), Claim: part}) {
			t.Errorf("%s: leaves for a root without the whole file", name)
		}
		left := func(now time.Duration) bool {
			out := m.Step(now, claimed(2, &holder), nil)
			return slices.ContainsFunc(out, func(a Action) bool { c, is := a.(Close); return is && c.Link < 0 })
		}
		if is := left(now); is != c.leaves || m.el.Root().Peer != peer(2) {
			t.Errorf("%s: leaves its parent: %v; follows %v", name, is, m.el.Root().Peer)
		}
		if c.leaves && m.fallback.leaves(m.el.Root()) {
			t.Errorf("%s: leaves the next parent too", name)
		}
	}
}

// namedBy returns a machine that follows peer 1, and has it as its parent because a peer
// named it, or by its own choice if that is 0.
func namedBy(t *testing.T, placer int) (*Machine, Link) {
	t.Helper()
	m := newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	link := follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Prefix: 64}.Confirm(), Size: 4 << 20})
	s, now := m.following.all[0], m.now
	switch placer {
	case 0:
		s.leave(wire.ReasonNone)
		s.dialTo(peer(1), addr(1))
	case 2:
		s.fail(wire.ReasonNone)
		s.follower.Root(now, peer(2), addr(2), addr(2), 0)
		s.placed(peer(2), &wire.Place{Parent: peer(1), Addr: addr(1), Depth: 1})
		s.follower.Root(now, peer(1), addr(1), addr(1), 0)
	}
	if placer != 1 {
		_, _, link = s.follower.Parent()
		m.Step(now, Opened{Link: link}, nil)
		m.Step(now, Framed{Link: link, Frame: &wire.Welcome{From: peer(1), Size: 4 << 20}}, nil)
	}
	if s.follower.State() != follower.Attached {
		t.Fatal("not attached")
	}
	return m, link
}

// fed returns a machine that has all of 1 MiB from peer 1, its root, and has found that the
// whole is wrong.
func fed(t *testing.T, now time.Duration) (*Machine, *wire.Claim) {
	t.Helper()
	holder := &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 16}.Confirm(), Size: 1 << 20, Prefix: 16, Complete: true}
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{}, nil)
	link := follow(t, m, 1, holder)
	for i := range 16 {
		m.Step(now, Stored{Link: link, Index: i}, nil)
	}
	m.Step(now, Verified{}, nil)
	if !m.repair.wantsTable() {
		t.Fatal("believes what it holds")
	}
	return m, holder
}

// TestLeavesLater: a parent that begins to trickle is left for a root that said once, before
// that, that it has the whole file.
func TestLeavesLater(t *testing.T) {
	m, link := namedBy(t, 1)
	now := m.now + time.Second
	m.Step(now, claimed(2, &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 64, Strength: 1}.Confirm(), Size: 4 << 20,
		Prefix: 64, Complete: true}), nil)
	left := false
	for end := now + m.cfg.Transfer.Fallback/2; now < end && !left; now += 500 * time.Millisecond {
		m.Step(now, Framed{Link: link, Frame: &wire.Progress{}}, nil)
		out := pass(t, m, now, now+499*time.Millisecond)
		left = slices.ContainsFunc(out, func(a Action) bool { c, is := a.(Close); return is && c.Link == link })
	}
	if !left || m.el.Distrusted(now, addr(2).Addr()) {
		t.Errorf("leaves the parent: %v; distrusts the root: %v", left, m.el.Distrusted(now, addr(2).Addr()))
	}
}

// TestNoFaultOfThisRoot: a device that no peer served for long leaves a parent that an
// earlier root named, once, before it distrusts a root that has more than it.
func TestNoFaultOfThisRoot(t *testing.T) {
	for _, prefix := range []int{64, 8} {
		m, link := namedBy(t, 1)
		claim := &wire.Claim{Rank: wire.Rank{Strength: 1}.Confirm(), Size: 4 << 20, Prefix: prefix,
			Bytes: int64(prefix) << 16}
		left, now := time.Duration(0), m.now+time.Second
		for ; left == 0 && now < 20*time.Second; now += 500 * time.Millisecond {
			claim.Bytes += m.cfg.Transfer.RootBytes
			m.Step(now, claimed(2, claim), nil)
			m.Step(now, Framed{Link: link, Frame: &wire.Progress{}}, nil)
			out := pass(t, m, now, now+499*time.Millisecond)
			if slices.ContainsFunc(out, func(a Action) bool { c, is := a.(Close); return is && c.Link == link }) ||
				m.el.Distrusted(now, addr(2).Addr()) {
				left = now
			}
		}
		if distrusts := m.el.Distrusted(now, addr(2).Addr()); left == 0 || distrusts {
			t.Errorf("prefix %d: leaves the parent at %v, distrusts the root: %v", prefix, left, distrusts)
		}
		if m.following.leaveOthers(addr(2).Addr()) {
			t.Error("leaves the next parent too")
		}
	}
}

// TestTimeOnce: a root that gets bytes is given time to catch up, if it is followed for no
// longer than that time, or a peer has sent a chunk since, and holds what its rank is for; and
// one of several roots, until a peer has.
func TestTimeOnce(t *testing.T) {
	behind := wire.Claim{Rank: wire.Rank{Prefix: 1, Strength: 1}.Confirm(), Size: 1 << 20, Prefix: 1}
	gets := behind
	gets.Bytes = 1 << 18
	for _, c := range []struct {
		late, prefix int
		given        bool
	}{{0, 0, false}, {1, 1, false}, {0, 1, true}} {
		m, now, _ := outranked(t, &behind)
		gets.Prefix = c.prefix
		m.Step(now+m.cfg.Transfer.CatchUp+time.Duration(c.late), claimed(1, &gets), nil)
		if m.fallback.spare(m.el.Root()) != c.given {
			t.Errorf("%d ns later than it has time, %d chunks: is given it: %v", c.late, c.prefix, !c.given)
		}
	}
	m, now, _ := outranked(t, &gets)
	gets.Rank.Strength |= 2
	m.Step(now, claimed(2, &gets), nil)
	r := m.el.Root()
	if r == nil || r.Peer != peer(2) {
		t.Fatal("does not follow the other one")
	}
	if m.fallback.spare(r) {
		t.Error("two roots are given it, and nobody has sent a chunk")
	}
	m.Step(now+1, Stored{Link: -1, Index: 2}, nil)
	if !m.fallback.spare(r) {
		t.Error("is given no time though peers serve")
	}
}

// TestCrowdedLine: a device whose downloads stall after some bytes gives up after the third,
// but not while another one says that it gets bytes, too.
func TestCrowdedLine(t *testing.T) {
	for _, c := range []struct {
		bytes, others int64
		gives         bool
	}{{1460, 0, true}, {1460, 1460, false}, {0, 1460, true}} {
		m, _, now := starving(t)
		for range m.cfg.Transfer.Attempts {
			for end := now + m.cfg.Transfer.BackoffMax; !m.origin.busy() && now < end; now += time.Second {
				pass(t, m, now, now+time.Second-1)
			}
			if c.others > 0 {
				m.Step(now, Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port},
					Msg: &wire.Direct{Bytes: c.others}}, nil)
				m.origin.use = asked // it would give way to the other one
			}
			m.Step(now, OriginBytes{Bytes: c.bytes}, nil)
			m.Step(now, OriginEnded{Reason: wire.ReasonOriginStalled}, nil)
		}
		if gives := m.phase == ended; gives != c.gives {
			t.Errorf("%d bytes came, another has %d: gives up %v", c.bytes, c.others, gives)
		}
	}
}

// TestIdleChildGivesWay: a child that takes nothing for a second and a half gives its slot
// to a device that asks for one, and to nobody else.
func TestIdleChildGivesWay(t *testing.T) {
	for _, asks := range []bool{false, true} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{Prefix: 16, Complete: true}, nil)
		join := func(now time.Duration, i int) (taken bool) {
			out := m.Step(now, Accepted{Link: Link(i), From: addr(i), Hello: &wire.Hello{From: peer(i)}}, nil)
			return slices.ContainsFunc(out, func(a Action) bool {
				f, is := a.(SendFrame)
				if !is {
					return false
				}
				_, is = f.Frame.(*wire.Welcome)
				return is
			})
		}
		now := time.Second
		for i := 1; i <= wire.MaxChildren; i++ {
			join(now, i)
		}
		now += m.cfg.Transfer.Silence
		m.Step(now, Sent{Link: 2}, nil)
		if join(now, 3) {
			t.Error("a child loses its slot that was idle for no longer than the silence that is borne")
		}
		now++
		if asks && (!join(now, 4) || join(now, 5)) {
			t.Error("an idle child keeps its slot, or one that takes chunks loses it")
		}
		if n := m.Status().Children; n != wire.MaxChildren {
			t.Errorf("asked %v: %d children", asks, n)
		}
	}
}

// TestIdleChildAtTheRoot: an ask for a place gets that of an idle child.
func TestIdleChildAtTheRoot(t *testing.T) {
	for _, idle := range []bool{false, true} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		now := untilRoot(t, m)
		for i := 1; i <= wire.MaxChildren; i++ {
			m.Step(now, Accepted{Link: Link(i), From: addr(i), Hello: &wire.Hello{From: peer(i)}}, nil)
		}
		m.Step(now, Stored{Index: 0}, nil)
		if now += m.cfg.Transfer.Silence; idle {
			now++
		}
		out := m.Step(now, Datagram{From: addr(7), Env: wire.Envelope{From: peer(7), TCPPort: wire.Port},
			Msg: &wire.Ask{Free: 2}}, nil)
		gone := slices.ContainsFunc(out, func(a Action) bool { _, is := a.(Close); return is })
		if gone != idle {
			t.Errorf("idle %v: a child gives way: %v", idle, gone)
		}
	}
}

// TestGivesTheRootsSlotBack: a device that has one stripe again after a repair gives its
// slot at the root back if it has none for the other stripe, and takes none meanwhile:
// two such devices would each hold what the other one waits for.
func TestGivesTheRootsSlotBack(t *testing.T) {
	for _, mends := range []bool{true, false} {
		m := newMachine(File{Size: 1 << 20, Keyed: true}, 1)
		link := attachTo(t, m, 1<<20)
		now, first, second := m.now, m.following.all[0], m.following.all[1]
		m.following.trees = 2
		second.follower.Root(now, peer(1), addr(1), addr(1), 0)
		if mends {
			m.repair.suspicion, m.repair.since, m.repair.until = mended, now, now+time.Minute
		}
		for i := 0; i < 16; i += 2 {
			m.Step(now, Stored{Link: link, Index: i}, nil)
		}
		m.Step(now+1, nil, nil)
		if left := m.following.of(link) == nil; left != mends || first.waits() != mends || second.waits() {
			t.Errorf("mends %v: gives the slot back %v, asks for none %v, nor for the other stripe %v", mends, left,
				first.waits(), second.waits())
		}
		m.Step(now+1, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port},
			Msg: &wire.Place{Parent: peer(1), Trees: 2}}, nil)
		if mends && first.follower.State() != follower.Asking {
			t.Error("takes a slot that it does not need")
		}
	}
}

// TestFullParentIsTriedAsRoot: a peer that was tried by a link was tried as a root, too, but
// for one that was full.
func TestFullParentIsTriedAsRoot(t *testing.T) {
	for _, why := range []wire.Reason{wire.ReasonNone, wire.ReasonFull, wire.ReasonNotYet} {
		m := newMachine(unsigned(), 1)
		attachTo(t, m, 1<<20)
		now := m.cfg.Transfer.Fallback / 2
		m.Step(now, nil, nil)
		var link Link
		direct := Datagram{From: addr(2), Env: wire.Envelope{From: peer(2), TCPPort: wire.Port},
			Msg: &wire.Direct{Reason: wire.ReasonNoProgress, Prefix: 8, Bytes: 1 << 19}}
		for _, a := range m.Step(now, direct, nil) {
			if d, ok := a.(Dial); ok {
				link = d.Link
			}
		}
		if link == 0 {
			t.Fatal("does not try a device that downloads: the test shows nothing")
		}
		m.Step(now, Opened{Link: link}, nil)
		if why != wire.ReasonNone {
			m.Step(now, Framed{Link: link, Frame: &wire.Refuse{Reason: why}}, nil)
		}
		a := addr(2).Addr()
		if may := m.fallback.mayTry(a, true, true); may != (why == wire.ReasonFull) || m.fallback.mayTry(a, true, false) {
			t.Errorf("refused for %s: tries it as a root %v", why, may)
		}
	}
}

// TestRootsByTurns: a device that waits for its turn at the origin gives the first root that
// it comes to follow then time to serve it, and no other until a chunk comes.
func TestRootsByTurns(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attachTo(t, m, 1<<20)
	f := m.fallback
	waits := func(i int, want bool) {
		t.Helper()
		f.budget.Entitle(m.now)
		f.another(addr(i).Addr())
		if f.budget.Waiting() == want {
			t.Errorf("root %d is given time: %v", i, !want)
		}
	}
	waits(11, true)
	waits(12, false)
	m.Step(time.Second, Stored{Link: link, Index: 1}, nil)
	waits(13, true)
	waits(13, false)
}

// TestReviewAfterTheOthers: a comparison that was left to another device is made soon once
// that one has the whole file, or got many times what peers sent meanwhile, and not for one
// that has a part and got as much.
func TestReviewAfterTheOthers(t *testing.T) {
	for _, c := range []struct {
		prefix int
		bytes  int64
		soon   bool
	}{{15, 1 << 16, false}, {16, 1 << 16, true}, {0, 4<<16 - 1, false}, {0, 4 << 16, true}} {
		m := newMachine(unsigned(), 1)
		attachTo(t, m, 1<<20)
		now := m.cfg.Transfer.Fallback / 2
		says := func(d *wire.Direct) {
			m.Step(now, Datagram{From: addr(2), Env: wire.Envelope{From: peer(2), TCPPort: wire.Port}, Msg: d}, nil)
		}
		says(&wire.Direct{Reason: wire.ReasonNoProgress, Bytes: 1})
		if m.fallback.review.at < now+2*m.cfg.Transfer.Fallback {
			t.Fatal("not left to the other: the test shows nothing")
		}
		says(&wire.Direct{Done: true, Prefix: c.prefix, Bytes: c.bytes})
		if soon := m.fallback.review.at <= now+m.cfg.Transfer.CatchUp; soon != c.soon {
			t.Errorf("the other has %d chunks of 16, %d bytes: soon %v", c.prefix, c.bytes, soon)
		}
	}
}

// TestTriesAreBounded: however many addresses are tried between two chunks, no more
// than mostTried of them are remembered.
func TestTriesAreBounded(t *testing.T) {
	m, _, _ := starving(t)
	for i := range 3 * mostTried {
		if a := addr(i).Addr(); m.fallback.mayTry(a, false, i%2 == 0) {
			m.fallback.noteTry(a)
		}
		if i%mostTried == mostTried-1 {
			clear(m.fallback.tries.made) // as after a chunk
		}
	}
	if n := len(m.fallback.tries.slow); n != mostTried {
		t.Errorf("%d addresses are remembered, want %d", n, mostTried)
	}
}
