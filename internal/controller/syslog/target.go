package syslog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const (
	// answerTime bounds the way to a log server, and one write to it.
	answerTime = 10 * time.Second
	// maxDatagram bounds a message over UDP, in bytes: it fits one packet of an
	// Ethernet. maxLine bounds one over a connection.
	maxDatagram, maxLine = 1400, 8192
)

// ports are those of the schemes, if none is named.
var ports = map[string]string{"udp": "514", "tcp": "601", "tls": "6514"}

// Target is a log server.
type Target struct {
	scheme, addr, host string
	ca                 *x509.CertPool
}

// ParseTarget reads udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or
// unix:///PATH. Ports are 514, 601 and 6514 unless given. ca are who vouches for
// the certificate of a tls target, nil for the host's.
func ParseTarget(text string, ca *x509.CertPool) (Target, error) {
	bad := errors.New("write it such as tls://logs.example.com:6514, tcp://…, udp://… or unix:///dev/log")
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return Target{}, bad
	}
	t := Target{scheme: u.Scheme, host: u.Hostname(), ca: ca}
	if u.Scheme == "unix" {
		if t.addr = u.Path; u.Host != "" || len(u.Path) < 2 {
			return Target{}, bad
		}
		return t, nil
	}
	port, ok := ports[u.Scheme]
	if !ok || t.host == "" || u.Path != "" {
		return Target{}, bad
	}
	if u.Port() != "" {
		port = u.Port()
	}
	t.addr = net.JoinHostPort(t.host, port)
	return t, nil
}

// conn is a way to a log server.
type conn struct {
	net.Conn
	framed bool
	most   int
	// gone is closed when the server has ended the connection.
	gone chan struct{}
}

// dial opens the way.
func (t Target) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c := &conn{most: maxLine, gone: make(chan struct{})}
	var d net.Dialer
	var err error
	switch t.scheme {
	case "unix":
		if c.Conn, err = d.DialContext(ctx, "unixgram", t.addr); err != nil {
			c.framed = true
			c.Conn, err = d.DialContext(ctx, "unix", t.addr)
		}
	case "udp":
		c.most = maxDatagram
		c.Conn, err = d.DialContext(ctx, "udp", t.addr)
	case "tcp":
		c.framed = true
		c.Conn, err = d.DialContext(ctx, "tcp", t.addr)
	default:
		c.framed = true
		own := tls.Dialer{Config: &tls.Config{RootCAs: t.ca, ServerName: t.host, MinVersion: tls.VersionTLS12}}
		c.Conn, err = own.DialContext(ctx, "tcp", t.addr)
	}
	if err != nil {
		return nil, err
	}
	if c.framed {
		go c.watch()
	}
	return c, nil
}

// watch notices the end of a connection: a log server says nothing, so whatever
// can be read is its end. Without this the first message after it would be lost.
func (c *conn) watch() {
	defer close(c.gone)
	_, _ = io.CopyN(io.Discard, c.Conn, 1<<20)
}

// send sends a message: over a connection with its length before it (RFC 6587,
// RFC 5425).
func (c *conn) send(message []byte) error {
	select {
	case <-c.gone:
		return net.ErrClosed
	default:
	}
	if c.framed {
		message = slices.Concat([]byte(strconv.Itoa(len(message))+" "), message)
	}
	if err := c.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := c.Write(message); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

// end closes the way, and waits for its watch.
func (c *conn) end() {
	c.Close()
	if c.framed {
		<-c.gone
	}
}
