package wire

import "fmt"

// Reason is why a decision was taken. The codes are in messages, reports and
// logs, so they keep their numbers and names forever.
type Reason uint8

// The reasons, grouped by subject.
const (
	ReasonNone Reason = iota

	// Why this root.
	ReasonAlone          // nobody answered the claim
	ReasonStrongest      // the strongest of several claims
	ReasonHolder         // holds the complete file
	ReasonLongestPrefix  // holds the longest verified prefix
	ReasonConfirmedFirst // was confirmed already
	ReasonRootLost       // the root is gone
	ReasonRootSilent     // the root has not been heard
	ReasonRootResigned   // the root stepped down
	ReasonHandover       // the root named this device
	ReasonOutranked      // two roots met, the other ranks higher

	// Why not this parent any more.
	ReasonParentLost     // the connection broke
	ReasonParentSilent   // no keep-alive
	ReasonParentStalled  // holds bytes that it does not send
	ReasonParentSlow     // sends far slower than the root advances
	ReasonBadChunk       // sent a chunk that fails its digest
	ReasonLoop           // this device stands in its path
	ReasonFull           // no free slot
	ReasonUnknownFile    // does not take part in this hierarchy
	ReasonWrongEpoch     // has another content under the same name
	ReasonUnreachable    // could not be dialled
	ReasonProtocol       // broke the protocol
	ReasonChildSlow      // takes no bytes
	ReasonDone           // complete, nothing more to do
	ReasonStopped        // the device stops
	ReasonNotYet         // has not the whole file yet; not sent by this version
	ReasonRootStalled    // the root does not advance
	ReasonDigestMismatch // the whole file has the wrong digest

	// Why the origin failed, as the root says when it steps down.
	ReasonOriginUnreachable
	ReasonOriginNotFound
	ReasonOriginForbidden
	ReasonOriginStalled
	ReasonOriginTruncated
	ReasonOriginTooMuch
	ReasonOriginBusy
	ReasonOriginWrong // the whole file from the origin has the wrong digest
	ReasonOriginOther
	ReasonDisk // the device cannot write

	// Why the server and not a peer.
	ReasonRootOfFile  // this device is the root
	ReasonPeersFailed // two peers failed
	ReasonNoProgress  // no byte came for too long
	ReasonPeersOff    // sharing is switched off
	ReasonCached      // held from before
	ReasonParent      // a parent sends it
	ReasonRootPlaced  // the root chose this parent
	ReasonDuplicateID // another device carries the same id

	// What a device finds of itself.
	ReasonSelfSlow  // this device is too slow for others
	ReasonHandsOver // this device is root, and leaves the file to another root
	ReasonYields    // serves others only where nobody else can

	reasonCount
)

var reasonNames = [reasonCount]string{
	ReasonNone: "none", ReasonAlone: "alone", ReasonStrongest: "strongest", ReasonHolder: "holder",
	ReasonLongestPrefix: "longest-prefix", ReasonConfirmedFirst: "confirmed-first", ReasonRootLost: "root-lost",
	ReasonRootSilent: "root-silent", ReasonRootResigned: "root-resigned", ReasonHandover: "handover",
	ReasonOutranked: "outranked", ReasonParentLost: "parent-lost", ReasonParentSilent: "parent-silent",
	ReasonParentStalled: "parent-stalled", ReasonParentSlow: "parent-slow", ReasonBadChunk: "bad-chunk",
	ReasonLoop: "loop", ReasonFull: "full", ReasonUnknownFile: "unknown-file", ReasonWrongEpoch: "wrong-epoch",
	ReasonUnreachable: "peer-unreachable", ReasonProtocol: "protocol", ReasonChildSlow: "child-slow",
	ReasonDone: "done", ReasonStopped: "stopped", ReasonNotYet: "not-yet", ReasonRootStalled: "root-stalled",
	ReasonDigestMismatch: "digest-mismatch", ReasonOriginUnreachable: "origin-unreachable",
	ReasonOriginNotFound: "origin-not-found", ReasonOriginForbidden: "origin-forbidden",
	ReasonOriginStalled: "origin-stalled", ReasonOriginTruncated: "origin-truncated",
	ReasonOriginTooMuch: "origin-too-much", ReasonOriginBusy: "origin-busy", ReasonOriginWrong: "origin-wrong",
	ReasonOriginOther: "origin-other", ReasonDisk: "disk", ReasonRootOfFile: "root-of-file",
	ReasonPeersFailed: "peers-failed", ReasonNoProgress: "no-progress", ReasonPeersOff: "peers-off",
	ReasonCached: "cached", ReasonParent: "parent", ReasonRootPlaced: "root-placed",
	ReasonDuplicateID: "duplicate-id", ReasonSelfSlow: "self-slow", ReasonHandsOver: "hands-over",
	ReasonYields: "yields",
}

// String returns the code as reports and logs show it.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// Known reports whether this version knows the reason.
func (r Reason) Known() bool { return r < reasonCount }

// Origin reports whether the reason says that the origin failed.
func (r Reason) Origin() bool { return r >= ReasonOriginUnreachable && r <= ReasonOriginOther }
