package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/tftp"
)

// benchSize is how much a transfer of the benchmark carries, in bytes.
const benchSize = 64 << 20

// BenchmarkServers measures one transfer at a time over loopback from our
// server, nginx, tftpd-hpa and dnsmasq, each with the same client and the same
// file. The window is what the server grants: one that knows none sends one
// block at a time, and is measured once.
func BenchmarkServers(b *testing.B) {
	dir := b.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		os.Chmod(d, 0o755) // some servers drop their rights
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, benchSize), 0o644); err != nil {
		b.Fatal(err)
	}
	base, server := benchOurs(b, dir)
	b.Run("HTTP/peerload", func(b *testing.B) { benchHTTP(b, base) })
	b.Run("HTTP/nginx", func(b *testing.B) { benchHTTP(b, foreign.Nginx(b, dir, "access_log off; sendfile on;")) })
	for _, s := range []struct {
		name  string
		start func(*testing.B) string
	}{
		{"peerload", func(*testing.B) string { return server }},
		{"tftpd-hpa", func(b *testing.B) string { return benchHPA(b, dir) }},
		{"dnsmasq", func(b *testing.B) string { return benchDnsmasq(b, dir) }},
	} {
		b.Run("TFTP/"+s.name, func(b *testing.B) {
			at := s.start(b)
			for _, window := range []int{1, 16, 64} {
				b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) { benchTFTP(b, at, window) })
			}
		})
	}
}

// benchHTTP measures downloads, each over the connection of the one before.
func benchHTTP(b *testing.B, base string) {
	b.SetBytes(benchSize)
	for b.Loop() {
		resp, err := http.Get(base + "/f")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if n != benchSize || err != nil || resp.StatusCode != 200 {
			b.Fatal(resp.Status, n, err)
		}
	}
}

func benchTFTP(b *testing.B, server string, window int) {
	c := tftp.Client{BlockSize: 1428, WindowSize: window}
	b.SetBytes(benchSize)
	for b.Loop() {
		r, err := c.Get(b.Context(), server, "f", 0)
		if err != nil {
			b.Fatal(err)
		}
		if r.WindowSize() != window {
			r.Close()
			b.Skipf("the server grants a window of %d, not %d", r.WindowSize(), window)
		}
		n, err := r.WriteTo(io.Discard)
		r.Close()
		if n != benchSize || err != nil {
			b.Fatal(n, err)
		}
	}
}

// benchOurs starts our server, as the controller has it: with metrics.
func benchOurs(b *testing.B, dir string) (base, at string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, Config{Root: root, HTTP: ln, TFTP: pc, Metrics: NewMetrics()}) }()
	b.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, root.Close()); err != nil {
			b.Error(err)
		}
	})
	return "http://" + ln.Addr().String(), pc.LocalAddr().String()
}

// benchHPA starts tftpd-hpa and returns its address.
func benchHPA(b *testing.B, dir string) string {
	program := foreign.Program(b, "in.tftpd", foreign.TFTPHPA)
	if os.Geteuid() != 0 {
		b.Skip("in.tftpd changes its root directory: that needs root")
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.64:0")
	if err != nil {
		b.Fatal(err)
	}
	at := pc.LocalAddr().String()
	pc.Close()
	benchStart(b, program, "-L", "-a", at, "-s", dir)
	benchAwaitTFTP(b, at)
	return at
}

// benchDnsmasq starts dnsmasq, which serves TFTP at port 69 only.
func benchDnsmasq(b *testing.B, dir string) string {
	program := foreign.Program(b, "dnsmasq")
	const host = "127.0.0.65"
	pc, err := net.ListenPacket("udp4", host+":69")
	if err != nil {
		b.Skipf("port 69 of %s cannot be had: %v", host, err)
	}
	pc.Close()
	benchStart(b, program, "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--enable-tftp", "--tftp-root="+
		dir, "--listen-address="+host, "--bind-interfaces", "--user="+os.Getenv("USER"),
		"--log-facility=-", "--pid-file=", "--tftp-mtu=1500")
	benchAwaitTFTP(b, host+":69")
	return host + ":69"
}

// benchStart starts a server that ends with the benchmark.
func benchStart(b *testing.B, program string, args ...string) {
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// benchAwait asks until the server answers.
func benchAwait(b *testing.B, name string, ask func() error) {
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err = ask(); err == nil {
			return
		}
	}
	b.Fatalf("%s does not answer: %v", name, err)
}

func benchAwaitTFTP(b *testing.B, at string) {
	benchAwait(b, at, func() error {
		r, err := (&tftp.Client{Timeout: 50 * time.Millisecond, Retries: 1}).Get(b.Context(), at, "f", 0)
		if err == nil {
			r.Close()
		}
		return err
	})
}
