package pdp

import (
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/internal/follower"
	"github.com/peerload/peerload/pdp/wire"
)

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
