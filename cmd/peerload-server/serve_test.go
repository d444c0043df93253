package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/servercert"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/pgserver"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestHangup: the service manager hears how the controller is, and a renewed
// certificate is served after SIGHUP, a damaged one not.
func TestHangup(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	o := newOffice(t)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: o.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	told := func(want string) {
		t.Helper()
		b := make([]byte, 1000)
		if err := socket.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := socket.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Fatalf("told %q, %v; want %q", b[:n], err, want)
		}
	}
	o.env = append(o.env, "NOTIFY_SOCKET="+o.path("notify"))
	renew := func() {
		t.Helper()
		err := servercert.Generate(durable.Writer{}, o.path("cert"), o.path("key"), []string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
	}
	renew()
	o.start("--tls-cert", o.path("cert"), "--tls-key", o.path("key"))
	told("READY=1")
	served := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", strings.TrimPrefix(o.at.API, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return fmt.Sprintf("%X", sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw))
	}
	hangup := func() {
		t.Helper()
		if err := o.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		told("RELOADING=1\nMONOTONIC_USEC=")
		told("READY=1")
	}
	first := served()
	if first != o.at.Fingerprint {
		t.Errorf("%s is served and %s was printed", first, o.at.Fingerprint)
	}
	renew()
	if served() != first {
		t.Error("a certificate is served that nobody asked for")
	}
	hangup()
	second := served()
	if second == first {
		t.Error("the old certificate is served after SIGHUP")
	}
	o.file("cert", "torn")
	hangup()
	if served() != second {
		t.Error("a damaged file is served")
	}
	if err := o.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	told("STOPPING=1")
}

// TestTemplate: what is printed makes the same files as none, also with what an
// administrator adds; one that loses something makes none.
func TestTemplate(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	o := newOffice(t)
	o.start()
	o.ok("device add " + mac + " --model 7941 peer-sharing=on")
	_, plain, _ := o.fetch(sep + ".cnf.xml")
	text := o.ok("template")
	o.file("data/templates/device.cnf.xml", text)
	if code, got, _ := o.fetch(sep + ".cnf.xml"); code != 200 ||
		strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields(plain), "") {
		t.Errorf("%d %s\nwithout a template\n%s", code, got, plain)
	}
	o.file("data/templates/device.cnf.xml", strings.Replace(text, "</{{.Root}}>", "<ntp>10.0.0.1</ntp></{{.Root}}>", 1))
	if code, got, _ := o.fetch(sep + ".cnf.xml"); code != 200 || !strings.Contains(got, "<ntp>10.0.0.1</ntp>") {
		t.Errorf("%d %s", code, got)
	}
	for _, bad := range []string{"<device></device>", "{{.Nothing}}", "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\">]>" + text} {
		o.file("data/templates/device.cnf.xml", bad)
		if code, got, _ := o.fetch(sep + ".cnf.xml"); code != 503 || strings.Contains(got, "template") {
			t.Errorf("%s: %d %s", bad, code, got)
		}
	}
}

