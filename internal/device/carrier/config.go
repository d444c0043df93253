package carrier

import (
	"errors"
	"time"

	"github.com/peerload/peerload/pdp/election"
)

const (
	// MaxFollowers bounds the followers of a carrier: an order for all of them still
	// fits into a frame.
	MaxFollowers = 2048
	// MaxOfAddress bounds those of one address.
	MaxOfAddress = 8
)

// Config holds the times of the machine. Validate refuses the zero value.
type Config struct {
	// Election are the times of the election. Announce is how often a carrier says
	// that it lives.
	Election election.Config
	// Silent is after which silence of the carrier another one is elected.
	Silent time.Duration
	// Dial is how long a carrier may take to welcome a follower.
	Dial time.Duration
	// Spread is over how long followers spread when they go to a new carrier.
	Spread time.Duration
	// Again is over how long followers spread that a carrier could not take at once.
	Again time.Duration
	// Gather is how long a carrier waits for more followers, and for their mandates,
	// before it connects for them.
	Gather time.Duration
	// Pace is the least time between two connections for new followers.
	Pace time.Duration
	// MaxPace is that time while there are ever more: it doubles up to this.
	MaxPace time.Duration
	// Retry is the wait after a connection that failed; it doubles up to MaxRetry.
	Retry time.Duration
	// MaxRetry is the longest wait of a device that has no followers.
	MaxRetry time.Duration
	// CarrierRetry is that of a device that has some.
	CarrierRetry time.Duration
	// Late is how old the controller's last beat may be, as it reaches a follower.
	Late time.Duration
	// Patience is how long a device that nobody serves waits before it connects by
	// itself.
	Patience time.Duration
	// Jitter is over how long the devices of a subnet spread then.
	Jitter time.Duration
	// Prove is how long a follower's own connection must have worked for a carrier that
	// does not serve to be at fault.
	Prove time.Duration
	// ReportGather is how long a carrier waits for more reports before it hands them over:
	// nobody waits for one.
	ReportGather time.Duration
	// ReportWait is how long a device waits for the controller's answer to a report by way
	// of its carrier, before it reports by itself.
	ReportWait time.Duration
}

// Default returns the times for a wired subnet and a controller that beats once a
// minute.
func Default() Config {
	e := election.LAN()
	e.Announce = time.Second
	return Config{
		Election: e, Silent: 3 * time.Second, Dial: 2 * time.Second, Spread: 200 * time.Millisecond,
		Again: 500 * time.Millisecond,

		Gather: 400 * time.Millisecond, Pace: time.Second, MaxPace: 10 * time.Second,
		Retry: time.Second, MaxRetry: 5 * time.Minute, CarrierRetry: 15 * time.Second,
		Late: 90 * time.Second, Patience: 20 * time.Second, Jitter: 10 * time.Second, Prove: 30 * time.Second,
		ReportGather: 500 * time.Millisecond, ReportWait: 10 * time.Second,
	}
}

// Validate refuses times that cannot work.
func (c Config) Validate() error {
	for _, d := range []time.Duration{c.Silent, c.Dial, c.Spread, c.Again, c.Gather, c.Pace, c.Retry, c.Late,
		c.Patience, c.Jitter, c.Prove, c.ReportGather, c.ReportWait} {
		if d <= 0 {
			return errors.New("carrier: every time must be positive")
		}
	}
	switch {
	case c.MaxPace < c.Pace, c.CarrierRetry < c.Retry, c.MaxRetry < c.CarrierRetry:
		return errors.New("carrier: a time that grows must not end below its beginning")
	case c.Silent <= 2*c.Election.Announce:
		return errors.New("carrier: one claim that is lost must not make a carrier silent")
	case c.ReportWait <= 2*c.ReportGather:
		return errors.New("carrier: a report must have the time to wait for another batch")
	case c.Prove <= c.MaxPace+2*c.Gather:
		return errors.New("carrier: a carrier must have the time to connect for a follower before it is at fault")
	}
	return c.Election.Validate()
}
