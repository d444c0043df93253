package pdp

import (
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
)

// unsigned is a file known by its digest alone: nobody has told its size.
func unsigned() File { return File{Size: load.UnknownSize, Keyed: true} }

// TestSizeOfTheOriginIsBelieved: a device that was root knows the size from
// the origin. A root of the highest rank that claims another is not followed.
func TestSizeOfTheOriginIsBelieved(t *testing.T) {
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 1 << 20}, nil)
	m.Step(now, Stored{Index: 0}, nil)
	env := wire.Envelope{From: peer(1), TCPPort: wire.Port}
	highest := wire.Rank{Complete: true, Strength: 1<<32 - 1}.Confirm()
	liar := &wire.Claim{Rank: highest, Size: 2 << 20, Prefix: 32, Complete: true}
	now += time.Second
	out := m.Step(now, Datagram{From: addr(1), Env: env, Msg: liar}, nil)
	if !m.IsRoot() || len(out) == 0 {
		t.Errorf("root of another size: is root %v, does %v", m.IsRoot(), out)
	}
	if m.held.Count() != 1 || m.held.Size() != 1<<20 {
		t.Errorf("lost what it had: %d chunks, %d bytes", m.held.Count(), m.held.Size())
	}
	liar.Size, liar.Prefix = 1<<20, 16
	if m.Step(now, Datagram{From: addr(1), Env: env, Msg: liar}, nil); m.IsRoot() {
		t.Error("does not follow a root of its own size: the test shows nothing")
	}
}

// TestEpochOfTheOriginIsBelieved: a device that was root knows from the origin
// which content the name has. A root that claims another, or a parent that
// welcomes with another, does not make it drop what it holds.
func TestEpochOfTheOriginIsBelieved(t *testing.T) {
	sure := func() (*Machine, time.Duration) {
		m := newMachine(File{Size: load.UnknownSize}, 1)
		m.Step(0, Start{}, nil)
		now := untilRoot(t, m)
		m.Step(now, OriginOpened{Size: 1 << 20, Epoch: 3}, nil)
		m.Step(now, Stored{Index: 0}, nil)
		return m, now
	}
	highest := wire.Rank{Complete: true, Strength: 1<<32 - 1}.Confirm()
	m, now := sure()
	m.Step(now, claimed(1, &wire.Claim{Rank: highest, Epoch: 5, Size: 1 << 20, Prefix: 16, Complete: true}), nil)
	if m.held.Count() != 1 || m.held.Epoch() != 3 || !m.IsRoot() {
		t.Errorf("a root's word: %d chunks of epoch %d, is root %v", m.held.Count(), m.held.Epoch(), m.IsRoot())
	}
	m, now = sure()
	follow(t, m, now, &wire.Claim{Rank: highest, Size: 1 << 20}) // and is welcomed with epoch 0
	if m.held.Count() != 1 || m.held.Epoch() != 3 {
		t.Errorf("a parent's word: %d chunks of epoch %d", m.held.Count(), m.held.Epoch())
	}
	// What the origin itself says counts.
	m, now = sure()
	m.Step(now, OriginEnded{Reason: wire.ReasonOriginUnreachable}, nil)
	now = untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 1 << 20, Epoch: 5}, nil)
	if m.held.Count() != 0 || m.held.Epoch() != 5 || !m.held.EpochSure() {
		t.Errorf("the origin's word: %d chunks of epoch %d", m.held.Count(), m.held.Epoch())
	}
}

// TestSizeOfAPeerGivesWay: a size that only a peer told is given up for the
// root's, with all that came with it.
func TestSizeOfAPeerGivesWay(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	m.Step(time.Second, Stored{Link: link, Index: 0}, nil)
	m.Step(time.Second, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1<<20 + 1}), nil)
	m.Step(time.Second, Framed{Link: link, Frame: &wire.End{Size: 1<<20 + 1}}, nil)
	if m.held.Size() != 1<<20+1 || m.held.Count() != 0 {
		t.Errorf("%d bytes, %d chunks", m.held.Size(), m.held.Count())
	}
	if _, _, l := m.following.all[0].follower.Parent(); l == link {
		t.Error("the parent goes on where it was, not from the start")
	}
}

