package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// TestThreeRootsKilled one after the other.
func TestThreeRootsKilled(t *testing.T) {
	t.Parallel()
	body := content(100, 8*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	left := s.start(8, srv.url(), "--sha256", shaOf(body))
	for i := range 3 {
		srv.waitBytes(int64(i+1)*int64(len(body))/5, 20*time.Second)
		root := s.rootOf(left, 10*time.Second)
		root.signal(syscall.SIGKILL)
		<-root.ended
		kept := left[:0:0]
		for _, d := range left {
			if d != root {
				kept = append(kept, d)
			}
		}
		left = kept
	}
	var last float64
	for _, d := range left {
		d.wait(40*time.Second, 0)
		d.holds(body)
		last = max(last, d.final().ElapsedS)
	}
	t.Logf("last device after %.2f s, the server's pace alone takes 4 s", last)
	srv.once(nearlyOnce)
	t.Log("aim for three root kills: 1.05")
}

// TestPowerCut: all devices die at half and start again.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	body := content(101, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	ds := s.start(6, srv.url(), "--sha256", shaOf(body))
	srv.waitBytes(int64(len(body)/2), 10*time.Second)
	for _, d := range ds {
		d.signal(syscall.SIGKILL)
	}
	for _, d := range ds {
		<-d.ended
	}
	for _, d := range s.start(6, srv.url(), "--sha256", shaOf(body)) {
		d.wait(20*time.Second, 0)
		d.holds(body)
	}
	srv.once(nearlyOnce)
}

// TestRootKilledDuringALoad: the root of a component dies.
func TestRootKilledDuringALoad(t *testing.T) {
	t.Parallel()
	v := newVendor(t, nil)
	files := firmware(102)
	m := v.add("1", files)
	srv := v.serve()
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	var ds []*device
	for i := range 5 {
		ds = append(ds, s.getLoad(v.trustDir(), i, "http://"+srv.host+"/fw.load"))
	}
	var app string
	for _, c := range m.Components {
		if c.Name == "app.bin" {
			app = "/" + trust.ComponentPath(c.Digest.String(), c.Name)
		}
	}
	poll(t, 10*time.Second, "half of app.bin", func() bool { return srv.sentOf(app) > mib })
	client := srv.asked(app)[0].client
	for _, d := range ds {
		if d.addr == client {
			d.signal(syscall.SIGKILL)
		}
	}
	var total, sent int64
	for _, d := range ds {
		if d.addr != client {
			d.wait(30*time.Second, 0)
			inDir(t, d.out, files)
		}
	}
	for _, c := range m.Components {
		total += c.Size
		sent += srv.sentOf("/" + trust.ComponentPath(c.Digest.String(), c.Name))
	}
	t.Logf("server bytes / load = %.3f, bound 1.15", float64(sent)/float64(total))
	if float64(sent) > 1.15*float64(total) {
		t.Errorf("the server sent %d bytes of a load of %d", sent, total)
	}
}

// TestSizes: files whose ends fall where it matters.
func TestSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, load.MinChunkSize - 1, load.MinChunkSize, load.MinChunkSize + 1, 3 * load.MinChunkSize} {
		for _, how := range []string{"--sha256", "--unsigned"} {
			t.Run(fmt.Sprintf("%d %s", size, how), func(t *testing.T) {
				t.Parallel()
				body := content(103, size)
				srv := newServer(t, body)
				s := newSite(t)
				// A device may start when the others are done with so little.
				args := []string{srv.url(), "--linger", "3s", how}
				if how == "--sha256" {
					args = append(args, shaOf(body))
				}
				for _, d := range s.start(3, args...) {
					d.wait(20*time.Second, 0)
					d.holds(body)
				}
				srv.once(tiny)
			})
		}
	}
}

