package site

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
)

func TestLane(t *testing.T) {
	const ms = time.Millisecond
	// 1000 bytes in frames of 1014 take 8.112 ms at 1 Mbit/s.
	l := newLane(LinkConfig{Rate: units.Mbit, RTT: 100 * ms}, 1)
	frame := units.Mbit.Time(1014)
	for i := range 3 {
		due, ok := l.admit(5*ms, 1000)
		if want := 5*ms + time.Duration(i+1)*frame + 50*ms; !ok || due != want {
			t.Errorf("packet %d: due %v, %v; want %v", i, due, ok, want)
		}
	}
	// The queue takes a round trip and 50 ms at the rate: 18,750 bytes.
	taken := 3
	for range 100 {
		if _, ok := l.admit(5*ms, 1000); ok {
			taken++
		}
	}
	if taken != 18750/1014 {
		t.Errorf("%d packets taken at once, want %d", taken, 18750/1014)
	}
	c := l.total()
	if c.Packets != uint64(taken) || c.Bytes != uint64(taken)*1014 || c.Full != uint64(103-taken) || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
	if n := l.carried(5*ms + 2*frame); n < 2*1014-2 || n > 2*1014+2 {
		t.Errorf("%d bytes carried in the time of two frames of 1014", n)
	}
	if n := l.carried(time.Second); n != c.Bytes {
		t.Errorf("%d bytes carried at last, want %d", n, c.Bytes)
	}
	if due, ok := l.admit(time.Second, 1000); !ok || due != time.Second+frame+50*ms {
		t.Errorf("after a pause: %v, %v", due, ok)
	}
}

func TestLaneJitterAndLoss(t *testing.T) {
	const n, loss = 20_000, 0.02
	cfg := LinkConfig{Rate: 100 * units.Mbit, RTT: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: loss,
		Seed: 7}
	a, b := newLane(cfg, 1), newLane(cfg, 1)
	var last time.Duration
	for i := range n {
		now := time.Duration(i) * time.Millisecond
		due, ok := a.admit(now, 500)
		if due2, ok2 := b.admit(now, 500); due != due2 || ok != ok2 {
			t.Fatalf("packet %d: two lanes of one seed differ", i)
		}
		if !ok {
			continue
		}
		if late := due - now - cfg.Rate.Time(514) - cfg.RTT/2; late < 0 || late > cfg.Jitter || due < last {
			t.Fatalf("packet %d: %v late, due %v after %v", i, late, due, last)
		}
		last = due
	}
	if lost := float64(a.total().Lost); math.Abs(lost-n*loss) > 4*math.Sqrt(n*loss) {
		t.Errorf("seed %d: %v of %d packets lost, want about %v", cfg.Seed, lost, n, n*loss)
	}
}

func TestLinkConfigValidate(t *testing.T) {
	good := LinkConfig{Rate: units.Mbit, RTT: time.Second, Jitter: time.Millisecond, Loss: 0.1}
	if err := good.validate(); err != nil || !good.Long() {
		t.Error(err)
	}
	for _, change := range []func(*LinkConfig){
		func(c *LinkConfig) { c.Rate = 0 },
		func(c *LinkConfig) { c.RTT = -1 },
		func(c *LinkConfig) { c.RTT = maxRTT + 1 },
		func(c *LinkConfig) { c.Jitter = time.Second },
		func(c *LinkConfig) { c.Loss = 0.6 },
		func(c *LinkConfig) { c.Loss = -0.1 },
	} {
		c := good
		if change(&c); c.validate() == nil {
			t.Errorf("not refused: %+v", c)
		}
	}
}

// longSite builds a site of two devices behind a long link.
func longSite(t *testing.T, cfg NamespaceConfig) *Namespaces {
	t.Helper()
	cfg.Devices, cfg.LAN = 2, 100*units.Mbit
	site, err := NewNamespaces(cfg)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

// echo sends n numbered datagrams from a device to the server, one every gap,
// has the server send them back, and returns the round trips of those that
// came.
func echo(t *testing.T, site *Namespaces, n int, gap time.Duration) []time.Duration {
	t.Helper()
	server, err := site.ListenUDP()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var device net.PacketConn
	err = site.Host(0).Run(func() error {
		device, err = net.ListenPacket("udp4", netip.AddrPortFrom(site.Host(0).Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	go func() {
		b := make([]byte, 100)
		for {
			k, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:k], from)
		}
	}()
	go func() {
		tick := time.NewTicker(gap)
		defer tick.Stop()
		for i := range n {
			<-tick.C
			b := make([]byte, 100)
			binary.BigEndian.PutUint32(b, uint32(i))
			binary.BigEndian.PutUint64(b[4:], uint64(steadyClock()))
			_, _ = device.WriteTo(b, server.LocalAddr())
		}
	}()
	var trips []time.Duration
	b := make([]byte, 100)
	for len(trips) < n {
		if err := device.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := device.ReadFrom(b); err != nil {
			break
		}
		trips = append(trips, steadyClock()-time.Duration(binary.BigEndian.Uint64(b[4:])))
	}
	return trips
}

// TestLongLinkRTT measures the round trip with real datagrams. A machine that
// does other work delays some: the median of the best of five tries counts.
func TestLongLinkRTT(t *testing.T) {
	if !inside.Run(t) {
		return
	}
	const rtt = 60 * time.Millisecond
	site := longSite(t, NamespaceConfig{WAN: 20 * units.Mbit, RTT: rtt})
	for try := 1; ; try++ {
		trips := echo(t, site, 40, 10*time.Millisecond)
		if len(trips) == 0 {
			t.Fatal("nothing came back through a link without loss")
		}
		slices.Sort(trips)
		late := trips[len(trips)/2] - rtt
		t.Logf("%d round trips from %v to %v, the median %v late", len(trips), trips[0], trips[len(trips)-1], late)
		if trips[0] < rtt {
			t.Fatalf("a round trip of %v through a link of %v", trips[0], rtt)
		}
		if late <= 2*time.Millisecond && len(trips) == 40 {
			return
		}
		if try == 5 {
			t.Fatalf("the median round trip is %v later than %v", late, rtt)
		}
	}
}

// TestLongLinkLoss counts real datagrams. A machine that does other work loses
// some on its own: the best of five tries counts, and the link's own count in
// each.
func TestLongLinkLoss(t *testing.T) {
	if !inside.Run(t) {
		return
	}
	const n, loss = 2000, 0.05
	// Both ways may lose it.
	const p = 1 - (1-loss)*(1-loss)
	site := longSite(t, NamespaceConfig{WAN: 20 * units.Mbit, RTT: 10 * time.Millisecond, Loss: loss})
	for try := 1; ; try++ {
		got := float64(n - len(echo(t, site, n, time.Millisecond)))
		up := site.long.up.total()
		t.Logf("%v of %d lost; up %+v", got, n, up)
		if want := float64(up.Packets) * loss; up.Packets == 0 || math.Abs(float64(up.Lost)-want) > 5*math.Sqrt(want) {
			t.Fatalf("the link counts %d of %d lost, want about %.0f", up.Lost, up.Packets, want)
		}
		if math.Abs(got-n*p) <= 5*math.Sqrt(n*p) {
			return
		}
		if try == 5 {
			t.Fatalf("%v of %d lost, want about %.0f", got, n, n*p)
		}
	}
}
