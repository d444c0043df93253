package tftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Defaults of Client and Server.
const (
	// defaultPort is the port of TFTP servers.
	defaultPort = 69
	// DefaultBlockSize fills an Ethernet frame with room for a tunnel's header.
	DefaultBlockSize = 1428
	// DefaultWindowSize in blocks: enough for 10 Mbit/s at 18 ms, little
	// enough for the smallest socket buffer.
	DefaultWindowSize = 16
	// DefaultSlide in blocks: 10 Mbit/s at 200 ms, and what a socket buffer of
	// the usual size holds.
	DefaultSlide = 192

	defaultTimeout = time.Second
	defaultRetries = 5
	defaultIdle    = 10 * time.Second
	maxAddresses   = 4
)

// Client reads files from TFTP servers. The zero Client works. It is safe for
// use by several goroutines as long as its fields do not change.
type Client struct {
	// Timeout is the shortest wait for an answer before a packet is sent
	// again; it doubles from try to try. 0: 1 s. A whole number of seconds
	// from 1 to 255 is also asked of the server as its own (RFC 2349).
	Timeout time.Duration
	// Retries is how often in a row it asks again without success. 0: 5.
	Retries int
	// Idle is the time without one new byte after which a transfer fails with
	// ErrTimeout, whatever else arrives. 0: 10 s.
	Idle time.Duration
	// BlockSize to ask for, 8 to 65464 bytes. 0: DefaultBlockSize.
	BlockSize int
	// WindowSize to ask for, in blocks, 1 to 4096, 4 MiB at most together with
	// BlockSize. 0: DefaultWindowSize.
	WindowSize int
	// Slide is the number of blocks that a server which knows the slide option
	// may have in flight, up to 4096 and, with BlockSize, 4 MiB; the window
	// then only says how often the client acknowledges. 0: DefaultSlide;
	// negative: none.
	Slide int
	// MaxSize is the largest body in bytes. 0: no limit of its own; the size
	// that the server announces always is one.
	MaxSize int64
	// LocalAddr to send from, to servers that have an address of its family.
	// Zero: the system's choice.
	LocalAddr netip.Addr
	// NetASCII asks for the netascii mode: line ends are translated, and
	// neither size nor offset exist. False: octet.
	NetASCII bool
	// NoOptions asks as RFC 1350 did: 512 bytes a block, lock step.
	NoOptions bool
}

// Validate refuses values out of range.
func (c *Client) Validate() error {
	if c.Timeout < 0 || c.Retries < 0 || c.Idle < 0 || c.MaxSize < 0 {
		return errors.New("tftp: Timeout, Retries, Idle and MaxSize must not be negative")
	}
	if c.BlockSize != 0 && (c.BlockSize < minBlock || c.BlockSize > maxBlock) {
		return fmt.Errorf("tftp: BlockSize %d is outside %d to %d", c.BlockSize, minBlock, maxBlock)
	}
	if c.WindowSize < 0 || c.WindowSize > maxWindow {
		return fmt.Errorf("tftp: WindowSize %d is outside 1 to %d", c.WindowSize, maxWindow)
	}
	if c.Slide > maxWindow {
		return fmt.Errorf("tftp: Slide %d is beyond %d", c.Slide, maxWindow)
	}
	if d := c.withDefaults(); d.WindowSize > 1 && d.BlockSize*d.WindowSize > maxWindowBytes {
		return fmt.Errorf("tftp: BlockSize times WindowSize is beyond %d bytes", maxWindowBytes)
	}
	return nil
}

func (c *Client) withDefaults() Client {
	d := *c
	d.Timeout = orElse(d.Timeout, defaultTimeout)
	d.Retries = orElse(d.Retries, defaultRetries)
	d.Idle = orElse(d.Idle, defaultIdle)
	d.BlockSize = orElse(d.BlockSize, DefaultBlockSize)
	d.WindowSize = orElse(d.WindowSize, DefaultWindowSize)
	d.Slide = min(orElse(d.Slide, DefaultSlide), maxWindowBytes/d.BlockSize)
	return d
}

func orElse[T int | int64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Get asks server, "host" or "host:port", for a file from offset on, in bytes.
// It returns when the server has answered; the bytes flow with the first Read.
// Cancelling ctx ends the transfer at once, also after Get has returned.
//
// Errors: *Error is the server's answer; ErrNotFound and ErrAccess match two of
// its codes, the others are in Error.Code. ErrTimeout and ErrRefused mean that
// no answer came, ErrTooMuch that the file is larger than MaxSize. If ctx ends,
// the error is its cause.
func (c *Client) Get(ctx context.Context, server, file string, offset int64) (*Reader, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if file == "" || len(file) > maxName || strings.ContainsRune(file, 0) {
		return nil, fmt.Errorf("tftp: %q is no file name: 1 to %d bytes without NUL", file, maxName)
	}
	if offset < 0 {
		return nil, fmt.Errorf("tftp: offset %d is negative", offset)
	}
	d := c.withDefaults()
	addresses, err := d.resolve(ctx, server)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		var r *Reader
		r, err = d.ask(ctx, a, file, offset)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrRefused) {
			break
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("%s from %s: %w", file, server, err)
}

// splitServer reads HOST or HOST:PORT.
func splitServer(server string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(server)
	if err != nil {
		return strings.Trim(server, "[]"), defaultPort, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("tftp: %q has no port from 1 to 65535", server)
	}
	return host, uint16(n), nil
}

// resolve returns the addresses to try: those of LocalAddr's family, if there
// are any.
func (c *Client) resolve(ctx context.Context, server string) ([]netip.AddrPort, error) {
	host, port, err := splitServer(server)
	if err != nil {
		return nil, err
	}
	found := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		found = append(found, a)
	} else if found, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	var own, other []netip.AddrPort
	for _, a := range found {
		if at := netip.AddrPortFrom(a.Unmap(), port); c.from(at).IsValid() {
			own = append(own, at)
		} else {
			other = append(other, at)
		}
	}
	if len(own) == 0 {
		own = other
	}
	return own[:min(len(own), maxAddresses)], nil
}

