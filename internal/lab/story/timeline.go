package story

import (
	"bufio"
	"encoding/json"
	"strings"
	"sync"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/report"
)

// mostSamples bounds the samples that a report keeps: of a longer run it keeps
// every second sample, then every fourth, and so on.
const mostSamples = 1200

// mostChanges bounds the changes of the tree that a report keeps.
const mostChanges = 50_000

// Mark is a main event of the run: what a story did, a device that became root,
// one that failed.
type Mark struct {
	Kind    string   `json:"kind"` // "story", "undo", "root", "fallback" or "failed"
	AtS     float64  `json:"t_s"`
	Devices []string `json:"devices,omitempty"` // addresses
	Text    string   `json:"text"`
}

// Kinds of marks.
const (
	markStory    = "story" // something happens to the site
	markUndo     = "undo"  // and is over
	markRoot     = "root"
	markFallback = "fallback"
	markFailed   = "failed"
)

// sample is the state of the site at one moment, a line of the timeline of the
// kind "sample".
type sample struct {
	Kind    string  `json:"kind"`
	AtS     float64 `json:"t_s"`
	Down    uint64  `json:"wan_down_bytes"` // on the wire, since the start
	Up      uint64  `json:"wan_up_bytes"`
	Payload int64   `json:"wan_payload_bytes"`
	Percent []int   `json:"percent"`             // of every device, in order
	Sent    []int64 `json:"port_bytes_per_s"`    // by every device, since the last sample
	Held    int     `json:"devices_with_file"`   // how many have it
	Running int     `json:"devices_switched_on"` // how many processes there are
}

// change is a device's new place in the tree.
type change struct {
	AtS    float64 `json:"t_s"`
	Device int     `json:"device"` // from 0
	Parent int     `json:"parent"` // from 0; -1: none
	Role   string  `json:"role"`
}

// timeline records what happens to a site, writes it as JSON lines and keeps
// what a report needs. It is safe for concurrent use.
type timeline struct {
	onMark func(Mark)

	mu      sync.Mutex
	out     *bufio.Writer // nil if nobody wants it
	err     error
	marks   []Mark
	samples []sample
	skip    int // of so many samples one is kept
	seen    int
	changes []change
	last    map[int]change
	wire    rateMeter
}

func newTimeline(cfg Config, u *Up) *timeline {
	t := &timeline{onMark: cfg.OnMark, skip: 1, last: map[int]change{}}
	if cfg.Timeline != nil {
		t.out = bufio.NewWriter(cfg.Timeline)
	}
	addrs := make([]string, len(u.devices))
	for i, d := range u.devices {
		addrs[i] = d.Host.Addr.String()
	}
	stories := []string{}
	for _, s := range cfg.Stories {
		stories = append(stories, s.String())
	}
	t.write(map[string]any{
		"kind": "site", "devices": addrs, "subnets": max(cfg.Site.Subnets, 1), "size": cfg.Size, "seed": cfg.Seed,
		"wan_bits_per_s": cfg.Site.WAN, "lan_bits_per_s": cfg.Site.LAN, "wan_rtt_s": cfg.Site.RTT.Seconds(),
		"wan_jitter_s": cfg.Site.Jitter.Seconds(), "wan_loss": cfg.Site.Loss, "stories": stories,
	})
	return t
}

// write writes one line; the lock is held or not needed yet. After the first
// error nothing more is written, and flush returns it.
func (t *timeline) write(v any) {
	if t.out == nil || t.err != nil {
		return
	}
	t.err = json.NewEncoder(t.out).Encode(v)
}

// flush writes what is buffered, and returns what went wrong.
func (t *timeline) flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out != nil && t.err == nil {
		t.err = t.out.Flush()
	}
	return t.err
}

