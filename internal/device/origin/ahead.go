package origin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/background"
)

const (
	// idleConnection is how long a connection is kept for the next request.
	idleConnection = 30 * time.Second
	// mostIdle bounds the connections that are kept for the next request.
	mostIdle = 16
	// far is the round trip from which connections are made ahead for all pieces that
	// may be asked for: nearer ones cost less than a server's idle connections.
	far = 50 * time.Millisecond
	// maxPrepared is the number of servers to which connections are made ahead.
	maxPrepared = 4
	// together is how long is waited for connections that were made at the same time,
	// after the first of them is there: more is a thin line, or a packet was lost.
	together = 10 * time.Millisecond
)

// ahead are connections to servers that were made before a request needs them, and
// those that a request gave back.
type ahead struct {
	dial func(ctx context.Context, scheme, server string) (*http.ClientConn, error)

	// All by scheme and host.
	mu     sync.Mutex
	idle   map[string][]*http.ClientConn
	first  map[string]*handshake    // that of prepare, while it is under way
	trip   map[string]time.Duration // how long that took last
	closed bool
}

// handshake is a connection that is being made.
type handshake struct {
	began time.Time
	ended chan struct{}
}

// shake is when the server's answer to a handshake came, and how long it took; 0 if the
// system does not tell.
type shake struct {
	at   time.Time
	took time.Duration
}

// shaken is the key of a context by which a dial tells that.
type shaken struct{}

// ended is the end of the handshake of a connection that has just been made. The system
// knows how long it took; this process, which may have been busy, only when it heard of
// that.
func (s *shake) ended(began time.Time, conn net.Conn) {
	if s.took = background.Handshake(conn); s.took > 0 {
		s.at = began.Add(s.took)
	} else {
		s.at = time.Now()
	}
}

func newAhead(dial func(ctx context.Context, scheme, server string) (*http.ClientConn, error)) *ahead {
	return &ahead{dial: dial, idle: map[string][]*http.ClientConn{}, first: map[string]*handshake{},
		trip: map[string]time.Duration{}}
}

// lastBody gives the connection back behind the body, or closes it.
type lastBody struct {
	io.ReadCloser
	conn *http.ClientConn
	keep func()
	once sync.Once
}

// Close implements io.Closer.
func (b *lastBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.giveBack)
	return err
}

func (b *lastBody) giveBack() {
	if b.conn.Err() == nil && b.conn.InFlight() == 0 && b.conn.Available() > 0 {
		b.keep()
	} else {
		b.conn.Close()
	}
}

// prepare makes a connection, unless there is one.
func (a *ahead) prepare(ctx context.Context, u *url.URL) error {
	key := connectionKey(u)
	h := a.begin(key)
	if h == nil {
		return nil
	}
	conn, err := a.dial(ctx, u.Scheme, serverOf(u))
	if err == nil {
		a.keep(key, conn)
	}
	a.mu.Lock()
	delete(a.first, key)
	if len(a.trip) >= maxPlaces {
		clear(a.trip)
	}
	if a.trip[key] = time.Since(h.began); err != nil {
		delete(a.trip, key)
	}
	a.mu.Unlock()
	close(h.ended)
	return err
}

// begin notes a handshake that begins, and returns nil if none is needed.
func (a *ahead) begin(key string) *handshake {
	a.mu.Lock()
	defer a.mu.Unlock()
	held := slices.ContainsFunc(a.idle[key], func(conn *http.ClientConn) bool { return conn.Err() == nil })
	full := len(a.idle)+len(a.first) >= maxPrepared && a.idle[key] == nil
	if held || full || a.first[key] != nil {
		return nil
	}
	h := &handshake{began: time.Now(), ended: make(chan struct{})}
	a.first[key] = h
	return h
}

// more makes connections for so many requests more, so that these need not wait for a
// handshake, where one takes long, and tells made of them, unless that is nil. With TLS
// it costs too much of a thin line.
func (a *ahead) more(ctx context.Context, u *url.URL, n int, made func(Made)) {
	if u.Scheme != "http" {
		return
	}
	key := connectionKey(u)
	h, idle := a.state(key)
	n = min(n, mostIdle) - max(0, idle-1) // the request itself takes one that waits
	if h == nil {
		a.makeMore(ctx, u, n, made)
		return
	}
	go func() {
		select {
		case <-h.ended:
		case <-time.After(time.Until(h.began.Add(far))):
		case <-ctx.Done():
		}
		a.makeMore(ctx, u, n-1, made) // take makes one
	}()
}

// state returns the handshake under way with a server, and how many connections wait.
func (a *ahead) state(key string) (under *handshake, idle int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first[key], len(a.idle[key])
}

