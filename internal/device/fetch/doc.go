// Package fetch fetches what somebody names, through the peers: what package peerload
// and the commands get and peerload-get do.
//
// What lives here: a request and whether it is valid, and how the device is put together
// for it. What must not: flags, terminals and exit statuses; the path itself, which is in
// the engine; and verifying signatures, which the caller brings with its Proof.
//
// Read request.go first, then fetch.go (what is fetched), moves.go (what happens when the
// address changes) and device.go (how the device is put together).
package fetch
