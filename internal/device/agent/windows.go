package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// windows are the ways to look at a daemon from outside: the socket, the page,
// the metrics.
type windows struct {
	daemon        *Daemon
	socket        net.Listener
	page, metrics net.Listener
	closeOnce     sync.Once
}

// openWindows opens what is configured; the socket always.
func (d *Daemon) openWindows() (w *windows, err error) {
	w = &windows{daemon: d}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	c := d.config()
	name := filepath.Join(c.State, SocketName)
	// The lock of the state directory says that nobody listens there.
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if w.socket, err = listenPrivate(name); err != nil {
		return nil, err
	}
	if c.PageAddress != "" {
		if w.page, err = net.Listen("tcp", c.PageAddress); err != nil {
			return nil, fmt.Errorf("page-address: %w", err)
		}
	}
	if c.MetricsAddress != "" {
		if w.metrics, err = net.Listen("tcp", c.MetricsAddress); err != nil {
			return nil, fmt.Errorf("metrics-address: %w", err)
		}
	}
	return w, nil
}

// listenPrivate opens a socket for the owner alone. It gets its name only
// once nobody else may connect.
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

func (w *windows) close() {
	w.closeOnce.Do(func() {
		for _, l := range []net.Listener{w.socket, w.page, w.metrics} {
			if l != nil {
				_ = l.Close()
			}
		}
	})
}

// serve serves all windows until ctx ends.
func (w *windows) serve(ctx context.Context, busy *sync.WaitGroup) {
	busy.Go(func() { accept(ctx, w.socket, busy, w.daemon.converse) })
	if w.page != nil {
		busy.Go(func() { accept(ctx, w.page, busy, answering(w.daemon.pages)) })
	}
	if w.metrics != nil {
		busy.Go(func() { accept(ctx, w.metrics, busy, answering(w.daemon.metricsPage)) })
	}
	busy.Go(func() {
		<-ctx.Done()
		w.close()
	})
}

// maxGuests bounds the connections at one window.
const maxGuests = 16

// accept takes connections until ctx ends.
func accept(ctx context.Context, l net.Listener, busy *sync.WaitGroup, talk func(context.Context, net.Conn)) {
	slots := make(chan struct{}, maxGuests)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // a full table of open files passes
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		busy.Go(func() {
			defer func() { <-slots }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			talk(ctx, c)
		})
	}
}

// page is what is answered to a request.
type page struct {
	status int
	kind   string // Content-Type
	body   []byte
}

// visit is a request for a page.
type visit struct {
	path   string
	query  url.Values
	accept string // Accept-Language
}

// Limits of a request.
const (
	maxRequest  = 8 << 10
	requestTime = 5 * time.Second
)

// answering answers one HTTP request per connection, GET and HEAD only. A whole
// HTTP server would make the program half a megabyte larger for two pages.
func answering(show func(visit) page) func(context.Context, net.Conn) {
	return func(_ context.Context, c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(requestTime))
		method, v, ok := readRequest(bufio.NewReaderSize(c, maxRequest))
		p := page{400, "text/plain", []byte("bad request\n")}
		if ok {
			if p = show(v); method != "GET" && method != "HEAD" {
				p = page{405, "text/plain", []byte("GET only\n")}
			}
		}
		head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s; charset=utf-8\r\nContent-Length: %d\r\n"+
			"Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"+
			"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n",
			p.status, map[int]string{200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}[p.status], p.kind, len(p.body))
		if _, err := c.Write([]byte(head)); err == nil && method != "HEAD" {
			_, _ = c.Write(p.body)
		}
	}
}

// readRequest reads the head of a request. It must fit the reader's buffer.
func readRequest(r *bufio.Reader) (method string, v visit, ok bool) {
	left := maxRequest
	line := func() (string, bool) {
		b, err := r.ReadSlice('\n')
		left -= len(b)
		return strings.TrimRight(string(b), "\r\n"), err == nil && left >= 0
	}
	first, ok := line()
	f := strings.Fields(first)
	if !ok || len(f) != 3 || !strings.HasPrefix(f[2], "HTTP/1.") {
		return "", v, false
	}
	u, err := url.ParseRequestURI(f[1])
	if err != nil {
		return "", v, false
	}
	v.path, v.query = u.Path, u.Query()
	for {
		h, ok := line()
		if !ok {
			return "", v, false
		}
		if h == "" {
			return f[0], v, true
		}
		if name, value, _ := strings.Cut(h, ":"); strings.EqualFold(name, "Accept-Language") {
			v.accept = strings.TrimSpace(value)
		}
	}
}
