package peernet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/netsuite"
	"github.com/peerload/peerload/pdp/wire"
)

// TestConformance holds the sockets to what every Net does.
func TestConformance(t *testing.T) {
	netsuite.Run(t, func(t *testing.T, test func(*testing.T, *netsuite.Subnet)) { test(t, loopback(t)) })
}

// loopback is a part of 127/8 and a port that no other test run is likely to
// use.
func loopback(t *testing.T) *netsuite.Subnet {
	a, b := byte(1+rand.IntN(254)), byte(rand.IntN(256))
	port := uint16(20000 + rand.IntN(10000))
	t.Logf("on 127.%d.%d.0, port %d", a, b, port)
	return &netsuite.Subnet{
		Join: func(t *testing.T, i int) peernet.Net {
			s, err := peernet.Listen(peernet.Config{
				Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, a, b, byte(i)}), 8),
				Port:    port,
			})
			must(t, err)
			if w := s.Warnings(); len(w) > 0 {
				t.Errorf("warnings: %q", w)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		Kill: func(n peernet.Net, links ...net.Conn) {
			_ = n.Close()
			for _, c := range links {
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sockopt is an option that a socket should have.
type sockopt struct {
	level, name, value int
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(netsuite.Limit); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", netsuite.Limit, what)
		}
	}
}

// option reads one option of a socket.
func option(t *testing.T, c syscall.Conn, level, name int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	var v int
	var oerr error
	must(t, raw.Control(func(fd uintptr) { v, oerr = unix.GetsockoptInt(int(fd), level, name) }))
	must(t, oerr)
	return v
}

func TestSocketOptions(t *testing.T) {
	w := loopback(t)
	a, b := netsuite.Serve(t, w.Join(t, 1)), netsuite.Serve(t, w.Join(t, 2))
	c, d := netsuite.Connect(t, a, b)
	s := a.Net.(*peernet.Sockets)
	tos := sockopt{unix.IPPROTO_IP, unix.IP_TOS, peernet.LowerEffort << 2}
	link := []sockopt{
		tos,
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 5000},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 2},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
	}
	for _, x := range []struct {
		name string
		conn syscall.Conn
		opts []sockopt
	}{
		{"unicast", s.Unicast(), []sockopt{tos, {unix.SOL_SOCKET, unix.SO_BROADCAST, 1},
			{unix.SOL_SOCKET, unix.SO_REUSEADDR, 0}}},
		{"broadcast", s.HearsBroadcasts(), []sockopt{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}}},
		{"dialled", c.(*net.TCPConn), link},
		{"accepted", d.(*net.TCPConn), link},
	} {
		for _, o := range x.opts {
			if have := option(t, x.conn, o.level, o.name); have != o.value {
				t.Errorf("%s socket: option %d of level %d is %d, want %d", x.name, o.name, o.level, have, o.value)
			}
		}
	}
	if n := option(t, s.HearsBroadcasts(), unix.SOL_SOCKET, unix.SO_RCVBUF); n < 200<<10 {
		t.Errorf("a receive buffer of %d bytes", n)
	}
}

func TestOversizedDatagram(t *testing.T) {
	a := netsuite.Serve(t, loopback(t).Join(t, 1))
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(a.Addr()))
	must(t, err)
	defer c.Close()
	_, err = c.Write(make([]byte, wire.MaxDatagram+1))
	must(t, err)
	_, err = c.Write([]byte("short"))
	must(t, err)
	a.Expect(t, c.LocalAddr().(*net.UDPAddr).AddrPort(), "short")
	if s := a.Net.(*peernet.Sockets).Stats(); s.Oversized != 1 || s.Received != 1 || s.ReceivedBytes != 5 {
		t.Errorf("counted %+v", s)
	}
}

