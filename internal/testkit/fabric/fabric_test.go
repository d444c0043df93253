package fabric

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/testkit/netsuite"
)

// TestConformance holds the fabric to what sockets do.
func TestConformance(t *testing.T) {
	netsuite.Run(t, func(t *testing.T, test func(*testing.T, *netsuite.Subnet)) {
		synctest.Test(t, func(t *testing.T) {
			f := New(Config{Latency: time.Millisecond})
			test(t, &netsuite.Subnet{
				Join: func(t *testing.T, i int) peernet.Net {
					n := f.Join(hostAt(i))
					t.Cleanup(func() { _ = n.Close() })
					return n
				},
				Kill: func(n peernet.Net, _ ...net.Conn) { f.Kill(n.(*Node)) },
			})
		})
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hostAt(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(i)}) }

// fabricOf is a fabric with n serving nodes.
func fabricOf(t *testing.T, cfg Config, n int) (*Fabric, []*Node, []*netsuite.Device) {
	f := New(cfg)
	var nodes []*Node
	var all []*netsuite.Device
	for i := range n {
		nodes = append(nodes, f.Join(hostAt(i+1)))
		all = append(all, netsuite.Serve(t, nodes[i]))
	}
	return f, nodes, all
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// drain lets everything on its way arrive and returns what a device got.
func drain(h *netsuite.Device) []string {
	time.Sleep(time.Minute)
	synctest.Wait()
	var texts []string
	for len(h.Datagrams) > 0 {
		texts = append(texts, (<-h.Datagrams).Text)
	}
	return texts
}

func TestDatagrams(t *testing.T) {
	inBubble(t, "latency", func(t *testing.T) {
		_, _, all := fabricOf(t, Config{Latency: 7 * time.Millisecond}, 2)
		start := time.Now()
		must(t, all[0].Broadcast([]byte("x")))
		all[1].Expect(t, all[0].Addr(), "x")
		if d := time.Since(start); d != 7*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
	inBubble(t, "rate", func(t *testing.T) {
		_, nodes, all := fabricOf(t, Config{}, 2)
		nodes[0].SetRate(1000, 0)
		start := time.Now()
		for range 3 {
			must(t, all[0].Send(all[1].Addr(), make([]byte, 1000)))
		}
		for range 3 {
			netsuite.Receive(t, "a datagram", all[1].Datagrams)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("3,000 bytes at 1,000 bytes/s took %v", d)
		}
	})
	inBubble(t, "overflow", func(t *testing.T) {
		f := New(Config{})
		a, b := f.Join(hostAt(1)), f.Join(hostAt(2))
		for range 2000 {
			must(t, a.Send(b.Addr(), make([]byte, 1000)))
		}
		if n := b.Overflow(); n == 0 || n == 2000 {
			t.Errorf("%d of 2,000 datagrams overflowed an inbox that nobody reads", n)
		}
	})
}

// faulty sends 400 numbered datagrams over a bad network and returns what
// came.
func faulty(t *testing.T, cfg Config) []string {
	_, _, all := fabricOf(t, cfg, 2)
	for i := range 400 {
		must(t, all[0].Send(all[1].Addr(), fmt.Appendf(nil, "%03d", i)))
		time.Sleep(time.Millisecond)
	}
	return drain(all[1])
}

func TestFaults(t *testing.T) {
	const seed = 11
	unique := func(s []string) int {
		s = slices.Clone(s)
		slices.Sort(s)
		return len(slices.Compact(s))
	}
	inBubble(t, "none", func(t *testing.T) {
		have := faulty(t, Config{Latency: time.Millisecond})
		if len(have) != 400 || !slices.IsSorted(have) {
			t.Errorf("a perfect network delivered %d of 400", len(have))
		}
	})
	inBubble(t, "loss", func(t *testing.T) {
		if n := len(faulty(t, Config{Loss: 0.25, Seed: seed})); n < 250 || n > 350 {
			t.Errorf("%d of 400 came through a loss of 0.25, seed %d", n, seed)
		}
	})
	inBubble(t, "duplicates", func(t *testing.T) {
		have := faulty(t, Config{Duplicate: 0.25, Seed: seed})
		if n := len(have); n < 450 || n > 550 || unique(have) != 400 {
			t.Errorf("%d came, %d of them different, of 400 with 0.25 duplicates, seed %d", n, unique(have), seed)
		}
	})
	inBubble(t, "reordering", func(t *testing.T) {
		have := faulty(t, Config{Jitter: 5 * time.Millisecond, Seed: seed})
		if len(have) != 400 || unique(have) != 400 || slices.IsSorted(have) {
			t.Errorf("%d came, in order: %v, seed %d", len(have), slices.IsSorted(have), seed)
		}
	})
	inBubble(t, "seed", func(t *testing.T) {
		cfg := Config{Loss: 0.2, Duplicate: 0.2, Jitter: 5 * time.Millisecond, Seed: seed}
		one, two := faulty(t, cfg), faulty(t, cfg)
		cfg.Seed++
		if other := faulty(t, cfg); !slices.Equal(one, two) || slices.Equal(one, other) {
			t.Errorf("one seed gave the same: %v; another the same: %v", slices.Equal(one, two), slices.Equal(one, other))
		}
	})
}

func TestLinks(t *testing.T) {
	inBubble(t, "dial takes a round trip", func(t *testing.T) {
		_, _, all := fabricOf(t, Config{Latency: 10 * time.Millisecond}, 2)
		start := time.Now()
		c, err := all[0].Dial(context.Background(), netip.AddrPortFrom(all[1].Addr().Addr(), all[1].TCPPort()))
		must(t, err)
		if took := time.Since(start); took != 20*time.Millisecond {
			t.Errorf("dial took %v", took)
		}
		_, err = c.Write([]byte("x"))
		must(t, err)
		_, err = netsuite.Receive(t, "the link", all[1].Links).Read(make([]byte, 1))
		must(t, err)
		if took := time.Since(start); took != 30*time.Millisecond {
			t.Errorf("the first byte came after %v", took)
		}
	})
	inBubble(t, "links share a port", func(t *testing.T) {
		_, nodes, all := fabricOf(t, Config{Latency: time.Millisecond}, 3)
		nodes[0].SetRate(1<<20, 0)
		start := time.Now()
		done := make(chan error, 2)
		for _, to := range all[1:] {
			c, d := netsuite.Connect(t, all[0], to)
			go func() {
				_, err := c.Write(make([]byte, 1<<20))
				must(t, err)
				_ = c.Close()
			}()
			go func() {
				n, err := io.Copy(io.Discard, d)
				if n != 1<<20 {
					err = fmt.Errorf("%d bytes, %w", n, err)
				}
				done <- err
			}()
		}
		for range 2 {
			must(t, netsuite.Receive(t, "the end of a link", done))
		}
		if took := time.Since(start); took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("2 MiB at 1 MiB/s took %v", took)
		}
	})
	inBubble(t, "nobody at the address", func(t *testing.T) {
		_, _, all := fabricOf(t, Config{}, 1)
		start := time.Now()
		_, err := all[0].Dial(context.Background(), netip.AddrPortFrom(hostAt(99), 4051))
		if !errors.Is(err, syscall.EHOSTUNREACH) || time.Since(start) != arpTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
	inBubble(t, "close with unread bytes resets", func(t *testing.T) {
		_, _, all := fabricOf(t, Config{Latency: time.Millisecond}, 2)
		c, d := netsuite.Connect(t, all[0], all[1])
		_, err := c.Write([]byte("unread"))
		must(t, err)
		time.Sleep(time.Second)
		must(t, d.Close())
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
	})
	inBubble(t, "write to a closed end", func(t *testing.T) {
		_, _, all := fabricOf(t, Config{Latency: time.Millisecond}, 2)
		c, d := netsuite.Connect(t, all[0], all[1])
		must(t, d.Close())
		if _, err := c.Write(make([]byte, 16<<20)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestKill(t *testing.T) {
	inBubble(t, "what arrived can be read", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{Latency: time.Millisecond}, 2)
		c, d := netsuite.Connect(t, all[0], all[1])
		_, err := c.Write([]byte("there"))
		must(t, err)
		time.Sleep(time.Second)
		f.Kill(nodes[0])
		have, err := io.ReadAll(d)
		if !bytes.Equal(have, []byte("there")) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read %q, %v", have, err)
		}
		if err := netsuite.Receive(t, "the end of Serve", all[0].Served); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a dead process writes: %v", err)
		}
		if len(f.links) != 1 {
			t.Errorf("%d links are kept", len(f.links))
		}
		must(t, d.Close())
		if len(f.links) != 0 {
			t.Errorf("%d links are kept after both ends are closed", len(f.links))
		}
	})
	inBubble(t, "a link that nobody accepted", func(t *testing.T) {
		f := New(Config{})
		a, b := f.Join(hostAt(1)), f.Join(hostAt(2))
		c, err := a.Dial(context.Background(), netip.AddrPortFrom(b.Addr().Addr(), b.TCPPort()))
		must(t, err)
		must(t, b.Close())
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
	})
	inBubble(t, "behind a partition", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{Latency: time.Millisecond}, 2)
		_, d := netsuite.Connect(t, all[0], all[1])
		f.Partition(nodes[:1])
		f.Kill(nodes[0])
		must(t, d.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := d.Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a reset crossed the partition: %v", err)
		}
		f.Partition()
		must(t, d.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := d.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after the partition healed: %v", err)
		}
	})
}

func TestSilence(t *testing.T) {
	inBubble(t, "links time out", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{Latency: time.Millisecond}, 3)
		c, d := netsuite.Connect(t, all[0], all[1])
		must(t, c.SetDeadline(time.Time{}))
		start := time.Now()
		f.Silence(nodes[1])
		_, err := d.Write([]byte("never arrives"))
		must(t, err)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) ||
			time.Since(start) != peernet.DefaultUserTimeout {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("write: %v", err)
		}
		start = time.Now()
		_, err = all[0].Dial(context.Background(), netip.AddrPortFrom(nodes[1].Addr().Addr(), nodes[1].TCPPort()))
		if !errors.Is(err, syscall.ETIMEDOUT) || time.Since(start) < peernet.DefaultUserTimeout {
			t.Errorf("dial: %v after %v", err, time.Since(start))
		}
	})
	inBubble(t, "no datagram passes", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{Latency: time.Millisecond}, 3)
		must(t, all[0].Broadcast([]byte("on its way")))
		f.Silence(nodes[1])
		must(t, all[0].Broadcast([]byte("to the others")))
		must(t, all[1].Broadcast([]byte("from the dead")))
		if have := drain(all[2]); !slices.Equal(have, []string{"on its way", "to the others"}) {
			t.Errorf("a device that lives heard %q", have)
		}
		if have := drain(all[1]); len(have) > 0 {
			t.Errorf("a device without power heard %q", have)
		}
	})
}