// TestChunksBehindTheEnd: what came before anybody told the size, and lies
// behind it, is not counted for what is missing.
func TestChunksBehindTheEnd(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attachTo(t, m, load.UnknownSize)
	m.Step(time.Second, Stored{Link: link, Index: 40}, nil)
	if m.held.Count() != 1 {
		t.Fatal("nothing held: the test shows nothing")
	}
	m.Step(time.Second, Framed{Link: link, Frame: &wire.End{Size: 1 << 20}}, nil)
	if m.held.Size() != 1<<20 || m.held.Count() != 0 {
		t.Errorf("%d bytes, %d chunks", m.held.Size(), m.held.Count())
	}
}

// untilRoot lets time pass until the machine is root and returns when.
func untilRoot(t *testing.T, m *Machine) time.Duration {
	t.Helper()
	for range 50 {
		at, ok := m.Deadline()
		if !ok {
			break
		}
		m.Step(at, nil, nil)
		if m.IsRoot() && m.origin.busy() {
			return at
		}
	}
	t.Fatal("does not become root")
	return 0
}

// TestSizeAgainstTheOrigin: what came from the origin is not dropped because a peer
// tells another size.
func TestSizeAgainstTheOrigin(t *testing.T) {
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: load.UnknownSize}, nil)
	m.Step(now, Stored{Index: 0}, nil)
	link := follow(t, m, now+time.Millisecond, &wire.Claim{
		Rank: wire.Rank{Complete: true, Prefix: 16}.Confirm(), Size: 1 << 20, Prefix: 16, Complete: true})
	if m.held.Size() != 1<<20 {
		t.Fatalf("%d bytes: the test shows nothing", m.held.Size())
	}
	m.Step(now+time.Second, Framed{Link: link, Frame: &wire.End{Size: 1<<20 + 1}}, nil)
	if m.held.Count() != 1 || !m.el.Distrusted(now+time.Second, addr(1).Addr()) {
		t.Errorf("holds %d, distrusted: %v", m.held.Count(), m.el.Distrusted(now+time.Second, addr(1).Addr()))
	}
}

// TestRestOfAnotherFile: a device that resumes with a size that a peer told,
// and hears another from the origin, asks for the file from the start.
func TestRestOfAnotherFile(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	m.Step(time.Second, Stored{Link: link, Index: 0}, nil)
	m.Step(time.Second, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1)},
		Msg: &wire.Resign{Reason: wire.ReasonStopped}}, nil)
	m.Step(time.Second, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	now := untilRoot(t, m)
	out := m.Step(now, OriginOpened{Size: 2 << 20, From: 1}, nil)
	if open(out) != 0 || m.held.Count() != 0 || m.held.Size() != 2<<20 {
		t.Errorf("asks for %d, holds %d of %d bytes", open(out), m.held.Count(), m.held.Size())
	}
}

// TestOriginContradictsThePeersSize: where the origin tells no size and ends
// early, or sends other chunks, the size that a peer told is doubted, not the
// origin.
func TestOriginContradictsThePeersSize(t *testing.T) {
	for _, why := range []wire.Reason{wire.ReasonOriginTruncated, wire.ReasonOriginWrong} {
		t.Run(why.String(), func(t *testing.T) { contradict(t, why) })
	}
}

