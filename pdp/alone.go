package pdp

import "time"

// Alone is the profile of a device that does not share: it need not listen
// for anybody, and is its own root at once.
func Alone() Config {
	c := LAN()
	c.Profile = "alone"
	c.Election.Listen = time.Millisecond
	c.Election.Claims, c.Election.ClaimEvery, c.Election.Holder = 1, time.Millisecond, time.Millisecond/2
	return c
}
