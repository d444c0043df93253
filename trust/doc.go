// Package trust says which loads to believe, by The Update Framework (TUF
// specification 1.0, through go-tuf). The Client is the device's side: from a
// pinned root it verifies metadata and manifests, and remembers what it has
// accepted so that nothing older is accepted later, also after a restart. The
// Repository is the publisher's side: it signs loads and lays them out as
// plain files for any TFTP or HTTP server. A Bundle carries what one device
// took from the origin to the others of its subnet, each of which verifies it
// for itself.
//
// What must not be here: sockets and protocols (a Fetcher brings the bytes),
// the decision what to install, anything of the controller.
//
// A published tree:
//
//	BASE/NAME.load                       newest manifest under the name people use
//	BASE/components/SHA256.NAME          components, and manifests as SHA256.NAME.load
//	BASE/metadata/N.root.json            every root, so that old devices can follow
//	BASE/metadata/root.json              newest root under the name people look for
//	BASE/metadata/N.targets.json         the latest versions; older ones are removed
//	BASE/metadata/N.snapshot.json        likewise
//	BASE/metadata/timestamp.json         the one file that changes in place
//
// This is a repository with consistent snapshots: every file but the timestamp
// has its version or digest in its name and never changes, so a device that
// reads while a publisher writes sees one state or the other and never a
// mixture, and for a TFTP server these are names like any other. A foreign TUF
// client finds its targets under BASE/components.
package trust
