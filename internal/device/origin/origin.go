// Package origin downloads from servers: over HTTP and HTTPS, over TFTP, and
// from files of this host, behind one interface, with resume if the protocol
// can.
//
// What lives here: how to ask a server for one body, and what its refusals
// mean. What must not: what the bytes should be (chunks, digests, signatures),
// which server to ask when one fails, and when to ask again.
//
// Read origin.go (what is asked and what comes back), then http.go with answer.go, and
// tftp.go; body.go bounds what comes.
package origin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/ratelimit"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/tftp"
)

// Request asks for one body.
type Request struct {
	// URL of the file: http, https, tftp or file.
	URL *url.URL
	// Offset to start from, in bytes. If the server cannot do that, the body
	// starts at 0 and says so.
	Offset int64
	// End, if positive, is where to stop, in bytes from the file's start: HTTP only. A
	// server that cannot do that sends the rest of the file, or all of it; Body.End
	// says so.
	End int64
	// Download names the download that this is a piece of: the product's server counts
	// its pieces as one transfer. "": none.
	Download string
	// Beside says that other bodies of the server are under way: that it refuses this
	// one says nothing about them.
	Beside bool
	// Shared says that another device of the site downloads over the same line, so that a
	// download in the background begins with the least. HTTP only.
	Shared bool
	// Others is how many more pieces will be asked for at the same time, if the line
	// needs them: to a server that is far connections are made for them meanwhile.
	Others int
	// Made is told of those connections once they wait, by a goroutine of its own. nil:
	// nobody is.
	Made func(Made)
	// Validator is the strong validator of the copy that is resumed: the server
	// resumes only if it still has that content. "": resume whatever it has; the
	// caller must then know the content by other means.
	Validator string
	// Size is the expected size of the whole file in bytes, or
	// load.UnknownSize. A server that tells another is refused; if the bytes are
	// Verified, only one that tells less, by a protocol that then sends no more.
	Size int64
	// Verified says that the caller compares the bytes with a digest. They are
	// then taken as the server sends them: resumed without a validator, and in
	// whatever content coding it names.
	Verified bool
	// Header goes with this request as Config.Headers do with all, and counts more.
	// nil: none.
	Header http.Header
}

// Made tells of connections that were made for pieces to come.
type Made struct {
	// Trip is how long the first handshake with the server took.
	Trip time.Duration
	// Connections is how many were made at the same time, and Spread how long after the
	// first of them the last one was.
	Connections int
	Spread      time.Duration
}

// Body is an open body. It is read once, and the caller of Open closes it. Read
// returns io.EOF only if all bytes came; else ErrTruncated, ErrTooMuch,
// ErrStalled, or the cause with which the context was cancelled.
type Body struct {
	io.ReadCloser
	// Offset is where in the file Read really starts: Request.Offset, or 0 if
	// the server ignored the resume or has another content now.
	Offset int64
	// End is where in the file Read ends: Request.End, or Size if the server sends
	// all.
	End int64
	// Size of the whole file in bytes, load.UnknownSize if not known.
	Size int64
	// Told is the size that the server announced, load.UnknownSize if none. It may be
	// another than Size if the bytes are Verified.
	Told int64
	// Validator is the content's strong validator, "" if it has none.
	Validator string
	// Scheme that the bytes come by; a redirect may have changed it.
	Scheme string

	content io.Reader // of an HTTP answer
	skip    int64     // bytes that come before Offset
	end     int64     // where in the file the answer ends, if Size is known
	partial bool      // it ends where the piece does that was asked for, or before
}

// Defaults of Config.
const (
	DefaultMaxRedirects   = 10
	DefaultConnectTimeout = 5 * time.Second
	DefaultStallTimeout   = 8 * time.Second
	DefaultUserAgent      = "peerload"
)

// RootStallTimeout is the StallTimeout of a root. It is shorter than the time
// that its followers wait for progress, so that the root gives up first and
// says why.
const RootStallTimeout = 5 * time.Second

