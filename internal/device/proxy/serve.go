package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxClients is how many connections are served at a time; more wait.
const maxClients = 256

// Listen opens the proxy's port. Beyond this device it is opened only for networks
// that are named.
func Listen(address string, allow []netip.Prefix) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no address with a port, such as %s", address, DefaultAddress)
	}
	if !at.Addr().IsLoopback() && len(allow) == 0 {
		return nil, fmt.Errorf("%s is not on loopback: name the networks that may use the proxy, or listen on %s", address,
			DefaultAddress)
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%w; it is no address of this device: choose one that is", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w; another program has it: choose another port, or end that program", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; ports below 1024 need rights: choose another port", err)
	}
	return l, err
}

// Serve serves clients until ctx ends, then closes the proxy.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: silent}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(limit(l, maxClients))
	p.Close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// limited bounds the connections at a listener.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(l net.Listener, most int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

// Close implements net.Listener. It ends also an Accept that waits for a place:
// tunnels are closed only after it has returned.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, slots: l.slots}, nil
}

type limitedConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}

// CloseWrite tells the client that nothing more comes.
func (c *limitedConn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}

// NamesItself reports whether the environment names an address as the proxy for this
// process: the proxy must not ask itself.
func NamesItself(address string) bool {
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"} {
		text := os.Getenv(name)
		if u, err := url.Parse(text); err == nil && u.Host == address || text == address {
			return true
		}
	}
	return false
}
