package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// released has, by version, what a controller and a device of that version have
// kept, as kept says.
const released = "testdata/released"

// kept are the controller's directory, the device's, whose loads that runs, a token
// of the API, and the site's key.
var kept = []string{"data", "state", "trust", "token", "key"}

// releasedDevice is the device whose state is kept.
const releasedDevice = "SEP028101620001"

// fill does what leaves something in each kind of row and file.
func (o *office) fill() {
	o.t.Helper()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	write("app.bin", strings.Repeat("app", 1000)) // small, as each version's is kept for good
	write("ring.raw", "ring")
	for _, line := range []string{
		"load add --name box-1.0 --version 1.0 --model linux-amd64 app.bin",
		"load assign box-1.0 --model linux-amd64 --yes",
		"fileset add --name tones-1 --version 1 --directory tones --model linux-amd64 ring.raw",
		"fileset assign tones-1 --enterprise --yes",
		"profile add desks", "release add 1.0 --load box-1.0", "trust export --out trust",
		"release assign 1.0 --profile desks --yes",
		"device set " + releasedDevice + " --profile desks",
		"site set site-1 --wan-rate 1M",
	} {
		o.run(strings.Fields(line)...)
	}
	write("key", o.run("enrolment", "add", "k", "--site-key"))
}

// device runs the agent of the kept device until the test ends, or it is stopped.
func (o *office) device() (stop func()) {
	o.t.Helper()
	log, err := os.OpenFile(filepath.Join(o.dir, releasedDevice+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, peerloadPlain, "agent", "--config", filepath.Join(o.dir, "none.toml"),
		"--server", "http://"+o.http, "--mac", releasedDevice[3:], "--model", "linux-amd64", "--trust",
		filepath.Join(o.dir, "trust"), "--address", "127.83.1.1/8", "--port", "18999", "--state",
		filepath.Join(o.dir, "state"), "--controller", "http://"+o.api, "--token-file", filepath.Join(o.dir, "key"),
		"--check-in", "2s")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			_ = cmd.Wait()
			log.Close()
		}
	}
	o.t.Cleanup(stop)
	return stop
}

// TestKeepReleased keeps what this version leaves behind, for TestReleased of all
// later ones: PEERLOAD_KEEP=0.2.0 go test ./e2e -run TestKeepReleased
func TestKeepReleased(t *testing.T) {
	version := os.Getenv("PEERLOAD_KEEP")
	if version == "" {
		t.Skip("PEERLOAD_KEEP names no version to keep")
	}
	o := newOffice(t, 1, 1)
	o.fill()
	stop := o.device()
	o.until("the device runs its load", time.Minute, func() bool {
		_, err := os.Stat(filepath.Join(o.dir, "state", "files", "tones", "ring.raw"))
		return err == nil && o.runs("", "box-1.0") == 1
	})
	stop()
	if err := o.server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = o.server.Wait()
	if err := os.WriteFile(filepath.Join(o.dir, "token"), []byte(o.token), 0o600); err != nil {
		t.Fatal(err)
	}
	to, err := filepath.Abs(released)
	if err == nil {
		err = os.MkdirAll(to, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-C", o.dir, "--sort=name", "--owner=0", "--group=0", "-czf",
		filepath.Join(to, version+".tar.gz")}, kept...)
	if out, err := exec.Command("tar", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestReleased: this version goes on with what each released one has kept. The
// controller has its devices and their history, its keys sign the next load, and the
// device goes on with its load without fetching it, and takes the next.
func TestReleased(t *testing.T) {
	tiers.Long(t, "it starts many devices or waits long")
	t.Parallel()
	versions, err := os.ReadDir(released)
	if err != nil || len(versions) == 0 {
		t.Fatalf("nothing is kept: %v", err)
	}
	for _, v := range versions {
		t.Run(v.Name(), func(t *testing.T) {
			o := newOfficeFrom(t, filepath.Join(released, v.Name()))
			goOn(t, o)
		})
	}
}

// newOfficeFrom is a controller with what is kept in an archive.
func newOfficeFrom(t *testing.T, archive string) *office {
	t.Helper()
	o := buildOffice(t)
	if out, err := exec.Command("tar", "-C", o.dir, "-xzf", archive).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	token, err := os.ReadFile(filepath.Join(o.dir, "token"))
	if err == nil {
		err = os.WriteFile(filepath.Join(o.dir, "none.toml"), nil, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.start()
	t.Cleanup(o.kill)
	if o.c, err = client.New("http://"+o.api, string(bytes.TrimSpace(token)), nil); err != nil {
		t.Fatal(err)
	}
	return o
}

// goOn shows that a controller and its device go on.
func goOn(t *testing.T, o *office) {
	was, err := o.c.Devices.Get(t.Context(), releasedDevice)
	if err != nil {
		t.Fatal(err)
	}
	if was.State == nil || was.Profile != "desks" || was.Site != "site-1" || was.State.Last.Active != "box-1.0" {
		t.Fatalf("the controller has lost what it knew: %+v", was)
	}
	for _, list := range []string{"load list", "fileset list", "release list", "profile list", "site list", "user list"} {
		if out := o.run(strings.Fields(list)...); len(strings.Split(out, "\n")) < 2 && !strings.Contains(out, "1") {
			t.Errorf("%s: %s", list, out)
		}
	}
	o.device()
	seen := func(is func(d client.Device) bool) func() bool {
		return func() bool {
			d, err := o.c.Devices.Get(t.Context(), releasedDevice)
			return err == nil && d.State != nil && d.State.LastSeen.After(was.State.LastSeen) && is(d)
		}
	}
	o.until("the device reports", time.Minute, seen(func(d client.Device) bool { return d.State.Last.State == "idle" }))
	again, err := o.c.Devices.Get(t.Context(), releasedDevice)
	if err != nil || again.State.Last.Active != "box-1.0" || again.State.Traffic != was.State.Traffic {
		t.Errorf("the device runs %q, and its traffic went from %+v to %+v: %v", again.State.Last.Active,
			was.State.Traffic, again.State.Traffic, err)
	}
	o.publish("box-2.0", "2.0", "linux-amd64")
	o.run("load", "assign", "box-2.0", "--profile", "desks", "--yes")
	o.until("it runs the next load", time.Minute, seen(func(d client.Device) bool {
		return d.State.Last.State == "idle" && strings.HasSuffix(d.State.Last.Active, "box-2.0")
	}))
}