func contradict(t *testing.T, why wire.Reason) {
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	m.Step(time.Second, Stored{Link: link, Index: 0}, nil)
	m.Step(time.Second, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	m.Step(time.Second, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1)},
		Msg: &wire.Resign{Reason: wire.ReasonStopped}}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: load.UnknownSize, From: 1}, nil)
	out := m.Step(now, OriginEnded{Reason: why}, nil)
	if m.held.Size() != load.UnknownSize || open(out) != 0 {
		t.Errorf("%d bytes, asks for %d", m.held.Size(), open(out))
	}
	// The second time there is nothing to be doubted but the origin.
	m.Step(now, OriginOpened{Size: 1 << 20}, nil)
	m.Step(now, OriginEnded{Reason: wire.ReasonOriginTruncated}, nil)
	if !m.origin.Failing() || m.held.Size() != 1<<20 {
		t.Errorf("failing %v, %d bytes", m.origin.Failing(), m.held.Size())
	}
}

// TestDownloadOfDroppedContent: a download that is under way when the content
// is dropped for another reason than its own answer is ended, and begun anew.
func TestDownloadOfDroppedContent(t *testing.T) {
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 1 << 20}, nil)
	for i := range 16 {
		m.Step(now, Stored{Index: i}, nil)
	}
	out := m.Step(now, Verified{}, nil) // and the body has not ended yet
	stopped := -1
	for i, a := range out {
		switch a.(type) {
		case StopOrigin:
			stopped = i
		case Reset:
			if stopped < 0 {
				t.Error("the content is dropped below a download")
			}
		}
	}
	if stopped < 0 || open(out) != 0 {
		t.Errorf("stopped %v, asks for %d", stopped >= 0, open(out))
	}
}

// TestSignedSizeIsNotDoubted: what is signed stays certain when the origin
// tells no size, and an origin that ends early has failed.
func TestSignedSizeIsNotDoubted(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: load.UnknownSize}, nil)
	m.Step(now, Stored{Index: 0}, nil)
	out := m.Step(now, OriginEnded{Reason: wire.ReasonOriginTruncated}, nil)
	if !m.origin.Failing() || m.held.Count() != 1 || open(out) >= 0 {
		t.Errorf("failing %v, holds %d, asks again at once %v", m.origin.Failing(), m.held.Count(), open(out) >= 0)
	}
}

// TestWelcomeWithASizeTooSmall: a parent whose size does not fit what is held is
// left while it welcomes, and not watched any more.
func TestWelcomeWithASizeTooSmall(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attachTo(t, m, load.UnknownSize)
	m.Step(time.Second, Stored{Link: link, Index: 40}, nil)
	m.Step(time.Second, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	follow(t, m, time.Second, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20})
	if m.held.Count() != 0 {
		t.Fatal("keeps what is behind the end: the test shows nothing")
	}
	pass(t, m, 2*time.Second, 30*time.Second)
}

// rootWithFalseSize is a root that was told 2 MiB, and has a child and the first
// chunks of the body.
func rootWithFalseSize(t *testing.T) (*Machine, time.Duration) {
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 2 << 20}, nil)
	m.Step(now, Accepted{Link: 1, From: addr(2), Hello: &wire.Hello{From: peer(2), Trees: 1}}, nil)
	for i := range 4 {
		m.Step(now, Stored{Index: i}, nil)
	}
	return m, now
}

// told returns the sizes that actions tell: the store, and peers by claims; and
// whether the child was sent away.
func told(out []Action) (store, claim int64, dismissed bool) {
	store, claim = -2, -2
	for _, a := range out {
		switch a := a.(type) {
		case SetSize:
			store = a.Size
		case Broadcast:
			if c, ok := a.Msg.(*wire.Claim); ok {
				claim = c.Size
			}
		case Close:
			dismissed = dismissed || a.Link == 1 && a.Reason == wire.ReasonWrongEpoch
		}
	}
	return store, claim, dismissed
}

