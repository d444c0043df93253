package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/tftp"
)

func groupOf(model string) string { return policy.Builtin().Group(model) }

// tftpServer is our TFTP server, counting.
type tftpServer struct {
	host string
	mu   sync.Mutex
	ends map[string]tftpCount
	// sent and resent are all bytes of transfers that have ended.
	sent, resent int64
}

type tftpCount struct {
	ok, sent int64
	offsets  []int64
}

func newTFTP(t *testing.T, dir string, rate int64) *tftpServer {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 9, 0, 3)})
	if err != nil {
		t.Fatal(err)
	}
	s := &tftpServer{host: conn.LocalAddr().String(), ends: map[string]tftpCount{}}
	server := &tftp.Server{Files: tftp.Dir(root), Rate: rate, OnTransfer: func(x tftp.Transfer) {
		if !x.Ended || x.Sent == 0 {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent, s.resent = s.sent+x.Sent, s.resent+x.Resent
		c := s.ends[x.Name]
		c.ok++
		c.sent += x.Sent
		c.offsets = append(c.offsets, x.Offset)
		s.ends[x.Name] = c
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		root.Close()
	})
	return s
}

func (s *tftpServer) transfers() map[string]tftpCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]tftpCount{}
	for k, v := range s.ends {
		m[k] = v
	}
	return m
}

// killRoot runs devices against a TFTP URL and kills the root on its way.
func killRoot(t *testing.T, n int, url string, body []byte) {
	t.Helper()
	s := newSite(t)
	ds := s.start(n, url, "--sha256", shaOf(body), "--limit-rate", "2M")
	root := s.rootOf(ds)
	root.until("a third", isProgress(33))
	root.signal(syscall.SIGKILL)
	at := time.Now()
	var flows time.Duration
	for _, d := range ds {
		if d != root {
			_, heard := d.untilAfter(at, "progress", isProgress(40))
			if f := heard.Sub(at); flows == 0 || f < flows {
				flows = f
			}
		}
	}
	for _, d := range ds {
		if d != root {
			d.wait(0)
			d.holds(body)
		}
	}
	t.Logf("progress beyond 40 %% %v after the kill", flows)
}

func TestTFTPRootKilled(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(14, 4*mib)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "app.bin"), string(body))
	var srv *tftpServer
	t.Cleanup(func() { // the server has ended, and all transfers were counted
		ratio := float64(srv.sent) / float64(len(body))
		t.Logf("server bytes / size = %.3f, bound 1.15; sent again %d", ratio, srv.resent)
		if ratio < 1 || ratio > 1.15 {
			t.Errorf("the server sent %.3f times the file", ratio)
		}
	})
	srv = newTFTP(t, dir, 0)
	killRoot(t, 5, "tftp://"+srv.host+"/app.bin", body)
}

// TestForeignTFTPRootKilled: tftpd-hpa knows no offset: the new root starts over
// and counts what it compares as progress.
func TestForeignTFTPRootKilled(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(15, 4*mib)
	killRoot(t, 5, "tftp://"+tftpd(t, body)+"/app.bin", body)
}

// tftpd starts tftpd-hpa with app.bin.
func tftpd(t *testing.T, body []byte) (host string) {
	t.Helper()
	program := foreign.Program(t, "in.tftpd", foreign.TFTPHPA)
	if os.Geteuid() != 0 {
		t.Skip("in.tftpd changes its root directory: that needs root")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "app.bin"), string(body))
	host = fmt.Sprintf("127.9.0.4:%d", freePort(t))
	cmd := exec.Command(program, "-L", "-a", host, "-s", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	poll(t, "in.tftpd", func() bool {
		r, err := (&tftp.Client{}).Get(t.Context(), host, "none", 0)
		if err == nil {
			r.Close()
		}
		return errors.Is(err, tftp.ErrNotFound)
	})
	return host
}