// lasts is how long the first handshake took, or has taken so far.
func (a *ahead) lasts(key string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.first[key]; h != nil {
		return time.Since(h.began)
	}
	return a.trip[key]
}

func (a *ahead) makeMore(ctx context.Context, u *url.URL, n int, made func(Made)) {
	key := connectionKey(u)
	if a.lasts(key) < far || n <= 0 {
		return
	}
	came := make(chan shake, n)
	for range n {
		go func() {
			var at shake
			conn, err := a.dial(context.WithValue(ctx, shaken{}, &at), u.Scheme, serverOf(u))
			if err != nil {
				return
			}
			a.keep(key, conn)
			came <- at
		}()
	}
	if made != nil {
		go func() {
			if m := count(ctx, came, n); m.Connections > 0 {
				if m.Trip == 0 {
					m.Trip = a.lasts(key)
				}
				made(m)
			}
		}()
	}
}

// count waits for connections that are made at the same time.
func count(ctx context.Context, came <-chan shake, n int) (m Made) {
	var first, last time.Time
	var timer <-chan time.Time
	for m.Connections < n {
		select {
		case c := <-came:
			if m.Connections == 0 {
				first, last, m.Trip, timer = c.at, c.at, c.took, time.After(together)
			}
			if c.at.Before(first) {
				first = c.at
			}
			if c.at.After(last) {
				last = c.at
			}
			m.Connections++
			m.Trip, m.Spread = min(m.Trip, c.took), last.Sub(first)
		case <-timer:
			return m
		case <-ctx.Done():
			return m
		}
	}
	return m
}

// take returns a connection for a request, nil if none was made ahead. While one is
// being made it makes another, and returns the one that is there first: the first
// handshake has begun earlier, but may have been lost.
func (a *ahead) take(ctx context.Context, u *url.URL) (*http.ClientConn, error) {
	key := connectionKey(u)
	conn, h := a.idleOf(key)
	if conn != nil || h == nil {
		return conn, nil
	}
	type made struct {
		conn *http.ClientConn
		err  error
	}
	own := make(chan made, 1)
	go func() {
		conn, err := a.dial(ctx, u.Scheme, serverOf(u))
		own <- made{conn, err}
	}()
	select {
	case m := <-own:
		return m.conn, m.err
	case <-h.ended:
	}
	if conn, _ = a.idleOf(key); conn == nil {
		m := <-own
		return m.conn, m.err
	}
	go func() {
		if m := <-own; m.err == nil {
			a.keep(key, m.conn)
		}
	}()
	return conn, nil
}

// idleOf returns a connection that waits, else the handshake under way.
func (a *ahead) idleOf(key string) (*http.ClientConn, *handshake) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := a.idle[key]
	for i := len(kept) - 1; i >= 0; i-- {
		conn := kept[i] // the one used last: its window is the widest
		a.set(key, kept[:i])
		if conn.Err() == nil {
			return conn, nil
		}
		conn.Close()
	}
	return nil, a.first[key]
}

// keep keeps a connection for the next request.
func (a *ahead) keep(key string, conn *http.ClientConn) {
	a.mu.Lock()
	full := len(a.idle[key]) >= mostIdle || a.closed
	if !full {
		a.idle[key] = append(a.idle[key], conn)
	}
	a.mu.Unlock()
	if full {
		conn.Close()
		return
	}
	time.AfterFunc(idleConnection, func() {
		if a.drop(key, conn) {
			conn.Close()
		}
	})
}

// drop reports whether a connection was still kept, and keeps it no longer.
func (a *ahead) drop(key string, conn *http.ClientConn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.idle[key], conn)
	if i < 0 {
		return false
	}
	a.set(key, slices.Delete(a.idle[key], i, i+1))
	return true
}

func (a *ahead) set(key string, conns []*http.ClientConn) {
	if a.idle[key] = conns; len(conns) == 0 {
		delete(a.idle, key)
	}
}

// release closes the connections to a server that wait.
func (a *ahead) release(key string) {
	a.mu.Lock()
	idle := a.idle[key]
	delete(a.idle, key)
	a.mu.Unlock()
	for _, conn := range idle {
		conn.Close()
	}
}

func connectionKey(u *url.URL) string { return u.Scheme + "://" + u.Host }

func (a *ahead) close() {
	a.mu.Lock()
	idle := a.idle
	a.idle, a.closed = map[string][]*http.ClientConn{}, true
	a.mu.Unlock()
	for _, conns := range idle {
		for _, conn := range conns {
			conn.Close()
		}
	}
}
