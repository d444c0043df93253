package e2e

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/report"
)

// before is the commit that stands for the version before this one while no tag
// does: what it says to its peers must be understood.
const before = "a7d27ab82209e143a7934871e6f211e8093e179b"

// oldProgram builds the program of a device of the version before this one.
var oldProgram = sync.OnceValues(func() (path string, err error) {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	of := before
	if tag, err := git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD~1"); err == nil {
		of = tag
	}
	if _, err := git("cat-file", "-e", of+"^{commit}"); err != nil {
		return "", fmt.Errorf("this clone has no commit %s: git fetch --unshallow gets it", of)
	}
	dir, err := os.MkdirTemp("", "peerload-old-")
	if err != nil {
		return "", err
	}
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	// The program is removed with the directory of the test that asked first, the
	// tree at once.
	tree := filepath.Join(dir, "tree")
	defer os.RemoveAll(tree)
	path = filepath.Join(dir, "peerload")
	script := `mkdir "$1" && git -C "$2" archive "$3" | tar -x -C "$1" && cd "$1" && go build -o "$4" ./cmd/peerload`
	if out, err := exec.Command("sh", "-c", script, "sh", tree, root, of, path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w: %s", of, err, out)
	}
	return path, nil
})

// old returns the program of the version before this one.
func old(t *testing.T) string {
	t.Helper()
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("it builds the version before this one; ./test.sh full does")
	}
	if out, err := exec.Command("git", "rev-parse", "--is-shallow-repository").Output(); err != nil ||
		strings.TrimSpace(string(out)) == "true" {
		t.Skipf("the version before this one is built from git, and this is no whole clone: %v", err)
	}
	path, err := oldProgram()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOldAndNew: devices of the version before this one and of this one share a
// file and a signed load on one subnet, whichever of them is root, and each passes
// on what the other sent.
func TestOldAndNew(t *testing.T) {
	older := old(t)
	for _, rootIsOld := range []bool{true, false} {
		for _, signed := range []bool{false, true} {
			t.Run(fmt.Sprintf("root old %v, signed %v", rootIsOld, signed), func(t *testing.T) {
				oldAndNew(t, older, rootIsOld, signed)
			})
		}
	}
}

func oldAndNew(t *testing.T, older string, rootIsOld, signed bool) {
	const all = 10
	body := content(31, 24*mib)
	srv := newServer(t, body)
	args := []string{srv.url(), "--sha256", shaOf(body)}
	if signed {
		v := newVendor(t, time.Now)
		v.add("1", map[string][]byte{"app.bin": body})
		srv = v.serve()
		args = []string{"http://" + srv.host + "/fw.load", "--trust", v.trustDir(), "--model", "7961"}
	}
	s := newSite(t)
	srv.awaitMeeting(s, all)
	at := func(n int) *device {
		s.bin = peerload
		if (n%2 == 0) == rootIsOld { // the first is the root
			s.bin = older
		}
		out := filepath.Join(s.dir, fmt.Sprint(n), "out")
		if signed {
			out += "/"
		}
		return s.getAs(startup{out: out}, addrOf(n), args...)
	}
	ds := []*device{at(0)}
	ds[0].until("it is root", func(e report.Event) bool { return e.Role == report.RoleRoot })
	for n := 1; n < all; n++ {
		ds = append(ds, at(n))
	}
	fromOrigin := int64(0)
	for _, d := range ds {
		d.wait(0)
		fromOrigin += d.final().BytesFromOrigin
		if !signed {
			d.holds(body)
		}
	}
	if !signed && ds[0].final().Role != report.RoleRoot {
		t.Errorf("the first device ended as %s: the root was another one", ds[0].final().Role)
	}
	if most := int64(len(body)) * 11 / 10; fromOrigin > most {
		t.Errorf("%d bytes from the server, want at most %d", fromOrigin, most)
	}
	parents := map[string]bool{}
	for _, d := range ds[1:] {
		parents[d.final().Parent] = true
		if !signed && d.final().BytesFromOrigin > int64(len(body))/10 {
			t.Errorf("%s has %d bytes from the server", d.addr, d.final().BytesFromOrigin)
		}
	}
	t.Logf("%d bytes from the server, %d parents", fromOrigin, len(parents))
}

// selfUpgrade are the programs of the guide: docs/UPGRADE.md.
const selfUpgrade = "../packaging/self-upgrade"

// selfAgent is an agent of a device that gets Peerload as its load, with what
// stands for the service manager.
type selfAgent struct {
	o    *office
	name string
	n    int
	cmd  *exec.Cmd
}

func (a *selfAgent) state() string { return filepath.Join(a.o.dir, a.name) }

