package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// nginx starts the real one for dir, at 2 MiB a second, and returns its access
// log. .ci/foreign.sh installs it.
func nginx(t *testing.T, dir string) (base, log string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		if os.Getenv("PEERLOAD_FOREIGN") == "1" {
			t.Fatal("nginx is missing: run .ci/foreign.sh")
		}
		t.Skip("nginx is missing: run .ci/foreign.sh")
	}
	home, at := t.TempDir(), fmt.Sprintf("127.9.0.5:%d", freePort(t))
	log = filepath.Join(home, "access.log")
	conf := filepath.Join(home, "nginx.conf")
	writeFile(t, conf, fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  log_format short '$remote_addr $status $http_range $body_bytes_sent'; access_log %[4]s short; limit_rate 2m;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s; root %[3]s; }
}
`, home, at, dir, log))
	cmd := exec.Command(program, "-p", home, "-e", filepath.Join(home, "error.log"), "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	base = "http://" + at
	poll(t, 10*time.Second, "nginx", func() bool {
		resp, err := http.Head(base + "/none")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return base, log
}
