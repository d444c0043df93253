package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestRottenDisk: what an earlier run left is not what it should be.
func TestRottenDisk(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(120, 4*mib)
	for _, c := range []struct {
		name string
		rot  func(t *testing.T, out string)
	}{
		{"partial altered", func(t *testing.T, out string) { alter(t, partOf(t, out, ".part")) }},
		{"index altered", func(t *testing.T, out string) { alter(t, partOf(t, out, ".part.idx")) }},
		{"index empty", func(t *testing.T, out string) { writeFile(t, partOf(t, out, ".part.idx"), "") }},
		{"partial cut off", func(t *testing.T, out string) {
			if err := os.Truncate(partOf(t, out, ".part"), 100_000); err != nil {
				t.Fatal(err)
			}
		}},
		{"file in place altered", func(t *testing.T, out string) {
			b := append([]byte(nil), body...)
			b[len(b)/2] ^= 1
			writeFile(t, out, string(b))
		}},
		{"a directory in its place", func(t *testing.T, out string) {
			if err := os.Mkdir(out, 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"a link in its place", func(t *testing.T, out string) {
			victim := filepath.Join(filepath.Dir(out), "victim")
			writeFile(t, victim, "precious")
			if err := os.Symlink(victim, out); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if b, _ := os.ReadFile(victim); !bytes.Equal(b, body) {
					t.Errorf("what the link points to is %d bytes, and not the file", len(b))
				}
				if st, err := os.Lstat(out); err != nil || st.Mode().Type() != fs.ModeSymlink {
					t.Errorf("the link is gone: %v, %v", st, err)
				}
			})
		}},
	} {
		for _, keeper := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, a peer has the file: %v", c.name, keeper), func(t *testing.T) {
				t.Parallel()
				srv := newServer(t, body)
				srv.set(func(s *server) { s.rate = 2 * mib })
				s := newSite(t)
				a := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body))
				a.until("half", isProgress(50))
				a.signal(syscall.SIGKILL)
				<-a.ended
				c.rot(t, a.out)
				srv.set(func(s *server) { s.rate = 0 })
				if keeper {
					k := s.get(addrOf(1), srv.url(), "--sha256", shaOf(body), "--linger", "20s")
					k.done()
				}
				b := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body))
				b.wait(0)
				if st, err := os.Stat(b.out); err == nil && st.IsDir() {
					b.out = filepath.Join(b.out, "app.bin")
				}
				b.holds(body)
				t.Log(srv.ranges())
				if f := b.final(); keeper {
					t.Logf("%d bytes from the server while a peer has the file, aim 0", f.BytesFromOrigin)
				}
			})
		}
	}
}

// partOf finds the file that a run left beside its target.
func partOf(t *testing.T, out, suffix string) string {
	t.Helper()
	p := filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+suffix)
	if _, err := os.Stat(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFewDescriptors: an agent that may open hardly more files than it has open
// starts and goes on without the listeners that it cannot have, or ends with a
// clear error; with one more it has them.
func TestFewDescriptors(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	without, with := 0, 0
	for limit := 9; limit < 24; limit++ {
		dir := t.TempDir()
		args := []string{"-c", `ulimit -n "$1" && shift && exec "$@"`, "sh", fmt.Sprint(limit), peerloadPlain, "agent",
			"--mac", "02:00:00:00:00:01", "--model", "x", "--state", dir, "--address", "127.0.0.9/8",
			"--port", fmt.Sprint(freePort(t)), "--server", "http://127.0.0.1:1", "--page-address", "127.0.0.1:0",
			"--metrics-address", "127.0.0.1:0"}
		ctx, stop := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "sh", args...)
		said := &said{cmd: cmd}
		cmd.Stderr = said
		err := cmd.Run()
		stop()
		log := said.text()
		switch {
		case strings.Contains(log, "goroutine "), ctx.Err() == context.DeadlineExceeded:
			t.Fatalf("%d descriptors: %v\n%s", limit, err, log)
		case strings.Contains(log, "listener="):
			without++
		case strings.Contains(log, "not provisioned"):
			with++
		case cmd.ProcessState.ExitCode() != 5 || !strings.Contains(log, "too many open files"):
			t.Errorf("%d descriptors: %v\n%s", limit, err, log)
		}
	}
	if without == 0 || with == 0 {
		t.Errorf("%d limits leave out a listener, and %d do not", without, with)
	}
}

// said keeps what an agent logs, and stops it once it has asked for its
// provisioning file.
type said struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	b   bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Write(b)
	if bytes.Contains(s.b.Bytes(), []byte("not provisioned")) {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
	}
	return len(b), nil
}

func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
