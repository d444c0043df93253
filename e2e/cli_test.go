package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// ask runs another command of peerload for a device's state.
func (d *device) ask(args ...string) []byte {
	d.t.Helper()
	cmd := exec.Command(peerloadPlain, append(args, "--state", d.state)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("peerload %v: %v\n%s", args, err, errs.Bytes())
	}
	return b
}

// TestRefusals: wrong arguments end with 2, say why and change nothing.
func TestRefusals(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	const sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, c := range []struct {
		args string
		says string
	}{
		{"get http://127.9.0.1:1/x", "--unsigned"},
		{"get", "peerload get URL"},
		{"get http://127.9.0.1:1/x --sha256 " + sum + " --unsigned", "exclude"},
		{"get http://127.9.0.1:1/x http://127.9.0.1:1/y --sha256 " + sum, "one file"},
		{"get http://127.9.0.1:1/x http://127.9.0.1:1/d/x --unsigned", "the name x"},
		{"get http://127.9.0.1:1/x --sha256 abc", "--sha256"},
		{"get http://127.9.0.1:1/x --sha256 " + sum[1:] + "g", "--sha256"},
		{"get http://127.9.0.1:1/x --trust DIR", "NAME.load"},
		{"get http://127.9.0.1:1/x --slots --unsigned", "--slots"},
		{"get gopher://127.9.0.1:1/x --unsigned", "gopher"},
		{"get http://127.9.0.1:1/ --unsigned", "names no file"},
		{"get http://[::1/x --unsigned", "missing ']'"},
		{"get http://127.9.0.1:1/x --unsigned --peers maybe", "--peers"},
		{"get http://127.9.0.1:1/x --unsigned --linger -1s", "0s or longer"},
		{"get http://127.9.0.1:1/x --unsigned --profile fast", "profile"},
		{"get http://127.9.0.1:1/x --unsigned --address 10.0.0", "--address"},
		{"get http://127.9.0.1:1/x --unsigned --address 203.0.113.9/24", "203.0.113.9"},
		{"get http://127.9.0.1:1/x --unsigned --interface nosuch0", "nosuch0"},
		{"get http://127.9.0.1:1/x --unsigned --port 70000", "70000"},
		{"get http://127.9.0.1:1/x --unsigned --limit-rate fast", "--limit-rate"},
		{"get http://127.9.0.1:1/x --unsigned --header nocolon", "--header"},
		{"get http://127.9.0.1:1/x --unsigned --cacert /nonexistent", "--cacert"},
		{"get http://127.9.0.1:1/x --unsigned --key k.pem", "--cert"},
		{"get http://127.9.0.1:1/x --unsigned --retry -1", "--retry"},
		{"get http://127.9.0.1:1/x --unsigned --nonsense", "--nonsense"},
		{"nonsense", "nonsense"},
		{"status --state /nonexistent/state", "--state"},
		{"explain --state /nonexistent/state", "--state"},
	} {
		t.Run(c.args, func(t *testing.T) {
			dir := t.TempDir()
			args := strings.Fields(c.args)
			if args[0] == "get" && len(args) > 1 {
				args = append(args, "--state", filepath.Join(dir, "state"), "-o", filepath.Join(dir, "out"))
				if !strings.Contains(c.args, "--address") && !strings.Contains(c.args, "--interface") {
					args = append(args, "--address", "127.1.0.1/8")
				}
			}
			cmd := exec.Command(peerload, args...)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			if cmd.ProcessState.ExitCode() != 2 {
				t.Errorf("ended with %v: %s", err, errs.Bytes())
			}
			if !strings.Contains(errs.String(), c.says) {
				t.Errorf("says %q, want %q in it", errs.String(), c.says)
			}
			if out.Len() > 0 {
				t.Errorf("writes %q on standard output", out.Bytes())
			}
			if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
				t.Error("has made the output")
			}
		})
	}
}

// TestFileTooLarge: the system refuses the bytes in the middle (ulimit -f):
// the old file stays.
func TestFileTooLarge(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	diskFails(t, startup{shell: `ulimit -f 1024; exec "$@"`})
}

// TestDiskFull on a small file system of its own, in a user namespace.
func TestDiskFull(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	dir := t.TempDir()
	if b, err := exec.Command("unshare", "-rm", "sh",
		"-c", "mount -t tmpfs -o size=1m none "+dir).CombinedOutput(); err != nil {
		t.Skipf("no user namespace: %v %s", err, b)
	}
	diskFails(t, startup{out: filepath.Join(dir, "file"),
		shell: `exec unshare -rm sh -c 'mount -t tmpfs -o size=1m none "$0" && echo old >"$0/file" && "$@"; s=$?; cat "$0/file" >&2; exit $s' ` + dir + ` "$@"`})
}

func diskFails(t *testing.T, as startup) {
	body := content(16, 4*mib)
	srv := newServer(t, body)
	s := newSite(t)
	if as.out == "" {
		as.out = filepath.Join(s.dir, "full", "file")
		writeFile(t, as.out, "old\n")
	}
	d := s.getAs(as, addrOf(0), srv.url(), "--sha256", shaOf(body))
	d.wait(5)
	t.Logf("it says: %s", d.lastError())
	if b, err := os.ReadFile(as.out); err == nil && string(b) != "old\n" ||
		err != nil && !strings.HasSuffix(d.log(), "old\n") {
		t.Errorf("the old file is %q, %v, log ends with %q", b, err, tail(d.log(), 100))
	}
}

