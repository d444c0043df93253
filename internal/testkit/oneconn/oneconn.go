// Package oneconn is a server's listener that serves one connection at a time, as some
// devices and small servers do.
//
// What lives here: the listener, for tests. What must not: what a server answers.
package oneconn

import (
	"net"
	"sync"
)

// New returns a listener that accepts a connection of another one once the connection
// before is closed. Those who dial meanwhile are connected by the system, and wait.
func New(inner net.Listener) net.Listener {
	return &listener{inner, make(chan struct{}, 1)}
}

type listener struct {
	net.Listener
	turn chan struct{} // has an element while a connection is open
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	l.turn <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.turn
		return nil, err
	}
	return &conn{c, sync.OnceFunc(func() { <-l.turn })}, nil
}

type conn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}