func TestPartition(t *testing.T) {
	inBubble(t, "datagrams", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{}, 4)
		f.Partition(nodes[:2])
		must(t, all[0].Broadcast([]byte("left")))
		must(t, all[2].Broadcast([]byte("right")))
		for i, want := range []string{"", "left", "", "right"} {
			if have := drain(all[i]); len(have) > 1 || want != "" && !slices.Equal(have, []string{want}) ||
				want == "" && len(have) > 0 {
				t.Errorf("device %d heard %q, want %q", i, have, want)
			}
		}
		f.Partition()
		must(t, all[0].Broadcast([]byte("all")))
		all[3].Expect(t, all[0].Addr(), "all")
	})
	inBubble(t, "a short one delays a link", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{Latency: time.Millisecond}, 2)
		c, d := netsuite.Connect(t, all[0], all[1])
		f.Partition(nodes[:1])
		_, err := c.Write([]byte("held up"))
		must(t, err)
		must(t, d.SetReadDeadline(time.Now().Add(time.Second)))
		if n, err := d.Read(make([]byte, 10)); n > 0 || err == nil {
			t.Errorf("%d bytes crossed the partition", n)
		}
		f.Partition()
		must(t, d.SetReadDeadline(time.Now().Add(time.Second)))
		buf := make([]byte, 7)
		if _, err := io.ReadFull(d, buf); err != nil || string(buf) != "held up" {
			t.Errorf("read %q, %v", buf, err)
		}
	})
	inBubble(t, "a long one breaks it", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{}, 2)
		c, d := netsuite.Connect(t, all[0], all[1])
		f.Partition(nodes[:1])
		time.Sleep(peernet.DefaultUserTimeout)
		f.Partition()
		for _, e := range []net.Conn{c, d} {
			if _, err := e.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
				t.Errorf("read: %v", err)
			}
		}
	})
}

func TestOffLinkNode(t *testing.T) {
	inBubble(t, "is dropped", func(t *testing.T) {
		f, nodes, all := fabricOf(t, Config{}, 1)
		offLink := netsuite.Serve(t, f.Join(netip.MustParseAddr("192.0.2.7")))
		must(t, offLink.Broadcast([]byte("stays where it is")))
		must(t, offLink.Send(all[0].Addr(), []byte("routed")))
		c, err := offLink.Dial(context.Background(), netip.AddrPortFrom(all[0].Addr().Addr(), all[0].TCPPort()))
		must(t, err)
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("an off-link node was given a link")
		}
		if have := drain(all[0]); len(have) > 0 || len(all[0].Links) > 0 {
			t.Errorf("an off-link node was heard: %q, %d links", have, len(all[0].Links))
		}
		if s := nodes[0].Stats(); s.OffLink != 2 || s.Received != 0 || s.Accepted != 0 {
			t.Errorf("counted %+v", s)
		}
	})
}
