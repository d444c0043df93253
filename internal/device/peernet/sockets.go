package peernet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

const (
	// dscpLE is the lower-effort codepoint 000001 (RFC 8622).
	dscpLE  = 1
	maxDSCP = 63
	// ReceiveBuffer is asked for on the UDP sockets, in bytes: a broadcast may
	// bring the answers of a whole subnet at once.
	ReceiveBuffer = 1 << 20
	// DefaultUserTimeout is how long a link survives a silent peer.
	DefaultUserTimeout = 5 * time.Second
	// retryAfter is the wait after a failed accept or read that may pass, such
	// as a full table of open files.
	retryAfter = 100 * time.Millisecond
)

// keepAlive finds a peer that lost its power within 5 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}

// Config says which address a device has. The zero value is usable.
type Config struct {
	// Address is the own address with the length of its prefix. The interface's
	// own prefix is what counts: another length here only gives a warning, and
	// /32 means unknown. Any address of 127.0.0.0/8 will do on loopback. Zero:
	// chosen by Interface.
	Address netip.Prefix
	// Interface to take the address from, by name. Empty, with Address zero:
	// that of the route to the first of Servers that has one to a subnet, or of
	// the default route, else the one where peers are most likely.
	Interface string
	// Servers are the hosts that files come from, names or addresses: the peers
	// are where the way to them begins. nil: not known.
	Servers []string
	// Port is the UDP port of broadcasts, and the preferred port for unicast
	// datagrams and links. 0: wire.Port, that of the original: firewalls that
	// let it through know it.
	Port uint16
	// DSCP marks all packets, 1 to 63. 0: lower effort (1, RFC 8622), because
	// firmware may wait for calls. -1: the packets stay unmarked.
	DSCP int
	// UserTimeout is how long data on a link may stay unacknowledged before
	// the link breaks (TCP_USER_TIMEOUT). It also breaks a link whose other
	// side is alive but has not read for so long that its window is shut. 0:
	// DefaultUserTimeout, 5 s, as the protocol asks for. Negative: the system's
	// default.
	UserTimeout time.Duration
}

// Validate refuses values out of range.
func (c Config) Validate() error {
	if c.DSCP < -1 || c.DSCP > maxDSCP {
		return fmt.Errorf("DSCP %d: must be 1 to %d, 0 for lower effort or -1 for none", c.DSCP, maxDSCP)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = wire.Port
	}
	if c.DSCP == 0 {
		c.DSCP = dscpLE
	}
	if c.UserTimeout == 0 {
		c.UserTimeout = DefaultUserTimeout
	}
	return c
}

// Sockets is a Net over the sockets of this host. Its methods may be called
// from several goroutines.
type Sockets struct {
	cfg      Config
	subnet   subnet
	warnings []string

	// unicast sends everything and receives what is sent to the own address.
	unicast *net.UDPConn
	addr    netip.AddrPort
	// broadcast receives broadcasts; nil where there is no broadcast or
	// another program keeps the port to itself.
	broadcast *net.UDPConn
	listener  *net.TCPListener
	dialer    net.Dialer

	counters  Counters
	closeOnce sync.Once
	closed    chan struct{}
}

var _ Net = (*Sockets)(nil)

// Listen opens the sockets. It fails with ErrNoAddress where the host has no
// address that would do; a port that is taken is no failure.
func Listen(cfg Config) (*Sockets, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, err := hostAddrs()
	if err != nil {
		return nil, err
	}
	s := &Sockets{cfg: cfg.withDefaults(), closed: make(chan struct{})}
	if s.subnet, s.warnings, err = choose(cfg, host, routeTo); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Sockets) open() error {
	own := netip.AddrPortFrom(s.subnet.addr, s.cfg.Port)
	udp := udpOptions(s.cfg.DSCP)
	// The unicast socket must not share its address: of two processes on one
	// address and port only one would get what is sent there.
	err := orAnyPort(own, func(at netip.AddrPort) (err error) {
		s.unicast, err = listenUDP(at, udp)
		return err
	})
	if err != nil {
		return fmt.Errorf("open UDP %s: %w", own, err)
	}
	bound := s.unicast.LocalAddr().(*net.UDPAddr).AddrPort()
	s.addr = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	s.openBroadcast(append(udp, reuseAddr()))

	tcp := tcpOptions(s.cfg.DSCP, s.cfg.UserTimeout)
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: control(tcp)}
	// Options of a link are plain TCP's; multipath TCP refuses some.
	lc.SetMultipathTCP(false)
	err = orAnyPort(own, func(at netip.AddrPort) error {
		l, err := lc.Listen(context.Background(), "tcp4", at.String())
		if err == nil {
			s.listener = l.(*net.TCPListener)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("open TCP %s: %w", own, err)
	}
	s.dialer = net.Dialer{
		LocalAddr:       &net.TCPAddr{IP: s.subnet.addr.AsSlice()},
		KeepAliveConfig: keepAlive,
		Control:         control(tcp),
	}
	s.dialer.SetMultipathTCP(false)
	return nil
}

// openBroadcast opens the socket that hears broadcasts. Without it the device
// still sends broadcasts but receives only unicast, so failures are warnings.
func (s *Sockets) openBroadcast(opts []sockopt) {
	if !s.subnet.broadcast.IsValid() {
		s.warn("%s has no broadcast address: no peer can be found there", s.subnet.prefix)
		return
	}
	var err error
	if s.broadcast, err = listenUDP(netip.AddrPortFrom(s.subnet.broadcast, s.cfg.Port), opts); err == nil {
		return
	}
	// Not every kernel binds to a broadcast address. The wildcard overlaps the
	// unicast socket, which may share only from now on: when it was bound, it
	// had its address for itself.
	var werr error
	if raw, rerr := s.unicast.SyscallConn(); rerr != nil {
		werr = rerr
	} else if werr = apply(raw, reuseAddr()); werr == nil {
		s.broadcast, werr = listenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), s.cfg.Port), opts)
	}
	if werr != nil {
		s.broadcast = nil
		s.warn("broadcasts of other devices cannot be heard: %v; %v", err, werr)
	}
}

