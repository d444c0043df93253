package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// Scenario is a site and a file that all ways are compared on.
type Scenario struct {
	Name     string
	WAN, LAN units.Rate
	RTT      time.Duration  // of the WAN
	Loss     units.Fraction // of the WAN
	Size     units.Size
	// Sample is the size of the file for ways in which a shared link carries
	// every device's copy: their time grows with the file in a known way, and
	// would be most of the bench's. 0 means Size.
	Sample  units.Size
	Devices []int // sizes of the site
	// Congestion is the congestion control of the server's connections. "": the site's.
	Congestion string
	// Line is true if what a line brings is what counts: it is compared with programs by
	// which one device downloads alone, and from several servers.
	Line bool
	// Queue is how long a packet may wait before the WAN, 0 as the site has it.
	Queue time.Duration
	// Beside is what others do on the WAN. If they do anything, that is what counts: how
	// much of the line they get, and how late a call's packets come.
	Beside measure.Beside
}

// Scenarios are those of the bench, in the order of its table. The sizes keep
// it below an hour.
func Scenarios() []Scenario {
	const ms = time.Millisecond
	all := []Scenario{
		{Name: "wan20", WAN: 20 * units.Mbit, LAN: 100 * units.Mbit, Size: 10e6, Sample: 3e6},
		{Name: "wan2", WAN: 2 * units.Mbit, LAN: 100 * units.Mbit, Size: 800e3, Sample: 200e3},
		{Name: "lan", WAN: 50 * units.Mbit, LAN: 10 * units.Mbit, Size: 4.5e6, Sample: 1.5e6},
		{Name: "far20", WAN: 20 * units.Mbit, LAN: 100 * units.Mbit, RTT: 200 * ms, Size: 10e6, Sample: 2e6},
		{Name: "far2", WAN: 2 * units.Mbit, LAN: 100 * units.Mbit, RTT: 200 * ms, Size: 800e3, Sample: 200e3},
		{Name: "lossy", WAN: 20 * units.Mbit, LAN: 100 * units.Mbit, RTT: 20 * ms, Loss: 0.01, Size: 5e6, Sample: 2e6},
	}
	for i := range all {
		all[i].Devices = []int{16, 48, 100}
	}
	for _, s := range []Scenario{
		{Name: "long", WAN: 20 * units.Mbit, RTT: 200 * ms},
		{Name: "long.1", WAN: 20 * units.Mbit, RTT: 200 * ms, Loss: 0.001},
		{Name: "long1", WAN: 20 * units.Mbit, RTT: 200 * ms, Loss: 0.01},
		{Name: "orbit", WAN: 10 * units.Mbit, RTT: 600 * ms, Loss: 0.005},
	} {
		s.LAN, s.Size, s.Devices, s.Congestion, s.Line = 100*units.Mbit, 20e6, []int{16}, "cubic", true
		all = append(all, s)
	}
	call := measure.Beside{Call: true}
	for _, s := range []Scenario{
		{Name: "call2", WAN: 2 * units.Mbit, Size: 9e6, Beside: call},
		{Name: "call20", WAN: 20 * units.Mbit, Size: 60e6, Beside: call},
		{Name: "share2", WAN: 2 * units.Mbit, Size: 9e6, Beside: measure.Beside{Call: true, Downloads: 1}},
		{Name: "share20", WAN: 20 * units.Mbit, Size: 60e6, Beside: measure.Beside{Call: true, Downloads: 1}},
	} {
		s.LAN, s.RTT, s.Queue, s.Devices, s.Congestion = 100*units.Mbit, 40*ms, 200*ms, []int{2}, "cubic"
		all = append(all, s)
	}
	return all
}

// ShortScenarios are three of the sites with 16 devices and half of the file:
// one limited by the WAN, one by the LAN, and one with a far server.
func ShortScenarios() []Scenario {
	all := slices.DeleteFunc(Scenarios(),
		func(s Scenario) bool { return !slices.Contains([]string{"wan20", "lan", "far20"}, s.Name) })
	for i := range all {
		all[i].Size /= 2
		all[i].Sample /= 2
		all[i].Devices = []int{eachUpTo}
	}
	return all
}

// link returns the scenario's WAN.
func (s Scenario) link() site.LinkConfig {
	return site.LinkConfig{Rate: s.WAN, RTT: s.RTT, Loss: s.Loss, Queue: s.Queue}
}

// SelectScenarios returns the scenarios that have one of the names, with sites
// of the given numbers of devices; no names mean all scenarios, no numbers mean
// their own.
func SelectScenarios(all []Scenario, names []string, devices []int) ([]Scenario, error) {
	var out []Scenario
	var known []string
	for _, s := range all {
		known = append(known, s.Name)
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		if len(devices) > 0 {
			s.Devices = devices
		}
		out = append(out, s)
	}
	for _, name := range names {
		if err := choice.Check("scenario", name, known); err != nil {
			return nil, err
		}
	}
	for _, n := range devices {
		if n < 1 || n > site.MaxDevices {
			return nil, fmt.Errorf("--devices is 1 to %d, not %d", site.MaxDevices, n)
		}
	}
	return out, nil
}

