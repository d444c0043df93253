// Package peerflags has the flags about the peers: whether and by which address a device
// shares, for peerload get and peerload-get.
//
// What lives here: the flags, and what they ask of package fetch. What must not: other
// flags, and exit statuses: an error here is one of the command line.
package peerflags

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/fetch"
	"github.com/peerload/peerload/internal/parse"
)

// Flags is how the device meets its peers.
type Flags struct {
	mode, address, iface string
	port                 uint16
}

// Register gives the flags to a command.
func (f *Flags) Register(fl *pflag.FlagSet) {
	fl.StringVar(&f.mode, "peers", "on", "share with the peers of the subnet: on or off")
	fl.StringVar(&f.address, "address", "", "own address, IP or IP/PREFIX (default: that of the interface)")
	fl.StringVar(&f.iface, "interface", "",
		"interface to take the address from (default: that of the route to the server)")
	fl.Uint16Var(&f.port, "port", 0, "peer port, UDP and TCP (default 4051)")
	cli.Values(fl, "peers", "on", "off")
}

// Default reports whether nothing is asked for that an agent of the device decides.
func (f *Flags) Default() bool { return *f == Flags{mode: "on"} }

// Peers says the same to package fetch.
func (f *Flags) Peers() (p fetch.Peers, err error) {
	p = fetch.Peers{Off: f.mode == "off", Interface: f.iface, Port: f.port}
	if f.address != "" && !p.Off {
		if p.Address, err = parse.Address(f.address); err != nil {
			return p, fmt.Errorf("--address: %w", err)
		}
	}
	return p, nil
}