// TestBodyEndsBeforeItsSize: what came stays, and peers learn the size.
func TestBodyEndsBeforeItsSize(t *testing.T) {
	m, now := rootWithFalseSize(t)
	const size = 4*load.MinChunkSize + 100
	out := m.Step(now, OriginOpened{Size: size, From: 4}, nil)
	if store, claim, dismissed := told(out); store != size || claim != size || !dismissed || open(out) >= 0 {
		t.Errorf("stored %d, claimed %d, child dismissed %v, asks for %d", store, claim, dismissed, open(out))
	}
	m.Step(now, Stored{Index: 4}, nil)
	m.Step(now, OriginEnded{Size: size}, nil)
	if !m.held.verifying() || m.held.Count() != 5 || !m.held.Sure() {
		t.Errorf("verifying %v, holds %d, sure %v", m.held.verifying(), m.held.Count(), m.held.Sure())
	}
}

// TestBodyGoesOnAfterItsSize: nothing is left of the size, and the body is asked
// for from the start.
func TestBodyGoesOnAfterItsSize(t *testing.T) {
	m, now := rootWithFalseSize(t)
	out := m.Step(now, OriginOpened{Size: load.UnknownSize}, nil)
	if _, claim, dismissed := told(out); claim != load.UnknownSize || !dismissed || open(out) != 0 {
		t.Errorf("claimed %d, child dismissed %v, asks for %d", claim, dismissed, open(out))
	}
	if m.held.Known() || m.held.Count() != 0 || m.held.Sure() {
		t.Errorf("%d bytes, %d chunks, sure %v", m.held.Size(), m.held.Count(), m.held.Sure())
	}
	// An origin that contradicts itself for ever fails.
	for range mostFalse {
		m.Step(now, OriginOpened{Size: 1 << 20}, nil)
		m.Step(now, OriginOpened{Size: load.UnknownSize}, nil)
	}
	if !m.origin.Failing() {
		t.Error("an origin that tells a false size each time is asked without end")
	}
}

// TestRefutedSize: a size that the origin has shown to be too small is believed of no
// peer any more, and costs nothing that is held.
func TestRefutedSize(t *testing.T) {
	const small = 3 * load.MinChunkSize
	claim := &wire.Claim{Rank: wire.Rank{Complete: true, Strength: 1<<32 - 1}.Confirm(), Size: small}
	for name, refute := range map[string]func(m *Machine, now time.Duration){
		"the body goes on": func(m *Machine, now time.Duration) {
			m.Step(now, OriginOpened{Size: load.UnknownSize}, nil)
		},
		"a chunk does not fit": func(m *Machine, now time.Duration) {
			m.Step(now, OriginEnded{Reason: wire.ReasonOriginWrong}, nil)
		},
	} {
		m := newMachine(unsigned(), 1)
		attachTo(t, m, small)
		now := untilRoot(t, m)
		m.Step(now, OriginOpened{Size: load.UnknownSize}, nil)
		if m.held.Size() != small {
			t.Fatalf("%s: %d bytes: the test shows nothing", name, m.held.Size())
		}
		refute(m, now)
		for range 2 {
			link := follow(t, m, now, claim)
			if m.held.Known() {
				t.Errorf("%s: takes the size again", name)
			}
			if _, _, l := m.following.all[0].follower.Parent(); l == link {
				t.Errorf("%s: stays with a parent that tells the size", name)
			}
		}
	}
	m := newMachine(unsigned(), 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: load.UnknownSize}, nil)
	for i := range 4 {
		m.Step(now, Stored{Index: i}, nil)
	}
	if follow(t, m, now, claim); m.held.Known() || m.held.Count() != 4 {
		t.Errorf("what the origin sent is more: %d bytes, %d chunks", m.held.Size(), m.held.Count())
	}
}

// TestParentGivesUpItsSize: a child whose parent dropped what it held drops the
// size, too, if it is from peers alone and the root does not claim it.
func TestParentGivesUpItsSize(t *testing.T) {
	bye := &wire.Bye{Reason: wire.ReasonWrongEpoch}
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	m.Step(time.Second, Stored{Link: link, Index: 0}, nil)
	m.Step(time.Second, Framed{Link: link, Frame: bye}, nil)
	if m.held.Known() || m.held.Count() != 0 {
		t.Errorf("a parent without its content: %d bytes, %d chunks", m.held.Size(), m.held.Count())
	}
	m, now := rootWithFalseSize(t)
	link = follow(t, m, now, &wire.Claim{Rank: wire.Rank{Complete: true, Strength: 1<<32 - 1}.Confirm(), Size: 2 << 20})
	m.Step(now, Framed{Link: link, Frame: bye}, nil)
	if m.held.Size() != 2<<20 || m.held.Count() != 4 {
		t.Errorf("what the origin told: %d bytes, %d chunks", m.held.Size(), m.held.Count())
	}
}

