package tftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/ratelimit"
	"github.com/peerload/peerload/tftp/internal/slide"
)

// Defaults and limits of Server.
const (
	defaultMaxWindow    = 64
	defaultMaxSlide     = slide.MaxBlocks
	defaultMaxTransfers = 256
	defaultServerIdle   = 30 * time.Second
	// rateBurst is what may pass at once after a pause where Rate limits.
	rateBurst = 20 * time.Millisecond
)

// Server serves files to read. Set the fields, then call Serve; they must not
// change after. A write request is refused with ERROR 2.
type Server struct {
	// Files opens what is served. Required. Dir serves a directory.
	Files Opener
	// MaxBlockSize is the largest block granted, 512 to 65464 bytes. 0: 65464.
	MaxBlockSize int
	// MaxWindow is the largest window granted, in blocks, 1 to 4096. 0: 64.
	// Window and block together stay below 4 MiB.
	MaxWindow int
	// MaxSlide is the largest number of blocks in flight that is granted to a
	// client that knows the slide option, up to 4096. 0: 4096; negative: none.
	MaxSlide int
	// MaxTransfers is the number of transfers at one time. A request beyond it
	// is dropped: the client asks again, and the queue costs nothing. 0: 256.
	MaxTransfers int
	// Timeout is the first wait for an ACK; after that the measured round trip
	// or what the client asked for is used. 0: 1 s.
	Timeout time.Duration
	// Retries is how often in a row a window is sent again without an answer.
	// 0: 5.
	Retries int
	// Idle is the time without progress after which a transfer is given up.
	// 0: 30 s.
	Idle time.Duration
	// Rate limits the bytes of DATA per second, all transfers together. 0: no
	// limit.
	Rate int64
	// OnTransfer, if set, is told of every transfer when it starts and when it
	// ends, and of every request that is refused. It is called from several
	// goroutines and must not block.
	OnTransfer func(Transfer)
	// Log, if set, is told of what is no transfer: broken and dropped requests.
	Log *slog.Logger

	mu     sync.Mutex
	active map[netip.AddrPort]*transfer
}

// Transfer is what OnTransfer is told.
type Transfer struct {
	// Client is the client's address and port.
	Client netip.AddrPort
	// Name of the file as asked for.
	Name string
	// Offset where it was sent from and Size of the whole file, in bytes. Size
	// is -1 if no file was opened.
	Offset, Size int64
	// BlockSize in bytes, WindowSize and Slide in blocks, as agreed; Slide is 0
	// if it was not.
	BlockSize, WindowSize, Slide int
	// NetASCII says that line ends were translated.
	NetASCII bool
	// Sent is the payload sent for the first time, Resent the payload sent
	// again, in bytes.
	Sent, Resent int64
	// Started is when the request came; Elapsed is the time since, 0 at start.
	Started time.Time
	Elapsed time.Duration
	// Ended distinguishes the report at the end from the one at the start. Err
	// is then nil if the client acknowledged the last block.
	Ended bool
	Err   error
}

// Validate refuses values out of range.
func (s *Server) Validate() error {
	if s.Files == nil {
		return errors.New("tftp: a server needs Files")
	}
	if s.MaxBlockSize != 0 && (s.MaxBlockSize < defaultBlock || s.MaxBlockSize > maxBlock) {
		return fmt.Errorf("tftp: MaxBlockSize %d is outside %d to %d", s.MaxBlockSize, defaultBlock, maxBlock)
	}
	if s.MaxWindow < 0 || s.MaxWindow > maxWindow {
		return fmt.Errorf("tftp: MaxWindow %d is outside 1 to %d", s.MaxWindow, maxWindow)
	}
	if s.MaxSlide > maxWindow {
		return fmt.Errorf("tftp: MaxSlide %d is beyond %d", s.MaxSlide, maxWindow)
	}
	if s.MaxTransfers < 0 || s.Timeout < 0 || s.Retries < 0 || s.Idle < 0 || s.Rate < 0 {
		return errors.New("tftp: MaxTransfers, Timeout, Retries, Idle and Rate must not be negative")
	}
	return nil
}

