package files

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// heard is a listener that remembers the congestion control of the connection that
// it accepted last.
type heard struct {
	*net.TCPListener
	last atomic.Value
}

func (h *heard) Accept() (net.Conn, error) {
	c, err := h.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	err = raw.Control(func(fd uintptr) {
		name, _ := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		h.last.Store(name)
	})
	return c, err
}

// serveOver serves a directory with one file over a listener of its own, fetches
// the file, and returns the congestion control of that connection and the log.
func serveOver(t *testing.T, congestion string) (used, logged string, err error) {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.WriteFile("f", []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	h := &heard{TCPListener: ln}
	var log strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, Config{Root: root, HTTP: h, Congestion: congestion,
			Log: slog.New(slog.NewTextHandler(&log, nil))})
		ln.Close()
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var got error
	for range 2 { // the system may have taken the first connection before Serve began
		var resp *http.Response
		if resp, got = client.Get("http://" + ln.Addr().String() + "/f"); got == nil {
			_, got = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	cancel()
	err = <-ended
	if err == nil && got != nil {
		t.Fatal(got)
	}
	used, _ = h.last.Load().(string)
	return used, log.String(), err
}

// The connections of devices have the congestion control that was named, and an
// error says what to do about one that the kernel does not have.
func TestCongestionOfConnections(t *testing.T) {
	if used, _, err := serveOver(t, "reno"); err != nil || used != "reno" {
		t.Errorf("reno was named: %q, %v", used, err)
	}
	if _, _, err := serveOver(t, "none-such"); !errors.Is(err, errCongestion) ||
		!strings.Contains(err.Error(), "net.ipv4.tcp_allowed_congestion_control") {
		t.Errorf("one that no kernel has: %v", err)
	}
	system, logged, err := serveOver(t, CongestionSystem)
	if err != nil || logged != "" {
		t.Errorf("the system's: %q, %v", logged, err)
	}
	used, logged, err := serveOver(t, "")
	if err != nil || used != preferred && used != system {
		t.Errorf("by itself: %q, the system has %q, %v", used, system, err)
	}
	if tells := strings.Contains(logged, "level=WARN"); tells != (used != preferred) {
		t.Errorf("uses %s and logs %q", used, logged)
	}
}
