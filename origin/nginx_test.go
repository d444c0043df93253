package origin

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

// nginx starts the real one for dir on a free port. .ci/foreign.sh installs it;
// with PEERLOAD_FOREIGN=1 its absence is a failure.
func nginx(t *testing.T, dir string) (base string, ok bool) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		if os.Getenv("PEERLOAD_FOREIGN") == "1" {
			t.Fatal("nginx is missing: run .ci/foreign.sh")
		}
		t.Log("nginx is missing: run .ci/foreign.sh")
		return "", false
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	home := t.TempDir()
	conf := filepath.Join(home, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  access_log off; gzip on; gzip_types *; default_type application/octet-stream;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s; root %[3]s; }
}
`, home, at, dir)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-p", home, "-e", filepath.Join(home, "error.log"), "-c", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if resp, err := http.Get("http://" + at + "/empty"); err == nil {
			resp.Body.Close()
			return "http://" + at, true
		}
	}
	t.Fatal("nginx does not answer")
	return "", false
}
