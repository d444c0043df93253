package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/load"
)

// Summary is how a demo ended: the last line of its JSON. Sizes are in bytes,
// times in seconds since the devices were started.
type Summary struct {
	Event    string `json:"event"` // "summary"
	Mode     string `json:"mode"`  // "peers" or "classic"
	Devices  int    `json:"devices"`
	Complete int    `json:"complete"` // devices that hold every component, verified by the demo

	WANBits   units.Rate `json:"wan_bits_per_s"`
	WANBytes  int64      `json:"wan_bytes"`  // payload that the file server sent
	LoadBytes int64      `json:"load_bytes"` // each hierarchy's files once and the classic device's copy
	WANRatio  float64    `json:"wan_ratio"`  // WANBytes / LoadBytes
	// ClassicBytes is what the same upgrade costs when every device downloads
	// by itself.
	ClassicBytes int64 `json:"classic_bytes"`

	LastS        float64 `json:"last_device_s"`
	BoundS       float64 `json:"bound_s"` // LoadBytes over the WAN
	RatioToBound float64 `json:"ratio_to_bound"`

	Roots    []Root           `json:"roots"`
	Kills    []output.Kill    `json:"kills,omitempty"`
	Failures []output.Failure `json:"failures,omitempty"`
	Error    string           `json:"error,omitempty"`
}

// Root is a device that was root of a file.
type Root struct {
	File   string     `json:"file"`
	Model  string     `json:"model"`
	Device netip.Addr `json:"device"`
	SinceS float64    `json:"since_s"`
}

// OK reports whether every device holds every component.
func (s *Summary) OK() bool { return s.Error == "" && s.Devices > 0 && s.Complete == s.Devices }

