package pieces

import (
	"slices"
	"testing"
	"time"
)

// TestEarly: on a long line as many pieces are asked for before the first answer as its
// handshakes show it to need; on a near or thin one, and with a limit, none.
func TestEarly(t *testing.T) {
	const ms = time.Millisecond
	none := func(int) bool { return false }
	// over is what handshakes show on a line of a rate, in bits per second.
	over := func(rate float64, trip time.Duration) Handshakes {
		return Handshakes{trip, Most - 1, time.Duration((Most - 2) * HandshakeBytes * 8 / rate * float64(time.Second))}
	}
	for _, c := range []struct {
		name        string
		cfg         Config
		h           Handshakes
		held        func(int) bool
		asks, until int
	}{
		{"20 Mbit/s", Config{Connections: Most}, over(20e6, 200*ms), none, mostEarly, 49},
		{"2 Mbit/s", Config{Connections: Most}, over(2e6, 250*ms), none, 3, 13},
		{"512 kbit/s", Config{Connections: Most}, over(512e3, 250*ms), none, 0, 0},
		{"12 kbit/s", Config{Connections: Most}, over(12e3, 300*ms), none, 0, 0},
		{"near", Config{Connections: Most}, over(20e6, earlyFrom-1), none, 0, 0},
		{"few connections", Config{Connections: 3}, over(20e6, 200*ms), none, 2, 9},
		{"one connection", Config{Connections: 1}, over(20e6, 200*ms), none, 0, 0},
		{"a limit", Config{Connections: Most, Limit: 1e9}, over(20e6, 200*ms), none, 0, 0},
		{"one handshake", Config{Connections: Most}, Handshakes{200 * ms, 1, 0}, none, 0, 0},
		{"held", Config{Connections: 3}, over(20e6, 200*ms), func(i int) bool { return i < 10 || i == 11 }, 2, 15},
		{"a small file", Config{Connections: Most, Chunks: 8}, over(20e6, 200*ms), none, 2, 8},
	} {
		c.cfg.Chunk = 64 << 10
		if c.cfg.Chunks == 0 {
			c.cfg.Chunks = 300
		}
		asks := Early(c.cfg, c.h, FirstPiece, c.held)
		if len(asks) != c.asks || c.asks > 0 && asks[len(asks)-1].End != c.until {
			t.Errorf("%s: %v", c.name, asks)
		}
		sizes, last := map[int]bool{}, FirstPiece
		for _, a := range asks {
			sizes[a.End-a.First] = true
			if a.First < last || a.End <= a.First || c.held(a.First) {
				t.Errorf("%s: %v after %d", c.name, a, last)
			}
			last = a.End
		}
		if len(asks) > 5 && len(sizes) < 3 {
			t.Errorf("%s: all end at the same time: %v", c.name, asks)
		}
	}
}

// TestCurb: what was asked for early ends where the line turns out to be thin, and goes
// on where it is not.
func TestCurb(t *testing.T) {
	const ms = time.Millisecond
	missing := make([]int, 300)
	for i := range missing {
		missing[i] = i
	}
	for _, c := range []struct {
		name string
		took time.Duration // by the first 16 KiB
		want int           // asks under way then
		most int           // chunks of the last of the early ones
	}{{"thin", 10 * time.Second, 1, 0}, {"one soon fills it", 20 * ms, 3, 1}, {"long", 8 * ms, 6, 4}} {
		trip := 200 * ms
		if c.most == 1 {
			trip = 15 * ms // they were made in vain
		}
		f := New(Config{Connections: 6, Chunk: 64 << 10, Chunks: 300})
		first := f.Begin(0, 0, 4, trip)
		var early []Ask
		for i := range 2 {
			early = append(early, f.Early(0, 4+4*i, 8+4*i, trip))
		}
		f.Bytes(0, first.ID, 1<<10)
		if c.most > 0 {
			for _, a := range early {
				f.Bytes(0, a.ID, 1<<10)
			}
		}
		f.Bytes(c.took, first.ID, 16<<10)
		if !f.Wants() {
			t.Errorf("%s: Next has nothing to do", c.name)
		}
		_, stop := f.Next(c.took, missing)
		if f.Active() != c.want || len(stop) != max(0, 3-c.want) {
			t.Errorf("%s: %d asks, ends %v", c.name, f.Active(), stop)
		}
		if p := f.find(early[1].ID); c.most > 0 && (p == nil || p.End-p.First != c.most) {
			t.Errorf("%s: the last brings %+v", c.name, p)
		}
		if f.Active() >= f.Target() && f.Wants() {
			t.Errorf("%s: Next has something to do again", c.name)
		}
		if slices.Contains(stop, first.ID) {
			t.Errorf("%s: the first ends", c.name)
		}
	}
}
