package pdp

import (
	"net/netip"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/wire"
)

// Action is what the machine wants done. Actions are carried out in order: what
// must be on disk before a message leaves comes before it.
type Action interface{ action() }

type (
	// Broadcast sends a datagram to the subnet.
	Broadcast struct{ Msg wire.Message }
	// Send sends a datagram to one peer.
	Send struct {
		To  netip.AddrPort
		Msg wire.Message
	}
	// Dial opens a link; Opened or Closed follows.
	Dial struct {
		Link Link
		Addr netip.AddrPort
	}
	// SendFrame sends a control frame over a link.
	SendFrame struct {
		Link  Link
		Frame wire.Frame
	}
	// SendChunk sends a chunk that is on disk over a link; Sent follows.
	SendChunk struct {
		Link  Link
		Index int
	}
	// Close closes a link after what was queued before has been sent. No Closed
	// follows.
	Close struct {
		Link   Link
		Reason wire.Reason
	}
	// Prepare connects to the origin without asking for a body.
	Prepare struct{}
	// OpenOrigin asks the origin for the body from chunk From on.
	// OriginOpened, then Stored for each chunk, then OriginEnded follow.
	OpenOrigin struct{ From int }
	// StopOrigin ends the download; no OriginEnded follows.
	StopOrigin struct{}
	// Reset drops everything stored: the content is another one.
	Reset struct {
		Epoch uint64
		Size  int64
	}
	// Drop drops stored chunks: they are wrong and will come again.
	Drop struct{ Indices []int }
	// SendTable sends the digests of all chunks over a link, in TablePart
	// frames.
	SendTable struct{ Link Link }
	// SetSize tells the store the file's size.
	SetSize struct{ Size int64 }
	// Verify reads the whole file back; Verified follows.
	Verify struct{}
	// Complete: the file is whole and right; it may be committed.
	Complete struct{}
	// Fail: the file cannot be had.
	Fail struct{ Reason wire.Reason }
	// Note explains a decision.
	Note struct {
		// Kind is one of the kinds of package report.
		Kind   string
		Reason wire.Reason
		// What was decided, a type of package internal/note. The device's words
		// for it are those of its console.
		What note.Note
		// Peer is the address that it is about, if any.
		Peer netip.AddrPort
	}
)

func (Broadcast) action()  {}
func (Send) action()       {}
func (Dial) action()       {}
func (SendFrame) action()  {}
func (SendChunk) action()  {}
func (Close) action()      {}
func (Prepare) action()    {}
func (OpenOrigin) action() {}
func (StopOrigin) action() {}
func (Reset) action()      {}
func (Drop) action()       {}
func (SendTable) action()  {}
func (SetSize) action()    {}
func (Verify) action()     {}
func (Complete) action()   {}
func (Fail) action()       {}
func (Note) action()       {}