// FailedSummary is the summary of a demo that could not start.
func FailedSummary(cfg Config, err error) *Summary {
	s := &Summary{Event: "summary", Mode: modeOf(cfg.Peers), Devices: cfg.Devices, WANBits: cfg.WAN, Roots: []Root{}}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

func modeOf(peers bool) string {
	if peers {
		return "peers"
	}
	return "classic"
}

// loadBytes is the least that has to cross the WAN if the supported devices
// share.
func (d *Demo) loadBytes() int64 {
	return bytesOf(d.loads[0]) + bytesOf(d.loads[1]) + bytesOf(d.loads[0])
}

// classicBytes is what crosses the WAN if no device shares.
func (d *Demo) classicBytes() int64 {
	var n int64
	for _, dev := range d.devices {
		n += bytesOf(dev.load)
	}
	return n
}

func bytesOf(m *load.Manifest) int64 {
	var n int64
	for _, c := range m.Components {
		n += c.Size
	}
	return n
}

func (d *Demo) summary(err error) *Summary {
	s := FailedSummary(d.cfg, err)
	s.WANBytes, s.LoadBytes, s.ClassicBytes = d.server.Tally.Total(), d.loadBytes(), d.classicBytes()
	s.WANRatio = float64(s.WANBytes) / float64(s.LoadBytes)
	s.BoundS = d.cfg.WAN.Time(s.LoadBytes).Seconds()
	for _, dev := range d.devices {
		exit := dev.Now().Wait()
		problem := d.verify(dev)
		if problem == nil {
			s.Complete++
		}
		if problem != nil || exit != nil {
			f := output.Failure{Device: dev.Host.Addr, Exit: process.ExitText(exit), Log: dev.Stderr.String()}
			if problem != nil {
				f.Reason = problem.Error()
			}
			s.Failures = append(s.Failures, f)
		}
		for _, p := range dev.All() {
			for _, v := range p.Files() {
				s.LastS = max(s.LastS, since(d, v.Committed))
				if !v.RootSince.IsZero() {
					s.Roots = append(s.Roots, Root{v.File, dev.model, dev.Host.Addr, since(d, v.RootSince)})
				}
			}
		}
	}
	slices.SortFunc(s.Roots, func(a, b Root) int { return cmp.Compare(a.SinceS, b.SinceS) })
	if s.Complete == s.Devices {
		s.RatioToBound = s.LastS / s.BoundS
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.kills {
		s.Kills = append(s.Kills, d.resumed(k))
	}
	if d.expired {
		s.Error = errors.Join(err, fmt.Errorf("not done after %v", d.timeout())).Error()
	}
	if errors.Is(err, context.Canceled) {
		s.Error = output.Interrupted
	}
	return s
}

// resumed finds the root that came after a kill and its first payload byte.
func (d *Demo) resumed(k kill) output.Kill {
	var next *device
	var claimed time.Time
	for _, dev := range d.devices {
		t := dev.View(k.file).RootSince
		if t.After(k.at) && (next == nil || t.Before(claimed)) {
			next, claimed = dev, t
		}
	}
	if next == nil {
		return k.Kill
	}
	at, to, ok := d.server.Tally.First(claimed, func(a netip.Addr) bool { return a == next.Host.Addr })
	if ok {
		k.NewRoot, k.ResumeS = to, at.Sub(k.at).Seconds()
	}
	return k.Kill
}

// verify reads every component of a device and compares it with the manifest.
func (d *Demo) verify(dev *device) error {
	for _, c := range dev.load.Components {
		if err := process.CheckFile(filepath.Join(d.deviceDir(dev), "load", c.Name), c); err != nil {
			return err
		}
	}
	return nil
}

// Text writes the table that ends a demo.
func (s *Summary) Text(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("")
	p("%-22s %12s   %s", "", "this site", fmt.Sprintf("%d classic upgrades", s.Devices))
	saved := ""
	if s.OK() && s.WANBytes < s.ClassicBytes {
		saved = fmt.Sprintf("   %.1f times as much", float64(s.ClassicBytes)/float64(s.WANBytes))
	}
	p("%-22s %12s   %s%s", "bytes over the WAN", units.Size(s.WANBytes), units.Size(s.ClassicBytes), saved)
	p("%-22s %12s   %.1f s at the least", "last device", fmt.Sprintf("%.1f s", s.LastS),
		s.WANBits.Time(s.ClassicBytes).Seconds())
	p("%-22s %12s   ratio %s", "bound: size / WAN", fmt.Sprintf("%.1f s", s.BoundS), output.Ratio(s.RatioToBound))
	p("%-22s %12s   ratio %s", "size of the files", units.Size(s.LoadBytes), output.Ratio(s.WANRatio))
	p("")
	if len(s.Roots) > 0 {
		p("%-9s %-16s %s", "model", "file", "root")
	}
	for _, f := range s.rootsByFile() {
		p("%-9s %-16s %s", f[0], f[1], f[2])
	}
	for _, k := range s.Kills {
		if !k.NewRoot.IsValid() {
			p("%s was killed at %.1f s as root; nobody needed the server after it", k.Device, k.AtS)
			continue
		}
		p("%s was killed at %.1f s as root; the server sent to %s %.2f s later", k.Device, k.AtS, k.NewRoot, k.ResumeS)
	}
	for i, f := range s.Failures {
		if s.Error == output.Interrupted {
			break // they were all stopped
		}
		if i == 3 {
			p("and %d more failures", len(s.Failures)-i)
			break
		}
		p("FAILED %s: %s; %s\n  %s", f.Device, f.Exit, f.Reason, strings.ReplaceAll(f.Log, "\n", "\n  "))
	}
	if s.Error != "" {
		p("FAILED: %s", s.Error)
	}
	p("%d of %d devices hold every component, verified.", s.Complete, s.Devices)
}

// rootsByFile returns model, file and the roots of it in order.
func (s *Summary) rootsByFile() [][3]string {
	var out [][3]string
	at := map[[2]string]int{}
	for _, r := range s.Roots {
		key := [2]string{r.Model, r.File}
		i, ok := at[key]
		if !ok {
			at[key] = len(out)
			out = append(out, [3]string{r.Model, r.File, r.Device.String()})
			continue
		}
		out[i][2] += ", then " + r.Device.String()
	}
	slices.SortStableFunc(out, func(a, b [3]string) int { return cmp.Compare(a[0], b[0]) })
	return out
}

// since returns a moment of the demo in seconds; 0 for the zero time.
func since(d *Demo, t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return t.Sub(d.zero).Seconds()
}