// TestDiskFullBesidePeers: one device's disk is full; the others finish.
func TestDiskFullBesidePeers(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(17, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 4 * mib })
	s := newSite(t)
	full := s.getAs(startup{shell: `ulimit -f 1024; exec "$@"`}, addrOf(0), srv.url(), "--sha256", shaOf(body))
	s.rootOf([]*device{full})
	ds := []*device{s.get(addrOf(1), srv.url(), "--sha256", shaOf(body)),
		s.get(addrOf(2), srv.url(), "--sha256", shaOf(body))}
	full.wait(5)
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
	}
	srv.once(1.60)
}

func TestStatusAndExplain(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(18, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	ds := s.start(2, srv.url(), "--sha256", shaOf(body))
	root := s.rootOf(ds)
	leaf := ds[0]
	if leaf == root {
		leaf = ds[1]
	}
	for _, d := range ds {
		d.until("a quarter", isProgress(25))
	}
	leaf.until("a source", func(e report.Event) bool { return e.Source == report.SourcePeer })
	check := func(when string, running bool) {
		for d, want := range map[*device]struct{ role, source, why string }{
			root: {report.RoleRoot, report.SourceOrigin, "this device is the root of the file"},
			leaf: {report.RoleLeaf, report.SourcePeer, " from a peer, " + root.addr},
		} {
			var f map[string]any
			poll(t, when+": a status of "+d.addr, func() bool {
				p := d.processes()
				if len(p) == 0 {
					return false
				}
				files, _ := p[0]["files"].([]any)
				if len(files) != 1 || p[0]["running"] != running {
					return false
				}
				f, _ = files[0].(map[string]any)
				return f["source"] == want.source
			})
			if f["role"] != want.role || f["file"] != "app.bin" {
				t.Errorf("%s: %s: role %v of %v, want %s", when, d.addr, f["role"], f["file"], want.role)
			}
			if text := string(d.ask("explain", "app.bin")); !strings.Contains(text, want.why) {
				t.Errorf("%s: %s explains:\n%s", when, d.addr, text)
			}
			if text := string(d.ask("status")); !strings.Contains(text, "app.bin") || !strings.Contains(text, want.role) {
				t.Errorf("%s: %s shows:\n%s", when, d.addr, text)
			}
		}
	}
	check("during the run", true)
	for _, d := range ds {
		d.wait(0)
	}
	check("after the run", false)
}

func (d *device) processes() (ps []map[string]any) {
	d.t.Helper()
	var v struct {
		Schema    int              `json:"schema"`
		Processes []map[string]any `json:"processes"`
	}
	if err := json.Unmarshal(d.ask("status", "--json"), &v); err != nil || v.Schema != report.Schema {
		d.t.Fatal(v.Schema, err)
	}
	return v.Processes
}

// lastLine returns the last line of JSON of a process that ended.
func (d *device) lastLine() report.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.events) == 0 {
		return report.Event{}
	}
	return d.events[len(d.events)-1]
}

// TestLastWords: the last line counts what a device sent to peers after its own
// download.
func TestLastWords(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(23, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 4 * mib })
	s := newSite(t)
	a := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body), "--linger", "2s")
	if f := a.done(); f.BytesToPeers != 0 {
		t.Fatalf("alone, it passed on %d bytes", f.BytesToPeers)
	}
	b := s.get(addrOf(1), srv.url(), "--sha256", shaOf(body))
	b.wait(0)
	a.wait(0)
	// Not all of the file, if a busy machine let a answer b's claims too late.
	passed := b.final().BytesFromPeers
	if e := a.lastLine(); e.Event != report.KindReport || e.Final == nil || passed == 0 || e.Final.BytesToPeers < passed ||
		e.Device == "" {
		t.Errorf("its last words are %+v, and %d bytes were passed on", e, passed)
	}
}

// TestInterruptedAlone: it ends at once, says so, and keeps what it has.
func TestInterruptedAlone(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(19, 4*mib)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		srv := newServer(t, body)
		srv.set(func(s *server) { s.rate = mib })
		s := newSite(t)
		d := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body), "--origin-connections", "1")
		d.until("a quarter", isProgress(25))
		d.signal(sig)
		at := time.Now()
		d.wait(130)
		t.Logf("%v: gone after %v: %s", sig, time.Since(at), d.lastError())
		if e := d.lastLine(); e.Event != report.KindReport || e.Reason != "stopped" ||
			!strings.Contains(e.Message, "continues") || "peerload: "+e.Message != d.lastError() {
			t.Errorf("%v: its last words are %+v and %q", sig, e, d.lastError())
		}
		d.holdsNothing()
		srv.set(func(s *server) { s.rate = 0 })
		d = s.get(addrOf(0), srv.url(), "--sha256", shaOf(body), "--origin-connections", "1")
		d.wait(0)
		d.holds(body)
		srv.once(1.10)
	}
}

func TestMaxTime(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(121, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	d := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body), "--max-time", "1s")
	<-d.ended
	t.Logf("after %v with %d: %s", d.took, d.code, d.lastError())
	if d.code != 4 || !strings.Contains(d.lastError(), "max-time") {
		t.Errorf("ended with %d after %v: %s", d.code, d.took, d.lastError())
	}
	d.holdsNothing()
}
