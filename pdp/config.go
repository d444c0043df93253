package pdp

import (
	"fmt"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/tree"
)

// Config holds the times of all parts. Take a preset by name.
type Config struct {
	// Profile is the preset's name, for people.
	Profile  string
	Election election.Config
	Tree     tree.Config
	Transfer transfer.Config
}

// LAN is the default profile: a wired subnet, cut-through.
func LAN() Config {
	return Config{Profile: "lan", Election: election.LAN(), Tree: tree.LAN(), Transfer: transfer.LAN()}
}

// Classic is the original's profile: its timing, and store-and-forward.
func Classic() Config {
	return Config{Profile: "classic", Election: election.Classic(), Tree: tree.LAN(), Transfer: transfer.Classic()}
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

// Validate refuses what cannot work.
func (c Config) Validate() error {
	if err := c.Election.Validate(); err != nil {
		return err
	}
	if err := c.Tree.Validate(); err != nil {
		return err
	}
	return c.Transfer.Validate()
}
