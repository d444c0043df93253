// Package heap says when this process collects its garbage.
//
// What lives here: that, for programs that have little in use and make much for a moment.
// What must not: the agent's, which is to be small.
//
// Read first: Loosen.
package heap

import (
	"math"
	"runtime/debug"
)

// percent is how much the heap may grow, in percent of what is in use, before garbage is
// collected. With the default of 100 a controller collects several times for each step of
// an import, and a simulator for each site: nearly half of their processor time.
const percent = 400

// Loosen has the garbage of this process collected rarely, as long as it has less than half
// of the machine's memory. The variables GOGC and GOMEMLIMIT, as getenv returns them, go
// before that.
func Loosen(getenv func(string) string) {
	memory := machineMemory()
	if memory == 0 {
		return // the default needs no bound
	}
	grow, limit := settings(getenv("GOGC"), getenv("GOMEMLIMIT"), memory)
	if grow != 0 {
		debug.SetGCPercent(grow)
	}
	if limit != 0 {
		debug.SetMemoryLimit(limit)
	}
}

// settings are what Loosen sets on a machine with so many bytes of memory; 0 leaves as it is.
func settings(gogc, gomemlimit string, memory uint64) (grow int, limit int64) {
	if gogc != "" {
		return 0, 0 // who says that has his own reasons
	}
	if gomemlimit == "" {
		limit = int64(min(memory/2, math.MaxInt64))
	}
	return percent, limit
}
