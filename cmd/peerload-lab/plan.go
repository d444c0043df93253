package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/predict"
	"github.com/peerload/peerload/internal/sim"
	"github.com/peerload/peerload/load"
)

// planFlags are the flags of `plan`.
type planFlags struct {
	siteShape
	load  string
	seed  uint64
	json  bool
	check bool
	runs  int
}

func planCommand() *cobra.Command {
	f := &planFlags{siteShape: siteShape{
		devices: 1000, wan: 2 * units.Mbit, lan: 100 * units.Mbit, size: 7340032,
		rtt: 250 * time.Millisecond, spread: 80 * time.Millisecond,
	}}
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Predict how long an upgrade of a site takes, before anyone starts it",
		Long: `Predict how long the upgrade of one subnet takes and what it costs on the WAN, from
the simulator: the protocol's own machines in virtual time. Beside it stand what
the same takes without peers, computed, and what happens if the WAN has half the
rate, the root dies half way, or there are twice as many devices.

With --check four sites are predicted and then measured with real processes, as
"peerload-lab site" does, in about two minutes; the exit status is 1 if one
differs by more than 15 %.`,
		Example: `  peerload-lab plan --devices 1000 --wan 2mbit --rtt 250ms --lan 100mbit --size 7MB
  peerload-lab plan --devices 400 --wan 10mbit --load firmware/SIP41.9-4-2.load
  peerload-lab plan --check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.check {
				return f.measure(cmd.Context(), cmd.OutOrStdout())
			}
			return f.plan(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.StringVar(&f.load, "load", "",
		"a manifest (NAME.load), a directory with one, or one with the files of a load that nobody signs")
	fl.Uint64Var(&f.seed, "seed", 1, "decides every chance")
	fl.BoolVar(&f.json, "json", false, "JSON")
	fl.BoolVar(&f.check, "check", false, "compare the prediction with real processes on four sites")
	fl.IntVar(&f.runs, "check-runs", 1, "with --check: measurements of each site; the median counts")
	cmd.MarkFlagsMutuallyExclusive("load", "size")
	return cmd
}

// planCase is a row of the plan.
type planCase struct {
	Case     string   `json:"case"`
	How      string   `json:"how"` // a word of package predict
	LastS    float64  `json:"last_device_s"`
	WANBytes int64    `json:"wan_bytes"`
	WANRatio float64  `json:"wan_ratio"`
	Wrong    []string `json:"violations,omitempty"`
	Missing  int      `json:"missing,omitempty"` // devices that did not end complete
}

// planResult is the plan.
type planResult struct {
	Event   string     `json:"event"` // "plan"
	Devices int        `json:"devices"`
	WAN     units.Rate `json:"wan_bits_per_s"`
	LAN     units.Rate `json:"lan_bits_per_s"`
	RTTS    float64    `json:"wan_rtt_s"`
	Files   int        `json:"files"`
	Signed  int64      `json:"metadata_bytes"` // fetched first; 0 if nothing is signed
	Size    int64      `json:"size"`
	BoundS  float64    `json:"bound_s"`
	Cases   []planCase `json:"cases"`
	WallS   float64    `json:"wall_s"`
}

func (f *planFlags) plan(ctx context.Context, out io.Writer) error {
	if err := f.inRange(1); err != nil {
		return err
	}
	c := f.site(f.seed)
	if f.load != "" {
		var err error
		if c.Sizes, c.Metadata, err = loadSizes(f.load); err != nil {
			return err
		}
	}
	if err := c.Validate(); err != nil {
		return err
	}
	half, dead, twice := c, c, c
	half.WAN /= 2
	dead.Faults = []sim.Fault{{Name: "poweroff-root", At: 0.5}}
	twice.Devices *= 2
	sites := []sim.Site{c, half, dead, twice}
	names := []string{"Peerload", "half the WAN", "the root loses power at half", "twice the devices"}
	if twice.Devices > sim.MaxSiteDevices {
		sites, names = sites[:3], names[:3]
	}
	began := time.Now()
	cases := make([]planCase, len(sites))
	err := shard(ctx, len(sites), func(i int) (predict.Way, error) { return predict.Shared(names[i], sites[i]) },
		func(i int, w predict.Way) bool { cases[i] = caseOf(w); return true })
	if err != nil {
		return err
	}
	r := planResult{
		Event: "plan", Devices: c.Devices, WAN: f.wan, LAN: f.lan, RTTS: c.RTT.Seconds(),
		Files: len(c.Sizes), Signed: c.Metadata, Size: c.Size(), BoundS: c.Bound().Seconds(),
	}
	r.Cases = append(r.Cases, cases[0])
	for _, w := range predict.Alone(c) {
		r.Cases = append(r.Cases, caseOf(w))
	}
	r.Cases = append(r.Cases, cases[1:]...)
	r.WallS = time.Since(began).Seconds()
	if f.json {
		return json.NewEncoder(out).Encode(r)
	}
	r.text(out)
	return nil
}

// caseOf is a row of one way.
func caseOf(w predict.Way) planCase {
	return planCase{Case: w.Name, How: w.How, LastS: w.Last.Seconds(), WANBytes: w.WANBytes, WANRatio: w.Copies,
		Wrong: w.Violations, Missing: w.Missing}
}

func (r planResult) text(w io.Writer) {
	what := ""
	if r.Signed > 0 {
		what = fmt.Sprintf(" with %s of signed metadata", units.Size(r.Signed))
	}
	fmt.Fprintf(w, "%s, %s of %s in all%s; WAN %s, round trip %v, LAN %s\n",
		count(r.Devices, "device"), count(r.Files, "file"), units.Size(r.Size), what, r.WAN,
		time.Duration(r.RTTS*float64(time.Second)), r.LAN)
	fmt.Fprintf(w, "no way is faster than %s\n\n", longTime(r.BoundS))
	fmt.Fprintf(w, "  %-30s %14s %12s %10s  %s\n", "", "last device", "WAN", "copies", "")
	for _, c := range r.Cases {
		fmt.Fprintf(w, "  %-30s %14s %12s %10.3f  %s\n", c.Case, longTime(c.LastS), units.Size(c.WANBytes), c.WANRatio, c.How)
		if c.Missing > 0 {
			fmt.Fprintf(w, "      %d devices fall short of the whole\n", c.Missing)
		}
		for _, v := range c.Wrong {
			fmt.Fprintf(w, "      WRONG %s\n", v)
		}
	}
	fmt.Fprintf(w, "\npredicted in %.1f s\n", r.WallS)
}

// longTime writes seconds for people: to three places, or in hours.
func longTime(s float64) string {
	switch {
	case s < 100:
		return strconv.FormatFloat(s, 'f', 2, 64) + " s"
	case s < 3600:
		return (time.Duration(math.Round(s)) * time.Second).String()
	}
	return strconv.FormatFloat(s/3600, 'f', 1, 64) + " h"
}

// loadSizes returns the sizes of a load's files in the order in which devices
// fetch them, and the bytes of its signed metadata: as the manifest says at a
// path, in a directory or in a controller's data directory; where there is none
// all files of the directory count.
func loadSizes(at string) (sizes []int64, metadata int64, err error) {
	info, err := os.Stat(at)
	if err != nil {
		return nil, 0, fmt.Errorf("--load: %w", err)
	}
	if !info.IsDir() {
		return manifestSizes(at)
	}
	if _, err := os.Stat(filepath.Join(at, "controller.db")); err == nil {
		at = filepath.Join(at, "repository")
	}
	manifests, err := filepath.Glob(filepath.Join(escapeGlob(at), "*"+load.ManifestSuffix))
	switch {
	case err != nil:
		return nil, 0, err
	case len(manifests) > 1:
		return nil, 0, fmt.Errorf("--load: %s has %d loads: name one, such as --load %s", at, len(manifests), manifests[0])
	case len(manifests) == 1:
		return manifestSizes(manifests[0])
	}
	all, err := os.ReadDir(at)
	if err != nil {
		return nil, 0, fmt.Errorf("--load: %w", err)
	}
	for _, e := range all {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			sizes = append(sizes, info.Size())
		}
	}
	if len(sizes) == 0 {
		return nil, 0, fmt.Errorf("--load: %s has no files: name a manifest, or a directory with the files of a load", at)
	}
	return sizes, 0, nil
}

// manifestSizes returns the sizes that a manifest names, and what it takes with
// the TUF metadata beside it.
func manifestSizes(path string) (sizes []int64, metadata int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("--load: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, load.MaxManifestSize+1))
	if err != nil {
		return nil, 0, fmt.Errorf("--load: %w", err)
	}
	m, err := load.ParseManifest(b)
	if err != nil {
		return nil, 0, fmt.Errorf("--load: %s is no manifest of a load: %w", path, err)
	}
	for _, c := range m.Components {
		sizes = append(sizes, c.Size)
	}
	metadata = int64(len(b))
	for _, role := range []string{"timestamp.json", "snapshot.json", "targets.json"} {
		metadata += newest(filepath.Join(filepath.Dir(path), "metadata"), role)
	}
	return sizes, metadata, nil
}

// newest returns the size of a role's metadata of the highest version in a
// directory, 0 if there is none.
func newest(dir, role string) (size int64) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return 0 // a manifest by itself
	}
	best := -1
	for _, e := range all {
		number, rest, _ := strings.Cut(e.Name(), ".")
		version, err := strconv.Atoi(number)
		if e.Name() == role {
			version, rest, err = 0, role, nil
		}
		if info, ierr := e.Info(); err == nil && ierr == nil && rest == role && version > best {
			best, size = version, info.Size()
		}
	}
	return size
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// checkSites are measured by plan --check: limited by the WAN, by a slow WAN,
// by the LAN, and by a long round trip.
var checkSites = []siteShape{
	{devices: 16, wan: 20 * units.Mbit, lan: 100 * units.Mbit, size: 20e6},
	{devices: 32, wan: 8 * units.Mbit, lan: 100 * units.Mbit, size: 8e6},
	{devices: 16, wan: 200 * units.Mbit, lan: 50 * units.Mbit, size: 50e6},
	{devices: 24, wan: 10 * units.Mbit, lan: 100 * units.Mbit, size: 8e6, rtt: 100 * time.Millisecond},
}

// checkMost is how far a prediction may be from what is measured.
const checkMost = 0.15

// checkRow is a site predicted and measured.
type checkRow struct {
	Event      string     `json:"event"` // "check"
	Devices    int        `json:"devices"`
	WAN        units.Rate `json:"wan_bits_per_s"`
	LAN        units.Rate `json:"lan_bits_per_s"`
	RTTS       float64    `json:"wan_rtt_s"`
	Size       int64      `json:"size"`
	PredictedS float64    `json:"predicted_s"`
	MeasuredS  float64    `json:"measured_s"`
	Difference float64    `json:"difference"` // predicted / measured - 1
}

// measure predicts and measures the four sites.
func (f *planFlags) measure(ctx context.Context, out io.Writer) error {
	if f.runs < 1 || f.runs > 99 {
		return fmt.Errorf("--check-runs is 1 to 99, not %d", f.runs)
	}
	if !f.json {
		fmt.Fprintf(out, "| devices | WAN | round trip | LAN | size | predicted | measured | difference |\n"+
			"|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	}
	far := false
	for _, x := range checkSites {
		x.spread = f.spread
		o, _, err := x.site(f.seed).Predict()
		if err != nil {
			return err
		}
		last, err := measured(ctx, x, f.runs)
		if err != nil {
			return err
		}
		row := checkRow{
			Event: "check", Devices: x.devices, WAN: x.wan, LAN: x.lan, RTTS: x.rtt.Seconds(), Size: int64(x.size),
			PredictedS: o.Last.Seconds(), MeasuredS: last, Difference: o.Last.Seconds()/last - 1,
		}
		far = far || math.Abs(row.Difference) > checkMost
		if f.json {
			if err := json.NewEncoder(out).Encode(row); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(out, "| %d | %s | %v | %s | %s | %.2f s | %.2f s | %+.1f %% |\n",
			x.devices, x.wan, x.rtt, x.lan, x.size, row.PredictedS, last, 100*row.Difference)
	}
	if far {
		return &statusError{status: exitIncomplete, err: errors.New("a prediction is more than 15 % off")}
	}
	return nil
}

// measured runs `site` in a process of its own, as it needs namespaces of its
// own, and returns the median of the last devices' times in seconds.
func measured(ctx context.Context, x siteShape, runs int) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	var all []float64
	for range runs {
		cmd := exec.CommandContext(ctx, self, "site", "--json", "--devices", strconv.Itoa(x.devices),
			"--wan", fmt.Sprintf("%dbit", int64(x.wan)), "--lan", fmt.Sprintf("%dbit", int64(x.lan)),
			"--size", strconv.FormatInt(int64(x.size), 10), "--rtt", x.rtt.String())
		cmd.Stderr = os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has things to take away
		cmd.WaitDelay = 20 * time.Second
		b, err := cmd.Output()
		if err != nil {
			return 0, fmt.Errorf("measure %d devices: %w", x.devices, err)
		}
		var r measure.Result
		if err := json.Unmarshal(b, &r); err != nil {
			return 0, fmt.Errorf("measure %d devices: %w", x.devices, err)
		}
		all = append(all, r.LastS)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}
