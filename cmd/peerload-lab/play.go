package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/sim"
)

// playFlags are the flags of `liars`.
type playFlags struct {
	cfg   measure.Config
	seed  uint64
	runs  int
	worst int
	seeds []uint
	json  bool
	logs  string
}

func liarsCommand() *cobra.Command {
	f := &playFlags{cfg: measure.Config{WAN: 32 * units.Mbit, LAN: 100 * units.Mbit, Size: 20e6, Kind: site.KindNamespace,
		Peers: true, Procs: 1}}
	cmd := &cobra.Command{
		Use:   "liars",
		Short: "Play the worst liars of the simulator among real devices",
		Long: `Draw liars from seeds, each a random program over the protocol's messages, play
them in the simulator, and play the worst of them among real peerload processes
in network namespaces. Each run is set beside one without a liar: its last
device may be done 15 s later, and the WAN may carry three copies of the file.`,
		Example: `  peerload-lab liars
  peerload-lab liars --runs 10000 --worst 5
  peerload-lab liars --play 17,4711 --keep-logs logs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.IntVar(&f.cfg.Devices, "devices", 4, "number of honest devices")
	fl.Var(&f.cfg.WAN, "wan", "rate of the file server's link")
	fl.Var(&f.cfg.LAN, "lan", "rate of every device's port")
	fl.Var(&f.cfg.Size, "size", "size of the file")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the first liar")
	fl.IntVar(&f.runs, "runs", 2000, "how many liars are played in the simulator")
	fl.IntVar(&f.worst, "worst", 20, "how many of them are played among real devices")
	fl.UintSliceVar(&f.seeds, "play", nil, "play the liars of these seeds, and simulate none")
	fl.StringVar(&f.logs, "keep-logs", "", "directory for the devices' output")
	fl.StringVar(&f.cfg.Product, "peerload", "", "the program peerload (default: beside this one, else built)")
	fl.BoolVar(&f.json, "json", false, "one JSON object for every run")
	return cmd
}

func (f *playFlags) run(ctx context.Context, out io.Writer) error {
	if f.runs < 1 || f.runs > maxRuns || f.worst < 1 {
		return fmt.Errorf("--runs is 1 to %d and --worst 1 or more, not %d and %d", maxRuns, f.runs, f.worst)
	}
	if err := f.cfg.Validate(); err != nil {
		return err
	}
	if !site.Isolated() {
		return isolate(ctx, program{"peerload", f.cfg.Product})
	}
	return withProduct(ctx, &f.cfg.Product, func() error {
		seeds, err := f.choose(ctx, out)
		if err != nil {
			return err
		}
		return f.play(ctx, out, seeds)
	})
}

func (f *playFlags) site(seed uint64) *sim.LiarSite {
	return sim.LiarSiteOf(seed, f.cfg.Devices, int64(f.cfg.Size), float64(f.cfg.WAN), float64(f.cfg.LAN))
}

// choose returns the seeds of the liars to be played: the worst in the simulator first.
func (f *playFlags) choose(ctx context.Context, out io.Writer) (seeds []uint64, err error) {
	for _, s := range f.seeds {
		seeds = append(seeds, uint64(s))
	}
	if len(seeds) > 0 {
		return seeds, nil
	}
	bar := newProgress(out, f.runs, "liars in the simulator", !f.json)
	all := make([]liarFinding, 0, f.runs)
	err = shard(ctx, f.runs, func(i int) (liarFinding, error) { return playLiars(f.site(f.seed + uint64(i))), nil },
		func(_ int, x liarFinding) bool {
			bar.step()
			all = append(all, x)
			return true
		})
	bar.end()
	slices.SortStableFunc(all, worse)
	for _, x := range all[:min(len(all), f.worst)] {
		seeds = append(seeds, x.Seed)
	}
	return seeds, err
}

// played is what came of a liar among real devices.
type played struct {
	Event    string  `json:"event"` // "liar"
	Seed     uint64  `json:"seed"`
	Program  string  `json:"program"`
	LastS    float64 `json:"last_s"` // 0 if a device has not ended well
	BoundS   float64 `json:"bound_s"`
	Copies   float64 `json:"copies"`
	MostOf   float64 `json:"copies_bound"`
	InBounds bool    `json:"in_bounds"`
}

// play runs a site without a liar, and one with each.
func (f *playFlags) play(ctx context.Context, out io.Writer, seeds []uint64) error {
	quiet, err := f.measure(ctx, "quiet")
	if err != nil {
		return err
	}
	if !quiet.OK() {
		quiet.Text(out)
		return &statusError{status: exitIncomplete}
	}
	if !f.json {
		fmt.Fprintf(out, "without a liar: %.1f s, %.2f copies\n", quiet.LastS, quiet.WANRatio)
	}
	beyond := 0
	for _, seed := range seeds {
		c := f.site(seed)
		last, copies := c.Bound(time.Duration(quiet.LastS * float64(time.Second)))
		f.cfg.Liar, f.cfg.LiarSeed = &c.Liars[0], seed
		r, err := f.measure(ctx, fmt.Sprint(seed))
		if err != nil {
			return err
		}
		p := played{Event: "liar", Seed: seed, Program: c.Liars[0].String(), BoundS: last.Seconds(), Copies: r.WANRatio,
			MostOf: copies}
		if r.OK() {
			p.LastS = r.LastS
		}
		if p.InBounds = r.OK() && p.LastS <= p.BoundS && p.Copies <= copies; !p.InBounds {
			beyond++
		}
		if err := p.tell(out, f.json); err != nil {
			return err
		}
	}
	if !f.json {
		fmt.Fprintf(out, "%s: %d beyond the bound\n", count(len(seeds), "liar"), beyond)
	}
	if beyond > 0 {
		return &statusError{status: exitIncomplete}
	}
	return nil
}

func (f *playFlags) measure(ctx context.Context, name string) (*measure.Result, error) {
	cfg := f.cfg
	if f.logs != "" {
		cfg.Logs = filepath.Join(f.logs, name)
	}
	return measure.Run(ctx, cfg)
}

func (p *played) tell(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(p)
	}
	last := fmt.Sprintf("%.1f s", p.LastS)
	if p.LastS == 0 {
		last = "not all devices have the file"
	}
	wrong := ""
	if !p.InBounds {
		wrong = "  WRONG"
	}
	_, err := fmt.Fprintf(out, "seed %d: %s of %.1f s, %.2f of %.2f copies%s\n", p.Seed, last, p.BoundS, p.Copies,
		p.MostOf, wrong)
	return err
}
