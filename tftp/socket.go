package tftp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Sizes of what goes through a socket in one call. If the system can, many
// packets of one size are sent or received at once (UDP_SEGMENT and UDP_GRO on
// Linux).
const (
	maxDatagram = 65507
	maxSegments = 64
	// readBuffer holds packets that arrive while the reader does something
	// else.
	readBuffer = 1 << 20
	// lastWords is how long to wait for what the other side sent before it
	// closed its port. The system reports the closed port first.
	lastWords = 10 * time.Millisecond
)

// socket is one side's UDP socket of one transfer.
type socket struct {
	conn *net.UDPConn
	ctx  context.Context
	stop func() bool // ends the watch over ctx
	// segment is the size by which the system cuts what is written, 0 if it
	// does not.
	segment int
	// merges says that the system may hand over several packets at once.
	merges bool
	// answeredThird: a packet was sent to a third host, so a refusal may come
	// from there and not from the other side.
	answeredThird bool
	// refused: the other side's port is closed. What it sent before is read
	// first, such as the ERROR with which it ended.
	refused bool

	in       []byte
	oob      [64]byte
	rest     []byte // packets read and not yet taken
	restSize int    // size of each but the last
	restFrom netip.AddrPort
	armed    time.Time // read deadline as set
}

// listen opens a socket on a free port of the address local. A cancelled ctx
// ends every read. blockSize is the largest block that will be read, 0 if only
// small packets come.
func listen(ctx context.Context, local netip.Addr, blockSize int) (*socket, error) {
	network := "udp4"
	if local.Is6() && !local.Is4In6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(local.Unmap(), 0)))
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, ctx: ctx, in: make([]byte, maxRequest)}
	reportErrors(conn)
	if blockSize > 0 {
		s.merges = mergePackets(conn)
		conn.SetReadBuffer(readBuffer) //nolint:errcheck // as much as the system gives
		// A byte more than the largest packet, so that a longer one is seen.
		s.in = make([]byte, max(maxRequest, headerSize+blockSize+1))
		if s.merges {
			s.in = make([]byte, maxDatagram)
		}
	}
	// read looks at ctx after it has set its deadline, so that neither order of
	// the two loses the cancel.
	s.stop = context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed already
	return s, nil
}

// forgetContext makes later reads independent of the context given to listen.
func (s *socket) forgetContext() {
	s.stop()
	s.ctx, s.stop, s.armed = context.Background(), func() bool { return true }, time.Time{}
}

func (s *socket) close() {
	s.stop()
	s.conn.Close()
}

// cut makes the system split what write sends into packets of size bytes.
func (s *socket) cut(size int) {
	if size >= headerSize+defaultBlock && size <= maxDatagram/2 && segmentPackets(s.conn, size) {
		s.segment = size
	}
}

// batch is how many packets of size bytes write takes at once.
func (s *socket) batch() int {
	if s.segment == 0 {
		return 1
	}
	return min(maxSegments, maxDatagram/s.segment)
}

// write sends b: one packet, or several of the size given to cut, of which the
// last may be shorter. If the other side's port is closed, read reports it.
func (s *socket) write(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	if err == nil || s.segment == 0 || len(b) <= s.segment || errors.Is(err, syscall.ECONNREFUSED) {
		return s.refusal(err)
	}
	// The path or the device does not support it: packets are sent one by one
	// from now on.
	size := s.segment
	segmentPackets(s.conn, 0)
	s.segment = 0
	for len(b) > 0 {
		n := min(size, len(b))
		if _, err := s.conn.WriteToUDPAddrPort(b[:n], to); s.refusal(err) != nil {
			return s.refusal(err)
		}
		b = b[n:]
	}
	return nil
}

// read returns the next packet; it is valid until the next call. The error is
// os.ErrDeadlineExceeded when nothing came by then, ErrRefused when the other
// side's port is closed and all that it sent is read, the cause when ctx was
// cancelled.
func (s *socket) read(by time.Time) ([]byte, netip.AddrPort, error) {
	if len(s.rest) == 0 {
		if s.refused {
			by = time.Now().Add(lastWords)
		}
		// Moving a deadline is expensive, so one that is too early stays: the
		// caller checks the time and calls again.
		if s.armed.IsZero() || s.armed.After(by) || !time.Now().Before(s.armed) {
			if err := s.conn.SetReadDeadline(by); err != nil {
				return nil, netip.AddrPort{}, err
			}
			s.armed = by
		}
		if s.ctx.Err() != nil {
			return nil, netip.AddrPort{}, context.Cause(s.ctx)
		}
		if err := s.fill(); err != nil {
			s.armed = time.Time{}
			switch {
			case s.ctx.Err() != nil:
				err = context.Cause(s.ctx)
			case s.refused && errors.Is(err, os.ErrDeadlineExceeded):
				err = ErrRefused
			}
			return nil, netip.AddrPort{}, err
		}
	}
	n := min(s.restSize, len(s.rest))
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b, s.restFrom, nil
}

func (s *socket) fill() error {
	for {
		n, oobn, _, from, err := s.conn.ReadMsgUDPAddrPort(s.in, s.oob[:])
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			if err = s.refusal(err); err != nil {
				return err
			}
			if s.refused { // its last packets may have come already
				if err := s.conn.SetReadDeadline(time.Now().Add(lastWords)); err != nil {
					return err
				}
				if s.ctx.Err() != nil {
					return s.ctx.Err()
				}
			}
			continue
		}
		s.rest, s.restSize = s.in[:n], n
		s.restFrom = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if s.merges {
			if size := mergedSize(s.oob[:oobn]); size > 0 {
				s.restSize = size
			}
		}
		if n > 0 {
			return nil
		}
	}
}

// refusal returns those errors of a socket that end a transfer. Retransmission
// handles the others.
func (s *socket) refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ECONNREFUSED):
		s.refused = s.refused || !s.answeredThird
		return nil
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EMSGSIZE), errors.Is(err, syscall.ENOBUFS),
		errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EPERM):
		return nil
	}
	return err
}

// sendError tells the other side why the transfer ends; it does not matter if
// the packet is lost.
func (s *socket) sendError(e *Error, to netip.AddrPort) {
	message := e.Message
	if message == "" {
		message = codeName(e.Code)
	}
	p := packet{op: opError, code: e.Code, message: message[:min(len(message), 200)]}
	s.conn.WriteToUDPAddrPort(p.append(nil), to) //nolint:errcheck // see above
}

// turnAway answers a packet from outside the transfer with ERROR 5, unless it
// is itself an ERROR.
func (s *socket) turnAway(b []byte, from netip.AddrPort) {
	if p, err := parse(b); err == nil && p.op != opError {
		s.answeredThird = true
		s.sendError(&Error{Code: codeUnknownTID}, from)
	}
}