// Config is how to reach servers. The zero Config works.
type Config struct {
	// Headers go with every HTTP request to the URL's own host and to no other:
	// a redirect must not carry a secret elsewhere. nil: none.
	Headers http.Header
	// UserAgent of HTTP requests, by which a server's log tells devices from
	// browsers. "": DefaultUserAgent.
	UserAgent string
	// CACert holds the roots that HTTPS servers are verified against. nil: the
	// system's.
	CACert *x509.CertPool
	// ClientCert is shown to the URL's own host if it asks. nil: none.
	ClientCert *tls.Certificate
	// NoProxyEnv ignores HTTP_PROXY, HTTPS_PROXY and NO_PROXY. False: they
	// count, as for any other program on the host.
	NoProxyEnv bool
	// MaxRedirects is how many redirects are followed. 0: DefaultMaxRedirects,
	// 10 as in net/http; negative: none.
	MaxRedirects int
	// ConnectTimeout bounds the connection by TCP, and again by TLS. 0:
	// DefaultConnectTimeout, 5 s: a lost SYN is sent again twice in that time.
	ConnectTimeout time.Duration
	// StallTimeout is the time within which a server must answer, and then how
	// long it may send nothing, or less than LeastRate. 0:
	// DefaultStallTimeout, 8 s, which outlasts a short outage of the line; a
	// root takes RootStallTimeout.
	StallTimeout time.Duration
	// LimitRate is the most bytes in a second, all bodies together. 0: no
	// limit, because a site's line is shared best by one root at full rate.
	LimitRate int64
	// Background has downloads over HTTP give way to everything else on the line. False:
	// they take what TCP gives them.
	Background bool
	// LocalAddr is the address to connect from, to servers that have an address
	// of its family. Zero: the system's choice.
	LocalAddr netip.Addr
	// BlockSize is what TFTP asks for, in bytes: see tftp.Client. 0: the client's
	// default. A server from which blocks of that size do not come is asked for
	// smaller ones.
	BlockSize int
	// WindowSize is how many blocks TFTP asks to have sent before it
	// acknowledges (RFC 7440): see tftp.Client. 0: the client's default, or
	// less where LimitRate is low, so that the server's queue is no burst.
	WindowSize int
	// Slide is how many blocks TFTP asks to have under way by its slide option:
	// see tftp.Client. 0: as for WindowSize.
	Slide int
}

// Validate refuses values out of range.
func (c *Config) Validate() error {
	if c.ConnectTimeout < 0 || c.StallTimeout < 0 || c.LimitRate < 0 {
		return errors.New("origin: ConnectTimeout, StallTimeout and LimitRate must not be negative")
	}
	ours := []string{"Range", "If-Range", "Accept-Encoding", "Content-Length", "Transfer-Encoding", "Connection"}
	for name, values := range c.Headers {
		if slices.Contains(ours, textproto.CanonicalMIMEHeaderKey(name)) {
			return fmt.Errorf("origin: the header %s is set by the protocol", name)
		}
		for _, v := range append(values, name) {
			if strings.ContainsAny(v, "\r\n\x00") {
				return fmt.Errorf("origin: the header %q holds a line end", name)
			}
		}
	}
	client := c.tftpClient()
	return client.Validate()
}

// Mux opens bodies by the scheme of their URL. It is safe for use by several
// goroutines.
type Mux struct {
	cfg   Config
	http  *httpOrigin
	limit *ratelimit.Limiter
	tftp  tftp.Learned
	busy  busy
}

// New returns an origin for http, https, tftp and file.
func New(cfg Config) (*Mux, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = DefaultUserAgent
	}
	if cfg.MaxRedirects == 0 {
		cfg.MaxRedirects = DefaultMaxRedirects
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = DefaultStallTimeout
	}
	return &Mux{cfg: cfg, http: newHTTP(cfg), limit: ratelimit.New(float64(cfg.LimitRate), 0)}, nil
}

// Open asks for one body. Cancelling ctx ends the body too.
func (m *Mux) Open(ctx context.Context, r Request) (*Body, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	var b *Body
	var err error
	switch strings.ToLower(r.URL.Scheme) {
	case "http", "https":
		if err = m.busy.refuses(r.URL, time.Now()); err == nil {
			if b, err = m.http.open(ctx, r); !r.Beside {
				m.busy.said(r.URL, err, time.Now())
			}
		}
	case "tftp":
		b, err = m.openTFTP(ctx, r)
	case "file":
		b, err = openFile(r)
	default:
		return nil, fmt.Errorf("origin: the scheme is http, https, tftp or file, not %q", r.URL.Scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Shown(r.URL), err)
	}
	if err := m.bound(ctx, r, b); err != nil {
		b.Close()
		return nil, fmt.Errorf("%s: %w", Shown(r.URL), err)
	}
	return b, nil
}

