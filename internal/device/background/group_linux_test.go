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

// narrow makes two namespaces and between them a line of 20 Mbit/s with a queue of
// 200 ms. It returns their names; a is 10.99.0.1, b is 10.99.0.2.
func narrow(t testing.TB) (a, b string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
	a, b = fmt.Sprintf("plbg%da", os.Getpid()), fmt.Sprintf("plbg%db", os.Getpid())
	t.Cleanup(func() {
		_ = exec.Command("ip", "netns", "del", a).Run()
		_ = exec.Command("ip", "netns", "del", b).Run()
	})
	for _, line := range [][]string{
		{"netns", "add", a}, {"netns", "add", b},
		{"-n", a, "link", "add", "x", "type", "veth", "peer", "name", "x", "netns", b},
		{"-n", a, "addr", "add", "10.99.0.1/24", "dev", "x"}, {"-n", b, "addr", "add", "10.99.0.2/24", "dev", "x"},
		{"-n", a, "link", "set", "x", "up"}, {"-n", b, "link", "set", "x", "up"},
	} {
		if out, err := exec.Command("ip", line...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", line, err, out)
		}
	}
	tbf := []string{"-n", a, "qdisc", "add", "dev", "x", "root", "tbf", "rate", "20mbit", "burst", "5kb",
		"latency", "200ms"}
	if out, err := exec.Command("tc", tbf...).CombinedOutput(); err != nil {
		t.Skipf("no token bucket: %v: %s", err, out)
	}
	return a, b
}

// flood serves zeros to whoever connects.
func flood(t testing.TB, ns string) (at string) {
	var ln net.Listener
	within(t, ns, func() (err error) {
		ln, err = net.Listen("tcp4", "10.99.0.1:0")
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
func connect(t testing.TB, ns, network, to string) (c net.Conn) {
	t.Helper()
	within(t, ns, func() (err error) {
		c, err = net.Dial(network, to)
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
	out := connect(t, a, "udp4", in.LocalAddr().String())
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

// BenchmarkCall has four connections download over a real line of 20 Mbit/s with the
// kernel's TCP, as the foreground and in the background, beside a call that begins
// after 5 s: how long its packets take, how many are lost, how much of the line is
// used. One round is enough: -benchtime 1x.
func BenchmarkCall(b *testing.B) {
	near, far := narrow(b)
	server := flood(b, near)
	for _, tc := range []struct {
		name      string
		downloads int
		g         *Group
	}{{"alone", 0, nil}, {"foreground", 4, nil}, {"background", 4, &Group{}}} {
		b.Run(tc.name, func(b *testing.B) {
			var took []time.Duration
			var lost int
			var used float64
			for range b.N {
				took, lost, used = beside(b, near, far, server, tc.downloads, tc.g)
			}
			b.ReportMetric(float64(took[len(took)/2])/1e6, "median-ms")
			b.ReportMetric(float64(took[len(took)*9/10])/1e6, "p90-ms")
			b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
			b.ReportMetric(float64(lost), "lost")
			b.ReportMetric(used, "used")
		})
	}
}

// beside makes a call beside downloads.
func beside(b *testing.B, near, far, server string, downloads int, g *Group) (took []time.Duration, lost int,
	used float64) {
	got := make(chan int64, downloads)
	started := time.Now()
	var conns []net.Conn
	for range downloads {
		c := connect(b, far, "tcp4", server)
		g.Join(c)
		conns = append(conns, c)
		go func() {
			n, _ := io.Copy(io.Discard, c)
			got <- n
		}()
	}
	for _, wait := range []time.Duration{5 * time.Second, 10 * time.Second} {
		ctx, done := context.WithTimeout(b.Context(), wait)
		took, lost = call(b, near, far, ctx)
		done()
	}
	for _, c := range conns {
		c.Close()
	}
	var bytes int64
	for range conns {
		bytes += <-got
	}
	return took, lost, float64(bytes) / (20e6 / 8 * time.Since(started).Seconds())
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
	if _, goesOn := g.look(now); !goesOn || clamp() != first || before == first {
		t.Errorf("the window is %d after %d, want %d", clamp(), before, first)
	}
	g.control.starting = false
	for i := range 100 { // as if somebody else filled the queue
		g.control.Step(now.Add(time.Duration(i)*time.Second/2), time.Duration(1+i)*20*time.Millisecond, leastEach)
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
