package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/report"
)

// What is recorded of a command shows no secret of it, however it was typed.
func TestCommandLine(t *testing.T) {
	args := []string{"peerload", "get", "https://me:secret@host/x", "me:secret@host/y", "http://host/z",
		"-H", "Authorization: secret", "--header=X-Key: secret", "-vHCookie:secret", "-o", "f"}
	f := &getFlags{}
	f.origin.headers = []string{"Authorization: secret", "X-Key: secret", "Cookie:secret", "Empty:", ""}
	got := f.commandLine(args)
	if strings.Contains(got, "secret") {
		t.Errorf("it tells the secret: %s", got)
	}
	for _, want := range []string{"peerload get https://me:xxxxx@host/x ", "http://host/z -H Authorization: xxxxx",
		"X-Key: xxxxx", " -o f"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

// A reader that does not read stops no device.
func TestEventsDoNotBlock(t *testing.T) {
	o := &output{queue: make(chan report.Event, 1)}
	for _, kind := range []string{report.KindLog, report.KindProgress, report.KindLog} {
		taken := make(chan struct{})
		go func() {
			o.event(report.Event{Event: kind})
			close(taken)
		}()
		select {
		case <-taken:
		case <-time.After(time.Minute):
			t.Fatalf("%s blocks", kind)
		}
	}
}

// A host without an address yet is told to try again, which is not what a
// mistake in the command is told.
func TestNoNetworkYet(t *testing.T) {
	c := command(nil, "get", "http://192.0.2.1/x", "--unsigned", "--state", t.TempDir(), "-o", t.TempDir()+"/x")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Skip("no namespaces here:", err)
	}
	if code := c.ProcessState.ExitCode(); code != exitUnreachable || !strings.Contains(string(out), "try again") ||
		!strings.Contains(string(out), "by --peers off") {
		t.Errorf("%d: %s", code, out)
	}
}

// What is refused is named as the command line names it.
func TestRefusalsNameFlags(t *testing.T) {
	const file, signed = "http://192.0.2.1/a.bin", "http://192.0.2.1/a.load"
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--sha256 HEX (one file), --trust DIR", []string{file}},
		{"--sha256 speaks of one file", []string{file, file + "2", "--sha256", strings.Repeat("1", 64)}},
		{"--sha256: 64 zeros are not the SHA-256 of any file", []string{file, "--sha256", strings.Repeat("0", 64)}},
		{"--sha256: ", []string{file, "--sha256", ""}},
		{"exclude each other", []string{file, "--sha256", "", "--unsigned"}},
		{"exclude each other", []string{signed, "--trust", "", "--unsigned"}},
		{"--trust names no directory", []string{signed, "--trust", ""}},
		{"--cacert names no file", []string{file, "--unsigned", "--cacert", ""}},
		{"--key names no file", []string{file, "--unsigned", "--cert", "c", "--key", ""}},
		{"--trust fetches one load", []string{file, "--trust", "t"}},
		{"--slots is for a signed load: fetch NAME.load with --trust", []string{file, "--unsigned", "--slots"}},
		{"give --trust DIR", []string{signed, "--unsigned"}},
		{"each with its own -o", []string{file, "http://192.0.2.2/a.bin", "--unsigned"}},
		{"name the file with -o", []string{"http://192.0.2.1/%2e%2e", "--unsigned", "--peers", "off"}},
		{"--retry is 0 or more, not -1", []string{file, "--unsigned", "--retry=-1"}},
	} {
		t.Run(c.want, func(t *testing.T) {
			out, code := run(t, nil, append([]string{"get", "--state", t.TempDir()}, c.args...)...)
			if code != exitUsage || !strings.Contains(out, c.want) {
				t.Errorf("%d: %s", code, out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if out, code := run(t, nil, "--version"); code != 0 || !strings.HasPrefix(program(), "peerload ") ||
		out != "peerload version "+program()[len("peerload "):]+"\n" {
		t.Errorf("%d: %q", code, out)
	}
}
