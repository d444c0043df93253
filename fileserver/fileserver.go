// Package fileserver offers one directory of plain files to devices, over HTTP
// and TFTP. What it offers is everything in the directory but hidden files,
// read-only; what it offers is right because devices verify it, not because
// of who serves it.
//
// What must not be here: knowledge of loads beyond their file names, the
// database, pages for people.
package fileserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/peerload/peerload/tftp"
)

// Config configures Serve.
type Config struct {
	// Root is the directory offered. Required. Serve does not close it.
	Root *os.Root
	// HTTP listens for HTTP. nil: no HTTP.
	HTTP net.Listener
	// TFTP is a UDP socket. nil: no TFTP.
	TFTP *net.UDPConn
	// Log is told of requests that fail. nil: nothing is logged.
	Log *slog.Logger
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.Root == nil {
		return errors.New("fileserver: no directory given")
	}
	if c.HTTP == nil && c.TFTP == nil {
		return errors.New("fileserver: neither HTTP nor TFTP to serve")
	}
	return nil
}

// shutdownGrace is how long transfers may go on after the end was asked for.
const shutdownGrace = 2 * time.Second

// Serve serves until ctx is cancelled, closes the sockets and returns nil. If
// one of the two protocols fails, the other ends too.
func Serve(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running int
	ended := make(chan error, 2)
	start := func(f func() error) {
		running++
		go func() { ended <- f(); cancel() }()
	}
	if cfg.HTTP != nil {
		start(func() error { return serveHTTP(ctx, cfg) })
	}
	if cfg.TFTP != nil {
		s := &tftp.Server{Files: visible{tftp.Dir(cfg.Root)}, Log: cfg.Log}
		start(func() error { return s.Serve(ctx, cfg.TFTP) })
	}
	var errs []error
	for range running {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

func serveHTTP(ctx context.Context, cfg Config) error {
	s := &http.Server{Handler: Handler(cfg.Root), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		if s.Shutdown(grace) != nil {
			s.Close()
		}
	})
	err := s.Serve(cfg.HTTP)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// visible hides what Handler hides.
type visible struct{ files tftp.Opener }

func (v visible) Open(name string, client netip.AddrPort) (tftp.File, error) {
	if hidden(name) {
		return nil, os.ErrNotExist
	}
	return v.files.Open(name, client)
}

// hidden reports whether an element begins with a dot: files that are being
// written are named so.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// Handler offers the regular files below root: GET and HEAD, with Range,
// conditions, and a strong ETag so that an interrupted download resumes. It
// lists no directories.
func Handler(root *os.Root) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are served", http.StatusMethodNotAllowed)
			return
		}
		name, err := tftp.CleanName(r.URL.Path) // the same names over both protocols
		if err != nil || hidden(name) {
			http.NotFound(w, r)
			return
		}
		f, info, err := open(root, name)
		if err != nil {
			// Why a file cannot be read is not for the network to know.
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		h := w.Header()
		h.Set("ETag", etag(name, info))
		h.Set("Content-Type", "application/octet-stream")
		h.Set("X-Content-Type-Options", "nosniff")
		if immutable.MatchString(name) {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			h.Set("Cache-Control", "no-cache")
		}
		http.ServeContent(w, r, path.Base(name), info.ModTime(), f)
	})
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
	component = regexp.MustCompile(`^components/([0-9a-f]{64})\.[^/]+$`)
	// immutable are the names of a published tree whose content never changes.
	immutable = regexp.MustCompile(`^(components/[0-9a-f]{64}\.[^/]+|metadata/[0-9]+\.(root|targets|snapshot)\.json)$`)
)

// etag is the digest where the name tells it. Elsewhere it is size and time of
// change in nanoseconds, which is strong for files that are replaced by rename.
func etag(name string, info os.FileInfo) string {
	if m := component.FindStringSubmatch(name); m != nil {
		return `"` + m[1] + `"`
	}
	return fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano())
}
