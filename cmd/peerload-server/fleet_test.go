package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/pgserver"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// askAgain is how long a test leaves the processors to the agents that it waits for:
// each question is a process.
const askAgain = time.Second

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
	tiers.Long(t, "it starts a dozen processes")
	t.Parallel()
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
	port := sitePort()
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
	o.ok("load assign fw-linux-arm --profile lobby --yes")
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
	// Each load once for its model, once more for the one that does not share, and
	// metadata. On a busy machine a device may have waited long enough for its peers to ask
	// the server for some of a load: less than a copy, where each by itself would take eight
	// more.
	var loads, again int64
	for line := range strings.Lines(o.ok("load list --json")) {
		l := item[domain.Load](t, line)
		loads += l.Size
		if l.Name == alone.load {
			again = l.Size
		}
	}
	if most := loads + 2*again + 64<<10; origin < loads+again || origin > most {
		t.Errorf("%d bytes from the server, at least %d and at most %d are due", origin, loads+again, most)
	}
	o.orders(len(phones))
	o.badLoads(phones)
}

// orders sends orders to all phones: to a controller that runs, to one that is
// killed at once, and to one that does not run.
func (o *office) orders(n int) {
	o.t.Helper()
	again := func() {
		o.t.Helper()
		if err := o.stop(syscall.SIGKILL); err == nil {
			o.t.Error("killed, and yet it ended well")
		}
		o.start("--listen", strings.TrimPrefix(o.at.API, "https://"), "--http", o.at.HTTP)
	}
	first := o.order("collect-log")
	o.answered(first, n)
	for line := range strings.Lines(o.ok("order show " + first + " --json")) {
		if strings.Contains(line, `"order_device"`) {
			if d := item[domain.OrderDevice](o.t, line); !strings.Contains(d.Text, "kind=collect-log") {
				o.t.Errorf("%s says %q", d.Device, d.Text)
			}
		}
	}
	o.answered(o.order("check-in"), n)
	second := o.order("collect-log")
	again()
	o.answered(second, n)
	third := o.order("forget-failure")
	o.ok("order key rotate")
	again()
	o.answered(third, n)
	if got := o.ok("order key show"); !strings.Contains(got, "version 2") {
		o.t.Error(got)
	}
}

// order sends an order to all and returns its id.
func (o *office) order(kind string) string {
	o.t.Helper()
	return item[orders.Sent](o.t, o.ok("order send "+kind+" --all --yes --json")).Order.ID
}

// answered waits until so many have carried an order out.
func (o *office) answered(id string, n int) {
	o.t.Helper()
	deadline, tick := time.Now().Add(3*time.Minute), time.NewTicker(askAgain)
	defer tick.Stop()
	for ; ; <-tick.C {
		all := o.ok("order list --json")
		for line := range strings.Lines(all) {
			if s := item[orders.Tally](o.t, line); s.ID == id && s.Standings["done"] == n {
				return
			}
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("not all of %d have answered %s: %s", n, id, all)
		}
	}
}

