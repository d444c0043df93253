package tftp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/tftp/internal/slide"
)

// transfer is one read request at the server, from the request to the last
// ACK.
type transfer struct {
	*listener
	raw    string // the request as it came
	req    packet
	local  netip.Addr
	peer   netip.AddrPort
	cancel context.CancelCauseFunc
	moved  atomic.Bool // the client has acknowledged something

	socket *socket
	blocks blocks
	state  *sender
	slider *slide.Sender // takes the place of state after the OACK, with slide
	params params
	oack   []byte
	out    []byte // packets to be written in one call
	report Transfer
}

var errServerStops = errors.New("the server stops")

// run serves the request and reports how it went.
func (t *transfer) run(ctx context.Context) {
	err := t.serve(ctx)
	if ctx.Err() != nil {
		if err = context.Cause(ctx); errors.Is(err, context.Canceled) {
			err = errServerStops
		}
	}
	if t.socket != nil {
		if tell := lastError(err); tell != nil {
			t.socket.sendError(tell, t.peer)
		}
		t.socket.close()
	}
	t.report.Ended, t.report.Err, t.report.Elapsed = true, err, time.Since(t.report.Started)
	t.tell()
}

// lastError is what to tell the client at the end; nil if it is done, gone, or
// sent the ERROR itself.
func lastError(err error) *Error {
	var e *Error
	switch {
	case err == nil, errors.Is(err, ErrRefused), errors.Is(err, errTold), errors.Is(err, errSuperseded):
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrTimeout):
		return &Error{Message: "timeout"}
	case errors.Is(err, errServerStops):
		return &Error{Message: "the server stops"}
	}
	return &Error{Message: "internal error"}
}

// errTold stands before an ERROR packet from the client.
var errTold = errors.New("told by the client")

func (t *transfer) tell() {
	if t.OnTransfer != nil {
		t.OnTransfer(t.report)
	}
}

func (t *transfer) serve(ctx context.Context) error {
	var err error
	if t.socket, err = listen(ctx, t.local, 0); err != nil {
		return err
	}
	if t.req.op == opWrite {
		return &Error{Code: codeAccess, Message: "this server is read-only"}
	}
	octet := strings.EqualFold(t.req.mode, "octet")
	if !octet && !strings.EqualFold(t.req.mode, "netascii") {
		return &Error{Code: codeIllegal, Message: "only octet and netascii are served"}
	}
	name, err := CleanName(t.req.name)
	if err != nil {
		return err
	}
	file, err := t.Files.Open(name, t.peer)
	if err != nil {
		return fmt.Errorf("%w (%w)", answerFor(err), err)
	}
	defer file.Close()
	size := file.Size()
	if !octet {
		size = -1
	}
	p, granted := negotiate(&t.req, size, octet, t.limits())
	t.report.Size, t.report.Offset, t.report.NetASCII = file.Size(), p.offset, !octet
	t.report.BlockSize, t.report.WindowSize, t.report.Slide = p.blockSize, p.window, p.slide
	if octet {
		t.blocks = newOctetBlocks(file, p)
	} else {
		t.blocks = newTextBlocks(file, p)
	}
	if len(granted) > 0 {
		oack := packet{op: opOAck, options: granted}
		t.oack = oack.append(nil)
	}
	t.tell()
	t.params = p
	t.state = newSender(time.Now(), p, t.oack != nil, orElse(t.Timeout, defaultTimeout),
		orElse(t.Idle, defaultServerIdle), orElse(t.Retries, defaultRetries))
	return t.drive(ctx)
}

// drive moves packets until the last block is acknowledged.
func (t *transfer) drive(ctx context.Context) error {
	for {
		if err := t.send(ctx); err != nil {
			return err
		}
		b, from, err := t.socket.read(t.deadline())
		now := time.Now()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !t.timeout(now) {
				return fmt.Errorf("%w: no ACK of block %d", ErrTimeout, t.base())
			}
		case err != nil:
			return err
		case from != t.peer:
			t.socket.turnAway(b, from)
		default:
			done, err := t.packet(now, b)
			if done || err != nil {
				return err
			}
		}
	}
}

func (t *transfer) packet(now time.Time, b []byte) (done bool, err error) {
	p, err := parse(b)
	switch {
	case err != nil:
		return false, nil // a broken packet counts as lost
	case p.op == opError:
		return false, fmt.Errorf("%w: %w", errTold, &Error{Code: p.code, Message: p.message})
	case p.op != opAck:
		return false, &Error{Code: codeIllegal, Message: "an ACK was expected"}
	}
	if t.slider != nil {
		a, _ := slide.ParseAck(b[2:])
		_, done = t.slider.Acked(now, a)
		return done, nil
	}
	progress, done := t.state.acked(now, p.block)
	if progress {
		t.moved.Store(true)
		if t.state.base == 1 {
			t.socket.cut(headerSize + t.report.BlockSize)
			t.slideOn(now)
		}
	}
	return done, nil
}

// send sends what the state wants to send, in as few calls as the system and
// the rate allow.
func (t *transfer) send(ctx context.Context) error {
	if t.state.base == 0 && t.state.wantsToSend() {
		t.state.sent(time.Now(), false)
		return t.socket.write(t.oack, t.peer)
	}
	queued := 0
	for {
		n, ok := t.next()
		if !ok {
			return t.flush(len(t.out))
		}
		start := len(t.out)
		var last bool
		var err error
		if t.out, last, err = t.blocks.append(t.out, n); err != nil {
			return err
		}
		payload := len(t.out) - start - headerSize
		if wait := t.limit.Take(time.Now(), payload); wait > 0 {
			if err := t.flush(start); err != nil {
				return err
			}
			queued = 0
			if err := sleep(ctx, wait); err != nil {
				return err
			}
		}
		t.count(t.sent(n, last), int64(payload))
		if queued++; queued >= t.socket.batch() || last {
			if err := t.flush(len(t.out)); err != nil {
				return err
			}
			queued = 0
		}
	}
}

