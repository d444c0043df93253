// Package tiers says which runs of the tests a test belongs to.
//
// What lives here: the tiers of CONTRIBUTING.md as tests ask for them. What must not: what
// other people's programs a test needs, which is foreign's.
//
// Read Long.
package tiers

import "testing"

// Long keeps a test out of the short run, go test -short, which has two minutes for all
// packages: a test that takes more than a second of a processor's time, starts many
// processes, or waits for some seconds. why says which of these, in a few words.
func Long(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short run: " + why)
	}
}
