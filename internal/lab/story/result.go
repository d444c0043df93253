package story

import (
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
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/load"
)

// Result is how an `up` ended: the last line of its timeline. Times are in
// seconds from the start of the first devices, sizes in bytes.
type Result struct {
	Kind         string         `json:"kind"`   // "result"
	OriginScheme string         `json:"origin"` // "http" or "tftp"
	Devices      int            `json:"devices"`
	Subnets      int            `json:"subnets"`
	Size         int64          `json:"size"`
	WAN          units.Rate     `json:"wan_bits_per_s"`
	LAN          units.Rate     `json:"lan_bits_per_s"`
	RTTS         float64        `json:"wan_rtt_s"`
	JitterS      float64        `json:"wan_jitter_s"`
	Loss         units.Fraction `json:"wan_loss"`

	Complete int    `json:"complete"` // devices whose file the lab has read and found right
	Expected int    `json:"expected"` // devices less those killed for good
	TimedOut bool   `json:"timed_out,omitempty"`
	Error    string `json:"error,omitempty"`

	LastS   float64 `json:"last_device_s"` // commit of the last device
	MedianS float64 `json:"median_s"`      // of the times from a device's own start to its commit
	BoundS  float64 `json:"bound_s"`       // the file once for each subnet over the WAN, or once over a port
	Ratio   float64 `json:"ratio_to_bound"`

	WANBytes int64   `json:"wan_bytes"` // payload that the server sent
	WANRatio float64 `json:"wan_ratio"` // WANBytes / (Size × Subnets)
	WireDown uint64  `json:"wire_down_bytes"`
	WireUp   uint64  `json:"wire_up_bytes"`
	WANLost  uint64  `json:"wan_packets_lost"` // by a long link
	WANFull  uint64  `json:"wan_packets_refused"`
	Requests int     `json:"requests"`

	Elections  int            `json:"elections"`
	Fallbacks  int            `json:"fallbacks"`
	Reasons    map[string]int `json:"fallback_reasons,omitempty"`
	Broadcasts int            `json:"broadcasts"`
	PeakRSS    int64          `json:"peak_rss_bytes"`
	CPUS       float64        `json:"cpu_s"`

	Stories  []Told           `json:"stories,omitempty"`
	Failures []output.Failure `json:"failures,omitempty"`
	Rows     []DeviceRow      `json:"rows"`
}

// Told is a story and when it happened.
type Told struct {
	Text  string    `json:"text"`
	Times []float64 `json:"t_s"`
}

// DeviceRow is the result of one device.
type DeviceRow struct {
	Device     netip.Addr `json:"device"`
	Subnet     int        `json:"subnet"` // from 1
	State      string     `json:"state"`  // "complete", "failed", "killed for good", "not started"
	Role       string     `json:"role"`   // while the file came
	Parent     string     `json:"parent,omitempty"`
	StartS     float64    `json:"start_s"`
	DoneS      float64    `json:"done_s,omitempty"`
	FromOrigin int64      `json:"wan_bytes"` // payload that the server sent it
	Received   uint64     `json:"port_down_bytes"`
	Sent       uint64     `json:"port_up_bytes"`
	Elections  int        `json:"elections"`
	Fallbacks  []string   `json:"fallback_reasons,omitempty"`
	Kills      int        `json:"kills"`
	Reason     string     `json:"reason,omitempty"`
}

// States of a device at the end.
const (
	stateComplete   = "complete"
	stateFailed     = "failed"
	stateKilled     = "killed for good"
	stateNotStarted = "not started"
)

// OK reports whether every device that was to end well did.
func (r *Result) OK() bool { return r.Error == "" && !r.TimedOut && r.Complete >= r.Expected }

func (u *Up) result(ended map[*device]bool, lasted time.Duration, expired bool, err error) *Result {
	c := u.cfg
	r := &Result{
		Kind: "result", OriginScheme: "http", Devices: c.Site.Devices, Subnets: max(c.Site.Subnets, 1), Size: int64(c.Size),
		WAN: c.Site.WAN, LAN: c.Site.LAN, RTTS: c.Site.RTT.Seconds(), JitterS: c.Site.Jitter.Seconds(), Loss: c.Site.Loss,
		TimedOut: expired, BoundS: c.bound().Seconds(), Reasons: map[string]int{}, Broadcasts: len(u.site.Broadcasts()),
		WANBytes: u.server.Tally.Total(), Requests: u.server.Tally.Requests(),
	}
	if c.TFTP {
		r.OriginScheme = "tftp"
	}
	if errors.Is(err, context.Canceled) {
		r.Error = output.Interrupted
	} else if err != nil {
		r.Error = err.Error()
	}
	r.WANRatio = float64(r.WANBytes) / float64(r.Size) / float64(r.Subnets)
	if w, ok := u.site.Wire(); ok {
		r.WireDown, r.WireUp = w.Down-u.base.Down, w.Up-u.base.Up
	}
	r.WANLost, r.WANFull = u.site.Dropped()
	for _, t := range u.told {
		r.Stories = append(r.Stories, Told{t.Story.String(), append([]float64{}, t.times...)})
	}
	u.addRows(r, ended, lasted)
	u.line.mu.Lock()
	defer u.line.mu.Unlock()
	u.line.write(r)
	return r
}

