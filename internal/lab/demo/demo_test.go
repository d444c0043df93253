package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/labtest"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// testDemo runs a demo of four devices that play as told, on small files with
// the names of the firmware.
func testDemo(t *testing.T, how string, draw func(*Demo)) (*Summary, []Event) {
	t.Helper()
	self := labtest.Play(t, how)
	firmware := t.TempDir()
	for _, l := range loads {
		for i, name := range l.Files {
			b := bytes.Repeat([]byte{byte(i), byte(len(name))}, 15_000)
			if err := os.WriteFile(filepath.Join(firmware, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	base := t.TempDir()
	var events []Event
	d, err := New(Config{
		Devices: minDevices, WAN: 16 * units.Mbit, Peers: true, Product: self, Firmware: firmware, Base: base,
		Timeout: 2 * time.Minute, OnEvent: func(ev Event) { events = append(events, ev) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Run(context.Background())
	if err != nil {
		t.Error(err)
	}
	if draw != nil {
		draw(d)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(base, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	var text strings.Builder
	s.Text(&text)
	t.Log(text.String())
	return s, events
}

func TestDemo(t *testing.T) {
	var picture strings.Builder
	s, events := testDemo(t, "root", func(d *Demo) {
		p := output.Picture{Scene: d, Out: &picture, Size: func() (int, int) { return 80, 24 }}
		p.Start()
		p.Draw()
		p.Stop()
	})
	if !s.OK() || s.Complete != 4 || s.Devices != 4 || len(s.Failures) != 0 {
		t.Errorf("%+v", s)
	}
	// Three devices have load A of five files, one has load B of four.
	const file = 30_000
	if s.ClassicBytes != (2*5+4+5)*file || s.LoadBytes != (5+4+5)*file {
		t.Errorf("classic %d, load %d", s.ClassicBytes, s.LoadBytes)
	}
	if extra := s.WANBytes - s.ClassicBytes; extra < 1000 || extra > 40_000 {
		t.Errorf("%d payload bytes for files of %d and four manifests", s.WANBytes, s.ClassicBytes)
	}
	if s.LastS <= 0 || s.RatioToBound != s.LastS/s.BoundS || s.WANRatio != float64(s.WANBytes)/float64(s.LoadBytes) {
		t.Errorf("last %v, bound %v, ratio %v", s.LastS, s.BoundS, s.RatioToBound)
	}
	if len(s.Roots) != 2*5+4+5 {
		t.Errorf("%d roots", len(s.Roots))
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"event", "devices", "complete", "wan_bytes", "load_bytes", "wan_ratio", "last_device_s", "bound_s", "ratio_to_bound",
		"roots",
	} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the summary lacks %s", name)
		}
	}
	if len(events) < 2*19 || events[0].Device == "" || events[0].Model == "" || Line(events[0]) == "" {
		t.Errorf("%d events, first %+v", len(events), events[0])
	}
	for _, want := range []string{"tree of", "holds all 5 components", "holds all 4 components", "classic", "raspi0"} {
		if !strings.Contains(picture.String(), want) {
			t.Errorf("the picture lacks %q:\n%s", want, picture.String())
		}
	}
}

func TestDemoSeesWrongFile(t *testing.T) {
	s, _ := testDemo(t, "wrong", nil)
	if s.OK() || s.Complete != 0 || len(s.Failures) != 4 ||
		!strings.Contains(s.Failures[0].Reason, "not what the manifest says") {
		t.Errorf("%+v", s)
	}
}

func TestDemoConfigValidate(t *testing.T) {
	good := Config{Devices: 13, WAN: 8 * units.Mbit, Peers: true, KillRoot: 50}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Devices = minDevices - 1 },
		func(c *Config) { c.Devices = maxDevices + 1 },
		func(c *Config) { c.WAN = 0 },
		func(c *Config) { c.KillRoot = 100 },
		func(c *Config) { c.Peers = false },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("not refused: %+v", c)
		}
	}
}

// TestFirmware finds the firmware as a demo does, and none that is not what was
// pinned. Where the module cannot be had it is skipped.
func TestFirmware(t *testing.T) {
	dir, err := FirmwareDir(t.Context(), "")
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "go mod download") && !strings.Contains(err.Error(), "checksum mismatch"):
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	var total int64
	for _, l := range loads {
		for _, name := range l.Files {
			st, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			total += st.Size()
		}
	}
	if total > 25_000_000 {
		t.Errorf("the loads have %d bytes", total)
	}
	other := strings.Replace(firmwareSum, "W", "X", 1)
	if _, err := fetchFirmware(t.Context(), other); err == nil || !strings.Contains(err.Error(), "checksum mismatch") {
		t.Errorf("firmware of another sum: %v", err)
	}
}

// TestFirmwareIsMissing: without a network the error says what to do.
func TestFirmwareIsMissing(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	_, err := FirmwareDir(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), firmwareVersion) || !strings.Contains(err.Error(), "--firmware") {
		t.Errorf("%v", err)
	}
}

// saying starts a process that says the events, and returns when it has said
// them. It lives until the test ends.
func saying(t *testing.T, host site.Host, events []report.Event) *process.Proc {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args := []string{"-c", `[ $# = 0 ] || printf '%s\n' "$@"; exec sleep 600`, "device"}
	for _, ev := range events {
		if ev.Event == "" {
			ev.Event = report.KindProgress
		}
		b, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, string(b))
	}
	said := make(chan struct{}, len(events))
	procs, _, err := process.StartAll(ctx, []process.Command{{
		Host: host, Path: "/bin/sh", Args: args, OnEvent: func(report.Event) { said <- struct{}{} },
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = procs[0].Wait() // it was ended
	})
	for range events {
		select {
		case <-said:
		case <-procs[0].Done():
			t.Fatal("it ended before it had said all")
		}
	}
	return procs[0]
}

// still is a scene that does not change.
type still [][]output.Span

func (s still) Lines(int) [][]output.Span { return s }

// TestTree draws two models' trees from what devices said.
func TestTree(t *testing.T) {
	m := &load.Manifest{Name: "l", Components: []load.Component{{Name: "a", Size: 10}, {Name: "b", Size: 20}}}
	var group []*device
	for i, says := range [][]report.Event{
		{{File: "a", Role: report.RoleParent, Parent: "127.0.0.2:4051", Percent: 40, Source: report.SourcePeer}},
		{{File: "a", Role: report.RoleRoot, Percent: 50, Source: report.SourceOrigin}},
		{{File: "a", Role: report.RoleLeaf, Parent: "127.0.0.1:4051", Percent: 30, Source: report.SourcePeer}},
		{},
		{
			{File: "a", Event: report.KindVerified, Role: report.RoleLeaf, Parent: "127.0.0.2:4051", Percent: 100},
			{File: "b", Role: report.RoleRoot, Percent: 1, Source: report.SourceOrigin},
		},
		// Two that name each other must not hang the picture.
		{{File: "a", Role: report.RoleLeaf, Parent: "127.0.0.7:4051"}},
		{{File: "a", Role: report.RoleLeaf, Parent: "127.0.0.6:4051"}},
	} {
		dev := &device{model: "m", load: m}
		dev.Number, dev.Host = i+1, site.Host{Addr: netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})}
		dev.Add(saying(t, dev.Host, says))
		group = append(group, dev)
	}
	var drawn strings.Builder
	p := output.Picture{Scene: still(tree("m", m, group)), Out: &drawn, Size: func() (int, int) { return 81, 24 }}
	p.Draw()
	var got strings.Builder
	for l := range strings.SplitSeq(drawn.String(), "\x1b[K\r\n") {
		got.WriteString(strings.TrimRight(strings.TrimSuffix(l, "\x1b[J"), " ") + "\n")
	}
	want := `m l, 30 bytes: tree of a
  127.0.0.2          root     a            ██████░░░░░░  50 % from the server
  ├ 127.0.0.1        parent   a            ████░░░░░░░░  40 % from 127.0.0.2
  │ └ 127.0.0.3      leaf     a            ███░░░░░░░░░  30 % from 127.0.0.1
  └ 127.0.0.5        root     b            ░░░░░░░░░░░░   1 % from the server
  127.0.0.4                   waiting
  127.0.0.6          leaf     a            ░░░░░░░░░░░░   0 %
  └ 127.0.0.7        leaf     a            ░░░░░░░░░░░░   0 %

`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}
