package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/programs"
)

const (
	rolloutSites = 3
	// perModel is how many devices of each of two models a site has.
	perModel = 10
	loadSize = 2 << 20
)

// rolloutModels are the models, and the first word of their loads' names.
var rolloutModels = map[string]string{"linux-amd64": "box", "linux-arm64": "sign"}

// office is a controller as a process, with its devices at three sites.
type office struct {
	t                *testing.T
	dir, bin         string
	api, http, token string
	server           *exec.Cmd
	log              bytes.Buffer
	c                *client.Client
	devices          map[string][]string // by site
	ports            map[string]uint16
	models           map[string]string // by device
	moved            map[string]int64  // bytes from the server, by site and model, when it was looked at last
}

// run runs a command of the controller on its data directory.
func (o *office) run(args ...string) string {
	o.t.Helper()
	cmd := exec.Command(o.bin, args...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "PEERLOAD_DATA="+filepath.Join(o.dir, "data"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("peerload-server %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// until waits until something is so.
func (o *office) until(what string, most time.Duration, so func() bool) {
	o.t.Helper()
	late := time.After(most)
	for !so() {
		select {
		case <-late:
			var told []byte
			for _, names := range o.devices { // of one device
				told, _ = os.ReadFile(filepath.Join(o.dir, names[0]+".log"))
			}
			o.t.Fatalf("it does not come to pass within %v: %s\nthe controller: %s\na device: %s", most, what, o.tail(), told)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (o *office) tail() string {
	text := o.log.String()
	return text[max(0, len(text)-3000):]
}

// start starts the controller, at the same addresses each time.
func (o *office) start() {
	o.t.Helper()
	o.server = exec.Command(o.bin, "serve", "--data", filepath.Join(o.dir, "data"), "--listen", o.api, "--http", o.http,
		"--tftp", "off", "--tls", "off")
	o.server.Stdout, o.server.Stderr = &o.log, &o.log
	if err := o.server.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.until("it listens", time.Minute, func() bool {
		conn, err := net.Dial("tcp", o.api)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// stop ends the controller in order.
func (o *office) stop() {
	o.t.Helper()
	if err := o.server.Process.Signal(syscall.SIGTERM); err != nil {
		o.t.Fatal(err)
	}
	if err := o.server.Wait(); err != nil {
		o.t.Fatalf("the controller ended with %v: %s", err, o.tail())
	}
}

// kill kills the controller, as a power cut does.
func (o *office) kill() {
	_ = o.server.Process.Kill()
	_ = o.server.Wait() // it was killed
}

// buildOffice has the program of a controller and free addresses, and has not started
// it.
func buildOffice(t *testing.T) *office {
	t.Helper()
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, dir: t.TempDir(), devices: map[string][]string{}, ports: map[string]uint16{},
		models: map[string]string{}, moved: map[string]int64{}}
	o.bin = filepath.Join(o.dir, "peerload-server")
	if err := programs.Into(o.bin, []string{"peerload-server"}); err != nil {
		t.Fatal(err)
	}
	o.api, o.http = fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	return o
}

// newOffice is a controller with some sites, each with so many devices of each of two
// models, and nothing published.
func newOffice(t *testing.T, sites, perModel int) *office {
	t.Helper()
	o := buildOffice(t)
	o.start()
	t.Cleanup(o.kill)
	for name, text := range map[string]string{"password": "correct horse battery\n", "none.toml": ""} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.run("user", "add", "ann", "--role", "admin", "--password-file", "password")
	o.token = o.run("token", "add", "t", "--user", "ann", "--role", "admin", "--scope",
		"read,devices,loads,enterprise,access")
	var err error
	if o.c, err = client.New("http://"+o.api, o.token, nil); err != nil {
		t.Fatal(err)
	}
	o.run("enterprise", "set", "peer-sharing=on", "--yes")
	for i := range sites {
		site := fmt.Sprintf("site-%d", i+1)
		o.run("site", "add", site, "--time-zone", "UTC")
		o.ports[site] = freePort(t)
		for model := range rolloutModels {
			for n := range perModel {
				name := fmt.Sprintf("SEP0281%02X%02X%04X", i+1, rolloutModels[model][0], n+1)
				o.devices[site] = append(o.devices[site], name)
				o.models[name] = model
				o.run("device", "add", name, "--model", model, "--site", site)
			}
		}
	}
	return o
}

// publish publishes a load of one model.
func (o *office) publish(name, version, model string) {
	o.t.Helper()
	body := make([]byte, loadSize)
	if _, err := rand.Read(body); err != nil {
		o.t.Fatal(err)
	}
	file := name + ".bin"
	if err := os.WriteFile(filepath.Join(o.dir, file), body, 0o600); err != nil {
		o.t.Fatal(err)
	}
	o.run("load", "add", "--name", name, "--version", version, "--model", model, file)
}

// failingAt makes a load not work on the devices of a site.
const failingAt = `[ "$PEERLOAD_LOAD" != sign-2.0 ] || case "$PEERLOAD_STATE" in */site-2/*) exit 1;; esac`

// boot starts all devices, each with further arguments.
func (o *office) boot(more func(name string) []string) {
	o.t.Helper()
	o.run("trust", "export", "--out", "trust")
	key := filepath.Join(o.dir, "key")
	if err := os.WriteFile(key, []byte(o.run("enrolment", "add", "k", "--site-key")), 0o600); err != nil {
		o.t.Fatal(err)
	}
	for site, names := range o.devices {
		for n, name := range names {
			state := filepath.Join(o.dir, site, name)
			if err := os.MkdirAll(state, 0o700); err != nil {
				o.t.Fatal(err)
			}
			log, err := os.Create(filepath.Join(o.dir, name+".log"))
			if err != nil {
				o.t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cmd := exec.CommandContext(ctx, peerloadPlain, "agent", "--config", filepath.Join(o.dir, "none.toml"),
				"--server", "http://"+o.http, "--mac", name[3:], "--model", o.models[name], "--trust",
				filepath.Join(o.dir, "trust"), "--address", fmt.Sprintf("127.81.%c.%d/8", site[len(site)-1], n+1),
				"--port", fmt.Sprint(o.ports[site]), "--state", state, "--controller", "http://"+o.api, "--token-file", key,
				"--check-in", "4s")
			cmd.Args = append(cmd.Args, more(name)...)
			cmd.Stdout, cmd.Stderr = log, log
			if err := cmd.Start(); err != nil {
				o.t.Fatal(err)
			}
			o.t.Cleanup(func() { cancel(); _ = cmd.Wait(); log.Close() })
		}
	}
}

// count counts devices that the API says run such a load, in such a state.
func (o *office) count(is func(d client.Device) bool) (n int) {
	o.t.Helper()
	for d, err := range o.c.Devices.List(o.t.Context(), client.Filter{}) {
		if err != nil {
			return -1 // the controller is away
		}
		if d.State != nil && is(d) {
			n++
		}
	}
	return n
}

// runs counts devices of a site, "" for all, that run a load of that name or
// version and are idle.
func (o *office) runs(site, load string) int {
	o.t.Helper()
	return o.count(func(d client.Device) bool {
		return (site == "" || d.Site == site) && strings.HasSuffix(d.State.Last.Active, load) && d.State.Last.State == "idle"
	})
}

// copies looks at how many times each site fetched the load of each model from the
// server since it was looked last, in hundredths.
func (o *office) copies() map[string]int64 {
	o.t.Helper()
	now := map[string]int64{}
	for d, err := range o.c.Devices.List(o.t.Context(), client.Filter{}) {
		if err != nil {
			o.t.Fatal(err)
		}
		now[d.Site+" "+d.Model] += d.State.Traffic.FromOrigin
	}
	out := map[string]int64{}
	for of, bytes := range now {
		out[of] = (bytes - o.moved[of]) * 100 / loadSize
	}
	o.moved = now
	return out
}

// rollout reads the rollout.
func (o *office) rollout() client.Rollout {
	o.t.Helper()
	r, err := o.c.Rollout(o.t.Context(), "up")
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// order gives an order over the API.
func (o *office) order(verb string, order client.RolloutOrder) client.RolloutDone {
	o.t.Helper()
	done, err := o.c.OrderRollout(o.t.Context(), "up", verb, order, client.AnyVersion, false)
	if err != nil {
		o.t.Fatal(err)
	}
	return done
}

// TestRollout: sixty devices at three sites get a release of two loads. A canary
// succeeds; at the second site one of the loads does not work, and the rollout
// pauses by itself; the controller is killed and started again; a mended load takes
// the place of the bad one and the devices are tried again; the rest installs in
// its window. Each load crosses the line of a site once.
func TestRollout(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") != "1" {
		t.Skip("sixty agents for some minutes: ./test.sh full runs it, and PEERLOAD_FULL=1 does")
	}
	o := newOffice(t, rolloutSites, perModel)
	// A line of a real site: over one without a limit a device that gets no processor for a
	// moment has the whole load before it hears the others.
	o.run("enterprise", "set", "wan-limit=256k", "--yes")
	for _, version := range []string{"1.0", "2.0"} {
		for model, name := range rolloutModels {
			o.publish(name+"-"+version, version, model)
		}
		o.run("release", "add", version)
	}
	o.run("release", "assign", "1.0", "--enterprise", "--yes")
	o.boot(func(string) []string { return []string{"--confirm-command", failingAt, "--confirm-timeout", "2s"} })
	all := rolloutSites * 2 * perModel
	o.until("all run the first release", 3*time.Minute, func() bool { return o.runs("", "-1.0") == all })
	o.once("the first release", 105)

	canary := []string{o.devices["site-1"][0], o.devices["site-1"][perModel]}
	o.run("rollout", "create", "up", "--release", "2.0", "--all", "--download-anytime", "--max-failed-share", "50",
		"--wave", "devices:"+strings.Join(canary, ",")+" soak=2s", "--wave", "sites:site-2 by=person", "--wave", "100%")
	o.run("rollout", "start", "up", "--yes")
	o.until("the canary is done, and the second wave opens", 2*time.Minute, func() bool { return o.rollout().Open == 2 })
	o.until("too many fail, and it pauses", 4*time.Minute, func() bool { return o.rollout().State == "paused" })
	if n := o.runs("site-3", "-1.0"); n != 2*perModel {
		t.Errorf("%d devices of a site whose wave is not open run the old release", n)
	}
	o.kill()
	o.start()
	if r := o.rollout(); r.State != "paused" || r.Counts.Failed == 0 || r.Reasons["not-confirmed"] != r.Counts.Failed {
		t.Fatalf("after a restart it is %s: %+v, %v", r.State, r.Counts, r.Reasons)
	}
	o.until("those that had begun say how it ended", 2*time.Minute, func() bool { return o.rollout().Counts.Began == 0 })
	o.publish("sign-2.0b", "2.0b", "linux-arm64")
	o.order("replace", client.RolloutOrder{From: "sign-2.0", To: "sign-2.0b"})
	o.order("retry", client.RolloutOrder{})
	o.order("resume", client.RolloutOrder{})
	o.until("the second site is done", 4*time.Minute, func() bool {
		return o.runs("site-2", "box-2.0") == perModel && o.runs("site-2", "sign-2.0b") == perModel
	})
	o.rest(all)
}

// once compares what crossed the lines with one copy for each site and model.
func (o *office) once(what string, most int64) {
	o.t.Helper()
	got := o.copies()
	o.t.Logf("%s: hundredths of a copy that crossed the lines: %v", what, got)
	for of, n := range got {
		if n > most {
			o.t.Errorf("%s: %d hundredths of a copy for %s", what, n, of)
		}
	}
}

// rest takes the third wave through a window that opens soon, to the end.
func (o *office) rest(all int) {
	o.t.Helper()
	from := time.Now().UTC().Add(2 * time.Minute).Truncate(time.Minute)
	window := from.Format("15:04") + "-" + from.Add(time.Hour).Format("15:04")
	for _, site := range []string{"site-1", "site-3"} {
		o.run("site", "set", site, "--window", window)
	}
	o.order("next", client.RolloutOrder{})
	ready := func(d client.Device) bool { return d.State.Last.State == "ready" }
	o.until("the rest has its load, and waits for the window", 100*time.Second, func() bool {
		return o.count(ready) == all-2*perModel-2
	})
	if time.Now().Before(from) && o.runs("site-3", "-1.0")+o.count(ready) < 2*perModel {
		o.t.Error("a device has installed before its window")
	}
	o.until("it is finished", 5*time.Minute, func() bool { return o.rollout().State == "finished" })
	r := o.rollout()
	if r.Counts.Done != all || len(r.Replaced) != 1 {
		o.t.Errorf("it ended with %+v, %v", r.Counts, r.Replaced)
	}
	for d, err := range o.c.RolloutDevices("up").List(o.t.Context(), client.Filter{}) {
		switch {
		case err != nil:
			o.t.Fatal(err)
		case d.Wave == 2 && d.Since.Before(from):
			o.t.Errorf("%s was done at %v, before its window", d.Device, d.Since)
		}
	}
	for d, err := range o.c.Devices.List(o.t.Context(), client.Filter{}) {
		if err != nil {
			o.t.Fatal(err)
		}
		want, err := o.c.Desired(o.t.Context(), d.Name)
		if err != nil || want.Load.Load != d.State.Last.Active || !strings.Contains(want.Load.Load, "-2.0") {
			o.t.Errorf("%s runs %s, and should run %s: %v", d.Name, d.State.Last.Active, want.Load.Load, err)
		}
	}
	o.lines()
}

// lines looks at what crossed the lines: of each load one copy. Two sites have
// fetched the load that did not work everywhere, and the mended one.
func (o *office) lines() {
	o.t.Helper()
	for of, n := range o.copies() {
		most := int64(105)
		if of == "site-1 linux-arm64" || of == "site-2 linux-arm64" {
			most = 2 * 105
		}
		o.t.Logf("%s: %d hundredths of a copy crossed the line", of, n)
		if n > most {
			o.t.Errorf("%s: %d hundredths of a copy, at most %d", of, n, most)
		}
	}
}

// TestLivePage watches in a browser how twelve agents upgrade: the trees of both files
// grow, each has one root, and what came over the line is a fraction of what the classic
// way would have pulled; then the past can be looked at. Meanwhile the controller is killed
// once, and restarted in order once, and nothing that is shown goes back.
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
	o.run("enterprise", "set", "wan-limit=100k", "--yes")
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
	b.Wait(`document.querySelector("#live-done").textContent === "0"`) // none shows its first load any more
	back := goesBack(b)
	for _, end := range []func(){o.kill, o.stop} {
		far := browser.Run(b, chromedp.Evaluate[int](`least()`))
		end()
		b.Wait(`document.querySelector("#live-status").textContent.includes("connection is lost")`)
		o.start()
		b.Wait(`document.querySelector("#live-status").textContent.includes("Live:")`)
		b.Wait(fmt.Sprintf(`least() > %d`, min(far, 99))) // it goes on
	}
	o.until("all run the second load", 3*time.Minute, runs("-2.0"))
	b.Wait(`document.querySelector("#live-done").textContent === "12"`)
	b.Wait(`Number(document.querySelector("#live-canvas").dataset.frames) > 20`)
	b.Wait(`parseInt(document.querySelector("#live-saved").textContent) >= 70`)
	if all := back(); len(all) > 0 {
		t.Errorf("what was shown went back: %v", all)
	}
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
	for _, told := range b.Told() {
		if !strings.Contains(told, "ERR_") { // of the connections meanwhile
			t.Error(told)
		}
	}
	if shots := os.Getenv("PEERLOAD_SHOTS"); shots != "" {
		b.Shot(shots + "/live-agents.png")
	}
}

// goesBack watches a live page: what it returns are the figures that were less at some
// time than before, and devices that were gone.
func goesBack(b *browser.Browser) func() []string {
	browser.Run(b, chromedp.Evaluate[int](`(() => {
		const best = {}, rows = document.querySelector("#live-rows");
		window.back = [];
		const figure = (what, n) => {
			if (n < best[what]) window.back.push(what + ": " + n + " after " + best[what]);
			best[what] = Math.max(n, best[what] ?? 0);
		};
		const devices = () => [...rows.rows].map(r => [r.cells[0].textContent, parseInt(r.cells[1].textContent)]);
		window.least = () => Math.min(...devices().map(([, n]) => n));
		const look = () => {
			const shown = devices();
			figure("rows", shown.length);
			for (const [name, n] of shown) figure(name, n);
			for (const id of ["devices", "done"]) figure(id, +document.querySelector("#live-" + id).textContent);
		};
		new MutationObserver(look).observe(document.querySelector("#live-site"),
			{childList: true, subtree: true, characterData: true});
		return 0;
	})()`))
	return func() []string { return browser.Run(b, chromedp.Evaluate[[]string](`window.back`)) }
}