func (s *Sockets) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// orAnyPort opens a socket at a port, or where that is taken at any other.
func orAnyPort(at netip.AddrPort, open func(netip.AddrPort) error) error {
	err := open(at)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = open(netip.AddrPortFrom(at.Addr(), 0))
	}
	return err
}

func control(opts []sockopt) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error { return apply(c, opts...) }
}

func listenUDP(at netip.AddrPort, opts []sockopt) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: control(opts)}
	c, err := lc.ListenPacket(context.Background(), "udp4", at.String())
	if err != nil {
		return nil, err
	}
	u := c.(*net.UDPConn)
	if raw, err := u.SyscallConn(); err == nil {
		growReceiveBuffer(raw, ReceiveBuffer)
	}
	return u, nil
}

// Warnings returns what is not as it was asked for, in sentences for people.
func (s *Sockets) Warnings() []string { return append([]string(nil), s.warnings...) }

// Stats returns the counters.
func (s *Sockets) Stats() Stats { return s.counters.Stats() }

// Addr implements Net.
func (s *Sockets) Addr() netip.AddrPort { return s.addr }

// TCPPort implements Net.
func (s *Sockets) TCPPort() uint16 {
	return s.listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// Broadcast implements Net. Where the subnet has no broadcast address nobody
// is there to hear it.
func (s *Sockets) Broadcast(b []byte) error {
	if !s.subnet.broadcast.IsValid() {
		return nil
	}
	return s.send(netip.AddrPortFrom(s.subnet.broadcast, s.cfg.Port), b, true)
}

// Send implements Net.
func (s *Sockets) Send(to netip.AddrPort, b []byte) error {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if !s.subnet.onLink(to.Addr()) {
		s.counters.SendErrors.Add(1)
		return fmt.Errorf("send to %s: %w (%s)", to, ErrOffLink, s.subnet.prefix)
	}
	return s.send(to, b, false)
}

func (s *Sockets) send(to netip.AddrPort, b []byte, broadcast bool) error {
	var err error
	if len(b) > wire.MaxDatagram {
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(b), wire.MaxDatagram)
	} else {
		_, err = s.unicast.WriteToUDPAddrPort(b, to)
	}
	s.counters.CountSent(len(b), broadcast, err)
	return err
}

// Dial implements Net.
func (s *Sockets) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	c, err := s.dial(ctx, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	if err != nil {
		s.counters.DialErrors.Add(1)
		return nil, err
	}
	s.counters.Dialled.Add(1)
	return c, nil
}

func (s *Sockets) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	select {
	case <-s.closed:
		return nil, fmt.Errorf("dial %s: %w", to, net.ErrClosed)
	default:
	}
	if !s.subnet.onLink(to.Addr()) {
		return nil, fmt.Errorf("dial %s: %w (%s)", to, ErrOffLink, s.subnet.prefix)
	}
	return s.dialer.DialContext(ctx, "tcp4", to.String())
}

// Close implements Net.
func (s *Sockets) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closed)
		if s.unicast != nil {
			err = errors.Join(err, s.unicast.Close())
		}
		if s.broadcast != nil {
			err = errors.Join(err, s.broadcast.Close())
		}
		if s.listener != nil {
			err = errors.Join(err, s.listener.Close())
		}
	})
	return err
}
