package origin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/device/background"
)

// httpOrigin asks HTTP and HTTPS servers.
type httpOrigin struct {
	cfg    Config
	client *http.Client
	conns  *connections
	ranges rangeless
}

func newHTTP(cfg Config) *httpOrigin {
	conns := newConnections(cfg)
	return &httpOrigin{
		cfg: cfg, conns: conns,
		client: &http.Client{Transport: conns, CheckRedirect: (&redirects{cfg}).check},
	}
}

func (h *httpOrigin) close() { h.conns.close() }

// firstURL is the context's key of the URL asked for.
type firstURL struct{}

// redirects decides on redirects.
type redirects struct{ cfg Config }

// own is the context's key of the headers of one request.
type own struct{}

func (r *redirects) check(req *http.Request, via []*http.Request) error {
	if len(via) > max(0, r.cfg.MaxRedirects) {
		return fmt.Errorf("%w: more than %d redirects", ErrAnswer, max(0, r.cfg.MaxRedirects))
	}
	if s := req.URL.Scheme; s != "http" && s != "https" {
		return fmt.Errorf("%w: a redirect to the scheme %q is not followed", ErrAnswer, s)
	}
	if req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https" {
		return fmt.Errorf("%w: a redirect from https to http is not followed", ErrAnswer)
	}
	req.Header.Del("Referer")
	left := req.URL.Host != via[0].URL.Host
	for _, v := range via {
		left = left || v.URL.Host != via[0].URL.Host
	}
	if left {
		for name := range r.cfg.Headers {
			req.Header.Del(name)
		}
		if h, ok := req.Context().Value(own{}).(http.Header); ok {
			for name := range h {
				req.Header.Del(name)
			}
		}
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	return nil
}

// open asks for a body; from the start, without Range, if the answer to the
// resume is of no use.
func (h *httpOrigin) open(ctx context.Context, r Request) (*Body, error) {
	if r.Verified {
		r.Validator = "" // the digest says more: servers of one name may have tags of their own
	}
	if r.Validator != "" && strongValidator(r.Validator) == "" {
		r.Offset = 0 // nothing that a server could compare
	}
	if h.cfg.Background {
		r.Made = nil // what the line takes is not known before the first answer
	}
	if !r.Beside {
		h.conns.group.Share(r.Shared)
		if r.Shared && h.cfg.Background {
			h.conns.release(r.URL) // they offer more than may come at once
		}
	}
	if r.Others > 0 && h.conns.direct(r.URL) {
		h.conns.ahead.more(ctx, r.URL, r.Others, r.Made)
	}
	b, err := h.ask(ctx, r)
	if !r.Beside && r.ranged() && h.ranges.useless(r.URL, err) {
		r.Offset, r.End = 0, 0
		b, err = h.ask(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	until := b.Size
	if r.partly(b) {
		until = r.End
	}
	if b.Size >= 0 && b.end < until {
		return h.goOn(ctx, r, b, until)
	}
	return b, nil
}

func (h *httpOrigin) ask(ctx context.Context, r Request) (*Body, error) {
	inner, cancel := context.WithCancelCause(ctx)
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(inner, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { connected.Store(true) },
		GotFirstResponseByte: func() { connected.Store(true) }, // by a connection made ahead
	})
	traced = context.WithValue(context.WithValue(traced, firstURL{}, r.URL), own{}, r.Header)
	req, err := http.NewRequestWithContext(traced, http.MethodGet, r.URL.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	h.setHeaders(req, r)
	client := *h.client
	client.Jar = &cookies{}
	resp, err := client.Do(req)
	if err != nil {
		at := connecting
		if connected.Load() {
			at = waiting
		}
		err = nonsense(classify(ctx, withoutURL(err), at), at)
		cancel(nil)
		if r.Offset > 0 && errors.Is(err, ErrAnswer) {
			err = &uselessError{err}
		}
		return nil, err
	}
	b, err := answer(r, resp)
	if err != nil {
		resp.Body.Close()
		cancel(nil)
		return nil, err
	}
	b.ReadCloser = &httpBody{Reader: b.content, closer: resp.Body, ctx: inner, cancel: cancel}
	return b, nil
}

// ranged reports whether not the whole file is asked for.
func (r *Request) ranged() bool { return r.Offset > 0 || r.End > 0 }

func (h *httpOrigin) setHeaders(req *http.Request, r Request) {
	for name, values := range h.cfg.Headers {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("User-Agent", h.cfg.UserAgent)
	// A body in another coding has other offsets; this also keeps the
	// transport from asking for one.
	req.Header.Set("Accept-Encoding", "identity")
	if r.ranged() {
		what := fmt.Sprintf("bytes=%d-", r.Offset)
		if r.End > 0 {
			what += strconv.FormatInt(r.End-1, 10)
		}
		req.Header.Set("Range", what)
		if r.Download != "" {
			req.Header.Set("Peerload-Download", r.Download)
		}
		if r.Validator != "" {
			req.Header.Set("If-Range", r.Validator)
		}
	}
}

// httpBody is a response's body whose Read can be ended.
type httpBody struct {
	io.Reader
	closer io.Closer
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Read implements io.Reader.
func (b *httpBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	switch {
	case err == nil, err == io.EOF:
	case b.ctx.Err() != nil:
		err = context.Cause(b.ctx)
	default:
		err = nonsense(classify(b.ctx, err, reading), reading)
	}
	return n, err
}

func (b *httpBody) giveUp(why error) { b.cancel(why) }

// Close ends the connection if bytes are under way: to drain them would cost
// what the caller wanted to save.
func (b *httpBody) Close() error {
	b.cancel(context.Canceled)
	return b.closer.Close()
}

// nonsense takes an error without a meaning, after a server had the request, for
// an answer that breaks HTTP: a program that sends one sends it again.
func nonsense(err error, at stage) error {
	if at == connecting || Reason(err) != "other" || strings.HasSuffix(err.Error(), "server closed idle connection") {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the server ends the connection without an answer: %w", err)
	}
	if strings.Contains(err.Error(), `"\x15\x03`) {
		return fmt.Errorf("%w: the server speaks TLS there: write https:// instead of http://", ErrAnswer)
	}
	return fmt.Errorf("%w: the server breaks HTTP: %w", ErrAnswer, err)
}

// strongValidator returns an entity tag that promises the same bytes, or "".
// Weak tags and dates do not (RFC 9110 section 8.8).
func strongValidator(tag string) string {
	if len(tag) < 2 || len(tag) > 256 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	for _, c := range []byte(tag[1 : len(tag)-1]) {
		if c <= ' ' || c == '"' || c >= 0x7f {
			return ""
		}
	}
	return tag
}

// statusError returns the error for a status without a body.
func statusError(resp *http.Response) error {
	status := fmt.Errorf("the server answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %w", ErrNotFound, status)
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: %w", ErrForbidden, status)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return &BusyError{RetryAfter: retryAfter(resp.Header)}
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusMisdirectedRequest:
		return status // another attempt may do
	}
	if resp.StatusCode/100 != 5 || resp.StatusCode == http.StatusNotImplemented ||
		resp.StatusCode == http.StatusHTTPVersionNotSupported {
		return fmt.Errorf("%w: %w", ErrAnswer, status)
	}
	return status
}

// retryAfter reads seconds or a date, which is compared with the server's own
// clock.
func retryAfter(h http.Header) time.Duration {
	const most = 24 * time.Hour
	text := h.Get("Retry-After")
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(s)*time.Second, most)
	}
	at, err := http.ParseTime(text)
	now, err2 := http.ParseTime(h.Get("Date"))
	if err != nil || err2 != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), most)
}

