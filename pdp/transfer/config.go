// Package transfer decides which chunk a parent sends to which child, and when:
// a Feed keeps a window of chunks in flight to each child, at the child's own
// pace, and finds a child that takes no bytes.
//
// Import it to send numbered pieces to several receivers that read at different
// speeds: its caller adds the children to a Feed, tells it what has been sent
// and what they report, and sends the chunks that Next names.
//
// What lives here: chunk numbers, sets of stripes, windows, and the times of the
// transfer. What must not: bytes, digests, who is root, who is placed where,
// sockets, clocks, goroutines. Read Config, then feed.go and stripe.go.
package transfer

import (
	"errors"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// Config holds the windows and deadlines of the transfer. Validate refuses what
// cannot work; 0 is refused too, except where a field says what it means. Take
// a preset and change it.
type Config struct {
	// Window is how many chunks may be in flight to one child, half of them,
	// rounded up, if it takes the others from another parent. With 3 one is
	// being written, one sent and one acknowledged.
	Window int
	// KeepAlive is the time between keep-alives on a link. 250 ms tells
	// children soon how far the root is, for some 250 bytes a second.
	KeepAlive time.Duration
	// Silence is the time without a byte after which the parent is gone. 1.5 s
	// are six keep-alives: a stall of the kernel or of flash memory passes. It
	// must be at least two KeepAlive.
	Silence time.Duration
	// Stall is how long a parent may hold chunks that its child lacks without
	// delivering one, and a child leave a chunk unread. 5 s is more than a
	// chunk of 64 KiB takes at 128 kbit/s.
	Stall time.Duration
	// SlowWindow is the time over which a parent that falls behind is measured.
	// 2 s has several chunks of any link of a LAN in it. The classic profile
	// has ten minutes: there nothing arrives while a whole file is passed down
	// a level.
	SlowWindow time.Duration
	// SlowLag is how many chunks a parent must be ahead of its child, or behind
	// the root, to count as slow. 16 chunks are more than the windows in flight
	// hold, so that jitter alone does not count.
	SlowLag int
	// Progress is how long a root may fail to advance by RootBytes before its
	// followers leave it. It must exceed the time that the root itself waits
	// for the origin, 5 s, so that the root resigns first and says why: 8 s.
	Progress time.Duration
	// RootBytes is how many bytes from the origin count as an advance of the
	// root: 1,024, which the slowest line delivers within Progress. 0: every
	// claim counts, and no root is ever found to stall.
	RootBytes int64
	// Turn is how long a root may wait for its turn at the origin. Two hours,
	// because a load of many files on a slow line takes that long, and a root
	// that waits does no harm.
	Turn time.Duration
	// Fallback is the time without a chunk after which a follower is entitled
	// to the server. 10 s: a new election and a new place take less, and if
	// peers fail an upgrade is not delayed by more than that.
	Fallback time.Duration
	// Look is how long a chunk may take the line to the server for a follower that
	// has begun to download directly to wait for it in any case. On a slower line no
	// chunk could have come by peers yet: it leaves the line to them for that time,
	// once. 5 s is the time of a chunk at 105 kbit/s.
	Look time.Duration
	// CatchUp is how long a follower that is ahead of a root waits at least for that
	// root to catch up before it downloads directly. 3 s are five of the root's claims:
	// whether it is on its way has shown by then. It must not exceed Fallback, which is
	// the longest such wait. A size that nobody has borne out is doubted as long.
	CatchUp time.Duration
	// CatchUpChunks is how many chunks beyond those that it lacks such a root is given
	// the time for. With 3, as many as are in flight to one child, what it sends then
	// has the time to arrive.
	CatchUpChunks int
	// FallbackJitter is the longest random wait before a follower goes to the
	// server, so that of many that may go the first is heard by the others.
	// 1 s is more than one Announce of the election.
	FallbackJitter time.Duration
	// Lapse is the time without bytes after which another's direct download no
	// longer counts: 10 s, which is more than a server may be silent before the
	// downloading device gives up by itself.
	Lapse time.Duration
	// Share is how long another's direct download is waited for at most, once for
	// each address, so that no claim keeps a device from the server for good. 20 s
	// bring a chunk over 26 kbit/s.
	Share time.Duration
	// FailedPeers is how many failed peers entitle a follower to the server.
	// One may be an accident, so 2.
	FailedPeers int
	// Backoff is how long an origin is left alone after its first failure; it
	// doubles with each further one. 1 s is time for a server to restart its
	// process, and no burden for one that is up.
	Backoff time.Duration
	// BackoffMax is the longest such time: a minute, so that a site notices
	// soon that its server is back. It must be at least Backoff.
	BackoffMax time.Duration
	// Attempts is how often a device tries itself before it gives up. With 3 a
	// device survives a single refusal, or a broken connection.
	Attempts int
	// Outage is how long after the origin's last byte no device gives up
	// because it cannot be reached or stalls, whatever Attempts says. A minute
	// is longer than a router takes to come back or a route to change. 0: not
	// at all.
	Outage time.Duration
	// RootWait is how long a confirmed root waits for children before it
	// downloads. 0: it begins at once, which is right where files are passed on
	// while they arrive; the classic profile waits for 10 s like Cisco's
	// original.
	RootWait time.Duration
	// WholeFiles makes a parent serve only what it holds completely, like
	// Cisco's original (store-and-forward). False: chunks are passed on as they
	// arrive.
	WholeFiles bool
	// Stripes is how many trees a file takes: 1, 2, or 0 for two where the file
	// has at least StripeChunks chunks. The root decides. 0 by default: two
	// trees use the uplinks of the leaves, and need a file that is longer than
	// its trees are deep.
	Stripes int
	// StripeChunks is the number of chunks from which on a file takes two trees
	// if Stripes is 0. 64 chunks are 4 MiB: for less the time of the second
	// place costs more than its uplinks bring. 0: every file takes two.
	StripeChunks int
}

// LAN is the preset for wired subnets.
func LAN() Config {
	return Config{
		Window: 3, KeepAlive: 250 * time.Millisecond, Silence: 1500 * time.Millisecond,
		Stall: 5 * time.Second, SlowWindow: 2 * time.Second, SlowLag: 16,
		Progress: 8 * time.Second, RootBytes: 1 << 10, Turn: 2 * time.Hour,
		Fallback: 10 * time.Second, Look: 5 * time.Second, CatchUp: 3 * time.Second, CatchUpChunks: 3,
		FallbackJitter: time.Second, Lapse: 10 * time.Second, Share: 20 * time.Second, FailedPeers: 2,
		Backoff: time.Second, BackoffMax: time.Minute, Attempts: 3, Outage: time.Minute,
		StripeChunks: 64,
	}
}

// Validate refuses values that cannot work.
func (c Config) Validate() error {
	for _, d := range []time.Duration{c.KeepAlive, c.Stall, c.SlowWindow, c.Progress, c.Turn, c.Fallback, c.Look,
		c.CatchUp, c.FallbackJitter, c.Lapse, c.Share, c.Backoff} {
		if d <= 0 {
			return errors.New("transfer: every time must be positive")
		}
	}
	switch {
	case c.Window < 1 || c.SlowLag < 1 || c.CatchUpChunks < 1 || c.FailedPeers < 1 || c.Attempts < 1:
		return errors.New("transfer: every count must be at least 1")
	case c.Silence < 2*c.KeepAlive:
		return errors.New("transfer: silence must be at least two keep-alives")
	case c.CatchUp > c.Fallback:
		return errors.New("transfer: the time to catch up must not exceed the time without a chunk")
	case c.BackoffMax < c.Backoff || c.RootWait < 0 || c.Outage < 0:
		return errors.New("transfer: the longest back-off must not be shorter than the first, nor a wait negative")
	case c.Stripes < 0 || c.Stripes > wire.MaxStripes || c.StripeChunks < 0:
		return errors.New("transfer: a file takes one tree or two")
	case c.RootBytes < 0:
		return errors.New("transfer: an advance of the root cannot be a negative number of bytes")
	}
	return nil
}
