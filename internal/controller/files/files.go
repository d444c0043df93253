// Package files serves one directory of plain files over HTTP and TFTP, and
// what its caller makes on the fly. It offers everything in the directory
// except hidden files, read-only. Devices verify what they fetch, so the server
// need not be trusted. A budget bounds what one site downloads at the same
// time.
//
// What must not be here: knowledge of loads beyond their file names, the
// database, pages for people.
package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/controller/behind"
	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/tftp"
)

// Config configures Serve.
type Config struct {
	// Root is the directory offered. Required unless there is a Tree. Serve does not
	// close it.
	Root *os.Root
	// Tree is offered in the place of Root. nil: there is none.
	Tree objects.Tree
	// HTTP listens for HTTP. nil: no HTTP, and TFTP is required.
	HTTP net.Listener
	// TFTP is a UDP socket. nil: no TFTP, and HTTP is required.
	TFTP *net.UDPConn
	// Generate makes a file on the fly; it is called before the directory is
	// searched, with a clean name and the client's address. An error that
	// matches fs.ErrNotExist sends the request to the directory. nil: no such
	// files.
	Generate func(ctx context.Context, name string, client netip.Addr) ([]byte, error)
	// Budget bounds what devices of one site download at the same time. The
	// zero value sets no limit.
	Budget Budget
	// Stall is how long an HTTP client may take to receive 256 KiB; one that takes
	// longer is cut off, so that it does not keep its site's permit for good. 0: 2
	// minutes, which is less than 20 kbit/s. TFTP has timeouts of its own.
	Stall time.Duration
	// Congestion names the congestion control of HTTP connections, which the system
	// must have and allow; CongestionSystem leaves it to the system. "": bbr where
	// that can be had, which the log tells, and on other systems than Linux nothing.
	Congestion string
	// Balancers are the networks of those that say for whom an HTTP connection is.
	Balancers []netip.Prefix
	// Metrics counts what is served. nil: nothing is counted.
	Metrics *Metrics
	// Log is told of requests that fail. nil: nothing is logged.
	Log *slog.Logger
}

// Validate says what is missing or out of range.
func (c Config) Validate() error {
	if (c.Root == nil) == (c.Tree == nil) {
		return errors.New("files: no directory given, or a tree besides")
	}
	if c.HTTP == nil && c.TFTP == nil {
		return errors.New("files: neither HTTP nor TFTP to serve")
	}
	if c.Stall < 0 {
		return errors.New("files: Stall is negative")
	}
	return c.Budget.Validate()
}

// defaultStall and stallSlice: see Config.Stall.
const (
	defaultStall = 2 * time.Minute
	stallSlice   = 256 << 10
)

// shutdownGrace is how long transfers may go on after the end was asked for.
const shutdownGrace = 2 * time.Second

// server is one call of Serve.
type server struct {
	cfg  Config
	gate *gate
}

func newServer(cfg Config) *server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Stall == 0 {
		cfg.Stall = defaultStall
	}
	return &server{cfg: cfg, gate: newGate(cfg.Budget)}
}

