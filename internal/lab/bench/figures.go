package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// figures is a running bench of figures.
type figures struct{ cfg Config }

// Figures measures every figure that the product has to reach, one after the
// other, and returns them. An error means that a measurement could not be made;
// a failed device is reported in its figure.
func Figures(ctx context.Context, cfg Config) ([]Figure, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &figures{cfg: cfg}
	var all []Figure
	for _, group := range []func(context.Context) ([]Figure, error){
		b.wanBound, b.lanBound, b.wake, b.alone, b.killed, b.late, b.memory, b.flash, b.binaries, b.far,
	} {
		found, err := group(ctx)
		for i := range found {
			found[i].settle()
			if cfg.OnFigure != nil {
				cfg.OnFigure(found[i])
			}
		}
		if all = append(all, found...); err != nil {
			return all, err
		}
	}
	return all, nil
}

// wanSite is the site of most figures: the WAN is the bottleneck.
func (b *figures) wanSite(devices int, size units.Size) measure.Config {
	return measure.Config{
		Devices: devices, WAN: 20 * units.Mbit, LAN: 100 * units.Mbit, Size: size, Kind: b.cfg.Kind, Peers: true,
		Product: b.cfg.Product, Base: b.cfg.Base, Procs: b.cfg.Procs,
	}
}

// run measures a site as often as configured. The text is that of the runs
// that failed.
func (b *figures) run(ctx context.Context, cfg measure.Config, times int) (results []*measure.Result, failed string,
	err error) {
	for range times {
		busy := waitIdle(ctx, b.cfg.WaitIdle)
		r, err := measure.Run(ctx, cfg)
		if err != nil {
			return nil, "", err
		}
		r.Busy = busy
		results = append(results, r)
		if !r.OK() {
			failed = r.FailureText()
		}
	}
	return results, failed, nil
}

// of computes a figure from the results of runs.
func of(results []*measure.Result, failed string, f Figure, value func(*measure.Result) float64) Figure {
	f.Failed = failed
	for _, r := range results {
		f.Values = append(f.Values, value(r))
		f.Busy += r.Busy / float64(len(results))
	}
	return f
}

// lastNeighbours are what other programs reach for the last device over the
// bound, measured on sites of the same rates and size.
var lastNeighbours = map[int]string{
	16: "bound 1.00, with frame headers 1.05; classic 16.7, one cache 3.4, Kraken 5.7, aria2 2.0, libtorrent 1.9, " +
		"udpcast 1.6, uftp 1.4",
	48: "bound 1.00, with frame headers 1.05; classic 50, one cache 10, Kraken 6.0, aria2 2.4, libtorrent 3.5, udpcast " +
		"1.9, uftp 2.0",
	100: "bound 1.00, with frame headers 1.05; one cache 21, Kraken 7.2, aria2 2.6, libtorrent 5.0, udpcast 2.6, uftp 3.0",
}

// wanNeighbours are what other programs reach for the bytes over the WAN.
var wanNeighbours = map[int]string{
	16:  "bound 1.00; libtorrent 1.2, aria2 1.8, Kraken 5.6",
	48:  "bound 1.00; libtorrent 1.6, aria2 2.1, Kraken 5.8",
	100: "bound 1.00; libtorrent 3.1, aria2 2.0, Kraken 6.8",
}

// lastReach is the target for the last device over the bound.
var lastReach = map[int]float64{16: 1.06, 48: 1.07, 100: 1.08}

