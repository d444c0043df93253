package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/version"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What the command line answers to whoever asks for help or mistypes, to the
// byte. The golden file has the commands, each after a $, and below it what
// they print and their exit status.
func TestCommandLineAnswers(t *testing.T) {
	tiers.Long(t, "it starts the program for each answer")
	t.Parallel()
	name := filepath.Join("testdata", "commandline.golden")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	cases := 0
	for line := range strings.Lines(string(b)) {
		if args, ok := strings.CutPrefix(line, "$ peerload"); ok {
			all.WriteString(answer(t, strings.Fields(args)))
			cases++
		}
	}
	if cases < 50 {
		t.Fatalf("only %d commands in %s", cases, name)
	}
	golden.Check(t, "commandline", all.String(), *update)
}

// answer runs one command and tells all that is seen of it. A word ” is an
// empty argument; the version, which depends on the build, is told as VERSION.
func answer(t *testing.T, args []string) string {
	t.Helper()
	text := "$ " + strings.Join(append([]string{"peerload"}, args...), " ") + "\n"
	for i, a := range args {
		if a == "''" {
			args[i] = ""
		}
	}
	var stdout, stderr bytes.Buffer
	c := command(nil, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); c.ProcessState == nil {
		t.Fatal(err)
	}
	text += strings.ReplaceAll(stdout.String(), version.Read().String(), "VERSION")
	if stderr.Len() > 0 {
		text += "standard error:\n" + stderr.String()
	}
	return text + fmt.Sprintf("exit status %d\n\n", c.ProcessState.ExitCode())
}

// TestTroubleshootingCommands runs the commands that docs/TROUBLESHOOTING.md tells to
// run, on a device whose agent runs.
func TestTroubleshootingCommands(t *testing.T) {
	tiers.Long(t, "it starts an agent and a dozen commands")
	t.Parallel()
	b, err := os.ReadFile("../../docs/TROUBLESHOOTING.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, device := []string{"--config", noConfig(t, dir)}, []string{"--state", filepath.Join(dir, "state")}
	server, proxy := sharingAgent(t, append(config, device...))
	get := append([]string{server + "/tool.bin", "--unsigned", "-o", filepath.Join(dir, "tool.bin")}, device...)
	if out, code := run(t, nil, append([]string{"get"}, get...)...); code != exitOK {
		t.Fatalf("%d: %s", code, out)
	}
	// What the command is given beside what stands there, and what it then says.
	more := map[string]struct {
		args []string
		says string
	}{
		"doctor":  {slices.Concat([]string{"--server", server, "--model", "CP-7961G"}, device, config), "an agent runs here"},
		"status":  {device, "tool.bin"},
		"explain": {device, "this device is the root of the file"},
		"get":     {get, "8 bytes"},
		"config":  {append([]string{"--model", "CP-7961G"}, config...), "# default"},
		"proxy":   {[]string{"--listen", proxy}, "bytes shared"}, "yield": {device, ""}, "help": {nil, "Usage:"},
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)(?:^|`)peerload ([^`\n]+)").FindAllStringSubmatch(string(b), -1) {
		if seen[m[1]] {
			continue
		}
		seen[m[1]] = true
		args := strings.Fields(strings.NewReplacer("FILE", "tool.bin", "COMMAND", "doctor").Replace(m[1]))
		with, ok := more[args[0]]
		if !ok {
			t.Errorf("nothing says what %q needs to run here", m[0])
			continue
		}
		if out, code := run(t, nil, append(args, with.args...)...); code != exitOK || !strings.Contains(out, with.says) {
			t.Errorf("peerload %s: status %d, want %q in %s", m[1], code, with.says, out)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %v", seen)
	}
}

// sharingAgent starts an agent with a proxy, and waits until it shares.
func sharingAgent(t *testing.T, args []string) (server, proxy string) {
	t.Helper()
	srv, _ := provisioner(t)
	proxy = freeTCP(t)
	agent := command(nil, append([]string{"agent", "--server", srv.URL, "--model", "CP-7961G", "--mac", "001122334455",
		"--address", "127.0.78.9/8", "--port", freeUDP(t), "--proxy-address", proxy}, args...)...)
	var log bytes.Buffer
	agent.Stderr = &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	until(t, "the agent shares", func() bool {
		out, code := run(t, nil, "proxy", "status", "--listen", proxy)
		return code == exitOK && !strings.Contains(out, "no peers")
	})
	return srv.URL, proxy
}