// Serve serves until ctx is cancelled, closes the sockets and returns nil. If
// one of the two protocols fails, the other ends too.
func Serve(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newServer(cfg)
	if cfg.HTTP != nil {
		if _, err := Tune(cfg.HTTP, cfg.Congestion, s.cfg.Log); err != nil {
			return err
		}
	}
	var running int
	ended := make(chan error, 2)
	start := func(f func() error) {
		running++
		go func() { ended <- f(); cancel() }()
	}
	if cfg.HTTP != nil {
		start(func() error { return s.serveHTTP(ctx) })
	}
	if cfg.TFTP != nil {
		t := &tftp.Server{Files: opener{s, ctx, s.plain()}, Log: s.cfg.Log, OnTransfer: s.onTransfer}
		start(func() error { return t.Serve(ctx, cfg.TFTP) })
	}
	var errs []error
	for range running {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// onTransfer counts TFTP transfers.
func (s *server) onTransfer(t tftp.Transfer) {
	m := s.cfg.Metrics
	if t.Size < 0 { // no file was opened
		if t.Ended {
			m.request(protoTFTP, "missing")
		}
		return
	}
	if !t.Ended {
		m.begin(protoTFTP, 1)
		return
	}
	m.begin(protoTFTP, -1)
	m.sent(protoTFTP, t.Sent)
	if t.Err != nil {
		m.request(protoTFTP, "failed")
	} else {
		m.request(protoTFTP, "ok")
	}
}

func (s *server) serveHTTP(ctx context.Context) error {
	h := &http.Server{Handler: http.HandlerFunc(s.answer), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn)}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	})
	err := h.Serve(behind.Listen(s.cfg.HTTP, s.cfg.Balancers))
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// hidden reports whether an element begins with a dot: files that are being
// written are named so.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// Handler offers the regular files below root: GET and HEAD, with Range,
// conditions, and a strong ETag so that an interrupted download resumes. It
// lists no directories, and sets no limits.
func Handler(root *os.Root) http.Handler {
	return http.HandlerFunc(newServer(Config{Root: root}).answer)
}

// answer answers one HTTP request.
func (s *server) answer(rw http.ResponseWriter, r *http.Request) {
	w := &writer{ResponseWriter: rw, ctx: r.Context(), stall: s.cfg.Stall}
	w.patient() // for what is not a file, too
	defer func() {
		s.cfg.Metrics.status(orElse(w.status, http.StatusOK))
		s.cfg.Metrics.sent(protoHTTP, w.body)
	}()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are served", http.StatusMethodNotAllowed)
		return
	}
	// The same names over both protocols. Several slashes count as one, as they
	// do for other HTTP servers: clients that join a base and a name rely on it.
	name, err := tftp.CleanName(slashes.ReplaceAllString(r.URL.Path, "/"))
	if err != nil || hidden(name) {
		http.NotFound(w, r)
		return
	}
	client := clientOf(r)
	c, err := s.find(r.Context(), name, client)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Why a file cannot be read is not for the network to know.
		http.NotFound(w, r)
		return
	case err != nil:
		s.cfg.Log.Error("a file could not be made", "file", name, "error", err)
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter().Seconds())))
		http.Error(w, "the file cannot be made now", http.StatusServiceUnavailable)
		return
	}
	defer c.Close()
	if r.Method == http.MethodGet && r.Header.Get("If-None-Match") != c.etag {
		p := &permit{of: downloadOf(r, client, name)}
		defer p.leave()
		if ok, _ := s.gate.enter(p, client, c.size); !ok {
			s.cfg.Metrics.refusal(protoHTTP)
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter().Seconds())))
			http.Error(w, "the site's budget is used up, try again later", http.StatusServiceUnavailable)
			return
		}
		w.permit = p
	}
	h := w.Header()
	h.Set("ETag", c.etag)
	h.Set("Content-Type", c.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", c.cache)
	s.cfg.Metrics.begin(protoHTTP, 1)
	defer s.cfg.Metrics.begin(protoHTTP, -1)
	w.counts, w.size = true, c.size
	setRange(r.Header, c.size)
	http.ServeContent(w, r, path.Base(name), c.changed, c.ReadSeekCloser) // a plain file: the system copies it
}

// downloadHeader names the download that a request is a piece of, so that its pieces
// have one permit together.
const downloadHeader = "Peerload-Download"

// downloadOf returns which download of a client a request for a file is a piece of.
func downloadOf(r *http.Request, client netip.Addr, name string) download {
	id := r.Header.Get(downloadHeader)
	if id == "" || len(id) > maxDownload || r.Header.Get("Range") == "" {
		return download{}
	}
	return download{client, id + " " + name}
}

