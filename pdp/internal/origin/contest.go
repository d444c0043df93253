package origin

import "time"

// Contest compares what a direct download brings with what peers bring meanwhile:
// a peer ends it only by bringing as much, since whoever sends a chunk now and then
// could otherwise hold a device at its own pace. The zero value is ready; use
// Begin.
type Contest struct {
	since   time.Duration
	wasRoot bool
	origin  int // chunks since then
	peers   int
	lead    int // of the origin, as far as it is remembered
	limit   int // of what is remembered of it
	most    int // the limit, unless all counts
}

// The lead that peers must make good. A parent that serves again makes good the
// least in no time; whoever ends one download after another has to make good twice
// as much each time.
const (
	leastLead = 2
	mostLead  = 64
)

// Begin begins a comparison, of a device that was root until now or was not. All of the
// lead counts where the device downloads to find out who is quicker.
func (c *Contest) Begin(now time.Duration, wasRoot, all bool) {
	most := min(max(2*c.most, leastLead), mostLead)
	*c = Contest{since: now, wasRoot: wasRoot, limit: most, most: most}
	if all {
		c.limit = mostLead
	}
}

// Origin counts a chunk that the download brought.
func (c *Contest) Origin() {
	c.origin++
	c.lead = min(c.lead+1, c.limit)
}

// Peer counts a chunk that a peer brought, and reports whether peers have made good
// the lead.
func (c *Contest) Peer() bool {
	c.peers++
	c.lead = max(c.lead-1, 0)
	return c.lead == 0
}

// Another begins to count anew, of another root: what it brings counts from then on.
// The lead stays.
func (c *Contest) Another(now time.Duration) { c.since, c.origin, c.peers = now, 0, 0 }

// Unmatched reports whether the origin has brought a few chunks, over a while, and
// no peer a single one.
func (c *Contest) Unmatched(now time.Duration) bool {
	const chunks, while = 2, time.Second
	return c.peers == 0 && c.origin >= chunks && now-c.since >= while
}

// WasRoot reports whether this device was root when the comparison began.
func (c *Contest) WasRoot() bool { return c.wasRoot }
