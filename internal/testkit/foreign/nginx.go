package foreign

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

// Nginx serves the files of dir on a free port until the test ends and returns
// the server's URL. settings stand in the http block of its configuration.
// Without nginx the test is skipped, as Missing does.
func Nginx(tb testing.TB, dir, settings string) (base string) {
	tb.Helper()
	program := Program(tb, "nginx")
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
			return "http://" + at
		}
	}
	tb.Fatal("nginx does not answer")
	return ""
}
