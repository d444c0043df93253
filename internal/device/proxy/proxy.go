// Package proxy is an HTTP proxy for other people's programs: what they download
// through it comes through the peers of the subnet where package sharing says so, and
// passes through as it is everywhere else.
//
// What lives here: the proxy's own protocol, the copies that it keeps, and the way of
// bytes from the engine to a client. What must not: what is shared and on whose word
// (package sharing), and how files come (package engine). A mistake here may cost a
// plain download, and never wrong bytes.
//
// Read ServeHTTP first, then pass.go (what is not shared), share.go (what is), body.go
// (handing on while it arrives) and keep.go (the copies).
package proxy

import (
	"context"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// DefaultAddress is where a proxy listens: on this device alone.
const DefaultAddress = "127.0.0.1:4052"

// DefaultKeep is how much is kept, in bytes: some hundred packages, or a few images.
const DefaultKeep = 1 << 30

// Config is what a proxy needs.
type Config struct {
	// Dir has the copies and their index; it is made if it is missing. Required.
	Dir string
	// Keep is the most bytes that copies take; the least recently used go first.
	// 0: DefaultKeep.
	Keep int64
	// Rules say what is shared beside what has a digest. nil: none.
	Rules sharing.Rules
	// Allow are the networks whose clients are served beside this device. nil: none,
	// since a proxy that serves others is asked to reach what they cannot.
	Allow []netip.Prefix
	// Device returns the device as a peer of its subnet, nil while it shares nothing.
	// Required.
	Device func() *engine.Device
	// CACerts are the roots that HTTPS servers are verified against. nil: the
	// system's.
	CACerts *x509.CertPool
	// NoProxyEnv ignores HTTP_PROXY and the like: they may name this proxy. False:
	// they count.
	NoProxyEnv bool
	// Files is the file system. nil: the real one, slot.OS.
	Files slot.FS
	// Report takes an event for each download; it must not block. nil drops them.
	Report func(report.Event)
}

// Validate says what is missing or contradicts itself.
func (c Config) Validate() error {
	switch {
	case c.Dir == "" || c.Device == nil:
		return errors.New("proxy: it needs a directory and a device")
	case c.Keep < 0:
		return errors.New("proxy: Keep must not be negative")
	}
	for _, n := range c.Allow {
		if !n.IsValid() {
			return errors.New("proxy: Allow has a network that is none")
		}
	}
	return nil
}

// Proxy is an http.Handler. Use New, and Close at the end.
type Proxy struct {
	cfg    Config
	pseudo string // by which it knows its own requests again
	direct *ways
	ctx    context.Context // of what goes on without a client
	end    context.CancelFunc
	keep   *keep
	busy   sync.WaitGroup
	// trusted are the publishers that rules name, by their directories.
	trusted map[string]*trust.Client

	mu      sync.Mutex
	known   sharing.Known
	asked   map[string]time.Time // sidecars, when they were asked for
	told    map[string]bool      // files of which headers have told the digest
	entries map[string]*entry
	counts  counts
	closed  bool
}

// New returns a proxy over the copies that an earlier one has kept.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Keep == 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Files == nil {
		cfg.Files = slot.OS{}
	}
	if cfg.Report == nil {
		cfg.Report = func(report.Event) {}
	}
	trusted, err := openTrust(cfg.Rules)
	if err != nil {
		return nil, err
	}
	k, err := openKeep(cfg.Files, cfg.Dir, cfg.Keep)
	if err != nil {
		return nil, err
	}
	var id [6]byte
	if _, err := crand.Read(id[:]); err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, pseudo: "peerload-" + hex.EncodeToString(id[:]), keep: k, trusted: trusted,
		asked: map[string]time.Time{}, told: map[string]bool{}, entries: map[string]*entry{},
		counts: counts{by: map[reason.Code]count{}}}
	p.direct = &ways{p.transport(), p.transport()}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.learnKept()
	return p, nil
}

// Close ends what goes on without a client, and lets all files go.
func (p *Proxy) Close() {
	p.end()
	p.mu.Lock()
	p.closed = true // a handler that still runs begins nothing
	p.mu.Unlock()
	p.busy.Wait()
	p.mu.Lock()
	all := p.entries
	p.entries = map[string]*entry{}
	p.mu.Unlock()
	for _, e := range all {
		e.close()
	}
	p.direct.CloseIdleConnections()
	_ = p.keep.lock.Close()
}

// exchange is a request with the way to answer it.
type exchange struct {
	w http.ResponseWriter
	r *http.Request
	// url of the origin; mirrored says that the client does not know it.
	url      *url.URL
	mirrored bool
	d        sharing.Decision
	meta     meta
	// anew says that the origin does not tell which content is meant: a copy may be of
	// another one.
	anew bool
}

// errOwn says that a request is for the proxy itself.
var errOwn = errors.New("it is for the proxy itself")

