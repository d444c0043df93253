package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
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
	t.Parallel()
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
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
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

// withoutCalls is the variable that names system calls which fail in the command
// as they do on file systems that lack them.
const withoutCalls = "PEERLOAD_TEST_WITHOUT"

// forbid lets system calls of this process fail with EPERM, by a filter of the
// kernel (seccomp).
func forbid(names []string) {
	calls := map[string][]uint32{"link": {unix.SYS_LINKAT}, "symlink": {unix.SYS_SYMLINKAT}} // what Go calls
	const load, jumpIfEqual, answer, allow = 0x20, 0x15, 0x06, 0x7fff0000
	filter := []unix.SockFilter{{Code: load}} // the number of the call
	for _, name := range names {
		for _, nr := range calls[name] {
			filter = append(filter, unix.SockFilter{Code: jumpIfEqual, Jf: 1, K: nr},
				unix.SockFilter{Code: answer, K: 0x00050000 | uint32(unix.EPERM)})
		}
	}
	filter = append(filter, unix.SockFilter{Code: answer, K: allow})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const setFilter, allThreads = 1, 1
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		log.Fatal(err)
	}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(&prog))); e != 0 {
		log.Fatal("no seccomp here: ", e)
	}
}

// TestWithoutLinks: on a file system without hard links, as exFAT and some of
// FUSE, a file is fetched as anywhere; slots, which need symbolic links, are
// refused before anything is asked for.
func TestWithoutLinks(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	asked := atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		io.WriteString(w, "firmware")
	}))
	defer srv.Close()
	dir, env := t.TempDir(), []string{withoutCalls + "=link symlink"}
	out, code := run(t, env, "get", srv.URL+"/f", "--unsigned", "--peers", "off", "--state", dir+"/state", "-o", dir+"/f")
	if strings.Contains(out, "no seccomp here") {
		t.Skip(out)
	}
	if b, _ := os.ReadFile(dir + "/f"); code != 0 || string(b) != "firmware" {
		t.Errorf("%d: %q: %s", code, b, out)
	}
	id, err := os.ReadFile(dir + "/state/id")
	if out, code := run(t, env, "get", srv.URL+"/f", "--unsigned", "--peers", "off", "--state", dir+"/state", "-o",
		dir+"/g"); code != 0 || err != nil {
		t.Errorf("again: %d, %v: %s", code, err, out)
	}
	if again, err := os.ReadFile(dir + "/state/id"); err != nil || string(again) != string(id) || len(id) == 0 {
		t.Errorf("the id was %q and is %q, %v", id, again, err)
	}
	before := asked.Load()
	out, code = run(t, env, "get", srv.URL+"/f.load", "--trust", dir, "--slots", "--peers", "off", "--state", dir+"/state",
		"-o", dir+"/slots/")
	if code != exitDisk || !strings.Contains(out, "symbolic links") || asked.Load() != before {
		t.Errorf("slots: %d after %d requests: %s", code, asked.Load()-before, out)
	}
}

// TestReadOnlyRoot: where nothing but one directory can be written, that is
// enough.
func TestReadOnlyRoot(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("to mount needs root")
	}
	url, digest := fileServer(t, "firmware")
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := `mount --make-rprivate / && mount -t tmpfs tmpfs "$DIR" && mount -o remount,bind,ro / &&
		cd / && "$SELF" get "$URL" --sha256 "$DIGEST" --peers off --state "$DIR/state" -o "$DIR/f" &&
		cat "$DIR/f" && ! touch /read-only-probe 2>/dev/null`
	c := command([]string{"DIR=" + dir, "SELF=" + self, "URL=" + url, "DIGEST=" + digest})
	if c.Path, err = exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	c.Args = []string{"unshare", "--mount", "/bin/sh", "-c", script}
	out, err := c.CombinedOutput()
	if strings.Contains(string(out), "mount") && err != nil {
		t.Skipf("no mounts here: %v: %s", err, out)
	}
	if err != nil || !strings.HasSuffix(string(out), "firmware") {
		t.Errorf("%v: %s", err, out)
	}
}

// counted is a server of one file that counts how often it sends it.
func counted(t *testing.T, text string) (url, digest string, sent *atomic.Int64) {
	sent = &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			sent.Add(1)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/fw/app.bin", load.DigestOf([]byte(text)).String(), sent
}

