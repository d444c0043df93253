package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"
)

// request is what a server was asked.
type request struct {
	at     time.Time
	client string // IP address
	method string
	path   string
	ranged string // the Range header
}

// server is an HTTP server that counts what it sends, as payload, and can be
// slow and wrong.
type server struct {
	t    *testing.T
	host string
	http *httptest.Server

	mu      sync.Mutex
	files   map[string][]byte // by path
	handler http.Handler      // for all other paths
	etag    string            // for files; "" for none
	noRange bool
	rate    int64 // bytes per second in all, 0: no limit
	// ready says when the bytes of a path may go, if it is set.
	ready    func(path string) bool
	fault    func(w http.ResponseWriter, r *http.Request, n int) bool
	requests []request
	bytes    map[string]int64 // by path
	next     time.Time        // when the next byte may go
	moved    time.Time        // when the last byte went
}

// newServer starts a server at an address of its own with a file /fw/app.bin.
func newServer(t *testing.T, body []byte) *server {
	t.Helper()
	s := &server{t: t, files: map[string][]byte{}, bytes: map[string]int64{}, etag: `"1"`}
	if body != nil {
		s.files[appPath] = body
	}
	l, err := net.Listen("tcp4", "127.9.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.http = &httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	s.http.Start()
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	s.host = l.Addr().String()
	return s
}

const appPath = "/fw/app.bin"

func (s *server) url() string { return "http://" + s.host + appPath }

// ServeHTTP counts, then breaks or serves.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	s.mu.Lock()
	n := 0
	for _, q := range s.requests {
		if q.path == r.URL.Path {
			n++
		}
	}
	s.requests = append(s.requests, request{time.Now(), client, r.Method, r.URL.Path, r.Header.Get("Range")})
	body, ok := s.files[r.URL.Path]
	fault, etag, noRange, handler, ready := s.fault, s.etag, s.noRange, s.handler, s.ready
	s.mu.Unlock()
	for ready != nil && !ready(r.URL.Path) {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	cw := &countingWriter{ResponseWriter: w, s: s, path: r.URL.Path, ctx: r.Context()}
	switch {
	case fault != nil && fault(cw, r, n):
	case !ok && handler != nil:
		handler.ServeHTTP(cw, r)
	case !ok:
		http.NotFound(w, r)
	case noRange:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = io.Copy(onlyWriter{cw}, bytes.NewReader(body))
	default:
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		http.ServeContent(cw, r, path.Base(r.URL.Path), time.Time{}, bytes.NewReader(body))
	}
}

type onlyWriter struct{ io.Writer }

// countingWriter counts the payload and keeps the rate.
type countingWriter struct {
	http.ResponseWriter
	s    *server
	path string
	ctx  context.Context
	bad  bool // an answer without the file's bytes
}

func (c *countingWriter) WriteHeader(code int) {
	c.bad = code >= 300
	c.ResponseWriter.WriteHeader(code)
}

const serverPiece = 16 << 10

func (c *countingWriter) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		piece := b[n:min(len(b), n+serverPiece)]
		if err = c.s.pace(c.ctx, len(piece)); err != nil {
			return n, err
		}
		m, err = c.ResponseWriter.Write(piece)
		n += m
		if !c.bad {
			c.s.sent(c.path, m)
		}
	}
	return n, err
}

func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Flush implements http.Flusher.
func (c *countingWriter) Flush() {
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Hijack implements http.Hijacker, for faults.
func (c *countingWriter) hijack() net.Conn {
	conn, _, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn
}

// pace waits until n bytes may go.
func (s *server) pace(ctx context.Context, n int) error {
	s.mu.Lock()
	rate := s.rate
	now := time.Now()
	if s.next.Before(now) {
		s.next = now
	}
	at := s.next
	if rate > 0 {
		s.next = s.next.Add(time.Duration(int64(n) * int64(time.Second) / rate))
	}
	s.mu.Unlock()
	if rate == 0 {
		return nil
	}
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		if f := ctx.Err(); f != nil {
			return f
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *server) sent(path string, n int) {
	s.mu.Lock()
	s.bytes[path] += int64(n)
	s.moved = time.Now()
	s.mu.Unlock()
}

// sentOf returns the payload bytes of a path.
func (s *server) sentOf(path string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes[path]
}

// asked returns the requests of a path.
func (s *server) asked(path string) (out []request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.path == path {
			out = append(out, r)
		}
	}
	return out
}

// set changes how the server behaves.
func (s *server) set(f func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// waitBytes waits until so many bytes of the file went.
func (s *server) waitBytes(n int64) {
	s.t.Helper()
	poll(s.t, fmt.Sprintf("%d bytes from the server", n), func() bool { return s.sentOf(appPath) >= n })
}

// awaitMeeting lets the server hold the bytes of a file, or of a component, until
// n devices have met: on a busy machine a small file is down before they do.
func (s *server) awaitMeeting(site *site, n int) {
	var met sync.Map // files whose devices have
	s.set(func(s *server) {
		s.ready = func(p string) bool {
			file := path.Base(p)
			switch {
			case strings.HasPrefix(p, "/components/"):
				_, file, _ = strings.Cut(file, ".") // the digest stands before the name
			case !strings.HasPrefix(p, "/fw/"):
				return true
			}
			if _, before := met.Load(file); before {
				return true
			}
			ok := site.met(file, n)
			if ok {
				met.Store(file, true)
			}
			return ok
		}
	})
}

// Bounds of the server's bytes in multiples of the file, where the aim is 1: if
// the machine is too busy for the devices to hear each other in time, two of
// them begin as roots, until they meet. tiny is for files that are complete by
// then.
const nearlyOnce, tiny = 1.45, 2.0

// once checks that the file crossed the WAN about once, and logs the figure.
func (s *server) once(bound float64) {
	s.t.Helper()
	s.mu.Lock()
	size := len(s.files[appPath])
	s.mu.Unlock()
	r := float64(s.sentOf(appPath)) / float64(size)
	s.t.Logf("server bytes / size = %.3f, bound %.2f, requests %v", r, bound, s.ranges())
	if r > bound {
		s.t.Errorf("the server sent %.3f times the file, bound %.2f", r, bound)
	}
}

func (s *server) ranges() (out []string) {
	for _, r := range s.asked(appPath) {
		out = append(out, strings.TrimSpace(r.client+" "+r.ranged))
	}
	return out
}
