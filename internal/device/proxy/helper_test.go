package proxy

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/sharing"
)

// farm is an origin that counts what it sends.
type farm struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex
	// files by path, and what their answers have beside them.
	files map[string][]byte
	heads map[string]http.Header
	seen  []*http.Request
	sent  atomic.Int64 // bytes of bodies
	// gate, if set, holds bodies behind half of them until it is closed.
	gate chan struct{}
}

func newFarm(t *testing.T) *farm {
	f := &farm{t: t, files: map[string][]byte{}, heads: map[string]http.Header{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

// content is n bytes that are the same each time for one seed.
func content(n int, seed uint64) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = c.Read(b)
	return b
}

// put puts a file in place, with fields of its answer.
func (f *farm) put(path string, b []byte, fields ...string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[path] = b
	h := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	f.heads[path] = h
	return f.URL + path
}

func (f *farm) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	b, ok := f.files[r.URL.Path]
	head, gate := f.heads[r.URL.Path], f.gate
	f.seen = append(f.seen, r)
	f.mu.Unlock()
	if to := head.Get("Location"); to != "" {
		http.Redirect(w, r, to, http.StatusFound)
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	for name, v := range head {
		w.Header()[name] = v
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/x-test")
	}
	http.ServeContent(&gated{w, f, gate, len(b) / 2}, r, "", time.Time{}, bytes.NewReader(b))
}

// requests are how often a path was asked for by a method.
func (f *farm) requests(method, path string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.seen {
		if r.Method == method && r.URL.Path == path {
			n++
		}
	}
	return n
}

// gated counts a body, and holds it behind so many bytes.
type gated struct {
	http.ResponseWriter
	f     *farm
	gate  chan struct{}
	until int
}

func (g *gated) Write(b []byte) (int, error) {
	if g.gate != nil && g.until <= 0 {
		<-g.gate
	}
	n, err := g.ResponseWriter.Write(b)
	g.until -= n
	g.f.sent.Add(int64(n))
	if g.gate != nil {
		_ = http.NewResponseController(g.ResponseWriter).Flush()
	}
	return n, err
}

// host is one device with its proxy.
type host struct {
	*Proxy
	dir, url string
	place    *Place
	stop     func()
}

// freePort is a port for the peers of one test.
func freePort(t *testing.T) uint16 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// newHosts are n devices of one subnet, each with its proxy.
func newHosts(t *testing.T, n int, rules ...string) (all []*host) {
	port := freePort(t)
	for i := range n {
		all = append(all, newHost(t, port, i+1, t.TempDir(), rules...))
	}
	return all
}

func parseRules(t *testing.T, texts []string) (rs sharing.Rules) {
	for _, text := range texts {
		r, err := sharing.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

func newHost(t *testing.T, port uint16, i int, dir string, rules ...string) *host {
	return newHostTrusting(t, port, i, dir, nil, rules...)
}

// newHostTrusting is a host that verifies HTTPS servers against roots, nil for the
// system's.
func newHostTrusting(t *testing.T, port uint16, i int, dir string, roots *x509.CertPool, rules ...string) *host {
	cfg := PlaceConfig{ID: uint64(i), Net: peernet.Config{Port: port,
		Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 77, byte(i), 1}), 8)}}
	cfg.Slot.NoSync, cfg.Origin.CACert = true, roots
	place, err := NewPlace(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := place.Run(ctx, func() { close(ready) }); err != nil {
			t.Error(err)
		}
	}()
	<-ready
	h := &host{dir: dir, place: place}
	h.Proxy, err = New(Config{Dir: dir, Device: place.Device, Rules: parseRules(t, rules), CACerts: roots})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	sctx, end := context.WithCancel(context.Background())
	go func() {
		defer close(served)
		_ = h.Serve(sctx, l)
	}()
	h.url = "http://" + l.Addr().String()
	h.stop = sync.OnceFunc(func() {
		end()
		<-served
		cancel()
		<-ended
	})
	t.Cleanup(h.stop)
	return h
}

// via is a client of the proxy.
func (h *host) via(t *testing.T) *http.Client {
	u, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(u), DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// get asks for a URL by a method, with fields.
func get(c *http.Client, method, address string, fields ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, address, nil)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

// mirror is a URL in the form of a mirror.
func (h *host) mirror(address string) string {
	return h.url + "/" + strings.Replace(address, "://", "/", 1)
}

// all lets all hosts fetch one URL at the same time and compares what they get.
func all(t *testing.T, hosts []*host, address string, want []byte, fields ...string) {
	t.Helper()
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			c, at := h.via(t), address
			if i%2 == 1 {
				c, at = http.DefaultClient, h.mirror(address)
			}
			resp, got, err := get(c, http.MethodGet, at, fields...)
			if err == nil && (resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(want)) ||
				!bytes.Equal(got, want)) {
				err = fmt.Errorf("%s, %d bytes", resp.Status, len(got))
			}
			if err != nil {
				t.Errorf("host %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}
