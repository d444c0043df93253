package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/heap"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/internal/sim"
)

// maxSubnets bounds the subnets of one run.
const maxSubnets = 10_000

// simFlags are the flags of `sim`.
type simFlags struct {
	siteShape
	subnets int
	seed    uint64
	faults  []string
	noTable bool
	loss    units.Fraction
	runs    int
	digest  bool
	// liars plays sites with random liars; keepGoing plays all, whatever is wrong.
	liarSites, keepGoing bool
	json                 bool
	trace                bool
}

// siteShape are the flags that sim and plan share.
type siteShape struct {
	devices  int
	wan, lan units.Rate
	size     units.Size
	rtt      time.Duration
	spread   time.Duration
	wanLoss  units.Fraction
	// connections of a device to the server.
	connections int
}

func (f *siteShape) register(fl *pflag.FlagSet) {
	fl.IntVar(&f.devices, "devices", f.devices, "number of devices")
	fl.Var(&f.wan, "wan", "rate of a subnet's way to the server")
	fl.Var(&f.lan, "lan", "rate of every device's port")
	fl.Var(&f.size, "size", "size of the file")
	fl.DurationVar(&f.rtt, "rtt", f.rtt, "round trip to the server")
	fl.DurationVar(&f.spread, "spread", f.spread, "time over which the devices start")
	fl.Var(&f.wanLoss, "wan-loss", "packets that the WAN loses, such as 0.5%; it bounds what one connection brings")
	fl.IntVar(&f.connections, "origin-connections", pieces.Most,
		"most connections of a device to the server; 1: one stream")
}

// inRange refuses what so many subnets cannot have, by the names of the flags.
func (f *siteShape) inRange(subnets int) error {
	switch most := subnets * sim.MaxSiteDevices; {
	case f.devices < 1 || f.devices > most:
		return fmt.Errorf("--devices is 1 to %d, not %d", most, f.devices)
	case f.rtt < 0 || f.rtt > sim.MaxRTT:
		return fmt.Errorf("--rtt is 0s to %v, not %v", sim.MaxRTT, f.rtt)
	case f.spread < 0:
		return fmt.Errorf("--spread is 0s or longer, not %v", f.spread)
	case f.wanLoss > sim.MaxLoss:
		return fmt.Errorf("--wan-loss is 0%% to %v, not %v", units.Fraction(sim.MaxLoss), f.wanLoss)
	case f.connections < 1 || f.connections > pieces.Most:
		return fmt.Errorf("--origin-connections is 1 to %d, not %d", pieces.Most, f.connections)
	}
	return nil
}

func (f *siteShape) site(seed uint64) sim.Site {
	return sim.Site{
		Seed: seed, Devices: f.devices, Sizes: []int64{int64(f.size)},
		WAN: float64(f.wan), LAN: float64(f.lan), RTT: f.rtt, Spread: f.spread,
		WANLoss: float64(f.wanLoss), Connections: f.connections,
	}
}

