package bench

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"
)

// idle is the share of the processors that others may use when a measurement
// starts, if it may wait.
const idle = 0.15

// idleLook is how long the processors are observed.
const idleLook = time.Second

// waitIdle waits until the processors have been idle for a second, but no longer
// than most, and returns which share of them was in use in the last look.
func waitIdle(ctx context.Context, most time.Duration) float64 {
	deadline := time.Now().Add(most)
	for {
		busy := busyShare(ctx)
		if busy <= idle || ctx.Err() != nil || time.Now().After(deadline) {
			return busy
		}
	}
}

// busyShare observes the processors for idleLook; 0 if the kernel does not
// tell.
func busyShare(ctx context.Context) float64 {
	b1, t1 := processorTicks()
	select {
	case <-time.After(idleLook):
	case <-ctx.Done():
	}
	b2, t2 := processorTicks()
	if t2 <= t1 {
		return 0
	}
	return float64(b2-b1) / float64(t2-t1)
}

// processorTicks returns the time that all processors together have worked
// and have had, in the kernel's ticks.
func processorTicks() (busy, total uint64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	// user, nice, system, idle, iowait, irq, softirq, steal; what guests used
	// is part of user.
	for i, f := range fields[min(1, len(fields)):min(9, len(fields))] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, 0
		}
		total += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, total
}
