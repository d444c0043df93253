package trust

import "github.com/peerload/peerload/internal/durable"

// What the tests outside the package look at.
const MaxBundleEntries = maxBundleEntries

var NewBundle = newBundle

func (b *Bundle) Paths() []string { return b.paths() }

// WriteTo makes a client write to a file system.
func (c *Client) WriteTo(fs durable.FS) { c.disk = durable.Writer{FS: fs} }