func simCommand() *cobra.Command {
	f := &simFlags{siteShape: siteShape{
		devices: 1000, wan: 20 * units.Mbit, lan: 100 * units.Mbit, size: 7340032,
		rtt: 20 * time.Millisecond, spread: 80 * time.Millisecond,
	}}
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Play sites in virtual time, with the protocol's own machines",
		Long: `Play sites in virtual time: the protocol's own machines on modelled networks,
with the invariants checked throughout. Subnets are independent, each has its own
WAN, and as many as there are processors are played at once.

With --runs random sites with random faults are played, one for each seed; a
failure prints its seed and a shortened trace, and ends the run unless
--keep-going. --runs 1 --seed S replays one.
--liars plays sites on which nothing is wrong but a liar, or more liars than honest
devices: each is a random program over the messages of the protocol. Each site is
played twice, with the liars silent and with them; how much later the last device
is done and how much more crosses the WAN is bounded. The worst are named.

--digest adds one SHA-256 over the traces of all these sites: equal digests of two
versions mean that every device did the same at the same time.

The exit status is 1 if an invariant was broken or a device did not end.

Faults are NAME or NAME@PERCENT of the bytes:
  ` + strings.Join(sim.FaultNames(), ", "),
		Example: `  peerload-lab sim --devices 100000 --subnets 100
  peerload-lab sim --devices 100 --fault poweroff-root@50 --seed 7 --trace
  peerload-lab sim --runs 10000 --digest
  peerload-lab sim --seed 9000000 --runs 100000 --keep-going
  peerload-lab sim --runs 10000 --liars --keep-going`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("runs") {
				heap.Loosen(os.Getenv) // each site is garbage once it is played
				if f.liarSites {
					return f.liars(cmd.Context(), cmd.OutOrStdout())
				}
				return f.campaign(cmd.Context(), cmd.OutOrStdout())
			}
			if f.liarSites || f.keepGoing {
				return errors.New("--liars and --keep-going are of the random sites of --runs: give --runs too")
			}
			if f.digest {
				return errors.New("--digest is of the random sites of --runs: give --runs too; without, the result has a hash")
			}
			return f.play(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.IntVar(&f.subnets, "subnets", 1, "subnets that share the devices, each with its own WAN")
	fl.Uint64Var(&f.seed, "seed", 1, "decides every chance; with --runs, that of the first site")
	fl.StringArrayVar(&f.faults, "fault", nil, "a fault in every subnet, such as crash-root@50; repeatable")
	fl.BoolVar(&f.noTable, "no-table", false,
		"nobody knows more of the file than its digest: no signed chunk table, no size")
	fl.Var(&f.loss, "loss", "datagrams that the LAN loses")
	fl.IntVar(&f.runs, "runs", 0, "play so many random sites instead")
	fl.BoolVar(&f.digest, "digest", false, "with --runs: one SHA-256 over the traces of all sites")
	fl.BoolVar(&f.liarSites, "liars", false, "with --runs: sites with random liars, each bounded by its quiet run")
	fl.BoolVar(&f.keepGoing, "keep-going", false, "with --runs: play all sites though one is wrong, or beyond its bound")
	fl.BoolVar(&f.json, "json", false, "one JSON object")
	fl.BoolVar(&f.trace, "trace", false,
		"write every event of the first subnet, or of the one site of --runs 1, on stderr")
	cmd.MarkFlagsMutuallyExclusive("liars", "digest")
	cmd.MarkFlagsMutuallyExclusive("liars", "trace")
	for _, own := range []string{"devices", "wan", "lan", "size", "rtt", "spread", "subnets", "fault", "no-table",
		"loss"} {
		cmd.MarkFlagsMutuallyExclusive("runs", own) // a random site draws it
	}
	return cmd
}

// simResult is the result of all subnets.
type simResult struct {
	Event      string   `json:"event"` // "sim"
	Devices    int      `json:"devices"`
	Subnets    int      `json:"subnets"`
	Size       int64    `json:"size"`
	Seed       uint64   `json:"seed"`
	Expected   int      `json:"expected"`
	Complete   int      `json:"complete"`
	Failed     int      `json:"failed"` // ended with a reason
	BoundS     float64  `json:"bound_s"`
	LastS      float64  `json:"last_device_s"`
	MedianS    float64  `json:"median_s"` // of the slowest subnet
	Ratio      float64  `json:"ratio_to_bound"`
	WANBytes   int64    `json:"wan_bytes"`
	WANRatio   float64  `json:"wan_ratio"` // of the mean subnet
	Elections  int      `json:"elections"`
	Requests   int      `json:"requests"`
	Broadcasts int      `json:"broadcasts"`
	Events     uint64   `json:"events"`
	Hash       string   `json:"hash"`
	WallS      float64  `json:"wall_s"`
	MemoryMB   float64  `json:"memory_mb"`
	Violations []string `json:"violations,omitempty"`
	hash       uint64
}

func (r *simResult) add(o sim.Outcome) {
	r.Expected += o.Expected
	r.Complete += o.Complete
	r.Failed += o.Failed
	r.BoundS = max(r.BoundS, o.Bound.Seconds())
	r.LastS = max(r.LastS, o.Last.Seconds())
	r.MedianS = max(r.MedianS, o.Median.Seconds())
	r.WANBytes += o.WANBytes
	r.Elections += o.Elections
	r.Requests += o.Requests
	r.Broadcasts += o.Broadcasts
	r.Events += o.Events
	r.hash ^= o.Hash // any order of the subnets gives the same
	r.Violations = append(r.Violations, o.Violations...)
}

func (r *simResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s in %s, %s, seed %d\n", count(r.Devices, "device"), count(r.Subnets, "subnet"), units.Size(r.Size),
		r.Seed)
	fmt.Fprintf(w, "  last device   %.3f s   bound %.3f s   ratio %.3f   median %.3f s\n", r.LastS, r.BoundS, r.Ratio,
		r.MedianS)
	fmt.Fprintf(w, "  WAN payload   %.3f x size in each subnet, %s in all, %d requests\n", r.WANRatio,
		units.Size(r.WANBytes), r.Requests)
	fmt.Fprintf(w, "  elections %d, broadcasts %d\n", r.Elections, r.Broadcasts)
	fmt.Fprintf(w, "  complete      %d of %d\n", r.Complete, r.Expected)
	if r.Failed > 0 {
		fmt.Fprintf(w, "  failed        %d, with a reason\n", r.Failed)
	}
	fmt.Fprintf(w, "  played        %d events in %.1f s, %.0f MB, hash %s\n", r.Events, r.WallS, r.MemoryMB, r.Hash)
	for _, v := range r.Violations {
		fmt.Fprintf(w, "  WRONG         %s\n", v)
	}
}