// freeTCP is an address at which nobody listens.
func freeTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// schema reads a schema of docs/schema, or a part of one.
func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../../docs/schema/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fits says whether a text is JSON of a schema.
func fits(s *jsonschema.Schema, text []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// TestSchemaOfEvents: what a real run prints, and how it ends, is what docs/schema says.
func TestSchemaOfEvents(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	body := bytes.Repeat([]byte("firmware"), 1<<14)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/app.bin" {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "app.bin", time.Time{}, bytes.NewReader(body))
	}))
	defer srv.Close()
	sum := sha256.Sum256(body)
	events, statuses := schema(t, "event.json"), schema(t, "status.json")
	exits := schema(t, "exit-statuses.json#/$defs/peerload")
	for n, c := range []struct {
		path, sum string
		code      int
	}{
		{"/app.bin", hex.EncodeToString(sum[:]), exitOK}, {"/app.bin", strings.Repeat("1", 64), exitVerify},
		{"/none", strings.Repeat("1", 64), exitNotFound},
	} {
		dir := t.TempDir()
		cmd := command(nil, "get", srv.URL+c.path, "--sha256", c.sum, "--json", "-v", "--state", dir, "--linger", "0s",
			"--no-sync", "--address", fmt.Sprintf("127.98.0.%d/8", n+1), "-o", filepath.Join(dir, "out"))
		out, _ := cmd.Output()
		code := cmd.ProcessState.ExitCode()
		if err := fits(exits, fmt.Append(nil, code)); code != c.code || err != nil {
			t.Fatalf("%s: status %d, want %d: %v\n%s", c.path, code, c.code, err, out)
		}
		lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
		if len(lines) < 3 {
			t.Errorf("%s: only %s", c.path, out)
		}
		for _, line := range lines {
			if err := fits(events, line); err != nil {
				t.Errorf("%s: %s\n%v", c.path, line, err)
			}
		}
		text, code := run(t, nil, "status", "--json", "--state", dir)
		if err := fits(statuses, []byte(text)); code != exitOK || err != nil {
			t.Errorf("%s: status %d: %s\n%v", c.path, code, text, err)
		}
	}
	for text, s := range map[string]*jsonschema.Schema{
		`{"schema":1,"time":"","event":"lunch","device":""}`:  events,
		`{"schema":2,"time":"","event":"start","device":""}`:  events,
		`{"schema":1,"time":"","event":"start","device":5}`:   events,
		`{"schema":1,"time":"","event":"start"}`:              events,
		`{"schema":1,"processes":[{"schema":1,"pid":"one"}]}`: statuses,
		`1`: exits,
	} {
		if fits(s, []byte(text)) == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// TestSchemaOfReports: what a real agent sends to its controller is what docs/schema says.
func TestSchemaOfReports(t *testing.T) {
	tiers.Long(t, "it starts many processes")
	t.Parallel()
	sent := make(chan []byte, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch body, _ := io.ReadAll(r.Body); {
		case strings.HasSuffix(r.URL.Path, "/check-in"):
			select {
			case sent <- body:
			default:
			}
		case strings.HasSuffix(r.URL.Path, ".cnf.xml"):
			_, _ = io.WriteString(w, `<Default><loadInformation model="CP-7961G">L1</loadInformation></Default>`)
		case strings.HasSuffix(r.URL.Path, "/enrol"):
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), "site-key\n")
	cmd := command(nil, "agent", "--server", srv.URL, "--controller", srv.URL, "--token-file", filepath.Join(dir, "token"),
		"--mac", "02:00:00:00:98:01", "--model", "CP-7961G", "--address", "127.98.1.1/8", "--check-in", "1s",
		"--state", filepath.Join(dir, "state"), "--trust", filepath.Join(dir, "trust"))
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s, failed := schema(t, "device.json"), false
	for n := 0; n < 4 && !failed; n++ {
		select {
		case b := <-sent:
			if err := fits(s, b); err != nil {
				t.Errorf("%s\n%v", b, err)
			}
			failed = bytes.Contains(b, []byte(`"failures"`))
		case <-t.Context().Done():
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); !failed {
		t.Errorf("no failure was reported: %v\n%s", err, log.Bytes())
	}
	if fits(s, []byte(`{"schema":1,"time":"","state":"asleep"}`)) == nil {
		t.Error("a state that is none is taken")
	}
}
