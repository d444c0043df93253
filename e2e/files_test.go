package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
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
	base = foreign.Nginx(t, dir, "log_format short '$remote_addr $status $http_range $body_bytes_sent'; access_log "+log+
		" short; limit_rate 2m;")
	return base, log
}

// TestSizes: files whose ends fall where it matters.
func TestSizes(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	for _, size := range []int{1, load.MinChunkSize - 1, load.MinChunkSize, load.MinChunkSize + 1, 3 * load.MinChunkSize} {
		for _, how := range []string{"--sha256", "--unsigned"} {
			t.Run(fmt.Sprintf("%d %s", size, how), func(t *testing.T) {
				t.Parallel()
				body := content(103, size)
				srv := newServer(t, body)
				s := newSite(t)
				srv.awaitMeeting(s, 3)
				args := []string{srv.url(), how}
				if how == "--sha256" {
					args = append(args, shaOf(body))
				}
				for _, d := range s.start(3, args...) {
					d.wait(0)
					d.holds(body)
				}
				srv.once(tiny)
			})
		}
	}
}

// TestSeveralURLs: several files into one directory.
func TestSeveralURLs(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	srv := newServer(t, nil)
	var urls []string
	bodies := map[string][]byte{}
	for i := range 5 {
		p := fmt.Sprintf("/fw/f%d.bin", i)
		bodies[filepath.Base(p)] = content(byte(110+i), 300_000+i)
		srv.set(func(s *server) { s.files[p] = bodies[filepath.Base(p)] })
		urls = append(urls, "http://"+srv.host+p)
	}
	s := newSite(t)
	srv.awaitMeeting(s, 4)
	var ds []*device
	for i := range 4 {
		ds = append(ds, s.getAs(startup{out: filepath.Join(s.dir, addrOf(i), "new") + "/"}, addrOf(i),
			append(urls, "--unsigned")...))
	}
	for _, d := range ds {
		d.wait(0)
		inDir(t, d.out, bodies)
	}
	for name, b := range bodies {
		n := srv.sentOf("/fw/" + name)
		t.Logf("%s: %d bytes from the server, size %d", name, n, len(b))
		if n > tiny*int64(len(b)) {
			t.Errorf("%s: %d bytes from the server, size %d", name, n, len(b))
		}
	}
}

// TestForeignNginx: six devices and a killed root at the real server.
func TestForeignNginx(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(107, 6*mib)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "app.bin"), string(body))
	base, log := startNginx(t, dir)
	s := newSite(t)
	ds := s.start(6, base+"/app.bin", "--sha256", shaOf(body))
	root := s.rootOf(ds)
	root.until("a third", isProgress(33))
	root.signal(syscall.SIGKILL)
	for _, d := range ds {
		if d != root {
			d.wait(0)
			d.holds(body)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("nginx: requests with their bodies' bytes\n%s", b)
}
