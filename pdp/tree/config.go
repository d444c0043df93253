package tree

import (
	"errors"
	"time"
)

// Config holds the times of the tree. Validate refuses the zero value of every
// field: take a preset and change it.
type Config struct {
	// AskFirst is how long the first ask may stay unanswered; each further one
	// waits half as long again. 100 ms is many times the round trip of a wired
	// subnet, and short compared with the time after which a device lacks
	// bytes.
	AskFirst time.Duration
	// AskAgain is the longest wait for an answer: 1 s, so that a follower which
	// lost its root or waits for a place tries at least that often.
	AskAgain time.Duration
	// Asks is how many asks without any answer mean that the root is gone. With
	// 3 of them two lost datagrams in a row are no reason to leave it.
	Asks int
	// Rounds is how many times in a row a root may leave that many asks
	// unanswered, although it is heard, before it is distrusted. 4, because a
	// root that has many followers, or that just restarted, may lose a few.
	Rounds int
	// Dial is how long a parent may take to accept and welcome. 1 s is time
	// for TCP to send a lost SYN again on most systems; a follower whose port
	// is full takes up to four times as long by itself.
	Dial time.Duration
	// Lease is how long a place is kept for a follower that has not said that
	// it took it: twice Dial, so that it has not been given away when a slow
	// welcome comes.
	Lease time.Duration
	// Report is the least time between an attached follower's reports to the
	// root, which stretches it where there are many: see ReportPeriod. 2 s
	// keeps the root's picture fresh at the cost of a small datagram.
	Report time.Duration
	// Forget is the silence after which a member is no longer counted: four
	// times Report, so that three lost reports in a row do not matter.
	Forget time.Duration
	// Avoid is how long a parent that failed a child is not offered to it, and
	// an address that took no bytes is refused. 20 s, because what makes a
	// device slow, such as the write of its flash memory, passes in that time.
	Avoid time.Duration
	// Gather is how long a new follower waits for its place in the tree in
	// which it is a leaf, so that members that will have children there come
	// first. 100 ms, in which all of a site that wakes together have asked.
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

// ReportPeriod is the time between a member's reports if the tree has n
// members: a root receives at most about 100 per second.
func ReportPeriod(c Config, n int) time.Duration {
	return max(c.Report, time.Duration(n)*10*time.Millisecond)
}