// TestSeveralURLs: several files into one directory.
func TestSeveralURLs(t *testing.T) {
	t.Parallel()
	srv := newServer(t, nil)
	var urls []string
	bodies := map[string][]byte{}
	for i := range 5 {
		p := fmt.Sprintf("/fw/f%d.bin", i)
		bodies[filepath.Base(p)] = content(byte(110+i), 300_000+i)
		srv.set(func(s *server) { s.files[p] = bodies[filepath.Base(p)] })
		urls = append(urls, "http://"+srv.host+p)
	}
	s := newSite(t)
	var ds []*device
	for i := range 4 {
		ds = append(ds, s.getAs(startup{out: filepath.Join(s.dir, addrOf(i), "new") + "/"}, addrOf(i), append(urls, "--unsigned")...))
	}
	for _, d := range ds {
		d.wait(20*time.Second, 0)
		inDir(t, d.out, bodies)
	}
	for name, b := range bodies {
		n := srv.sentOf("/fw/" + name)
		t.Logf("%s: %d bytes from the server, size %d", name, n, len(b))
		if n > tiny*int64(len(b)) {
			t.Errorf("%s: %d bytes from the server, size %d", name, n, len(b))
		}
	}
}

// TestForty devices share one download.
func TestForty(t *testing.T) {
	t.Parallel()
	if raceEnabled || testing.Short() {
		t.Skip("too many processes for this machine")
	}
	body := content(104, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	var last float64
	for _, d := range s.start(40, srv.url(), "--sha256", shaOf(body)) {
		d.wait(60*time.Second, 0)
		d.holds(body)
		last = max(last, d.final().ElapsedS)
	}
	t.Logf("last of 40 after %.2f s, the server's pace alone takes 4 s", last)
	srv.once(nearlyOnce)
}

// TestGarbage: noise, torn and lying messages at both ports change nothing.
func TestGarbage(t *testing.T) {
	t.Parallel()
	body := content(105, 4*mib)
	digest := load.DigestOf(body)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	ds := s.start(4, srv.url(), "--sha256", digest.String())
	e, _ := ds[0].until(5*time.Second, "listening", func(e report.Event) bool { return e.Event == report.KindListening })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	n, err := peernet.Listen(peernet.Config{Address: netip.MustParsePrefix("127.6.6.7/8"), Port: s.port})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- n.Serve(ctx, peernet.Handler{Datagram: func(netip.AddrPort, []byte) {}, Accept: func(c net.Conn) { c.Close() }})
	}()
	h := wire.HierarchyOf("", digest[:])
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range 400 {
		from := wire.Envelope{Hierarchy: h, From: wire.Peer{ID: rnd.Uint64() | 1, Nonce: 1}, TCPPort: uint16(rnd.Uint32())}
		messages := []wire.Message{
			&wire.Ask{Prefix: rnd.IntN(64), Free: 2}, &wire.Ask{Done: true}, &wire.Place{Depth: 1, Parent: from.From, Addr: netip.MustParseAddrPort("127.6.6.7:9")},
			&wire.Direct{Prefix: 1, Bytes: 1}, &wire.Direct{Done: true},
		}
		b := wire.Marshal(from, messages[i%len(messages)])
		switch i % 4 {
		case 1:
			b[rnd.IntN(len(b))] ^= byte(1 + rnd.IntN(255))
		case 2:
			b = b[:rnd.IntN(len(b))]
		case 3:
			for j := range b {
				b[j] = byte(rnd.Uint32())
			}
		}
		_ = n.Broadcast(b)
		if i%20 == 0 {
			if c, err := net.Dial("tcp4", e.Address); err == nil {
				hello := wire.AppendFrame(nil, &wire.Hello{Hierarchy: h, From: from.From, TCPPort: 9})
				junk := make([]byte, 200)
				for j := range junk {
					junk[j] = byte(rnd.Uint32())
				}
				_, _ = c.Write(append(hello[:rnd.IntN(len(hello)+1)], junk...))
				c.Close()
			}
		}
		<-tick.C
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	n.Close()
	for _, d := range ds {
		d.wait(30*time.Second, 0)
		d.holds(body)
	}
	// A forged Direct or Place may cost a second copy, never more.
	srv.once(2.0)
}

// TestForeignNginx: six devices and a killed root at the real server.
func TestForeignNginx(t *testing.T) {
	t.Parallel()
	body := content(107, 6*mib)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "app.bin"), string(body))
	base, log := startNginx(t, dir)
	s := newSite(t)
	ds := s.start(6, base+"/app.bin", "--sha256", shaOf(body))
	root := s.rootOf(ds, 5*time.Second)
	root.until(10*time.Second, "a third", isProgress(33))
	root.signal(syscall.SIGKILL)
	for _, d := range ds {
		if d != root {
			d.wait(30*time.Second, 0)
			d.holds(body)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("nginx: requests with their bodies' bytes\n%s", b)
}
