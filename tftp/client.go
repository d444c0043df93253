package tftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	// DefaultSlide in blocks: 20 Mbit/s at 400 ms, three times, since what comes
	// behind a block that is lost waits for it.
	DefaultSlide = 2048

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
	// Learned keeps what was found out about servers from one request to the
	// next, such as that large blocks do not arrive. Clients may share one. nil:
	// every request begins anew.
	Learned *Learned
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
// It returns when the first block has come. Cancelling ctx ends the transfer at
// once, also after Get has returned.
//
// Whatever goes wrong before that, but that the server has no such file, leads
// to another request that asks for less: smaller blocks, and in the end no
// option at all. The answer may come from another address of the server; the
// first that answers is stayed with.
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
