// Package fabric is a virtual subnet for tests: a peernet.Net without sockets,
// with latency, loss, partitions and devices that die, in virtual time.
//
// What lives here: how datagrams and links behave on a subnet. What must not:
// what a message means. Its nodes admit and count by peernet.Counters, and the
// suite of internal/testkit/netsuite checks that they behave like sockets.
//
// Read fabric.go (the subnet and its nodes), then link.go (the connections).
package fabric

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/pdp/wire"
)

// Config describes a virtual subnet. The zero value is a perfect one.
type Config struct {
	// Prefix of the subnet. Zero: 10.77.0.0/16. A node whose address lies
	// outside is off-link: its packets arrive, as through a router, and the
	// others drop them.
	Prefix netip.Prefix
	// Port as in peernet.Config. 0: wire.Port.
	Port uint16
	// Latency is the time of a packet from one node to another. 0: none.
	Latency time.Duration
	// Jitter delays every datagram by a further random time of less than
	// Jitter, so that they overtake each other. Links keep their order. 0:
	// none.
	Jitter time.Duration
	// Loss is the probability, 0 to 1, that a datagram on its way to one node
	// is lost. Links lose nothing.
	Loss float64
	// Duplicate is the probability, 0 to 1, that a datagram on its way to one
	// node arrives twice.
	Duplicate float64
	// Buffer is how many bytes one direction of a link holds, on the way and
	// unread. 0: 256 KiB, about that of a kernel.
	Buffer int
	// UserTimeout is how long a link survives when nothing gets through, as in
	// peernet.Config. 0: peernet.DefaultUserTimeout. Negative: for ever.
	UserTimeout time.Duration
	// Seed of all chance. 0 is as good as any other.
	Seed uint64
}

// Fabric is a virtual subnet. It uses timers and channels only, so that it
// runs in virtual time inside a testing/synctest bubble; it must then be made
// inside the bubble.
type Fabric struct {
	cfg Config

	// mu guards all that follows, the nodes and the links.
	mu    sync.Mutex
	nodes []*Node
	links map[*link]struct{}
	// groups of a partition; a node that is not in it is in group 0.
	groups map[*Node]int
	next   uint16
	seq    uint64
}

const (
	// inboxBytes bounds the datagrams that wait at a node, as the receive buffer
	// does for a socket.
	inboxBytes = peernet.ReceiveBuffer
	// datagramCost is what a waiting datagram takes beside its bytes.
	datagramCost = 512
	firstPort    = 49152
	// arpTimeout is how long a dial to nobody takes to fail.
	arpTimeout = 3 * time.Second
)

// Validate refuses a subnet that cannot be.
func (c Config) Validate() error {
	if c.Prefix.IsValid() && !c.Prefix.Addr().Is4() {
		return fmt.Errorf("fabric: %v is no prefix of IPv4", c.Prefix)
	}
	if !chance(c.Loss) || !chance(c.Duplicate) {
		return fmt.Errorf("fabric: Loss %v and Duplicate %v are probabilities, 0 to 1", c.Loss, c.Duplicate)
	}
	if c.Latency < 0 || c.Jitter < 0 || c.Buffer < 0 {
		return errors.New("fabric: Latency, Jitter and Buffer must not be negative")
	}
	return nil
}

// chance reports whether p is a probability.
func chance(p float64) bool { return p >= 0 && p <= 1 }

// New returns an empty subnet. It panics if cfg is not valid: only tests make
// one.
func New(cfg Config) *Fabric {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if !cfg.Prefix.IsValid() {
		cfg.Prefix = netip.MustParsePrefix("10.77.0.0/16")
	}
	if cfg.Port == 0 {
		cfg.Port = wire.Port
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = 256 << 10
	}
	if cfg.UserTimeout == 0 {
		cfg.UserTimeout = peernet.DefaultUserTimeout
	}
	cfg.Prefix = cfg.Prefix.Masked()
	return &Fabric{
		cfg:    cfg,
		links:  make(map[*link]struct{}),
		groups: make(map[*Node]int),
		next:   firstPort,
	}
}

// Node is one process on a device of a Fabric.
type Node struct {
	f    *Fabric
	addr netip.AddrPort
	tcp  uint16

	counters peernet.Counters

	// All that follows is guarded by f.mu.
	rand      *rand.Rand
	closed    bool
	silent    bool
	up, down  meter
	datagrams queue[datagram]
	inbox     int
	overflow  int
	arrivals  queue[*end]
	change    signal
}

var _ peernet.Net = (*Node)(nil)

// datagram is on its way to a node, or waits there.
type datagram struct {
	from netip.AddrPort
	b    []byte
}

