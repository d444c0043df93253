package measure

import (
	"testing"
	"time"
)

// Packets count from when they were sent: what is sent before or after the time that is
// looked at does not, and what has not come is lost.
func TestCallWay(t *testing.T) {
	const ms = time.Millisecond
	w := &callWay{zero: time.Unix(100, 0)}
	for i, took := range []time.Duration{500 * ms, 21 * ms, 22 * ms, 0, 30 * ms, 500 * ms} {
		at := time.Duration(i) * time.Second
		n := w.send(at)
		if took > 0 {
			w.came(n, at+took)
		}
	}
	w.came(99, time.Second) // of nobody
	r := w.result(w.zero.Add(time.Second), w.zero.Add(4*time.Second), 20*ms)
	if r.Packets != 4 || r.Lost != 1 || r.MedianMS != 2 || r.P99MS != 10 {
		t.Errorf("%+v, want 4 packets, 1 lost, median 2 ms, p99 10 ms", *r)
	}
}

func TestBesideRefused(t *testing.T) {
	good := Config{Devices: 1, WAN: 1e6, LAN: 1e6, Size: 1, Kind: "netns", Beside: Beside{Call: true, Downloads: 2}}
	if err := good.Validate(); err != nil || good.hosts() != 2 {
		t.Errorf("%v, %d hosts, want one more than devices", err, good.hosts())
	}
	for name, change := range map[string]func(*Config){
		"loopback":               func(c *Config) { c.Kind = "loopback" },
		"fewer than no download": func(c *Config) { c.Beside.Downloads = -1 },
		"a queue of an hour":     func(c *Config) { c.Queue = time.Hour },
	} {
		bad := good
		if change(&bad); bad.Validate() == nil {
			t.Errorf("%s is not refused", name)
		}
	}
}