// addRows fills in the result of each device, and the totals.
func (u *Up) addRows(r *Result, ended map[*device]bool, lasted time.Duration) {
	sent := u.server.Tally.ByAddress()
	ports, err := u.site.Ports()
	if err != nil {
		ports = make([]site.Wire, len(u.devices))
	}
	var took []float64
	for i, d := range u.devices {
		row := u.row(d, ended[d], lasted)
		row.FromOrigin, row.Received, row.Sent = sent[d.Host.Addr], ports[i].Down, ports[i].Up
		for _, p := range d.All() {
			r.CPUS += p.CPU().Seconds()
			r.PeakRSS = max(r.PeakRSS, p.Peak())
		}
		r.Elections += row.Elections
		r.Fallbacks += len(row.Fallbacks)
		for _, reason := range row.Fallbacks {
			r.Reasons[reason]++
		}
		switch row.State {
		case stateComplete:
			r.Complete++
			r.LastS = max(r.LastS, row.DoneS)
			took = append(took, row.DoneS-row.StartS)
		case stateFailed, stateNotStarted:
			exit := "not started"
			if len(d.All()) > 0 {
				exit = process.ExitText(d.Now().Wait())
			}
			r.Failures = append(r.Failures, output.Failure{Device: row.Device, Exit: exit, Reason: row.Reason,
				Log: d.Stderr.String()})
		}
		if row.State != stateKilled {
			r.Expected++
		}
		r.Rows = append(r.Rows, row)
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.MedianS = output.Quantile(took, 0.5)
	}
	if r.Complete > 0 && r.Complete >= r.Expected {
		r.Ratio = r.LastS / r.BoundS
	}
}

// row returns the result of a device. The lab reads the file itself to see
// whether the device has it.
func (u *Up) row(d *device, ended bool, lasted time.Duration) DeviceRow {
	row := DeviceRow{Device: d.Host.Addr, Subnet: d.subnet + 1, StartS: d.started.Seconds(), Kills: d.kills}
	procs := d.All()
	if len(procs) == 0 {
		row.State = stateNotStarted
		return row
	}
	var done time.Time
	for _, p := range procs {
		v := p.File()
		row.Elections += v.Claims
		if v.Final != nil {
			for _, f := range v.Final.Fallbacks {
				row.Fallbacks = append(row.Fallbacks, f.Reason)
			}
		}
		if done.IsZero() {
			done = v.Committed
		}
		if v.Role != "" {
			row.Role = v.Role
		}
		if a := process.AddrOf(v.Parent); a.IsValid() {
			row.Parent = a.String()
		}
		row.Reason = v.Reason
	}
	digest, err := load.ParseDigest(u.sum)
	if err == nil {
		err = process.CheckFile(filepath.Join(d.dir, process.FileName),
			load.Component{Name: process.FileName, Size: int64(u.cfg.Size), Digest: digest})
	}
	switch {
	case err == nil && !done.IsZero():
		row.State, row.DoneS, row.Reason = stateComplete, done.Sub(u.zero).Seconds(), ""
	case !d.on && d.kills > 0:
		row.State = stateKilled
	default:
		row.State = stateFailed
		if row.Reason == "" && ended {
			row.Reason = "it ended by itself: " + process.ExitText(d.Now().Wait())
		} else if row.Reason == "" {
			row.Reason = fmt.Sprintf("it was not through after %.1f s", lasted.Seconds())
		}
	}
	return row
}

// Text writes the result for people.
func (r *Result) Text(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	link := site.LinkConfig{RTT: units.Seconds(r.RTTS), Jitter: units.Seconds(r.JitterS), Loss: r.Loss}
	subnets := ""
	if r.Subnets > 1 {
		subnets = fmt.Sprintf(" in %d subnets", r.Subnets)
	}
	p("%d devices%s, %s by %s; WAN %s%s, LAN %s", r.Devices, subnets, units.Size(r.Size), r.OriginScheme, r.WAN,
		link.Text(), r.LAN)
	p("  last device      %8.3f s   bound %.3f s   ratio %s   median of a device %.3f s", r.LastS, r.BoundS,
		output.Ratio(r.Ratio), r.MedianS)
	p("  WAN payload      %8.3f × size and subnet (%s, %d requests); on the wire %s down, %s up; %d packets lost, %d "+
		"refused by the queue",
		r.WANRatio, units.Size(r.WANBytes), r.Requests, units.Size(r.WireDown), units.Size(r.WireUp), r.WANLost, r.WANFull)
	p("  elections %d, fallbacks %d %s, broadcasts %d", r.Elections, r.Fallbacks, output.Reasons(r.Reasons), r.Broadcasts)
	p("  peak memory      %8.1f MiB; processor time of all devices %.2f s", float64(r.PeakRSS)/(1<<20), r.CPUS)
	for _, s := range r.Stories {
		p("  story            %s: %s", s.Text, timesText(s.Times))
	}
	p("  complete         %d of %d", r.Complete, r.Expected)
	if r.TimedOut {
		p("  TIMED OUT")
	}
	if r.Error != "" {
		p("  FAILED: %s", r.Error)
	}
	for i, f := range r.Failures {
		if r.Error == output.Interrupted {
			break // they were all stopped
		}
		if i == 3 {
			p("  and %d more failures", len(r.Failures)-i)
			break
		}
		p("  FAILED %s: %s; %s", f.Device, f.Exit, f.Reason)
		if f.Log != "" {
			p("    %s", strings.ReplaceAll(f.Log, "\n", "\n    "))
		}
	}
}

// timesText says when a story happened.
func timesText(times []float64) string {
	if len(times) == 0 {
		return "it did not come to it"
	}
	var s []string
	for i, t := range times {
		if i == 6 {
			s = append(s, fmt.Sprintf("%d more times", len(times)-i))
			break
		}
		s = append(s, fmt.Sprintf("%.1f s", t))
	}
	return "at " + strings.Join(s, ", ")
}
