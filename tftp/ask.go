package tftp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/peerload/peerload/tftp/internal/slide"
)

// form is what one request asks a server for.
type form struct {
	block int
	bare  bool // only blksize and tsize, which most servers know
	plain bool // no option
}

// Block sizes to try after the one asked for: one that passes any tunnel of the
// least MTU of IPv6, then the default, which passes everywhere.
var smaller = []int{1228, defaultBlock}

// bareBlock is the block size beside tsize alone. It is below the limits of
// servers that refuse what fills a frame.
const bareBlock = 1024

// forms are what is asked for, one after the other: all options with smaller and
// smaller blocks, then less, then nothing.
func (c *Client) forms() []form {
	plain := form{block: defaultBlock, plain: true}
	if c.NoOptions {
		return []form{plain}
	}
	f := []form{{block: c.BlockSize}}
	for _, b := range smaller {
		if b < c.BlockSize {
			f = append(f, form{block: b})
		}
	}
	return append(f, form{block: min(bareBlock, c.BlockSize), bare: true}, plain)
}

// Why a form of the request did not lead to a first block.
var (
	// errBadOAck: the server granted what was not asked for.
	errBadOAck = errors.New("the server granted what was not asked")
	// errLost: the server granted the options, and no block came.
	errLost = errors.New("no block came after the options were agreed")
)

// after returns the form to ask for when form i failed, -1 for none: blocks that
// are lost may come if they are smaller, and a server that does not like its
// options may do with fewer.
func after(f []form, i int, err error) int {
	last := len(f) - 1
	var told *Error
	switch {
	case i == last, errors.Is(err, ErrNotFound):
		return -1
	case errors.Is(err, errLost):
		if f[i+1].bare || f[i].bare {
			return last
		}
		return i + 1
	case errors.As(err, &told), errors.Is(err, errBadOAck), errors.Is(err, errProtocol):
		if f[i].bare {
			return last
		}
		return last - 1
	}
	return -1
}

// ask sends the request in one form after the other until a first block comes.
func (c *Client) ask(ctx context.Context, server netip.AddrPort, file string, offset int64) (*Reader, error) {
	a := asking{Client: c, server: server, file: file, offset: offset, forms: c.forms(), end: time.Now().Add(c.Idle)}
	a.known = c.Learned.of(server, time.Now())
	begin := min(a.known.form, len(a.forms)-1)
	if a.known.wholeFile == file {
		begin = len(a.forms) - 1
	}
	var said error // what the server told, which says more than that it is silent then
	for a.at = begin; ; {
		r, err := a.open(ctx)
		if err == nil {
			if a.known.wholeFile != file {
				a.known.works(a.at, r.oacked, a.gaveUp && !r.oacked)
			}
			c.Learned.keep(server, a.known, time.Now())
			return r, nil
		}
		if said == nil && errors.As(err, new(*Error)) {
			said = err
		}
		next := after(a.forms, a.at, err)
		if next < 0 || ctx.Err() != nil || !time.Now().Before(a.end) {
			a.known.failed(begin, a.at, errors.Is(err, errLost))
			c.Learned.keep(server, a.known, time.Now())
			if said != nil && errors.Is(err, ErrTimeout) {
				err = said
			}
			return nil, err
		}
		a.at = next
	}
}

// asking is one form of a request under way.
type asking struct {
	*Client
	server netip.AddrPort
	file   string
	offset int64
	forms  []form
	at     int // of forms, in use
	known  learned
	end    time.Time
	gaveUp bool // a request without options went out, since the others got no answer
}

// request is a form of the request.
func (a *asking) request(f form) packet {
	req := packet{op: opRead, name: a.file, mode: "octet"}
	if a.NetASCII {
		req.mode = "netascii"
	}
	if !f.plain {
		req.options = a.options(f)
	}
	return req
}

