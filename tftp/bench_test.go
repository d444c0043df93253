package tftp

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// serveDir starts a server for dir on a free port and returns its address.
func serveDir(t testing.TB, dir string, s *Server) string {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Files = Dir(root)
	return serve(t, s)
}

// tally sums what a server has sent. It is complete once the server has ended.
type tally struct {
	mu           sync.Mutex
	sent, resent int64
}

// add is a Server's OnTransfer.
func (y *tally) add(x Transfer) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.sent += x.Sent
	y.resent += x.Resent
}

// serve starts s on a free port; it ends with the test.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, pc) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return pc.LocalAddr().String()
}

// BenchmarkGet measures a transfer over loopback with blocks of 1428 bytes.
func BenchmarkGet(b *testing.B) {
	const size = 32 << 20
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, size), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, window := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			server := serveDir(b, dir, &Server{})
			c := Client{WindowSize: window}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Get(context.Background(), server, "f", 0)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := r.WriteTo(io.Discard); n != size || err != nil {
					b.Fatal(n, err)
				}
				r.Close()
			}
		})
	}
}
