// Package nginx starts the real nginx for tests and benchmarks.
//
// What lives here: how it is found, configured, awaited and ended. What must
// not: what is asked of it.
package nginx

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Start serves the files of dir on a free port until the test ends and returns
// the server's URL. settings stand in the http block of its configuration.
// .ci/foreign.sh installs nginx: where it is missing, ok is false, and with
// PEERLOAD_FOREIGN=1 the test has failed.
func Start(tb testing.TB, dir, settings string) (base string, ok bool) {
	tb.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		if os.Getenv("PEERLOAD_FOREIGN") == "1" {
			tb.Fatal("nginx is missing: run .ci/foreign.sh")
		}
		tb.Log("nginx is missing: run .ci/foreign.sh")
		return "", false
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	home := tb.TempDir()
	conf := filepath.Join(home, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  default_type application/octet-stream; %[4]s
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s; root %[3]s; }
}
`, home, at, dir, settings)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, "-p", home, "-e", filepath.Join(home, "error.log"), "-c", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if resp, err := http.Head("http://" + at + "/"); err == nil {
			resp.Body.Close()
			return "http://" + at, true
		}
	}
	tb.Fatal("nginx does not answer")
	return "", false
}
