package pdp

import (
	"testing"
	"time"

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