// TestSizeThatIsOnlyTold: where nothing says what is right, all of a size that was
// only told is no file before a parent says that it ends there. Who says nothing is
// waited for once.
func TestSizeThatIsOnlyTold(t *testing.T) {
	for _, says := range []bool{true, false} {
		m := newMachine(File{Size: load.UnknownSize}, 1)
		link, now := attachTo(t, m, load.MinChunkSize), time.Second
		if m.Step(now, Stored{Link: link}, nil); m.held.verifying() {
			t.Error("takes the size that was told for the whole")
		}
		if at, ok := m.held.deadline(); says {
			m.Step(now, Framed{Link: link, Frame: &wire.End{Size: load.MinChunkSize}}, nil)
		} else if !ok || at != now+m.cfg.Transfer.CatchUp || m.Step(at, nil, nil) == nil || m.held.ready() || !m.held.waited {
			t.Errorf("a parent that says nothing is waited for until %v, %v, and then not %v", at, ok, m.held.waited)
		}
		if !m.held.verifying() {
			t.Errorf("parent says so %v: does not read back", says)
		}
	}
}

// TestRootWelcomesWithAnotherSize: a root that tells the signed size in its claims and
// another one on its links is distrusted, whatever name it has there. It is not asked
// for a place again and again.
func TestRootWelcomesWithAnotherSize(t *testing.T) {
	for _, as := range []int{1, 2} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		link := follow(t, m, 1, &wire.Claim{Rank: wire.Rank{Prefix: 16}.Confirm(), Size: 1 << 20})
		now := time.Second
		out := m.Step(now, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
		out = append(out, pass(t, m, now, now+time.Millisecond)...)
		place := Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port},
			Msg: &wire.Place{Parent: peer(1), Depth: 1}}
		for _, a := range m.Step(now, place, out) {
			if d, is := a.(Dial); is {
				m.Step(now, Opened{Link: d.Link}, nil)
				m.Step(now, Framed{Link: d.Link, Frame: &wire.Welcome{From: peer(as), Size: 2 << 20}}, nil)
			}
		}
		if !m.el.Distrusted(now, addr(1).Addr()) {
			t.Errorf("as device %d: not distrusted", as)
		}
	}
}

// placedBelow gives the machine a place of its root, peer 1, below a peer at an address,
// and welcomes it there. It returns the link, 0 if the machine does not want a place.
func placedBelow(m *Machine, i int, welcome *wire.Welcome) Link {
	out := m.Step(m.now, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port},
		Msg: &wire.Place{Parent: peer(i), Addr: addr(i), Depth: 1}}, nil)
	for _, a := range out {
		if d, is := a.(Dial); is {
			m.Step(m.now, Opened{Link: d.Link}, nil)
			m.Step(m.now, Framed{Link: d.Link, Frame: welcome}, nil)
			return d.Link
		}
	}
	return 0
}

