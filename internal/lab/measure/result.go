package measure

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// Result is what one measurement found. Times are in seconds from just before
// the first process was started, sizes in bytes.
type Result struct {
	Event        string     `json:"event"` // "result"
	Kind         string     `json:"kind"`
	Mode         string     `json:"mode"`   // "peers" or "classic"
	OriginScheme string     `json:"origin"` // "http" or "tftp"
	Devices      int        `json:"devices"`
	Size         int64      `json:"size"`
	WAN          units.Rate `json:"wan_bits_per_s"`
	// RTTS, JitterS and Loss are those of a long WAN.
	RTTS    float64        `json:"wan_rtt_s,omitempty"`
	JitterS float64        `json:"wan_jitter_s,omitempty"`
	Loss    units.Fraction `json:"wan_loss,omitempty"`
	LAN     units.Rate     `json:"lan_bits_per_s,omitempty"`
	State   string         `json:"state"` // "tmpfs" or "disk"
	// Congestion is the congestion control of the namespaces, and that of the
	// server if it has another one, or sends by UDP.
	Congestion string `json:"congestion,omitempty"`

	Complete   int              `json:"complete"` // devices whose file the lab has read and found right
	Expected   int              `json:"expected"` // devices less those killed and left dead
	TimedOut   bool             `json:"timed_out,omitempty"`
	Failures   []output.Failure `json:"failures,omitempty"`
	BoundS     float64          `json:"bound_s"`
	LastS      float64          `json:"last_device_s"` // commit of the last device
	MedianS    float64          `json:"median_s"`
	P99S       float64          `json:"p99_s"`
	P99OverP50 float64          `json:"p99_over_p50"`
	// P999OverP50 is the last device's time over the median up to 1,000 devices.
	P999OverP50 float64 `json:"p999_over_p50"`
	Ratio       float64 `json:"ratio_to_bound"` // LastS / BoundS; 0 if a device is missing
	EndS        float64 `json:"end_s"`          // the last process has ended

	WANBytes int64   `json:"wan_bytes"` // payload that the server sent
	WANRatio float64 `json:"wan_ratio"` // WANBytes / Size
	// WANHeaders is true where a foreign sender or server sends: its bytes are
	// counted on the WAN, with all headers.
	WANHeaders bool   `json:"wan_bytes_with_headers,omitempty"`
	WireDown   uint64 `json:"wire_down_bytes,omitempty"`
	WireUp     uint64 `json:"wire_up_bytes,omitempty"`
	Requests   int    `json:"requests"`

	AwakeS       float64        `json:"awake_s"`        // until the last device's first word
	FirstOriginS float64        `json:"first_origin_s"` // until the first payload byte left the server
	WakeS        float64        `json:"wake_s"`         // the same from the first device's first word on
	Roots        []Root         `json:"roots"`
	Elections    int            `json:"elections"` // times that a device became root
	Fallbacks    int            `json:"fallbacks"`
	Reasons      map[string]int `json:"fallback_reasons,omitempty"`
	Depth        int            `json:"depth"` // of the last tree; -1 if not all places are known
	Kills        []output.Kill  `json:"kills,omitempty"`
	// Broadcasts by the devices, on namespace sites: until one second after
	// the first payload byte left the server, and those after it.
	BroadcastsElection int     `json:"broadcasts_election,omitempty"`
	BroadcastsLater    int     `json:"broadcasts_later,omitempty"`
	BroadcastsPerS     float64 `json:"broadcasts_later_per_s,omitempty"`

	Late   *LateDevice   `json:"late,omitempty"`
	Beside *BesideResult `json:"beside,omitempty"`

	// BusiestSent is what the busiest device sent, with all headers; on
	// namespace sites only.
	BusiestSent uint64 `json:"busiest_sent_bytes,omitempty"`
	Procs       int    `json:"device_procs"`            // GOMAXPROCS of a device; -1: its own choice
	Written     int64  `json:"written_bytes,omitempty"` // to a disk, by the device that wrote most
	// Busy is the share of the processors that others used before the run;
	// known to a bench only.
	Busy    float64 `json:"busy_before,omitempty"`
	PeakRSS int64   `json:"peak_rss_bytes"` // of the largest device
	CPUS    float64 `json:"cpu_s"`          // of all devices
}

