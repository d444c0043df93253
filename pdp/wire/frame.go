package wire

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/peerload/peerload/load"
)

// Frame is one of Hello, Welcome, Refuse, Progress, Path, Chunk, End, Report,
// TableAsk, TablePart, Bye and Carry.
type Frame interface {
	frameKind() kind
	put(*writer)
	get(*reader) error
}

const (
	kindHello     kind = 1
	kindWelcome   kind = 2
	kindRefuse    kind = 3
	kindProgress  kind = 4
	kindPath      kind = 5
	kindChunk     kind = 6
	kindEnd       kind = 7
	kindReport    kind = 8
	kindTableAsk  kind = 9
	kindTablePart kind = 10
	kindBye       kind = 11
	kindCarry     kind = 12
)

func frameOf(k kind) Frame {
	switch k {
	case kindHello:
		return new(Hello)
	case kindWelcome:
		return new(Welcome)
	case kindRefuse:
		return new(Refuse)
	case kindProgress:
		return new(Progress)
	case kindPath:
		return new(Path)
	case kindEnd:
		return new(End)
	case kindReport:
		return new(Report)
	case kindTableAsk:
		return new(TableAsk)
	case kindTablePart:
		return new(TablePart)
	case kindBye:
		return new(Bye)
	case kindCarry:
		return new(Carry)
	}
	return nil
}

// Hello opens a link: who the child is and from which chunk it wants bytes.
type Hello struct {
	Hierarchy Hierarchy
	From      Peer
	TCPPort   uint16
	Stripe    uint8
	Epoch     uint64
	// Prefix is the first chunk that the child lacks: with two trees, the
	// first of its stripe.
	Prefix int
	// Trees is how many trees the child takes the file through: with 2 it
	// wants the chunks of Stripe alone, else all.
	Trees uint8
}

func (*Hello) frameKind() kind { return kindHello }

func (h *Hello) put(w *writer) {
	w.bytes(magic[:])
	w.u8(version)
	w.bytes(h.Hierarchy[:])
	w.peer(h.From)
	w.u16(h.TCPPort)
	w.u8(h.Stripe)
	w.u64(h.Epoch)
	w.u32(uint32(h.Prefix))
	w.u8(h.Trees)
}

func (h *Hello) get(r *reader) (err error) {
	var m [4]byte
	r.read(m[:])
	if v := r.u8(); m != magic || v != version {
		return ErrForeign
	}
	r.read(h.Hierarchy[:])
	h.From = r.peer()
	h.TCPPort = r.u16()
	h.Stripe = r.u8()
	h.Epoch = r.u64()
	if h.Prefix, err = r.chunks(); err != nil {
		return err
	}
	if err := r.err(); err != nil {
		return err
	}
	if h.From.IsZero() {
		return fmt.Errorf("%w: hello from nobody", ErrMalformed)
	}
	h.Trees = r.tail8()
	return checkTrees(h.Stripe, h.Trees)
}

// Welcome accepts a child. The path follows in a Path frame.
type Welcome struct {
	From  Peer
	Epoch uint64
	Size  int64
}

func (*Welcome) frameKind() kind { return kindWelcome }

func (m *Welcome) put(w *writer) {
	w.peer(m.From)
	w.u64(m.Epoch)
	w.u64(uint64(m.Size))
}

func (m *Welcome) get(r *reader) (err error) {
	m.From = r.peer()
	m.Epoch = r.u64()
	if m.Size, err = r.size(); err != nil {
		return err
	}
	if m.From.IsZero() {
		return fmt.Errorf("%w: welcome from nobody", ErrMalformed)
	}
	return r.err()
}

// Refuse refuses a child; the connection is closed after it.
type Refuse struct{ Reason Reason }

func (*Refuse) frameKind() kind       { return kindRefuse }
func (m *Refuse) put(w *writer)       { w.u8(uint8(m.Reason)) }
func (m *Refuse) get(r *reader) error { m.Reason = Reason(r.u8()); return r.err() }

// Progress is the keep-alive of a parent: how far it is, and how far the root
// is as far as it knows.
type Progress struct {
	Prefix     int
	RootPrefix int
	// RootBytes counts what the root has received from the origin, in bytes: on
	// a slow link it grows before the next chunk is complete.
	RootBytes int64
	// Detached: the parent has no parent at present.
	Detached bool
}

