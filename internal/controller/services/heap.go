package services

import (
	"math"
	"runtime/debug"
)

// heapPercent is how much the heap of a controller may grow, in percent of what is in use,
// before garbage is collected. A controller has little in use and makes much for a moment:
// with the default of 100 it collects several times for each step of an import, which is
// nearly half of its processor time.
const heapPercent = 400

// Heap sets when the garbage of this process is collected: rarely, as long as it has less
// than half of the machine's memory. The variables GOGC and GOMEMLIMIT, as getenv returns
// them, go before that. It is for programs that are a controller.
func Heap(getenv func(string) string) {
	memory := machineMemory()
	if memory == 0 {
		return // the default needs no bound
	}
	percent, limit := heapOf(getenv("GOGC"), getenv("GOMEMLIMIT"), memory)
	if percent != 0 {
		debug.SetGCPercent(percent)
	}
	if limit != 0 {
		debug.SetMemoryLimit(limit)
	}
}

// heapOf is what Heap sets on a machine with so many bytes of memory; 0 leaves as it is.
func heapOf(gogc, gomemlimit string, memory uint64) (percent int, limit int64) {
	if gogc != "" {
		return 0, 0 // who says that has his own reasons
	}
	if gomemlimit == "" {
		limit = int64(min(memory/2, math.MaxInt64))
	}
	return heapPercent, limit
}
