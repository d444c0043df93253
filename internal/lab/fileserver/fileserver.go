// Package fileserver serves a site's files through the WAN, as the product
// does, and counts what it sends to whom.
//
// What lives here: HTTP, TFTP and the tally of payload. What must not: who
// asks, and the bytes on the link with headers (site.Wire). Read first: Server
// here, then tally.go.
package fileserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/controller/files"
	"github.com/peerload/peerload/internal/lab/site"
)

// Server serves the plain files of one directory over HTTP as the product's
// file server does, and over TFTP if wanted, and counts what it sends.
type Server struct {
	// Tally counts what is sent.
	Tally *Tally

	root *os.Root
	http *http.Server
	addr net.Addr
	done chan struct{}
	tftp *tftpServer // nil without TFTP
}

// Serve starts serving dir on ln, whose accepted connections must be TCP.
// A shaper, if not nil, is the WAN. Close ends it.
func Serve(ln net.Listener, dir string, wan *site.Shaper) (*Server, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the file server's directory: %w", err)
	}
	s := &Server{Tally: newTally(), root: root, addr: ln.Addr(), done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s.countRequests(files.Handler(root)),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if u, ok := c.(interface{ NetConn() net.Conn }); ok { // a shaped one
				c = u.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	ln = &countedListener{Listener: ln, tally: s.Tally}
	if wan != nil {
		ln = wan.Listener(ln)
	}
	go func() {
		defer close(s.done)
		// Serve returns when Close has closed the listener.
		_ = s.http.Serve(ln)
	}()
	return s, nil
}

// Tune has connections of ln use a congestion control, as the product's server has
// its own use bbr; it returns what they use.
func Tune(ln net.Listener, congestion string) (string, error) {
	return files.Tune(ln, congestion, slog.New(slog.DiscardHandler))
}

// URL returns the address of a file of the directory.
func (s *Server) URL(name string) string {
	return "http://" + s.addr.String() + "/" + name
}

// Close ends all connections and the server.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	if s.tftp != nil {
		err = errors.Join(err, s.tftp.close())
	}
	return errors.Join(err, s.root.Close())
}

type connKey struct{}

// countRequests has h count its payload on the connection of the request.
func (s *Server) countRequests(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*countedConn)
		if c == nil {
			http.Error(w, "connection not counted", http.StatusInternalServerError)
			return
		}
		h.ServeHTTP(&countedResponse{ResponseWriter: w, conn: c}, r)
	})
}

// countedResponse tells the connection how many of the following bytes are
// payload: the body of an answer that carries a file. It has no ReadFrom, so
// that every byte passes Write.
type countedResponse struct {
	http.ResponseWriter
	conn   *countedConn
	status int
}

func (w *countedResponse) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		if w.carriesFile() {
			w.conn.tally.request(w.conn.addr)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countedResponse) carriesFile() bool {
	return w.status == http.StatusOK || w.status == http.StatusPartialContent
}

func (w *countedResponse) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.carriesFile() {
		w.conn.body.Add(int64(len(b)))
	}
	return w.ResponseWriter.Write(b)
}

type countedListener struct {
	net.Listener
	tally *Tally
}

func (l *countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	cc := &countedConn{Conn: c, tally: l.tally}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		cc.addr = a.AddrPort().Addr().Unmap()
	}
	l.tally.mu.Lock()
	l.tally.open[cc] = struct{}{}
	l.tally.mu.Unlock()
	return cc, nil
}

// countedConn counts the payload of one connection. net/http passes body bytes
// to the response first and to the connection a little later, mixed with
// headers: written bytes count as payload up to the number that body announced.
type countedConn struct {
	net.Conn
	tally *Tally
	addr  netip.Addr
	body  atomic.Int64 // payload that the handler has written, cumulative

	counted int64 // payload that the tally has got; owner: the writer
	written atomic.Int64
	once    sync.Once
}

// Write counts before it writes: when a client has read the last byte, it is
// counted.
func (c *countedConn) Write(b []byte) (int, error) {
	p := max(0, min(int64(len(b)), c.body.Load()-c.counted))
	c.counted += p
	if p > 0 {
		c.tally.sent(c.addr, p)
	}
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	if short := min(int64(len(b)-n), p); short > 0 {
		c.tally.sent(c.addr, -short)
	}
	return n, err
}

// Close subtracts what never left the socket's buffer.
func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.tally.mu.Lock()
		defer c.tally.mu.Unlock()
		c.tally.flow(c.addr).bytes -= c.unsent()
		delete(c.tally.open, c)
	})
	return c.Conn.Close()
}

// unsent returns how many written bytes TCP has not sent even once. A
// connection that was reset keeps these figures.
func (c *countedConn) unsent() int64 {
	written := c.written.Load()
	tc, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}) != nil || err != nil {
		return 0
	}
	return max(0, written-int64(info.Bytes_sent-info.Bytes_retrans))
}
