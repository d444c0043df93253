package pdp

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
)

func peer(i int) wire.Peer { return wire.Peer{ID: uint64(i) + 1, Nonce: 1} }

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), wire.Port)
}

// newMachine returns a machine that is shown what follows after a while with no steps
// between: no time is too late for it.
func newMachine(f File, seed uint64) *Machine {
	m := New(LAN(), Self{Peer: peer(0), Addr: addr(0)}, f, rand.New(rand.NewPCG(seed, 1)))
	m.clock.late = 24 * time.Hour
	return m
}

// TestLeap: a device that slept, or whose clock was set, goes on with its parent and
// its root; when nothing comes then either, it leaves them as late as any other.
func TestLeap(t *testing.T) {
	for _, leap := range []time.Duration{time.Hour, 2 * time.Second, -time.Hour} {
		m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
		m.clock.late = m.cfg.Transfer.Silence
		link := attach(t, m)
		m.Step(m.now, Stored{Link: link}, nil)
		last, _ := m.Deadline()
		now := last + leap
		for range 3 {
			m.Step(now, Active{Link: link}, nil)
			if at, ok := m.Deadline(); !ok || at > now+m.cfg.Transfer.Silence {
				t.Errorf("leap by %v: the next deadline is %v from then", leap, at-now)
			}
			now += 10 * time.Millisecond
		}
		if m.el.Root() == nil || m.following.of(link) == nil {
			t.Errorf("leap by %v: leaves who had no time to say anything", leap)
		}
		for until := now + 2*m.cfg.Transfer.Silence; now < until; now += 10 * time.Millisecond {
			m.Step(now, nil, nil)
		}
		if m.following.of(link) != nil {
			t.Errorf("leap by %v: keeps a parent that is silent", leap)
		}
	}
}

func TestNothingBeforeStartNorAfterStop(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	if out := m.Step(0, OriginBytes{Bytes: 1}, nil); len(out) != 0 {
		t.Errorf("before the start: %v", out)
	}
	if _, ok := m.Deadline(); ok {
		t.Error("a deadline before the start")
	}
	m.Step(0, Start{}, nil)
	m.Step(time.Second, Stop{}, nil)
	if out := m.Step(2*time.Second, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1)}, Msg: &wire.Claim{}},
		nil); len(out) != 0 {
		t.Errorf("after the stop: %v", out)
	}
	if _, ok := m.Deadline(); ok || !m.Status().Ended {
		t.Error("a deadline after the stop")
	}
}

// TestTentativeRootAsksForNoBody: connecting is allowed before confirmation,
// a body is not.
func TestTentativeRootAsksForNoBody(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	out := m.Step(0, Start{}, nil)
	prepared, confirmed := false, false
	for range 20 {
		for _, a := range out {
			switch a.(type) {
			case Prepare:
				prepared = true
			case OpenOrigin:
				if !m.IsRoot() || !confirmed {
					t.Fatal("a body is asked for before the confirmed claim is out")
				}
				if !prepared {
					t.Error("the connection was not prepared during the election")
				}
				return
			case Broadcast:
				confirmed = m.IsRoot()
			}
		}
		at, ok := m.Deadline()
		if !ok {
			break
		}
		out = m.Step(at, nil, out[:0])
	}
	t.Fatal("no body is asked for")
}

// attach makes peer 1 root and parent of the machine and returns the link.
func attach(t *testing.T, m *Machine) Link {
	t.Helper()
	return attachTo(t, m, 1<<20)
}

// attachTo is attach to a peer that knows the size given.
func attachTo(t *testing.T, m *Machine, size int64) Link {
	t.Helper()
	m.Step(0, Start{}, nil)
	return follow(t, m, 1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: size})
}

// follow lets peer 1 claim to be root and makes it the machine's parent.
func follow(t *testing.T, m *Machine, now time.Duration, c *wire.Claim) Link {
	t.Helper()
	env := wire.Envelope{From: peer(1), TCPPort: wire.Port}
	m.Step(now, Datagram{From: addr(1), Env: env, Msg: c}, nil)
	for range 10 {
		at, _ := m.Deadline()
		m.Step(at, nil, nil)
		out := m.Step(at, Datagram{From: addr(1), Env: env, Msg: &wire.Place{Parent: peer(1), Depth: 1}}, nil)
		for _, a := range out {
			if d, ok := a.(Dial); ok {
				m.Step(at+1, Opened{Link: d.Link}, nil)
				m.Step(at+2, Framed{Link: d.Link, Frame: &wire.Welcome{From: peer(1), Size: c.Size}}, nil)
				return d.Link
			}
		}
	}
	t.Fatal("not attached")
	return 0
}

