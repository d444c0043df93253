package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
)

// TestLivePage watches in a browser how twelve agents upgrade: the trees of both files
// grow, each has one root, and what came over the line is a fraction of what the classic
// way would have pulled; then the past can be looked at.
func TestLivePage(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") != "1" {
		t.Skip("a browser and twelve agents for a minute: PEERLOAD_FULL=1 runs it, and ./test.sh full does")
	}
	o := newOffice(t, 1, 6)
	b := browser.Open(t, foreign.Program(t, "chromium"))
	for model, name := range rolloutModels {
		o.publish(name+"-1.0", "1.0", model)
		o.run("load", "assign", name+"-1.0", "--model", model, "--yes")
	}
	o.boot(func(string) []string { return nil })
	runs := func(version string) func() bool {
		return func() bool {
			return o.count(func(d client.Device) bool {
				return d.State != nil && strings.HasSuffix(d.State.Last.Active, version)
			}) == 12
		}
	}
	o.until("all run the first load", 2*time.Minute, runs("-1.0"))
	o.run("enterprise", "set", "wan-limit=200k", "--yes")
	b.Cookie("http://"+o.api, "peerload_language", "en")
	b.Go("http://" + o.api + "/sites/site-1/live")
	b.Fill("name", "ann")
	b.Fill("password", "correct horse battery")
	b.Follow(`//main//button[contains(., "Sign in")]`)
	for model, name := range rolloutModels {
		o.publish(name+"-2.0", "2.0", model)
		o.run("load", "assign", name+"-2.0", "--model", model, "--yes")
	}
	const rows = `[...document.querySelectorAll("#live-rows tr")]`
	b.Wait(`document.querySelector("#live-devices").textContent === "12"`)
	b.Wait(rows + `.length === 6 && ` + rows + `.some(r => / [1-9]\d? %|^[1-9]\d? %/.test(r.cells[1].textContent))`)
	b.Wait(`document.querySelector("#live-root").textContent.includes("Root of this file")`)
	b.Wait(rows + `.filter(r => r.cells[3].textContent.includes("root")).length === 1`)
	b.Wait(rows + `.filter(r => r.cells[2].textContent === "peer").length === 5`)
	o.until("all run the second load", 3*time.Minute, runs("-2.0"))
	b.Wait(`document.querySelector("#live-done").textContent === "12"`)
	b.Wait(`Number(document.querySelector("#live-canvas").dataset.frames) > 20`)
	b.Wait(`parseInt(document.querySelector("#live-saved").textContent) >= 70`)
	for model, name := range rolloutModels { // each device is in the table of its file
		browser.Run(b, chromedp.Evaluate[int](`(() => { const f = document.querySelector("#live-file");
			f.value = "`+name+`-2.0.bin"; f.dispatchEvent(new Event("change")); return 0; })()`))
		for _, device := range o.devices["site-1"] {
			if o.models[device] == model {
				b.Wait(rows + `.some(r => r.textContent.includes("` + device + `"))`)
			}
		}
	}
	browser.Run(b, chromedp.Evaluate[int](`document.querySelector("#live-time").focus(), 0`))
	b.Wait(`Number(document.querySelector("#live-time").max) > 5`)
	browser.Run(b, chromedp.Evaluate[int](`(() => { const t = document.querySelector("#live-time"); t.value = 2;
		t.dispatchEvent(new Event("input")); return 0; })()`))
	b.Wait(`document.querySelector("#live-status").textContent.includes("past")`)
	if told := b.Told(); len(told) > 0 {
		t.Error(told)
	}
	if shots := os.Getenv("PEERLOAD_SHOTS"); shots != "" {
		b.Shot(shots + "/live-agents.png")
	}
}