// play plays the subnets of one site.
func (f *simFlags) play(ctx context.Context, out io.Writer) error {
	sites, err := f.sites()
	if err != nil {
		return err
	}
	r := &simResult{Event: "sim", Devices: f.devices, Subnets: f.subnets, Size: int64(f.size), Seed: f.seed}
	began := time.Now()
	bar := newProgress(out, len(sites), "subnets", !f.json)
	err = shard(ctx, len(sites), func(i int) (sim.Outcome, error) {
		sites[i].Cancelled = func() bool { return ctx.Err() != nil }
		return sites[i].Play()
	},
		func(i int, o sim.Outcome) bool {
			for k, v := range o.Violations {
				o.Violations[k] = fmt.Sprintf("subnet %d, seed %d: %s", i, sites[i].Seed, v)
			}
			r.add(o)
			bar.step()
			return true
		})
	bar.end()
	if err != nil {
		return err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.WallS, r.MemoryMB, r.Hash = time.Since(began).Seconds(), float64(m.Sys)/1e6, fmt.Sprintf("%016x", r.hash)
	if r.BoundS > 0 {
		r.Ratio = r.LastS / r.BoundS
	}
	if r.Size > 0 {
		r.WANRatio = float64(r.WANBytes) / float64(r.Size) / float64(r.Subnets)
	}
	if f.json {
		err = json.NewEncoder(out).Encode(r)
	} else {
		r.text(out)
	}
	if err == nil && len(r.Violations) > 0 {
		err = &statusError{status: exitIncomplete}
	}
	return err
}

// sites divides the devices among the subnets.
func (f *simFlags) sites() ([]sim.Site, error) {
	if f.subnets < 1 || f.subnets > maxSubnets {
		return nil, fmt.Errorf("--subnets is 1 to %d, not %d", maxSubnets, f.subnets)
	}
	if err := f.inRange(f.subnets); err != nil {
		return nil, err
	}
	if f.devices < f.subnets {
		return nil, fmt.Errorf("--subnets is not more than the %d devices, not %d", f.devices, f.subnets)
	}
	var faults []sim.Fault
	for _, s := range f.faults {
		x, err := sim.ParseFault(s)
		if err != nil {
			return nil, err
		}
		faults = append(faults, x)
	}
	var all []sim.Site
	for i := range f.subnets {
		c := f.site(f.seed + uint64(i))
		c.Devices = f.devices*(i+1)/f.subnets - f.devices*i/f.subnets
		c.Faults, c.Loss, c.Untabled = faults, float64(f.loss), f.noTable
		if f.trace && i == 0 {
			c.Trace = told{os.Stderr}
		}
		if err := c.Validate(); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// shard does n pieces of work, as many at once as there are processors, and
// hands over each result in the order of their ends, one at a time. A take
// that returns false ends it early; the first error too.
func shard[T any](ctx context.Context, n int, work func(int) (T, error), take func(int, T) bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		next  int
		first error
		early bool
	)
	for range min(n, runtime.NumCPU()) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n || ctx.Err() != nil {
					return
				}
				v, err := work(i)
				mu.Lock()
				switch {
				case errors.Is(err, sim.ErrCancelled):
				case err != nil && first == nil:
					first = err
					stop()
				case err == nil && !take(i, v):
					early = true
					stop()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if first == nil && !early {
		first = ctx.Err()
	}
	return first
}

// count writes a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