// TestRootThatContradictsItself: a root that stands below its child, and one that tells
// another size on its links than in its claims, again and again, is distrusted. A chunk
// that came in between, or another parent that does so, is no reason to.
func TestRootThatContradictsItself(t *testing.T) {
	for _, c := range []struct {
		name       string
		from, as   int
		loop, want bool
		size       int64
		served     bool
	}{
		{"loop", 1, 1, true, true, 1 << 20, false},
		{"loop, and a chunk in between", 1, 1, true, false, 1 << 20, true},
		{"loop of another", 2, 2, true, false, 1 << 20, false},
		{"loop of another in the name of the root", 2, 1, true, false, 1 << 20, false},
		{"size", 1, 1, false, true, 2 << 20, false},
	} {
		m := newMachine(unsigned(), 1)
		link := attach(t, m)
		m.Step(time.Second, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
		for i := range m.cfg.Transfer.FailedPeers {
			if m.el.Distrusted(m.now, addr(1).Addr()) {
				t.Errorf("%s: distrusted after %d times", c.name, i)
			}
			if link = placedBelow(m, c.from, &wire.Welcome{From: peer(c.as), Size: c.size}); link == 0 {
				t.Fatalf("%s: does not ask for a place", c.name)
			}
			if c.served {
				m.Step(m.now, Stored{Link: link, Index: i}, nil)
			}
			if c.loop {
				m.Step(m.now, Framed{Link: link, Frame: &wire.Path{Peers: []wire.Peer{m.self.Peer, peer(c.as)}}}, nil)
			}
		}
		if got := m.el.Distrusted(m.now, addr(1).Addr()); got != c.want {
			t.Errorf("%s: distrusted %v", c.name, got)
		}
		if m.held.Size() != 1<<20 {
			t.Errorf("%s: %d bytes", c.name, m.held.Size())
		}
	}
}

// TestRootStartsOver: an honest root gets another epoch where its server tells no tags and
// its download starts over, and its claims of before are still under way. It is not
// distrusted for that, however often a link tells the new epoch. One that goes on to claim
// the old epoch meanwhile is.
func TestRootStartsOver(t *testing.T) {
	for _, claims := range []bool{false, true} {
		m := newMachine(File{Size: load.UnknownSize}, 1) // without a key: so epochs count
		link := attach(t, m)
		claim := claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20, Epoch: 5})
		m.Step(m.now+1, claim, nil)
		m.Step(time.Second, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
		for i := range m.cfg.Transfer.FailedPeers + 1 {
			if placedBelow(m, 1, &wire.Welcome{From: peer(1), Size: 1 << 20, Epoch: 6}) == 0 {
				t.Fatalf("does not ask for a place after %d links", i)
			}
			if claims {
				m.Step(m.now+1, claim, nil)
			}
			m.now++
		}
		if m.el.Distrusted(m.now, addr(1).Addr()) != claims {
			t.Errorf("claims %v: distrusted %v", claims, !claims)
		}
	}
}

// TestSizeGoesWithItsContent: what a root told of its content, and nobody has borne out, is
// forgotten where a parent has another content, though nothing is held yet.
func TestSizeGoesWithItsContent(t *testing.T) {
	m := newMachine(File{Size: load.UnknownSize}, 1)
	link := attachTo(t, m, 300_000)
	m.Step(m.now+1, Framed{Link: link, Frame: &wire.Welcome{From: peer(1), Epoch: 5, Size: 300_000}}, nil)
	if m.held.Epoch() != 5 || m.held.Size() != 300_000 || m.held.Count() > 0 {
		t.Fatalf("holds %d chunks of %d bytes, epoch %d", m.held.Count(), m.held.Size(), m.held.Epoch())
	}
	m.Step(time.Second, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	placedBelow(m, 1, &wire.Welcome{From: peer(1), Epoch: 6, Size: load.UnknownSize})
	if m.held.Epoch() != 6 || m.held.Known() {
		t.Errorf("%d bytes of epoch %d", m.held.Size(), m.held.Epoch())
	}
}

// TestClaimThatCannotBe: a device that knows the size for certain follows nobody who says
// that it has the whole file and counts fewer chunks, or counts more than there are.
func TestClaimThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		prefix   int
		complete bool
		follows  bool
	}{{16, true, true}, {15, true, false}, {15, false, true}, {17, false, false}, {17, true, false}} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.Step(0, Start{}, nil)
		m.Step(1, claimed(1, &wire.Claim{Rank: wire.Rank{Complete: c.complete, Prefix: 16}.Confirm(), Size: 1 << 20,
			Prefix: c.prefix, Complete: c.complete}), nil)
		if follows := m.el.Root() != nil; follows != c.follows {
			t.Errorf("%d chunks, complete %v: follows %v", c.prefix, c.complete, follows)
		}
	}
}

