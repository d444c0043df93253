package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/report"
)

// phone is a device: the real agent, in a process of its own.
type phone struct {
	name, model, load string
	page              string // address of its page, "" for none
	log               *bytes.Buffer
	unpinned          bool // it was given no publisher's root
}

// TestFleet: a controller and twelve agents of three models. Loads are
// assigned at three levels, sharing is on for all and off at one device; all
// upgrade, through a controller that is killed and comes back, and what they
// did is read back. Then loads that fail their trial, from which all go back.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a dozen processes")
	}
	agent := program(t, "peerload")
	o := newOffice(t)
	o.start()
	for _, model := range []string{"linux-arm", "7941", "7961"} {
		o.file("big-"+model, strings.Repeat(model+" ", 50_000))
		o.ok("load add --name fw-" + model + " --version 1 --model " + model + " @big-" + model + " @dsp.bin")
	}
	o.ok("enterprise set peer-sharing=on")
	o.ok("profile add lobby")
	o.ok("load assign fw-7941 --model 7941")
	o.ok("trust export --out @trust")
	o.file("key", o.ok("enrolment add site --site-key --profile lobby"))
	port := fmt.Sprint(20000 + os.Getpid()%20000)
	var phones []*phone
	for i := range 12 {
		model := []string{"linux-arm", "7941", "7961"}[i%3]
		p := &phone{name: fmt.Sprintf("SEP0000000000%02X", i+1), model: model, load: "fw-" + model, log: &bytes.Buffer{}}
		phones = append(phones, p)
		o.ok("device add " + p.name + " --model " + model)
		if model == "7961" {
			o.ok("load assign " + p.load + " --device " + p.name)
		}
	}
	alone := phones[0]
	o.ok("device set " + alone.name + " peer-sharing=off")
	for i, p := range phones {
		if p.model == "linux-arm" {
			o.ok("device set " + p.name + " --profile lobby")
		}
		o.phone(agent, p, i, port)
	}
	// The agents run through its absence; then the third assignment reaches them.
	if err := o.stop(syscall.SIGKILL); err == nil {
		t.Error("killed, and yet it ended well")
	}
	o.start("--listen", strings.TrimPrefix(o.at.API, "https://"), "--http", o.at.HTTP)
	o.ok("load assign fw-linux-arm --profile lobby")
	rows := o.await(phones, report.StateIdle)
	var origin int64
	for _, p := range phones {
		s := rows[p.name].State
		origin += s.Traffic.FromOrigin
		if p == alone && (s.Traffic.FromPeers != 0 || s.Last.Sharing != "off" || s.Last.SharingFrom != "device") {
			t.Errorf("sharing is off at %s: %+v", p.name, s)
		}
		if p != alone && s.Last.Sharing != "on" {
			t.Errorf("sharing is on at %s: %+v", p.name, s.Last)
		}
	}
	// Each load once for its model, once more for the one that does not share,
	// and metadata.
	var loads, again int64
	for line := range strings.Lines(o.ok("load list --json")) {
		l := item[domain.Load](t, line)
		loads += l.Size
		if l.Name == alone.load {
			again = l.Size
		}
	}
	if most := loads + again + 64<<10; origin < loads+again || origin > most {
		t.Errorf("%d bytes from the server, at least %d and at most %d are due", origin, loads+again, most)
	}
	o.badLoads(phones)
}

// badLoads assigns loads that fail their trial boot: all phones go back to the
// load from before, and say so.
func (o *office) badLoads(phones []*phone) {
	o.t.Helper()
	for _, model := range []string{"linux-arm", "7941", "7961"} {
		o.ok("load add --name bad-" + model + " --version 2 --model " + model + " @dsp.bin")
	}
	o.ok("load assign bad-linux-arm --profile lobby")
	o.ok("load assign bad-7941 --model 7941")
	for _, p := range phones {
		if p.model == "7961" {
			o.ok("load assign bad-7961 --device " + p.name)
		}
	}
	o.await(phones, report.StateRolledBack)
	for _, p := range phones {
		row := item[domain.DeviceRow](o.t, o.ok("device show "+p.name+" --json"))
		if row.State.Last.Wanted != "bad-"+p.model || row.State.Last.Reason == "" {
			o.t.Errorf("%s does not say why: %+v", p.name, row.State.Last)
		}
	}
}

// phone starts an agent, which ends with the test.
func (o *office) phone(agent string, p *phone, i int, port string) {
	o.t.Helper()
	args := []string{"agent", "--config", o.path("none.toml"), "--server", "http://" + o.at.HTTP,
		"--controller", o.at.API, "--cacert", o.path("data/tls/cert.pem"), "--token-file", o.path("key"), "--model", p.model,
		"--mac", strings.TrimPrefix(p.name, "SEP"), "--address", fmt.Sprintf("127.66.%d.%d/8", os.Getpid()%250, i+1),
		"--port", port, "--state", o.path("state-" + p.name), "--page-address", p.page, "--check-in", "1s",
		"--no-sync", "--confirm-command", `case "$PEERLOAD_LOAD" in bad-*) exit 1;; esac`, "--confirm-timeout", "2s"}
	if !p.unpinned {
		args = append(args, "--trust", o.path("trust"))
	}
	cmd := exec.Command(agent, args...)
	o.file("none.toml", "")
	cmd.Env, cmd.Stdout, cmd.Stderr = o.env, p.log, p.log
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		stuck := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer stuck.Stop()
		cmd.Wait()
		if o.t.Failed() {
			text := p.log.String()
			o.t.Logf("%s: …%s", p.name, text[max(0, len(text)-1500):])
		}
	})
}

// await polls until every phone runs its load and is in that state.
func (o *office) await(phones []*phone, state string) map[string]domain.DeviceRow {
	o.t.Helper()
	rows := map[string]domain.DeviceRow{}
	deadline := time.Now().Add(3 * time.Minute)
	for {
		missing := []string{}
		for line := range strings.Lines(o.ok("device list --json")) {
			row := item[domain.DeviceRow](o.t, line)
			rows[row.Name] = row
		}
		for _, p := range phones {
			if s := rows[p.name].State; s == nil || s.Last.Active != p.load || s.Last.State != state {
				missing = append(missing, p.name)
			}
		}
		if len(missing) == 0 {
			return rows
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("not there in time: %v; the first: %+v", missing, rows[missing[0]].State)
		}
	}
}
