// Package note lists what the machine of a hierarchy tells of its decisions:
// each with what belongs to it, and none with words.
//
// What lives here: the types of notes. What must not: texts, which package
// wording makes of them, and what every note has beside it: its kind, its reason,
// its file. Read Note first.
package note

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
)

// Note is one of the types below.
type Note interface{ note() }

// Notes of the election.
type (
	// Claims: nobody was heard, and this device claims.
	Claims struct{}
	// State: the election has come to another state, in which this device
	// neither claims nor follows nor is root.
	State struct{ State election.State }
	// SentClaim: a claim was broadcast, or an answer to another one.
	SentClaim struct {
		Answer, Confirmed bool
		// Map and Strength are those of the claim.
		Map, Strength uint32
	}
	// Confirmed: this device's claim is confirmed.
	Confirmed struct{}
	// IsRoot: this device, at Addr, is the root.
	IsRoot struct{ Addr netip.Addr }
	// Follows: this device follows a root, whose claim has Strength and Prefix.
	Follows struct {
		Root     netip.Addr
		Strength uint32
		Prefix   int
	}
	// SteppedDown: the root has resigned.
	SteppedDown struct{ Root netip.Addr }
	// Distrusts: a root failed, and is not believed for a time.
	Distrusts struct {
		Root netip.Addr
		For  time.Duration
	}
	// HandsOverFaster: this root leaves the file to a device whose port is
	// faster. Own and Other are rates in kilobytes (1,000 bytes) a second.
	HandsOverFaster struct{ Own, Other float64 }
	// HandsOverSlow: this root leaves the file to the others, for which it is too
	// slow.
	HandsOverSlow struct{}
	// Yields: this device serves others only where nobody else can, or again as all do.
	Yields struct{ On bool }
	// HandsOverYielding: this root leaves the file to one that yields to nothing.
	HandsOverYielding struct{}
	// SharesID: another device carries this device's id.
	SharesID struct{ ID uint64 }
	// TwoShareID: two devices carry one id.
	TwoShareID struct {
		A, B netip.AddrPort
		ID   uint64
	}
)

// Notes of the tree.
type (
	// HasParent: a parent has taken this device.
	HasParent struct{ Parent netip.Addr }
	// LeftParent: a parent was left, or has left.
	LeftParent struct{ Parent wire.Peer }
	// Children: the children have changed. Parent and Slots are links, -1 for
	// none; Full says that no slot is free.
	Children struct {
		Parent int
		Slots  []int
		Full   bool
	}
	// TwoTrees: the file takes two trees.
	TwoTrees struct{}
	// NoChildren: this device is slow and takes no children.
	NoChildren struct{}
	// WrongChunk: a parent sent a chunk that fails its digest.
	WrongChunk struct {
		Parent netip.Addr
		Index  int
	}
)

// Notes of the origin.
type (
	// AsksFirst: this root asks the origin, after its wait for children.
	AsksFirst struct{}
	// Asks: this root asks the origin from a chunk on.
	Asks struct{ Chunk int }
	// FromOrigin: the origin sends from a chunk on.
	FromOrigin struct{ Chunk int }
	// ToOrigin: this device goes to the origin within the subnet's budget.
	ToOrigin struct{}
	// AsksOnce: the origin has failed, as this device (Tried) or its peers have
	// seen, and is asked once.
	AsksOnce struct{ Tried bool }
	// OriginFailed: the origin failed and is left alone for a time.
	OriginFailed struct{ For time.Duration }
	// NextServer: a server failed, and another of those that may have the file
	// is asked. The driver tells it.
	NextServer struct{ URL string }
	// SizeNotServed: the origin does not have the size that a peer told.
	SizeNotServed struct{ Size int64 }
	// FalseSize: the origin's body has another size than was told, which is not
	// known if the body goes on after that.
	FalseSize struct{ Told, Size int64 }
)

// Notes of the content.
type (
	// Verified: the whole file is right; it has Size bytes.
	Verified struct{ Size int64 }
	// WrongFile: the whole file has the wrong digest.
	WrongFile struct{}
	// RootDiffers: the root has other bytes than the origin sent to this device.
	RootDiffers struct{ Root netip.Addr }
	// RootAgrees: the root has the same bytes, which are wrong.
	RootAgrees struct{ Root netip.Addr }
	// Altered: chunks were altered on their way.
	Altered struct{ Count, First int }
	// OtherContent: the root has another content under the name.
	OtherContent struct{}
	// OtherSize: the root tells another size than is held.
	OtherSize struct{ Told, Held int64 }
)

func (Claims) note()            {}
func (State) note()             {}
func (SentClaim) note()         {}
func (Confirmed) note()         {}
func (IsRoot) note()            {}
func (Follows) note()           {}
func (SteppedDown) note()       {}
func (Distrusts) note()         {}
func (HandsOverFaster) note()   {}
func (HandsOverSlow) note()     {}
func (Yields) note()            {}
func (HandsOverYielding) note() {}
func (SharesID) note()          {}
func (TwoShareID) note()        {}
func (HasParent) note()         {}
func (LeftParent) note()        {}
func (Children) note()          {}
func (TwoTrees) note()          {}
func (NoChildren) note()        {}
func (WrongChunk) note()        {}
func (AsksFirst) note()         {}
func (Asks) note()              {}
func (FromOrigin) note()        {}
func (ToOrigin) note()          {}
func (AsksOnce) note()          {}
func (OriginFailed) note()      {}
func (NextServer) note()        {}
func (SizeNotServed) note()     {}
func (FalseSize) note()         {}
func (Verified) note()          {}
func (WrongFile) note()         {}
func (RootDiffers) note()       {}
func (RootAgrees) note()        {}
func (Altered) note()           {}
func (OtherContent) note()      {}
func (OtherSize) note()         {}
