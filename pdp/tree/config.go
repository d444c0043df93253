package tree

import (
	"errors"
	"time"
)

// Config holds the times of the tree. Take a preset.
type Config struct {
	// AskFirst is how long the first ask may stay unanswered; each further
	// one waits half as long again, at most AskAgain.
	AskFirst, AskAgain time.Duration
	// Asks is how many asks without any answer mean that the root is gone.
	Asks int
	// Rounds is how many times in a row a root may leave that many asks
	// unanswered, though it is heard, before it is not believed.
	Rounds int
	// Dial is how long a parent may take to accept and welcome.
	Dial time.Duration
	// Lease is how long a place is kept for a follower that has not said that
	// it took it.
	Lease time.Duration
	// Report is the distance between an attached follower's reports to the
	// root; the root stretches it where there are many.
	Report time.Duration
	// Forget is after how much silence a member is no longer counted.
	Forget time.Duration
	// Avoid is how long a parent that failed a child is not offered to it.
	Avoid time.Duration
	// Gather is how long a new follower waits for its place in the tree in
	// which it is a leaf, so that those who will have children there come
	// first.
	Gather time.Duration
}

// LAN is the preset for wired subnets.
func LAN() Config {
	return Config{
		AskFirst: 100 * time.Millisecond, AskAgain: time.Second, Asks: 3, Rounds: 4,
		Dial: time.Second, Lease: 2 * time.Second, Report: 2 * time.Second,
		Forget: 8 * time.Second, Avoid: 20 * time.Second, Gather: 100 * time.Millisecond,
	}
}

// Validate refuses times that cannot work.
func (c Config) Validate() error {
	for _, d := range []time.Duration{c.AskFirst, c.AskAgain, c.Dial, c.Lease, c.Report, c.Forget, c.Avoid, c.Gather} {
		if d <= 0 {
			return errors.New("tree: every time must be positive")
		}
	}
	if c.Asks < 1 || c.Rounds < 1 {
		return errors.New("tree: at least one ask is needed, and one more chance")
	}
	return nil
}

// ReportPeriod is the distance between a member's reports where the tree has
// n members: a root hears at most about 100 in a second.
func ReportPeriod(c Config, n int) time.Duration {
	return max(c.Report, time.Duration(n)*10*time.Millisecond)
}