// open returns the chunk from which the actions ask the origin, -1 if they do
// not.
func open(out []Action) int {
	for _, a := range out {
		if o, ok := a.(OpenOrigin); ok {
			return o.From
		}
	}
	return -1
}

// TestStrangersDoNotSpeakForTheRoot: only the root that is followed may say
// that the origin failed.
func TestStrangersDoNotSpeakForTheRoot(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	for range 20 {
		at, _ := m.Deadline()
		r := &wire.Resign{Reason: wire.ReasonOriginNotFound, Backoff: 3600_000}
		m.Step(at-1, Datagram{From: addr(3), Env: wire.Envelope{From: peer(3)}, Msg: r}, nil)
		if open(m.Step(at, nil, nil)) == 0 {
			return
		}
	}
	t.Error("a stranger keeps the device from the origin")
}

// TestOrphanElectsWhenItsParentGoes: a device that needed no root when the
// root left needs one once its parent has left too.
func TestOrphanElectsWhenItsParentGoes(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	link := attach(t, m)
	m.Step(time.Second, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1)},
		Msg: &wire.Resign{Reason: wire.ReasonStopped}}, nil)
	if got := m.Status().Election; got != election.Orphan {
		t.Fatalf("attached, and the root has left: %v", got)
	}
	m.Step(2*time.Second, Closed{Link: link, Reason: wire.ReasonParentLost}, nil)
	if got := m.Status().Election; got != election.Listening {
		t.Errorf("without parent and root: %v", got)
	}
}

// TestSlowReaderIsKeptAway: a child that took no bytes loses its slot and gets
// none from here for a while.
func TestSlowReaderIsKeptAway(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{Prefix: 16, Complete: true}, nil)
	hello := Accepted{Link: 1, From: addr(1), Hello: &wire.Hello{From: peer(1)}}
	m.Step(time.Second, hello, nil)
	at, _ := m.Deadline()
	for at < 10*time.Second && m.Status().Children == 1 {
		m.Step(at, nil, nil)
		at, _ = m.Deadline()
	}
	if m.Status().Children != 0 {
		t.Fatal("a child that takes no bytes keeps its slot")
	}
	hello.Link = 2
	for _, a := range m.Step(11*time.Second, hello, nil) {
		if f, ok := a.(SendFrame); ok {
			if r, ok := f.Frame.(*wire.Refuse); !ok || r.Reason != wire.ReasonChildSlow {
				t.Errorf("answered %T", f.Frame)
			}
		}
	}
	hello.Link = 3
	m.Step(time.Minute, hello, nil)
	if m.Status().Children != 1 {
		t.Error("kept away for ever")
	}
}

// TestRootHasAnotherContent: what is held under a name is dropped as soon as
// the root says that the content is another one.
func TestRootHasAnotherContent(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		m := newMachine(File{Size: load.UnknownSize, Keyed: keyed}, 1)
		link := attach(t, m)
		m.Step(time.Second, Stored{Link: link, Index: 0}, nil)
		claim := &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 2 << 20, Epoch: 2, Prefix: 1}
		out := m.Step(2*time.Second, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port},
			Msg: claim}, nil)
		reset := false
		for _, a := range out {
			if r, ok := a.(Reset); ok && r.Epoch == 2 {
				reset = true
			}
		}
		if reset == keyed {
			t.Errorf("keyed by its digest %v: reset %v", keyed, reset)
		}
	}
}

// TestSilentHolderServesWhoAsks: a device that was root and fell silent is
// asked for a place by one who did not hear that.
func TestSilentHolderServesWhoAsks(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{Prefix: 16, Complete: true}, nil)
	ask := Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port}, Msg: &wire.Ask{Free: 2}}
	claimed, placed := false, false
	for _, a := range m.Step(time.Second, ask, nil) {
		switch a := a.(type) {
		case Broadcast:
			claimed = true
		case Send:
			p, ok := a.Msg.(*wire.Place)
			placed = ok && p.Parent == peer(0)
		}
	}
	if !claimed || !placed {
		t.Errorf("claimed %v, placed %v", claimed, placed)
	}
}

