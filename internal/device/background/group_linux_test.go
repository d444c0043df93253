package background

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// within runs f on a thread in a network namespace; what it opens stays there.
func within(t testing.TB, ns string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and ends with the goroutine
		fd, err := os.Open("/run/netns/" + ns)
		if err == nil {
			defer fd.Close()
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// narrow makes three namespaces: those of a sender, of a router with a line of so many
// Mbit/s and a queue of 200 ms, and of a receiver behind that. It returns the names of the
// first and the last, 10.98.0.1 and 10.99.0.2. A sender in the router's place would see its
// packets wait, and send no more than a few of them.
func narrow(t testing.TB, mbit int) (a, b string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
	a, b = fmt.Sprintf("plbg%da", os.Getpid()), fmt.Sprintf("plbg%db", os.Getpid())
	router := fmt.Sprintf("plbg%dr", os.Getpid())
	t.Cleanup(func() {
		for _, ns := range []string{a, router, b} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, line := range [][]string{
		{"netns", "add", a}, {"netns", "add", router}, {"netns", "add", b},
		{"-n", a, "link", "add", "x", "type", "veth", "peer", "name", "w", "netns", router},
		{"-n", router, "link", "add", "x", "type", "veth", "peer", "name", "x", "netns", b},
		{"-n", a, "addr", "add", "10.98.0.1/24", "dev", "x"}, {"-n", router, "addr", "add", "10.98.0.2/24", "dev", "w"},
		{"-n", router, "addr", "add", "10.99.0.1/24", "dev", "x"}, {"-n", b, "addr", "add", "10.99.0.2/24", "dev", "x"},
		{"-n", a, "link", "set", "x", "up"}, {"-n", router, "link", "set", "w", "up"},
		{"-n", router, "link", "set", "x", "up"}, {"-n", b, "link", "set", "x", "up"},
		{"-n", a, "route", "add", "default", "via", "10.98.0.2"},
		{"-n", b, "route", "add", "default", "via", "10.99.0.1"},
	} {
		if out, err := exec.Command("ip", line...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", line, err, out)
		}
	}
	within(t, router, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	tbf := []string{"-n", router, "qdisc", "add", "dev", "x", "root", "tbf", "rate", fmt.Sprintf("%dmbit", mbit),
		"burst", "5kb", "latency", "200ms"}
	if out, err := exec.Command("tc", tbf...).CombinedOutput(); err != nil {
		t.Skipf("no token bucket: %v: %s", err, out)
	}
	return a, b
}

// flood serves zeros to whoever connects, by CUBIC: a sender by bbr leaves the queue empty,
// and says nothing of who gives way.
func flood(t testing.TB, ns string) (at string) {
	var ln net.Listener
	within(t, ns, func() (err error) {
		cubic := func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) {
				err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
			}); e != nil {
				return e
			}
			return err
		}
		ln, err = (&net.ListenConfig{Control: cubic}).Listen(t.Context(), "tcp4", "10.98.0.1:0")
		return err
	})
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 64<<10); ; {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// connect connects from a namespace.
func connect(t testing.TB, ns, network, to string, g *Group) (c net.Conn) {
	t.Helper()
	within(t, ns, func() (err error) {
		c, err = (&net.Dialer{Control: g.Control}).Dial(network, to)
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// call sends 50 packets a second over the line, each with its time, and returns how
// long they took.
func call(t testing.TB, a, b string, ctx context.Context) (took []time.Duration, lost int) {
	t.Helper()
	var in net.PacketConn
	within(t, b, func() (err error) {
		in, err = net.ListenPacket("udp4", "10.99.0.2:0")
		return err
	})
	defer in.Close()
	out := connect(t, a, "udp4", in.LocalAddr().String(), nil)
	start, sent := time.Now(), 0
	heard := make(chan time.Duration, 1<<16)
	go func() {
		defer close(heard)
		for p := make([]byte, 200); ; {
			if _, _, err := in.ReadFrom(p); err != nil {
				return
			}
			var at int64
			for _, d := range p[:8] {
				at = at<<8 | int64(d)
			}
			heard <- time.Since(start) - time.Duration(at)
		}
	}()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			in.Close()
			for d := range heard {
				took = append(took, d)
			}
			slices.Sort(took)
			return took, sent - len(took)
		case <-tick.C:
			p, at := make([]byte, 172), int64(time.Since(start))
			for i := range 8 {
				p[i] = byte(at >> (56 - 8*i))
			}
			if _, err := out.Write(p); err == nil {
				sent++
			}
		}
	}
}

// BenchmarkCall has connections download over a real line with the kernel's TCP, as the
// foreground and in the background, beside a call that is looked at from 5 s on, and beside
// a download of somebody else by one connection: how long the call's packets take, how many
// are lost, how much of the line the downloads use. One round is enough: -benchtime 1x.
func BenchmarkCall(b *testing.B) {
	for _, mbit := range []int{2, 20} {
		b.Run(fmt.Sprintf("%d-Mbit", mbit), func(b *testing.B) {
			near, far := narrow(b, mbit)
			server := flood(b, near)
			for _, tc := range []struct {
				name            string
				ours, elsewhere int
				g               *Group
			}{
				{"alone", 0, 0, nil}, {"foreground", 4, 0, nil}, {"background", 4, 0, &Group{}},
				{"background-one", 1, 0, &Group{}}, {"elsewhere-and-background", 4, 1, &Group{}},
				{"elsewhere-and-background-one", 1, 1, &Group{}},
			} {
				b.Run(tc.name, func(b *testing.B) {
					var r besides
					for range b.N {
						r = beside(b, near, far, server, tc.ours, tc.elsewhere, tc.g)
					}
					line := float64(mbit) * 1e6 / 8 * r.lasted.Seconds()
					b.ReportMetric(float64(r.took[len(r.took)/2])/1e6, "median-ms")
					b.ReportMetric(float64(r.took[len(r.took)*99/100])/1e6, "p99-ms")
					b.ReportMetric(float64(r.lost), "lost")
					b.ReportMetric(float64(r.ours)/line, "used")
					b.ReportMetric(float64(r.elsewhere)/line, "elsewhere")
				})
			}
		})
	}
}

// besides is what came of a call beside downloads.
type besides struct {
	took            []time.Duration // of the call's packets, sorted
	lost            int
	ours, elsewhere int64 // bytes, during the call
	lasted          time.Duration
}

// beside makes a call beside downloads of g and, from 2 s on, of somebody else.
func beside(b *testing.B, near, far, server string, ours, elsewhere int, g *Group) (r besides) {
	var got [2]atomic.Int64
	var readers sync.WaitGroup
	var conns []net.Conn
	download := func(whose, n int, g *Group) {
		for range n {
			c := connect(b, far, "tcp4", server, g)
			g.Join(c)
			conns = append(conns, c)
			readers.Go(func() {
				for p := make([]byte, 64<<10); ; {
					n, err := c.Read(p)
					if got[whose].Add(int64(n)); err != nil {
						return
					}
				}
			})
		}
	}
	download(0, ours, g)
	for i, wait := range []time.Duration{2 * time.Second, 3 * time.Second, 10 * time.Second} {
		if i == 1 {
			download(1, elsewhere, nil)
		}
		before, began := [2]int64{got[0].Load(), got[1].Load()}, time.Now()
		ctx, done := context.WithTimeout(b.Context(), wait)
		r.took, r.lost = call(b, near, far, ctx)
		done()
		r.ours, r.elsewhere, r.lasted = got[0].Load()-before[0], got[1].Load()-before[1], time.Since(began)
	}
	for _, c := range conns {
		c.Close()
	}
	readers.Wait()
	return r
}

// Connections have whole packets, and together no more than they may; one for which there
// is none is closed.
func TestPart(t *testing.T) {
	const full = 1448
	for _, tc := range []struct {
		all, active int
		want        []int
	}{
		{10 * full, 1, []int{10 * full}}, {10*full + 900, 1, []int{10 * full}},
		{10 * full, 4, []int{3 * full, 3 * full, 2 * full, 2 * full}},
		{leastAll, 4, []int{full, full, closed, closed}},
		{full / 2, 1, []int{closed}},
	} {
		var got []int
		for nth := range tc.active {
			got = append(got, part(tc.all, full, tc.active, nth))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%d bytes, %d connections: %v, want %v", tc.all, tc.active, got, tc.want)
		}
	}
}

// A Group bounds the windows of its connections, and ends when they are closed.
func TestGroup(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	g := &Group{running: true} // the test looks itself
	g.Join(c)
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	clamp := func() (n int) {
		if err := raw.Control(func(fd uintptr) {
			n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP)
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before, now := clamp(), time.Now()
	if _, err := server.Write(make([]byte, 4000)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4000)); err != nil {
		t.Fatal(err)
	}
	if _, goesOn := g.look(now); !goesOn || clamp() > first || clamp() < first/2 {
		t.Errorf("the window is %d after %d, want about %d", clamp(), before, first)
	}
	g.control.starting = false
	for i := range 100 { // as if somebody else filled the queue
		g.control.Step(now.Add(time.Duration(i)*time.Second/2),
			Seen{Trip: time.Duration(1+i) * 20 * time.Millisecond, Least: leastAll})
	}
	if g.look(now.Add(time.Millisecond)); clamp() >= first {
		t.Errorf("the window is %d beside somebody else", clamp())
	}
	c.Close()
	if _, goesOn := g.look(now); goesOn || g.running {
		t.Error("it goes on without a connection")
	}
	(*Group)(nil).Join(server)
}

// A connection offers little from the start where all have little, in units that are a small
// part of a packet.
func TestPrepared(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	g := &Group{running: true, all: leastAll}
	c, err := (&net.Dialer{Control: g.Control}).Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g.Join(c)
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	offers := func() (n int) {
		if e := raw.Control(func(fd uintptr) {
			var i *unix.TCPInfo
			if i, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				n = int(i.Rcv_wnd)
			}
		}); e != nil || err != nil {
			t.Fatal(e, err)
		}
		return n
	}
	const unit = widest >> 15
	if n := offers(); n == 0 {
		t.Skip("this kernel does not say what is offered")
	} else if n > 2*leastAll+unit {
		t.Errorf("%d bytes are offered at first, want twice %d at most", n, leastAll)
	}
}

// The system smooths what grows; what falls is as it is told.
func TestSample(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		before, told time.Duration
		packets      int
		want         time.Duration
	}{
		{0, 40 * ms, 1, 40 * ms}, {60 * ms, 40 * ms, 9, 40 * ms}, {40 * ms, 50 * ms, 2, 120 * ms},
		{40 * ms, 50 * ms, 200, 50 * ms},
	} {
		m := &member{trip: tc.before}
		got := m.sample(seen{trip: tc.told, got: uint64(tc.packets * packet)})
		if d := got - tc.want; max(d, -d) > ms/10 {
			t.Errorf("%v after %v, %d packets: %v, want %v", tc.told, tc.before, tc.packets, got, tc.want)
		}
	}
}
