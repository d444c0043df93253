// Package trust says which loads to believe, by The Update Framework (TUF
// specification 1.0, through go-tuf). A [Client] begins with a pinned root,
// verifies metadata and manifests that a [Fetcher] brings, and remembers what
// it has accepted, so that nothing older is accepted later, also after a
// restart. A [Bundle] carries what one device took from the origin to the
// others of its subnet, each of which verifies it for itself. There is a
// separate error for each way in which a tree can be wrong.
//
// What must not be here: sockets and protocols, the decision what to install,
// and signing, which peerload-server does.
//
// Read client.go first, then workflow.go (the steps of the specification),
// bundle.go, errors.go.
//
// A published tree:
//
//	BASE/NAME.load                       newest manifest under the name people use
//	BASE/components/SHA256.NAME          components, and manifests as SHA256.NAME.load
//	BASE/metadata/N.root.json            every root, so that old devices can follow
//	BASE/metadata/root.json              newest root under the name people look for
//	BASE/metadata/N.targets.json         the latest versions; older ones are removed
//	BASE/metadata/N.snapshot.json        likewise
//	BASE/metadata/timestamp.json         what changes when anything does
//
// This is a repository with consistent snapshots: a file whose name has a version
// or a digest never changes. Of the others a device that follows them reads the
// timestamp alone, which is replaced as a whole. So a device that reads while a
// publisher writes sees either the old state or the new one, never a mixture. To
// a TFTP server these are ordinary names. A foreign TUF client finds its targets
// under BASE/components.
package trust