// from returns LocalAddr where it is of the server's family, else nothing.
func (c *Client) from(server netip.AddrPort) netip.Addr {
	if local := c.LocalAddr.Unmap(); local.IsValid() && local.Is4() == server.Addr().Is4() {
		return local
	}
	return netip.Addr{}
}

// ask sends the request, and once more without options if the server refuses
// them.
func (c *Client) ask(ctx context.Context, server netip.AddrPort, file string, offset int64) (*Reader, error) {
	plain := packet{op: opRead, name: file, mode: "octet"}
	if c.NetASCII {
		plain.mode = "netascii"
	}
	full := plain
	if !c.NoOptions {
		full.options = c.options(offset)
	}
	r, err := c.open(ctx, server, full)
	bad := errors.Is(err, errBadOption) || errors.Is(err, errIllegal) || errors.Is(err, errBadOAck)
	if bad && len(full.options) > 0 {
		return c.open(ctx, server, plain)
	}
	return r, err
}

func (c *Client) options(offset int64) []option {
	var o []option
	if c.BlockSize != defaultBlock {
		o = append(o, formatOption(optBlockSize, int64(c.BlockSize)))
	}
	if !c.NetASCII {
		o = append(o, formatOption(optSize, 0))
	}
	if c.WindowSize > 1 {
		o = append(o, formatOption(optWindowSize, int64(c.WindowSize)))
	}
	if s := c.Timeout / time.Second; c.Timeout != defaultTimeout && c.Timeout%time.Second == 0 && s <= maxTimeout {
		o = append(o, formatOption(optTimeout, int64(s)))
	}
	if c.WindowSize > 1 && c.Slide > c.WindowSize && !c.NetASCII {
		o = append(o, formatOption(optSlide, int64(c.Slide)))
	}
	if offset > 0 && !c.NetASCII {
		o = append(o, formatOption(optOffset, offset))
	}
	return o
}

var errBadOAck = errors.New("the server granted what was not asked")

// open sends one form of the request until the server answers.
func (c *Client) open(ctx context.Context, server netip.AddrPort, req packet) (_ *Reader, err error) {
	local := c.from(server)
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if server.Addr().Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	block := defaultBlock
	if len(req.options) > 0 {
		block = max(block, c.BlockSize)
	}
	s, err := listen(ctx, local, block)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	first, from, err := c.firstAnswer(s, server, &req)
	if err != nil {
		return nil, err
	}
	r := &Reader{socket: s, peer: from, params: defaultParams(), most: c.MaxSize}
	if c.NetASCII {
		r.text = &netasciiDecoder{}
	}
	if first.op == opOAck {
		if r.params, err = accept(&req, &first); err != nil {
			s.sendError(&Error{Code: codeBadOption, Message: err.Error()}, from)
			return nil, fmt.Errorf("%w: %w", errBadOAck, err)
		}
		r.owed = true
	} else {
		r.held = first
		r.hasHeld = true
	}
	if c.MaxSize > 0 && r.params.size > c.MaxSize {
		s.sendError(&Error{Code: codeUndefined, Message: "the file is too large"}, from)
		return nil, fmt.Errorf("%w: the file has %d bytes, the limit is %d", ErrTooMuch, r.params.size, c.MaxSize)
	}
	r.state = newReceiver(time.Now(), r.params, c.Timeout, c.Idle, c.Retries)
	return r, nil
}

// firstAnswer repeats the request until an OACK, the first DATA or an ERROR
// comes from the server's address, from whatever port.
func (c *Client) firstAnswer(s *socket, server netip.AddrPort, req *packet) (packet, netip.AddrPort, error) {
	none := netip.AddrPort{}
	b := req.append(nil)
	wait, end := c.Timeout, time.Now().Add(c.Idle)
	for range c.Retries + 1 {
		if err := s.write(b, server); err != nil {
			return packet{}, none, err
		}
		until := time.Now().Add(wait)
		if until.After(end) {
			until = end
		}
		for time.Now().Before(until) {
			in, from, err := s.read(until)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			if err != nil {
				return packet{}, none, err
			}
			if from.Addr() != server.Addr() {
				continue
			}
			p, err := parse(in)
			if err != nil {
				continue
			}
			switch {
			case p.op == opError:
				return packet{}, none, &Error{Code: p.code, Message: p.message}
			case p.op == opOAck && len(req.options) > 0, p.op == opData && p.block == 1:
				return p, from, nil
			}
		}
		wait *= 2
		if !time.Now().Before(end) {
			break
		}
	}
	return packet{}, none, fmt.Errorf("%w: %s is silent", ErrTimeout, server)
}
