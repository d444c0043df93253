package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/peerload/peerload/internal/testkit/parallel"
	"github.com/peerload/peerload/internal/testkit/programs"
)

// Binaries under test, built once: with the race detector where the test has
// it, and without it for what measures memory.
var peerload, peerloadPlain string

func TestMain(m *testing.M) {
	parallel.Tests(16) // they wait more than they work
	// The programs are run as people run them: what memory they take is looked at.
	if err := os.Unsetenv("GOGC"); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		return m.Run() // all of these tests are long, and need no binary then
	}
	dir, err := os.MkdirTemp("", "peerload-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		peerloadPlain, err = build(filepath.Join(dir, "peerload"))
		if peerload = peerloadPlain; err == nil && raceEnabled {
			peerload, err = build(filepath.Join(dir, "peerload-race"), "-race")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// sources has the go command notice other programs, once.
var sources = sync.OnceValue(func() error { return programs.Sources("peerload", "peerload-server") })

// build builds the device's program.
func build(out string, flags ...string) (string, error) {
	return out, programs.Into(out, []string{"peerload"}, flags...)
}

// Peer ports below those that the system gives to outgoing connections.
const firstPort, ports = 18000, 12000

var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(ports)) }

// freePort returns a port that nobody uses, another one at each call.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 100 {
		p := firstPort + uint16(nextPort.Add(1)%ports)
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(p)})
		if err != nil {
			continue
		}
		l.Close()
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 255, 255, 255), Port: int(p)})
		if err != nil {
			continue
		}
		u.Close()
		return p
	}
	t.Fatal("no free port")
	return 0
}