// slideOn goes on with slide once the options are agreed.
func (t *transfer) slideOn(now time.Time) {
	if p := t.params; p.slide > 0 {
		t.slider = slide.NewSender(now, slide.Agreed{
			Blocks: (t.report.Size-p.offset)/int64(p.blockSize) + 1, Slide: p.slide, RTT: t.state.srtt,
			Idle: t.state.idle, Retries: t.state.retries, Seed: rand.Uint64(),
		})
	}
}

// next is the block to send now, if there is one.
func (t *transfer) next() (block int64, ok bool) {
	if t.slider != nil {
		return t.slider.Next(time.Now())
	}
	return t.state.next, t.state.wantsToSend() && t.state.waitsForTurn(time.Now()).IsZero()
}

func (t *transfer) sent(block int64, last bool) (fresh bool) {
	if t.slider != nil {
		return t.slider.Sent(time.Now(), block)
	}
	return t.state.sent(time.Now(), last)
}

func (t *transfer) deadline() time.Time {
	if t.slider != nil {
		return t.slider.Deadline()
	}
	return t.state.deadline()
}

func (t *transfer) timeout(now time.Time) bool {
	if t.slider != nil {
		return t.slider.Timeout(now)
	}
	return t.state.timeout(now)
}

// base is the first block that is not acknowledged.
func (t *transfer) base() int64 {
	if t.slider != nil {
		return t.slider.Base()
	}
	return t.state.base
}

// flush writes the first n bytes of what is queued.
func (t *transfer) flush(n int) error {
	if n == 0 {
		return nil
	}
	err := t.socket.write(t.out[:n], t.peer)
	t.out = t.out[:copy(t.out, t.out[n:])]
	return err
}

func (t *transfer) count(fresh bool, n int64) {
	if fresh {
		t.report.Sent += n
	} else {
		t.report.Resent += n
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// blocks yields the DATA packets of a file. A block may be requested again
// until a block one window later was requested.
type blocks interface {
	// append adds the packet of block n, counted from 1, to b.
	append(b []byte, n int64) (_ []byte, last bool, err error)
}

// octetBlocks reads blocks from their places in the file, through a buffer of
// some blocks.
type octetBlocks struct {
	file        File
	start, size int64
	block       int
	buf         []byte
	at          int64 // where buf starts in the file
	have        int
}

// readAhead is how much of a file is read at once, if blocks are smaller.
const readAhead = 64 << 10

func newOctetBlocks(f File, p params) *octetBlocks {
	n := max(1, readAhead/p.blockSize) * p.blockSize
	if left := f.Size() - p.offset; int64(n) > left {
		n = int(left)
	}
	return &octetBlocks{file: f, start: p.offset, size: f.Size(), block: p.blockSize, buf: make([]byte, n)}
}

var errChanged = errors.New("the file changed while it was sent")

func (o *octetBlocks) append(b []byte, n int64) ([]byte, bool, error) {
	from := min(o.start+(n-1)*int64(o.block), o.size)
	want := int(min(int64(o.block), o.size-from))
	if o.have > 0 && from < o.at { // one that was lost: what is read ahead stays
		head := packet{op: opData, block: uint16(n)}
		b = head.append(b)
		start := len(b)
		b = append(b, make([]byte, want)...)
		got, err := o.file.ReadAt(b[start:], from)
		if got < want && (err == nil || err == io.EOF) {
			err = errChanged
		}
		if got == want {
			err = nil
		}
		return b, want < o.block, err
	}
	if from < o.at || from+int64(want) > o.at+int64(o.have) {
		fill := o.buf[:min(int64(len(o.buf)), o.size-from)]
		got, err := o.file.ReadAt(fill, from)
		if got < len(fill) {
			if err == io.EOF {
				err = errChanged
			}
			return b, false, err
		}
		o.at, o.have = from, got
	}
	head := packet{op: opData, block: uint16(n), data: o.buf[from-o.at:][:want]}
	return head.append(b), want < o.block, nil
}

// textBlocks translates a text as it goes and keeps a window of blocks, since
// their places in the file are not known.
type textBlocks struct {
	text  io.Reader
	block int
	ring  [][]byte
	next  int64
}

func newTextBlocks(f File, p params) *textBlocks {
	text := bufio.NewReader(io.NewSectionReader(f, 0, f.Size()))
	return &textBlocks{text: &netasciiReader{r: text}, block: p.blockSize, ring: make([][]byte, p.window), next: 1}
}

func (t *textBlocks) append(b []byte, n int64) ([]byte, bool, error) {
	slot := &t.ring[n%int64(len(t.ring))]
	if n == t.next {
		if *slot == nil {
			*slot = make([]byte, t.block)
		}
		got, err := io.ReadFull(t.text, (*slot)[:t.block])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return b, false, err
		}
		*slot = (*slot)[:got]
		t.next++
	}
	head := packet{op: opData, block: uint16(n), data: *slot}
	return head.append(b), len(*slot) < t.block, nil
}
