package sim

import (
	"fmt"
	"testing"
	"time"
)

// TestOutageIsSurvived: the WAN is cut in mid-transfer and comes back. Nobody
// gives up, no byte is fetched twice, and what the cut costs beyond its own
// length is bounded.
func TestOutageIsSurvived(t *testing.T) {
	for _, cut := range []time.Duration{3 * time.Second, 10 * time.Second, 20 * time.Second, 45 * time.Second} {
		for _, n := range []int{1, 16, 100} {
			t.Run(fmt.Sprintf("%v, %d devices", cut, n), func(t *testing.T) {
				c := &story{n: n, do: func(c *story) {
					c.s.At(sec(3), func() {
						c.sub.Server.Dark = true
						c.s.After(cut, func() { c.sub.Server.Dark = false; c.sub.Server.Wake() })
					})
				}, last: sec(8.6) + cut + sec(8), wan: 1.03}
				c.s, c.sub, c.f = site(uint64(n), n)
				c.play(t, uint64(n))
			})
		}
	}
}
