package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Scenario is a site and a file that all methods are compared on.
type Scenario struct {
	Name     string
	WAN, LAN Rate
	RTT      time.Duration // of the WAN
	Loss     Fraction      // of the WAN
	Size     Size
	Devices  []int // sizes of the site
}

// Scenarios are those of the bench, in the order of its table. The sizes keep
// it below half an hour.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "wan20", WAN: 20 * Mbit, LAN: 100 * Mbit, Size: 10e6, Devices: []int{16, 48, 100}},
		{Name: "wan2", WAN: 2 * Mbit, LAN: 100 * Mbit, Size: 1e6, Devices: []int{16, 48, 100}},
		{Name: "lan", WAN: 200 * Mbit, LAN: 50 * Mbit, Size: 30e6, Devices: []int{16}},
		{Name: "far20", WAN: 20 * Mbit, LAN: 100 * Mbit, RTT: 200 * time.Millisecond, Size: 10e6, Devices: []int{16}},
		{Name: "far2", WAN: 2 * Mbit, LAN: 100 * Mbit, RTT: 200 * time.Millisecond, Size: 1e6, Devices: []int{16}},
		{Name: "lossy", WAN: 20 * Mbit, LAN: 100 * Mbit, RTT: 20 * time.Millisecond, Loss: 0.01, Size: 5e6, Devices: []int{16}},
	}
}

// link returns the scenario's WAN.
func (s Scenario) link() LinkConfig { return LinkConfig{Rate: s.WAN, RTT: s.RTT, Loss: s.Loss} }

// ShortScenarios are one small site behind a slow and behind a fast WAN.
func ShortScenarios() []Scenario {
	return []Scenario{
		{Name: "wan20", WAN: 20 * Mbit, LAN: 100 * Mbit, Size: 2e6, Devices: []int{16}},
		{Name: "lan", WAN: 200 * Mbit, LAN: 50 * Mbit, Size: 5e6, Devices: []int{16}},
	}
}