func TestStats(t *testing.T) {
	w := loopback(t)
	a, b := netsuite.Serve(t, w.Join(t, 1)), netsuite.Serve(t, w.Join(t, 2))
	must(t, a.Broadcast([]byte("12")))
	b.Expect(t, a.Addr(), "12")
	must(t, a.Send(b.Addr(), []byte("345")))
	b.Expect(t, a.Addr(), "345")
	netsuite.Connect(t, a, b)
	have := a.Net.(*peernet.Sockets)
	eventually(t, "the own broadcast comes back", func() bool { return have.Stats().Own == 1 })
	if s, want := have.Stats(), (peernet.Stats{Sent: 2, SentBytes: 5, Broadcasts: 1, Dialled: 1, Own: 1}); s != want {
		t.Errorf("the sender counted %+v, want %+v", s, want)
	}
	if s, want := b.Net.(*peernet.Sockets).Stats(),
		(peernet.Stats{Received: 2, ReceivedBytes: 5, Accepted: 1}); s != want {
		t.Errorf("the receiver counted %+v, want %+v", s, want)
	}
}

// TestWildcard is the way taken where the kernel binds no broadcast address:
// one that no IPv4 socket can be bound to stands for it.
func TestWildcard(t *testing.T) {
	w := loopback(t)
	normal := w.Join(t, 1).(*peernet.Sockets)
	must(t, normal.Close())
	open := func() *netsuite.Device {
		s, err := peernet.OpenWildcard(normal)
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		if len(s.Warnings()) > 0 {
			t.Errorf("warnings: %q", s.Warnings())
		}
		if at := s.HearsBroadcasts().LocalAddr().(*net.UDPAddr).IP; !at.IsUnspecified() {
			t.Errorf("hears broadcasts at %v", at)
		}
		return netsuite.Serve(t, s)
	}
	a1, a2 := open(), open()
	if a1.Addr() == a2.Addr() || a1.Addr() != normal.Addr() {
		t.Fatalf("two processes at %v and %v", a1.Addr(), a2.Addr())
	}
	b := netsuite.Serve(t, w.Join(t, 2))
	must(t, b.Broadcast([]byte("all")))
	a1.Expect(t, b.Addr(), "all")
	a2.Expect(t, b.Addr(), "all")
	must(t, b.Send(a1.Addr(), []byte("first")))
	must(t, b.Send(a2.Addr(), []byte("second")))
	a1.Expect(t, b.Addr(), "first")
	a2.Expect(t, b.Addr(), "second")
}

// TestBroadcastsTaken: a program that keeps the broadcasts to itself leaves a device that
// still works by unicast, with a warning.
func TestBroadcastsTaken(t *testing.T) {
	w := loopback(t)
	probe := w.Join(t, 1).(*peernet.Sockets)
	must(t, probe.Close())
	foreign, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(probe.Config().Port)})
	must(t, err)
	defer foreign.Close()
	s, err := peernet.Listen(probe.Config())
	must(t, err)
	defer s.Close()
	if len(s.Warnings()) != 1 || !strings.Contains(s.Warnings()[0], "cannot be heard") {
		t.Errorf("warnings: %q", s.Warnings())
	}
	a := netsuite.Serve(t, s)
	must(t, a.Send(probe.Addr(), []byte("x")))
	from := make([]byte, 10)
	must(t, foreign.SetReadDeadline(time.Now().Add(netsuite.Limit)))
	n, at, err := foreign.ReadFromUDPAddrPort(from)
	must(t, err)
	if string(from[:n]) != "x" || at.Port() != a.Addr().Port() {
		t.Errorf("%q came from %v", from[:n], at)
	}
	netsuite.Connect(t, a, a)
}

// TestAcceptOutOfFiles: a full table of open files delays links, no more.
func TestAcceptOutOfFiles(t *testing.T) {
	a := netsuite.Serve(t, loopback(t).Join(t, 1))
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(client)
	free, err := os.Open(os.DevNull)
	must(t, err)
	var was, now unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	now = was
	now.Cur = uint64(free.Fd())
	must(t, free.Close())
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) }
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &now))
	defer restore()
	err = unix.Connect(client, &unix.SockaddrInet4{Port: int(a.TCPPort()), Addr: a.Addr().Addr().As4()})
	must(t, err)
	eventually(t, "accept fails", func() bool { return a.Net.(*peernet.Sockets).Stats().AcceptErrors > 0 })
	restore()
	_ = netsuite.Receive(t, "the link", a.Links).Close()
}

