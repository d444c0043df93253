package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// setHook notes beside the state of a device what it was told.
const setHook = `#!/bin/sh
echo "$1 $PEERLOAD_SET in $PEERLOAD_DIRECTORY" >> "$PEERLOAD_STATE.hook"
`

// TestFileSets: four agents at one site get file sets from the enterprise, a profile
// and their own row. Each file crosses the line once, is put in place without a
// restart, and the hook is told. Sets are changed, taken away, and brought back by an
// undo.
func TestFileSets(t *testing.T) {
	tiers.Long(t, "it starts many devices or waits long")
	t.Parallel()
	o := newOffice(t, 1, 2)
	big := make([]byte, loadSize)
	copy(big, content(7, len(big)))
	o.file("phone.jar", string(big))
	o.file("hook", setHook)
	if err := os.Chmod(filepath.Join(o.dir, "hook"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.set("jp-1", "locale", "linux-amd64,linux-arm64", "phone.jar", "one")
	o.set("jp-2", "locale", "linux-amd64,linux-arm64", "phone.jar", "two")
	o.set("rings", "ring-tones", "linux-amd64", "", "ring")
	o.set("faces", "wallpapers", "linux-amd64,linux-arm64", "", "face")
	o.run("profile", "add", "desks")
	var boxes, all []string // of the model that rings are for
	for _, name := range o.devices["site-1"] {
		if all = append(all, name); o.models[name] == "linux-amd64" {
			boxes = append(boxes, name)
		}
	}
	o.run("device", "set", boxes[0], "--profile", "desks")
	o.run("device", "set", boxes[1], "--profile", "desks")
	o.run("fileset", "assign", "jp-1", "--enterprise", "--yes")
	o.run("fileset", "assign", "faces", "--profile", "desks", "--yes")
	o.run("fileset", "assign", "rings", "--device", boxes[0])
	page := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	o.boot(func(name string) []string {
		hook := []string{"--file-hook", filepath.Join(o.dir, "hook")}
		if name == boxes[0] {
			hook = append(hook, "--page-address", page)
		}
		return hook
	})
	want := map[string]map[string]string{}
	for _, name := range all {
		want[name] = map[string]string{"locale": "jp-1"}
	}
	want[boxes[0]]["wallpapers"], want[boxes[1]]["wallpapers"] = "faces", "faces"
	want[boxes[0]]["ring-tones"] = "rings"
	o.has("each has what its levels assign", want)
	o.crossed("each set", int64(2*(len(big)+len("one"))+len("ring")+len("face"))) // each model shares with its own

	o.run("fileset", "assign", "jp-2", "--enterprise", "--yes")
	o.change(want, all, "locale", "jp-2")
	o.has("another locale", want)
	o.crossed("what is new in the locale", int64(2*len("two")))
	gone := o.undoable("fileset", "unassign", "faces", "--profile", "desks", "--yes")
	o.change(want, boxes, "wallpapers", "")
	o.has("no wallpapers", want)
	o.run("undo", gone, "--yes")
	o.change(want, boxes, "wallpapers", "faces")
	o.has("the wallpapers are back", want)
	own := o.undoable("fileset", "assign", "jp-1", "--site", "site-1", "--yes")
	o.change(want, all, "locale", "jp-1")
	o.has("the site has a locale of its own", want)
	o.run("undo", own, "--yes")
	o.change(want, all, "locale", "jp-2")
	o.has("and the enterprise's again", want)
	o.tells(boxes[0], page)
}

// file writes a file.
func (o *office) file(name, text string) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// set publishes a file set of a file with some text and perhaps another one.
func (o *office) set(name, directory, models, other, text string) {
	o.t.Helper()
	o.file("list.xml", text)
	args := []string{"fileset", "add", "--name", name, "--version", "1", "--directory", directory, "--model", models,
		"list.xml"}
	if other != "" {
		args = append(args, other)
	}
	o.run(args...)
}

// undoable runs a command and returns the id by which it is undone.
func (o *office) undoable(args ...string) string {
	o.t.Helper()
	_, id, ok := strings.Cut(o.run(args...), "undo with: peerload-server undo ")
	if !ok {
		o.t.Fatalf("%v does not say how it is undone", args)
	}
	return strings.TrimSpace(id)
}

// change notes that devices are to have another set, "" for none.
func (o *office) change(want map[string]map[string]string, devices []string, directory, set string) {
	for _, name := range devices {
		if want[name][directory] = set; set == "" {
			delete(want[name], directory)
		}
	}
}

// has waits until each device reports exactly these sets, in place and told to the
// hook, and looks at what stands there.
func (o *office) has(what string, want map[string]map[string]string) {
	o.t.Helper()
	o.until(what, 5*time.Minute, func() bool {
		return o.count(func(d client.Device) bool {
			got := map[string]string{}
			for _, s := range d.State.Last.FileSets {
				if s.State != "idle" {
					return false
				}
				if s.Name != "" {
					got[s.Directory] = s.Name
				}
			}
			return maps.Equal(got, want[d.Name])
		}) == len(want)
	})
	texts := map[string]string{"jp-1": "one", "jp-2": "two", "rings": "ring", "faces": "face"}
	for name, sets := range want {
		for _, dir := range []string{"locale", "ring-tones", "wallpapers"} {
			b, err := os.ReadFile(filepath.Join(o.dir, "site-1", name, "files", dir, "list.xml"))
			if set := sets[dir]; set == "" && err == nil || string(b) != texts[set] {
				o.t.Errorf("%s has %q in %s, and should have %q", name, b, dir, set)
			}
		}
	}
}

// crossed compares what the devices fetched from the server since it was looked at last
// with so many bytes. What is signed comes with it, and a hello of a retry may.
func (o *office) crossed(what string, bytes int64) {
	o.t.Helper()
	var now int64
	for d, err := range o.c.Devices.List(o.t.Context(), client.Filter{}) {
		if err != nil {
			o.t.Fatal(err)
		}
		now += d.State.Traffic.FromOrigin
	}
	moved := now - o.moved[""]
	o.moved[""] = now
	o.t.Logf("%s: %d bytes crossed the line, a copy has %d", what, moved, bytes)
	if most := bytes + bytes/20 + 64<<10; moved < bytes || moved > most {
		o.t.Errorf("%s: %d bytes crossed the line, one copy has %d", what, moved, bytes)
	}
}

// tells compares what people are told of a device: by the controller, by its commands,
// and what its hook was told.
func (o *office) tells(name, page string) {
	o.t.Helper()
	state := filepath.Join(o.dir, "site-1", name)
	hook, err := os.ReadFile(state + ".hook")
	if err != nil {
		o.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(hook)), "\n")
	slices.Sort(lines[:3]) // the first three come in the order of the directories
	if got, want := strings.Join(lines, "; "), "place faces in wallpapers; place jp-1 in locale; "+
		"place rings in ring-tones; place jp-2 in locale; "+
		"remove faces in wallpapers; place faces in wallpapers; place jp-1 in locale; "+
		"place jp-2 in locale"; got != want {
		o.t.Errorf("the hook was told %s", got)
	}
	for what, want := range map[string]string{
		o.run("device", "show", name):                         "files    locale: jp-2 (enterprise)",
		o.run("report", "history", "--kind", "restart"):       "",
		o.run("report", "history", "--kind", "file-set"):      "faces 1",
		o.command("C", "status", "--state", state):            "jp-2 1",
		o.command("ja_JP.UTF-8", "status", "--state", state):  "配置済み",
		o.command("C", "explain", "locale", "--state", state): "jp-2 1 is in place, as assigned.",
		o.page(page, "en"):                                    "File sets", o.page(page, "ja"): "ファイルセット",
	} {
		if !strings.Contains(what, want) || want == "" && strings.Contains(what, name) {
			o.t.Errorf("%q is not told in: %s", want, what)
		}
	}
}

// command runs a command of a device.
func (o *office) command(locale string, args ...string) string {
	o.t.Helper()
	cmd := exec.Command(peerloadPlain, args...)
	cmd.Env = append(os.Environ(), "LC_ALL="+locale)
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// page is the page of a device in a language.
func (o *office) page(at, lang string) string {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, "http://"+at+"/", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Accept-Language", lang)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		o.t.Fatal(fmt.Errorf("%s: %w", res.Status, err))
	}
	return string(b)
}
