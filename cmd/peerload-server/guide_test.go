package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// free returns a free address of this host.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// sites counts the sites of these tests.
var sites atomic.Int32

// sitePort returns the port of the devices of one site. Tests run side by side, and devices on
// one port would be one site: they hear each other, and share the files that they have in
// common.
func sitePort() string { return strconv.Itoa(20000 + (32*os.Getpid()+int(sites.Add(1)))%20000) }

// TestAdministratorsGuide runs every command of docs/ADMIN.md in one shell.
func TestAdministratorsGuide(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	t.Parallel()
	runGuide(t, "../../docs/ADMIN.md", 40, "peer-sharing  off    device",
		"<loadInformation model=\"Cisco IP Phone 7941\">fw-1</loadInformation>",
		"phones.csv: 2 rows: 2 created, 0 changed, 0 unchanged, 0 refused", "peerload_build_info", "loadInformation115",
		"the counts of devices are right")
}

// TestOperationsGuide likewise of docs/OPERATIONS.md.
func TestOperationsGuide(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	t.Parallel()
	runGuide(t, "../../docs/OPERATIONS.md", 15, "Kyoto 1 0 0 0 1 0 bytes 0 bytes 10.1.0.0/16 Asia/Tokyo", "site 1 Kyoto",
		"mon-fri 22:00-05:00", "Osaka: done",
		"9.4(2) added: version 1, loads SIP41.9-4-2, SIP61.9-4-2", "load SIP61.9-4-3 (profile, release 9.4(3))",
		`profile desks: release "9.4(2)", before it release "9.4(3)"`,
		"this touches 2 devices; sites: Kyoto 1, without a site: 1; models: CP-7941G 1, CP-7961G 1",
		"9.4-desks: draft, version 1, 9.4(3); waves open 0 of 3", "9.4-desks: paused, version 4",
		"9.4-desks: aborted, version 6, 9.4(3)", "9.4-again: rolled-back", "9.4-again-back: ",
		"undo with: peerload-server undo",
		"SITE DEVICES WAN LAST-DEVICE CLASSIC-WAN BY-HTTP BY-TFTP LAST-UPGRADE")
}

// TestKeysGuide likewise of docs/KEYS.md.
func TestKeysGuide(t *testing.T) {
	tiers.Long(t, "it runs every command of a guide")
	t.Parallel()
	runGuide(t, "../../docs/KEYS.md", 30, "the timestamp key is replaced", "the snapshot key is replaced",
		"the targets key is replaced", "the root key is replaced",
		"LOAD PROBLEM edge-1 - edge-2 -", "before/root.json: root version 8",
		"edge-4 version 1.0: 1 file", "trust-new/root.json: root version 1")
}

// TestBulkGuide likewise of docs/BULK.md.
func TestBulkGuide(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	t.Parallel()
	runGuide(t, "../../docs/BULK.md", 30, "phones.csv: 2 rows: 2 created, 0 changed, 0 unchanged, 0 refused",
		"phones.csv: done: 2 rows: 2 created", "A run would make 2 and change 0 devices.", ": undone: ",
		`profile "Brunch"; did you mean Branch?`, "status 3",
		"mended.csv: done: 1 row: 0 created, 0 changed, 1 unchanged", "settings.peer-sharing: unset → on",
		"desks.csv: done: 2 rows: 2 created", "branch model=7961", ": begins ", "undone", "phones.xlsx: 4 devices",
		"all.csv: 4 rows: 0 created, 0 changed, 4 unchanged, 0 refused")
}

// TestPhonesGuide likewise of docs/PHONES.md.
func TestPhonesGuide(t *testing.T) {
	tiers.Long(t, "it runs every command of a guide")
	t.Setenv("PATH", os.Getenv("PATH")+":"+filepath.Dir(foreign.Program(t, "dnsmasq")))
	runGuide(t, "../../docs/PHONES.md", 18, "syntax check OK", "SIP41.9-4-2 is known, unsigned, for CP-7941G",
		"<loadInformation model=\"Cisco IP Phone 7941\">SIP41.9-4-2</loadInformation>",
		"<peerFirmwareSharing>1</peerFirmwareSharing>", "jar41.sbn\r\ncnu41.sbn", "<loadServer>10.1.0.9</loadServer>")
}

