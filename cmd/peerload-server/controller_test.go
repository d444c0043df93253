package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/internal/testkit/parallel"
	"github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// binaries is where the programs are built, without the race detector: what
// they race over is tested with it in their packages.
var binaries struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	parallel.Tests(5) // so that the longest do not come one after another
	// No test may see, or end, the sign-ins of whoever runs it.
	config, err := os.MkdirTemp("", "peerload-config-")
	if err == nil {
		err = os.Setenv("XDG_CONFIG_HOME", config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(config)
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// program returns the path of peerload-server or peerload.
func program(t *testing.T, name string) string {
	t.Helper()
	binaries.Do(func() {
		if binaries.dir, binaries.err = os.MkdirTemp("", "peerload-programs-"); binaries.err != nil {
			return
		}
		names := []string{"peerload-server", "peerload"}
		if binaries.err = programs.Sources(names...); binaries.err == nil {
			binaries.err = programs.Into(binaries.dir+"/", names)
		}
	})
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

// office is a controller in a process of its own, on one data directory.
type office struct {
	t    *testing.T
	dir  string // with data in it
	bin  string
	cmd  *exec.Cmd
	at   listening
	http *http.Client
	env  []string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir(), bin: program(t, "peerload-server")}
	o.env = append(os.Environ(), console.EnvData+"="+filepath.Join(o.dir, "data"), console.EnvController+"=",
		console.EnvToken+"=", console.EnvCA+"=", console.EnvDatabase+"=")
	o.file("password", "correct horse battery\n")
	o.file("app.bin", strings.Repeat("application ", 1000))
	o.file("dsp.bin", "signal processor")
	return o
}

func (o *office) path(name string) string { return filepath.Join(o.dir, name) }

func (o *office) file(name, content string) {
	o.t.Helper()
	if err := os.WriteFile(o.path(name), []byte(content), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// start starts the controller and waits until it has printed where it is.
func (o *office) start(args ...string) {
	o.t.Helper()
	args = append([]string{"serve", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"},
		args...)
	o.cmd = exec.Command(o.bin, args...)
	o.cmd.Env = o.env
	var log bytes.Buffer
	o.cmd.Stderr = &log
	out, err := o.cmd.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	cmd := o.cmd
	o.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		o.cmd.Wait()
		o.t.Fatalf("the controller did not start: %v\n%s", err, log.String())
	}
	o.at = listening{}
	if err := json.Unmarshal(line, &o.at); err != nil {
		o.t.Fatal(err)
	}
	jar, err := cookiejar.New(nil) // the set-up signs its browser in
	if err != nil {
		o.t.Fatal(err)
	}
	o.http = &http.Client{Jar: jar}
	if strings.HasPrefix(o.at.API, "https:") {
		pem, err := os.ReadFile(o.path("data/tls/cert.pem"))
		if err != nil && !strings.Contains(strings.Join(args, " "), "--tls-cert") {
			o.t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		o.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Jar: jar}
	}
}

// stop ends the controller and returns its exit status.
func (o *office) stop(signal os.Signal) error {
	o.t.Helper()
	if err := o.cmd.Process.Signal(signal); err != nil {
		o.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- o.cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		o.t.Fatal("the controller does not end")
		return nil
	}
}

// sh runs a command of the program in its own process; @ stands for the
// office's directory.
func (o *office) sh(args ...string) (stdout string, code int, stderr string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "@", o.dir+"/")
	}
	cmd := exec.CommandContext(ctx, o.bin, args...)
	cmd.Env = o.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode(), errs.String()
}

// ok runs a line that must succeed.
func (o *office) ok(line string) string {
	o.t.Helper()
	out, code, errs := o.sh(strings.Fields(line)...)
	if code != 0 {
		o.t.Fatalf("%s: status %d: %s", line, code, errs)
	}
	return out
}

// fetch fetches a file as a device does.
func (o *office) fetch(name string, header ...string) (int, string, http.Header) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), "GET", "http://"+o.at.HTTP+"/"+name, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// item is the thing in a line of --json.
func item[T any](t *testing.T, line string) (v T) {
	t.Helper()
	o := console.Object{Item: &v}
	if err := json.Unmarshal([]byte(line), &o); err != nil || o.Schema != console.Schema || o.Event == "" {
		t.Fatalf("%v in %s", err, line)
	}
	return v
}

const mac, sep = "00:11:22:33:44:55", "SEP001122334455"

// TestController walks the way of an administrator: set-up link, token, remote
// and local commands, provisioning over both protocols, a kill, and what is
// there afterwards.
func TestController(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	t.Parallel()
	o := newOffice(t)
	o.start()
	if o.at.Setup == "" || !strings.HasPrefix(o.at.API, "https://127.0.0.1:") || len(o.at.Fingerprint) != 64 {
		t.Fatalf("printed %+v", o.at)
	}
	// The link, as a browser uses it.
	resp, err := o.http.Get(o.at.Setup)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	_, secret, _ := strings.Cut(o.at.Setup, "secret=")
	for i, want := range []int{200, 401} { // once, and not again
		resp, err := o.http.PostForm(o.at.API+"/setup",
			map[string][]string{"secret": {secret}, "name": {"alice"}, "password": {"correct horse battery"}})
		if err != nil || resp.StatusCode != want {
			t.Fatalf("set-up %d: %v, %v", i, resp, err)
		}
		resp.Body.Close()
	}
	token := strings.TrimSpace(o.ok("token add t --user alice --role admin --scope read,devices,loads,enterprise,access"))
	remote := func(line string) string {
		t.Helper()
		o.file("token", token)
		return o.ok(line + " --server " + o.at.API + " --token-file @token --ca @data/tls/cert.pem")
	}
	// One code path: the same command gives the same answer both ways.
	remote("site add Kyoto")
	remote("device add " + mac + " --model 7941 --site Kyoto")
	if l, r := o.ok("device show "+sep+" --json"), remote("device show "+sep+" --json"); l != r ||
		item[domain.DeviceRow](t, l).Site != "Kyoto" {
		t.Errorf("locally %s\nremotely %s", l, r)
	}
	remote("load add --name fw1 --version 1 --model 7941,linux-arm @app.bin @dsp.bin")
	o.ok("load add --name fw2 --version 2 --model 7941,linux-arm @dsp.bin @app.bin")
	o.ok("load assign fw1 --model 7941")
	remote("load assign fw2 --device " + sep)
	remote("enterprise set peer-sharing=on")
	o.ok("profile add lobby wan-limit=200k")
	remote("device set " + sep + " --profile lobby peer-sharing=off")
	o.provisioned(t)
	o.unknown(t)
	// Killed in the midst of writing, it comes back with all that was answered.
	killed := o.killedWhileWriting(t, token)
	o.start()
	if o.at.Setup != "" {
		t.Error("a set-up link although there is an administrator")
	}
	if n := strings.Count(o.ok("device list --text SEP0000000000 --json"), "\n"); n < killed {
		t.Errorf("%d devices of %d that were answered", n, killed)
	}
	o.provisioned(t)
	if out := o.ok("load verify"); !strings.Contains(out, "fw1") || !strings.Contains(out, "fw2") {
		t.Errorf("verify: %s", out)
	}
	if err := o.stop(syscall.SIGTERM); err != nil {
		t.Errorf("stopped gracefully: %v", err)
	}
	if out, code, errs := o.sh("device", "list", "--server", o.at.API, "--token", token,
		"--ca", "@data/tls/cert.pem"); code != exitReach {
		t.Errorf("without a controller: %d %s %s", code, out, errs)
	}
	for _, secret := range []string{token, "correct horse"} { // nothing secret is kept
		if found := grep(t, o.path("data"), secret); found != "" {
			t.Errorf("a secret stands in %s", found)
		}
	}
}

// provisioned checks the files of the device over both protocols.
func (o *office) provisioned(t *testing.T) {
	t.Helper()
	code, text, h := o.fetch(sep + ".cnf.xml")
	if code != 200 || h.Get("ETag") == "" {
		t.Fatalf("%d %s", code, text)
	}
	f, err := provision.Parse([]byte(text))
	if err != nil || len(f.Others) > 0 {
		t.Fatalf("%v, %v in %s", err, f, text)
	}
	l, err := f.Assigned(policy.Builtin(), "CP-7941G")
	if err != nil || l != "fw2" || f.Levels.Device[policy.PeerSharing] != policy.Off ||
		f.Levels.Enterprise[policy.PeerSharing] != policy.On ||
		f.Levels.Profile[policy.WANLimit] != "200k" {
		t.Errorf("load %q, %+v, %v", l, f.Levels, err)
	}
	if code, _, _ := o.fetch(sep+".cnf.xml", "If-None-Match", h.Get("ETag")); code != http.StatusNotModified {
		t.Errorf("conditional: %d", code)
	}
	b, err := tftpFetcher(o.at.TFTP).Fetch(t.Context(), sep+".cnf.xml", 1<<16)
	if err != nil || string(b) != text {
		t.Errorf("over TFTP: %s, %v", b, err)
	}
	if code, _, _ := o.fetch("fw2.load"); code != 200 {
		t.Errorf("the load itself: %d", code)
	}
	if code, _, _ := o.fetch("../controller.db"); code == 200 {
		t.Error("the database is offered to devices")
	}
}

// unknown checks what a device gets that nobody knows.
func (o *office) unknown(t *testing.T) {
	t.Helper()
	const stranger = "SEP0000000000AA"
	if code, text, _ := o.fetch(stranger + ".cnf.xml"); code != 404 {
		t.Errorf("auto-registration is on by itself: %d %s", code, text)
	}
	code, text, _ := o.fetch("XMLDefault.cnf.xml")
	f, err := provision.Parse([]byte(text))
	if code != 200 || err != nil {
		t.Fatalf("%d %s %v", code, text, err)
	}
	if l, err := f.Assigned(policy.Builtin(), "7941"); l != "fw1" || err != nil ||
		!strings.Contains(text, "<loadInformation115 ") {
		t.Errorf("default load %q, %v: %s", l, err, text)
	}
	o.ok("enterprise set --auto-registration on --register-profile lobby")
	if code, text, _ := o.fetch(stranger + ".cnf.xml"); code != 200 || !strings.Contains(text, "<commonConfig>") {
		t.Errorf("with auto-registration: %d %s", code, text)
	}
	d := item[domain.DeviceRow](t, o.ok("device show "+stranger+" --json"))
	if d.Registration != domain.RegistrationAutomatic || d.Profile != "lobby" {
		t.Errorf("registered %+v", d)
	}
}

// killedWhileWriting kills the controller while devices are added, and returns
// how many it has answered for.
func (o *office) killedWhileWriting(t *testing.T, token string) int {
	t.Helper()
	kill := time.AfterFunc(300*time.Millisecond, func() { o.cmd.Process.Kill() })
	defer kill.Stop()
	n := 0
	for ; n < 10_000; n++ {
		b, err := json.Marshal(api.NewDevice{Name: fmt.Sprintf("SEP0000000000%02X", n%200+1),
			DeviceChange: domain.DeviceChange{Model: ptr("linux-arm")}})
		if err != nil {
			t.Fatal(err)
		}
		if n >= 200 { // enough names: change one, until the end comes
			if b, err = json.Marshal(domain.DeviceChange{Description: ptr(fmt.Sprint(n))}); err != nil {
				t.Fatal(err)
			}
		}
		method, path := "POST", "/devices"
		if n >= 200 {
			method, path = "PATCH", "/devices/SEP000000000001"
		}
		r, err := http.NewRequestWithContext(t.Context(), method, o.at.API+api.Prefix+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		resp, err := o.http.Do(r)
		if err != nil {
			break
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode >= 300 && resp.StatusCode != 409 {
			t.Fatalf("%s: %s", path, resp.Status)
		}
	}
	o.cmd.Wait()
	return min(n, 200)
}

func ptr[T any](v T) *T { return &v }

// grep returns the file below dir that holds a text, "" if none does.
func grep(t *testing.T, dir, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if bytes.Contains(b, []byte(text)) {
			found = p
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// FuzzModels: a file of models is refused, or gives rows that mean the same when
// they are written again.
func FuzzModels(f *testing.F) {
	f.Add([]byte(`{"model":[{"name":"Camera 1","family":"camera","can_share":true,"defaults":{"peer-sharing":"on"}}]}`))
	f.Add([]byte(`{"model":null,"x":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := modelRows(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(map[string]any{"model": rows})
		if err != nil {
			t.Fatal(err)
		}
		again, err := modelRows(text)
		if err != nil || len(again) != len(rows) {
			t.Fatalf("%s came back as %+v, %v", text, again, err)
		}
		if second, err := json.Marshal(map[string]any{"model": again}); err != nil || !bytes.Equal(second, text) {
			t.Fatalf("%s came back as %s, %v", text, second, err)
		}
	})
}

// TestSiteLimits: the file server holds the limits of the site that a client's
// address belongs to, as the database has them.
func TestSiteLimits(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	o := newOffice(t)
	o.start()
	o.ok("site add Here --network 127.0.0.0/8 --transfers 1")
	if err := o.stop(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	o.file("data/repository/big.bin", strings.Repeat("x", 32<<20)) // more than sockets hold
	o.start()
	get := func() *http.Response {
		t.Helper()
		resp, err := http.Get("http://" + o.at.HTTP + "/big.bin")
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first := get()
	defer first.Body.Close()
	second := get()
	second.Body.Close()
	if first.StatusCode != http.StatusOK || second.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("two at the same time: %d and %d", first.StatusCode, second.StatusCode)
	}
}

// TestLoadOfUnknownModel: a load for a model that neither a table nor a device has
// is published, and the probable error is told.
func TestLoadOfUnknownModel(t *testing.T) {
	tiers.Long(t, "it builds the programs and starts them")
	t.Parallel()
	o := newOffice(t)
	o.start()
	o.ok("device add 020000000001 --model robot")
	for model, warns := range map[string]bool{"7916": true, "7961": false, "robot": false} {
		_, code, errs := o.sh("load", "add", "--name", "fw-"+model, "--version", "1", "--model", model, "@dsp.bin")
		if code != 0 || strings.Contains(errs, "no table has the model "+model) != warns ||
			strings.Contains(errs, "did you mean") != warns {
			t.Errorf("%s: status %d: %s", model, code, errs)
		}
	}
}
