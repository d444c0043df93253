// Package bench measures many sites: the figures that the product has to reach,
// each with its bound, and the product compared with other ways to bring a file
// to all devices.
//
// What lives here: which sites, which ways, the tables and the page of both
// benches. What must not: how one site is measured (package measure). Read
// first: figures.go and compare.go.
package bench

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
)

// Config is what all measurements of a bench share.
type Config struct {
	// Kind of site: KindNamespace or KindLoopback. Required.
	Kind string
	// Runs is how often each figure is measured, up to 100. 0 means 3: the
	// median of three passes over one that was disturbed.
	Runs int
	// Product is the path of the program peerload. Required.
	Product string
	// Base is where the runs' directories are made. Empty: see
	// process.NewRunDir.
	Base string
	// Disk is a directory on a disk, for what is written to it. Empty: the one
	// for temporary files.
	Disk string
	// Procs is GOMAXPROCS of a device. 0 means 1, what a small device has; -1
	// leaves it to the device.
	Procs int
	// Binaries are the product's programs for devices, whose size is a figure.
	// None: no such figure.
	Binaries []Binary
	// WaitIdle is how long each run may wait for idle processors. 0: it does
	// not wait.
	WaitIdle time.Duration
	// Methods are parts of the names of the methods that are compared. None
	// means all.
	Methods []string
	// OnFigure gets every figure when it is known. nil: nobody does.
	OnFigure func(Figure)
	// OnRow gets every row of the comparison when it is known. nil: nobody
	// does.
	OnRow func(Row)
	// OnSkip is told what is not measured here, and why. nil: nobody is told.
	OnSkip func(what, why string)
}

// Validate refuses what cannot be run.
func (c Config) Validate() error {
	if c.Runs < 0 || c.Runs > 100 {
		return fmt.Errorf("--runs is 0 to 100, not %d", c.Runs)
	}
	return choice.Check("kind of site", c.Kind, []string{site.KindLoopback, site.KindNamespace})
}

func (c Config) runs() int {
	if c.Runs == 0 {
		return 3
	}
	return c.Runs
}

// Binary is a program built for a device.
type Binary struct {
	Arch  string // such as "linux/arm"
	Bytes int64
	Err   string // why it could not be built; empty if it could
}

// Figure is one row of the table of figures: what was measured, its bound or
// what another program reaches, and the target.
type Figure struct {
	Event  string    `json:"event"` // "figure"
	Name   string    `json:"name"`
	Site   string    `json:"site"`
	Unit   string    `json:"unit,omitempty"`
	Values []float64 `json:"values"` // one for each run, in order
	Median float64   `json:"median"`
	Worst  float64   `json:"worst"`
	Reach  float64   `json:"reach"`
	// AtLeast is true if more is better: Reach is then a minimum.
	AtLeast bool `json:"at_least,omitempty"`
	Reached bool `json:"reached"` // by the median
	// Busy is the share of the processors that other work used in the second
	// before each run, on average.
	Busy      float64 `json:"busy_before"`
	Neighbour string  `json:"bound_or_neighbour"`
	// Failed says which run failed and how; such a figure is meaningless.
	Failed string `json:"failed,omitempty"`
}

// settle computes what follows from the values.
func (f *Figure) settle() {
	f.Event = "figure"
	if len(f.Values) == 0 {
		f.Values = []float64{}
		return
	}
	sorted := slices.Sorted(slices.Values(f.Values))
	f.Median, f.Worst = output.Quantile(sorted, 0.5), sorted[len(sorted)-1]
	f.Reached = f.Median <= f.Reach
	if f.AtLeast {
		f.Worst, f.Reached = sorted[0], f.Median >= f.Reach
	}
	f.Reached = f.Reached && f.Failed == ""
}

// FiguresHead writes the head of the table of figures.
func FiguresHead(w io.Writer) {
	fmt.Fprintf(w, "%-38s %-30s %9s %9s %11s  busy before\n", "figure", "site", "median", "worst", "to reach")
}

// Text writes the figure as a row of the table for people, with its bound or
// neighbour below it.
func (f Figure) Text(w io.Writer) {
	sign, verdict := "≤", "reached"
	if f.AtLeast {
		sign = "≥"
	}
	if !f.Reached {
		verdict = "FALLS SHORT"
	}
	name := f.Name
	if f.Unit != "" {
		name += ", " + f.Unit
	}
	if f.Failed != "" {
		fmt.Fprintf(w, "%-38s %-30s FAILED: %s\n", name, f.Site, strings.ReplaceAll(f.Failed, "\n", "\n    "))
		return
	}
	fmt.Fprintf(w, "%-38s %-30s %9s %9s %11s  %3.0f %%  %s\n",
		name, f.Site, number(f.Median), number(f.Worst), sign+" "+number(f.Reach), 100*f.Busy, verdict)
	if f.Neighbour != "" {
		fmt.Fprintf(w, "%38s %s\n", "", f.Neighbour)
	}
}

// number writes a figure with a sensible number of digits.
func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%d", int64(v))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// Machine describes where the bench runs: it is the first line of its output.
type Machine struct {
	Event      string `json:"event"` // "machine"
	Processors int    `json:"processors"`
	Memory     int64  `json:"memory_bytes"`
	// Load is the load average of the minute before the bench: if it exceeds
	// the number of processors, the figures of many devices depend on the
	// machine too.
	Load  string `json:"load"`
	Kind  string `json:"kind"`
	Procs int    `json:"device_procs"`
	Runs  int    `json:"runs"`
	// Note says why the site is not of the kind that was asked for.
	Note string `json:"note,omitempty"`
}

// Describe returns the machine as it is now.
func (c Config) Describe() Machine {
	m := Machine{Event: "machine", Processors: runtime.NumCPU(), Kind: c.Kind, Procs: c.Procs, Runs: c.runs()}
	m.Memory = process.TotalMemory()
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	if m.Procs == 0 {
		m.Procs = 1
	}
	return m
}

// Text writes the machine for people.
func (m Machine) Text(w io.Writer) {
	fmt.Fprintf(w, "%d processors, %.0f GiB of memory, load %s before the start; sites of kind %s; %s\n",
		m.Processors, float64(m.Memory)/(1<<30), m.Load, m.Kind, measure.ProcsText(m.Procs))
	if m.Note != "" {
		fmt.Fprintln(w, m.Note)
	}
}
