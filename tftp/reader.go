package tftp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/peerload/peerload/tftp/internal/slide"
)

// Reader is the body of a file that is being transferred. One goroutine reads;
// Close may be called from another. It holds one packet, or what the system
// returns in one read, however large the file is; the rest waits at the server.
type Reader struct {
	socket *socket
	peer   netip.AddrPort
	params params
	most   int64 // Client.MaxSize
	state  *receiver
	text   *netasciiDecoder // nil in octet mode
	slid   *slid            // nil without slide, else in the place of state

	asked  int                            // the block size that was asked for, 0 without options
	oacked bool                           // the server answered with an OACK
	wrong  func(received int64, end bool) // is told when the announced size is wrong
	// undecided is told when nothing followed a first block that may be the whole.
	undecided func()

	payload  []byte // received and not yet read
	decoded  []byte // memory for netascii
	received int64  // bytes of DATA taken
	err      error  // what Read returns when payload is empty

	closing  sync.Mutex // guards closed and finished
	closed   bool
	finished bool // the last block was acknowledged
}

// Size is the size of the whole file in bytes as the server announced it, -1 if
// it did not.
func (r *Reader) Size() int64 { return r.params.size }

// Offset is where in the file Read starts, in bytes: 0 if the server does not
// know the offset option or the file is shorter now.
func (r *Reader) Offset() int64 { return r.params.offset }

// WindowSize is the agreed window in blocks.
func (r *Reader) WindowSize() int { return r.params.window }

// Read implements io.Reader. It returns io.EOF after the last byte only if the
// body has the announced size.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.payload) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.payload)
	r.payload = r.payload[n:]
	return n, nil
}

// WriteTo implements io.WriterTo without a copy between.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		for len(r.payload) == 0 {
			if r.err == io.EOF {
				return total, nil
			}
			if r.err != nil {
				return total, r.err
			}
			r.next()
		}
		n, err := w.Write(r.payload)
		r.payload = r.payload[n:]
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// next takes packets until there is a payload or an end.
func (r *Reader) next() {
	r.resume(time.Now())
	for len(r.payload) == 0 && r.err == nil {
		if r.slid == nil || !r.takeHeld() {
			r.one(r.deadline())
		}
	}
}

func (r *Reader) resume(now time.Time) {
	if r.slid != nil {
		r.slid.Resume(now)
	} else {
		r.state.resume(now)
	}
}

func (r *Reader) deadline() time.Time {
	if r.slid != nil {
		return r.slid.Deadline()
	}
	return r.state.deadline()
}

// one takes one packet, or the end of the time to wait for it.
func (r *Reader) one(by time.Time) {
	b, from, err := r.socket.read(by)
	now := time.Now()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.timeout(now)
	case errors.Is(err, net.ErrClosed):
		r.err = errClosed
	case errors.Is(err, ErrRefused) && r.state.lastWasThat():
		r.end()
	case err != nil:
		r.fail(err, nil)
	case from != r.peer:
		r.socket.turnAway(b, from)
	default:
		r.packet(now, b)
	}
}

func (r *Reader) timeout(now time.Time) {
	switch {
	case r.slid != nil && !r.slid.Timeout(now):
		r.fail(fmt.Errorf("%w: %s sent no block %d", ErrTimeout, r.peer, r.slid.Next()), &Error{Message: "timeout"})
	case r.slid != nil:
		r.acknowledgeSlid(now)
	case now.Before(r.state.deadline()):
	case !r.state.timeout(now):
		r.fail(fmt.Errorf("%w: %s sent no block %d", ErrTimeout, r.peer, r.state.next), &Error{Message: "timeout"})
	case r.state.finished:
		r.end()
	default:
		r.acknowledge()
	}
}

func (r *Reader) packet(now time.Time, b []byte) {
	if p, err := parse(b); err == nil { // a broken packet counts as lost
		r.handle(now, &p)
	}
}