// TestRootAgainGoesOn: a holder that another root outranks, and that is asked again,
// goes on with what it knew: the wait for a place in the second tree is over.
func TestRootAgainGoesOn(t *testing.T) {
	m := newMachine(File{Size: 4 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{Prefix: 64, Complete: true}, nil)
	highest := &wire.Claim{Rank: wire.Rank{Complete: true, Prefix: 64, Strength: 1<<32 - 1}.Confirm(), Size: 4 << 20,
		Prefix: 64, Complete: true}
	for i, placed := range []bool{false, true} {
		now := time.Second + time.Duration(i)*m.cfg.Tree.Gather
		out := m.Step(now, Datagram{From: addr(1), Env: wire.Envelope{From: peer(1), TCPPort: wire.Port},
			Msg: &wire.Ask{Free: 2, Trees: 2, Stripe: 1}}, nil)
		if got := slices.ContainsFunc(out, func(a Action) bool {
			s, ok := a.(Send)
			return ok && s.Msg.(*wire.Place).Parent == peer(0)
		}); got != placed {
			t.Errorf("asked the %d. time: places %v", i+1, got)
		}
		m.Step(now, claimed(2, highest), nil)
	}
}

// TestRootAwaitsFirstAsks: a root whose file is down before its followers have
// asked for places stays until they can have, and falls silent at last.
func TestRootAwaitsFirstAsks(t *testing.T) {
	m := newMachine(File{Size: 100, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	now := untilRoot(t, m)
	m.Step(now, OriginOpened{Size: 100}, nil)
	m.Step(now, Stored{Index: 0}, nil)
	m.Step(now, Verified{OK: true}, nil)
	if !m.held.complete() || m.Idle() {
		t.Fatalf("complete %v, idle %v when it has just begun", m.held.complete(), m.Idle())
	}
	began := now
	for m.IsRoot() {
		at, ok := m.Deadline()
		if !ok {
			t.Fatal("never falls silent")
		}
		now = at
		m.Step(now, nil, nil)
		if m.Idle() != (now >= began+2*m.cfg.Tree.AskFirst) {
			t.Fatalf("idle %v after %v", m.Idle(), now-began)
		}
	}
}

// TestCompleteFollowerWhoseRootIsLost: a follower that holds all needs no root,
// and yet must notice that its root is gone: who comes next is answered by it.
func TestCompleteFollowerWhoseRootIsLost(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	link := attach(t, m)
	for i := range 16 {
		m.Step(time.Second, Stored{Link: link, Index: i}, nil)
	}
	m.Step(time.Second, Verified{OK: true}, nil)
	if s := m.Status(); s.Election != election.Following {
		t.Fatalf("complete, and %v", s.Election)
	}
	now := time.Second
	for now < time.Minute {
		at, ok := m.Deadline()
		if !ok {
			break
		}
		now = at
		m.Step(now, nil, nil)
	}
	now = max(now, time.Minute)
	claim := Datagram{From: addr(3), Env: wire.Envelope{From: peer(3), TCPPort: wire.Port},
		Msg: &wire.Claim{Size: 1 << 20}}
	m.Step(now, claim, nil)
	for range 10 {
		at, ok := m.Deadline()
		if !ok || at > now+LAN().Election.Holder {
			break
		}
		for _, a := range m.Step(at, nil, nil) {
			if b, ok := a.(Broadcast); ok {
				if c, ok := b.Msg.(*wire.Claim); ok && c.Complete && c.Rank.Confirmed {
					return
				}
			}
		}
	}
	t.Errorf("a newcomer is not answered: %v", m.Status().Election)
}

// TestChildSpeaksAsParent: what only a parent may say changes nothing when a
// child says it.
func TestChildSpeaksAsParent(t *testing.T) {
	m := newMachine(File{Size: load.UnknownSize, Keyed: true}, 1)
	parent := attachTo(t, m, load.UnknownSize)
	hello := &wire.Hello{From: peer(2), TCPPort: wire.Port}
	m.Step(time.Second, Accepted{Link: 1, From: addr(2), Hello: hello}, nil)
	if m.Status().Children != 1 {
		t.Fatal("no child")
	}
	before := m.Status()
	for _, f := range []wire.Frame{&wire.End{Size: 5}, &wire.Welcome{From: peer(2), Size: 5, Epoch: 9},
		&wire.Progress{Prefix: 9, RootPrefix: 9, RootBytes: 9}, &wire.Path{Peers: []wire.Peer{peer(0)}}, &wire.Refuse{}} {
		for _, a := range m.Step(time.Second, Framed{Link: 1, Frame: f}, nil) {
			switch a := a.(type) {
			case SetSize, Reset, Drop, Verify, Complete, Fail:
				t.Errorf("%T of a child makes %T", f, a)
			case Close:
				if a.Link == parent {
					t.Errorf("%T of a child ends the link to the parent", f)
				}
			}
		}
		if after := m.Status(); after.Prefix != before.Prefix || after.Size != before.Size || after.Parent != before.Parent {
			t.Errorf("%T of a child: %+v, before it was %+v", f, after, before)
		}
	}
	m.Step(time.Second+time.Millisecond, Bad{Link: 1, Index: 0}, nil)
	if after := m.Status(); after.Parent != before.Parent || after.Ended {
		t.Errorf("a bad chunk of a child: %+v", after)
	}
}

// TestLongestPath: a child gets its path as long as a link may carry it, and is
// left when it grows longer.
func TestLongestPath(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Keyed: true}, 1)
	parent := attach(t, m)
	above := func(n int) (peers []wire.Peer) {
		for i := range n {
			peers = append(peers, peer(100+i))
		}
		return peers
	}
	m.Step(time.Second, Framed{Link: parent, Frame: &wire.Path{Peers: above(wire.MaxPath - 1)}}, nil)
	paths, closed := 0, 0
	count := func(out []Action) {
		for _, a := range out {
			switch a := a.(type) {
			case SendFrame:
				if p, ok := a.Frame.(*wire.Path); ok {
					paths = len(p.Peers)
				}
			case Close:
				closed++
			}
		}
	}
	hello := &wire.Hello{From: peer(2), TCPPort: wire.Port}
	count(m.Step(time.Second, Accepted{Link: 1, From: addr(2), Hello: hello}, nil))
	if paths != wire.MaxPath || closed > 0 {
		t.Fatalf("a new child gets a path of %d, %d links are closed", paths, closed)
	}
	paths = 0
	count(m.Step(time.Second, Framed{Link: parent, Frame: &wire.Path{Peers: above(wire.MaxPath)}}, nil))
	if paths != 0 || closed != 1 {
		t.Errorf("with one more it gets a path of %d, %d links are closed", paths, closed)
	}
}

// TestMap: a claim shows to people how much of the file is held, as far as its
// size is known.
func TestMap(t *testing.T) {
	for _, x := range []struct {
		size   int64
		prefix int
		want   uint32
	}{
		{load.UnknownSize, 4000, 0}, {32 * load.MinChunkSize, 0, 0}, {32 * load.MinChunkSize, 16, 0xffff},
		{3 * load.MinChunkSize, 1, 1<<21 - 1}, {1, 0, 0},
	} {
		m := newMachine(File{Size: x.size, Keyed: true}, 1)
		out := m.Step(0, Start{Prefix: x.prefix}, nil)
		claims := func(a Action) bool { _, ok := a.(Broadcast); return ok }
		for n := 0; n < 10 && !slices.ContainsFunc(out, claims); n++ {
			at, _ := m.Deadline()
			out = m.Step(at, nil, nil)
		}
		i := slices.IndexFunc(out, claims)
		if i < 0 {
			t.Fatalf("%d bytes: no claim", x.size)
		}
		if c := out[i].(Broadcast).Msg.(*wire.Claim); c.Map != x.want {
			t.Errorf("%d of %d bytes: %032b, want %032b", x.prefix, x.size, c.Map, x.want)
		}
	}
}

// TestBans: addresses that took no bytes are forgotten when their time is over,
// and no more than some are remembered.
func TestBans(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Keyed: true}, 1)
	for i := range 100 {
		m.children.ban(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}))
	}
	if n := len(m.children.banned); n != 64 {
		t.Errorf("%d addresses are remembered", n)
	}
	m.now = m.cfg.Tree.Avoid - 1
	m.children.ban(addr(1).Addr())
	if n := len(m.children.banned); n != 64 {
		t.Errorf("%d addresses are remembered just before their time is over", n)
	}
	m.now++
	m.children.ban(addr(1).Addr())
	if n := len(m.children.banned); n != 1 || m.children.banned[addr(1).Addr()] != 2*m.cfg.Tree.Avoid {
		t.Errorf("%d addresses are remembered when their time is over", n)
	}
}

