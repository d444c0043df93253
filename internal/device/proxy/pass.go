package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"crypto/tls"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/load"
)

// Times of the way to servers.
const (
	connectTime = 10 * time.Second
	headTime    = 10 * time.Second
	// sidecarAge is how long a sidecar is not asked for again.
	sidecarAge = time.Minute
	// maxSidecar bounds a sidecar, in bytes.
	maxSidecar = 4 << 20
)

// others is the context's key that says that a client is not this device.
type others struct{}

// transport is the way to servers for what passes through.
func (p *Proxy) transport() *http.Transport {
	t := &http.Transport{
		DialContext: p.dial, TLSHandshakeTimeout: connectTime, DisableCompression: true, MaxIdleConns: 64,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.cfg.CACerts},
	}
	if !p.cfg.NoProxyEnv {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// ways are the ways to servers: connections that were made for this device are not for
// clients elsewhere.
type ways struct{ own, others *http.Transport }

// RoundTrip implements http.RoundTripper.
func (w *ways) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Context().Value(others{}) != nil {
		return w.others.RoundTrip(req)
	}
	return w.own.RoundTrip(req)
}

// CloseIdleConnections closes what is kept.
func (w *ways) CloseIdleConnections() {
	w.own.CloseIdleConnections()
	w.others.CloseIdleConnections()
}

// errInside says that a client of elsewhere asks for what only this device reaches.
var errInside = errors.New("an address of this device itself is not for clients elsewhere")

// dial connects to a server, or to the address of one. The connection of a client
// elsewhere does not lead to this device itself.
func (p *Proxy) dial(ctx context.Context, network, to string) (net.Conn, error) {
	d := net.Dialer{Timeout: connectTime}
	if ctx.Value(others{}) != nil {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || inside(at.Addr()) {
				return errInside
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, to)
}

// inside reports whether an address is this device's own, or of its link only.
func inside(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast()
}

// mayReach refuses a host that a client elsewhere must not reach by this device.
func (p *Proxy) mayReach(r *http.Request, host string) error {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && at.Addr().Unmap().IsLoopback() {
		return nil
	}
	all, err := net.DefaultResolver.LookupNetIP(r.Context(), "ip", host)
	for _, a := range all {
		if inside(a) {
			return errInside
		}
	}
	return err
}

// reach is the context of requests to servers on behalf of a client.
func reach(r *http.Request) context.Context {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && at.Addr().Unmap().IsLoopback() {
		return r.Context()
	}
	return context.WithValue(r.Context(), others{}, true)
}

// errShare ends the passing through of an answer that is shared after all.
var errShare = errors.New("the answer has a digest")

// silent drops what net/http says of clients that go away.
var silent = log.New(io.Discard, "", 0)

// pass passes a request through. If the answer to it has a digest, it is shared.
func (p *Proxy) pass(x *exchange) {
	if x.d.Verdict == sharing.Pass {
		p.tell(x)
	}
	rp := httputil.ReverseProxy{
		Transport: p.direct, FlushInterval: -1, ErrorLog: silent,
		Rewrite:        func(pr *httputil.ProxyRequest) { p.address(pr.Out, x.url) },
		ModifyResponse: func(resp *http.Response) error { return p.answered(x, resp) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, errShare) {
				p.share(x)
				return
			}
			refuse(w, http.StatusBadGateway, fmt.Sprintf("%s: %v", x.url.Host, err))
		},
	}
	rp.ServeHTTP(x.w, x.r.WithContext(reach(x.r)))
}

// address makes a request one to the origin.
func (p *Proxy) address(out *http.Request, u *url.URL) {
	c := *u
	if c.User != nil && out.Header.Get("Authorization") == "" {
		pass, _ := c.User.Password()
		out.SetBasicAuth(c.User.Username(), pass)
	}
	c.User = nil
	out.URL, out.Host = &c, c.Host
	out.Header.Add("Via", "1.1 "+p.pseudo)
	if _, given := out.Header["User-Agent"]; !given {
		out.Header["User-Agent"] = nil // Go would add its own
	}
}

// answered looks at the answer to a request that passes through.
func (p *Proxy) answered(x *exchange, resp *http.Response) error {
	if x.d.Verdict == sharing.Ask {
		q := sharing.Request{Method: x.r.Method, URL: x.url, Header: x.r.Header}
		x.d = sharing.Answered(x.d, q, answerOf(resp))
		x.meta = metaOf(resp.Header)
		if x.d.Verdict == sharing.ByDigest && x.r.Method == http.MethodGet && p.cfg.Device() != nil {
			p.headers(x.d.Key, true)
			return errShare
		}
		p.tell(x)
	}
	if x.mirrored {
		mirrorLocation(resp)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil // its body is written, too
	}
	if resp.StatusCode == http.StatusOK && p.cfg.Rules.Learns(x.url) &&
		resp.Header.Get("Content-Encoding") == "" && x.r.Method == http.MethodGet {
		resp.Body = p.learning(x.url, resp.Body)
	}
	resp.Body = &counted{resp.Body, p}
	return nil
}