func (r *Reader) handle(now time.Time, p *packet) {
	if p.op == opData && p.block == 1 && r.state.next == 1 && r.slid == nil {
		r.fit(len(p.data))
	}
	most := r.params.blockSize
	if r.state.maybe > 0 {
		most = r.state.maybe
	}
	switch {
	case p.op == opData && len(p.data) > most:
		r.fail(fmt.Errorf("%w: a block of more than %d bytes", errProtocol, most), &Error{Code: codeIllegal})
	case p.op == opData && r.slid != nil:
		r.takeSlid(now, p.block, p.data)
	case p.op == opData:
		r.take(now, p.block, p.data)
	case p.op == opOAck:
		if r.state.again() && (r.slid == nil || r.slid.Silent()) {
			r.acknowledge()
		}
	case p.op == opError:
		r.fail(&Error{Code: p.code, Message: p.message}, nil)
	default:
		r.fail(fmt.Errorf("%w: operation %d from a server", errProtocol, p.op), &Error{Code: codeIllegal})
	}
}

// take is given the content of one DATA packet.
func (r *Reader) take(now time.Time, block uint16, data []byte) {
	accept, ack := r.state.data(now, block, len(data))
	if r.state.block < r.params.blockSize {
		r.params.blockSize = r.state.block // of the first block, which was not the last
	}
	if accept {
		r.received += int64(len(data))
		if err := r.checkSize(); err != nil {
			r.fail(err, &Error{Message: "the size is wrong"})
			return
		}
	}
	if ack {
		r.acknowledge()
	}
	if !accept || r.err != nil {
		return
	}
	r.payload = data
	if r.text != nil {
		r.decoded = r.text.decode(r.decoded[:0], data, r.state.finished)
		r.payload = r.decoded
	}
	if r.state.finished {
		r.end()
	}
}

// end is reached when all blocks have come. Whether they are the file, a caller
// may know better than the server that announced more.
func (r *Reader) end() {
	r.err = io.EOF
	if at := r.params.offset + r.received; r.params.size > at {
		r.wrong(at, true)
		r.err = fmt.Errorf("%w: %d of %d", ErrTruncated, at, r.params.size)
	}
	r.closing.Lock()
	r.finished = true
	r.closing.Unlock()
}

// fit takes the size of the first block, which tells more than what was agreed:
// servers grant one block size and send another, or echo a size of 0. Nothing is
// taken for the end of the file, or for its size, that the block contradicts.
func (r *Reader) fit(n int) {
	p := &r.params
	at := p.offset + int64(n)
	if p.size >= 0 && p.size < at {
		p.size = -1
	}
	switch {
	case n > p.blockSize && n <= r.asked:
		// Without an OACK it is the size asked for; with one, who knows.
		p.blockSize = n
		if n < r.asked {
			p.blockSize, r.state.doubt = r.asked, true
		}
	case n < p.blockSize && r.text == nil:
		more := p.size > at
		r.state.doubt = more || p.size < 0 && looksWhole(n)
		if !r.state.doubt {
			p.size = at
		}
	}
	r.state.block = p.blockSize
}

// checkSize finds a body that is longer than it was announced, or may be.
func (r *Reader) checkSize() error {
	at := r.params.offset + r.received
	switch size := r.params.size; {
	case size >= 0 && at > size:
		r.wrong(at, false)
		return fmt.Errorf("%w: the size is %d", ErrTooMuch, size)
	case r.most > 0 && at > r.most:
		return fmt.Errorf("%w: the limit is %d", ErrTooMuch, r.most)
	}
	return nil
}

// slid is what a Reader has beside its state with slide: blocks that came before
// one that is missing.
type slid struct {
	*slide.Receiver
	next  int64            // block to hand to the caller
	last  int64            // the last one, 0 while it is not known
	held  map[int64][]byte // from next on, as they came
	inUse []byte           // a block of held that the caller reads
	free  [][]byte
	ack   []byte // memory for ACKs
	bits  []byte
}

// mostFree bounds the blocks of memory that are kept to be used again.
const mostFree = 64

// takeSlid is given the content of one DATA packet.
func (r *Reader) takeSlid(now time.Time, wire uint16, data []byte) {
	s := r.slid
	isLast := len(data) < r.params.blockSize
	n, fresh := s.Data(now, wire, isLast)
	if fresh && isLast {
		s.last = n
	}
	switch {
	case fresh && n == s.next:
		r.deliver(data)
	case fresh:
		var b []byte
		if i := len(s.free) - 1; i >= 0 {
			b, s.free = s.free[i], s.free[:i]
		}
		s.held[n] = append(b[:0], data...)
	}
	if len(r.socket.rest) == 0 || r.err != nil || s.Finished() {
		r.acknowledgeSlid(now)
	}
}

