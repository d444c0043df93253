package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// listeners are the daemon's listeners: the socket, the page, the metrics.
type listeners struct {
	daemon        *Daemon
	socket        net.Listener
	page, metrics net.Listener
	closeOnce     sync.Once
}

// listen opens what is configured; the socket always.
func (d *Daemon) listen() (l *listeners, err error) {
	l = &listeners{daemon: d}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	c := d.conf.get()
	name := filepath.Join(c.State, SocketName)
	// The lock of the state directory says that nobody listens there.
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if l.socket, err = listenPrivate(name); err != nil {
		return nil, err
	}
	if c.PageAddress != "" {
		if l.page, err = net.Listen("tcp", c.PageAddress); err != nil {
			return nil, fmt.Errorf("page-address: %w", err)
		}
	}
	if c.MetricsAddress != "" {
		if l.metrics, err = net.Listen("tcp", c.MetricsAddress); err != nil {
			return nil, fmt.Errorf("metrics-address: %w", err)
		}
	}
	return l, nil
}

// listenPrivate opens a socket for the owner alone. It gets its name only after
// its permissions are set.
func listenPrivate(name string) (net.Listener, error) {
	tmp := name + ".new"
	_ = os.Remove(tmp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, name)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *listeners) close() {
	l.closeOnce.Do(func() {
		for _, each := range []net.Listener{l.socket, l.page, l.metrics} {
			if each != nil {
				_ = each.Close()
			}
		}
	})
}

// serve serves all of them until ctx ends.
func (l *listeners) serve(ctx context.Context, busy *sync.WaitGroup) {
	busy.Go(func() { accept(ctx, bound(l.socket), busy, l.daemon.serveProgram) })
	if l.page != nil {
		serveHTTP(ctx, l.page, l.daemon.log, busy, l.daemon.showPage)
	}
	if l.metrics != nil {
		serveHTTP(ctx, l.metrics, l.daemon.log, busy, l.daemon.showMetrics)
	}
	busy.Go(func() {
		<-ctx.Done()
		l.close()
	})
}

// accept takes connections until the listener is closed, and closes them when
// ctx ends.
func accept(ctx context.Context, l *boundListener, busy *sync.WaitGroup, handle func(context.Context, net.Conn)) {
	for {
		c, err := l.take()
		if err != nil {
			return
		}
		busy.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			handle(ctx, c.Conn) // which has its own type, for the user of a program
		})
	}
}

// maxConnections bounds the connections at one listener.
const maxConnections = 16

// acceptPause is how long a listener waits after an error: with a full table of
// open files or no memory, the next attempt would fail as well.
const acceptPause = 100 * time.Millisecond

// boundListener closes what is connected beyond maxConnections at once: nobody
// who holds connections open makes others wait for an answer. It fails only
// when it is closed.
type boundListener struct {
	net.Listener
	slots chan struct{}
}

// bound bounds the connections at l.
func bound(l net.Listener) *boundListener {
	return &boundListener{l, make(chan struct{}, maxConnections)}
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	c, err := l.take()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// take returns the next connection that there is room for.
func (l *boundListener) take() (*boundConn, error) {
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		select {
		case l.slots <- struct{}{}:
			return &boundConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			c.Close()
		}
	}
}

// boundConn is a connection that gives its slot back when it is closed.
type boundConn struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// maxHeader bounds the head of a request in bytes, to which net/http adds a
// buffer of 4 KiB.
const maxHeader = 8 << 10

// page is what is answered: a status, the media type without a charset, and
// the text in UTF-8.
type page struct {
	status    int
	mediaType string
	body      []byte
}

// serveHTTP answers GET and HEAD by what show says until ctx ends, one request
// on each connection; then it closes l.
func serveHTTP(ctx context.Context, l net.Listener, log *slog.Logger, busy *sync.WaitGroup,
	show func(*http.Request) page) {
	var showing sync.RWMutex
	srv := &http.Server{MaxHeaderBytes: maxHeader, ReadTimeout: requestTime, WriteTimeout: replyTime,
		DisableGeneralOptionsHandler: true, // OPTIONS is refused like all others
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelError),
		Handler: handler(func(r *http.Request) page {
			showing.RLock()
			defer showing.RUnlock()
			if ctx.Err() != nil {
				return page{http.StatusServiceUnavailable, "text/plain", []byte("the agent ends\n")}
			}
			return show(r)
		})}
	srv.SetKeepAlivesEnabled(false)
	busy.Go(func() { _ = srv.Serve(bound(l)) }) // ends when srv is closed
	busy.Go(func() {
		<-ctx.Done()
		_ = srv.Close()
		showing.Lock() // Close does not wait for those that look at the daemon
		defer showing.Unlock()
	})
}

// handler answers by what show says, and forbids browsers to keep it, to guess
// its type, and to run or load anything for it.
func handler(show func(*http.Request) page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := page{http.StatusMethodNotAllowed, "text/plain", []byte("GET only\n")}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			p = show(r)
		} else {
			w.Header().Set("Allow", "GET, HEAD")
		}
		for name, value := range map[string]string{
			"Content-Type":            p.mediaType + "; charset=utf-8",
			"Content-Length":          strconv.Itoa(len(p.body)),
			"Cache-Control":           "no-store",
			"X-Content-Type-Options":  "nosniff",
			"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
		} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(p.status)
		_, _ = w.Write(p.body) // nothing for HEAD
	}
}
