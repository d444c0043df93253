package origin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/background"
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

	// group holds what downloads in the background to what the line can spare, nil: nothing is.
	group *background.Group
	ahead *ahead
	// silence is how long a request waits for an answer before unblock acts.
	silence time.Duration

	mu sync.Mutex
	at map[string]place // of servers, by HOST:PORT
}

func newConnections(cfg Config) *connections {
	var group *background.Group
	if cfg.Background {
		group = &background.Group{}
	}
	c := &connections{own: cfg.transport(true, nil, group), proxied: cfg.transport(false, nil, group),
		group: group, at: map[string]place{}, silence: 2 * time.Second}
	c.ahead = newAhead(c.own.NewClientConn)
	dial := c.own.DialContext
	c.own.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		began := time.Now()
		conn, err := dial(ctx, network, to)
		if err == nil {
			c.note(to, placeOfConn(conn))
			if s, ok := ctx.Value(shaken{}).(*shake); ok {
				s.ended(began, conn)
			}
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
	conn, err := c.ahead.take(req.Context(), req.URL)
	if err != nil {
		return nil, err
	}
	defer c.unblock(req.URL)()
	if conn != nil {
		resp, err := conn.RoundTrip(req)
		if err == nil {
			keep := func() { c.ahead.keep(connectionKey(req.URL), conn) }
			resp.Body = &lastBody{ReadCloser: resp.Body, conn: conn, keep: keep}
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

// unblock closes the connections that wait for a next request, while one that is under
// way gets no answer: a server that takes one connection at a time may have taken one
// of those. Its result ends the watch.
func (c *connections) unblock(u *url.URL) (answered func()) {
	t := time.AfterFunc(c.silence, func() { c.release(u) })
	return func() { t.Stop() }
}

// release closes the connections that wait for a next request.
func (c *connections) release(u *url.URL) {
	c.ahead.release(connectionKey(u))
	c.own.CloseIdleConnections()
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

func (c *connections) close() {
	c.ahead.close()
	c.own.CloseIdleConnections()
	c.proxied.CloseIdleConnections()
	for _, t := range c.foreign {
		t.CloseIdleConnections()
	}
}