// Join adds a process at addr. The first at an address takes the fabric's
// port, for datagrams and for links; the next ones take others.
func (f *Fabric) Join(addr netip.Addr) *Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	addr = addr.Unmap()
	port := f.cfg.Port
	if slices.ContainsFunc(f.nodes, func(n *Node) bool { return n.addr == netip.AddrPortFrom(addr, port) }) {
		port = f.anyPort()
	}
	ip := addr.As16()
	seed := f.cfg.Seed
	for _, b := range ip {
		seed = seed*1099511628211 + uint64(b)
	}
	n := &Node{f: f, addr: netip.AddrPortFrom(addr, port), tcp: port, rand: rand.New(rand.NewPCG(seed, uint64(port)))}
	f.nodes = append(f.nodes, n)
	return n
}

// onLink reports whether an address is on the subnet.
func (f *Fabric) onLink(a netip.Addr) bool { return peernet.OnLink(f.cfg.Prefix, a) }

// anyPort returns a port that nobody has. Needs f.mu.
func (f *Fabric) anyPort() uint16 {
	f.next++
	if f.next < firstPort {
		f.next = firstPort
	}
	return f.next
}

// Partition splits the subnet: nodes hear only those of their own group.
// Nodes that no group names form one more group. It replaces an earlier split;
// without groups all hear all again.
func (f *Fabric) Partition(groups ...[]*Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.groups)
	for i, g := range groups {
		for _, n := range g {
			f.groups[n] = i + 1
		}
	}
	f.refresh()
}

// Kill ends a process: its links are reset, its ports are free.
func (f *Fabric) Kill(n *Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.links {
		for _, e := range l.ends {
			if e.node == n && !e.closed {
				e.closed = true
				e.reset()
			}
		}
	}
	f.leave(n)
}

// Silence cuts a device's power: it hears and sends nothing any more, and the
// others learn it by timeout only.
func (f *Fabric) Silence(n *Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n.silent = true
	n.datagrams, n.arrivals = queue[datagram]{}, queue[*end]{}
	f.refresh()
}

// refresh cuts and heals links after a change. Needs f.mu.
func (f *Fabric) refresh() {
	now := time.Now()
	for l := range f.links {
		l.refresh(now)
	}
}

// reachable reports whether packets pass from a to b. Needs f.mu.
func (f *Fabric) reachable(a, b *Node) bool {
	return !a.silent && !b.silent && f.groups[a] == f.groups[b]
}

// leave takes a node off the fabric. Needs f.mu.
func (f *Fabric) leave(n *Node) {
	if n.closed {
		return
	}
	n.closed = true
	f.nodes = slices.DeleteFunc(f.nodes, func(m *Node) bool { return m == n })
	for _, a := range n.arrivals.items {
		a.v.closed = true
		a.v.reset()
	}
	n.arrivals, n.datagrams = queue[*end]{}, queue[datagram]{}
	n.change.raise()
}

// SetRate limits what the node sends and receives, payload only, in bytes per
// second; 0 means no limit.
func (n *Node) SetRate(up, down int64) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	n.up.rate, n.down.rate = up, down
}

// Stats returns the counters.
func (n *Node) Stats() peernet.Stats { return n.counters.Stats() }

// Overflow returns how many datagrams were dropped because too many waited.
func (n *Node) Overflow() int {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	return n.overflow
}

// Addr implements peernet.Net.
func (n *Node) Addr() netip.AddrPort { return n.addr }

// TCPPort implements peernet.Net.
func (n *Node) TCPPort() uint16 { return n.tcp }

// Close implements peernet.Net.
func (n *Node) Close() error {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	n.f.leave(n)
	return nil
}

// Broadcast implements peernet.Net. Every process of the subnet gets a copy, whatever
// its own port.
func (n *Node) Broadcast(b []byte) error {
	return n.send(b, true, func() error {
		now := time.Now()
		sent := n.up.pass(now, len(b))
		for _, m := range n.f.nodes {
			// Broadcasts do not leave the subnet.
			if m != n && n.f.onLink(n.addr.Addr()) && n.f.onLink(m.addr.Addr()) {
				n.deliver(m, sent, b)
			}
		}
		return nil
	})
}

// Send implements peernet.Net.
func (n *Node) Send(to netip.AddrPort, b []byte) error {
	return n.send(b, false, func() error {
		if n.offLink(to.Addr()) {
			return fmt.Errorf("send to %s: %w (%s)", to, peernet.ErrOffLink, n.f.cfg.Prefix)
		}
		sent := n.up.pass(time.Now(), len(b))
		for _, m := range n.f.nodes {
			if m.addr == to {
				n.deliver(m, sent, b)
			}
		}
		return nil
	})
}

// offLink reports whether a node of the subnet addresses something outside. One
// that is outside itself may address anything.
func (n *Node) offLink(to netip.Addr) bool {
	return n.f.onLink(n.addr.Addr()) && !n.f.onLink(to)
}

