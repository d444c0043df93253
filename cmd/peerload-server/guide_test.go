package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/foreign"
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

// TestAdministratorsGuide runs every command of docs/ADMIN.md in one shell.
func TestAdministratorsGuide(t *testing.T) {
	foreign.Program(t, "curl")
	text, err := os.ReadFile("../../docs/ADMIN.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := strings.NewReplacer("127.0.0.1:8443", free(t), "127.0.0.1:6970", free(t)).Replace(string(text))
	var lines []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(guide, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	if len(lines) < 40 {
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
	for _, want := range []string{"peer-sharing  off    device",
		"<loadInformation model=\"Cisco IP Phone 7941\">fw-1</loadInformation>",
		"SEP001122334466  yes  yes", "peerload_build_info", "loadInformation00115"} {
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
	port := 20000 + os.Getpid()%20000
	script := strings.NewReplacer("127.0.0.1:8443", free(t), "127.0.0.1:6970", free(t), "127.0.0.1:8090", page,
		"--tftp off &", "--tftp off > serve.out & server=$!\nn=0; until grep -q setup serve.out; do n=$((n+1)); [ $n -lt "+
			"200 ] || exit 99; sleep 0.05; done",
		"peerload agent", fmt.Sprintf("peerload agent --port %d", port)).Replace(block[1])
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
