// Command fleet is a campaign: a controller on PostgreSQL with a million devices, or
// fewer, and what it costs there. Each figure is printed beside its bound.
//
//	go run ./internal/fleet                          a million devices, about an hour of two processors
//	go run ./internal/fleet -devices 100000          the same for fewer: what grows with the fleet?
//	go run ./internal/fleet -phases reports …        a part; -database keeps the fleet for the next one
//
// The fleet follows from the seed: names, models, sites, and what each device says of
// itself. Devices come by bulk jobs, like a table that somebody uploads. Their earlier
// reports are written into the database at once, which is not measured. Then
// pages and overviews are read, a rollout takes a step, and devices report over HTTP
// at a given rate; the number of reports that were taken is printed beside it.
//
// Without -database the program starts a PostgreSQL server of its own (initdb and
// postgres of Debian's package postgresql), with memory for the fleet as docs/SCALE.md
// says and -fsync as given, and removes it. It takes pages of 2 MB if vm.nr_hugepages has
// set them aside. Clients, controller and database share the machine.
//
// The command fails if devices or reports are lost, or counts are wrong. It does not
// fail if a bound is missed, which may be the machine's fault.
//
// What lives here: the fleet, the phases, the table. What must not: what the controller
// does, which is its own packages'.
//
// Read campaign.go, then read.go and reports.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/tool"
)

func main() { tool.Main("fleet", run) }

// Bounds of a campaign.
const (
	mostDevices = 10_000_000
	mostRate    = 100_000
	mostClients = 10_000
)

// wantedRate is how many reports a controller is to take in a second. More are due: those
// of the last moment are still under way when the time is over.
const (
	wantedRate = 3000
	dueRate    = wantedRate + 20
)

// options are what the command line says.
type options struct {
	devices int // in thousands
	seed    uint64
	// database is where the fleet is kept, "" for a server of our own.
	database string
	fsync    bool // of that server
	phases   []string
	// rate is how many devices report in a second, for how long, and how many wait at a
	// time.
	rate     int
	duration time.Duration
	clients  int
	// calls is how often each page is read.
	calls int
}

// buffers is how many MB of its own server's memory this fleet wants: 4 KB a device, with
// its state, its credential and their indices.
func (o options) buffers() int { return max(128, o.devices/250) }

// all are the phases in their order.
var all = []string{"sites", "import", "heard", "reads", "rollout", "reports"}

// needs is what a phase goes on from.
var needs = map[string]string{"import": "sites", "heard": "import", "reads": "heard", "rollout": "import",
	"reports": "heard"}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("fleet", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.devices, "devices", 1_000_000, "devices of the fleet, in whole thousands")
	f.Uint64Var(&o.seed, "seed", 1, "what the fleet follows from")
	f.StringVar(&o.database, "database", "", "URL of a database in which the fleet stays; empty at first")
	f.BoolVar(&o.fsync, "fsync", false, "the server of this program writes to the disk before it acknowledges")
	phases := f.String("phases", strings.Join(all, ","), "which of these, in this order; those left out are done already")
	f.IntVar(&o.rate, "rate", dueRate, "reports that are due in a second")
	f.DurationVar(&o.duration, "for", 10*time.Minute, "how long devices report")
	f.IntVar(&o.clients, "clients", 512, "devices that report at the same time")
	f.IntVar(&o.calls, "calls", 300, "how often each page is read")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.phases = strings.Split(*phases, ",")
	return o, o.validate(f.Args())
}

func (o options) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q: there are flags only; -h lists them", rest[0])
	case o.devices < 1000 || o.devices > mostDevices || o.devices%1000 != 0:
		return fmt.Errorf("-devices is 1000 to %d in whole thousands, not %d", mostDevices, o.devices)
	case o.rate < 1 || o.rate > mostRate || o.clients < 1 || o.clients > mostClients:
		return fmt.Errorf("-rate is 1 to %d and -clients 1 to %d, not %d and %d", mostRate, mostClients, o.rate, o.clients)
	case o.duration <= 0 || o.calls < 1:
		return errors.New("-for and -calls must be above 0")
	case o.database != "" && o.fsync:
		return errors.New("-fsync is of the server of this program, and -database names another one")
	}
	for i, p := range o.phases {
		if !slices.Contains(all, p) {
			return fmt.Errorf("-phases: %q is none of %s", p, strings.Join(all, ", "))
		}
		if n := needs[p]; o.database == "" && n != "" && !slices.Contains(o.phases[:i], n) {
			return fmt.Errorf("-phases: %s needs %s before it, or -database, which has what is left out", p, n)
		}
	}
	return nil
}

// run does what the command line asks for.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	return campaign(ctx, o, stdout)
}