func (n *Node) send(b []byte, broadcast bool, do func() error) error {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	var err error
	switch {
	case n.closed:
		err = net.ErrClosed
	case len(b) > wire.MaxDatagram:
		err = fmt.Errorf("%w: %d bytes, at most %d", peernet.ErrTooLong, len(b), wire.MaxDatagram)
	default:
		err = do()
	}
	n.counters.CountSent(len(b), broadcast, err)
	return err
}

// deliver puts b, sent at a time, on its way to m. Needs f.mu.
func (n *Node) deliver(m *Node, sent time.Time, b []byte) {
	f := n.f
	copies := 1
	if n.rand.Float64() < f.cfg.Loss {
		copies = 0
	} else if n.rand.Float64() < f.cfg.Duplicate {
		copies = 2
	}
	if !f.reachable(n, m) {
		return
	}
	for range copies {
		due := sent.Add(f.cfg.Latency)
		if f.cfg.Jitter > 0 {
			due = due.Add(time.Duration(n.rand.Int64N(int64(f.cfg.Jitter))))
		}
		if m.inbox+len(b)+datagramCost > inboxBytes {
			m.overflow++
			continue
		}
		m.inbox += len(b) + datagramCost
		f.seq++
		m.datagrams.push(m.down.pass(due, len(b)), f.seq, datagram{from: n.addr, b: slices.Clone(b)})
		m.change.raise()
	}
}

// Serve implements peernet.Net.
func (n *Node) Serve(ctx context.Context, h peernet.Handler) error {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			e, ok := next(ctx, n, &n.arrivals)
			if !ok {
				return
			}
			if from := e.remote.AddrPort(); !n.f.onLink(from.Addr()) {
				n.counters.OffLink.Add(1)
				_ = e.Close()
				continue
			}
			n.counters.Accepted.Add(1)
			h.Accept(e)
		}
	})
	for {
		d, ok := next(ctx, n, &n.datagrams)
		if !ok {
			break
		}
		n.f.mu.Lock()
		n.inbox -= len(d.b) + datagramCost
		n.f.mu.Unlock()
		if n.counters.Admit(n.f.cfg.Prefix, n.addr, d.from, len(d.b)) {
			h.Datagram(d.from, d.b)
		}
	}
	wg.Wait()
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	if n.closed {
		return net.ErrClosed
	}
	return nil
}

// next waits for the first of q to fall due; false when ctx ended or the node
// was closed.
func next[T any](ctx context.Context, n *Node, q *queue[T]) (v T, ok bool) {
	for {
		n.f.mu.Lock()
		if n.closed || ctx.Err() != nil {
			n.f.mu.Unlock()
			return v, false
		}
		due, found := q.due()
		if found && !due.After(time.Now()) {
			v = q.pop()
			n.f.mu.Unlock()
			return v, true
		}
		change := n.change.wait()
		n.f.mu.Unlock()
		waitFor(ctx.Done(), change, due)
	}
}

// Dial implements peernet.Net.
func (n *Node) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	e, err := n.dial(ctx, to)
	if err != nil {
		n.counters.DialErrors.Add(1)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	n.counters.Dialled.Add(1)
	return e, nil
}

func (n *Node) dial(ctx context.Context, to netip.AddrPort) (*end, error) {
	f := n.f
	n.f.mu.Lock()
	closed := n.closed
	n.f.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	if n.offLink(to.Addr()) {
		return nil, fmt.Errorf("%w (%s)", peernet.ErrOffLink, f.cfg.Prefix)
	}
	// One latency there; then the answer.
	if err := sleep(ctx, f.cfg.Latency); err != nil {
		return nil, err
	}
	e, wait, failure := f.connect(n, to)
	if err := sleep(ctx, wait); err != nil {
		if e != nil {
			_ = e.Close()
		}
		return nil, err
	}
	if failure != 0 {
		return nil, os.NewSyscallError("connect", failure)
	}
	return e, nil
}

// connect makes a link, or tells why not; either is known to the caller after
// a further wait.
func (f *Fabric) connect(n *Node, to netip.AddrPort) (e *end, wait time.Duration, failure syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := false
	for _, m := range f.nodes {
		if m.addr.Addr() != to.Addr() {
			continue
		}
		if !f.reachable(n, m) {
			return nil, max(f.cfg.UserTimeout, 0), syscall.ETIMEDOUT
		}
		if found = true; m.tcp != to.Port() {
			continue
		}
		local := netip.AddrPortFrom(n.addr.Addr(), f.anyPort())
		l := f.newLink(n, m, local, to)
		f.seq++
		m.arrivals.push(time.Now().Add(2*f.cfg.Latency), f.seq, l.ends[1])
		m.change.raise()
		return l.ends[0], f.cfg.Latency, 0
	}
	if found {
		return nil, f.cfg.Latency, syscall.ECONNREFUSED
	}
	return nil, arpTimeout, syscall.EHOSTUNREACH
}