// withoutURL drops the URL that net/http puts before its errors: Open names it.
func withoutURL(err error) error {
	if e, ok := err.(*url.Error); ok { //nolint:errorlint // what wraps one says more than its cause
		return e.Err
	}
	return err
}

// tlsConfig is the configuration with or without the client's certificate.
func (c *Config) tlsConfig(withCert bool) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.CACert}
	if withCert && c.ClientCert != nil {
		t.Certificates = []tls.Certificate{*c.ClientCert}
	}
	return t
}

// dial connects from LocalAddr. A server that has no address of its family is
// reached from an address that the system chooses: peers speak IPv4, servers
// need not.
func (c *Config) dial(ctx context.Context, network, to string, control dialControl) (net.Conn, error) {
	dialer := net.Dialer{Timeout: c.ConnectTimeout, Control: control}
	if !c.LocalAddr.IsValid() {
		return dialer.DialContext(ctx, network, to)
	}
	dialer.LocalAddr = net.TCPAddrFromAddrPort(netipPort(c.LocalAddr))
	conn, err := dialer.DialContext(ctx, network, to)
	var family *net.AddrError
	if errors.As(err, &family) {
		dialer.LocalAddr = nil
		return dialer.DialContext(ctx, network, to)
	}
	return conn, err
}

// dialControl is called with each address before it is connected to; nil: it may
// be any.
type dialControl = func(network, address string, conn syscall.RawConn) error

// both asks two, of which the first may be nil.
func both(first, second dialControl) dialControl {
	return func(network, address string, conn syscall.RawConn) error {
		if first != nil {
			if err := first(network, address, conn); err != nil {
				return err
			}
		}
		return second(network, address, conn)
	}
}

// transport returns net/http's transport in our configuration.
func (c *Config) transport(withCert bool, control dialControl, group *background.Group) *http.Transport {
	var one http.Protocols
	one.SetHTTP1(true) // one body at a time needs no streams
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			conn, err := c.dial(ctx, network, to, both(control, group.Control))
			if err == nil {
				group.Join(conn)
			}
			return conn, err
		}, TLSClientConfig: c.tlsConfig(withCert), TLSHandshakeTimeout: c.ConnectTimeout,
		DisableCompression: true, MaxIdleConns: mostIdle, MaxIdleConnsPerHost: mostIdle, IdleConnTimeout: idleConnection,
		ResponseHeaderTimeout: c.StallTimeout, MaxResponseHeaderBytes: 64 << 10, Protocols: &one,
	}
	if !c.NoProxyEnv {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}
