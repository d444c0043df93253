package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/peerload/peerload/load"
)

// writer appends big-endian fields.
type writer struct{ b []byte }

func (w *writer) u8(v uint8)     { w.b = append(w.b, v) }
func (w *writer) u16(v uint16)   { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32)   { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64)   { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) bytes(v []byte) { w.b = append(w.b, v...) }
func (w *writer) peer(p Peer)    { w.u64(p.ID); w.u32(p.Nonce) }

// addr writes an address in its 16-byte form and a port; IPv4 is mapped.
func (w *writer) addr(a netip.AddrPort) {
	if !a.Addr().IsValid() {
		w.bytes(make([]byte, 18))
		return
	}
	b := a.Addr().As16()
	w.bytes(b[:])
	w.u16(a.Port())
}

// reader takes big-endian fields; once one is missing all the rest read as
// zero and short is set.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || len(r.b) < n {
		r.short = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) read(dst []byte) { copy(dst, r.take(len(dst))) }

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// tail8 reads a field that older senders leave out: 0 if it is missing.
func (r *reader) tail8() uint8 {
	if r.short || len(r.b) == 0 {
		return 0
	}
	return r.u8()
}

// tail32 is tail8 for four bytes.
func (r *reader) tail32() uint32 {
	if r.short || len(r.b) == 0 {
		return 0
	}
	return r.u32()
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) peer() Peer { return Peer{ID: r.u64(), Nonce: r.u32()} }

func (r *reader) addr() netip.AddrPort {
	var b [16]byte
	r.read(b[:])
	port := r.u16()
	if b == [16]byte{} {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), port)
}

// size reads a file size: a count of bytes within the limits, or all ones for
// a size that is not known.
func (r *reader) size() (int64, error) {
	v := int64(r.u64())
	if err := (load.Geometry{Size: v}).Validate(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return v, nil
}

// count reads a count of bytes that is known.
func (r *reader) count() (int64, error) {
	v, err := r.size()
	if err == nil && v == load.UnknownSize {
		err = fmt.Errorf("%w: no byte count", ErrMalformed)
	}
	return v, err
}

// chunks reads a count of chunks.
func (r *reader) chunks() (int, error) {
	v := r.u32()
	if v > load.MaxChunks {
		return 0, fmt.Errorf("%w: %d chunks, at most %d", ErrMalformed, v, load.MaxChunks)
	}
	return int(v), nil
}

func (r *reader) err() error {
	if r.short {
		return fmt.Errorf("%w: too short", ErrMalformed)
	}
	return nil
}
