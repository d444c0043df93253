package origin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
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
)

func netipPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a.Unmap(), 0) }

// connections is the transport of all HTTP requests. It uses a connection that
// was made ahead where there is one, shows the client's certificate only to the
// host that the URL named, and follows no redirect to this device itself or its
// link unless that host is there.
type connections struct {
	own *http.Transport
	// foreign are for the hosts that redirects lead to, by the place of the host
	// that the URL named: none uses a connection that another made.
	foreign [places]*http.Transport
	// proxied is for those hosts behind a proxy, which resolves their names.
	proxied *http.Transport

	mu       sync.Mutex
	prepared map[string][]*http.ClientConn // that are idle, by scheme and host
	at       map[string]place              // of servers, by HOST:PORT
	trip     map[string]time.Duration      // the last handshake with them, by scheme and host
	closed   bool
}

func newConnections(cfg Config) *connections {
	var group *background.Group
	if cfg.Background {
		group = &background.Group{}
	}
	c := &connections{own: cfg.transport(true, nil, group), proxied: cfg.transport(false, nil, group),
		prepared: map[string][]*http.ClientConn{}, at: map[string]place{}, trip: map[string]time.Duration{}}
	dial := c.own.DialContext
	c.own.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		conn, err := dial(ctx, network, to)
		if err == nil {
			c.note(to, placeOfConn(conn))
		}
		return conn, err
	}
	for from := range c.foreign {
		c.foreign[from] = cfg.transport(false, dialling(place(from)), group)
	}
	return c
}

// RoundTrip implements http.RoundTripper. It drops the body of a redirect:
// net/http would read it, for as long as the server takes to send it.
func (c *connections) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.roundTrip(req)
	if err == nil && resp.StatusCode/100 == 3 {
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, err
}

func (c *connections) roundTrip(req *http.Request) (*http.Response, error) {
	if first, ok := req.Context().Value(firstURL{}).(*url.URL); ok && first.Host != req.URL.Host {
		return c.redirected(first, req)
	}
	if conn := c.take(req.URL); conn != nil {
		resp, err := conn.RoundTrip(req)
		if err == nil {
			resp.Body = &lastBody{ReadCloser: resp.Body, conn: conn, keep: func() { c.keep(connectionKey(req.URL), conn) }}
			return resp, nil
		}
		conn.Close()
		if req.Context().Err() != nil {
			return nil, err
		}
		// The server has closed the connection meanwhile; a GET can be sent
		// again.
	}
	return c.own.RoundTrip(req)
}

// direct reports whether a server is reached without a proxy.
func (c *connections) direct(u *url.URL) bool {
	if c.own.Proxy == nil {
		return true
	}
	proxy, err := c.own.Proxy(&http.Request{URL: u})
	return err == nil && proxy == nil
}

// maxPlaces bounds the servers whose place is remembered.
const maxPlaces = 64

// note remembers where a server was found, HOST:PORT.
func (c *connections) note(server string, at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.at) >= maxPlaces {
		clear(c.at)
	}
	c.at[server] = at
}

// placeOf is where the server of a URL is.
func (c *connections) placeOf(u *url.URL) place {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.at[serverOf(u)]; ok && c.direct(u) {
		return at
	}
	return placeOfURL(u)
}

// serverOf is the HOST:PORT of a URL.
func serverOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// redirected asks a host that a redirect of the first leads to.
func (c *connections) redirected(first *url.URL, req *http.Request) (*http.Response, error) {
	from := c.placeOf(first)
	if err := reachable(from, placeOfURL(req.URL)); err != nil {
		return nil, err
	}
	if !c.direct(req.URL) {
		return c.proxied.RoundTrip(req)
	}
	return c.foreign[from].RoundTrip(req)
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

// prepare makes a connection ahead, unless there is one.
func (h *httpOrigin) prepare(ctx context.Context, u *url.URL) error {
	c := h.conns
	key := connectionKey(u)
	c.mu.Lock()
	held := slices.ContainsFunc(c.prepared[key], func(conn *http.ClientConn) bool { return conn.Err() == nil })
	full := len(c.prepared) >= maxPrepared && c.prepared[key] == nil
	c.mu.Unlock()
	if held || full {
		return nil
	}
	began := time.Now()
	conn, err := c.own.NewClientConn(ctx, u.Scheme, serverOf(u))
	if err != nil {
		return classify(ctx, err, connecting)
	}
	c.mu.Lock()
	if len(c.trip) >= maxPlaces {
		clear(c.trip)
	}
	c.trip[key] = time.Since(began)
	c.mu.Unlock()
	c.keep(key, conn)
	return nil
}

// ahead makes connections for so many requests more, so that these need not wait for a
// handshake, where one takes long. With TLS it costs too much of a thin line.
func (c *connections) ahead(ctx context.Context, u *url.URL, n int) {
	key := connectionKey(u)
	c.mu.Lock()
	near := c.trip[key] < far
	n = min(n, mostIdle) - len(c.prepared[key])
	c.mu.Unlock()
	if near || u.Scheme != "http" || !c.direct(u) {
		return
	}
	for range n {
		go func() {
			if conn, err := c.own.NewClientConn(ctx, u.Scheme, serverOf(u)); err == nil {
				c.keep(key, conn)
			}
		}()
	}
}

// keep keeps a connection for the next request.
func (c *connections) keep(key string, conn *http.ClientConn) {
	c.mu.Lock()
	full := len(c.prepared[key]) >= mostIdle || c.closed
	if !full {
		c.prepared[key] = append(c.prepared[key], conn)
	}
	c.mu.Unlock()
	if full {
		conn.Close()
		return
	}
	time.AfterFunc(idleConnection, func() {
		if c.drop(key, conn) {
			conn.Close()
		}
	})
}

// drop reports whether a connection was still kept, and keeps it no longer.
func (c *connections) drop(key string, conn *http.ClientConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.prepared[key], conn)
	if i < 0 {
		return false
	}
	c.set(key, slices.Delete(c.prepared[key], i, i+1))
	return true
}

func (c *connections) set(key string, conns []*http.ClientConn) {
	if c.prepared[key] = conns; len(conns) == 0 {
		delete(c.prepared, key)
	}
}

func connectionKey(u *url.URL) string { return u.Scheme + "://" + u.Host }

// take returns a connection made ahead.
func (c *connections) take(u *url.URL) *http.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := connectionKey(u)
	kept := c.prepared[key]
	for i := len(kept) - 1; i >= 0; i-- {
		conn := kept[i] // the one used last: its window is the widest
		c.set(key, kept[:i])
		if conn.Err() == nil {
			return conn
		}
		conn.Close()
	}
	return nil
}

func (c *connections) close() {
	c.mu.Lock()
	prepared := c.prepared
	c.prepared, c.closed = map[string][]*http.ClientConn{}, true
	c.mu.Unlock()
	for _, conns := range prepared {
		for _, conn := range conns {
			conn.Close()
		}
	}
	c.own.CloseIdleConnections()
	c.proxied.CloseIdleConnections()
	for _, t := range c.foreign {
		t.CloseIdleConnections()
	}
}