// Row is one row of the table of comparison: one method on one site.
type Row struct {
	Event    string `json:"event"` // "row"
	Scenario string `json:"scenario"`
	Devices  int    `json:"devices"`
	Method   string `json:"method"`
	// Ours is true for the product.
	Ours bool `json:"ours,omitempty"`
	// Computed is true if times and bytes were computed from a measurement with
	// MeasuredDevices and MeasuredSize.
	Computed        bool  `json:"computed,omitempty"`
	MeasuredDevices int   `json:"measured_devices"`
	MeasuredSize    int64 `json:"measured_size"`

	WAN  units.Rate     `json:"wan_bits_per_s"`
	LAN  units.Rate     `json:"lan_bits_per_s"`
	RTTS float64        `json:"wan_rtt_s,omitempty"`
	Loss units.Fraction `json:"wan_loss,omitempty"`
	Size int64          `json:"size"`

	BoundS  float64 `json:"bound_s"`
	LastS   float64 `json:"last_device_s"`
	MedianS float64 `json:"median_s"`
	P99S    float64 `json:"p99_s"`
	Ratio   float64 `json:"ratio_to_bound"`
	// WANRatio is WAN payload / size, BusiestRatio what the busiest device
	// sent with all headers / size; the latter on namespace sites only.
	// WANHeaders is true where the former has all headers too.
	WANRatio     float64 `json:"wan_ratio"`
	WANHeaders   bool    `json:"wan_ratio_with_headers,omitempty"`
	BusiestRatio float64 `json:"busiest_sent_ratio,omitempty"`
	CPUS         float64 `json:"cpu_s"` // of all devices
	// Congestion is the congestion control of both ends, as measure.Result has it.
	Congestion string `json:"congestion,omitempty"`
	// Beside is what came of what others did on the WAN.
	Beside *measure.BesideResult `json:"beside,omitempty"`
	// Busy is the share of the processors that other work used before the run.
	Busy   float64 `json:"busy_before"`
	Failed string  `json:"failed,omitempty"`
}

// Compare measures every way on every site of the scenarios. The error is about
// the arguments or is that of ctx; the rows until then are returned with it.
func Compare(ctx context.Context, cfg Config, scenarios []Scenario) ([]Row, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	skip := func(what, why string) {
		if cfg.OnSkip != nil {
			cfg.OnSkip(what, why)
		}
	}
	list := cfg.ways(skip)
	var all []Row
	for _, s := range scenarios {
		if cfg.Kind != site.KindNamespace && (s.WAN > s.LAN || s.link().Long()) {
			skip("site "+s.Name, "a loopback site has neither a LAN to shape nor a long link")
			continue
		}
		rows, err := compare(ctx, cfg, s, list)
		if all = append(all, rows...); err != nil {
			return all, err
		}
	}
	if len(all) == 0 {
		return nil, errors.New("nothing could be compared")
	}
	return all, nil
}

func compare(ctx context.Context, cfg Config, s Scenario, list []way) (all []Row, err error) {
	measured := map[string]Row{} // of the ways that grow by rule, by name
	for _, n := range s.Devices {
		for _, how := range list {
			if how.netns && cfg.Kind != site.KindNamespace || !how.takesPart(s) {
				continue
			}
			row, ok := measured[how.name]
			if !ok {
				count := n
				if how.alone {
					count = 1
				}
				if how.grow != nil {
					count = min(n, eachUpTo)
				}
				if row = cfg.row(ctx, s, count, how); ctx.Err() != nil {
					return all, ctx.Err()
				}
				if how.grow != nil && count == eachUpTo {
					measured[how.name] = row
				}
			}
			if how.grow != nil && row.Failed == "" {
				row = row.grown(n, s, how.grow)
			}
			if cfg.OnRow != nil {
				cfg.OnRow(row)
			}
			all = append(all, row)
		}
	}
	return all, nil
}

// measureConfig is how one way is measured.
func (c Config) measureConfig(s Scenario, devices int, how way) measure.Config {
	cfg := measure.Config{
		Devices: devices, WAN: s.WAN, LAN: s.LAN, RTT: s.RTT, Loss: s.Loss, Size: s.Size, Kind: c.Kind,
		Product: c.Product, Base: c.Base, Procs: c.Procs, Congestion: s.Congestion,
		Queue: s.Queue, Beside: s.Beside,
	}
	how.change(&cfg)
	if how.grow != nil && s.Sample > 0 {
		cfg.Size = min(cfg.Size, s.Sample)
	}
	if how.lockStep && s.RTT > 0 {
		cfg.Size = min(cfg.Size, units.Size(lockStepBlock*lockStepTime/s.RTT))
	}
	if !cfg.Peers {
		cfg.Timeout = time.Minute + 4*s.WAN.Time(int64(s.Size))*time.Duration(devices)
	}
	if how.alone {
		cfg.Timeout = aloneTime
	}
	return cfg
}

