// Package transfer decides which chunk a parent sends to which child, and when:
// a Feed keeps a window of chunks on the way to each child, at its own pace, and
// finds the child that takes no bytes.
//
// Import it where numbered pieces go to several receivers that read at different
// speeds: its caller adds the children to a Feed, tells it what has been sent and
// what they report, and sends the chunks that Next names.
//
// What lives here: chunk numbers, sets of stripes, windows, and the times of the
// transfer. What must not: bytes, digests, who is root, who is placed where,
// sockets, clocks, goroutines.
package transfer

import (
	"errors"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// Config holds the windows and deadlines of the transfer. Take a preset.
type Config struct {
	// Window is how many chunks may be on their way to one child, half of
	// them, rounded up, where it takes the others from another parent.
	Window int
	// KeepAlive is the distance between keep-alives on a link, Silence after
	// how long without a byte the parent is gone.
	KeepAlive, Silence time.Duration
	// Stall is how long a parent may hold chunks that its child lacks without
	// delivering one, and a child leave a chunk unread.
	Stall time.Duration
	// SlowWindow is over which time a parent that falls behind is measured,
	// SlowLag how many chunks behind it must be.
	SlowWindow time.Duration
	SlowLag    int
	// Progress is how long a root may fail to advance by RootBytes before its
	// followers turn from it. It must exceed the root's own patience with the
	// origin.
	Progress  time.Duration
	RootBytes int64
	// Turn is how long a root may wait for its turn at the origin.
	Turn time.Duration
	// Fallback is after how long without a chunk a follower is entitled to
	// the server, FallbackJitter the random wait before it goes, Lapse after
	// how long without bytes another's direct download no longer counts.
	Fallback, FallbackJitter, Lapse time.Duration
	// FailedPeers is how many failed peers entitle a follower to the server.
	FailedPeers int
	// Backoff is how long an origin is left alone after its first failure; it
	// doubles to BackoffMax. Attempts is how often a device tries itself
	// before it gives up.
	Backoff, BackoffMax time.Duration
	Attempts            int
	// Outage is for how long after the origin's last byte nobody gives up
	// because it cannot be reached or stalls, whatever Attempts says. 0: not
	// at all.
	Outage time.Duration
	// RootWait is how long a confirmed root waits for children before it
	// downloads.
	RootWait time.Duration
	// WholeFiles makes a parent serve only what it holds completely, as the
	// original does (store-and-forward).
	WholeFiles bool
	// Stripes is how many trees a file takes: 1, 2, or 0 for two where the file
	// has at least StripeChunks chunks. The root's word counts.
	Stripes, StripeChunks int
}

// LAN is the preset for wired subnets.
func LAN() Config {
	return Config{
		Window: 3, KeepAlive: 250 * time.Millisecond, Silence: 1500 * time.Millisecond,
		Stall: 5 * time.Second, SlowWindow: 2 * time.Second, SlowLag: 16,
		Progress: 8 * time.Second, RootBytes: 1 << 10, Turn: 2 * time.Hour,
		Fallback: 10 * time.Second, FallbackJitter: time.Second, Lapse: 10 * time.Second, FailedPeers: 2,
		Backoff: time.Second, BackoffMax: time.Minute, Attempts: 3, Outage: time.Minute,
		StripeChunks: 64,
	}
}

// Validate refuses values that cannot work.
func (c Config) Validate() error {
	for _, d := range []time.Duration{c.KeepAlive, c.Stall, c.SlowWindow, c.Progress, c.Turn, c.Fallback, c.FallbackJitter, c.Lapse, c.Backoff} {
		if d <= 0 {
			return errors.New("transfer: every time must be positive")
		}
	}
	switch {
	case c.Window < 1 || c.SlowLag < 1 || c.FailedPeers < 1 || c.Attempts < 1:
		return errors.New("transfer: every count must be at least 1")
	case c.Silence < 2*c.KeepAlive:
		return errors.New("transfer: silence must be longer than two keep-alives")
	case c.BackoffMax < c.Backoff || c.RootWait < 0 || c.Outage < 0:
		return errors.New("transfer: the longest back-off must not be shorter than the first, nor a wait negative")
	case c.Stripes < 0 || c.Stripes > wire.MaxStripes || c.StripeChunks < 0:
		return errors.New("transfer: a file takes one tree or two")
	}
	return nil
}
