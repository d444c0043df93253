package transfer

import "github.com/peerload/peerload/pdp/wire"

// Set is a set of stripes: which chunks a link carries. Stripe s holds the
// chunks i with i mod wire.MaxStripes = s.
type Set uint8

// All is the set of all stripes.
const All Set = 1<<wire.MaxStripes - 1

// SetOf returns what a link in the tree of a stripe carries if the file takes
// that many trees: all chunks if it takes one.
func SetOf(stripe, trees uint8) Set {
	if trees < 2 {
		return All
	}
	return 1 << stripe
}

// Has reports whether a stripe is in the set.
func (s Set) Has(stripe uint8) bool { return s&(1<<stripe) != 0 }

// from returns the first chunk of the set that is not before i.
func (s Set) from(i int) int {
	for s != 0 && !s.Has(uint8(i%wire.MaxStripes)) {
		i++
	}
	return i
}