// SelectScenarios returns those of all that have one of the names, with sites
// of the given numbers of devices; no names mean all, no numbers their own.
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
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no scenario %q: %s", name, strings.Join(known, ", "))
		}
	}
	for _, n := range devices {
		if n < 1 || n > MaxDevices {
			return nil, fmt.Errorf("%d devices are outside 1 to %d", n, MaxDevices)
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
	// Computed is true where times and bytes were computed from a measurement
	// with MeasuredDevices and MeasuredSize.
	Computed        bool  `json:"computed,omitempty"`
	MeasuredDevices int   `json:"measured_devices"`
	MeasuredSize    int64 `json:"measured_size"`

	WAN  Rate     `json:"wan_bits_per_s"`
	LAN  Rate     `json:"lan_bits_per_s"`
	RTTS float64  `json:"wan_rtt_s,omitempty"`
	Loss Fraction `json:"wan_loss,omitempty"`
	Size int64    `json:"size"`

	BoundS  float64 `json:"bound_s"`
	LastS   float64 `json:"last_device_s"`
	MedianS float64 `json:"median_s"`
	P99S    float64 `json:"p99_s"`
	Ratio   float64 `json:"ratio_to_bound"`
	// WANRatio is WAN payload / size, BusiestRatio what the busiest device
	// sent with all headers / size; the latter on namespace sites only.
	WANRatio     float64 `json:"wan_ratio"`
	BusiestRatio float64 `json:"busiest_sent_ratio,omitempty"`
	CPUS         float64 `json:"cpu_s"` // of all devices
	Failed       string  `json:"failed,omitempty"`
}

// method is a way to bring the file to all devices.
type method struct {
	name   string
	change func(*MeasureConfig)
	// each is true where every device downloads by itself: time and bytes then
	// grow with the devices, and large sites need not be waited for.
	each bool
	// netns is true where the method needs a subnet of its own.
	netns bool
	// lockStep is true where a device gets a block in a round trip: over a
	// long link that is measured with a small file, and computed for the whole.
	lockStep bool
}

// lockStepSize is the file for lock step over a long link: 70 round trips.
const lockStepSize Size = 100e3

// eachUpTo is how many devices may download by themselves in the bench.
const eachUpTo = 16

// methods are the product's and, as far as they are installed, the others.
func methods(skip func(what, why string)) []method {
	all := []method{
		{name: "TFTP per device", each: true, lockStep: true, change: func(c *MeasureConfig) {
			// Lock step, as phones do it: one block, one acknowledgement.
			c.TFTP, c.Args = true, []string{"--tftp-window", "1"}
		}},
		{name: "HTTP per device", each: true, change: func(*MeasureConfig) {}},
	}
	for _, f := range []struct {
		name string
		find func() (*Client, error)
	}{{"nginx cache", Cache}, {"aria2", Aria2}} {
		c, err := f.find()
		if err != nil {
			skip(f.name, err.Error())
			continue
		}
		all = append(all, method{name: c.Name, netns: true, change: func(m *MeasureConfig) { m.Client = c }})
	}
	skip("uftp", "it needs multicast across the WAN, which the lab's routers do not carry")
	return append(all,
		method{name: "Peerload, store and forward", change: func(c *MeasureConfig) {
			c.Peers, c.Args = true, []string{"--profile", "classic"}
		}},
		method{name: "Peerload, cut-through", change: func(c *MeasureConfig) { c.Peers = true }},
	)
}

// Compare measures every method on every site of the scenarios.
func Compare(ctx context.Context, cfg BenchConfig, scenarios []Scenario) ([]Row, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	skip := func(what, why string) {
		if cfg.OnSkip != nil {
			cfg.OnSkip(what, why)
		}
	}
	var all []Row
	for _, s := range scenarios {
		if cfg.Kind != KindNamespace && (s.WAN > s.LAN || s.link().Long()) {
			skip("site "+s.Name, "a loopback site has neither a LAN to shape nor a long link")
			continue
		}
		rows, err := compare(ctx, cfg, s, skip)
		if all = append(all, rows...); err != nil {
			return all, err
		}
	}
	if len(all) == 0 {
		return nil, errors.New("nothing could be compared")
	}
	return all, nil
}

func compare(ctx context.Context, cfg BenchConfig, s Scenario, skip func(what, why string)) (all []Row, err error) {
	silent := func(string, string) {}
	if s.Name == Scenarios()[0].Name {
		silent = skip // once is enough
	}
	list := methods(silent)
	list = slices.DeleteFunc(list, func(m method) bool {
		return len(cfg.Methods) > 0 && !slices.ContainsFunc(cfg.Methods, func(part string) bool {
			return strings.Contains(strings.ToLower(m.name), strings.ToLower(part))
		})
	})
	measured := map[string]Row{} // of methods without sharing, by name
	for _, n := range s.Devices {
		for _, how := range list {
			if how.netns && cfg.Kind != KindNamespace {
				continue
			}
			row, ok := measured[how.name]
			if !ok {
				count := n
				if how.each {
					count = min(n, eachUpTo)
				}
				if row, err = cfg.row(ctx, s, count, how); err != nil {
					return all, err
				}
				if how.each && count == eachUpTo {
					measured[how.name] = row
				}
			}
			row = row.grown(n, s)
			if cfg.OnRow != nil {
				cfg.OnRow(row)
			}
			all = append(all, row)
		}
	}
	return all, nil
}

// row measures one method; of several runs the one in the middle counts.
func (c BenchConfig) row(ctx context.Context, s Scenario, devices int, how method) (Row, error) {
	cfg := MeasureConfig{
		Devices: devices, WAN: s.WAN, LAN: s.LAN, RTT: s.RTT, Loss: s.Loss, Size: s.Size, Kind: c.Kind,
		Product: c.Product, Base: c.Base, Procs: c.Procs,
	}
	how.change(&cfg)
	if how.lockStep && s.link().Long() {
		cfg.Size = min(cfg.Size, lockStepSize)
	}
	if !cfg.Peers {
		cfg.Timeout = time.Minute + 4*s.WAN.Time(int64(s.Size))*time.Duration(devices)
	}
	runs := max(1, c.Runs)
	if how.each {
		runs = 1 // they take long and differ little
	}
	var results []*Result
	for range runs {
		waitQuiet(ctx, c.Patience)
		r, err := Measure(ctx, cfg)
		if err != nil {
			return Row{}, fmt.Errorf("%s, %d devices, %s: %w", s.Name, devices, how.name, err)
		}
		results = append(results, r)
	}
	slices.SortFunc(results, func(a, b *Result) int {
		if a.OK() != b.OK() {
			return map[bool]int{true: 1, false: -1}[b.OK()]
		}
		return int(1e6 * (a.LastS - b.LastS))
	})
	r := results[(len(results)-1)/2]
	row := Row{
		Event: "row", Scenario: s.Name, Devices: devices, Method: how.name, MeasuredDevices: devices, MeasuredSize: r.Size,
		WAN: s.WAN, LAN: s.LAN, RTTS: s.RTT.Seconds(), Loss: s.Loss, Size: r.Size,
		BoundS: r.BoundS, LastS: r.LastS, MedianS: r.MedianS, P99S: r.P99S, Ratio: r.Ratio,
		WANRatio: r.WANRatio, BusiestRatio: float64(r.BusiestSent) / float64(r.Size), CPUS: r.CPUS,
	}
	if !r.OK() {
		row.Failed = r.failureText()
	}
	return row, nil
}

// grown returns the row for a larger site on which every device downloads by
// itself, and for the scenario's file. The WAN is all that the devices share,
// so bytes grow with them, and time where the WAN is full; blocks in lock step
// take the same time each until it is.
func (r Row) grown(devices int, s Scenario) Row {
	if devices <= r.Devices && int64(s.Size) == r.Size {
		return r
	}
	more, larger := float64(devices)/float64(r.Devices), float64(s.Size)/float64(r.Size)
	r.Computed, r.Devices, r.Size = true, devices, int64(s.Size)
	full := s.WAN.Time(r.Size).Seconds() * float64(devices)
	for _, t := range []*float64{&r.LastS, &r.MedianS, &r.P99S} {
		if larger > 1 {
			*t = max(*t*larger, full)
		} else {
			*t *= more
		}
	}
	r.WANRatio *= more
	r.CPUS *= more * larger
	r.BoundS = max(s.WAN.Time(r.Size), s.LAN.Time(r.Size)).Seconds()
	r.Ratio = r.LastS / r.BoundS
	return r
}

// RowsHead writes the head of the table of comparison.
func RowsHead(w io.Writer) {
	fmt.Fprintf(w, "%-6s %4s  %-28s %9s %9s %9s %7s %7s %8s %8s\n",
		"site", "dev.", "method", "last, s", "median", "p99", "/bound", "WAN/sz", "busiest", "CPU, s")
}

// Text writes the row for people. Computed figures stand behind a "~".
func (r Row) Text(w io.Writer) {
	if r.Failed != "" {
		fmt.Fprintf(w, "%-6s %4d  %-28s FAILED: %s\n", r.Scenario, r.Devices, r.Method, strings.ReplaceAll(r.Failed, "\n", "\n    "))
		return
	}
	about, busiest := "", "–"
	if r.Computed {
		about = "~"
	}
	if r.BusiestRatio > 0 {
		busiest = fmt.Sprintf("%.2f", r.BusiestRatio)
	}
	value := func(digits int, v float64) string { return fmt.Sprintf("%s%.*f", about, digits, v) }
	fmt.Fprintf(w, "%-6s %4d  %-28s %9s %9s %9s %7s %7s %8s %8s\n", r.Scenario, r.Devices, r.Method,
		value(1, r.LastS), value(1, r.MedianS), value(1, r.P99S), value(2, r.Ratio), value(2, r.WANRatio), busiest, value(1, r.CPUS))
}

// Text writes the scenario for people.
func (s Scenario) Text(w io.Writer) {
	fmt.Fprintf(w, "%s: WAN %s%s, LAN %s, %s; bound %.1f s\n", s.Name, s.WAN, s.link().text(), s.LAN, s.Size,
		max(s.WAN.Time(int64(s.Size)), s.LAN.Time(int64(s.Size))).Seconds())
}
