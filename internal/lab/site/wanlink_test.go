package site

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/tiers"
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

// A queue that is set holds as much, and says how long a packet waits.
func TestLaneQueue(t *testing.T) {
	cfg := LinkConfig{Rate: 2 * units.Mbit, RTT: 40 * time.Millisecond, Queue: 200 * time.Millisecond}
	l := newLane(cfg, 1)
	taken := 0
	for range 100 {
		if _, ok := l.admit(0, 1000); ok {
			taken++
		}
	}
	if want := 50000 / 1014; taken != want || !cfg.Long() {
		t.Errorf("%d packets taken at once, want %d", taken, want)
	}
	if w := l.waits(0); w < 195*time.Millisecond || w > 200*time.Millisecond {
		t.Errorf("the last waits %v, want 200 ms", w)
	}
	if w := l.waits(time.Second); w != 0 {
		t.Errorf("%v after all have left", w)
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
	if err := good.Validate(); err != nil || !good.Long() {
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
		if change(&c); c.Validate() == nil {
			t.Errorf("not refused: %+v", c)
		}
	}
}

// longSite builds a site of two devices behind a long link.
func longSite(t testing.TB, cfg NamespaceConfig) *Namespaces {
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
// came. It ends when all have come, or none within the limit.
func echo(t testing.TB, site *Namespaces, n int, gap, limit time.Duration) []time.Duration {
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
		if err := device.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := device.ReadFrom(b); err != nil {
			break
		}
		trips = append(trips, steadyClock()-time.Duration(binary.BigEndian.Uint64(b[4:])))
	}
	return trips
}

// TestLongLinkRTT: all datagrams come back through a link without loss, none
// before its round trip. BenchmarkLongLinkRTT tells how much later they come.
func TestLongLinkRTT(t *testing.T) {
	tiers.Long(t, "it waits for a long link")
	if !inside.Run(t) {
		return
	}
	const rtt = 60 * time.Millisecond
	site := longSite(t, NamespaceConfig{WAN: 20 * units.Mbit, RTT: rtt})
	trips := echo(t, site, 40, 10*time.Millisecond, time.Minute)
	if len(trips) != 40 {
		t.Errorf("%d of 40 came back", len(trips))
	}
	for _, d := range trips {
		if d < rtt {
			t.Errorf("a round trip of %v through a link of %v", d, rtt)
		}
	}
}

// TestLongLinkLoss counts real datagrams: the link loses the part of them that
// it is to lose, and what it lost has not come back.
func TestLongLinkLoss(t *testing.T) {
	tiers.Long(t, "it sends 2000 packets, one a millisecond")
	if !inside.Run(t) {
		return
	}
	const n, loss = 2000, 0.05
	site := longSite(t, NamespaceConfig{WAN: 20 * units.Mbit, RTT: 10 * time.Millisecond, Loss: loss})
	came := uint64(len(echo(t, site, n, time.Millisecond, time.Second)))
	up, down := site.long.up.total(), site.long.down.total()
	t.Logf("%d of %d came back; up %+v, down %+v", came, n, up, down)
	if up.Packets < n/2 { // a machine that does other work may lose some before the link
		t.Fatalf("the link carried %d of %d packets", up.Packets, n)
	}
	for way, c := range map[string]laneCount{"up": up, "down": down} {
		if want := float64(c.Packets) * loss; math.Abs(float64(c.Lost)-want) > 5*math.Sqrt(want) {
			t.Errorf("%s: the link counts %d of %d lost, want about %.0f", way, c.Lost, c.Packets, want)
		}
	}
	if came == 0 || came > down.Packets-down.Lost {
		t.Errorf("%d came back, the link passed %d", came, down.Packets-down.Lost)
	}
}