// TestRefusedStarts: what a controller does not start with, and what commands
// do without one.
func TestRefusedStarts(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	o := newOffice(t)
	if _, code, errs := o.sh("device", "list"); code != exitUsage || !strings.Contains(errs, "serve") {
		t.Errorf("without data: %d %s", code, errs)
	}
	o.start()
	for _, c := range []struct{ line, says string }{
		{"serve --listen 127.0.0.1:0 --http off --tftp off", "another peerload-server"},
		{"serve --data @d2 --listen 127.0.0.1:0 --http off --tftp off --tls maybe", "--tls"},
		{"serve --data @d2 --listen 127.0.0.1:0 --http off --tftp off --site nowhere", "--site"},
		{"serve --data @d2 --database mysql://x", "--database"},
		{"serve --keys @k", "--repo"},
		{"device list --server ftp://x --token t", "--server"},
		{"device list --server https://127.0.0.1:1", "token"},
		{"device add nonsense --model 7941", "MAC address"},
		{"device add " + mac + " --model 7941 colour=red", "colour"},
		{"device add " + mac + " --model 7941 word", "NAME=VALUE"},
		{"device set " + mac, "what to change"},
		{"device add ff:ff:ff:ff:ff:ff --model 7941", "group"},
		{"report audit --last -1", "--last"},
		{"load add --name x --version 1 --model 7941 @app.bin @app.bin", "same name"},
		{"load assign fw", "give one of --enterprise"},
		{"load assign fw --enterprise", "not found"},
		{"user add bob --role admin", "--password-file"},
		{"user add bob --role king --password-file @password", "role"},
		{"enterprise set --auto-registration maybe", "on or off"},
		{"restore @app.bin", ""},
	} {
		if _, code, errs := o.sh(strings.Fields(c.line)...); code != exitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%s: %d %s", c.line, code, errs)
		}
	}
	gone := strings.Fields("load add --name x --version 1 --model 7941 @gone.bin")
	if _, code, errs := o.sh(gone...); code != exitDisk || !strings.Contains(errs, "check the path") {
		t.Errorf("a file that is missing: %d %s", code, errs)
	}
	o.file("all.jsonl", "")
	if _, code, errs := o.sh("backup", "@all.jsonl"); code != exitDisk || !strings.Contains(errs, "replaces nothing") {
		t.Errorf("a backup over a file: %d %s", code, errs)
	}
	if _, code, errs := o.sh("device", "list", "--server", o.at.API, "--token", "t"); code != exitReach ||
		!strings.Contains(errs, "--ca") {
		t.Errorf("an unknown certificate: %d %s", code, errs)
	}
	if out, code, errs := o.sh("device", "add", "02:00:00:00:00:09", "--model", "7491"); code != 0 ||
		!strings.Contains(errs, "no table has the model 7491") || strings.Contains(out, "note") {
		t.Errorf("a model that nobody knows: %d %s %s", code, out, errs)
	}
	if _, code, errs := o.sh("device", "add", mac, "--model", "7941"); code != 0 || errs != "" {
		t.Errorf("a model that is known: %d %s", code, errs)
	}
	if _, code, errs := o.sh("device", "set", sep, "--description", "x", "--if-version", "7"); code != exitUsage ||
		!strings.Contains(errs, "changed by somebody else") {
		t.Errorf("an older version: %d %s", code, errs)
	}
	o.ok("device set " + sep + " --description x --if-version 1")
	o.ok("enterprise set peer-sharing=on --auto-registration on --if-version 0 --yes")
	if _, code, errs := o.sh("enterprise", "set", "peer-sharing=off", "--if-version", "0", "--yes"); code != exitUsage ||
		!strings.Contains(errs, "changed by somebody else") {
		t.Errorf("a second first write: %d %s", code, errs)
	}
}

// TestOthersData: the data of another account is left alone, also by root.
func TestOthersData(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	if os.Getuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	o := newOffice(t)
	o.start()
	if err := o.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(o.path("data"), 65534, -1); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"device list", "serve --listen 127.0.0.1:0 --http off --tftp off", "load list",
		"load refresh"} {
		if _, code, errs := o.sh(strings.Fields(line)...); code != exitUsage || !strings.Contains(errs, "belongs to") {
			t.Errorf("%s: %d %s", line, code, errs)
		}
	}
}

