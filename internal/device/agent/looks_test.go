package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/report"
)

// TestPageLooks loads the device's page in every state, in both languages, both looks and
// two widths: nothing is refused by its policy or cut off, and axe-core finds no barrier.
// With PEERLOAD_SHOTS it leaves pictures in that folder.
func TestPageLooks(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") != "1" {
		t.Skip("a browser for a minute: ./test.sh full runs it, and PEERLOAD_FULL=1 does")
	}
	d := newDepot(t)
	d.load("L1", "good", 300_000, "CP-7961G", "7941")
	d.load("L2", "bad", 100_000, "CP-7961G")
	d.set("tones-1", "ringtones", map[string]string{"bell.raw": "ding"})
	d.provision(withSharing("L1", "L1"))
	net := newSubnet(t)
	begin := func(model string, change func(*Config)) (*runner, string) {
		t.Helper()
		cfg := net.config(d, model)
		cfg.PageAddress = freeAddress(t)
		if change != nil {
			change(&cfg)
		}
		return start(t, cfg), "http://" + cfg.PageAddress + "/"
	}
	pages := map[string]string{}
	idle, at := begin("CP-7961G", nil)
	idle.runs("L1")
	pages["idle"] = at
	classic, cfg := shown(t, "CP-7940G", sharingCnf)
	classic.rec.Take(report.Event{Event: report.KindProgress, File: "apps.sbn", Role: report.RoleClassic,
		Source: report.SourceOrigin, Reason: "sharing-off", Bytes: 2_100_000, Size: 10_000_000, Percent: 21})
	pages["classic"] = "http://" + cfg.PageAddress + "/"
	root, at := begin("CP-7961G", nil)
	root.runs("L1")
	root.rec.Take(report.Event{Event: report.KindProgress, File: "apps.sbn", Role: report.RoleParent,
		Source: report.SourceOrigin, Reason: "root-of-file", Bytes: 4_300_000, Size: 10_000_000, Percent: 43,
		Children: []string{"10.1.0.12", "10.1.0.17"}})
	pages["root"] = at
	child, at := begin("CP-7961G", nil)
	child.runs("L1")
	child.rec.Take(report.Event{Event: report.KindProgress, File: "apps.sbn", Role: report.RoleLeaf,
		Source: report.SourcePeer, Reason: "root-placed", Bytes: 3_900_000, Size: 10_000_000, Percent: 39,
		Root: "10.1.0.11", Parent: "10.1.0.12"})
	pages["child"] = at
	failed, at := begin("CP-7961G", func(c *Config) { c.ConfirmCommand, c.ConfirmTimeout = "false", time.Second })
	until(t, "failed", func() bool { return failed.Status().State == report.StateFailed })
	pages["failed"] = at
	back, at := begin("CP-7961G", func(c *Config) { c.ConfirmCommand, c.ConfirmTimeout = healthy, 5*time.Second })
	back.runs("L1")
	d.provision(withSharing("L2", "L1"))
	back.Wake()
	back.rolledBack("L2", "L1")
	pages["rolled back"] = at
	b := browser.Open(t, foreign.Program(t, "chromium"))
	for state, at := range pages {
		for i, name := range []string{"en light 1280", "en dark 390", "ja dark 1280", "ja light 390"} {
			var lang, look string
			var px int64
			if _, err := fmt.Sscan(name, &lang, &look, &px); err != nil {
				t.Fatal(err)
			}
			b.Width(px)
			b.Look(look)
			b.Go(fmt.Sprintf("%s?lang=%s&refresh=off", at, lang))
			if over := b.Overflow(); over > 0 {
				t.Errorf("%s, %s: %d pixels are cut off", state, name, over)
			}
			for _, wrong := range append(b.Barriers(), b.Told()...) {
				t.Errorf("%s, %s: %s", state, name, wrong)
			}
			if shots := os.Getenv("PEERLOAD_SHOTS"); shots != "" {
				b.Shot(filepath.Join(shots, fmt.Sprintf("device %s %d %s.png", state, i, name)))
			}
		}
	}
}
