//go:build race

package sim

// underRace: the core has no goroutines, so that fewer sites will do.
const underRace = true
