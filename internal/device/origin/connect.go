package origin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

const (
	// idleConnection is how long a connection is kept for the next request.
	idleConnection = 30 * time.Second
	// maxPrepared is the number of connections made ahead.
	maxPrepared = 4
)

func netipPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a.Unmap(), 0) }

// connections is the transport of all HTTP requests. It uses a connection that
// was made ahead where there is one, and shows the client's certificate only to
// the host that the URL named.
type connections struct {
	own, foreign *http.Transport

	mu       sync.Mutex
	prepared map[string]*http.ClientConn // by scheme and host
}

func newConnections(cfg Config) *connections {
	c := &connections{own: cfg.transport(true), prepared: map[string]*http.ClientConn{}}
	c.foreign = c.own
	if cfg.ClientCert != nil {
		c.foreign = cfg.transport(false)
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
	if first, _ := req.Context().Value(firstHost{}).(string); first != req.URL.Host {
		return c.foreign.RoundTrip(req)
	}
	if conn := c.take(req.URL); conn != nil {
		resp, err := conn.RoundTrip(req)
		if err == nil {
			resp.Body = &lastBody{resp.Body, conn}
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

// lastBody closes the connection behind the body.
type lastBody struct {
	io.ReadCloser
	conn *http.ClientConn
}

// Close implements io.Closer.
func (b *lastBody) Close() error {
	err := b.ReadCloser.Close()
	b.conn.Close()
	return err
}

// prepare makes a connection ahead.
func (h *httpOrigin) prepare(ctx context.Context, u *url.URL) error {
	c, port := h.conns, u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	key := connectionKey(u)
	c.mu.Lock()
	held := c.prepared[key]
	full := len(c.prepared) >= maxPrepared
	c.mu.Unlock()
	if held != nil && held.Err() == nil || held == nil && full {
		return nil
	}
	conn, err := c.own.NewClientConn(ctx, u.Scheme, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return classify(ctx, err, connecting)
	}
	c.mu.Lock()
	old := c.prepared[key]
	c.prepared[key] = conn
	c.mu.Unlock()
	if old != nil {
		old.Close()
	}
	time.AfterFunc(idleConnection, func() {
		c.mu.Lock()
		mine := c.prepared[key] == conn
		if mine {
			delete(c.prepared, key)
		}
		c.mu.Unlock()
		if mine {
			conn.Close()
		}
	})
	return nil
}

func connectionKey(u *url.URL) string { return u.Scheme + "://" + u.Host }

// take returns a connection made ahead.
func (c *connections) take(u *url.URL) *http.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.prepared[connectionKey(u)]
	delete(c.prepared, connectionKey(u))
	return conn
}

func (c *connections) close() {
	c.mu.Lock()
	prepared := c.prepared
	c.prepared = map[string]*http.ClientConn{}
	c.mu.Unlock()
	for _, conn := range prepared {
		conn.Close()
	}
	c.own.CloseIdleConnections()
	c.foreign.CloseIdleConnections()
}