func (a *asking) options(f form) []option {
	var o []option
	if f.block != defaultBlock {
		o = append(o, formatOption(optBlockSize, int64(f.block)))
	}
	if !a.NetASCII {
		o = append(o, formatOption(optSize, 0))
	}
	if f.bare {
		return o
	}
	if a.WindowSize > 1 {
		o = append(o, formatOption(optWindowSize, int64(a.WindowSize)))
	}
	if s := a.Timeout / time.Second; a.Timeout != defaultTimeout && a.Timeout%time.Second == 0 && s <= maxTimeout {
		o = append(o, formatOption(optTimeout, int64(s)))
	}
	if a.WindowSize > 1 && a.Slide > a.WindowSize && !a.NetASCII {
		o = append(o, formatOption(optSlide, int64(a.Slide)))
	}
	if a.offset > 0 && !a.NetASCII {
		o = append(o, formatOption(optOffset, a.offset))
	}
	return o
}

// open asks until the server answers and its first block has come.
func (a *asking) open(ctx context.Context) (_ *Reader, err error) {
	local := a.from(a.server)
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if a.server.Addr().Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	s, err := listen(ctx, local, max(defaultBlock, a.forms[a.at].block))
	if err != nil {
		return nil, err
	}
	r := &Reader{socket: s, params: defaultParams(), most: a.MaxSize}
	defer func() {
		if err != nil {
			r.abandon(err)
		}
	}()
	first, err := a.firstAnswer(r)
	if err != nil {
		return nil, err
	}
	if err := a.agree(r, &first); err != nil {
		return nil, err
	}
	if a.NetASCII {
		r.text = &netasciiDecoder{}
	}
	r.undecided = func() { a.Learned.whole(a.server, a.file, time.Now()) }
	r.wrong = func(received int64, end bool) { a.Learned.wrongSize(a.server, a.file, received, end, time.Now()) }
	r.state = newReceiver(time.Now(), r.params, a.Timeout, a.Idle, a.Retries)
	if p := r.params; p.slide > 0 {
		r.slid = &slid{next: 1, held: map[int64][]byte{}, Receiver: slide.NewReceiver(time.Now(), p.slide, p.window,
			max(a.Timeout, p.timeout), a.Idle, a.Retries)}
	}
	if first.op == opOAck {
		return r, a.firstBlock(r)
	}
	r.handle(time.Now(), &first)
	return r, r.broken()
}

// firstAnswer repeats the request until an OACK, the first DATA or an ERROR
// comes, from whatever address and port: hosts with several addresses answer
// from another than was asked. If nothing comes it also asks without options,
// which some servers take for no request at all.
func (a *asking) firstAnswer(r *Reader) (packet, error) {
	full := a.request(a.forms[a.at])
	wait := a.Timeout
	for try := range a.Retries + 1 {
		req := full
		if len(full.options) > 0 && !a.known.options && (try > 1 || a.known.silent && try > 0) {
			req, a.gaveUp = a.request(a.forms[len(a.forms)-1]), true
		}
		if err := r.socket.write(req.append(nil), a.server); err != nil {
			return packet{}, err
		}
		until := time.Now().Add(wait)
		if until.After(a.end) {
			until = a.end
		}
		for time.Now().Before(until) {
			in, from, err := r.socket.read(until)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			if err != nil {
				return packet{}, err
			}
			p, err := parse(in)
			if err != nil && len(in) > 1 && in[1] == byte(opOAck) {
				r.peer = from
				return packet{}, fmt.Errorf("%w: %w", errBadOAck, err)
			}
			switch {
			case err != nil:
			case p.op == opError:
				return packet{}, &Error{Code: p.code, Message: p.message}
			case p.op == opOAck && len(full.options) > 0, p.op == opData && p.block == 1:
				r.peer = from
				return p, nil
			}
		}
		wait *= 2
		if !time.Now().Before(a.end) {
			break
		}
	}
	return packet{}, fmt.Errorf("%w: %s is silent", ErrTimeout, a.server)
}

