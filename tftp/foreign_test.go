package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// run runs a client program to its end.
func run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hung)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return string(out), err
}

// daemon starts a server program that ends with the test.
func daemon(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", program, out.String())
		}
	})
}

// freePort is a port of host that nobody has now.
func freePort(t *testing.T, host string) int {
	t.Helper()
	conn, err := net.ListenPacket("udp4", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// awaitServer asks until the server answers.
func awaitServer(t *testing.T, server string) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for time.Now().Before(end) {
		_, _, err := fetch(&Client{Timeout: 50 * time.Millisecond, Retries: 1}, server, "small", 0)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	}
	t.Fatalf("%s does not answer", server)
}

// tree makes the directory that the servers serve. Some of them drop their
// rights, so everybody may read it.
func tree(t *testing.T) (dir string, files map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	files = map[string][]byte{
		"small": []byte("a small file\nof two lines\n"), "empty": {}, "even": content(512 * 4),
		"even1428": content(1428 * 16), "big": content(2_000_001), "rollover": content(65536*512 + 700),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files
}

// getAll is what our client must manage with any server.
func getAll(t *testing.T, server string, files map[string][]byte, window bool) {
	t.Helper()
	awaitServer(t, server)
	for name, want := range files {
		clients := []Client{{}, {WindowSize: 1}, {NoOptions: true}, {BlockSize: 8192, WindowSize: 4},
			{Timeout: 2 * time.Second}}
		if name == "rollover" {
			clients = []Client{{BlockSize: 512}}
		}
		for _, c := range clients {
			got, r, err := fetch(&c, server, name, 0)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %+v: %d bytes of %d, %v", name, c, len(got), len(want), err)
				continue
			}
			if !c.NoOptions && r.Size() >= 0 && r.Size() != int64(len(want)) {
				t.Errorf("%s, %+v: size %d", name, c, r.Size())
			}
			if c.WindowSize == 0 && !c.NoOptions && (r.WindowSize() == DefaultWindowSize) != window {
				t.Errorf("%s: window %d", name, r.WindowSize())
			}
		}
	}
	// No foreign server knows the offset.
	got, r, err := fetch(&Client{}, server, "big", 1000)
	if err != nil || r.Offset() != 0 || !bytes.Equal(got, files["big"]) {
		t.Errorf("offset: %d bytes, %v", len(got), err)
	}
	if got, _, err := fetch(&Client{NetASCII: true}, server, "small", 0); err != nil || !bytes.Equal(got, files["small"]) {
		t.Errorf("netascii: %q, %v", got, err)
	}
	if _, _, err := fetch(&Client{}, server, "missing", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	r, err = (&Client{}).Get(t.Context(), server, "big", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 100_000)); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestForeignServerTftpdHPA(t *testing.T) {
	tiers.Long(t, "it speaks with a program of other people")
	t.Parallel()
	program := foreign.Program(t, "in.tftpd", foreign.TFTPHPA)
	if os.Geteuid() != 0 {
		t.Skip("in.tftpd changes its root directory: that needs root")
	}
	dir, files := tree(t)
	server := fmt.Sprintf("127.0.0.61:%d", freePort(t, "127.0.0.61"))
	daemon(t, program, "-L", "-a", server, "-s", dir)
	getAll(t, server, files, false)
}

func TestForeignServerAtftpd(t *testing.T) {
	tiers.Long(t, "it speaks with a program of other people")
	t.Parallel()
	program := foreign.Program(t, "atftpd")
	dir, files := tree(t)
	port := freePort(t, "127.0.0.62")
	who := "nobody"
	if os.Geteuid() != 0 {
		who = os.Getenv("USER")
	}
	daemon(t, program, "--daemon", "--no-fork", "--user", who, "--bind-address", "127.0.0.62", "--port", fmt.Sprint(port),
		"--logfile", "-", dir)
	getAll(t, fmt.Sprintf("127.0.0.62:%d", port), files, true)
}

func TestForeignServerDnsmasq(t *testing.T) {
	tiers.Long(t, "it speaks with a program of other people")
	t.Parallel()
	program := foreign.Program(t, "dnsmasq")
	dir, files := tree(t)
	const host = "127.0.0.63" // dnsmasq serves TFTP at port 69 only
	conn, err := net.ListenPacket("udp4", host+":69")
	if err != nil {
		t.Skipf("port 69 of %s cannot be had: %v", host, err)
	}
	conn.Close()
	daemon(t, program, "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--enable-tftp", "--tftp-root="+dir,
		"--listen-address="+host, "--bind-interfaces", "--user="+os.Getenv("USER"), "--log-facility=-", "--pid-file=",
		"--tftp-mtu=1500")
	getAll(t, host, files, false)
}

// serveTree serves the tree with our server and calls get for every file but
// those in without.
func serveTree(t *testing.T, without []string, get func(host, port, name, into string) (string, error)) {
	t.Helper()
	dir, files := tree(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	var sum tally
	var total int64
	t.Cleanup(func() { // the server has ended
		// A busy machine may make a client late, but not with every block.
		if sum.sent < total || sum.resent > total {
			t.Errorf("%d bytes sent and %d sent again for %d", sum.sent, sum.resent, total)
		}
	})
	at := netip.MustParseAddrPort(serveDir(t, dir, &Server{OnTransfer: sum.add}))
	into := filepath.Join(t.TempDir(), "got")
	for name, want := range files {
		if slices.Contains(without, name) {
			continue
		}
		os.Remove(into)
		said, err := get(at.Addr().String(), fmt.Sprint(at.Port()), name, into)
		got, readErr := os.ReadFile(into)
		if err != nil || readErr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v, %v: %s", name, len(got), len(want), err, readErr, said)
		}
		total += int64(len(want))
	}
	for _, name := range []string{"missing", "out", "../../etc/passwd"} {
		os.Remove(into)
		said, _ := get(at.Addr().String(), fmt.Sprint(at.Port()), name, into)
		if got, _ := os.ReadFile(into); len(got) > 0 {
			t.Errorf("%s: %d bytes came: %s", name, len(got), said)
		}
	}
}

func TestForeignClientTftpHPA(t *testing.T) {
	tiers.Long(t, "it speaks with a program of other people")
	t.Parallel()
	program := foreign.Program(t, "tftp", foreign.TFTPHPA)
	serveTree(t, nil, func(host, port, name, into string) (string, error) {
		return run(t, program, host, port, "-m", "binary", "-c", "get", name, into)
	})
	text := []byte("one\ntwo\n\nfour\n")
	at := netip.MustParseAddrPort(serveDir(t, dirWith(t, text), &Server{}))
	into := filepath.Join(t.TempDir(), "got")
	said, err := run(t, program, at.Addr().String(), fmt.Sprint(at.Port()), "-m", "ascii", "-c", "get", "f", into)
	if got, _ := os.ReadFile(into); err != nil || !bytes.Equal(got, text) {
		t.Errorf("netascii: %q, %v: %s", got, err, said)
	}
}

func TestForeignClientAtftp(t *testing.T) {
	tiers.Long(t, "it speaks with a program of other people")
	t.Parallel()
	program := foreign.Program(t, "atftp")
	for _, options := range [][]string{
		nil, {"--option", "blksize 1428"}, {"--option", "blksize 1428", "--option", "windowsize 16",
			"--option", "tsize enable"},
		{"--option", "windowsize 4", "--option", "timeout 2"},
	} {
		serveTree(t, []string{"rollover"}, func(host, port, name, into string) (string, error) {
			return run(t, program, append(options, "-g", "-r", name, "-l", into, host, port)...)
		})
	}
}

func TestForeignClientCurl(t *testing.T) {
	tiers.Long(t, "it speaks with a program of other people")
	t.Parallel()
	program := foreign.Program(t, "curl", " tftp")
	for _, options := range [][]string{nil, {"--tftp-blksize", "1428"}, {"--tftp-no-options"}} {
		without := []string{"empty", "rollover"} // curl 7.88 fails on an empty file with any server that sends an OACK
		serveTree(t, without, func(host, port, name, into string) (string, error) {
			return run(t, program, append(options, "-sS", "-o", into, "tftp://"+net.JoinHostPort(host, port)+"/"+name)...)
		})
	}
}
