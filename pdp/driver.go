package pdp

import (
	"net/netip"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// Link names a connection to a parent (negative, numbered by the machine when
// it dials) or to a child (positive, numbered by the driver when it accepts).
type Link = transfer.Link

// Event is what a driver tells the machine. A nil Event means that a deadline
// has come.
type Event interface{ event() }

type (
	// Start begins the run. Held tells what the store found and verified.
	Start struct {
		Prefix   int
		Complete bool
		Epoch    uint64
	}
	// Datagram arrived from an on-link sender, for this hierarchy.
	Datagram struct {
		From netip.AddrPort
		Env  wire.Envelope
		Msg  wire.Message
	}
	// Accepted: a child opened a link and sent Hello.
	Accepted struct {
		Link  Link
		From  netip.AddrPort
		Hello *wire.Hello
	}
	// Opened: a link that Dial asked for is up.
	Opened struct{ Link Link }
	// Framed: a control frame came over a link.
	Framed struct {
		Link  Link
		Frame wire.Frame
	}
	// Active: bytes of a chunk are arriving over a link. A few times per second
	// are enough.
	Active struct{ Link Link }
	// Stored: chunk Index came over a link, or from the origin (Link 0),
	// passed its check and is on disk.
	Stored struct {
		Link  Link
		Index int
	}
	// Bad: chunk Index came over a link or from the origin and failed its
	// digest. Nothing was stored.
	Bad struct {
		Link  Link
		Index int
	}
	// Sent: a chunk has left for a child. Rate is how fast the link carried
	// bytes lately, in bytes per second; 0 if the driver cannot tell.
	Sent struct {
		Link Link
		Rate int64
	}
	// Closed: a link is gone, or could not be opened.
	Closed struct {
		Link   Link
		Reason wire.Reason
	}
	// OriginOpened: the origin answered. The body starts with chunk From,
	// which is not beyond the one asked for. Whole: the server is seen to send no part
	// of a file, only all of it.
	OriginOpened struct {
		Size  int64
		Epoch uint64
		From  int
		Whole bool
	}
	// OriginBytes: so many bytes have come in this download.
	OriginBytes struct{ Bytes int64 }
	// OriginEnded: the body is complete (ReasonNone) or failed. Size is the
	// file's.
	OriginEnded struct {
		Reason wire.Reason
		Size   int64
	}
	// Verified: the whole file was read back. Dropped are chunks that the
	// medium lost.
	Verified struct {
		OK      bool
		Dropped []int
	}
	// Compared: the table that came over a link in TablePart frames (which the
	// driver keeps to itself) was compared with what is held; Differ are the
	// chunks that are not the same, in order.
	Compared struct {
		Link   Link
		Differ []int
	}
	// DiskFailed: the device cannot write.
	DiskFailed struct{}
	// Gate opens or closes the way to the origin: a load's files are
	// downloaded one at a time.
	Gate struct{ Open bool }
	// Yield says that the device serves others only where nobody else can, as one
	// does in which somebody speaks, or that it is as all others again.
	Yield struct{ On bool }
	// Stop ends the run; the machine sends Bye and resigns.
	Stop struct{}
)

func (Start) event()        {}
func (Yield) event()        {}
func (Datagram) event()     {}
func (Accepted) event()     {}
func (Opened) event()       {}
func (Framed) event()       {}
func (Active) event()       {}
func (Stored) event()       {}
func (Bad) event()          {}
func (Sent) event()         {}
func (Closed) event()       {}
func (OriginOpened) event() {}
func (OriginBytes) event()  {}
func (OriginEnded) event()  {}
func (Verified) event()     {}
func (Compared) event()     {}
func (DiskFailed) event()   {}
func (Gate) event()         {}
func (Stop) event()         {}

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