// namespaceEnv marks the run of this test program inside a namespace.
const namespaceEnv = "PEERNET_TEST_NAMESPACE"

// TestNamespace runs itself in a network namespace of its own, where it may
// set up an interface with an address of its choice.
func TestNamespace(t *testing.T) {
	if os.Getenv(namespaceEnv) != "" {
		inNamespace(t)
		return
	}
	foreign.Program(t, "ip")
	self, err := os.Executable()
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*netsuite.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestNamespace$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) ||
		errors.Is(err, syscall.EINVAL) {
		t.Skip("no namespaces here:", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func inNamespace(t *testing.T) {
	for _, line := range []string{
		"link set lo up",
		"addr add 10.77.1.1/24 dev lo",
		"addr add 10.77.1.2/24 dev lo",
		"addr add 10.88.0.1/32 dev lo",
		"addr add 10.99.0.1/24 brd 10.99.0.200 dev lo",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	listen := func(t *testing.T, address string) *peernet.Sockets {
		s, err := peernet.Listen(peernet.Config{Address: netip.MustParsePrefix(address)})
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	t.Run("broadcast on a real prefix", func(t *testing.T) {
		a, b := netsuite.Serve(t, listen(t, "10.77.1.1/24")), netsuite.Serve(t, listen(t, "10.77.1.2/24"))
		if want := netip.MustParseAddrPort("10.77.1.1:4051"); a.Addr() != want || a.TCPPort() != wire.Port {
			t.Errorf("at %v and TCP %d, want %v", a.Addr(), a.TCPPort(), want)
		}
		must(t, a.Broadcast([]byte("x")))
		b.Expect(t, a.Addr(), "x")
	})
	t.Run("off-link senders are dropped", func(t *testing.T) {
		s := listen(t, "10.77.1.1/24")
		a := netsuite.Serve(t, s)
		from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
		c, err := net.DialUDP("udp4", from, net.UDPAddrFromAddrPort(a.Addr()))
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte("from outside"))
		must(t, err)
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.IP}, Timeout: netsuite.Limit}
		l, err := d.Dial("tcp4", netip.AddrPortFrom(a.Addr().Addr(), a.TCPPort()).String())
		must(t, err)
		defer l.Close()
		must(t, l.SetDeadline(time.Now().Add(netsuite.Limit)))
		if _, err := l.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("an off-link client's link ended with %v", err)
		}
		eventually(t, "both are counted", func() bool { return s.Stats().OffLink == 2 })
		if st := s.Stats(); st.Received != 0 || st.Accepted != 0 || len(a.Datagrams) != 0 || len(a.Links) != 0 {
			t.Errorf("counted %+v", st)
		}
	})
	t.Run("broadcast address of the interface", func(t *testing.T) {
		if s := listen(t, "10.99.0.1/24"); s.BroadcastAddr() != netip.MustParseAddr("10.99.0.200") {
			t.Errorf("broadcasts to %v", s.BroadcastAddr())
		}
	})
	t.Run("no broadcast address", func(t *testing.T) {
		s := listen(t, "10.88.0.1/32")
		if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "no broadcast address") {
			t.Errorf("warnings: %q", w)
		}
		must(t, s.Broadcast([]byte("nobody")))
	})
	t.Run("another prefix warns", func(t *testing.T) {
		if w := listen(t, "10.77.1.1/16").Warnings(); len(w) != 1 || !strings.Contains(w[0], "10.77.1.0/24 is used") {
			t.Errorf("warnings: %q", w)
		}
	})
	t.Run("nothing to choose", func(t *testing.T) {
		if _, err := peernet.Listen(peernet.Config{}); !errors.Is(err, peernet.ErrNoAddress) {
			t.Errorf("with loopback alone: %v", err)
		}
	})
}