// TestSpeedometer: a rate counts for one gaugeWindow, or two.
func TestSpeedometer(t *testing.T) {
	var s portRate
	s.seen(0, 500)
	s.seen(1, 300)
	for _, x := range []struct {
		at   time.Duration
		seen int64 // 0: nothing
		want int64
	}{
		{gaugeWindow - 1, 0, 500}, {gaugeWindow, 0, 500}, {gaugeWindow, 100, 500}, {2*gaugeWindow - 1, 0, 500},
		{2 * gaugeWindow, 0, 100}, {4 * gaugeWindow, 40, 40}, {6 * gaugeWindow, 0, 0},
	} {
		if x.seen > 0 {
			s.seen(x.at, x.seen)
		}
		if got := s.rate(x.at); got != x.want {
			t.Errorf("at %v: %d, want %d", x.at, got, x.want)
		}
	}
	s.seen(10*gaugeWindow, 900)
	s.seen(12*gaugeWindow, 7)
	if got := s.rate(12 * gaugeWindow); got != 7 {
		t.Errorf("long after: %d, want 7", got)
	}
}

// TestGauge: a rate is of one whole gaugeWindow.
func TestGauge(t *testing.T) {
	var g gauge
	for _, x := range []struct {
		at    time.Duration
		bytes int64
		rate  float64 // 0: none yet
	}{{time.Second, 1000, 0}, {time.Second + gaugeWindow - 1, 9000, 0}, {time.Second + gaugeWindow, 9000, 2000},
		{time.Second + 2*gaugeWindow, 9400, 100}} {
		if rate, ok := g.measure(x.at, x.bytes); ok != (x.rate > 0) || ok && rate != x.rate {
			t.Errorf("at %v: %v, %v; want %v", x.at, rate, ok, x.rate)
		}
	}
	g.reset()
	if rate, ok := g.measure(100*gaugeWindow, 0); ok {
		t.Errorf("after a reset: %v", rate)
	}
}

