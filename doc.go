// Package peerload fetches firmware through the peers of the subnet: it is what
// another Go program imports, such as a device's own updater.
//
// Fetch downloads a file, several, or a whole signed load. Of all devices that
// ask for the same content at about the same time, one, the root, downloads it
// from the server, and the others get it from each other while it arrives. If
// peers fail, the device downloads from the server itself. A file gets its
// final name only when it is verified. Fetch may serve peers for up to a minute
// after the files are in place: see Request.Linger.
//
//	digest, err := load.ParseDigest("9f86d081…")
//	…
//	finals, err := peerload.Fetch(ctx, peerload.Request{
//		URLs:   []string{"http://10.0.0.5/fw/app.bin"},
//		Proof:  peerload.SHA256(digest),
//		Output: "/var/lib/app/app.bin",
//		State:  "/var/lib/app/peerload",
//	})
//	switch {
//	case errors.Is(err, peerload.ErrServer), errors.Is(err, peerload.ErrNoNetwork):
//		// Try again later: it continues where it stood. Some reasons do not
//		// go away by waiting, such as origin-not-found: see Event.Reason.
//	case err != nil:
//		return err
//	}
//
// The Proof says which bytes are right: SHA256 for one file, Trust for a signed
// load, Unsigned to accept whatever the network sends. The command `peerload
// get` is this package with flags.
//
// These packages are public too: report (the events and the final report), load
// (manifests, digests, chunks), trust (signed metadata), tftp (client and
// server), client (the controller's API), and pdp with its subpackages (the
// protocol, for drivers of your own). Packages below internal are not public
// and may change without notice.
//
// What lives here: what a program asks for. What must not: flags, terminals, exit
// statuses, and how it is done, which is in internal/device/fetch, and the path
// itself, beside that. Read request.go.
package peerload