// TestChildOfAnotherEpoch: a child that holds one chunk of another content gets
// the file from its start; what it holds of this one it is not sent again.
func TestChildOfAnotherEpoch(t *testing.T) {
	for _, x := range []struct {
		keyed bool
		epoch uint64
		first int
	}{{false, 3, 1}, {false, 5, 0}, {true, 5, 1}} {
		m := newMachine(File{Size: 4 * load.MinChunkSize, Keyed: x.keyed}, 1)
		m.Step(0, Start{Prefix: 4, Complete: true, Epoch: 3}, nil)
		hello := &wire.Hello{From: peer(1), Prefix: 1, Epoch: x.epoch}
		first := -1
		for _, a := range m.Step(time.Second, Accepted{Link: 1, From: addr(1), Hello: hello}, nil) {
			if c, ok := a.(SendChunk); ok && first < 0 {
				first = c.Index
			}
		}
		if first != x.first {
			t.Errorf("keyed by its digest %v, epoch %d: the first chunk is %d, want %d", x.keyed, x.epoch, first, x.first)
		}
	}
}

// TestParentOfAnotherEpoch: who holds one chunk and is welcomed to another
// content begins again, unless the root has named the content: then the parent
// is left.
func TestParentOfAnotherEpoch(t *testing.T) {
	for _, x := range []struct {
		keyed        bool
		root, parent uint64
		reset, left  bool
	}{{false, 3, 3, false, false}, {false, 0, 5, true, false}, {false, 3, 5, false, true}, {true, 3, 5, false, false}} {
		m := newMachine(File{Size: load.UnknownSize, Keyed: x.keyed}, 1)
		m.Step(0, Start{Prefix: 1, Epoch: 3}, nil)
		env := wire.Envelope{From: peer(1), TCPPort: wire.Port}
		claim := &wire.Claim{Rank: wire.Rank{Prefix: 9}.Confirm(), Size: load.UnknownSize, Epoch: x.root}
		out := m.Step(1, Datagram{From: addr(1), Env: env, Msg: claim}, nil)
		isDial := func(a Action) bool { _, ok := a.(Dial); return ok }
		for n := 0; n < 10 && !slices.ContainsFunc(out, isDial); n++ {
			at, _ := m.Deadline()
			out = m.Step(at, nil, out)
			place := &wire.Place{Parent: peer(1), Depth: 1, Trees: 1}
			out = m.Step(at, Datagram{From: addr(1), Env: env, Msg: place}, out)
		}
		link := out[slices.IndexFunc(out, isDial)].(Dial).Link
		m.Step(time.Second, Opened{Link: link}, nil)
		w := &wire.Welcome{From: peer(1), Size: load.UnknownSize, Epoch: x.parent}
		out = m.Step(time.Second+1, Framed{Link: link, Frame: w}, nil)
		reset := slices.ContainsFunc(out, func(a Action) bool { r, ok := a.(Reset); return ok && r.Epoch == x.parent })
		left := slices.Contains(out, Action(Close{link, wire.ReasonWrongEpoch}))
		if reset != x.reset || left != x.left {
			t.Errorf("keyed by its digest %v, the root says %d, the parent %d: begins again %v, leaves it %v: %v", x.keyed,
				x.root, x.parent, reset, left, out)
		}
	}
}

// TestReviewWithoutSize: that nobody tells the size does not keep a device from
// comparing.
func TestReviewWithoutSize(t *testing.T) {
	m, _, _ := trickle(t, File{Size: load.UnknownSize, Keyed: true}, 2*time.Second)
	if m.held.Known() {
		t.Error("the test shows nothing: the size is known")
	}
}
