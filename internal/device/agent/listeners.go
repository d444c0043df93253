package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/proxy"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// listener is one of the daemon's listeners: the socket, the page, the metrics.
// One that cannot be had keeps no device from its work: it is tried again.
type listener struct {
	name string // for the log
	open func() (net.Listener, error)
	// begin serves what was opened until ctx ends, and then closes it. It
	// returns at once.
	begin func(context.Context, net.Listener)
}

// listeners are those that are configured; the socket is there always.
func (d *Daemon) listeners(busy *sync.WaitGroup) []listener {
	c := d.conf.get()
	socket := filepath.Join(c.State, SocketName)
	all := []listener{{"socket", func() (net.Listener, error) { return listenPrivate(socket) },
		func(ctx context.Context, l net.Listener) {
			d.errands().serveAt(ctx, l, busy)
		}}}
	for name, at := range map[string]struct {
		address string
		show    func(*http.Request) page
	}{"page-address": {c.PageAddress, d.showPage}, "metrics-address": {c.MetricsAddress, d.showMetrics}} {
		if at.address != "" {
			all = append(all, listener{name, func() (net.Listener, error) { return net.Listen("tcp", at.address) },
				func(ctx context.Context, l net.Listener) { serveHTTP(ctx, l, d.log, busy, at.show) }})
		}
	}
	if c.ProxyAddress != "" {
		all = append(all, listener{"proxy-address", func() (net.Listener, error) { return proxy.Listen(c.ProxyAddress, nil) },
			func(ctx context.Context, l net.Listener) { d.serveProxy(ctx, l, busy) }})
	}
	return all
}

// serveProxy serves the proxy for other programs.
func (d *Daemon) serveProxy(ctx context.Context, l net.Listener, busy *sync.WaitGroup) {
	c := d.conf.get()
	roots, err := certificates(c.CACert)
	var p *proxy.Proxy
	if err == nil {
		cfg := proxy.Config{Dir: filepath.Join(c.State, proxyName), Keep: c.ProxyKeep, Rules: c.ProxyRules,
			Device: d.peer, CACerts: roots, NoProxyEnv: proxy.NamesItself(c.ProxyAddress), Report: d.takeProxy}
		p, err = proxy.New(cfg)
	}
	if err != nil {
		d.log.Error("there is no proxy: programs go their own way", "error", err)
		_ = l.Close()
		return
	}
	d.proxy.put(p)
	busy.Go(func() {
		if err := p.Serve(ctx, l); err != nil {
			d.log.Error("the proxy has ended", "error", err)
		}
	})
}

// ownProxy is the proxy of the daemon, and the loads that the daemon knows by its
// publisher: the proxy hands their components on chunk by chunk. It may begin after them.
type ownProxy struct {
	mu    sync.Mutex
	p     *proxy.Proxy // nil if there is none
	loads []knownLoad
}

// knownLoad is a verified manifest with the URLs where it may be.
type knownLoad struct {
	at       []*url.URL
	manifest *load.Manifest
}

// maxKnown bounds the loads that are told to a proxy: the two of the slots, and file sets.
const maxKnown = 8

// get returns the proxy, nil if there is none.
func (o *ownProxy) get() *proxy.Proxy {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.p
}

// put sets the proxy, and tells it what is known.
func (o *ownProxy) put(p *proxy.Proxy) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.p = p
	for _, l := range o.loads {
		l.tell(p)
	}
}

// learn tells the proxy of a load whose manifest was verified.
func (o *ownProxy) learn(at []*url.URL, m *load.Manifest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := knownLoad{at, m}
	o.loads = slices.DeleteFunc(o.loads, func(old knownLoad) bool { return old.manifest.Name == m.Name })
	if o.loads = append(o.loads, l); len(o.loads) > maxKnown {
		o.loads = slices.Delete(o.loads, 0, 1)
	}
	if o.p != nil {
		l.tell(o.p)
	}
}

// tell tells a proxy of the load at each of its places.
func (l knownLoad) tell(p *proxy.Proxy) {
	for _, u := range l.at {
		p.LearnLoad(u, l.manifest)
	}
}

// peer is the device as a peer of its subnet, nil where it does not share.
func (d *Daemon) peer() *engine.Device {
	i := d.place.current()
	if i == nil || !i.key.sharing || i.left() {
		return nil
	}
	return i.dev
}

// takeProxy takes an event of the proxy.
func (d *Daemon) takeProxy(e report.Event) {
	e.Device = fmt.Sprintf("%016x", d.id)
	d.rec.Take(e)
	if e.Final != nil {
		var t traffic
		t.add(e.Final)
		d.place.moved(t)
	}
}

// How long a listener that cannot be had waits for the next try, at first and
// at most.
const (
	listenAgain  = time.Second
	listenSeldom = 30 * time.Second
)

// serve serves a listener until ctx ends. It returns after the first try to
// open it.
func (l listener) serve(ctx context.Context, busy *sync.WaitGroup, log *slog.Logger) {
	in, err := l.open()
	if err == nil {
		l.begin(ctx, in)
		return
	}
	busy.Go(func() {
		said, wait := "", listenAgain
		for err != nil {
			if err.Error() != said {
				said = err.Error()
				log.Error("there is no such listener: the device works without it, and tries again", "listener", l.name,
					"error", err)
			}
			again := time.NewTimer(wait)
			wait = min(2*wait, listenSeldom)
			select {
			case <-ctx.Done():
				again.Stop()
				return
			case <-again.C:
			}
			in, err = l.open()
		}
		log.Info("the listener is there now", "listener", l.name)
		l.begin(ctx, in)
	})
}

// listenPrivate opens a socket for the owner alone. It gets its name only after
// its permissions are set.
func listenPrivate(name string) (net.Listener, error) {
	tmp := name + ".new"
	for _, n := range []string{tmp, name} {
		// The lock of the state directory says that nobody listens there.
		if err := os.RemoveAll(n); err != nil {
			return nil, err
		}
	}
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
	language  string // that was chosen, to be remembered; "" for none
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
				return page{status: http.StatusServiceUnavailable, mediaType: "text/plain", body: []byte("the agent ends\n")}
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
		p := page{status: http.StatusMethodNotAllowed, mediaType: "text/plain", body: []byte("GET only\n")}
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
			"Content-Security-Policy": pagePolicy(),
		} {
			w.Header().Set(name, value)
		}
		if p.language != "" {
			http.SetCookie(w, &http.Cookie{Name: "lang", Value: p.language, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true,
				SameSite: http.SameSiteStrictMode})
		}
		w.WriteHeader(p.status)
		_, _ = w.Write(p.body) // nothing for HEAD
	}
}
