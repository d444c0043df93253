package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/labtest"
)

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}

// upSite is the small site on which stories are tried: 8 devices, and a file
// that takes 1.2 s over the WAN.
func upSite(t *testing.T, product string, stories ...string) Config {
	t.Helper()
	cfg := Config{
		Site: site.NamespaceConfig{Devices: 8, WAN: 8 * units.Mbit, LAN: 100 * units.Mbit}, Size: 1_200_000, Seed: 1,
		Product: product, Base: t.TempDir(), Timeout: 5 * time.Minute,
	}
	for _, text := range stories {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Stories = append(cfg.Stories, s)
	}
	return cfg
}

// runUp runs a site, checks that nothing is left of it, and returns the result
// and the report.
func runUp(t *testing.T, ctx context.Context, cfg Config) (*Result, string) {
	t.Helper()
	up, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := up.Run(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var html strings.Builder
	if err := up.WriteHTML(&html, r); err != nil {
		t.Error(err)
	}
	if err := up.Close(); err != nil {
		t.Error(err)
	}
	var text strings.Builder
	r.Text(&text)
	t.Log(text.String())
	if left, _ := filepath.Glob(filepath.Join(cfg.Base, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	links, err := netlink.LinkList()
	if err != nil || len(links) != 1 {
		t.Errorf("%d links are left: %v", len(links)-1, err)
	}
	return r, html.String()
}

// TestUp tries `up` with real devices.
func TestUp(t *testing.T) {
	product := inside.RunProduct(t)
	if product == "" {
		return
	}
	t.Run("stories", func(t *testing.T) { testStories(t, product) })
	t.Run("reports", func(t *testing.T) { testReports(t, product) })
	t.Run("scene", func(t *testing.T) { testScene(t, product) })
}

// testStories lets each story happen once. The bounds of the bytes over the
// WAN are copies of the file; each says where it comes from.
func testStories(t *testing.T, product string) {
	for _, c := range []struct {
		name    string
		stories []string
		change  func(*Config)
		// copies bounds the payload over the WAN, in sizes of the file.
		copies float64
		check  func(*testing.T, *Result)
	}{
		{
			// The dead root's bytes that its children did not get yet: the
			// queue of the link, 64 KiB of a packet and a window, twice.
			name: "kill root", stories: []string{"at 30% kill root"}, copies: 1.5,
			check: func(t *testing.T, r *Result) {
				if r.Elections < 2 {
					t.Errorf("%d elections after a root's death", r.Elections)
				}
			},
		},
		{name: "kill root for good", stories: []string{"at 30% kill root for good"}, copies: 1.5,
			check: func(t *testing.T, r *Result) {
				if r.Expected != 7 {
					t.Errorf("%d devices expected, want 7", r.Expected)
				}
			}},
		// No parent but the root asks the server.
		{name: "kill parents", stories: []string{"every 500ms kill random-parent"}, copies: 1.3},
		// Longer than a connection rests between its tries, shorter than a root
		// waits; a root that gave up all the same would fetch what was under way.
		{name: "cut the WAN", stories: []string{"at 500ms cut wan for 1s"}, copies: 1.5,
			check: func(t *testing.T, r *Result) {
				if r.LastS < 1+r.BoundS {
					t.Errorf("the last device has the file after %.2f s, as if nothing had been cut", r.LastS)
				}
			}},
		// Half of the devices do not hear each other, so each of them may have
		// to ask the server itself.
		{name: "isolate half", stories: []string{"isolate half"}, copies: 5.2},
		{name: "fill a disk", stories: []string{"fill disk of 3"}, copies: 1.3, check: func(t *testing.T, r *Result) {
			if len(r.Failures) != 1 || r.Failures[0].Exit != "exit status 5" || r.Rows[2].State != stateFailed || r.OK() {
				t.Errorf("failures %+v; row %+v", r.Failures, r.Rows[2])
			}
		}},
		// It needs 4.8 s for its own copy; whoever hangs on it moves.
		{
			name: "slow device", stories: []string{"slow device 4 to 2mbit"}, copies: 1.5,
			check: func(t *testing.T, r *Result) {
				if d := r.Rows[3].DoneS; d < 4.5 {
					t.Errorf("the slow device has the file after %.2f s", d)
				}
			},
		},
		// A late device gets all from the others, unless a busy machine lets them
		// answer too late.
		{
			name: "late", stories: []string{"start 2 devices late at 100%"}, copies: 3.1,
			check: func(t *testing.T, r *Result) {
				for _, row := range r.Rows[6:] {
					if row.StartS < r.BoundS {
						t.Errorf("late device %+v", row)
					}
				}
			},
		},
		{name: "wake", stories: []string{"wake over 1s"}, copies: 1.3, check: func(t *testing.T, r *Result) {
			first, last := r.Rows[0].StartS, r.Rows[0].StartS
			for _, row := range r.Rows {
				first, last = min(first, row.StartS), max(last, row.StartS)
			}
			if last-first < 0.9 {
				t.Errorf("devices started between %.2f and %.2f s", first, last)
			}
		}},
		{
			name: "subnets", stories: []string{"at 30% kill roots"}, copies: 1.6,
			change: func(c *Config) {
				c.Site.Subnets, c.Site.RTT, c.Site.WAN = 2, 20*time.Millisecond, 16*units.Mbit
			},
			check: func(t *testing.T, r *Result) {
				// Not by the story's times: it may meet both roots at once.
				killed := map[int]int{}
				for _, row := range r.Rows {
					killed[row.Subnet] += row.Kills
				}
				if len(killed) != 2 || killed[1] != 1 || killed[2] != 1 {
					t.Errorf("roots killed by subnet: %v, want one in each of the two", killed)
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := upSite(t, product, c.stories...)
			if c.change != nil {
				c.change(&cfg)
			}
			r, _ := runUp(t, context.Background(), cfg)
			if r.Complete < r.Expected-len(r.Failures) || len(r.Failures) > 0 && c.name != "fill a disk" {
				t.Errorf("complete %d of %d, failures %+v", r.Complete, r.Expected, r.Failures)
			}
			if len(r.Stories) != 1 || len(r.Stories[0].Times) == 0 {
				t.Errorf("it did not happen: %+v", r.Stories)
			}
			if r.WANRatio < 0.99 || r.WANRatio > c.copies {
				t.Errorf("%.3f copies crossed the WAN, want at most %.2f", r.WANRatio, c.copies)
			}
			if c.check != nil {
				c.check(t, r)
			}
		})
	}
}

// testReports runs a site to its end and checks what it tells, and another
// that is interrupted.
func testReports(t *testing.T, product string) {
	var timeline bytes.Buffer
	cfg := upSite(t, product, "at 50% slow all to 50mbit for 100ms")
	cfg.Site.Devices, cfg.Size, cfg.Timeline, cfg.Logs = 3, 600_000, &timeline, t.TempDir()
	r, html := runUp(t, context.Background(), cfg)
	if !r.OK() || r.Complete != 3 || r.Ratio <= 1 || r.PeakRSS == 0 || r.WireDown < uint64(cfg.Size) || r.Broadcasts == 0 {
		t.Errorf("%+v", r)
	}
	kinds := map[string]int{}
	for line := range strings.Lines(timeline.String()) {
		var v struct{ Kind string }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kinds[v.Kind]++
	}
	for _, kind := range []string{"site", "sample", "event", markRoot, markStory, "result"} {
		if kinds[kind] == 0 {
			t.Errorf("the timeline has no line of kind %s: %v", kind, kinds)
		}
	}
	for _, want := range []string{"10.77.0.3", "3 of 3", "slow all to 50mbit", "</html>"} {
		if !strings.Contains(html, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	for _, bad := range []string{"http://", "https://", "src=", "@import", "ZgotmplZ"} {
		if strings.Contains(strings.ReplaceAll(html, "http://www.w3.org/2000/svg", ""), bad) {
			t.Errorf("the report has %q", bad)
		}
	}
	if b, err := os.ReadFile(filepath.Join(cfg.Logs, "d0001.log")); err != nil || len(b) == 0 {
		t.Errorf("no log of device 1: %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	cfg = upSite(t, product)
	cfg.OnMark = func(Mark) { cancel() } // as soon as there is a root
	if r, _ = runUp(t, ctx, cfg); r.OK() || r.Error != output.Interrupted {
		t.Errorf("interrupted: %+v", r)
	}
}

// testScene draws a site that has not been started and one that is through.
func testScene(t *testing.T, product string) {
	cfg := upSite(t, product)
	cfg.Site.Devices, cfg.Size = 4, 100_000
	up, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	draw := func(rows int) string {
		var b strings.Builder
		p := &output.Picture{Scene: up, Out: &b, Size: func() (int, int) { return 100, rows }}
		p.Draw()
		return b.String()
	}
	if s := draw(24); !strings.Contains(s, "0 of 4 devices") || strings.Count(s, " off") != 4 {
		t.Errorf("before the start:\n%s", s)
	}
	if _, err := up.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s := draw(24); !strings.Contains(s, "4 of 4 devices") || strings.Count(s, "has the file") != 4 ||
		!strings.Contains(s, "is root") {
		t.Errorf("at the end:\n%s", s)
	}
	if s := draw(7); !strings.Contains(s, "more") {
		t.Errorf("on a small screen:\n%s", s)
	}
}

func TestConfigValidate(t *testing.T) {
	good := Config{Site: site.NamespaceConfig{Devices: 8, WAN: units.Mbit, LAN: units.Mbit}, Size: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Site.Devices = MaxDevices + 1 },
		func(c *Config) { c.Site.Subnets = 9 },
		func(c *Config) { c.Site.LAN = 0 },
		func(c *Config) { c.Size = 0 },
		func(c *Config) { c.Site.Loss = 1 },
		func(c *Config) { c.Stories = []Story{{Deed: deedStart, Count: 8, Percent: 100}} },
		func(c *Config) { c.Stories = []Story{{Deed: deedKill, Device: 9}} },
		func(c *Config) { c.Stories = []Story{{Deed: deedWake}, {Deed: deedWake, Over: 1}} },
	} {
		c := good
		if change(&c); c.Validate() == nil {
			t.Errorf("not refused: %+v", c)
		}
	}
}