// ServeHTTP answers a client.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.admits(r.RemoteAddr) {
		refuse(w, http.StatusForbidden, "this proxy does not serve "+r.RemoteAddr)
		return
	}
	if slices.ContainsFunc(r.Header.Values("Via"), func(v string) bool { return strings.Contains(v, p.pseudo) }) {
		refuse(w, http.StatusLoopDetected, "the request has come through this proxy before")
		return
	}
	if r.Method == http.MethodConnect {
		p.tunnel(w, r)
		return
	}
	x := &exchange{w: w, r: r}
	var err error
	x.url, x.mirrored, err = target(r)
	switch {
	case errors.Is(err, errOwn):
		p.own(w, r)
		return
	case err == nil:
		err = p.mayReach(r, x.url.Hostname())
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if x.mirrored {
		// To a browser all sites are one here: no page may act as another one, or read it.
		w.Header().Set("Content-Security-Policy", "sandbox")
	}
	p.serve(x)
}

// refuse answers what is not done, and why.
func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintf(w, "peerload: %s\n", why)
}

// target is the URL that a client asks for: in the form of proxies, or in that of
// mirrors, /SCHEME/HOST/PATH.
func target(r *http.Request) (u *url.URL, mirrored bool, err error) {
	if r.URL.IsAbs() {
		c := *r.URL
		c.Fragment = ""
		if c.Scheme = strings.ToLower(c.Scheme); c.Scheme != "http" && c.Scheme != "https" || c.Host == "" {
			return nil, false, fmt.Errorf("%s: the scheme is http or https, with a host", c.Redacted())
		}
		return &c, false, nil
	}
	// A page of a browser, by whatever name it has for this device, gets nothing.
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
		return nil, false, fmt.Errorf("%q is no name of this proxy: write its address", r.Host)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" {
		return nil, false, errors.New("a page in a browser asks, and this proxy serves no pages")
	}
	scheme, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if scheme != "http" && scheme != "https" {
		return nil, false, errOwn
	}
	u, err = url.Parse(scheme + "://" + rest)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, false, errors.New("write /http/HOST/PATH or /https/HOST/PATH")
	}
	u.RawQuery = r.URL.RawQuery
	return u, true, nil
}

// admits reports whether a client is served.
func (p *Proxy) admits(remote string) bool {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	a := at.Addr().Unmap()
	return a.IsLoopback() || slices.ContainsFunc(p.cfg.Allow, func(n netip.Prefix) bool { return n.Contains(a) })
}

// serve decides on a request and answers it.
func (p *Proxy) serve(x *exchange) {
	q := sharing.Request{Method: x.r.Method, URL: x.url, Header: x.r.Header, Body: x.r.ContentLength != 0}
	x.d = p.decide(q)
	if len(x.d.Sidecars) > 0 || len(x.d.Loads) > 0 {
		p.askSidecars(reach(x.r), x.d.Sidecars)
		p.askLoads(reach(x.r), x.d)
		q.SidecarsAsked = true
		x.d = p.decide(q)
	}
	shares := x.d.Verdict == sharing.Unsigned || x.d.Verdict == sharing.ByDigest
	switch {
	case shares && p.cfg.Device() == nil:
		p.passFor(x, reason.ProxyNotSharing)
	case shares && x.r.Method == http.MethodHead:
		p.serveHead(x)
	case x.d.Verdict == sharing.Unsigned || x.d.Verdict == sharing.Ask && p.headers(x.d.Key, false):
		p.serveAsked(x, q)
	case x.d.Verdict == sharing.ByDigest:
		p.share(x)
	default:
		p.pass(x)
	}
}

func (p *Proxy) decide(q sharing.Request) sharing.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sharing.Decide(p.cfg.Rules, &p.known, q)
}

// maxTold bounds the files of which headers have told the digest.
const maxTold = 1000

// headers reports whether headers have told the digest of a file before, or notes that
// they do: then the headers alone are asked for the next time.
func (p *Proxy) headers(key string, now bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now && len(p.told) >= maxTold {
		clear(p.told)
	}
	if now {
		p.told[key] = true
	}
	return p.told[key]
}

// passFor passes a request through that cannot be shared.
func (p *Proxy) passFor(x *exchange, why reason.Code) {
	x.d = sharing.Decision{Verdict: sharing.Pass, Why: why}
	p.pass(x)
}

// tell counts what is done with a request, and reports what is done with downloads.
func (p *Proxy) tell(x *exchange) {
	p.counts.add(&p.mu, x.d.Why)
	if x.r.Method != http.MethodGet {
		return
	}
	u := *x.url
	u.User, u.RawQuery = nil, "" // who asks is in either, perhaps
	name := path.Base(u.Path)
	if name == "/" || name == "." {
		name = u.Host
	}
	p.cfg.Report(report.Event{Schema: report.Schema, Time: status.Stamp(time.Now()), Event: status.KindProxy,
		File: name, URL: u.String(), Reason: string(x.d.Why), Message: u.String()})
}
