package wire

import (
	"testing"

	"pgregory.net/rapid"
)

// claimant is a rank and who claims it. The values are few, so that ties are
// many.
type claimant struct {
	rank Rank
	peer Peer
}

func drawClaimant(t *rapid.T, name string) claimant {
	return claimant{
		rank: Rank{
			Confirmed: rapid.Bool().Draw(t, name+" confirmed"),
			Complete:  rapid.Bool().Draw(t, name+" complete"),
			Prefix:    rapid.IntRange(0, 2).Draw(t, name+" prefix"),
			Strength:  rapid.SampledFrom([]uint32{0, 1, 1 << 31, 1<<32 - 1}).Draw(t, name+" strength"),
		},
		peer: Peer{
			ID:    rapid.Uint64Range(1, 2).Draw(t, name+" id"),
			Nonce: rapid.Uint32Range(0, 1).Draw(t, name+" nonce"),
		},
	}
}

func (c claimant) beats(d claimant) bool { return c.rank.Outranks(c.peer, d.rank, d.peer) }

func TestOutranksIsAStrictTotalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawClaimant(t, "a"), drawClaimant(t, "b"), drawClaimant(t, "c")
		if a.beats(a) {
			t.Fatalf("%+v beats itself", a)
		}
		if a.peer != b.peer && a.beats(b) == b.beats(a) {
			t.Fatalf("%+v and %+v: each beats the other: %v", a, b, a.beats(b))
		}
		if a.beats(b) && b.beats(c) && !a.beats(c) {
			t.Fatalf("%+v beats %+v, that beats %+v, but not the first the last", a, b, c)
		}
	})
}

// TestOutranksOrder: each criterion decides before all that stand after it.
func TestOutranksOrder(t *testing.T) {
	low, high := Peer{ID: 1}, Peer{ID: 2}
	ladder := []struct {
		what          string
		better, worse Rank
	}{
		{"confirmed", Rank{Confirmed: true}, Rank{Complete: true, Prefix: 9, Strength: 9}},
		{"complete", Rank{Complete: true}, Rank{Prefix: 9, Strength: 9}},
		{"prefix", Rank{Prefix: 1}, Rank{Strength: 9}},
		{"strength", Rank{Strength: 1}, Rank{}},
	}
	for _, c := range ladder {
		if !c.better.Outranks(low, c.worse, high) || c.worse.Outranks(high, c.better, low) {
			t.Errorf("%s does not decide: %+v against %+v", c.what, c.better, c.worse)
		}
	}
	if !(Rank{}).Outranks(high, Rank{}, low) {
		t.Error("the id does not break a tie")
	}
}

func TestConfirm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawClaimant(t, "a"), drawClaimant(t, "b")
		c := a.rank.Confirm()
		if !c.Confirmed || c.Strength>>31 != 1 || c.Strength<<1 != a.rank.Strength<<1 || c.CompareHolding(a.rank) != 0 {
			t.Fatalf("%+v was confirmed as %+v", a.rank, c)
		}
		if !b.rank.Confirmed && !c.Outranks(a.peer, b.rank, b.peer) {
			t.Fatalf("a latecomer %+v unseats %+v", b.rank, c)
		}
		if x, y := a.rank.CompareHolding(b.rank), b.rank.CompareHolding(a.rank); x != -y {
			t.Fatalf("%+v holds %d against %+v, which holds %d", a.rank, x, b.rank, y)
		}
	})
}
