package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// The bugs of the original that are the controller's matter, each as an
// administrator meets it: in the shell, and in what phones are given.

// told is what a device's provisioning file says.
func (o *office) told(t *testing.T, device string) *provision.File {
	t.Helper()
	code, text, _ := o.fetch(device + ".cnf.xml")
	if code != 200 {
		t.Fatalf("%s: %d %s", device, code, text)
	}
	f, err := provision.Parse([]byte(text))
	if err != nil || len(f.Others) > 0 {
		t.Fatalf("%v, %v in %s", err, f, text)
	}
	return f
}

// effectiveIn returns a device's effective setting as the shell shows it.
func (o *office) effectiveIn(t *testing.T, device, setting string) domain.EffectiveSetting {
	t.Helper()
	d := item[struct {
		Desired domain.Desired `json:"desired"`
	}](t, o.ok("device show "+device+" --json")).Desired
	for _, s := range d.Settings {
		if s.Setting == setting {
			return s
		}
	}
	t.Fatalf("%s does not show %s", device, setting)
	return domain.EffectiveSetting{}
}

// TestCSCso40251CSCtb49726: the field was missing for some models. Every
// model shows every setting, and the models of the bugs share once told to.
func TestCSCso40251CSCtb49726(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	t.Parallel()
	o := newOffice(t)
	o.start()
	for line := range strings.Lines(o.ok("model list --json")) {
		m := item[domain.Model](t, line)
		if len(m.Settings) != len(policy.Settings()) {
			t.Errorf("%s shows %d settings of %d", m.Name, len(m.Settings), len(policy.Settings()))
		}
	}
	for _, c := range [][2]string{{"7975", "SEP000000007975"}, {"7965", "SEP000000007965"}, {"7942", "SEP000000007942"},
		{"7962", "SEP000000007962"}} {
		o.ok("device add " + c[1] + " --model " + c[0] + " peer-sharing=on")
		if v := o.told(t, c[1]).Levels.Device[policy.PeerSharing]; v != policy.On {
			t.Errorf("model %s is told %q", c[0], v)
		}
	}
}

// TestCSCsh98792: the bulk tool could not set product-specific parameters, and
// did not say so. Each row is read back, and reaches the phone.
func TestCSCsh98792(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	o := newOffice(t)
	o.start()
	o.file("phones.csv", "device,model,peer-sharing,load-server\nSEP000000000001,7941,on,http://10.0.0.5:6970\n"+
		"SEP000000000002,7941,maybe,\nSEP000000000003,7961,1,\n")
	out, code, errs := o.sh("bulk", "run", "@phones.csv", "--create", "--yes", "--json", "--skip-bad", "--all-rows")
	if code != exitVerify || !strings.Contains(errs, "1 of 3") {
		t.Errorf("status %d: %s", code, errs)
	}
	var outcomes []domain.JobOutcome
	for line := range strings.Lines(out) {
		if strings.Contains(line, `"event":"bulk_row"`) {
			outcomes = append(outcomes, item[domain.JobRow](t, line).Outcome)
		}
	}
	want := []domain.JobOutcome{domain.RowCreated, domain.RowRefused, domain.RowCreated}
	if !slices.Equal(outcomes, want) {
		t.Errorf("rows: %v", outcomes)
	}
	f := o.told(t, "SEP000000000001")
	if f.Levels.Device[policy.PeerSharing] != policy.On || f.Levels.Device[policy.LoadServer] != "http://10.0.0.5:6970" {
		t.Errorf("the phone is told %v", f.Levels.Device)
	}
}

// TestCSCud66570: sharing was always off on the 7931, and nobody could see
// why. The value in effect and its level are shown.
func TestCSCud66570(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	t.Parallel()
	o := newOffice(t)
	o.start()
	o.ok("device add SEP000000007931 --model 7931")
	o.ok("device add SEP000000007960 --model 7960")
	if s := o.effectiveIn(t, "SEP000000007931", policy.PeerSharing); s.Value != policy.Off ||
		s.Level != policy.LevelDefault {
		t.Errorf("at first %+v", s)
	}
	o.ok("enterprise set peer-sharing=on")
	if s := o.effectiveIn(t, "SEP000000007931", policy.PeerSharing); s.Value != policy.On ||
		s.Level != policy.LevelEnterprise {
		t.Errorf("on for all: %+v", s)
	}
	if s := o.effectiveIn(t, "SEP000000007960", policy.PeerSharing); s.Value != policy.Off ||
		!strings.Contains(s.Reason, "cannot share") {
		t.Errorf("a model that cannot share: %+v", s)
	}
	o.ok("profile add quiet peer-sharing=off")
	o.ok("device set SEP000000007931 --profile quiet")
	if s := o.effectiveIn(t, "SEP000000007931", policy.PeerSharing); s.Value != policy.Off ||
		s.Level != policy.LevelProfile || len(s.Others) != 2 {
		t.Errorf("by profile: %+v", s)
	}
	o.ok("device set SEP000000007931 peer-sharing=on")
	if s := o.effectiveIn(t, "SEP000000007931", policy.PeerSharing); s.Value != policy.On ||
		s.Level != policy.LevelDevice {
		t.Errorf("by device: %+v", s)
	}
}

