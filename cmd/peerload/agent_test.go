package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/internal/testkit/parallel"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// asCommand is the variable that makes this test program the command.
const asCommand = "PEERLOAD_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		if calls := os.Getenv(withoutCalls); calls != "" {
			forbid(strings.Fields(calls))
		}
		main()
		return
	}
	parallel.Tests(8)
	os.Exit(m.Run())
}

// command is the command with arguments, in an environment of its own.
func command(env []string, args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append([]string{asCommand + "=1", "GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH"),
		"HOME=" + os.Getenv("HOME")}, env...)
	return c
}

// run runs the command and returns what it printed and its exit status.
func run(t *testing.T, env []string, args ...string) (out string, code int) {
	t.Helper()
	c := command(env, args...)
	b, err := c.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(b), c.ProcessState.ExitCode()
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConfigShow(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	file := filepath.Join(t.TempDir(), "agent.toml")
	write(t, file, "model = \"CP-7961G\"\nserver = [\"10.0.0.5\", \"10.0.0.6\"]\n")
	out, code := run(t, []string{"PEERLOAD_CHECK_IN=1h"}, "config", "show", "--origin", "--config", file, "--port", "5000")
	if code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	for _, want := range []string{
		`model = "CP-7961G" +# ` + regexp.QuoteMeta(file), `server = \["10.0.0.5", "10.0.0.6"\] +# `,
		`check-in = "1h" +# PEERLOAD_CHECK_IN`, `port = "5000" +# --port`, `log-level = "info" +# default`,
		`# cacert is not given: the certificates of the system +# default`, `# trust is not given: /etc/peerload/trust, `,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(out) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	// What is shown is a file that says the same.
	plain, _ := run(t, nil, "config", "show", "--config", file)
	again := filepath.Join(t.TempDir(), "again.toml")
	write(t, again, plain)
	if back, code := run(t, nil, "config", "show", "--config", again); code != 0 || back != plain {
		t.Errorf("%d:\n%s\n%s", code, plain, back)
	}
	if out, code := run(t, nil, "agent", "--check-config", "--config", file); code != 0 || !strings.Contains(out, "good") {
		t.Errorf("%d: %s", code, out)
	}
	write(t, file, "modle = \"CP-7961G\"\n")
	if out, code := run(t, nil, "agent", "--check-config", "--config", file); code != exitUsage ||
		!strings.Contains(out, "modle") {
		t.Errorf("%d: %s", code, out)
	}
}

// TestTreesFlag refuses a number of trees that there is not, and does not ask
// the agent for a number, which is the agent's own affair.
func TestTreesFlag(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	for _, n := range []string{"3", "-1"} {
		out, code := run(t, nil, "get", "http://127.0.0.1:1/f", "--unsigned", "--trees="+n, "--state", t.TempDir())
		if code != exitUsage || !strings.Contains(out, "--trees") {
			t.Errorf("--trees %s: status %d, %s", n, code, out)
		}
	}
	f := getFlags{profile: "lan"}
	f.peers.Register(pflag.NewFlagSet("get", pflag.ContinueOnError))
	if !f.usual() {
		t.Error("without flags the agent is not asked")
	}
	if f.trees = 1; f.usual() {
		t.Error("with --trees 1 the agent is asked, which does not know of it")
	}
}

// provisioner serves to all devices a file that turns sharing on, and counts
// how often it is asked for; and /tool.bin, which holds "the tool".
func provisioner(t *testing.T) (srv *httptest.Server, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/XMLDefault.cnf.xml":
			asked.Add(1)
			fmt.Fprint(w, "<Default><enterpriseConfig><peerFirmwareSharing>1</peerFirmwareSharing></enterpriseConfig></Default>")
		case "/tool.bin":
			fmt.Fprint(w, "the tool")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv, asked
}

// TestGetAsksTheAgent: get on a device with an agent leaves the work to it;
// SIGHUP makes it ask its server; SIGTERM ends it.
func TestGetAsksTheAgent(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	srv, asked := provisioner(t)
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	boot := filepath.Join(dir, "boot")
	write(t, boot, "1")
	port := freeUDP(t)
	args := []string{"agent", "--server", srv.URL, "--model", "CP-7961G", "--mac", "001122334455",
		"--address", "127.0.78.1/8", "--port", port, "--state", state, "--boot-id", boot, "--config", noConfig(t, dir)}
	c := command(nil, args...)
	var log bytes.Buffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	// The agent's address is in the events once it was the agent that fetched: as long as
	// it does not listen, the command fetches by itself and says nothing of it.
	byAgent := func(out string) bool { return strings.Contains(out, `"root":"127.0.78.1:`) }
	until(t, "the agent shares", func() bool {
		out, _ := run(t, nil, "get", srv.URL+"/tool.bin", "--unsigned", "--state", state,
			"-o", filepath.Join(dir, "tool.bin"), "--json")
		return byAgent(out)
	})
	out, code := run(t, nil, "get", srv.URL+"/tool.bin", "--unsigned", "--state", state,
		"-o", filepath.Join(dir, "again.bin"), "--json")
	if b, err := os.ReadFile(filepath.Join(dir, "again.bin")); code != 0 || string(b) != "the tool" || err != nil {
		t.Errorf("%d: %s; %q, %v", code, out, b, err)
	}
	if !byAgent(out) || !strings.Contains(out, `"event":"done"`) {
		t.Errorf("not by the agent: %s", out)
	}
	got := filepath.Join(dir, "got")
	if out, code := run(t, nil, "get", srv.URL+"/tool.bin", "--unsigned", "--state", state, "--linger", "0s",
		"-o", dir+"/", "--exec", "cp {} "+got); code != 0 {
		t.Errorf("a command, and a directory as output: %d, %s", code, out)
	}
	if b, err := os.ReadFile(got); string(b) != "the tool" {
		t.Errorf("the command got %q, %v", b, err)
	}
	if out, code := run(t, nil, "get", srv.URL+"/gone", "--unsigned", "--state", state,
		"-o", filepath.Join(dir, "gone")); code != exitNotFound {
		t.Errorf("a missing file: %d, %s", code, out)
	}
	before := asked.Load()
	if err := c.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "asks again", func() bool { return asked.Load() > before })
	if out, code := run(t, nil, "doctor", "--server", srv.URL, "--model", "CP-7961G", "--state", state,
		"--port", port); code != 0 || !strings.Contains(out, "an agent runs here") {
		t.Errorf("%d: %s", code, out)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
}

// noConfig makes an empty configuration, so that none of this host is read.
func noConfig(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "empty.toml")
	write(t, name, "")
	return name
}

func freeUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.78.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	return port
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(3 * time.Minute) // only a hang takes so long
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestDoctor(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "trust"), 0o755); err != nil {
		t.Fatal(err)
	}
	port := freeUDP(t)
	base := []string{"doctor", "--config", noConfig(t, dir), "--model", "CP-7961G", "--address", "127.0.78.1/8",
		"--port", port, "--state", filepath.Join(dir, "state"), "--trust", filepath.Join(dir, "trust"),
		"--dhcp-lease", filepath.Join(dir, "none")}
	out, code := run(t, nil, append(base, "--server", srv.URL)...)
	if code != 0 {
		t.Errorf("a healthy device: %d", code)
	}
	for _, want := range []string{"ok    model CP-7961G", "ok    address 127.0.78.1", "ok    port " + port + " is free",
		"ok    broadcasts are sent and heard", "ok    state directory", "ok    the clock", "warn  no publisher is trusted",
		"ok    server " + srv.URL + " answers by http"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if ja, _ := run(t, []string{"LANG=ja_JP.UTF-8"}, append(base, "--server", srv.URL)...); !strings.Contains(ja,
		"ok    モデルCP-7961G") || strings.Contains(ja, "can share") {
		t.Errorf("in Japanese: %s", ja)
	}
	// Another program has the port, a file stands where the state should be,
	// nobody answers, no lease is there.
	taken, err := net.Listen("tcp", "127.0.78.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	write(t, filepath.Join(dir, "state2"), "")
	out, code = run(t, nil, append(base, "--state", filepath.Join(dir, "state2", "x"),
		"--server", "http://127.0.78.1:1")...)
	if code != exitUsage {
		t.Errorf("an unhealthy device: %d", code)
	}
	for _, want := range []string{"warn  port " + port + " is taken", "fail  state directory",
		"fail  server http://127.0.78.1:1 does not answer", "      -> "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out, code := run(t, nil, base...); code != exitUsage || !strings.Contains(out, "fail  no server is known") {
		t.Errorf("%d: %s", code, out)
	}
}

// TestScreen: a state directory that nothing has run with is a mistake; what is piped
// is as wide as COLUMNS says.
func TestScreen(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	state := t.TempDir()
	if out, code := run(t, []string{"TERM=xterm"}, "screen", "--state", state); code != exitUsage ||
		!strings.Contains(out, "nothing has run") {
		t.Errorf("%d: %s", code, out)
	}
	record(t, state, recorded())
	for columns, width := range map[string]int{"": screenWidth, "20": 20, "1000": screenWidth, "-1": screenWidth,
		"x": screenWidth} {
		out, code := run(t, []string{"COLUMNS=" + columns, "LANG=ja_JP.UTF-8"}, "screen", "--state", state)
		for l := range strings.Lines(out) {
			if l = strings.TrimSuffix(l, "\n"); code != 0 || terminal.Width(l) != width {
				t.Errorf("COLUMNS=%s: %d, %d cells: %s", columns, code, terminal.Width(l), l)
			}
		}
	}
}

// TestCheckConfig: what the configuration names and the host does not have is
// refused by --check-config, and found by doctor.
func TestCheckConfig(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/plain", "no program")
	for _, c := range []struct{ flags, says string }{
		{"--model 7961", ""},
		{"--model Cisco-7961", "unknown model"},
		{"--model linux-amd46", "did you mean linux-amd64"},
		{"--hook DIR/none", "hook: "}, {"--hook DIR/plain", "hook: "}, {"--hook /bin/sh", ""},
		{"--trust DIR/none", "trust: "}, {"--trust DIR/plain", "no directory"}, {"--trust DIR", ""},
		{"--provision DIR/none.xml", "provision: "}, {"--provision DIR/plain", ""},
		{"--cacert DIR/none", "cacert: "}, {"--cacert DIR/plain", "cacert: "},
		{"--server ftp://10.0.0.5", `not "ftp"`},
	} {
		flags := strings.Fields(strings.ReplaceAll(c.flags, "DIR", dir))
		if !strings.Contains(c.flags, "--model") {
			flags = append(flags, "--model", "7961")
		}
		t.Run(c.flags, func(t *testing.T) {
			t.Parallel()
			config := noConfig(t, t.TempDir())
			out, code := run(t, nil, append([]string{"agent", "--check-config", "--config", config}, flags...)...)
			if (code == exitUsage) != (c.says != "") || !strings.Contains(out, c.says) {
				t.Errorf("%d, want %q: %s", code, c.says, out)
			}
			if c.says == "" || strings.Contains(c.flags, "--model") {
				return // doctor warns of a model
			}
			args := append([]string{"doctor", "--config", config, "--address", "127.0.78.1/8", "--port", freeUDP(t),
				"--state", t.TempDir()}, flags...)
			if out, code := run(t, nil, args...); code == 0 || !regexp.MustCompile(`(?m)^fail .*`+
				regexp.QuoteMeta(c.says)).MatchString(out) {
				t.Errorf("doctor: %d, want %q: %s", code, c.says, out)
			}
		})
	}
}
