package e2e

import (
	"bufio"
	"net"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// TestRootThatLies: a confirmed root of the highest rank that holds the whole
// file, as it says, and sends wrong bytes or none.
func TestRootThatLies(t *testing.T) {
	t.Parallel()
	body := content(12, 2*mib+777)
	digest := load.DigestOf(body)
	for _, c := range []struct {
		name  string
		liar  *liar
		bound float64
	}{
		{"one wrong byte", &liar{chunk: flipped(body, 17)}, 1.2},
		{"all wrong", &liar{chunk: flipped(body, -1)}, 1.2},
		{"never stops", &liar{endless: true, chunk: flipped(body, -1)}, 1.2},
		{"no bytes", &liar{}, 1.2},
		{"no welcome", &liar{mute: true}, 1.2},
		{"wrong size", &liar{size: 3 * mib, chunk: flipped(content(99, 3*mib), -1)}, 1.2},
		{"right bytes", &liar{chunk: flipped(body, 1<<30)}, 0.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, body)
			srv.set(func(s *server) { s.rate = 4 * mib })
			s := newSite(t)
			if c.liar.size == 0 {
				c.liar.size = int64(len(body))
			}
			newLiar(t, s, "127.6.6.6", digest, "", c.liar)
			ds := s.start(4, srv.url(), "--sha256", digest.String())
			var last time.Duration
			for _, d := range ds {
				d.wait(60*time.Second, 0)
				d.holds(body)
				last = max(last, d.took)
			}
			if c.liar.children.Load() == 0 {
				t.Error("nobody believed the liar: the test shows nothing")
			}
			t.Logf("4 devices done after %v; %d links to the liar, %d chunks from it", last, c.liar.children.Load(), c.liar.chunks.Load())
			srv.once(c.bound)
		})
	}
}

// TestChildrenThatHoldSlots: connections that say hello, or nothing, and then
// read nothing, must not keep the devices from their places.
func TestChildrenThatHoldSlots(t *testing.T) {
	t.Parallel()
	body := content(13, 4*mib)
	digest := load.DigestOf(body)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	ds := s.start(1, srv.url(), "--sha256", digest.String())
	root := s.rootOf(ds, 5*time.Second)
	e, _ := root.until(time.Second, "listening", func(e report.Event) bool { return e.Event == report.KindListening })
	h := wire.HierarchyOf("", digest[:])
	for i := range 8 {
		c, err := net.Dial("tcp4", e.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			hello := wire.Hello{Hierarchy: h, From: wire.Peer{ID: uint64(100 + i), Nonce: 1}, TCPPort: 1}
			if _, err := c.Write(wire.AppendFrame(nil, &hello)); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				// The answer tells that it has a slot; then it reads no more.
				f, err := wire.ReadFrame(bufio.NewReaderSize(c, 16), func(n int) []byte { return make([]byte, n) })
				if _, ok := f.(*wire.Welcome); err != nil || !ok {
					t.Fatalf("the first child got %T, %v", f, err)
				}
			}
		}
	}
	for i := 1; i < 5; i++ {
		ds = append(ds, s.get(addrOf(i), srv.url(), "--sha256", digest.String()))
	}
	for _, d := range ds {
		d.wait(40*time.Second, 0)
		d.holds(body)
	}
	for _, d := range ds {
		t.Logf("%s: %.2f s, process %v", d.addr, d.final().ElapsedS, d.took)
	}
	srv.once(1.60)
}