func (s *Server) limits() limits {
	return limits{
		block: orElse(s.MaxBlockSize, maxBlock), window: orElse(s.MaxWindow, defaultMaxWindow),
		slide: orElse(s.MaxSlide, defaultMaxSlide),
	}
}

// Serve answers the requests that come in at conn until ctx is cancelled; then it
// ends the transfers under way, closes conn and returns nil. A transfer has a
// socket of its own on the address that the request was sent to.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	if err := s.Validate(); err != nil {
		return err
	}
	defer conn.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	l := &listener{Server: s, conn: conn, limit: ratelimit.New(float64(s.Rate), rateBurst), wg: &wg}
	l.local = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if l.local.IsUnspecified() {
		reportDestination(conn)
	}
	b, oob := make([]byte, maxRequest+1), make([]byte, 256)
	for {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(b, oob)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err == nil {
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			l.request(ctx, b[:n], oob[:oobn], from)
		}
	}
}

// listener is one call of Serve.
type listener struct {
	*Server
	conn  *net.UDPConn
	local netip.Addr
	limit *ratelimit.Limiter
	wg    *sync.WaitGroup
}

// request takes one packet that came to the server's port.
func (l *listener) request(ctx context.Context, b, oob []byte, from netip.AddrPort) {
	req, err := parse(b)
	if err != nil || req.op != opRead && req.op != opWrite {
		l.log("request dropped", from, err)
		// Only what looks like a request is answered: otherwise two programs
		// could answer each other's errors forever.
		if err != nil && len(b) >= 2 && b[0] == 0 && (b[1] == byte(opRead) || b[1] == byte(opWrite)) {
			answer := packet{op: opError, code: codeIllegal, message: "malformed request"}
			l.conn.WriteToUDPAddrPort(answer.append(nil), from) //nolint:errcheck // the client may ask again
		}
		return
	}
	local := l.local
	if local.IsUnspecified() {
		if to := destination(oob); to.IsValid() && !to.IsMulticast() && to != netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			local = to
		}
	}
	if local.Is4() != from.Addr().Is4() && local.IsUnspecified() {
		local = netip.IPv4Unspecified() // an IPv4 client of a dual-stack socket
	}
	t := &transfer{
		listener: l, raw: string(b), req: req, local: local, peer: from,
		report: Transfer{Client: from, Name: req.name, Size: -1, BlockSize: defaultBlock, WindowSize: 1, Started: time.Now()},
	}
	ctx, t.cancel = context.WithCancelCause(ctx)
	if !l.admit(t) {
		t.cancel(nil)
		return
	}
	l.wg.Go(func() {
		defer t.cancel(nil)
		defer l.leave(t)
		t.run(ctx)
	})
}

var errSuperseded = errors.New("the client asked for something else")

// admit enters t among the active transfers. A repeated request whose transfer
// has not moved yet is dropped, since that transfer answers it; any other
// request from the same port ends what went before.
func (l *listener) admit(t *transfer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active == nil {
		l.active = make(map[netip.AddrPort]*transfer)
	}
	if old := l.active[t.peer]; old != nil {
		if old.raw == t.raw && !old.moved.Load() {
			return false
		}
		old.cancel(errSuperseded)
	} else if len(l.active) >= orElse(l.MaxTransfers, defaultMaxTransfers) {
		l.log("request dropped: too many transfers", t.peer, nil)
		return false
	}
	l.active[t.peer] = t
	return true
}

func (l *listener) leave(t *transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active[t.peer] == t {
		delete(l.active, t.peer)
	}
}

func (l *listener) log(what string, client netip.AddrPort, err error) {
	if l.Log != nil {
		l.Log.Info(what, "client", client, "error", err)
	}
}
