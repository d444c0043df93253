package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/lab/units"
)

// longLinkFlags registers what makes the WAN a long link.
func longLinkFlags(fl *pflag.FlagSet, rtt, jitter *time.Duration, loss *units.Fraction) {
	fl.DurationVar(rtt, "rtt", 0, "round trip of the WAN, half each way, such as 200ms (netns only)")
	fl.DurationVar(jitter, "jitter", 0,
		"how much later a packet may come, each way, at most half the round trip (netns only)")
	fl.Var(loss, "loss", "packets that the WAN loses each way, such as 0.5% (netns only)")
}