// Root is a device that was root, or that the server sent payload.
type Root struct {
	Device  netip.Addr `json:"device"`
	SinceS  float64    `json:"since_s"` // 0 if it never called itself root
	Payload int64      `json:"wan_bytes"`
}

// OK reports whether every device that was to end well did.
func (r *Result) OK() bool { return len(r.Failures) == 0 && r.Complete >= r.Expected }

func (m *measurement) result(timedOut bool) *Result {
	c := m.cfg
	r := &Result{
		Event: "result", Kind: c.Kind, Mode: "peers", OriginScheme: "http", Devices: c.Devices, Size: int64(c.Size),
		WAN:   c.WAN,
		State: m.dir.Filesystem, TimedOut: timedOut, BoundS: c.Bound().Seconds(),
		EndS:     time.Since(m.zero).Seconds(),
		Expected: c.Devices + c.Late - len(m.left), Kills: m.resumed(), Depth: m.depth(), Reasons: map[string]int{},
		Procs: c.Procs, Late: m.late(), Beside: m.besideResult,
	}
	if r.Procs == 0 {
		r.Procs = 1
	}
	switch {
	case c.Client != nil:
		r.Mode = c.Client.Name
	case !c.Peers:
		r.Mode = "classic"
	}
	if c.TFTP {
		r.OriginScheme = "tftp"
	}
	if s, ok := m.site.(*site.Namespaces); ok {
		r.LAN, r.Congestion, r.BusiestSent = c.LAN, s.Congestion(), s.BusiestSent(c.Devices)
		switch {
		case c.TFTP, c.sends():
			r.Congestion += ", UDP from the server"
		case m.sends != "":
			r.Congestion += ", " + m.sends + " at the server"
		}
		r.RTTS, r.JitterS, r.Loss = c.RTT.Seconds(), c.Jitter.Seconds(), c.Loss
	}
	if w, ok := m.site.Wire(); ok {
		r.WireDown, r.WireUp = w.Down-m.base.Down, w.Up-m.base.Up
	}
	r.WANBytes, r.Requests = m.server.Tally.Total(), m.server.Tally.Requests()
	if c.sends() || c.Server != nil {
		r.WANBytes, r.WANHeaders = int64(r.WireDown), true
	}
	r.WANRatio = float64(r.WANBytes) / float64(r.Size)
	m.addTimes(r)
	m.addBroadcasts(r)
	m.addDevices(r)
	m.addRoots(r)
	return r
}

// addTimes fills in what the clocks say.
func (m *measurement) addTimes(r *Result) {
	var commits []float64
	var wake time.Time
	for _, p := range append(slices.Clone(m.procs), m.dead...) {
		v := p.File()
		if !v.Started.IsZero() && (wake.IsZero() || v.Started.Before(wake)) {
			wake = v.Started
		}
	}
	for i, p := range m.procs[:m.cfg.Devices] {
		if v := p.File(); !v.Started.IsZero() {
			r.AwakeS = max(r.AwakeS, v.Started.Sub(m.zero).Seconds())
		}
		if v := p.File(); !m.left[i] && !v.Committed.IsZero() {
			commits = append(commits, v.Committed.Sub(m.zero).Seconds())
		}
	}
	if at, _, ok := m.server.Tally.First(m.zero, nil); ok {
		r.FirstOriginS = at.Sub(m.zero).Seconds()
		if !wake.IsZero() {
			r.WakeS = at.Sub(wake).Seconds()
		}
	}
	if len(commits) == 0 {
		return
	}
	slices.Sort(commits)
	r.LastS = commits[len(commits)-1]
	r.MedianS = output.Quantile(commits, 0.5)
	r.P99S = output.Quantile(commits, 0.99)
	r.P99OverP50, r.P999OverP50 = r.P99S/r.MedianS, output.Quantile(commits, 0.999)/r.MedianS
	if len(commits) >= r.Expected-m.cfg.Late {
		r.Ratio = r.LastS / r.BoundS
	}
}

// addBroadcasts counts what the devices sent to all.
func (m *measurement) addBroadcasts(r *Result) {
	s, ok := m.site.(*site.Namespaces)
	if !ok {
		return
	}
	settled := m.zero.Add(time.Duration((r.FirstOriginS + 1) * float64(time.Second)))
	for _, t := range s.Broadcasts() {
		if t.Before(settled) {
			r.BroadcastsElection++
		} else {
			r.BroadcastsLater++
		}
	}
	if rest := r.EndS - r.FirstOriginS - 1; rest > 0 {
		r.BroadcastsPerS = float64(r.BroadcastsLater) / rest
	}
}