// wanBound measures sites of three sizes behind a slow WAN.
func (b *figures) wanBound(ctx context.Context) (all []Figure, err error) {
	for _, n := range []int{16, 48, 100} {
		cfg := b.wanSite(n, 20e6)
		results, failed, err := b.run(ctx, cfg, b.cfg.runs())
		if err != nil {
			return all, err
		}
		label := fmt.Sprintf("%d devices, WAN-bound", n)
		row := func(name, unit, neighbour string, reach float64, value func(*measure.Result) float64) {
			all = append(all, of(results, failed, Figure{Name: name, Unit: unit, Site: label, Neighbour: neighbour,
				Reach: reach}, value))
		}
		row("WAN bytes / size", "", wanNeighbours[n], 1.02, func(r *measure.Result) float64 { return r.WANRatio })
		row("last device / bound", "", lastNeighbours[n]+demand(results), lastReach[n],
			func(r *measure.Result) float64 { return r.Ratio })
		row("p99.9 / p50 of the devices", "", "bound 1.00; Kraken 2.2", 1.2,
			func(r *measure.Result) float64 { return r.P999OverP50 })
		if b.cfg.Kind != site.KindNamespace {
			continue
		}
		row("broadcasts of the election", "", "until 1 s after the first origin byte; 1,000 devices are to send 100", 100,
			func(r *measure.Result) float64 { return float64(r.BroadcastsElection) })
		row("broadcasts after it", "1/s", "", 2, func(r *measure.Result) float64 { return r.BroadcastsPerS })
	}
	return all, nil
}

// lanReach is the target for the last device over the bound, behind a fast WAN.
var lanReach = map[int]float64{16: 1.1, 48: 1.2, 100: 1.3}

// lanBound measures sites of three sizes behind a fast WAN.
func (b *figures) lanBound(ctx context.Context) (all []Figure, err error) {
	if b.cfg.Kind != site.KindNamespace {
		b.skip("LAN-bound", "a loopback site has no LAN to shape")
		return nil, nil
	}
	for _, n := range []int{16, 48, 100} {
		cfg := b.wanSite(n, 50e6)
		cfg.WAN, cfg.LAN = 200*units.Mbit, 50*units.Mbit
		runs := b.cfg.runs()
		if n > 16 {
			runs = 1 // the processors are the limit of most machines
		}
		results, failed, err := b.run(ctx, cfg, runs)
		if err != nil {
			return all, err
		}
		label := fmt.Sprintf("%d devices, LAN-bound", n)
		all = append(all, of(results, failed, Figure{Name: "WAN bytes / size", Site: label, Reach: 1.02,
			Neighbour: "bound 1.00; libtorrent 4.3"},
			func(r *measure.Result) float64 { return r.WANRatio }),
			of(results, failed, Figure{
				Name: "last device / bound, two trees", Site: label, Reach: lanReach[n],
				Neighbour: "bound 1.00; one binary tree about 2, a fixed one 2.12; libtorrent 1.26, uftp 2.3" + demand(results),
			}, func(r *measure.Result) float64 { return r.Ratio }))
	}
	return all, nil
}

// demand says what processor time the devices needed together, and for how many
// processors that is work.
func demand(results []*measure.Result) string {
	var cpu, last float64
	for _, r := range results {
		cpu, last = cpu+r.CPUS, last+r.LastS
	}
	if last == 0 {
		return ""
	}
	n := float64(len(results))
	return fmt.Sprintf("; the devices took %.1f s of processor time, that of %.1f processors", cpu/n, cpu/last)
}

// wake measures how soon the server sends, alone and with others.
func (b *figures) wake(ctx context.Context) (all []Figure, err error) {
	for _, n := range []int{1, 16} {
		results, failed, err := b.run(ctx, b.wanSite(n, 500e3), 2*b.cfg.runs()+1)
		if err != nil {
			return all, err
		}
		label := fmt.Sprintf("%d devices", n)
		if n == 1 {
			label = "alone"
		}
		all = append(all, of(results, failed, Figure{
			Name: "wake to first origin byte", Unit: "s", Site: label, Reach: 0.1, Neighbour: "limit 0.3; original 11.8",
		}, func(r *measure.Result) float64 { return r.WakeS }))
	}
	return all, nil
}

