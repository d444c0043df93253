package fabric

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// segmentBytes is the most that a link takes in one piece, so that links that
// share a port take turns.
const segmentBytes = 16 << 10

// link is a connection between two nodes. All of it is guarded by the fabric's
// mutex.
type link struct {
	f    *Fabric
	ends [2]*end
	// cut is when the link stopped to pass anything; zero while it passes.
	cut    time.Time
	change signal
}

// end is one side of a link: a net.Conn.
type end struct {
	link          *link
	node          *Node
	peer          *end
	local, remote *net.TCPAddr

	// in is what comes to this side, fin when its end comes.
	in    []segment
	bytes int
	fin   time.Time
	// failure breaks this side from broken on.
	failure error
	broken  time.Time
	closed  bool

	readDeadline, writeDeadline time.Time
}

type segment struct {
	due time.Time
	b   []byte
}

var _ net.Conn = (*end)(nil)

// newLink connects a to b. Needs f.mu.
func (f *Fabric) newLink(a, b *Node, from, to netip.AddrPort) *link {
	l := &link{f: f}
	fa, ta := net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to)
	l.ends[0] = &end{link: l, node: a, local: fa, remote: ta}
	l.ends[1] = &end{link: l, node: b, local: ta, remote: fa}
	l.ends[0].peer, l.ends[1].peer = l.ends[1], l.ends[0]
	f.links[l] = struct{}{}
	return l
}

