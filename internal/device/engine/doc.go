// Package engine is the loop that runs the path on a device: election,
// transfer, verify, commit, report. It drives the pure machines of pdp with
// the sockets of peernet, the files of slot and the downloads of origin.
//
// What lives here: the one loop that owns all machines, the goroutines that
// move bytes for it, and the fetching of one file or of a whole load. What
// must not: a decision about who is root, who is whose parent or what to do
// when a peer fails; those are pdp's.
//
// Read device.go (the loop), job.go (one file: actions carried out), then
// link.go, download.go and disk.go (where the bytes move), and load.go (a
// whole load: the files of one release, one after the other).
package engine