// Prepare connects to the server of u, with TLS where the scheme says so, and
// asks for nothing: the next Open uses the connection. For schemes without
// connections it does nothing.
func (m *Mux) Prepare(ctx context.Context, u *url.URL) error {
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		if err := m.http.conns.ahead.prepare(ctx, u); err != nil {
			return classify(ctx, err, connecting)
		}
	}
	return nil
}

// Close closes idle connections. Open bodies stay open.
func (m *Mux) Close() { m.http.close() }

func (r *Request) validate() error {
	if r.URL == nil {
		return errors.New("origin: a request needs a URL")
	}
	if err := (load.Geometry{Size: r.Size}).Validate(); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	if r.Offset < 0 || r.Offset > load.MaxFileSize || r.Size >= 0 && r.Offset > r.Size {
		return fmt.Errorf("origin: offset %d in a file of %d bytes", r.Offset, r.Size)
	}
	if r.End != 0 && r.End <= r.Offset {
		return fmt.Errorf("origin: a piece from %d to %d", r.Offset, r.End)
	}
	return nil
}

// partly reports whether the answer is the piece that was asked for and not all to
// the end of the file.
func (r *Request) partly(b *Body) bool { return r.End > 0 && b.partial && b.Size > r.End }

// bound compares what the server announced with what is expected, and wraps the
// body in a reader that enforces it. Where a digest tells whether the bytes are
// right, a false size is no reason not to read them, if they can be there at all.
func (m *Mux) bound(ctx context.Context, r Request, b *Body) error {
	b.Told = b.Size
	if r.Verified && r.Size >= 0 && (b.Size > r.Size || b.Scheme == "tftp") {
		b.Size = r.Size
	}
	switch {
	case b.Size > load.MaxFileSize:
		return fmt.Errorf("%w: %d bytes, the largest file has %d", ErrTooMuch, b.Size, int64(load.MaxFileSize))
	case r.Size >= 0 && b.Size > r.Size:
		return fmt.Errorf("%w: %d bytes, expected are %d", ErrTooMuch, b.Size, r.Size)
	case r.Size >= 0 && b.Size >= 0 && b.Size < r.Size:
		return fmt.Errorf("%w: %d bytes, expected are %d", ErrTruncated, b.Size, r.Size)
	case b.Size < 0:
		b.Size = r.Size
	}
	want := int64(-1)
	if b.End = b.Size; r.partly(b) {
		b.End = r.End
	}
	if b.Size >= 0 {
		want = b.End - b.Offset + b.skip
	}
	b.ReadCloser = &reader{
		body: b.ReadCloser, ctx: ctx, limit: m.limit, piece: m.piece(), budget: newWaitBudget(m.cfg.StallTimeout),
		left: load.MaxFileSize - b.Offset + b.skip, want: want, skip: b.skip,
	}
	return nil
}

// piece is how much of a body is read at a time where the rate is limited: what
// a tenth of a second brings, so that bytes come evenly. 0: no bound.
func (m *Mux) piece() int {
	if m.limit == nil {
		return 0
	}
	return int(min(max(1, m.cfg.LimitRate/10), math.MaxInt32))
}

// howTo says how to write where a file is.
const howTo = "write HOST/PATH, or a URL such as http://10.0.0.5/fw/app.bin"

// badURL says what is wrong with a URL without repeating it: there may be a
// password in it.
func badURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("origin: that is no URL: %w; %s", err, howTo)
}

// Candidates returns the URLs to try, in order. A text with a scheme is one
// URL. A bare host/path is tried as devices do it: HTTP on port 6970, or on
// the port given, then TFTP on port 69
// (docs/ORIGINAL.md, "Provisioning and files").
func Candidates(text string) ([]*url.URL, error) {
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return nil, badURL(err)
		}
		if u.Host == "" && u.Scheme != "file" {
			return nil, fmt.Errorf("origin: %q names no host: %s", Shown(u), howTo)
		}
		return []*url.URL{u}, nil
	}
	u, err := url.Parse("http://" + text)
	if err != nil {
		return nil, badURL(err)
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("origin: %q is neither a URL nor HOST/PATH: %s",
			strings.TrimPrefix(Shown(u), "http://"), howTo)
	}
	t := *u
	t.Scheme, t.User = "tftp", nil
	t.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	if u.Port() == "" {
		u.Host = t.Host + ":6970"
	}
	return []*url.URL{u, &t}, nil
}