// alone measures what the election costs a device without peers, compared with
// the same program with peers off and with curl.
func (b *figures) alone(ctx context.Context) (all []Figure, err error) {
	with, failed, err := b.run(ctx, b.wanSite(1, 2.5e6), b.cfg.runs())
	if err != nil {
		return nil, err
	}
	plain := b.wanSite(1, 2.5e6)
	plain.Peers = false
	compare := []struct {
		name   string
		client *measure.Client
	}{{"--peers off", nil}}
	if c, err := curl(); err == nil {
		compare = append(compare, struct {
			name   string
			client *measure.Client
		}{"curl", c})
	} else {
		b.skip("alone against curl", err.Error())
	}
	for _, c := range compare {
		plain.Client = c.client
		without, broken, err := b.run(ctx, plain, b.cfg.runs())
		if err != nil {
			return all, err
		}
		f := Figure{
			Name: "alone less a plain download", Unit: "s", Site: "alone, against " + c.name, Reach: 0.5,
			Failed: failed + broken, Neighbour: "bound 0; the file takes 1 s",
		}
		for i, r := range with {
			f.Values = append(f.Values, r.LastS-without[i].LastS)
			f.Busy += (r.Busy + without[i].Busy) / 2 / float64(len(with))
		}
		all = append(all, f)
	}
	return all, nil
}

// killed measures what the death of roots costs.
func (b *figures) killed(ctx context.Context) (all []Figure, err error) {
	for _, at := range [][]int{{33}, {25, 50, 75}} {
		cfg := b.wanSite(16, 20e6)
		cfg.KillRoot = at
		results, failed, err := b.run(ctx, cfg, b.cfg.runs())
		if err != nil {
			return all, err
		}
		label := fmt.Sprintf("16 devices, killed at %s", strings.Trim(strings.ReplaceAll(fmt.Sprint(at), " ", ", "), "[]"))
		for _, r := range results {
			if len(r.Kills) != len(at) {
				failed += fmt.Sprintf("%d roots were killed, not %d", len(r.Kills), len(at))
			}
		}
		resume := Figure{Name: "root killed to bytes from the server", Unit: "s", Site: label, Reach: 3,
			Neighbour: "none published"}
		all = append(all,
			of(results, failed, resume, func(r *measure.Result) (most float64) {
				for _, k := range r.Kills {
					most = max(most, k.ResumeS)
				}
				return most
			}),
			of(results, failed, Figure{Name: "WAN bytes / size", Site: label, Reach: 1.05, Neighbour: "bound 1.00"},
				func(r *measure.Result) float64 { return r.WANRatio }),
			of(results, failed, Figure{Name: "last device / bound", Site: label, Reach: 1.08 + 3*float64(len(at))/8,
				Neighbour: "that of a quiet site and 3 s for every death"},
				func(r *measure.Result) float64 { return r.Ratio }))
	}
	return all, nil
}

// late measures a device that starts when all others are done.
func (b *figures) late(ctx context.Context) ([]Figure, error) {
	cfg := b.wanSite(16, 5e6)
	cfg.Late = 1
	results, failed, err := b.run(ctx, cfg, b.cfg.runs())
	if err != nil {
		return nil, err
	}
	lateOf := func(value func(*measure.LateDevice) float64) func(*measure.Result) float64 {
		return func(r *measure.Result) float64 {
			if r.Late == nil {
				return 0 // a run that failed
			}
			return value(r.Late)
		}
	}
	all := []Figure{of(results, failed, Figure{
		Name: "late device: WAN bytes of the file", Site: "16 devices and a late one", Reach: 0,
		Neighbour: "original: impossible",
	}, lateOf(func(l *measure.LateDevice) float64 { return float64(l.WANBytes) }))}
	if cfg.Kind == site.KindNamespace {
		all = append(all, of(results, failed, Figure{
			Name: "late device: time / (size/LAN)", Site: "16 devices and a late one", Reach: 1.5,
			Neighbour: "bound 1.00; 5 MB take 0.4 s, the start included",
		}, lateOf(func(l *measure.LateDevice) float64 { return l.TookS / l.BoundS })))
	}
	return all, nil
}

