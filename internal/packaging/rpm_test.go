package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	testprograms "github.com/peerload/peerload/internal/testkit/programs"
)

// TestRPM: rpm installs the packages below a root of its own, upgrades and removes them.
// Configuration that people have changed is kept, and nothing else of the packages is.
// The programs are scripts here: rpm does not look into them. What the packages' own
// scripts do is in TestRemovalStops and TestConfigurationIsGone.
func TestRPM(t *testing.T) {
	if err := testprograms.Sources("peerload", "peerload-get", "peerload-server"); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 runs it: it compiles nfpm")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can install for another root")
	}
	program := foreign.Program(t, "rpm")
	t.Chdir(root)
	built, dist, dir := t.TempDir(), t.TempDir(), t.TempDir()
	names := []string{"peerload", "peerload-server", "peerload-lab"}
	at := filepath.Join(built, "linux_"+runtime.GOARCH)
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(at, name), []byte("#!/bin/sh\necho '#' a script\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, version := range []string{"0.0.1", "0.0.2"} {
		if err := run(t.Context(), []string{"-version", version, "-date", "2026-01-02T15:04:05Z", "-programs", built,
			"-out", dist, "-only", arch + `\.rpm$`}, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	rpm := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(program, append([]string{"--root", dir}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("rpm %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	all := func(version string) (files []string) {
		for _, name := range names {
			files = append(files, filepath.Join(dist, fmt.Sprintf("%s_%s_%s.rpm", name, version, arch)))
		}
		return append([]string{"--nodeps", "--noscripts", "-U"}, files...)
	}
	rpm("--initdb")
	rpm(all("0.0.1")...)
	agent := filepath.Join(dir, "etc/peerload/agent.toml")
	write(t, agent, "model = \"linux-arm\"\n")
	data := filepath.Join(dir, "var/lib/peerload")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	rpm(all("0.0.2")...)
	if got := rpm("-q", "--qf", "%{NAME} %{VERSION}\n", "-a"); strings.Count(got, "0.0.2") != len(names) {
		t.Errorf("installed are\n%s", got)
	}
	mine := func(path string) {
		t.Helper()
		if b, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(b), "model = ") {
			t.Errorf("%s: %v: %s", path, err, b)
		}
	}
	mine(agent)
	if said := rpm("-V", "--nodeps", "peerload-server", "peerload-lab"); said != "" {
		t.Errorf("rpm finds changed\n%s", said)
	}
	rpm(append([]string{"--nodeps", "--noscripts", "-e"}, names...)...)
	mine(agent + ".rpmsave")
	for _, gone := range []string{"usr/bin/peerload", "usr/bin/peerload-server", "etc/peerload/peerload-server.env",
		"usr/lib/systemd/system/peerload-agent.service"} {
		if _, err := os.Lstat(filepath.Join(dir, gone)); err == nil {
			t.Errorf("%s is left", gone)
		}
	}
	if _, err := os.Stat(data); err != nil {
		t.Error(err)
	}
}
