package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/lab/rounds"
	"github.com/peerload/peerload/internal/lab/site"
)

// roundsFlags are the flags of `rounds`.
type roundsFlags struct {
	cfg  rounds.Config
	json bool
}

func roundsCommand() *cobra.Command {
	f := &roundsFlags{}
	cmd := &cobra.Command{
		Use:   "rounds",
		Short: "Play rounds of random faults on a site of real agents",
		Long: `Play rounds of random faults on a site of real agents and a controller, each
agent in a network namespace of its own. In each round a load is published and
assigned to all. Meanwhile agents are killed, stopped, cut off from each other,
their disks filled, their state damaged, some are replaced by peers that lie, and
the WAN is cut. When the faults are over every honest device must run the load,
no device may have wrong bytes, and no agent may have ended by itself, but with
status 5 while its disk is full. At the end, what the controller and the agents
that were never killed use is compared over the rounds: memory, descriptors and
goroutines must not grow.

What happens in a round follows from the seed, the number of the round and the
number of devices alone: --first and --rounds play a round again.`,
		Example: `  peerload-lab rounds --devices 10 --rounds 5
  peerload-lab rounds --devices 100 --rounds 200 --seed 7
  peerload-lab rounds --devices 100 --seed 7 --first 42 --rounds 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.IntVar(&f.cfg.Devices, "devices", 10, fmt.Sprintf("number of devices, 2 to %d", rounds.MaxDevices))
	fl.IntVar(&f.cfg.Rounds, "rounds", 5, "number of rounds")
	fl.IntVar(&f.cfg.First, "first", 1, "number of the first round")
	fl.Uint64Var(&f.cfg.Seed, "seed", 1, "decides what happens")
	fl.DurationVar(&f.cfg.Limit, "limit", 5*time.Minute, "how long a round may take once its faults are over")
	fl.StringVar(&f.cfg.Base, "state", "", "where the files of the run are (default: tmpfs if it has the room)")
	fl.StringVar(&f.cfg.Agent, "peerload", "", "the program peerload (default: beside this one, else built)")
	fl.StringVar(&f.cfg.Server, "peerload-server", "", "the program peerload-server (default: likewise)")
	fl.BoolVar(&f.json, "json", false, "one JSON object a line")
	return cmd
}

// run plays the rounds. In the namespaces it is this program again.
func (f *roundsFlags) run(ctx context.Context, out io.Writer) error {
	if err := f.cfg.Validate(); err != nil {
		return err
	}
	if site.Isolated() {
		return f.inside(ctx, out)
	}
	return isolate(ctx, program{"peerload", f.cfg.Agent}, program{"peerload-server", f.cfg.Server})
}

func (f *roundsFlags) inside(ctx context.Context, out io.Writer) (err error) {
	lines := json.NewEncoder(out)
	f.cfg.OnRound = func(r rounds.Round) {
		if f.json {
			_ = lines.Encode(r) // a reader that has gone is told at the end
			return
		}
		fmt.Fprintf(out, "round %d: %s; %d of %d right, %.1f s\n", r.Round, r.Plan, r.Right, r.Honest, r.WallS)
		for _, text := range append(r.Exits, r.Wrong...) {
			fmt.Fprintf(out, "  %s\n", text)
		}
	}
	s, err := rounds.New(ctx, f.cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r, err := s.Run(ctx)
	if f.json {
		err = errors.Join(err, lines.Encode(r))
	} else {
		printRounds(out, r)
	}
	if err == nil && !r.Right() {
		err = &statusError{status: exitIncomplete, err: f.again(r)}
	}
	return err
}

// again says which rounds were wrong, and how to play one of them again.
func (f *roundsFlags) again(r *rounds.Result) error {
	if len(r.Failed) == 0 {
		return errors.New("what processes use has grown over the rounds: the table shows which")
	}
	return fmt.Errorf("wrong rounds: %s; play one again with --devices %d --seed %d --first %d --rounds 1",
		strings.Trim(fmt.Sprint(r.Failed), "[]"), f.cfg.Devices, f.cfg.Seed, r.Failed[0])
}

// printRounds prints what came of all rounds, as Markdown.
func printRounds(out io.Writer, r *rounds.Result) {
	var faults []string
	for _, kind := range []string{"kill", "stop", "cut", "full", "damage", "liar", "wan"} {
		faults = append(faults, fmt.Sprintf("%s %d", kind, r.Faults[kind]))
	}
	fmt.Fprintf(out, "\ndevices: %d; rounds: %d; seed: %d; %.0f s\nfaults: %s\nagents that ended by themselves: %d\n",
		r.Devices, r.Rounds, r.Seed, r.WallS, strings.Join(faults, ", "), r.Exits)
	fmt.Fprintf(out, "links to liars: %d; reported by now: %.1f MB from the server, %.1f MB from peers\n", r.Deceived,
		float64(r.FromOrigin)/1e6, float64(r.FromPeers)/1e6)
	if len(r.Growth) == 0 {
		return
	}
	fmt.Fprint(out, "\n| process | memory, MiB | descriptors | goroutines | |\n|---|---|---|---|---|\n")
	for _, g := range r.Growth {
		fmt.Fprintln(out, g)
	}
}