// addDevices fills in what each device cost and whether it has its file.
func (m *measurement) addDevices(r *Result) {
	if m.helper != nil {
		r.CPUS += m.helper.CPU().Seconds() // it runs on a device
	}
	for _, p := range append(slices.Clone(m.procs), m.dead...) {
		r.Elections += p.File().Claims
		r.CPUS += p.CPU().Seconds()
		r.PeakRSS, r.Written = max(r.PeakRSS, p.Peak()), max(r.Written, p.Written())
	}
	for i, p := range m.procs {
		if m.left[i] {
			continue
		}
		v := p.File()
		if v.Final != nil {
			r.Fallbacks += len(v.Final.Fallbacks)
			for _, f := range v.Final.Fallbacks {
				r.Reasons[f.Reason]++
			}
		}
		intact, err := m.intact(i), p.Wait()
		if intact {
			r.Complete++
		}
		reason := v.Reason
		if reason == "" && !intact {
			reason = "its file is missing or wrong"
		}
		silent := intact && v.Committed.IsZero()
		if silent {
			reason = "it did not say when it had the file"
		}
		if m.cfg.Client != nil && m.cfg.Client.Done != nil && intact {
			err = nil // the lab has ended it
		}
		if !intact || silent || err != nil {
			r.Failures = append(r.Failures, output.Failure{
				Device: p.Host.Addr, Exit: process.ExitText(err), Reason: reason, Log: m.tails[i].String(),
			})
		}
	}
}

// addRoots lists who was root and who got payload from the server.
func (m *measurement) addRoots(r *Result) {
	sent := m.server.Tally.ByAddress()
	seen := map[netip.Addr]int{}
	r.Roots = []Root{}
	for _, p := range append(slices.Clone(m.dead), m.procs...) {
		a, since := p.Host.Addr, p.File().RootSince
		root := Root{Device: a, Payload: sent[a]}
		if !since.IsZero() {
			root.SinceS = since.Sub(m.zero).Seconds()
		} else if root.Payload == 0 {
			continue
		}
		if _, ok := seen[a]; !ok {
			seen[a] = len(r.Roots)
			r.Roots = append(r.Roots, root)
		}
	}
	slices.SortFunc(r.Roots, func(a, b Root) int { return cmp.Compare(a.SinceS, b.SinceS) })
}

// depth follows every device's last parent to a root. The depth of a root is 0;
// -1 if a place is not known.
func (m *measurement) depth() int {
	views := map[netip.Addr]process.FileView{}
	for i, p := range m.procs {
		if !m.left[i] {
			views[p.Host.Addr] = p.File()
		}
	}
	return depthOf(views)
}

func depthOf(views map[netip.Addr]process.FileView) int {
	parents := map[netip.Addr]netip.Addr{}
	for addr, v := range views {
		parents[addr] = netip.Addr{}
		if a := process.AddrOf(v.Parent); a.IsValid() && v.RootSince.IsZero() {
			parents[addr] = a
		} else if v.RootSince.IsZero() {
			return -1
		}
	}
	deepest := 0
	for a := range parents {
		d := 0
		for next := parents[a]; next.IsValid(); next = parents[next] {
			if d++; d > len(parents) {
				return -1
			}
		}
		deepest = max(deepest, d)
	}
	return deepest
}