// clientOf is the address that a request came from.
func clientOf(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// content is a file that is found.
type content struct {
	io.ReadSeekCloser
	size                     int64
	changed                  time.Time // zero for what is made on the fly
	etag, contentType, cache string
}

type nopCloser struct{ io.ReadSeeker }

// Close implements io.Closer.
func (nopCloser) Close() error { return nil }

// find finds a file: made on the fly, or of the directory. An error matches
// fs.ErrNotExist, or is why a file could not be made.
func (s *server) find(ctx context.Context, name string, client netip.Addr) (content, error) {
	if s.cfg.Generate != nil {
		body, err := s.cfg.Generate(ctx, name, client)
		if err == nil {
			return content{ReadSeekCloser: nopCloser{bytes.NewReader(body)}, size: int64(len(body)),
				etag: fmt.Sprintf(`"%x"`, sha256.Sum256(body)), contentType: "text/xml; charset=utf-8", cache: "no-cache"}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return content{}, err
		}
	}
	c, err := s.open(name)
	if err != nil {
		return content{}, err
	}
	c.contentType, c.cache = "application/octet-stream", "no-cache"
	if immutable.MatchString(name) {
		c.cache = "public, max-age=31536000, immutable"
	}
	return c, nil
}

// open opens a file of the directory, or of the tree.
func (s *server) open(name string) (content, error) {
	if s.cfg.Tree != nil {
		f, err := s.cfg.Tree.Open(name)
		if err != nil {
			return content{}, err
		}
		return content{ReadSeekCloser: objects.Plain(f), size: f.Size(), changed: f.Changed(),
			etag: etag(name, f.Tag())}, nil
	}
	f, info, err := open(s.cfg.Root, name)
	if err != nil {
		return content{}, fs.ErrNotExist
	}
	return content{ReadSeekCloser: f, size: info.Size(), changed: info.ModTime(),
		etag: etag(name, objects.TagOf(info))}, nil
}

// writer counts what is sent, and sends no faster than the site's budget.
type writer struct {
	http.ResponseWriter
	ctx    context.Context //nolint:containedctx // that of the request
	permit *permit
	stall  time.Duration
	status int
	counts bool  // the body is a file
	size   int64 // of that file
	body   int64
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(code int) {
	w.status = code
	if w.counts {
		unsatisfied(w.Header(), code, w.size)
	}
	w.ResponseWriter.WriteHeader(code)
}

// patient gives the client time for another piece.
func (w *writer) patient() {
	// A connection that knows no deadlines has no client that could stall it.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.stall))
}

// Write implements http.ResponseWriter.
func (w *writer) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), slice)]
		if err := w.permit.wait(w.ctx, len(part)); err != nil {
			return n, err
		}
		w.patient()
		k, err := w.ResponseWriter.Write(part)
		n += k
		if w.counts {
			w.body += int64(k)
		}
		if err != nil {
			return n, err
		}
		b = b[len(part):]
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom: without a limit the system copies.
func (w *writer) ReadFrom(r io.Reader) (n int64, err error) {
	if w.permit != nil && w.permit.gate.budget.Rate > 0 {
		return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, slice))
	}
	all, ok := r.(*io.LimitedReader)
	if !ok {
		all = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	for {
		w.patient()
		// One limit around the file and not two, or the system does not copy.
		part := &io.LimitedReader{R: all.R, N: min(all.N, stallSlice)}
		asked := part.N
		k, err := io.Copy(w.ResponseWriter, part)
		n, all.N = n+k, all.N-k
		if w.counts {
			w.body += k
		}
		if err != nil || k < asked || all.N == 0 {
			return n, err
		}
	}
}

// open opens a regular file; it is looked at before, because opening a pipe
// waits, and after, because it may have been swapped.
func open(root *os.Root, name string) (io.ReadSeekCloser, os.FileInfo, error) {
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil, nil, os.ErrNotExist
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = os.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

var (
	slashes   = regexp.MustCompile(`//+`)
	component = regexp.MustCompile(`^components/([0-9a-f]{64})\.[^/]+$`)
	// immutable are the names of a published tree whose content never changes.
	immutable = regexp.MustCompile(`^(components/[0-9a-f]{64}\.[^/]+|metadata/[0-9]+\.(root|targets|snapshot)\.json)$`)
)

// etag is the digest where the name tells it, else the tag of the file.
func etag(name, tag string) string {
	if m := component.FindStringSubmatch(name); m != nil {
		tag = m[1]
	}
	return `"` + tag + `"`
}