// memory measures a device's memory with a small and a large file.
func (b *figures) memory(ctx context.Context) (all []Figure, err error) {
	for _, size := range []units.Size{5e6, 500e6} {
		cfg := b.wanSite(3, size)
		cfg.WAN, cfg.LAN = 800*units.Mbit, units.Gbit
		results, failed, err := b.run(ctx, cfg, 1)
		if err != nil {
			return all, err
		}
		all = append(all, of(results, failed, Figure{
			Name: "peak memory of a device", Unit: "MiB", Site: "3 devices, " + size.String(), Reach: 24,
			Neighbour: "devices of 64 MB",
		}, func(r *measure.Result) float64 { return float64(r.PeakRSS) / (1 << 20) }))
	}
	return all, nil
}

// flash measures what a device writes to a disk.
func (b *figures) flash(ctx context.Context) ([]Figure, error) {
	cfg := b.wanSite(4, 20e6)
	cfg.WAN, cfg.Linger = 100*units.Mbit, time.Second // longer than the time between two looks at the counters
	if cfg.Base = b.cfg.Disk; cfg.Base == "" {
		cfg.Base = os.TempDir()
	}
	results, failed, err := b.run(ctx, cfg, b.cfg.runs())
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.State != "disk" || r.Written == 0 {
			b.skip("flash written / size", cfg.Base+" is not on a disk whose writes the kernel counts; name one with --disk")
			return nil, nil
		}
	}
	return []Figure{of(results, failed, Figure{
		Name: "flash written / size", Site: "4 devices, state on a disk", Reach: 1.05,
		Neighbour: "bound 1.00; by the kernel's write_bytes of the process",
	}, func(r *measure.Result) float64 { return float64(r.Written) / float64(r.Size) })}, nil
}

// far measures TFTP over a long link.
func (b *figures) far(ctx context.Context) ([]Figure, error) {
	if b.cfg.Kind != site.KindNamespace {
		b.skip("TFTP over a long link",
			"a loopback site has none; go test -run ^$ -bench LongRoundTrip ./tftp measures one of its own")
		return nil, nil
	}
	cfg := b.wanSite(1, 30e6)
	cfg.Peers, cfg.TFTP, cfg.WAN, cfg.RTT = false, true, 10*units.Mbit, 200*time.Millisecond
	results, failed, err := b.run(ctx, cfg, 1)
	if err != nil {
		return nil, err
	}
	return []Figure{of(results, failed, Figure{
		Name: "TFTP payload / (10 Mbit/s × time)", Site: "alone, 30 MB, round trip 200 ms", Reach: 0.9, AtLeast: true,
		Neighbour: "bound 0.97 after headers; lock step 0.006 (57 kbit/s)",
	}, func(r *measure.Result) float64 { return r.BoundS / r.LastS })}, nil
}

// binaries gives the sizes of the programs for devices.
func (b *figures) binaries(context.Context) (all []Figure, err error) {
	for _, bin := range b.cfg.Binaries {
		if bin.Err != "" {
			b.skip("size of the program for "+bin.Arch, bin.Err)
			continue
		}
		all = append(all, Figure{
			Name: "program peerload, stripped", Unit: "MiB", Site: bin.Arch, Reach: 12,
			Values: []float64{float64(bin.Bytes) / (1 << 20)},
		})
	}
	return all, nil
}

func (b *figures) skip(what, why string) {
	if b.cfg.OnSkip != nil {
		b.cfg.OnSkip(what, why)
	}
}

// BuildBinaries builds the program peerload, stripped, for the devices'
// processors with the go tool, in dir, and returns the sizes.
func BuildBinaries(ctx context.Context, dir string) []Binary {
	var all []Binary
	for _, arch := range []string{"arm", "mipsle"} {
		bin := Binary{Arch: "linux/" + arch}
		path := filepath.Join(dir, "peerload-"+arch)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path,
			process.Module+"/cmd/peerload")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOMIPS=softfloat")
		out, err := cmd.CombinedOutput()
		if err == nil {
			var st os.FileInfo
			if st, err = os.Stat(path); err == nil {
				bin.Bytes = st.Size()
			}
		}
		switch {
		case errors.Is(err, exec.ErrNotFound):
			bin.Err = "there is no go tool"
		case err != nil:
			bin.Err = fmt.Sprintf("%v: %s", err, out)
		}
		all = append(all, bin)
	}
	return all
}
