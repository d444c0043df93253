package slide

import (
	"encoding/binary"
	"time"
)

// MaxBlocks is the most that may be under way, in blocks.
const MaxBlocks = 4096

// Sizes of what follows the number of the last block in order in an ACK.
const (
	ackFixed  = 6
	ackBitmap = MaxBlocks / 8
	// delayUnit is that of the delay in an ACK.
	delayUnit = 100 * time.Microsecond
)

// Ack is what an ACK says.
type Ack struct {
	// Block is the last block before the first that is missing, as on the wire.
	Block uint16
	// Latest is the block that came last, as on the wire.
	Latest uint16
	// Twice counts the blocks that came though they were there, modulo 65536.
	Twice uint16
	// Delay is how long ago the latest block came: 0 to 6.5 s.
	Delay time.Duration
	// Held has a bit for each block from Block+2 on, the highest of a byte first: 1
	// if it is there. Block+1 is missing. It ends with the last 1, or later.
	Held []byte
	// Plain says that only Block was in the packet.
	Plain bool
}

// Append adds what follows the operation of an ACK packet.
func (a *Ack) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, a.Block)
	if a.Plain {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, a.Latest)
	b = binary.BigEndian.AppendUint16(b, a.Twice)
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(a.Delay, 0)/delayUnit, 1<<16-1)))
	return append(b, a.Held[:min(len(a.Held), ackBitmap)]...)
}

// ParseAck reads what follows the operation of an ACK packet; Held is a part of b.
// It reports false for less than a block's number.
func ParseAck(b []byte) (Ack, bool) {
	if len(b) < 2 {
		return Ack{}, false
	}
	a := Ack{Block: binary.BigEndian.Uint16(b), Plain: true}
	if b = b[2:]; len(b) < ackFixed {
		return a, true
	}
	a.Latest, a.Twice, a.Plain = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), false
	a.Delay = time.Duration(binary.BigEndian.Uint16(b[4:])) * delayUnit
	a.Held = b[ackFixed:min(len(b), ackFixed+ackBitmap)]
	return a, true
}
