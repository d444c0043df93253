package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/device/proxy"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestProxy: the proxy shares what a rule lets it, says what it has done, and ends at
// the first signal.
func TestProxy(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	text := strings.Repeat("a file ", 10_000)
	url, _ := fileServer(t, text)
	state := t.TempDir()
	c := command(nil, "proxy", "--listen", "127.0.0.1:0", "--state", state, "--address", "127.88.0.1/8", "--port",
		freeUDP(t), "--keep", "10M", "--rule", "http://127.0.0.1*/** unsigned", "--no-sync")
	errs, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	at := listening(t, errs)
	resp, err := http.Get("http://" + at + "/" + strings.Replace(url, "://", "/", 1))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	out, code := run(t, nil, "proxy", "status", "--listen", at)
	for _, want := range []string{"70 kB shared", "1 copy with 70 kB of at most 10.49 MB; 1 file", "unsigned-by-rule"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d, no %q in %s", code, want, out)
		}
	}
	out, _ = run(t, []string{"LANG=ja_JP.UTF-8"}, "proxy", "status", "--listen", at)
	if !strings.Contains(out, "共有 70 kB") {
		t.Errorf("in Japanese: %s", out)
	}
	var s proxy.Status
	out, code = run(t, nil, "proxy", "status", "--listen", at, "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || s.BytesShared != int64(len(text)) {
		t.Errorf("%d, %v: %s", code, err, out)
	}
	if out, code := run(t, nil, "explain", "--state", state); code != 0 || !strings.Contains(out, "unsigned-by-rule") {
		t.Errorf("explain: %d, %s", code, out)
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	rest, _ := io.ReadAll(errs)
	if err := c.Wait(); err != nil && !strings.Contains(err.Error(), "130") {
		t.Errorf("it ends with %v: %s", err, rest)
	}
	out, code = run(t, nil, "proxy", "status", "--listen", at)
	if code != exitUsage || !strings.Contains(out, "no proxy answers") {
		t.Errorf("without a proxy: %d, %s", code, out)
	}
}

// listening reads where a proxy listens.
func listening(t *testing.T, errs io.Reader) string {
	t.Helper()
	var said bytes.Buffer
	line := regexp.MustCompile(`proxy on http://(\S+)\n`)
	b := make([]byte, 4096)
	for {
		n, err := errs.Read(b)
		said.Write(b[:n])
		if m := line.FindSubmatch(said.Bytes()); m != nil {
			return string(m[1])
		}
		if err != nil {
			t.Fatalf("it does not listen: %s", said.Bytes())
		}
	}
}

// TestProxyRefused: each mistake is named, with what to do.
func TestProxyRefused(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for args, want := range map[string]string{
		"--listen 0.0.0.0:4052": "name the networks", "--listen x": "no address", "--rule x": "is no rule",
		"--keep none": "such as 500M", "--allow x": "is no network", "--cacert /nonexistent": "--cacert",
		"--address x": "--address", "--listen " + l.Addr().String(): "address already in use", "stats": "choose status",
	} {
		out, code := run(t, nil, append([]string{"proxy", "--state", t.TempDir()}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(out, want) {
			t.Errorf("%s: %d, %s", args, code, out)
		}
	}
}