// mark records a main event.
func (t *timeline) mark(u *Up, kind string, whom []*device, text string) {
	m := Mark{Kind: kind, AtS: u.Elapsed().Seconds(), Text: text}
	for _, d := range whom {
		m.Devices = append(m.Devices, d.Host.Addr.String())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks = append(t.marks, m)
	t.write(m)
	if t.onMark != nil {
		t.onMark(m)
	}
}

// event takes an event of a device.
func (t *timeline) event(u *Up, d *device, ev report.Event) {
	if ev.Event == report.KindLog || ev.Event == report.KindProgress {
		return
	}
	at := u.Elapsed().Seconds()
	t.mu.Lock()
	t.write(struct {
		Kind    string  `json:"kind"`
		AtS     float64 `json:"t_s"`
		Address string  `json:"address"`
		report.Event
	}{"event", at, d.Host.Addr.String(), ev})
	t.move(u, d, ev, at)
	t.mu.Unlock()
	switch {
	case ev.Event == report.KindRole && ev.Role == report.RoleRoot:
		t.mark(u, markRoot, []*device{d}, "is root"+output.Because(ev.Reason))
	case ev.Event == report.KindFallback:
		t.mark(u, markFallback, []*device{d}, "fallback"+output.Because(ev.Reason))
	case ev.Event == report.KindFailed:
		t.mark(u, markFailed, []*device{d}, strings.TrimSpace("failed"+output.Because(ev.Reason)+" "+ev.Message))
	}
}

// move notes a device's place in the tree, if that is new. A device that has
// the whole file has left the tree; its last place is kept.
func (t *timeline) move(u *Up, d *device, ev report.Event, at float64) {
	if ev.Role == "" || ev.Percent >= 100 || ev.Event == report.KindDone || len(t.changes) >= mostChanges {
		return
	}
	c := change{AtS: at, Device: d.Number - 1, Parent: -1, Role: ev.Role}
	if p := u.byAddr[process.AddrOf(ev.Parent)]; p != nil && ev.Role != report.RoleRoot && ev.Role != report.RoleDetached {
		c.Parent = p.Number - 1
	}
	before, known := t.last[c.Device]
	if known && before.Parent == c.Parent && before.Role == c.Role {
		return
	}
	t.last[c.Device] = c
	t.changes = append(t.changes, c)
}

// sample notes the state of now.
func (t *timeline) sample(u *Up) {
	s := sample{Kind: "sample", Payload: u.server.Tally.Total()}
	if w, ok := u.site.Wire(); ok {
		s.Down, s.Up = w.Down-u.base.Down, w.Up-u.base.Up
	}
	s.AtS = u.Elapsed().Seconds() // right behind the counters, whose rate is to be known
	for _, d := range u.devices {
		v := d.view()
		percent := v.Percent
		if v.Held() {
			percent = 100
			s.Held++
		}
		if d.running() {
			s.Running++
		}
		s.Percent = append(s.Percent, percent)
	}
	ports, err := u.site.Ports()
	t.mu.Lock()
	defer t.mu.Unlock()
	past := sampleEvery.Seconds()
	if n := len(t.samples); n > 0 {
		past = max(s.AtS-t.wire.at, 0.001)
	}
	s.Sent = make([]int64, len(u.devices))
	if err == nil {
		for i := range ports {
			if i < len(u.bounds) {
				s.Sent[i] = int64(float64(ports[i].Up-u.bounds[i].Up) / past)
			}
		}
		u.bounds = ports
	}
	t.wire.add(s.AtS, s.Down)
	t.write(s)
	if t.out != nil && t.err == nil {
		t.err = t.out.Flush()
	}
	t.keep(s)
}

// keep keeps a sample for the report, and thins them when they are many.
func (t *timeline) keep(s sample) {
	t.seen++
	if (t.seen-1)%t.skip != 0 {
		return
	}
	t.samples = append(t.samples, s)
	if len(t.samples) < mostSamples {
		return
	}
	for i := range len(t.samples) / 2 {
		t.samples[i] = t.samples[2*i]
	}
	t.samples = t.samples[:len(t.samples)/2]
	t.skip *= 2
}

// rate returns what the WAN has carried down lately.
func (t *timeline) rate() units.Rate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wire.rate
}

// lately returns the last marks.
func (t *timeline) lately(n int) []Mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Mark(nil), t.marks[max(0, len(t.marks)-n):]...)
}

// rateMeter is a rate over about a second.
type rateMeter struct {
	at    float64
	bytes uint64
	past  []rateMeter
	rate  units.Rate
}

func (m *rateMeter) add(at float64, bytes uint64) {
	m.at, m.bytes = at, bytes
	m.past = append(m.past, rateMeter{at: at, bytes: bytes})
	for len(m.past) > 2 && at-m.past[0].at > 1 {
		m.past = m.past[1:]
	}
	if first := m.past[0]; at > first.at {
		m.rate = units.Rate(float64(8*(bytes-first.bytes)) / (at - first.at))
	}
}
