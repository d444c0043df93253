package pdp

import (
	"fmt"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/tree"
)

// Config holds the times and limits of all parts of the protocol. Validate
// refuses the zero value: take a preset and change it. The devices of a subnet
// should all have the same one.
type Config struct {
	// Profile is the preset's name, for people; nothing is decided by it.
	// Empty: a Config that is not a preset.
	Profile string
	// Election holds the times by which devices agree on the root. The zero
	// value is refused.
	Election election.Config
	// Tree holds the times by which followers find and keep their places. The
	// zero value is refused.
	Tree tree.Config
	// Transfer holds the windows and times of links, and the limits with
	// peers and the origin. The zero value is refused.
	Transfer transfer.Config
}

// LAN is the default profile: a wired subnet, cut-through.
func LAN() Config {
	return Config{Profile: "lan", Election: election.LAN(), Tree: tree.LAN(), Transfer: transfer.LAN()}
}

// Classic is the original's profile (docs/ORIGINAL.md, "The election on a
// console"): half a second of listening, five claims 250 ms apart, ten seconds of
// waiting for children, and store-and-forward: whole files only, in one tree.
func Classic() Config {
	c := LAN()
	c.Profile = "classic"
	e, t := &c.Election, &c.Transfer
	e.Listen, e.ClaimEvery, e.Claims = 500*time.Millisecond, 250*time.Millisecond, 5
	e.Challenge, e.Holder, e.HeadStart = time.Second, 200*time.Millisecond, 500*time.Millisecond
	t.RootWait, t.WholeFiles, t.Stripes = 10*time.Second, true, 1
	t.Share = 2 * time.Minute       // a whole file takes that long
	t.SlowWindow = 10 * time.Minute // nothing arrives while a whole file is passed down a level
	t.Progress, t.Fallback = 30*time.Second, 60*time.Second
	return c
}

// NoPeers is the profile of a device that does not share: it need not listen
// for claims, and is its own root at once.
func NoPeers() Config {
	c := LAN()
	c.Profile = "alone"
	c.Election.Listen = time.Millisecond
	c.Election.Claims, c.Election.ClaimEvery, c.Election.Holder = 1, time.Millisecond, time.Millisecond/2
	c.Tree.AskFirst = time.Millisecond // nobody will ask it
	return c
}

// Preset returns the profile of a name.
func Preset(name string) (Config, error) {
	switch name {
	case "", "lan":
		return LAN(), nil
	case "classic":
		return Classic(), nil
	}
	return Config{}, fmt.Errorf("no timing profile %q: choose lan or classic", name)
}

// Validate refuses values that cannot work.
func (c Config) Validate() error {
	if err := c.Election.Validate(); err != nil {
		return err
	}
	if err := c.Tree.Validate(); err != nil {
		return err
	}
	return c.Transfer.Validate()
}

// trees returns how many trees a file of so many chunks takes.
func (c Config) trees(chunks int) uint8 {
	if t := c.Transfer; t.Stripes == 2 || t.Stripes == 0 && chunks >= t.StripeChunks {
		return 2
	}
	return 1
}
