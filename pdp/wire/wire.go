// Package wire is the Peer Distribution Protocol as bytes: its messages, their
// limits and the reason codes they carry. docs/PROTOCOL.md describes the same
// in prose.
//
// Import it to speak the protocol, to decode what was captured, or to read the
// reasons that reports give: Marshal and Unmarshal are for datagrams,
// AppendFrame and ReadFrame for the frames of a link. Input that exceeds the
// limits is refused.
//
// What lives here: message types, their encoding and decoding, hierarchy and
// peer identities. What must not: sockets, timers, and any decision about what
// a message means.
//
// A datagram (UDP, broadcast or unicast, at most MaxDatagram bytes, integers
// big-endian) is a header, one body, and extensions:
//
//	 0  4  magic 50 44 50 F5
//	 4  1  version (1)
//	 5  1  type
//	 6  2  flags, none defined: sent 0, ignored
//	 8 16  hierarchy
//	24  8  device id of the sender
//	32  4  boot nonce of the sender
//	36  2  TCP port of the sender
//	38  2  length of the body
//	40     body
//	       extensions: type u16, length u16, value; to the end
//
// A body that is longer than this version knows is read as far as it is known.
// Extension 1 is reserved for a message authentication code over all that
// stands before it. Unknown extensions are skipped.
//
// A stream (TCP, from child to parent) is a sequence of frames:
//
//	0  4  length of what follows
//	4  1  type
//	5     body
//
// The first frame of a child is Hello, which opens with magic and version too.
package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Limits of the protocol.
const (
	// Port is the UDP port of all broadcasts and the preferred TCP port
	// (docs/ORIGINAL.md, "What it does").
	Port = 4051
	// MaxDatagram is the largest datagram that is sent or read, in bytes.
	MaxDatagram = 1200
	// MaxFrame is the largest body of a control frame, in bytes, without the
	// type. The body of a Chunk frame may have ChunkHeader and a chunk.
	MaxFrame = 64 << 10
	// ChunkHeader is the length of a chunk frame's body before the bytes.
	ChunkHeader = 5
	// MaxPath is the longest path from the root that a link may carry. A tree
	// of 2^20 devices is 20 deep; a longer path is a faulty chain.
	MaxPath = 64
	// MaxChildren is the number of children of a device per tree.
	MaxChildren = 2
	// MaxStripes is the number of trees that a file may take.
	MaxStripes = 2
	// MaxTablePart is the most digests that one table frame carries.
	MaxTablePart = 1024

	version      = 1
	headerLength = 40
)

var magic = [4]byte{0x50, 0x44, 0x50, 0xF5}

// Errors of decoding. A datagram that fails with ErrForeign belongs to another
// system and is ignored silently; ErrMalformed is counted.
var (
	ErrForeign   = errors.New("not a Peerload message")
	ErrMalformed = errors.New("malformed message")
)

// Hierarchy names the tree of one file in one model group on one subnet.
type Hierarchy [16]byte

// HierarchyOf returns the hierarchy of a file. Group is the model group, empty
// for metadata, which belongs to no model; key identifies the content: a digest
// or, for content without one, what was asked for.
func HierarchyOf(group string, key []byte) Hierarchy {
	h := sha256.New()
	h.Write([]byte("peerload hierarchy 1\x00"))
	h.Write([]byte(group))
	h.Write([]byte{0})
	h.Write(key)
	var id Hierarchy
	copy(id[:], h.Sum(nil))
	return id
}

// String returns the first 8 hexadecimal digits, as the console shows them.
func (h Hierarchy) String() string { return hex.EncodeToString(h[:4]) }

// Peer is one running device: its id and a nonce drawn at its start. Two
// devices that carry one id are two peers.
type Peer struct {
	ID    uint64
	Nonce uint32
}

// IsZero reports whether the peer is nobody.
func (p Peer) IsZero() bool { return p == Peer{} }

// String returns the id as 16 hexadecimal digits and the nonce's last two.
func (p Peer) String() string {
	if p.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%016x.%02x", p.ID, byte(p.Nonce))
}

// Less orders peers by id, then nonce: the last tie-break of an election.
func (p Peer) Less(q Peer) bool {
	if p.ID != q.ID {
		return p.ID < q.ID
	}
	return p.Nonce < q.Nonce
}

// Envelope is the header of a datagram: for which hierarchy, from whom.
type Envelope struct {
	Hierarchy Hierarchy
	From      Peer
	// TCPPort is where the sender takes children; 0 if it takes none.
	TCPPort uint16
}

// Marshal returns the datagram of m. It never exceeds MaxDatagram.
func Marshal(e Envelope, m Message) []byte {
	w := writer{b: make([]byte, 0, 128)}
	w.bytes(magic[:])
	w.u8(version)
	w.u8(uint8(m.kind()))
	w.u16(0)
	w.bytes(e.Hierarchy[:])
	w.peer(e.From)
	w.u16(e.TCPPort)
	w.u16(0)
	m.put(&w)
	n := len(w.b) - headerLength
	w.b[38], w.b[39] = byte(n>>8), byte(n)
	return w.b
}

// Unmarshal reads a datagram. A type that this version does not know gives a
// nil Message and no error: the sender is newer.
func Unmarshal(b []byte) (Envelope, Message, error) {
	var e Envelope
	if len(b) < headerLength || [4]byte(b[:4]) != magic || b[4] != version {
		return e, nil, ErrForeign
	}
	if len(b) > MaxDatagram {
		return e, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), MaxDatagram)
	}
	r := reader{b: b[8:headerLength]}
	r.read(e.Hierarchy[:])
	e.From = r.peer()
	e.TCPPort = r.u16()
	n := int(r.u16())
	if headerLength+n > len(b) {
		return e, nil, fmt.Errorf("%w: body of %d bytes in %d", ErrMalformed, n, len(b))
	}
	if e.From.IsZero() {
		return e, nil, fmt.Errorf("%w: no sender", ErrMalformed)
	}
	m := datagramOf(kind(b[5]))
	if m == nil {
		return e, nil, nil
	}
	body := reader{b: b[headerLength : headerLength+n]}
	if err := m.get(&body); err != nil {
		return e, nil, err
	}
	return e, m, skipExtensions(b[headerLength+n:])
}

// skipExtensions walks the extensions so that a torn one is refused.
func skipExtensions(b []byte) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return fmt.Errorf("%w: torn extension", ErrMalformed)
		}
		n := 4 + int(b[2])<<8 + int(b[3])
		if n > len(b) {
			return fmt.Errorf("%w: extension of %d bytes in %d", ErrMalformed, n, len(b))
		}
		b = b[n:]
	}
	return nil
}