// agree takes what the server granted.
func (a *asking) agree(r *Reader, first *packet) error {
	if f := a.forms[a.at]; !f.plain {
		r.asked = f.block
	}
	if first.op == opOAck {
		req := a.request(a.forms[a.at])
		var err error
		if r.params, err = accept(&req, first); err != nil {
			return fmt.Errorf("%w: %w", errBadOAck, err)
		}
		r.oacked = true
	}
	if a.known.sizeless {
		r.params.size = -1
	}
	if a.MaxSize > 0 && r.params.size > a.MaxSize {
		return fmt.Errorf("%w: the file has %d bytes, the limit is %d", ErrTooMuch, r.params.size, a.MaxSize)
	}
	return nil
}

// firstBlock acknowledges the OACK and waits for a block. Large ones may be lost
// on the way, all of them: it does not wait for long if smaller ones can be
// asked for.
func (a *asking) firstBlock(r *Reader) error {
	r.acknowledge()
	end, again := a.end, time.Now().Add(a.Timeout)
	if few := time.Now().Add(2 * a.Timeout); few.Before(end) && after(a.forms, a.at, errLost) >= 0 {
		end = few
	}
	for r.received == 0 && r.err == nil {
		if r.state.gapTold || r.slid != nil && !r.slid.Silent() {
			end = a.end // some do come
		}
		by := again
		if end.Before(by) {
			by = end
		}
		b, from, err := r.socket.read(by)
		now := time.Now()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !now.Before(end):
			return fmt.Errorf("%w: %w: %s sends no block", ErrTimeout, errLost, a.server)
		case errors.Is(err, os.ErrDeadlineExceeded) && !now.Before(again):
			again = now.Add(a.Timeout)
			r.acknowledge()
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return err
		case from != r.peer:
			r.socket.turnAway(b, from)
		default:
			r.packet(now, b)
		}
	}
	return r.broken()
}

// Learned is what a Client found out about servers: which block size comes
// through, whether they answer a request with options, whether the sizes that
// they announce are right. The zero Learned is ready. It is safe for use by
// several goroutines.
type Learned struct {
	mu      sync.Mutex
	servers map[netip.AddrPort]learned
}

// What was learned is forgotten after a while, since a path may be mended, and
// when too many servers are known.
const (
	learnedFor = time.Hour
	maxLearned = 64
)

// learned is about one server.
type learned struct {
	at       time.Time
	form     int  // of Client.forms, to begin with
	options  bool // it has answered a request with options
	silent   bool // it only answered one without
	sizeless bool // the size that it announces is not to be believed

	shortFile string // whose body ended before the announced size
	shortAt   int64  // and where

	wholeFile string // of which one block came that may be all: asked for without options
}

// of returns what is known of a server.
func (l *Learned) of(server netip.AddrPort, now time.Time) learned {
	if l == nil {
		return learned{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.servers[server]
	if now.Sub(k.at) > learnedFor {
		return learned{}
	}
	return k
}

// keep remembers k of a server.
func (l *Learned) keep(server netip.AddrPort, k learned, now time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers == nil || len(l.servers) >= maxLearned {
		l.servers = map[netip.AddrPort]learned{}
	}
	k.at = now
	l.servers[server] = k
}

// works takes that a first block came after form was asked for.
func (k *learned) works(form int, oacked, silent bool) {
	k.form, k.options, k.silent = form, k.options || oacked, silent
}

// failed takes that no form led to a block. If blocks were lost, the next
// request begins where the time ran out; if it had begun there, with everything
// again.
func (k *learned) failed(begin, at int, lost bool) {
	k.form = 0
	if lost && begin == 0 {
		k.form = at
	}
}

// whole takes that nothing followed a first block which may be all of the file:
// a request without options leaves no doubt about it.
func (l *Learned) whole(server netip.AddrPort, file string, now time.Time) {
	k := l.of(server, now)
	k.wholeFile = file
	l.keep(server, k, now)
}

// wrongSize takes that a file did not have the announced size. A body that ends
// early may have been cut off: the second time that it ends there counts.
func (l *Learned) wrongSize(server netip.AddrPort, file string, received int64, end bool, now time.Time) {
	k := l.of(server, now)
	k.sizeless = k.sizeless || !end || k.shortFile == file && k.shortAt == received
	k.shortFile, k.shortAt = file, received
	l.keep(server, k, now)
}