// TestExec: a command gets the verified file by its path or on standard input, its exit
// status counts, and a run after a failure downloads nothing again.
func TestExec(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	url, digest, sent := counted(t, "a file")
	state := t.TempDir()
	to := filepath.Join(t.TempDir(), "copy")
	get := func(sum string, args ...string) (string, int) {
		return run(t, nil, append([]string{"get", url, "--sha256", sum, "--state", state, "--peers", "off", "--linger", "0s"},
			args...)...)
	}
	for _, command := range []string{"cp {} " + to, "tee " + to, "dd status=none if={} of=" + to} {
		out, code := get(digest, "--exec", command)
		if got, err := os.ReadFile(to); code != 0 || err != nil || string(got) != "a file" {
			t.Errorf("%s: %d, %v, %s", command, code, err, out)
		}
		if left, _ := filepath.Glob(filepath.Join(state, "output", "*")); len(left) > 0 {
			t.Errorf("%s leaves %v", command, left)
		}
		_ = os.Remove(to)
	}
	before := sent.Load()
	for range 2 {
		if out, code := get(digest, "--exec", "false"); code != exitExec || !strings.Contains(out, "false: exit status 1") {
			t.Errorf("a command that fails: %d, %s", code, out)
		}
	}
	if n := sent.Load() - before; n != 1 {
		t.Errorf("the file was sent %d times for two runs", n)
	}
	if out, code := get(load.DigestOf(nil).String(), "--exec", "tee "+to); code != exitVerify {
		t.Errorf("a wrong file: %d, %s", code, out)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("the command got a wrong file")
	}
	kept := filepath.Join(t.TempDir(), "kept")
	if out, code := get(digest, "--exec", "test -s {}", "-o", kept); code != 0 {
		t.Errorf("with an output: %d, %s", code, out)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	for command, want := range map[string]string{"": "names no command", "/nonexistent x": "--exec"} {
		if out, code := get(digest, "--exec", command); code != exitUsage || !strings.Contains(out, want) {
			t.Errorf("%q: %d, %s", command, code, out)
		}
	}
	if out, code := get(digest, "--exec", "true", "-o", "-"); code != exitUsage || !strings.Contains(out, "leave out -o") {
		t.Errorf("standard output: %d, %s", code, out)
	}
}

// TestExecShares: a device whose wrapper comes when the command of another one has
// ended long ago finds the file at that one.
func TestExecShares(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	url, digest, sent := counted(t, strings.Repeat("a file ", 20_000))
	port, done := freeUDP(t), filepath.Join(t.TempDir(), "done")
	device := func(address string) []string {
		return []string{"get", url, "--sha256", digest, "--state", t.TempDir(), "--port", port, "--address", address}
	}
	first := command(nil, append(device("127.89.0.1/8"), "--exec", "cp {} "+done)...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Process.Kill(); _ = first.Wait() }()
	until(t, "the command of the first one has run", func() bool {
		info, err := os.Stat(done)
		return err == nil && info.Size() == 140_000
	})
	out, code := run(t, nil, append(device("127.89.0.2/8"), "--exec", "test -s {}", "--linger", "0s")...)
	if code != 0 || sent.Load() != 1 || !strings.Contains(out, "140 kB from peers") {
		t.Errorf("%d, sent %d times: %s", code, sent.Load(), out)
	}
}

// TestExecByProxy: where the device's proxy runs, the command that fetches ends at once,
// and the proxy serves the file: a device whose timer differs takes it from there.
func TestExecByProxy(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	url, digest, sent := counted(t, strings.Repeat("a file ", 20_000))
	port, state := freeUDP(t), t.TempDir()
	proxy := command(nil, "proxy", "--listen", "127.0.0.1:0", "--state", state, "--port", port, "--address",
		"127.90.0.1/8")
	said, err := proxy.StderrPipe()
	if err == nil {
		err = proxy.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxy.Process.Kill(); _ = proxy.Wait() }()
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || !strings.Contains(line, "proxy on ") {
		t.Fatal(line, err)
	}
	// One after the other, and the first one's process has ended.
	out, code := run(t, nil, "get", url, "--sha256", digest, "--state", state, "--exec", "test -s {}")
	if code != 0 || !strings.Contains(out, "140 kB from") {
		t.Fatalf("%d: %s", code, out)
	}
	out, code = run(t, nil, "get", url, "--sha256", digest, "--state", t.TempDir(), "--port", port, "--address",
		"127.90.0.2/8", "--exec", "test -s {}", "--linger", "0s")
	if code != 0 || sent.Load() != 1 || !strings.Contains(out, "140 kB from peers") {
		t.Errorf("%d, sent %d times: %s", code, sent.Load(), out)
	}
}
