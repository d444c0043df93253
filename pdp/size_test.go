package pdp

import (
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
	liar := &wire.Claim{Rank: wire.Rank{Complete: true, Strength: 1<<32 - 1}.Confirm(), Size: 2 << 20, Prefix: 32, Complete: true}
	m.Step(now+time.Second, Datagram{From: addr(1), Env: env, Msg: liar}, nil)
	if m.IsRoot() {
		t.Fatal("the liar was not even followed: the test shows nothing")
	}
	if r := m.el.Root(); r != nil {
		t.Errorf("follows %v, which claims another size", r.Addr)
	}
	if m.held != 1 || m.Size() != 1<<20 {
		t.Errorf("lost what it had: %d chunks, %d bytes", m.held, m.Size())
	}
}

// TestSizeOfAPeerGivesWay: a size that only a peer told is given up for the
// root's, with all that came with it.
func TestSizeOfAPeerGivesWay(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attach(t, m)
	m.Step(time.Second, Stored{Link: link, Index: 0}, nil)
	if m.Size() != 1<<20 || m.held != 1 {
		t.Fatalf("%d bytes, %d chunks", m.Size(), m.held)
	}
	m.Step(time.Second, Framed{Link: link, Frame: &wire.End{Size: 1<<20 + 1}}, nil)
	if m.Size() != 1<<20+1 || m.held != 0 {
		t.Errorf("%d bytes, %d chunks", m.Size(), m.held)
	}
	if _, _, l := m.all[0].member.Parent(); l == link {
		t.Error("the parent goes on where it was, not from the start")
	}
}

// TestChunksBehindTheEnd: what came before anybody told the size, and lies
// behind it, is not counted for what is missing.
func TestChunksBehindTheEnd(t *testing.T) {
	m := newMachine(unsigned(), 1)
	link := attachTo(t, m, load.UnknownSize)
	m.Step(time.Second, Stored{Link: link, Index: 40}, nil)
	if m.held != 1 {
		t.Fatal("nothing held: the test shows nothing")
	}
	m.Step(time.Second, Framed{Link: link, Frame: &wire.End{Size: 1 << 20}}, nil)
	if m.Size() != 1<<20 || m.held != 0 {
		t.Errorf("%d bytes, %d chunks", m.Size(), m.held)
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
		if m.IsRoot() && m.open {
			return at
		}
	}
	t.Fatal("does not become root")
	return 0
}