func (*Progress) frameKind() kind { return kindProgress }

func (m *Progress) put(w *writer) {
	var flags uint8
	if m.Detached {
		flags = 1
	}
	w.u8(flags)
	w.u32(uint32(m.Prefix))
	w.u32(uint32(m.RootPrefix))
	w.u64(uint64(m.RootBytes))
}

func (m *Progress) get(r *reader) (err error) {
	m.Detached = r.u8()&1 != 0
	if m.Prefix, err = r.chunks(); err != nil {
		return err
	}
	if m.RootPrefix, err = r.chunks(); err != nil {
		return err
	}
	if m.RootBytes, err = r.count(); err != nil {
		return err
	}
	return r.err()
}

// Path lists the peers from the root down to the sender itself.
type Path struct{ Peers []Peer }

func (*Path) frameKind() kind { return kindPath }

func (m *Path) put(w *writer) {
	w.u8(uint8(len(m.Peers)))
	for _, p := range m.Peers {
		w.peer(p)
	}
}

func (m *Path) get(r *reader) error {
	n := int(r.u8())
	if n == 0 || n > MaxPath {
		return fmt.Errorf("%w: a path of %d, at most %d", ErrMalformed, n, MaxPath)
	}
	m.Peers = make([]Peer, 0, n)
	for range n {
		m.Peers = append(m.Peers, r.peer())
	}
	return r.err()
}

// Chunk carries the bytes of one chunk.
type Chunk struct {
	Index int
	// Provisional: the sender has no signed table to check it against.
	Provisional bool
	Bytes       []byte
}

func (*Chunk) frameKind() kind { return kindChunk }

func (m *Chunk) put(w *writer) {
	w.bytes(m.header())
	w.bytes(m.Bytes)
}

func (m *Chunk) header() []byte {
	var flags byte
	if m.Provisional {
		flags = 1
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(m.Index)), flags)
}

func (m *Chunk) get(r *reader) (err error) {
	if m.Index, err = r.chunks(); err != nil {
		return err
	}
	m.Provisional = r.u8()&1 != 0
	m.Bytes = r.take(len(r.b))
	return r.err()
}

// End tells the size of a file that began without one.
type End struct{ Size int64 }

func (*End) frameKind() kind { return kindEnd }
func (m *End) put(w *writer) { w.u64(uint64(m.Size)) }
func (m *End) get(r *reader) (err error) {
	if m.Size, err = r.count(); err != nil {
		return err
	}
	return r.err()
}

// Report is the keep-alive of a child.
type Report struct {
	Prefix int
	// Complete: the whole file is held and its digest is right.
	Complete bool
}

func (*Report) frameKind() kind { return kindReport }

func (m *Report) put(w *writer) {
	var flags uint8
	if m.Complete {
		flags = 1
	}
	w.u8(flags)
	w.u32(uint32(m.Prefix))
}

func (m *Report) get(r *reader) (err error) {
	m.Complete = r.u8()&1 != 0
	if m.Prefix, err = r.chunks(); err != nil {
		return err
	}
	return r.err()
}

// TableAsk asks for the chunk table of the receiver's own bytes.
type TableAsk struct{}

func (*TableAsk) frameKind() kind   { return kindTableAsk }
func (*TableAsk) put(*writer)       {}
func (*TableAsk) get(*reader) error { return nil }

// TablePart is a run of digests of a chunk table.
type TablePart struct {
	First, Total int
	Digests      []load.Digest
}

func (*TablePart) frameKind() kind { return kindTablePart }

func (m *TablePart) put(w *writer) {
	w.u32(uint32(m.First))
	w.u32(uint32(m.Total))
	w.u32(uint32(len(m.Digests)))
	for i := range m.Digests {
		w.bytes(m.Digests[i][:])
	}
}

