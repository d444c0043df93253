package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/programs"
)

// guide is what docs/INSTALL.md tells people to run, as far as it is tried or compared here.
type guide struct {
	install map[format]string // one package, by format
	uci     string            // starts the agent on OpenWrt
	image   []string          // makes the image of the controller, and loads it
}

// installing reads the guide, whose blocks it knows.
func installing(t *testing.T) (g guide) {
	t.Helper()
	text := read(t, "docs/INSTALL.md")
	var blocks []string
	for _, m := range regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindAllString(text, -1) {
		blocks = append(blocks, strings.ReplaceAll(m[4:], "\n    ", "\n"))
	}
	if len(blocks) != 4 {
		t.Fatalf("the guide has %d blocks of commands, and the tests know 4", len(blocks))
	}
	g = guide{install: map[format]string{}, uci: blocks[2], image: strings.Split(strings.TrimSpace(blocks[3]), "\n")}
	for f, pattern := range map[format]string{deb: `apt install \./.*?`, rpm: `dnf install \./.*?`,
		apk: `apk add --allow-untrusted \./.*?`, ipk: "opkg install .*?"} {
		found := regexp.MustCompile("`("+pattern+")`").FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Fatalf("the guide has %s %d times", pattern, len(found))
		}
		g.install[f] = found[0][1]
	}
	return g
}

// TestInstallGuide: what docs/INSTALL.md installs, starts and configures is what the
// packages have.
func TestInstallGuide(t *testing.T) {
	g, text := installing(t), read(t, "docs/INSTALL.md")
	made, services, settings := map[string]bool{}, map[string]bool{}, read(t, "packaging/device/openwrt/peerload.config")
	b := builder{options: options{version: "0.1.0"}}
	for _, p := range products() {
		if !strings.Contains(text, "| `"+p.name+"` |") {
			t.Errorf("the guide does not know %s", p.name)
		}
		for _, f := range p.files {
			services[strings.TrimSuffix(filepath.Base(f.dst), ".service")] = true
			services[filepath.Base(f.dst)] = true
		}
		for _, at := range platforms {
			for _, f := range at.formats {
				if slices.Contains(p.platforms, at.arch) && slices.Contains(p.formats, f) {
					made[b.fileName(p, at, f)] = true
				}
			}
		}
	}
	for f, command := range g.install {
		words := strings.Fields(command)
		if name := strings.TrimPrefix(words[len(words)-1], "./"); !made[name] || !strings.HasSuffix(name, "."+string(f)) {
			t.Errorf("%s: there is no such package; there are %v", command, made)
		}
	}
	const starts = `(?:systemctl (?:enable --now|edit)|rc-update add|rc-service|journalctl -u)`
	started := regexp.MustCompile(starts + `\s+([\w@.-]+)`)
	found := started.FindAllStringSubmatch(text, -1)
	for _, m := range found {
		if !services[m[1]] {
			t.Errorf("%s: no package has it", m[0])
		}
	}
	if len(found) < 6 {
		t.Errorf("only %q were found", found)
	}
	for _, m := range regexp.MustCompile(`peerload\.agent\.(\w+)=`).FindAllStringSubmatch(g.uci, -1) {
		if !strings.Contains(settings, "option "+m[1]+" '") {
			t.Errorf("the configuration of OpenWrt has no option %s", m[1])
		}
	}
	script := read(t, "internal/packaging/testdata/openwrt.sh") + strings.Join(strings.Split(read(t,
		"packaging/device/openwrt/peerload.init"), "\n")[1:], "\n") + "\n" +
		strings.ReplaceAll(g.uci, "/etc/init.d/peerload start", "start_service")
	out, err := exec.Command("/bin/sh", "-ec", script).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "command /usr/bin/peerload agent\n") ||
		!strings.Contains(string(out), "env PEERLOAD_MODEL=linux-mipsle\n") {
		t.Errorf("on OpenWrt: %v: %s", err, out)
	}
}

// TestImageGuide: the commands with which docs/INSTALL.md makes an image fit each other.
// The first one is only read here, as it compiles the controller for all processors; the
// second one runs on scripts in the place of programs.
func TestImageGuide(t *testing.T) {
	image := installing(t).image
	first, isRun := strings.CutPrefix(image[0], "go run ./internal/packaging ")
	if len(image) != 3 || !isRun {
		t.Fatalf("%q", image)
	}
	args := append(strings.Fields(first), "-date", time.Now().Format(time.RFC3339))
	o, err := parseOptions(t.Context(), args, io.Discard)
	if err != nil || o.keep != "built" || o.out != "dist" {
		t.Fatalf("%+v, %v", o, err)
	}
	dir := t.TempDir()
	for _, tg := range programs.Targets() {
		for _, p := range tg.Programs {
			if !o.only.MatchString(p) {
				continue
			}
			if err := os.MkdirAll(filepath.Join(dir, o.keep, tg.Folder()), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, o.keep, tg.Folder(), p), "#!/bin/sh\n")
		}
	}
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 makes the image: it compiles a module of its own")
	}
	cmd := exec.Command("sh", "-euc", "PWD="+dir+"; "+image[1])
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file, isLoad := strings.CutPrefix(image[2], "docker load -i ")
	if st, err := os.Stat(filepath.Join(dir, file)); err != nil || !isLoad || st.Size() == 0 {
		t.Errorf("%s: %v", image[2], err)
	}
}