// Text writes the result for people.
func (r *Result) Text(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("%d devices, %s, %s, %s by %s; WAN %s%s; state on %s; %s",
		r.Devices, r.Kind, r.Mode, units.Size(r.Size), r.OriginScheme, r.WAN, r.lanText(), r.State, ProcsText(r.Procs))
	p("  last device      %8.3f s   bound %.3f s   ratio %.3f", r.LastS, r.BoundS, r.Ratio)
	p("  median           %8.3f s   p99/p50 %.3f   last process ended %.3f s", r.MedianS, r.P99OverP50, r.EndS)
	p("  WAN payload      %8.3f × size (%d bytes, %d requests)%s", r.WANRatio, r.WANBytes, r.Requests, r.wireText())
	p("  first origin byte %7.3f s after the first word of a device, %.3f s after the start; the last device's first "+
		"word after %.3f s",
		r.WakeS, r.FirstOriginS, r.AwakeS)
	var roots []string
	for i, x := range r.Roots {
		if i == 8 {
			roots = append(roots, fmt.Sprintf("%d more", len(r.Roots)-i))
			break
		}
		roots = append(roots, fmt.Sprintf("%s at %.3f s (%d bytes)", x.Device, x.SinceS, x.Payload))
	}
	p("  from the server  %s", output.OrNobody(strings.Join(roots, ", ")))
	p("  elections %d, fallbacks %d %s, depth %s", r.Elections, r.Fallbacks, output.Reasons(r.Reasons), depthText(r.Depth))
	if r.Kind == site.KindNamespace {
		p("  broadcasts %d until a second after the first origin byte, then %.2f a second", r.BroadcastsElection,
			r.BroadcastsPerS)
	}
	for _, k := range r.Kills {
		p("  root %s killed at %d %%, %.3f s; bytes to %s %.3f s later", k.Device, k.Percent, k.AtS, k.NewRoot, k.ResumeS)
	}
	p("  peak memory      %8.1f MiB; processor time of all devices %.2f s", float64(r.PeakRSS)/(1<<20), r.CPUS)
	if r.BusiestSent > 0 {
		p("  busiest device   sent %s on the wire, %.3f × size", units.Size(r.BusiestSent),
			float64(r.BusiestSent)/float64(r.Size))
	}
	if l := r.Late; l != nil {
		p("  late             %8.3f s from the start, size/LAN %.3f s; %d bytes of payload over the WAN", l.TookS, l.BoundS,
			l.WANBytes)
	}
	r.Beside.text(p)
	p("  complete         %d of %d", r.Complete, r.Expected)
	if r.TimedOut {
		p("  TIMED OUT")
	}
	for i, f := range r.Failures {
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

func (r *Result) lanText() string {
	if r.LAN == 0 {
		return ", LAN not shaped"
	}
	link := site.LinkConfig{RTT: units.Seconds(r.RTTS), Jitter: units.Seconds(r.JitterS), Loss: r.Loss}
	return link.Text() + ", LAN " + r.LAN.String() + ", " + r.Congestion
}

func (r *Result) wireText() string {
	if r.WireDown == 0 {
		return ""
	}
	return fmt.Sprintf("; on the wire %.3f × size down, %s up", float64(r.WireDown)/float64(r.Size), units.Size(r.WireUp))
}

// ProcsText says how many processors a device of the lab may use at once.
func ProcsText(n int) string {
	if n < 0 {
		return "GOMAXPROCS left to the devices"
	}
	return fmt.Sprintf("devices with GOMAXPROCS=%d", max(1, n))
}

func depthText(d int) string {
	if d < 0 {
		return "unknown"
	}
	return fmt.Sprint(d)
}

// TextOfAll writes the middle and the worst of several runs.
func TextOfAll(w io.Writer, runs []*Result) {
	figures := []struct {
		name string
		of   func(*Result) float64
	}{
		{"ratio to bound", func(r *Result) float64 { return r.Ratio }},
		{"WAN payload / size", func(r *Result) float64 { return r.WANRatio }},
		{"first origin byte, s", func(r *Result) float64 { return r.WakeS }},
		{"p99/p50", func(r *Result) float64 { return r.P99OverP50 }},
		{"peak memory, MiB", func(r *Result) float64 { return float64(r.PeakRSS) / (1 << 20) }},
	}
	fmt.Fprintf(w, "%d runs             median    worst\n", len(runs))
	for _, f := range figures {
		var values []float64
		for _, r := range runs {
			values = append(values, f.of(r))
		}
		slices.Sort(values)
		fmt.Fprintf(w, "  %-20s %7.3f  %7.3f\n", f.name, output.Quantile(values, 0.5), values[len(values)-1])
	}
}

// FailureText says in a line or a few what went wrong in a run.
func (r *Result) FailureText() string {
	var t strings.Builder
	fmt.Fprintf(&t, "%d of %d devices have the file", r.Complete, r.Expected)
	if r.TimedOut {
		t.WriteString(", and the time was up")
	}
	if len(r.Failures) > 0 {
		f := r.Failures[0]
		fmt.Fprintf(&t, "; %s: %s; %s\n%s", f.Device, f.Exit, f.Reason, f.Log)
	}
	return t.String()
}
