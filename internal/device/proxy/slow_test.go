package proxy

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// pipes are connections within a process, so that they know of virtual time.
type pipes struct {
	made chan net.Conn
	end  chan struct{}
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.made <- far:
		return near, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.made:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.end); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// slowly sends a byte a second, until the client has gone.
func slowly(w http.ResponseWriter, r *http.Request) {
	for range 1000 {
		if _, err := io.WriteString(w, "x"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
			return
		}
	}
}

// firstBytes is an answer of which only when its first byte came is noted.
type firstBytes struct {
	*httptest.ResponseRecorder
	once   sync.Once
	began  time.Time
	after  time.Duration
	enough func()
}

func (f *firstBytes) Write(b []byte) (int, error) {
	f.once.Do(func() { f.after = time.Since(f.began) })
	n, err := f.ResponseRecorder.Write(b)
	if f.Body.Len() >= 5 {
		f.enough()
	}
	return n, err
}

// TestSlowServer: a server that sends a byte a second holds nobody for long. What the
// proxy asks it for by itself is given up after headTime, and not asked for again at once;
// what the client asked for reaches it byte by byte, and ends with the client.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, left := map[string]int{}, make(chan struct{}, 10)
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked[r.URL.Path]++ // one at a time: the proxy waits for its own question first
			slowly(w, r)
			left <- struct{}{}
		})}
		go func() { _ = srv.Serve(l) }()
		p, err := New(Config{Dir: t.TempDir(), Device: func() *engine.Device { return nil }, NoProxyEnv: true,
			Rules: parseRules(t, []string{"http://slow/fw/** sidecar=SHA256SUMS"})})
		if err != nil {
			t.Fatal(err)
		}
		p.direct.own.DialContext = l.dial
		for i, most := range []time.Duration{headTime + time.Second, time.Second} {
			ctx, cancel := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, "GET", "http://slow/fw/app.bin", nil)
			r.RemoteAddr = "127.0.0.1:1"
			w := &firstBytes{ResponseRecorder: httptest.NewRecorder(), began: time.Now(), enough: cancel}
			func() {
				defer func() { _ = recover() }() // net/http takes it for a client that has gone
				p.ServeHTTP(w, r)
			}()
			cancel()
			if got := w.Body.String(); got != "xxxxx" || w.after > most {
				t.Errorf("client %d: %q, the first byte after %v", i, got, w.after)
			}
		}
		for range 3 {
			<-left // the server sees each of them go: a hang is a deadlock of the bubble
		}
		if asked["/fw/SHA256SUMS"] != 1 || asked["/fw/app.bin"] != 2 {
			t.Errorf("asked %v", asked)
		}
		p.Close()
		_ = srv.Close()
	})
}

// TestRedirectSecure: what a server redirects to HTTPS is verified there, shared by what
// it is, and one copy crosses the line.
func TestRedirectSecure(t *testing.T) {
	t.Parallel()
	f, far := newFarm(t), newFarm(t)
	secure := httptest.NewTLSServer(http.HandlerFunc(far.serve))
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	want := content(300_000, 60)
	component := "/components/" + load.DigestOf(want).String() + ".app.bin"
	port := freePort(t)
	var hosts []*host
	for i := range 2 {
		hosts = append(hosts, newHostTrusting(t, port, i+1, t.TempDir(), roots, f.URL+"/fw/** unsigned"))
	}
	for _, path := range []string{component, "/fw/app.bin"} {
		far.put(path, want)
		u := f.put(path, nil, "Location", secure.URL+path)
		before := far.sent.Load()
		all(t, hosts[:1], u, want)
		all(t, hosts[1:], u, want)
		if sent := far.sent.Load() - before; path == component && sent != int64(len(want)) {
			t.Errorf("%s: the server sent %d bytes", path, sent)
		}
	}
	stranger := newHost(t, freePort(t), 9, t.TempDir())
	resp, got, err := get(stranger.via(t), "GET", f.URL+component)
	if err != nil || resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != secure.URL+component {
		t.Errorf("without the root: %v, %d bytes, %v", resp, len(got), err)
	}
}

// TestRedirectLoop: a server that redirects in a loop is asked some times, and its client
// gets the redirect, to make of it what it would without a proxy.
func TestRedirectLoop(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	f := newFarm(t)
	component := "/components/" + strings.Repeat("ab", 32) + ".loop.bin"
	for from, to := range map[string]string{component: "/b", "/b": component, "/fw/loop.bin": "/fw/loop.bin"} {
		f.put(from, nil, "Location", f.URL+to)
	}
	h := newHosts(t, 1, f.URL+"/fw/** unsigned")[0]
	var both sync.WaitGroup
	for _, path := range []string{component, "/fw/loop.bin"} {
		both.Go(func() {
			resp, got, err := get(h.via(t), "GET", f.URL+path)
			if err != nil || resp.StatusCode != http.StatusFound {
				t.Errorf("%s: %v, %d bytes, %v", path, resp, len(got), err)
			}
		})
	}
	both.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.seen); n > 100 {
		t.Errorf("the server was asked %d times for two files", n)
	}
}

// TestNothingAfterClose: a handler that still runs when the proxy has ended opens no
// file.
func TestNothingAfterClose(t *testing.T) {
	h := newHosts(t, 1)[0]
	h.stop()
	if e, _ := h.entry("after", load.Digest{}, h.place.Device(), false); e != nil {
		t.Error("opens a file though it has ended")
	}
}