// row measures one way; of several runs the median counts. A way that cannot
// run is reported in its row and does not stop the others.
func (c Config) row(ctx context.Context, s Scenario, devices int, how way) Row {
	cfg := c.measureConfig(s, devices, how)
	row := Row{
		Event: "row", Scenario: s.Name, Devices: devices, Method: how.name, Ours: how.ours, MeasuredDevices: devices,
		MeasuredSize: int64(cfg.Size), WAN: s.WAN, LAN: s.LAN, RTTS: s.RTT.Seconds(), Loss: s.Loss, Size: int64(cfg.Size),
		BoundS: cfg.Bound().Seconds(),
	}
	runs := max(1, c.Runs)
	if how.each {
		runs = 1 // they take long and differ little
	}
	var results []*measure.Result
	for range runs {
		busy := waitIdle(ctx, c.WaitIdle)
		r, err := measure.Run(ctx, cfg)
		if err != nil {
			row.Failed = err.Error()
			return row
		}
		r.Busy = busy
		results = append(results, r)
	}
	slices.SortFunc(results, func(a, b *measure.Result) int {
		if a.OK() != b.OK() {
			return map[bool]int{true: 1, false: -1}[b.OK()]
		}
		return int(1e6 * (a.LastS - b.LastS))
	})
	r := results[(len(results)-1)/2]
	row.LastS, row.MedianS, row.P99S, row.Ratio, row.CPUS, row.Busy = r.LastS, r.MedianS, r.P99S, r.Ratio, r.CPUS, r.Busy
	row.Congestion, row.Beside = r.Congestion, r.Beside
	row.WANRatio, row.WANHeaders, row.BusiestRatio = r.WANRatio, r.WANHeaders, float64(r.BusiestSent)/float64(r.Size)
	if !r.OK() {
		row.Failed = r.FailureText()
	}
	return row
}

// grown returns the row for a larger site and for the scenario's file, by the
// way's rule of growth.
func (r Row) grown(devices int, s Scenario, grow growth) Row {
	if devices <= r.Devices && int64(s.Size) == r.Size {
		return r
	}
	g := grow(r, devices, s)
	g.Computed, g.Devices, g.Size = true, devices, int64(s.Size)
	g.BoundS = max(s.WAN.Time(g.Size), s.LAN.Time(g.Size)).Seconds()
	g.Ratio = g.LastS / g.BoundS
	return g
}

// rowFormat is that of the table's rows.
const rowFormat = "%-6s %4v  %-28s %9s %9s %9s %7s %8s %8s %8s %7s  %s\n"

// RowsHead writes the head of the table of comparison.
func RowsHead(w io.Writer) {
	fmt.Fprintf(w, rowFormat,
		"site", "dev.", "way", "last, s", "median", "p99", "/bound", "WAN/size", "busiest", "CPU, s", "others",
		"congestion control")
}

// RowsFoot explains the table's signs.
func RowsFoot(w io.Writer) {
	fmt.Fprintf(w,
		`~ computed: ways in which every device downloads by itself, or from one cache, are measured with %d devices
* counted on the WAN with all headers, not as payload
busiest: sent by the busiest device, with all headers, over the size; others: processors in use before the run
`, eachUpTo)
}

// Text writes the row for people.
func (r Row) Text(w io.Writer) {
	if r.Failed != "" {
		fmt.Fprintf(w, "%-6s %4d  %-28s FAILED: %s\n", r.Scenario, r.Devices, r.Method,
			strings.ReplaceAll(r.Failed, "\n", "\n    "))
		return
	}
	c := r.cells()
	fmt.Fprintf(w, rowFormat, r.Scenario, r.Devices, r.Method,
		c.Last, c.Median, c.P99, c.Ratio, c.WAN, c.Busiest, c.CPU, c.Others, r.notes())
}

// notes are the congestion control, and what came of what others did on the WAN.
func (r Row) notes() string {
	if r.Beside == nil {
		return r.Congestion
	}
	return r.Congestion + "; " + r.Beside.Short()
}

// rowCells are a row's figures as they are written, with their signs.
type rowCells struct {
	Last, Median, P99, Ratio, WAN, Busiest, CPU, Others string
}

func (r Row) cells() rowCells {
	about, star := "", ""
	if r.Computed {
		about = "~"
	}
	if r.WANHeaders {
		star = "*"
	}
	seconds := func(v float64) string { return fmt.Sprintf("%s%.1f", about, v) }
	times := func(v float64) string { return about + timesOf(v) }
	c := rowCells{
		seconds(r.LastS), seconds(r.MedianS), seconds(r.P99S), times(r.Ratio), times(r.WANRatio) + star, "–", seconds(r.CPUS),
		fmt.Sprintf("%.0f %%", 100*r.Busy),
	}
	if r.BusiestRatio > 0 {
		c.Busiest = times(r.BusiestRatio)
	}
	return c
}

// timesOf writes how many times something is, with the digits that count.
func timesOf(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// Text writes the scenario for people.
func (s Scenario) Text(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", s.Name, s.words()) }

func (s Scenario) words() string {
	return fmt.Sprintf("WAN %s%s, LAN %s, %s; bound %.1f s", s.WAN, s.link().Text(), s.LAN, s.Size,
		max(s.WAN.Time(int64(s.Size)), s.LAN.Time(int64(s.Size))).Seconds())
}