func (m *TablePart) get(r *reader) (err error) {
	if m.First, err = r.chunks(); err != nil {
		return err
	}
	if m.Total, err = r.chunks(); err != nil {
		return err
	}
	n, err := r.chunks()
	if err != nil {
		return err
	}
	if n > MaxTablePart || m.First+n > m.Total || len(r.b) < n*len(load.Digest{}) {
		return fmt.Errorf("%w: %d digests from %d of %d", ErrMalformed, n, m.First, m.Total)
	}
	m.Digests = make([]load.Digest, n)
	for i := range m.Digests {
		r.read(m.Digests[i][:])
	}
	return r.err()
}

// Bye ends a link on purpose.
type Bye struct{ Reason Reason }

func (*Bye) frameKind() kind       { return kindBye }
func (m *Bye) put(w *writer)       { w.u8(uint8(m.Reason)) }
func (m *Bye) get(r *reader) error { m.Reason = Reason(r.u8()); return r.err() }

// Carry is what a carrier of orders and its follower tell each other, in a hierarchy
// that belongs to no file. It means nothing to this protocol.
type Carry struct{ Text []byte }

func (*Carry) frameKind() kind       { return kindCarry }
func (m *Carry) put(w *writer)       { w.bytes(m.Text) }
func (m *Carry) get(r *reader) error { m.Text = r.take(len(r.b)); return r.err() }

// AppendFrame appends the frame of m to b. For a Chunk, prefer WriteChunk,
// which does not copy the bytes.
func AppendFrame(b []byte, m Frame) []byte {
	at := len(b)
	w := writer{b: append(b, 0, 0, 0, 0, byte(m.frameKind()))}
	m.put(&w)
	binary.BigEndian.PutUint32(w.b[at:], uint32(len(w.b)-at-4))
	return w.b
}

// ChunkFrameHeader returns what comes before the bytes of a chunk frame.
func ChunkFrameHeader(index, length int, provisional bool) []byte {
	b := make([]byte, 0, 5+ChunkHeader)
	b = binary.BigEndian.AppendUint32(b, uint32(1+ChunkHeader+length))
	b = append(b, byte(kindChunk))
	return append(b, (&Chunk{Index: index, Provisional: provisional}).header()...)
}

// ReadFrame reads one frame from r. Control frames are bounded by MaxFrame; a
// chunk's bytes are read into the buffer that buf returns for their length,
// which may refuse by returning nil. A type that this version does not know is
// skipped and gives a nil Frame. A stream that ends between frames gives
// io.EOF; one that ends within a frame gives io.ErrUnexpectedEOF.
func ReadFrame(r io.Reader, buf func(length int) []byte) (Frame, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - 1
	k := kind(head[4])
	if k == kindChunk {
		return readChunk(r, n, buf)
	}
	if n < 0 || n > MaxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes, at most %d", ErrMalformed, n, MaxFrame)
	}
	body := make([]byte, n)
	if err := readRest(r, body); err != nil {
		return nil, err
	}
	return decodeFrame(uint8(k), body)
}

// decodeFrame decodes the body of a frame of type k; nil for a type that this
// version does not know.
func decodeFrame(k uint8, body []byte) (Frame, error) {
	if kind(k) == kindChunk {
		m := new(Chunk)
		return m, m.get(&reader{b: body})
	}
	m := frameOf(kind(k))
	if m == nil {
		return nil, nil
	}
	if err := m.get(&reader{b: body}); err != nil {
		return nil, err
	}
	return m, nil
}

func readChunk(r io.Reader, n int64, buf func(int) []byte) (Frame, error) {
	n -= ChunkHeader
	if n < 0 || n > load.MaxChunkSize {
		return nil, fmt.Errorf("%w: a chunk of %d bytes, at most %d", ErrMalformed, n, load.MaxChunkSize)
	}
	var head [ChunkHeader]byte
	if err := readRest(r, head[:]); err != nil {
		return nil, err
	}
	m := new(Chunk)
	if err := m.get(&reader{b: head[:]}); err != nil {
		return nil, err
	}
	b := buf(int(n))
	if b == nil {
		return nil, fmt.Errorf("%w: a chunk of %d bytes is not expected", ErrMalformed, n)
	}
	m.Bytes = b[:n]
	if err := readRest(r, m.Bytes); err != nil {
		return nil, err
	}
	return m, nil
}

// readRest fills b with the bytes that a header has announced: a stream that
// ends there is incomplete.
func readRest(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
