package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/testkit/nginx"
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

// startNginx starts the real one for dir, at 2 MiB a second, and returns its access
// log.
func startNginx(t *testing.T, dir string) (base, log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "access.log")
	base, ok := nginx.Start(t, dir, "log_format short '$remote_addr $status $http_range $body_bytes_sent'; access_log "+log+" short; limit_rate 2m;")
	if !ok {
		t.Skip("without nginx")
	}
	return base, log
}
