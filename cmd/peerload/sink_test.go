package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fileServer serves one file, and counts nothing.
func fileServer(t *testing.T, text string) (url, digest string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }))
	t.Cleanup(srv.Close)
	return srv.URL + "/a.bin", fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

// got runs `peerload get` of that file with standard output on its own.
func got(t *testing.T, digest, url, output, state string, adjust func(*exec.Cmd)) (stdout, stderr string, code int) {
	t.Helper()
	c := command(nil, "get", url, "--sha256", digest, "--peers", "off", "--state", state, "--retry", "0", "-o", output)
	var out, log strings.Builder
	c.Stdout, c.Stderr = &out, &log
	if adjust != nil {
		adjust(c)
	}
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), log.String(), c.ProcessState.ExitCode()
}

// TestOutputIsALink: a link stays a link, and what it points to is written, be
// it there or not.
func TestOutputIsALink(t *testing.T) {
	url, digest := fileServer(t, "firmware")
	dir := t.TempDir()
	write(t, dir+"/there", "old")
	for _, name := range []string{"there", "missing"} {
		link := filepath.Join(dir, "link-"+name)
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		_, log, code := got(t, digest, url, link, t.TempDir(), nil)
		b, _ := os.ReadFile(filepath.Join(dir, name))
		if to, err := os.Readlink(link); code != 0 || to != name || string(b) != "firmware" {
			t.Errorf("%d, the link is %q (%v), the file %q: %s", code, to, err, b, log)
		}
	}
}

// TestOutputIsNoFile: standard output by each of its names, a FIFO and a device
// get the file when it is verified, and nothing of one that is not.
func TestOutputIsNoFile(t *testing.T) {
	url, digest := fileServer(t, "firmware")
	wrong := strings.Repeat("1", 64)
	dir := t.TempDir()
	if err := os.Symlink("/proc/self/fd/1", dir+"/out"); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"-", "/dev/stdout", "/proc/self/fd/1", dir + "/out"} {
		state := t.TempDir()
		if out, log, code := got(t, wrong, url, output, state, nil); code != exitVerify || out != "" {
			t.Errorf("%s, another digest: %d, %q: %s", output, code, out, log)
		}
		out, log, code := got(t, digest, url, output, state, nil)
		if code != 0 || out != "firmware" || !strings.Contains(log, output+": 8 bytes") {
			t.Errorf("%s: %d, %q: %s", output, code, out, log)
		}
		if left, _ := filepath.Glob(state + "/output/*"); len(left) > 0 {
			t.Errorf("%s left %q", output, left)
		}
	}
	if info, err := os.Lstat(dir + "/out"); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v", err)
	}
	if _, log, code := got(t, digest, url, "/dev/null", t.TempDir(), nil); code != 0 {
		t.Errorf("/dev/null: %d: %s", code, log)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Fatalf("/dev/null is no device any more: %v", err)
	}
	fifo := dir + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		b, err := os.ReadFile(fifo)
		read <- fmt.Sprint(string(b), err)
	}()
	if _, log, code := got(t, digest, url, fifo, t.TempDir(), nil); code != 0 {
		t.Errorf("FIFO: %d: %s", code, log)
	}
	if b := <-read; b != "firmware<nil>" {
		t.Errorf("the FIFO gave %q", b)
	}
}

// TestOutputToAFileOfTheShell: what the shell opened is appended to, as it says.
func TestOutputToAFileOfTheShell(t *testing.T) {
	url, digest := fileServer(t, "firmware")
	name := filepath.Join(t.TempDir(), "log")
	write(t, name, "before ")
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, log, code := got(t, digest, url, "/dev/stdout", t.TempDir(), func(c *exec.Cmd) { c.Stdout = f })
	if b, _ := os.ReadFile(name); code != 0 || string(b) != "before firmware" {
		t.Errorf("%d, %q: %s", code, b, log)
	}
}

// TestOutputRefused: what cannot go to a sink is refused before anything is
// asked for.
func TestOutputRefused(t *testing.T) {
	const url = "http://192.0.2.1/a.bin"
	for want, args := range map[string][]string{
		"both write to standard output": {url, "--unsigned", "-o", "-", "--json"},
		"give a directory":              {url, url + "2", "--unsigned", "-o", "-"},
		"symbolic links, one after":     {url, "--unsigned", "-o", loop(t)},
	} {
		out, code := run(t, nil, append([]string{"get", "--state", t.TempDir()}, args...)...)
		if code != exitUsage || !strings.Contains(out, want) {
			t.Errorf("%d: %s, want %s", code, out, want)
		}
	}
}

// loop is a link to itself.
func loop(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(name, name); err != nil {
		t.Fatal(err)
	}
	return name
}
