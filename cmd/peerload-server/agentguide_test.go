package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// TestAgentsGuide runs every command of docs/AGENT.md on a device with a real
// controller, in the order in which they stand there: one "peerload agent"
// after the other as the daemon, all others beside it. Where the guide's hosts
// and directories stand there, are those of the test.
func TestAgentsGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a daemon several times")
	}
	text, err := os.ReadFile("../../docs/AGENT.md")
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t)
	o.start()
	o.ok("enterprise set peer-sharing=on")
	o.ok("device add " + mac + " --model 7961")
	o.ok("load add --name fw1 --version 1 --model 7961 @app.bin @dsp.bin")
	o.ok("load assign fw1 --model 7961")
	o.ok("trust export --out @etc/trust")
	o.file("etc/site-key", o.ok("enrolment add site --site-key"))
	cert, err := os.ReadFile(o.path("data/tls/cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	o.file("etc/controller.pem", string(cert))
	o.file("selftest", "#!/bin/sh\nexit 0\n")
	if err := os.Chmod(o.path("selftest"), 0o700); err != nil {
		t.Fatal(err)
	}
	page := free(t)
	guide := strings.NewReplacer("https://10.0.0.5:8443", o.at.API, "10.0.0.77:8080", page, "127.0.0.1:9405", free(t),
		"10.0.0.5", "http://"+o.at.HTTP, "10.0.0.6", "http://127.0.0.1:1", "/etc/peerload", o.path("etc"),
		"/usr/lib/phone/selftest", o.path("selftest")).Replace(string(text))
	block := regexp.MustCompile("(?s)```toml\n(.*?)```").FindStringSubmatch(guide)
	commands := regexp.MustCompile(`(?m)^    peerload (.*)$`).FindAllStringSubmatch(guide, -1)
	if block == nil || len(commands) < 8 {
		t.Fatalf("the guide has no configuration, or only %d commands", len(commands))
	}
	o.file("etc/agent.toml", block[1])
	o.file("boot", "1")
	d := &guideDevice{office: o, bin: program(t, "peerload"), page: page}
	d.env = append(o.env, "PEERLOAD_STATE="+o.path("state"), "PEERLOAD_MAC="+mac,
		"PEERLOAD_ADDRESS=127.67."+fmt.Sprint(os.Getpid()%250)+".1/8",
		"PEERLOAD_PORT="+fmt.Sprint(20000+os.Getpid()%20000), "PEERLOAD_TRUST="+o.path("etc/trust"),
		"PEERLOAD_BOOT_ID="+o.path("boot"), "PEERLOAD_CHECK_IN=1s")
	t.Cleanup(d.end)
	for _, c := range commands {
		args := strings.Fields(c[1])
		if args[0] == "agent" && !strings.Contains(c[1], "--check-config") {
			d.agent(args)
			continue
		}
		if args[0] == "config" { // which reads /etc/peerload
			args = append(args, "--config", o.path("etc"))
		}
		if args[0] == "status" || args[0] == "screen" || args[0] == "explain" { // whose state is the test's
			args = append(args, "--state", o.path("state"))
		}
		cmd := exec.CommandContext(t.Context(), d.bin, args...)
		cmd.Env = d.env
		if out, err := cmd.CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("peerload %s: %v: %s", c[1], err, out)
		}
	}
	// The last one told the controller.
	deadline := time.Now().Add(30 * time.Second)
	for {
		row := item[domain.DeviceRow](t, o.ok("device show "+sep+" --json"))
		if row.State != nil && row.State.Last.Active == "fw1" && row.State.Last.Sharing == "on" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the controller was told %+v; the device: %s", row.State, d.log())
		}
	}
}

// guideDevice is the device on which the guide's commands run.
type guideDevice struct {
	*office
	bin, page string
	env       []string
	cmd       *exec.Cmd
	n         int
}

func (d *guideDevice) log() string {
	b, err := os.ReadFile(d.path(fmt.Sprintf("agent-%d.log", d.n)))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// end ends the daemon that runs.
func (d *guideDevice) end() {
	if d.cmd == nil {
		return
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	stuck := time.AfterFunc(10*time.Second, func() { d.cmd.Process.Kill() })
	defer stuck.Stop()
	d.cmd.Wait()
	d.cmd = nil
}

// agent ends the daemon and starts another, until that one runs the load; one
// that reads the guide's configuration also shows its page.
func (d *guideDevice) agent(args []string) {
	d.t.Helper()
	d.end()
	d.n++
	log, err := os.Create(d.path(fmt.Sprintf("agent-%d.log", d.n)))
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	configured := strings.Contains(strings.Join(args, " "), "--config")
	if !configured {
		args = append(args, "--config", d.path("none.toml")) // and not that of this host
		d.file("none.toml", "")
	}
	d.cmd = exec.Command(d.bin, args...)
	d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = d.env, log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		there, err := filepath.Glob(d.path("state/slots/current/app.bin"))
		shown := !configured
		if resp, err := http.Get("http://" + d.page + "/"); configured && err == nil {
			resp.Body.Close()
			shown = resp.StatusCode == http.StatusOK
		}
		cmd := exec.Command(d.bin, "status", "--state", d.path("state"))
		out, bad := cmd.CombinedOutput()
		if err == nil && len(there) == 1 && shown && bad == nil && len(out) > 0 {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("peerload %s does not get there (slot %v, page %v): %s", strings.Join(args, " "), there, shown, d.log())
		}
		<-time.After(50 * time.Millisecond)
	}
}