// takeHeld hands the caller the next block, if it came before.
func (r *Reader) takeHeld() bool {
	s := r.slid
	if s.inUse != nil && len(s.free) < mostFree {
		s.free = append(s.free, s.inUse)
	}
	var ok bool
	if s.inUse, ok = s.held[s.next]; !ok {
		return false
	}
	delete(s.held, s.next)
	r.deliver(s.inUse)
	return true
}

// deliver hands the caller the next block.
func (r *Reader) deliver(data []byte) {
	s := r.slid
	r.received += int64(len(data))
	if err := r.checkSize(); err != nil {
		r.fail(err, &Error{Message: "the size is wrong"})
		return
	}
	r.payload = data
	s.next++
	if s.last > 0 && s.next > s.last {
		r.end()
	}
}

// acknowledgeSlid sends an ACK if one is due.
func (r *Reader) acknowledgeSlid(now time.Time) {
	if r.err == nil && !r.slid.AckDue(now) {
		return
	}
	r.acknowledge()
}

func (r *Reader) acknowledge() {
	var p [headerSize]byte
	b := p[:0]
	if s := r.slid; s != nil {
		a := s.Ack(time.Now(), s.bits)
		s.bits = a.Held
		s.ack = a.Append(append(s.ack[:0], 0, byte(opAck)))
		b = s.ack
	} else {
		b = (&packet{op: opAck, block: r.state.ack()}).append(b)
	}
	if err := r.socket.write(b, r.peer); err != nil && r.err == nil && !r.state.finished {
		r.fail(err, nil)
	}
}

// fail ends the transfer with err and tells the server why, if there is
// something to tell.
func (r *Reader) fail(err error, tell *Error) {
	r.err = err
	if r.wholeOrNot() && (errors.Is(err, ErrRefused) || errors.Is(err, ErrTimeout)) {
		r.undecided()
	}
	if tell != nil {
		r.socket.sendError(tell, r.peer)
	}
	r.closing.Lock()
	defer r.closing.Unlock()
	if !r.closed {
		r.closed = true
		r.socket.close()
	}
}

// wholeOrNot reports whether one block has come that is the first of several, or
// all of the file: some servers use the block size asked for without an OACK.
func (r *Reader) wholeOrNot() bool {
	return !r.oacked && r.asked > defaultBlock && r.state != nil && r.state.next == 2 && r.received == defaultBlock
}

// looksWhole reports whether a first block is as long as those of servers that
// have a block size of their own: a power of two.
func looksWhole(n int) bool { return n >= 64 && n&(n-1) == 0 }

// broken is why not even the first block could be taken.
func (r *Reader) broken() error {
	if r.received > 0 || r.err == io.EOF {
		return nil
	}
	return r.err
}

// abandon ends a transfer that did not come to a first block.
func (r *Reader) abandon(why error) {
	r.closing.Lock()
	defer r.closing.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	tell := &Error{Message: "the client asks otherwise"}
	switch {
	case errors.Is(why, errBadOAck):
		tell = &Error{Code: codeBadOption, Message: why.Error()}
	case errors.Is(why, ErrTooMuch):
		tell.Message = "the file is too large"
	}
	if r.peer.IsValid() {
		r.socket.sendError(tell, r.peer)
	}
	r.socket.close()
}

// Close ends the transfer. If the body was not read to its end, the server is
// told. If it was, the socket stays a moment longer to answer a server that
// missed the last ACK.
func (r *Reader) Close() error {
	r.closing.Lock()
	defer r.closing.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.finished {
		go r.dally()
		return nil
	}
	r.socket.sendError(&Error{Message: "the client stops"}, r.peer)
	r.socket.close()
	return nil
}

// dally repeats the last ACK when the last block comes again (RFC 1350
// section 6). That the caller's context ends is no reason to stop.
func (r *Reader) dally() {
	defer r.socket.close()
	r.socket.forgetContext()
	end := time.Now().Add(2 * r.state.first)
	for range maxSegments {
		b, from, err := r.socket.read(end)
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(end) {
			continue
		}
		if err != nil {
			return
		}
		if p, err := parse(b); err != nil || from != r.peer || p.op != opData {
			continue
		}
		r.acknowledge()
	}
}
