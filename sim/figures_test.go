package sim

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// site is WAN 20 Mbit/s, LAN 100 Mbit/s, n devices that want a 20 MB file.
func site(seed uint64, n int) (*Sim, *Subnet, *File) {
	s := New(Config{Seed: seed, Overhead: 0.048})
	sub := s.Subnet(SubnetConfig{LAN: 100e6, WAN: 20e6, RTT: 20 * time.Millisecond, Jitter: 300 * time.Microsecond})
	f := NewFile("fw", 20_000_000)
	sub.Fill(n, f)
	return s, sub, f
}

func startAll(sub *Subnet) {
	for _, d := range sub.devices {
		d.Start()
	}
}

func claims(sub *Subnet, until time.Duration) (n int) {
	for _, b := range sub.Broadcasts {
		if _, ok := b.Msg.(*wire.Claim); ok && b.At <= until {
			n++
		}
	}
	return n
}

func TestScratch(t *testing.T) {
	for _, n := range []int{1, 2, 16, 48, 100, 1000} {
		for seed := range uint64(2) {
			s, sub, f := site(seed, n)
			if n == 2 && seed == 0 && os.Getenv("TRACE") != "" {
				s.cfg.Trace = os.Stderr
			}
			startAll(sub)
			w := time.Now()
			ok := s.RunToEnd(60 * time.Second)
			var first, last time.Duration = 1 << 60, 0
			depth := 0
			direct := 0
			for _, d := range sub.devices {
				x := d.Task(f)
				last = max(last, x.Done)
				if x.OriginAsked >= 0 {
					first = min(first, x.OriginAsked)
				}
			}
			for _, o := range sub.Opened {
				if !o.Root {
					direct++
				}
			}
			fmt.Printf("n=%d ok=%v open=%v last=%v ratio=%.3f beyond=%.3f wan=%.3f claims=%d/%d bc=%d uni=%d direct=%d depth=%d events=%d wall=%v %v\n", n, ok, first, last,
				last.Seconds()/8, last.Seconds()/8/1.048, float64(sub.Server.Bytes)/20e6, claims(sub, first), claims(sub, time.Hour), len(sub.Broadcasts), sub.Unicasts, direct, depth, s.events, time.Since(w).Round(time.Millisecond), s.CheckEnd())
		}
	}
}