// badLoads assigns loads that fail their trial boot: all phones go back to the
// load from before, and say so.
func (o *office) badLoads(phones []*phone) {
	o.t.Helper()
	for _, model := range []string{"linux-arm", "7941", "7961"} {
		o.ok("load add --name bad-" + model + " --version 2 --model " + model + " @dsp.bin")
	}
	o.ok("load assign bad-linux-arm --profile lobby --yes")
	o.ok("load assign bad-7941 --model 7941 --yes")
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
	deadline, tick := time.Now().Add(3*time.Minute), time.NewTicker(askAgain)
	defer tick.Stop()
	for ; ; <-tick.C {
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

// The bugs of the original that take a device to see: real agents with a real
// controller.

// sharers starts a controller with a load, big, for phones that share, and
// returns the agent's program and the port of the peers.
func sharers(t *testing.T) (o *office, agent, port string) {
	t.Helper()
	tiers.Long(t, "it starts several processes")
	agent = program(t, "peerload")
	o = newOffice(t)
	o.start()
	o.file("big.bin", strings.Repeat("firmware ", 50_000))
	o.ok("load add --name good --version 1 --model 7911 @big.bin @dsp.bin")
	o.ok("enterprise set peer-sharing=on")
	o.ok("load assign good --model 7911")
	o.ok("trust export --out @trust")
	o.file("key", o.ok("enrolment add site --site-key"))
	return o, agent, sitePort()
}

// TestCSCtg96408: devices did not boot after an upgrade. A load of which one
// file is damaged is not switched to, and one whose trial boot fails is left
// again; both times what runs is the load from before, whole, and the
// controller is told why.
func TestCSCtg96408(t *testing.T) {
	t.Parallel()
	o, agent, port := sharers(t)
	p := &phone{name: "SEP000000007911", model: "7911", load: "good", log: &bytes.Buffer{}}
	o.ok("device add " + p.name + " --model " + p.model)
	o.phone(agent, p, 100, port)
	o.await([]*phone{p}, report.StateIdle)
	boots := func() {
		t.Helper()
		for _, name := range []string{"big.bin", "dsp.bin"} {
			want, err := os.ReadFile(o.path(name))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(o.path("state-" + p.name + "/slots/current/" + name)); err != nil ||
				!bytes.Equal(got, want) {
				t.Errorf("%s of the active slot: %d bytes of %d, %v", name, len(got), len(want), err)
			}
		}
	}
	boots()

	// The last byte of the last file of the set differs.
	o.file("first.bin", strings.Repeat("first ", 5_000))
	o.file("last.bin", strings.Repeat("last ", 5_000))
	o.ok("load add --name damaged --version 2 --model 7911 @first.bin @last.bin")
	found, err := filepath.Glob(o.path("data/repository/components/*.last.bin"))
	if err != nil || len(found) != 1 {
		t.Fatalf("components: %v, %v", found, err)
	}
	if err := os.Remove(found[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(found[0], []byte(strings.Repeat("last ", 4_999)+"last!"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.ok("load assign damaged --device " + p.name)
	s := o.await([]*phone{p}, report.StateFailed)[p.name].State
	if s.Last.Wanted != "damaged" || s.Last.Reason != "origin-wrong" || !strings.Contains(s.Last.Message, "last.bin") {
		t.Errorf("it does not say why: %+v", s.Last)
	}
	boots()

	// Whole, but it does not work.
	o.ok("load add --name bad-trial --version 3 --model 7911 @first.bin @dsp.bin")
	o.ok("load assign bad-trial --device " + p.name)
	s = o.await([]*phone{p}, report.StateRolledBack)[p.name].State
	if s.Last.Wanted != "bad-trial" || s.Last.Reason != "not-confirmed" || s.Last.Message == "" {
		t.Errorf("it does not say why: %+v", s.Last)
	}
	boots()
	if out := o.ok("device history " + p.name); !strings.Contains(out, "bad-trial") ||
		!strings.Contains(out, "not-confirmed") {
		t.Errorf("history: %s", out)
	}
}

// cellLabel is a cell that says on a narrow screen what it is.
var cellLabel = regexp.MustCompile(`<td data-l="[^"]*">`)

// TestCSCui49910: the device's page did not show sharing. It shows the setting
// with its level, the role, the source of each file and the peers, and the
// controller shows the same.
func TestCSCui49910(t *testing.T) {
	t.Parallel()
	o, agent, port := sharers(t)
	var phones []*phone
	for i := range 2 { // the second comes when the first is done, and so finds a peer
		p := &phone{name: fmt.Sprintf("SEP00000000791%d", i), model: "7911", load: "good", page: free(t),
			log: &bytes.Buffer{}}
		phones = append(phones, p)
		o.ok("device add " + p.name + " --model " + p.model)
		o.phone(agent, p, 110+i, port)
		o.await(phones, report.StateIdle)
	}
	root := fmt.Sprintf("127.66.%d.111:%s", os.Getpid()%250, port)
	for i, want := range []struct{ role, source, parent string }{{report.RoleRoot, report.SourceOrigin, ""},
		{report.RoleLeaf, report.SourcePeer, root}} {
		p := phones[i]
		source := map[string]string{report.SourceOrigin: "server", report.SourcePeer: "peer"}[want.source]
		page := o.pageOf(p)
		for _, cells := range [][]string{
			{"Peer firmware sharing", "on", "enterprise", "default: off"}, {"Role", want.role},
			{"Root", root},
			{"big.bin", "100 %", want.role, source, root}, {"Active load", "good 1 (confirmed)"}, {"Children", ""},
		} {
			row := cellLabel.ReplaceAllString(page, "<td>")
			if !strings.Contains(row, "<tr><td>"+strings.Join(cells, "</td><td>")) {
				t.Errorf("%q is not shown in\n%s", cells, page)
			}
		}
		s := item[domain.DeviceRow](t, o.ok("device show "+p.name+" --json")).State
		if s.Last.Sharing != policy.On || s.Last.SharingFrom != "enterprise" || s.Last.Role != want.role ||
			s.Last.Root != root {
			t.Errorf("the controller was told %+v", s.Last)
		}
		n := slices.IndexFunc(s.Files, func(f report.Final) bool { return f.File == "big.bin" })
		if n < 0 || s.Files[n].Source != want.source || s.Files[n].Role != want.role || s.Files[n].Parent != want.parent {
			t.Errorf("%s: the controller knows of files %+v", p.name, s.Files)
		}
		if e := o.effectiveIn(t, p.name, policy.PeerSharing); e.Value != policy.On || e.Level != policy.LevelEnterprise {
			t.Errorf("the controller shows %+v", e)
		}
	}
	if out := o.ok("device show " + phones[1].name); !strings.Contains(out, "peer-sharing") ||
		!strings.Contains(out, "role leaf") {
		t.Errorf("for people: %s", out)
	}
}

// pageOf returns the page of a device, in English.
func (o *office) pageOf(p *phone) string {
	o.t.Helper()
	resp, err := http.Get("http://" + p.page + "/?lang=en")
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		o.t.Fatalf("%s %s %v", resp.Status, b, err)
	}
	return string(b)
}

// TestExtendedModel: models that an administrator adds are to devices what they
// are to the controller: their defaults hold there, two of one group share, and
// a load that was published under another name of the model is theirs.
func TestExtendedModel(t *testing.T) {
	t.Parallel()
	o, agent, port := sharers(t)
	o.file("models.json", `{"model": [
		{"name": "Camera 1", "aliases": ["C1"], "family": "camera", "can_share": true, "group": "cameras",
		 "defaults": {"peer-sharing": "on"}},
		{"name": "Camera 2", "family": "camera", "can_share": true, "group": "cameras"},
		{"name": "Camera 0", "family": "camera"}]}`)
	o.ok("model add @models.json")
	o.ok("enterprise set --unset peer-sharing --yes")
	o.ok("profile add sharing peer-sharing=on")
	if _, code, errs := o.sh("load", "add", "--name", "cam", "--version", "1", "--model", "C1,Camera 2,Camera 0",
		"@big.bin", "@dsp.bin"); code != 0 {
		t.Fatal(errs)
	}
	o.ok("load assign cam --enterprise --yes")
	var phones []*phone
	for i, model := range []string{"Camera 1", "Camera 2", "Camera 0"} {
		p := &phone{name: fmt.Sprintf("SEP0000000000C%d", i+1), model: model, load: "cam", log: &bytes.Buffer{}}
		if _, code, errs := o.sh("device", "add", p.name, "--model", model,
			"--profile", map[bool]string{true: "sharing"}[i > 0]); code != 0 {
			t.Fatal(errs)
		}
		phones = append(phones, p)
		o.phone(agent, p, 120+i, port)
	}
	rows := o.await(phones, report.StateIdle)
	for i, want := range []string{"on model", "on profile", "off default"} {
		last := rows[phones[i].name].State.Last
		if got := last.Sharing + " " + last.SharingFrom; got != want {
			t.Errorf("%s shares %s, want %s", phones[i].model, got, want)
		}
	}
	a, b := rows[phones[0].name].State.Traffic, rows[phones[1].name].State.Traffic
	if a.FromPeers+b.FromPeers == 0 {
		t.Errorf("two models of one group do not share: %+v, %+v", a, b)
	}
}

// TestClassicLoad: a load that nobody signs, put into the controller's
// directory by hand, made known, and assigned, runs where the setting allows it.
func TestClassicLoad(t *testing.T) {
	t.Parallel()
	o, agent, port := sharers(t)
	o.file("data/repository/SCCP41.loads", "# classic\r\napp.sbn\r\ndsp.sbn\r\n")
	o.file("data/repository/app.sbn", strings.Repeat("app ", 50_000))
	o.file("data/repository/dsp.sbn", "dsp")
	o.ok("load register SCCP41 --model 7961 app.sbn dsp.sbn")
	// A device that was ever given a publisher's root runs nothing unsigned.
	p := &phone{name: "SEP000000007961", model: "7961", load: "SCCP41", log: &bytes.Buffer{}, unpinned: true}
	o.ok("device add " + p.name + " --model " + p.model + " --load SCCP41")
	if out := o.ok("device show " + p.name); !strings.Contains(out, "it is unsigned") {
		t.Errorf("nothing warns of a load that the device will not run: %s", out)
	}
	o.ok("device set " + p.name + " unsigned=on")
	o.phone(agent, p, 130, port)
	o.await([]*phone{p}, report.StateIdle)
	if b, err := os.ReadFile(o.path("state-" + p.name + "/slots/current/dsp.sbn")); string(b) != "dsp" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestServeOnPostgres: the whole controller on a real PostgreSQL, named by the
// environment: set-up, loads, provisioning, a kill, lost connections, and the
// way to SQLite and back.
func TestServeOnPostgres(t *testing.T) {
	t.Parallel()
	pg := storesuite.PostgresFor(t, foreign.Missing)
	at, name, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t)
	o.env = append(o.env, console.EnvDatabase+"="+at)
	o.start()
	if _, err := os.Stat(o.path("data/controller.db")); err == nil {
		t.Error("there is an SQLite database, too")
	}
	_, secret, _ := strings.Cut(o.at.Setup, "secret=")
	resp, err := o.http.PostForm(o.at.API+"/setup",
		map[string][]string{"secret": {secret}, "name": {"alice"}, "password": {"correct horse battery"}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	o.ok("enterprise set peer-sharing=on")
	o.ok("profile add lobby wan-limit=200k")
	o.ok("device add " + mac + " --model 7941 --profile lobby peer-sharing=off")
	o.ok("load add --name fw1 --version 1 --model 7941 @app.bin @dsp.bin")
	o.ok("load add --name fw2 --version 2 --model 7941 @dsp.bin @app.bin")
	o.ok("load assign fw1 --model 7941")
	o.ok("load assign fw2 --device " + sep)
	o.provisioned(t)
	if err := pg.Kill(name); err != nil { // as a restart of the database's server does
		t.Fatal(err)
	}
	o.provisioned(t)
	o.restarts(t, pg)
	if err := o.stop(syscall.SIGKILL); err == nil {
		t.Error("killed, and yet it ended well")
	}
	o.start()
	if o.at.Setup != "" {
		t.Error("a set-up link although there is an administrator")
	}
	o.provisioned(t)
	if out := o.ok("report audit --json"); !strings.Contains(out, "load.assign") {
		t.Errorf("the audit log: %s", out)
	}
	// To SQLite, and from there into another database.
	o.ok("backup @all.jsonl")
	other, _, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	o.ok("restore @all.jsonl --data @elsewhere --database " + other)
	here := o.ok("device show " + sep + " --json")
	if there := o.ok("device show " + sep + " --json --data @elsewhere --database " + other); there != here {
		t.Errorf("%s\nrestored as\n%s", here, there)
	}
	o.env = append(o.env, console.EnvDatabase+"=")
	o.ok("restore @all.jsonl --data @sqlite")
	if there := o.ok("device show " + sep + " --json --data @sqlite"); there != here {
		t.Errorf("%s\nin SQLite\n%s", here, there)
	}
	if _, code, errs := o.sh("device", "list",
		"--database", "postgres://127.0.0.1:1/none?user=nobody"); code != exitReach {
		t.Errorf("without a server: %d %s", code, errs)
	}
}

// restarts ends the database's server and starts it again: meanwhile the
// controller refuses for a while, and says for how long.
func (o *office) restarts(t *testing.T, pg *pgserver.Server) {
	t.Helper()
	if err := pg.Halt(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/devices", "/sites", "/loads"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.at.API+api.Prefix+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer any")
		resp, err := o.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s without its database: %d, Retry-After %q", path, resp.StatusCode, resp.Header.Get("Retry-After"))
		}
	}
	if err := pg.Resume(); err != nil {
		t.Fatal(err)
	}
	o.provisioned(t)
}