// TestCSCus67416: a phone downloaded from the server although sharing was on,
// and nothing said why. Per file, source and reason come back.
func TestCSCus67416(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	o := newOffice(t)
	o.start("--tls", "off")
	key := strings.TrimSpace(o.ok("enrolment add site --site-key"))
	const device, secret = "SEP00000000000B", "0123456789abcdef0123456789abcdef"
	post := func(path, bearer, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", o.at.API+api.Prefix+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		r.Header.Set("Content-Type", "application/json")
		resp, err := o.http.Do(r)
		if err != nil || resp.StatusCode/100 != 2 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	post("/enrol", key, `{"device":"`+device+`","model":"linux-arm","secret":"`+secret+`"}`)
	post("/devices/"+device+"/check-in", secret,
		`{"schema":1,"state":"idle","sharing":"on","sharing_from":"enterprise","role":"root","files":[
		{"file":"app.bin","source":"origin","role":"root","size":9,"bytes_from_origin":9,
		 "fallbacks":[{"at_s":3,"from":"10.0.0.7","reason":"peer-too-slow"}]}]}`)
	d := item[domain.DeviceRow](t, o.ok("device show "+device+" --json"))
	if len(d.State.Files) != 1 || d.State.Files[0].Source != "origin" ||
		d.State.Files[0].Fallbacks[0].Reason != "peer-too-slow" {
		t.Errorf("files: %+v", d.State.Files)
	}
	if out := o.ok("device show " + device); !strings.Contains(out, "peer-too-slow") ||
		!strings.Contains(out, "role root") {
		t.Errorf("shown: %s", out)
	}
	if out := o.ok("device history " + device); !strings.Contains(out, "app.bin") || !strings.Contains(out, "origin") {
		t.Errorf("history: %s", out)
	}
}

// TestCSCsh20977: the field was new everywhere, and named in English only.
func TestCSCsh20977(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	o := newOffice(t)
	o.start()
	n := 0
	for line := range strings.Lines(o.ok("enterprise show --json")) {
		if !strings.Contains(line, `"event":"setting"`) {
			continue
		}
		n++
		s := item[domain.LevelSetting](t, line)
		if s.Label == "" || s.LabelJA == "" || s.Label == s.LabelJA || s.Help == "" || s.HelpJA == "" {
			t.Errorf("%s: %+v", s.Name, s)
		}
	}
	if n != len(policy.Settings()) {
		t.Errorf("%d settings are shown", n)
	}
	for locale, want := range map[string]string{"ja_JP.UTF-8": "ピアファームウェア共有", "C": "Peer firmware sharing: "} {
		o.env = append(o.env, "LC_ALL="+locale)
		if out := o.ok("enterprise show"); !strings.Contains(out, want) {
			t.Errorf("in %s: %s", locale, out)
		}
	}
}

// TestMigrate: a fleet moves from SQLite to PostgreSQL, also when that is killed in
// the middle. Meanwhile no controller starts there; in the end all is the same.
func TestMigrate(t *testing.T) {
	t.Parallel()
	pg := storesuite.PostgresFor(t, foreign.Missing)
	at, _, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t)
	o.start()
	o.ok("device add " + mac + " --model 7941 peer-sharing=off")
	if _, code, errs := o.sh("migrate", "--database", at); code != exitUsage || !strings.Contains(errs, "stop it") {
		t.Errorf("while the controller runs: %d %s", code, errs)
	}
	if err := o.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	o.manyDevices(t, 5000)
	cmd := exec.Command(o.bin, "migrate", "--json", "--database", at)
	cmd.Env = o.env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), `"table":"devices","rows":1000,`) {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it was not killed in the middle")
	}
	for _, line := range []string{"device list", "serve --listen 127.0.0.1:0 --http off --tftp off"} {
		args := append(strings.Fields(line), "--database", at)
		if _, code, errs := o.sh(args...); code != exitUsage || !strings.Contains(errs, "migrate") {
			t.Errorf("%s on a part of a copy: %d %s", line, code, errs)
		}
	}
	if out := o.ok("migrate --database " + at); !strings.Contains(out, "devices: 5001\n") {
		t.Errorf("the second try: %s", out)
	}
	o.ok("backup @lite.jsonl")
	o.ok("backup @pg.jsonl --database " + at)
	lite, err := os.ReadFile(o.path("lite.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	moved, err := os.ReadFile(o.path("pg.jsonl"))
	if err != nil || !bytes.Equal(lite, moved) {
		t.Errorf("%d and %d bytes of backups, %v", len(lite), len(moved), err)
	}
	if _, code, errs := o.sh("migrate", "--database", at); code != exitUsage || !strings.Contains(errs, "not empty") {
		t.Errorf("once more: %d %s", code, errs)
	}
	if _, code, errs := o.sh("migrate"); code != exitUsage || !strings.Contains(errs, "--database") {
		t.Errorf("to nowhere: %d %s", code, errs)
	}
}

// manyDevices writes devices into the database of a controller that does not run.
func (o *office) manyDevices(t *testing.T, n int) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: dataDir(o.path("data")).database()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := make([]domain.Device, n)
	for i := range all {
		all[i] = domain.Device{Name: fmt.Sprintf("SEP02%010X", i), Model: "7941", Description: "京都"}
	}
	err = s.Update(t.Context(), func(tx domain.Tx) error { return tx.Devices().PutAll(t.Context(), all) })
	if err != nil {
		t.Fatal(err)
	}
}