// answerOf is what the headers of an answer tell.
func answerOf(resp *http.Response) sharing.Answer {
	a := sharing.Answer{Status: resp.StatusCode, Header: resp.Header, Size: load.UnknownSize}
	if resp.StatusCode == http.StatusOK && resp.ContentLength >= 0 {
		a.Size = resp.ContentLength
	}
	if _, total, ok := strings.Cut(resp.Header.Get("Content-Range"), "/"); ok {
		if n, err := strconv.ParseInt(total, 10, 64); err == nil && n >= 0 {
			a.Size = n
		}
	}
	return a
}

// mirrorLocation keeps a client of the mirror on it when the origin sends it
// elsewhere.
func mirrorLocation(resp *http.Response) {
	to, err := resp.Location()
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" || to.User != nil {
		return
	}
	at := "/" + to.Scheme + "/" + to.Host + to.EscapedPath()
	if to.RawQuery != "" {
		at += "?" + to.RawQuery
	}
	resp.Header.Set("Location", at)
}

// counted counts the bytes of a body.
type counted struct {
	io.ReadCloser
	p *Proxy
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.p.counts.passed.Add(int64(n))
	return n, err
}

// learner is the body of an index: what a client reads of it is learned, before the
// client has its end.
type learner struct {
	io.ReadCloser
	pipe *io.PipeWriter
	done chan struct{}
}

func (p *Proxy) learning(u *url.URL, body io.ReadCloser) io.ReadCloser {
	in, out := io.Pipe()
	l := &learner{body, out, make(chan struct{})}
	go func() {
		defer close(l.done)
		p.learn(u, reason.ProxyByIndex, in)
		_, _ = io.Copy(io.Discard, in) // what is left once the index could not be read
	}()
	return l
}

// learn learns from an index. What is wrong with it shows in what passes through.
func (p *Proxy) learn(u *url.URL, why reason.Code, in io.Reader) {
	var fresh sharing.Known
	_, _ = fresh.Learn(u, why, in)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Join(&fresh)
}

func (l *learner) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b)
	if n > 0 {
		_, _ = l.pipe.Write(b[:n])
	}
	if err != nil {
		l.pipe.CloseWithError(err)
		<-l.done
	}
	return n, err
}

func (l *learner) Close() error {
	l.pipe.CloseWithError(io.ErrUnexpectedEOF)
	<-l.done
	return l.ReadCloser.Close()
}

// client asks servers on the proxy's own behalf.
func (p *Proxy) client() *http.Client {
	return &http.Client{Transport: p.direct, Timeout: headTime}
}

// mayAsk reports whether a sidecar is to be asked for, and notes that it is.
func (p *Proxy) mayAsk(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := time.Since(p.asked[key]) < sidecarAge
	if len(p.asked) > 1000 {
		clear(p.asked)
	}
	if !fresh {
		p.asked[key] = time.Now()
	}
	return !fresh
}

// askSidecars fetches the files that may say a digest, unless that was just done.
func (p *Proxy) askSidecars(ctx context.Context, all []*url.URL) {
	for _, u := range all {
		if !p.mayAsk(u.String()) {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			continue
		}
		req.Header.Set("Via", "1.1 "+p.pseudo)
		resp, err := p.client().Do(req)
		if err != nil {
			continue
		}
		if resp.StatusCode == http.StatusOK {
			p.learn(u, reason.ProxyBySidecar, io.LimitReader(resp.Body, maxSidecar))
		}
		resp.Body.Close()
	}
}

// tunnel joins a client with a server, and looks at nothing.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	p.counts.add(&p.mu, reason.ProxyTunnel)
	host, _, err := net.SplitHostPort(r.Host)
	if err == nil {
		err = p.mayReach(r, host)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("CONNECT %s: %v", r.Host, err))
		return
	}
	far, err := p.dial(reach(r), "tcp", r.Host)
	if err != nil {
		refuse(w, http.StatusBadGateway, fmt.Sprintf("CONNECT %s: %v", r.Host, err))
		return
	}
	defer far.Close()
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer near.Close()
	_ = near.SetDeadline(time.Time{})
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	stop := context.AfterFunc(p.ctx, func() { near.Close(); far.Close() })
	defer stop()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		n, _ := io.Copy(far, buffered)
		p.counts.tunnelled.Add(n)
		closeWrite(far)
	}()
	n, _ := io.Copy(near, far)
	p.counts.tunnelled.Add(n)
	closeWrite(near)
	<-sent
}

// closeWrite tells the other side that nothing more comes.
func closeWrite(c net.Conn) {
	if t, ok := c.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
}