// TestSweep: what an interrupted upload has left goes, what is under way stays.
func TestSweep(t *testing.T) {
	d := dataDir(t.TempDir())
	if err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, age := range map[string]time.Duration{"upload-1": 0, "upload-2": spoolLife + time.Minute,
		"mine": 2 * spoolLife} {
		p := filepath.Join(d.spool(), name)
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.sweep(now); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(d.spool())
	if err != nil || len(left) != 2 || left[0].Name() != "mine" || left[1].Name() != "upload-1" {
		t.Errorf("%v, %v", left, err)
	}
}

// TestRootWarning: a root whose key is offline is not renewed, and that is told
// in time; with its key it is renewed and nothing is told.
func TestRootWarning(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	repo, err := repository.Open(repository.Config{Dir: dir + "/pub", Keys: dir + "/keys",
		Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Init(); err != nil {
		t.Fatal(err)
	}
	warned := func() bool {
		var said bytes.Buffer
		refresh(repo, slog.New(slog.NewTextHandler(&said, nil)))
		return strings.Contains(said.String(), "root key")
	}
	now = now.Add(300 * 24 * time.Hour)
	if warned() {
		t.Error("a root that could be renewed is told of")
	}
	key, err := filepath.Glob(dir + "/keys/root.*.pem")
	if err != nil || len(key) != 1 {
		t.Fatal(key, err)
	}
	if err := os.Rename(key[0], dir+"/offline"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(200 * 24 * time.Hour)
	if warned() {
		t.Error("told more than half a year before")
	}
	now = now.Add(100 * 24 * time.Hour)
	if !warned() {
		t.Error("a root that is about to expire is not told of")
	}
	if err := os.Rename(dir+"/offline", key[0]); err != nil {
		t.Fatal(err)
	}
	if warned() {
		t.Error("the key came back, and the root is not renewed")
	}
}

// TestPipes: "-" is the standard output of backup and the standard input of
// restore.
func TestPipes(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	o := newOffice(t)
	o.start()
	o.ok("device add 02:00:00:00:00:01 --model 7941")
	backup := exec.Command(o.bin, "backup", "-")
	backup.Env = o.env
	all, err := backup.Output()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d bytes, %v", len(all), err)
	}
	restore := exec.Command(o.bin, "restore", "-", "--data", o.path("elsewhere"))
	restore.Env, restore.Stdin = o.env, bytes.NewReader(all)
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	here, there := o.ok("device list --json"), o.ok("device list --json --data @elsewhere")
	if here != there || !strings.Contains(here, "SEP020000000001") {
		t.Errorf("%s\nrestored as\n%s", here, there)
	}
}

// TestRestoreAndStart: a controller that is started on what was restored goes on
// with what was under way: jobs, rollouts, whose queue is no part of a backup,
// orders and file sets.
func TestRestoreAndStart(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	t.Parallel()
	o := newOffice(t)
	o.start()
	if err := o.stop(syscall.SIGTERM); err != nil { // nobody works what follows
		t.Fatal(err)
	}
	o.ok("device add " + mac + " --model 7941")
	o.ok("device add 02:00:00:00:00:01 --model 7941")
	o.ok("load add --name fw1 --version 1 --model 7941 @app.bin")
	o.ok("load add --name fw2 --version 2 --model 7941 @dsp.bin")
	o.ok("load assign fw1 --model 7941 --yes")
	o.ok("fileset add --name set --version 1 --directory locale --model 7941 @dsp.bin")
	if _, code, errs := o.sh("fileset", "assign", "set", "--device", sep, "--if-version", "7"); code != exitUsage ||
		!strings.Contains(errs, "changed by somebody else") {
		t.Errorf("an older version: %d %s", code, errs)
	}
	if out := o.ok("fileset assign set --device " + sep + " --if-version 1"); !strings.Contains(out, "undo with: ") {
		t.Errorf("a version says nothing of undo: %s", out)
	}
	sent := o.order("check-in")
	o.ok("rollout create up --load fw2 --all")
	o.ok("rollout start up --yes")
	o.ok("bulk template set lobby peer-sharing=on")
	made, _, _ := strings.Cut(o.ok("bulk run --all-devices --template lobby --yes --json --at 5s"), "\n")
	job := item[client.Job](t, made)
	o.ok("backup @all.jsonl")
	o.ok("restore @all.jsonl --data @elsewhere")
	for _, part := range []string{"repository", "keys"} {
		if err := os.CopyFS(o.path("elsewhere/"+part), os.DirFS(o.path("data/"+part))); err != nil {
			t.Fatal(err)
		}
	}
	o.env = append(o.env, console.EnvData+"="+o.path("elsewhere"))
	o.start()
	o.until("the rollout lists its devices, and hands out loads", func() (string, bool) {
		out := o.ok("rollout status up --json")
		r := item[client.Rollout](t, out)
		return out, r.State == "running" && r.Counts.Waiting+r.Counts.Granted == 2 && r.Open == 1
	})
	o.until("the job is carried out", func() (string, bool) {
		out := o.ok("bulk list --json")
		j := item[client.Job](t, out)
		return out, j.ID == job.ID && j.State == "done" && j.Counts.Changed == 2
	})
	for line, want := range map[string]string{"order show " + sent: sent, "fileset list": "set",
		"bulk template list": "lobby", "device show " + sep: "peer-sharing", "report audit": "rollout.start"} {
		if out := o.ok(line + " --json"); !strings.Contains(out, want) {
			t.Errorf("%s: %s", line, out)
		}
	}
	o.ok("bulk undo " + job.ID)
	o.ok("rollout abort up --yes")
	if err := o.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// until asks until it is so.
func (o *office) until(what string, is func() (string, bool)) {
	o.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		out, ok := is()
		switch {
		case ok:
			return
		case time.Now().After(deadline):
			o.t.Fatalf("not so: %s: %s", what, out)
		}
	}
}

// TestBulkKilled: a controller that is killed in the middle of a bulk job goes on
// with it when it comes back, and can undo it.
func TestBulkKilled(t *testing.T) {
	tiers.Long(t, "it makes thousands of devices")
	t.Parallel()
	const rows = 6_000
	o := newOffice(t)
	o.start()
	var id string
	// bulk status would carry on with it.
	job := func() (j domain.Job) {
		for line := range strings.Lines(o.ok("bulk list --json")) {
			if j = item[domain.Job](t, line); j.ID == id {
				break
			}
		}
		return j
	}
	until := func(what string, every time.Duration, is func(j domain.Job) bool) {
		t.Helper()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for j := job(); !is(j); j = job() {
			if j.State == domain.JobRefused {
				t.Fatalf("not %s: %+v", what, j)
			}
			<-tick.C
		}
	}
	all := 0
	killed := func() bool {
		var b strings.Builder
		b.WriteString("device,model,peer-sharing\n")
		for range rows {
			all++
			fmt.Fprintf(&b, "%012X,7961,on\n", all)
		}
		o.file("phones.csv", b.String())
		id = item[domain.Job](t, first(o.ok("bulk run @phones.csv --create --yes --at 1s --json"))).ID
		until("begun", 20*time.Millisecond, func(j domain.Job) bool { return j.Next > 0 })
		if err := o.stop(syscall.SIGKILL); err == nil {
			t.Error("killed, and yet it ended well")
		}
		j := job()
		return j.State == domain.JobRunning && j.Next < j.Steps
	}
	// On a busy machine it may have ended before it was seen to run.
	for tries := 1; !killed(); tries++ {
		if tries == 5 {
			t.Fatalf("it was killed too late five times: %+v", job())
		}
		o.start()
	}
	o.start()
	until("done", askAgain, func(j domain.Job) bool { return j.State == domain.JobDone })
	if j := job(); j.Counts.Created != rows || j.Verified != j.Steps {
		t.Errorf("%+v", j)
	}
	overview := item[domain.Overview](t, o.ok("report overview --json"))
	if overview.Devices != all {
		t.Errorf("%d devices", overview.Devices)
	}
	o.ok("bulk undo " + id)
	if overview = item[domain.Overview](t, o.ok("report overview --json")); overview.Devices != all-rows {
		t.Errorf("%d devices after it was undone", overview.Devices)
	}
}

// replicas are two controllers on one database, which have nothing else together but
// the secret.
func replicas(t *testing.T, args ...string) [2]*office {
	t.Helper()
	return replicasOn(t, storesuite.PostgresFor(t, foreign.Missing), args...)
}

func replicasOn(t *testing.T, pg *pgserver.Server, args ...string) [2]*office {
	t.Helper()
	at, _, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	var both [2]*office
	for i := range both {
		o := newOffice(t)
		o.file("secret", "a secret that both replicas have got")
		o.env = append(o.env, console.EnvDatabase+"="+at, console.EnvClusterKey+"="+o.path("secret"))
		o.start(append([]string{"--name", "127.0.0.1"}, args...)...)
		both[i] = o
	}
	return both
}

// TestReplicas: two controllers have one certificate, one order key and the same
// templates; what ends one of them does not end the other.
func TestReplicas(t *testing.T) {
	t.Parallel()
	both := replicas(t)
	a, b := both[0], both[1]
	if a.at.Fingerprint != b.at.Fingerprint || a.at.Fingerprint == "" {
		t.Errorf("certificates %s and %s", a.at.Fingerprint, b.at.Fingerprint)
	}
	a.ok("device add " + mac + " --model 7941 peer-sharing=on")
	if one, two := a.ok("order key show"), b.ok("order key show"); one != two {
		t.Errorf("order keys %s and %s", one, two)
	}
	b.ok("order key rotate")
	if one, two := a.ok("order key show"), b.ok("order key show"); one != two {
		t.Errorf("order keys %s and %s after a rotation", one, two)
	}
	text := strings.Replace(a.ok("template"), "</{{.Root}}>", "<ntp>10.0.0.1</ntp></{{.Root}}>", 1)
	a.file("data/templates/device.cnf.xml", text)
	for n := 0; ; n++ {
		code, got, _ := b.fetch(sep + ".cnf.xml")
		if code == 200 && strings.Contains(got, "<ntp>10.0.0.1</ntp>") {
			break
		}
		if n == 1000 {
			t.Fatalf("the other replica makes %d %s", code, got)
		}
		<-time.After(50 * time.Millisecond)
	}
	if err := a.stop(syscall.SIGKILL); err == nil {
		t.Error("killed, and yet it ended well")
	}
	if code, got, _ := b.fetch(sep + ".cnf.xml"); code != 200 || !strings.Contains(got, "<ntp>") {
		t.Errorf("alone it makes %d %s", code, got)
	}
	b.ok("order key rotate")
	a.file("secret", "another secret, by mistake, of a length that would do")
	for args, says := range map[string]string{
		"serve --listen 127.0.0.1:0 --http off --tftp off --name x":          "secret",
		"serve --listen 127.0.0.1:0 --http off --tftp off --cluster-key @no": "no such file",
	} {
		if _, code, errs := a.sh(strings.Fields(args)...); code == 0 || !strings.Contains(errs, says) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	third := strings.Fields("serve --data @third --listen 127.0.0.1:0 --http off --tftp off")
	if _, code, errs := b.sh(slices.Clone(third)...); code != exitUsage || !strings.Contains(errs, "--name") {
		t.Errorf("without a name: %d %s", code, errs)
	}
	b.env = append(b.env, console.EnvDatabase+"=")
	if _, code, errs := b.sh(third...); code != exitUsage || !strings.Contains(errs, "belongs to --database") {
		t.Errorf("on SQLite: %d %s", code, errs)
	}
}

// TestObjects: two replicas publish into one bucket and serve from it, over HTTP and
// TFTP; a device verifies what it gets. Without the storage they serve what they had.
func TestObjects(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	mem := s3mem.New()
	if err := mem.CreateBucket("firmware"); err != nil {
		t.Fatal(err)
	}
	storage := httptest.NewServer(gofakes3.New(mem).Server())
	defer storage.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv(console.EnvObjects, "s3://firmware/fw?endpoint="+storage.URL+"&region=us-east-1")
	both := replicas(t)
	a, b := both[0], both[1]
	a.ok("load add --name fw1 --version 1 --model 7941 @app.bin @dsp.bin")
	b.ok("load add --name fw2 --version 1 --model 7941 @dsp.bin @app.bin")
	a.ok("load refresh")
	if out := b.ok("load verify"); strings.Count(out, "  -\n") != 2 {
		t.Errorf("verified: %s", out)
	}
	for _, name := range []string{"data/repository/metadata", "data/repository/components"} {
		if _, err := os.Stat(a.path(name)); err == nil {
			t.Errorf("%s is in the data directory, too", name)
		}
	}
	app := strings.Repeat("application ", 1000)
	component := fmt.Sprintf("components/%x.app.bin", sha256.Sum256([]byte(app)))
	for _, o := range both {
		for _, name := range []string{component, "metadata/timestamp.json", "fw1.load", "fw2.load"} {
			code, got, _ := o.fetch(name)
			if code != 200 || name == component && got != app {
				t.Errorf("%s: %d, %d bytes", name, code, len(got))
			}
		}
		if code, got, h := o.fetch(component, "Range", "bytes=12-22"); code != 206 || got != "application" ||
			h.Get("ETag") == "" {
			t.Errorf("a part: %d %q %v", code, got, h)
		}
		if code, _, _ := o.fetch("metadata/77.root.json"); code != 404 {
			t.Errorf("a file that is missing: %d", code)
		}
	}
	_, one, _ := a.fetch("metadata/timestamp.json")
	a.ok("trust rotate timestamp")
	b.ok("load refresh")
	_, two, _ := a.fetch("metadata/timestamp.json")
	for n := 0; one == two && n < 1000; n++ {
		<-time.After(50 * time.Millisecond)
		_, two, _ = a.fetch("metadata/timestamp.json")
	}
	if one == two {
		t.Error("a replica serves its old timestamp on")
	}
	storage.Close()
	if code, got, _ := b.fetch(component); code != 200 || got != app {
		t.Errorf("without the storage: %d, %d bytes", code, len(got))
	}
	if _, code, errs := b.sh(strings.Fields("load add --name fw3 --version 1 --model 7941 @app.bin")...); code == 0 ||
		!strings.Contains(errs, "object storage does not answer") {
		t.Errorf("published without the storage: %d %s", code, errs)
	}
}