// runGuide runs the commands of a document, at least so many, in one shell, and
// looks for what they print.
func runGuide(t *testing.T, document string, least int, prints ...string) {
	t.Helper()
	foreign.Program(t, "curl")
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	guide := strings.NewReplacer("127.0.0.1:8443", free(t), "127.0.0.1:6970", free(t),
		"127.0.0.1:6969", free(t)).Replace(string(text))
	var lines []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(guide, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	if len(lines) < least {
		t.Fatalf("only %d commands were found", len(lines))
	}
	var script strings.Builder
	for i, line := range lines {
		if strings.HasPrefix(line, "peerload-server serve") {
			line += " > serve.out & server=$!; trap 'kill $server; wait $server' EXIT\n" +
				"n=0; until grep -q setup serve.out; do n=$((n+1)); [ $n -lt 200 ] || exit 99; sleep 0.05; done"
		}
		fmt.Fprintf(&script, "echo '== %d' >&2\n%s\n", i, line)
	}
	dir := t.TempDir()
	bin := filepath.Dir(program(t, "peerload-server"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-u", "-c", script.String())
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that its trap ends the server
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		last := ""
		for i, line := range lines {
			if strings.Contains(string(out), fmt.Sprintf("== %d\n", i)) {
				last = line
			}
		}
		t.Fatalf("%v at: %s\n%s", err, last, out)
	}
	for _, want := range prints {
		if !strings.Contains(strings.Join(strings.Fields(string(out)), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("the guide's commands do not print %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// TestReadme runs the commands of the README's section on a controller and an
// agent in one shell, until the agent runs the load and tells on its page.
func TestReadme(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	foreign.Program(t, "curl")
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)## A controller and one agent, by hand\n\n```\n(.*?)```").FindStringSubmatch(
		string(text))
	if block == nil {
		t.Fatal("the section is not there")
	}
	page := free(t)
	script := strings.NewReplacer("127.0.0.1:8443", free(t), "127.0.0.1:6970", free(t), "127.0.0.1:8090", page,
		"--tftp off &", "--tftp off > serve.out & server=$!\nn=0; until grep -q setup serve.out; do n=$((n+1)); [ $n -lt "+
			"200 ] || exit 99; sleep 0.05; done",
		"peerload agent", "peerload agent --port "+sitePort()).Replace(block[1])
	begins := strings.Index(script, "peerload agent")
	if begins < 0 {
		t.Fatal("no agent is started")
	}
	script = "trap 'kill $server $agent 2>/dev/null; wait' EXIT\n" + script[:begins] + strings.TrimSpace(script[begins:]) +
		" 2> agent.out & agent=$!\n" +
		"n=0; until [ -e device/slots/current/app.bin ] && curl --fail --silent http://" + page +
		"/ | grep -q edge-1; do n=$((n+1)); [ $n -lt 400 ] || exit 98; sleep 0.05; done\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.bin"), []byte(strings.Repeat("app", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-u", "-c", script)
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that its trap ends the others
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program(t, "peerload-server"))+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		told, _ := os.ReadFile(filepath.Join(dir, "agent.out"))
		t.Fatalf("%v: %s\nthe agent: %s", err, out, told)
	}
}

// TestAgentsGuide runs every command of docs/AGENT.md on a device with a real
// controller, in the order in which they stand there: one "peerload agent"
// after the other as the daemon, all others beside it. Where the guide's hosts
// and directories stand there, are those of the test.
func TestAgentsGuide(t *testing.T) {
	tiers.Long(t, "it starts a daemon several times")
	t.Parallel()
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
		"PEERLOAD_PORT="+sitePort(), "PEERLOAD_TRUST="+o.path("etc/trust"),
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

// TestReportsGuide runs the commands of docs/REPORTS.md in one shell.
func TestReportsGuide(t *testing.T) {
	tiers.Long(t, "it runs every command of a guide")
	t.Parallel()
	runGuide(t, "../../docs/REPORTS.md", 40,
		"SEP001122334455 Kyoto SIP41.9-4-2 failed installation the installer failed (installer)",
		"| no room on /opt", "1 device tells of a failure", "インストーラの失敗", "1 台の機器が失敗しています",
		"19.4 MB saved, 97 %",
		"600 kB came over the WAN, where classic upgrades would have taken 20 MB", "the last device was done",
		"fallback: 1 × the connection to the parent broke (parent-lost)", "19.4 MB 削減 (97 %)", "SEP001122334466 CP-7941G",
		"peerload_webhook_messages", "chat: not delivered: status 405", "status 4", "device.failed",
		"0 messages are tried anew", "webhook.create", "webhook.delete")
}

// series are what a controller shows: for each metric, the labels that it has.
func (o *office) series(t *testing.T) map[string]string {
	t.Helper()
	o.ok("user add mon --role viewer --password-file @password")
	token := strings.TrimSpace(o.ok("token add mon --user mon --role viewer --scope read"))
	all := map[string]string{"up": "job instance"} // what Prometheus itself says of each target
	for range 2 {                                  // the first is counted only once it was answered
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.at.API+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := o.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", res.Status, err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? `).FindAllStringSubmatch(string(text), -1) {
			all[m[1]] += " instance job " + strings.Join(regexp.MustCompile(`\w+(?:=")`).FindAllString(m[2], -1), " ")
		}
	}
	return all
}

// TestMonitoring: the rules and the dashboard of docs/monitoring are taken by
// promtool, the alerts fire when they should, and each metric and label that is asked
// for is one that a controller shows.
func TestMonitoring(t *testing.T) {
	tiers.Long(t, "it starts a controller, and promtool")
	const dir = "../../docs/monitoring/"
	promtool := foreign.Program(t, "promtool")
	o := newOffice(t)
	o.start()
	rules, err := os.ReadFile(dir + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dir + "dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title, Description string
			Targets            []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	queries := string(rules)
	asRules := "groups:\n  - name: dashboard\n    rules:\n"
	for i, p := range board.Panels {
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q says nothing, or asks for nothing", p.Title)
		}
		for j, q := range p.Targets {
			queries += "\n" + q.Expr
			asRules += fmt.Sprintf("      - record: panel_%d_%d\n        expr: %q\n", i, j,
				strings.ReplaceAll(q.Expr, "$__rate_interval", "5m"))
		}
	}
	if len(board.Panels) < 10 {
		t.Errorf("the dashboard has %d panels", len(board.Panels))
	}
	o.file("dashboard.yml", asRules)
	for _, args := range [][]string{{"check", "rules", dir + "alerts.yml"}, {"test", "rules", dir + "alerts_test.yml"},
		{"check", "rules", o.path("dashboard.yml")}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	shown := o.series(t)
	used := regexp.MustCompile(`(\bup|\bpeerload_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(queries, -1)
	if len(used) < 30 {
		t.Errorf("only %d queries were found", len(used))
	}
	for _, m := range used {
		labels, ok := shown[m[1]]
		if !ok {
			t.Errorf("no controller shows %s", m[1])
		}
		for _, l := range regexp.MustCompile(`(\w+)=`).FindAllStringSubmatch(m[2], -1) {
			if !strings.Contains(" "+labels+" ", " "+l[1]+" ") && !strings.Contains(labels, l[1]+`="`) {
				t.Errorf("%s has no label %s, but%s", m[1], l[1], labels)
			}
		}
	}
}

// twoBoxes stand for the boxes of docs/SITE.md: two directories, and two addresses of
// this host. What a box has by itself, such as its MAC address, the environment says
// here, and scp copies to the other directory.
const twoBoxes = `
mkdir a b; root=$PWD; started=
trap 'kill $started; wait' EXIT
scp() { cp -r "$2" "$root/b"; }
box() {
	cd "$root/$1"
	export PEERLOAD_MAC=02:00:00:00:00:0$2 PEERLOAD_ADDRESS=127.68.NET.$2/8 PEERLOAD_PORT=PORT PEERLOAD_PAGE_ADDRESS=$3
}
both() { peerload-server device list | grep -c "$1" | grep -q 2; }
await() {
	n=0
	until "$@" > /dev/null 2>&1; do
		n=$((n+1))
		[ $n -lt 400 ] || { tail -n 20 "$root"/*/*.out; exit 99; }
		sleep 0.05
	done
}
`

// onBoxes makes a script of the blocks of docs/SITE.md. Each begins with the boxes on
// which it runs; what goes on running there does so in the background.
func onBoxes(t *testing.T, guide string, pages []string) string {
	t.Helper()
	script := strings.NewReplacer("NET", fmt.Sprint(os.Getpid()%250), "PORT", sitePort()).
		Replace(twoBoxes)
	boxes := map[string]string{"A": "box a 5 " + pages[0] + "\n", "B": "box b 6 " + pages[1] + "\n"}
	blocks := regexp.MustCompile("(?s)```sh\n# on (A|A and B)\n(.*?)```").FindAllStringSubmatch(guide, -1)
	if len(blocks) < 8 || len(blocks) != strings.Count(guide, "```sh\n") {
		t.Fatalf("%d blocks say on which boxes they run", len(blocks))
	}
	goesOn := regexp.MustCompile("(?m)^((?:peerload-server serve|peerload agent) .*)$")
	for i, b := range blocks {
		commands := goesOn.ReplaceAllString(b[2], fmt.Sprintf("$1 > %d.out 2>&1 & started=\"$$started $$!\"", i))
		for on := range strings.SplitSeq(b[1], " and ") {
			script += boxes[on] + commands
		}
	}
	return script
}

// TestSiteGuide runs the commands of docs/SITE.md in one shell, with a controller and two
// agents. It waits where a person would.
func TestSiteGuide(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	t.Parallel()
	foreign.Program(t, "curl")
	text, err := os.ReadFile("../../docs/SITE.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(text)
	install := regexp.MustCompile("```go-install\ngo install (.*)\n```").FindStringSubmatch(guide)
	if install == nil {
		t.Fatal("the guide does not say how the programs are installed")
	}
	for folder := range strings.FieldsSeq(install[1]) {
		if _, err := os.Stat("../../" + folder + "/main.go"); err != nil {
			t.Error(err)
		}
	}
	pages := []string{free(t), free(t)}
	const list = "peerload-server device list\n"
	script := onBoxes(t, strings.NewReplacer("10.0.0.5:8443", free(t), "10.0.0.5:6970", free(t), "10.0.0.0/24",
		"127.0.0.0/8", "export PEERLOAD_DATA", "await grep setup 0.out\nexport PEERLOAD_DATA", list+"```",
		"await both SEP\n"+list+"```", list+"peerload-server report", "await both edge-1\n"+list+
			"peerload-server report", "127.0.0.1:8090", "$PEERLOAD_PAGE_ADDRESS").Replace(guide), pages)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-u", "-c", script)
	cmd.Dir, cmd.WaitDelay = t.TempDir(), 10*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that its trap ends the others
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program(t, "peerload-server"))+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{`of 2: done 2`, `edge-1 +2 +0 .* MB saved, [1-9]`,
		`app\.bin +done +root +server `, `app\.bin +done +leaf +peer `, `this device is the root of the file`,
		`It came from a peer`, `"active":`, `app\.bin`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the guide's commands do not print %s:\n%s", want, out)
		}
	}
}

// TestTroubleshootingCommands runs the controller's commands of docs/TROUBLESHOOTING.md.
func TestTroubleshootingCommands(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	text, err := os.ReadFile("../../docs/TROUBLESHOOTING.md")
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t)
	o.start()
	o.ok("device add " + mac + " --model 7961")
	o.ok("load add --name fw1 --version 1 --model 7961 @app.bin")
	o.ok("rollout create up --load fw1 --all")
	more := map[string]string{"rollout status": " up", "trust export": " --out @trust"}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile("`peerload-server ([^`]+)`").FindAllStringSubmatch(string(text), -1) {
		line := strings.Join(strings.Fields(m[1]), " ")
		if !seen[line] {
			seen[line] = true
			o.ok(strings.ReplaceAll(line, "DEVICE", sep) + more[line])
		}
	}
	if len(seen) < 9 {
		t.Errorf("only %v", seen)
	}
}