// start starts the service.
func (a *selfAgent) start(installed string) {
	a.o.t.Helper()
	guide, err := filepath.Abs(selfUpgrade)
	if err == nil {
		err = os.MkdirAll(a.state(), 0o700)
	}
	if err != nil {
		a.o.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(a.o.dir, a.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.o.t.Fatal(err)
	}
	defer log.Close()
	// Restart=always, RestartSec=100ms
	a.cmd = exec.Command("sh", "-c", `while :; do "$@"; sleep 0.1; done`, "sh", filepath.Join(guide, "peerload-run"),
		"agent", "--config", filepath.Join(a.o.dir, "none.toml"), "--server", "http://"+a.o.http, "--mac", a.name[3:],
		"--model", a.o.models[a.name], "--trust", filepath.Join(a.o.dir, "trust"), "--address",
		fmt.Sprintf("127.82.1.%d/8", a.n), "--port", fmt.Sprint(a.o.ports["site-1"]), "--controller", "http://"+a.o.api,
		"--token-file", filepath.Join(a.o.dir, "key"), "--check-in", "4s", "--hook", filepath.Join(guide, "peerload-hook"),
		"--confirm-command", filepath.Join(guide, "peerload-confirm"), "--confirm-timeout", "20s", "--boot-id",
		filepath.Join(a.state(), "own-boot"))
	a.cmd.Env = append(os.Environ(), "PEERLOAD_STATE="+a.state(), "PEERLOAD_INSTALLED="+installed)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := a.cmd.Start(); err != nil {
		a.o.t.Fatal(err)
	}
}

// kill ends the service with all that it runs, as a power cut does.
func (a *selfAgent) kill() {
	_ = syscall.Kill(-a.cmd.Process.Pid, syscall.SIGKILL)
	_ = a.cmd.Wait()
}

// partial reports whether the device has a part of a file of a load that comes.
func (a *selfAgent) partial() (has bool) {
	_ = filepath.WalkDir(a.state(), func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.Contains(p, "peerload") {
			if i, err := e.Info(); err == nil && i.Size() > 0 && strings.Contains(p, "slots") {
				has = true
			}
		}
		return nil
	})
	return has
}

// ownLoad publishes a load that has a program for its only file, and assigns it to
// all devices.
func (o *office) ownLoad(name string, program []byte) {
	o.t.Helper()
	dir := filepath.Join(o.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "peerload"), program, 0o600); err != nil {
		o.t.Fatal(err)
	}
	o.run("load", "add", "--name", name, "--version", name, "--model", "linux-amd64,linux-arm64",
		filepath.Join(dir, "peerload"))
	for model := range rolloutModels {
		o.run("load", "assign", name, "--model", model, "--yes")
	}
}

// TestOwnUpgrade: six agents of the version before this one get this one as a load,
// through each other and by the programs of the guide. One dies while it downloads,
// and gets there when it is back. Then comes a program that does not run: all go
// back to the one before.
func TestOwnUpgrade(t *testing.T) {
	older := old(t)
	o := newOffice(t, 1, 3)
	o.publish("box-1.0", "1.0", "linux-amd64") // the first load makes the keys
	o.run("trust", "export", "--out", "trust")
	if err := os.WriteFile(filepath.Join(o.dir, "key"), []byte(o.run("enrolment", "add", "k", "--site-key")),
		0o600); err != nil {
		t.Fatal(err)
	}
	o.run("enterprise", "set", "wan-limit=32M", "--yes")
	var agents []*selfAgent
	for n, name := range o.devices["site-1"] {
		a := &selfAgent{o: o, name: name, n: n + 1}
		a.start(older)
		t.Cleanup(a.kill)
		agents = append(agents, a)
	}
	o.until("all are seen", 2*time.Minute, func() bool {
		return o.count(func(client.Device) bool { return true }) == len(agents)
	})

	program, err := os.ReadFile(peerloadPlain)
	if err != nil {
		t.Fatal(err)
	}
	o.ownLoad("own-2", program)
	var victim *selfAgent
	o.until("one downloads", 2*time.Minute, func() bool {
		i := slices.IndexFunc(agents, (*selfAgent).partial)
		if i >= 0 {
			victim = agents[i]
		}
		return i >= 0
	})
	victim.kill()
	o.until("the others run the new program", time.Minute, func() bool { return o.runs("", "own-2") == len(agents)-1 })
	victim.start(older)
	o.until("the one that died does, too", 3*time.Minute, func() bool { return o.runs("", "own-2") == len(agents) })

	broken := append([]byte("#!/bin/sh\n[ \"$1\" = --version ]\nexit\n# "), []byte(rand.Text())...)
	o.ownLoad("own-3", broken)
	o.until("all went back", 5*time.Minute, func() bool {
		return o.count(func(d client.Device) bool {
			return d.State.Last.State == report.StateRolledBack && strings.HasSuffix(d.State.Last.Active, "own-2")
		}) == len(agents)
	})
}