func TestPresets(t *testing.T) {
	for _, c := range []Config{LAN(), Classic(), NoPeers()} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", c.Profile, err)
		}
		if got, err := Preset(c.Profile); (err == nil) != (c.Profile != "alone") || err == nil && got != c {
			t.Errorf("%s by its name: %+v, %v", c.Profile, got, err)
		}
	}
	// Each part is asked.
	for want, spoil := range map[string]func(c *Config){
		"election: ": func(c *Config) { c.Election.Listen = 0 },
		"tree: ":     func(c *Config) { c.Tree.Asks = 0 },
		"transfer: ": func(c *Config) { c.Transfer.Window = 0 },
	} {
		c := LAN()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s is refused with %v", want, err)
		}
	}
}

func TestTrees(t *testing.T) {
	for _, c := range []struct {
		stripes, chunks int
		want            uint8
	}{{0, 63, 1}, {0, 64, 2}, {1, 1000, 1}, {2, 1, 2}} {
		cfg := LAN()
		cfg.Transfer.Stripes = c.stripes
		if got := cfg.trees(c.chunks); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if Classic().trees(1000) != 1 {
		t.Error("the classic profile takes two trees")
	}
}

// TestRootSpeaksFromItsAddress: what comes in the root's name from another address
// is not heard.
func TestRootSpeaksFromItsAddress(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	attach(t, m)
	forged := claimed(1, &wire.Claim{Rank: wire.Rank{Prefix: 9}.Confirm(), Size: 1 << 20})
	forged.From = addr(3)
	m.Step(time.Second, forged, nil)
	m.Step(time.Second, resigned(1, 3, &wire.Resign{Reason: wire.ReasonOriginNotFound}), nil)
	m.Step(time.Second, resigned(1, 3, &wire.Resign{Reason: wire.ReasonStopped, Successor: peer(3)}), nil)
	if m.origin.Failing() || m.el.Root() == nil {
		t.Errorf("a forged resignation: origin failing %v, root %v", m.origin.Failing(), m.el.Root())
	}
	m.Step(time.Second, resigned(1, 1, &wire.Resign{Reason: wire.ReasonOriginNotFound}), nil)
	if !m.origin.Failing() || m.el.Root() != nil {
		t.Error("the root's own resignation is not heard")
	}
	m = newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	m.Step(0, Start{}, nil)
	m.Step(1, claimed(1, &wire.Claim{Rank: wire.Rank{}.Confirm(), Size: 1 << 20}), nil)
	pass(t, m, 1, time.Second/2)
	place := &wire.Place{Parent: peer(3), Addr: addr(3), Depth: 2}
	for _, from := range []int{3, 1} {
		dialled := false
		told := Datagram{From: addr(from), Env: wire.Envelope{From: peer(1)}, Msg: place}
		for _, a := range m.Step(time.Second/2, told, nil) {
			_, dial := a.(Dial)
			dialled = dialled || dial
		}
		if dialled != (from == 1) {
			t.Errorf("a place from address %d: dials %v", from, dialled)
		}
	}
}
