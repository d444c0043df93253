package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/lab/bench"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
)

// benchFlags are the flags of both benches.
type benchFlags struct {
	cfg       bench.Config
	json      bool
	short     bool
	html      string
	scenarios []string
	devices   []int
	// What the run outside of the namespace tells the one inside.
	binaries string
	note     string
	skipped  [][2]string
}

func benchCommand() *cobra.Command {
	cmd := figuresCommand()
	cmd.Use = "bench"
	cmd.Short = "Measure the figures that are to be reached, or compare with other ways"
	cmd.Args = cobra.NoArgs
	cmd.AddCommand(figuresCommand(), compareCommand())
	return cmd
}

func figuresCommand() *cobra.Command {
	f := &benchFlags{}
	cmd := &cobra.Command{
		Use:   "figures",
		Short: "Measure every figure beside its bound and the figure to reach",
		Long: `Measure sites of real processes and print every figure beside its bound, or a
neighbour's figure, and the figure to reach. It takes about five minutes.

The exit status is 0 also where a figure falls short, which its row says; it is 1
if a device of a run failed.`,
		Example: `  peerload-lab bench
  peerload-lab bench figures --runs 1 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), "figures", f.figures)
		},
	}
	f.register(cmd, 3)
	return cmd
}

func compareCommand() *cobra.Command {
	f := &benchFlags{}
	var names []string
	for _, s := range bench.Scenarios() {
		names = append(names, s.Name)
	}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare with every device by itself, a cache, BitTorrent and multicast",
		Long: `Bring one file to all devices of a site in several ways and print them side by
side. Ways in which every device downloads by itself, or from one cache, are
measured with up to 16 devices and computed above it and for the whole file,
marked with "~". Other programs take part where they are installed: nginx and
curl, aria2, uftp. It takes about three quarters of an hour.`,
		Example: `  peerload-lab bench compare --html bench.html
  peerload-lab bench compare --scenario lan --devices 16
  peerload-lab bench compare --short`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := f.chosen(); err != nil { // before the namespaces are made
				return err
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), "compare", f.compare)
		},
	}
	f.register(cmd, 1)
	cmd.Flags().BoolVar(&f.short, "short", false, "three sites, 16 devices, half of the file: less than five minutes")
	cmd.Flags().StringVar(&f.html, "html", "", "write a report to this file, for a browser")
	cmd.Flags().StringSliceVar(&f.scenarios, "scenario", nil, "only these: "+strings.Join(names, ", "))
	strict.Values(cmd, "scenario", names...)
	cmd.Flags().StringSliceVar(&f.cfg.Methods, "method", nil,
		"only ways whose names contain one of these, such as peerload")
	cmd.Flags().IntSliceVar(&f.devices, "devices", nil, "sizes of the sites (default: 16, 48 and 100)")
	return cmd
}

func (f *benchFlags) register(cmd *cobra.Command, runs int) {
	fl := cmd.Flags()
	fl.StringVar(&f.cfg.Kind, "kind", site.KindNamespace,
		"netns or loopback; where netns cannot be made loopback is taken")
	strict.Values(cmd, "kind", site.KindNamespace, site.KindLoopback)
	fl.IntVar(&f.cfg.Runs, "runs", runs, "how often each figure is measured; the median counts")
	fl.DurationVar(&f.cfg.WaitIdle, "wait-idle", 0, "how long each run may wait until the processors are idle")
	fl.IntVar(&f.cfg.Procs, "device-procs", 1, "GOMAXPROCS of a device; -1 leaves it to the device")
	fl.StringVar(&f.cfg.Product, "peerload", "", "the program peerload (default: beside this one, else built)")
	fl.StringVar(&f.cfg.Base, "state", "", "where the devices keep their files (default: tmpfs if it has the room)")
	fl.StringVar(&f.cfg.Disk, "disk", "",
		"a directory on a disk, to measure what is written to it (default: that for temporary files)")
	fl.BoolVar(&f.json, "json", false, "one JSON object for every figure")
	fl.StringVar(&f.binaries, "binaries", "", "")
	fl.StringVar(&f.note, "note", "", "")
	for _, hidden := range []string{"binaries", "note"} {
		if err := fl.MarkHidden(hidden); err != nil {
			panic(err) // the flag has just been defined
		}
	}
}

// run prepares outside of the namespaces, where there is a network to get
// modules by, and runs the bench inside.
func (f *benchFlags) run(ctx context.Context, out io.Writer, name string,
	do func(context.Context, io.Writer) error) error {
	if err := f.cfg.Validate(); err != nil {
		return err
	}
	if site.Isolated() {
		return do(ctx, out)
	}
	tmp, err := process.NewRunDir(os.TempDir(), 0)
	if err != nil {
		return err
	}
	defer tmp.Close()
	if f.cfg.Product, err = process.FindProgram(ctx, "peerload", f.cfg.Product, tmp.Path); err != nil {
		return err
	}
	if name == "figures" {
		f.cfg.Binaries = bench.BuildBinaries(ctx, tmp.Path)
	}
	if f.cfg.Kind != site.KindNamespace {
		return do(ctx, out)
	}
	binaries, err := json.Marshal(f.cfg.Binaries)
	if err != nil {
		return err
	}
	args := append(slices.Clone(os.Args[1:]), "--peerload", f.cfg.Product, "--binaries", string(binaries))
	status, err := site.Isolate(ctx, args...)
	switch {
	case err != nil && ctx.Err() == nil:
		f.cfg.Kind, f.note = site.KindLoopback, "NOT IN NAMESPACES: "+err.Error()
		return do(ctx, out)
	case err == nil && status != 0:
		err = &statusError{status: status}
	}
	return err
}

// begin describes the machine.
func (f *benchFlags) begin(out io.Writer) bench.Machine {
	if f.binaries != "" {
		// It comes from this program; if it cannot be read, the figure is left
		// out.
		_ = json.Unmarshal([]byte(f.binaries), &f.cfg.Binaries)
	}
	m := f.cfg.Describe()
	m.Note = f.note
	f.tell(out, m)
	f.cfg.OnSkip = func(what, why string) {
		f.skipped = append(f.skipped, [2]string{what, why})
		f.tell(out, skipped{Event: "skipped", What: what, Why: why})
	}
	return m
}

// tell writes a thing as JSON or for people.
func (f *benchFlags) tell(out io.Writer, thing interface{ Text(io.Writer) }) {
	if f.json {
		// If this fails, nobody reads the output any more.
		_ = json.NewEncoder(out).Encode(thing)
		return
	}
	thing.Text(out)
}

// skipped says what is not measured here, and why.
type skipped struct {
	Event string `json:"event"` // "skipped"
	What  string `json:"what"`
	Why   string `json:"why"`
}

// Text writes it for people.
func (s skipped) Text(w io.Writer) { fmt.Fprintf(w, "not measured: %s: %s\n", s.What, s.Why) }

func (f *benchFlags) figures(ctx context.Context, out io.Writer) error {
	f.begin(out)
	if !f.json {
		bench.FiguresHead(out)
	}
	f.cfg.OnFigure = func(row bench.Figure) { f.tell(out, row) }
	all, err := bench.Figures(ctx, f.cfg)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(row bench.Figure) bool { return row.Failed != "" }) {
		return &statusError{status: exitIncomplete}
	}
	return nil
}

// chosen are the scenarios to compare in.
func (f *benchFlags) chosen() ([]bench.Scenario, error) {
	all := bench.Scenarios()
	if f.short {
		all = bench.ShortScenarios()
	}
	return bench.SelectScenarios(all, f.scenarios, f.devices)
}

func (f *benchFlags) compare(ctx context.Context, out io.Writer) (err error) {
	chosen, err := f.chosen()
	if err != nil {
		return err
	}
	page := bench.Page{Scenarios: chosen, Command: f.command()}
	if f.html != "" {
		// First, so that an error shows before the bench runs.
		file, failed := os.Create(f.html)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, page.WriteHTML(file), file.Close()) }()
	}
	page.Machine = f.begin(out)
	if !f.json {
		for _, s := range chosen {
			s.Text(out)
		}
		bench.RowsHead(out)
	}
	start := time.Now()
	f.cfg.OnRow = func(row bench.Row) { f.tell(out, row) }
	page.Rows, err = bench.Compare(ctx, f.cfg, chosen)
	page.Took, page.Skipped = time.Since(start), f.skipped
	if !f.json {
		bench.RowsFoot(out)
		fmt.Fprintf(out, "measured in %v\n", page.Took.Round(time.Second))
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(page.Rows, func(row bench.Row) bool { return row.Failed != "" }) {
		return &statusError{status: exitIncomplete}
	}
	return nil
}

// command is what was typed, without what this program told itself.
func (f *benchFlags) command() string {
	args := os.Args[1:]
	if site.Isolated() && len(args) > 4 {
		args = args[:len(args)-4]
	}
	return "peerload-lab " + strings.Join(args, " ")
}