// refresh cuts or heals the link as its nodes can reach each other or not.
func (l *link) refresh(now time.Time) {
	reachable := l.f.reachable(l.ends[0].node, l.ends[1].node)
	switch {
	case !reachable && l.cut.IsZero():
		l.cut = now
	case reachable && !l.cut.IsZero():
		if t := l.timeout(); !t.IsZero() && !now.Before(t) {
			return
		}
		// What was held up is sent again.
		for _, e := range l.ends {
			for i := range e.in {
				if e.in[i].due.After(l.cut) {
					e.in[i].due = later(e.in[i].due, now.Add(l.f.cfg.Latency))
				}
			}
			if e.fin.After(l.cut) {
				e.fin = later(e.fin, now.Add(l.f.cfg.Latency))
			}
			if e.peer.closed && e.fin.IsZero() {
				// The other side went away unheard: it answers with a reset.
				e.fail(syscall.ECONNRESET, now.Add(2*l.f.cfg.Latency))
			}
		}
		l.cut = time.Time{}
	default:
		return
	}
	l.change.raise()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// timeout is when both sides give up a link that passes nothing; zero: never.
func (l *link) timeout() time.Time {
	if l.cut.IsZero() || l.f.cfg.UserTimeout < 0 {
		return time.Time{}
	}
	return l.cut.Add(l.f.cfg.UserTimeout)
}

// state looks at the link from this side: what has arrived by horizon can be
// read; err is why nothing more can be done; wake is when either may change.
func (e *end) state(now, deadline time.Time) (horizon time.Time, err error, wake time.Time) {
	l := e.link
	horizon = now
	if !l.cut.IsZero() && l.cut.Before(now) {
		horizon = l.cut
	}
	timeout := l.timeout()
	switch {
	case e.failure != nil && !e.broken.After(horizon):
		err = e.failure
	case !timeout.IsZero() && !timeout.After(now):
		err = syscall.ETIMEDOUT
	}
	wake = earlier(deadline, timeout)
	if l.cut.IsZero() && e.failure != nil {
		wake = earlier(wake, e.broken)
	}
	return horizon, err, wake
}

// Read implements net.Conn.
func (e *end) Read(p []byte) (int, error) {
	f := e.link.f
	for {
		f.mu.Lock()
		n, wake, err := e.read(p)
		change := e.link.change.wait()
		f.mu.Unlock()
		if err == io.EOF {
			return 0, err
		}
		if err != nil {
			return 0, e.opError("read", err)
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		waitFor(nil, change, wake)
	}
}

func (e *end) read(p []byte) (n int, wake time.Time, err error) {
	now := time.Now()
	switch {
	case e.closed:
		return 0, wake, net.ErrClosed
	case past(e.readDeadline, now):
		return 0, wake, os.ErrDeadlineExceeded
	}
	horizon, failure, wake := e.state(now, e.readDeadline)
	for n < len(p) && len(e.in) > 0 && !e.in[0].due.After(horizon) {
		s := &e.in[0]
		c := copy(p[n:], s.b)
		n += c
		e.bytes -= c
		if s.b = s.b[c:]; len(s.b) == 0 {
			e.in = e.in[1:]
		}
	}
	switch {
	case n > 0:
		e.link.change.raise()
	case failure != nil:
		return 0, wake, failure
	case len(e.in) > 0:
		if e.link.cut.IsZero() {
			wake = earlier(wake, e.in[0].due)
		}
	case !e.fin.IsZero() && !e.fin.After(horizon):
		return 0, wake, io.EOF
	case !e.fin.IsZero() && e.link.cut.IsZero():
		wake = earlier(wake, e.fin)
	}
	return n, wake, nil
}

// Write implements net.Conn.
func (e *end) Write(p []byte) (int, error) {
	f := e.link.f
	done := 0
	for {
		f.mu.Lock()
		n, wake, err := e.write(p[done:])
		change := e.link.change.wait()
		f.mu.Unlock()
		if err != nil {
			return done, e.opError("write", err)
		}
		if done += n; done == len(p) {
			return done, nil
		}
		if n == 0 {
			waitFor(nil, change, wake)
		}
	}
}

func (e *end) write(p []byte) (n int, wake time.Time, err error) {
	now := time.Now()
	switch {
	case e.closed:
		return 0, wake, net.ErrClosed
	case past(e.writeDeadline, now):
		return 0, wake, os.ErrDeadlineExceeded
	}
	_, err, wake = e.state(now, e.writeDeadline)
	if err != nil {
		return 0, wake, err
	}
	to := e.peer
	if to.closed && e.link.cut.IsZero() {
		// Nobody reads this. What is written first is answered with a reset,
		// the rest waits for it.
		if e.failure != nil {
			return 0, wake, nil
		}
		e.fail(syscall.ECONNRESET, now.Add(2*e.link.f.cfg.Latency))
		return min(len(p), segmentBytes), wake, nil
	}
	n = min(len(p), e.link.f.cfg.Buffer-to.bytes, segmentBytes)
	if n <= 0 {
		return 0, wake, nil
	}
	due := e.node.up.pass(now, n).Add(e.link.f.cfg.Latency)
	due = to.node.down.pass(due, n)
	if k := len(to.in); k > 0 {
		due = later(due, to.in[k-1].due)
	}
	to.in = append(to.in, segment{due, append([]byte(nil), p[:n]...)})
	to.bytes += n
	e.link.change.raise()
	return n, wake, nil
}

func past(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

// fail breaks this side at a time, unless it is broken already.
func (e *end) fail(err error, at time.Time) {
	if e.failure == nil {
		e.failure, e.broken = err, at
		e.link.change.raise()
	}
}

// reset tells the other side that this one is gone. What is not there by then
// is lost.
func (e *end) reset() {
	if e.link.cut.IsZero() {
		at := time.Now().Add(e.link.f.cfg.Latency)
		p := e.peer
		for i, s := range p.in {
			if s.due.After(at) {
				for _, lost := range p.in[i:] {
					p.bytes -= len(lost.b)
				}
				p.in = p.in[:i]
				break
			}
		}
		p.fail(syscall.ECONNRESET, at)
	}
	e.forget()
	e.link.change.raise()
}

// forget drops a link that both sides have closed.
func (e *end) forget() {
	if e.closed && e.peer.closed {
		delete(e.link.f.links, e.link)
	}
}

// Close implements net.Conn. As with a kernel's TCP, bytes that came and were
// not read turn the close into a reset.
func (e *end) Close() error {
	f := e.link.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.closed {
		return e.opError("close", net.ErrClosed)
	}
	e.closed = true
	now := time.Now()
	if len(e.in) > 0 && !e.in[0].due.After(now) {
		e.reset()
		return nil
	}
	p := e.peer
	p.fin = now.Add(f.cfg.Latency)
	if k := len(p.in); k > 0 {
		p.fin = later(p.fin, p.in[k-1].due)
	}
	if len(e.in) > 0 && e.link.cut.IsZero() {
		// What is still on its way here will be answered with a reset.
		p.fail(syscall.ECONNRESET, e.in[0].due.Add(f.cfg.Latency))
	}
	e.forget()
	e.link.change.raise()
	return nil
}

func (e *end) opError(op string, err error) error {
	if no, ok := err.(syscall.Errno); ok { //nolint:errorlint // what wraps one has a name already
		err = os.NewSyscallError(op, no)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: e.local, Addr: e.remote, Err: err}
}

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return e.remote }

// SetDeadline implements net.Conn.
func (e *end) SetDeadline(t time.Time) error {
	return e.setDeadlines(t, &e.readDeadline, &e.writeDeadline)
}

// SetReadDeadline implements net.Conn.
func (e *end) SetReadDeadline(t time.Time) error { return e.setDeadlines(t, &e.readDeadline) }

// SetWriteDeadline implements net.Conn.
func (e *end) SetWriteDeadline(t time.Time) error { return e.setDeadlines(t, &e.writeDeadline) }

func (e *end) setDeadlines(t time.Time, which ...*time.Time) error {
	f := e.link.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.closed {
		return e.opError("set", net.ErrClosed)
	}
	for _, d := range which {
		*d = t
	}
	e.link.change.raise()
	return nil
}
